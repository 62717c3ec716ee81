//! Stage 10: what `examples/10_window_server/` and `examples/10_window_client.rs` promise,
//! and what happens to a window that waits for the network. `lessons/10_window.md` explains.
//!
//! `client_window.rs` and `server_window.rs` hold the promises of each window. The windows
//! are the real ones, with their threads and sockets, but without a display
//! (`harness/screen.rs`). `display.rs` opens the real programs on a virtual display.

#[path = "../../examples/10_window_client.rs"]
#[allow(dead_code, reason = "`main` is for the program itself")]
mod client;
#[path = "../../examples/10_window_server/main.rs"]
#[allow(dead_code, reason = "`main` is for the program itself")]
mod server;

mod client_window;
mod display;
mod pictures;
mod server_window;
mod windows;

use std::io::{Read, Write};
use std::net::Shutdown;
use std::sync::mpsc::{self, TryRecvError};
use std::thread;

use harness::screen::Look;
use harness::{Program, applies_to_ours_only, example, patience};
use socket_stages_window::client::State::In;
use socket_stages_window::eframe::egui::{Key, Modifiers, Theme};
use windows::{
    client_window, client_window_as, fake_server, in_the_room, prints, server_window,
    server_window_as,
};

const STAGE: &str = "10_window";

harness::contract!();
harness::lazy!();
harness::survival!();
harness::limits!();
#[cfg(unix)]
harness::shutdown!();

/// The drill of the lesson: a frame that reads from the server does not end until the server
/// sends something.
#[test]
fn still_broken_a_window_that_reads_from_its_server_freezes() {
    let (listener, address) = fake_server();
    let (about_to_draw, draws) = mpsc::channel();
    let (drawn, has_drawn) = mpsc::channel();
    let frozen = thread::spawn(move || {
        let mut ana = client_window_as("ana", address, Look::default(), &["--freeze"]);
        about_to_draw.send(()).unwrap();
        ana.clicks("Connect");
        // The first frame after the connection is made does not end.
        ana.shows("* welcome, ana");
        drawn.send(()).unwrap();
    });
    draws.recv_timeout(patience()).expect("it draws");
    let (mut stream, _) = listener.accept().unwrap();
    // When the name has arrived, the frame that does not end has begun.
    stream.set_read_timeout(Some(patience())).unwrap();
    stream.read_exact(&mut [0; 4]).expect("it is connected");
    // Meanwhile another window, which does not wait, draws a hundred frames, and takes what
    // is typed. It is connected to the same server.
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
    // As soon as the server sends something, the first window goes on.
    stream.write_all(b"* welcome, ana\n").unwrap();
    stream.shutdown(Shutdown::Both).unwrap();
    has_drawn.recv_timeout(patience()).expect("it goes on");
    frozen.join().unwrap();
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
fn the_keyboard_alone_is_enough() {
    if !applies_to_ours_only() {
        return;
    }
    let (mut server, address) = server_window(&[]);
    // Without a name, the field for it has the keyboard.
    let mut ana = client_window("", address);
    ana.until("settled", |ana| ana.focus().as_deref() == Some("Name"));
    ana.says("ana");
    ana.shows("in the room as ana");
    ana.says("hola");
    server.shows("ana: hola");
    // The Tab key goes from the field of the server's window to all other parts, and back.
    server.until("settled", |server| {
        server.focus().as_deref() == Some("To all clients")
    });
    let mut round = Vec::new();
    loop {
        server.presses(Key::Tab);
        let focus = server.focus().unwrap_or_default();
        if focus == "To all clients" || round.len() > 10 {
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
    for name in ["Send", "all clients", "Stop"] {
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
    // Ctrl+D disconnects, and connects again.
    ana.presses_with(Modifiers::COMMAND, Key::D);
    ana.shows("not connected");
    ana.presses_with(Modifiers::COMMAND, Key::D);
    ana.shows("in the room as ana");
    server.presses_with(Modifiers::COMMAND, Key::D);
    server.shows("not listening");
}

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
fn the_command_line_is_the_same_as_in_other_stages() {
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
