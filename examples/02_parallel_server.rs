//! Stage 02, parallel: start the threads first, then wait for them.
//!
//! Run it:  cargo run --example 02_parallel_server
//! Read:    lessons/02_parallel.md
//! New:     start both threads, then join; accept without joining; `shutdown`
//!          closes a connection that another thread still holds.
//! Broken:  clients do not hear each other. Several threads wait for one keyboard, and
//!          chance decides which of them gets a line. It may be the thread of a client
//!          that has left: until then, the thread and a descriptor stay in use.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use clap::Parser;
use socket_stages::cli;

/// Shows what the clients say, and sends each line that you type to one of them.
///
/// Type salir or /quit to hang up on one of them.
#[derive(Parser)]
#[command(version, after_help = cli::SERVER_HELP)]
struct Args {
    #[command(flatten)]
    listen: cli::Listen,
}

fn main() -> Result<(), cli::Failure> {
    let listener = cli::bind(&Args::parse().listen)?;

    loop {
        // 1. Wait for a client.
        let (stream, address) = match listener.accept() {
            Ok(client) => client,
            Err(error) => {
                println!("cannot accept a client: {error}");
                thread::sleep(Duration::from_millis(100)); // do not spin
                continue;
            }
        };

        // 2. Give it a thread of its own.
        let client = thread::Builder::new().name("client".into()).spawn(move || {
            match serve(stream, address) {
                Ok(()) => println!("{address} left"),
                Err(error) => println!("{address} left: {error}"),
            }
        });
        // 3. Do not join it: go back to `accept` at once.
        if let Err(error) = client {
            // There is no thread, and dropping the closure has closed the connection.
            println!("{address} turned away: {error}");
        }
    }
}

/// Serves one client: one thread reads, another one sends the answers.
fn serve(stream: TcpStream, address: SocketAddr) -> io::Result<()> {
    println!("{address} connected");
    // Send each line at once, without waiting for acknowledgements (lesson 03).
    stream.set_nodelay(true)?;
    // A second handle to the same connection, so that each thread owns one.
    let receiving = stream.try_clone()?;

    let reader = thread::Builder::new()
        .name("reader".into())
        .spawn(move || show_lines(&receiving, address))?;
    let keyboard = thread::Builder::new()
        .name("keyboard".into())
        .spawn(move || send_answers(&stream, address));

    // 4. Both threads are running: now waiting does no harm. (If the keyboard thread could
    //    not be started, the reader still serves the client, and `?` reports the error
    //    once the client has left.)
    let _ = reader.join();
    let _ = keyboard?.join();
    Ok(())
}

/// Prints what the client says until it stops sending.
fn show_lines(stream: &TcpStream, address: SocketAddr) {
    for line in BufReader::new(stream).lines() {
        match line {
            Ok(line) => println!("[{address}] {line}"),
            Err(error) => {
                println!("cannot read from {address}: {error}");
                break;
            }
        }
    }
    // Dropping our handle would not close the connection: the keyboard thread has
    // another one. An error means that the connection is closed already.
    let _ = stream.shutdown(Shutdown::Both);
    println!("{address} has stopped sending");
}

/// Sends what the operator types, until they hang up or the keyboard is at its end.
fn send_answers(mut stream: &TcpStream, address: SocketAddr) {
    let mut line = String::new();
    loop {
        line.clear();
        match io::stdin().read_line(&mut line) {
            Ok(0) => return, // Ctrl-D: the keyboard is at its end
            Ok(_) if cli::is_goodbye(&line) => return drop(stream.shutdown(Shutdown::Both)),
            Ok(_) => {}
            Err(error) => return println!("cannot read the keyboard: {error}"),
        }
        // One `write` for the whole line: `writeln!` would take two.
        let answer = format!("{}\n", line.trim_end_matches(['\r', '\n']));
        if let Err(error) = stream.write_all(answer.as_bytes()) {
            return println!("{address} did not get your line: {error}");
        }
    }
}
