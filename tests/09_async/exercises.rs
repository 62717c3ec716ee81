//! The checks of the exercises in `lessons/09_async.md`, *Change it*: each fails until its
//! exercise is done.

use std::time::{Duration, Instant};

use harness::{Server, patience};

use super::STAGE;

#[test]
#[ignore = "an exercise of lesson 09"]
fn exercise_1() {
    harness::limits::a_silent_client_is_warned(STAGE);
}

#[test]
#[ignore = "an exercise of lesson 09"]
fn exercise_2() {
    let server = Server::start(STAGE);
    let [mut ana, mut beto, mut carla] = server.chat(["ana", "beto", "carla"]);
    let begin = Instant::now();
    ana.says("/later 0.5 tea is ready");
    ana.says("I am making tea");
    server.still_missing("for the others, at first nothing of \"/later 0.5 tea is ready\"");
    beto.hears_from("ana", "I am making tea");
    server.still_missing("half a second later: \"ana: tea is ready\"");
    beto.hears_from("ana", "tea is ready");
    let taken = begin.elapsed();
    if taken < Duration::from_millis(500) {
        server.fail(format!("The others heard it after only {taken:.2?}."));
    }
    server.still_missing("silence for ana: she does not hear her own line");
    beto.says("thank you");
    ana.hears_from("beto", "thank you");

    server.still_missing("up to ten waiting lines, each said at its own time");
    let lines: String = (10..20)
        .map(|n| format!("/later 0.{} number {n}\n", 20 + 5 * (20 - n)))
        .collect();
    ana.sends(lines.as_bytes());
    for n in (10..20).rev() {
        beto.hears_from("ana", &format!("number {n}"));
    }

    // With most of these, a conversion fails. A program that does not check for that panics.
    for secs in ["soon", "-1", "NaN", "1e30"] {
        let line = format!("/later {secs} tea is cold");
        server.still_missing(&format!(
            "{line:?} as an ordinary line, because it has no time from 0 to 86400: the others \
             hear it as it is, and ana goes on"
        ));
        ana.says(&line);
        beto.hears_exactly(&format!("ana: {line}"));
        ana.says("so it is");
        beto.hears_from("ana", "so it is");
    }

    server.still_missing("nothing more from a client that has left");
    carla.says("/later 0.3 I am a ghost");
    carla.half_closes();
    carla.is_let_go();
    let mut line = beto.hears("carla");
    if line.contains("ghost") {
        beto.fail(format!("heard {line:?} from a client that has left."));
    }
    ana.says("/later 0.6 no ghost");
    line = beto.hears("ghost");
    if line != "ana: no ghost" {
        beto.fail(format!("heard {line:?} from a client that has left."));
    }

    server
        .still_missing("for the eleventh waiting line, a refusal: a line that begins with \"! \"");
    for _ in 0..11 {
        ana.says("/later 3600 too late");
    }
    ana.is_told_why();
    server.still_missing("no harm to the client that was refused");
    ana.says("so be it");
    beto.hears_from("ana", "so be it");
    #[cfg(unix)]
    {
        server.still_missing("the end after Ctrl-C, although some lines still wait for their time");
        server.is_interrupted();
        for client in [&mut ana, &mut beto] {
            client.hears("closing");
            client.hears_the_end();
        }
        drop((ana, beto));
        server.ends_within(patience());
    }
}
