//! Wrong servers, each with the test that must refuse it and words of its complaint.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex};
use std::thread;

use harness::refused;
use harness::wrong::Hosted;

use super::*;

#[test]
fn are_refused() {
    refused! {
        relays_to_the_sender_too by a_client_does_not_hear_its_own_line:
            "That is this client's own line", "relays to all clients instead of all the others";
        only_the_newest_client_hears by every_other_client_hears_a_line:
            "does not hear", "takes the place of an older one";
        knows_no_lock by long_lines_of_two_speakers_do_not_mix:
            "two threads write to one client at the same time";
        names_nobody by each_line_tells_who_said_it:
            "does not tell who said it";
        names_the_listener by each_line_tells_who_said_it:
            "does not tell who said it";
        takes_a_packet_for_a_line by a_line_in_two_packets_is_one_line:
            "should have heard", "takes what one read returned for a line";
        takes_a_packet_for_a_line by two_lines_in_one_packet_are_two_lines:
            "does not tell who said it", "takes what one read returned for a line";
        takes_a_packet_for_a_line by a_character_split_between_packets_stays_whole:
            "decodes what one read returned";
        drops_what_follows_the_first_line_of_a_packet by two_lines_in_one_packet_are_two_lines:
            "should have heard \"second\"";
        cuts_long_lines by a_line_of_64_kib_arrives_whole:
            "longer than a buffer";
        keeps_the_carriage_return by a_carriage_return_before_the_line_feed_is_dropped:
            "The carriage return was relayed";
        forgets_to_remove by a_client_that_stops_sending_gets_the_end_and_the_others_go_on:
            "the end of the stream", "stays on the list";
        ends_the_speaker_when_a_listener_has_left by
            a_client_that_stops_sending_gets_the_end_and_the_others_go_on:
            "without ana", "makes the next relay fail";
        loses_the_last_words by what_was_said_just_before_leaving_is_heard:
            "\"last words 39\"", "lost when the client leaves";
        freezes_when_a_client_vanishes by
            a_reset_in_the_middle_of_a_burst_does_not_disturb_the_others:
            "carla should have heard \"burst ", "froze or ended when a client vanished";
        ends_at_the_first_error by a_reset_in_the_middle_of_a_burst_does_not_disturb_the_others:
            "froze or ended when a client vanished";
        ends_at_the_first_error by rubbish_from_one_client_does_not_disturb_the_others:
            "not UTF-8";
        lines_overtake_each_other by fifty_clients_hear_each_line_once_and_in_order:
            "when line 2 of that speaker was next", "overtake each other";
    }
}

type Clients = Arc<Mutex<Vec<Arc<TcpStream>>>>;
type Me<'a> = &'a Arc<TcpStream>;

/// A thread for each client, and all of them on a list, as in the right server.
fn each_on_a_thread<F>(hosted: Hosted, serve: F)
where
    F: Fn(Me, &Clients) -> io::Result<()> + Clone + Send + 'static,
{
    let clients = Clients::default();
    while let Ok((stream, _)) = hosted.listener.accept() {
        let (clients, serve) = (Arc::clone(&clients), serve.clone());
        thread::spawn(move || {
            let me = Arc::new(stream);
            clients.lock().unwrap().push(Arc::clone(&me));
            let _ = serve(&me, &clients);
            clients.lock().unwrap().retain(|c| !Arc::ptr_eq(c, &me));
        });
    }
}

fn message(me: Me, line: &str) -> Vec<u8> {
    let address = me.peer_addr().map_or("?".into(), |a| a.to_string());
    format!("{address} says: {line}\n").into_bytes()
}

fn others(me: Me, clients: &Clients) -> Vec<Arc<TcpStream>> {
    let mut others = clients.lock().unwrap().clone();
    others.retain(|client| !Arc::ptr_eq(client, me));
    others
}

fn send(clients: &[Arc<TcpStream>], message: &[u8]) {
    for client in clients {
        let _ = client.as_ref().write_all(message);
    }
}

/// Relays what each `read` returns, as the server that is often taught does.
fn relay_packets(me: Me, clients: &Clients) -> io::Result<()> {
    let mut buffer = [0; 1024];
    loop {
        let count = me.as_ref().read(&mut buffer)?;
        if count == 0 {
            return Ok(());
        }
        let text = String::from_utf8_lossy(&buffer[..count]);
        send(&others(me, clients), &message(me, text.trim_end()));
    }
}

fn relays_to_the_sender_too(hosted: Hosted) {
    each_on_a_thread(hosted, |me, clients| {
        for line in BufReader::new(me.as_ref()).lines() {
            send(&clients.lock().unwrap(), &message(me, &line?));
        }
        Ok(())
    });
}

fn only_the_newest_client_hears(hosted: Hosted) {
    each_on_a_thread(hosted, |me, clients| {
        for line in BufReader::new(me.as_ref()).lines() {
            let others = others(me, clients);
            send(
                &others[others.len().saturating_sub(1)..],
                &message(me, &line?),
            );
        }
        Ok(())
    });
}

fn knows_no_lock(hosted: Hosted) {
    each_on_a_thread(hosted, |me, clients| {
        for line in BufReader::new(me.as_ref()).lines() {
            send(&others(me, clients), &message(me, &line?));
        }
        Ok(())
    });
}

