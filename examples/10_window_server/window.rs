//! The window half: what the window does for the person in front of it, and how it hears
//! of the chat without ever waiting for it.
//!
//! Two threads stand between the chat and the window. `accept` runs the chat. `messenger`
//! takes lines out of the window's outbox and wakes the window, as a writer takes lines out
//! of a client's outbox and writes them.

use std::io;
use std::mem;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::mpsc::{self, Receiver, SyncSender, TryRecvError};
use std::sync::{Arc, Mutex, Weak};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use socket_stages::cli;
use socket_stages::limits::{FAREWELL, Refusal};
use socket_stages::lines::printable;
use socket_stages::outbox;
use socket_stages::room::{Id, Leaving, Line};
use socket_stages_window::MOST_BYTES;
use socket_stages_window::eframe::{self, egui};
use socket_stages_window::server::{Present, Shown, Wish};

use super::Args;
use super::chat::{self, Chat, Closer, lock};

/// How many events may wait for the window. When there are more, the messenger waits, and
/// lines wait in the window's outbox: as many bytes of them as the window can keep.
const WAITING: usize = 64;

/// How long the window may take events in each frame.
const INTAKE: Duration = Duration::from_millis(5);

/// How soon the window shows what has come: 60 frames a second, not one for each line.
const FRAME: Duration = Duration::from_millis(16);

/// What the threads tell the window.
enum Event {
    /// Clients can connect. Calling the closer ends that.
    Listening(SocketAddr, Closer),
    /// All clients in the room have heard these lines. Empty when a client without a name
    /// has connected or left: then only the list of clients has changed.
    Lines(Line),
    /// The server has ended, or could not start, for this reason.
    Ended(Option<String>),
}

/// Lets Ctrl-C close the window. That ends everything in order.
pub fn close_on_interrupt(context: &egui::Context) {
    let context = context.clone();
    let handled = cli::on_interrupt(move || {
        context.send_viewport_cmd(egui::ViewportCommand::Close);
        context.request_repaint();
    });
    if let Err(error) = handled {
        cli::log!("{error:#}: close the window instead");
    }
}

/// The window. Its thread draws it, does what the person in front of it wishes, and never
/// waits.
pub struct Window {
    args: Args,
    shown: Shown,
    service: Option<Service>,
    /// The window was asked to close, and closes when the server has ended.
    closing: bool,
    context: egui::Context,
}

/// A server that runs, as the window sees it.
struct Service {
    chat: Arc<Mutex<Chat>>,
    events: Receiver<Event>,
    threads: [JoinHandle<()>; 2],
    /// `None` until the server listens, and again when it has been told to stop.
    closer: Option<Closer>,
    /// Why the server has ended, if it did not end in order.
    why: Option<String>,
}

impl Window {
    /// Opens with a server that starts at once.
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

    /// What stands in the window.
    pub fn shown(&self) -> &Shown {
        &self.shown
    }

    /// Take what the threads have handed over, as far as a frame has time for it. Never wait.
    fn take_events(&mut self) {
        let deadline = Instant::now() + INTAKE;
        while Instant::now() < deadline {
            let Some(service) = &mut self.service else {
                return;
            };
            match service.events.try_recv() {
                Ok(Event::Listening(address, closer)) => {
                    service.closer = Some(closer);
                    self.shown.listening(address);
                    if self.closing {
                        self.stop(); // it was asked to close while the server was starting
                    }
                }
                Ok(Event::Lines(lines)) => self.shown.hears(&lines),
                Ok(Event::Ended(why)) => service.why = why,
                Err(TryRecvError::Empty) => return,
                // Both threads have ended, so joining them does not wait.
                Err(TryRecvError::Disconnected) => self.end(),
            }
        }
        self.context.request_repaint(); // there may be more
    }

