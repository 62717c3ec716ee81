//! Stage 07, limits: a server among hostile clients.
//!
//! Run it:  cargo run --example 07_limits_server
//! Read:    lessons/07_limits.md
//! New:     a limit on everything that a client can use up: connections, the length of a
//!          line, lines a second, time. Whoever goes beyond is told why, and put out; and
//!          what is passed on can do no harm on a terminal.
//! Broken:  two threads for each client, be it idle: what do 5,000 of them cost?

use std::borrow::Cow;
use std::collections::HashMap;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender, SyncSender, TrySendError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use clap::Parser;
use socket_stages::limits::{Limits, Rate, Refusal};
use socket_stages::lines::{Lines, TooLong};
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

    #[command(flatten)]
    limits: Limits,
}

/// How many packets of lines may wait for a client before it is put out.
const OUTBOX: usize = 512;

/// How many bytes leave in one write, or a line more.
const GATHERED: usize = 64 * 1024;

/// How long a client that has been put out may take to read the reason.
const FAREWELL: Duration = Duration::from_secs(1);

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
    let limits = args.limits.within_the_systems();
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

        // 2. Only so many may be here at a time.
        clients.retain(|(client, _)| !client.is_finished());
        if clients.len() >= limits.max_clients {
            cli::log!("{address} turned away: {}", Refusal::Full);
            turn_away(&stream);
            continue;
        }

        // 3. Give it a thread of its own, which shares the room.
        let (chat, alive) = (Arc::clone(&chat), Sender::clone(&alive));
        let stream = Arc::new(stream);
        let connection = Arc::downgrade(&stream);
        let client = thread::Builder::new().name("client".into()).spawn(move || {
            let _alive = alive; // dropped when the thread ends, in whatever way
            match serve(&stream, address, id, &chat, limits) {
                Ok(()) => cli::log!("{address} left"),
                Err(error) => cli::log!("{address} left: {error}"),
            }
        });
        // 4. Nobody joins it before the end: back to `accept` at once.
        match client {
            Ok(client) => clients.push((client, connection)),
            // No thread, and the connection was dropped with the closure.
            Err(error) => cli::log!("{address} turned away: {error}"),
        }
    }

    // 5. Nobody new comes; wait until all have gone.
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

/// Says why, without waiting: the connection is new, so there is room for one line.
fn turn_away(mut stream: &TcpStream) {
    let _ = stream.set_nonblocking(true);
    let _ = stream.write_all(format!("! {}\n", Refusal::Full).as_bytes());
    let _ = stream.shutdown(Shutdown::Write);
    // Closing on bytes that were not read would be a reset: its name may be here already.
    let _ = stream.read(&mut [0; 4096]);
}

/// Serves one client with two threads, and waits for both.
fn serve(
    me: &Arc<TcpStream>,
    address: SocketAddr,
    id: Id,
    chat: &Arc<Mutex<Chat>>,
    limits: Limits,
) -> io::Result<()> {
    // Each line leaves at once, without waiting for acknowledgements (lesson 03).
    me.set_nodelay(true)?;
    let (outbox, lines) = mpsc::sync_channel(OUTBOX);
    let (writing, written) = mpsc::channel::<()>();
    let (stream, shared) = (Arc::clone(me), Arc::clone(chat));
    let writer = thread::Builder::new()
        .name("writer".into())
        .spawn(move || {
            let _writing = writing; // dropped when the thread ends
            write_lines(&stream, &lines, &shared);
        })?;

    let result = read_lines(me, address, id, chat, outbox, limits);
    // 6. The client has left the room, so its outbox is gone: the writer ends as soon as
    //    what was in it is written. Who does not take it in time is cut off.
    let time = match result {
        Ok(()) => limits.idle_timeout,
        Err(_) => FAREWELL,
    };
    let deadline = Instant::now() + time;
    if result.is_err() {
        forget_the_rest(me, deadline);
    }
    let time_left = deadline.saturating_duration_since(Instant::now());
    if written.recv_timeout(time_left) == Err(RecvTimeoutError::Timeout) {
        let _ = me.shutdown(Shutdown::Both); // wakes the writer
    }
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
    limits: Limits,
) -> io::Result<()> {
    if !lock(chat).arrive(id, outbox, me) {
        return Ok(()); // too late: the server is closing
    }
    // 7. From here on a `?` does no harm, nor does a panic: the guard is dropped.
    let _guard = Presence { id, chat };
    cli::log!("{address} connected");
    match hear_lines(me, id, chat, limits)? {
        None => Ok(()),
        Some(refusal) => {
            lock(chat).tell(id, refusal);
            Err(refusal.into())
        }
    }
}

