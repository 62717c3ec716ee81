//! The load: many clients on one thread that waits for readiness. So the figures measure the
//! server and not the load.
//!
//! Every line ends in the number of its sender and a tilde. A tilde stands nowhere else. So the
//! load counts tildes to count lines, whatever a server puts around them.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::bail;
use hdrhistogram::Histogram;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use crate::process::{Kind, Running, Usage};

/// How many bytes a line has, its line end included.
const LINE: usize = 64;

/// If nothing comes for this long, the lines under way count as lost.
const LOST: Duration = Duration::from_secs(5);

/// Lines with this number and higher ones find out whether all clients are there. Senders have
/// lower numbers.
const ROLL_CALL: usize = 90;

/// Clients that are connected and in the room.
pub struct Room {
    kind: Kind,
    poll: Poll,
    events: Events,
    peers: Vec<Peer>,
    /// Which of the peers are senders. With redis, senders hear nothing.
    senders: Vec<usize>,
    packet: Vec<u8>,
}

struct Peer {
    stream: TcpStream,
    /// The last two bytes that were read: the number of a line may have begun there.
    tail: [u8; 2],
    is_welcome: bool,
    /// What could not be sent yet.
    unsent: VecDeque<u8>,
}

/// How many clients speak, and how many lines each of them says before it waits until all have
/// heard them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Load {
    pub senders: usize,
    pub under_way: usize,
}

pub const BURSTS: Load = Load {
    senders: 1,
    under_way: 64,
};
pub const BUSY_ROOM: Load = Load {
    senders: 16,
    under_way: 1,
};
pub const SINGLE_LINES: Load = Load {
    senders: 1,
    under_way: 1,
};

#[derive(Debug, Clone, Copy, Default)]
pub struct Outcome {
    /// Deliveries (or round trips) in a second.
    pub per_second: f64,
    /// From sending to receiving.
    pub p50: Duration,
    pub p99: Duration,
    pub lost: u64,
    /// The share of one processor that the server took, and that the load took.
    pub server_cpu: f64,
    pub load_cpu: f64,
}

impl Room {
    /// Connects this many clients, with senders and receivers mixed, and waits until each has
    /// been welcomed.
    pub fn enter(server: &Running, receivers: usize, senders: usize) -> anyhow::Result<Self> {
        let mut room = Self {
            kind: server.kind,
            poll: Poll::new()?,
            events: Events::with_capacity(1024),
            peers: Vec::new(),
            senders: Vec::new(),
            packet: vec![0; 256 * 1024],
        };
        let all = receivers + senders;
        for n in 0..all {
            // Senders are spread evenly among the others.
            let is_sender = (n + 1) * senders / all > n * senders / all;
            if is_sender {
                room.senders.push(n);
            }
            room.connect(server.address)?;
            let hello = match room.kind {
                Kind::Redis if is_sender => "PING\r\n".into(),
                Kind::Redis => "SUBSCRIBE room\r\n".into(),
                Kind::Stage(name) if name < "04" => "hello\n".into(),
                _ => format!("client{}\n", server.next_name()),
            };
            room.send(n, hello.as_bytes())?;
            // Stage 03 says nothing to a client that joins. The roll call below finds out.
            while !room.peers[n].is_welcome && room.kind.number() != Some(3) {
                room.turn(Some(LOST))?;
            }
        }
        // All clients are there when all hear a line. Each try has a number of its own, so that
        // a late line does not count for another try.
        for number in (ROLL_CALL..100).rev() {
            let mut heard = 0;
            room.say(0, number, 1)?;
            let deadline = Instant::now() + Duration::from_secs(1);
            while heard < room.hearers() && Instant::now() < deadline {
                let turn = room.turn(Some(Duration::from_millis(100)))?;
                let of_this_try = turn.iter().filter(|(_, sender, _)| *sender == number);
                heard += of_this_try.map(|(_, _, lines)| lines).sum::<usize>();
            }
            if heard == room.hearers() {
                break;
            } else if number == ROLL_CALL {
                bail!("{}: not all clients hear what is said", room.kind.name());
            }
        }
        // Lines that are late should not take time from the measurement.
        while !room.turn(Some(Duration::from_millis(200)))?.is_empty() {}
        Ok(room)
    }

