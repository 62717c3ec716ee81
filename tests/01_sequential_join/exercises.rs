//! The checks of the exercises in `lessons/01_sequential_join.md`, *Change it*: each fails
//! until its exercise is done.

use harness::{Server, has_words, pause};

use super::STAGE;

#[test]
#[ignore = "an exercise of lesson 01"]
fn exercise_1() {
    let server = Server::start(STAGE);
    server.keyboard_ends();
    let shows_how_many = |lines: usize| {
        server.still_missing(
            "in the line about a client that has left, the number of its lines: \"2 lines heard\"",
        );
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
    // A client may say lines before it resets its connection.
    let mut beto = server.client("beto");
    for line in ["one", "two"] {
        beto.says(line);
        server.shows(line);
    }
    beto.resets();
    server.still_missing("the count also for a client that resets its connection");
    let line = server.shows("left");
    if !has_words(&line, "2 lines heard") {
        server.fail(format!("The server showed {line:?}."));
    }
}

#[test]
#[ignore = "an exercise of lesson 01"]
fn exercise_2() {
    let told_to_panic = Server::of(STAGE).env("STAGE_PANIC_ON", "boom");
    let Some(server) = told_to_panic.ours_only().start() else {
        return;
    };
    let mut ana = server.client("ana");
    ana.says("hola");
    ana.says("boom");
    server.still_missing("the drill: `cli::panic_if_told(&line)` for each line, in the reader");
    server.shows("told to panic");
    server.still_missing("a line about the panic: what does `join` return?");
    let line = server.shows("panicked");
    let address = ana.address().to_string();
    if !line.contains(&format!("the reader of {address} has panicked")) {
        server.fail(format!(
            "The server should have shown \"the reader of {address} has panicked\", but it \
             showed {line:?}."
        ));
    }
    // The operator has typed nothing.
    server.still_missing(
        "the end of ana's connection at once: after a panic, the server does not wait for the \
         keyboard",
    );
    ana.is_let_go();
    server.still_missing("a server that goes on with the next client");
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
    server.still_missing("service for a second client while the first one is connected");
    let [mut ana, mut beto, mut carla] = ["ana", "beto", "carla"].map(|name| server.client(name));
    for (client, line) in [(&mut ana, "I was first"), (&mut beto, "and I second")] {
        client.says(line);
        server.shows(line);
    }
    server.still_missing("a limit: with --at-once 2, a third client waits");
    carla.says("is there room for me?");
    for round in 0..5 {
        pause(round);
        for client in [&mut ana, &mut beto] {
            client.says(&format!("round {round}"));
            server.shows(&format!("round {round}"));
        }
    }
    if server.lines_with("is there room for me?") > 0 {
        server.fail("The server serves carla too, although ana and beto are connected.");
    }
    server.still_missing("service for the next client as soon as one has left");
    ana.leaves();
    server.shows("is there room for me?");
    beto.says("and I am still here");
    server.shows("and I am still here");
}
