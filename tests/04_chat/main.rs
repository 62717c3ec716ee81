//! Stage 04: what `examples/04_chat_server.rs` and its client promise, and what is still
//! broken. `lessons/04_chat.md` explains.

mod exercises;
mod wrong_servers;

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

use assert_cmd::Command;
use harness::{Client, Server, applies_to_ours_only, example, lazy, patience, survival};
use predicates::prelude::*;

const STAGE: &str = "04_chat";

// The promises of every chat server. The list stands at the top of `tests/harness/contract.rs`,
// and the function of each promise follows there.
harness::contract!();

#[test]
fn a_panic_disconnects_its_own_client_only() {
    survival::a_panic_disconnects_its_own_client_only(STAGE);
}

/// The fault of stage 03, cured: there, each client's thread would panic.
#[cfg(unix)]
#[test]
fn a_closed_output_stops_no_client() {
    // As in `server | head -1`: when the first line has been read, the pipe has no reader.
    const SCRIPT: &str = "\"$0\" \"$@\" | \
        { head -n 1; exec <&-; echo the output has no reader; exec sleep 3600; }";
    let Some(server) = Server::of(STAGE).in_shell(SCRIPT).ours_only().start() else {
        return;
    };
    server.shows("the output has no reader");
    let [mut ana, mut beto] = server.chat(["ana", "beto"]);
    ana.says("who reads the log?");
    beto.hears_from("ana", "who reads the log?");
    beto.leaves();
    ana.hears("* beto left");
}

#[cfg(unix)]
#[test]
fn a_log_without_a_reader_stops_no_client() {
    harness::shutdown::a_log_without_a_reader_stops_no_client(STAGE);
}

#[test]
fn the_wording() {
    let Some(server) = Server::of(STAGE).ours_only().start() else {
        return;
    };
    let mut ana = server.client("ana");
    for (name, refusal) in [
        ("", "! a name has at least one character: try another one"),
        ("*", "! a name does not begin with * or !: try another one"),
        ("a:b", "! a name has no colon in it: try another one"),
    ] {
        ana.says(name);
        assert_eq!(ana.hears("! a name"), refusal);
    }
    ana.says("ana");
    assert_eq!(ana.hears("welcome"), "* welcome, ana");
    let mut beto = server.client("beto");
    beto.says("ANA");
    assert_eq!(
        beto.hears("! the name"),
        "! the name ANA is taken: try another one"
    );
    beto.says("beto");
    beto.hears("welcome");
    assert_eq!(ana.hears("joined"), "* beto joined");
    beto.says("hola: ana");
    assert_eq!(ana.hears("hola"), "beto: hola: ana");
    beto.leaves();
    assert_eq!(ana.hears("left"), "* beto left");
}

/// The server answers: a text with blanks is refused as a name.
fn is_served(_server: &Server, client: &mut Client, text: &str) {
    client.says(text);
    client.is_refused();
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

mod the_client {
    use super::*;

    /// A server for one client, inside the test: it answers each of these lines so.
    fn serve_one(
        answers: &'static [(&str, &str)],
    ) -> (std::process::Command, thread::JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut command = example("04_chat_client");
        let port = listener.local_addr().unwrap().port();
        command.args(["--port", &port.to_string()]);
        let served = thread::spawn(move || {
            let stream: TcpStream = listener.accept().unwrap().0;
            let mut lines = BufReader::new(&stream).lines();
            for (line, answer) in answers {
                assert_eq!(lines.next().unwrap().unwrap(), *line);
                let answer = format!("{answer}\n");
                (&stream).write_all(answer.as_bytes()).unwrap();
            }
            assert!(lines.next().is_none(), "then comes the half-close");
        });
        (command, served)
    }

    #[test]
    fn asks_for_a_name_until_one_is_accepted() {
        if !applies_to_ours_only() {
            return;
        }
        let (command, served) = serve_one(&[
            ("ana maria", "! no blanks: try another one"),
            ("ana", "* welcome, ana"),
            ("hola", "beto: hola ana"),
        ]);
        Command::from_std(command)
            .write_stdin("ana maria\nana\nhola\n")
            .timeout(patience())
            .assert()
            .success()
            .stdout(predicate::str::ends_with(
                "! no blanks: try another one\n* welcome, ana\nbeto: hola ana\n\
                 the server has closed the connection\n",
            ));
        served.join().unwrap();
    }

    #[test]
    fn takes_the_name_from_the_command_line() {
        if !applies_to_ours_only() {
            return;
        }
        let (mut command, served) = serve_one(&[("ana", "! taken"), ("ana2", "* welcome, ana2")]);
        command.args(["--name", "ana"]);
        Command::from_std(command)
            .write_stdin("ana2\nsalir\n")
            .timeout(patience())
            .assert()
            .success();
        served.join().unwrap();
    }

    #[test]
    fn may_leave_without_a_name() {
        if !applies_to_ours_only() {
            return;
        }
        for input in ["", "salir\n"] {
            let (command, served) = serve_one(&[]);
            Command::from_std(command)
                .write_stdin(input)
                .timeout(patience())
                .assert()
                .success()
                .stdout(predicate::str::ends_with(
                    "the server has closed the connection\n",
                ));
            served.join().unwrap();
        }
    }
}

#[test]
fn still_broken_one_client_that_never_reads_stops_the_room() {
    let Some(server) = Server::of(STAGE).ours_only().start() else {
        return;
    };
    let mut lazy = lazy::client(&server);
    lazy.write_all(b"lazy\n").unwrap();
    let [ana, beto] = server.chat(["ana", "beto"]);
    lazy::stops_the_room(lazy, &ana, beto);
}
