//! Stage 06, shutdown: an orderly end, by a deadline.
//!
//! Run it:  cargo run --example 06_shutdown_server
//! Read:    lessons/06_shutdown.md
//! New:     Ctrl-C stops accepting, tells every client, writes what is in the outboxes, and
//!          joins every thread. A client that is still there after the grace is cut off.
//! Broken:  it believes everything that a client sends.

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{self, Receiver, SyncSender, TrySendError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use clap::Parser;
use socket_stages::cli;
use socket_stages::room::{Id, Leaving, Line, Outcome, Room};

/// A chat: the first line that a client sends is its name.
#[derive(Parser)]
#[command(version, after_help = cli::SERVER_HELP)]
struct Args {
    #[command(flatten)]
    listen: cli::Listen,

    /// Seconds that clients have, after Ctrl-C, to read what is still due
    #[arg(long, value_name = "SECS", default_value = "2", allow_negative_numbers = true,
        value_parser = cli::seconds)]
    grace: Duration,
}

/// How many lines may wait for a client. One more, and the client is disconnected.
const OUTBOX: usize = 512;

fn main() -> Result<(), cli::Failure> {
    let args = Args::parse();
    let listener = cli::bind(&args.listen)?;
    let chat = Arc::new(Mutex::new(Chat::default()));
    close_on_interrupt(&listener, &chat)?;
    let running = accept_all(&listener, &chat);

    // Stop accepting, and wait until all sessions have ended.
    drop(listener);
    wait_for_all(running, args.grace);
    cli::log!("closed");
    socket_stages::log::flush();
    Ok(())
}

/// Gives each client a thread of its own.
fn accept_all(listener: &TcpListener, chat: &Arc<Mutex<Chat>>) -> Vec<Running> {
    let mut running = Vec::new();
    for id in 1.. {
        // Accept.
        let accepted = accept(listener);
        if lock(chat).closing {
            break;
        }
        running.retain(|one: &Running| !one.thread.is_finished());
        let Some((stream, address)) = accepted else {
            continue;
        };
        // Start the client's thread, and go back to `accept` at once.
        let session = Session {
            id,
            address,
            stream: Arc::new(stream),
            chat: Arc::clone(chat),
        };
        let stream = Arc::downgrade(&session.stream);
        match session.start() {
            Ok(thread) => running.push(Running { thread, stream }),
            // There is no thread, and dropping the closure has closed the connection.
            Err(error) => cli::log!("{address} turned away: {error}"),
        }
    }
    running
}

/// Lets Ctrl-C close the chat, and then wake `main` from `accept` by a connection. That
/// takes a descriptor, and there may be no other: so it keeps one in reserve.
fn close_on_interrupt(listener: &TcpListener, chat: &Arc<Mutex<Chat>>) -> anyhow::Result<()> {
    let (address, reserve) = (listener.local_addr()?, listener.try_clone()?);
    let chat = Arc::clone(chat);
    cli::on_interrupt(move || {
        lock(&chat).close();
        drop(reserve);
        cli::knock(address);
    })
}

/// A session, as `main` sees it.
struct Running {
    thread: JoinHandle<()>,
    /// To cut the client off. It does not keep the connection open.
    stream: Weak<TcpStream>,
}

/// Waits until all sessions have ended. After the grace, the clock cuts off the clients that
/// are left. (If the clock cannot be started, do not wait: the end of `main` cuts off all.)
fn wait_for_all(running: Vec<Running>, grace: Duration) {
    let streams: Vec<_> = running.iter().map(|one| Weak::clone(&one.stream)).collect();
    let cut_off = move || {
        thread::sleep(grace);
        for stream in streams.iter().filter_map(Weak::upgrade) {
            let _ = stream.shutdown(Shutdown::Both); // wakes the reader and the writer
        }
    };
    let clock = thread::Builder::new().name("clock".into());
    if clock.spawn(cut_off).is_ok() {
        for one in running {
            let _ = one.thread.join(); // a panic has been printed already
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
    /// This thread reads from it; the writer thread writes to it.
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

    /// Serves the client with two threads, until it leaves and the writer has ended.
    fn run(&self) -> io::Result<()> {
        // Send each line at once, without waiting for acknowledgements (lesson 03).
        self.stream.set_nodelay(true)?;
        let (outbox, lines) = mpsc::sync_channel(OUTBOX);
        thread::scope(|scope| {
            let writer = thread::Builder::new().name("writer".into());
            writer.spawn_scoped(scope, || self.write_lines(lines))?;
            self.stay(outbox)
        })
    }

    /// Keeps the client in the chat for as long as it sends.
    fn stay(&self, outbox: SyncSender<Line>) -> io::Result<()> {
        let stream = Arc::clone(&self.stream);
        if !lock(&self.chat).arrive(self.id, Client { outbox, stream }) {
            return Ok(()); // too late: the server is closing
        }
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

    /// Waits for a line, and writes it with the lines that have gathered behind it. Ends
    /// when the chat has dropped the outbox, and all that was in it is written.
    fn write_lines(&self, lines: Receiver<Line>) {
        while let Ok(line) = lines.recv() {
            thread::yield_now(); // let the clients that speak go on: more lines gather
            let mut gathered = String::from(&*line);
            for line in lines.try_iter().take(OUTBOX) {
                gathered += &line;
            }
            if (&*self.stream).write_all(gathered.as_bytes()).is_err() {
                return; // the reader sees the end of the connection too, and leaves
            }
        }
        if lock(&self.chat).closing {
            let _ = (&*self.stream).write_all(b"* the server is closing\n"); // an error: gone
        }
        // Half-close: a client that sees the end closes too, and then the reader ends.
        let _ = self.stream.shutdown(Shutdown::Write);
    }
}

/// Keeps a client in the chat until dropped, in whatever way its thread ends.
struct Presence<'a>(&'a Session);

impl Drop for Presence<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            let _ = self.0.stream.shutdown(Shutdown::Both); // wakes the writer
        }
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
    /// Set once; no client arrives after that.
    closing: bool,
    room: Room,
    clients: HashMap<Id, Client>,
}

/// A client, as the others see it.
struct Client {
    /// Lines on their way to the client. Once it is dropped, the writer ends.
    outbox: SyncSender<Line>,
    /// To disconnect the client.
    stream: Arc<TcpStream>,
}

impl Chat {
    /// A client has connected. False when the server is closing.
    fn arrive(&mut self, id: Id, client: Client) -> bool {
        if self.closing {
            return false;
        }
        self.room.arrive(id);
        self.clients.insert(id, client);
        true
    }

    /// Drops all outboxes: each writer ends as soon as what was in its outbox is written.
    fn close(&mut self) {
        self.closing = true;
        self.clients.clear();
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

    /// Puts each line into the outboxes of its receivers, and never waits. A client whose
    /// outbox is full is disconnected, and the others are told in turn.
    fn send(&mut self, outcome: Outcome) {
        let mut outcomes = vec![outcome];
        while let Some(outcome) = outcomes.pop() {
            let mut too_slow = Vec::new();
            for (id, line) in self.room.deliveries(&outcome) {
                if let Some(client) = self.clients.get(&id)
                    && let Err(TrySendError::Full(_)) = client.outbox.try_send(Line::clone(line))
                {
                    too_slow.push(id);
                }
            }
            for id in too_slow {
                if let Some(client) = self.clients.remove(&id) {
                    let _ = client.stream.shutdown(Shutdown::Both); // an error: gone already
                }
                outcomes.push(self.room.leave(id, Leaving::TooSlow));
            }
        }
    }
}
