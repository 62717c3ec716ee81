//! Limits on what a client may use, from stage 07 on: the options on the command line, the
//! words of each refusal, and the rate of lines. Lesson 07 teaches them.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::cli;
use crate::lines::TooLong;

/// A client may send as many lines at once as are allowed in this many seconds.
///
/// At the default rate that is less than an outbox holds. So one client that speaks fast cannot
/// make another client too slow.
const BURST_SECS: f64 = 4.0;

/// A line of more bytes than this counts as several lines: a long line costs the server more.
const TOKEN_BYTES: usize = 128;

/// How long a client that is disconnected may take to read the reason.
pub const FAREWELL: Duration = Duration::from_secs(1);

/// How long a client that has left may take to read what is still due to it.
pub const PARTING: Duration = Duration::from_secs(60);

/// The limits of a server.
#[derive(Debug, Clone, Copy, clap::Args)]
#[command(next_help_heading = "Limits")]
pub struct Limits {
    /// How many clients may be connected at the same time
    #[arg(long, value_name = "COUNT", default_value_t = 1000, allow_negative_numbers = true,
        value_parser = at_least_one)]
    pub max_clients: usize,

    /// The longest line, in bytes; a client that sends a longer one is disconnected
    #[arg(long, value_name = "BYTES", default_value_t = 4096, allow_negative_numbers = true,
        value_parser = at_least_one)]
    pub max_line: usize,

    /// Lines per second that a client may send in the long run (at once, four times as
    /// many); a long line counts once for each 128 bytes; a client that sends more is
    /// disconnected
    #[arg(long, value_name = "LINES", default_value_t = 100, allow_negative_numbers = true,
        value_parser = at_least_one)]
    pub max_rate: usize,

    /// Seconds that a client has to give a name that is accepted
    #[arg(long, value_name = "SECS", default_value = "60", allow_negative_numbers = true,
        value_parser = duration)]
    pub name_timeout: Duration,

    /// Seconds that a client in the room may be silent
    #[arg(long, value_name = "SECS", default_value = "3600", allow_negative_numbers = true,
        value_parser = duration)]
    pub idle_timeout: Duration,

    /// Bytes that may wait for a client that does not read, 1 MiB or more; if more wait, it is
    /// disconnected. Clients share lines: for all clients in the chat together, at most twice as
    /// many bytes wait, and 64 KiB more for each
    #[arg(long, value_name = "BYTES", default_value_t = 12 << 20, allow_negative_numbers = true,
        value_parser = at_least_a_mebibyte)]
    pub max_backlog: usize,
}

/// Descriptors that are not clients: standard input, output and error, the listener, those
/// that wait for signals, and some to spare.
const OWN_DESCRIPTORS: u64 = 16;

impl Limits {
    /// Asks the system for as many descriptors as it grants, because each connection takes one.
    /// If they are too few, lowers `max_clients`. Logs the result.
    pub fn within_the_systems(mut self) -> Self {
        // Windows has no such limit: there this returns what was asked for.
        let wanted = (self.max_clients as u64).saturating_add(OWN_DESCRIPTORS);
        let granted = rlimit::increase_nofile_limit(u64::MAX).unwrap_or(wanted);
        if granted < wanted {
            let clients = granted.saturating_sub(OWN_DESCRIPTORS).max(1);
            self.max_clients = usize::try_from(clients).unwrap_or(usize::MAX);
            cli::log!(
                "room for {}: the system grants {granted} open files (ulimit -n)",
                counted(self.max_clients)
            );
        } else {
            cli::log!("room for {}", counted(self.max_clients));
        }
        self
    }
}

fn counted(clients: usize) -> String {
    format!("{clients} client{}", if clients == 1 { "" } else { "s" })
}

/// Why a client is turned away or disconnected. The client is told this, and the server logs it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Refusal {
    /// As many clients are connected as are allowed.
    Full,
    /// A line of more bytes than this.
    LineTooLong(usize),
    /// More lines per second than this.
    TooFast(usize),
    /// No name for this long.
    NoName(Duration),
    /// Silent for this long.
    Idle(Duration),
    /// The operator has disconnected it (stage 10).
    Disconnected,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full => write!(f, "there is no room for more: come back later"),
            Self::LineTooLong(bytes) => write!(f, "a line has at most {bytes} bytes"),
            Self::TooFast(lines) => write!(f, "rate limit: {lines} lines per second"),
            Self::NoName(time) => write!(f, "no name within {} s", time.as_secs_f64()),
            Self::Idle(time) => write!(f, "nothing said for {} s", time.as_secs_f64()),
            Self::Disconnected => write!(f, "disconnected by the server"),
        }
    }
}

