//! The checks of the exercises in `lessons/03_broadcast.md`, *Change it*: each fails until
//! its exercise is done.

use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Instant;

use harness::{Server, lazy, patience};

use super::{STAGE, tells_who_said_it};

#[test]
#[ignore = "an exercise of lesson 03"]
fn exercise_1() {
    let server = Server::start(STAGE);
    let [mut ana, mut beto, _carla] = server.room(["ana", "beto", "carla"]);
    server.still_missing("an answer to /count: \"3 are here\"");
    ana.says("/count");
    ana.hears_exactly("3 are here");
    // If beto had heard the question or the answer, it would have come before this line.
    server.still_missing("an answer for the client that asks, and for no other");
    ana.says("so many?");
    beto.hears("so many?");
    server.still_missing("a count of the clients that are still here");
    beto.leaves();
    let deadline = Instant::now() + patience();
    loop {
        ana.says("/count");
        let line = ana.hears("are here");
        if line.trim_end() == "2 are here" {
            break;
        }
        if Instant::now() > deadline {
            server.fail(format!("Beto has left, and ana still hears {line:?}."));
        }
    }
}

#[test]
#[ignore = "an exercise of lesson 03"]
fn exercise_2() {
    let server = Server::start(STAGE);
    let [mut ana, mut beto] = server.room(["ana", "beto"]);
    for n in 10..20 {
        ana.says(&format!("line {n}"));
        beto.hears(&format!("line {n}"));
    }
    server.still_missing("for a new client: the last five lines, the oldest first");
    let mut carla = server.client("carla");
    for n in 15..20 {
        let line = carla.hears(&format!("line {n}"));
        server.still_missing(
            "each of these lines as the others heard it, with the address of the client that said \
             it",
        );
        tells_who_said_it(&server, &line, ana.address());
    }
    server.still_missing("after the last five lines, every line that is said from then on");
    ana.says("hola, carla");
    carla.hears("hola, carla");
    beto.hears("hola, carla");
    carla.leaves();

    // Ana speaks without a pause, and other clients join. Between the last five lines and what
    // follows there is no gap, and no line comes twice.
    server.still_missing(
        "one step instead of two: a line that is said between sending the last lines and joining \
         the list gets lost, or comes twice",
    );
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let speaker = scope.spawn(|| {
            let mut n = 1000;
            while !stop.load(Ordering::Relaxed) {
                ana.says(&format!("number {n}"));
                // Beto reads now and then, so that no thread has to wait for him.
                if n % 16 == 0 && !beto.hears_within(&format!("number {n}"), patience()) {
                    server.fail(format!("Beto does not hear \"number {n}\"."));
                }
                n += 1;
            }
        });
        let newcomers = panic::catch_unwind(AssertUnwindSafe(|| {
            for newcomer in 0..50 {
                let mut dora = server.client(&format!("newcomer {newcomer}"));
                let number = |line: &str| -> Option<u32> {
                    line.rsplit_once("number ")?.1.trim_end().parse().ok()
                };
                // The first newcomers may still hear lines from before.
                let mut last = None;
                for _ in 0..12 {
                    let Some(line) = dora.hears_any(patience()) else {
                        server.fail("A newcomer hears nothing.");
                    };
                    let next = number(&line);
                    if let Some(last) = last
                        && next != Some(last + 1)
                    {
                        server.fail(format!(
                            "After \"number {last}\", a newcomer heard {line:?}."
                        ));
                    }
                    last = next;
                }
            }
        }));
        stop.store(true, Ordering::Relaxed);
        let spoken = speaker.join();
        for result in [newcomers, spoken] {
            result.unwrap_or_else(|complaint| panic::resume_unwind(complaint));
        }
    });
}

#[test]
#[ignore = "an exercise of lesson 03"]
fn exercise_3() {
    let server = Server::start(STAGE);
    let lazy = server.client_with_buffer("a lazy client", 1024);
    let [ana, beto, mut carla] = server.room(["ana", "beto", "carla"]);
    lazy::stops_the_room_while(lazy.stream().try_clone().unwrap(), &ana, beto, || {
        server.still_missing(
            "the end of carla's connection. Carla leaves while ana's thread waits for a client \
             that does not read. No thread may hold the lock of the list while it writes, or keep \
             open the connection of a client that has left",
        );
        carla.half_closes();
        carla.is_let_go();
        server.still_missing("the same for a client that has just connected");
        let mut dora = server.client("dora");
        dora.half_closes();
        dora.is_let_go();
    });
}
