//! Stage 09, async: the same room on tasks.
//!
//! Run it:  cargo run --example 09_async_server
//! Read:    lessons/09_async.md
//! New:     a task for each client: it reads like a thread, and costs as little as the
//!          state machine of stage 08, which the compiler now writes. Dropping a future
//!          cancels it.
//! Broken:  nothing on the wire that we know of; but people still type into a terminal.

use std::borrow::Cow;
use std::collections::HashMap;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use clap::Parser;
use socket_stages::backlog::Backlog;
use socket_stages::cli;
use socket_stages::limits::{self, FAREWELL, Limits, PARTING, Rate, Refusal};
use socket_stages::lines::Lines;
use socket_stages::room::{Id, Leaving, Outcome, Room};
use tokio::io::AsyncWriteExt;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::{self, JoinSet};
use tokio::time::{self, Instant};

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

    #[command(flatten)]
    limits: Limits,
}

// All tasks run on one thread: what they do is too little to share it out among more.
#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), cli::Failure> {
    let args = Args::parse();
    let listener = cli::bind(&args.listen)?;
    listener.set_nonblocking(true)?;
    let listener = TcpListener::from_std(listener)?;
    let chat = Arc::new(Mutex::new(Chat::new(args.limits.max_backlog)));
    let closing = Arc::new(Notify::new());
    let interrupted = Arc::clone(&closing);
    cli::on_interrupt(move || interrupted.notify_one())?;
    let mut running = accept_all(&listener, &chat, &args, &closing).await;

    // Stop accepting, and wait until all sessions have ended. Clients that are still there
    // after the grace are cut off: `shutdown` drops their tasks, and so their connections.
    drop(listener);
    lock(&chat).close();
    let all_ended = async { while running.join_next().await.is_some() {} };
    let _ = time::timeout(args.grace, all_ended).await;
    running.shutdown().await;
    cli::log!("closed");
    socket_stages::log::flush();
    Ok(())
}

/// Gives each client a task of its own.
async fn accept_all(
    listener: &TcpListener,
    chat: &Arc<Mutex<Chat>>,
    args: &Args,
    closing: &Notify,
) -> JoinSet<()> {
    let limits = args.limits.within_the_systems();
    let mut running = JoinSet::new();
    for id in 1.. {
        // Accept, or take note of a task that has ended.
        let accepted = tokio::select! {
            accepted = accept(listener) => accepted,
            Some(_) = running.join_next() => continue, // a panic has been printed already
            () = closing.notified() => break,
        };
        let Some((stream, address)) = accepted else {
            continue;
        };
        // Places: only so many clients at a time.
        while running.try_join_next().is_some() {}
        if running.len() >= limits.max_clients {
            if let Ok(stream) = stream.into_std() {
                limits::turn_away(&stream, address);
            }
            continue;
        }
        // Start the client's task, and go back to `accept` at once.
        let session = Session {
            id,
            address,
            chat: Arc::clone(chat),
            limits,
        };
        running.spawn(session.start(stream));
    }
    running
}

/// Waits for a client. `None` if the system refuses, for example when it is out of
/// descriptors; the pause keeps the caller's loop from spinning.
async fn accept(listener: &TcpListener) -> Option<(TcpStream, SocketAddr)> {
    match listener.accept().await {
        Ok(client) => Some(client),
        Err(error) => {
            cli::log!("cannot accept a client: {error}");
            time::sleep(Duration::from_millis(100)).await;
            None
        }
    }
}

/// One connection, as its own task sees it.
struct Session {
    id: Id,
    address: SocketAddr,
    chat: Arc<Mutex<Chat>>,
    limits: Limits,
}

impl Session {
    /// The client's task.
    async fn start(self, stream: TcpStream) {
        match self.run(stream).await {
            Ok(()) => cli::log!("{} left", self.address),
            Err(error) => cli::log!("{} left: {error}", self.address),
        }
    }

