//! The server under test: what a test does with it, and what it shows.

use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::sync::{Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

use super::client::Client;
use super::patience;
use super::program::{Output, Program};
use super::story::{Story, shortened};

pub struct Server {
    address: SocketAddr,
    story: Story,
    output: Output,
    operator: Mutex<Operator>,
    /// The connection that found out that the server listens: the first client gets
    /// it, so that no stranger comes before the test begins.
    first: Mutex<Option<TcpStream>>,
    /// What keeps other tests, in other processes, from picking the same port.
    reservation: Option<UdpSocket>,
    /// How many lines of the output `shows` has passed.
    seen: Mutex<usize>,
}

/// The person at the server's keyboard. The server ends when this is dropped.
pub(super) enum Operator {
    Of(Program),
    Hosted(mpsc::Sender<String>),
}

impl Server {
    pub(super) fn new(
        address: SocketAddr,
        story: Story,
        output: Output,
        operator: Operator,
    ) -> Self {
        Self {
            address,
            story,
            output,
            operator: Mutex::new(operator),
            first: Mutex::new(None),
            reservation: None,
            seen: Mutex::new(0),
        }
    }

    /// The connection that found out that the server listens goes to the first client.
    pub(super) fn keep_for_the_first_client(&mut self, first: TcpStream, reservation: UdpSocket) {
        self.first = Mutex::new(Some(first));
        self.reservation = Some(reservation);
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Tells the learner where to look if the test fails from here on.
    pub fn likely_cause(&self, cause: &str) {
        self.story.likely_cause(cause);
    }

    /// Tells the learner what an exercise still lacks if its check fails from here on.
    pub fn still_missing(&self, what: &str) {
        self.story.still_missing(what);
    }

    /// A new client. It is connected. Only when it hears or is heard is it certain that the
    /// server has accepted it.
    #[track_caller]
    pub fn client(&self, name: &str) -> Client {
        let first = self.first.lock().unwrap().take();
        match first.map_or_else(|| TcpStream::connect(self.address), Ok) {
            Ok(stream) => Client::new(name, stream, self.story.clone()),
            Err(error) => self.story.fail(format!(
                "{name} could not connect ({error}): the server does not run any more."
            )),
        }
    }

    /// A new client whose system holds only about so many bytes that it has not read. The
    /// fewer they are, the sooner the server has to wait for it.
    #[track_caller]
    pub fn client_with_buffer(&self, name: &str, bytes: usize) -> Client {
        let socket = Socket::new(Domain::for_address(self.address), Type::STREAM, None).unwrap();
        socket.set_recv_buffer_size(bytes).unwrap();
        if let Err(error) = socket.connect(&self.address.into()) {
            self.story
                .fail(format!("{name} could not connect ({error})."));
        }
        Client::new(name, socket.into(), self.story.clone())
    }

    /// Clients that hear each other: all have been accepted and are on the list.
    ///
    /// The first client says "roll call 1" and so on until all the others hear it. So its
    /// first line may get lost and no test notices. A line of another client may not.
    #[track_caller]
    pub fn room<const N: usize>(&self, names: [&str; N]) -> [Client; N] {
        let mut clients = names.map(|name| self.client(name));
        self.roll_call(&mut clients);
        clients
    }

    /// Clients of a chat that hear each other, each in the room under its name.
    #[track_caller]
    pub fn chat<const N: usize>(&self, names: [&str; N]) -> [Client; N] {
        let mut clients = names.map(|name| {
            let mut client = self.client(name);
            client.says(name);
            client
        });
        // Another test finds a server that takes a packet for the name. For all other tests,
        // this keeps the name in a packet of its own.
        thread::park_timeout(Duration::from_millis(10));
        self.roll_call(&mut clients);
        // The last one answers, so that all are past the welcomes and the announcements.
        let (last, others) = clients.split_last_mut().expect("two at least");
        last.says("all are here");
        for other in others {
            if !other.hears_within("all are here", patience()) {
                other.fail(format!("does not hear {}.", last.name()));
            }
        }
        clients
    }

    /// As in [`room`](Server::room), for clients already connected.
    #[track_caller]
    pub fn roll_call(&self, clients: &mut [Client]) {
        let (caller, others) = clients
            .split_first_mut()
            .expect("one client calls the roll");
        let deadline = Instant::now() + patience();
        for attempt in 1.. {
            let call = format!("roll call {attempt}");
            caller.says(&call);
            // A client that is on the list hears it soon. A client that is not yet on the
            // list hears the next one.
            let soon = Duration::from_millis(20 * attempt);
            let deaf = others
                .iter_mut()
                .find_map(|other| (!other.hears_within(&call, soon)).then_some(other));
            match deaf {
                None => return,
                Some(deaf) if Instant::now() > deadline => deaf.fail(format!(
                    "does not hear {}, which has called {attempt} times.",
                    caller.name()
                )),
                Some(_) => {}
            }
        }
    }

    /// The operator types a line at the server's keyboard.
    pub fn types(&self, line: &str) {
        let typed = shortened(line);
        self.story.step(format!("the operator typed {typed:?}"));
        let typed = match &mut *self.operator() {
            Operator::Of(program) => program.types(line).is_ok(),
            Operator::Hosted(keyboard) => keyboard.send(line.into()).is_ok(),
        };
        if !typed {
            self.story.step("(the server did not take that line)");
        }
    }

    /// The operator presses Ctrl-C at the server.
    #[cfg(unix)]
    pub fn is_interrupted(&self) {
        self.story.step("the operator pressed Ctrl-C");
        match &*self.operator() {
            Operator::Of(program) => program.interrupt().unwrap(),
            // A wrong server inside the test gets no signals. It gets ^C as a typed line.
            Operator::Hosted(keyboard) => drop(keyboard.send("^C".into())),
        }
    }

    /// The operator suspends the server (Ctrl-Z), something happens, and it goes on (`fg`).
    #[cfg(unix)]
    pub fn is_suspended_while(&self, happens: impl FnOnce()) {
        if let Operator::Of(program) = &*self.operator() {
            self.story.step("the operator pressed Ctrl-Z");
            program.suspend().unwrap();
            happens();
            self.story.step("the operator typed fg");
            program.resume().unwrap();
        }
    }

    /// The server ends by itself, with exit status 0, within that time.
    #[track_caller]
    pub fn ends_within(&self, time: Duration) {
        if let Operator::Of(program) = &*self.operator() {
            match program.wait(time) {
                Some(status) if status.success() => {}
                Some(status) => self.story.fail(format!("The server ended with {status}.")),
                None => self
                    .story
                    .fail(format!("The server has not ended within {time:?}.")),
            }
        }
    }

    /// The server ends by itself, with this exit status.
    #[track_caller]
    pub fn ended_with(&self, code: i32) {
        if let Operator::Of(program) = &*self.operator() {
            let status = program.wait(patience());
            if status.and_then(|status| status.code()) != Some(code) {
                self.story.fail(format!(
                    "The server should have ended with status {code}, but: {status:?}."
                ));
            }
        }
    }

    /// The operator's keyboard is at its end (Ctrl-D).
    pub fn keyboard_ends(&self) {
        self.story.step("the operator's keyboard ended");
        if let Operator::Of(program) = &mut *self.operator() {
            program.ends_input();
        }
    }

    /// The server prints a line with `text` in it, after those that were shown
    /// before. Returns the whole line.
    #[track_caller]
    pub fn shows(&self, text: &str) -> String {
        self.shows_either(&[text])
    }

    /// As [`shows`](Server::shows), for one of several texts.
    #[track_caller]
    pub fn shows_either(&self, texts: &[&str]) -> String {
        let deadline = Instant::now() + patience();
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(line) = self.output.line(*seen, deadline) {
            *seen += 1;
            if texts.iter().any(|text| line.contains(text)) {
                return line;
            }
        }
        self.story.fail(format!(
            "The server should have printed a line with {:?} in it.\n\
             If it did: is its output flushed after each line, also into a pipe? \
             (Python: python3 -u)",
            shortened(texts[0])
        ))
    }

    /// How many lines the server has printed so far.
    pub fn lines_printed(&self) -> usize {
        self.output.lines().len()
    }

    /// How many of the printed lines have this text in them.
    pub fn lines_with(&self, text: &str) -> usize {
        let lines = self.output.lines();
        lines.iter().filter(|line| line.contains(text)).count()
    }

    /// How many of the printed lines are empty.
    pub fn empty_lines(&self) -> usize {
        let lines = self.output.lines();
        lines.iter().filter(|line| line.trim().is_empty()).count()
    }

    /// The memory that the process has in use (its resident set), in bytes.
    pub fn memory(&self) -> u64 {
        self.process(sysinfo::Process::memory)
    }

    /// The most memory that the process has ever had in use, in bytes. Only Linux tells it.
    pub fn peak_memory(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process_id()));
        let status = status.ok()?;
        let peak = status
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:"))?;
        let kibibytes: u64 = peak.trim().strip_suffix(" kB")?.parse().ok()?;
        Some(kibibytes * 1024)
    }

    /// The time that the process has spent on a processor.
    pub fn cpu_time(&self) -> Duration {
        Duration::from_millis(self.process(sysinfo::Process::accumulated_cpu_time))
    }

    /// How many threads the process has, where the system tells.
    pub fn threads(&self) -> Option<usize> {
        self.process(|process| Some(process.tasks()?.len() + 1))
    }

    fn process<T>(&self, look: impl Fn(&sysinfo::Process) -> T) -> T {
        let id = sysinfo::Pid::from_u32(self.process_id());
        let mut system = sysinfo::System::new();
        system.refresh_processes(sysinfo::ProcessesToUpdate::Some(&[id]), true);
        look(system.process(id).expect("it runs"))
    }

    /// The process under test; only a program has one.
    pub fn process_id(&self) -> u32 {
        match &*self.operator() {
            Operator::Of(program) => program.id(),
            Operator::Hosted(_) => panic!("a wrong server is no process"),
        }
    }

    /// Fails unless the program is still running.
    #[track_caller]
    pub fn is_still_running(&self) {
        if let Operator::Of(program) = &*self.operator()
            && let Some(status) = program.status()
        {
            self.story.fail(format!("The server has ended ({status})."));
        }
    }

    #[track_caller]
    pub fn fail(&self, what: impl std::fmt::Display) -> ! {
        self.story.fail(what)
    }

    fn operator(&self) -> MutexGuard<'_, Operator> {
        self.operator.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All clients say this many lines at the same time. Each hears every line of the others once,
/// and those of one speaker in their order.
#[track_caller]
pub fn all_speak_at_once(server: &Server, clients: &mut [Client], lines: usize) {
    let count = clients.len();
    thread::scope(|scope| {
        for (speaker, client) in clients.iter_mut().enumerate() {
            scope.spawn(move || {
                for line in 0..lines {
                    client.says(&format!("speaker {speaker} line {line}"));
                }
            });
        }
    });
    for (listener, client) in clients.iter_mut().enumerate() {
        // Any speaker may come next, but her lines must come in order.
        let mut next = vec![0; count];
        for _ in 0..(count - 1) * lines {
            let line = client.hears("speaker");
            let words: Vec<_> = line.split_whitespace().collect();
            let [.., "speaker", speaker, "line", number] = words[..] else {
                server.fail(format!("Client {listener} heard a damaged line: {line:?}."));
            };
            let speaker: usize = speaker.parse().unwrap();
            if number != next[speaker].to_string() || speaker == listener {
                server.fail(format!(
                    "Client {listener} heard {line:?} when line {} of that speaker was next.",
                    next[speaker]
                ));
            }
            next[speaker] += 1;
        }
    }
    // Nothing came twice: the next is the last.
    let (first, others) = clients.split_first_mut().unwrap();
    first.says("that was all");
    for client in others {
        client.hears("that was all");
    }
}
