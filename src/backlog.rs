//! One backlog for all clients, instead of an outbox for each. A line is added once. Each
//! client has a place in the backlog: how far it has got. Lesson 08 teaches it.
//!
//! Everything behind a client's place that is meant for it is due to it. A client that takes
//! several lines late takes them in one piece. And one bound serves for each client and for the
//! whole server: a client that is too far behind is too slow.

use std::collections::{HashMap, VecDeque};
use std::ops::Range;

use crate::room::{Id, Outcome};

/// How many bytes a client gets at a time.
const PIECE: usize = 64 * 1024;

/// How many bytes are added, at least, before the backlog looks which text it can forget and
/// which clients are too far behind. If much waits, it is a quarter of that.
const LOOK: usize = 64 * 1024;

/// What an entry takes beside its text, in bytes.
const ENTRY: usize = size_of::<Entry>();

/// The lines that at least one client has not got yet.
///
/// A place is a number of bytes, counted from the first byte that was ever added.
#[derive(Debug)]
pub struct Backlog {
    text: Vec<u8>,
    /// The place of the first byte of `text`.
    start: u64,
    entries: VecDeque<Entry>,
    readers: HashMap<Id, Reader>,
    max_bytes: usize,
    /// How large all this may become before the next look.
    look_at: usize,
}

/// Text of one author for one audience. It begins where the entry before it ends.
#[derive(Debug)]
struct Entry {
    end: u64,
    author: Id,
    audience: Audience,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Audience {
    Author,
    Others,
}

/// How far a client has got, and between which places it hears the others.
#[derive(Debug)]
struct Reader {
    place: u64,
    joined: Option<u64>,
    left: Option<u64>,
}

impl Backlog {
    /// An empty backlog, in which a client may be at most `max_bytes` behind.
    pub fn new(max_bytes: usize) -> Self {
        Self {
            text: Vec::new(),
            start: 0,
            entries: VecDeque::new(),
            readers: HashMap::new(),
            max_bytes,
            look_at: LOOK,
        }
    }

    /// A client has connected. It gets only lines for itself alone, until it has a first line
    /// for the others: the one that says that it joined.
    pub fn arrive(&mut self, id: Id) {
        let place = self.end();
        let reader = Reader {
            place,
            joined: None,
            left: None,
        };
        self.readers.insert(id, reader);
    }

    /// A client has left the room. It still gets what is due to it, and lines for itself alone.
    pub fn leave(&mut self, id: Id) {
        let end = self.end();
        if let Some(reader) = self.readers.get_mut(&id) {
            reader.left.get_or_insert(end);
        }
    }

    /// A client's connection is gone.
    pub fn forget(&mut self, id: Id) {
        self.readers.remove(&id);
    }

    /// Adds what the room has answered. Returns the clients that are too far behind.
    #[must_use = "these clients have to be disconnected"]
    pub fn add(&mut self, outcome: &Outcome) -> Vec<Id> {
        let author = outcome.author;
        if let Some(line) = &outcome.to_self {
            self.push(author, Audience::Author, line);
        }
        if let Some(line) = &outcome.to_others {
            let end = self.end();
            if let Some(reader) = self.readers.get_mut(&author) {
                reader.joined.get_or_insert(end);
            }
            self.push(author, Audience::Others, line);
        }
        match self.size() < self.look_at {
            true => Vec::new(),
            false => self.look(),
        }
    }

    /// Adds a line for one client alone, behind everything that is due to it already.
    pub fn tell(&mut self, id: Id, line: &str) {
        self.push(id, Audience::Author, line);
    }

    /// What is due to a client, or the beginning of that. Empty if nothing is due.
    pub fn due(&mut self, id: Id) -> Vec<u8> {
        let mut due = Vec::new();
        let end = self.end();
        let Some(reader) = self.readers.get_mut(&id) else {
            return due;
        };
        if reader.place == end {
            return due; // the usual case is quick
        }
        // The entry in which the client's place is, and those behind it.
        let first = self
            .entries
            .partition_point(|entry| entry.end <= reader.place);
        let mut begin = reader.place;
        for entry in self.entries.range(first..) {
            if due.len() >= PIECE {
                return due;
            }
            if entry.is_for(id, begin, reader) {
                let room = (PIECE - due.len()) as u64;
                let piece = begin..entry.end.min(begin + room);
                due.extend_from_slice(&self.text[offset(self.start, piece)]);
            } else if due.is_empty() {
                reader.place = entry.end;
            }
            begin = entry.end;
        }
        if due.is_empty() {
            reader.place = end;
        }
        due
    }

