//! An orderly end, which every server from stage 06 on must have. A stage makes tests of these
//! promises by `harness::shutdown!();`. Not on Windows, where one program cannot send SIGINT
//! to another.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use super::lazy::joins_and_reads_little;
use super::{Server, has_words, patience};

promises! { shutdown:
    every_client_is_told_that_the_server_closes
    nothing_that_is_said_after_ctrl_c_is_passed_on
    nothing_that_the_room_accepted_is_lost
    no_client_can_hold_the_server_up
    the_grace_is_as_long_as_the_option_says
    a_second_ctrl_c_ends_it_at_once
    a_client_that_comes_after_ctrl_c_is_not_let_in
    after_ctrl_c_no_client_can_connect
    a_log_without_a_reader_stops_no_client
}

pub fn every_client_is_told_that_the_server_closes(stage: &str) {
    let server = Server::start(stage);
    let [mut ana, mut beto] = server.chat(["ana", "beto"]);
    let mut nameless = server.client("nameless");
    nameless.says("ANA");
    nameless.is_refused();
    server.likely_cause(
        "the server does not tell its clients that it is closing, or not all of them",
    );
    server.is_interrupted();
    for client in [&mut ana, &mut beto, &mut nameless] {
        client.hears("closing");
        client.hears_the_end();
    }
    drop((ana, beto, nameless));
    server.ends_within(patience());
}

/// Carla still has much to read when the server closes. The closing is the last thing.
pub fn nothing_that_is_said_after_ctrl_c_is_passed_on(stage: &str) {
    let Some(server) = Server::of(stage)
        .with(["--grace", "60"])
        .with_high_limits()
        .start()
    else {
        return;
    };
    let [mut ana, mut beto] = server.chat(["ana", "beto"]);
    let [mut carla, mut dora] = ["carla", "dora"].map(|name| {
        // Their systems take some lines for them, and the others wait in the server.
        let mut client = server.client_with_buffer(name, 32 * 1024);
        client.says(name);
        ana.hears(name);
        beto.hears(name);
        client
    });
    server.likely_cause("the chat goes on while the server closes");
    let text = "x".repeat(16 * 1024);
    for n in 100..450 {
        ana.says(&format!("line {n} {text}"));
        beto.hears_from("ana", &format!("line {n}"));
    }
    server.is_interrupted();
    ana.hears("closing");
    // Dora has much to read, too: so the server still hears her.
    dora.says("too late");
    dora.half_closes();
    for client in [&mut dora, &mut carla] {
        loop {
            match client.hears_any(patience()) {
                Some(line) if has_words(&line, "closing") => break,
                Some(line) if has_words(&line, "too late") => {
                    client.fail(format!("heard {line:?}, which came after Ctrl-C."))
                }
                Some(_) => {}
                None => client.fail("should have heard that the server closes.".into()),
            }
        }
        client.hears_the_end();
    }
}

pub fn nothing_that_the_room_accepted_is_lost(stage: &str) {
    let Some(server) = Server::of(stage)
        .with(["--grace", "60"])
        .with_high_limits()
        .start()
    else {
        return;
    };
    let [mut ana, mut beto] = server.chat(["ana", "beto"]);
    // Carla's system takes little for her, so that most of it waits in her outbox.
    let mut carla = joins_and_reads_little(&server, "carla", &mut [&mut ana, &mut beto]);
    server.likely_cause("what waits in the outboxes is lost when the server ends");
    let text = "x".repeat(16 * 1024);
    for n in 100..500 {
        ana.says(&format!("line {n} {text}"));
        // What beto has heard, the room has accepted; carla has read nothing yet.
        beto.hears_from("ana", &format!("line {n}"));
    }
    server.is_interrupted();
    if !carla.hears_within("line 100", patience()) {
        server.fail("Carla should have heard \"line 100\".");
    }
    for n in 101..500 {
        carla.hears_from("ana", &format!("line {n} {text}"));
    }
    carla.hears("closing");
    carla.hears_the_end();
}

