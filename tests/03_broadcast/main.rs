//! Stage 03: what `examples/03_broadcast_server.rs` promises, and what is still
//! broken. `lessons/03_broadcast.md` explains.

mod exercises;
mod measure;
mod wrong_servers;

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, TryLockError};
use std::thread;
use std::time::{Duration, Instant};

use harness::{Client, Server, all_speak_at_once, has_words, lazy, patience, scenes, survival};

const STAGE: &str = "03_broadcast";

#[test]
fn every_other_client_hears_a_line() {
    let server = Server::start(STAGE);
    server.likely_cause("a new client takes the place of an older one in the list");
    let [mut ana, mut beto, mut carla] = server.room(["ana", "beto", "carla"]);
    // Blanks and empty lines belong to what was said.
    ana.says("hola   a todos");
    beto.hears("hola   a todos");
    carla.hears("hola   a todos");
    server.likely_cause("an empty line is a line too");
    ana.says("");
    beto.hears("");
    carla.hears("");
    server.likely_cause("a new client takes the place of an older one in the list");
    beto.says("hola ana");
    ana.hears("hola ana");
    carla.hears("hola ana");
    carla.says("hola los dos");
    ana.hears("hola los dos");
    beto.hears("hola los dos");
}

#[test]
fn a_client_does_not_hear_its_own_line() {
    let server = Server::start(STAGE);
    let [mut ana, mut beto] = server.room(["ana", "beto"]);
    server.likely_cause("the server relays to all clients instead of all the others");
    for round in 10..15 {
        ana.says(&format!("ana speaks {round}"));
        beto.hears(&format!("ana speaks {round}"));
        // If ana were to hear herself, it would be before this.
        beto.says(&format!("beto speaks {round}"));
        ana.hears(&format!("beto speaks {round}"));
    }
}

#[test]
fn each_line_tells_who_said_it() {
    let server = Server::start(STAGE);
    let [mut ana, mut beto] = server.room(["ana", "beto"]);
    ana.says("who is this?");
    let line = beto.hears("who is this?");
    tells_who_said_it(&server, &line, ana.address());
    beto.says("it is me");
    let line = ana.hears("it is me");
    tells_who_said_it(&server, &line, beto.address());
}

/// The port is what tells clients of one machine apart.
fn tells_who_said_it(server: &Server, line: &str, speaker: SocketAddr) {
    let port = speaker.port();
    if !has_words(line, &port.to_string()) {
        server.fail(format!(
            "{line:?} does not tell who said it: the speaker's address has port {port}."
        ));
    }
}

#[test]
fn a_line_in_two_packets_is_one_line() {
    let server = Server::start(STAGE);
    let [mut ana, mut beto] = server.room(["ana", "beto"]);
    scenes::a_line_in_two_packets(&server, &mut ana, |text| {
        beto.hears(text);
    });
}

#[test]
fn two_lines_in_one_packet_are_two_lines() {
    let server = Server::start(STAGE);
    let [mut ana, mut beto] = server.room(["ana", "beto"]);
    let address = ana.address();
    scenes::two_lines_in_one_packet(&server, &mut ana, |text| {
        let line = beto.hears(text);
        tells_who_said_it(&server, &line, address);
    });
}

#[test]
fn a_character_split_between_packets_stays_whole() {
    let server = Server::start(STAGE);
    let [mut ana, mut beto] = server.room(["ana", "beto"]);
    scenes::a_split_character(&server, &mut ana, |text| {
        beto.hears(text);
    });
}

#[test]
fn a_line_of_64_kib_arrives_whole() {
    let server = Server::start(STAGE);
    let [mut ana, mut beto] = server.room(["ana", "beto"]);
    scenes::a_long_line(&server, 64 * 1024, &mut ana, |text| {
        beto.hears(text);
    });
}

#[test]
fn a_line_is_not_held_back_until_another_has_been_acknowledged() {
    let Some(server) = Server::of(STAGE).ours_only().start() else {
        return;
    };
    let [mut ana, mut beto] = server.room(["ana", "beto"]);
    server.likely_cause("TCP_NODELAY is not set: Nagle's algorithm waits for a delayed ACK");
    // Beto speaks, so his system expects him to speak again soon, and waits for that
    // before it acknowledges what comes. One quick round shows that the server does not wait for
    // the acknowledgement, however slow the machine is.
    let held_back = (10..20).map(|round| {
        beto.says(&format!("question {round}"));
        ana.hears(&format!("question {round}"));
        ana.says(&format!("answer {round}"));
        ana.says(&format!("and more {round}"));
        beto.hears(&format!("answer {round}"));
        let start = Instant::now();
        beto.hears(&format!("and more {round}"));
        start.elapsed()
    });
    let least = held_back.min().unwrap();
    if least > Duration::from_millis(20) {
        server.fail(format!(
            "Of ten lines that followed another one at once, each came {least:?} after it, \
             or later."
        ));
    }
}