    /// A client has taken `count` bytes of what was [due](Backlog::due) to it.
    pub fn taken(&mut self, id: Id, count: usize) {
        let Some(reader) = self.readers.get_mut(&id) else {
            return;
        };
        let mut count = count as u64;
        let first = self
            .entries
            .partition_point(|entry| entry.end <= reader.place);
        let mut begin = reader.place;
        for entry in self.entries.range(first..) {
            if entry.is_for(id, begin, reader) {
                let taken = count.min(entry.end - begin);
                count -= taken;
                if begin + taken < entry.end {
                    reader.place = begin + taken;
                    return;
                }
            }
            begin = entry.end;
            reader.place = begin;
            if count == 0 {
                return;
            }
        }
    }

    /// About how many bytes of memory all this takes.
    fn size(&self) -> usize {
        self.text.len() + ENTRY * self.entries.len()
    }

    /// The place behind the last byte.
    pub fn end(&self) -> u64 {
        self.start + self.text.len() as u64
    }

    fn push(&mut self, author: Id, audience: Audience, line: &str) {
        self.text.extend_from_slice(line.as_bytes());
        let end = self.end();
        match self.entries.back_mut() {
            Some(last) if last.author == author && last.audience == audience => last.end = end,
            _ => self.entries.push_back(Entry {
                end,
                author,
                audience,
            }),
        }
    }

