//! Stage 02: what `examples/02_parallel_server.rs` and its client promise, and what is
//! still broken. `lessons/02_parallel.md` explains.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use assert_cmd::Command;
use harness::wrong::Hosted;
use harness::{
    Client, Program, Server, applies_to_ours_only, example, has_words, patience, pause, refused,
    survival,
};
use predicates::prelude::*;

const STAGE: &str = "02_parallel";

#[test]
fn the_second_client_is_served_while_the_first_is_there() {
    let server = Server::start(STAGE);
    server.likely_cause("the server joins a client's thread before it accepts the next client");
    let mut ana = server.client("ana");
    let mut beto = server.client("beto");
    beto.says("I came second");
    server.shows("I came second");
    ana.says("and I am still here");
    server.shows("and I am still here");
}

#[test]
fn the_answer_arrives_while_the_client_is_still_sending() {
    let server = Server::start(STAGE);
    let mut ana = server.client("ana");
    server.likely_cause("the server joins the reader before it starts to answer");
    for (question, answer) in [("a question", "an answer"), ("another", "and this")] {
        ana.says(question);
        server.shows(question);
        server.types(answer);
        ana.hears(answer);
    }
}

#[test]
fn each_typed_line_reaches_exactly_one_client() {
    let server = Server::start(STAGE);
    let mut clients = ["ana", "beto"].map(|name| server.client(name));
    for (number, client) in clients.iter_mut().enumerate() {
        client.says(&format!("client {number} is here"));
        server.shows(&format!("client {number} is here"));
    }
    server.likely_cause("one keyboard has several readers: a line belongs to whoever got it");
    let lines: Vec<_> = (10..40).map(|number| format!("line {number}")).collect();
    for line in &lines {
        server.types(line);
    }

    // Nobody knows who gets a line: both listen until every line has been heard.
    let mut heard = BTreeMap::<String, usize>::new();
    let deadline = Instant::now() + patience();
    while heard.len() < lines.len() && Instant::now() < deadline {
        for client in &mut clients {
            while let Some(line) = client.hears_any(Duration::from_millis(10)) {
                *heard.entry(line).or_default() += 1;
            }
        }
    }
    for line in &lines {
        match heard.get(line) {
            Some(1) => {}
            Some(count) => server.fail(format!("{line:?} was heard {count} times.")),
            None => server.fail(format!("{line:?} reached nobody.")),
        }
    }
    // And no line comes again.
    for mut client in clients {
        client.half_closes();
        client.hears_the_end();
    }
}

#[test]
fn a_half_close_is_answered_by_the_end() {
    let server = Server::start(STAGE);
    let mut ana = server.client("ana");
    ana.says("that was all");
    server.shows("that was all");
    server.likely_cause(
        "somebody still holds the connection: it must be shut down when the client has \
         stopped sending",
    );
    ana.half_closes();
    ana.hears_the_end();
}

#[test]
fn a_line_in_two_packets_is_one_line() {
    let server = Server::start(STAGE);
    let mut ana = server.client("ana");
    server.likely_cause("the server takes what one read returned for a line");
    for round in 0..5 {
        let rest = format!(" half {round}\n");
        ana.sends_in_two(b"half and", rest.as_bytes(), round);
        server.shows(&format!("half and half {round}"));
    }
}

#[test]
fn two_lines_in_one_packet_are_two_lines() {
    let server = Server::start(STAGE);
    let mut ana = server.client("ana");
    server.likely_cause("the server takes what one read returned for a line");
    // An empty line is a line as well, and no reason to hang up.
    ana.sends(b"\n\r\nfirst\nsecond\n");
    let line = server.shows("first");
    if line.contains("second") {
        server.fail(format!("Two lines were shown as one: {line:?}."));
    }
    server.shows("second");
}

#[test]
fn a_character_split_between_packets_stays_whole() {
    let server = Server::start(STAGE);
    let mut ana = server.client("ana");
    server.likely_cause("the server decodes what one read returned; a character may go on");
    for (round, text) in (0..5).zip(["ñandú", "漢字"].into_iter().cycle()) {
        let (half, rest) = text.as_bytes().split_at(1);
        ana.sends_in_two(half, &[rest, b"\n"].concat(), round);
        server.shows(text);
    }
}

