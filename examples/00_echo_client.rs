//! Stage 00, echo: a client in lockstep. A line goes out, the reply comes back.
//!
//! Run it:  cargo run --example 00_echo_client    (after 00_echo_server)
//! Read:    lessons/00_echo.md
//! New:     connect; a reply is read up to its end of line, not "what came".
//! Broken:  it cannot listen while it waits for the keyboard, nor while it sends: a
//!          server that speaks first is not heard, and a line of megabytes blocks both.

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

    // 1. Connect: returns once the server's system has taken us into its queue,
    //    which may be long before the server accepts us.
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

    // 4. Half-close: tell the server that no more will come. Should it have gone
    //    meanwhile, there is nobody to tell, and that is no error.
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
    // One `read` could return half of the reply: `lines` reads until its end.
    replies.lines().next().transpose()
}
