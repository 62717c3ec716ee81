//! Wrong servers, each with the test that must refuse it and words of its complaint.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use harness::refused;
use harness::wrong::Hosted;

use super::*;

#[test]
fn are_refused() {
    refused! {
        joins_each_client by the_second_client_is_served_while_the_first_is_there:
            "\"I came second\"", "joins a client's thread before it accepts the next";
        answers_when_the_reader_has_ended by the_answer_arrives_while_the_client_is_still_sending:
            "ana should have heard \"an answer\"", "nothing came",
            "joins the reader before it starts to answer";
        answers_everybody by each_typed_line_reaches_exactly_one_client:
            "each line goes to the thread that has read it";
        loses_a_line_now_and_then by each_typed_line_reaches_exactly_one_client:
            "reached no client";
        keeps_the_connection_open by a_half_close_is_answered_by_the_end:
            "ana should have heard the end", "a thread still holds the connection";
        takes_a_packet_for_a_line by a_line_in_two_packets_is_one_line:
            "\"half and half ", "takes what one read returned for a line";
        takes_a_packet_for_a_line by two_lines_in_one_packet_are_two_lines:
            "Two lines were shown as one", "takes what one read returned for a line";
        takes_a_packet_for_a_line by a_character_split_between_packets_stays_whole:
            "decodes what one read returned";
        cuts_long_lines by a_line_of_64_kib_is_shown_whole:
            "65536 bytes", "longer than a buffer";
        ends_at_the_first_error by the_reset_of_one_client_does_not_disturb_the_others:
            "goes on", "an error with one client ends the server";
        ends_at_the_first_error by rubbish_from_one_client_does_not_disturb_the_others:
            "goes on", "not UTF-8";
    }
}

/// A thread for each client, as in the right server.
fn each_on_a_thread<F>(hosted: Hosted, serve: F)
where
    F: Fn(&Hosted, &TcpStream) -> io::Result<()> + Clone + Send + 'static,
{
    while let Ok((stream, _)) = hosted.listener.accept() {
        let (hosted, serve) = (hosted.clone(), serve.clone());
        thread::spawn(move || serve(&hosted, &stream));
    }
}

fn show_lines(hosted: &Hosted, stream: &TcpStream) -> io::Result<()> {
    for line in BufReader::new(stream).lines() {
        hosted.screen.push(line?);
    }
    stream.shutdown(Shutdown::Both)
}

fn show_packets(hosted: &Hosted, mut stream: &TcpStream) -> io::Result<()> {
    let mut buffer = [0; 1024];
    loop {
        let count = stream.read(&mut buffer)?;
        if count == 0 {
            return Ok(());
        }
        let text = String::from_utf8_lossy(&buffer[..count]);
        hosted.screen.push(text.trim_end().into());
    }
}

fn answer(hosted: &Hosted, mut stream: &TcpStream) {
    loop {
        let keyboard = hosted.keyboard.lock().unwrap();
        let Ok(line) = keyboard.recv() else { return };
        let _ = stream.write_all(format!("{line}\n").as_bytes());
    }
}

fn joins_each_client(hosted: Hosted) {
    while let Ok((stream, _)) = hosted.listener.accept() {
        let _ = show_lines(&hosted, &stream);
    }
}

fn answers_when_the_reader_has_ended(hosted: Hosted) {
    each_on_a_thread(hosted, |hosted, stream| {
        show_lines(hosted, stream)?;
        answer(hosted, stream);
        Ok(())
    });
}

fn answers_everybody(hosted: Hosted) {
    let clients = Arc::new(Mutex::new(Vec::<TcpStream>::new()));
    let all = Arc::clone(&clients);
    let keyboard = Arc::clone(&hosted.keyboard);
    thread::spawn(move || {
        while let Ok(line) = keyboard.lock().unwrap().recv() {
            for mut client in all.lock().unwrap().iter() {
                let _ = client.write_all(format!("{line}\n").as_bytes());
            }
        }
    });
    while let Ok((stream, _)) = hosted.listener.accept() {
        clients.lock().unwrap().push(stream.try_clone().unwrap());
        let hosted = hosted.clone();
        thread::spawn(move || show_lines(&hosted, &stream));
    }
}

fn loses_a_line_now_and_then(hosted: Hosted) {
    each_on_a_thread(hosted, |hosted, stream| {
        let (hosted_too, stream_too) = (hosted.clone(), stream.try_clone()?);
        thread::spawn(move || {
            let _ = hosted_too.keyboard.lock().unwrap().recv(); // and forgets it
            answer(&hosted_too, &stream_too);
        });
        show_lines(hosted, stream)
    });
}

fn keeps_the_connection_open(hosted: Hosted) {
    each_on_a_thread(hosted, |hosted, stream| {
        for line in BufReader::new(stream).lines() {
            hosted.screen.push(line?);
        }
        answer(hosted, stream); // holds the connection until a line is typed
        Ok(())
    });
}

fn takes_a_packet_for_a_line(hosted: Hosted) {
    each_on_a_thread(hosted, show_packets);
}

fn cuts_long_lines(hosted: Hosted) {
    each_on_a_thread(hosted, |hosted, stream| {
        for line in BufReader::new(stream).lines() {
            let mut line = line?;
            line.truncate(1024);
            hosted.screen.push(line);
        }
        Ok(())
    });
}

fn ends_at_the_first_error(hosted: Hosted) {
    let ended = Arc::new(AtomicBool::new(false));
    each_on_a_thread(hosted, move |hosted, stream| {
        for line in BufReader::new(stream).lines() {
            match line {
                Ok(line) if !ended.load(Ordering::Relaxed) => hosted.screen.push(line),
                _ => ended.store(true, Ordering::Relaxed),
            }
        }
        Ok(())
    });
}
