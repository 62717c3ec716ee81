//! Stage 10: what `examples/10_window_server.rs` and `10_window_client.rs` promise, and what
//! becomes of a window that waits. `lessons/10_window.md` explains.
//!
//! The windows are the real ones, with their threads and sockets; only that nothing is put
//! on a display (`harness/screen.rs`). One test opens the real programs on a virtual one.

#[path = "../examples/10_window_client.rs"]
#[allow(dead_code, reason = "`main` is for the program itself")]
mod client;
#[path = "../examples/10_window_server.rs"]
#[allow(dead_code, reason = "`main` is for the program itself")]
mod server;

use std::cell::Cell;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, TryRecvError};
use std::thread;
use std::time::{Duration, Instant};

use clap::Parser;
use harness::screen::{Look, Screen};
use harness::{Program, Server, applies_to_ours_only, example, free_port, patience, root};
use socket_stages_window::client::State::{Apart, In};
use socket_stages_window::eframe::egui::{Key, Modifiers, Theme, ViewportCommand};
use socket_stages_window::egui_system_font_provider::SystemFontProvider;
use socket_stages_window::server::State;
use socket_stages_window::{Kind, MOST_LINES};
use socket2::{Domain, SockRef, Socket, Type};

const STAGE: &str = "10_window";

harness::contract!();
harness::lazy!();
harness::survival!();
harness::limits!();
#[cfg(unix)]
harness::shutdown!();

type ClientScreen = Screen<client::Window>;
type ServerScreen = Screen<server::Window>;

/// A client's window, with the fields filled in from the command line.
fn client_window(name: &str, address: SocketAddr) -> ClientScreen {
    client_window_as(name, address, Look::default(), &[])
}

fn client_window_as(name: &str, address: SocketAddr, look: Look, options: &[&str]) -> ClientScreen {
    let (host, port) = (address.ip().to_string(), address.port().to_string());
    let words = ["", "--host", &host, "--port", &port, "--name", name];
    let args = client::Args::parse_from(words.iter().chain(options));
    Screen::open_as(&format!("{name}'s window"), look, |context| {
        client::Window::new(args, context)
    })
}

/// A server's window, which listens on a free port.
fn server_window(options: &[&str]) -> (ServerScreen, SocketAddr) {
    server_window_as(Look::default(), options)
}

fn server_window_as(look: Look, options: &[&str]) -> (ServerScreen, SocketAddr) {
    let args = server::Args::parse_from(["", "--port", "0"].iter().chain(options));
    let mut screen = Screen::open_as("the server's window", look, |context| {
        server::Window::new(args, context)
    });
    let address = is_listening(&mut screen);
    (screen, address)
}

/// Where a server's window says that it listens.
fn is_listening(screen: &mut ServerScreen) -> SocketAddr {
    screen.until("listened", |screen| {
        matches!(screen.app().shown().state(), State::Listening(_))
    });
    match screen.app().shown().state() {
        State::Listening(address) => address,
        state => screen.fail(&format!("is {state:?}")),
    }
}

/// A client's window, in the room of that server.
#[track_caller]
fn in_the_room(name: &str, address: SocketAddr) -> ClientScreen {
    let mut screen = client_window(name, address);
    screen.clicks("Connect");
    screen.shows(&format!("in the room as {name}"));
    screen
}

#[test]
fn a_line_typed_into_the_window_arrives_from_every_server() {
    if !applies_to_ours_only() {
        return;
    }
    let chats = harness::stages()
        .into_iter()
        .filter(|stage| stage.as_str() >= "04");
    for stage in chats.chain([STAGE.into()]) {
        let stage = stage.as_str();
        let server = Server::start(stage);
        let [mut beto, _carla] = server.chat(["beto", "carla"]);
        let mut ana = in_the_room("ana", server.address());
        beto.hears("* ana joined");
        // The keyboard stays in the field.
        for text in ["hola", "¿qué tal?", "  two  blanks"] {
            ana.says(text);
            beto.hears_from("ana", text);
            ana.shows(&format!("ana (you): {text}"));
            assert_eq!(ana.field("Say"), "");
        }
        beto.says("hola, ana");
        ana.shows("beto: hola, ana");
        // To leave is no fault.
        ana.says("salir");
        beto.hears("* ana left");
        ana.shows("not connected");
        assert_eq!(ana.app().shown().notice(), None, "{stage}");
    }
}

#[test]
fn a_line_wakes_the_window_and_no_more_often_than_it_can_be_drawn() {
    let (listener, address) = fake_server();
    let mut ana = client_window("ana", address);
    ana.clicks("Connect");
    let (mut stream, _) = listener.accept().unwrap();
    stream.write_all(b"* welcome, ana\n").unwrap();
    ana.shows("in the room as ana");
    // `shows` draws only when the window is woken; by a line, if no cursor blinks.
    ana.loses_focus();
    stream.write_all(b"beto: wake up\n").unwrap();
    ana.shows("beto: wake up");

    let (start, before) = (Instant::now(), ana.frames());
    let speaker = thread::spawn(move || {
        for n in 0..100 {
            stream
                .write_all(format!("beto: {n}.\n").as_bytes())
                .unwrap();
            thread::park_timeout(Duration::from_millis(1)); // a packet for each
        }
        stream
    });
    ana.shows("beto: 99.");
    // Sixty a second, a second one for each because the view follows, and some to spare.
    let (frames, most) = (ana.frames() - before, start.elapsed().as_millis() / 8 + 20);
    assert!(
        frames as u128 <= most,
        "100 lines took {frames} frames, instead of {most} at most"
    );
    drop(speaker.join().unwrap());
}

