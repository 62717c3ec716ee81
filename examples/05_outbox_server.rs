//! Stage 05, outbox: whoever does not read harms only themselves.
//!
//! Run it:  cargo run --example 05_outbox_server
//! Read:    lessons/05_outbox.md
//! New:     a bounded outbox and a writer thread for each client: nobody writes with the
//!          room locked; what has gathered in an outbox leaves in one write.
//! Broken:  Ctrl-C cuts everyone off, and what is still in the outboxes is lost.

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::mpsc::{self, Receiver, SyncSender, TrySendError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
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
    room: Room,
    clients: HashMap<Id, (SyncSender<Line>, Arc<TcpStream>)>,
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
    // Shared: this thread reads from the connection, the writer thread writes to it.
    let me = Arc::new(stream);
    let (outbox, lines) = mpsc::sync_channel(OUTBOX);
    let stream = Arc::clone(&me);
    thread::Builder::new()
        .name("writer".into())
        .spawn(move || write_lines(&stream, &lines))?;

    lock(chat).room.arrive(id);
    lock(chat).clients.insert(id, (outbox, Arc::clone(&me)));
    // 4. From here on a `?` does no harm, nor does a panic: the guard is dropped.
    let _guard = Presence { id, chat };
    println!("{address} connected");
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
fn write_lines(mut stream: &TcpStream, outbox: &Receiver<Line>) {
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
}
