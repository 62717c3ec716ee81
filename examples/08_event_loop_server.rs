//! Stage 08, event loop: the same room on one thread.
//!
//! Run it:  cargo run --example 08_event_loop_server
//! Read:    lessons/08_event_loop.md
//! New:     one thread waits for all clients at once, and does for each what it is ready
//!          for; no lock, as there is nobody to share with. What a turn of the loop has
//!          brought leaves in one write for each client.
//! Broken:  nothing on the wire that we know of; but where a thread just waited in the middle
//!          of a function, a state machine, written by hand, now has to remember.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::ops::Range;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes, BytesMut};
use clap::Parser;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token, Waker};
use socket_stages::limits::{Limits, Rate, Refusal};
use socket_stages::lines::Lines;
use socket_stages::room::{Id, Leaving, Outcome, Room};
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

/// How many of the longest lines may wait for a client before it is put out.
const OUTBOX: usize = 512;

/// What a part of a batch takes beside its text.
const PART: usize = size_of::<Bytes>();

/// How long a client that has been put out may take to read the reason.
const FAREWELL: Duration = Duration::from_secs(1);

/// How long nobody is accepted after the system has refused.
const PAUSE: Duration = Duration::from_millis(100);

/// How much is read from one client, and how many are accepted, before it is the others'
/// turn: whoever sends without end must not have the loop for itself.
const PACKET: usize = 4096;
const PACKETS_A_TURN: usize = 4;
const CLIENTS_A_TURN: usize = 64;

/// Who has become ready; every other token is the `Id` of a client.
const LISTENER: Token = Token(0);
const INTERRUPT: Token = Token(1);
const FIRST_CLIENT: Id = 2;

fn main() -> Result<(), cli::Failure> {
    let args = Args::parse();
    let listener = cli::bind(&args.listen)?;
    let limits = args.limits.within_the_systems();
    listener.set_nonblocking(true)?;
    let mut listener = TcpListener::from_std(listener);

    let poll = Poll::new()?;
    poll.registry()
        .register(&mut listener, LISTENER, Interest::READABLE)?;
    // Ctrl-C is one more thing to become ready. (Were the waker dropped with the closure,
    // what it has woken us for would be gone with it.)
    let closing = Arc::new(AtomicBool::new(false));
    let waker = Arc::new(Waker::new(poll.registry(), INTERRUPT)?);
    let (interrupted, wakes) = (Arc::clone(&closing), Arc::clone(&waker));
    cli::on_interrupt(move || {
        interrupted.store(true, Ordering::Relaxed);
        let _ = wakes.wake(); // it cannot fail while the poll is there
    })?;

    let mut server = Server {
        poll,
        limits,
        room: Room::new(),
        clients: HashMap::new(),
        next_id: FIRST_CLIENT,
        batch: Batch::default(),
        readable: Vec::new(),
        unwritten: Vec::new(),
        deadlines: BTreeSet::new(),
        now: Instant::now(),
    };
    server.run(listener, &closing)?;
    server.close(Duration::from_secs_f64(args.grace))?;
    cli::log!("closed");
    log::flush();
    Ok(())
}

/// All that the one thread has to remember.
struct Server {
    poll: Poll,
    limits: Limits,
    room: Room,
    clients: HashMap<Id, Client>,
    next_id: Id,
    /// What has been said since the outboxes last got it.
    batch: Batch,
    /// Clients from whom more may be read.
    readable: Vec<Id>,
    /// Clients in whose outboxes something is, and who are not known to be full.
    unwritten: Vec<Id>,
    /// One for each client: when to look whether its time is over, or has been put off.
    deadlines: BTreeSet<(Instant, Id)>,
    /// The beginning of this turn.
    now: Instant,
}

/// One connection, and how far it has got: what a thread would know by where it stands.
struct Client {
    stream: TcpStream,
    address: SocketAddr,
    lines: Lines,
    rate: Rate,
    /// Parts of batches, which all clients share.
    outbox: VecDeque<Bytes>,
    /// How many bytes all this takes.
    due: usize,
    /// The socket takes no more; it will become ready when it does.
    is_full: bool,
    /// The socket will never take anything any more.
    is_lost: bool,
    state: State,
    deadline: Instant,
    /// Its entry in the server's `deadlines`, which may be earlier.
    look_at: Instant,
}

