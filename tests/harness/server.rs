//! The server under test: our example, the command in `STAGE_CMD`, or a wrong one.

use std::env;
use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

use super::client::Client;
use super::program::{Output, Program, example};
use super::story::{Story, shortened};
use super::{patience, root, wrong};

/// How long a program may take until it listens; only a failing one takes it.
fn patience_at_start() -> Duration {
    4 * patience()
}

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

/// Who types at the server's keyboard, and ends it when dropped.
enum Operator {
    Of(Program),
    Hosted(mpsc::Sender<String>),
}

/// Options for our own server with which no scene of these tests reaches a limit.
pub fn higher_limits(stage: &str) -> &'static [&'static str] {
    match stage {
        stage if stage < "07" => &[],
        _ => &["--max-line", "20000", "--max-rate", "1000000"],
    }
}

impl Server {
    /// Starts the server that the test is about: `examples/{stage}_server.rs`, or
    /// what `STAGE_CMD` says.
    #[track_caller]
    pub fn start(stage: &str) -> Self {
        if let Some(wrong) = wrong::server_of_this_thread() {
            return Self::hosted(stage, wrong);
        }
        match env::var("STAGE_CMD") {
            Ok(command) => Self::foreign(stage, &command),
            Err(_) => Self::example(stage, example(&format!("{stage}_server"))),
        }
    }

    /// Starts our example, for a test that looks at what only it does; `None` if
    /// `STAGE_CMD` names another server.
    #[track_caller]
    pub fn ours(stage: &str) -> Option<Self> {
        applies_to_ours_only().then(|| Self::example(stage, example(&format!("{stage}_server"))))
    }

    /// As [`ours`](Server::ours), with these options.
    #[track_caller]
    pub fn ours_with(stage: &str, options: &[&str]) -> Option<Self> {
        applies_to_ours_only().then(|| {
            let mut command = example(&format!("{stage}_server"));
            command.args(options);
            Self::example(stage, command)
        })
    }

    /// As [`start`](Server::start), for an exercise that gives the server these options: a
    /// command in `STAGE_CMD` gets them at its end. Without them, that is `missing`.
    #[track_caller]
    pub fn start_with(stage: &str, options: &[&str], missing: &str) -> Self {
        match env::var("STAGE_CMD") {
            Ok(command) => {
                let server = Self::foreign(stage, &format!("{command} {}", options.join(" ")));
                server.still_missing(missing);
                server
            }
            Err(_) => {
                let mut command = example(&format!("{stage}_server"));
                command.args(options);
                Self::example_with(stage, command, |story| story.still_missing(missing))
            }
        }
    }

    /// As [`start`](Server::start), for a scene that sends more and faster than a server
    /// with limits (from stage 07 on) lets anybody: ours is given higher ones.
    #[track_caller]
    pub fn unhurried(stage: &str) -> Option<Self> {
        Self::unhurried_with(stage, &[])
    }

    /// As [`unhurried`](Server::unhurried); if the server is ours, with these options.
    #[track_caller]
    pub fn unhurried_with(stage: &str, options: &[&str]) -> Option<Self> {
        if stage < "07" && (options.is_empty() || env::var_os("STAGE_CMD").is_some()) {
            return Some(Self::start(stage));
        }
        Self::ours_with(stage, &[higher_limits(stage), options].concat())
    }

    /// Starts our example by a command of the test's own, without its options.
    #[track_caller]
    pub fn example(stage: &str, command: Command) -> Self {
        Self::example_with(stage, command, |_| {})
    }

    /// As [`example`](Server::example), with a story that has begun already.
    #[track_caller]
    fn example_with(stage: &str, mut command: Command, begin: impl FnOnce(&Story)) -> Self {
        command.args(["--port", "0"]).env_remove("STAGE_PORT");
        if stage.starts_with("10_") {
            command.arg("--no-window"); // a display is not needed to serve
        }
        let program = Program::start(command).expect("a program just built can be started");
        let output = program.output().clone();
        let story = Story::new(stage, format!("examples/{stage}_server.rs"), output.clone());
        begin(&story);

        let deadline = Instant::now() + patience_at_start();
        let mut lines = (0..).map_while(|index| output.line(index, deadline));
        let Some(address) = lines.find_map(|line| line.strip_prefix("listening on ")?.parse().ok())
        else {
            story.fail("The server should have printed \"listening on ADDRESS:PORT\".");
        };
        Self::new(address, story, output, Operator::Of(program), None)
    }