    /// A room of echoes: only the sender hears a line.
    pub fn echoes(server: &Running, clients: usize) -> anyhow::Result<Self> {
        let mut room = Self {
            kind: server.kind,
            poll: Poll::new()?,
            events: Events::with_capacity(1024),
            peers: Vec::new(),
            senders: (0..clients).collect(),
            packet: vec![0; 64 * 1024],
        };
        for _ in 0..clients {
            room.connect(server.address)?;
        }
        Ok(room)
    }

    fn connect(&mut self, address: SocketAddr) -> io::Result<()> {
        let stream = std::net::TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        let mut stream = TcpStream::from_std(stream);
        let token = Token(self.peers.len());
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.poll
            .registry()
            .register(&mut stream, token, interest)?;
        self.peers.push(Peer {
            stream,
            tail: [0; 2],
            is_welcome: false,
            unsent: VecDeque::new(),
        });
        Ok(())
    }

    /// How many clients hear what a sender says.
    fn hearers(&self) -> usize {
        match self.kind {
            Kind::Redis => self.peers.len() - self.senders.len(),
            _ => self.peers.len() - 1,
        }
    }

    /// Says `lines` lines in one write, with this number in each.
    fn say(&mut self, sender: usize, number: usize, lines: usize) -> io::Result<()> {
        let text = match self.kind {
            Kind::Redis => format!("PUBLISH room {:.<59}{number:02}~\r\n", ""),
            _ => format!("{:.<60}{number:02}~\n", ""),
        };
        debug_assert!(text.len() >= LINE);
        let peer = self.senders[sender];
        self.send(peer, text.repeat(lines).as_bytes())
    }

    fn send(&mut self, peer: usize, bytes: &[u8]) -> io::Result<()> {
        let peer = &mut self.peers[peer];
        peer.unsent.extend(bytes);
        peer.flush()
    }

    /// Waits for what comes. Returns receiver, sender, and how many lines: one entry for each
    /// run of lines.
    fn turn(&mut self, patience: Option<Duration>) -> anyhow::Result<Vec<(usize, usize, usize)>> {
        self.poll.poll(&mut self.events, patience)?;
        let mut heard = Vec::new();
        for event in &self.events {
            let receiver = event.token().0;
            let peer = &mut self.peers[receiver];
            if event.is_writable() {
                peer.flush()?;
            }
            if !event.is_readable() {
                continue;
            }
            loop {
                let count = match peer.stream.read(&mut self.packet) {
                    Ok(0) => bail!("{} has closed a connection", self.kind.name()),
                    Ok(count) => count,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(error) => return Err(error.into()),
                };
                peer.is_welcome = true;
                let bytes = &self.packet[..count];
                for at in memchr::memchr_iter(b'~', bytes) {
                    let digit = |back: usize| match at.checked_sub(back) {
                        Some(at) => bytes[at],
                        None => peer.tail[2 + at - back],
                    };
                    let sender = usize::from(digit(2) - b'0') * 10 + usize::from(digit(1) - b'0');
                    match heard.last_mut() {
                        Some((r, s, n)) if *r == receiver && *s == sender => *n += 1,
                        _ => heard.push((receiver, sender, 1)),
                    }
                }
                let tail = [peer.tail.as_slice(), &bytes[count.saturating_sub(2)..]].concat();
                peer.tail = [tail[tail.len() - 2], tail[tail.len() - 1]];
                // A short read has emptied the socket. Only on Windows it takes a read that
                // would block.
                if count < self.packet.len() && !cfg!(windows) {
                    break;
                }
            }
        }
        Ok(heard)
    }

