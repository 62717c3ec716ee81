//! Stage 00, echo: a server that sends every byte back to the client it came from.
//!
//! Run it:  cargo run --example 00_echo_server
//! Read:    lessons/00_echo.md
//! New:     bind, listen, accept, read, write; a read of 0 bytes is the end of
//!          the stream; a stream has no messages.
//! Broken:  one client at a time. The second client waits until the first one leaves.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use clap::Parser;
use socket_stages::cli;

/// Sends every byte back to the client it came from, one client at a time.
#[derive(Parser)]
#[command(version, after_help = cli::SERVER_HELP)]
struct Args {
    #[command(flatten)]
    listen: cli::Listen,
}

fn main() -> Result<(), cli::Failure> {
    let listen = Args::parse().listen;

    // 1. Bind to an address and listen. From here on the system lets clients connect,
    //    and keeps them in a queue for us.
    let listener = TcpListener::bind((listen.host.as_str(), listen.port))
        .map_err(|error| listen.explain(error))?;
    println!("listening on {}", listener.local_addr()?);

    loop {
        // 2. Wait for a client, and take it from the queue.
        let (stream, address) = match listener.accept() {
            Ok(client) => client,
            Err(error) => {
                // Perhaps the system gives us no more file descriptors. The client stays
                // in the queue. Without the pause, this loop would spin until one is free.
                println!("cannot accept a client: {error}");
                thread::sleep(Duration::from_millis(100));
                continue;
            }
        };
        println!("{address} connected");

        // 3. Serve the client until it has gone. An error ends this client only: a `?`
        //    here would end the server.
        match echo(stream) {
            Ok(bytes) => println!("{address} left, {bytes} bytes echoed"),
            Err(error) => println!("{address} left: {error}"),
        }
    }
}

/// Sends back what arrives until the client stops sending, and counts the bytes.
fn echo(mut stream: TcpStream) -> io::Result<u64> {
    let mut buffer = [0; 16 * 1024];
    let mut bytes = 0;
    loop {
        // This waits until something arrives, then takes what is there: half a line, or
        // two lines and a half. A stream knows nothing about lines.
        let count = stream.read(&mut buffer)?;
        if count == 0 {
            // The end of the stream: the client will send no more. Returning drops
            // `stream`, and that closes the connection.
            return Ok(bytes);
        }
        // `write` may take only some of the bytes. `write_all` goes on until all of
        // them are taken, and waits while the client does not read.
        stream.write_all(&buffer[..count])?;
        bytes += count as u64;
    }
}
