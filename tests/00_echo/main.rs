//! Stage 00: what `examples/00_echo_server.rs` and its client promise, and what is
//! still broken. `lessons/00_echo.md` explains.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use assert_cmd::Command;
use harness::wrong::Hosted;
use harness::{Server, applies_to_ours_only, example, has_words, refused, survival};
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
    // The rest from another thread, so that nobody waits for us to read.
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
    // Should the test fail, the sender has to end too.
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
    let Some(server) = Server::ours(STAGE) else {
        return;
    };
    let mut ana = server.client("ana");
    let mut beto = server.client("beto");
    beto.says("is anybody there?");
    // Meanwhile the server works, for ana alone.
    for line in ["one", "two", "three"] {
        ana.says(line);
        ana.hears(line);
    }
    beto.has_heard_nothing();
    ana.leaves();
    beto.hears("is anybody there?");
}

/// The checks of the exercises in `lessons/00_echo.md`, *Change it*: each fails until its
/// exercise is done.
mod exercises {
    use super::*;

    #[test]
    #[ignore = "an exercise of lesson 00"]
    fn exercise_1() {
        let server = Server::start(STAGE);
        let whole: &[&str] = &["hola\n"];
        for (number, pieces) in [
            whole,
            &["ho", "la\n"],
            &["hola\nadios\n"],
            &["a", "b", "c"],
            &[],
        ]
        .into_iter()
        .enumerate()
        {
            server.still_missing("in the line about a client that has left: in how many reads");
            let mut ana = server.client(&format!("ana {number}"));
            for piece in pieces {
                ana.sends(piece.as_bytes());
                // What comes back has been read: the next piece takes another read.
                ana.hears_bytes(piece.as_bytes());
            }
            ana.leaves();
            let reads = pieces.len();
            let line = server.shows("bytes echoed");
            if has_words(&line, &format!("in {} reads", reads + 1)) {
                server.still_missing("the last read, of 0 bytes, is the end, and does not count");
            }
            if !["read", "reads"]
                .map(|word| format!("in {reads} {word}"))
                .iter()
                .any(|words| has_words(&line, words))
            {
                server.fail(format!(
                    "After the pieces {pieces:?}, the server should have shown \"in {reads} \
                     reads\", but it showed {line:?}."
                ));
            }
        }
    }

    #[test]
    #[ignore = "an exercise of lesson 00"]
    fn exercise_2() {
        let server = Server::start_with(STAGE, &["--capitals"], "an option --capitals");
        server.still_missing("answers in capitals");
        let mut ana = server.client("ana");
        ana.says("hola");
        ana.hears_exactly("HOLA");
        server.still_missing("capitals of letters beyond a to z, which take two bytes or more");
        ana.says("¿qué tal?");
        ana.hears_exactly("¿QUÉ TAL?");
        server.still_missing("an answer for each line, as soon as the line is whole");
        ana.sends("mañana\nseñor\n".as_bytes());
        ana.hears_exactly("MAÑANA");
        ana.hears_exactly("SEÑOR");
        server.still_missing("whole letters: what one read returned may end in the middle of an é");
        for round in 0..5 {
            let (half, rest) = "café\n".as_bytes().split_at(4);
            ana.sends_in_two(half, rest, round);
            ana.hears_exactly("CAFÉ");
        }
        server.still_missing("the end, after a half-close");
        ana.half_closes();
        ana.hears_the_end();
    }

    #[test]
    #[ignore = "an exercise of lesson 00"]
    fn exercise_3() {
        if !applies_to_ours_only() {
            return;
        }
        // A server that takes its time for the first of three replies, and measures it.
        let (tell, told) = mpsc::channel();
        let (port, served) = the_client::serve_one(move |stream| {
            let mut lines = BufReader::new(&stream).lines();
            for pause in [60, 0, 0] {
                let line = lines.next().unwrap().unwrap();
                let start = Instant::now();
                thread::park_timeout(Duration::from_millis(pause));
                (&stream).write_all(format!("{line}\n").as_bytes()).unwrap();
                tell.send(start.elapsed()).unwrap();
            }
            assert!(lines.next().is_none(), "then comes the half-close");
        });
        let mut client = the_client::client(&port);
        let start = Instant::now();
        let done = client.write_stdin("a\nb\nc\n").assert().success();
        let total = start.elapsed().as_secs_f64() * 1000.0;
        served.join().unwrap();
        let printed = String::from_utf8_lossy(&done.get_output().stdout);
        let last = printed.lines().last().unwrap_or_default();
        let missing = |what: &str| -> ! {
            panic!("\n\nThe client's last line is {last:?}.\nStill missing: {what}\n\n{printed}\n")
        };
        let form = "a last line of the form \"3 replies: fastest 0.12 ms, slowest 60.21 ms\"";
        let numbers = last
            .strip_prefix("3 replies: fastest ")
            .and_then(|rest| rest.strip_suffix(" ms")?.split_once(" ms, slowest "))
            .and_then(|(a, b)| Some((a.parse::<f64>().ok()?, b.parse::<f64>().ok()?)));
        let Some((fastest, slowest)) = numbers else {
            missing(form)
        };
        // The client waited at least as long as the server took; and never for two replies
        // at once. The numbers may have been rounded.
        let rounding = 0.2;
        let longest = told.iter().max().unwrap().as_secs_f64() * 1000.0;
        if slowest + rounding < longest {
            missing(&format!("one reply took the server {longest:.1} ms"));
        }
        if slowest > total + rounding {
            missing(&format!("the client ran for {total:.1} ms in all"));
        }
        if fastest > slowest || 2.0 * fastest + slowest > total + rounding {
            missing("for each reply, only the time since its own line was sent");
        }
    }
}

