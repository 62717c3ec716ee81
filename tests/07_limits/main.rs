//! Stage 07: what `examples/07_limits_server.rs` promises, and what is still broken.
//! `lessons/07_limits.md` explains.

mod exercises;
mod measure;
mod wrong_servers;

use harness::Server;

const STAGE: &str = "07_limits";

// The promises that stages share. Each list stands at the top of a file in `tests/harness/`:
// `contract!` in `contract.rs`, and so on. The function of each promise follows there.
harness::contract!();
harness::lazy!();
harness::survival!();
harness::limits!();
#[cfg(unix)]
harness::shutdown!();

#[test]
fn still_broken_every_client_takes_two_threads() {
    let Some(server) = Server::of(STAGE).ours_only().start() else {
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
