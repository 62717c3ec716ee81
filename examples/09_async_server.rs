//! Stage 09, async: the same room on tasks.
//!
//! Run it:  cargo run --example 09_async_server
//! Read:    lessons/09_async.md
//! New:     a task for each client: it reads like a thread, and costs as little as the
//!          state machine of stage 08, which the compiler now writes. To give something up
//!          is to drop it.
//! Broken:  nothing on the wire; but people still type into a terminal.

use std::borrow::Cow;
use std::collections::HashMap;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use clap::Parser;
use socket_stages::limits::{Limits, Rate, Refusal};
use socket_stages::lines::{Lines, TooLong};
use socket_stages::room::{Id, Leaving, Line, Outcome, Room};
use socket_stages::{cli, log};
use tokio::io::AsyncWriteExt;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::sync::mpsc::{self, Receiver, Sender, error::TrySendError};
use tokio::task::{self, JoinSet};
use tokio::time::{self, Instant};

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

/// How many packets of lines may wait for a client before it is put out; or, if that is
/// more, as many as there may be clients: all may come at once, and are announced.
const OUTBOX: usize = 1024;

/// How many bytes leave in one write, or a line more.
const GATHERED: usize = 64 * 1024;

/// How long a client that has been put out may take to read the reason.
const FAREWELL: Duration = Duration::from_secs(1);

/// The room, and each client's outbox and what cuts it off. One lock protects both and,
/// with them, the order. Nobody holds it across an `await`.
#[derive(Default)]
struct Chat {
    closing: bool,
    room: Room,
    clients: HashMap<Id, (Sender<Line>, Arc<Notify>)>,
}

// All tasks on one thread: what they do is too little to share it out among more.
#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), cli::Failure> {
    let args = Args::parse();
    let listener = cli::bind(&args.listen)?;
    let limits = args.limits.within_the_systems();
    listener.set_nonblocking(true)?;
    let listener = TcpListener::from_std(listener)?;
    let chat = Arc::new(Mutex::new(Chat::default()));
    let mut clients = JoinSet::new();

    let closing = Arc::new(Notify::new());
    let interrupted = Arc::clone(&closing);
    cli::on_interrupt(move || interrupted.notify_one())?;

    for id in 1.. {
        // 1. Wait for a client, or for the end; meanwhile, take note of tasks that ended.
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = clients.join_next() => continue, // its panic, if any, has been printed
            () = closing.notified() => break,
        };
        let (stream, address) = match accepted {
            Ok(client) => client,
            Err(error) => {
                cli::log!("cannot accept a client: {error}");
                time::sleep(Duration::from_millis(100)).await; // do not spin
                continue;
            }
        };

        // 2. Only so many may be here at a time.
        while clients.try_join_next().is_some() {}
        if clients.len() >= limits.max_clients {
            cli::log!("{address} turned away: {}", Refusal::Full);
            turn_away(&stream);
            continue;
        }

        // 3. Give it a task of its own, which shares the room.
        let chat = Arc::clone(&chat);
        clients.spawn(async move {
            match serve(stream, address, id, &chat, limits).await {
                Ok(()) => cli::log!("{address} left"),
                Err(error) => cli::log!("{address} left: {error}"),
            }
        });
    }

    // 4. Wait until all tasks have ended. Who is still there when the grace is over is cut
    //    off: to stop a task is to drop it, with its connection.
    drop(listener);
    lock(&chat).close();
    let all_ended = async { while clients.join_next().await.is_some() {} };
    let _ = time::timeout(Duration::from_secs_f64(args.grace), all_ended).await;
    clients.shutdown().await;
    cli::log!("closed");
    log::flush();
    Ok(())
}

/// Says why, without waiting: the connection is new, so there is room for one line.
fn turn_away(stream: &TcpStream) {
    let _ = stream.try_write(format!("! {}\n", Refusal::Full).as_bytes());
    // Closing on bytes that were not read would be a reset: its name may be here already.
    let _ = stream.try_read(&mut [0; 4096]);
}

/// Serves one client: reads and writes at the same time, in one task.
async fn serve(
    mut stream: TcpStream,
    address: SocketAddr,
    id: Id,
    chat: &Mutex<Chat>,
    limits: Limits,
) -> io::Result<()> {
    // Each line leaves at once, without waiting for acknowledgements (lesson 03).
    stream.set_nodelay(true)?;
    let (reading, writing) = stream.split();
    let (outbox, lines) = mpsc::channel(OUTBOX.max(limits.max_clients));
    let cut_off = Arc::new(Notify::new());
    let mut writer = pin!(write_lines(writing, lines, chat));

    if !lock(chat).arrive(id, outbox, Arc::clone(&cut_off)) {
        return Ok(()); // too late: the server is closing
    }
    // 5. The client leaves the room when this is dropped, in whatever way the task ends.
    let presence = Presence { id, chat };
    cli::log!("{address} connected");
    let mut hearing = pin!(hear_lines(&reading, id, chat, limits));
    let refusal = tokio::select! {
        refusal = &mut hearing => refusal?,
        written = &mut writer => {
            match written {
                // The server is closing, and then the client closes too.
                Ok(()) => forget_the_rest(&reading).await,
                // The connection is lost, but what was said before is still to be heard.
                Err(_) => drop(hearing.await?),
            }
            return Ok(());
        }
        () = cut_off.notified() => return Ok(()), // it was too slow
    };
    if let Some(refusal) = refusal {
        lock(chat).tell(id, refusal);
    }
    drop(presence);

    // 6. Its outbox is gone: the writer ends as soon as what was in it is written, if that
    //    does not take too long.
    let (time, rest) = match refusal {
        Some(_) => (FAREWELL, Some(forget_the_rest(&reading))),
        None => (limits.idle_timeout, None),
    };
    let both = async {
        let written = writer.await;
        if let Some(rest) = rest {
            rest.await;
        }
        written
    };
    let written = time::timeout(time, both).await;
    match refusal {
        Some(refusal) => Err(refusal.into()),
        None => written.unwrap_or(Ok(())),
    }
}

