//! Runs the transcripts of the lessons: several terminals, side by side in one block.
//!
//! ```console
//! server │ $ cargo run --example 03_broadcast_server
//! server │ listening on 127.0.0.1:12345
//! ana    │ $ cargo run --example 02_parallel_client
//! ana    │ connected to 127.0.0.1:12345
//! ana    │ > hola
//! ana    │ ^D
//! ```
//!
//! In front of the bar stands the terminal; after it, from top to bottom in time,
//!
//! - `$ COMMAND`: typed at the shell; a command before it must have ended. (Cargo builds and
//!   starts a program once; after that, the program is started without it.)
//! - `> TEXT`, or `your name> TEXT`: typed into the running program, at its prompt;
//! - `^D`: the end of its input; `^C`: the program is ended; `^Z`: it is suspended, and
//!   `$ kill -9 %%` ends it then;
//! - anything else: the next line that the terminal shows, with `[..]` for what
//!   varies, and `[...]` alone for any number of lines.
//!
//! At its end, a program must have shown nothing more, and at the end of the transcript
//! all programs must have ended. The port 12345 stands
//! for a free one, which all commands get by `STAGE_PORT`. Cargo's own lines
//! (Compiling, Finished, Running) are left out.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::{Program, example, free_port, patience, root};

/// The first line of a program may have to wait until the program has been built.
const BUILD: Duration = Duration::from_secs(120);

/// If nothing is shown for this long, we believe that nothing will come.
const QUIET: Duration = Duration::from_millis(100);

#[derive(Default)]
struct Terminal {
    program: Option<Program>,
    /// How many lines of its output have been compared.
    seen: usize,
    /// Any lines may come before the next one.
    skips: bool,
}

/// Runs a transcript; the error says at which line it differs, and how.
pub fn run(transcript: &str) -> Result<(), String> {
    let (port, _reservation) = free_port();
    let port = port.to_string();
    let mut terminals = BTreeMap::<&str, Terminal>::new();
    for line in transcript.lines() {
        let Some((name, text)) = line.split_once('│') else {
            return Err(format!("{line:?} has no terminal: NAME │ TEXT"));
        };
        let text = text.strip_prefix(' ').unwrap_or(text);
        let text = text.replace("12345", &port);
        let terminal = terminals.entry(name.trim()).or_default();
        let result = terminal.perform(&text, &port);
        result.map_err(|difference| format!("{line}\n{difference}"))?;
    }
    for (name, terminal) in &mut terminals {
        let result = terminal.has_shown_all();
        result.map_err(|difference| format!("{name} │ (at its end)\n{difference}"))?;
    }
    Ok(())
}

impl Terminal {
    fn perform(&mut self, text: &str, port: &str) -> Result<(), String> {
        if let Some(command) = text.strip_prefix("$ ") {
            if command == "kill -9 %%" {
                // The first job of a shell that we do without.
                self.program.as_ref().map(Program::kill);
                return Ok(());
            }
            self.has_shown_all()?;
            *self = Self::default();
            let program = Program::start(shell(command, port));
            self.program = Some(program.map_err(|error| error.to_string())?);
            return Ok(());
        }
        let Some(program) = &mut self.program else {
            return Err("nothing has been started in this terminal".into());
        };
        match text {
            "^C" => {
                // Whatever is to be shown before comes soon, and must be in the text.
                if let Some(line) = program.output().line(self.seen, Instant::now() + QUIET) {
                    return Err(format!("the transcript leaves out: {line:?}"));
                }
                #[cfg(unix)]
                program.interrupt().map_err(|error| error.to_string())?;
                #[cfg(windows)]
                program.kill();
            }
            "^D" => program.ends_input(),
            #[cfg(unix)]
            "^Z" => program.suspend().map_err(|error| error.to_string())?,
            "[...]" => self.skips = true,
            _ => match text
                .strip_prefix("your name")
                .unwrap_or(text)
                .strip_prefix('>')
            {
                Some(typed) => program
                    .types(typed.strip_prefix(' ').unwrap_or(typed))
                    .map_err(|error| format!("the program does not take it: {error}"))?,
                None => return self.shows(text),
            },
        }
        Ok(())
    }

    /// Compares the next line that the program prints.
    fn shows(&mut self, expected: &str) -> Result<(), String> {
        let output = self.program.as_ref().unwrap().output();
        let patience = if self.seen == 0 { BUILD } else { patience() };
        let deadline = Instant::now() + patience;
        loop {
            let Some(line) = output.line(self.seen, deadline) else {
                return Err(format!(
                    "was expected, but no more came. All that came: {:#?}",
                    output.lines()
                ));
            };
            self.seen += 1;
            if matches(expected, &line) {
                self.skips = false;
                return Ok(());
            }
            if !self.skips {
                return Err(format!("was expected, but this came: {line:?}"));
            }
        }
    }

    /// Whether the program has ended, and has shown no more than was compared.
    fn has_shown_all(&mut self) -> Result<(), String> {
        let Some(program) = &self.program else {
            return Ok(());
        };
        if program.wait(patience()).is_none() {
            return Err("its program is still running: how does the reader end it?".into());
        }
        program.output().wait_for_end(patience());
        match program.output().lines().get(self.seen) {
            Some(line) if !self.skips => Err(format!("the transcript leaves out: {line:?}")),
            _ => Ok(()),
        }
    }
}

/// The command with the program itself in the place of `cargo run --example NAME`, unless this
/// is the first time that it is run. Cargo is asked once for each program: it would build and
/// start the same one again, and it takes longer to begin than most transcripts to the end.
fn with_program(command: &str) -> String {
    static RUN: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    let Some((before, rest)) = command.split_once("cargo run --example ") else {
        return command.into();
    };
    let (name, arguments) = rest.split_at(rest.find(' ').unwrap_or(rest.len()));
    let arguments = match arguments.strip_prefix(" -- ") {
        None if !arguments.is_empty() => return command.into(),
        arguments => arguments.unwrap_or_default(),
    };
    if RUN.lock().unwrap().insert(name.into()) {
        return command.into();
    }
    let program = example(name);
    let program = shell_words::quote(&program.get_program().to_string_lossy()).into_owned();
    format!("{before}{program} {arguments}")
}

/// The command as a shell would run it.
fn shell(command: &str, port: &str) -> Command {
    let command = &with_program(command);
    let mut shell = if cfg!(windows) {
        // Without a shell: the commands that need one are not for Windows.
        let words = shell_words::split(command).unwrap();
        let mut program = Command::new(&words[0]);
        program.args(&words[1..]);
        program
    } else {
        let mut shell = Command::new("sh");
        shell.args(["-c", command]);
        shell
    };
    shell
        .current_dir(root())
        .env("STAGE_PORT", port)
        .env("CARGO_TERM_QUIET", "true")
        .env_remove("STAGE_CMD")
        .env_remove("RUST_BACKTRACE");
    shell
}

/// Whether a transcript can be run on this system: pipes, jobs and variables need a
/// Unix shell.
pub fn applies(transcript: &str) -> bool {
    !cfg!(windows)
        || ![" | ", "^Z", "$ STAGE_"]
            .iter()
            .any(|text| transcript.contains(text))
}

/// Whether the line is what is expected, where `[..]` stands for any text.
pub fn matches(expected: &str, line: &str) -> bool {
    let mut parts = expected.split("[..]");
    let Some(mut rest) = line.strip_prefix(parts.next().unwrap_or_default()) else {
        return false;
    };
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    true
}