#[test]
fn a_refused_name_can_be_changed_and_nothing_typed_is_lost() {
    let server = Server::start("07_limits");
    let [mut beto, _carla] = server.chat(["beto", "carla"]);
    let mut ana = client_window("BETO", server.address());
    ana.fills("Say", "I am typing");
    ana.clicks("Connect");
    ana.shows("the server says: the name BETO is taken");
    ana.shows("choose another name");
    assert_eq!(ana.field("Say"), "I am typing");
    assert_eq!(ana.focus().as_deref(), Some("Name"));
    // On the same connection, by the keyboard alone.
    ana.presses_with(Modifiers::COMMAND, Key::A);
    ana.says("ana");
    ana.shows("in the room as ana");
    assert_eq!(ana.app().shown().notice(), None);
    assert_eq!(ana.focus().as_deref(), Some("Say"));
    ana.presses(Key::Enter);
    beto.hears("* ana joined");
    beto.hears_from("ana", "I am typing");
}

#[test]
fn a_refused_connection_is_told_in_plain_words_and_another_try_works() {
    let (port, _reservation) = free_port();
    let mut ana = client_window("ana", ([127, 0, 0, 1], port).into());
    ana.fills("Say", "I am typing");
    ana.clicks("Connect");
    ana.shows(&format!(
        "no server listens on port {port} of 127.0.0.1: is it running?"
    ));
    assert_eq!(ana.field("Say"), "I am typing");

    ana.fills("Host", "no such machine");
    ana.presses(Key::Enter);
    ana.shows("no machine called \"no such machine\" is known");
    ana.fills("Host", "127.0.0.1");
    ana.fills("Port", "65536");
    ana.presses(Key::Enter);
    ana.shows("the port must be a number from 1 to 65535");

    let server = Server::start("07_limits");
    ana.fills("Port", &server.address().port().to_string());
    ana.presses(Key::Enter);
    ana.shows("in the room as ana");
    assert_eq!(ana.field("Say"), "I am typing");
}

#[test]
fn a_killed_server_leaves_a_window_that_can_be_used() {
    let server = Server::start("07_limits");
    let address = server.address();
    let mut ana = in_the_room("ana", address);
    ana.says("hola");
    ana.types("I am typing");
    drop(server); // SIGKILL
    ana.until("said so", |ana| ana.app().shown().notice().is_some());
    let notice = ana.app().shown().notice().unwrap();
    assert!(
        notice == "the server has closed the connection" || notice.contains("was lost"),
        "{notice:?}"
    );
    ana.shows("not connected");
    assert_eq!(ana.field("Say"), "I am typing");
    // It can be typed on, but not sent.
    ana.says(" on");
    ana.shows("not in the room: what you typed is kept");
    assert_eq!(ana.field("Say"), "I am typing on");

    // A new server, and the conversation goes on.
    let server = Server::start("07_limits");
    ana.fills("Port", &server.address().port().to_string());
    ana.clicks("Connect");
    ana.shows("in the room as ana");
    let [mut beto, _carla] = server.chat(["beto", "carla"]);
    ana.shows("all are here");
    ana.presses(Key::Enter);
    beto.hears_from("ana", "I am typing on");
    assert!(ana.is_shown("ana (you): hola"));
}

#[test]
fn whoever_is_put_out_reads_why() {
    let server = Server::ours_with("07_limits", &["--max-line", "20"]);
    let Some(server) = server else { return };
    let mut ana = in_the_room("ana", server.address());
    ana.says("a line of more than twenty bytes");
    ana.shows("the server has closed the connection: a line has at most 20 bytes");
    ana.clicks("Connect");
    ana.shows("in the room as ana");
}

/// A server that the test plays itself.
fn fake_server() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// An address where the system answers nobody, because the queue of connections is full:
/// for minutes, or as long as the sockets are there.
fn full_queue() -> (SocketAddr, Vec<Socket>) {
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

#[test]
fn a_window_that_is_being_connected_can_be_used() {
    if !cfg!(target_os = "linux") {
        return eprintln!("does not run: this system refuses what does not fit into the queue");
    }
    let (address, _queue) = full_queue();
    let mut ana = client_window("ana", address);
    ana.clicks("Connect");
    ana.shows("connecting to 127.0.0.1");
    ana.fills("Say", "I am typing");
    assert_eq!(ana.field("Say"), "I am typing");
    ana.clicks("Give up");
    ana.shows("not connected");
    assert!(ana.closes(), "nothing is to be waited for");
}

#[test]
fn a_connection_that_fails_takes_nobodys_keyboard_away() {
    if !cfg!(target_os = "linux") {
        return eprintln!("does not run: this system refuses what does not fit into the queue");
    }
    let (address, _queue) = full_queue();
    let mut ana = client_window("ana", address);
    ana.clicks("Connect");
    // From here on the keyboard is where one types to the others.
    ana.types("hola a todos");
    ana.presses_with(Modifiers::COMMAND, Key::D);
    ana.shows("not connected");
    ana.types(", amigos");
    assert_eq!(ana.focus().as_deref(), Some("Say"));
    assert_eq!(ana.field("Say"), "hola a todos, amigos");
}

#[test]
fn nothing_is_lost_of_what_is_typed_faster_than_frames_are_drawn() {
    let server = Server::start("07_limits");
    let [mut beto, _carla] = server.chat(["beto", "carla"]);
    let mut ana = in_the_room("ana", server.address());
    beto.hears("* ana joined");
    ana.types_at_once(&["one", "two", "three"], "and");
    for line in ["one", "two", "three"] {
        beto.hears_from("ana", line);
    }
    assert_eq!(ana.field("Say"), "and");
}

/// Nobody can end a thread that waits to be connected: so it must not wait for minutes.
#[test]
fn a_server_that_never_answers_is_given_up() {
    if !cfg!(target_os = "linux") {
        return eprintln!("does not run: this system refuses what does not fit into the queue");
    }
    let (address, _queue) = full_queue();
    let mut ana = client_window("ana", address);
    ana.clicks("Connect");
    let deadline = Instant::now() + Duration::from_secs(20);
    while ana.app().shown().state() != &Apart {
        assert!(Instant::now() < deadline, "its thread still waits");
        thread::park_timeout(Duration::from_millis(100));
        ana.frame();
    }
    ana.shows("127.0.0.1 does not answer: check the address and the network");
}

#[test]
fn a_flood_neither_freezes_the_window_nor_fills_it() {
    let (listener, address) = fake_server();
    // It floods until it hears that it should stop: a window that freezes never says so.
    let flood = thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let mut heard = BufReader::new(&stream).lines().map_while(Result::ok);
        assert_eq!(heard.next().as_deref(), Some("ana"));
        (&stream).write_all(b"* welcome, ana\n").unwrap();
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                heard.find(|line| line == "stop");
                stop.store(true, Ordering::Relaxed);
            });
            let mut said = 0;
            while !stop.load(Ordering::Relaxed) || said < 10_000 {
                let lines: String = (said..said + 100).map(|n| format!("beto: {n}\n")).collect();
                (&stream).write_all(lines.as_bytes()).unwrap();
                said += 100;
            }
            said
        })
    });
    let mut ana = in_the_room_of("ana", address);
    ana.until("shown the flood", |ana| {
        ana.app().shown().conversation.gone() > 0
    });
    ana.says("stop");
    let mut said = 0;
    let flood = Cell::new(Some(flood));
    ana.until("stopped the flood", |_| {
        let thread = flood.take().unwrap();
        let is_over = thread.is_finished();
        flood.set(Some(thread));
        is_over
    });
    said += flood.take().unwrap().join().unwrap();
    ana.shows(&format!("beto: {}", said - 1));
    // Old lines have left, and are counted: the welcome, our own and all of the flood.
    let conversation = &ana.app().shown().conversation;
    let kept = conversation.lines().count();
    assert_eq!(kept, MOST_LINES);
    // All that came are either here or counted, but for our own and how it was closed.
    let others = conversation.gone() + kept - said;
    assert!((2..=3).contains(&others), "{others} lines besides {said}");
    ana.presses_with(Modifiers::COMMAND, Key::Home);
    ana.shows("earlier lines are gone)");
}

