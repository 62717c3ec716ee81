//! One thread for all: it waits until something is ready, and does what can be done at once.

use std::collections::HashMap;
use std::io::{self, ErrorKind, Read};
use std::net::{Shutdown, SocketAddr};
use std::panic::{self, AssertUnwindSafe};
use std::time::{Duration, Instant};

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use socket_stages::backlog::Backlog;
use socket_stages::cli;
use socket_stages::limits::{self, FAREWELL, Limits, PARTING, Refusal};
use socket_stages::room::{Id, Leaving, Outcome, Room};

use crate::client::{Client, State};

/// A token tells what has become ready. Every other one is the `Id` of a client.
const LISTENER: Token = Token(0);
pub const INTERRUPT: Token = Token(1);
const FIRST_CLIENT: Id = 2;

/// How many packets are read from one client, and how many clients are accepted, before it
/// is the others' turn.
const PACKETS_PER_TURN: usize = 4;
const CLIENTS_PER_TURN: usize = 64;

/// How many bytes are gathered in a turn before they are written.
const GATHERED: u64 = 64 * 1024;

/// All that the one thread has to remember.
pub struct EventLoop {
    pub poll: Poll,
    events: Events,
    limits: Limits,
    room: Room,
    backlog: Backlog,
    clients: HashMap<Id, Client>,
    next_id: Id,
    /// When to accept the clients that wait. `None` if none wait.
    accept_at: Option<Instant>,
    /// Clients from which more may be read.
    readable: Vec<Id>,
    /// The place in the backlog up to which the last `write` got.
    written: u64,
    /// The beginning of this turn.
    now: Instant,
}

impl EventLoop {
    pub fn new(listener: &mut TcpListener, limits: Limits) -> io::Result<Self> {
        let poll = Poll::new()?;
        let registry = poll.registry();
        registry.register(listener, LISTENER, Interest::READABLE)?;
        Ok(Self {
            poll,
            events: Events::with_capacity(1024),
            limits,
            room: Room::new(),
            backlog: Backlog::new(limits.max_backlog),
            clients: HashMap::new(),
            next_id: FIRST_CLIENT,
            accept_at: None,
            readable: Vec::new(),
            written: 0,
            now: Instant::now(),
        })
    }

    /// One turn: waits, and then does for each client what it is ready for.
    pub fn turn(&mut self, listener: &TcpListener) -> io::Result<()> {
        self.wait()?;
        self.accept(listener);
        self.read();
        self.look_at_the_clock();
        self.write();
        Ok(())
    }

