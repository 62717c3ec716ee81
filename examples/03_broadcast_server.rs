//! Stage 03, broadcast: what one client says, all the others hear.
//!
//! Run it:  cargo run --example 03_broadcast_server
//! Read:    lessons/03_broadcast.md
//! New:     `Arc<Mutex<…>>` around the list of clients; who adds a client to the
//!          list removes it.
//! Broken:  it writes while it holds the lock: one client that never reads stops
//!          the room. And nobody has a name.

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

/// Everybody who is connected. Each client's thread adds its own connection and
/// takes it off again; nobody takes off another's. The lock protects the list and,
/// with it, the order: one line goes to everybody before the next one does.
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
        // 3. Nobody joins it: back to `accept` at once.
        if let Err(error) = client {
            // No thread, and the connection was dropped with the closure.
            println!("{address} turned away: {error}");
        }
    }
}

/// Serves one client: puts it on the list, relays its lines, takes it off again.
fn serve(stream: TcpStream, address: SocketAddr, clients: &Clients) -> io::Result<()> {
    // Each line leaves at once, without waiting for acknowledgements (lesson 03).
    stream.set_nodelay(true)?;
    // Shared: this thread reads from the connection, the others write to it.
    let me = Arc::new(stream);

    // `unwrap` panics if another thread has panicked while it held the lock. None
    // can: nothing that is done under it panics.
    clients.lock().unwrap().push(Arc::clone(&me));
    println!("{address} connected");
    let result = relay_lines(&me, address, clients);
    // 4. No `?` on the way here: unless it panicked, the client is taken off the list.
    //    The connection is closed when its last `Arc` goes, at the end of `serve`.
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

/// Sends a message to everybody but the one who said it.
fn broadcast(clients: &Clients, sender: &Arc<TcpStream>, message: &str) {
    let clients = clients.lock().unwrap();
    for client in clients.iter() {
        if !Arc::ptr_eq(client, sender) {
            // FAULT, kept: this waits for a client that does not read, and with the
            // lock held everybody else waits as well.
            // An error is not ours to handle: that client's own thread reads the
            // end of its connection and takes it off the list.
            let _ = client.as_ref().write_all(message.as_bytes());
        }
    }
}
