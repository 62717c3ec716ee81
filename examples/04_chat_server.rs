//! Stage 04, chat: each client has a name, and the others hear when it joins and leaves.
//!
//! Run it:  cargo run --example 04_chat_server
//! Read:    lessons/04_chat.md
//! New:     the room is a plain value, `src/room.rs`, apart from all waiting; a guard's
//!          `Drop` cleans up, however a thread ends; a poisoned lock and a closed output
//!          stop no other thread.
//! Broken:  it still writes while it holds the lock: one client that never reads stops
//!          the room.

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
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

fn main() -> Result<(), cli::Failure> {
    let args = Args::parse();
    let listener = cli::bind(&args.listen)?;
    let chat = Arc::new(Mutex::new(Chat::default()));
    accept_all(&listener, &chat);
    Ok(())
}

/// Gives each client a thread of its own.
fn accept_all(listener: &TcpListener, chat: &Arc<Mutex<Chat>>) {
    for id in 1.. {
        // Accept.
        let Some((stream, address)) = accept(listener) else {
            continue;
        };
        // Start the client's thread, and go back to `accept` at once.
        let session = Session {
            id,
            address,
            stream: Arc::new(stream),
            chat: Arc::clone(chat),
        };
        match session.start() {
            Ok(_thread) => {} // nothing joins it
            // There is no thread, and dropping the closure has closed the connection.
            Err(error) => cli::log!("{address} turned away: {error}"),
        }
    }
}

/// Waits for a client. `None` if the system refuses, for example when it is out of
/// descriptors; the pause keeps the caller's loop from spinning.
fn accept(listener: &TcpListener) -> Option<(TcpStream, SocketAddr)> {
    let report = |error: &io::Error| {
        cli::log!("cannot accept a client: {error}");
        thread::sleep(Duration::from_millis(100));
    };
    listener.accept().inspect_err(report).ok()
}

/// One connection, as its own thread sees it.
struct Session {
    id: Id,
    address: SocketAddr,
    /// This thread reads from it; the others write to it.
    stream: Arc<TcpStream>,
    chat: Arc<Mutex<Chat>>,
}

impl Session {
    /// Starts the client's thread.
    fn start(self) -> io::Result<JoinHandle<()>> {
        let client = thread::Builder::new().name("client".into());
        client.spawn(move || match self.run() {
            Ok(()) => cli::log!("{} left", self.address),
            Err(error) => cli::log!("{} left: {error}", self.address),
        })
    }

    /// Serves the client until it leaves.
    fn run(&self) -> io::Result<()> {
        // Send each line at once, without waiting for acknowledgements (lesson 03).
        self.stream.set_nodelay(true)?;
        self.stay()
    }

    /// Keeps the client in the chat for as long as it sends.
    fn stay(&self) -> io::Result<()> {
        let stream = Arc::clone(&self.stream);
        lock(&self.chat).arrive(self.id, Client { stream });
        // From here on, a `?` or a panic drops the guard: the client leaves the chat.
        let _presence = Presence(self);
        cli::log!("{} connected", self.address);
        self.read_lines()
    }

    /// Passes on the client's lines until it stops sending.
    fn read_lines(&self) -> io::Result<()> {
        for line in BufReader::new(&*self.stream).lines() {
            lock(&self.chat).hear(self.id, &line?);
        }
        Ok(())
    }
}

/// Keeps a client in the chat until dropped, in whatever way its thread ends.
struct Presence<'a>(&'a Session);

impl Drop for Presence<'_> {
    fn drop(&mut self) {
        lock(&self.0.chat).leave(self.0.id);
    }
}

/// Waits for the lock. A thread that panicked while it held the lock has "poisoned" it. The
/// chat is in order all the same: `hear` and `leave` change the room before they send.
fn lock(chat: &Mutex<Chat>) -> MutexGuard<'_, Chat> {
    chat.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The room and its clients. One lock protects both and, with them, the order: a line
/// goes to everybody before the next line does.
#[derive(Default)]
struct Chat {
    room: Room,
    clients: HashMap<Id, Client>,
}

/// A client, as the others see it.
struct Client {
    /// The others write their lines to it.
    stream: Arc<TcpStream>,
}

impl Chat {
    /// A client has connected.
    fn arrive(&mut self, id: Id, client: Client) {
        self.room.arrive(id);
        self.clients.insert(id, client);
    }

    /// A client has sent a line: tells the room, and sends what the room answers.
    fn hear(&mut self, id: Id, line: &str) {
        cli::panic_if_told(line); // a drill: see the lesson
        let outcome = self.room.hear(id, line);
        self.send(outcome);
    }

    /// A client has left: the others are told.
    fn leave(&mut self, id: Id) {
        self.clients.remove(&id);
        let outcome = self.room.leave(id, Leaving::Left);
        self.send(outcome);
    }

    /// Writes each line to its receivers.
    fn send(&mut self, outcome: Outcome) {
        for (id, line) in self.room.deliveries(&outcome) {
            if let Some(client) = self.clients.get(&id) {
                // FAULT, kept: this waits for a client that does not read. It holds the
                // lock, so all the other clients wait as well.
                // An error here needs no answer: that client's own thread reads the end of
                // its connection, and leaves.
                let _ = (&*client.stream).write_all(line.as_bytes());
            }
        }
    }
}
