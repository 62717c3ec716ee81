//! Wrong servers, each with the test that must refuse it and words of its complaint.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};

use harness::refused;
use harness::wrong::Hosted;

use super::*;

#[test]
fn are_refused() {
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
            // It sends what it has when more comes. At the end it forgets the rest.
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