/// A letter is dear when it is drawn for the first time, and writing has more of them than
/// a frame has time for: here, all that a machine has for Chinese.
#[test]
fn twenty_thousand_different_letters_do_not_freeze_the_window() {
    let (listener, address) = fake_server();
    let mut ana = Screen::open("ana's window", |context| {
        context.add_font_provider(Arc::new(SystemFontProvider::new()));
        let port = address.port().to_string();
        let args = client::Args::parse_from(["", "--name", "ana", "--port", &port]);
        client::Window::new(args, context)
    });
    ana.clicks("Connect");
    let (mut stream, _) = listener.accept().unwrap();
    stream.write_all(b"* welcome, ana\n").unwrap();
    ana.shows("in the room as ana");
    let letters: Vec<char> = ('\u{4e00}'..).take(20_000).collect();
    let mut lines: Vec<String> = letters.chunks(1360).map(String::from_iter).collect();
    lines.push(letters.iter().collect()); // longer than any server of ours lets pass
    lines.push(
        format!("! {}", lines.concat())
            .chars()
            .take(20_000)
            .collect(),
    );
    for (n, line) in lines.iter().enumerate() {
        let line = match line.starts_with('!') {
            true => format!("{line}\n"),
            false => format!("beto: {n}. {line}\n"),
        };
        stream.write_all(line.as_bytes()).unwrap();
        ana.until("taken the line", |ana| {
            ana.app().shown().conversation.lines().count() == n + 2
        });
        ana.types("z");
    }
    let most = Duration::from_millis(500);
    assert!(
        ana.longest() < most,
        "a frame took {:?}: meanwhile no key was heard",
        ana.longest()
    );
    assert_eq!(ana.field("Say"), "z".repeat(lines.len()));
}

/// A window that hangs for long (its machine was suspended, say) goes on afterwards: whoever
/// wakes it has waited for it.
#[test]
fn a_window_that_has_hung_for_long_hears_of_its_connection_again() {
    let (listener, address) = fake_server();
    let mut ana = client_window("ana", address);
    ana.clicks("Connect");
    let (mut stream, _) = listener.accept().unwrap();
    stream.write_all(b"* welcome, ana\n").unwrap();
    ana.shows("in the room as ana");
    ana.hangs(Duration::from_millis(10_500), || {
        stream.write_all(b"beto: wake up\n").unwrap();
    });
    ana.shows("beto: wake up");
    stream.write_all(b"beto: are you there?\n").unwrap();
    ana.shows("beto: are you there?");
}

/// As [`in_the_room`], for a fake server that knows no names.
#[track_caller]
fn in_the_room_of(name: &str, address: SocketAddr) -> ClientScreen {
    let mut screen = client_window(name, address);
    screen.clicks("Connect");
    screen.until("been let in", |screen| {
        matches!(screen.app().shown().state(), In(_))
    });
    screen
}

/// What a window has not taken waits at the server, not in memory.
#[test]
fn a_window_that_does_not_look_takes_no_memory() {
    let (listener, address) = fake_server();
    let mut ana = client_window("ana", address);
    ana.clicks("Connect");
    let (stream, _) = listener.accept().unwrap();
    ana.until("been connected", |ana| ana.is_shown("is the name free?"));
    // From here on it draws no frame.
    stream
        .set_write_timeout(Some(Duration::from_millis(300)))
        .unwrap();
    let lines = "beto: blah\n".repeat(10_000);
    let most = 64 * 1024 * 1024;
    let mut taken = 0;
    while taken < most {
        match (&stream).write(lines.as_bytes()) {
            Ok(count) => taken += count,
            Err(_) => break, // nobody takes any more
        }
    }
    // The buffers of two sockets, and a channel that holds so many lines.
    assert!(
        taken < most,
        "it has taken {taken} bytes, and would have taken more"
    );
}

