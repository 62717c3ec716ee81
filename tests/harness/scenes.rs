//! Scenes of several stages: one client sends bytes in a certain way, and its lines must come
//! out whole. What `is_heard` depends on the stage: the server shows the line, or another
//! client hears it.

use super::{Client, Server, patience};

pub fn a_line_in_two_packets(server: &Server, ana: &mut Client, mut is_heard: impl FnMut(&str)) {
    server.likely_cause("the server takes what one read returned for a line");
    for round in 0..5 {
        let rest = format!(" half {round}\n");
        ana.sends_in_two(b"half and", rest.as_bytes(), round);
        is_heard(&format!("half and half {round}"));
    }
}

pub fn two_lines_in_one_packet(server: &Server, ana: &mut Client, mut is_heard: impl FnMut(&str)) {
    server.likely_cause("the server takes what one read returned for a line");
    ana.sends(b"first\nsecond\nthi");
    ana.sends(b"rd\n");
    for text in ["first", "second", "third"] {
        is_heard(text);
    }
}

pub fn a_split_character(server: &Server, ana: &mut Client, mut is_heard: impl FnMut(&str)) {
    server.likely_cause("the server decodes what one read returned; a character may go on");
    for (round, text) in (0..5).zip(["ñandú", "漢字"].into_iter().cycle()) {
        let (half, rest) = text.as_bytes().split_at(1);
        ana.sends_in_two(half, &[rest, b"\n"].concat(), round);
        is_heard(text);
    }
}

pub fn a_long_line(
    server: &Server,
    bytes: usize,
    ana: &mut Client,
    mut is_heard: impl FnMut(&str),
) {
    server.likely_cause("a line may be longer than a buffer");
    let line = "x".repeat(bytes);
    ana.says(&line);
    is_heard(&line);
}

pub fn last_words(server: &Server, mut ana: Client, mut is_heard: impl FnMut(&str)) {
    server.likely_cause("what has been read already is lost when the client leaves");
    for n in 10..40 {
        ana.says(&format!("last words {n}"));
    }
    ana.leaves();
    for n in 10..40 {
        is_heard(&format!("last words {n}"));
    }
}

pub fn rubbish(server: &Server, ana: &mut Client, beto: &mut Client) {
    server.likely_cause("bytes that are not UTF-8 end the server, or freeze it");
    for round in 10..15 {
        let mut rude = server.client("rude");
        // It has no end of line, so it is neither a line nor a name. And it is no text.
        rude.sends(b"\xff\xfe\x00\xc3(\x80");
        rude.half_closes();
        rude.is_let_go();
        ana.says(&format!("ana goes on {round}"));
        // The server may drop the rubbish, or pass it on with its bytes replaced.
        if !beto.hears_within(&format!("ana goes on {round}"), patience()) {
            server.fail("Beto does not hear ana any more.");
        }
    }
    server.is_still_running();
}