    /// Forgets the text that every client has got. Removes and returns the clients that are too
    /// far behind.
    fn look(&mut self) -> Vec<Id> {
        let end = self.end();
        // Entries take memory too: short lines of many authors have one each.
        let too_many = self.entries.len().saturating_sub(self.max_bytes / ENTRY);
        let oldest = match too_many {
            0 => self.start,
            _ => self.entries[too_many - 1].end,
        };
        let oldest = oldest.max(end.saturating_sub(self.max_bytes as u64));
        let entries = &self.entries;
        let is_behind = |id: &Id, reader: &mut Reader| {
            reader.skip(*id, entries, oldest);
            reader.place < oldest
        };
        let too_slow = self.readers.extract_if(is_behind).map(|(id, _)| id);
        let too_slow: Vec<_> = too_slow.collect();
        let places = self.readers.values().map(|reader| reader.place);
        let first = places.min().unwrap_or(end);
        self.text.drain(offset(self.start, self.start..first));
        self.start = first;
        let dead = self.entries.partition_point(|entry| entry.end <= first);
        self.entries.drain(..dead);
        self.text.shrink_to(LOOK);
        self.look_at = self.size() + LOOK.max(self.size() / 4);
        too_slow
    }
}

impl Reader {
    /// Moves the place over entries that are not for this client, at most up to `oldest`: a
    /// client to which nothing is due is not behind.
    fn skip(&mut self, id: Id, entries: &VecDeque<Entry>, oldest: u64) {
        let first = entries.partition_point(|entry| entry.end <= self.place);
        for entry in entries.range(first..) {
            if self.place >= oldest || entry.is_for(id, self.place, self) {
                return;
            }
            self.place = entry.end;
        }
    }
}

impl Entry {
    /// Whether a client gets this entry, or the part of it that begins at `begin`.
    fn is_for(&self, id: Id, begin: u64, reader: &Reader) -> bool {
        match self.audience {
            Audience::Author => self.author == id,
            Audience::Others => {
                self.author != id
                    && reader.joined.is_some_and(|joined| joined <= begin)
                    && reader.left.is_none_or(|left| begin < left)
            }
        }
    }
}

/// Where in the text these places are.
fn offset(start: u64, places: Range<u64>) -> Range<usize> {
    (places.start - start) as usize..(places.end - start) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::room::{Leaving, Room};

    /// A room and its backlog.
    struct Chat(Room, Backlog);

    impl Chat {
        /// With clients of these names: their ids are 1, 2, …
        fn with(names: &[&str]) -> Self {
            let mut chat = Self(Room::new(), Backlog::new(1 << 20));
            for (name, id) in names.iter().zip(1..) {
                chat.arrive(id);
                assert_eq!(chat.hear(id, name), []);
            }
            chat
        }

        fn arrive(&mut self, id: Id) {
            self.0.arrive(id);
            self.1.arrive(id);
        }

        fn hear(&mut self, id: Id, line: &str) -> Vec<Id> {
            self.1.add(&self.0.hear(id, line))
        }

        /// What a client gets if it takes at most `most` bytes at a time.
        fn takes(&mut self, id: Id, most: usize) -> String {
            let mut text = Vec::new();
            loop {
                let due = self.1.due(id);
                if due.is_empty() {
                    return String::from_utf8(text).unwrap();
                }
                let count = due.len().min(most);
                text.extend_from_slice(&due[..count]);
                self.1.taken(id, count);
            }
        }
    }

    #[test]
    fn each_client_gets_what_the_others_say_and_what_is_for_it_alone() {
        for most in [1, 7, usize::MAX] {
            let mut chat = Chat::with(&["ana", "beto"]);
            let _ = chat.hear(1, "uno");
            let _ = chat.hear(1, "dos");
            let _ = chat.hear(2, "tres");
            chat.1.tell(1, "! a word\n");
            let _ = chat.hear(2, "cuatro");
            assert_eq!(
                chat.takes(1, most),
                "* welcome, ana\n* beto joined\nbeto: tres\n! a word\nbeto: cuatro\n"
            );
            assert_eq!(chat.takes(2, most), "* welcome, beto\nana: uno\nana: dos\n");
            let _ = chat.hear(1, "cinco");
            assert_eq!(chat.takes(1, most), "");
            assert_eq!(chat.takes(2, most), "ana: cinco\n");
        }
    }

    #[test]
    fn a_client_hears_the_others_from_its_joining_to_its_leaving() {
        let mut chat = Chat::with(&["ana", "beto"]);
        chat.arrive(3);
        let _ = chat.hear(3, "ana");
        let _ = chat.hear(1, "too early");
        let _ = chat.hear(3, "carla");
        let _ = chat.hear(1, "in time");
        chat.1.leave(3);
        let _ = chat.1.add(&chat.0.leave(3, Leaving::Left));
        let _ = chat.hear(1, "too late");
        chat.1.tell(3, "! goodbye\n");
        assert_eq!(
            chat.takes(3, 5),
            "! the name ana is taken: try another one\n* welcome, carla\nana: in time\n! goodbye\n"
        );
        chat.1.forget(3);
        assert_eq!(chat.takes(3, 5), "");
    }

    #[test]
    fn a_client_to_which_nothing_is_due_is_not_too_slow() {
        let mut chat = Chat::with(&["ana", "beto"]);
        let _ = chat.takes(2, usize::MAX);
        let mut too_slow = Vec::new();
        for _ in 0..40_000 {
            // Ana's own lines, and answers to her alone, are not for beto: he is not asked.
            chat.1.tell(1, &format!("! {}\n", "x".repeat(100)));
            let _ = chat.takes(1, usize::MAX);
            too_slow.extend(chat.hear(2, "beto's own line"));
        }
        assert_eq!(too_slow, []);
    }

    #[test]
    fn short_lines_of_many_authors_take_little_memory() {
        let mut chat = Chat::with(&["ana", "beto", "sleeper"]);
        for _ in 0..100_000 {
            for id in [1, 2] {
                let _ = chat.hear(id, "");
                let _ = chat.takes(1, usize::MAX);
                let _ = chat.takes(2, usize::MAX);
            }
            assert!(chat.1.size() <= 3 << 20);
        }
    }

    #[test]
    fn what_all_have_got_takes_no_memory() {
        let mut chat = Chat::with(&["ana", "beto"]);
        let line = "x".repeat(1000);
        for _ in 0..1000 {
            assert_eq!(chat.hear(1, &line), []);
            assert!(!chat.takes(2, usize::MAX).is_empty());
            let _ = chat.takes(1, usize::MAX);
        }
        assert!(chat.1.text.capacity() <= 4 * LOOK);
        assert!(chat.1.entries.len() <= 200);
    }

    #[test]
    fn a_client_that_falls_behind_is_too_slow_and_the_others_are_not() {
        let mut chat = Chat::with(&["ana", "beto", "carla"]);
        let line = "x".repeat(1000);
        let mut too_slow = Vec::new();
        for _ in 0..2000 {
            too_slow.extend(chat.hear(1, &line));
            let _ = chat.takes(1, usize::MAX);
            let _ = chat.takes(3, usize::MAX);
            assert!(chat.1.text.len() <= (1 << 20) * 5 / 4 + 2 * LOOK);
        }
        assert_eq!(too_slow, [2]);
    }
}
