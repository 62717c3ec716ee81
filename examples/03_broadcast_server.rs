//! Stage 03, broadcast: what one client says, all the others hear.
//!
//! Run it:  cargo run --example 03_broadcast_server
//! Read:    lessons/03_broadcast.md
//! New:     `Arc<Mutex<…>>` around the list of clients; the thread that adds a client
//!          to the list removes it.
//! Broken:  it writes while it holds the lock: one client that never reads stops the
//!          room. A thread that panics leaves its client on the list, for example at a
//!          `println!` when `| head` has closed our output. And clients have no names.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use clap::Parser;
use socket_stages::cli;

/// Relays each line that a client says to all the other clients.
#[derive(Parser)]
#[command(version, after_help = cli::SERVER_HELP)]
struct Args {
    #[command(flatten)]
    listen: cli::Listen,
}

/// All connected clients. Each client's thread adds its own connection and removes it;
/// no thread removes another's. The lock protects the list and the order of the lines:
/// a line has gone to all clients before the next one goes to any.
type Clients = Arc<Mutex<Vec<Arc<TcpStream>>>>;

fn main() -> Result<(), cli::Failure> {
    let listener = cli::bind(&Args::parse().listen)?;
    let clients = Clients::default();

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

        // 2. Give it a thread of its own, which shares the list.
        let clients = Arc::clone(&clients);
        let client = thread::Builder::new().name("client".into()).spawn(move || {
            match serve(stream, address, &clients) {
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

/// Serves one client: adds it to the list, relays its lines, removes it.
fn serve(stream: TcpStream, address: SocketAddr, clients: &Clients) -> io::Result<()> {
    // Send each line at once, without waiting for acknowledgements (lesson 03).
    stream.set_nodelay(true)?;
    // Shared: this thread reads from the connection, the others write to it.
    let me = Arc::new(stream);

    // `unwrap` panics if another thread has panicked while it held the lock. No thread
    // does: nothing in this file panics with the lock held.
    clients.lock().unwrap().push(Arc::clone(&me));
    println!("{address} connected");
    let result = relay_lines(&me, address, clients);
    // 4. There is no `?` on the way here, so every client is removed from the list, unless
    //    its thread has panicked (FAULT, kept). Dropping the last `Arc`, at the end of
    //    `serve`, closes the connection.
    clients
        .lock()
        .unwrap()
        .retain(|client| !Arc::ptr_eq(client, &me));
    result
}

/// Relays what the client says until it stops sending.
fn relay_lines(me: &Arc<TcpStream>, address: SocketAddr, clients: &Clients) -> io::Result<()> {
    for line in BufReader::new(me.as_ref()).lines() {
        let line = line?;
        println!("[{address}] {line}");
        broadcast(clients, me, &format!("{address} says: {line}\n"));
    }
    Ok(())
}

/// Sends a message to all clients but the sender.
fn broadcast(clients: &Clients, sender: &Arc<TcpStream>, message: &str) {
    let clients = clients.lock().unwrap();
    for client in clients.iter() {
        if !Arc::ptr_eq(client, sender) {
            // FAULT, kept: this waits for a client that does not read. It holds the
            // lock, so all the other clients wait as well.
            // An error here needs no answer: that client's own thread reads the end of
            // its connection and removes it from the list.
            let _ = client.as_ref().write_all(message.as_bytes());
        }
    }
}
