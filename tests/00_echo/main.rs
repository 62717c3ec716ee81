//! Stage 00: what `examples/00_echo_server.rs` and its client promise, and what is
//! still broken. `lessons/00_echo.md` explains.

mod exercises;
mod wrong_servers;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use assert_cmd::Command;
use harness::{Server, example, survival};
use predicates::str::contains;

const STAGE: &str = "00_echo";

/// A mebibyte of every kind of byte except the line feed.
fn mebibyte() -> Vec<u8> {
    // A linear congruential generator (Knuth's MMIX): the same bytes every time.
    let mut state: u64 = 1;
    let mut next = || {
        state = state
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (state >> 56) as u8
    };
    let bytes = std::iter::from_fn(|| Some(next()));
    bytes.filter(|&b| b != b'\n').take(1 << 20).collect()
}

#[test]
fn a_line_comes_back() {
    let server = Server::start(STAGE);
    let mut ana = server.client("ana");
    server.likely_cause("the server answers only once, or not before the client has left");
    for line in ["hola", "¿qué tal?", "", "adiós"] {
        ana.says(line);
        ana.hears_bytes(format!("{line}\n").as_bytes());
    }
}

#[test]
fn every_byte_comes_back_while_the_client_is_still_sending() {
    let server = Server::start(STAGE);
    let mut ana = server.client("ana");
    server.likely_cause(
        "the server waits for an end of line, or for the end of the stream, or takes \
         the bytes for text",
    );
    let bytes = mebibyte();
    let mut chunks = bytes.chunks(1 << 16);
    // Some first, and all of it comes back before there is any more.
    let first = chunks.next().unwrap();
    ana.sends(first);
    ana.hears_bytes(first);
    // The rest from another thread, so that the server need not wait until we read.
    let mut sending = ana.stream().try_clone().unwrap();
    thread::scope(|scope| {
        scope.spawn(move || chunks.try_for_each(|chunk| sending.write_all(chunk)));
        ana.hears_bytes(&bytes[first.len()..]);
    });
}

#[test]
fn after_a_half_close_the_rest_comes_back_and_then_the_end() {
    let server = Server::start(STAGE);
    let mut ana = server.client("ana");
    ana.sends("the last words, without an end of line".as_bytes());
    ana.half_closes();
    ana.hears_bytes("the last words, without an end of line".as_bytes());
    server.likely_cause("the server does not close the connection at the end of the stream");
    ana.hears_the_end();
}

#[test]
fn nothing_is_lost_when_the_client_reads_late() {
    let server = Server::start(STAGE);
    let mut ana = server.client("ana");
    server
        .likely_cause("the server ignores how much `send` has taken, or closes before all is sent");
    let bytes = mebibyte().repeat(16);
    let sent = AtomicUsize::new(0);
    let mut sending = ana.stream().try_clone().unwrap();
    // If the test fails, the sender has to end too.
    sending
        .set_write_timeout(Some(harness::patience()))
        .unwrap();
    thread::scope(|scope| {
        let sender = scope.spawn(|| {
            for chunk in bytes.chunks(1 << 16) {
                sending.write_all(chunk)?;
                sent.fetch_add(chunk.len(), Ordering::Relaxed);
            }
            sending.shutdown(Shutdown::Write)
        });
        // Read nothing until no more can be sent: all buffers on the way are full.
        let mut before = usize::MAX;
        while before != sent.load(Ordering::Relaxed) && !sender.is_finished() {
            before = sent.load(Ordering::Relaxed);
            thread::park_timeout(Duration::from_millis(50));
        }
        ana.hears_bytes(&bytes);
        ana.hears_the_end();
    });
}

#[test]
fn the_next_client_is_served_when_the_first_has_left() {
    let server = Server::start(STAGE);
    let mut ana = server.client("ana");
    ana.says("first");
    ana.hears("first");
    ana.leaves();
    server.likely_cause("the server serves one client and no more");
    let mut beto = server.client("beto");
    beto.says("second");
    beto.hears("second");
}

#[test]
fn a_reset_ends_one_client_and_not_the_server() {
    let server = Server::start(STAGE);
    server.likely_cause("an error with one client ends the server");
    for _ in 0..3 {
        let mut ana = server.client("ana");
        ana.says("I am here");
        ana.hears("I am here");
        ana.says("and now I am gone");
        ana.resets();

        // Closing without reading what has come back ends the same way, and another
        // error: the server is still sending.
        let mut beto = server.client("beto");
        beto.sends(&mebibyte());
        beto.leaves();
    }
    let mut beto = server.client("beto");
    beto.says("I am still here");
    beto.hears("I am still here");
}

#[test]
fn without_file_descriptors_it_neither_ends_nor_spins() {
    survival::no_file_descriptor_at_all(STAGE, 4);
}

mod the_client {
    use super::*;

    /// A server for one client, inside the test.
    pub fn serve_one(
        serve: impl FnOnce(TcpStream) + Send + 'static,
    ) -> (String, thread::JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let served = thread::spawn(move || serve(listener.accept().unwrap().0));
        (port.to_string(), served)
    }

    pub fn client(port: &str) -> Command {
        let mut command = Command::from_std(example("00_echo_client"));
        command.args(["--port", port]).timeout(harness::patience());
        command
    }

    #[test]
    fn shows_the_reply_to_each_line() {
        let (port, served) = serve_one(|stream| {
            // Lockstep: the next line comes only after the reply to this one.
            let mut lines = BufReader::new(&stream).lines();
            for expected in ["hola", "adiós"] {
                assert_eq!(lines.next().unwrap().unwrap(), expected);
                (&stream).write_all(b"reply to ").unwrap();
                (&stream)
                    .write_all(format!("{expected}\n").as_bytes())
                    .unwrap();
            }
            assert!(lines.next().is_none(), "after salir comes the half-close");
        });
        client(&port)
            .write_stdin("hola\nadiós\nsalir\nnot sent\n")
            .assert()
            .success()
            .stdout(contains(
                "echo: reply to hola\necho: reply to adiós\ndisconnected\n",
            ));
        served.join().unwrap();
    }

    #[test]
    fn half_closes_at_the_end_of_its_input() {
        let (port, served) = serve_one(|mut stream| {
            let mut all = String::new();
            stream.read_to_string(&mut all).unwrap();
            assert_eq!(all, "");
        });
        client(&port).write_stdin("").assert().success();
        served.join().unwrap();
    }

    #[test]
    fn says_that_the_server_has_gone() {
        let (port, served) = serve_one(|stream| {
            BufReader::new(&stream).lines().next().unwrap().unwrap();
            stream.shutdown(Shutdown::Both).unwrap();
        });
        client(&port)
            .write_stdin("hola\n")
            .assert()
            .code(1)
            .stderr(contains("Error: the server has closed the connection\n"));
        served.join().unwrap();
    }
}

#[test]
fn still_broken_the_second_client_waits_for_the_first_to_leave() {
    let Some(server) = Server::of(STAGE).ours_only().start() else {
        return;
    };
    let mut ana = server.client("ana");
    let mut beto = server.client("beto");
    beto.says("are you there?");
    // Meanwhile the server works, for ana alone.
    for line in ["one", "two", "three"] {
        ana.says(line);
        ana.hears(line);
    }
    beto.has_heard_nothing();
    ana.leaves();
    beto.hears("are you there?");
}
