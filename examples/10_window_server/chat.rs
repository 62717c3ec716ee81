//! The chat half: the server of stage 07, which also tells the window what happens.
//! `git diff --no-index examples/07_limits_server.rs examples/10_window_server/chat.rs`
//! shows what is new. What the window asks of the chat is in `window.rs`.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender, TrySendError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use socket_stages::cli;
use socket_stages::limits::{self, FAREWELL, Limits, PARTING, Rate, Refusal};
use socket_stages::lines::Lines;
use socket_stages::outbox::{self, Outbox};
use socket_stages::room::{Id, Leaving, Line, Outcome, Room};

use super::Args;

/// Serves clients until the chat is closed.
pub fn run(listener: TcpListener, args: &Args, chat: &Arc<Mutex<Chat>>) {
    let running = accept_all(&listener, chat, args.limits.within_the_systems());

    // Stop accepting, and wait until all sessions have ended.
    drop(listener);
    wait_for_all(running, args.grace);
    cli::log!("closed");
    socket_stages::log::flush();
}

/// Gives each client a thread of its own.
fn accept_all(listener: &TcpListener, chat: &Arc<Mutex<Chat>>, limits: Limits) -> Vec<Running> {
    let mut running = Vec::new();
    for id in 1.. {
        // Accept.
        let accepted = accept(listener, chat);
        if lock(chat).closing {
            break;
        }
        running.retain(|one: &Running| !one.thread.is_finished());
        let Some((stream, address)) = accepted else {
            continue;
        };
        // Places: only so many clients at a time.
        if running.len() >= limits.max_clients {
            limits::turn_away(&stream, address);
            lock(chat).show(format!("! {address} turned away: {}\n", Refusal::Full).into());
            continue;
        }
        // Start the client's thread, and go back to `accept` at once.
        let session = Session {
            id,
            address,
            stream: Arc::new(stream),
            chat: Arc::clone(chat),
            limits,
        };
        let stream = Arc::downgrade(&session.stream);
        match session.start() {
            Ok(thread) => running.push(Running { thread, stream }),
            // There is no thread, and dropping the closure has closed the connection.
            Err(error) => lock(chat).report(&format!("{address} turned away: {error}")),
        }
    }
    running
}

/// Makes what closes the chat, and then wakes `run` from `accept` by a connection. That
/// takes a descriptor, and there may be no other: so it keeps one in reserve.
pub fn closer(listener: &TcpListener, chat: &Arc<Mutex<Chat>>) -> io::Result<Closer> {
    let (address, reserve) = (listener.local_addr()?, listener.try_clone()?);
    let chat = Arc::clone(chat);
    Ok(Box::new(move || {
        lock(&chat).close();
        drop(reserve);
        cli::knock(address);
    }))
}

