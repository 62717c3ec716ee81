//! The checks of the exercises in `lessons/05_outbox.md`, *Change it*: each fails until its
//! exercise is done.

use std::time::{Duration, Instant};

use harness::lazy::{is_disconnected_as_slow, joins_and_reads_little};
use harness::{Client, Server, has_words, patience};

use super::STAGE;

#[test]
#[ignore = "an exercise of lesson 05"]
fn exercise_1() {
    let server = Server::start(STAGE);
    let mut heard = 0;
    let mut hears_of = |client: &mut Client, text: &str| {
        client.hears(text);
        heard += 1;
    };
    let mut ana = server.client("ana");
    ana.says("ana");
    hears_of(&mut ana, "ana"); // the welcome
    let mut beto = server.client("beto");
    beto.says("beto");
    hears_of(&mut beto, "beto");
    hears_of(&mut ana, "beto");
    // Carla reads late: her writer waits, and lines gather in her outbox.
    let mut carla = server.client_with_buffer("carla", 1024);
    carla.says("carla");
    hears_of(&mut ana, "carla");
    hears_of(&mut beto, "carla");
    let text = "x".repeat(16 * 1024);
    for n in 100..500 {
        ana.says(&format!("line {n} {text}"));
        hears_of(&mut beto, &format!("line {n}"));
    }
    hears_of(&mut carla, "carla");
    for n in 100..500 {
        hears_of(&mut carla, &format!("line {n}"));
    }
    ana.half_closes();
    ana.hears_the_end();
    hears_of(&mut beto, "ana");
    hears_of(&mut carla, "ana");

    // The server has written every line that they have heard, and must show all of them.
    server.still_missing("a line \"wrote N lines\" after each write");
    let (mut shown, mut most) = (0, 0);
    while shown < heard {
        let line = server.shows("wrote ");
        let count = line
            .strip_prefix("wrote ")
            .and_then(|rest| rest.split_once(' '))
            .filter(|(_, word)| ["line", "lines"].contains(word))
            .and_then(|(count, _)| count.parse::<usize>().ok());
        let Some(count) = count else {
            server.fail(format!("The server showed {line:?}."));
        };
        shown += count;
        most = most.max(count);
        server.still_missing(&format!(
            "the right numbers: ana, beto and carla have heard {heard} lines, and the server \
             has shown that it wrote {shown}"
        ));
    }
    if shown != heard {
        server.fail("The server shows more lines than it wrote.");
    }
    // In another server, each write may have one line.
    if std::env::var_os("STAGE_CMD").is_none() && most < 2 {
        server.still_missing(
            "one line for each write, and not one for each line: the server writes all that has \
             gathered in carla's outbox at once",
        );
        server.fail(format!(
            "The server showed \"wrote 1 lines\" {shown} times."
        ));
    }
}

#[test]
#[ignore = "an exercise of lesson 05"]
fn exercise_2() {
    const LINES: usize = 500;
    let server = Server::start(STAGE);
    let [mut ana, mut beto] = server.chat(["ana", "beto"]);
    let mut carla = joins_and_reads_little(&server, "carla", &mut [&mut ana, &mut beto]);
    ana.says("hola, carla");
    beto.hears_from("ana", "hola, carla");
    loop {
        server.still_missing("no warning as long as 64 places are free");
        match carla.hears_any(patience()) {
            Some(line) if has_words(&line, "hola, carla") => break,
            Some(line) if !has_words(&line, "falling behind") => {} // the welcome
            line => carla.fail(format!(
                "should have heard \"hola, carla\", but heard {line:?}."
            )),
        }
    }
    // First carla reads, but some lines always wait for her.
    server.still_missing(
        "no warning for carla, because she reads. In the long run she hears many lines. Does the \
         server subtract every line that her writer takes out?",
    );
    let text = "x".repeat(16 * 1024);
    for _ in 0..20 {
        for n in 10..60 {
            ana.says(&format!("line {n} {text}"));
            beto.hears_from("ana", &format!("line {n}"));
        }
        for n in 10..60 {
            carla.hears_from("ana", &format!("line {n}"));
        }
    }
    // Then she does not read. The lines are long: only some of them find room on the way to
    // carla. The others, between 449 and 512 of them, wait in her outbox.
    server.still_missing("no warning for a client that reads");
    let text = "x".repeat(64 * 1024);
    for n in 1000..1000 + LINES {
        ana.says(&format!("line {n} {text}"));
        let line = beto.hears_either(&[&format!("line {n}"), "carla", "falling behind"]);
        if has_words(&line, "carla") {
            server.still_missing("room for all that waits for carla: a warning takes a place too");
            server.fail("The server disconnected carla, although fewer than 512 lines waited.");
        }
        if !has_words(&line, &format!("line {n}")) {
            beto.fail(format!("heard {line:?}, although he reads everything."));
        }
    }
    server.still_missing(
        "for carla, who has 512 places and uses more than 448 of them: \
         \"* you are falling behind\"",
    );
    let mut warnings = 0;
    for n in 1000..1000 + LINES {
        let mut line = carla.hears_either(&["line", "falling behind"]);
        if line == "* you are falling behind" {
            warnings += 1;
            if n < 1000 + 448 {
                server.still_missing("no warning as long as 64 places are free");
                server.fail(format!("The server warned carla before \"line {n}\"."));
            }
            line = carla.hears("line");
        }
        if !has_words(&line, &format!("line {n}")) {
            server.still_missing("every line, in its order, with the warning among them");
            carla.fail(format!("should have heard \"line {n}\"."));
        }
    }
    if warnings != 1 {
        server.still_missing("one warning for carla: \"* you are falling behind\", once");
        server.fail(format!("The server warned carla {warnings} times."));
    }
    // Carla has read all, and falls behind once more.
    server.still_missing("no second warning for carla, although she falls behind again");
    for n in 2000..2000 + LINES {
        ana.says(&format!("line {n} {text}"));
        beto.hears_from("ana", &format!("line {n}"));
    }
    for n in 2000..2000 + LINES {
        carla.hears_from("ana", &format!("line {n}"));
    }
}

