//! The leanest possible servers: they only pass lines on. They have no limits, no rules and no
//! clean-up, so do not use one as a server. They show what the machine and the system calls
//! alone allow. Each runs in a process of its own.

use std::collections::HashMap;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpListener as Blocking, TcpStream as Stream};
use std::{process, thread};

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use socket2::SockRef;

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Floor {
    /// One thread, one `write` per line and receiver.
    Write,
    /// One thread. All that a turn of the loop has read goes into one `write` per receiver.
    Gather,
    /// One client: what one `read` returned goes into one `write`.
    Echo,
    /// The same, with a thread for each client.
    EchoThreads,
}

/// Runs until it is killed, or until the program that started it has ended.
pub fn serve(floor: Floor) -> io::Result<()> {
    thread::spawn(|| {
        let _ = io::copy(&mut io::stdin(), &mut io::sink());
        process::exit(0)
    });
    let listener = Blocking::bind((Ipv4Addr::LOCALHOST, 0))?;
    SockRef::from(&listener).listen(4096)?;
    println!("listening on {}", listener.local_addr()?);
    match floor {
        Floor::Echo => loop {
            let _ = echo(listener.accept()?.0); // an error: this client has gone
        },
        Floor::EchoThreads => loop {
            let (stream, _) = listener.accept()?;
            thread::Builder::new().spawn(move || echo(stream))?;
        },
        Floor::Write | Floor::Gather => relay(listener, floor == Floor::Gather),
    }
}

fn echo(mut stream: Stream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut packet = [0; 64 * 1024];
    loop {
        let count = stream.read(&mut packet)?;
        if count == 0 {
            return Ok(());
        }
        stream.write_all(&packet[..count])?;
    }
}

struct Client {
    stream: TcpStream,
    has_name: bool,
    /// Where the client's own lines stand in this turn's text.
    own: Vec<(usize, usize)>,
}

fn relay(listener: Blocking, gather: bool) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let mut listener = TcpListener::from_std(listener);
    let mut poll = Poll::new()?;
    poll.registry()
        .register(&mut listener, Token(0), Interest::READABLE)?;
    let mut events = Events::with_capacity(1024);
    let mut clients = HashMap::<usize, Client>::new();
    let mut next = 1;
    let mut packet = vec![0; 64 * 1024];
    let mut text = Vec::new();
    loop {
        poll.poll(&mut events, None)?;
        for event in &events {
            let id = event.token().0;
            if id == 0 {
                while let Ok((mut stream, _)) = listener.accept() {
                    stream.set_nodelay(true)?;
                    let token = Token(next);
                    poll.registry()
                        .register(&mut stream, token, Interest::READABLE)?;
                    let client = Client {
                        stream,
                        has_name: false,
                        own: Vec::new(),
                    };
                    clients.insert(next, client);
                    next += 1;
                }
                continue;
            }
            let Some(client) = clients.get_mut(&id) else {
                continue;
            };
            let begin = text.len();
            loop {
                match client.stream.read(&mut packet) {
                    Ok(count @ 1..) => text.extend_from_slice(&packet[..count]),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Ok(0) | Err(_) => {
                        clients.remove(&id);
                        break;
                    }
                }
            }
            let Some(client) = clients.get_mut(&id) else {
                text.truncate(begin);
                continue;
            };
            if !client.has_name {
                client.has_name = true;
                client.stream.write_all(b"* welcome\n")?;
                text.truncate(begin);
            } else if gather {
                client.own.push((begin, text.len()));
            } else {
                for line in text.split_inclusive(|&byte| byte == b'\n') {
                    for (_, other) in clients.iter_mut().filter(|(other, _)| **other != id) {
                        write_all(&mut other.stream, line);
                    }
                }
                text.clear();
            }
        }
        for client in clients.values_mut().filter(|_| !text.is_empty()) {
            if client.own.is_empty() {
                write_all(&mut client.stream, &text);
                continue;
            }
            let mut others = Vec::new();
            let mut begin = 0;
            for (own_begin, own_end) in client.own.drain(..) {
                others.extend_from_slice(&text[begin..own_begin]);
                begin = own_end;
            }
            others.extend_from_slice(&text[begin..]);
            if !others.is_empty() {
                write_all(&mut client.stream, &others);
            }
        }
        text.clear();
    }
}

/// The load never lets a socket get full, so waiting by trying again does no harm.
fn write_all(stream: &mut TcpStream, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        match stream.write(bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(error) if error.kind() == ErrorKind::WouldBlock => thread::yield_now(),
            Err(_) => return,
        }
    }
}