#[derive(Clone, Copy, PartialEq)]
enum State {
    Nameless,
    InRoom,
    /// Gets what is due, and then the end; what it still sends is forgotten.
    Leaving,
    /// As `Leaving`, and has been told the end.
    HalfClosed,
    /// Has sent its own end, and gets what is due.
    Ended,
}

/// Lines for everybody in the room, one after the other in one piece of memory, and who
/// does not get which part of it.
#[derive(Default)]
struct Batch {
    text: BytesMut,
    own: Vec<(Id, Range<usize>)>,
}

impl Server {
    /// Turn after turn: wait, read, write.
    fn run(&mut self, mut listener: TcpListener, closing: &AtomicBool) -> io::Result<()> {
        let mut events = Events::with_capacity(1024);
        let mut acceptable = None; // from when on somebody may be accepted
        while !closing.load(Ordering::Relaxed) {
            // 1. Wait until something is ready, or it is time for something.
            self.wait(&mut events, acceptable)?;
            if events.iter().any(|event| event.token() == LISTENER) {
                acceptable = acceptable.or(Some(self.now));
            }
            // 2. New clients.
            if acceptable.is_some_and(|time| time <= self.now) {
                acceptable = self.accept(&mut listener);
            }
            // 3. What clients say.
            self.read();
            // 4. Whose time is over.
            self.look_at_the_clock();
            // 5. What all this has brought.
            self.send();
        }
        Ok(())
    }

