//! Stage 04: what `examples/04_chat_server.rs` and its client promise, and what is still
//! broken. `lessons/04_chat.md` explains.

mod common;

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

use assert_cmd::Command;
use common::wrong::{Hosted, refused};
use common::wrong_chat::{Fault, serve};
use common::{Client, Server, applies_to_ours_only, example, lazy, patience, survival};
use contract::*;
use predicates::prelude::*;

const STAGE: &str = "04_chat";

common::contract::contract!();

#[test]
fn a_panic_in_one_thread_lets_its_client_go_and_nobody_else() {
    if !applies_to_ours_only() {
        return;
    }
    survival::a_panic(STAGE);
}

#[test]
fn the_wording() {
    let Some(server) = Server::ours(STAGE) else {
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

/// The server shows what the client says.
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
    let Some(server) = Server::ours(STAGE) else {
        return;
    };
    let mut lazy = lazy::client(&server);
    lazy.write_all(b"lazy\n").unwrap();
    let [ana, beto] = server.chat(["ana", "beto"]);
    lazy::stops_the_room(lazy, &ana, beto);
}

#[test]
fn wrong_servers_are_refused() {
    macro_rules! wrong {
        ($($name:ident: $fault:ident;)+) => {
            $(fn $name(hosted: Hosted) { serve(hosted, Fault::$fault) })+
        };
    }
    wrong! {
        never_announces_joining: NeverAnnouncesJoining;
        relays_to_the_sender_too: RelaysToTheSenderToo;
        names_nobody: NamesNobody;
        takes_the_packet_for_the_name: TakesThePacketForTheName;
        announces_leaving_twice: AnnouncesLeavingTwice;
        never_announces_leaving: NeverAnnouncesLeaving;
        announces_leaving_only_in_order: AnnouncesLeavingOnlyInOrder;
        takes_a_taken_name: TakesATakenName;
        tells_ana_from_capital_ana: TellsAnaFromANA;
        takes_any_name: TakesAnyName;
        hangs_up_on_a_refused_name: HangsUpOnARefusedName;
        keeps_the_name_taken: KeepsTheNameTaken;
        speaks_to_the_nameless: SpeaksToTheNameless;
    }
    refused! {
        never_announces_joining by joining_is_announced_to_the_others:
            "should have heard \"carla\"", "nobody is told of a new client";
        relays_to_the_sender_too by nobody_hears_their_own_line:
            "to everybody instead of everybody else";
        names_nobody by a_line_reaches_everybody_else_with_its_speakers_name:
            "does not tell that ana said it";
        takes_the_packet_for_the_name by name_and_first_line_may_come_in_one_packet:
            "takes what the first read returned for the name";
        announces_leaving_twice by a_leave_is_announced_once_after_a_close:
            "should have heard \"carla\"", "at several places";
        never_announces_leaving by a_leave_is_announced_once_after_a_half_close:
            "should have heard \"beto\"", "or at none";
        announces_leaving_only_in_order by a_leave_is_announced_once_after_a_reset:
            "should have heard \"beto\"", "or at none";
        takes_a_taken_name by names_are_unique_whatever_their_case:
            "should have heard a refusal", "the same name";
        tells_ana_from_capital_ana by names_are_unique_whatever_their_case:
            "should have heard a refusal", "nor Ana and ana";
        takes_any_name by a_refused_name_may_be_tried_again:
            "should have heard a refusal", "1 to 24 characters";
        hangs_up_on_a_refused_name by a_refused_name_may_be_tried_again:
            "a refusal", "1 to 24 characters";
        keeps_the_name_taken by a_name_is_free_when_its_owner_has_left:
            "stays taken";
        speaks_to_the_nameless by without_a_name_nobody_hears_or_is_heard:
            "who has no name yet is not in the room";
    }
}