#[test]
fn a_server_that_does_not_read_takes_nothing_from_what_is_typed() {
    let (listener, address) = fake_server();
    // The less its system takes for it, the sooner there is no room for more.
    SockRef::from(&listener).set_recv_buffer_size(4096).unwrap();
    let mut ana = client_window("ana", address);
    ana.clicks("Connect");
    let (mut stream, _) = listener.accept().unwrap();
    stream.write_all(b"* welcome, ana\n").unwrap();
    ana.shows("in the room as ana");
    let long = "x".repeat(4 * 1024);
    let mut said = 0;
    while ana.app().shown().notice().is_none() {
        ana.says(&long);
        said += 1;
        assert!(said < 1000, "the outbox has no end");
    }
    ana.shows("the server takes no more at the moment: what you typed is kept");
    assert_eq!(ana.field("Say").len(), long.len());
    // It can still be closed: the server gets its time, and no more.
    assert!(!ana.closes());
    ana.until("closed", |ana| {
        ana.commands().contains(&ViewportCommand::Close)
    });
}

/// The drill of the lesson: a frame that reads from the server is not over until the server
/// says something.
#[test]
fn still_broken_a_window_that_reads_from_its_server_freezes() {
    let (listener, address) = fake_server();
    let (about_to_draw, draws) = mpsc::channel();
    let (drawn, has_drawn) = mpsc::channel();
    let frozen = thread::spawn(move || {
        let mut ana = client_window_as("ana", address, Look::default(), &["--freeze"]);
        about_to_draw.send(()).unwrap();
        ana.clicks("Connect");
        // The frame that finds the connection there does not end.
        ana.shows("* welcome, ana");
        drawn.send(()).unwrap();
    });
    draws.recv_timeout(patience()).expect("it draws");
    let (mut stream, _) = listener.accept().unwrap();
    // Its name shows that the frame has begun that does not end.
    stream.set_read_timeout(Some(patience())).unwrap();
    stream.read_exact(&mut [0; 4]).expect("it is connected");
    // Meanwhile a window that does not wait, connected to the same server, draws a hundred
    // frames, and is typed into.
    let mut beto = client_window("beto", address);
    beto.clicks("Connect");
    let _other = listener.accept().unwrap();
    for _ in 0..100 {
        beto.frame();
    }
    beto.fills("Say", "I am typing");
    assert_eq!(beto.field("Say"), "I am typing");
    assert_eq!(
        has_drawn.try_recv(),
        Err(TryRecvError::Empty),
        "it did not freeze"
    );
    // As soon as the server says something, it moves again.
    stream.write_all(b"* welcome, ana\n").unwrap();
    stream.shutdown(Shutdown::Both).unwrap();
    has_drawn.recv_timeout(patience()).expect("it moves again");
    frozen.join().unwrap();
}

#[test]
fn closing_the_clients_window_says_good_bye() {
    let server = Server::start("07_limits");
    let [mut beto, _carla] = server.chat(["beto", "carla"]);
    let mut ana = in_the_room("ana", server.address());
    beto.hears("* ana joined");
    ana.says("last words");
    assert!(!ana.closes(), "it should say good-bye first");
    beto.hears_from("ana", "last words");
    beto.hears("* ana left");
    ana.until("closed", |ana| {
        ana.commands().contains(&ViewportCommand::Close)
    });
    server.shows("left"); // and not: left: connection reset
    assert_eq!(server.lines_with("left:"), 0);
}

#[test]
fn the_servers_window_shows_who_is_there_and_what_is_said() {
    if !applies_to_ours_only() {
        return;
    }
    let (mut server, address) = server_window(&[]);
    server.shows("Nobody is connected");
    // From here on it is drawn when somebody wakes it, and not for a cursor that blinks.
    server.loses_focus();
    let nobody = TcpStream::connect(address).unwrap();
    server.shows("1 client");
    server.shows(&format!("(no name yet), {}", nobody.local_addr().unwrap()));
    let mut ana = in_the_room("ana", address);
    server.shows("2 clients");
    server.shows("ana, 127.0.0.1:");
    server.shows(" · 0 s");
    server.shows("* ana joined");
    ana.says("hola");
    server.shows("ana: hola");
    drop(nobody);
    server.until("forgotten nobody", |server| {
        !server.is_shown("(no name yet)")
    });
    ana.says("salir");
    server.shows("* ana left");
    server.shows("Nobody is connected");
}

#[test]
fn the_server_answers_everybody_or_whoever_is_selected() {
    if !applies_to_ours_only() {
        return;
    }
    let (mut server, address) = server_window(&[]);
    let mut ana = in_the_room("ana", address);
    let mut beto = in_the_room("beto", address);
    server.shows("2 clients");
    server.says("hola a todos");
    for client in [&mut ana, &mut beto] {
        client.shows("* the server: hola a todos");
    }
    server.shows("* the server: hola a todos");
    server.clicks("beto, 127.0.0.1");
    server.says("between us");
    beto.shows("* the server to you: between us");
    server.shows("* the server to beto: between us");
    // Once is enough; and a client cannot say what looks like it.
    ana.says("* the server: I am ana");
    beto.shows("ana: * the server: I am ana");
    server.clicks("everybody");
    server.says("to all again");
    for client in [&mut ana, &mut beto] {
        client.shows("* the server: to all again");
    }
    server.shows("* the server: to all again");
    assert!(!ana.is_shown("between us"), "ana has heard it as well");
    let lines = server.app().shown().conversation.lines();
    let mine = lines.filter(|(kind, _)| *kind == Kind::Mine).count();
    assert_eq!(mine, 3, "each answer is shown once");
}

#[test]
fn a_line_too_long_for_the_clients_stays_with_the_server() {
    if !applies_to_ours_only() {
        return;
    }
    let (mut server, address) = server_window(&[]);
    let mut ana = in_the_room("ana", address);
    server.shows("1 client");
    server.says(&"x".repeat(64 * 1024));
    server.shows("what you typed is kept");
    assert_eq!(server.field("To everybody").len(), 64 * 1024);
    server.fills("To everybody", "");
    server.says("hola");
    ana.shows("* the server: hola");
}