#[test]
#[ignore = "an exercise of lesson 05"]
fn exercise_3() {
    let server = Server::start_with(STAGE, &["--patient"], "an option --patient");
    let [mut ana, mut beto] = server.chat(["ana", "beto"]);
    let mut carla = joins_and_reads_little(&server, "carla", &mut [&mut ana, &mut beto]);
    let mut next = 1000;
    let mut say_two = |text: &str| {
        // In one packet: a server may pass both on in one piece.
        ana.sends(format!("line {next} {text}\nline {}\n", next + 1).as_bytes());
        for n in [next, next + 1] {
            let line = beto.hears_either(&[&format!("line {n}"), "carla"]);
            if !has_words(&line, &format!("line {n}")) {
                server.still_missing("a place in the room for carla, although she does not read");
                beto.fail(format!(
                    "should have heard \"line {n}\", but heard {line:?}."
                ));
            }
        }
        next += 2;
        next
    };
    // More than all buffers on the way to carla and her outbox can hold.
    let text = "x".repeat(16 * 1024);
    for _ in 0..1200 {
        say_two(&text);
    }

    // Now she reads. As long as there is more to come, ana goes on speaking.
    server.still_missing("for carla, in the place of the lines that she has missed, their number");
    let mut said = say_two("");
    let mut expected = None;
    let mut missed = 0;
    let deadline = Instant::now() + 4 * patience();
    while missed == 0 || expected != Some(said) {
        let Some(line) = carla.hears_any(Duration::from_millis(50)) else {
            if Instant::now() > deadline {
                server.fail("Carla has not heard the last line.");
            }
            said = say_two("");
            continue;
        };
        if let Some(rest) = line.strip_prefix("* you have missed ") {
            let count = rest.split_once(' ');
            let Some(count) = count.and_then(|(count, _)| count.parse::<i32>().ok()) else {
                carla.fail(format!("heard {line:?}, which has no number in it."));
            };
            missed += count;
            expected = expected.map(|n| n + count);
            continue;
        }
        let number = line.split_once("line ").map(|(_, rest)| rest);
        let number = number.and_then(|rest| rest.split(' ').next()?.parse::<i32>().ok());
        let Some(number) = number else {
            continue; // a line from before
        };
        if expected.is_some_and(|expected| expected != number) {
            server.still_missing(
                "\"* you have missed N lines\" where the lines would be, with the right number",
            );
            carla.fail(format!(
                "should have heard \"line {}\", because the server told her of {missed} missed \
                 lines so far, but heard \"line {number}\".",
                expected.unwrap_or_default()
            ));
        }
        expected = Some(number + 1);
    }

    let server = Server::start(STAGE);
    server.still_missing(
        "without --patient, the server disconnects a client that is too slow, as before",
    );
    is_disconnected_as_slow(&server);
}
