//! Stage 05: what `examples/05_outbox_server.rs` promises, and what is still broken.
//! `lessons/05_outbox.md` explains.

mod exercises;
mod measure;
mod wrong_servers;

use harness::Server;

const STAGE: &str = "05_outbox";

// The promises that stages share. Each list stands at the top of a file in `tests/harness/`:
// `contract!` in `contract.rs`, and so on. The function of each promise follows there.
harness::contract!();
harness::lazy!();
harness::survival!();

#[test]
fn the_others_hear_why() {
    let Some(server) = Server::of(STAGE).ours_only().start() else {
        return;
    };
    assert_eq!(
        harness::lazy::is_disconnected_as_slow(&server),
        "* sleeper was too slow and left"
    );
}

#[test]
fn still_broken_the_end_of_the_server_cuts_everyone_off() {
    let Some(server) = Server::of(STAGE).ours_only().start() else {
        return;
    };
    let [mut ana, beto] = server.chat(["ana", "beto"]);
    drop(server);
    // The server says nothing before.
    ana.is_cut_off();
    drop(beto);
}
