//! Stage 06: what `examples/06_shutdown_server.rs` promises, and what is still broken.
//! `lessons/06_shutdown.md` explains.

mod common;

use common::{Server, applies_to_ours_only, lazy, survival};

const STAGE: &str = "06_shutdown";

common::contract::contract!();

#[test]
fn who_does_not_read_harms_nobody_else() {
    lazy::is_put_out(&Server::start(STAGE));
}

#[test]
fn who_half_closes_gets_what_is_due() {
    lazy::gets_what_is_due(&Server::start(STAGE));
}

#[test]
fn a_panic_in_one_thread_lets_its_client_go_and_nobody_else() {
    if applies_to_ours_only() {
        survival::a_panic(STAGE);
    }
}

#[test]
fn without_file_descriptors_it_neither_ends_nor_spins() {
    // One more than usual: it keeps one in reserve.
    survival::no_file_descriptor_at_all(STAGE, 5);
}

#[test]
fn still_broken_escape_codes_reach_the_other_terminals() {
    let Some(server) = Server::ours(STAGE) else {
        return;
    };
    let [mut ana, mut beto] = server.chat(["ana", "beto"]);
    // Clears the screen of whoever shows it.
    ana.says("\x1b[2J");
    assert_eq!(beto.hears("\x1b[2J"), "ana: \x1b[2J");
}

/// Windows has no SIGINT that one program could send to another.
#[cfg(unix)]
mod ctrl_c {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::common::wrong::{Hosted, refused};
    use crate::common::wrong_chat::{Fault, serve};
    use crate::common::{example, patience};

    #[test]
    fn everybody_is_told() {
        let server = Server::start(STAGE);
        let [mut ana, mut beto] = server.chat(["ana", "beto"]);
        let mut nameless = server.client("nameless");
        nameless.says("ANA");
        nameless.is_refused();
        server.likely_cause("nobody is told that the server is closing, or not all are");
        server.is_interrupted();
        for client in [&mut ana, &mut beto, &mut nameless] {
            client.hears("closing");
            client.hears_the_end();
        }
        drop((ana, beto, nameless));
        server.ends_within(patience());
    }

    #[test]
    fn nothing_that_the_room_accepted_is_lost() {
        let server = Server::start(STAGE);
        // Carla's system takes little for her, so that most of it waits in her outbox.
        let mut carla = server.client_with_buffer("carla", 1024);
        carla.says("carla");
        let [mut ana, mut beto] = server.chat(["ana", "beto"]);
        server.likely_cause("what waits in the outboxes is lost when the server ends");
        let text = "x".repeat(16 * 1024);
        for n in 100..500 {
            ana.says(&format!("line {n} {text}"));
            // What beto has heard, the room has accepted; carla has read nothing yet.
            beto.hears_from("ana", &format!("line {n}"));
        }
        server.is_interrupted();
        if !carla.hears_within("line 100", patience()) {
            server.fail("Carla should have heard \"line 100\".");
        }
        for n in 101..500 {
            carla.hears_from("ana", &format!("line {n} {text}"));
        }
        carla.hears("closing");
        carla.hears_the_end();
    }

    #[test]
    fn nobody_can_hold_the_server_up() {
        let server = Server::start(STAGE);
        server.likely_cause(
            "the server joins the threads of clients that never read, or never close",
        );
        // Some never read, some never say a name, some read and do not close.
        let mut sleeper = server.client_with_buffer("sleeper", 1024);
        sleeper.says("sleeper");
        let _nameless = server.client("nameless");
        let [mut ana, mut beto] = server.chat(["ana", "beto"]);
        for n in 100..300 {
            ana.says(&format!("{n} {}", "x".repeat(4096)));
            beto.hears_from("ana", &n.to_string());
        }
        server.is_interrupted();
        beto.hears("closing");
        server.ends_within(patience());
    }

    #[test]
    fn the_grace_is_as_long_as_one_says() {
        if !applies_to_ours_only() {
            return;
        }
        let mut command = example("06_shutdown_server");
        command.args(["--grace", "0.5"]);
        let server = Server::example(STAGE, command);
        let mut ana = server.client("ana");
        ana.says("ana");
        ana.hears("welcome");
        // Ana does not close.
        let start = Instant::now();
        server.is_interrupted();
        server.ends_within(patience());
        let taken = start.elapsed();
        if taken < Duration::from_millis(500) {
            server.fail(format!(
                "The grace is half a second, but all was over in {taken:?}."
            ));
        }
    }

    #[test]
    fn a_second_ctrl_c_ends_it_at_once() {
        if !applies_to_ours_only() {
            return;
        }
        let mut command = example("06_shutdown_server");
        command.args(["--grace", "3600"]);
        let server = Server::example(STAGE, command);
        let mut ana = server.client("ana");
        ana.says("ana");
        ana.hears("welcome");
        server.is_interrupted();
        ana.hears("closing");
        server.is_still_running();
        server.is_interrupted();
        ana.is_let_go();
        server.ended_with(130);
    }

    #[test]
    fn whoever_comes_too_late_is_refused() {
        if !applies_to_ours_only() {
            return;
        }
        let mut command = example("06_shutdown_server");
        command.args(["--grace", "3600"]);
        let server = Server::example(STAGE, command);
        let [mut ana, _beto] = server.chat(["ana", "beto"]);
        server.is_interrupted();
        ana.hears("closing");
        let deadline = Instant::now() + patience();
        while std::net::TcpStream::connect(server.address()).is_ok() {
            assert!(Instant::now() < deadline, "clients are still accepted");
        }
        server.is_still_running();
    }

    #[test]
    fn wrong_servers_are_refused() {
        fn ends_without_a_word(hosted: Hosted) {
            serve(hosted, Fault::EndsWithoutAWord);
        }
        fn never_ends(hosted: Hosted) {
            serve(hosted, Fault::None);
        }
        refused! {
            ends_without_a_word by everybody_is_told:
                "should have heard \"closing\"", "nobody is told";
            never_ends by everybody_is_told:
                "should have heard \"closing\"", "nobody is told";
        }
    }
}