    /// Serves the client: reads and writes at the same time, in one task, until the client
    /// leaves and all that is due to it is written.
    async fn run(&self, mut stream: TcpStream) -> io::Result<()> {
        // Send each line at once, without waiting for acknowledgements (lesson 03).
        stream.set_nodelay(true)?;
        let (reading, writing) = stream.split();
        let Some(client) = lock(&self.chat).arrive(self.id) else {
            return Ok(()); // too late: the server is closing
        };
        cli::log!("{} connected", self.address);
        let mut writer = pin!(self.write_lines(writing, &client.news));
        let mut reader = pin!(self.read_lines(&reading));
        tokio::select! {
            biased; // in this order, if several are ready
            () = client.cut_off.notified() => Ok(()), // it was too slow
            result = &mut reader => {
                lock(&self.chat).leave(self.id);
                self.let_go(result.is_ok(), writer, &reading).await;
                result
            }
            written = &mut writer => match written {
                // The server is closing, and then the client closes too.
                Ok(()) => {
                    forget_the_rest(&reading).await;
                    Ok(())
                }
                // The connection takes nothing more. Read what the client has said before.
                Err(_) => reader.await,
            },
        }
    }

    /// Passes on the client's lines until it stops sending.
    async fn read_lines(&self, stream: &ReadHalf<'_>) -> io::Result<()> {
        let mut lines = Lines::new(self.limits.max_line);
        let mut rate = Rate::new(self.limits.max_rate, Instant::now().into());
        let mut silence = Refusal::NoName(self.limits.name_timeout);
        let mut deadline = Instant::now() + self.limits.name_timeout;
        loop {
            // Time: wait for what the client sends, until the deadline. Nothing has been read
            // yet, so nothing is lost when the wait is cancelled.
            let readable = time::timeout_at(deadline, stream.readable()).await;
            if readable.is_err() {
                return self.refuse(silence);
            }
            match self.read_packet(stream, &mut lines, &mut rate)? {
                None => return Ok(()), // the end of the stream
                // Refused names do not put off the deadline for a name.
                Some(is_for_others) if !is_for_others => {}
                Some(_) => {
                    silence = Refusal::Idle(self.limits.idle_timeout);
                    deadline = Instant::now() + self.limits.idle_timeout;
                }
            }
            // Let the other tasks go on: if there is always more to read, nothing above waits.
            task::yield_now().await;
        }
    }

    /// Reads once, and passes on what has come. `None` is the end of the stream; otherwise,
    /// whether there was anything for the others. A function of its own, without an `await`:
    /// so the packet takes no memory while the client is silent.
    fn read_packet(
        &self,
        stream: &ReadHalf<'_>,
        lines: &mut Lines,
        rate: &mut Rate,
    ) -> io::Result<Option<bool>> {
        let mut packet = [0; 4096];
        let count = match stream.try_read(&mut packet) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Some(false)),
            result => result?,
        };
        // Length and rate: pass on the lines up to the first one beyond a limit.
        let mut said = Vec::new();
        let within_limits = lines.feed(&packet[..count]).try_for_each(|line| {
            let line = line?;
            rate.take(&line, Instant::now().into())?;
            said.push(line);
            Ok(())
        });
        let is_for_others = lock(&self.chat).hear(self.id, &said);
        within_limits.or_else(|refusal| self.refuse(refusal))?;
        Ok((count > 0).then_some(is_for_others))
    }

    /// Tells the client why it is disconnected, behind all that is due to it.
    fn refuse(&self, refusal: Refusal) -> io::Result<()> {
        let mut chat = lock(&self.chat);
        chat.backlog.tell(self.id, &format!("! {refusal}\n"));
        Err(refusal.into())
    }

    /// Gives the client time to take what is due to it. Then its connection is dropped.
    async fn let_go(&self, left: bool, writer: impl Future, stream: &ReadHalf<'_>) {
        let time = match left {
            true => PARTING,
            false => FAREWELL,
        };
        let all_due = async {
            writer.await;
            if !left {
                forget_the_rest(stream).await;
            }
        };
        let _ = time::timeout(time, all_due).await;
    }

    /// Waits for lines, and writes what has gathered. Ends when the client has left the chat,
    /// and all that is due to it is written.
    async fn write_lines(&self, mut stream: WriteHalf<'_>, news: &Notify) -> io::Result<()> {
        loop {
            let due = lock(&self.chat).backlog.due(self.id);
            if due.is_empty() {
                if !lock(&self.chat).clients.contains_key(&self.id) {
                    break;
                }
                news.notified().await;
                task::yield_now().await; // let the clients that speak go on: more lines gather
                continue;
            }
            match stream.try_write(&due) {
                Ok(count) => lock(&self.chat).backlog.taken(self.id, count),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    drop(due); // the backlog keeps it until the connection takes more
                    stream.writable().await?;
                }
                Err(error) => return Err(error),
            }
        }
        if lock(&self.chat).closing {
            stream.write_all(b"* the server is closing\n").await?;
        }
        // Half-close: a client that sees the end closes too, and then the reader ends.
        stream.shutdown().await
    }
}

