//! The command line of all programs, and its errors in plain words.
//!
//! Stage 00 calls `TcpListener::bind` and `TcpStream::connect` itself. From here it takes
//! only the options and the [`explain`](Listen::explain) methods. Later stages take
//! [`bind`] and [`connect`] too.

use std::fmt;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::sync::LazyLock;
use std::time::Duration;

use anyhow::{Context, anyhow};
use socket2::SockRef;

/// The port that every program uses if the command line gives no other.
pub const DEFAULT_PORT: u16 = 12345;

/// How many connections may wait to be accepted (`man 2 listen`). `std` asks for 128. When
/// more come at once, the system ignores the rest, and these try again after a second.
const BACKLOG: i32 = 1024;

/// The last paragraph of each server's `--help`.
pub const SERVER_HELP: &str = "\
The first line that the server prints is: listening on ADDRESS:PORT
Stop the server with Ctrl-C.";

/// The last paragraph of each client's `--help`.
pub const CLIENT_HELP: &str = "\
Type a line and press Enter to send it. To leave, type salir or /quit, or end the
input: Ctrl-D (on Windows Ctrl-Z, then Enter). The input may also be a pipe or a file.";

/// What `main` returns when a program cannot go on. It is shown as one sentence, with
/// exit status 1, and without the backtrace that `RUST_BACKTRACE` would add.
pub struct Failure(anyhow::Error);

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#}", self.0)
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self(error)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self(error.into())
    }
}

/// Where a server listens.
#[derive(Debug, Clone, clap::Args)]
pub struct Listen {
    /// Address or name to listen on; 0.0.0.0 lets other machines in
    #[arg(long, default_value = "127.0.0.1")]
    pub host: String,

    /// TCP port to listen on; 0 asks the system for a free one
    #[arg(long, env = "STAGE_PORT", default_value_t = DEFAULT_PORT, value_parser = any_port)]
    pub port: u16,
}

impl Listen {
    /// Turns a bind error into a sentence that says what to do next.
    pub fn explain(&self, error: io::Error) -> anyhow::Error {
        let Self { host, port } = self;
        if is_unknown(host) {
            return unknown_host(host);
        }
        match error.kind() {
            ErrorKind::AddrInUse => anyhow!(
                "port {port} of {host} is in use: stop the program that uses it, \
                 or choose another with --port (0 takes any free one)"
            ),
            ErrorKind::AddrNotAvailable => anyhow!(
                "{host} is not an address of this machine: give one that is with --host, \
                 or 0.0.0.0 for all of them"
            ),
            ErrorKind::PermissionDenied => anyhow!(
                "you are not allowed to listen on port {port}: choose a port from 1024 up \
                 with --port"
            ),
            _ => anyhow!("cannot listen on {host} port {port}: {error}"),
        }
    }
}

/// Where a client's server is.
#[derive(Debug, Clone, clap::Args)]
pub struct Connect {
    /// Address or name of the server's machine
    #[arg(long, default_value = "127.0.0.1")]
    pub host: String,

    /// TCP port of the server
    #[arg(long, env = "STAGE_PORT", default_value_t = DEFAULT_PORT, value_parser = known_port)]
    pub port: u16,
}

impl Connect {
    /// Turns a connect error into a sentence that says what to do next.
    pub fn explain(&self, error: io::Error) -> anyhow::Error {
        let Self { host, port } = self;
        if is_unknown(host) {
            return unknown_host(host);
        }
        match error.kind() {
            ErrorKind::ConnectionRefused => anyhow!(
                "no server listens on port {port} of {host}: start one in another \
                 terminal first, or say where it is with --host and --port"
            ),
            ErrorKind::TimedOut | ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable => {
                anyhow!(
                    "{host} does not answer: check the address, the network, and the \
                     firewall of that machine"
                )
            }
            _ => anyhow!("cannot connect to {host} port {port}: {error}"),
        }
    }
}

/// Binds, listens with a longer queue than `std`'s, and prints
/// `listening on ADDRESS:PORT`, the line that people and tests wait for.
///
/// # Errors
///
/// If the host is unknown or the system refuses the address. The message is one sentence
/// for the person who typed the command.
pub fn bind(listen: &Listen) -> anyhow::Result<TcpListener> {
    let listener = TcpListener::bind((listen.host.as_str(), listen.port))
        .map_err(|error| listen.explain(error))?;
    // If the system refuses, the queue stays as short as `std` has made it.
    let _ = SockRef::from(&listener).listen(BACKLOG);
    println!("listening on {}", listener.local_addr()?);
    Ok(listener)
}

