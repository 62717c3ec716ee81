//! The checks of the exercises in `lessons/04_chat.md`, *Change it*: each fails until its
//! exercise is done.

use harness::{Client, Server, patience};

use super::STAGE;

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
    server.still_missing("other names, such as servers and observer, are allowed as before");
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
    let _nameless = server.client("a client without a name");
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
    server.still_missing("an answer for the client that asks, and for no other");
    beto.says("so many?");
    ana.hears_from("beto", "so many?");
    server.still_missing("the clients that have joined, without those that have left");
    carla.leaves();
    ana.hears("carla");
    is_told(&mut ana, &["ana", "beto"]);
    let mut dora = server.client("dora");
    dora.says("Dora");
    ana.hears("Dora");
    is_told(&mut ana, &["Dora", "ana", "beto"]);
    server.still_missing("a line that only looks like /who reaches the others, as before");
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
    server.still_missing(
        "silence for all the others: neither carla nor ana hears what is meant for beto",
    );
    beto.says("what a surprise");
    carla.hears_from("beto", "what a surprise");
    ana.hears_from("beto", "what a surprise");
    server.still_missing("all that follows the name, blanks and colons too");
    carla.says("/to ana do you:  see?");
    ana.hears_exactly("carla (to you): do you:  see?");
    server.still_missing("names in capitals or not: for the room, ANA and ana are the same name");
    carla.says("/to ANA and now?");
    ana.hears_exactly("carla (to you): and now?");
    server.still_missing("for ana, if no client has that name: a line that begins with \"! \"");
    ana.says("/to nobody are you there?");
    let line = ana.hears_any(patience()).unwrap_or_default();
    if !line.starts_with("! ") {
        ana.fail(format!(
            "should have heard that there is no such name, but heard {line:?}."
        ));
    }
    server.still_missing("a refusal of a line for a client that has left");
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
