//! Stage 10, window: a client with a window, for any server from stage 04 on.
//!
//! Run it:  cargo run --features window --example 10_window_client
//! Read:    lessons/10_window.md
//! New:     the window's thread never waits for the network: a reader and a writer do, and
//!          hand over what has come through a channel, and wake the window.
//! Broken:  nothing that we know of; `--freeze` shows what becomes of a window that reads
//!          from its server itself.

use std::borrow::Cow;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, SyncSender, TryRecvError, TrySendError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use clap::Parser;
use socket_stages::cli;
use socket_stages::lines::{Lines, TooLong};
use socket_stages_window as window;
use window::client::{Shown, Wish};
use window::eframe;
use window::eframe::egui::{self, ViewportCommand};

/// Joins the chat from a window.
#[derive(Parser)]
#[command(version)]
pub struct Args {
    #[command(flatten)]
    connect: cli::Connect,

    /// The name to fill in
    #[arg(long, default_value = "")]
    name: String,

    /// A drill: read from the server in the window's own thread, and see it freeze
    #[arg(long)]
    freeze: bool,
}

/// How many events may wait for the window. When there are more, the reader waits, and so
/// in the end does the server: it takes no memory here.
const WAITING: usize = 64;

/// How long the window may take, in each frame, to take in what has come.
const INTAKE: Duration = Duration::from_millis(5);

/// How many lines may wait for the server.
const OUTBOX: usize = 64;

/// The longest line that a server may send, in bytes.
const LONGEST: usize = 64 * 1024;

/// How soon the window shows what has come: 60 frames a second, not one for each line.
const FRAME: Duration = Duration::from_millis(16);

/// How long one address may take to answer: longer, and threads that nobody waits for any
/// more would pile up.
const CONNECTING: Duration = Duration::from_secs(10);

/// How long a server may take to close, once we have said good-bye.
const GRACE: Duration = Duration::from_secs(2);

fn main() -> Result<(), cli::Failure> {
    let args = Args::parse();
    window::open("Chat", move |context| {
        close_on_interrupt(context);
        Window::new(args, context)
    })?;
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
    /// The connection is there.
    Connected(Arc<TcpStream>),
    /// These lines have arrived, in one packet.
    Lines(Vec<String>),
    /// The connection has ended, or never came to be: for this reason, or because the
    /// server has closed it.
    Ended(Option<String>),
}

/// The window's thread: it shows what has happened, does what is wished for, and waits for
/// nobody.
pub struct Window {
    shown: Shown,
    connection: Option<Connection>,
    freeze: Option<Lines>,
    closing: bool,
    context: egui::Context,
}

/// The window's end of a connection, whose threads are at the other.
struct Connection {
    events: Receiver<Event>,
    /// `None` when all is said: without it the writer half-closes, and ends.
    outbox: Option<SyncSender<String>>,
    /// `None` until it is there.
    stream: Option<Arc<TcpStream>>,
    reader: JoinHandle<()>,
    why: Option<String>,
    /// When whoever still holds it up is cut off.
    deadline: Option<Instant>,
}

impl Window {
    pub fn new(args: Args, context: &egui::Context) -> Self {
        let Args {
            connect: cli::Connect { host, port },
            name,
            freeze,
        } = args;
        Self {
            shown: Shown::new(&host, port, &name),
            connection: None,
            freeze: freeze.then(|| Lines::new(LONGEST)),
            closing: false,
            context: context.clone(),
        }
    }

    pub fn shown(&self) -> &Shown {
        &self.shown
    }

    /// 1. Take what the threads have handed over: no more than is there, and no more than a
    ///    frame has time for.
    fn take_events(&mut self) {
        let deadline = Instant::now() + INTAKE;
        while Instant::now() < deadline {
            let Some(connection) = &mut self.connection else {
                return;
            };
            match connection.events.try_recv() {
                Ok(event) => self.happens(event),
                Err(TryRecvError::Empty) => return,
                // Both threads have ended, so this does not wait.
                Err(TryRecvError::Disconnected) => self.end(),
            }
        }
        self.context.request_repaint(); // there may be more
    }

    fn happens(&mut self, event: Event) {
        let Some(connection) = &mut self.connection else {
            return;
        };
        match event {
            Event::Connected(stream) => {
                connection.stream = Some(stream);
                self.fulfil(Wish::Name(self.shown.name.clone()));
            }
            Event::Lines(lines) => lines.iter().for_each(|line| self.shown.hears(line)),
            Event::Ended(why) => {
                connection.why = why;
                connection.outbox = None; // so the writer ends as well
            }
        }
    }

