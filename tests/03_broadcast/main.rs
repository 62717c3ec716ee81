//! Stage 03: what `examples/03_broadcast_server.rs` promises, and what is still
//! broken. `lessons/03_broadcast.md` explains.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, TryLockError};
use std::thread;
use std::time::{Duration, Instant};

use harness::wrong::Hosted;
use harness::{
    Client, Server, everybody_speaks_at_once, has_words, lazy, patience, refused, survival,
};

const STAGE: &str = "03_broadcast";

#[test]
fn everybody_else_hears_a_line() {
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
fn nobody_hears_their_own_line() {
    let server = Server::start(STAGE);
    let [mut ana, mut beto] = server.room(["ana", "beto"]);
    server.likely_cause("the server relays to everybody instead of everybody else");
    for round in 10..15 {
        ana.says(&format!("ana speaks {round}"));
        beto.hears(&format!("ana speaks {round}"));
        // If ana were to hear herself, it would be before this.
        beto.says(&format!("beto speaks {round}"));
        ana.hears(&format!("beto speaks {round}"));
    }
}

#[test]
fn each_line_tells_whose_it_is() {
    let server = Server::start(STAGE);
    let [mut ana, mut beto] = server.room(["ana", "beto"]);
    ana.says("who is this?");
    let line = beto.hears("who is this?");
    tells_whose_it_is(&server, &line, &ana);
    beto.says("it is me");
    let line = ana.hears("it is me");
    tells_whose_it_is(&server, &line, &beto);
}

/// The port is what tells clients of one machine apart.
fn tells_whose_it_is(server: &Server, line: &str, speaker: &Client) {
    let port = speaker.address().port();
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
    server.likely_cause("the server takes what one read returned for a line");
    for round in 0..5 {
        let rest = format!(" half {round}\n");
        ana.sends_in_two(b"half and", rest.as_bytes(), round);
        beto.hears(&format!("half and half {round}"));
    }
}

#[test]
fn two_lines_in_one_packet_are_two_lines() {
    let server = Server::start(STAGE);
    let [mut ana, mut beto] = server.room(["ana", "beto"]);
    server.likely_cause("the server takes what one read returned for a line");
    ana.sends(b"first\nsecond\nthi");
    ana.sends(b"rd\n");
    for text in ["first", "second", "third"] {
        let line = beto.hears(text);
        tells_whose_it_is(&server, &line, &ana);
    }
}

#[test]
fn a_character_split_between_packets_stays_whole() {
    let server = Server::start(STAGE);
    let [mut ana, mut beto] = server.room(["ana", "beto"]);
    server.likely_cause("the server decodes what one read returned; a character may go on");
    for (round, text) in (0..5).zip(["ñandú", "漢字"].into_iter().cycle()) {
        let (half, rest) = text.as_bytes().split_at(1);
        ana.sends_in_two(half, &[rest, b"\n"].concat(), round);
        beto.hears(text);
    }
}

#[test]
fn a_line_of_64_kib_arrives_whole() {
    let server = Server::start(STAGE);
    let [mut ana, mut beto] = server.room(["ana", "beto"]);
    server.likely_cause("a line may be longer than a buffer");
    let line = "x".repeat(64 * 1024);
    ana.says(&line);
    beto.hears(&line);
}

#[test]
fn a_line_is_not_held_back_until_another_has_been_acknowledged() {
    let Some(server) = Server::ours(STAGE) else {
        return;
    };
    let [mut ana, mut beto] = server.room(["ana", "beto"]);
    server.likely_cause("TCP_NODELAY is not set: Nagle's algorithm waits for a delayed ACK");
    // Beto speaks, so his system expects him to speak again soon, and waits for that
    // before it acknowledges what comes. One quick round shows that nobody waits for
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
            // Should the test fail, these threads have to end too.
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
            thread::park_timeout(Duration::from_millis(50));
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
fn whoever_stops_sending_gets_the_end_and_the_others_go_on() {
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
    let [mut ana, mut beto] = server.room(["ana", "beto"]);
    server.likely_cause("what has been read already is lost when the client leaves");
    for n in 10..40 {
        ana.says(&format!("last words {n}"));
    }
    ana.leaves();
    for n in 10..40 {
        beto.hears(&format!("last words {n}"));
    }
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
    // By now, whoever has to know that ana is gone knows it.
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
    server.likely_cause("bytes that are not UTF-8 end the server, or freeze it");
    for round in 10..15 {
        let mut rude = server.client("somebody rude");
        // No end of line, so nothing to relay, and nothing that is text.
        rude.sends(b"\xff\xfe\x00\xc3(\x80");
        rude.half_closes();
        rude.is_let_go();
        ana.says(&format!("ana goes on {round}"));
        // Relaying the rubbish, with its bytes replaced, is as good as dropping it.
        if !beto.hears_within(&format!("ana goes on {round}"), harness::patience()) {
            server.fail("Beto does not hear ana any more.");
        }
    }
    server.is_still_running();
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
    everybody_speaks_at_once(&server, &mut clients, 5);
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
    let Some(server) = Server::ours(STAGE) else {
        return;
    };
    let [mut ana, mut beto] = server.room(["ana", "beto"]);
    ana.says("hola");
    let line = beto.hears("hola");
    assert_eq!(line, format!("{} says: hola", ana.address()));
}

/// Why the server that is often taught freezes, shown without freezing: a lock that is held is not
/// free for anybody, not even for the thread that holds it.
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
    let Some(server) = Server::ours(STAGE) else {
        return;
    };
    let lazy = lazy::client(&server);
    let [ana, beto] = server.room(["ana", "beto"]);
    lazy::stops_the_room(lazy, &ana, beto);
}

#[test]
fn still_broken_nobody_has_a_name() {
    let Some(server) = Server::ours(STAGE) else {
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
    if !common::applies_to_ours_only() {
        return;
    }
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
    let mut command = std::process::Command::new("sh");
    command.args(["-c", SCRIPT]).env("NAMED_PIPE", pipe);
    command.arg(common::example("03_broadcast_server").get_program());
    let server = Server::example(STAGE, command);
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

/// The checks of the exercises in `lessons/03_broadcast.md`, *Change it*: each fails until
/// its exercise is done.
mod exercises {
    use super::*;

    #[test]
    #[ignore = "an exercise of lesson 03"]
    fn exercise_1() {
        let server = Server::start(STAGE);
        let [mut ana, mut beto, _carla] = server.room(["ana", "beto", "carla"]);
        server.still_missing("an answer to /count: \"3 are here\"");
        ana.says("/count");
        ana.hears_exactly("3 are here");
        // Had the others heard of it, it would be before this.
        server.still_missing("an answer for the one who asks, and for nobody else");
        ana.says("so many?");
        beto.hears("so many?");
        server.still_missing("a count of those who are still here");
        beto.leaves();
        let deadline = Instant::now() + patience();
        loop {
            ana.says("/count");
            let line = ana.hears("are here");
            if line.trim_end() == "2 are here" {
                break;
            }
            if Instant::now() > deadline {
                server.fail(format!("Beto has left, and ana still hears {line:?}."));
            }
        }
    }

    #[test]
    #[ignore = "an exercise of lesson 03"]
    fn exercise_2() {
        let server = Server::start(STAGE);
        let [mut ana, mut beto] = server.room(["ana", "beto"]);
        for n in 10..20 {
            ana.says(&format!("line {n}"));
            beto.hears(&format!("line {n}"));
        }
        server.still_missing("for a new client: the last five lines, the oldest first");
        let mut carla = server.client("carla");
        for n in 15..20 {
            let line = carla.hears(&format!("line {n}"));
            server.still_missing("each of them as the others heard it, with who said it");
            tells_whose_it_is(&server, &line, &ana);
        }
        server.still_missing("after the last five lines, what is said from then on");
        ana.says("hola, carla");
        carla.hears("hola, carla");
        beto.hears("hola, carla");
        carla.leaves();

        // While somebody speaks without a pause, others come: between the last five lines
        // and what follows there is no gap, and nothing comes twice.
        server.still_missing(
            "one step instead of two: what is said between sending the last lines and joining \
             the list gets lost, or comes twice",
        );
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            let speaker = scope.spawn(|| {
                let mut n = 1000;
                while !stop.load(Ordering::Relaxed) {
                    ana.says(&format!("number {n}"));
                    // Beto reads now and then, so that nobody has to wait for him.
                    if n % 16 == 0 && !beto.hears_within(&format!("number {n}"), patience()) {
                        server.fail(format!("Beto does not hear \"number {n}\"."));
                    }
                    n += 1;
                }
            });
            let newcomers = panic::catch_unwind(AssertUnwindSafe(|| {
                for newcomer in 0..50 {
                    let mut dora = server.client(&format!("newcomer {newcomer}"));
                    let number = |line: &str| -> Option<u32> {
                        line.rsplit_once("number ")?.1.trim_end().parse().ok()
                    };
                    // The first ones may still hear of the time before.
                    let mut last = None;
                    for _ in 0..12 {
                        let Some(line) = dora.hears_any(patience()) else {
                            server.fail("A newcomer hears nothing.");
                        };
                        let next = number(&line);
                        if let Some(last) = last
                            && next != Some(last + 1)
                        {
                            server.fail(format!(
                                "After \"number {last}\", a newcomer heard {line:?}."
                            ));
                        }
                        last = next;
                    }
                }
            }));
            stop.store(true, Ordering::Relaxed);
            let spoken = speaker.join();
            for result in [newcomers, spoken] {
                result.unwrap_or_else(|complaint| panic::resume_unwind(complaint));
            }
        });
    }

    #[test]
    #[ignore = "an exercise of lesson 03"]
    fn exercise_3() {
        let server = Server::start(STAGE);
        let lazy = server.client_with_buffer("somebody lazy", 1024);
        let [ana, beto, mut carla] = server.room(["ana", "beto", "carla"]);
        lazy::stops_the_room_while(lazy.stream().try_clone().unwrap(), &ana, beto, || {
            server.still_missing(
                "an end for carla, who leaves while ana's thread waits for somebody who does not \
                 read: nobody may hold the lock of the list while they write, nor keep open the \
                 connection of somebody who has left",
            );
            carla.half_closes();
            carla.is_let_go();
            server.still_missing("the same for somebody who has just come");
            let mut dora = server.client("dora");
            dora.half_closes();
            dora.is_let_go();
        });
    }
}

/// From the moment a line is sent until a receiver has it. Lesson 03 tells what came
/// out; to repeat it:
/// `cargo test --release --test 03_broadcast measure -- --ignored --nocapture`
#[test]
#[ignore = "a measurement, which takes a few seconds"]
fn measure_the_delay_of_a_line() {
    const BURSTS: usize = 100;
    const LINES: usize = 8;
    let server = Server::start(STAGE);
    let mut all: Vec<_> = (0..11)
        .map(|n| server.client(&format!("client {n}")))
        .collect();
    server.roll_call(&mut all);

    let mut delays = Vec::new();
    for burst in 0..BURSTS {
        // Everybody speaks in turn, as in a conversation.
        all.rotate_left(1);
        let (sender, receivers) = all.split_first_mut().unwrap();
        let start = Instant::now();
        thread::scope(|scope| {
            let listening: Vec<_> = receivers
                .iter_mut()
                .map(|receiver| {
                    scope.spawn(move || {
                        [0; LINES].map(|_| {
                            receiver.hears(&format!("burst {burst}"));
                            start.elapsed()
                        })
                    })
                })
                .collect();
            let mut sent = Vec::new();
            for line in 0..LINES {
                sent.push(start.elapsed());
                sender.says(&format!("burst {burst} line {line}"));
            }
            for receiver in listening {
                let heard = receiver.join().unwrap();
                delays.extend(heard.iter().zip(&sent).map(|(heard, sent)| *heard - *sent));
            }
        });
    }
    delays.sort();
    let percentile = |percent: usize| delays[delays.len() * percent / 100].as_secs_f64() * 1000.0;
    println!(
        "{BURSTS} bursts of {LINES} lines to 10 receivers: half of the lines took at most \
         {:.2} ms, 99 % at most {:.2} ms",
        percentile(50),
        percentile(99)
    );
}

#[test]
fn wrong_servers_are_refused() {
    type Clients = Arc<Mutex<Vec<Arc<TcpStream>>>>;
    type Me<'a> = &'a Arc<TcpStream>;

    /// A thread for each client, and all of them on a list, as in the right server.
    fn each_on_a_thread<F>(hosted: Hosted, serve: F)
    where
        F: Fn(Me, &Clients) -> io::Result<()> + Clone + Send + 'static,
    {
        let clients = Clients::default();
        while let Ok((stream, _)) = hosted.listener.accept() {
            let (clients, serve) = (Arc::clone(&clients), serve.clone());
            thread::spawn(move || {
                let me = Arc::new(stream);
                clients.lock().unwrap().push(Arc::clone(&me));
                let _ = serve(&me, &clients);
                clients.lock().unwrap().retain(|c| !Arc::ptr_eq(c, &me));
            });
        }
    }

    fn message(me: Me, line: &str) -> Vec<u8> {
        let address = me.peer_addr().map_or("?".into(), |a| a.to_string());
        format!("{address} says: {line}\n").into_bytes()
    }

    fn others(me: Me, clients: &Clients) -> Vec<Arc<TcpStream>> {
        let mut others = clients.lock().unwrap().clone();
        others.retain(|client| !Arc::ptr_eq(client, me));
        others
    }

    fn send(clients: &[Arc<TcpStream>], message: &[u8]) {
        for client in clients {
            let _ = client.as_ref().write_all(message);
        }
    }

    /// Relays what each `read` returns, as the server that is often taught does.
    fn relay_packets(me: Me, clients: &Clients) -> io::Result<()> {
        let mut buffer = [0; 1024];
        loop {
            let count = me.as_ref().read(&mut buffer)?;
            if count == 0 {
                return Ok(());
            }
            let text = String::from_utf8_lossy(&buffer[..count]);
            send(&others(me, clients), &message(me, text.trim_end()));
        }
    }

    fn relays_to_the_sender_too(hosted: Hosted) {
        each_on_a_thread(hosted, |me, clients| {
            for line in BufReader::new(me.as_ref()).lines() {
                send(&clients.lock().unwrap(), &message(me, &line?));
            }
            Ok(())
        });
    }

    fn only_the_newest_client_hears(hosted: Hosted) {
        each_on_a_thread(hosted, |me, clients| {
            for line in BufReader::new(me.as_ref()).lines() {
                let others = others(me, clients);
                send(
                    &others[others.len().saturating_sub(1)..],
                    &message(me, &line?),
                );
            }
            Ok(())
        });
    }

    fn knows_no_lock(hosted: Hosted) {
        each_on_a_thread(hosted, |me, clients| {
            for line in BufReader::new(me.as_ref()).lines() {
                send(&others(me, clients), &message(me, &line?));
            }
            Ok(())
        });
    }

    fn names_nobody(hosted: Hosted) {
        each_on_a_thread(hosted, |me, clients| {
            for line in BufReader::new(me.as_ref()).lines() {
                send(&others(me, clients), format!("{}\n", line?).as_bytes());
            }
            Ok(())
        });
    }

    fn names_the_listener(hosted: Hosted) {
        each_on_a_thread(hosted, |me, clients| {
            for line in BufReader::new(me.as_ref()).lines() {
                let line = line?;
                for other in others(me, clients) {
                    send(&[Arc::clone(&other)], &message(&other, &line));
                }
            }
            Ok(())
        });
    }

    fn takes_a_packet_for_a_line(hosted: Hosted) {
        each_on_a_thread(hosted, relay_packets);
    }

    fn drops_what_follows_the_first_line_of_a_packet(hosted: Hosted) {
        each_on_a_thread(hosted, |me, clients| {
            let mut buffer = [0; 1024];
            loop {
                let count = me.as_ref().read(&mut buffer)?;
                if count == 0 {
                    return Ok(());
                }
                let text = String::from_utf8_lossy(&buffer[..count]);
                let line = text.lines().next().unwrap_or_default();
                send(&others(me, clients), &message(me, line));
            }
        });
    }

    fn cuts_long_lines(hosted: Hosted) {
        each_on_a_thread(hosted, |me, clients| {
            for line in BufReader::new(me.as_ref()).lines() {
                let mut line = line?;
                line.truncate(1024);
                send(&others(me, clients), &message(me, &line));
            }
            Ok(())
        });
    }

    fn keeps_the_carriage_return(hosted: Hosted) {
        each_on_a_thread(hosted, |me, clients| {
            for line in BufReader::new(me.as_ref()).split(b'\n') {
                let line = String::from_utf8_lossy(&line?).into_owned();
                send(&others(me, clients), &message(me, &line));
            }
            Ok(())
        });
    }

    fn forgets_to_remove(hosted: Hosted) {
        let clients = Clients::default();
        while let Ok((stream, _)) = hosted.listener.accept() {
            let clients = Arc::clone(&clients);
            thread::spawn(move || {
                let me = Arc::new(stream);
                clients.lock().unwrap().push(Arc::clone(&me));
                for line in BufReader::new(me.as_ref()).lines().map_while(Result::ok) {
                    send(&others(&me, &clients), &message(&me, &line));
                }
            });
        }
    }

    fn ends_the_speaker_when_a_listener_has_left(hosted: Hosted) {
        let clients = Clients::default();
        while let Ok((stream, _)) = hosted.listener.accept() {
            let clients = Arc::clone(&clients);
            thread::spawn(move || -> io::Result<()> {
                let me = Arc::new(stream);
                clients.lock().unwrap().push(Arc::clone(&me));
                for line in BufReader::new(me.as_ref()).lines() {
                    let line = line?;
                    for other in others(&me, &clients) {
                        other.as_ref().write_all(&message(&me, &line))?;
                    }
                }
                me.shutdown(std::net::Shutdown::Both)
            });
        }
    }

    fn loses_the_last_words(hosted: Hosted) {
        each_on_a_thread(hosted, |me, clients| {
            let mut previous = None;
            for line in BufReader::new(me.as_ref()).lines() {
                // What the client said last is sent when it says more.
                let all = [previous.replace(line?)];
                for line in all.iter().flatten() {
                    send(&others(me, clients), &message(me, line));
                }
                if previous
                    .as_deref()
                    .is_some_and(|line| !line.starts_with("last"))
                {
                    send(
                        &others(me, clients),
                        &message(me, &previous.take().unwrap()),
                    );
                }
            }
            Ok(())
        });
    }

    /// The fault of the server that is often taught, in Rust: it compiles.
    fn freezes_when_a_client_vanishes(hosted: Hosted) {
        let clients = Clients::default();
        while let Ok((stream, _)) = hosted.listener.accept() {
            let clients = Arc::clone(&clients);
            thread::spawn(move || {
                let me = Arc::new(stream);
                clients.lock().unwrap().push(Arc::clone(&me));
                for line in BufReader::new(me.as_ref()).lines().map_while(Result::ok) {
                    let message = message(&me, &line);
                    let held = clients.lock().unwrap();
                    for other in held.iter().filter(|other| !Arc::ptr_eq(other, &me)) {
                        if other.as_ref().write_all(&message).is_err() {
                            clients.lock().unwrap().retain(|c| !Arc::ptr_eq(c, other));
                        }
                    }
                }
            });
        }
    }

    fn ends_at_the_first_error(hosted: Hosted) {
        fn relay(me: Me, clients: &Clients) -> io::Result<()> {
            for line in BufReader::new(me.as_ref()).lines() {
                let message = message(me, &line?);
                for other in others(me, clients) {
                    other.as_ref().write_all(&message)?;
                }
            }
            Ok(())
        }
        each_on_a_thread(hosted, |me, clients| {
            let result = relay(me, clients);
            if result.is_err() {
                for client in clients.lock().unwrap().iter() {
                    let _ = client.shutdown(std::net::Shutdown::Both);
                }
            }
            result
        });
    }

    fn lines_overtake_each_other(hosted: Hosted) {
        each_on_a_thread(hosted, |me, clients| {
            let mut held_back = None;
            for line in BufReader::new(me.as_ref()).lines() {
                let line = line?;
                if line.ends_with("line 2") {
                    held_back = Some(line);
                    continue;
                }
                send(&others(me, clients), &message(me, &line));
                if let Some(line) = held_back.take() {
                    send(&others(me, clients), &message(me, &line));
                }
            }
            Ok(())
        });
    }

    refused! {
        relays_to_the_sender_too by nobody_hears_their_own_line:
            "That is this client's own line", "relays to everybody instead of everybody else";
        only_the_newest_client_hears by everybody_else_hears_a_line:
            "does not hear", "takes the place of an older one";
        knows_no_lock by long_lines_of_two_speakers_do_not_mix:
            "two threads write to one client at the same time";
        names_nobody by each_line_tells_whose_it_is:
            "does not tell who said it";
        names_the_listener by each_line_tells_whose_it_is:
            "does not tell who said it";
        takes_a_packet_for_a_line by a_line_in_two_packets_is_one_line:
            "should have heard", "takes what one read returned for a line";
        takes_a_packet_for_a_line by two_lines_in_one_packet_are_two_lines:
            "does not tell who said it", "takes what one read returned for a line";
        takes_a_packet_for_a_line by a_character_split_between_packets_stays_whole:
            "decodes what one read returned";
        drops_what_follows_the_first_line_of_a_packet by two_lines_in_one_packet_are_two_lines:
            "should have heard \"second\"";
        cuts_long_lines by a_line_of_64_kib_arrives_whole:
            "longer than a buffer";
        keeps_the_carriage_return by a_carriage_return_before_the_line_feed_is_dropped:
            "The carriage return was relayed";
        forgets_to_remove by whoever_stops_sending_gets_the_end_and_the_others_go_on:
            "the end of the stream", "stays on the list";
        ends_the_speaker_when_a_listener_has_left by
            whoever_stops_sending_gets_the_end_and_the_others_go_on:
            "without ana", "makes the next relay fail";
        loses_the_last_words by what_was_said_just_before_leaving_is_heard:
            "\"last words 39\"", "lost when the client leaves";
        freezes_when_a_client_vanishes by
            a_reset_in_the_middle_of_a_burst_does_not_disturb_the_others:
            "carla should have heard \"burst ", "froze or ended when a client vanished";
        ends_at_the_first_error by a_reset_in_the_middle_of_a_burst_does_not_disturb_the_others:
            "froze or ended when a client vanished";
        ends_at_the_first_error by rubbish_from_one_client_does_not_disturb_the_others:
            "not UTF-8";
        lines_overtake_each_other by fifty_clients_hear_each_line_once_and_in_order:
            "when line 2 of that speaker was next", "overtake each other";
    }
}