/// Passes on what a client says, until it leaves (`None`) or goes beyond a limit.
async fn hear_lines(
    me: &ReadHalf<'_>,
    id: Id,
    chat: &Mutex<Chat>,
    limits: Limits,
) -> io::Result<Option<Refusal>> {
    let mut lines = Lines::new(limits.max_line);
    let mut rate = Rate::new(limits.max_rate, Instant::now().into());
    let mut silence = Refusal::NoName(limits.name_timeout);
    let mut deadline = Instant::now() + limits.name_timeout;
    loop {
        // 7. Wait for what the client sends, until the deadline. To give up waiting loses
        //    nothing: nothing has been read yet.
        if time::timeout_at(deadline, me.readable()).await.is_err() {
            return Ok(Some(silence));
        }
        // 8. Pass on the lines that are now complete. (In a block of its own: what is there
        //    at an `await` takes memory for as long as the client is silent.)
        let (count, heard) = {
            let mut packet = [0; 4096];
            let count = match me.try_read(&mut packet) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => continue,
                result => result?,
            };
            let heard = lines.feed(&packet[..count]);
            (count, lock(chat).hear_lines(id, heard, &mut rate, limits))
        };
        match heard {
            Err(refusal) => return Ok(Some(refusal)),
            Ok(_) if count == 0 => return Ok(None), // the end of the stream
            // Refused names do not put off the deadline for a name.
            Ok(false) => {}
            Ok(true) => {
                silence = Refusal::Idle(limits.idle_timeout);
                deadline = Instant::now() + limits.idle_timeout;
            }
        }
        // 9. The others' turn: if there is always more to read, nothing above ever waits.
        task::yield_now().await;
    }
}

/// Reads what a client that was put out still sends, and forgets it. To close on bytes
/// that were not read would be a reset, and a reset may overtake the reason.
async fn forget_the_rest(me: &ReadHalf<'_>) {
    while me.readable().await.is_ok() {
        let result = me.try_read(&mut [0; 4096]);
        match result {
            Ok(0) => return,
            Err(error) if error.kind() != ErrorKind::WouldBlock => return,
            _ => task::yield_now().await,
        }
    }
}

/// Somebody's being here. When it is dropped, in whatever way the task ends, the client
/// leaves, and the others are told once.
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

/// Takes the lock, for no longer than it takes to fill some outboxes. A task that panicked
/// while it held it has "poisoned" it; but the room is changed in one go, before anything
/// is sent, so it is in order.
fn lock(chat: &Mutex<Chat>) -> MutexGuard<'_, Chat> {
    chat.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Chat {
    /// False when the server is closing.
    fn arrive(&mut self, id: Id, outbox: Sender<Line>, cut_off: Arc<Notify>) -> bool {
        if !self.closing {
            self.room.arrive(id);
            self.clients.insert(id, (outbox, cut_off));
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
                Ok(_) if !rate.allows_a_line(Instant::now().into()) => {
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
                    // Of one whose writer has ended, the task is about to end as well.
                    Some(Ok(()) | Err(TrySendError::Closed(_))) | None => {}
                }
            }
            for id in too_slow {
                if let Some((_, cut_off)) = self.clients.remove(&id) {
                    cut_off.notify_one();
                }
                to_send.push((id, self.room.leave(id, Leaving::TooSlow)));
            }
        }
    }
}

/// Waits for a line, and writes it with all the others that have gathered meanwhile.
/// Ends when the outbox is gone and all that was in it has been written.
async fn write_lines(
    mut stream: WriteHalf<'_>,
    mut outbox: Receiver<Line>,
    chat: &Mutex<Chat>,
) -> io::Result<()> {
    while let Some(first) = outbox.recv().await {
        let mut gathered = String::from(&*first);
        while gathered.len() < GATHERED
            && let Ok(line) = outbox.try_recv()
        {
            gathered += &line;
        }
        stream.write_all(gathered.as_bytes()).await?;
    }
    if lock(chat).closing {
        stream.write_all(b"* the server is closing\n").await?;
    }
    // Half-close: a client that sees the end closes too, and then the reader ends.
    stream.shutdown().await
}
