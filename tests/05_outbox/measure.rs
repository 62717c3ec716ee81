//! The measurement of lesson 05.

use std::io::Write;
use std::sync::mpsc;
use std::thread;
use std::time::Instant;

use harness::{Server, patience};

use super::STAGE;

/// How many lines of a kibibyte each go to 20 readers in a second, with and without a
/// client that never reads. Lesson 05 tells what came out; to repeat it:
/// `cargo test --release --test 05_outbox measure -- --ignored --nocapture`
#[test]
#[ignore = "a measurement, which takes a few seconds"]
fn measure_what_one_sleeper_costs_the_others() {
    for round in 1..=6 {
        // The two take turns to be first.
        let mut both = [0.0; 2];
        for with in [round % 2, (round + 1) % 2] {
            both[with] = deliveries_per_second(with == 1);
        }
        let [without, with] = both;
        println!(
            "round {round}: {without:.0} deliveries a second without a sleeper, {with:.0} with one: \
             {:.0} %",
            100.0 * with / without
        );
    }
}

fn deliveries_per_second(with_a_sleeper: bool) -> f64 {
    const READERS: usize = 20;
    const LINES: usize = 8000;
    const UNDER_WAY: usize = 64;
    let server = Server::start(STAGE);
    let sleeper = with_a_sleeper.then(|| {
        let mut sleeper = server.client_with_buffer("sleeper", 1024);
        sleeper.says("sleeper");
        sleeper
    });
    let mut clients: Vec<_> = (0..=READERS)
        .map(|n| {
            let mut client = server.client(&format!("reader{n}"));
            client.says(&format!("reader{n}"));
            client
        })
        .collect();
    server.roll_call(&mut clients);
    let line = format!("{}\n", "x".repeat(1023));
    let (sender, readers) = clients.split_first_mut().unwrap();
    let mut stream = sender.stream().try_clone().unwrap();
    let start = Instant::now();
    thread::scope(|scope| {
        let (heard, progress) = mpsc::channel();
        for reader in readers {
            let heard = heard.clone();
            scope.spawn(move || {
                for n in 1..=LINES {
                    while !reader.hears_any(patience()).unwrap().contains("xxx") {}
                    if n % UNDER_WAY == 0 {
                        heard.send(()).unwrap();
                    }
                }
            });
        }
        for _ in 0..LINES / UNDER_WAY {
            stream.write_all(line.repeat(UNDER_WAY).as_bytes()).unwrap();
            progress.iter().take(READERS).for_each(drop);
        }
    });
    let taken = start.elapsed();
    drop(sleeper);
    (READERS * LINES) as f64 / taken.as_secs_f64()
}
