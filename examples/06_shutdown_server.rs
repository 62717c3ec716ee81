//! Stage 06, shutdown: an orderly end, by a deadline.
//!
//! Run it:  cargo run --example 06_shutdown_server
//! Read:    lessons/06_shutdown.md
//! New:     Ctrl-C stops accepting, tells everybody, writes what is in the outboxes, and
//!          joins every thread; whoever holds it up is cut off when the grace is over.
//! Broken:  it believes everything that a client sends.

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender, SyncSender, TrySendError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use clap::Parser;
use socket_stages::room::{Id, Leaving, Line, Outcome, Room};
use socket_stages::{cli, log};

/// A chat: the first line that a client sends is its name.
#[derive(Parser)]
#[command(version, after_help = cli::SERVER_HELP)]
struct Args {
    #[command(flatten)]
    listen: cli::Listen,

    /// Seconds that clients have, after Ctrl-C, to read what is still due
    #[arg(long, value_name = "SECS", default_value_t = 2.0, allow_negative_numbers = true,
        value_parser = cli::seconds)]
    grace: f64,
}

/// How many packets of lines may wait for a client before it is put out.
const OUTBOX: usize = 512;

/// How many lines a packet has, at most.
const PACKET: usize = 64;

/// How many bytes leave in one write, or a line more.
const GATHERED: usize = 64 * 1024;

/// The room, and each client's outbox and connection. One lock protects both and, with
/// them, the order: one line goes to everybody before the next one does.
#[derive(Default)]
struct Chat {
    closing: bool,
    room: Room,
    clients: HashMap<Id, (SyncSender<Line>, Arc<TcpStream>)>,
}

fn main() -> Result<(), cli::Failure> {
    let args = Args::parse();
    let listener = cli::bind(&args.listen)?;
    let chat = Arc::new(Mutex::new(Chat::default()));
    let (alive, all_ended) = mpsc::channel::<()>();
    let mut clients: Vec<(JoinHandle<()>, Weak<TcpStream>)> = Vec::new();

    // Ctrl-C closes the chat, and wakes us from `accept` by a connection. For that it
    // keeps a descriptor in reserve: at that moment there may be no other.
    let (shared, address) = (Arc::clone(&chat), listener.local_addr()?);
    let reserve = listener.try_clone()?;
    cli::on_interrupt(move || {
        lock(&shared).close();
        drop(reserve);
        cli::knock(address);
    })?;

    for id in 1.. {
        // 1. Wait for a client, or for the end.
        let accepted = listener.accept();
        if lock(&chat).closing {
            break;
        }
        let (stream, address) = match accepted {
            Ok(client) => client,
            Err(error) => {
                cli::log!("cannot accept a client: {error}");
                thread::sleep(Duration::from_millis(100)); // do not spin
                continue;
            }
        };

        // 2. Give it a thread of its own, which shares the room.
        let (chat, alive) = (Arc::clone(&chat), Sender::clone(&alive));
        let stream = Arc::new(stream);
        let connection = Arc::downgrade(&stream);
        let client = thread::Builder::new().name("client".into()).spawn(move || {
            let _alive = alive; // dropped when the thread ends, in whatever way
            match serve(&stream, address, id, &chat) {
                Ok(()) => cli::log!("{address} left"),
                Err(error) => cli::log!("{address} left: {error}"),
            }
        });
        // 3. Nobody joins it before the end: back to `accept` at once.
        clients.retain(|(client, _)| !client.is_finished());
        match client {
            Ok(client) => clients.push((client, connection)),
            // No thread, and the connection was dropped with the closure.
            Err(error) => cli::log!("{address} turned away: {error}"),
        }
    }

    // 4. Nobody new comes; wait until all have gone.
    drop((listener, alive));
    wait_for_all(clients, &all_ended, Duration::from_secs_f64(args.grace));
    cli::log!("closed");
    log::flush();
    Ok(())
}

/// Waits until each client's thread has dropped its `alive`: then `recv` fails. Who is still
/// there when the grace is over is cut off.
fn wait_for_all(
    clients: Vec<(JoinHandle<()>, Weak<TcpStream>)>,
    all_ended: &Receiver<()>,
    grace: Duration,
) {
    if all_ended.recv_timeout(grace) == Err(RecvTimeoutError::Timeout) {
        let connections = clients.iter().filter_map(|(_, stream)| stream.upgrade());
        connections.for_each(|stream| drop(stream.shutdown(Shutdown::Both)));
    }
    for (client, _) in clients {
        let _ = client.join(); // its panic, if any, has been printed
    }
}

/// Serves one client with two threads, and waits for both.
fn serve(
    me: &Arc<TcpStream>,
    address: SocketAddr,
    id: Id,
    chat: &Arc<Mutex<Chat>>,
) -> io::Result<()> {
    // Each line leaves at once, without waiting for acknowledgements (lesson 03).
    me.set_nodelay(true)?;
    let (outbox, lines) = mpsc::sync_channel(OUTBOX);
    let (stream, shared) = (Arc::clone(me), Arc::clone(chat));
    let writer = thread::Builder::new()
        .name("writer".into())
        .spawn(move || write_lines(&stream, &lines, &shared))?;

    let result = read_lines(me, address, id, chat, outbox);
    // 5. The client has left the room, so its outbox is gone: the writer ends as soon as
    //    what was in it is written.
    let _ = writer.join();
    result
}