#[test]
fn a_line_of_64_kib_is_shown_whole() {
    let server = Server::start(STAGE);
    let mut ana = server.client("ana");
    server.likely_cause("a line may be longer than a buffer");
    let line = "x".repeat(64 * 1024);
    ana.says(&line);
    server.shows(&line);
}

#[test]
fn the_reset_of_one_client_does_not_disturb_the_others() {
    let server = Server::start(STAGE);
    let mut ana = server.client("ana");
    server.likely_cause("an error with one client ends the server");
    for round in 0..5 {
        let mut beto = server.client("beto");
        beto.says(&format!("beto {round} is here"));
        server.shows(&format!("beto {round} is here"));
        beto.resets();
        pause(round);
        ana.says(&format!("ana {round} goes on"));
        server.shows(&format!("ana {round} goes on"));
    }
    let mut carla = server.client("carla");
    carla.says("I am new");
    server.shows("I am new");
}

#[test]
fn rubbish_from_one_client_does_not_disturb_the_others() {
    let server = Server::start(STAGE);
    let mut ana = server.client("ana");
    server.likely_cause("bytes that are not UTF-8 end the server");
    for round in 10..15 {
        let mut beto = server.client("beto");
        beto.sends(b"\xff\xfe\x00\xc3(\n\n\r\n\x80");
        beto.half_closes();
        beto.is_let_go();
        ana.says(&format!("ana {round} goes on"));
        server.shows(&format!("ana {round} goes on"));
    }
    server.is_still_running();
}

#[test]
fn fifty_clients_at_once() {
    let server = Server::start(STAGE);
    let mut clients: Vec<_> = (10..60)
        .map(|n| server.client(&format!("client {n}")))
        .collect();
    thread::scope(|scope| {
        for (client, n) in clients.iter_mut().zip(10..) {
            scope.spawn(move || client.says(&format!("I am number {n}")));
        }
    });
    // In whichever order they come.
    let mut missing: Vec<_> = (10..60).map(|n| format!("I am number {n}")).collect();
    while !missing.is_empty() {
        let line = server.shows("I am number");
        missing.retain(|text| !line.contains(text.as_str()));
    }
}

