//! Stage 06: what `examples/06_shutdown_server.rs` promises, and what is still broken.
//! `lessons/06_shutdown.md` explains.

mod exercises;
#[cfg(unix)]
mod wrong_servers;

use harness::Server;

const STAGE: &str = "06_shutdown";

// The promises that stages share. Each list stands at the top of a file in `tests/harness/`:
// `contract!` in `contract.rs`, and so on. The function of each promise follows there.
harness::contract!();
harness::lazy!();
harness::survival!();

#[cfg(unix)]
harness::shutdown!();

#[test]
fn still_broken_escape_codes_reach_the_other_terminals() {
    let Some(server) = Server::of(STAGE).ours_only().start() else {
        return;
    };
    let [mut ana, mut beto] = server.chat(["ana", "beto"]);
    // Clears the screen that shows it.
    ana.says("\x1b[2J");
    assert_eq!(beto.hears("\x1b[2J"), "ana: \x1b[2J");
}
