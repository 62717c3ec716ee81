//! Stage 04, chat: everybody has a name, and is announced when they join and leave.
//!
//! Run it:  cargo run --example 04_chat_server
//! Read:    lessons/04_chat.md
//! New:     the room is a plain value, `src/room.rs`, apart from all waiting; a guard's
//!          `Drop` cleans up, however a thread ends; a poisoned lock ends nothing.
//! Broken:  it still writes while it holds the lock: one client that never reads stops
//!          the room.

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use clap::Parser;
use socket_stages::cli;
use socket_stages::room::{Id, Leaving, Outcome, Room};

/// A chat: the first line that a client sends is its name.
#[derive(Parser)]
#[command(version, after_help = cli::SERVER_HELP)]
struct Args {
    #[command(flatten)]
    listen: cli::Listen,
}

/// The room, and the connections of all clients. One lock protects both and, with
/// them, the order: one line goes to everybody before the next one does.
#[derive(Default)]
struct Chat {
    room: Room,
    streams: HashMap<Id, Arc<TcpStream>>,
}

fn main() -> Result<(), cli::Failure> {
    let listener = cli::bind(&Args::parse().listen)?;
    let chat = Arc::new(Mutex::new(Chat::default()));

    for id in 1.. {
        // 1. Wait for a client.
        let (stream, address) = match listener.accept() {
            Ok(client) => client,
            Err(error) => {
                println!("cannot accept a client: {error}");
                thread::sleep(Duration::from_millis(100)); // do not spin
                continue;
            }
        };

        // 2. Give it a thread of its own, which shares the room.
        let chat = Arc::clone(&chat);
        let client = thread::Builder::new().name("client".into()).spawn(move || {
            match serve(stream, address, id, &chat) {
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
    Ok(())
}

/// Serves one client: puts it on the list, passes on its lines, takes it off again.
fn serve(stream: TcpStream, address: SocketAddr, id: Id, chat: &Mutex<Chat>) -> io::Result<()> {
    // Each line leaves at once, without waiting for acknowledgements (lesson 03).
    stream.set_nodelay(true)?;
    // Shared: this thread reads from the connection, the others write to it.
    let me = Arc::new(stream);

    lock(chat).room.arrive(id);
    lock(chat).streams.insert(id, Arc::clone(&me));
    // 4. From here on a `?` does no harm, nor does a panic: the guard is dropped.
    let _guard = Presence { id, chat };
    println!("{address} connected");
    for line in BufReader::new(me.as_ref()).lines() {
        let line = line?;
        println!("[{address}] {line}");
        let mut chat = lock(chat);
        cli::panic_if_told(&line); // a drill: see the lesson
        let outcome = chat.room.hear(id, &line);
        chat.send(id, &outcome);
    }
    Ok(())
}

/// Somebody's being here. When it is dropped, in whatever way the thread ends, the
/// client leaves, and the others are told once.
struct Presence<'a> {
    id: Id,
    chat: &'a Mutex<Chat>,
}

impl Drop for Presence<'_> {
    fn drop(&mut self) {
        let mut chat = lock(self.chat);
        let outcome = chat.room.leave(self.id, Leaving::Left);
        chat.send(self.id, &outcome);
        chat.streams.remove(&self.id);
    }
}

/// Waits for the lock. A thread that panicked while it held it has "poisoned" it; but
/// the room is changed in one go, before anything is sent, so it is in order.
fn lock(chat: &Mutex<Chat>) -> MutexGuard<'_, Chat> {
    chat.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Chat {
    /// Sends what the room has answered to what this client did.
    fn send(&self, id: Id, outcome: &Outcome) {
        for (receiver, line) in self.room.deliveries(id, outcome) {
            // FAULT, kept: this waits for a client that does not read, and with the lock
            // held everybody else waits as well.
            // An error is not ours to handle: that client's own thread reads the end of
            // its connection and leaves.
            let _ = self.streams[&receiver].as_ref().write_all(line.as_bytes());
        }
    }
}
