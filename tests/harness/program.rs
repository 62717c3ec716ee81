//! Programs under test: built, started, watched, and ended with all they started.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, Once, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use escargot::format::Message;
use process_wrap::std::{ChildWrapper, CommandWrap};

use super::root;

/// The paths of the examples that have been built so far.
static BUILT: Mutex<BTreeMap<String, PathBuf>> = Mutex::new(BTreeMap::new());

/// The command of one of our examples, newly built if its source has changed:
/// `cargo test --test 03_broadcast` alone builds no examples.
pub fn example(name: &str) -> Command {
    // A test that failed to build one program must not fail the tests of the others.
    let mut built = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
    if !built.contains_key(name) {
        match build(&[name]) {
            Ok(programs) => built.extend(programs),
            Err(_) => panic!(
                "\n\nexamples/{name}.rs cannot be built:\n\n{}",
                complaint(name)
            ),
        };
    }
    Command::new(&built[name])
}

/// Builds several examples at once, for a test that needs them all: each call of cargo takes a
/// tenth of a second, even if there is nothing to do.
pub fn build_ahead<'a>(names: impl IntoIterator<Item = &'a str>) {
    let mut built = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
    let mut names: Vec<_> = names.into_iter().collect();
    names.retain(|name| !built.contains_key(*name));
    // If one cannot be built, `example` says so.
    if !names.is_empty()
        && let Ok(programs) = build(&names)
    {
        built.extend(programs);
    }
}

fn build(names: &[&str]) -> escargot::error::CargoResult<Vec<(String, PathBuf)>> {
    let mut build = escargot::CargoBuild::new()
        .manifest_path(root().join("Cargo.toml"))
        .current_release();
    for name in names {
        build = build.example(name);
        if name.starts_with("10_") {
            build = build.features("window");
        }
    }
    let mut programs = Vec::new();
    for message in build.exec()? {
        let message = message?;
        if let Message::CompilerArtifact(artifact) = message.decode()?
            && let Some(program) = artifact.executable
        {
            programs.push((artifact.target.name.into(), program.into()));
        }
    }
    Ok(programs)
}

/// What the compiler says about an example, for people: `escargot` asks for it as JSON.
fn complaint(name: &str) -> String {
    let built = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--example", name])
        .current_dir(root())
        .output();
    match built {
        Ok(output) => String::from_utf8_lossy(&output.stderr).into(),
        Err(error) => error.to_string(),
    }
}

/// A running program, killed with all its descendants when dropped.
pub struct Program {
    child: SharedChild,
    stdin: Option<ChildStdin>,
    output: Output,
}

type SharedChild = Arc<Mutex<Box<dyn ChildWrapper>>>;

/// Every running program, to be ended when the tests are ended by a signal: in process
/// groups of their own, they do not get the Ctrl-C of the terminal.
static RUNNING: Mutex<Vec<SharedChild>> = Mutex::new(Vec::new());

impl Program {
    /// Starts a program, its standard output and error going into one [`Output`].
    pub fn start(mut command: Command) -> io::Result<Self> {
        end_all_on_interrupt();
        let (reader, writer) = io::pipe()?;
        command
            .stdin(Stdio::piped())
            .stdout(writer.try_clone()?)
            .stderr(writer);
        let mut command = CommandWrap::from(command);
        #[cfg(unix)]
        command.wrap(process_wrap::std::ProcessGroup::leader());
        #[cfg(windows)]
        command.wrap(process_wrap::std::JobObject);
        let mut child = command.spawn()?;
        // The command holds the pipe's writing end too: without this, the output
        // would never be at its end.
        drop(command);

        let output = Output::default();
        let watched = output.clone();
        thread::spawn(move || watched.follow(BufReader::new(reader)));
        let stdin = child.stdin().take();
        let child = Arc::new(Mutex::new(child));
        RUNNING.lock().unwrap().push(Arc::clone(&child));
        Ok(Self {
            child,
            stdin,
            output,
        })
    }

    /// What it has printed, and will print.
    pub fn output(&self) -> &Output {
        &self.output
    }

    pub fn id(&self) -> u32 {
        self.child.lock().unwrap().id()
    }

