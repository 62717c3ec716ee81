//! What every chat server from stage 04 on must do, however it waits. A stage makes tests of
//! these promises by `harness::contract!();`.

use std::time::{Duration, Instant};

use super::{Client, Server, all_speak_at_once, has_words, patience, scenes};

promises! { contract:
    joining_is_announced_to_the_others
    a_line_reaches_every_other_client_with_its_speakers_name
    a_client_does_not_hear_its_own_line
    name_and_first_line_may_come_in_one_packet
    a_leave_is_announced_once_after_a_half_close
    a_leave_is_announced_once_after_a_close
    a_leave_is_announced_once_after_a_reset
    a_refused_name_may_be_tried_again
    names_are_unique_whatever_their_case
    of_many_clients_that_want_a_name_at_once_one_gets_it
    a_name_is_free_when_its_owner_has_left
    a_client_without_a_name_neither_hears_nor_is_heard
    a_line_in_two_packets_is_one_line
    two_lines_in_one_packet_are_two_lines
    a_character_split_between_packets_stays_whole
    a_line_of_4_kib_arrives_whole
    a_carriage_return_before_the_line_feed_is_dropped
    what_was_said_just_before_leaving_is_heard
    what_was_said_before_vanishing_is_heard_while_others_speak
    a_reset_in_the_middle_of_a_burst_does_not_disturb_the_others
    rubbish_from_one_client_does_not_disturb_the_others
    fifty_clients_hear_each_line_once_and_in_order
}

pub fn joining_is_announced_to_the_others(stage: &str) {
    let server = Server::start(stage);
    let [mut ana, mut beto] = server.chat(["ana", "beto"]);
    server.likely_cause("the clients are not told of a new client, or only the newest is");
    let mut carla = server.client("carla");
    carla.says("carla");
    ana.hears("carla");
    beto.hears("carla");
}

pub fn a_line_reaches_every_other_client_with_its_speakers_name(stage: &str) {
    let server = Server::start(stage);
    let [mut ana, mut beto, mut carla] = server.chat(["ana", "beto", "carla"]);
    server.likely_cause(
        "a line goes to all the others as it was said, blanks and empty lines included, with \
         the name of the client that said it",
    );
    // Blanks and empty lines belong to what was said.
    for text in ["hola a todos", "", "  indented   and more "] {
        ana.says(text);
        beto.hears_from("ana", text);
        carla.hears_from("ana", text);
    }
    carla.says("hola los dos");
    ana.hears_from("carla", "hola los dos");
    beto.hears_from("carla", "hola los dos");
}

pub fn a_client_does_not_hear_its_own_line(stage: &str) {
    let server = Server::start(stage);
    let [mut ana, mut beto] = server.chat(["ana", "beto"]);
    server.likely_cause("the server relays to all clients instead of all the others");
    for round in 10..15 {
        ana.says(&format!("hola {round}"));
        beto.hears(&format!("hola {round}"));
        // If ana were to hear herself, it would be before this.
        beto.says(&format!("buenas {round}"));
        ana.hears(&format!("buenas {round}"));
    }
}

pub fn name_and_first_line_may_come_in_one_packet(stage: &str) {
    let server = Server::start(stage);
    server.likely_cause("the server takes what the first read returned for the name");
    let [mut ana, _carla] = server.chat(["ana", "carla"]);
    let mut beto = server.client("beto");
    beto.sends(b"beto\nhola\nadios\n");
    ana.hears("beto");
    ana.hears_from("beto", "hola");
    ana.hears_from("beto", "adios");
}

/// Beto goes in this way, and ana hears of it once.
fn a_leave_is_announced_once(stage: &str, goes: fn(Client)) {
    let server = Server::start(stage);
    let [mut ana, beto] = server.chat(["ana", "beto"]);
    server.likely_cause("the program announces a leave at several places, or at none");
    goes(beto);
    ana.hears("beto");
    // If it came twice, then before this.
    let mut carla = server.client("carla");
    carla.says("carla");
    ana.hears("carla");
    carla.says("hola ana");
    ana.hears_from("carla", "hola ana");
}

pub fn a_leave_is_announced_once_after_a_half_close(stage: &str) {
    a_leave_is_announced_once(stage, |mut beto| {
        beto.half_closes();
        beto.is_let_go();
    });
}

pub fn a_leave_is_announced_once_after_a_close(stage: &str) {
    a_leave_is_announced_once(stage, Client::leaves);
}

pub fn a_leave_is_announced_once_after_a_reset(stage: &str) {
    a_leave_is_announced_once(stage, Client::resets);
}

