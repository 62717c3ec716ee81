//! Stage 10, window: the server of stage 07, with a window for whoever runs it.
//!
//! Run it:  cargo run --features window --example 10_window_server
//! Read:    lessons/10_window.md
//! New:     the window is one more reader, with an outbox of its own, and nobody waits for
//!          it; it answers everybody or one client, puts clients out, stops and starts.
//! Broken:  two threads for each client, as in stage 07.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{
    self, Receiver, RecvTimeoutError, Sender, SyncSender, TryRecvError, TrySendError,
};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use clap::Parser;
use socket_stages::limits::{Limits, Rate, Refusal};
use socket_stages::lines::{Lines, TooLong, printable};
use socket_stages::room::{Id, Leaving, Line, Outcome, Room};
use socket_stages::{cli, log};
use socket_stages_window as window;
use window::eframe;
use window::eframe::egui::{self, ViewportCommand};
use window::server::{Present, Shown, Wish};

/// A chat: the first line that a client sends is its name.
#[derive(Debug, Clone, Parser)]
#[command(version, after_help = cli::SERVER_HELP)]
pub struct Args {
    #[command(flatten)]
    listen: cli::Listen,

    /// Seconds that clients have, after Ctrl-C, to read what is still due
    #[arg(long, value_name = "SECS", default_value_t = 2.0, allow_negative_numbers = true,
        value_parser = cli::seconds)]
    grace: f64,

    #[command(flatten)]
    limits: Limits,

    /// Serve without a window, where there is no display
    #[arg(long)]
    no_window: bool,
}

/// How many events may wait for the window.
const WAITING: usize = 64;

/// How long the window may take, in each frame, to take in what has come.
const INTAKE: Duration = Duration::from_millis(5);

/// How soon the window shows what has come: 60 frames a second, not one for each line.
const FRAME: Duration = Duration::from_millis(16);

/// How many packets of lines may wait for a client before it is put out.
const OUTBOX: usize = 512;

/// How many bytes leave in one write, or a line more.
const GATHERED: usize = 64 * 1024;

/// How long a client that has been put out may take to read the reason.
const FAREWELL: Duration = Duration::from_secs(1);

/// The room, and each client's outbox and connection. One lock protects both and, with
/// them, the order: one line goes to everybody before the next one does. Nobody waits for
/// anything while holding it, so the window may take it too.
#[derive(Default)]
struct Chat {
    closing: bool,
    room: Room,
    clients: HashMap<Id, Client>,
    /// Who has been put out, and whose reader has not ended yet.
    put_out: HashSet<Id>,
    /// The window's outbox, if there is a window, and how many lines it had no room for.
    window: Option<SyncSender<Line>>,
    missed: usize,
    /// Where we listen, and a descriptor in reserve to knock there.
    door: Option<(SocketAddr, TcpListener)>,
}

struct Client {
    outbox: SyncSender<Line>,
    stream: Arc<TcpStream>,
    address: SocketAddr,
    since: Instant,
}

fn main() -> Result<(), cli::Failure> {
    let args = Args::parse();
    if args.no_window {
        let chat = Arc::new(Mutex::new(Chat::default()));
        let shared = Arc::clone(&chat);
        cli::on_interrupt(move || stop(&shared))?;
        run(&args, &chat, |_| {})?;
    } else {
        window::open("Chat server", move |context| {
            close_on_interrupt(context);
            Window::new(args, context)
        })?;
    }
    cli::log!("closed");
    log::flush();
    Ok(())
}

/// Ctrl-C closes the window, and that ends everything in order.
fn close_on_interrupt(context: &egui::Context) {
    let context = context.clone();
    let handled = cli::on_interrupt(move || {
        context.send_viewport_cmd(ViewportCommand::Close);
        context.request_repaint();
    });
    if let Err(error) = handled {
        cli::log!("{error:#}: close the window instead");
    }
}

/// What the threads tell the window.
enum Event {
    /// Clients can connect.
    Listening(SocketAddr),
    /// Everybody has heard this. (Empty: somebody has come or gone without a word.)
    Line(Line),
    /// No client is left; or none could come, for this reason.
    Ended(Option<String>),
}

/// The window's thread: it shows what has happened, does what is wished for, and waits for
/// nobody.
pub struct Window {
    args: Args,
    shown: Shown,
    service: Option<Service>,
    closing: bool,
    context: egui::Context,
}

/// The window's end of a server that runs, whose threads are at the other.
struct Service {
    chat: Arc<Mutex<Chat>>,
    events: Receiver<Event>,
    threads: [JoinHandle<()>; 2],
    why: Option<String>,
}

