//! Stage 02, parallel: a client that sends and receives at the same time.
//!
//! Run it:  cargo run --example 02_parallel_client    (after any server from 01 on)
//! Read:    lessons/02_parallel.md
//! New:     one thread waits for the keyboard, another one for the server.
//! Broken:  nothing that a client could cure: it shows what the server sends.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{Shutdown, TcpStream};
use std::thread;

use anyhow::Context;
use clap::Parser;
use socket_stages::cli;
use socket_stages::prompt::Prompt;

/// Sends the lines that you type, and shows each line that arrives as soon as it does.
#[derive(Parser)]
#[command(version, after_help = cli::CLIENT_HELP)]
struct Args {
    #[command(flatten)]
    connect: cli::Connect,
}

fn main() -> Result<(), cli::Failure> {
    // 1. Connect, and make a second handle to the same connection.
    let stream = cli::connect(&Args::parse().connect)?;
    let sending = stream.try_clone()?;
    let prompt = Prompt::new();

    // 2. One thread waits for the keyboard.
    thread::Builder::new()
        .name("keyboard".into())
        .spawn(move || send_lines(&sending, prompt))?;

    // 3. This thread waits for the server, until the server closes the connection.
    for line in BufReader::new(stream).lines() {
        let line = line.context("cannot read from the server")?;
        prompt.print(&line);
    }
    prompt.close("the server has closed the connection");

    // 4. Returning from `main` ends the keyboard thread too. Joining it would mean waiting
    //    for a line that the user may never type.
    Ok(())
}

/// Sends what the user types, until the user leaves or the input is at its end.
fn send_lines(mut stream: &TcpStream, prompt: Prompt) {
    prompt.show();
    for line in io::stdin().lines() {
        match line {
            Ok(line) if cli::is_goodbye(&line) => break,
            Ok(line) => {
                // One `write` for the whole line: `writeln!` would make two. If it fails,
                // the other thread sees the end of the connection and reports it.
                if stream.write_all(format!("{line}\n").as_bytes()).is_err() {
                    return;
                }
            }
            Err(error) => {
                eprintln!("cannot read the input: {error}");
                break;
            }
        }
        prompt.show();
    }
    // Half-close: we send no more, and what is on its way to us still arrives. If the
    // server has gone in the meantime, this fails, and that does not matter.
    let _ = stream.shutdown(Shutdown::Write);
}