pub fn a_refused_name_may_be_tried_again(stage: &str) {
    let server = Server::start(stage);
    let [mut ana, _carla] = server.chat(["ana", "carla"]);
    server
        .likely_cause("a name has 1 to 24 characters, none of them a blank or a control character");
    let mut beto = server.client("beto");
    let too_long = "x".repeat(25);
    for name in ["", "be to", "be\tto", "be\u{7}to", " ", &too_long] {
        beto.says(name);
        beto.is_refused();
    }
    // The longest name that is allowed. Ana has heard nothing of the others.
    let longest = "ñ".repeat(24);
    beto.says(&longest);
    ana.hears(&longest);
    beto.says("at last");
    ana.hears_from(&longest, "at last");
}

pub fn names_are_unique_whatever_their_case(stage: &str) {
    let server = Server::start(stage);
    let [mut ana, _jose] = server.chat(["ana", "José"]);
    server.likely_cause(
        "two clients must not have the same name, nor Ana and ana, nor JOSÉ and José",
    );
    let mut carla = server.client("carla");
    for name in ["ana", "ANA", "JOSÉ"] {
        carla.says(name);
        carla.is_refused();
    }
    carla.says("carla");
    ana.hears("carla");
}

pub fn of_many_clients_that_want_a_name_at_once_one_gets_it(stage: &str) {
    let server = Server::start(stage);
    let [mut ana, mut beto] = server.chat(["ana", "beto"]);
    server.likely_cause(
        "after the server found the name free and before it took it, another client took it",
    );
    let mut racers: Vec<_> = (0..20)
        .map(|n| server.client(&format!("racer {n}")))
        .collect();
    for racer in &mut racers {
        racer.says("racer");
    }
    ana.hears("racer");
    beto.hears("racer");
    let deadline = Instant::now() + patience();
    let mut refused = 0;
    while refused < 19 && Instant::now() < deadline {
        for racer in &mut racers {
            let line = racer.hears_any(Duration::from_millis(5));
            refused += usize::from(line.is_some_and(|line| line.starts_with("! ")));
        }
    }
    if refused != 19 {
        server.fail(format!(
            "Twenty clients wanted the same name, and {refused} of them were refused."
        ));
    }
    // Had a second one got in, ana would hear of it before this.
    beto.says("one is enough");
    ana.hears_from("beto", "one is enough");
}

pub fn a_name_is_free_when_its_owner_has_left(stage: &str) {
    let server = Server::start(stage);
    let [mut ana, beto] = server.chat(["ana", "beto"]);
    server.likely_cause("the name of a client that has left stays taken");
    beto.leaves();
    ana.hears("beto");
    let mut new = server.client("the new beto");
    new.says("beto");
    ana.hears("beto");
    new.says("it is me again");
    ana.hears_from("beto", "it is me again");
}

pub fn a_client_without_a_name_neither_hears_nor_is_heard(stage: &str) {
    let server = Server::start(stage);
    let [mut ana, mut beto] = server.chat(["ana", "beto"]);
    server.likely_cause("a client that has no name yet is not in the room");
    let mut nameless = server.client("nameless");
    nameless.says("ana");
    nameless.is_refused();
    ana.says("between us");
    beto.hears_from("ana", "between us");
    nameless.leaves();
    let mut carla = server.client("carla");
    carla.says("BETO");
    carla.is_refused();
    beto.says("still between us");
    // Ana has not heard of the client that left, and carla has not heard what was said.
    ana.hears_from("beto", "still between us");
    carla.says("BETO");
    carla.is_refused();
}

pub fn a_line_in_two_packets_is_one_line(stage: &str) {
    let server = Server::start(stage);
    let [mut ana, mut beto] = server.chat(["ana", "beto"]);
    scenes::a_line_in_two_packets(&server, &mut ana, |text| {
        beto.hears_from("ana", text);
    });
}

pub fn two_lines_in_one_packet_are_two_lines(stage: &str) {
    let server = Server::start(stage);
    let [mut ana, mut beto] = server.chat(["ana", "beto"]);
    scenes::two_lines_in_one_packet(&server, &mut ana, |text| {
        beto.hears_from("ana", text);
    });
}

pub fn a_character_split_between_packets_stays_whole(stage: &str) {
    let server = Server::start(stage);
    let [mut ana, mut beto] = server.chat(["ana", "beto"]);
    scenes::a_split_character(&server, &mut ana, |text| {
        beto.hears_from("ana", text);
    });
}

pub fn a_line_of_4_kib_arrives_whole(stage: &str) {
    let server = Server::start(stage);
    let [mut ana, mut beto] = server.chat(["ana", "beto"]);
    scenes::a_long_line(&server, 4 * 1024, &mut ana, |text| {
        beto.hears_from("ana", text);
    });
}

