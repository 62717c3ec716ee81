//! Stage 10, window: a client with a window, for any server from stage 04 on.
//!
//! Run it:  cargo run --features window --example 10_window_client
//! Read:    lessons/10_window.md
//! New:     the window's thread never waits for the network. A reader and a writer do. The
//!          reader hands over what has come through a bounded channel, and wakes the window.
//! Broken:  nothing that we know of. `--freeze` shows what happens to a window that reads
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

    /// Name to fill in
    #[arg(long, default_value = "")]
    name: String,

    /// A drill: read from the server in the window's own thread, which freezes the window
    #[arg(long)]
    freeze: bool,
}

/// How many events may wait for the window. When there are more, the reader waits, and in
/// the end the server waits too. So a flood takes no memory here.
const WAITING: usize = 64;

/// How long the window may take events in each frame.
const INTAKE: Duration = Duration::from_millis(5);

/// How many lines may wait for the server.
const OUTBOX: usize = 64;

/// The longest line that a server may send, in bytes.
const LONGEST: usize = 64 * 1024;

/// How soon the window shows what has come: 60 frames a second, not one for each line.
const FRAME: Duration = Duration::from_millis(16);

/// How long one address may take to answer. The thread that waits for it cannot be stopped,
/// and after *Give up* such threads must not pile up.
const CONNECTING: Duration = Duration::from_secs(10);

/// How long the server may take to close after the half-close.
const GRACE: Duration = Duration::from_secs(2);

fn main() -> Result<(), cli::Failure> {
    let args = Args::parse();
    window::open("Chat", move |context| {
        close_on_interrupt(context);
        Window::new(args, context)
    })?;
    Ok(())
}

/// Lets Ctrl-C close the window. That ends everything in order.
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
    /// The connection is made.
    Connected(Arc<TcpStream>),
    /// These lines have arrived, with one read.
    Lines(Vec<String>),
    /// The connection has ended, or could not be made, for this reason. `None`: the server
    /// has closed it.
    Ended(Option<String>),
}

/// The window. Its thread draws it, does what the person in front of it wishes, and never
/// waits.
pub struct Window {
    shown: Shown,
    connection: Option<Connection>,
    /// For the drill: the window's own reader.
    freeze: Option<Lines>,
    /// The window was asked to close, and closes when the connection has ended.
    closing: bool,
    context: egui::Context,
}

/// A connection, as the window sees it. Its threads are the reader and the writer.
struct Connection {
    events: Receiver<Event>,
    /// Lines on their way to the server. Once it is dropped, the writer half-closes and ends.
    outbox: Option<SyncSender<String>>,
    /// `None` until the connection is made.
    stream: Option<Arc<TcpStream>>,
    reader: JoinHandle<()>,
    /// Why the connection has ended, if the server has not closed it.
    why: Option<String>,
    /// When to cut the connection off, if the server has not closed it by then.
    deadline: Option<Instant>,
}

impl Window {
    /// Opens with these fields filled in, and not connected.
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

    /// What stands in the window.
    pub fn shown(&self) -> &Shown {
        &self.shown
    }

    /// Take what the threads have handed over, as far as a frame has time for it. Never wait.
    fn take_events(&mut self) {
        let deadline = Instant::now() + INTAKE;
        while Instant::now() < deadline {
            let Some(connection) = &mut self.connection else {
                return;
            };
            match connection.events.try_recv() {
                Ok(event) => self.happens(event),
                Err(TryRecvError::Empty) => return,
                // Both threads have ended, so joining them does not wait.
                Err(TryRecvError::Disconnected) => self.end(),
            }
        }
        self.context.request_repaint(); // there may be more
    }

    /// Shows what has happened.
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