impl Window {
    /// A window, and a server that starts at once.
    pub fn new(args: Args, context: &egui::Context) -> Self {
        let mut window = Self {
            shown: Shown::new(&args.listen.host, args.listen.port, args.limits.max_line),
            args,
            service: None,
            closing: false,
            context: context.clone(),
        };
        window.start();
        window
    }

    pub fn shown(&self) -> &Shown {
        &self.shown
    }

    /// 1. Take what the threads have handed over: no more than is there, and no more than a
    ///    frame has time for.
    fn take_events(&mut self) {
        let deadline = Instant::now() + INTAKE;
        while Instant::now() < deadline {
            let Some(service) = &mut self.service else {
                return;
            };
            match service.events.try_recv() {
                Ok(Event::Listening(address)) => self.shown.listening(address),
                Ok(Event::Line(lines)) => self.shown.hears(&lines),
                Ok(Event::Ended(why)) => service.why = why,
                Err(TryRecvError::Empty) => return,
                // All threads have ended, so this does not wait.
                Err(TryRecvError::Disconnected) => self.end(),
            }
        }
        self.context.request_repaint(); // there may be more
    }

    /// 2. Do what the person in front of the window wants.
    fn fulfil(&mut self, wish: Wish) {
        match (wish, &self.service) {
            (Wish::Start { host, port }, None) => {
                self.args.listen = cli::Listen { host, port };
                self.start();
            }
            (Wish::Stop, Some(_)) => self.stop(),
            (Wish::Answer { to, text }, Some(service)) => {
                if lock(&service.chat).answer(to, &text) {
                    self.shown.answered(&text);
                } else {
                    self.shown.could_not("gone: what you typed is kept");
                }
            }
            (Wish::PutOut(id), Some(service)) => {
                let stream = lock(&service.chat).put_out(id);
                stream.into_iter().for_each(cut_off_soon);
            }
            _ => {} // it is just ending
        }
    }

    /// Starts the thread that accepts, and the one that wakes the window.
    fn start(&mut self) {
        let (events, happening) = mpsc::sync_channel(WAITING);
        let (outbox, lines) = mpsc::sync_channel(OUTBOX);
        let chat = Arc::new(Mutex::new(Chat {
            window: Some(outbox),
            ..Chat::default()
        }));
        let [ours, theirs] = [&self.context, &self.context].map(egui::Context::clone);
        let telling = events.clone();
        let messenger = thread::Builder::new()
            .name("messenger".into())
            .spawn(move || hand_over(&lines, telling, &theirs));
        let (shared, args) = (Arc::clone(&chat), self.args.clone());
        let accept = thread::Builder::new().name("accept".into()).spawn(move || {
            let listening = |address| {
                let _ = events.send(Event::Listening(address)); // an error: the window has gone
                ours.request_repaint_after(FRAME);
            };
            let result = run(&args, &shared, listening);
            lock(&shared).close(); // if it could not even listen
            let _ = events.send(Event::Ended(result.err().map(|error| format!("{error:#}"))));
            drop(events);
            ours.request_repaint();
        });
        match (messenger, accept) {
            (Ok(messenger), Ok(accept)) => {
                self.shown.starting();
                self.service = Some(Service {
                    chat,
                    events: happening,
                    threads: [messenger, accept],
                    why: None,
                });
            }
            // The closures, and so the ends of the channels, are gone: what was started ends.
            (Err(error), _) | (_, Err(error)) => {
                self.shown
                    .could_not(format!("cannot start a thread: {error}"));
            }
        }
    }

    /// Knocking may take a moment, so a thread of its own does it.
    fn stop(&mut self) {
        let Some(service) = &self.service else {
            return;
        };
        let chat = Arc::clone(&service.chat);
        let stopping = thread::Builder::new()
            .name("stop".into())
            .spawn(move || stop(&chat));
        match stopping {
            Ok(_) => self.shown.closing(), // nobody joins it: `accept` ends after it
            Err(error) => self
                .shown
                .could_not(format!("cannot start a thread: {error}")),
        }
    }

    fn end(&mut self) {
        let Some(service) = self.service.take() else {
            return;
        };
        for thread in service.threads {
            let _ = thread.join(); // its panic, if any, has been printed
        }
        // What is an option at the command line is a field here.
        let why = service
            .why
            .map(|why| why.replace(" with --port", "").replace(" with --host", ""));
        self.shown.stopped(why);
    }

    /// 3. Closing the window: stop first, and close when that is done.
    fn keep_closing(&mut self, context: &egui::Context) {
        let asked = context.input(|input| input.viewport().close_requested());
        if asked && !self.closing {
            self.closing = true; // asked a second time, it does not wait
            self.stop();
            if self.service.is_some() {
                context.send_viewport_cmd(ViewportCommand::CancelClose);
            }
        } else if self.closing && self.service.is_none() {
            context.send_viewport_cmd(ViewportCommand::Close);
        }
    }
}

