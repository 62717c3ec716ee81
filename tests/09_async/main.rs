//! Stage 09: what `examples/09_async_server.rs` promises: all that the stages before it do,
//! and to wait for nothing but what is ready. `lessons/09_async.md` explains.

mod exercises;

const STAGE: &str = "09_async";

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
