//! What a client may do, from stage 07 on: the limits on the command line, the words of
//! each refusal, and a count of lines against a clock that the caller reads.

use std::fmt;
use std::io;
use std::time::{Duration, Instant};

use crate::cli;

/// How much a client may say at once is what it may say in these many seconds.
///
/// With the default rate, it is less than what an outbox holds: one connection alone cannot
/// put another client out by speaking fast.
const BURST_SECS: f64 = 4.0;

/// What clients may do.
#[derive(Debug, Clone, Copy, clap::Args)]
#[command(next_help_heading = "Limits")]
pub struct Limits {
    /// How many clients may be connected at the same time
    #[arg(long, value_name = "COUNT", default_value_t = 1000, allow_negative_numbers = true,
        value_parser = at_least_one)]
    pub max_clients: usize,

    /// The longest line, in bytes; whoever sends a longer one is put out
    #[arg(long, value_name = "BYTES", default_value_t = 4096, allow_negative_numbers = true,
        value_parser = at_least_one)]
    pub max_line: usize,

    /// Lines per second that a client may say in the long run (at once, four times as
    /// many); whoever says more is put out
    #[arg(long, value_name = "LINES", default_value_t = 100, allow_negative_numbers = true,
        value_parser = at_least_one)]
    pub max_rate: usize,

    /// Seconds that a client has to give a name that is accepted
    #[arg(long, value_name = "SECS", default_value = "60", allow_negative_numbers = true,
        value_parser = duration)]
    pub name_timeout: Duration,

    /// Seconds that a client in the room may say nothing
    #[arg(long, value_name = "SECS", default_value = "3600", allow_negative_numbers = true,
        value_parser = duration)]
    pub idle_timeout: Duration,
}

/// Descriptors that are not clients: input, output, errors, the listener, what waits for
/// signals, and some to spare.
const OWN_DESCRIPTORS: u64 = 16;

impl Limits {
    /// Asks the system for as many descriptors (open files; a connection is one) as it
    /// may grant, admits no more clients than that, and says how many those are.
    pub fn within_the_systems(mut self) -> Self {
        // On Windows there is no such limit, and this is answered with what was asked for.
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

/// Why a client is turned away or put out: what it is told, and what the server logs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Refusal {
    /// There are as many clients as may be.
    Full,
    /// More bytes than that, and no end of the line.
    LineTooLong(usize),
    /// More lines a second than that.
    TooFast(usize),
    /// No name for so long.
    NoName(Duration),
    /// Nothing said for so long.
    Idle(Duration),
    /// Whoever runs the server wants it so (stage 10).
    PutOut,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full => write!(f, "there is no room for more: come back later"),
            Self::LineTooLong(bytes) => write!(f, "a line has at most {bytes} bytes"),
            Self::TooFast(lines) => write!(f, "nobody says more than {lines} lines a second"),
            Self::NoName(time) => write!(f, "no name within {} s", time.as_secs_f64()),
            Self::Idle(time) => write!(f, "nothing said for {} s", time.as_secs_f64()),
            Self::PutOut => write!(f, "put out by the server"),
        }
    }
}

impl std::error::Error for Refusal {}

impl From<Refusal> for io::Error {
    fn from(refusal: Refusal) -> Self {
        Self::other(refusal)
    }
}

/// How fast somebody speaks, measured by a *token bucket*: each line takes a token, each
/// second brings `per_second` of them, and the bucket holds four seconds' worth.
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

    /// Whether one more line may be said now.
    pub fn allows_a_line(&mut self, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.filled).as_secs_f64();
        let most = self.per_second * BURST_SECS;
        self.tokens = (self.tokens + passed * self.per_second).min(most);
        self.filled = now;
        let allows = self.tokens >= 1.0;
        if allows {
            self.tokens -= 1.0;
        }
        allows
    }
}

fn at_least_one(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|&number| number > 0);
    number.ok_or("it must be a whole number, 1 or more".into())
}

fn duration(text: &str) -> Result<Duration, String> {
    // A read with a time-out of zero would wait for ever.
    let seconds = cli::seconds(text).ok().filter(|&seconds| seconds >= 0.001);
    let duration = seconds.map(Duration::from_secs_f64);
    duration.ok_or("it must be a number of seconds, from 0.001 to 86400".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_and_then_the_rate() {
        let start = Instant::now();
        let mut rate = Rate::new(10, start);
        let allowed =
            |rate: &mut Rate, now| (0..1000).take_while(|_| rate.allows_a_line(now)).count();
        assert_eq!(allowed(&mut rate, start), 40);
        assert_eq!(allowed(&mut rate, start), 0);
        assert_eq!(allowed(&mut rate, start + Duration::from_millis(500)), 5);
        // However long it was silent, the bucket holds no more.
        assert_eq!(allowed(&mut rate, start + Duration::from_secs(3600)), 40);
        // A clock that seems to go back does no harm.
        assert_eq!(allowed(&mut rate, start), 0);
    }

    #[test]
    fn seconds_are_more_than_none() {
        assert_eq!(duration("0.5"), Ok(Duration::from_millis(500)));
        for text in ["0", "-1", "0.0001", "NaN", "inf", "86401", "soon", ""] {
            assert!(duration(text).is_err(), "{text}");
        }
        for text in ["0", "-1", "1.5", "many"] {
            assert!(at_least_one(text).is_err(), "{text}");
        }
    }
}