impl eframe::App for Window {
    /// Before each frame; also when the window is hidden, so that nothing piles up.
    fn logic(&mut self, context: &egui::Context, _frame: &mut eframe::Frame) {
        self.take_events();
        if let Some(service) = &self.service {
            // Who is here is copied, not told: so it is right, whatever was missed.
            let mut chat = lock(&service.chat);
            self.shown.are_present(chat.present());
            self.shown.has_missed(std::mem::take(&mut chat.missed));
        }
        self.keep_closing(context);
    }

    fn ui(&mut self, ui: &mut egui::Ui, _frame: &mut eframe::Frame) {
        if let Some(wish) = self.shown.ui(ui) {
            self.fulfil(wish);
        }
    }
}

/// The messenger's thread: what a writer is to a client, it is to the window. It may wait;
/// and since it holds no lock, it may wake the window, which has a lock of its own.
fn hand_over(outbox: &Receiver<Line>, events: SyncSender<Event>, window: &egui::Context) {
    for line in outbox {
        if events.send(Event::Line(line)).is_err() {
            break; // the window has gone
        }
        window.request_repaint_after(FRAME);
    }
    drop(events);
    window.request_repaint();
}

/// Serves clients until the chat is closed, and ends in order.
fn run(
    args: &Args,
    chat: &Arc<Mutex<Chat>>,
    listening: impl FnOnce(SocketAddr),
) -> anyhow::Result<()> {
    let listener = cli::bind(&args.listen)?;
    let limits = args.limits.within_the_systems();
    let address = listener.local_addr()?;
    lock(chat).door = Some((address, listener.try_clone()?));
    listening(address);
    let (alive, all_ended) = mpsc::channel::<()>();
    let mut clients: Vec<(JoinHandle<()>, Weak<TcpStream>)> = Vec::new();

    for id in 1.. {
        // 4. Wait for a client, or for the end.
        if lock(chat).closing {
            break;
        }
        let accepted = listener.accept();
        if lock(chat).closing {
            break;
        }
        let (stream, address) = match accepted {
            Ok(client) => client,
            Err(error) => {
                tell(chat, &format!("cannot accept a client: {error}"));
                thread::sleep(Duration::from_millis(100)); // do not spin
                continue;
            }
        };

        // 5. Only so many may be here at a time.
        clients.retain(|(client, _)| !client.is_finished());
        if clients.len() >= limits.max_clients {
            tell(chat, &format!("{address} turned away: {}", Refusal::Full));
            turn_away(&stream);
            continue;
        }

        // 6. Give it a thread of its own, which shares the room.
        let (shared, alive) = (Arc::clone(chat), Sender::clone(&alive));
        let stream = Arc::new(stream);
        let connection = Arc::downgrade(&stream);
        let client = thread::Builder::new().name("client".into()).spawn(move || {
            let _alive = alive; // dropped when the thread ends, in whatever way
            match serve(&stream, address, id, &shared, limits) {
                Ok(()) => cli::log!("{address} left"),
                Err(error) => tell(&shared, &format!("{address} left: {error}")),
            }
        });
        // 7. Nobody joins it before the end: back to `accept` at once.
        match client {
            Ok(client) => clients.push((client, connection)),
            // No thread, and the connection was dropped with the closure.
            Err(error) => tell(chat, &format!("{address} turned away: {error}")),
        }
    }

    // 8. Nobody new comes; wait until all have gone.
    drop((listener, alive));
    wait_for_all(clients, &all_ended, Duration::from_secs_f64(args.grace));
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

/// Closes the chat, and wakes whoever waits in `accept` by a connection. For that a
/// descriptor was kept in reserve: at that moment there may be no other.
fn stop(chat: &Mutex<Chat>) {
    let door = lock(chat).close();
    if let Some((address, reserve)) = door {
        drop(reserve);
        cli::knock(address);
    }
}

/// Gives a client that has been put out its time to read why. Only a thread of its own may
/// wait for that; if there can be none, the client has no time.
fn cut_off_soon(stream: Weak<TcpStream>) {
    let cut_off = |stream: &Weak<TcpStream>| {
        if let Some(stream) = stream.upgrade() {
            let _ = stream.shutdown(Shutdown::Both); // wakes its reader and its writer
        }
    };
    let waiting = Weak::clone(&stream);
    let waiter = thread::Builder::new()
        .name("farewell".into())
        .spawn(move || {
            thread::sleep(FAREWELL);
            cut_off(&waiting);
        });
    if waiter.is_err() {
        cut_off(&stream);
    }
}

/// Logs what whoever runs the server should know, and shows it in the window.
fn tell(chat: &Mutex<Chat>, what: &str) {
    cli::log!("{what}");
    lock(chat).show(format!("! {what}\n").into());
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
    // Send each line at once, without waiting for acknowledgements (lesson 03).
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
    // 9. The client has left the room, so its outbox is gone: the writer ends as soon as
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
    let client = Client {
        outbox,
        stream: Arc::clone(me),
        address,
        since: Instant::now(),
    };
    if !lock(chat).arrive(id, client) {
        return Ok(()); // too late: the server is closing
    }
    // 10. From here on a `?` does no harm, nor does a panic: the guard is dropped.
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
        // 11. Wait for what the client sends, until the deadline.
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
        // 12. Pass on the lines that are now complete. Refused names do not put off the
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
        chat.put_out.remove(&self.id);
        chat.show("".into()); // if there was no name to announce
    }
}

