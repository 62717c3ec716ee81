//! Stage 04, chat: a client that sends a name first, and another one if that is refused.
//!
//! Run it:  cargo run --example 04_chat_client    (after any server from 04 on)
//! Read:    lessons/04_chat.md
//! New:     the thread at the keyboard waits for the server's answer to a name. A channel
//!          brings it, and meanwhile the other thread shows what arrives.
//! Broken:  nothing that a client could cure: it shows what the server sends.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::mpsc::{self, Receiver};
use std::thread;

use anyhow::Context;
use clap::Parser;
use socket_stages::cli;
use socket_stages::prompt::Prompt;

/// Joins the chat under a name. Then it sends the lines that you type, and shows each line
/// that arrives as soon as it does.
#[derive(Parser)]
#[command(version, after_help = cli::CLIENT_HELP)]
struct Args {
    #[command(flatten)]
    connect: cli::Connect,

    /// The name to try first [default: the first line that you type]
    #[arg(long)]
    name: Option<String>,
}

fn main() -> Result<(), cli::Failure> {
    // 1. Connect, and make a second handle to the same connection.
    let args = Args::parse();
    let stream = cli::connect(&args.connect)?;
    let sending = stream.try_clone()?;
    let prompt = Prompt::new();

    // 2. One thread waits for the keyboard. The channel tells it whether its name is accepted.
    let (verdict, verdicts) = mpsc::channel();
    thread::Builder::new()
        .name("keyboard".into())
        .spawn(move || send_lines(&sending, args.name, &verdicts, prompt))?;

    // 3. This thread waits for the server, until the server closes the connection.
    let mut is_in = false;
    for line in BufReader::new(stream).lines() {
        let line = line.context("cannot read from the server")?;
        prompt.print(&line);
        // The first line that is not a refusal means that the name is accepted.
        if !is_in {
            is_in = !line.starts_with("! ");
            let _ = verdict.send(is_in); // an error: the user has left already
        }
    }
    prompt.close("the server has closed the connection");

    // 4. Returning from `main` ends the keyboard thread too. Joining it would mean waiting
    //    for a line that the user may never type.
    Ok(())
}

/// Sends names until one is accepted, and then what the user types, until the user leaves
/// or the input is at its end.
fn send_lines(
    mut stream: &TcpStream,
    mut name: Option<String>,
    verdicts: &Receiver<bool>,
    prompt: Prompt,
) {
    let mut is_in = false;
    loop {
        let line = name.take().map_or_else(|| type_line(is_in, prompt), Some);
        let Some(line) = line.filter(|line| !cli::is_goodbye(line)) else {
            break;
        };
        // One `write` for the whole line: `writeln!` would make two. If it fails, the other
        // thread sees the end of the connection and reports it.
        if stream.write_all(format!("{line}\n").as_bytes()).is_err() {
            return;
        }
        if !is_in {
            match verdicts.recv() {
                Ok(verdict) => is_in = verdict,
                Err(_) => return, // the connection has ended
            }
        }
    }
    // Half-close: we send no more, and what is on its way to us still arrives. If the
    // server has gone in the meantime, this fails, and that does not matter.
    let _ = stream.shutdown(Shutdown::Write);
}

/// What the user types, or `None` at the end of the input.
fn type_line(is_in: bool, prompt: Prompt) -> Option<String> {
    match is_in {
        true => prompt.show(),
        false => prompt.ask("your name"),
    }
    match io::stdin().lines().next()? {
        Ok(line) => Some(line),
        Err(error) => {
            eprintln!("cannot read the input: {error}");
            None
        }
    }
}
