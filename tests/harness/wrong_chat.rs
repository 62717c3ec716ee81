//! Wrong chat servers, for the contract of stage 04 and later: one server, right except for
//! the one fault that it is given.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex};
use std::thread;

use super::wrong::Hosted;

#[derive(Clone, Copy, PartialEq)]
pub enum Fault {
    /// None but that it writes with the room locked, and has no end.
    None,
    /// On Ctrl-C (typed as ^C) it closes all connections.
    EndsWithoutAWord,
    NeverAnnouncesJoining,
    RelaysToTheSenderToo,
    NamesNobody,
    TakesThePacketForTheName,
    AnnouncesLeavingTwice,
    NeverAnnouncesLeaving,
    AnnouncesLeavingOnlyInOrder,
    TakesATakenName,
    TellsAnaFromANA,
    TakesAnyName,
    HangsUpOnARefusedName,
    KeepsTheNameTaken,
    SpeaksToTheNameless,
}
use Fault::{
    AnnouncesLeavingOnlyInOrder, AnnouncesLeavingTwice, HangsUpOnARefusedName, KeepsTheNameTaken,
    NamesNobody, NeverAnnouncesJoining, NeverAnnouncesLeaving, RelaysToTheSenderToo,
    SpeaksToTheNameless, TakesATakenName, TakesAnyName, TakesThePacketForTheName, TellsAnaFromANA,
};

type Clients = Arc<Mutex<HashMap<u64, (String, Arc<TcpStream>)>>>;

/// Serves the chat, with one fault.
pub fn serve(hosted: Hosted, fault: Fault) {
    let clients = Clients::default();
    if fault == Fault::EndsWithoutAWord {
        let (keyboard, clients) = (Arc::clone(&hosted.keyboard), Arc::clone(&clients));
        thread::spawn(move || {
            let _ = keyboard.lock().unwrap().recv();
            for (_, stream) in clients.lock().unwrap().values() {
                let _ = stream.shutdown(std::net::Shutdown::Both);
            }
        });
    }
    for id in 0.. {
        let Ok((stream, _)) = hosted.listener.accept() else {
            return;
        };
        let clients = Arc::clone(&clients);
        thread::spawn(move || attend(id, &Arc::new(stream), &clients, fault));
    }
}

fn attend(id: u64, me: &Arc<TcpStream>, clients: &Clients, fault: Fault) {
    let say = |line: &str| me.as_ref().write_all(format!("{line}\n").as_bytes());
    let to_others = |line: &str| {
        for (other, (_, stream)) in clients.lock().unwrap().iter() {
            if *other != id || fault == RelaysToTheSenderToo {
                let _ = stream.as_ref().write_all(format!("{line}\n").as_bytes());
            }
        }
    };
    if fault == SpeaksToTheNameless {
        let nameless = format!("nameless {id}");
        clients
            .lock()
            .unwrap()
            .insert(id, (nameless, Arc::clone(me)));
    }
    let mut reader = BufReader::new(me.as_ref());
    let mut name = None;
    let mut orderly = true;
    loop {
        let mut line = String::new();
        let count = match fault {
            TakesThePacketForTheName if name.is_none() => {
                let mut packet = [0; 1024];
                let count = reader.read(&mut packet).unwrap_or(0);
                line = String::from_utf8_lossy(&packet[..count]).replace('\n', "");
                Ok(count)
            }
            _ => reader.read_line(&mut line),
        };
        orderly = orderly && count.is_ok();
        let Ok(1..) = count else { break };
        let line = line.trim_end_matches(['\r', '\n']);
        match &name {
            Some(_) if fault == NamesNobody => to_others(line),
            Some(name) => to_others(&format!("{name}: {line}")),
            None => match refusal(line, clients, fault) {
                Some(why) => {
                    let _ = say(&format!("! {why}"));
                    if fault == HangsUpOnARefusedName {
                        break;
                    }
                }
                None => {
                    name = Some(line.to_owned());
                    let entry = (line.to_owned(), Arc::clone(me));
                    clients.lock().unwrap().insert(id, entry);
                    if fault != NeverAnnouncesJoining {
                        to_others(&format!("* {line} joined"));
                    }
                }
            },
        }
    }
    if fault != KeepsTheNameTaken {
        clients.lock().unwrap().remove(&id);
    }
    let times = match fault {
        NeverAnnouncesLeaving => 0,
        AnnouncesLeavingOnlyInOrder if !orderly => 0,
        AnnouncesLeavingTwice => 2,
        _ => 1,
    };
    for name in name.iter().cycle().take(times) {
        to_others(&format!("* {name} left"));
    }
    let _ = me.shutdown(std::net::Shutdown::Both);
}

fn refusal(name: &str, clients: &Clients, fault: Fault) -> Option<&'static str> {
    let same = |taken: &str| match fault {
        TakesATakenName => false,
        TellsAnaFromANA => taken == name,
        _ => taken.to_lowercase() == name.to_lowercase(),
    };
    let allowed = (1..=24).contains(&name.chars().count())
        && !name.contains(|c: char| c.is_whitespace() || c.is_control());
    if !allowed && fault != TakesAnyName {
        return Some("not a name");
    }
    let clients = clients.lock().unwrap();
    clients
        .values()
        .any(|(taken, _)| same(taken))
        .then_some("taken")
}