    /// Waits for events, but not at all if there is still something to read, and not
    /// beyond the next deadline. Notes who has become ready.
    fn wait(&mut self, events: &mut Events, acceptable: Option<Instant>) -> io::Result<()> {
        let next = self.deadlines.first().map(|(time, _)| *time);
        let next = next.into_iter().chain(acceptable).min();
        let timeout = match self.readable.is_empty() {
            true => next.map(|time| time.saturating_duration_since(Instant::now())),
            false => Some(Duration::ZERO),
        };
        match self.poll.poll(events, timeout) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            result => result?,
        }
        self.now = Instant::now();
        for event in events.iter() {
            let id = event.token().0 as Id;
            let Some(client) = self.clients.get_mut(&id) else {
                continue;
            };
            // An end or an error is seen by reading.
            if event.is_readable() || event.is_read_closed() || event.is_error() {
                self.readable.push(id);
            }
            if event.is_writable() && client.is_full {
                client.is_full = false;
                self.unwritten.push(id);
            }
        }
        self.readable.sort_unstable();
        self.readable.dedup();
        Ok(())
    }

    /// Accepts some clients; says when there may be more.
    fn accept(&mut self, listener: &mut TcpListener) -> Option<Instant> {
        for _ in 0..CLIENTS_A_TURN {
            match listener.accept() {
                Ok((stream, address)) => self.welcome(stream, address),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return None,
                Err(error) => {
                    cli::log!("cannot accept a client: {error}");
                    return Some(self.now + PAUSE); // do not spin
                }
            }
        }
        Some(self.now)
    }

    fn welcome(&mut self, mut stream: TcpStream, address: SocketAddr) {
        if self.clients.len() >= self.limits.max_clients {
            cli::log!("{address} turned away: {}", Refusal::Full);
            // The connection is new, so there is room for one line.
            let _ = stream.write_all(format!("! {}\n", Refusal::Full).as_bytes());
            let _ = stream.shutdown(Shutdown::Write);
            // Closing on bytes that were not read would be a reset.
            let _ = stream.read(&mut [0; 4096]);
            return;
        }
        let id = self.next_id;
        self.next_id += 1;
        let interest = Interest::READABLE | Interest::WRITABLE;
        let token = Token(id as usize);
        let registered = self.poll.registry().register(&mut stream, token, interest);
        if let Err(error) = stream.set_nodelay(true).and(registered) {
            cli::log!("{address} turned away: {error}");
            return;
        }
        cli::log!("{address} connected");
        let deadline = self.now + self.limits.name_timeout;
        self.deadlines.insert((deadline, id));
        self.room.arrive(id);
        let client = Client {
            stream,
            address,
            lines: Lines::new(self.limits.max_line),
            rate: Rate::new(self.limits.max_rate, self.now),
            outbox: VecDeque::new(),
            due: 0,
            is_full: false,
            is_lost: false,
            state: State::Nameless,
            deadline,
            look_at: deadline,
        };
        self.clients.insert(id, client);
    }

    /// Reads what has come from those who are ready, some of it from each.
    fn read(&mut self) {
        let mut packet = [0; PACKET];
        'clients: for id in std::mem::take(&mut self.readable) {
            for _ in 0..PACKETS_A_TURN {
                let Some(client) = self.clients.get_mut(&id) else {
                    continue 'clients;
                };
                match client.stream.read(&mut packet) {
                    Ok(count) => {
                        // A panic ends the thread of one client, where there are threads.
                        // Here it would end the server.
                        let hear = AssertUnwindSafe(|| self.hear(id, &packet[..count]));
                        if panic::catch_unwind(hear).is_err() {
                            self.forget(id, Leaving::Left, "");
                        }
                        if count == 0 {
                            continue 'clients;
                        }
                    }
                    // Only after this is there news of this client again.
                    Err(error) if error.kind() == ErrorKind::WouldBlock => continue 'clients,
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    Err(error) => self.forget(id, Leaving::Left, &format!(": {error}")),
                }
            }
            self.readable.push(id); // there may be more
        }
    }

    /// A client has sent these bytes; none stand for the end of its stream.
    fn hear(&mut self, id: Id, bytes: &[u8]) {
        let client = self.client(id);
        if !matches!(client.state, State::Nameless | State::InRoom) {
            if bytes.is_empty() {
                client.state = State::Ended;
                self.unwritten.push(id);
            }
            return;
        }
        // Taken out for the moment: what one client says concerns the others as well.
        let mut lines = std::mem::replace(&mut client.lines, Lines::new(0));
        for line in lines.feed(bytes) {
            let Ok(line) = line else {
                return self.put_out(id, Refusal::LineTooLong(self.limits.max_line));
            };
            let now = self.now;
            if !self.client(id).rate.allows_a_line(now) {
                return self.put_out(id, Refusal::TooFast(self.limits.max_rate));
            }
            self.say(id, &line);
            let most = self.most();
            if self.client(id).is_too_slow(most) {
                return self.forget(id, Leaving::TooSlow, ""); // it does not read our answers
            }
        }
        match bytes.is_empty() {
            true => self.leave(id, State::Ended, "", "", self.limits.idle_timeout),
            false => self.client(id).lines = lines,
        }
    }

    /// A client has sent a line.
    fn say(&mut self, id: Id, line: &str) {
        cli::panic_if_told(line); // a drill: see lesson 04
        if self.client(id).state == State::Nameless {
            self.deliver(); // who joins hears only what is said from then on
        }
        let Outcome { to_self, to_others } = self.room.hear(id, line);
        if let Some(line) = to_self {
            self.push(id, &line);
        }
        if let Some(line) = to_others {
            self.batch.push(id, &line);
        }
        if self.room.name(id).is_some() {
            self.client(id).state = State::InRoom;
            self.set_deadline(id, self.limits.idle_timeout);
        }
    }

    /// Tells a client why it is put out, after all else that is due to it.
    fn put_out(&mut self, id: Id, refusal: Refusal) {
        let (why, last_word) = (format!(": {refusal}"), format!("! {refusal}\n"));
        self.leave(id, State::Leaving, &why, &last_word, FAREWELL);
    }

    /// A client leaves the room. It gets what is due, this last word, and the end, if it
    /// takes them in time.
    fn leave(&mut self, id: Id, state: State, why: &str, last_word: &str, time: Duration) {
        self.deliver();
        let Some(client) = self.clients.get_mut(&id) else {
            return; // it was too slow even for that
        };
        cli::log!("{} left{why}", client.address);
        client.push(Bytes::copy_from_slice(last_word.as_bytes()));
        client.state = state;
        self.set_deadline(id, time);
        self.unwritten.push(id);
        self.announce(id, Leaving::Left);
    }

    /// A client has so much time from now on. To put it off costs nothing: the entry remains
    /// where it is until somebody looks at it.
    fn set_deadline(&mut self, id: Id, time: Duration) {
        let deadline = self.now + time;
        let client = self.client(id);
        client.deadline = deadline;
        let old = client.look_at;
        if deadline < old {
            client.look_at = deadline;
            self.deadlines.remove(&(old, id));
            self.deadlines.insert((deadline, id));
        }
    }

    /// A connection is lost, or over.
    fn forget(&mut self, id: Id, leaving: Leaving, why: &str) {
        if let Some(client) = self.clients.remove(&id) {
            self.deadlines.remove(&(client.look_at, id));
            if matches!(client.state, State::Nameless | State::InRoom) {
                cli::log!("{} left{why}", client.address);
            }
            self.announce(id, leaving);
        }
    }

    fn announce(&mut self, id: Id, leaving: Leaving) {
        if let Some(line) = self.room.leave(id, leaving).to_others {
            self.batch.push(id, &line);
        }
    }

    fn look_at_the_clock(&mut self) {
        while let Some(&(time, id)) = self.deadlines.first()
            && time <= self.now
        {
            self.deadlines.pop_first();
            let client = self.client(id);
            // Where it belongs, if it has been put off meanwhile.
            client.look_at = client.deadline;
            let (deadline, state) = (client.deadline, client.state);
            self.deadlines.insert((deadline, id));
            match state {
                _ if deadline > self.now => {}
                State::Nameless => self.put_out(id, Refusal::NoName(self.limits.name_timeout)),
                State::InRoom => self.put_out(id, Refusal::Idle(self.limits.idle_timeout)),
                _ => self.forget(id, Leaving::Left, ""),
            }
        }
    }

    /// Sends what the turn has brought. That somebody is gone may be found out only now,
    /// and is announced as well.
    fn send(&mut self) {
        while !(self.batch.text.is_empty() && self.unwritten.is_empty()) {
            self.deliver();
            self.write();
        }
    }

    /// Puts the batch into the outboxes of all who are in the room. Whoever's outbox is
    /// too full then is put out, which makes another batch.
    fn deliver(&mut self) {
        let most = self.most();
        while !self.batch.text.is_empty() {
            let text = self.batch.text.split().freeze();
            let all_own = std::mem::take(&mut self.batch.own);
            let mut too_slow = Vec::new();
            for (&id, client) in &mut self.clients {
                if client.state != State::InRoom {
                    continue;
                }
                if client.outbox.is_empty() {
                    self.unwritten.push(id);
                }
                let mut begin = 0;
                for (_, own) in all_own.iter().filter(|(speaker, _)| *speaker == id) {
                    client.push(part(&text, begin..own.start));
                    begin = own.end;
                }
                client.push(part(&text, begin..text.len()));
                if client.is_too_slow(most) {
                    too_slow.push(id);
                }
            }
            for id in too_slow {
                self.forget(id, Leaving::TooSlow, "");
            }
        }
    }

    /// Writes to each client what has gathered for it.
    fn write(&mut self) {
        for id in std::mem::take(&mut self.unwritten) {
            let Some(client) = self.clients.get_mut(&id) else {
                continue;
            };
            match client.write() {
                Ok(()) if client.state == State::Ended && client.outbox.is_empty() => {
                    self.forget(id, Leaving::Left, "");
                }
                Ok(()) => {}
                // What it has said before is still to be read, and then the end, or the error.
                Err(_) => {
                    client.give_up_writing();
                    self.readable.push(id);
                }
            }
        }
    }

    /// The orderly end, by a deadline.
    fn close(&mut self, grace: Duration) -> io::Result<()> {
        self.deliver();
        self.room = Room::new(); // nobody's leaving is announced any more
        for id in self.clients.keys().copied().collect::<Vec<_>>() {
            let client = &self.clients[&id];
            if matches!(client.state, State::Nameless | State::InRoom) {
                self.leave(id, State::Leaving, "", "* the server is closing\n", grace);
            }
        }
        self.send();
        let deadline = Instant::now() + grace;
        self.deadlines = BTreeSet::from([(deadline, 0)]);
        let mut events = Events::with_capacity(1024);
        while !self.clients.is_empty() && self.now < deadline {
            self.wait(&mut events, None)?;
            self.read();
            self.send();
        }
        Ok(())
    }

    /// A client that is known to be there.
    fn client(&mut self, id: Id) -> &mut Client {
        self.clients
            .get_mut(&id)
            .expect("it has not been forgotten")
    }

    /// Puts a line into one client's outbox.
    fn push(&mut self, id: Id, line: &str) {
        self.client(id)
            .push(Bytes::copy_from_slice(line.as_bytes()));
        self.unwritten.push(id);
    }

    /// How many bytes may wait in an outbox.
    fn most(&self) -> usize {
        OUTBOX.saturating_mul(self.limits.max_line)
    }
}

