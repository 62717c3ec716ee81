//! What the client's window promises.

use std::cell::Cell;
use std::io::{BufRead, BufReader, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use clap::Parser;
use harness::screen::Screen;
use harness::{Server, applies_to_ours_only, free_port};
use socket_stages_window::MOST_LINES;
use socket_stages_window::client::State::Apart;
use socket_stages_window::eframe::egui::{Key, Modifiers, ViewportCommand};
use socket_stages_window::egui_system_font_provider::SystemFontProvider;
use socket2::SockRef;

use super::windows::{
    ClientScreen, client_window, fake_server, full_queue, in_the_room, is_let_in,
};
use super::{STAGE, client};

#[test]
fn a_typed_line_arrives_from_each_server_since_stage_04() {
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
        // The field keeps the keyboard.
        for text in ["hola", "¿qué tal?", "  two  blanks"] {
            ana.says(text);
            beto.hears_from("ana", text);
            ana.shows(&format!("ana (you): {text}"));
            assert_eq!(ana.field("Say"), "");
        }
        beto.says("hola, ana");
        ana.shows("beto: hola, ana");
        // Leaving shows no fault.
        ana.says("salir");
        beto.hears("* ana left");
        ana.shows("not connected");
        assert_eq!(ana.app().shown().notice(), None, "{stage}");
    }
}

#[test]
fn each_line_wakes_the_window_but_not_more_often_than_60_times_a_second() {
    let (listener, address) = fake_server();
    let mut ana = client_window("ana", address);
    ana.clicks("Connect");
    let (mut stream, _) = listener.accept().unwrap();
    stream.write_all(b"* welcome, ana\n").unwrap();
    ana.shows("in the room as ana");
    // `shows` draws only when something wakes the window: a line, when no cursor blinks.
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
    // Sixty frames a second, a second frame for each because the view follows, and some to spare.
    let (frames, most) = (ana.frames() - before, start.elapsed().as_millis() / 8 + 20);
    assert!(
        frames as u128 <= most,
        "100 lines took {frames} frames, instead of {most} at most"
    );
    drop(speaker.join().unwrap());
}