#[test]
fn long_lines_of_two_speakers_do_not_mix() {
    const LINES: usize = 12;
    let server = Server::start(STAGE);
    let mut all = vec![server.client_with_buffer("carla", 64 * 1024)];
    all.extend(["ana", "beto"].map(|name| server.client(name)));
    server.roll_call(&mut all);
    server.likely_cause("two threads write to one client at the same time: what keeps them apart?");
    let texts = ["a", "b"].map(|letter| letter.repeat(512 * 1024));
    let (carla, speakers) = all.split_first_mut().unwrap();
    let sent = AtomicUsize::new(0);
    thread::scope(|scope| {
        for (speaker, text) in speakers.iter().zip(&texts) {
            let (mut stream, sent) = (speaker.stream(), &sent);
            // If the test fails, these threads have to end too.
            stream.set_write_timeout(Some(harness::patience())).unwrap();
            stream.set_read_timeout(Some(harness::patience())).unwrap();
            scope.spawn(move || {
                let lines = format!("{text}\n").repeat(LINES);
                for chunk in lines.as_bytes().chunks(64 * 1024) {
                    stream.write_all(chunk)?;
                    sent.fetch_add(1, Ordering::Relaxed);
                }
                io::Result::Ok(())
            });
            // Each also reads what the other one says.
            let mut stream = speaker.stream();
            scope.spawn(move || {
                let mut left = LINES * 512 * 1024;
                let mut buffer = [0; 1 << 16];
                while let Ok(count @ 1..) = stream.read(&mut buffer) {
                    left = left.saturating_sub(count);
                    if left == 0 {
                        break;
                    }
                }
            });
        }
        // Carla reads only when no more can be sent: then all buffers on the way are
        // full, and both wait for her in the middle of a line.
        let mut before = usize::MAX;
        while before != sent.load(Ordering::Relaxed) {
            before = sent.load(Ordering::Relaxed);
            thread::park_timeout(Duration::from_millis(200));
        }
        for _ in 0..2 * LINES {
            let line = carla.hears_either(&[&texts[0], &texts[1]]);
            if line.len() > texts[0].len() + 200 {
                server.fail(format!("A line of {} bytes came.", line.len()));
            }
        }
    });
}

#[test]
fn a_carriage_return_before_the_line_feed_is_dropped() {
    let server = Server::start(STAGE);
    let [mut ana, mut beto] = server.room(["ana", "beto"]);
    ana.sends(b"from nc\nfrom telnet\r\n");
    // A server may end all its lines in CR LF, but not one of them because ana did.
    let [nc, telnet] = ["from nc", "from telnet"].map(|text| beto.hears(text));
    if nc.ends_with('\r') != telnet.ends_with('\r') || telnet.ends_with("\r\r") {
        server.fail(format!("The carriage return was relayed: {telnet:?}."));
    }
}

#[test]
fn a_client_that_stops_sending_gets_the_end_and_the_others_go_on() {
    let server = Server::start(STAGE);
    let [mut ana, mut beto, mut carla] = server.room(["ana", "beto", "carla"]);
    server.likely_cause(
        "a client that has left stays on the list, which keeps its connection open or \
         makes the next relay fail",
    );
    ana.half_closes();
    ana.hears_the_end();
    drop(ana);
    for round in 10..15 {
        beto.says(&format!("without ana {round}"));
        carla.hears(&format!("without ana {round}"));
    }
}

#[test]
fn what_was_said_just_before_leaving_is_heard() {
    let server = Server::start(STAGE);
    let [ana, mut beto] = server.room(["ana", "beto"]);
    scenes::last_words(&server, ana, |text| {
        beto.hears(text);
    });
}

#[test]
fn a_reset_in_the_middle_of_a_burst_does_not_disturb_the_others() {
    let server = Server::start(STAGE);
    let [mut beto, mut carla, mut ana] = server.room(["beto", "carla", "ana"]);
    server.likely_cause(
        "the server, or one of its threads, froze or ended when a client vanished: does an \
         error while sending end the sender, or take a lock that is held already?",
    );
    for n in 100..150 {
        beto.says(&format!("burst {n}"));
    }
    ana.hears("burst 100");
    ana.resets();
    for n in 150..200 {
        beto.says(&format!("burst {n}"));
    }
    for n in 100..200 {
        carla.hears(&format!("burst {n}"));
    }
    // By now the whole server knows that ana is gone.
    for n in 200..250 {
        beto.says(&format!("burst {n}"));
        carla.hears(&format!("burst {n}"));
    }
    let dora = server.client("dora");
    let mut all = [beto, carla, dora];
    server.roll_call(&mut all);
    let [mut beto, _, mut dora] = all;
    dora.says("I am new");
    beto.hears("I am new");
}

#[test]
fn rubbish_from_one_client_does_not_disturb_the_others() {
    let server = Server::start(STAGE);
    let [mut ana, mut beto] = server.room(["ana", "beto"]);
    scenes::rubbish(&server, &mut ana, &mut beto);
}

