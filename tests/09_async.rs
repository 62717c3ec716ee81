//! Stage 09: what `examples/09_async_server.rs` promises: all that the stages before it do,
//! and to wait for nothing but what is ready. `lessons/09_async.md` explains.

mod common;

const STAGE: &str = "09_async";

common::contract::contract!();
common::limits::limits!();
#[cfg(unix)]
common::shutdown::shutdown!();
common::promises! { lazy:
    who_does_not_read_harms_nobody_else
    who_half_closes_gets_what_is_due
}
common::promises! { survival:
    a_panic_lets_its_client_go_and_nobody_else
    without_file_descriptors_it_neither_ends_nor_spins
    clients_that_say_nothing_cost_no_thread_and_no_time
}
