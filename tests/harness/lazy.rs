//! A client that never reads. In stages 03 and 04 it stops the room. From stage 05 on it
//! harms no other client: a stage makes tests of these promises by `harness::lazy!();`.

use std::io::{self, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::client::places;
use super::{Client, Server, has_words, patience};

promises! { lazy:
    a_client_that_does_not_read_harms_no_other_client
    many_clients_that_do_not_read_are_disconnected_at_once
    a_client_that_half_closes_gets_what_is_due
}

/// The likely cause when the others hear nothing any more.
const A_WRITER_WAITS: &str = "a thread that writes to a client that does not read has to wait. With the \
                              room locked, all the others wait as well";

/// Connects, and reads nothing.
pub fn client(server: &Server) -> TcpStream {
    let lazy = server.client_with_buffer("lazy", 1024);
    server.shows("connected");
    lazy.stream().try_clone().unwrap()
}

/// Ana speaks on and on, until beto does not hear her any more. As soon as the lazy client
/// reads, everything moves again.
#[track_caller]
pub fn stops_the_room(lazy: TcpStream, ana: &Client, beto: Client) {
    stops_the_room_while(lazy, ana, beto, || {});
}

/// As [`stops_the_room`]. Calls `happens` while nothing moves.
#[track_caller]
pub fn stops_the_room_while(
    mut lazy: TcpStream,
    ana: &Client,
    mut beto: Client,
    happens: impl FnOnce(),
) {
    let stopped = Arc::new(AtomicBool::new(false));
    let has_stopped = Arc::clone(&stopped);
    let mut speaking = ana.stream().try_clone().unwrap();
    let speaker = thread::spawn(move || {
        let line = format!("{}\n", "x".repeat(16 * 1024));
        while !has_stopped.load(Ordering::Relaxed) {
            speaking.write_all(line.as_bytes()).unwrap();
        }
        speaking.write_all(b"at last\n").unwrap();
    });
    // With a right server, this would go on for ever. So there is a deadline.
    let deadline = Instant::now() + patience();
    while beto.hears_any(Duration::from_millis(500)).is_some() {
        assert!(Instant::now() < deadline, "the room has not stopped");
    }
    stopped.store(true, Ordering::Relaxed);
    beto.has_heard_nothing();
    happens();

    thread::spawn(move || io::copy(&mut lazy, &mut io::sink()));
    let heard = beto.hears_within("at last", patience());
    assert!(heard, "the room should have gone on");
    speaker.join().unwrap();
}

/// A client joins whose system takes few bytes that it has not read. The others have heard
/// that it joined.
#[track_caller]
pub fn joins_and_reads_little(server: &Server, name: &str, others: &mut [&mut Client]) -> Client {
    let mut client = server.client_with_buffer(name, 1024);
    client.says(name);
    for other in others {
        other.hears(name);
    }
    client
}

pub fn a_client_that_does_not_read_harms_no_other_client(stage: &str) {
    if let Some(server) = Server::of(stage).with_high_limits().start() {
        is_disconnected_as_slow(&server);
    }
}

pub fn a_client_that_half_closes_gets_what_is_due(stage: &str) {
    if let Some(server) = Server::of(stage).with_high_limits().start() {
        gets_what_is_due(&server);
    }
}

/// Many clients that never read are all disconnected at once, and each leave is announced.
/// (A server that disconnects each inside of the call for the one before needs a large
/// stack.)
pub fn many_clients_that_do_not_read_are_disconnected_at_once(stage: &str) {
    let with_small_stacks = Server::of(stage).env("RUST_MIN_STACK", "65536");
    let Some(server) = with_small_stacks.with_high_limits().start() else {
        return;
    };
    let sleepers = match std::env::var_os("STAGE_CMD") {
        Some(_) => 3,
        None => 60,
    };
    server.likely_cause(A_WRITER_WAITS);
    let [mut ana, mut beto] = server.chat(["ana", "beto"]);
    let names: Vec<_> = (0..sleepers).map(|n| format!("sleeper{n}")).collect();
    let mut others = [&mut ana, &mut beto];
    let asleep: Vec<_> = names
        .iter()
        .map(|name| joins_and_reads_little(&server, name, &mut others))
        .collect();
    let awaited: Vec<_> = names.iter().map(String::as_str).chain(["line"]).collect();
    // Beto hears what ana says, and hears once of each sleeper that it left. Ana goes on for a
    // while after the last one.
    let text = "x".repeat(16 * 1024);
    let mut gone = Vec::new();
    let mut last = 2500;
    for n in 1000.. {
        if n == last {
            break;
        }
        ana.says(&format!("line {n} {text}"));
        loop {
            let heard = beto.hears_either(&awaited);
            if places(&heard, &text).next().is_some() {
                break;
            }
            gone.push(heard);
        }
        if gone.len() == sleepers && last == 2500 {
            last = n + 20;
        }
    }
    server.likely_cause(
        "a client was disconnected while the announcement of another client's leave was on \
         its way to the others",
    );
    let times = gone.len();
    gone.sort_unstable();
    gone.dedup();
    if times != sleepers || gone.len() != sleepers {
        server.fail(format!(
            "Of {sleepers} clients that never read, {times} leaves were announced: {gone:?}."
        ));
    }
    server.likely_cause(A_WRITER_WAITS);
    ana.says("peace at last");
    if !beto.hears_within("peace at last", patience()) {
        server.fail("Beto does not hear ana any more.");
    }
    drop(asleep);
}

/// Ana speaks until the client that never reads is disconnected. Beto hears everything.
/// Returns the announcement.
#[track_caller]
pub fn is_disconnected_as_slow(server: &Server) -> String {
    let [mut ana, mut beto] = server.chat(["ana", "beto"]);
    let mut sleeper = joins_and_reads_little(server, "sleeper", &mut [&mut ana, &mut beto]);
    server.likely_cause(A_WRITER_WAITS);
    // Ana says far more than all buffers on the way to the sleeper can hold. After the
    // announcement she says some more, to see that it comes only once.
    let mut announcements = Vec::new();
    let text = "x".repeat(16 * 1024);
    let mut last = 2500;
    for n in 1000.. {
        if n == last {
            break;
        }
        ana.says(&format!("{n} {text}"));
        let mut heard = beto.hears_either(&[&n.to_string(), "sleeper"]);
        if has_words(&heard, "sleeper") {
            announcements.push(heard);
            last = n + 20;
            heard = beto.hears(&n.to_string());
        }
        if !heard.trim_end().ends_with(&text) {
            server.fail("Beto heard a line that was cut.");
        }
    }
    let [announcement] = &announcements[..] else {
        server.fail(format!(
            "A client had 24 MB sent to it and read none, and what the others heard of its \
             end is {announcements:?}."
        ));
    };
    // The sleeper finds its connection closed.
    sleeper.is_let_go();
    announcement.clone()
}

/// Carla reads late, and only after she has half-closed; nothing is lost for her.
#[track_caller]
pub fn gets_what_is_due(server: &Server) {
    let [mut ana, mut beto] = server.chat(["ana", "beto"]);
    let mut carla = joins_and_reads_little(server, "carla", &mut [&mut ana, &mut beto]);
    server.likely_cause(A_WRITER_WAITS);
    let text = "x".repeat(16 * 1024);
    for n in 100..500 {
        ana.says(&format!("line {n} {text}"));
        beto.hears_from("ana", &format!("line {n}"));
    }
    server.likely_cause("what waits for a client that has half-closed is thrown away");
    carla.half_closes();
    if !carla.hears_within("line 100", patience()) {
        server.fail("Carla should have heard \"line 100\".");
    }
    for n in 101..500 {
        carla.hears_from("ana", &format!("line {n} {text}"));
    }
    carla.hears_the_end();
    beto.hears("carla");
    // The server announces once that carla left, whatever still happens on her connection.
    let left = server.lines_with(&format!("{} left", carla.address()));
    if left > 1 {
        server.fail(format!("The server says {left} times that carla left."));
    }
}
