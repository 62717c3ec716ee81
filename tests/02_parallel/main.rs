//! Stage 02: what `examples/02_parallel_server.rs` and its client promise, and what is
//! still broken. `lessons/02_parallel.md` explains.

mod exercises;
mod wrong_servers;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use assert_cmd::Command;
use harness::{
    Client, Program, Server, applies_to_ours_only, example, patience, pause, scenes, survival,
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
    server.likely_cause(
        "one keyboard has several readers: each line goes to the thread that has read it",
    );
    let lines: Vec<_> = (10..40).map(|number| format!("line {number}")).collect();
    for line in &lines {
        server.types(line);
    }

    // It is open which client gets a line. So both listen until every line has been heard.
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
            None => server.fail(format!("{line:?} reached no client.")),
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
        "a thread still holds the connection: it must be shut down when the client has \
         stopped sending",
    );
    ana.half_closes();
    ana.hears_the_end();
}

#[test]
fn a_line_in_two_packets_is_one_line() {
    let server = Server::start(STAGE);
    let mut ana = server.client("ana");
    scenes::a_line_in_two_packets(&server, &mut ana, |text| {
        server.shows(text);
    });
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
    scenes::a_split_character(&server, &mut ana, |text| {
        server.shows(text);
    });
}

#[test]
fn a_line_of_64_kib_is_shown_whole() {
    let server = Server::start(STAGE);
    let mut ana = server.client("ana");
    scenes::a_long_line(&server, 64 * 1024, &mut ana, |text| {
        server.shows(text);
    });
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
    // The lines may come in any order.
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
fn the_server_says_why_it_disconnects_a_client() {
    let Some(server) = Server::of(STAGE).ours_only().start() else {
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
    let Some(server) = Server::of(STAGE).ours_only().start() else {
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
    fn ends_when_the_server_has_gone_although_the_keyboard_is_silent() {
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
    let Some(server) = Server::of(STAGE).ours_only().start() else {
        return;
    };
    let mut ana = server.client("ana");
    let mut beto = server.client("beto");
    beto.says("is ana there?");
    server.shows("is ana there?");
    ana.says("are you there?");
    server.shows("are you there?");
    // Both hear nothing but the end.
    ana.half_closes();
    ana.hears_the_end();
    beto.half_closes();
    beto.hears_the_end();
}

#[test]
fn still_broken_a_line_goes_to_a_client_that_has_left() {
    let Some(server) = Server::of(STAGE).ours_only().start() else {
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
