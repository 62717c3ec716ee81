//! Wrong servers, each with the test that must refuse it and words of its complaint.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;

use harness::refused;
use harness::wrong::Hosted;

use super::*;

#[test]
fn are_refused() {
    refused! {
        hides_who_speaks by the_server_shows_what_the_client_says:
            "does not tell who said it";
        shows_only_the_first_packet by the_server_shows_what_the_client_says:
            "should have printed a line with \"¿qué tal?\"", "the server reads once";
        closes_when_the_client_stops_sending by a_client_that_has_stopped_sending_is_answered:
            "takes the end of the stream for the end of the connection";
        answers_only_once by a_client_that_has_stopped_sending_is_answered:
            "should have heard \"and you?\"";
        serves_only_one_client by the_next_client_is_served_when_the_first_has_left:
            "the server serves one client and no more";
        waits_for_a_client_that_has_left by the_next_client_is_served_when_the_first_has_left:
            "waits for a dead one";
        spins_at_the_end_of_the_stream by at_the_end_of_the_stream_it_does_not_spin:
            "a read of 0 bytes is the end of the stream";
        ends_at_the_first_error by a_reset_ends_one_client_and_not_the_server:
            "an error with one client ends the server";
    }
}

/// Serves one client after the other, as the right server does.
fn each(hosted: &Hosted, serve: impl Fn(&TcpStream) -> io::Result<()>) {
    while let Ok((stream, _)) = hosted.listener.accept() {
        let _ = serve(&stream);
    }
}

fn show_lines(hosted: &Hosted, stream: &TcpStream) -> io::Result<()> {
    for line in BufReader::new(stream).lines() {
        hosted.screen.push(line?);
    }
    Ok(())
}

fn shows_only_the_first_packet(hosted: Hosted) {
    each(&hosted, |mut stream| {
        let mut buffer = [0; 1024];
        let count = stream.read(&mut buffer)?;
        let text = String::from_utf8_lossy(&buffer[..count]);
        hosted
            .screen
            .push(format!("[{}] {text}", stream.peer_addr()?));
        stream.read_to_end(&mut Vec::new()).map(drop)
    });
}

fn hides_who_speaks(hosted: Hosted) {
    each(&hosted, |stream| show_lines(&hosted, stream));
}

fn closes_when_the_client_stops_sending(hosted: Hosted) {
    each(&hosted, |stream| show_lines(&hosted, stream));
}

fn answers_only_once(hosted: Hosted) {
    each(&hosted, |mut stream| {
        show_lines(&hosted, stream)?;
        let keyboard = hosted.keyboard.lock().unwrap();
        let answer = keyboard.recv().map_err(io::Error::other)?;
        stream.write_all(format!("{answer}\n").as_bytes())?;
        keyboard.recv().map(drop).map_err(io::Error::other)
    });
}

fn serves_only_one_client(hosted: Hosted) {
    let (stream, _) = hosted.listener.accept().unwrap();
    let _ = show_lines(&hosted, &stream);
}

fn waits_for_a_client_that_has_left(hosted: Hosted) {
    each(&hosted, |stream| {
        show_lines(&hosted, stream)?;
        loop {
            std::thread::park();
        }
    });
}

fn spins_at_the_end_of_the_stream(hosted: Hosted) {
    each(&hosted, |mut stream| {
        let mut buffer = [0; 1024];
        for _ in 0..1000 {
            let count = stream.read(&mut buffer)?;
            let text = String::from_utf8_lossy(&buffer[..count]);
            hosted.screen.push(text.into());
        }
        Ok(())
    });
}

fn ends_at_the_first_error(hosted: Hosted) {
    while let Ok((stream, _)) = hosted.listener.accept() {
        show_lines(&hosted, &stream).unwrap();
    }
}
