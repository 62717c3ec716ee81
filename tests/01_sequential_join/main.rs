//! Stage 01: what `examples/01_sequential_join_server.rs` promises, and what is still
//! broken. `lessons/01_sequential_join.md` explains.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;

use harness::wrong::Hosted;
use harness::{Server, applies_to_ours_only, example, has_words, pause, refused, survival};

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
fn each_line_has_the_address_of_who_said_it() {
    let Some(server) = Server::ours(STAGE) else {
        return;
    };
    let mut ana = server.client("ana");
    ana.says("hola");
    let line = server.shows("hola");
    assert_eq!(line, format!("[{}] hola", ana.address()));
}

#[test]
fn salir_hangs_up() {
    let Some(server) = Server::ours(STAGE) else {
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
    let Some(server) = Server::ours(STAGE) else {
        return;
    };
    server.keyboard_ends();
    let mut ana = server.client("ana");
    let mut beto = server.client("beto");
    beto.says("is anybody there?");
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
    server.shows("is anybody there?");
}

#[test]
fn still_broken_the_answer_is_held_back_until_the_client_stops_sending() {
    let Some(server) = Server::ours(STAGE) else {
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

/// The checks of the exercises in `lessons/01_sequential_join.md`, *Change it*: each fails
/// until its exercise is done.
mod exercises {
    use super::*;

    #[test]
    #[ignore = "an exercise of lesson 01"]
    fn exercise_1() {
        let server = Server::start(STAGE);
        server.keyboard_ends();
        let shows_how_many = |lines: usize| {
            server
                .still_missing("in the line about a client that has left: how many lines it said");
            let line = server.shows("left");
            if !has_words(&line, &format!("{lines} lines heard")) {
                server.fail(format!(
                    "The server should have shown \"{lines} lines heard\", but it showed {line:?}."
                ));
            }
        };
        for lines in [2, 0, 3] {
            let mut ana = server.client("ana");
            for line in 0..lines {
                ana.says(&format!("line {line}"));
            }
            ana.leaves();
            shows_how_many(lines);
        }
        // A connection that is reset has had lines too.
        let mut beto = server.client("beto");
        for line in ["one", "two"] {
            beto.says(line);
            server.shows(line);
        }
        beto.resets();
        server.still_missing("the count also of a client whose connection was reset");
        let line = server.shows("left");
        if !has_words(&line, "2 lines heard") {
            server.fail(format!("The server showed {line:?}."));
        }
    }

    #[test]
    #[ignore = "an exercise of lesson 01"]
    fn exercise_2() {
        if !applies_to_ours_only() {
            return;
        }
        let mut command = example("01_sequential_join_server");
        command.env("STAGE_PANIC_ON", "boom");
        let server = Server::example(STAGE, command);
        let mut ana = server.client("ana");
        ana.says("hola");
        ana.says("boom");
        server.still_missing("the drill: `cli::panic_if_told(&line)` for each line, in the reader");
        server.shows("told to panic");
        server.still_missing("a word about the panic: what does `join` return?");
        let line = server.shows("panicked");
        let address = ana.address().to_string();
        if !line.contains(&format!("the reader of {address} has panicked")) {
            server.fail(format!(
                "The server should have shown \"the reader of {address} has panicked\", but it \
                 showed {line:?}."
            ));
        }
        // The operator has typed nothing.
        server.still_missing("an end without an answer: the keyboard is not to be waited for");
        ana.is_let_go();
        server.still_missing("the next client");
        let mut beto = server.client("beto");
        beto.says("what was that?");
        server.shows("what was that?");
        beto.half_closes();
        server.types("a drill");
        beto.hears("a drill");
    }

    #[test]
    #[ignore = "an exercise of lesson 01"]
    fn exercise_3() {
        let server = Server::start_with(STAGE, &["--at-once", "2"], "an option --at-once NUMBER");
        server.keyboard_ends();
        server.still_missing("a second client that is served while the first one is there");
        let [mut ana, mut beto, mut carla] =
            ["ana", "beto", "carla"].map(|name| server.client(name));
        for (client, line) in [(&mut ana, "I was first"), (&mut beto, "and I second")] {
            client.says(line);
            server.shows(line);
        }
        server.still_missing("an end of those served at once: a third one waits, with --at-once 2");
        carla.says("is there room for me?");
        for round in 0..5 {
            pause(round);
            for client in [&mut ana, &mut beto] {
                client.says(&format!("round {round}"));
                server.shows(&format!("round {round}"));
            }
        }
        if server.lines_with("is there room for me?") > 0 {
            server.fail("Carla was served as well.");
        }
        server.still_missing("the next client in the place of one that has left");
        ana.leaves();
        server.shows("is there room for me?");
        beto.says("and I am still here");
        server.shows("and I am still here");
    }
}

#[test]
fn wrong_servers_are_refused() {
    /// Serves one client after the other, as the right server does.
    fn each(hosted: &Hosted, serve: impl Fn(&TcpStream) -> io::Result<()>) {
        while let Ok((stream, _)) = hosted.listener.accept() {
            let _ = serve(&stream);
        }
    }

    fn show_lines(hosted: &Hosted, stream: &TcpStream) -> io::Result<()> {
        for line in BufReader::new(stream).lines() {
            hosted.screen.push(line?);
        }
        Ok(())
    }

    fn shows_only_the_first_packet(hosted: Hosted) {
        each(&hosted, |mut stream| {
            let mut buffer = [0; 1024];
            let count = stream.read(&mut buffer)?;
            let text = String::from_utf8_lossy(&buffer[..count]);
            hosted
                .screen
                .push(format!("[{}] {text}", stream.peer_addr()?));
            stream.read_to_end(&mut Vec::new()).map(drop)
        });
    }

    fn hides_who_speaks(hosted: Hosted) {
        each(&hosted, |stream| show_lines(&hosted, stream));
    }

    fn closes_when_the_client_stops_sending(hosted: Hosted) {
        each(&hosted, |stream| show_lines(&hosted, stream));
    }

    fn answers_only_once(hosted: Hosted) {
        each(&hosted, |mut stream| {
            show_lines(&hosted, stream)?;
            let keyboard = hosted.keyboard.lock().unwrap();
            let answer = keyboard.recv().map_err(io::Error::other)?;
            stream.write_all(format!("{answer}\n").as_bytes())?;
            keyboard.recv().map(drop).map_err(io::Error::other)
        });
    }

    fn serves_only_one_client(hosted: Hosted) {
        let (stream, _) = hosted.listener.accept().unwrap();
        let _ = show_lines(&hosted, &stream);
    }

    fn waits_for_a_client_that_has_left(hosted: Hosted) {
        each(&hosted, |stream| {
            show_lines(&hosted, stream)?;
            loop {
                std::thread::park();
            }
        });
    }

    fn spins_at_the_end_of_the_stream(hosted: Hosted) {
        each(&hosted, |mut stream| {
            let mut buffer = [0; 1024];
            for _ in 0..1000 {
                let count = stream.read(&mut buffer)?;
                let text = String::from_utf8_lossy(&buffer[..count]);
                hosted.screen.push(text.into());
            }
            Ok(())
        });
    }

    fn ends_at_the_first_error(hosted: Hosted) {
        while let Ok((stream, _)) = hosted.listener.accept() {
            show_lines(&hosted, &stream).unwrap();
        }
    }

    refused! {
        hides_who_speaks by the_server_shows_what_the_client_says:
            "does not tell who said it";
        shows_only_the_first_packet by the_server_shows_what_the_client_says:
            "should have printed a line with \"¿qué tal?\"", "the server reads once";
        closes_when_the_client_stops_sending by a_client_that_has_stopped_sending_is_answered:
            "takes the end of the stream for the end of the connection";
        answers_only_once by a_client_that_has_stopped_sending_is_answered:
            "should have heard \"and you?\"";
        serves_only_one_client by the_next_client_is_served_when_the_first_has_left:
            "the server serves one client and no more";
        waits_for_a_client_that_has_left by the_next_client_is_served_when_the_first_has_left:
            "waits for a dead one";
        spins_at_the_end_of_the_stream by at_the_end_of_the_stream_it_does_not_spin:
            "a read of 0 bytes is the end of the stream";
        ends_at_the_first_error by a_reset_ends_one_client_and_not_the_server:
            "an error with one client ends the server";
    }
}