/// Connects, and prints `connected to HOST:PORT`. It sets `TCP_NODELAY` (`man 7 tcp`), so
/// a line is sent at once, even if an earlier one has not been acknowledged.
///
/// # Errors
///
/// If the host is unknown or no server listens there. The message is one sentence for the
/// person who typed the command.
pub fn connect(connect: &Connect) -> anyhow::Result<TcpStream> {
    let stream = TcpStream::connect((connect.host.as_str(), connect.port))
        .map_err(|error| connect.explain(error))?;
    stream.set_nodelay(true)?;
    println!("connected to {}:{}", connect.host, connect.port);
    Ok(stream)
}

/// Runs `first`, on a thread of its own, when Ctrl-C is pressed for the first time (SIGINT;
/// on Unix also SIGTERM or SIGHUP). The second time, the program ends at once with exit
/// status 130, which is what shells report for a program that Ctrl-C has ended.
///
/// # Errors
///
/// If the system refuses the handler.
pub fn on_interrupt(first: impl FnOnce() + Send + 'static) -> anyhow::Result<()> {
    let mut first = Some(first);
    ctrlc::set_handler(move || match first.take() {
        Some(first) => first(),
        None => std::process::exit(130),
    })
    .context("cannot wait for Ctrl-C")
}

/// Wakes a thread that waits in `accept`: connects to this program's own listener, and
/// closes the connection. That takes a file descriptor for a moment, so keep one in
/// reserve. If it fails all the same, the listener is closed already.
pub fn knock(mut listener: SocketAddr) {
    match listener.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => listener.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => listener.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    drop(TcpStream::connect(listener));
}

/// Reads a number of seconds from the command line; half a second is 0.5.
///
/// # Errors
///
/// A sentence, if the text is not a number from 0 to 86400 (a day).
pub fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text
        .parse()
        .ok()
        .filter(|secs| (0.0..=86400.0).contains(secs));
    let time = seconds.map(Duration::from_secs_f64);
    time.ok_or("it must be a number of seconds, from 0 to 86400".into())
}

/// Prints a line as `println!` does. But it does not wait while the terminal is stopped
/// (Ctrl-S), and it does not panic when the output has been closed: see
/// [`log`](mod@crate::log). Call [`flush`](crate::log::flush) before `main` ends.
#[macro_export]
#[doc(hidden)]
macro_rules! __log {
    ($($arg:tt)*) => {
        $crate::log::line(::std::format_args!($($arg)*))
    };
}
#[doc(inline)]
pub use crate::__log as log;

/// Whether a typed line asks to leave: `salir` or `/quit`, in capitals or not.
pub fn is_goodbye(line: &str) -> bool {
    matches!(line.trim().to_lowercase().as_str(), "salir" | "/quit")
}

/// A fire drill: panics if `line` is the value of the environment variable
/// `STAGE_PANIC_ON`. So you can see what happens to the other clients when one client's
/// thread panics.
///
/// # Panics
///
/// If `line` is that value.
pub fn panic_if_told(line: &str) {
    static TEXT: LazyLock<Option<String>> = LazyLock::new(|| std::env::var("STAGE_PANIC_ON").ok());
    if TEXT.as_deref() == Some(line) {
        panic!("told to panic on {line:?} (STAGE_PANIC_ON)");
    }
}

fn any_port(text: &str) -> Result<u16, String> {
    text.parse()
        .map_err(|_| "--port or STAGE_PORT must be a number from 0 to 65535".into())
}

fn known_port(text: &str) -> Result<u16, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err("--port or STAGE_PORT must be a number from 1 to 65535".into()),
        Ok(port) => Ok(port),
    }
}

/// Whether the name cannot be resolved. We ask only after something has failed: the kind
/// of an `io::Error` does not tell a failed look-up from other failures.
fn is_unknown(host: &str) -> bool {
    (host, 0).to_socket_addrs().is_err()
}

fn unknown_host(host: &str) -> anyhow::Error {
    match host.rsplit_once(':') {
        Some((host, port)) if port.parse::<u16>().is_ok() => {
            anyhow!("give the host and the port separately: --host {host} --port {port}")
        }
        _ => anyhow!(
            "no machine called \"{host}\" is known: check the spelling, or give an IP address"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goodbye_in_two_languages() {
        for line in ["salir", "Salir\n", "/quit\r\n", " SALIR "] {
            assert!(is_goodbye(line), "{line:?}");
        }
        for line in ["", "quit", "quiero salir", "salir ya"] {
            assert!(!is_goodbye(line), "{line:?}");
        }
    }
}