    /// 2. Do what the person in front of the window wants.
    fn fulfil(&mut self, wish: Wish) {
        match wish {
            Wish::Connect { host, port } if self.connection.is_none() => self.connect(host, port),
            Wish::Connect { .. } => {} // it is just ending
            Wish::Name(name) => {
                if self.send(name) {
                    self.shown.asking();
                }
            }
            Wish::Say(text) if cli::is_goodbye(&text) => {
                self.shown.typed.clear();
                self.leave();
            }
            Wish::Say(text) => {
                if self.send(text.clone()) {
                    self.shown.said(&text);
                }
            }
            Wish::Leave => self.leave(),
        }
    }

    /// Starts the thread that connects, and reads.
    fn connect(&mut self, host: String, port: u16) {
        let (events, happening) = mpsc::sync_channel(WAITING);
        let (outbox, lines) = mpsc::sync_channel(OUTBOX);
        let context = self.context.clone();
        let freeze = self.freeze.is_some();
        let reader = thread::Builder::new().name("reader".into()).spawn(move || {
            let hand = Hand { events, context };
            let context = hand.context.clone();
            talk(&host, port, hand, lines, freeze);
            context.request_repaint(); // nobody holds the channel any more: the window sees it
        });
        match reader {
            Ok(reader) => {
                self.shown.connecting();
                self.connection = Some(Connection {
                    events: happening,
                    outbox: Some(outbox),
                    stream: None,
                    reader,
                    why: None,
                    deadline: None,
                });
            }
            Err(error) => self
                .shown
                .could_not(format!("cannot start a thread: {error}")),
        }
    }

    /// Gives the writer a line, if there is room for it; what is too much stays in the window.
    fn send(&mut self, line: String) -> bool {
        let outbox = self.connection.as_ref().and_then(|it| it.outbox.as_ref());
        let sent = outbox.map(|outbox| outbox.try_send(line));
        if let Some(Err(TrySendError::Full(_))) = sent {
            self.shown
                .could_not("the server takes no more at the moment: what you typed is kept");
        }
        // Of a writer that has ended, the reader tells.
        matches!(sent, Some(Ok(())))
    }

    /// Says good-bye: the writer half-closes, and the server is to close.
    fn leave(&mut self) {
        let Some(connection) = &mut self.connection else {
            return;
        };
        self.shown.leaving();
        if connection.stream.is_none() {
            // Nobody can end a thread that waits to be connected; it finds nobody to tell.
            self.connection = None;
            self.shown.ended(None);
            return;
        }
        connection.outbox = None;
        connection.deadline = Some(Instant::now() + GRACE);
    }

    /// Who has not closed by the deadline is cut off: that wakes the reader and the writer.
    fn keep_deadline(&mut self) {
        let Some(connection) = &self.connection else {
            return;
        };
        let (Some(deadline), Some(stream)) = (connection.deadline, &connection.stream) else {
            return;
        };
        match deadline.checked_duration_since(Instant::now()) {
            Some(left) => self.context.request_repaint_after(left),
            None => drop(stream.shutdown(Shutdown::Both)), // an error: it has ended already
        }
    }

    fn end(&mut self) {
        if let Some(connection) = self.connection.take() {
            let _ = connection.reader.join(); // its panic, if any, has been printed
            self.shown.ended(connection.why);
        }
    }

    /// 3. Closing the window: leave first, and close when that is done.
    fn keep_closing(&mut self, context: &egui::Context) {
        let asked = context.input(|input| input.viewport().close_requested());
        if asked && !self.closing {
            self.closing = true; // asked a second time, it does not wait
            self.leave();
            if self.connection.is_some() {
                context.send_viewport_cmd(ViewportCommand::CancelClose);
            }
        } else if self.closing && self.connection.is_none() {
            context.send_viewport_cmd(ViewportCommand::Close);
        }
    }

    /// FAULT, if asked for: this waits until the server says something. Meanwhile nothing is
    /// drawn, no key is heard, and the window cannot even be closed.
    fn read_here(&mut self) {
        let stream = self.connection.as_ref().and_then(|it| it.stream.clone());
        let (Some(stream), Some(lines)) = (stream, &mut self.freeze) else {
            return;
        };
        let mut packet = [0; 4096];
        let count = stream.as_ref().read(&mut packet).unwrap_or(0);
        let heard: Vec<_> = lines.feed(&packet[..count]).flatten().collect();
        heard.iter().for_each(|line| self.shown.hears(line));
        if count == 0 {
            self.happens(Event::Ended(None));
        }
        self.context.request_repaint();
    }
}