    /// Starts the reader's own server on a free port, and waits until it answers.
    #[track_caller]
    fn foreign(stage: &str, template: &str) -> Self {
        // One clear complaint is enough: the other tests do not wait for theirs.
        static UNUSABLE: OnceLock<()> = OnceLock::new();
        if UNUSABLE.get().is_some() {
            panic!("STAGE_CMD cannot be used: another test tells why");
        }
        match Self::start_foreign(stage, template) {
            Ok(server) => server,
            Err(complaint) => {
                UNUSABLE.get_or_init(|| ());
                panic!("\n\nSTAGE_CMD={template:?}\n{complaint}\n");
            }
        }
    }

    /// As [`start`](Server::start) does with `STAGE_CMD`; the error tells the learner
    /// what is wrong with the command.
    pub fn start_foreign(stage: &str, template: &str) -> Result<Self, String> {
        let (port, reservation) = free_port();
        let mut command = start_command(template, port)?;
        // On Windows, Python would otherwise print what the tests cannot read.
        command.env("PYTHONUTF8", "1");
        let name = command.get_program().to_string_lossy().into_owned();
        let program = Program::start(command).map_err(|error| {
            format!(
                "The program {name:?} cannot be started: {error}. Is it installed, and spelled so?"
            )
        })?;
        let output = program.output().clone();
        let printed = || match output.lines() {
            lines if lines.is_empty() => "It printed nothing.".into(),
            lines => format!("It printed:\n  | {}", lines.join("\n  | ")),
        };

        let deadline = Instant::now() + patience_at_start();
        loop {
            // Some servers listen on IPv6 only when told "localhost".
            let addresses = [([127, 0, 0, 1], port).into(), (LOCALHOST_V6, port).into()];
            for address in addresses {
                let Ok(stream) = TcpStream::connect::<SocketAddr>(address) else {
                    continue;
                };
                let story = Story::new(stage, format!("STAGE_CMD={template:?}"), output.clone());
                let operator = Operator::Of(program);
                let mut server = Self::new(address, story, output, operator, Some(stream));
                server.reservation = Some(reservation);
                return Ok(server);
            }
            if let Some(status) = program.status() {
                output.wait_for_end(patience());
                return Err(format!(
                    "The program ended before it listened on port {port} ({status}). Does it use \
                     the port that it is given? {}",
                    printed()
                ));
            }
            if Instant::now() > deadline {
                return Err(format!(
                    "Nothing listened on port {port} of this machine within {:?}. Does the \
                     program use the port it is given? {}",
                    patience_at_start(),
                    printed()
                ));
            }
            // Until the next try: no harm if it is too long or too short.
            thread::park_timeout(Duration::from_millis(10));
        }
    }

