//! Stage 04, chat: a client that gives a name first, and asks for another if need be.
//!
//! Run it:  cargo run --example 04_chat_client    (after any server from 04 on)
//! Read:    lessons/04_chat.md
//! New:     in lockstep until the name is accepted, then in parallel, as in stage 02.
//! Broken:  nothing that a client can mend: it shows what the server sends.

use std::io::{self, BufRead, BufReader, Lines, Write};
use std::net::{Shutdown, TcpStream};
use std::thread;

use anyhow::Context;
use clap::Parser;
use socket_stages::cli;
use socket_stages::prompt::Prompt;

/// Joins the chat under a name, then sends the lines you type and shows those that
/// arrive.
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
    let mut lines = BufReader::new(stream).lines();
    let prompt = Prompt::new();

    // 2. A name, in lockstep: until it is accepted, nothing else comes.
    if introduce(args.name, &sending, &mut lines, prompt)? {
        // 3. One thread waits for the keyboard, from here on.
        thread::Builder::new()
            .name("keyboard".into())
            .spawn(move || send_lines(&sending, prompt))?;
    }

    // 4. This one waits for the server, until it closes the connection.
    for line in lines {
        let line = line.context("cannot read from the server")?;
        prompt.print(&line);
    }
    prompt.close("the server has closed the connection");

    // 5. Returning from `main` ends the keyboard thread too. To join it would be to
    //    wait for a line that nobody may ever type.
    Ok(())
}

/// Sends names until the server accepts one; false if the user or the server leaves.
fn introduce(
    mut name: Option<String>,
    mut stream: &TcpStream,
    replies: &mut Lines<BufReader<TcpStream>>,
    prompt: Prompt,
) -> anyhow::Result<bool> {
    loop {
        let line = match name.take() {
            Some(name) => name,
            None => {
                prompt.ask("your name");
                match io::stdin().lines().next() {
                    Some(line) => line.context("cannot read the input")?,
                    None => "salir".into(),
                }
            }
        };
        if cli::is_goodbye(&line) {
            let _ = stream.shutdown(Shutdown::Write);
            return Ok(false);
        }
        let lost = "the connection to the server is lost";
        stream
            .write_all(format!("{line}\n").as_bytes())
            .context(lost)?;
        let Some(reply) = replies.next().transpose().context(lost)? else {
            return Ok(false);
        };
        println!("{reply}");
        if !reply.starts_with("! ") {
            return Ok(true);
        }
    }
}

/// Sends what is typed until the user leaves or the input is at its end.
fn send_lines(mut stream: &TcpStream, prompt: Prompt) {
    prompt.show();
    for line in io::stdin().lines() {
        match line {
            Ok(line) if cli::is_goodbye(&line) => break,
            Ok(line) => {
                // One `write` for the whole line: `writeln!` would take two. If it
                // fails, the other thread sees the end of the connection and says so.
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
    // Half-close: no more will come from us, but what is under way still arrives.
    // Should the server have gone meanwhile, there is nobody to tell.
    let _ = stream.shutdown(Shutdown::Write);
}
