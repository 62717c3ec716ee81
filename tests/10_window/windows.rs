//! Opens the windows, and plays servers that they connect to.

use std::net::{SocketAddr, TcpListener};
use std::time::Instant;

use clap::Parser;
use harness::screen::{Look, Screen};
use harness::{Program, patience};
use socket_stages_window::client::State::In;
use socket_stages_window::server::State;
use socket2::{Domain, Socket, Type};

use super::{client, server};

pub type ClientScreen = Screen<client::Window>;

pub type ServerScreen = Screen<server::Window>;

/// A client's window, with the fields filled in from the command line.
pub fn client_window(name: &str, address: SocketAddr) -> ClientScreen {
    client_window_as(name, address, Look::default(), &[])
}

pub fn client_window_as(
    name: &str,
    address: SocketAddr,
    look: Look,
    options: &[&str],
) -> ClientScreen {
    let (host, port) = (address.ip().to_string(), address.port().to_string());
    let words = ["", "--host", &host, "--port", &port, "--name", name];
    let args = client::Args::parse_from(words.iter().chain(options));
    Screen::open_as(&format!("{name}'s window"), look, |context| {
        client::Window::new(args, context)
    })
}

/// A server's window. The server listens on a free port.
pub fn server_window(options: &[&str]) -> (ServerScreen, SocketAddr) {
    server_window_as(Look::default(), options)
}

pub fn server_window_as(look: Look, options: &[&str]) -> (ServerScreen, SocketAddr) {
    let args = server::Args::parse_from(["", "--port", "0"].iter().chain(options));
    let mut screen = Screen::open_as("the server's window", look, |context| {
        server::Window::new(args, context)
    });
    let address = is_listening(&mut screen);
    (screen, address)
}

/// Waits until the server listens. Returns the address that its window shows.
pub fn is_listening(screen: &mut ServerScreen) -> SocketAddr {
    screen.until("listened", |screen| {
        matches!(screen.app().shown().state(), State::Listening(_))
    });
    match screen.app().shown().state() {
        State::Listening(address) => address,
        state => screen.fail(&format!("is {state:?}")),
    }
}

/// A client's window that has entered the room.
#[track_caller]
pub fn in_the_room(name: &str, address: SocketAddr) -> ClientScreen {
    let mut screen = client_window(name, address);
    screen.clicks("Connect");
    screen.shows(&format!("in the room as {name}"));
    screen
}

/// A server that the test plays itself.
pub fn fake_server() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// An address where the system answers no client, because the queue of connections is full:
/// for minutes, or until the sockets are dropped.
pub fn full_queue() -> (SocketAddr, Vec<Socket>) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let any: SocketAddr = ([127, 0, 0, 1], 0).into();
    socket.bind(&any.into()).unwrap();
    socket.listen(0).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    let waiting = (0..4).map(|_| {
        let client = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        client.set_nonblocking(true).unwrap();
        let _ = client.connect(&address.into()); // would wait
        client
    });
    let sockets = waiting.chain([socket]).collect();
    (address, sockets)
}

/// As [`in_the_room`], but without a look at the text in the window.
#[track_caller]
pub fn is_let_in(name: &str, address: SocketAddr) -> ClientScreen {
    let mut screen = client_window(name, address);
    screen.clicks("Connect");
    screen.until("been let in", |screen| {
        matches!(screen.app().shown().state(), In(_))
    });
    screen
}

/// Waits until a program prints a line with this text; returns that line.
#[track_caller]
pub fn prints(program: &Program, text: &str) -> String {
    // Without a graphics card, a window may take a while to open.
    let deadline = Instant::now() + 4 * patience();
    let mut lines = (0..).map_while(|index| program.output().line(index, deadline));
    match lines.find(|line| line.contains(text)) {
        Some(line) => line,
        None => panic!("no {text:?} came, but: {:#?}", program.output().lines()),
    }
}
