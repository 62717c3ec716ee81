//! The checks of the exercises in `lessons/00_echo.md`, *Change it*: each fails until its
//! exercise is done.

use std::io::{BufRead, BufReader, Write};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use harness::{Server, applies_to_ours_only, has_words};

use super::{STAGE, the_client};

#[test]
#[ignore = "an exercise of lesson 00"]
fn exercise_1() {
    let server = Server::start(STAGE);
    let whole: &[&str] = &["hola\n"];
    for (number, pieces) in [
        whole,
        &["ho", "la\n"],
        &["hola\nadios\n"],
        &["a", "b", "c"],
        &[],
    ]
    .into_iter()
    .enumerate()
    {
        server.still_missing(
            "in the line about a client that has left, the number of reads: \"in 3 reads\"",
        );
        let mut ana = server.client(&format!("ana {number}"));
        for piece in pieces {
            ana.sends(piece.as_bytes());
            // The server has read what comes back, so the next piece takes another read.
            ana.hears_bytes(piece.as_bytes());
        }
        ana.leaves();
        let reads = pieces.len();
        let line = server.shows("bytes echoed");
        if has_words(&line, &format!("in {} reads", reads + 1)) {
            server.still_missing(
                "a count without the last read: it has 0 bytes, and is the end of the stream",
            );
        }
        if !["read", "reads"]
            .map(|word| format!("in {reads} {word}"))
            .iter()
            .any(|words| has_words(&line, words))
        {
            server.fail(format!(
                "After the pieces {pieces:?}, the server should have shown \"in {reads} \
                 reads\", but it showed {line:?}."
            ));
        }
    }
}

#[test]
#[ignore = "an exercise of lesson 00"]
fn exercise_2() {
    let server = Server::start_with(STAGE, &["--capitals"], "an option --capitals");
    server.still_missing("answers in capitals");
    let mut ana = server.client("ana");
    ana.says("hola");
    ana.hears_exactly("HOLA");
    server.still_missing("capitals also for letters such as é, which take two bytes or more");
    ana.says("¿qué tal?");
    ana.hears_exactly("¿QUÉ TAL?");
    server.still_missing("an answer for each line, as soon as the line is whole");
    ana.sends("mañana\nseñor\n".as_bytes());
    ana.hears_exactly("MAÑANA");
    ana.hears_exactly("SEÑOR");
    server.still_missing("whole letters: what one read returned may end in the middle of an é");
    for round in 0..5 {
        let (half, rest) = "café\n".as_bytes().split_at(4);
        ana.sends_in_two(half, rest, round);
        ana.hears_exactly("CAFÉ");
    }
    server.still_missing("the end of the connection, after the client's half-close");
    ana.half_closes();
    ana.hears_the_end();
}

#[test]
#[ignore = "an exercise of lesson 00"]
fn exercise_3() {
    if !applies_to_ours_only() {
        return;
    }
    // This server takes 60 ms for the first of three replies, and measures each of them.
    let (tell, told) = mpsc::channel();
    let (port, served) = the_client::serve_one(move |stream| {
        let mut lines = BufReader::new(&stream).lines();
        for pause in [60, 0, 0] {
            let line = lines.next().unwrap().unwrap();
            let start = Instant::now();
            thread::park_timeout(Duration::from_millis(pause));
            (&stream).write_all(format!("{line}\n").as_bytes()).unwrap();
            tell.send(start.elapsed()).unwrap();
        }
        assert!(
            lines.next().is_none(),
            "the client should half-close after its last line"
        );
    });
    let mut client = the_client::client(&port);
    let start = Instant::now();
    let done = client.write_stdin("a\nb\nc\n").assert().success();
    let total = start.elapsed().as_secs_f64() * 1000.0;
    served.join().unwrap();
    let printed = String::from_utf8_lossy(&done.get_output().stdout);
    let last = printed.lines().last().unwrap_or_default();
    let missing = |what: &str| -> ! {
        panic!("\n\nThe client's last line is {last:?}.\nStill missing: {what}\n\n{printed}\n")
    };
    let form = "a last line of the form \"3 replies: fastest 0.12 ms, slowest 60.21 ms\"";
    let numbers = last
        .strip_prefix("3 replies: fastest ")
        .and_then(|rest| rest.strip_suffix(" ms")?.split_once(" ms, slowest "))
        .and_then(|(a, b)| Some((a.parse::<f64>().ok()?, b.parse::<f64>().ok()?)));
    let Some((fastest, slowest)) = numbers else {
        missing(form)
    };
    // The client waited at least as long as the server took. It never waited for two replies at
    // once. The client may have rounded its numbers.
    let rounding = 0.2;
    let longest = told.iter().max().unwrap().as_secs_f64() * 1000.0;
    if slowest + rounding < longest {
        missing(&format!(
            "the right slowest time: the server took {longest:.1} ms for one reply"
        ));
    }
    if slowest > total + rounding {
        missing(&format!(
            "a slowest time that is possible: the client ran for only {total:.1} ms in all"
        ));
    }
    if fastest > slowest || 2.0 * fastest + slowest > total + rounding {
        missing("for each reply, only the time since the client sent that line");
    }
}