impl eframe::App for Window {
    /// Before each frame; also when the window is hidden, so that nothing piles up.
    fn logic(&mut self, context: &egui::Context, _frame: &mut eframe::Frame) {
        self.take_events();
        self.read_here();
        self.keep_deadline();
        self.keep_closing(context);
    }

    fn ui(&mut self, ui: &mut egui::Ui, _frame: &mut eframe::Frame) {
        if let Some(wish) = self.shown.ui(ui) {
            self.fulfil(wish);
        }
    }
}

/// What the reader has in its hand: the way to the window.
struct Hand {
    events: SyncSender<Event>,
    context: egui::Context,
}

impl Hand {
    /// Hands something over, and wakes the window. False when the window does not want it
    /// any more.
    fn over(&self, event: Event) -> bool {
        let wanted = self.events.send(event).is_ok();
        self.context.request_repaint_after(FRAME);
        wanted
    }
}

/// The reader's thread: connects, starts the writer, reads until the end.
fn talk(host: &str, port: u16, hand: Hand, lines: Receiver<String>, freeze: bool) {
    let stream = match connect(host, port) {
        Ok(stream) => Arc::new(stream),
        Err(why) => {
            hand.over(Event::Ended(Some(why)));
            return;
        }
    };
    cli::log!("connected to {host}:{port}");
    let sending = Arc::clone(&stream);
    let writer = thread::Builder::new()
        .name("writer".into())
        .spawn(move || write_lines(&sending, &lines));
    let writer = match writer {
        Ok(writer) => writer,
        Err(error) => {
            let why = format!("cannot start a thread: {error}");
            hand.over(Event::Ended(Some(why)));
            return;
        }
    };
    if hand.over(Event::Connected(Arc::clone(&stream))) && !freeze {
        let why = read_lines(&stream, &hand).err();
        let why = why.map(|error| format!("the connection was lost: {error}"));
        // Nothing more comes in, so nothing more needs to go out: this ends the writer if
        // it waits for a server that does not read.
        let _ = stream.shutdown(Shutdown::Both);
        hand.over(Event::Ended(why));
    }
    // It ends when the window has dropped the outbox.
    let _ = writer.join();
}

/// Connects; the error is a sentence for the person in front of the window.
fn connect(host: &str, port: u16) -> Result<TcpStream, String> {
    let addresses = (host, port)
        .to_socket_addrs()
        .map_err(|_| format!("no machine called \"{host}\" is known: check the spelling"))?;
    let stream = connect_to_one_of(addresses).map_err(|error| match error.kind() {
        ErrorKind::ConnectionRefused => {
            format!("no server listens on port {port} of {host}: is it running?")
        }
        ErrorKind::TimedOut | ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable => {
            format!("{host} does not answer: check the address and the network")
        }
        _ => format!("cannot connect to {host} port {port}: {error}"),
    })?;
    // Each line leaves at once (lesson 03). An error: then it leaves a little later.
    let _ = stream.set_nodelay(true);
    Ok(stream)
}

/// One machine may have several addresses, and one of them may not answer.
fn connect_to_one_of(addresses: impl Iterator<Item = SocketAddr>) -> io::Result<TcpStream> {
    let mut failed = ErrorKind::HostUnreachable.into(); // no address at all
    for address in addresses {
        match TcpStream::connect_timeout(&address, CONNECTING) {
            Ok(stream) => return Ok(stream),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

/// Hands over the lines of one packet after the other, until the server closes or the
/// window is not interested any more.
fn read_lines(mut stream: &TcpStream, hand: &Hand) -> io::Result<()> {
    let mut lines = Lines::new(LONGEST);
    let mut packet = [0; 16 * 1024];
    loop {
        let count = match stream.read(&mut packet) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            result => result?,
        };
        let heard = lines.feed(&packet[..count]);
        let heard: Result<Vec<_>, _> = heard.map(|line| line.map(Cow::into_owned)).collect();
        let heard = heard.map_err(|TooLong| io::Error::other("a line was too long"))?;
        if !hand.over(Event::Lines(heard)) || count == 0 {
            return Ok(());
        }
    }
}

/// The writer's thread: writes what the window has put into the outbox. When the outbox is
/// gone it half-closes: what is under way to us still arrives.
fn write_lines(mut stream: &TcpStream, outbox: &Receiver<String>) {
    for mut line in outbox {
        line.push('\n');
        if stream.write_all(line.as_bytes()).is_err() {
            return; // the reader sees the end of the connection as well, and tells
        }
    }
    let _ = stream.shutdown(Shutdown::Write); // an error: it has ended already
}
