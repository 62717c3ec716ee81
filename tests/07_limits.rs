//! Stage 07: what `examples/07_limits_server.rs` promises, and what is still broken.
//! `lessons/07_limits.md` explains.

mod common;

use std::time::{Duration, Instant};

use common::wrong::{Hosted, refused};
use common::wrong_chat::{Fault, serve};
use common::{Server, example, patience};
use limits::*;

const STAGE: &str = "07_limits";

common::contract::contract!();
common::promises! { lazy:
    who_does_not_read_harms_nobody_else
    many_who_do_not_read_are_put_out_at_once
    who_half_closes_gets_what_is_due
}
common::promises! { survival:
    a_panic_lets_its_client_go_and_nobody_else
    without_file_descriptors_it_neither_ends_nor_spins
}
common::limits::limits!();
#[cfg(unix)]
common::shutdown::shutdown!();

/// What a line without an end costs a server: lesson 07 tells what came out. To repeat it:
/// `cargo test --release --test 07_limits measure_an_endless -- --ignored --nocapture`
#[test]
#[ignore = "a measurement"]
fn measure_an_endless_line() {
    for stage in ["06_shutdown", STAGE] {
        let server = Server::example(stage, example(&format!("{stage}_server")));
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

/// Two thousand connections, where a hundred may be, or 48:
/// `cargo test --release --test 07_limits measure_a_crowd -- --ignored --nocapture`
#[test]
#[ignore = "a measurement, which takes a few seconds and 2,000 open files"]
fn measure_a_crowd_of_two_thousand() {
    let by_itself = Server::ours_with(STAGE, &["--max-clients", "100"]).unwrap();
    let by_the_system = common::survival::limited(STAGE, "ulimit -n 64");
    for (what, server, room_for) in [
        ("--max-clients 100", by_itself, 100),
        ("ulimit -n 64", by_the_system, 48),
    ] {
        let start = Instant::now();
        common::limits::crowd(&server, 2000, room_for);
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

#[test]
fn still_broken_every_client_takes_two_threads() {
    let Some(server) = Server::ours(STAGE) else {
        return;
    };
    let mut clients: Vec<_> = (0..50).map(|_| server.client("one of fifty")).collect();
    for (client, n) in clients.iter_mut().zip(0..) {
        client.says(&format!("client{n}"));
        client.hears("welcome");
    }
    match server.threads() {
        Some(threads) => assert!(threads > 2 * clients.len(), "only {threads} threads"),
        None => eprintln!("does not run: this system does not tell the threads of a process"),
    }
}

#[test]
fn wrong_servers_are_refused() {
    /// A chat that is right, and believes everything.
    fn believes_everything(hosted: Hosted) {
        serve(hosted, Fault::None);
    }

    refused! {
        believes_everything by an_endless_line_is_refused:
            "a refusal", "reads for ever";
        believes_everything by a_flood_is_stopped:
            "a refusal", "speaks for everybody";
        believes_everything by an_endless_name_is_refused:
            "a refusal", "begin with the first byte";
        believes_everything by a_flood_of_names_is_stopped:
            "refused names were answered";
        believes_everything by bytes_that_are_not_text_are_replaced:
            "should have heard \"before\"", "only if one makes it one";
        believes_everything by no_control_character_reaches_another_terminal:
            "Beto's terminal has got", "the terminal of another one obeys";
    }
}