/// The server shows what the client says.
fn is_served(server: &Server, client: &mut Client, text: &str) {
    client.says(text);
    server.shows(text);
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
fn the_server_says_why_it_lets_a_client_go() {
    let Some(server) = Server::ours(STAGE) else {
        return;
    };
    let mut ana = server.client("ana");
    ana.sends(b"\xff\n");
    let address = ana.address();
    server.shows(&format!(
        "cannot read from {address}: stream did not contain valid UTF-8"
    ));
    ana.is_let_go();
}

#[test]
fn salir_hangs_up() {
    let Some(server) = Server::ours(STAGE) else {
        return;
    };
    let mut ana = server.client("ana");
    server.types("good night");
    server.types("SALIR");
    ana.hears("good night");
    ana.hears_the_end();
}

mod the_client {
    use super::*;

    /// A server for one client, inside the test.
    struct Peer {
        listener: TcpListener,
    }

    impl Peer {
        fn listen() -> Self {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            Self { listener }
        }

        fn command(&self) -> std::process::Command {
            let mut command = example("02_parallel_client");
            let port = self.listener.local_addr().unwrap().port();
            command.args(["--port", &port.to_string()]);
            command
        }

        fn accept(&self) -> TcpStream {
            self.listener.accept().unwrap().0
        }
    }

    #[test]
    fn sends_its_input_half_closes_and_prints_what_still_comes() {
        if !applies_to_ours_only() {
            return;
        }
        let peer = Peer::listen();
        let mut client = Command::from_std(peer.command());
        let served = thread::spawn(move || {
            let mut stream = peer.accept();
            let mut all = String::new();
            stream.read_to_string(&mut all).unwrap();
            stream.write_all("señor, it is late\n".as_bytes()).unwrap();
            all
        });
        client
            .write_stdin("hola\nadios\n")
            .timeout(patience())
            .assert()
            .success()
            .stdout(
                predicate::str::contains("señor, it is late\n")
                    .and(predicate::str::contains(
                        "the server has closed the connection\n",
                    ))
                    .and(predicate::str::contains("> ").not()),
            );
        assert_eq!(served.join().unwrap(), "hola\nadios\n");
    }

    #[test]
    fn leaves_when_told_so_and_sends_no_more() {
        if !applies_to_ours_only() {
            return;
        }
        for goodbye in ["salir", "Salir", "/quit"] {
            let peer = Peer::listen();
            let mut client = Command::from_std(peer.command());
            let served = thread::spawn(move || {
                let mut all = String::new();
                peer.accept().read_to_string(&mut all).unwrap();
                all
            });
            client
                .write_stdin(format!("hola\n{goodbye}\nnot sent\n"))
                .timeout(patience())
                .assert()
                .success();
            assert_eq!(served.join().unwrap(), "hola\n", "after {goodbye}");
        }
    }

    #[test]
    fn says_what_is_wrong_with_its_input() {
        if !applies_to_ours_only() {
            return;
        }
        let peer = Peer::listen();
        let mut client = Command::from_std(peer.command());
        let served = thread::spawn(move || {
            let mut all = String::new();
            peer.accept().read_to_string(&mut all).unwrap();
            all
        });
        client
            .write_stdin(&b"hola\n\xff\n"[..])
            .timeout(patience())
            .assert()
            .success()
            .stderr("cannot read the input: stream did not contain valid UTF-8\n");
        assert_eq!(served.join().unwrap(), "hola\n");
    }

    #[test]
    fn sends_and_receives_at_the_same_time() {
        if !applies_to_ours_only() {
            return;
        }
        let peer = Peer::listen();
        let mut client = Program::start(peer.command()).unwrap();
        let mut stream = peer.accept();
        let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
        for round in 0..3 {
            // It listens while it waits for the keyboard, and takes either first.
            stream
                .write_all(format!("news {round}\n").as_bytes())
                .unwrap();
            let shown = client.output().line(1 + round, Instant::now() + patience());
            assert_eq!(shown.unwrap(), format!("news {round}"));
            client.types(&format!("thanks {round}")).unwrap();
            assert_eq!(lines.next().unwrap().unwrap(), format!("thanks {round}"));
        }
    }

    #[test]
    fn ends_when_the_server_has_gone_though_nobody_types() {
        if !applies_to_ours_only() {
            return;
        }
        let peer = Peer::listen();
        let client = Program::start(peer.command()).unwrap();
        peer.accept().shutdown(Shutdown::Both).unwrap();
        // Its keyboard is still there, and silent.
        let status = client.wait(patience()).expect("the client ends by itself");
        assert!(status.success(), "{status}");
        let printed = client.output().lines();
        assert_eq!(
            printed.last().unwrap(),
            "the server has closed the connection"
        );
    }

    #[test]
    fn says_so_when_the_connection_is_reset() {
        if !applies_to_ours_only() {
            return;
        }
        let peer = Peer::listen();
        let client = Program::start(peer.command()).unwrap();
        let stream = peer.accept();
        client.output().line(0, Instant::now() + patience());
        socket2::SockRef::from(&stream)
            .set_linger(Some(Duration::ZERO))
            .unwrap();
        drop(stream);
        let status = client.wait(patience()).expect("the client ends by itself");
        assert_eq!(status.code(), Some(1));
        let printed = client.output().lines();
        assert!(
            printed
                .last()
                .unwrap()
                .starts_with("Error: cannot read from the server: "),
            "{printed:?}"
        );
    }
}

#[test]
fn still_broken_clients_do_not_hear_each_other() {
    let Some(server) = Server::ours(STAGE) else {
        return;
    };
    let mut ana = server.client("ana");
    let mut beto = server.client("beto");
    beto.says("is ana there?");
    server.shows("is ana there?");
    ana.says("is anybody there?");
    server.shows("is anybody there?");
    // All that either of them ever hears is the end.
    ana.half_closes();
    ana.hears_the_end();
    beto.half_closes();
    beto.hears_the_end();
}

#[test]
fn still_broken_a_line_goes_to_a_client_that_has_left() {
    let Some(server) = Server::ours(STAGE) else {
        return;
    };
    let mut ana = server.client("ana");
    ana.says("I must go");
    server.shows("I must go");
    ana.leaves();
    server.shows("has stopped sending");
    // Ana's keyboard thread is still waiting for a line, and it gets this one.
    server.types("wait, beto is coming");
    server.shows("did not get your line");
    let mut beto = server.client("beto");
    server.types("ana has just left");
    beto.hears("ana has just left");
}

/// The checks of the exercises in `lessons/02_parallel.md`, *Change it*: each fails until
/// its exercise is done.
mod exercises {
    use super::*;

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
            server.still_missing("a line that tells to whom yours went");
            let text = format!("answer {n}");
            server.types(&text);
            let line = server.shows(&text);
            server.still_missing("the address of the one who got it, as in \"to ADDRESS: text\"");
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
            "one line for each answer, and no empty one after it: what was read from the keyboard \
             has its line end already",
        );
        let empty = server.empty_lines();
        if empty > 0 {
            server.fail(format!("The server showed {empty} empty lines."));
        }
        // Ana's thread waits for the keyboard, although she has left.
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
            "the count when a client has stopped sending: its keyboard thread may go on waiting, \
             so that is too late",
        );
        beto.half_closes();
        shows_count(1);
        server.still_missing("the count when a connection is lost: reading may end in two ways");
        let mut carla = server.client("carla");
        shows_count(2);
        carla.says("I am here");
        server.shows("I am here");
        carla.resets();
        shows_count(1);
        let mut rude = server.client("somebody rude");
        shows_count(2);
        rude.sends(b"\xff\n");
        rude.is_let_go();
        shows_count(1);
        // Many who go at the same time: each is counted.
        let crowd: Vec<_> = (2..22)
            .map(|count| {
                let client = server.client(&format!("client {count}"));
                shows_count(count);
                client
            })
            .collect();
        server.still_missing("a count that is right when many leave at the same time");
        drop(crowd);
        drop(ana);
        // In whichever order they tell it.
        let is_zero = |_| server.shows("clients here: ").ends_with(" here: 0");
        if !(0..21).any(is_zero) {
            server.fail("Everybody has left, and the count has never been 0.");
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
                    "\"PORT text\" for the client with that port, whichever thread has read it",
                );
                let text = format!("good morning {round}");
                server.types(&format!("{} {text}", client.address().port()));
                let line = client.hears(&text);
                if line.trim_end() != text {
                    server.still_missing("the line without the port in front");
                    server.fail(format!("{} heard {line:?}.", client.name()));
                }
            }
        }
        server.still_missing("all other lines, for whoever gets them, as before");
        server.types("to whom it may concern");
        let deadline = Instant::now() + patience();
        let mut heard = None;
        while heard.is_none() && Instant::now() < deadline {
            let hears = |client: &mut Client| client.hears_any(Duration::from_millis(10));
            heard = clients.iter_mut().find_map(hears);
        }
        if heard.as_deref() != Some("to whom it may concern") {
            server.fail(format!(
                "A line for nobody in particular was heard as {heard:?}."
            ));
        }
        server.still_missing(
            "lines for those who are there, when the thread that reads them was that of somebody \
             who has left",
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
}

