//! Stage 08: what `examples/08_event_loop_server.rs` promises: all that the stages before it do,
//! and to wait for nothing but what is ready. `lessons/08_event_loop.md` explains.

mod exercises;

const STAGE: &str = "08_event_loop";

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
