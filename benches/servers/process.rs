//! The servers under measurement, each a process of its own.

use std::cell::Cell;
use std::env;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::ValueEnum;
use sysinfo::{Pid, ProcessesToUpdate, System};

use crate::floors::Floor;

/// A server, and its name in the tables.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    /// `examples/NAME_server.rs`.
    Stage(&'static str),
    Floor(Floor),
    Redis,
}

impl Kind {
    pub fn name(self) -> String {
        match self {
            Self::Stage(name) => name.into(),
            Self::Floor(Floor::Write) => "floor: a write per line".into(),
            Self::Floor(Floor::Gather) => "floor: gathering".into(),
            Self::Floor(Floor::Echo) => "floor: echo".into(),
            Self::Floor(Floor::EchoThreads) => "a thread per client".into(),
            Self::Redis => "redis-server".into(),
        }
    }

    /// The number of a stage.
    pub fn number(self) -> Option<u32> {
        match self {
            Self::Stage(name) => name[..2].parse().ok(),
            _ => None,
        }
    }
}

/// Killed when dropped.
pub struct Running {
    pub kind: Kind,
    pub address: SocketAddr,
    child: Child,
    names: Cell<usize>,
}

impl Running {
    pub fn start(kind: Kind) -> anyhow::Result<Self> {
        let mut input = Stdio::null();
        let mut command = match kind {
            Kind::Stage(name) => {
                let build = escargot::CargoBuild::new()
                    .manifest_path(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml"))
                    .example(format!("{name}_server"))
                    .release()
                    .run()?;
                let mut command = build.command();
                command.args(["--port", "0"]);
                if kind.number() >= Some(7) {
                    // Limits far above any load here.
                    command.args(["--max-clients", "100000", "--max-rate", "1000000000"]);
                    command.args(["--name-timeout", "3600"]);
                }
                command
            }
            Kind::Floor(floor) => {
                let mut command = Command::new(env::current_exe()?);
                let name = floor.to_possible_value().expect("no floor is hidden");
                command.args(["--serve", name.get_name()]);
                input = Stdio::piped(); // a floor ends when its input does, so it ends when we do
                command
            }
            Kind::Redis => return Self::redis(),
        };
        command
            .env_remove("STAGE_PORT")
            .stdin(input)
            .stdout(Stdio::piped());
        let mut child = command.spawn()?;
        let mut lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        let address = lines
            .by_ref()
            .map_while(Result::ok)
            .find_map(|line| line.strip_prefix("listening on ")?.parse().ok());
        // This reads what the server prints. Without it the pipe gets full, and the server
        // waits.
        thread::spawn(move || lines.for_each(drop));
        let mut running = Self {
            kind,
            address: ([0, 0, 0, 0], 0).into(),
            child,
            names: Cell::new(0),
        };
        running.address = address.with_context(|| format!("{} does not start", kind.name()))?;
        Ok(running)
    }

    fn redis() -> anyhow::Result<Self> {
        let port = portpicker::pick_unused_port().context("no free port")?;
        let child = Command::new("redis-server")
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1"])
            .args(["--save", "", "--appendonly", "no", "--maxclients", "20000"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .context("redis-server cannot be started; is it installed?")?;
        let running = Self {
            kind: Kind::Redis,
            address: ([127, 0, 0, 1], port).into(),
            child,
            names: Cell::new(0),
        };
        let deadline = Instant::now() + Duration::from_secs(5);
        while std::net::TcpStream::connect(running.address).is_err() {
            if Instant::now() > deadline {
                bail!("redis-server does not listen");
            }
            thread::sleep(Duration::from_millis(10)); // until the next try
        }
        Ok(running)
    }

    /// A number that no other client of this server has in its name.
    pub fn next_name(&self) -> usize {
        self.names.replace(self.names.get() + 1)
    }

    pub fn usage(&self) -> Usage {
        Usage::of(self.child.id())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The resources that a process has used so far.
pub struct Usage {
    pub memory: u64,
    /// `None` where the system does not tell.
    pub threads: Option<usize>,
    pub cpu: Duration,
}

impl Usage {
    pub fn of(id: u32) -> Self {
        let id = Pid::from_u32(id);
        let mut system = System::new();
        system.refresh_processes(ProcessesToUpdate::Some(&[id]), true);
        let process = system.process(id).expect("it is running");
        Self {
            memory: process.memory(),
            threads: process.tasks().map(|tasks| tasks.len() + 1),
            cpu: Duration::from_millis(process.accumulated_cpu_time()),
        }
    }
}
