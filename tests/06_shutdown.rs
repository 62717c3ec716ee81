//! Stage 06: what `examples/06_shutdown_server.rs` promises, and what is still broken.
//! `lessons/06_shutdown.md` explains.

mod common;

use common::Server;

const STAGE: &str = "06_shutdown";

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

#[cfg(unix)]
common::shutdown::shutdown!();

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

#[cfg(unix)]
#[test]
fn wrong_servers_are_refused() {
    use common::wrong::{Hosted, refused};
    use common::wrong_chat::{Fault, serve};
    use shutdown::everybody_is_told;

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
