//! What the server's window promises.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use clap::Parser;
use harness::screen::Screen;
use harness::{applies_to_ours_only, patience};
use socket_stages_window::Kind;
use socket_stages_window::eframe::egui::{Key, ViewportCommand};

use super::server;
use super::windows::{fake_server, in_the_room, is_listening, server_window};

#[test]
fn the_window_shows_the_clients_and_their_lines() {
    if !applies_to_ours_only() {
        return;
    }
    let (mut server, address) = server_window(&[]);
    server.shows("No clients");
    // From here on only an event wakes the window, and not a cursor that blinks.
    server.loses_focus();
    let nameless = TcpStream::connect(address).unwrap();
    server.shows("1 client");
    server.shows(&format!(
        "(no name yet), {}",
        nameless.local_addr().unwrap()
    ));
    let mut ana = in_the_room("ana", address);
    server.shows("2 clients");
    server.shows("ana, 127.0.0.1:");
    server.shows(" · 0 s");
    server.shows("* ana joined");
    ana.says("hola");
    server.shows("ana: hola");
    drop(nameless);
    server.until("forgotten the client without a name", |server| {
        !server.is_shown("(no name yet)")
    });
    ana.says("salir");
    server.shows("* ana left");
    server.shows("No clients");
}

#[test]
fn an_answer_goes_to_all_clients_or_to_the_chosen_one() {
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
    // A client cannot say a line that looks like it.
    ana.says("* the server: I am ana");
    beto.shows("ana: * the server: I am ana");
    server.clicks("all clients");
    server.says("to all again");
    for client in [&mut ana, &mut beto] {
        client.shows("* the server: to all again");
    }
    server.shows("* the server: to all again");
    assert!(!ana.is_shown("between us"), "ana has heard it too");
    let lines = server.app().shown().conversation.lines();
    let mine = lines.filter(|(kind, _)| *kind == Kind::Mine).count();
    assert_eq!(mine, 3, "each answer is shown once");
}

#[test]
fn a_line_too_long_for_the_clients_is_kept() {
    if !applies_to_ours_only() {
        return;
    }
    let (mut server, address) = server_window(&[]);
    let mut ana = in_the_room("ana", address);
    server.shows("1 client");
    server.says(&"x".repeat(64 * 1024));
    server.shows("what you typed is kept");
    assert_eq!(server.field("To all clients").len(), 64 * 1024);
    server.fills("To all clients", "");
    server.says("hola");
    ana.shows("* the server: hola");
}

#[test]
fn an_answer_for_a_client_that_has_left_goes_to_no_other() {
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
    server.shows("beto has left: choose another client; what you typed is kept");
    assert_eq!(server.field("To beto"), "only for beto");
    // A new client with the same name is not the one that the text is for.
    let _new = in_the_room("beto", address);
    server.shows("2 clients");
    server.presses(Key::Enter);
    server.shows("beto has left");
    server.clicks("all clients");
    server.fills("To all clients", "for all");
    server.presses(Key::Enter);
    ana.shows("* the server: for all");
    assert!(!ana.is_shown("only for beto"));
}

#[test]
fn a_disconnected_client_hears_the_reason_and_may_come_back() {
    if !applies_to_ours_only() {
        return;
    }
    let (mut server, address) = server_window(&[]);
    let mut ana = in_the_room("ana", address);
    let mut rude = in_the_room("rude", address);
    server.shows("2 clients");
    assert!(
        !server.is_enabled("Disconnect"),
        "all clients together cannot be disconnected"
    );
    server.clicks("rude, 127.0.0.1");
    server.clicks("Disconnect");
    rude.shows("the server has closed the connection: disconnected by the server");
    ana.shows("* rude left");
    server.shows("left: disconnected by the server");
    server.shows("1 client");
    assert!(!server.is_enabled("Disconnect"));
    rude.clicks("Connect");
    rude.shows("in the room as rude");
}