    /// Copy the list of clients, instead of following arrivals and departures: the copy is
    /// right whatever the window has missed.
    fn copy_the_list(&mut self) {
        if let Some(service) = &self.service {
            let mut chat = lock(&service.chat);
            self.shown.are_present(chat.present());
            self.shown.has_missed(mem::take(&mut chat.missed));
        }
    }

    /// Do what the person in front of the window wishes.
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
                    self.shown
                        .could_not("this client has left: what you typed is kept");
                }
            }
            (Wish::Disconnect(id), Some(service)) => {
                let stream = lock(&service.chat).disconnect(id);
                stream.into_iter().for_each(cut_off_soon);
            }
            _ => {} // the server has ended in this moment
        }
    }

    fn start(&mut self) {
        match start_threads(&self.args, &self.context) {
            Ok(service) => {
                self.shown.starting();
                self.service = Some(service);
            }
            Err(error) => self.shown.could_not(no_thread(&error)),
        }
    }

    /// Tells the server to stop. A thread of its own does it, because to connect may take
    /// a moment.
    fn stop(&mut self) {
        let closer = self.service.as_mut().and_then(|it| it.closer.take());
        let Some(closer) = closer else {
            return; // the server is starting, or stopping already
        };
        match thread::Builder::new().name("stop".into()).spawn(closer) {
            Ok(_) => self.shown.closing(), // no need to join it: `accept` ends after it
            Err(error) => self.shown.could_not(no_thread(&error)),
        }
    }

    /// Both threads have ended.
    fn end(&mut self) {
        let Some(service) = self.service.take() else {
            return;
        };
        for thread in service.threads {
            let _ = thread.join(); // a panic has been printed already
        }
        // An option on the command line is a field in the window.
        let why = service
            .why
            .map(|why| why.replace(" with --port", "").replace(" with --host", ""));
        self.shown.stopped(why);
    }

    /// Close the window when the server has ended, and not before.
    fn keep_closing(&mut self, context: &egui::Context) {
        let asked = context.input(|input| input.viewport().close_requested());
        if asked && !self.closing {
            self.closing = true; // the second time, the window does not wait
            self.stop();
            if self.service.is_some() {
                context.send_viewport_cmd(egui::ViewportCommand::CancelClose);
            }
        } else if self.closing && self.service.is_none() {
            context.send_viewport_cmd(egui::ViewportCommand::Close);
        }
    }
}

impl eframe::App for Window {
    /// Before each frame; also when the window is hidden, so that nothing piles up.
    fn logic(&mut self, context: &egui::Context, _frame: &mut eframe::Frame) {
        self.take_events();
        self.copy_the_list();
        self.keep_closing(context);
    }

    fn ui(&mut self, ui: &mut egui::Ui, _frame: &mut eframe::Frame) {
        if let Some(wish) = self.shown.ui(ui) {
            self.fulfil(wish);
        }
    }
}

fn no_thread(error: &io::Error) -> String {
    format!("cannot start a thread: {error}")
}

/// Starts the two threads. If the second one cannot start, the first one ends, because the
/// chat is dropped, and with it the window's outbox.
fn start_threads(args: &Args, context: &egui::Context) -> io::Result<Service> {
    let (outbox, lines) = outbox::bounded(MOST_BYTES);
    let (events, happening) = mpsc::sync_channel(WAITING);
    let chat = Arc::new(Mutex::new(Chat::default()));
    lock(&chat).window = Some(outbox);
    let to_window = || ToWindow {
        events: SyncSender::clone(&events),
        context: context.clone(),
    };
    let (to_window, too) = (to_window(), to_window());
    let messenger = thread::Builder::new().name("messenger".into());
    let messenger = messenger.spawn(move || hand_over(&lines, to_window))?;
    let (args, shared) = (args.clone(), Arc::clone(&chat));
    let accept = thread::Builder::new().name("accept".into());
    let accept = accept.spawn(move || serve(&args, &shared, too))?;
    Ok(Service {
        chat,
        events: happening,
        threads: [messenger, accept],
        closer: None,
        why: None,
    })
}

