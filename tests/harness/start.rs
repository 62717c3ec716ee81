//! Starts the server under test: our example, the command in `STAGE_CMD`, or a wrong one.
//!
//! ```text
//! let server = Server::start(STAGE);
//! let server = Server::of(STAGE).with(["--max-clients", "3"]).ours_only().start();
//! ```

use std::env;
use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex, OnceLock, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use super::program::{Output, Program, example};
use super::server::{Operator, Server};
use super::story::Story;
use super::{patience, root, source_of, wrong};

/// How long a program may take until it listens. Only a failing program takes that long.
fn patience_at_start() -> Duration {
    4 * patience()
}

/// Options for our own server with which no scene of these tests reaches a limit.
const HIGH_LIMITS: [&str; 4] = ["--max-line", "20000", "--max-rate", "1000000"];

/// A server that is about to be started, and how.
#[must_use]
pub struct Start {
    stage: String,
    options: Vec<String>,
    variables: Vec<(String, String)>,
    script: Option<String>,
    missing: Option<String>,
}

/// A server that is started if the test applies to the server under test.
#[must_use]
pub struct StartIfItApplies {
    start: Start,
    applies_to_any: bool,
}

impl Server {
    /// The server that a test is about, to be started in a way of its own.
    pub fn of(stage: &str) -> Start {
        Start {
            stage: stage.into(),
            options: Vec::new(),
            variables: Vec::new(),
            script: None,
            missing: None,
        }
    }

    /// Starts the server that a test is about: `examples/{stage}_server.rs`, or the command
    /// in `STAGE_CMD`.
    #[track_caller]
    pub fn start(stage: &str) -> Self {
        Self::of(stage).start()
    }

    /// Starts a server for the check of an exercise that adds these options to it. Without
    /// the options the server does not start: then `missing` is what is still missing.
    #[track_caller]
    pub fn start_with(stage: &str, options: &[&str], missing: &str) -> Self {
        let mut start = Self::of(stage).with(options);
        start.missing = Some(missing.into());
        start.start()
    }
}

impl Start {
    /// Gives the server these options. A command in `STAGE_CMD` gets them at its end.
    pub fn with(mut self, options: impl IntoIterator<Item = impl AsRef<str>>) -> Self {
        let options = options.into_iter().map(|option| option.as_ref().to_owned());
        self.options.extend(options);
        self
    }

    /// Sets a variable of the environment for our own server.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.into(), value.into()));
        self
    }

    /// Lets a shell run this script, in which `"$0" "$@"` is our own server.
    pub fn in_shell(mut self, script: &str) -> Self {
        self.script = Some(script.into());
        self
    }

    /// For a test of what only our own server does. The test does not apply to `STAGE_CMD`.
    pub fn ours_only(self) -> StartIfItApplies {
        StartIfItApplies {
            start: self,
            applies_to_any: false,
        }
    }

    /// For a scene that sends more, or faster, than a server with limits accepts. From stage 07
    /// on our own server gets high limits, and the test does not apply to `STAGE_CMD`. Before
    /// that, a command in `STAGE_CMD` gets none of the options.
    pub fn with_high_limits(mut self) -> StartIfItApplies {
        let has_limits = self.stage.as_str() >= "07";
        if has_limits {
            self.options.splice(0..0, HIGH_LIMITS.map(String::from));
        }
        StartIfItApplies {
            start: self,
            applies_to_any: !has_limits,
        }
    }

    #[track_caller]
    pub fn start(self) -> Server {
        match env::var("STAGE_CMD") {
            Ok(command) => {
                let command = [&[command], &self.options[..]].concat().join(" ");
                let server = foreign(&self.stage, &command);
                if let Some(missing) = &self.missing {
                    server.still_missing(missing);
                }
                server
            }
            Err(_) => self.ours(),
        }
    }

    /// Starts our own server, or the wrong one that takes its place in this test.
    #[track_caller]
    fn ours(self) -> Server {
        if let Some(wrong) = wrong::server_of_this_thread() {
            return hosted(&self.stage, wrong);
        }
        let stage = self.stage;
        let program = example(&format!("{stage}_server"));
        let mut command = match self.script {
            None => program,
            Some(script) => {
                let mut shell = Command::new("sh");
                shell.args(["-c", &script]).arg(program.get_program());
                shell
            }
        };
        command.args(self.options).args(["--port", "0"]);
        command.envs(self.variables).env_remove("STAGE_PORT");
        if stage.starts_with("10_") {
            command.arg("--no-window"); // a display is not needed to serve
        }
        let program = Program::start(command).expect("a program just built can be started");
        let output = program.output().clone();
        let story = Story::new(
            &stage,
            source_of(&format!("{stage}_server")),
            output.clone(),
        );
        if let Some(missing) = self.missing {
            story.still_missing(&missing);
        }

        let deadline = Instant::now() + patience_at_start();
        let mut lines = (0..).map_while(|index| output.line(index, deadline));
        let Some(address) = lines.find_map(|line| line.strip_prefix("listening on ")?.parse().ok())
        else {
            story.fail("The server should have printed \"listening on ADDRESS:PORT\".");
        };
        Server::new(address, story, output, Operator::Of(program))
    }
}