    /// Types a line at its keyboard.
    pub fn types(&mut self, line: &str) -> io::Result<()> {
        match &mut self.stdin {
            Some(stdin) => stdin.write_all(format!("{line}\n").as_bytes()),
            None => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    /// Ends its keyboard's input, as Ctrl-D does.
    pub fn ends_input(&mut self) {
        self.stdin = None;
    }

    /// How it ended, if it has.
    pub fn status(&self) -> Option<ExitStatus> {
        self.child.lock().unwrap().try_wait().unwrap()
    }

    /// Waits until it ends by itself; `None` if it does not. The lock is free while it
    /// waits, or Ctrl-C could not end the program.
    pub fn wait(&self, patience: Duration) -> Option<ExitStatus> {
        let deadline = Instant::now() + patience;
        loop {
            let status = self.status();
            if status.is_some() {
                // What it printed last may still be on its way to us.
                self.output.wait_for_end(Duration::from_secs(1));
            }
            if status.is_some() || Instant::now() > deadline {
                return status;
            }
            thread::park_timeout(Duration::from_millis(5));
        }
    }

    /// Interrupts it, as Ctrl-C does.
    #[cfg(unix)]
    pub fn interrupt(&self) -> io::Result<()> {
        self.signal("INT")
    }

    #[cfg(unix)]
    fn signal(&self, name: &str) -> io::Result<()> {
        let group = format!("-{}", self.id());
        let mut kill = Command::new("kill");
        kill.args(["-s", name, "--", &group]).status().map(drop)
    }

    /// Lets it go on after it was suspended, as `fg` does.
    #[cfg(unix)]
    pub fn resume(&self) -> io::Result<()> {
        self.signal("CONT")
    }

    /// Suspends it, as Ctrl-Z does, and waits until all its threads have stopped: until then
    /// one may still read.
    #[cfg(unix)]
    pub fn suspend(&self) -> io::Result<()> {
        self.signal("STOP")?;
        let mut ps = Command::new("ps");
        ps.args(["-o", "stat=", "-p", &self.id().to_string()]);
        if cfg!(target_os = "linux") {
            ps.arg("-L"); // a line for each thread, not only for the first
        }
        let is_stopped = |states: &[u8]| {
            let mut threads = states.split(|&byte| byte == b'\n');
            states.starts_with(b"T") && threads.all(|it| it.is_empty() || it.starts_with(b"T"))
        };
        while !is_stopped(&ps.output()?.stdout) {
            if self.status().is_some() {
                return Err(io::Error::other("it has ended"));
            }
        }
        Ok(())
    }

    pub fn kill(&self) {
        // Both may fail because the program has ended already. That is what we want.
        let mut child = self.child.lock().unwrap();
        let _ = child.start_kill();
        let _ = child.wait();
        drop(child);
        // Descendants hold the other end of the output; it ends when the last one does.
        self.output.wait_for_end(Duration::from_secs(1));
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.kill();
        if let Ok(mut running) = RUNNING.lock() {
            running.retain(|child| !Arc::ptr_eq(child, &self.child));
        }
    }
}

fn end_all_on_interrupt() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let end_all = || {
            for child in RUNNING.lock().unwrap().iter() {
                let _ = child.lock().unwrap().start_kill();
            }
            std::process::exit(130);
        };
        ctrlc::set_handler(end_all).expect("no other handler is set by the tests");
    });
}

/// The lines that a program has printed, on its standard output or error.
#[derive(Clone, Default)]
pub struct Output(Arc<(Mutex<Printed>, Condvar)>);

#[derive(Default)]
struct Printed {
    lines: Vec<String>,
    ended: bool,
}

impl Output {
    /// Takes in all lines until the end.
    fn follow(&self, reader: impl BufRead) {
        for line in reader.split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line);
            self.push(line.trim_end_matches('\r').into());
        }
        let (printed, changed) = &*self.0;
        printed.lock().unwrap().ended = true;
        changed.notify_all();
    }

    pub fn push(&self, line: String) {
        let (printed, changed) = &*self.0;
        printed.lock().unwrap().lines.push(line);
        changed.notify_all();
    }

    /// All lines so far.
    pub fn lines(&self) -> Vec<String> {
        self.0.0.lock().unwrap().lines.clone()
    }

    /// Waits for line number `index`, counted from 0; `None` if the program ends, or
    /// the time does, before it comes.
    pub fn line(&self, index: usize, deadline: Instant) -> Option<String> {
        let printed = self.wait_until(deadline, |printed| printed.lines.len() > index);
        printed.lines.get(index).cloned()
    }

    /// Waits until the program has closed its output; false if it does not.
    pub fn wait_for_end(&self, patience: Duration) -> bool {
        self.wait_until(Instant::now() + patience, |_| false).ended
    }

    fn wait_until(
        &self,
        deadline: Instant,
        done: impl Fn(&Printed) -> bool,
    ) -> MutexGuard<'_, Printed> {
        let (printed, changed) = &*self.0;
        let left = deadline.saturating_duration_since(Instant::now());
        let waits = |printed: &mut Printed| !printed.ended && !done(printed);
        let (printed, _) = changed
            .wait_timeout_while(printed.lock().unwrap(), left, waits)
            .unwrap();
        printed
    }
}