#[test]
fn a_refused_name_can_be_changed_and_typed_text_is_kept() {
    let server = Server::start("07_limits");
    let [mut beto, _carla] = server.chat(["beto", "carla"]);
    let mut ana = client_window("BETO", server.address());
    ana.fills("Say", "I am typing");
    ana.clicks("Connect");
    ana.shows("the server says: the name BETO is taken");
    ana.shows("choose another name");
    assert_eq!(ana.field("Say"), "I am typing");
    assert_eq!(ana.focus().as_deref(), Some("Name"));
    // Another try, on the same connection, with the keyboard alone.
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
fn a_refused_connection_is_explained_and_can_be_tried_again() {
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
fn a_window_survives_its_server_and_connects_again() {
    let server = Server::start("07_limits");
    let address = server.address();
    let mut ana = in_the_room("ana", address);
    ana.says("hola");
    ana.types("I am typing");
    drop(server); // SIGKILL
    ana.until("shown a notice", |ana| ana.app().shown().notice().is_some());
    let notice = ana.app().shown().notice().unwrap();
    assert!(
        notice == "the server has closed the connection" || notice.contains("was lost"),
        "{notice:?}"
    );
    ana.shows("not connected");
    assert_eq!(ana.field("Say"), "I am typing");
    // The text can be changed, but not sent.
    ana.says(" on");
    ana.shows("not in the room: what you typed is kept");
    assert_eq!(ana.field("Say"), "I am typing on");

    // With a new server, the conversation goes on.
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
fn a_disconnected_client_shows_the_reason() {
    let server = Server::of("07_limits")
        .with(["--max-line", "20"])
        .ours_only()
        .start();
    let Some(server) = server else { return };
    let mut ana = in_the_room("ana", server.address());
    ana.says("a line of more than twenty bytes");
    ana.shows("the server has closed the connection: a line has at most 20 bytes");
    ana.clicks("Connect");
    ana.shows("in the room as ana");
}

#[test]
fn a_window_can_be_used_while_it_connects() {
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
    assert!(ana.closes(), "there is nothing to wait for");
}

#[test]
fn a_failed_connection_leaves_the_keyboard_in_the_field() {
    if !cfg!(target_os = "linux") {
        return eprintln!("does not run: this system refuses what does not fit into the queue");
    }
    let (address, _queue) = full_queue();
    let mut ana = client_window("ana", address);
    ana.clicks("Connect");
    // From here on the field at the bottom has the keyboard.
    ana.types("hola a todos");
    ana.presses_with(Modifiers::COMMAND, Key::D);
    ana.shows("not connected");
    ana.types(", amigos");
    assert_eq!(ana.focus().as_deref(), Some("Say"));
    assert_eq!(ana.field("Say"), "hola a todos, amigos");
}

#[test]
fn keys_pressed_faster_than_frames_are_drawn_are_not_lost() {
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

/// A thread that waits to be connected cannot be stopped, so it must not wait for minutes.
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
fn a_flood_neither_freezes_the_window_nor_fills_its_memory() {
    let (listener, address) = fake_server();
    // It floods until it hears "stop". A frozen window could not say that.
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
    let mut ana = is_let_in("ana", address);
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
    // Old lines are dropped and counted.
    let conversation = &ana.app().shown().conversation;
    let kept = conversation.lines().count();
    assert_eq!(kept, MOST_LINES);
    // Each line of the flood is kept or counted, and so are the welcome, our own line, and
    // perhaps the note that the connection was closed.
    let others = conversation.gone() + kept - said;
    assert!((2..=3).contains(&others), "{others} lines besides {said}");
    ana.presses_with(Modifiers::COMMAND, Key::Home);
    ana.shows("earlier lines are gone)");
}

/// To draw a letter for the first time takes long, and Chinese has more letters than a frame
/// has time for.
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
    lines.push(letters.iter().collect()); // longer than our servers let pass by default
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

/// After a long time without a frame (the machine was suspended, for example), the window
/// still shows what arrives: the reader has waited for it.
#[test]
fn a_window_that_was_suspended_goes_on() {
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

/// Lines that the window has not taken wait at the server, and take no memory here.
#[test]
fn a_window_that_draws_no_frames_takes_no_memory() {
    let (listener, address) = fake_server();
    let mut ana = client_window("ana", address);
    ana.clicks("Connect");
    let (stream, _) = listener.accept().unwrap();
    ana.until("been connected", |ana| ana.is_shown("waiting for the name"));
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
            Err(_) => break, // the window takes no more
        }
    }
    // Some bytes are in the buffers of two sockets, and in the channel.
    assert!(
        taken < most,
        "it has taken {taken} bytes, and would have taken more"
    );
}

#[test]
fn typed_text_is_kept_when_the_server_does_not_read() {
    let (listener, address) = fake_server();
    // A small buffer is full sooner.
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
        assert!(said < 1000, "the outbox has no limit");
    }
    ana.shows("the server takes no more at the moment: what you typed is kept");
    assert_eq!(ana.field("Say").len(), long.len());
    // The window can still be closed. The server has two seconds to close too.
    assert!(!ana.closes());
    ana.until("closed", |ana| {
        ana.commands().contains(&ViewportCommand::Close)
    });
}

#[test]
fn closing_the_window_leaves_the_chat_in_order() {
    let server = Server::start("07_limits");
    let [mut beto, _carla] = server.chat(["beto", "carla"]);
    let mut ana = in_the_room("ana", server.address());
    beto.hears("* ana joined");
    ana.says("last words");
    assert!(!ana.closes(), "it should leave the chat first");
    beto.hears_from("ana", "last words");
    beto.hears("* ana left");
    ana.until("closed", |ana| {
        ana.commands().contains(&ViewportCommand::Close)
    });
    server.shows("left"); // and not: left: connection reset
    assert_eq!(server.lines_with("left:"), 0);
}

#[test]
fn new_lines_do_not_scroll_the_view_of_a_person_who_reads_earlier_ones() {
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
    // Each new line drops an old one above.
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
