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
    server.still_missing("for the others, of \"/later 0.5 tea is ready\": nothing at first");
    beto.hears_from("ana", "I am making tea");
    server.still_missing("half a second later: \"ana: tea is ready\"");
    beto.hears_from("ana", "tea is ready");
    let taken = begin.elapsed();
    if taken < Duration::from_millis(500) {
        server.fail(format!("It was said after {taken:.2?} already."));
    }
    server.still_missing("that ana does not hear herself");
    beto.says("thank you");
    ana.hears_from("beto", "thank you");

    server.still_missing("as many as ten at a time, each at its own time");
    let lines: String = (10..20)
        .map(|n| format!("/later 0.{} number {n}\n", 20 + 5 * (20 - n)))
        .collect();
    ana.sends(lines.as_bytes());
    for n in (10..20).rev() {
        beto.hears_from("ana", &format!("number {n}"));
    }

    // With most of these, a conversion that is not asked whether it fails panics.
    for secs in ["soon", "-1", "NaN", "1e30"] {
        let line = format!("/later {secs} tea is cold");
        server.still_missing(&format!(
            "of {line:?}, which has no time from 0 to 86400, what any other line brings: it \
             is said as it is, and ana goes on"
        ));
        ana.says(&line);
        beto.hears_exactly(&format!("ana: {line}"));
        ana.says("so it is");
        beto.hears_from("ana", "so it is");
    }

    server.still_missing("nothing more from somebody who has left");
    carla.says("/later 0.3 I am a ghost");
    carla.half_closes();
    carla.is_let_go();
    let mut line = beto.hears("carla");
    if line.contains("ghost") {
        beto.fail(format!("heard {line:?} of somebody who has left."));
    }
    ana.says("/later 0.6 no ghost");
    line = beto.hears("ghost");
    if line != "ana: no ghost" {
        beto.fail(format!("heard {line:?} of somebody who has left."));
    }

    server.still_missing("for the eleventh at a time: a line that begins with \"! \"");
    for _ in 0..11 {
        ana.says("/later 3600 too late");
    }
    ana.is_told_why();
    server.still_missing("no harm to whoever was told so");
    ana.says("so be it");
    beto.hears_from("ana", "so be it");
    #[cfg(unix)]
    {
        server.still_missing("the end after Ctrl-C, whatever is still to be said");
        server.is_interrupted();
        for client in [&mut ana, &mut beto] {
            client.hears("closing");
            client.hears_the_end();
        }
        drop((ana, beto));
        server.ends_within(patience());
    }
}