/// Waits for the lock. A thread that panicked while it held it has "poisoned" it; but
/// the room is changed in one go, before anything is sent, so it is in order.
fn lock(chat: &Mutex<Chat>) -> MutexGuard<'_, Chat> {
    chat.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Chat {
    /// False when the server is closing.
    fn arrive(&mut self, id: Id, client: Client) -> bool {
        if !self.closing {
            self.room.arrive(id);
            self.clients.insert(id, client);
            self.show("".into());
        }
        !self.closing
    }

    /// Nothing is accepted any more. Without its outbox each writer ends, as soon as all
    /// that was in it is written; and so does the messenger.
    fn close(&mut self) -> Option<(SocketAddr, TcpListener)> {
        self.closing = true;
        self.clients.clear();
        self.window = None;
        self.door.take()
    }

    /// Puts something into the window's outbox. Nobody waits for the window, and it cannot
    /// be put out: what it is too slow for is counted, and told when it looks again.
    fn show(&mut self, lines: Line) {
        let Some(window) = &self.window else {
            return;
        };
        let count = lines.lines().count();
        if window.try_send(lines).is_err() {
            self.missed += count;
        }
    }

    /// Who is connected, in the order in which they came.
    fn present(&self) -> Vec<Present> {
        let present = self.clients.iter().map(|(&id, client)| Present {
            id,
            name: self.room.name(id).map(str::to_owned),
            address: client.address,
            since: client.since,
        });
        let mut present: Vec<_> = present.collect();
        present.sort_by_key(|present| present.id);
        present
    }

    /// Says something to everybody, or to one client; false if that one has just left.
    fn answer(&mut self, to: Option<Id>, text: &str) -> bool {
        let outcome = self.room.answer(to, &printable(text));
        let is_something = outcome != Outcome::default();
        // Clients are counted from 1: nobody is 0, so everybody is one of the others.
        self.send(to.unwrap_or(0), outcome);
        is_something
    }

    /// Tells a client to go, and the others that it has gone. Without its outbox its writer
    /// half-closes; its reader ends when the client closes, or says one more line. Who does
    /// neither is to be cut off: here is the connection.
    fn put_out(&mut self, id: Id) -> Option<Weak<TcpStream>> {
        self.tell(id, Refusal::PutOut);
        let client = self.clients.remove(&id)?;
        self.put_out.insert(id);
        let outcome = self.room.leave(id, Leaving::Left);
        self.send(id, outcome);
        Some(Arc::downgrade(&client.stream))
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
        if self.put_out.contains(&id) {
            return Err(Refusal::PutOut);
        }
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
        if let Some(Client { outbox, .. }) = self.clients.get(&id) {
            let _ = outbox.try_send(format!("! {refusal}\n").into()); // full: it does not read
        }
    }

    /// Puts what the room has answered to what this client did into the outboxes, and
    /// waits for nobody: whoever's outbox is full is put out, and that is announced too.
    fn send(&mut self, id: Id, outcome: Outcome) {
        let mut to_send = vec![(id, outcome)];
        while let Some((id, outcome)) = to_send.pop() {
            let mut too_slow = Vec::new();
            if let Some(lines) = &outcome.to_others {
                self.show(Line::clone(lines)); // the window hears what everybody hears
            }
            for (receiver, line) in self.room.deliveries(id, &outcome) {
                let outbox = self.clients.get(&receiver).map(|client| &client.outbox);
                match outbox.map(|outbox| outbox.try_send(Line::clone(line))) {
                    Some(Err(TrySendError::Full(_))) => too_slow.push(receiver),
                    // Of one whose writer has ended, the reader sees the end as well.
                    Some(Ok(()) | Err(TrySendError::Disconnected(_))) | None => {}
                }
            }
            for id in too_slow {
                if let Some(Client { stream, .. }) = self.clients.remove(&id) {
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