#[test]
fn what_is_meant_for_one_who_leaves_goes_to_nobody() {
    if !applies_to_ours_only() {
        return;
    }
    let (mut server, address) = server_window(&[]);
    let mut ana = in_the_room("ana", address);
    let mut beto = in_the_room("beto", address);
    server.shows("2 clients");
    server.clicks("beto, 127.0.0.1");
    server.types("only for beto");
    beto.says("salir");
    server.shows("* beto left");
    server.presses(Key::Enter);
    server.shows("beto has left: choose whom to answer; what you typed is kept");
    assert_eq!(server.field("To beto"), "only for beto");
    // A new beto is not the one it was meant for.
    let _new = in_the_room("beto", address);
    server.shows("2 clients");
    server.presses(Key::Enter);
    server.shows("beto has left");
    server.clicks("everybody");
    server.fills("To everybody", "for all");
    server.presses(Key::Enter);
    ana.shows("* the server: for all");
    assert!(!ana.is_shown("only for beto"));
}

#[test]
fn whoever_is_put_out_hears_why_and_may_come_back() {
    if !applies_to_ours_only() {
        return;
    }
    let (mut server, address) = server_window(&[]);
    let mut ana = in_the_room("ana", address);
    let mut rude = in_the_room("rude", address);
    server.shows("2 clients");
    assert!(!server.is_enabled("Put out"), "everybody cannot be put out");
    server.clicks("rude, 127.0.0.1");
    server.clicks("Put out");
    rude.shows("the server has closed the connection: put out by the server");
    ana.shows("* rude left");
    server.shows("left: put out by the server");
    server.shows("1 client");
    assert!(!server.is_enabled("Put out"));
    rude.clicks("Connect");
    rude.shows("in the room as rude");
}

/// Also one who says nothing that is a name, and one who speaks all the time.
#[test]
fn nobody_can_hold_up_being_put_out() {
    if !applies_to_ours_only() {
        return;
    }
    let (mut server, listens) = server_window(&["--max-rate", "1000000"]);
    for name in ["", "busy\n"] {
        let mut stream = TcpStream::connect(listens).unwrap();
        stream.write_all(name.as_bytes()).unwrap();
        let address = stream.local_addr().unwrap();
        let row = match name {
            "" => format!("(no name yet), {address}"),
            _ => format!("busy, {address}"),
        };
        server.shows(&row);
        let mut speaking = stream.try_clone().unwrap();
        let speaker =
            thread::spawn(
                move || {
                    while !name.is_empty() && speaking.write_all(b"blah\n").is_ok() {}
                },
            );
        server.clicks(&row);
        let start = Instant::now();
        server.clicks("Put out");
        server.shows("Nobody is connected");
        // And no reset, although more is sent than the server wants: it may overtake the
        // reason. For a second, the server reads and forgets.
        while !name.is_empty() && start.elapsed() < Duration::from_millis(300) {
            assert!(
                !speaker.is_finished(),
                "the connection was not ended in order"
            );
            thread::park_timeout(Duration::from_millis(5));
        }
        let mut heard = String::new();
        stream.set_read_timeout(Some(patience())).unwrap();
        let mut reader = BufReader::new(&stream);
        while reader.read_line(&mut heard).is_ok_and(|count| count > 0) {}
        assert!(heard.ends_with("! put out by the server\n"), "{heard:?}");
        // It neither closes nor falls silent: it is cut off.
        let told = format!("! {address} left: put out by the server");
        server.until("cut it off", |server| {
            let mut lines = server.app().shown().conversation.lines();
            lines.any(|(_, line)| line == told)
        });
        stream.shutdown(Shutdown::Both).ok();
        speaker.join().unwrap();
    }
}

#[test]
fn the_server_stops_in_order_and_starts_again() {
    if !applies_to_ours_only() {
        return;
    }
    let (mut server, address) = server_window(&[]);
    let mut ana = in_the_room("ana", address);
    let mut raw = TcpStream::connect(address).unwrap();
    server.shows("2 clients");
    server.clicks("Stop");
    ana.shows("* the server is closing");
    ana.shows("the server has closed the connection");
    let mut heard = String::new();
    raw.read_to_string(&mut heard).unwrap();
    assert_eq!(heard, "* the server is closing\n");
    drop(raw);
    server.shows("not listening");
    server.shows("(closed)");
    server.shows("Nobody is connected");
    assert!(TcpStream::connect(address).is_err(), "it still listens");
    // Answers wait as well.
    server.fills("To everybody", "hola");
    server.presses(Key::Enter);
    server.shows("not listening: what you typed is kept");

    server.clicks("Start");
    let address = is_listening(&mut server);
    ana.fills("Port", &address.port().to_string());
    ana.clicks("Connect");
    ana.shows("in the room as ana");
    server.shows("1 client");
    server.fills("To everybody", "hola again");
    server.presses(Key::Enter);
    ana.shows("* the server: hola again");
}

#[test]
fn a_port_in_use_is_told_in_the_window() {
    if !applies_to_ours_only() {
        return;
    }
    let (_listener, address) = fake_server();
    let port = address.port().to_string();
    let args = server::Args::parse_from(["", "--port", &port]);
    let mut server = Screen::open("the server's window", |context| {
        server::Window::new(args, context)
    });
    server.shows(&format!("port {port} of 127.0.0.1 is in use"));
    server.shows("choose another (0 takes any free one)");
    server.fills("Port", "0");
    server.presses(Key::Enter);
    is_listening(&mut server);
    assert_eq!(server.app().shown().notice(), None);
}