    /// Lets a wrong server run in this process.
    fn hosted(stage: &str, wrong: wrong::Wrong) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let output = Output::default();
        let story = Story::new(stage, "a wrong one".into(), output.clone());
        let (types, keyboard) = mpsc::channel();
        let screen = output.clone();
        let hosted = wrong::Hosted {
            listener: Arc::new(listener),
            keyboard: Arc::new(Mutex::new(keyboard)),
            screen,
        };
        thread::spawn(move || wrong(hosted));
        Self::new(address, story, output, Operator::Hosted(types), None)
    }

    fn new(
        address: SocketAddr,
        story: Story,
        output: Output,
        operator: Operator,
        first: Option<TcpStream>,
    ) -> Self {
        Self {
            address,
            story,
            output,
            operator: Mutex::new(operator),
            first: Mutex::new(first),
            reservation: None,
            seen: Mutex::new(0),
        }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Tells the learner where to look, should the test fail from here on.
    pub fn likely_cause(&self, cause: &str) {
        self.story.likely_cause(cause);
    }

    /// Tells the learner what an exercise still lacks, should its check fail from here on.
    pub fn still_missing(&self, what: &str) {
        self.story.still_missing(what);
    }

    /// A new client. It is connected; that the server has accepted it shows only
    /// when it hears or is heard.
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

    /// A new client whose system takes no more than so many bytes (or a few more) that
    /// it has not read: the fewer, the sooner the server has to wait for it.
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
    /// The first one says "roll call 1" and so on until everybody hears it. So her
    /// own first line may get lost unseen; that of any other may not.
    #[track_caller]
    pub fn room<const N: usize>(&self, names: [&str; N]) -> [Client; N] {
        let mut clients = names.map(|name| self.client(name));
        self.roll_call(&mut clients);
        clients
    }

    /// Clients of a chat, each in the room under its name, who hear each other.
    #[track_caller]
    pub fn chat<const N: usize>(&self, names: [&str; N]) -> [Client; N] {
        let mut clients = names.map(|name| {
            let mut client = self.client(name);
            client.says(name);
            client
        });
        // A server that takes a packet for the name is told so by the test about that;
        // for all the others, this keeps the name in a packet of its own.
        thread::park_timeout(Duration::from_millis(10));
        self.roll_call(&mut clients);
        // The last one answers, so that everybody is past the welcomes and the joinings.
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
        let (caller, others) = clients.split_first_mut().expect("somebody calls the roll");
        let deadline = Instant::now() + patience();
        for attempt in 1.. {
            let call = format!("roll call {attempt}");
            caller.says(&call);
            // Whoever is on the list hears it soon. Whoever is not yet, never does,
            // but will hear the next one.
            let soon = Duration::from_millis(20 * attempt);
            let deaf = others
                .iter_mut()
                .find_map(|other| (!other.hears_within(&call, soon)).then_some(other));
            match deaf {
                None => return,
                Some(deaf) if Instant::now() > deadline => deaf.fail(format!(
                    "does not hear {}, who has called {attempt} times.",
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
            // A wrong server inside the test has no signals: it is typed to it.
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

    /// How many of them have this text in them.
    pub fn lines_with(&self, text: &str) -> usize {
        let lines = self.output.lines();
        lines.iter().filter(|line| line.contains(text)).count()
    }

    /// How many of them have nothing in them.
    pub fn empty_lines(&self) -> usize {
        let lines = self.output.lines();
        lines.iter().filter(|line| line.trim().is_empty()).count()
    }

    /// The memory that the process has in use (its resident set), in bytes.
    pub fn memory(&self) -> u64 {
        self.process(sysinfo::Process::memory)
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

const LOCALHOST_V6: [u16; 8] = [0, 0, 0, 0, 0, 0, 0, 1];

/// Whether our own example is under test. If not, says that this test does not apply,
/// past the capture of `cargo test`, so that it is seen.
pub fn applies_to_ours_only() -> bool {
    let ours = env::var_os("STAGE_CMD").is_none();
    if !ours {
        let test = thread::current();
        let test = test.name().unwrap_or("this test");
        let _ = writeln!(
            std::io::stderr(),
            "{test}: does not apply to STAGE_CMD (it looks at our own program)"
        );
    }
    ours
}

/// The command that `STAGE_CMD` stands for: split into words as a shell would, with
/// the port in place of `{port}`.
///
/// # Errors
///
/// A sentence that says what is wrong with it.
pub fn start_command(template: &str, port: u16) -> Result<Command, String> {
    const EXAMPLE: &str = "for example: STAGE_CMD='python3 -u my_server.py {port}'";
    let words = shell_words::split(template)
        .map_err(|_| format!("It has a quotation mark without its partner; {EXAMPLE}"))?;
    if !template.contains("{port}") {
        return Err(format!(
            "It has no {{port}} in it, the place where each test puts a free port; {EXAMPLE}"
        ));
    }
    let mut words = words
        .iter()
        .map(|word| word.replace("{port}", &port.to_string()));
    let mut program = PathBuf::from(words.next().unwrap_or_default());
    // Paths start where `cargo` is called, and not in the folder of the tests. (Which of
    // them `current_dir` means for the program itself, differs from system to system.)
    if program.components().count() > 1 {
        program = root().join(program);
    }
    let mut command = Command::new(program);
    command.args(words).current_dir(root());
    Ok(command)
}

/// A port that is free now, and a reservation: portpicker takes only ports that are free
/// for TCP and for UDP, so a UDP socket on it keeps it from being picked again.
pub fn free_port() -> (u16, UdpSocket) {
    loop {
        let port = portpicker::pick_unused_port().expect("some port is free");
        if let Ok(reservation) = UdpSocket::bind(("0.0.0.0", port)) {
            return (port, reservation);
        }
    }
}

/// Everybody says so many lines at the same time, and everybody else hears each of them
/// once, those of one speaker in their order.
#[track_caller]
pub fn everybody_speaks_at_once(server: &Server, clients: &mut [Client], lines: usize) {
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
        // Which speaker comes next is open; which of her lines, is not.
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
