//! Stage 08: what `examples/08_event_loop_server.rs` promises, and what is still broken.
//! `lessons/08_event_loop.md` explains.

mod common;

use std::thread;
use std::time::Duration;

use common::{Server, applies_to_ours_only, lazy, survival};

const STAGE: &str = "08_event_loop";

common::contract::contract!();
common::limits::limits!();
#[cfg(unix)]
common::shutdown::shutdown!();

#[test]
fn who_does_not_read_harms_nobody_else() {
    if let Some(server) = Server::unhurried(STAGE) {
        lazy::is_put_out(&server);
    }
}

#[test]
fn who_half_closes_gets_what_is_due() {
    if let Some(server) = Server::unhurried(STAGE) {
        lazy::gets_what_is_due(&server);
    }
}

#[test]
fn a_panic_in_one_thread_lets_its_client_go_and_nobody_else() {
    if applies_to_ours_only() {
        survival::a_panic(STAGE);
    }
}

#[test]
fn without_file_descriptors_it_neither_ends_nor_spins() {
    // Two more than usual: the poll, and what wakes it.
    survival::no_file_descriptor_at_all(STAGE, 6);
}

#[test]
fn clients_that_say_nothing_cost_no_thread_and_no_time() {
    let Some(server) = Server::ours(STAGE) else {
        return;
    };
    let mut clients: Vec<_> = (0..50).map(|_| server.client("one of fifty")).collect();
    for (client, n) in clients.iter_mut().zip(0..) {
        client.says(&format!("client{n}"));
        client.hears("welcome");
    }
    // One for all, and one that waits for Ctrl-C.
    if let Some(threads) = server.threads() {
        assert_eq!(threads, 2);
    }
    let before = server.cpu_time();
    thread::park_timeout(Duration::from_millis(300));
    let used = server.cpu_time() - before;
    if used > Duration::from_millis(30) {
        server.fail(format!("In 0.3 s of silence it has worked for {used:?}."));
    }
}