    /// Do what the person in front of the window wishes.
    fn fulfil(&mut self, wish: Wish) {
        match wish {
            Wish::Connect { host, port } if self.connection.is_none() => self.connect(host, port),
            Wish::Connect { .. } => {} // the last connection is just ending
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

    /// Starts the reader. It connects, and starts the writer.
    fn connect(&mut self, host: String, port: u16) {
        let (events, happening) = mpsc::sync_channel(WAITING);
        let (outbox, lines) = mpsc::sync_channel(OUTBOX);
        let context = self.context.clone();
        let freeze = self.freeze.is_some();
        let reader = thread::Builder::new().name("reader".into()).spawn(move || {
            let to_window = ToWindow { events, context };
            let context = to_window.context.clone();
            talk(&cli::Connect { host, port }, to_window, lines, freeze);
            context.request_repaint(); // now the channel is closed: the window sees it
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

    /// Puts a line into the outbox. If it is full, the text stays in the window.
    fn send(&mut self, line: String) -> bool {
        let outbox = self.connection.as_ref().and_then(|it| it.outbox.as_ref());
        let sent = outbox.map(|outbox| outbox.try_send(line));
        if let Some(Err(TrySendError::Full(_))) = sent {
            self.shown
                .could_not("the server takes no more at the moment: what you typed is kept");
        }
        // If the writer has ended, the reader sees the end of the connection, and tells it.
        matches!(sent, Some(Ok(())))
    }

    /// Drops the outbox, so the writer half-closes. Then the server should close.
    fn leave(&mut self) {
        let Some(connection) = &mut self.connection else {
            return;
        };
        self.shown.leaving();
        if connection.stream.is_none() {
            // A thread that waits to be connected cannot be stopped. It will find that the
            // window has dropped its end of the channel, and end.
            self.connection = None;
            self.shown.ended(None);
            return;
        }
        connection.outbox = None;
        connection.deadline = Some(Instant::now() + GRACE);
    }

    /// Cuts the connection off at the deadline. That wakes the reader and the writer.
    fn keep_deadline(&mut self) {
        let Some(connection) = &self.connection else {
            return;
        };
        let (Some(deadline), Some(stream)) = (connection.deadline, &connection.stream) else {
            return;
        };
        match deadline.checked_duration_since(Instant::now()) {
            Some(left) => self.context.request_repaint_after(left),
            None => drop(stream.shutdown(Shutdown::Both)), // an error: it has ended
        }
    }

    /// Both threads have ended.
    fn end(&mut self) {
        if let Some(connection) = self.connection.take() {
            let _ = connection.reader.join(); // a panic has been printed already
            self.shown.ended(connection.why);
        }
    }

    /// Close the window when the connection has ended, and not before.
    fn keep_closing(&mut self, context: &egui::Context) {
        let asked = context.input(|input| input.viewport().close_requested());
        if asked && !self.closing {
            self.closing = true; // the second time, the window does not wait
            self.leave();
            if self.connection.is_some() {
                context.send_viewport_cmd(ViewportCommand::CancelClose);
            }
        } else if self.closing && self.connection.is_none() {
            context.send_viewport_cmd(ViewportCommand::Close);
        }
    }

    /// FAULT, if `--freeze` asks for it: this waits until the server sends something. Until
    /// then nothing is drawn, no key is read, and the window cannot even be closed.
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

/// A thread's way to the window.
struct ToWindow {
    events: SyncSender<Event>,
    context: egui::Context,
}

impl ToWindow {
    /// Hands an event over, and wakes the window. It may wait. False when the window does
    /// not want it any more.
    fn tell(&self, event: Event) -> bool {
        let is_wanted = self.events.send(event).is_ok();
        self.context.request_repaint_after(FRAME);
        is_wanted
    }
}

/// The `reader` thread: connects, starts the writer, and reads until the connection ends.
fn talk(server: &cli::Connect, window: ToWindow, lines: Receiver<String>, freeze: bool) {
    let stream = match connect(&server.host, server.port) {
        Ok(stream) => Arc::new(stream),
        Err(why) => {
            window.tell(Event::Ended(Some(why)));
            return;
        }
    };
    cli::log!("connected to {}:{}", server.host, server.port);
    let sending = Arc::clone(&stream);
    let writer = thread::Builder::new().name("writer".into());
    let writer = match writer.spawn(move || write_lines(&sending, &lines)) {
        Ok(writer) => writer,
        Err(error) => {
            let why = format!("cannot start a thread: {error}");
            window.tell(Event::Ended(Some(why)));
            return;
        }
    };
    if window.tell(Event::Connected(Arc::clone(&stream))) && !freeze {
        let why = read_lines(&stream, &window).err();
        let why = why.map(|error| format!("the connection was lost: {error}"));
        // No more can come in, so no more needs to go out. This ends the writer if it waits
        // for a server that does not read.
        let _ = stream.shutdown(Shutdown::Both);
        window.tell(Event::Ended(why));
    }
    // The writer ends when the window has dropped the outbox.
    let _ = writer.join();
}

/// Connects. The error is a sentence for the person in front of the window.
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
    // Send each line at once (lesson 03). An error: then lines are sent a little later.
    let _ = stream.set_nodelay(true);
    Ok(stream)
}

/// Tries all addresses of a machine: it may have several, and one may not answer.
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

/// Reads, and hands over the lines of each read, until the server closes or the window does
/// not want any more.
fn read_lines(mut stream: &TcpStream, window: &ToWindow) -> io::Result<()> {
    let mut lines = Lines::new(LONGEST);
    let mut packet = [0; 16 * 1024];
    loop {
        let count = match stream.read(&mut packet) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            result => result?,
        };
        let heard = lines.feed(&packet[..count]);
        let heard: Result<Vec<_>, _> = heard.map(|line| line.map(Cow::into_owned)).collect();
        let heard = heard.map_err(|TooLong(longest)| {
            io::Error::other(format!("a line has more than {longest} bytes"))
        })?;
        if !window.tell(Event::Lines(heard)) || count == 0 {
            return Ok(());
        }
    }
}

/// The `writer` thread: writes the lines that the window puts into the outbox. When the outbox
/// is dropped, it half-closes: what the server still sends can arrive.
fn write_lines(mut stream: &TcpStream, outbox: &Receiver<String>) {
    for mut line in outbox {
        line.push('\n');
        if stream.write_all(line.as_bytes()).is_err() {
            return; // the reader sees the end of the connection too, and tells it
        }
    }
    let _ = stream.shutdown(Shutdown::Write); // an error: the connection has ended
}