    /// Lets the senders speak for this time. The number of lines under way has a limit, so no
    /// server gains by losing lines.
    pub fn measure(
        &mut self,
        server: &Running,
        load: Load,
        hearers: Option<usize>,
        time: Duration,
    ) -> anyhow::Result<Outcome> {
        let due = load.under_way * hearers.unwrap_or(self.hearers());
        let mut missing = vec![0; load.senders];
        let mut sent_at = vec![Instant::now(); load.senders];
        let mut latencies = Histogram::<u64>::new_with_max(60_000_000, 3)?;
        let cpu_before = (server.usage().cpu, Usage::of(std::process::id()).cpu);
        let start = Instant::now();
        let mut last_heard = start;
        let mut deliveries = 0;
        loop {
            let now = Instant::now();
            for sender in 0..load.senders {
                if missing[sender] == 0 && now < start + time {
                    self.say(sender, sender, load.under_way)?;
                    missing[sender] = due;
                    sent_at[sender] = now;
                }
            }
            if missing.iter().all(|&missing| missing == 0) || now > last_heard + LOST {
                break;
            }
            let heard = self.turn(Some(LOST))?;
            let now = Instant::now();
            let of_senders = |&(_, number, _): &(usize, usize, usize)| number < load.senders;
            for (_, sender, lines) in heard.into_iter().filter(of_senders) {
                let taken = now.duration_since(sent_at[sender]).as_micros() as u64;
                latencies.saturating_record_n(taken.max(1), lines as u64);
                let Some(left) = usize::checked_sub(missing[sender], lines) else {
                    bail!("{} has delivered a line twice", self.kind.name());
                };
                missing[sender] = left;
                deliveries += lines;
                last_heard = now;
            }
        }
        let taken = last_heard.duration_since(start).as_secs_f64();
        let cpu = (server.usage().cpu, Usage::of(std::process::id()).cpu);
        Ok(Outcome {
            per_second: deliveries as f64 / taken,
            p50: Duration::from_micros(latencies.value_at_quantile(0.5)),
            p99: Duration::from_micros(latencies.value_at_quantile(0.99)),
            lost: missing.iter().sum::<usize>() as u64,
            server_cpu: (cpu.0 - cpu_before.0).as_secs_f64() / taken,
            load_cpu: (cpu.1 - cpu_before.1).as_secs_f64() / taken,
        })
    }
}

impl Peer {
    fn flush(&mut self) -> io::Result<()> {
        while !self.unsent.is_empty() {
            match self.stream.write(self.unsent.make_contiguous()) {
                Ok(count) => drop(self.unsent.drain(..count)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// How long it takes until all of these clients have been welcomed, when they connect at once.
pub fn rush(address: SocketAddr, clients: usize) -> anyhow::Result<Duration> {
    let mut poll = Poll::new()?;
    let mut events = Events::with_capacity(1024);
    let start = Instant::now();
    let mut peers = Vec::new();
    for n in 0..clients {
        let mut stream = TcpStream::connect(address)?;
        let interest = Interest::READABLE | Interest::WRITABLE;
        poll.registry().register(&mut stream, Token(n), interest)?;
        peers.push((stream, false, false));
    }
    let mut welcome = 0;
    let mut packet = [0; 64 * 1024];
    while welcome < clients {
        poll.poll(&mut events, Some(4 * LOST))?;
        if events.is_empty() {
            bail!("only {welcome} of {clients} have been welcomed");
        }
        for event in &events {
            let n = event.token().0;
            let (stream, has_spoken, is_welcome) = &mut peers[n];
            if event.is_writable() && !*has_spoken {
                stream.write_all(format!("client{n}\n").as_bytes())?;
                *has_spoken = true;
            }
            if event.is_readable() {
                while let Ok(count @ 1..) = stream.read(&mut packet) {
                    if !*is_welcome && packet[..count].windows(9).any(|part| part == b"* welcome") {
                        *is_welcome = true;
                        welcome += 1;
                    }
                }
            }
        }
    }
    Ok(start.elapsed())
}