#[test]
fn closing_the_servers_window_ends_everything_in_order() {
    if !applies_to_ours_only() {
        return;
    }
    let (mut server, address) = server_window(&[]);
    let mut ana = in_the_room("ana", address);
    // Somebody who never reads, and never closes, has until the grace is over.
    let _sleeper = TcpStream::connect(address).unwrap();
    server.shows("2 clients");
    assert!(!server.closes(), "it should say good-bye first");
    ana.shows("* the server is closing");
    server.shows("closing …");
    server.until("closed", |server| {
        server.commands().contains(&ViewportCommand::Close)
    });
    assert!(TcpStream::connect(address).is_err(), "it still listens");
}

/// The room does not wait for the window, and what the window is too slow for is counted.
#[test]
fn a_servers_window_that_does_not_look_stops_nobody() {
    if !applies_to_ours_only() {
        return;
    }
    const LINES: usize = 2000;
    let (mut server, address) = server_window(&["--max-rate", "1000000"]);
    let mut ana = in_the_room_of("ana", address);
    server.shows("1 client");
    // From here on the server's window draws no frame.
    let mut beto = TcpStream::connect(address).unwrap();
    beto.set_nodelay(true).unwrap();
    beto.write_all(b"beto\n").unwrap();
    // More than can wait for it: each is nearly a packet.
    let speaker = thread::spawn(move || {
        let text = "x".repeat(4000);
        for n in 0..LINES {
            beto.write_all(format!("{n} {text}\n").as_bytes()).unwrap();
        }
        beto
    });
    ana.shows(&format!("beto: {} x", LINES - 1));
    let beto = speaker.join().unwrap();
    // Now it looks. What it shows, and what it says that it missed, is all there was.
    server.shows("2 clients");
    ana.says("is anybody there?");
    server.shows("is anybody there?");
    let conversation = &server.app().shown().conversation;
    let said = conversation.lines();
    let said = said.filter(|(_, line)| line.starts_with("beto: ")).count();
    assert!(
        conversation.missed() > 0,
        "the window missed nothing: then somebody has waited for it"
    );
    let all = said + conversation.gone();
    assert!(
        (LINES..LINES + 20).contains(&all),
        "{said} shown, {} told as gone or missed",
        conversation.gone()
    );
    drop(beto);
}

#[test]
fn two_windows_and_a_terminal_chat_together() {
    if !applies_to_ours_only() {
        return;
    }
    let (mut server, address) = server_window(&[]);
    let mut ana = in_the_room("ana", address);
    let mut terminal = example("04_chat_client");
    terminal.args(["--name", "beto", "--port", &address.port().to_string()]);
    let mut beto = Program::start(terminal).unwrap();
    ana.shows("* beto joined");
    prints(&beto, "* welcome, beto");
    ana.says("hola, terminal");
    prints(&beto, "ana: hola, terminal");
    beto.types("hola, window").unwrap();
    ana.shows("beto: hola, window");
    server.shows("beto: hola, window");
    server.clicks("beto, 127.0.0.1");
    server.says("only for you");
    prints(&beto, "* the server to you: only for you");
    beto.types("salir").unwrap();
    ana.shows("* beto left");
    prints(&beto, "the server has closed the connection");
}

#[test]
fn the_keyboard_alone_suffices() {
    if !applies_to_ours_only() {
        return;
    }
    let (mut server, address) = server_window(&[]);
    // Without a name, the keyboard is where it is missing.
    let mut ana = client_window("", address);
    ana.until("settled", |ana| ana.focus().as_deref() == Some("Name"));
    ana.says("ana");
    ana.shows("in the room as ana");
    ana.says("hola");
    server.shows("ana: hola");
    // From the field of the server's window round all that can be used, and back.
    server.until("settled", |server| {
        server.focus().as_deref() == Some("To everybody")
    });
    let mut round = Vec::new();
    loop {
        server.presses(Key::Tab);
        let focus = server.focus().unwrap_or_default();
        if focus == "To everybody" || round.len() > 10 {
            break;
        }
        round.push(focus);
    }
    let ana_row = round
        .iter()
        .position(|name| name.starts_with("ana, 127.0.0.1"));
    let Some(ana_row) = ana_row else {
        server.fail(&format!("leads the Tab key to {round:?} only"));
    };
    for name in ["Send", "everybody", "Stop"] {
        assert!(
            round.iter().any(|other| other == name),
            "no {name} in {round:?}"
        );
    }
    for _ in 0..=ana_row {
        server.presses(Key::Tab);
    }
    server.presses(Key::Space);
    assert_eq!(server.focus().as_deref(), Some("To ana"));
    server.says("between us");
    ana.shows("* the server to you: between us");
    // Page Up reads back, Ctrl-D disconnects and connects again.
    ana.presses_with(Modifiers::COMMAND, Key::D);
    ana.shows("not connected");
    ana.presses_with(Modifiers::COMMAND, Key::D);
    ana.shows("in the room as ana");
    server.presses_with(Modifiers::COMMAND, Key::D);
    server.shows("not listening");
}

#[test]
fn whoever_reads_back_is_not_disturbed_by_new_lines() {
    let (listener, address) = fake_server();
    let mut ana = client_window("ana", address);
    ana.clicks("Connect");
    let (mut stream, _) = listener.accept().unwrap();
    stream.write_all(b"* welcome, ana\n").unwrap();
    let mut say = |lines: std::ops::Range<usize>| {
        let text: String = lines.map(|n| format!("beto: line {n}.\n")).collect();
        stream.write_all(text.as_bytes()).unwrap();
    };
    say(0..MOST_LINES);
    ana.shows(&format!("line {}.", MOST_LINES - 1));
    for _ in 0..3 {
        ana.presses(Key::PageUp);
    }
    let first = |ana: &ClientScreen| {
        let texts = ana.texts();
        texts
            .into_iter()
            .find(|text| text.contains("line 1") && text.ends_with('.'))
    };
    let reading = first(&ana);
    assert!(reading.is_some() && !ana.is_shown("line 1999."));
    // As many lines come as leave above.
    say(MOST_LINES..MOST_LINES + 200);
    ana.until("taken them", |ana| {
        ana.app().shown().conversation.gone() == 201
    });
    assert_eq!(first(&ana), reading);
    ana.presses_with(Modifiers::COMMAND, Key::Home);
    ana.shows("(201 earlier lines are gone)");
    ana.presses_with(Modifiers::COMMAND, Key::End);
    ana.shows("line 2199.");
    ana.presses(Key::PageUp);
    ana.clicks("To the newest line");
    say(2200..2201);
    ana.shows("line 2200.");
}

