//! The checks of the exercises in `lessons/07_limits.md`, *Change it*: each fails until its
//! exercise is done.

use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use harness::{Server, patience};

use super::STAGE;

#[test]
#[ignore = "an exercise of lesson 07"]
fn exercise_1() {
    let server = Server::start(STAGE);
    let [mut ana, mut beto] = server.chat(["ana", "beto"]);
    for (part, times) in [(&[b'x'; 1024][..], 32 * 1024), (b"flood\n", 10_000)] {
        let mut rude = server.client("rude");
        rude.says("rude");
        ana.hears("rude");
        beto.hears("rude");
        rude.sends_for_ever(part, times);
        let why = rude.is_told_why();
        let why = why.trim_start_matches("! ").trim_end();
        for client in [&mut ana, &mut beto] {
            server.still_missing(&format!(
                "for the others, one line with the reason that the server gave rude: \
                 \"* rude left: {why}\""
            ));
            let line = loop {
                let line = client.hears_either(&["rude", "flood"]);
                if !line.starts_with("rude: flood") {
                    break line;
                }
            };
            if line.trim_end() != format!("* rude left: {why}") {
                client.fail(format!("heard {line:?}."));
            }
        }
        server.still_missing("one line, and not two");
        beto.says("that was rude");
        ana.hears_from("beto", "that was rude");
        ana.says("forget it");
        beto.hears_from("ana", "forget it");
    }
    server.still_missing("no line about a client that was never in the room");
    let mut nameless = server.client("nameless");
    nameless.sends_for_ever(&[b'x'; 1024], 32 * 1024);
    nameless.is_told_why_and_disconnected();
    server.still_missing("no reason for a client that leaves in order: \"* carla left\"");
    let mut carla = server.client("carla");
    carla.says("carla");
    ana.hears("carla");
    carla.half_closes();
    carla.is_let_go();
    ana.hears_exactly("* carla left");

    // Silence is a reason too. Ana comes later and goes on speaking, so her time ends later.
    let options = ["--idle-timeout", "1"];
    let server = Server::start_with(STAGE, &options, "an option --idle-timeout, as before");
    let mut rude = server.client("rude");
    rude.says("rude");
    rude.hears("rude"); // the welcome
    let mut ana = server.client("ana");
    ana.says("ana");
    ana.hears("ana");
    server.still_missing("for the others, the reason why the server disconnected a silent client");
    let deadline = Instant::now() + patience();
    let line = loop {
        if let Some(line) = ana.hears_any(Duration::from_millis(50)) {
            break line;
        }
        if Instant::now() > deadline {
            ana.fail("has not heard that rude left.".into());
        }
        ana.says("is anybody asleep?");
    };
    let why = rude.is_told_why();
    let why = why.trim_start_matches("! ").trim_end();
    if line != format!("* rude left: {why}") {
        ana.fail(format!(
            "should have heard \"* rude left: {why}\", but heard {line:?}."
        ));
    }
}

#[test]
#[ignore = "an exercise of lesson 07"]
fn exercise_2() {
    let missing = "an option --max-per-address";
    let server = Server::start_with(STAGE, &["--max-per-address", "3"], missing);
    let [mut ana, mut beto] = server.chat(["ana", "beto"]);
    let nameless = server.client("nameless");
    for _ in 0..3 {
        server.still_missing(
            "for the fourth client from one address: a line that begins with \"! \", and the end. \
             A client without a name is one of the three",
        );
        let mut carla = server.client("carla");
        carla.is_told_why_and_disconnected();
        server.still_missing("no harm to the clients in the room");
        ana.says("she will come back");
        beto.hears_from("ana", "she will come back");
    }
    // On Linux, every address that begins with 127 is this machine.
    if server.address().is_ipv4()
        && let Ok(mut dora) = connect_from([127, 0, 0, 2], &server)
    {
        server.still_missing("room for a client from another address");
        dora.write_all(b"dora\n").unwrap();
        ana.hears("dora");
        drop(dora);
        ana.hears("dora");
    }
    server.still_missing("room for another client, as soon as one of the three has left");
    nameless.leaves();
    let deadline = Instant::now() + patience();
    loop {
        let mut carla = server.client("carla");
        carla.says("carla");
        if ana.hears_within("carla", Duration::from_millis(50)) {
            break;
        }
        if Instant::now() > deadline {
            server.fail("Carla does not get in.");
        }
    }
}

/// A connection that comes from another address of this machine, if there is one.
fn connect_from(ip: [u8; 4], server: &Server) -> std::io::Result<TcpStream> {
    use socket2::{Domain, Socket, Type};
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&std::net::SocketAddr::from((ip, 0)).into())?;
    socket.connect(&server.address().into())?;
    Ok(socket.into())
}

#[test]
#[ignore = "an exercise of lesson 07"]
fn exercise_3() {
    // Forty lines at once, and then ten a second.
    let options = ["--slow-down", "--max-rate", "10", "--grace", "0.5"];
    let server = Server::start_with(STAGE, &options, "an option --slow-down");
    let [mut ana, mut beto, mut carla] = server.chat(["ana", "beto", "carla"]);
    let lines: String = (100..170).map(|n| format!("{n}\n")).collect();
    let begin = Instant::now();
    carla.sends(lines.as_bytes());
    let mut ana_was_heard = false;
    for n in 100..170 {
        server.still_missing("for the others, every line of a client that speaks too fast");
        let mut line = beto.hears_either(&["ana", "carla"]);
        if line.starts_with("ana: ") {
            ana_was_heard = true;
            line = beto.hears("carla");
        }
        if line != format!("carla: {n}") {
            beto.fail(format!("should have heard \"{n}\", but heard {line:?}."));
        }
        if n == 100 {
            ana.says("may I?");
        }
    }
    if !ana_was_heard {
        server.still_missing(
            "patience at the right place: ana had to wait until all of carla's lines had gone. Is \
             the room locked while carla's thread waits?",
        );
        beto.fail("heard all of carla's lines, and then ana's.".into());
    }
    let taken = begin.elapsed();
    if taken < Duration::from_millis(2900) {
        server.still_missing("the limit: at most forty lines at once, and ten a second");
        server.fail(format!(
            "The server passed on seventy lines within {taken:.1?}."
        ));
    }
    server.still_missing("no harm to the client that was slowed down");
    carla.says("I am still here");
    beto.hears_exactly("carla: I am still here");

    server.still_missing("the server disconnects a client that says too long a line, as before");
    let mut rude = server.client("rude");
    rude.sends_for_ever(&[b'x'; 1024], 32 * 1024);
    rude.is_told_why_and_disconnected();

    #[cfg(unix)]
    {
        // At ten lines a second, these take three minutes.
        carla.sends("x\n".repeat(2000).as_bytes());
        beto.hears("x");
        server.still_missing("an end in time, although the server is slowing down a client");
        server.is_interrupted();
        server.ends_within(patience());
    }

    let options = ["--max-rate", "10"];
    let server = Server::start_with(STAGE, &options, "an option --max-rate, as before");
    server.still_missing(
        "without --slow-down, the server disconnects a client that speaks too fast, as before",
    );
    let [_ana, mut beto] = server.chat(["ana", "beto"]);
    beto.sends_for_ever(b"flood\n", 10_000);
    beto.is_told_why_and_disconnected();
}