/// Neither a client without a name, nor one that speaks all the time.
#[test]
fn no_client_can_delay_being_disconnected() {
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
        server.clicks("Disconnect");
        server.shows("No clients");
        // No reset may come, although the client sends more: a reset may overtake the reason.
        // For a second, the server reads and forgets.
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
        assert!(
            heard.ends_with("! disconnected by the server\n"),
            "{heard:?}"
        );
        // The client neither closes nor stops sending, so it is cut off.
        let reason = format!("! {address} left: disconnected by the server");
        server.until("cut the client off", |server| {
            let mut lines = server.app().shown().conversation.lines();
            lines.any(|(_, line)| line == reason)
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
    server.shows("No clients");
    assert!(TcpStream::connect(address).is_err(), "it still listens");
    // An answer is kept until the server runs again.
    server.fills("To all clients", "hola");
    server.presses(Key::Enter);
    server.shows("the server does not run: what you typed is kept");

    server.clicks("Start");
    let address = is_listening(&mut server);
    ana.fills("Port", &address.port().to_string());
    ana.clicks("Connect");
    ana.shows("in the room as ana");
    server.shows("1 client");
    server.fills("To all clients", "hola again");
    server.presses(Key::Enter);
    ana.shows("* the server: hola again");
}

#[test]
fn a_port_in_use_is_explained_in_the_window() {
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
fn closing_the_window_ends_the_server_in_order() {
    if !applies_to_ours_only() {
        return;
    }
    let (mut server, address) = server_window(&[]);
    let mut ana = in_the_room("ana", address);
    // A client that never closes is cut off when the grace is over.
    let _sleeper = TcpStream::connect(address).unwrap();
    server.shows("2 clients");
    assert!(!server.closes(), "it should tell the clients first");
    ana.shows("* the server is closing");
    server.shows("closing …");
    server.until("closed", |server| {
        server.commands().contains(&ViewportCommand::Close)
    });
    assert!(TcpStream::connect(address).is_err(), "it still listens");
}

#[test]
fn a_window_that_is_closed_while_its_server_starts_closes_too() {
    if !applies_to_ours_only() {
        return;
    }
    let args = server::Args::parse_from(["", "--port", "0"]);
    let mut server = Screen::open("the server's window", |context| {
        server::Window::new(args, context)
    });
    server.closes();
    server.until("closed", |server| {
        server.commands().contains(&ViewportCommand::Close)
    });
}

/// The chat does not wait for the window. Lines that have no room in its outbox are counted.
#[test]
fn a_window_that_draws_no_frames_delays_no_client_and_counts_what_it_missed() {
    if !applies_to_ours_only() {
        return;
    }
    const LINES: usize = 2000;
    let (mut server, address) = server_window(&["--max-rate", "1000000"]);
    let [mut ana, mut beto] = [(); 2].map(|()| TcpStream::connect(address).unwrap());
    ana.write_all(b"ana\n").unwrap();
    let mut heard = BufReader::new(ana.try_clone().unwrap()).lines();
    assert_eq!(heard.next().unwrap().unwrap(), "* welcome, ana");
    server.shows("ana, 127.0.0.1:");
    // From here on the server's window draws no frame.
    beto.write_all(b"beto\n").unwrap();
    // More bytes than can wait for the window.
    let speaker = thread::spawn(move || {
        let text = "x".repeat(4000);
        for n in 0..LINES {
            beto.write_all(format!("{n} {text}\n").as_bytes()).unwrap();
        }
        beto
    });
    let last = format!("beto: {} x", LINES - 1);
    let heard = heard.find(|line| line.as_ref().is_ok_and(|line| line.starts_with(&last)));
    assert!(heard.is_some(), "ana has not heard all of beto's lines");
    let beto = speaker.join().unwrap();
    // Now the window draws. It shows a line, or counts it as gone or missed.
    server.shows("2 clients");
    ana.write_all(b"still here?\n").unwrap();
    server.shows("ana: still here?");
    let conversation = &server.app().shown().conversation;
    let said = conversation.lines();
    let said = said.filter(|(_, line)| line.starts_with("beto: ")).count();
    assert!(
        conversation.missed() > 0,
        "the window has missed no line, so the chat has waited for it"
    );
    let all = said + conversation.gone();
    assert!(
        (LINES..LINES + 20).contains(&all),
        "{said} shown, {} counted as gone or missed",
        conversation.gone()
    );
    drop(beto);
}