/// Whatever is said, and whoever says it.
#[test]
fn long_and_strange_texts_do_not_break_the_windows() {
    if !applies_to_ours_only() {
        return;
    }
    for theme in [Theme::Dark, Theme::Light] {
        let look = Look {
            theme,
            ..Look::default()
        };
        let (mut server, address) = server_window_as(look, &[]);
        let names = [
            "W".repeat(24),
            "漢".repeat(24),
            "עברית".into(),
            "🦀".repeat(12),
            "ana".into(),
        ];
        let mut clients: Vec<_> = names
            .iter()
            .map(|name| {
                let mut screen = client_window_as(name, address, look, &[]);
                screen.clicks("Connect");
                screen.until("been let in", |screen| {
                    matches!(screen.app().shown().state(), In(_))
                });
                screen
            })
            .collect();
        let texts = [
            "x".repeat(3000),
            "words and ".repeat(300),
            "漢字と仮名".repeat(60),
            "שלום עולם ".repeat(40),
            "مرحبا بالعالم ".repeat(40),
            "👩‍👩‍👧‍👦🏳️‍🌈e\u{301}\u{301}\u{301} Z̸̡͈a̶͊l̵g̶o̸".repeat(20),
            String::new(),
            "\t\tindented".into(),
        ];
        for (n, text) in texts.iter().enumerate() {
            let speaker = n % clients.len();
            clients[speaker].says(text);
            server.until("heard it", |server| {
                let name = &names[speaker];
                let line = format!("{name}: {text}");
                server
                    .app()
                    .shown()
                    .conversation
                    .lines()
                    .any(|(_, said)| said == line)
            });
        }
        server.clicks(&format!("{}, ", names[0]));
        for size in [[480.0, 360.0], [1600.0, 1000.0], [760.0, 520.0]] {
            server.resizes(size);
            server.is_tidy();
            for client in &mut clients {
                client.resizes(size);
                client.is_tidy();
            }
        }
        let picture = clients[0].picture();
        assert!(picture.drawn() > 1000, "hardly anything is drawn");
    }
}

#[test]
fn the_command_line_is_that_of_the_other_stages() {
    if !applies_to_ours_only() {
        return;
    }
    let (_listener, address) = fake_server();
    let port = address.port().to_string();
    let run = |name: &str, options: &[&str]| {
        let mut command = example(name);
        command.args(options).env_remove("STAGE_PORT");
        let program = Program::start(command).unwrap();
        let status = program.wait(patience()).expect("it ends");
        (status.code(), program.output().lines().join("\n"))
    };
    for name in ["10_window_server", "10_window_client"] {
        let (code, help) = run(name, &["--help"]);
        assert_eq!(code, Some(0));
        for text in [
            "[default: 127.0.0.1]",
            "[env: STAGE_PORT=]",
            "[default: 12345]",
        ] {
            assert!(help.contains(text), "no {text} in {help}");
        }
        let (code, why) = run(name, &["--port", "70000"]);
        assert_eq!(code, Some(2));
        assert!(why.contains("must be a number from"), "{why}");
    }
    let (code, why) = run("10_window_server", &["--no-window", "--port", &port]);
    assert_eq!(code, Some(1));
    let sentence =
        format!("Error: port {port} of 127.0.0.1 is in use: stop the program that uses it");
    assert!(why.starts_with(&sentence), "{why}");
}

#[test]
fn where_there_is_no_display_the_programs_say_so() {
    if !applies_to_ours_only() || !cfg!(target_os = "linux") {
        return;
    }
    for name in ["10_window_client", "10_window_server"] {
        let mut command = example(name);
        for variable in ["DISPLAY", "WAYLAND_DISPLAY", "WAYLAND_SOCKET"] {
            command.env_remove(variable);
        }
        let program = Program::start(command).unwrap();
        let status = program.wait(patience()).expect("it ends");
        assert_eq!(status.code(), Some(1));
        let lines = program.output().lines();
        let [line] = &lines[..] else {
            panic!("{lines:#?}")
        };
        assert!(
            line.starts_with("Error: cannot open a window: is there a display?"),
            "{line}"
        );
    }
}

/// The real programs, on a display that nobody looks at, with a keyboard that nobody sits at.
#[cfg(target_os = "linux")]
#[test]
fn the_real_programs_open_windows_and_chat() {
    if !applies_to_ours_only() {
        return;
    }
    let Some(display) = virtual_display() else {
        let what = "the real windows were not opened: there is no Xvfb or no xdotool here";
        let _ = writeln!(
            std::io::stderr(),
            "{what} (Debian: apt-get install xvfb xdotool)"
        );
        return;
    };
    let mut command = display.command(example("10_window_server"));
    command.args(["--port", "0"]);
    let server = Program::start(command).unwrap();
    let address = prints(&server, "listening on ");
    let port = address.rsplit(':').next().unwrap();
    display.has_window("Chat server");

    let mut command = display.command(example("10_window_client"));
    command.args(["--name", "ana", "--port", port]);
    let ana = Program::start(command).unwrap();
    let mut beto = example("04_chat_client");
    beto.args(["--name", "beto", "--port", port]);
    let mut beto = Program::start(beto).unwrap();
    prints(&beto, "* welcome, beto");
    // The keyboard is at the button that connects.
    let window = display.has_window("Chat");
    display.presses(&window, &["key", "Return"]);
    prints(&beto, "* ana joined");
    display.presses(&window, &["type", "hola, terminal"]);
    display.presses(&window, &["key", "Return"]);
    prints(&beto, "ana: hola, terminal");
    // Ctrl-C closes a window as its cross does: in order.
    ana.interrupt().unwrap();
    prints(&beto, "* ana left");
    assert!(ana.wait(patience()).is_some_and(|status| status.success()));
    server.interrupt().unwrap();
    prints(&beto, "* the server is closing");
    beto.ends_input();
    assert!(
        server
            .wait(patience())
            .is_some_and(|status| status.success())
    );
    prints(&server, "closed");
}

