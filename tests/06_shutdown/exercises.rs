//! The checks of the exercises in `lessons/06_shutdown.md`, *Change it*: each fails until its
//! exercise is done. (Windows has no SIGINT that one program could send to another.)

use harness::lazy::joins_and_reads_little;
use harness::{Server, patience};

use super::STAGE;

#[cfg(unix)]
#[test]
#[ignore = "an exercise of lesson 06"]
fn exercise_1() {
    for grace in ["0.5", "7"] {
        let server = Server::start_with(STAGE, &["--grace", grace], "the option --grace");
        let [mut ana, mut beto] = server.chat(["ana", "beto"]);
        server.is_interrupted();
        for client in [&mut ana, &mut beto] {
            server.still_missing("a line about closing, for every client, as before");
            let line = client.hears("closing");
            server.still_missing(&format!(
                "the seconds of --grace: \"* the server is closing in {grace} s\""
            ));
            let seconds = line
                .strip_prefix("* the server is closing in ")
                .and_then(|rest| rest.strip_suffix(" s")?.parse::<f64>().ok());
            if seconds != grace.parse().ok() {
                client.fail(format!("heard {line:?}."));
            }
            server.still_missing("the end of the connection, as before");
            client.hears_the_end();
        }
        drop((ana, beto));
        server.ends_within(patience());
    }
}

#[test]
#[ignore = "an exercise of lesson 06"]
fn exercise_2() {
    let server = Server::start(STAGE);
    let mut nameless = server.client("nameless");
    let [mut ana, mut beto] = server.chat(["ana", "beto"]);
    // Much of what is due to carla waits in her outbox.
    let mut carla = joins_and_reads_little(&server, "carla", &mut [&mut ana, &mut beto]);
    let text = "x".repeat(16 * 1024);
    for n in 100..300 {
        ana.says(&format!("line {n} {text}"));
        beto.hears_from("ana", &format!("line {n}"));
    }
    server.still_missing(
        "for every client, as soon as the operator has typed \"good night\": \
         \"* operator: good night\"",
    );
    server.types("good night");
    for client in [&mut ana, &mut beto, &mut carla] {
        if client.name() == "carla" {
            server
                .still_missing("all lines that are due to carla, and the last message after them");
            if !client.hears_within("line 100", patience()) {
                server.fail("Carla should have heard \"line 100\".");
            }
            for n in 101..300 {
                client.hears_from("ana", &format!("line {n}"));
            }
        }
        client.hears_exactly("* operator: good night");
    }
    server.still_missing("after the last message, the same end as after Ctrl-C");
    for client in [&mut ana, &mut beto, &mut carla] {
        client.hears("closing");
        client.hears_the_end();
    }
    server.still_missing("for a client that has no name yet, the end and no last message");
    nameless.hears("closing");
    nameless.hears_the_end();
    drop((ana, beto, carla, nameless));
    server.ends_within(patience());

    // A server that was started in the background has no keyboard.
    let server = Server::start(STAGE);
    server.still_missing("a server that goes on when its keyboard input ends");
    let [mut ana, mut beto] = server.chat(["ana", "beto"]);
    server.keyboard_ends();
    for n in 100..110 {
        ana.says(&format!("are you there? {n}"));
        beto.hears_from("ana", &format!("are you there? {n}"));
        harness::pause(2);
    }
    server.is_still_running();
    #[cfg(unix)]
    {
        server.still_missing("the end after Ctrl-C, as before, without a last message");
        server.is_interrupted();
        for client in [&mut ana, &mut beto] {
            client.hears("closing");
            client.hears_the_end();
        }
        drop((ana, beto));
        server.ends_within(patience());
    }
}

#[cfg(unix)]
#[test]
#[ignore = "an exercise of lesson 06"]
fn exercise_3() {
    use std::net::TcpStream;
    use std::time::{Duration, Instant};

    let start = |secs| {
        let options = ["--last-orders", secs, "--grace", "60"];
        Server::start_with(STAGE, &options, "an option --last-orders")
    };
    let server = start("3600");
    let [mut ana, mut beto] = server.chat(["ana", "beto"]);
    server.still_missing("after Ctrl-C, for every client: \"* last orders: 3600 s\"");
    server.is_interrupted();
    for client in [&mut ana, &mut beto] {
        client.hears_exactly("* last orders: 3600 s");
    }
    server.still_missing("a chat that goes on after that");
    ana.says("one for the road");
    beto.hears_from("ana", "one for the road");
    beto.says("and one for you");
    ana.hears_from("beto", "and one for you");
    server.still_missing("from then on, no new client");
    let deadline = Instant::now() + patience();
    while TcpStream::connect(server.address()).is_ok() {
        if Instant::now() > deadline {
            server.fail("Clients are still accepted.");
        }
    }
    server.still_missing("an end at once when all clients have left, however much time is left");
    ana.leaves();
    beto.hears("ana");
    beto.half_closes();
    beto.is_let_go();
    drop(beto);
    server.ends_within(patience());

    let server = start("0.5");
    let [mut ana, mut beto] = server.chat(["ana", "beto"]);
    let begin = Instant::now();
    server.is_interrupted();
    server.still_missing("when the time is over, the same end as before");
    for client in [&mut ana, &mut beto] {
        client.hears_exactly("* last orders: 0.5 s");
        client.hears("closing");
        client.hears_the_end();
    }
    let taken = begin.elapsed();
    if taken < Duration::from_millis(500) {
        server.fail(format!(
            "The clients should have had half a second, but the server ended after {taken:?}."
        ));
    }
    drop((ana, beto));
    server.ends_within(patience());

    let server = start("3600");
    let [mut ana, _beto] = server.chat(["ana", "beto"]);
    server.is_interrupted();
    ana.hears("* last orders: 3600 s");
    server.still_missing("an end at once at the second Ctrl-C, as before");
    server.is_interrupted();
    ana.is_let_go();
    server.ended_with(130);
}
