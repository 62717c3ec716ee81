//! Stage 08, event loop: the same room on one thread.
//!
//! Run it:  cargo run --example 08_event_loop_server
//! Read:    lessons/08_event_loop.md
//! New:     one thread waits for all clients at once, and does for each what it is ready
//!          for (`event_loop.rs`); no lock, since nothing is shared. One backlog instead of
//!          an outbox for each client (`src/backlog.rs`).
//! Broken:  nothing on the wire that we know of; but where a thread waited in the middle of
//!          a function, a state machine, written by hand, has to remember (`client.rs`).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::Parser;
use mio::Waker;
use mio::net::TcpListener;
use socket_stages::cli;
use socket_stages::limits::Limits;

mod client;
mod event_loop;

use event_loop::{EventLoop, INTERRUPT};

/// A chat: the first line that a client sends is its name.
#[derive(Parser)]
#[command(version, after_help = cli::SERVER_HELP)]
struct Args {
    #[command(flatten)]
    listen: cli::Listen,

    /// Seconds that clients have, after Ctrl-C, to read what is still due
    #[arg(long, value_name = "SECS", default_value = "2", allow_negative_numbers = true,
        value_parser = cli::seconds)]
    grace: Duration,

    #[command(flatten)]
    limits: Limits,
}

fn main() -> Result<(), cli::Failure> {
    let args = Args::parse();
    let listener = cli::bind(&args.listen)?;
    let limits = args.limits.within_the_systems();
    listener.set_nonblocking(true)?;
    let mut listener = TcpListener::from_std(listener);
    let mut server = EventLoop::new(&mut listener, limits)?;

    // Ctrl-C is one more thing that becomes ready. The waker stays here as well: if it were
    // dropped with the closure, its event would be lost.
    let closing = Arc::new(AtomicBool::new(false));
    let waker = Arc::new(Waker::new(server.poll.registry(), INTERRUPT)?);
    let (interrupted, wakes) = (Arc::clone(&closing), Arc::clone(&waker));
    cli::on_interrupt(move || {
        interrupted.store(true, Ordering::Relaxed);
        let _ = wakes.wake(); // it cannot fail while the loop is there
    })?;

    while !closing.load(Ordering::Relaxed) {
        server.turn(&listener)?;
    }
    drop(listener);
    server.close(args.grace)?;
    cli::log!("closed");
    socket_stages::log::flush();
    Ok(())
}