impl std::error::Error for Refusal {}

impl From<TooLong> for Refusal {
    fn from(TooLong(longest): TooLong) -> Self {
        Self::LineTooLong(longest)
    }
}

impl From<Refusal> for io::Error {
    fn from(refusal: Refusal) -> Self {
        Self::other(refusal)
    }
}

/// Turns a client away because the server is full, and says why. It never waits: the
/// connection is new, so one line always fits.
pub fn turn_away(mut stream: &TcpStream, address: SocketAddr) {
    cli::log!("{address} turned away: {}", Refusal::Full);
    // An error in any of these means that the client has gone already.
    let _ = stream.set_nonblocking(true);
    let _ = stream.write_all(format!("! {}\n", Refusal::Full).as_bytes());
    let _ = stream.shutdown(Shutdown::Write);
    // A close with unread bytes would be a reset, and the name may be here already.
    let _ = stream.read(&mut [0; 4096]);
}

/// Limits how fast a client speaks, by a *token bucket*. Each line takes a token, and a long
/// line takes one for each 128 bytes. Each second brings `per_second` tokens. The bucket holds
/// the tokens of four seconds.
#[derive(Debug)]
pub struct Rate {
    per_second: f64,
    tokens: f64,
    filled: Instant,
}

impl Rate {
    /// A full bucket.
    pub fn new(per_second: usize, now: Instant) -> Self {
        let per_second = per_second as f64;
        Self {
            per_second,
            tokens: per_second * BURST_SECS,
            filled: now,
        }
    }

    /// Takes the tokens for one more line.
    ///
    /// # Errors
    ///
    /// [`Refusal::TooFast`], when there are not enough.
    pub fn take(&mut self, line: &str, now: Instant) -> Result<(), Refusal> {
        let passed = now.saturating_duration_since(self.filled).as_secs_f64();
        let most = self.per_second * BURST_SECS;
        self.tokens = (self.tokens + passed * self.per_second).min(most);
        self.filled = now;
        // A full bucket has enough for any line.
        let price = (line.len().div_ceil(TOKEN_BYTES).max(1) as f64).min(most);
        if self.tokens < price {
            return Err(Refusal::TooFast(self.per_second as usize));
        }
        self.tokens -= price;
        Ok(())
    }
}

fn at_least_one(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|&number| number > 0);
    number.ok_or("it must be a whole number, 1 or more".into())
}

fn at_least_a_mebibyte(text: &str) -> Result<usize, String> {
    // With less, a client that reads all the time could be too slow.
    let bytes = text.parse().ok().filter(|&bytes| bytes >= 1 << 20);
    bytes.ok_or("it must be a whole number of bytes, 1048576 or more".into())
}

fn duration(text: &str) -> Result<Duration, String> {
    // Zero would disconnect every client at once.
    let time = cli::seconds(text).ok();
    let time = time.filter(|&time| time >= Duration::from_millis(1));
    time.ok_or("it must be a number of seconds, from 0.001 to 86400".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_and_then_the_rate() {
        let start = Instant::now();
        let mut rate = Rate::new(10, start);
        let line = "hola";
        let allowed = |rate: &mut Rate, now| {
            (0..1000)
                .take_while(|_| rate.take(line, now).is_ok())
                .count()
        };
        assert_eq!(allowed(&mut rate, start), 40);
        assert_eq!(allowed(&mut rate, start), 0);
        assert_eq!(allowed(&mut rate, start + Duration::from_millis(500)), 5);
        // After a long silence, the bucket holds no more than that.
        assert_eq!(allowed(&mut rate, start + Duration::from_secs(3600)), 40);
        // A long line costs more, but never more than there can be.
        let now = start + Duration::from_secs(7200);
        assert_eq!(rate.take(&"x".repeat(39 * TOKEN_BYTES), now), Ok(()));
        assert_eq!(allowed(&mut rate, now), 1);
        let later = now + Duration::from_secs(4);
        assert_eq!(rate.take(&"x".repeat(1000 * TOKEN_BYTES), later), Ok(()));
        // It does no harm if the clock seems to go back.
        assert_eq!(allowed(&mut rate, start), 0);
    }

    #[test]
    fn limits_are_more_than_zero() {
        assert_eq!(duration("0.5"), Ok(Duration::from_millis(500)));
        for text in ["0", "-1", "0.0001", "NaN", "inf", "86401", "soon", ""] {
            assert!(duration(text).is_err(), "{text}");
        }
        for text in ["0", "-1", "1.5", "many"] {
            assert!(at_least_one(text).is_err(), "{text}");
        }
    }
}