/// A thread's way to the window.
struct ToWindow {
    events: SyncSender<Event>,
    context: egui::Context,
}

impl ToWindow {
    /// Hands an event over, and wakes the window. It may wait, so the caller holds no lock.
    /// False when the window has gone.
    fn tell(&self, event: Event) -> bool {
        let is_there = self.events.send(event).is_ok();
        self.context.request_repaint_after(FRAME);
        is_there
    }

    /// Wakes the window once more, to see that the thread has ended.
    fn leave(self) {
        drop(self.events);
        self.context.request_repaint();
    }
}

/// The `messenger` thread: hands over what the chat has put into the window's outbox.
fn hand_over(outbox: &outbox::Lines, window: ToWindow) {
    while let Ok(line) = outbox.recv() {
        if !window.tell(Event::Lines(line)) {
            break;
        }
    }
    window.leave();
}

/// The `accept` thread: listens, and serves clients until the chat is closed.
fn serve(args: &Args, chat: &Arc<Mutex<Chat>>, window: ToWindow) {
    let result = cli::bind(&args.listen).and_then(|listener| {
        let closer = chat::closer(&listener, chat)?;
        window.tell(Event::Listening(listener.local_addr()?, closer));
        chat::run(listener, args, chat);
        Ok(())
    });
    lock(chat).close(); // needed if it could not even listen: this ends the messenger
    window.tell(Event::Ended(result.err().map(|error| format!("{error:#}"))));
    window.leave();
}

/// What the window asks of the chat. It waits for nothing but the lock.
impl Chat {
    /// Puts lines into the window's outbox. The chat never waits for the window, and never
    /// disconnects it: when the outbox is full, lines are dropped and counted.
    pub fn show(&mut self, lines: Line) {
        let count = lines.lines().count();
        if let Some(window) = &self.window
            && window.try_send(lines).is_err()
        {
            self.missed += count;
        }
    }

    /// Logs what the person who runs the server should know, and shows it in the window.
    pub fn report(&mut self, what: &str) {
        cli::log!("{what}");
        self.show(format!("! {what}\n").into());
    }

    /// The clients, in the order in which they have connected.
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

    /// Says something to all clients, or to one. False if that one has just left.
    fn answer(&mut self, to: Option<Id>, text: &str) -> bool {
        let outcome = self.room.answer(to, &printable(text));
        let is_said = outcome.to_self.is_some() || outcome.to_others.is_some();
        self.send(outcome);
        is_said
    }

    /// Tells a client to go, and the others that it has left. Once its outbox is dropped,
    /// its writer half-closes. Its reader ends when the client closes, or sends one more
    /// line. A client that does neither has to be cut off: this is its connection.
    fn disconnect(&mut self, id: Id) -> Option<Weak<TcpStream>> {
        let client = self.clients.remove(&id)?;
        let reason = format!("! {}\n", Refusal::Disconnected);
        let _ = client.outbox.try_send(reason.into()); // full: the client does not read
        self.disconnected.insert(id);
        let outcome = self.room.leave(id, Leaving::Left);
        self.send(outcome);
        Some(Arc::downgrade(&client.stream))
    }
}

/// Gives a disconnected client time to read the reason. Only a thread of its own may wait
/// for that; if there can be none, the client has no time.
fn cut_off_soon(stream: Weak<TcpStream>) {
    let cut_off = |stream: &Weak<TcpStream>| {
        if let Some(stream) = stream.upgrade() {
            let _ = stream.shutdown(Shutdown::Both); // wakes its reader and its writer
        }
    };
    let waiting = Weak::clone(&stream);
    let farewell = thread::Builder::new().name("farewell".into());
    let waiter = farewell.spawn(move || {
        thread::sleep(FAREWELL);
        cut_off(&waiting);
    });
    if waiter.is_err() {
        cut_off(&stream);
    }
}
