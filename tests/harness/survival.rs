//! What any server survives, whatever it does for its clients. From stage 05 on, a stage makes
//! tests of the first promises by `harness::survival!();`.

use std::thread;
use std::time::{Duration, Instant};

use super::Server;

promises! { survival:
    a_panic_disconnects_its_own_client_only
    without_file_descriptors_it_neither_ends_nor_spins
}

/// Says the text as this client, and sees that the server has dealt with it.
pub type IsServed = fn(&Server, &mut super::Client, &str);

/// Whether a shell can limit what a program gets: not on Windows.
fn has_limits() -> bool {
    if cfg!(windows) {
        eprintln!("does not run: this system has no `ulimit`");
    }
    !cfg!(windows)
}

/// Our example, started by a shell that first runs `limit`, without the descriptors that
/// the tests may have inherited.
pub fn limited(stage: &str, limit: &str) -> Option<Server> {
    if !has_limits() {
        return None;
    }
    let inherited: String = (3..10).map(|n| format!("exec {n}<&-; ")).collect();
    let script = format!("{inherited}{limit}; exec \"$0\" \"$@\"");
    Server::of(stage).in_shell(&script).ours_only().start()
}

/// Without a file descriptor for any client, the server neither ends nor spins. The system
/// refuses again and again. A server that tries again at once complains four times in no time.
/// A server that pauses for 100 ms takes at least 300.
pub fn no_file_descriptor_at_all(stage: &str, of_its_own: usize) {
    // Taken by the server itself: input, output, errors, the listener, …
    let start = Instant::now();
    let Some(server) = limited(stage, &format!("ulimit -n {of_its_own}")) else {
        return;
    };
    let _waiting = server.client("ana");
    for _ in 0..4 {
        server.shows("cannot accept a client");
    }
    let taken = start.elapsed();
    if taken < Duration::from_millis(300) {
        server.fail(format!(
            "Four refusals within {taken:?}: the accept loop spins."
        ));
    }
    server.is_still_running();
}

/// The same, as a promise of stage 05 and later.
pub fn without_file_descriptors_it_neither_ends_nor_spins(stage: &str) {
    let of_its_own = match &stage[..2] {
        "06" | "07" | "10" => 5, // the server keeps one in reserve
        "08" => 6,               // the poll, and what wakes it
        "09" => 7,               // what the runtime waits with
        _ => 4,
    };
    no_file_descriptor_at_all(stage, of_its_own);
}

/// When the server is out of file descriptors, it serves the clients that are connected, and
/// new ones when some have left.
pub fn out_of_file_descriptors(stage: &str, is_served: IsServed) {
    out_of_something(stage, "ulimit -n 12", "Too many open files", is_served);
}

/// When the server cannot start a thread, it turns the client away. It serves the clients that
/// are connected, and new ones when some have left.
pub fn out_of_threads(stage: &str, is_served: IsServed) {
    if !cfg!(target_os = "linux") {
        return eprintln!("does not run: this system does not limit the address space");
    }
    // Stacks of 64 MiB fill an address space of 1 GiB soon. What is left is too little
    // for a stack and more than enough for everything else.
    let limit = "export RUST_MIN_STACK=67108864; ulimit -v 1048576";
    out_of_something(stage, limit, "turned away", is_served);
}

fn out_of_something(stage: &str, limit: &str, refusal: &str, is_served: IsServed) {
    let Some(server) = limited(stage, limit) else {
        return;
    };
    let mut ana = server.client("ana");
    is_served(&server, &mut ana, "before the crowd");
    let crowd: Vec<_> = (0..24).map(|_| server.client("one of many")).collect();
    server.shows(refusal);
    is_served(&server, &mut ana, "among the crowd");

    // In stage 02 the threads of clients that have left may wait for the keyboard.
    server.keyboard_ends();
    drop(crowd);
    // The system frees everything in its own time: a few may still be turned away.
    let deadline = Instant::now() + super::patience();
    loop {
        let mut beto = server.client("beto");
        beto.says("is there room?");
        let address = beto.address().to_string();
        // From stage 04 on the server does not print what clients say.
        if server.shows(&address).ends_with(" connected")
            && (stage >= "04" || server.shows(&address).ends_with("is there room?"))
        {
            return is_served(&server, &mut ana, "after the crowd");
        }
        if Instant::now() > deadline {
            server.fail("No new client is served, although the crowd has left.");
        }
    }
}

/// A panic while the server serves one client, with the room locked if there is a lock. That
/// client is disconnected, the others hear of it once, and the room goes on.
pub fn a_panic_disconnects_its_own_client_only(stage: &str) {
    let told_to_panic = Server::of(stage).env("STAGE_PANIC_ON", "boom");
    let Some(server) = told_to_panic.ours_only().start() else {
        return;
    };
    let [mut ana, mut beto, mut carla] = server.chat(["ana", "beto", "carla"]);
    // A lock that was held is poisoned as well.
    carla.says("boom");
    server.shows("told to panic");
    ana.hears("* carla left");
    beto.hears("* carla left");
    carla.is_let_go();
    // The room goes on, and carla may come back.
    ana.says("what was that?");
    beto.hears_from("ana", "what was that?");
    let mut carla = server.client("carla");
    carla.says("carla");
    ana.hears("carla");
    beto.hears("carla");
}

/// The promise of the event loop and of the tasks, from stage 08 on.
pub fn clients_that_say_nothing_cost_no_thread_and_no_time(stage: &str) {
    let Some(server) = Server::of(stage).ours_only().start() else {
        return;
    };
    let mut clients: Vec<_> = (0..50).map(|_| server.client("one of fifty")).collect();
    for (client, n) in clients.iter_mut().zip(0..) {
        client.says(&format!("client{n}"));
        client.hears("welcome");
    }
    // One for all, one that waits for Ctrl-C, and one that writes the log.
    if let Some(threads) = server.threads() {
        assert_eq!(threads, 3);
    }
    let before = server.cpu_time();
    thread::park_timeout(Duration::from_millis(300));
    let used = server.cpu_time() - before;
    if used > Duration::from_millis(30) {
        server.fail(format!(
            "In 0.3 s of silence, the server has worked for {used:?}."
        ));
    }
}
