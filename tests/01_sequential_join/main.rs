//! Stage 01: what `examples/01_sequential_join_server.rs` promises, and what is still
//! broken. `lessons/01_sequential_join.md` explains.

mod exercises;
mod wrong_servers;

use harness::{Server, has_words, survival};

const STAGE: &str = "01_sequential_join";

#[test]
fn the_server_shows_what_the_client_says() {
    let server = Server::start(STAGE);
    let mut ana = server.client("ana");
    server.likely_cause("the server reads once, not until the end of the stream");
    for line in ["hola", "¿qué tal?", "", "adiós"] {
        ana.says(line);
        let shown = server.shows(line);
        let port = ana.address().port().to_string();
        if !has_words(&shown, &port) {
            server.fail(format!(
                "{shown:?} does not tell who said it: the client's address has port {port}."
            ));
        }
    }
}

#[test]
fn a_client_that_has_stopped_sending_is_answered() {
    let server = Server::start(STAGE);
    let mut ana = server.client("ana");
    ana.says("are you well?");
    server.shows("are you well?");
    ana.half_closes();
    server.likely_cause(
        "the server takes the end of the stream for the end of the connection: a client \
         that has stopped sending still listens",
    );
    server.types("very well");
    ana.hears("very well");
    server.types("and you?");
    ana.hears("and you?");
    server.likely_cause("when the operator has no more to say, the connection is closed");
    server.keyboard_ends();
    ana.hears_the_end();
}

#[test]
fn the_next_client_is_served_when_the_first_has_left() {
    let server = Server::start(STAGE);
    server.keyboard_ends();
    let mut ana = server.client("ana");
    ana.says("first");
    server.shows("first");
    ana.leaves();
    server.likely_cause("the server serves one client and no more, or waits for a dead one");
    let mut beto = server.client("beto");
    beto.says("second");
    server.shows("second");
}

#[test]
fn at_the_end_of_the_stream_it_does_not_spin() {
    let server = Server::start(STAGE);
    server.keyboard_ends();
    let mut ana = server.client("ana");
    ana.says("that was all");
    server.shows("that was all");
    let before = server.lines_printed();
    ana.leaves();
    let mut beto = server.client("beto");
    beto.says("now it is my turn");
    server.likely_cause(
        "a read of 0 bytes is the end of the stream; taken for an empty message, it \
         comes again for ever",
    );
    server.shows("now it is my turn");
    let lines = server.lines_printed() - before;
    if lines > 20 {
        server.fail(format!(
            "One client left and another said a line, and the server printed {lines} lines."
        ));
    }
}

#[test]
fn a_reset_ends_one_client_and_not_the_server() {
    let server = Server::start(STAGE);
    server.keyboard_ends();
    server.likely_cause("an error with one client ends the server");
    for _ in 0..3 {
        let mut ana = server.client("ana");
        ana.says("I am here");
        server.shows("I am here");
        ana.resets();
    }
    let mut beto = server.client("beto");
    beto.says("I am still here");
    server.shows("I am still here");
}

#[test]
fn each_line_has_the_address_of_its_client() {
    let Some(server) = Server::of(STAGE).ours_only().start() else {
        return;
    };
    let mut ana = server.client("ana");
    ana.says("hola");
    let line = server.shows("hola");
    assert_eq!(line, format!("[{}] hola", ana.address()));
}

#[test]
fn salir_hangs_up() {
    let Some(server) = Server::of(STAGE).ours_only().start() else {
        return;
    };
    let mut ana = server.client("ana");
    ana.half_closes();
    server.types("good night");
    server.types("salir");
    ana.hears("good night");
    ana.hears_the_end();
}

#[test]
fn without_file_descriptors_it_neither_ends_nor_spins() {
    survival::no_file_descriptor_at_all(STAGE, 4);
}

#[test]
fn still_broken_the_second_client_waits_for_the_first_to_leave() {
    let Some(server) = Server::of(STAGE).ours_only().start() else {
        return;
    };
    server.keyboard_ends();
    let mut ana = server.client("ana");
    let mut beto = server.client("beto");
    beto.says("are you there?");
    // The server works, for ana alone: beto's line is not shown between hers.
    for line in ["one", "two", "three"] {
        ana.says(line);
    }
    server.shows("connected");
    for line in ["one", "two", "three"] {
        let next = server.shows("");
        if next != format!("[{}] {line}", ana.address()) {
            server.fail(format!("Cured? While ana speaks, this is shown: {next:?}."));
        }
    }
    ana.leaves();
    server.shows("are you there?");
}

#[test]
fn still_broken_the_answer_is_held_back_until_the_client_stops_sending() {
    let Some(server) = Server::of(STAGE).ours_only().start() else {
        return;
    };
    let mut ana = server.client("ana");
    ana.says("a question");
    server.shows("a question");
    server.types("an answer");
    // The server works on, and hears ana, but she does not hear the answer.
    for line in ["are you there?", "hello?", "well then"] {
        ana.says(line);
        server.shows(line);
    }
    ana.has_heard_nothing();
    ana.half_closes();
    ana.hears("an answer");
}
