//! Stage 00, echo: a client that sends a line, waits for the reply, and sends the next.
//!
//! Run it:  cargo run --example 00_echo_client    (after 00_echo_server)
//! Read:    lessons/00_echo.md
//! New:     connect; a reply goes up to its line end, and one read may bring less.
//! Broken:  it does not listen while it waits for the keyboard, nor while it sends. So it
//!          misses a server that speaks first, and with a line of several megabytes both
//!          programs wait for each other.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{Shutdown, TcpStream};

use anyhow::{Context, anyhow};
use clap::Parser;
use socket_stages::cli;
use socket_stages::prompt::Prompt;

/// Sends each line you type, waits for the reply, and shows it.
#[derive(Parser)]
#[command(version, after_help = cli::CLIENT_HELP)]
struct Args {
    #[command(flatten)]
    connect: cli::Connect,
}

fn main() -> Result<(), cli::Failure> {
    let connect = Args::parse().connect;

    // 1. Connect. This returns once the server's system has put us in its queue. The
    //    server may accept us much later.
    let mut stream = TcpStream::connect((connect.host.as_str(), connect.port))
        .map_err(|error| connect.explain(error))?;
    println!("connected to {}:{}", connect.host, connect.port);

    let mut replies = BufReader::new(stream.try_clone()?);
    let prompt = Prompt::new();
    prompt.show();
    for line in io::stdin().lines() {
        // 2. Wait for the keyboard.
        let line = line.context("cannot read the input")?;
        if cli::is_goodbye(&line) {
            break;
        }

        // 3. Send the line, then wait for the reply.
        let reply =
            ask(&mut stream, &mut replies, &line).context("cannot go on talking to the server")?;
        let Some(reply) = reply else {
            return Err(anyhow!("the server has closed the connection").into());
        };
        println!("echo: {reply}");
        prompt.show();
    }

    // 4. Half-close: tell the server that no more will come. If the server has gone in
    //    the meantime, this fails, and that does not matter.
    let _ = stream.shutdown(Shutdown::Write);
    prompt.close("disconnected");
    Ok(())
}

/// Sends a line and waits for the reply; `None` is the end of the stream.
fn ask(
    stream: &mut TcpStream,
    replies: &mut BufReader<TcpStream>,
    line: &str,
) -> io::Result<Option<String>> {
    stream.write_all(format!("{line}\n").as_bytes())?;
    // One `read` could return half of the reply: `lines` reads on until the line end.
    replies.lines().next().transpose()
}