#[test]
fn fifty_clients_hear_each_line_once_and_in_order() {
    let server = Server::start(STAGE);
    let mut clients: Vec<_> = (0..50)
        .map(|n| server.client(&format!("client {n}")))
        .collect();
    server.roll_call(&mut clients);
    server.likely_cause(
        "two threads write or change the list at the same time, or lines overtake each \
         other on their way",
    );
    all_speak_at_once(&server, &mut clients, 5);
}

/// A line from this client is heard by another one.
fn is_served(server: &Server, client: &mut Client, text: &str) {
    client.says(text);
    server.shows(&format!("[{}] {text}", client.address()));
}

#[test]
fn without_file_descriptors_it_neither_ends_nor_spins() {
    survival::no_file_descriptor_at_all(STAGE, 4);
}

#[test]
fn out_of_file_descriptors_it_goes_on_and_serves_again_later() {
    survival::out_of_file_descriptors(STAGE, is_served);
}

#[test]
fn without_a_thread_for_a_client_it_goes_on_and_serves_again_later() {
    survival::out_of_threads(STAGE, is_served);
}

#[test]
fn the_wording_is_address_says_text() {
    let Some(server) = Server::of(STAGE).ours_only().start() else {
        return;
    };
    let [mut ana, mut beto] = server.room(["ana", "beto"]);
    ana.says("hola");
    let line = beto.hears("hola");
    assert_eq!(line, format!("{} says: hola", ana.address()));
}

/// Why the server that is often taught freezes, shown without freezing: a lock that is held is not
/// free for any thread, not even for the thread that holds it.
#[test]
fn a_thread_waits_for_a_lock_that_it_holds_itself() {
    let clients = Mutex::new(vec!["ana", "beto"]);
    let held = clients.lock().unwrap();
    // `clients.lock()` here would compile, and wait for this very thread, for ever.
    let again = clients.try_lock();
    assert!(matches!(again, Err(TryLockError::WouldBlock)));
    drop(held);
    assert!(clients.try_lock().is_ok());
}

#[test]
fn still_broken_one_client_that_never_reads_stops_the_room() {
    let Some(server) = Server::of(STAGE).ours_only().start() else {
        return;
    };
    let lazy = lazy::client(&server);
    let [ana, beto] = server.room(["ana", "beto"]);
    lazy::stops_the_room(lazy, &ana, beto);
}

#[test]
fn still_broken_clients_have_no_names() {
    let Some(server) = Server::of(STAGE).ours_only().start() else {
        return;
    };
    let [mut ana, mut beto] = server.room(["ana", "beto"]);
    ana.says("ana");
    ana.says("hola");
    // Her name is a line like any other.
    beto.hears("says: ana");
    let line = beto.hears("hola");
    assert!(!line.contains("ana"), "{line:?}");
}

#[cfg(unix)]
#[test]
fn still_broken_a_thread_that_panics_leaves_its_client_on_the_list() {
    // The server prints into a named pipe. Once its first line has been read, the pipe has no
    // reader, as in `server | head -1`. It gets one again when the operator types a line.
    const SCRIPT: &str = r#"
        rm -f "$NAMED_PIPE"
        mkfifo "$NAMED_PIPE"
        exec 3<&0
        {
            head -n 1 <"$NAMED_PIPE"
            echo the output has no reader
            read line <&3
            exec <"$NAMED_PIPE"
            rm "$NAMED_PIPE"
            echo the output has a reader
            cat
        } &
        exec "$0" "$@" >"$NAMED_PIPE"
    "#;
    let id = std::process::id();
    let pipe = format!("{}/{id}.pipe", env!("CARGO_TARGET_TMPDIR"));
    let without_a_reader = Server::of(STAGE).in_shell(SCRIPT).env("NAMED_PIPE", &pipe);
    let Some(server) = without_a_reader.ours_only().start() else {
        return;
    };
    server.shows("the output has no reader");

    // Ana is on the list when her thread prints that she has connected, and panics.
    let mut ana = server.client("ana");
    server.shows("failed printing to stdout");
    // Where the system tells, wait until her thread has ended: then only `main` is left.
    let deadline = Instant::now() + patience();
    while server.threads().is_some_and(|threads| threads > 1) && Instant::now() < deadline {
        thread::park_timeout(Duration::from_millis(5));
    }

    server.types("");
    server.shows("the output has a reader");
    let [mut beto, mut carla] = server.room(["beto", "carla"]);
    ana.says("I am here too");
    ana.half_closes();
    for round in 10..15 {
        // No thread has read ana's line, or the end of her stream.
        beto.says(&format!("hola {round}"));
        carla.hears(&format!("hola {round}"));
        // She is still on the list, and her connection is open.
        if !ana.hears_within(&format!("hola {round}"), patience()) {
            server.fail("Ana should still hear beto.");
        }
    }
}