/// Passes on what a client says, until it leaves (`None`) or goes beyond a limit.
fn hear_lines(
    mut me: &TcpStream,
    id: Id,
    chat: &Mutex<Chat>,
    limits: Limits,
) -> io::Result<Option<Refusal>> {
    let mut lines = Lines::new(limits.max_line);
    let mut rate = Rate::new(limits.max_rate, Instant::now());
    let mut silence = Refusal::NoName(limits.name_timeout);
    let mut deadline = Instant::now() + limits.name_timeout;
    let mut packet = [0; 4096];
    loop {
        // 8. Wait for what the client sends, until the deadline.
        let now = Instant::now();
        if now >= deadline {
            return Ok(Some(silence));
        }
        // An error (on macOS) means that the connection is closed: then no read waits.
        let _ = me.set_read_timeout(Some(deadline - now));
        let count = match me.read(&mut packet) {
            Err(error) if is_no_end(&error) => continue,
            result => result?,
        };
        // 9. Pass on the lines that are now complete. Refused names do not put off the
        //    deadline for a name.
        let heard = lines.feed(&packet[..count]);
        match lock(chat).hear_lines(id, heard, &mut rate, limits) {
            Err(refusal) => return Ok(Some(refusal)),
            Ok(_) if count == 0 => return Ok(None), // the end of the stream
            Ok(false) => {}
            Ok(true) => {
                silence = Refusal::Idle(limits.idle_timeout);
                deadline = Instant::now() + limits.idle_timeout;
            }
        }
    }
}

/// Reads what a client that was put out still sends, and forgets it. To close on bytes
/// that were not read would be a reset, and a reset may overtake the reason.
fn forget_the_rest(mut me: &TcpStream, deadline: Instant) {
    loop {
        let now = Instant::now();
        if now >= deadline {
            return;
        }
        let _ = me.set_read_timeout(Some(deadline - now));
        match me.read(&mut [0; 4096]) {
            Ok(0) => return, // it has read all, or will send no more
            Ok(_) => {}
            Err(error) if is_no_end(&error) => {}
            Err(_) => return,
        }
    }
}

/// A read that has taken too long (two kinds of error, depending on the system), or was
/// interrupted, as happens when the server is suspended and goes on.
fn is_no_end(error: &io::Error) -> bool {
    use ErrorKind::{Interrupted, TimedOut, WouldBlock};
    matches!(error.kind(), WouldBlock | TimedOut | Interrupted)
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

    /// Tells the room what a client says, and sends what it answers, all in one piece;
    /// whether there was anything for the others.
    fn hear_lines<'a>(
        &mut self,
        id: Id,
        lines: impl Iterator<Item = Result<Cow<'a, str>, TooLong>>,
        rate: &mut Rate,
        limits: Limits,
    ) -> Result<bool, Refusal> {
        let (mut allowed, mut refusal) = (Vec::new(), None);
        for line in lines {
            match line {
                Err(TooLong) => refusal = Some(Refusal::LineTooLong(limits.max_line)),
                Ok(_) if !rate.allows_a_line(Instant::now()) => {
                    refusal = Some(Refusal::TooFast(limits.max_rate));
                    break;
                }
                Ok(line) => allowed.push(line),
            }
        }
        allowed.iter().for_each(|line| cli::panic_if_told(line)); // a drill: see lesson 04
        let outcome: Outcome = allowed
            .iter()
            .map(|line| self.room.hear(id, line))
            .collect();
        let said_something = outcome.to_others.is_some();
        self.send(id, outcome);
        refusal.map_or(Ok(said_something), Err)
    }

    /// Tells a client why it is put out, after all else that is due to it.
    fn tell(&self, id: Id, refusal: Refusal) {
        if let Some((outbox, _)) = self.clients.get(&id) {
            let _ = outbox.try_send(format!("! {refusal}\n").into()); // full: it does not read
        }
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
