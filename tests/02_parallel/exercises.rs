//! The checks of the exercises in `lessons/02_parallel.md`, *Change it*: each fails until
//! its exercise is done.

use std::time::{Duration, Instant};

use harness::{Client, Server, has_words, patience};

use super::STAGE;

#[test]
#[ignore = "an exercise of lesson 02"]
fn exercise_1() {
    let server = Server::start(STAGE);
    let mut clients = ["ana", "beto"].map(|name| server.client(name));
    for client in &mut clients {
        client.says("I am here");
        server.shows("I am here");
    }
    for n in 10..15 {
        server.still_missing("a line that tells which client got the operator's line");
        let text = format!("answer {n}");
        server.types(&text);
        let line = server.shows(&text);
        server.still_missing(
            "the address of the client that got the line, as in \"to ADDRESS: text\"",
        );
        let told = |client: &&mut Client| {
            let port = client.address().port().to_string();
            line.starts_with("to ") && has_words(&line, &port)
        };
        match clients.iter_mut().find(told) {
            Some(receiver) => receiver.hears(&text),
            None => server.fail(format!("The server showed {line:?}.")),
        };
    }
    server.still_missing(
        "one line for each answer, and no empty line after it: a line from the keyboard already \
         has its line end",
    );
    let empty = server.empty_lines();
    if empty > 0 {
        server.fail(format!("The server showed {empty} empty lines."));
    }
    // Ana's thread waits for the keyboard, although ana has left.
    let server = Server::start(STAGE);
    let mut ana = server.client("ana");
    ana.says("I must go");
    server.shows("I must go");
    server.types("good night");
    ana.hears("good night");
    server.shows("good night");
    ana.half_closes();
    ana.is_let_go();
    server.still_missing("the line only after `write_all` has succeeded");
    server.types("who hears this?");
    let line = server.shows_either(&["did not get your line", "who hears this?"]);
    if line.starts_with("to ") && has_words(&line, &ana.address().port().to_string()) {
        server.fail(format!("Ana has left, and the server showed {line:?}."));
    }
}

#[test]
#[ignore = "an exercise of lesson 02"]
fn exercise_2() {
    let server = Server::start(STAGE);
    let shows_count = |count: usize| {
        let line = server.shows("clients here: ");
        if !line.ends_with(&format!("clients here: {count}")) {
            server.fail(format!(
                "The server should have shown \"clients here: {count}\", but it showed {line:?}."
            ));
        }
    };
    server.still_missing("a line \"clients here: 1\" after \"ADDRESS connected\"");
    let ana = server.client("ana");
    shows_count(1);
    let mut beto = server.client("beto");
    shows_count(2);
    server.still_missing(
        "the new count as soon as a client has stopped sending. The end of its keyboard thread is \
         too late: that thread may go on waiting",
    );
    beto.half_closes();
    shows_count(1);
    server
        .still_missing("the new count also when a connection is lost: reading may end in two ways");
    let mut carla = server.client("carla");
    shows_count(2);
    carla.says("I am here");
    server.shows("I am here");
    carla.resets();
    shows_count(1);
    let mut rude = server.client("a rude client");
    shows_count(2);
    rude.sends(b"\xff\n");
    rude.is_let_go();
    shows_count(1);
    // Many clients leave at the same time, and the server counts each of them.
    let crowd: Vec<_> = (2..22)
        .map(|count| {
            let client = server.client(&format!("client {count}"));
            shows_count(count);
            client
        })
        .collect();
    server.still_missing("a count that is right when many clients leave at the same time");
    drop(crowd);
    drop(ana);
    // The lines may come in any order.
    let is_zero = |_| server.shows("clients here: ").ends_with(" here: 0");
    if !(0..21).any(is_zero) {
        server.fail("All clients have left, but the server never showed \"clients here: 0\".");
    }
}

#[test]
#[ignore = "an exercise of lesson 02"]
fn exercise_3() {
    let server = Server::start(STAGE);
    let mut clients = ["ana", "beto", "carla"].map(|name| server.client(name));
    for client in &mut clients {
        client.says("I am here");
        server.shows("I am here");
    }
    for round in 10..15 {
        for client in &mut clients {
            server.still_missing(
                "for a line \"PORT text\": the text goes to the client with that port, whichever \
                 thread has read the line",
            );
            let text = format!("good morning {round}");
            server.types(&format!("{} {text}", client.address().port()));
            let line = client.hears(&text);
            if line.trim_end() != text {
                server.still_missing("the text alone, without the port before it");
                server.fail(format!("{} heard {line:?}.", client.name()));
            }
        }
    }
    server.still_missing("any other line still goes to one of the clients, as before");
    server.types("to whom it may concern");
    let deadline = Instant::now() + patience();
    let mut heard = None;
    while heard.is_none() && Instant::now() < deadline {
        let hears = |client: &mut Client| client.hears_any(Duration::from_millis(10));
        heard = clients.iter_mut().find_map(hears);
    }
    if heard.as_deref() != Some("to whom it may concern") {
        server.fail(format!("A line without a port was heard as {heard:?}."));
    }
    server.still_missing(
        "lines for the clients that are connected, also when the thread of a client that has left \
         reads them",
    );
    let [mut ana, mut beto, mut carla] = clients;
    ana.half_closes();
    ana.is_let_go();
    for round in 10..15 {
        for client in [&mut beto, &mut carla] {
            let text = format!("without ana {round}");
            server.types(&format!("{} {text}", client.address().port()));
            client.hears(&text);
        }
    }
}