impl Batch {
    /// Adds a line that `id` does not get.
    fn push(&mut self, id: Id, line: &str) {
        let begin = self.text.len();
        self.text.extend_from_slice(line.as_bytes());
        match self.own.last_mut() {
            Some((last, own)) if *last == id => own.end = self.text.len(),
            _ => self.own.push((id, begin..self.text.len())),
        }
    }
}

/// A part of a batch, for an outbox. As long as somebody has a piece of it, all of the batch
/// stays in memory; so a small part is copied.
fn part(text: &Bytes, range: Range<usize>) -> Bytes {
    match 2 * range.len() < text.len() {
        true => Bytes::copy_from_slice(&text[range]),
        false => text.slice(range),
    }
}

impl Client {
    fn push(&mut self, part: Bytes) {
        if !part.is_empty() && !self.is_lost {
            self.due += PART + part.len();
            self.outbox.push_back(part);
        }
    }

    /// Whether more is due than may be, also after another try to write it: perhaps it was
    /// only our turn that was long. (An error shows again later.)
    fn is_too_slow(&mut self, most: usize) -> bool {
        self.due > most && {
            let _ = self.write();
            self.due > most
        }
    }

    /// The connection takes nothing any more.
    fn give_up_writing(&mut self) {
        self.is_lost = true;
        self.outbox.clear();
        self.due = 0;
    }

