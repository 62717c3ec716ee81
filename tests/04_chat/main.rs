//! Stage 04: what `examples/04_chat_server.rs` and its client promise, and what is still
//! broken. `lessons/04_chat.md` explains.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

use assert_cmd::Command;
use contract::*;
use harness::wrong::Hosted;
use harness::wrong_chat::{Fault, serve};
use harness::{Client, Server, applies_to_ours_only, example, lazy, patience, refused, survival};
use predicates::prelude::*;

const STAGE: &str = "04_chat";

harness::contract!();

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
    let Some(server) = Server::ours(STAGE) else {
        return;
    };
    let mut lazy = lazy::client(&server);
    lazy.write_all(b"lazy\n").unwrap();
    let [ana, beto] = server.chat(["ana", "beto"]);
    lazy::stops_the_room(lazy, &ana, beto);
}

/// The checks of the exercises in `lessons/04_chat.md`, *Change it*: each fails until its
/// exercise is done.
mod exercises {
    use super::*;

    #[test]
    #[ignore = "an exercise of lesson 04"]
    fn exercise_1() {
        let server = Server::start(STAGE);
        let [mut ana, _beto] = server.chat(["ana", "beto"]);
        let mut carla = server.client("carla");
        server.still_missing("a refusal of the name server");
        carla.says("server");
        carla.is_refused();
        server.still_missing("a refusal whatever the case of the letters");
        for name in ["SERVER", "Server", "sErVeR"] {
            carla.says(name);
            carla.is_refused();
        }
        server.still_missing("other names, such as servers and observer, are as good as ever");
        carla.says("servers");
        ana.hears("servers");
        let mut dora = server.client("dora");
        dora.says("observer");
        ana.hears("observer");
    }

    #[test]
    #[ignore = "an exercise of lesson 04"]
    fn exercise_2() {
        let server = Server::start(STAGE);
        let [mut ana, mut beto, carla] = server.chat(["ana", "beto", "carla"]);
        // Connected, but not in the room.
        let _nameless = server.client("somebody without a name");
        let is_told = |asker: &mut Client, expected: &[&str]| {
            asker.says("/who");
            let line = asker.hears("here");
            let Some(names) = line.strip_prefix("* here: ") else {
                asker.fail(format!(
                    "should have heard \"* here: …\", but heard {line:?}."
                ));
            };
            let mut names: Vec<_> = names.trim_end().split(", ").collect();
            names.sort();
            if names != expected {
                asker.fail(format!(
                    "should have heard the names {expected:?}, but heard {line:?}."
                ));
            }
        };
        server.still_missing("an answer to /who: \"* here: ana, beto, carla\", in any order");
        is_told(&mut beto, &["ana", "beto", "carla"]);
        server.still_missing("an answer for the one who asks, and for nobody else");
        beto.says("so many?");
        ana.hears_from("beto", "so many?");
        server.still_missing("those who have joined, without those who have left");
        carla.leaves();
        ana.hears("carla");
        is_told(&mut ana, &["ana", "beto"]);
        let mut dora = server.client("dora");
        dora.says("Dora");
        ana.hears("Dora");
        is_told(&mut ana, &["Dora", "ana", "beto"]);
        server.still_missing("lines that only look like it are said to all, as before");
        ana.says("/whoever you are");
        dora.hears_within("/whoever you are", patience());
        ana.says("who is /who?");
        dora.hears_from("ana", "who is /who?");
    }

    #[test]
    #[ignore = "an exercise of lesson 04"]
    fn exercise_3() {
        let server = Server::start(STAGE);
        let [mut ana, mut beto, mut carla] = server.chat(["ana", "beto", "carla"]);
        server.still_missing("for beto: \"ana (to you): hola\"");
        ana.says("/to beto hola");
        beto.hears_exactly("ana (to you): hola");
        server
            .still_missing("that nobody else hears what is meant for one, nor the one who says it");
        beto.says("what a surprise");
        carla.hears_from("beto", "what a surprise");
        ana.hears_from("beto", "what a surprise");
        server.still_missing("all that follows the name, blanks and colons too");
        carla.says("/to ana do you:  see?");
        ana.hears_exactly("carla (to you): do you:  see?");
        server.still_missing("names whatever their case: the room tells ANA from ana nowhere else");
        carla.says("/to ANA and now?");
        ana.hears_exactly("carla (to you): and now?");
        server.still_missing("for ana, if nobody has that name: a line that begins with \"! \"");
        ana.says("/to nobody are you there?");
        let line = ana.hears_any(patience()).unwrap_or_default();
        if !line.starts_with("! ") {
            ana.fail(format!(
                "should have heard that there is no such name, but heard {line:?}."
            ));
        }
        server.still_missing("that a line for somebody who has left reaches nobody");
        carla.leaves();
        ana.hears("carla");
        beto.hears("carla");
        ana.says("/to carla too late");
        let line = ana.hears_any(patience()).unwrap_or_default();
        if !line.starts_with("! ") {
            ana.fail(format!(
                "should have heard that carla has left, but heard {line:?}."
            ));
        }
        ana.says("that was all");
        beto.hears_from("ana", "that was all");
    }
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
