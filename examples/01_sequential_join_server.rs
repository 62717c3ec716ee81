//! Stage 01, sequential join: a thread for each client, and two joins that undo it.
//!
//! Run it:  cargo run --example 01_sequential_join_server
//! Read:    lessons/01_sequential_join.md
//! New:     `thread::Builder::spawn`, `join`; two handles to one connection.
//! Broken:  the outer join makes the second client wait until the first has left;
//!          the inner join keeps the operator from answering until the client has
//!          stopped sending.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use clap::Parser;
use socket_stages::cli;

/// Shows what a client says. Once the client has stopped sending, it sends what you type.
///
/// Type salir or /quit to hang up on the client.
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
        match client {
            // 3. THE OUTER JOIN: no `accept` until this client's thread has ended.
            Ok(client) => {
                let _ = client.join(); // if the thread panicked, that has been printed
            }
            // There is no thread, and dropping the closure has closed the connection.
            Err(error) => println!("{address} turned away: {error}"),
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
    // 4. THE INNER JOIN: no answer until the reader has ended.
    let _ = reader.join();

    let keyboard = thread::Builder::new()
        .name("keyboard".into())
        .spawn(move || send_answers(&stream, address))?;
    let _ = keyboard.join();
    Ok(())
}

/// Prints what the client says until it stops sending.
fn show_lines(stream: &TcpStream, address: SocketAddr) {
    for line in BufReader::new(stream).lines() {
        match line {
            Ok(line) => println!("[{address}] {line}"),
            Err(error) => return println!("cannot read from {address}: {error}"),
        }
    }
    println!("{address} has stopped sending");
}

/// Sends what the operator types, until they hang up or the keyboard is at its end.
fn send_answers(mut stream: &TcpStream, address: SocketAddr) {
    let mut line = String::new();
    loop {
        line.clear();
        match io::stdin().read_line(&mut line) {
            Ok(0) => return, // Ctrl-D: the keyboard is at its end
            Ok(_) if cli::is_goodbye(&line) => return,
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