    /// Waits for events: not beyond the next deadline, and not at all if there is still
    /// something to read.
    fn wait(&mut self) -> io::Result<()> {
        let deadlines = self.clients.values().map(|client| client.deadline);
        let next = deadlines.chain(self.accept_at).min();
        let timeout = match self.readable.is_empty() {
            true => next.map(|time| time.saturating_duration_since(Instant::now())),
            false => Some(Duration::ZERO),
        };
        match self.poll.poll(&mut self.events, timeout) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            result => result?,
        }
        self.now = Instant::now();
        for event in &self.events {
            let id = event.token().0 as Id;
            if event.token() == LISTENER {
                self.accept_at = self.accept_at.or(Some(self.now));
            } else if let Some(client) = self.clients.get_mut(&id) {
                // An end or an error is seen by reading.
                if event.is_readable() || event.is_read_closed() || event.is_error() {
                    self.readable.push(id);
                }
                client.is_full &= !event.is_writable();
            }
        }
        self.readable.sort_unstable();
        self.readable.dedup();
        Ok(())
    }

    /// Accepts some of the clients that wait.
    fn accept(&mut self, listener: &TcpListener) {
        if self.accept_at.is_none_or(|time| time > self.now) {
            return;
        }
        for _ in 0..CLIENTS_PER_TURN {
            match listener.accept() {
                Ok((stream, address)) => self.welcome(stream, address),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.accept_at = None;
                    return;
                }
                Err(error) => {
                    cli::log!("cannot accept a client: {error}");
                    self.accept_at = Some(self.now + Duration::from_millis(100)); // do not spin
                    return;
                }
            }
        }
    }

    /// A client has connected.
    fn welcome(&mut self, mut stream: TcpStream, address: SocketAddr) {
        // Places: only so many clients at a time.
        if self.clients.len() >= self.limits.max_clients {
            return limits::turn_away(&stream.into(), address);
        }
        let id = self.next_id;
        self.next_id += 1;
        let token = Token(id as usize);
        let interest = Interest::READABLE | Interest::WRITABLE;
        let registered = self.poll.registry().register(&mut stream, token, interest);
        // Send each line at once, without waiting for acknowledgements (lesson 03).
        if let Err(error) = stream.set_nodelay(true).and(registered) {
            cli::log!("{address} turned away: {error}");
            return;
        }
        cli::log!("{address} connected");
        self.room.arrive(id);
        self.backlog.arrive(id);
        let client = Client::new(stream, address, self.limits, self.now);
        self.clients.insert(id, client);
    }

    /// Reads what has come, some of it from each client.
    fn read(&mut self) {
        for id in std::mem::take(&mut self.readable) {
            if self.read_from(id) {
                self.readable.push(id);
            }
            if self.backlog.end() - self.written >= GATHERED {
                self.write();
            }
        }
    }

    /// Reads some packets from one client. False if there are no more for now.
    fn read_from(&mut self, id: Id) -> bool {
        let mut packet = [0; 4096];
        for _ in 0..PACKETS_PER_TURN {
            let Some(client) = self.clients.get_mut(&id) else {
                return false;
            };
            match client.stream.read(&mut packet) {
                Ok(count) => {
                    // A panic ends one client's thread, where there are threads. Here it
                    // would end the server.
                    let hear = AssertUnwindSafe(|| self.hear(id, &packet[..count]));
                    if panic::catch_unwind(hear).is_err() {
                        self.forget(id, Leaving::Left, "");
                    }
                    if count == 0 {
                        return false;
                    }
                }
                // Only after this does an event tell of more.
                Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
                Err(error) => self.forget(id, Leaving::Left, &format!(": {error}")),
            }
        }
        true
    }

    /// A client has sent these bytes. None stand for the end of its stream.
    fn hear(&mut self, id: Id, bytes: &[u8]) {
        let Some(client) = self.clients.get_mut(&id) else {
            return;
        };
        if client.state != State::Here {
            if bytes.is_empty() {
                client.state = State::Ended;
            }
            return;
        }
        // Length and rate: pass on the lines up to the first one beyond a limit.
        let mut said = Vec::new();
        let within_limits = client.lines.feed(bytes).try_for_each(|line| {
            let line = line?;
            client.rate.take(&line, self.now)?;
            said.push(line);
            Ok(())
        });
        said.iter().for_each(|line| cli::panic_if_told(line)); // a drill: see lesson 04
        let outcome: Outcome = said.iter().map(|line| self.room.hear(id, line)).collect();
        // Refused names do not put off the deadline for a name.
        if outcome.to_others.is_some() {
            client.silence = Refusal::Idle(self.limits.idle_timeout);
            client.deadline = self.now + self.limits.idle_timeout;
        }
        self.send(outcome);
        match within_limits {
            Err(refusal) => self.refuse(id, refusal),
            Ok(()) if bytes.is_empty() => self.leave(id, State::Ended, ""),
            Ok(()) => {}
        }
    }

    /// Tells a client why it is disconnected, behind all that is due to it.
    fn refuse(&mut self, id: Id, refusal: Refusal) {
        self.backlog.tell(id, &format!("! {refusal}\n"));
        self.leave(id, State::Leaving, &format!(": {refusal}"));
    }

    /// A client leaves the room: the others are told. It has some time to take what is due.
    fn leave(&mut self, id: Id, state: State, why: &str) {
        let Some(client) = self.clients.get_mut(&id) else {
            return;
        };
        cli::log!("{} left{why}", client.address);
        client.state = state;
        client.deadline = match state {
            State::Ended => self.now + PARTING,
            _ => self.now + FAREWELL,
        };
        self.backlog.leave(id);
        let outcome = self.room.leave(id, Leaving::Left);
        self.send(outcome);
    }

    /// A connection has ended: the others are told, unless they know already.
    fn forget(&mut self, id: Id, leaving: Leaving, why: &str) {
        if let Some(client) = self.clients.remove(&id) {
            if client.state == State::Here {
                cli::log!("{} left{why}", client.address);
            }
            self.backlog.forget(id);
            let outcome = self.room.leave(id, leaving);
            self.send(outcome);
        }
    }

    /// Adds what the room has answered to the backlog. A client that is too far behind is
    /// disconnected, and the others are told in turn.
    fn send(&mut self, outcome: Outcome) {
        let mut outcomes = vec![outcome];
        while let Some(outcome) = outcomes.pop() {
            for id in self.backlog.add(&outcome) {
                if let Some(client) = self.clients.remove(&id)
                    && client.state == State::Here
                {
                    cli::log!("{} left", client.address);
                }
                outcomes.push(self.room.leave(id, Leaving::TooSlow));
            }
        }
    }

    /// Time: disconnects the clients whose deadline is over.
    fn look_at_the_clock(&mut self) {
        let clients = self.clients.iter();
        let over = clients.filter(|(_, client)| client.deadline <= self.now);
        let over = over.map(|(&id, client)| (id, client.state, client.silence));
        for (id, state, silence) in over.collect::<Vec<_>>() {
            match state {
                State::Here => self.refuse(id, silence),
                State::Leaving | State::Ended => self.forget(id, Leaving::Left, ""),
            }
        }
    }

    /// Writes to each client what is due to it. If that ends a client, the others are told: then
    /// there is more to write.
    fn write(&mut self) {
        loop {
            self.written = self.backlog.end();
            let mut over = Vec::new();
            for (&id, client) in &mut self.clients {
                match client.write(id, &mut self.backlog) {
                    // Half-close: a client that sees the end closes too.
                    Ok(true) if client.state == State::Leaving => {
                        let _ = client.stream.shutdown(Shutdown::Write); // an error: gone already
                    }
                    Ok(true) if client.state == State::Ended => over.push(id),
                    Ok(_) => {}
                    // Read what it has said before. Then the read fails, or finds the end.
                    Err(_) if client.state == State::Here => self.readable.push(id),
                    Err(_) => over.push(id),
                }
            }
            over.into_iter()
                .for_each(|id| self.forget(id, Leaving::Left, ""));
            if self.written == self.backlog.end() {
                return;
            }
        }
    }

    /// The orderly end, by a deadline.
    pub fn close(&mut self, grace: Duration) -> io::Result<()> {
        let deadline = Instant::now() + grace;
        self.accept_at = None;
        self.room = Room::new(); // from now on, leaving is not announced
        for id in self.clients.keys().copied().collect::<Vec<_>>() {
            let client = self.clients.get(&id);
            if client.is_some_and(|client| client.state == State::Here) {
                self.backlog.tell(id, "* the server is closing\n");
                self.leave(id, State::Leaving, "");
            }
        }
        for client in self.clients.values_mut() {
            client.deadline = deadline;
        }
        self.write();
        while !self.clients.is_empty() && self.now < deadline {
            self.wait()?;
            self.read();
            self.write();
        }
        Ok(())
    }
}