#[test]
fn wrong_servers_are_refused() {
    /// A thread for each client, as in the right server.
    fn each_on_a_thread<F>(hosted: Hosted, serve: F)
    where
        F: Fn(&Hosted, &TcpStream) -> io::Result<()> + Clone + Send + 'static,
    {
        while let Ok((stream, _)) = hosted.listener.accept() {
            let (hosted, serve) = (hosted.clone(), serve.clone());
            thread::spawn(move || serve(&hosted, &stream));
        }
    }

    fn show_lines(hosted: &Hosted, stream: &TcpStream) -> io::Result<()> {
        for line in BufReader::new(stream).lines() {
            hosted.screen.push(line?);
        }
        stream.shutdown(Shutdown::Both)
    }

    fn show_packets(hosted: &Hosted, mut stream: &TcpStream) -> io::Result<()> {
        let mut buffer = [0; 1024];
        loop {
            let count = stream.read(&mut buffer)?;
            if count == 0 {
                return Ok(());
            }
            let text = String::from_utf8_lossy(&buffer[..count]);
            hosted.screen.push(text.trim_end().into());
        }
    }

    fn answer(hosted: &Hosted, mut stream: &TcpStream) {
        loop {
            let keyboard = hosted.keyboard.lock().unwrap();
            let Ok(line) = keyboard.recv() else { return };
            let _ = stream.write_all(format!("{line}\n").as_bytes());
        }
    }

    fn joins_each_client(hosted: Hosted) {
        while let Ok((stream, _)) = hosted.listener.accept() {
            let _ = show_lines(&hosted, &stream);
        }
    }

    fn answers_when_the_reader_has_ended(hosted: Hosted) {
        each_on_a_thread(hosted, |hosted, stream| {
            show_lines(hosted, stream)?;
            answer(hosted, stream);
            Ok(())
        });
    }

    fn answers_everybody(hosted: Hosted) {
        let clients = Arc::new(Mutex::new(Vec::<TcpStream>::new()));
        let everybody = Arc::clone(&clients);
        let keyboard = Arc::clone(&hosted.keyboard);
        thread::spawn(move || {
            while let Ok(line) = keyboard.lock().unwrap().recv() {
                for mut client in everybody.lock().unwrap().iter() {
                    let _ = client.write_all(format!("{line}\n").as_bytes());
                }
            }
        });
        while let Ok((stream, _)) = hosted.listener.accept() {
            clients.lock().unwrap().push(stream.try_clone().unwrap());
            let hosted = hosted.clone();
            thread::spawn(move || show_lines(&hosted, &stream));
        }
    }

    fn loses_a_line_now_and_then(hosted: Hosted) {
        each_on_a_thread(hosted, |hosted, stream| {
            let (hosted_too, stream_too) = (hosted.clone(), stream.try_clone()?);
            thread::spawn(move || {
                let _ = hosted_too.keyboard.lock().unwrap().recv(); // and forgets it
                answer(&hosted_too, &stream_too);
            });
            show_lines(hosted, stream)
        });
    }

    fn keeps_the_connection_open(hosted: Hosted) {
        each_on_a_thread(hosted, |hosted, stream| {
            for line in BufReader::new(stream).lines() {
                hosted.screen.push(line?);
            }
            answer(hosted, stream); // holds the connection until a line is typed
            Ok(())
        });
    }

    fn takes_a_packet_for_a_line(hosted: Hosted) {
        each_on_a_thread(hosted, show_packets);
    }

    fn cuts_long_lines(hosted: Hosted) {
        each_on_a_thread(hosted, |hosted, stream| {
            for line in BufReader::new(stream).lines() {
                let mut line = line?;
                line.truncate(1024);
                hosted.screen.push(line);
            }
            Ok(())
        });
    }

    fn ends_at_the_first_error(hosted: Hosted) {
        let ended = Arc::new(AtomicBool::new(false));
        each_on_a_thread(hosted, move |hosted, stream| {
            for line in BufReader::new(stream).lines() {
                match line {
                    Ok(line) if !ended.load(Ordering::Relaxed) => hosted.screen.push(line),
                    _ => ended.store(true, Ordering::Relaxed),
                }
            }
            Ok(())
        });
    }

    refused! {
        joins_each_client by the_second_client_is_served_while_the_first_is_there:
            "\"I came second\"", "joins a client's thread before it accepts the next";
        answers_when_the_reader_has_ended by the_answer_arrives_while_the_client_is_still_sending:
            "ana should have heard \"an answer\"", "nothing came",
            "joins the reader before it starts to answer";
        answers_everybody by each_typed_line_reaches_exactly_one_client:
            "a line belongs to whoever got it";
        loses_a_line_now_and_then by each_typed_line_reaches_exactly_one_client:
            "reached nobody";
        keeps_the_connection_open by a_half_close_is_answered_by_the_end:
            "ana should have heard the end", "somebody still holds the connection";
        takes_a_packet_for_a_line by a_line_in_two_packets_is_one_line:
            "\"half and half ", "takes what one read returned for a line";
        takes_a_packet_for_a_line by two_lines_in_one_packet_are_two_lines:
            "Two lines were shown as one", "takes what one read returned for a line";
        takes_a_packet_for_a_line by a_character_split_between_packets_stays_whole:
            "decodes what one read returned";
        cuts_long_lines by a_line_of_64_kib_is_shown_whole:
            "65536 bytes", "longer than a buffer";
        ends_at_the_first_error by the_reset_of_one_client_does_not_disturb_the_others:
            "goes on", "an error with one client ends the server";
        ends_at_the_first_error by rubbish_from_one_client_does_not_disturb_the_others:
            "goes on", "not UTF-8";
    }
}