#[test]
fn wrong_servers_are_refused() {
    use std::io;

    /// Serves one client after the other, as the right server does.
    fn each(listener: &TcpListener, serve: impl Fn(TcpStream) -> io::Result<()>) {
        while let Ok((stream, _)) = listener.accept() {
            let _ = serve(stream);
        }
    }

    fn echo(mut stream: TcpStream) -> io::Result<()> {
        io::copy(&mut stream.try_clone()?, &mut stream).map(drop)
    }

    fn answers_once(hosted: Hosted) {
        each(&hosted.listener, |mut stream| {
            let mut buffer = [0; 1024];
            let count = stream.read(&mut buffer)?;
            stream.write_all(&buffer[..count])?;
            stream.read_to_end(&mut Vec::new()).map(drop)
        });
    }

    fn answers_only_after_the_client_has_left(hosted: Hosted) {
        each(&hosted.listener, |mut stream| {
            let mut all = Vec::new();
            stream.read_to_end(&mut all)?;
            stream.write_all(&all)
        });
    }

    fn echoes_lines_instead_of_bytes(hosted: Hosted) {
        each(&hosted.listener, |mut stream| {
            for line in BufReader::new(stream.try_clone()?).split(b'\n') {
                stream.write_all(&[line?, b"\n".to_vec()].concat())?;
            }
            Ok(())
        });
    }

    fn takes_bytes_for_text(hosted: Hosted) {
        each(&hosted.listener, |mut stream| {
            let mut buffer = [0; 1024];
            loop {
                let count = stream.read(&mut buffer)?;
                if count == 0 {
                    return Ok(());
                }
                let text = String::from_utf8_lossy(&buffer[..count]);
                stream.write_all(text.as_bytes())?;
            }
        });
    }

    fn forgets_the_rest_at_a_half_close(hosted: Hosted) {
        each(&hosted.listener, |mut stream| {
            let mut last = Vec::new();
            let mut buffer = [0; 1024];
            loop {
                // It sends what it has when more comes, and at the end forgets to.
                let count = stream.read(&mut buffer)?;
                if count == 0 {
                    return Ok(());
                }
                stream.write_all(&last)?;
                last = buffer[..count].to_vec();
                if last.ends_with(b"\n") {
                    stream.write_all(&last)?;
                    last.clear();
                }
            }
        });
    }

    fn ignores_how_much_was_taken(hosted: Hosted) {
        each(&hosted.listener, |mut stream| {
            let mut buffer = [0; 1 << 16];
            loop {
                stream.set_nonblocking(false)?;
                let count = stream.read(&mut buffer)?;
                if count == 0 {
                    return Ok(());
                }
                stream.set_nonblocking(true)?;
                let _ = stream.write(&buffer[..count]);
            }
        });
    }

    fn keeps_the_connection_open(hosted: Hosted) {
        let mut kept = Vec::new();
        while let Ok((stream, _)) = hosted.listener.accept() {
            kept.push(stream.try_clone().unwrap());
            let _ = echo(stream);
        }
    }

    fn serves_only_one_client(hosted: Hosted) {
        let (stream, _) = hosted.listener.accept().unwrap();
        let _ = echo(stream);
    }

    fn ends_at_the_first_error(hosted: Hosted) {
        while let Ok((stream, _)) = hosted.listener.accept() {
            echo(stream).unwrap();
        }
    }

    refused! {
        answers_once by a_line_comes_back:
            "the server answers only once";
        answers_only_after_the_client_has_left by a_line_comes_back:
            "no more came", "not before the client has left";
        echoes_lines_instead_of_bytes by every_byte_comes_back_while_the_client_is_still_sending:
            "no more came", "waits for an end of line";
        takes_bytes_for_text by every_byte_comes_back_while_the_client_is_still_sending:
            "the same bytes", "takes the bytes for text";
        forgets_the_rest_at_a_half_close by after_a_half_close_the_rest_comes_back_and_then_the_end:
            "after 0 of them the end of the stream came";
        ignores_how_much_was_taken by nothing_is_lost_when_the_client_reads_late:
            "ignores how much `send` has taken";
        keeps_the_connection_open by after_a_half_close_the_rest_comes_back_and_then_the_end:
            "the end of the stream", "does not close the connection";
        serves_only_one_client by the_next_client_is_served_when_the_first_has_left:
            "serves one client and no more";
        ends_at_the_first_error by a_reset_ends_one_client_and_not_the_server:
            "an error with one client ends the server";
    }
}
