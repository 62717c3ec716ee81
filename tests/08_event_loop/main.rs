//! Stage 08: what `examples/08_event_loop_server.rs` promises: all that the stages before it do,
//! and to wait for nothing but what is ready. `lessons/08_event_loop.md` explains.

mod exercises;

const STAGE: &str = "08_event_loop";

// The promises that stages share. Each list stands at the top of a file in `tests/harness/`:
// `contract!` in `contract.rs`, and so on. The function of each promise follows there.
harness::contract!();
harness::lazy!();
harness::limits!();
#[cfg(unix)]
harness::shutdown!();
harness::survival!();

#[test]
fn clients_that_say_nothing_cost_no_thread_and_no_time() {
    harness::survival::clients_that_say_nothing_cost_no_thread_and_no_time(STAGE);
}