pub fn no_client_can_hold_the_server_up(stage: &str) {
    let Some(server) = Server::of(stage)
        .with(["--grace", "0.5"])
        .with_high_limits()
        .start()
    else {
        return;
    };
    server.likely_cause("the server joins the threads of clients that never read, or never close");
    // One client never reads, one never says a name, and the others read and do not close.
    let _nameless = server.client("nameless");
    let [mut ana, mut beto] = server.chat(["ana", "beto"]);
    let _sleeper = joins_and_reads_little(&server, "sleeper", &mut [&mut ana, &mut beto]);
    // There are so many clients that the server has no time to wait for each in turn.
    let _others: Vec<_> = (10..20)
        .map(|n| {
            let mut client = server.client(&format!("other{n}"));
            client.says(&format!("other{n}"));
            ana.hears(&format!("other{n}"));
            beto.hears(&format!("other{n}"));
            client
        })
        .collect();
    for n in 100..300 {
        ana.says(&format!("{n} {}", "x".repeat(4096)));
        beto.hears_from("ana", &n.to_string());
    }
    server.is_interrupted();
    beto.hears("closing");
    // Three seconds, and a bit for a busy machine.
    server.ends_within(patience().min(Duration::from_secs(4)));
}

pub fn the_grace_is_as_long_as_the_option_says(stage: &str) {
    let Some(server) = Server::of(stage)
        .with(["--grace", "0.5"])
        .ours_only()
        .start()
    else {
        return;
    };
    let mut ana = server.client("ana");
    ana.says("ana");
    ana.hears("welcome");
    // Ana does not close.
    let start = Instant::now();
    server.is_interrupted();
    server.ends_within(patience());
    let taken = start.elapsed();
    if taken < Duration::from_millis(500) {
        server.fail(format!(
            "The grace is half a second, but all was over in {taken:?}."
        ));
    }
}

pub fn a_second_ctrl_c_ends_it_at_once(stage: &str) {
    let Some(server) = Server::of(stage)
        .with(["--grace", "3600"])
        .ours_only()
        .start()
    else {
        return;
    };
    let mut ana = server.client("ana");
    ana.says("ana");
    ana.hears("welcome");
    server.is_interrupted();
    ana.hears("closing");
    server.is_still_running();
    server.is_interrupted();
    ana.is_let_go();
    server.ended_with(130);
}

pub fn a_client_that_comes_after_ctrl_c_is_not_let_in(stage: &str) {
    let server = Server::start(stage);
    let [mut ana, _beto] = server.chat(["ana", "beto"]);
    server.likely_cause("the server goes on accepting after Ctrl-C");
    server.is_interrupted();
    ana.hears("closing");
    // Ana and beto do not close, so the server still waits for them.
    let Ok(mut late) = TcpStream::connect(server.address()) else {
        return; // refused
    };
    // Any error here is a refusal as well.
    let _ = late.write_all(b"late\n");
    late.set_read_timeout(Some(patience())).unwrap();
    for line in BufReader::new(late).lines().map_while(Result::ok) {
        if !line.starts_with("! ") && !has_words(&line, "closing") {
            server.fail(format!(
                "After Ctrl-C, a new client connected and heard {line:?}."
            ));
        }
    }
}

pub fn after_ctrl_c_no_client_can_connect(stage: &str) {
    let Some(server) = Server::of(stage)
        .with(["--grace", "3600"])
        .ours_only()
        .start()
    else {
        return;
    };
    let [mut ana, _beto] = server.chat(["ana", "beto"]);
    server.is_interrupted();
    ana.hears("closing");
    let deadline = Instant::now() + patience();
    while TcpStream::connect(server.address()).is_ok() {
        assert!(Instant::now() < deadline, "clients are still accepted");
    }
    server.is_still_running();
}

/// The operator has stopped the terminal (Ctrl-S), or looks at something else.
pub fn a_log_without_a_reader_stops_no_client(stage: &str) {
    // What the server prints goes into a pipe. After the line about listening has been read,
    // the pipe is always full.
    let script = "{ yes '' & exec \"$0\" \"$@\"; } | { grep -m 1 listening; exec sleep 3600; }";
    let Some(server) = Server::of(stage).in_shell(script).ours_only().start() else {
        return;
    };
    server.likely_cause("the server waits until what it logs is written");
    let [mut ana, mut beto] = server.chat(["ana", "beto"]);
    for _ in 0..100 {
        server.client("carla").leaves();
    }
    ana.says("who reads the log?");
    beto.hears_from("ana", "who reads the log?");
}