fn names_nobody(hosted: Hosted) {
    each_on_a_thread(hosted, |me, clients| {
        for line in BufReader::new(me.as_ref()).lines() {
            send(&others(me, clients), format!("{}\n", line?).as_bytes());
        }
        Ok(())
    });
}

fn names_the_listener(hosted: Hosted) {
    each_on_a_thread(hosted, |me, clients| {
        for line in BufReader::new(me.as_ref()).lines() {
            let line = line?;
            for other in others(me, clients) {
                send(&[Arc::clone(&other)], &message(&other, &line));
            }
        }
        Ok(())
    });
}

fn takes_a_packet_for_a_line(hosted: Hosted) {
    each_on_a_thread(hosted, relay_packets);
}

fn drops_what_follows_the_first_line_of_a_packet(hosted: Hosted) {
    each_on_a_thread(hosted, |me, clients| {
        let mut buffer = [0; 1024];
        loop {
            let count = me.as_ref().read(&mut buffer)?;
            if count == 0 {
                return Ok(());
            }
            let text = String::from_utf8_lossy(&buffer[..count]);
            let line = text.lines().next().unwrap_or_default();
            send(&others(me, clients), &message(me, line));
        }
    });
}

fn cuts_long_lines(hosted: Hosted) {
    each_on_a_thread(hosted, |me, clients| {
        for line in BufReader::new(me.as_ref()).lines() {
            let mut line = line?;
            line.truncate(1024);
            send(&others(me, clients), &message(me, &line));
        }
        Ok(())
    });
}

fn keeps_the_carriage_return(hosted: Hosted) {
    each_on_a_thread(hosted, |me, clients| {
        for line in BufReader::new(me.as_ref()).split(b'\n') {
            let line = String::from_utf8_lossy(&line?).into_owned();
            send(&others(me, clients), &message(me, &line));
        }
        Ok(())
    });
}

fn forgets_to_remove(hosted: Hosted) {
    let clients = Clients::default();
    while let Ok((stream, _)) = hosted.listener.accept() {
        let clients = Arc::clone(&clients);
        thread::spawn(move || {
            let me = Arc::new(stream);
            clients.lock().unwrap().push(Arc::clone(&me));
            for line in BufReader::new(me.as_ref()).lines().map_while(Result::ok) {
                send(&others(&me, &clients), &message(&me, &line));
            }
        });
    }
}

fn ends_the_speaker_when_a_listener_has_left(hosted: Hosted) {
    let clients = Clients::default();
    while let Ok((stream, _)) = hosted.listener.accept() {
        let clients = Arc::clone(&clients);
        thread::spawn(move || -> io::Result<()> {
            let me = Arc::new(stream);
            clients.lock().unwrap().push(Arc::clone(&me));
            for line in BufReader::new(me.as_ref()).lines() {
                let line = line?;
                for other in others(&me, &clients) {
                    other.as_ref().write_all(&message(&me, &line))?;
                }
            }
            me.shutdown(std::net::Shutdown::Both)
        });
    }
}

fn loses_the_last_words(hosted: Hosted) {
    each_on_a_thread(hosted, |me, clients| {
        let mut previous = None;
        for line in BufReader::new(me.as_ref()).lines() {
            // It sends the client's last line only when the client says more.
            let all = [previous.replace(line?)];
            for line in all.iter().flatten() {
                send(&others(me, clients), &message(me, line));
            }
            if previous
                .as_deref()
                .is_some_and(|line| !line.starts_with("last"))
            {
                send(
                    &others(me, clients),
                    &message(me, &previous.take().unwrap()),
                );
            }
        }
        Ok(())
    });
}

/// The fault of the server that is often taught, in Rust: it compiles.
fn freezes_when_a_client_vanishes(hosted: Hosted) {
    let clients = Clients::default();
    while let Ok((stream, _)) = hosted.listener.accept() {
        let clients = Arc::clone(&clients);
        thread::spawn(move || {
            let me = Arc::new(stream);
            clients.lock().unwrap().push(Arc::clone(&me));
            for line in BufReader::new(me.as_ref()).lines().map_while(Result::ok) {
                let message = message(&me, &line);
                let held = clients.lock().unwrap();
                for other in held.iter().filter(|other| !Arc::ptr_eq(other, &me)) {
                    if other.as_ref().write_all(&message).is_err() {
                        clients.lock().unwrap().retain(|c| !Arc::ptr_eq(c, other));
                    }
                }
            }
        });
    }
}

fn ends_at_the_first_error(hosted: Hosted) {
    fn relay(me: Me, clients: &Clients) -> io::Result<()> {
        for line in BufReader::new(me.as_ref()).lines() {
            let message = message(me, &line?);
            for other in others(me, clients) {
                other.as_ref().write_all(&message)?;
            }
        }
        Ok(())
    }
    each_on_a_thread(hosted, |me, clients| {
        let result = relay(me, clients);
        if result.is_err() {
            for client in clients.lock().unwrap().iter() {
                let _ = client.shutdown(std::net::Shutdown::Both);
            }
        }
        result
    });
}

fn lines_overtake_each_other(hosted: Hosted) {
    each_on_a_thread(hosted, |me, clients| {
        let mut held_back = None;
        for line in BufReader::new(me.as_ref()).lines() {
            let line = line?;
            if line.ends_with("line 2") {
                held_back = Some(line);
                continue;
            }
            send(&others(me, clients), &message(me, &line));
            if let Some(line) = held_back.take() {
                send(&others(me, clients), &message(me, &line));
            }
        }
        Ok(())
    });
}