    /// Writes what is in the outbox, as far as the socket takes it.
    fn write(&mut self) -> io::Result<()> {
        while !self.outbox.is_empty() && !self.is_full {
            let written = match self.outbox.len() {
                1 => self.stream.write(&self.outbox[0]), // for all but who has just spoken
                _ => {
                    let mut slices = [IoSlice::new(&[]); 128];
                    let parts = slices.iter_mut().zip(&self.outbox);
                    let count = parts
                        .map(|(slice, part)| *slice = IoSlice::new(part))
                        .count();
                    self.stream.write_vectored(&slices[..count])
                }
            };
            match written {
                Ok(count) => self.has_taken(count),
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.is_full = true,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        if self.outbox.is_empty() && self.state == State::Leaving {
            self.state = State::HalfClosed;
            let _ = self.stream.shutdown(Shutdown::Write); // an error: it has gone already
        }
        Ok(())
    }

    /// The socket has taken so many bytes of what is in the outbox.
    fn has_taken(&mut self, mut count: usize) {
        self.due -= count;
        while let Some(part) = self.outbox.front_mut()
            && count > 0
        {
            let taken = count.min(part.len());
            part.advance(taken);
            count -= taken;
            if part.is_empty() {
                self.due -= PART;
                self.outbox.pop_front();
            }
        }
    }
}