/// Brings a client into the room, passes on its lines, and takes it out again.
fn read_lines(
    me: &Arc<TcpStream>,
    address: SocketAddr,
    id: Id,
    chat: &Mutex<Chat>,
    outbox: SyncSender<Line>,
) -> io::Result<()> {
    if !lock(chat).arrive(id, outbox, me) {
        return Ok(()); // too late: the server is closing
    }
    // 6. From here on a `?` does no harm, nor does a panic: the guard is dropped.
    let _guard = Presence { id, chat };
    cli::log!("{address} connected");
    let mut reader = BufReader::new(me.as_ref());
    loop {
        let mut packet = String::new();
        let read = read_packet(&mut reader, &mut packet);
        lock(chat).hear_lines(id, &packet); // also what came before an error
        if read? == 0 {
            return Ok(());
        }
    }
}

/// Waits for a line, and takes those that have come with it. 0 is the end of the stream.
fn read_packet(reader: &mut BufReader<&TcpStream>, packet: &mut String) -> io::Result<usize> {
    let mut count = 0;
    for _ in 0..PACKET {
        let whole = packet.len();
        count = reader
            .read_line(packet)
            .inspect_err(|_| packet.truncate(whole))?;
        if count == 0 || !reader.buffer().contains(&b'\n') {
            break;
        }
    }
    Ok(count)
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
        chat.send(self.id, outcome);
        chat.clients.remove(&self.id);
    }
}

/// Waits for the lock. A thread that panicked while it held it has "poisoned" it; but
/// the room is changed in one go, before anything is sent, so it is in order.
fn lock(chat: &Mutex<Chat>) -> MutexGuard<'_, Chat> {
    chat.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Chat {
    /// False when the server is closing.
    fn arrive(&mut self, id: Id, outbox: SyncSender<Line>, stream: &Arc<TcpStream>) -> bool {
        if !self.closing {
            self.room.arrive(id);
            self.clients.insert(id, (outbox, Arc::clone(stream)));
        }
        !self.closing
    }

    /// Nothing is accepted any more. Without its outbox each writer ends, as soon as all
    /// that was in it is written.
    fn close(&mut self) {
        self.closing = true;
        self.clients.clear();
    }

    /// Tells the room what a client says, and sends what it answers, all in one piece.
    fn hear_lines(&mut self, id: Id, packet: &str) {
        packet.lines().for_each(cli::panic_if_told); // a drill: see lesson 04
        let outcome = packet
            .lines()
            .map(|line| self.room.hear(id, line))
            .collect();
        self.send(id, outcome);
    }

    /// Puts what the room has answered to what this client did into the outboxes, and
    /// waits for nobody: whoever's outbox is full is put out, and that is announced too.
    fn send(&mut self, id: Id, outcome: Outcome) {
        let mut to_send = vec![(id, outcome)];
        while let Some((id, outcome)) = to_send.pop() {
            let mut too_slow = Vec::new();
            for (receiver, line) in self.room.deliveries(id, &outcome) {
                let outbox = self.clients.get(&receiver).map(|(outbox, _)| outbox);
                match outbox.map(|outbox| outbox.try_send(Line::clone(line))) {
                    Some(Err(TrySendError::Full(_))) => too_slow.push(receiver),
                    // Of one whose writer has ended, the reader sees the end as well.
                    Some(Ok(()) | Err(TrySendError::Disconnected(_))) | None => {}
                }
            }
            for id in too_slow {
                if let Some((_, stream)) = self.clients.remove(&id) {
                    let _ = stream.shutdown(Shutdown::Both); // an error: it has gone already
                }
                to_send.push((id, self.room.leave(id, Leaving::TooSlow)));
            }
        }
    }
}

/// Waits for a line, and writes it with all the others that have gathered meanwhile.
/// Ends when the outbox is gone and all that was in it has been written.
fn write_lines(mut stream: &TcpStream, outbox: &Receiver<Line>, chat: &Mutex<Chat>) {
    while let Ok(first) = outbox.recv() {
        thread::yield_now(); // let those who speak go on: more to gather
        let mut gathered = String::from(&*first);
        while gathered.len() < GATHERED
            && let Ok(line) = outbox.try_recv()
        {
            gathered += &line;
        }
        if stream.write_all(gathered.as_bytes()).is_err() {
            return; // the reader sees the end of the connection as well, and leaves
        }
    }
    if lock(chat).closing {
        let _ = stream.write_all(b"* the server is closing\n"); // an error: as above
    }
    // Half-close: a client that sees the end closes too, and then the reader ends.
    let _ = stream.shutdown(Shutdown::Write);
}
