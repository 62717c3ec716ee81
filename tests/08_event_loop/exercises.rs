//! The checks of the exercises in `lessons/08_event_loop.md`, *Change it*: each fails until its
//! exercise is done.

use std::thread;
use std::time::Duration;

use harness::{Client, Server, patience, pause};

use super::STAGE;

#[test]
#[ignore = "an exercise of lesson 08"]
fn exercise_1() {
    let server = Server::start(STAGE);
    let [mut ana, mut beto] = server.chat(["ana", "beto"]);
    let told = |asker: &mut Client, line: String| -> usize {
        let count = line.trim_end().strip_prefix("* lines said: ");
        match count.and_then(|count| count.parse().ok()) {
            Some(count) => count,
            None => asker.fail(format!("heard {line:?}.")),
        }
    };
    server.still_missing("an answer to /lines: \"* lines said: N\"");
    beto.says("/lines");
    let line = beto.hears("lines said");
    let mut said = told(&mut beto, line);
    let mut is_told = |asker: &mut Client, more: usize| {
        asker.says("/lines");
        let line = asker.hears("lines said");
        said += more;
        let count = told(asker, line);
        if count != said {
            asker.fail(format!(
                "should have heard of {said} lines, but heard of {count}."
            ));
        }
    };
    server.still_missing("a count without the question itself");
    is_told(&mut beto, 0);
    server.still_missing("an answer for the client that asks, and for no other");
    beto.says("so many?");
    ana.hears_from("beto", "so many?");
    server.still_missing("every line that any client has said");
    is_told(&mut ana, 1);
    for n in 10..20 {
        ana.says(&format!("line {n}"));
        beto.hears_from("ana", &format!("line {n}"));
    }
    is_told(&mut beto, 10);
    server
        .still_missing("a count of what was said: a name does not count, nor does an announcement");
    let mut carla = server.client("carla");
    carla.says("carla");
    ana.hears("carla");
    beto.hears("carla");
    is_told(&mut beto, 0);

    // In each round, both lines come in one turn of the loop.
    #[cfg(unix)]
    for round in 0..4 {
        let text = format!("before you ask {round}");
        let (speaker, asker) = match round % 2 {
            0 => (&mut ana, &mut beto),
            _ => (&mut beto, &mut ana),
        };
        server.is_suspended_while(|| {
            speaker.says(&text);
            asker.says("/lines");
        });
        server.still_missing(
            "lines and answers in their order: an answer counts each line that the client has \
             heard before it, and no line that the client hears after it",
        );
        let mut line = asker.hears_either(&[&text, "lines said"]);
        let heard_first = line.ends_with(&text);
        if heard_first {
            line = asker.hears("lines said");
        }
        let count = told(asker, line);
        if count != said + usize::from(heard_first) {
            let when = if heard_first { "after" } else { "before" };
            asker.fail(format!(
                "had heard of {said} lines, and then heard \"* lines said: {count}\", {when} \
                 {text:?}."
            ));
        }
        if !heard_first {
            asker.hears(&text);
        }
        said += 1;
    }
}

#[test]
#[ignore = "an exercise of lesson 08"]
fn exercise_2() {
    let server = Server::start_with(STAGE, &["--operator"], "an option --operator");
    let mut nameless = server.client("nameless");
    let [mut ana, mut beto] = server.chat(["ana", "beto"]);
    for n in 10..15 {
        server.still_missing(&format!(
            "for every client in the room, as soon as the operator has typed \"hola {n}\": \
             \"* operator: hola {n}\". No client does anything meanwhile: what wakes the server?"
        ));
        server.types(&format!("hola {n}"));
        for client in [&mut ana, &mut beto] {
            client.hears_exactly(&format!("* operator: hola {n}"));
        }
    }
    // Pasted lines come in one write. A thread that wakes the loop for each of them may wake it
    // only once for several.
    server.still_missing(
        "every typed line, also when many come at once: the server may wake only once for several \
         of them, and nothing else wakes it for the others",
    );
    let typed: Vec<_> = (20..60).map(|n| format!("hola {n}")).collect();
    server.types(&typed.join("\n"));
    for line in &typed {
        for client in [&mut ana, &mut beto] {
            client.hears_exactly(&format!("* operator: {line}"));
        }
    }
    server.still_missing("nothing for a client that is not in the room");
    nameless.has_heard_nothing();
    server.still_missing("a server that goes on, and rests, when its keyboard input ends");
    server.keyboard_ends();
    ana.says("are you there?");
    beto.hears_from("ana", "are you there?");
    // With a command in `STAGE_CMD`, another process may do the work.
    if std::env::var_os("STAGE_CMD").is_none() {
        let before = server.cpu_time();
        thread::park_timeout(Duration::from_millis(300));
        let used = server.cpu_time() - before;
        if used > Duration::from_millis(100) {
            server.fail(format!(
                "In 0.3 s of silence, the server has worked for {used:?}."
            ));
        }
    }
    ana.says("and now?");
    beto.hears_from("ana", "and now?");
    #[cfg(unix)]
    {
        server.still_missing("the end after Ctrl-C, as before");
        server.is_interrupted();
        for client in [&mut ana, &mut beto, &mut nameless] {
            client.hears("closing");
            client.hears_the_end();
        }
        drop((ana, beto, nameless));
        server.ends_within(patience());
    }

    let server = Server::start(STAGE);
    server.still_missing("without --operator, the server does not read the keyboard, as before");
    let [mut ana, mut beto] = server.chat(["ana", "beto"]);
    server.types("is this on?");
    for round in 0..5 {
        // A wrong line may still be on its way. A right server sends none.
        pause(round);
        ana.says(&format!("no operator {round}"));
        beto.hears_from("ana", &format!("no operator {round}"));
    }
}

#[test]
#[ignore = "an exercise of lesson 08"]
fn exercise_3() {
    harness::limits::a_silent_client_is_warned(STAGE);
}
