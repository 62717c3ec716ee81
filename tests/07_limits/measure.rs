//! The measurements of lesson 07.

use std::time::{Duration, Instant};

use harness::{Server, patience};

use super::STAGE;

/// What a line without an end costs a server: lesson 07 tells what came out. To repeat it:
/// `cargo test --release --test 07_limits measure_an_endless -- --ignored --nocapture`
#[test]
#[ignore = "a measurement"]
fn measure_an_endless_line() {
    for stage in ["06_shutdown", STAGE] {
        let Some(server) = Server::of(stage).ours_only().start() else {
            return;
        };
        let [mut ana, mut beto] = server.chat(["ana", "beto"]);
        let mut rude = server.client("rude");
        rude.says("rude");
        ana.hears("rude");
        let before = server.memory();
        let mut most = before;
        for _ in 0..256 {
            rude.sends_for_ever(&[b'x'; 64 * 1024], 16);
            most = most.max(server.memory());
        }
        println!(
            "{stage}: 256 MiB without a line end take {:.1} MiB of memory",
            (most - before) as f64 / 1048576.0
        );
        drop(rude);
        ana.says("over");
        assert!(beto.hears_within("over", 4 * patience()));
    }
}

/// Two thousand connections, where the limit is 100 clients, or 48:
/// `cargo test --release --test 07_limits measure_a_crowd -- --ignored --nocapture`
#[test]
#[ignore = "a measurement, which takes a few seconds and 2,000 open files"]
fn measure_a_crowd_of_two_thousand() {
    let by_itself = Server::of(STAGE)
        .with(["--max-clients", "100"])
        .ours_only()
        .start()
        .unwrap();
    let by_the_system = harness::survival::limited(STAGE, "ulimit -n 64").unwrap();
    for (what, server, room_for) in [
        ("--max-clients 100", by_itself, 100),
        ("ulimit -n 64", by_the_system, 48),
    ] {
        let start = Instant::now();
        harness::limits::crowd(&server, 2000, room_for);
        let taken = start.elapsed();
        let before = server.cpu_time();
        std::thread::park_timeout(Duration::from_secs(2));
        let idle = server.cpu_time() - before;
        println!(
            "{what}: 2,000 came, those too many were told, and others got in when they had left, \
             in {taken:.2?}; CPU time in 2 s after that: {idle:?}"
        );
    }
}

/// Clients that say as much as the rate permits, and read nothing. To repeat it (it takes
/// 2,000 open files: `ulimit -n 4096`):
/// `cargo test --release --test 07_limits measure_a_flood -- --ignored --nocapture`
#[test]
#[ignore = "a measurement, which takes a few seconds and 2,000 open files"]
fn measure_a_flood_within_the_rate() {
    use harness::limits::{HONEST, flood};

    println!("| server | flooders | peak memory | honest clients still there | time |");
    println!("|---|--:|--:|--:|--:|");
    for stage in ["07_limits", "08_event_loop", "09_async"] {
        for flooders in [120, 240, 950] {
            let Some(server) = Server::of(stage).ours_only().start() else {
                return;
            };
            let flood = flood(&server, flooders);
            let peak = flood.peak_memory.map_or("not measured".into(), |bytes| {
                format!("{:.0} MiB", bytes as f64 / 1048576.0)
            });
            println!(
                "| {stage} | {flooders} | {peak} | {} of {HONEST} | {:.1} s |",
                flood.still_there,
                flood.time.as_secs_f64()
            );
        }
    }
}
