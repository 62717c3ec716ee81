//! The measurement of lesson 03.

use std::thread;
use std::time::Instant;

use harness::Server;

use super::STAGE;

/// From the moment a line is sent until a receiver has it. Lesson 03 tells what came
/// out; to repeat it:
/// `cargo test --release --test 03_broadcast measure -- --ignored --nocapture`
#[test]
#[ignore = "a measurement, which takes a few seconds"]
fn measure_the_delay_of_a_line() {
    const BURSTS: usize = 100;
    const LINES: usize = 8;
    let server = Server::start(STAGE);
    let mut all: Vec<_> = (0..11)
        .map(|n| server.client(&format!("client {n}")))
        .collect();
    server.roll_call(&mut all);

    let mut delays = Vec::new();
    for burst in 0..BURSTS {
        // All speak in turn, as in a conversation.
        all.rotate_left(1);
        let (sender, receivers) = all.split_first_mut().unwrap();
        let start = Instant::now();
        thread::scope(|scope| {
            let listening: Vec<_> = receivers
                .iter_mut()
                .map(|receiver| {
                    scope.spawn(move || {
                        [0; LINES].map(|_| {
                            receiver.hears(&format!("burst {burst}"));
                            start.elapsed()
                        })
                    })
                })
                .collect();
            let mut sent = Vec::new();
            for line in 0..LINES {
                sent.push(start.elapsed());
                sender.says(&format!("burst {burst} line {line}"));
            }
            for receiver in listening {
                let heard = receiver.join().unwrap();
                delays.extend(heard.iter().zip(&sent).map(|(heard, sent)| *heard - *sent));
            }
        });
    }
    delays.sort();
    let percentile = |percent: usize| delays[delays.len() * percent / 100].as_secs_f64() * 1000.0;
    println!(
        "{BURSTS} bursts of {LINES} lines to 10 receivers: half of the lines took at most \
         {:.2} ms, 99 % at most {:.2} ms",
        percentile(50),
        percentile(99)
    );
}
