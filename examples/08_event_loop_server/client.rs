//! One connection, and how far it has got: what a thread knows by the place where it stands.

use std::io::{self, ErrorKind, Write};
use std::net::SocketAddr;
use std::time::Instant;

use mio::net::TcpStream;
use socket_stages::backlog::Backlog;
use socket_stages::limits::{Limits, Rate, Refusal};
use socket_stages::lines::Lines;
use socket_stages::room::Id;

/// A client, as the event loop sees it.
pub struct Client {
    pub stream: TcpStream,
    pub address: SocketAddr,
    pub lines: Lines,
    pub rate: Rate,
    pub state: State,
    /// When this state ends at the latest, and what a client that is `Here` is told then.
    pub deadline: Instant,
    pub silence: Refusal,
    /// The connection takes no more for now. It becomes ready when it does.
    pub is_full: bool,
}

/// What happens next with a client. Lesson 08 shows how one state leads to another.
#[derive(Clone, Copy, PartialEq)]
pub enum State {
    /// The server listens to it, before it has a name and after.
    Here,
    /// It gets what is due, and then the end. What it still sends is forgotten.
    Leaving,
    /// It has sent its own end, and gets what is due.
    Ended,
}

impl Client {
    pub fn new(stream: TcpStream, address: SocketAddr, limits: Limits, now: Instant) -> Self {
        Self {
            stream,
            address,
            lines: Lines::new(limits.max_line),
            rate: Rate::new(limits.max_rate, now),
            state: State::Here,
            deadline: now + limits.name_timeout,
            silence: Refusal::NoName(limits.name_timeout),
            is_full: false,
        }
    }

    /// Writes as much of what is due as the connection takes. True if nothing is left.
    pub fn write(&mut self, id: Id, backlog: &mut Backlog) -> io::Result<bool> {
        while !self.is_full {
            let due = backlog.due(id);
            if due.is_empty() {
                return Ok(true);
            }
            match self.stream.write(&due) {
                Ok(count) => backlog.taken(id, count),
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.is_full = true,
                Err(error) => return Err(error),
            }
        }
        Ok(false)
    }
}