pub fn a_carriage_return_before_the_line_feed_is_dropped(stage: &str) {
    let server = Server::start(stage);
    let [mut ana, _carla] = server.chat(["ana", "carla"]);
    let mut beto = server.client("beto");
    beto.sends(b"beto\r\nfrom telnet\r\nfrom nc\n");
    ana.hears("beto");
    // A server may end all its lines in CR LF, but not one of them because beto did.
    let [telnet, nc] = ["from telnet", "from nc"].map(|text| ana.hears_from("beto", text));
    if nc.ends_with('\r') != telnet.ends_with('\r') || telnet.ends_with("\r\r") {
        server.fail(format!("The carriage return was relayed: {telnet:?}."));
    }
}

pub fn what_was_said_just_before_leaving_is_heard(stage: &str) {
    let server = Server::start(stage);
    let [ana, mut beto] = server.chat(["ana", "beto"]);
    scenes::last_words(&server, ana, |text| {
        beto.hears_from("ana", text);
    });
    beto.hears("ana");
}

/// Ana says much, and has gone when the server looks. A thread that writes to her finds out
/// before all is read. (Only Linux is sure to keep what has arrived before the reset.)
pub fn what_was_said_before_vanishing_is_heard_while_others_speak(stage: &str) {
    let Some(server) = Server::of(stage).ours_only().start() else {
        return;
    };
    let [mut ana, mut beto, mut carla] = server.chat(["ana", "beto", "carla"]);
    server.likely_cause(
        "when writing to a client fails, what it has said before is still to be read",
    );
    // Both say more than a server reads at a time, so it writes to her again and again.
    let text = "x".repeat(1000);
    let lines = |name: &str| -> String {
        let numbers = 100..140;
        numbers.map(|n| format!("{name} {n} {text}\n")).collect()
    };
    #[cfg(target_os = "linux")]
    server.is_suspended_while(|| {
        ana.sends(lines("first").as_bytes());
        ana.leaves();
        carla.sends(lines("meanwhile").as_bytes());
    });
    #[cfg(target_os = "linux")]
    for n in 100..140 {
        let awaited = format!("first {n}");
        while !has_words(&beto.hears_either(&["meanwhile", &awaited]), &awaited) {}
    }
    carla.says("she is gone");
    while !has_words(&beto.hears_either(&["ana", "meanwhile", "gone"]), "gone") {}
}

pub fn a_reset_in_the_middle_of_a_burst_does_not_disturb_the_others(stage: &str) {
    let server = Server::start(stage);
    let [mut beto, mut carla, mut ana] = server.chat(["beto", "carla", "ana"]);
    server.likely_cause(
        "the server froze, or ended, when a client vanished: does a thread that writes to \
         a dead client take a lock that it holds already?",
    );
    for n in 100..120 {
        beto.says(&format!("burst {n}"));
    }
    ana.hears("burst 100");
    ana.resets();
    for n in 120..140 {
        beto.says(&format!("burst {n}"));
    }
    // Somewhere among these, carla hears that ana has left, once.
    let mut left = 0;
    for n in 100..140 {
        let mut line = carla.hears_either(&["burst", "ana"]);
        if !has_words(&line, "burst") {
            left += 1;
            line = carla.hears("burst");
        }
        if !has_words(&line, &format!("burst {n}")) {
            server.fail(format!(
                "Carla should have heard \"burst {n}\", but heard {line:?}."
            ));
        }
    }
    if left == 0 {
        carla.hears("ana");
    }
    for n in 140..160 {
        beto.says(&format!("burst {n}"));
        carla.hears_from("beto", &format!("burst {n}"));
    }
    let mut dora = server.client("dora");
    dora.says("dora");
    carla.hears("dora");
    dora.says("I am new");
    carla.hears_from("dora", "I am new");
}

pub fn rubbish_from_one_client_does_not_disturb_the_others(stage: &str) {
    let server = Server::start(stage);
    let [mut ana, mut beto] = server.chat(["ana", "beto"]);
    scenes::rubbish(&server, &mut ana, &mut beto);
}

pub fn fifty_clients_hear_each_line_once_and_in_order(stage: &str) {
    const CLIENTS: usize = 50;
    const LINES: usize = 5;
    let server = Server::start(stage);
    let names: [String; CLIENTS] = std::array::from_fn(|n| format!("client{n}"));
    let mut clients = server.chat(std::array::from_fn::<_, CLIENTS, _>(|n| names[n].as_str()));
    server.likely_cause(
        "two threads write or change the list at the same time, or lines overtake each \
         other on their way",
    );
    all_speak_at_once(&server, &mut clients, LINES);
}