/// However the task ends, the client leaves the chat.
impl Drop for Session {
    fn drop(&mut self) {
        let mut chat = lock(&self.chat);
        chat.leave(self.id);
        chat.backlog.forget(self.id);
    }
}

/// Reads and forgets what a client still sends. A close with unread bytes would be a reset,
/// which may overtake the reason.
async fn forget_the_rest(stream: &ReadHalf<'_>) {
    while stream.readable().await.is_ok() {
        let result = stream.try_read(&mut [0; 4096]);
        match result {
            Ok(0) => return,
            Err(error) if error.kind() != ErrorKind::WouldBlock => return,
            _ => task::yield_now().await,
        }
    }
}

/// Takes the lock, and never holds it across an `await`. A task that panicked while it held
/// the lock has "poisoned" it. The chat is in order all the same: `hear` and `leave` change
/// the room before they send.
fn lock(chat: &Mutex<Chat>) -> MutexGuard<'_, Chat> {
    chat.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The room, its clients, and what is due to them. One lock protects all and, with them, the
/// order: a line goes to everybody before the next line does.
struct Chat {
    /// Set once; no client arrives after that.
    closing: bool,
    room: Room,
    backlog: Backlog,
    clients: HashMap<Id, Arc<Client>>,
}

/// A client, as the others see it.
#[derive(Default)]
struct Client {
    /// Wakes its writer: there may be something due.
    news: Notify,
    /// To disconnect the client.
    cut_off: Notify,
}

impl Chat {
    /// An empty chat, in which each client may be so many bytes behind.
    fn new(max_backlog: usize) -> Self {
        Self {
            closing: false,
            room: Room::new(),
            backlog: Backlog::new(max_backlog),
            clients: HashMap::new(),
        }
    }

    /// A client has connected. `None` when the server is closing.
    fn arrive(&mut self, id: Id) -> Option<Arc<Client>> {
        if self.closing {
            return None;
        }
        self.room.arrive(id);
        self.backlog.arrive(id);
        Some(Arc::clone(self.clients.entry(id).or_default()))
    }

    /// Drops all clients: each writer ends as soon as what is due to its client is written.
    fn close(&mut self) {
        self.closing = true;
        self.room = Room::new(); // nothing more is said
        self.clients
            .drain()
            .for_each(|(_, client)| client.news.notify_one());
    }

    /// A client has sent lines: tells the room, and sends what the room answers, in one
    /// piece. False if there was nothing for the others.
    fn hear(&mut self, id: Id, lines: &[Cow<str>]) -> bool {
        lines.iter().for_each(|line| cli::panic_if_told(line)); // a drill: see lesson 04
        let outcome: Outcome = lines.iter().map(|line| self.room.hear(id, line)).collect();
        let is_for_others = outcome.to_others.is_some();
        self.send(outcome);
        is_for_others
    }

    /// A client has left: the others are told.
    fn leave(&mut self, id: Id) {
        if let Some(client) = self.clients.remove(&id) {
            client.news.notify_one(); // so that its writer ends
        }
        self.backlog.leave(id);
        let outcome = self.room.leave(id, Leaving::Left);
        self.send(outcome);
    }

    /// Adds each line to the backlog, and wakes the writers of its receivers. A client that is
    /// too far behind is disconnected, and the others are told in turn.
    fn send(&mut self, outcome: Outcome) {
        let mut outcomes = vec![outcome];
        while let Some(outcome) = outcomes.pop() {
            for id in self.backlog.add(&outcome) {
                if let Some(client) = self.clients.remove(&id) {
                    client.cut_off.notify_one();
                }
                outcomes.push(self.room.leave(id, Leaving::TooSlow));
            }
            match outcome.to_others {
                Some(_) => self
                    .clients
                    .values()
                    .for_each(|client| client.news.notify_one()),
                None => {
                    if let Some(client) = self.clients.get(&outcome.author) {
                        client.news.notify_one();
                    }
                }
            }
        }
    }
}
