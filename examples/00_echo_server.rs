//! Stage 00, echo: a server that sends every byte back to where it came from.
//!
//! Run it:  cargo run --example 00_echo_server
//! Read:    lessons/00_echo.md
//! New:     bind, listen, accept, read, write; a read of 0 bytes is the end of
//!          the stream; a stream has no messages.
//! Broken:  one client at a time. Whoever comes second waits for the first to go.

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

    // 1. Bind to an address and listen: from here on the system lets clients
    //    connect, and keeps them in a queue for us.
    let listener = TcpListener::bind((listen.host.as_str(), listen.port))
        .map_err(|error| listen.explain(error))?;
    println!("listening on {}", listener.local_addr()?);

    loop {
        // 2. Wait for a client: take the next one from the queue.
        let (stream, address) = match listener.accept() {
            Ok(client) => client,
            Err(error) => {
                // Perhaps we are out of file descriptors. The client stays in the
                // queue; without the pause we would spin until some are free.
                println!("cannot accept a client: {error}");
                thread::sleep(Duration::from_millis(100));
                continue;
            }
        };
        println!("{address} connected");

        // 3. Serve it to its end. What goes wrong with one client ends there, and
        //    not in a `?`, which would end the server.
        match echo(stream) {
            Ok(bytes) => println!("{address} left, {bytes} bytes echoed"),
            Err(error) => println!("{address} left: {error}"),
        }
    }
}

/// Sends back what arrives until the client has no more, and counts the bytes.
fn echo(mut stream: TcpStream) -> io::Result<u64> {
    let mut buffer = [0; 16 * 1024];
    let mut bytes = 0;
    loop {
        // Waits for the first byte, then takes what is there: part of a line, or
        // two lines and a half. The stream does not know what a line is.
        let count = stream.read(&mut buffer)?;
        if count == 0 {
            // End of stream: the client will send no more. Returning drops the
            // stream, and that closes the connection.
            return Ok(bytes);
        }
        // `write` may take only part of the bytes; `write_all` goes on until all
        // are taken, and waits while the client does not read.
        stream.write_all(&buffer[..count])?;
        bytes += count as u64;
    }
}