/// See [`closer`].
pub type Closer = Box<dyn FnOnce() + Send>;

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
fn accept(listener: &TcpListener, chat: &Mutex<Chat>) -> Option<(TcpStream, SocketAddr)> {
    let report = |error: &io::Error| {
        lock(chat).report(&format!("cannot accept a client: {error}"));
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
    limits: Limits,
}

impl Session {
    /// Starts the client's thread.
    fn start(self) -> io::Result<JoinHandle<()>> {
        let client = thread::Builder::new().name("client".into());
        client.spawn(move || match self.run() {
            Ok(()) => cli::log!("{} left", self.address),
            Err(error) => lock(&self.chat).report(&format!("{} left: {error}", self.address)),
        })
    }

    /// Serves the client with two threads, until it leaves and the writer has ended.
    fn run(&self) -> io::Result<()> {
        // Send each line at once, without waiting for acknowledgements (lesson 03).
        self.stream.set_nodelay(true)?;
        let (outbox, lines) = outbox::bounded(self.limits.max_backlog);
        let (writing, written) = mpsc::channel();
        thread::scope(|scope| {
            let writer = thread::Builder::new().name("writer".into());
            writer.spawn_scoped(scope, || self.write_lines(lines, writing))?;
            let result = self.stay(outbox);
            self.let_go(result.is_ok(), &written);
            result
        })
    }

    /// Keeps the client in the chat for as long as it sends.
    fn stay(&self, outbox: Outbox) -> io::Result<()> {
        let client = Client {
            outbox,
            stream: Arc::clone(&self.stream),
            address: self.address,
            since: Instant::now(),
        };
        if !lock(&self.chat).arrive(self.id, client) {
            return Ok(()); // too late: the server is closing
        }
        // From here on, a `?` or a panic drops the guard: the client leaves the chat.
        let _presence = Presence(self);
        cli::log!("{} connected", self.address);
        self.read_lines()
    }

    /// Passes on the client's lines until it stops sending.
    fn read_lines(&self) -> io::Result<()> {
        let mut lines = Lines::new(self.limits.max_line);
        let mut rate = Rate::new(self.limits.max_rate, Instant::now());
        let mut silence = Refusal::NoName(self.limits.name_timeout);
        let mut deadline = Instant::now() + self.limits.name_timeout;
        let mut packet = [0; 4096];
        loop {
            // Time: wait for what the client sends, until the deadline.
            let Some(count) = self.read_by(deadline, &mut packet)? else {
                return self.refuse(silence);
            };
            // Length and rate: pass on the lines up to the first one beyond a limit.
            let mut said = Vec::new();
            let within_limits = lines.feed(&packet[..count]).try_for_each(|line| {
                let line = line?;
                rate.take(&line, Instant::now())?;
                said.push(line);
                Ok(())
            });
            // Refused names do not put off the deadline for a name.
            if lock(&self.chat).hear(self.id, &said) {
                silence = Refusal::Idle(self.limits.idle_timeout);
                deadline = Instant::now() + self.limits.idle_timeout;
            } else if lock(&self.chat).disconnected.contains(&self.id) {
                return Err(Refusal::Disconnected.into());
            }
            if count == 0 || within_limits.is_err() {
                return within_limits.or_else(|refusal| self.refuse(refusal));
            }
        }
    }

    /// Reads once. `None` if nothing has come by the deadline.
    fn read_by(&self, deadline: Instant, packet: &mut [u8]) -> io::Result<Option<usize>> {
        use ErrorKind::{Interrupted, TimedOut, WouldBlock};
        loop {
            let time = deadline.saturating_duration_since(Instant::now());
            if time.is_zero() {
                return Ok(None);
            }
            // An error (on macOS) means that the connection is closed: then no read waits.
            let _ = self.stream.set_read_timeout(Some(time));
            match (&*self.stream).read(packet) {
                // The time is over (the kind depends on the system), or a signal came.
                Err(error) if matches!(error.kind(), WouldBlock | TimedOut | Interrupted) => {}
                result => return result.map(Some),
            }
        }
    }

    /// Tells the client why it is disconnected, behind all that is due to it.
    fn refuse(&self, refusal: Refusal) -> io::Result<()> {
        if let Some(client) = lock(&self.chat).clients.get(&self.id) {
            let _ = client.outbox.try_send(format!("! {refusal}\n").into()); // full: not read
        }
        Err(refusal.into())
    }

    /// Gives the client time to take what is due to it, and then cuts it off.
    fn let_go(&self, left: bool, written: &Receiver<()>) {
        let time = match left {
            true => PARTING,
            false => FAREWELL,
        };
        let deadline = Instant::now() + time;
        if !left {
            // A close with unread bytes would be a reset, which may overtake the reason.
            while matches!(self.read_by(deadline, &mut [0; 4096]), Ok(Some(1..))) {}
        }
        let time = deadline.saturating_duration_since(Instant::now());
        if written.recv_timeout(time) == Err(RecvTimeoutError::Timeout) {
            let _ = self.stream.shutdown(Shutdown::Both); // wakes the writer
        }
    }

    /// Waits for a line, and writes it with the lines that have gathered behind it. Ends
    /// when the chat has dropped the outbox, and all that was in it is written.
    fn write_lines(&self, lines: outbox::Lines, _written: Sender<()>) {
        while let Ok(line) = lines.recv() {
            thread::yield_now(); // let the clients that speak go on: more lines gather
            let mut gathered = String::from(&*line);
            for line in lines.try_iter() {
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
pub fn lock(chat: &Mutex<Chat>) -> MutexGuard<'_, Chat> {
    chat.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The room and its clients. One lock protects both and, with them, the order: a line
/// goes to everybody before the next line does.
#[derive(Default)]
pub struct Chat {
    /// Set once; no client arrives after that.
    closing: bool,
    pub room: Room,
    pub clients: HashMap<Id, Client>,
    /// Clients that the window has disconnected. Their own threads forget them here.
    pub disconnected: HashSet<Id>,
    /// The window's outbox, if there is a window. When it is full, lines are counted.
    pub window: Option<Outbox>,
    pub missed: usize,
}

/// A client, as the others see it.
pub struct Client {
    /// Lines on their way to the client. Once it is dropped, the writer ends.
    pub outbox: Outbox,
    /// To disconnect the client.
    pub stream: Arc<TcpStream>,
    pub address: SocketAddr,
    pub since: Instant,
}

impl Chat {
    /// A client has connected. False when the server is closing.
    fn arrive(&mut self, id: Id, client: Client) -> bool {
        if self.closing {
            return false;
        }
        self.room.arrive(id);
        self.clients.insert(id, client);
        self.show(Line::default()); // the window draws its list of clients anew
        true
    }

    /// Drops all outboxes: each writer ends as soon as what was in its outbox is written.
    pub fn close(&mut self) {
        self.closing = true;
        self.window = None;
        self.clients.clear();
    }

    /// As before, for several lines in one piece. False if nothing was for the others.
    fn hear(&mut self, id: Id, lines: &[Cow<str>]) -> bool {
        lines.iter().for_each(|line| cli::panic_if_told(line)); // a drill: see lesson 04
        let outcome: Outcome = lines.iter().map(|line| self.room.hear(id, line)).collect();
        let is_for_others = outcome.to_others.is_some();
        self.send(outcome);
        is_for_others
    }

    /// A client has left: the others are told.
    fn leave(&mut self, id: Id) {
        self.clients.remove(&id);
        self.disconnected.remove(&id);
        let outcome = self.room.leave(id, Leaving::Left);
        self.send(outcome);
    }

    /// Puts each line into the outboxes of its receivers, and never waits. A client whose
    /// outbox is full is disconnected, and the others are told in turn.
    pub fn send(&mut self, outcome: Outcome) {
        let mut outcomes = vec![outcome];
        while let Some(outcome) = outcomes.pop() {
            self.show(outcome.to_others.clone().unwrap_or_default());
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