impl StartIfItApplies {
    /// Starts the server. If the test does not apply to it, says so and returns `None`.
    #[track_caller]
    pub fn start(self) -> Option<Server> {
        if self.applies_to_any && env::var_os("STAGE_CMD").is_some() {
            return Some(Server::start(&self.start.stage));
        }
        applies_to_ours_only().then(|| self.start.ours())
    }
}

/// Whether our own example is under test. If not, says that this test does not apply. It
/// says so on the standard error itself, because `cargo test` hides what a test prints.
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

/// Lets a wrong server run in this process.
fn hosted(stage: &str, wrong: wrong::Wrong) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let output = Output::default();
    let story = Story::new(stage, "a wrong one".into(), output.clone());
    let (types, keyboard) = mpsc::channel();
    let hosted = wrong::Hosted {
        listener: Arc::new(listener),
        keyboard: Arc::new(Mutex::new(keyboard)),
        screen: output.clone(),
    };
    thread::spawn(move || wrong(hosted));
    Server::new(address, story, output, Operator::Hosted(types))
}

/// Starts the reader's own server on a free port, and waits until it answers.
#[track_caller]
fn foreign(stage: &str, template: &str) -> Server {
    // One clear complaint is enough: the other tests do not wait for theirs.
    static UNUSABLE: OnceLock<()> = OnceLock::new();
    if UNUSABLE.get().is_some() {
        panic!("STAGE_CMD cannot be used: another test tells why");
    }
    match start_foreign(stage, template) {
        Ok(server) => server,
        Err(complaint) => {
            UNUSABLE.get_or_init(|| ());
            panic!("\n\nSTAGE_CMD={template:?}\n{complaint}\n");
        }
    }
}

/// Starts the server that `STAGE_CMD` stands for.
///
/// # Errors
///
/// What is wrong with the command, in sentences for a learner.
pub fn start_foreign(stage: &str, template: &str) -> Result<Server, String> {
    let (port, reservation) = free_port();
    let mut command = command_of(template, port)?;
    // On Windows, Python would otherwise print what the tests cannot read.
    command.env("PYTHONUTF8", "1");
    let name = command.get_program().to_string_lossy().into_owned();
    let program = Program::start(command).map_err(|error| {
        format!("The program {name:?} cannot be started: {error}. Is it installed, and spelled so?")
    })?;
    let stream = connected_to(&program, port)?;
    let output = program.output().clone();
    let story = Story::new(stage, format!("STAGE_CMD={template:?}"), output.clone());
    let address = stream.peer_addr().map_err(|error| error.to_string())?;
    let mut server = Server::new(address, story, output, Operator::Of(program));
    server.keep_for_the_first_client(stream, reservation);
    Ok(server)
}

/// Waits until the program listens on this port.
fn connected_to(program: &Program, port: u16) -> Result<TcpStream, String> {
    let output = program.output();
    let printed = || match output.lines() {
        lines if lines.is_empty() => "It printed nothing.".into(),
        lines => format!("It printed:\n  | {}", lines.join("\n  | ")),
    };
    let deadline = Instant::now() + patience_at_start();
    loop {
        // Some servers listen on IPv6 only when they are told "localhost".
        let addresses: [SocketAddr; 2] =
            [([127, 0, 0, 1], port).into(), (LOCALHOST_V6, port).into()];
        if let Some(stream) = addresses.iter().find_map(|a| TcpStream::connect(a).ok()) {
            return Ok(stream);
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
        // The pause before the next try. It does no harm if it is too long or too short.
        thread::park_timeout(Duration::from_millis(10));
    }
}

const LOCALHOST_V6: [u16; 8] = [0, 0, 0, 0, 0, 0, 0, 1];

/// The command that `STAGE_CMD` stands for: split into words as by a shell, with the port
/// in place of `{port}`.
///
/// # Errors
///
/// A sentence that says what is wrong with it.
fn command_of(template: &str, port: u16) -> Result<Command, String> {
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
    // Paths start where `cargo` is called, not in the folder of the tests. (Systems differ
    // in how `current_dir` affects the path of the program itself.)
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