/// Waits until a program prints a line with this text; returns that line.
#[track_caller]
fn prints(program: &Program, text: &str) -> String {
    // A window may take a while to open where there is no graphics card.
    let deadline = Instant::now() + 4 * patience();
    let mut lines = (0..).map_while(|index| program.output().line(index, deadline));
    match lines.find(|line| line.contains(text)) {
        Some(line) => line,
        None => panic!("no {text:?} came, but: {:#?}", program.output().lines()),
    }
}

/// A display without a screen, which ends with the test.
#[cfg(target_os = "linux")]
struct Display {
    name: String,
    _server: Program,
}

#[cfg(target_os = "linux")]
fn virtual_display() -> Option<Display> {
    let is_there = |tool| {
        std::process::Command::new(tool)
            .arg("-version")
            .output()
            .is_ok()
    };
    if !is_there("xdotool") {
        return None;
    }
    let mut xvfb = std::process::Command::new("Xvfb");
    // It picks a number that is free, and prints it when it is ready.
    xvfb.args([
        "-displayfd",
        "1",
        "-nolisten",
        "tcp",
        "-screen",
        "0",
        "1280x800x24",
    ]);
    let server = Program::start(xvfb).ok()?;
    let deadline = Instant::now() + 4 * patience();
    let mut lines = (0..).map_while(|index| server.output().line(index, deadline));
    let number = lines.find(|line| line.parse::<u32>().is_ok())?;
    Some(Display {
        name: format!(":{number}"),
        _server: server,
    })
}

#[cfg(target_os = "linux")]
impl Display {
    /// A program whose windows are to appear here, drawn without a graphics card.
    fn command(&self, mut command: std::process::Command) -> std::process::Command {
        command.env("DISPLAY", &self.name);
        command.env("LIBGL_ALWAYS_SOFTWARE", "1");
        command
            .env_remove("WAYLAND_DISPLAY")
            .env_remove("WAYLAND_SOCKET");
        command
    }

    /// Waits for a window with exactly this title, and gives it the keyboard.
    #[track_caller]
    fn has_window(&self, title: &str) -> String {
        let deadline = Instant::now() + 4 * patience();
        while Instant::now() < deadline {
            let title = format!("^{title}$");
            let found = self.tool(&["search", "--onlyvisible", "--name", &title]);
            if let Some(window) = found.lines().next() {
                self.tool(&["windowfocus", "--sync", window]);
                return window.into();
            }
        }
        panic!("no window called {title:?} has opened");
    }

    fn presses(&self, window: &str, keys: &[&str]) {
        self.tool(&["windowfocus", "--sync", window]);
        self.tool(keys);
    }

    fn tool(&self, words: &[&str]) -> String {
        let mut tool = self.command(std::process::Command::new("xdotool"));
        let output = tool.args(words).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

/// Draws the pictures of the lesson, and some more for whoever changes the windows:
/// `cargo test --features window --test 10_window draw_the_pictures -- --ignored`
#[test]
#[ignore = "it writes files"]
fn draw_the_pictures() {
    let look = |theme| Look {
        size: [640.0, 400.0],
        theme,
        scale: 2.0,
    };
    let images = root().join("lessons/images");
    let (mut server, _clients) = a_conversation(look(Theme::Light));
    server.picture().save(&images.join("10_window_server.png"));
    let (_server, [mut ana, ..]) = a_conversation(look(Theme::Dark));
    ana.picture().save(&images.join("10_window_client.png"));

    let more = Path::new(env!("CARGO_TARGET_TMPDIR"));
    for (size, scale) in [([480.0, 360.0], 1.0), ([1600.0, 1000.0], 1.0)] {
        for theme in [Theme::Dark, Theme::Light] {
            let look = Look { size, theme, scale };
            let (mut server, [mut ana, ..]) = a_conversation(look);
            let [width, height] = size;
            let name = format!("{width}x{height}_{theme:?}.png");
            server.picture().save(&more.join(format!("server_{name}")));
            ana.picture().save(&more.join(format!("client_{name}")));
        }
    }
}

/// A server's window and three clients', and what was said in them.
fn a_conversation(look: Look) -> (ServerScreen, [ClientScreen; 3]) {
    let (mut server, address) = server_window_as(look, &[]);
    let mut ana = client_window_as("ana", address, look, &[]);
    ana.clicks("Connect");
    ana.shows("in the room as ana");
    let mut beto = client_window("beto", address);
    beto.clicks("Connect");
    beto.shows("in the room as beto");
    ana.says("hola, beto");
    beto.shows("ana: hola, beto");
    beto.says("hola, ana. Does everybody type into a window now?");
    ana.shows("into a window now?");
    ana.says("Only those who want to; the terminal clients of the earlier lessons are welcome.");
    beto.shows("terminal clients");
    let mut carla = client_window("carla", address);
    carla.clicks("Connect");
    carla.shows("in the room as carla");
    carla.says("¿Qué tal? Soy carla");
    ana.shows("Soy carla");
    server.shows("Soy carla");
    server.says("welcome, all of you");
    ana.shows("welcome, all of you");
    server.clicks("ana, 127.0.0.1");
    server.says("could you stay a little longer?");
    ana.shows("to you: could you stay");
    ana.types("of course");
    server.types("thank you");
    (server, [ana, beto, carla])
}
