//! Stage 10, window: the server of stage 07, with a window for the person who runs it.
//!
//! Run it:  cargo run --features window --example 10_window_server
//! Read:    lessons/10_window.md
//! New:     the window is one more reader, with an outbox of its own, and the chat never
//!          waits for it (`window.rs`). The person in front of it answers all clients or one,
//!          disconnects a client, stops the server and starts it again.
//! Broken:  two threads for each client, as in stage 07 (`chat.rs`).

use std::sync::{Arc, Mutex};
use std::time::Duration;

use clap::Parser;
use socket_stages::cli;
use socket_stages::limits::Limits;
use socket_stages_window::open;

mod chat;
mod window;

use chat::Chat;
pub use window::Window;

/// A chat: the first line that a client sends is its name.
#[derive(Debug, Clone, Parser)]
#[command(version, after_help = cli::SERVER_HELP)]
pub struct Args {
    #[command(flatten)]
    listen: cli::Listen,

    /// Seconds that clients have, after Ctrl-C, to read what is still due
    #[arg(long, value_name = "SECS", default_value = "2", allow_negative_numbers = true,
        value_parser = cli::seconds)]
    grace: Duration,

    #[command(flatten)]
    limits: Limits,

    /// Serve without a window, for a machine without a display
    #[arg(long)]
    no_window: bool,
}

fn main() -> Result<(), cli::Failure> {
    let args = Args::parse();
    if args.no_window {
        let listener = cli::bind(&args.listen)?;
        let chat = Arc::new(Mutex::new(Chat::default()));
        cli::on_interrupt(chat::closer(&listener, &chat)?)?;
        chat::run(listener, &args, &chat);
    } else {
        open("Chat server", move |context| {
            window::close_on_interrupt(context);
            Window::new(args, context)
        })?;
        socket_stages::log::flush();
    }
    Ok(())
}
