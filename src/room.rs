//! The room: who is in it, which names are allowed, and what is announced to whom.
//! Lesson 04 teaches it.
//!
//! No socket, no thread and no clock in here. A server tells the room what happens at
//! a connection (it [arrives](Room::arrive), it [says a line](Room::hear), it
//! [leaves](Room::leave)), and the room answers what to send. So each server from
//! stage 04 on is a shell around the same room, and differs only in how it waits.
//!
//! The first line that a client sends is its name. If the name is refused, a line that
//! begins with `! ` says why, and the next line is taken as a name again. Lines that
//! begin with `* ` are announcements, and `ana: hola` is what ana said.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

/// A line to send, its line end included: made once, and shared by its receivers.
pub type Line = Arc<str>;

/// Identifies a connection. The server numbers them, and never uses a number twice.
pub type Id = u64;

/// The author of what the server itself says. No client has this [`Id`].
pub const SERVER: Id = 0;

/// The longest name, in characters.
pub const MAX_NAME: usize = 24;

/// All connected clients, and the names of those that are in the room.
#[derive(Debug, Default)]
pub struct Room {
    /// The name of each client; `None` until the client has given an allowed one.
    names: HashMap<Id, Option<String>>,
    /// The names in use, in lower case.
    taken: HashSet<String>,
}

/// What to send after a client did something: see [`Room::deliveries`].
#[derive(Debug, Default, PartialEq, Eq)]
#[must_use = "what the room answers has to be sent"]
pub struct Outcome {
    /// The client that did it, or [`SERVER`].
    pub author: Id,
    /// For the author alone.
    pub to_self: Option<Line>,
    /// For everybody in the room except the author.
    pub to_others: Option<Line>,
}

/// Joins the outcomes of several lines of one client, in their order.
impl FromIterator<Outcome> for Outcome {
    fn from_iter<I: IntoIterator<Item = Outcome>>(outcomes: I) -> Self {
        let (mut author, mut to_self, mut to_others) = (SERVER, String::new(), String::new());
        for outcome in outcomes {
            author = outcome.author;
            to_self.extend(outcome.to_self.as_deref());
            to_others.extend(outcome.to_others.as_deref());
        }
        let [to_self, to_others] =
            [to_self, to_others].map(|text| (!text.is_empty()).then(|| text.into()));
        Self {
            author,
            to_self,
            to_others,
        }
    }
}

/// Why a client leaves, in the words that the others hear.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leaving {
    /// The connection has ended, in whatever way.
    Left,
    /// The client did not read until there was no room for more.
    TooSlow,
}

impl fmt::Display for Leaving {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Left => "left",
            Self::TooSlow => "was too slow and left",
        })
    }
}

impl Room {
    /// An empty room.
    pub fn new() -> Self {
        Self::default()
    }

    /// A client has connected. It is in the room as soon as it has a name.
    pub fn arrive(&mut self, id: Id) {
        self.names.insert(id, None);
    }

    /// A client has sent a line, given here without its line end.
    ///
    /// The first line is the name. Lines from unknown ids are ignored.
    pub fn hear(&mut self, id: Id, line: &str) -> Outcome {
        match self.names.get(&id) {
            None => Outcome::default(),
            Some(None) => self.enter(id, line),
            Some(Some(name)) => Outcome {
                author: id,
                to_self: None,
                to_others: Some(format!("{name}: {line}\n").into()),
            },
        }
    }

    /// A client's connection has ended, or is about to end. The others hear of it once,
    /// however often this is called. They hear nothing if the client had no name.
    pub fn leave(&mut self, id: Id, leaving: Leaving) -> Outcome {
        let name = self.names.remove(&id).flatten();
        let to_others = name.map(|name| {
            self.taken.remove(&name.to_lowercase());
            format!("* {name} {leaving}\n").into()
        });
        Outcome {
            author: id,
            to_self: None,
            to_others,
        }
    }

    /// The person who runs the server says something: to one client in the room, or
    /// (`None`) to everybody.
    ///
    /// No client can imitate these lines. What a client says begins with its name, and an
    /// announcement with `* ` and a name; and a name has no blank in it.
    pub fn answer(&self, to: Option<Id>, text: &str) -> Outcome {
        let mut outcome = Outcome {
            author: to.unwrap_or(SERVER),
            ..Outcome::default()
        };
        match to {
            None => outcome.to_others = Some(format!("* the server: {text}\n").into()),
            Some(id) if self.name(id).is_none() => {} // not, or no longer, in the room
            Some(_) => outcome.to_self = Some(format!("* the server to you: {text}\n").into()),
        }
        outcome
    }

    /// Which client gets which line.
    pub fn deliveries<'a>(&'a self, outcome: &'a Outcome) -> impl Iterator<Item = (Id, &'a Line)> {
        let author = outcome.author;
        let to_self = outcome.to_self.iter().map(move |line| (author, line));
        let to_others = outcome.to_others.iter().flat_map(move |line| {
            let in_the_room = self.names.iter().filter(|(_, name)| name.is_some());
            let others = in_the_room.filter(move |(other, _)| **other != author);
            others.map(move |(other, _)| (*other, line))
        });
        to_self.chain(to_others)
    }

    /// The name of a client in the room.
    pub fn name(&self, id: Id) -> Option<&str> {
        self.names.get(&id)?.as_deref()
    }

    fn enter(&mut self, id: Id, name: &str) -> Outcome {
        let refusal = check(name).or_else(|| {
            let taken = self.taken.contains(&name.to_lowercase());
            taken.then(|| format!("the name {name} is taken"))
        });
        if let Some(why) = refusal {
            return Outcome {
                author: id,
                to_self: Some(format!("! {why}: try another one\n").into()),
                to_others: None,
            };
        }
        self.taken.insert(name.to_lowercase());
        self.names.insert(id, Some(name.into()));
        Outcome {
            author: id,
            to_self: Some(format!("* welcome, {name}\n").into()),
            to_others: Some(format!("* {name} joined\n").into()),
        }
    }
}

/// What is wrong with a name, if anything is.
fn check(name: &str) -> Option<String> {
    // The message never repeats a name that is refused for such a reason: it would reach
    // a terminal.
    let not_plain = |c: char| {
        // U+FFFD stands in the place of a byte that is not text, or of a control character.
        c.is_whitespace() || c.is_control() || is_invisible(c) || c == char::REPLACEMENT_CHARACTER
    };
    let why = match name.chars().count() {
        0 => "a name has at least one character".into(),
        count if count > MAX_NAME => format!("a name has at most {MAX_NAME} characters"),
        _ if name.contains(not_plain) => "a name has no blanks or control characters".into(),
        // With `*: hola` or `ana: hola` as its name, a client could imitate the room.
        _ if name.starts_with(['*', '!', '＊', '！']) => {
            "a name does not begin with * or !".into()
        }
        _ if name.contains(looks_like_a_colon) => "a name has no colon in it".into(),
        _ => return None,
    };
    Some(why)
}

/// The colon, and what looks like it: Unicode's confusables (UTS #39), without the two
/// signs that Indian scripts need.
fn looks_like_a_colon(c: char) -> bool {
    matches!(
        c,
        ':' | '\u{2d0}'
            | '\u{2f8}'
            | '\u{589}'
            | '\u{5c3}'
            | '\u{703}'
            | '\u{704}'
            | '\u{16ec}'
            | '\u{1803}'
            | '\u{1809}'
            | '\u{205a}'
            | '\u{2236}'
            | '\u{a4fd}'
            | '\u{a789}'
            | '\u{fe13}'
            | '\u{fe30}'
            | '\u{fe55}'
            | '\u{ff1a}'
    )
}

/// Characters that show nothing, or change the direction of what follows: with them,
/// two different names would look the same. Unicode's default ignorable code points
/// (DerivedCoreProperties.txt), the interlinear annotations, the controls of Egyptian
/// hieroglyphs, and the empty Braille pattern.
///
/// Only names refuse them. A line may have them: emoji and several scripts need some, and
/// a line always stands behind its speaker's name.
fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
        | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{2800}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}'
        | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{13430}'..='\u{1343f}'
        | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A room with ana and beto in it.
    fn room() -> Room {
        let mut room = Room::new();
        for (id, name) in [(1, "ana"), (2, "beto")] {
            room.arrive(id);
            let outcome = room.hear(id, name);
            assert_eq!(*outcome.to_self.unwrap(), format!("* welcome, {name}\n"));
        }
        room
    }

    /// Who hears what `id` says.
    fn hearers(room: &mut Room, id: Id) -> Vec<Id> {
        let outcome = room.hear(id, "hola");
        let mut hearers: Vec<_> = room.deliveries(&outcome).map(|(id, _)| id).collect();
        hearers.sort_unstable();
        hearers
    }

    fn refusal(name: &str) -> Option<Line> {
        let mut room = room();
        room.arrive(3);
        let outcome = room.hear(3, name);
        let refused = outcome.to_self.filter(|line| line.starts_with("! "));
        assert_eq!(refused.is_some(), outcome.to_others.is_none());
        assert_eq!(refused.is_some(), room.name(3).is_none());
        refused
    }

    #[test]
    fn the_first_line_is_the_name_and_the_next_ones_are_said() {
        let mut room = room();
        room.arrive(3);
        let joined = room.hear(3, "Carla");
        assert_eq!(&*joined.to_others.unwrap(), "* Carla joined\n");
        let said = room.hear(3, "hola: * a todos");
        assert_eq!(said.to_self, None);
        assert_eq!(&*said.to_others.unwrap(), "Carla: hola: * a todos\n");
        assert_eq!(hearers(&mut room, 3), [1, 2]);
    }

    #[test]
    fn the_outcomes_of_several_lines_can_be_joined() {
        let mut room = room();
        room.arrive(3);
        let outcome: Outcome = ["", "carla", "hola"]
            .into_iter()
            .map(|line| room.hear(3, line))
            .collect();
        assert_eq!(outcome.author, 3);
        assert_eq!(
            outcome.to_self.as_deref(),
            Some("! a name has at least one character: try another one\n* welcome, carla\n")
        );
        assert_eq!(
            outcome.to_others.as_deref(),
            Some("* carla joined\ncarla: hola\n")
        );
        assert_eq!(Outcome::from_iter([]), Outcome::default());
    }

    #[test]
    fn a_client_without_a_name_hears_nothing() {
        let mut room = room();
        room.arrive(3);
        assert_eq!(hearers(&mut room, 1), [2]);
    }

    #[test]
    fn leaving_is_announced_once() {
        let mut room = room();
        let left = room.leave(1, Leaving::Left);
        assert_eq!(&*left.to_others.unwrap(), "* ana left\n");
        assert_eq!(room.leave(1, Leaving::Left).to_others, None);
        assert_eq!(room.hear(1, "am I still here?"), Outcome::default());
        assert_eq!(hearers(&mut room, 2), []);
    }

    #[test]
    fn leaving_without_a_name_is_not_announced() {
        let mut room = room();
        room.arrive(3);
        assert_eq!(room.leave(3, Leaving::Left).to_others, None);
    }

    #[test]
    fn the_server_answers_everybody_or_one_client() {
        let mut room = room();
        room.arrive(3);
        let to_all = room.answer(None, "hola");
        assert_eq!(
            &**to_all.to_others.as_ref().unwrap(),
            "* the server: hola\n"
        );
        let mut all: Vec<_> = room.deliveries(&to_all).map(|(id, _)| id).collect();
        all.sort();
        assert_eq!(all, [1, 2]);

        let to_one = room.answer(Some(2), "hola");
        let line = "* the server to you: hola\n".into();
        assert_eq!(room.deliveries(&to_one).collect::<Vec<_>>(), [(2, &line)]);
        // Neither a client without a name nor one that has left hears anything.
        for absent in [3, 4] {
            let outcome = room.answer(Some(absent), "hola");
            assert_eq!(room.deliveries(&outcome).count(), 0);
        }
    }

    #[test]
    fn a_name_is_free_again_when_its_owner_has_left() {
        assert_eq!(
            &*refusal("ANA").unwrap(),
            "! the name ANA is taken: try another one\n"
        );
        let mut room = room();
        let _ = room.leave(1, Leaving::Left);
        room.arrive(3);
        assert_eq!(&*room.hear(3, "ANA").to_others.unwrap(), "* ANA joined\n");
    }

    #[test]
    fn allowed_names() {
        for name in [
            "x",
            "José",
            "漢字",
            "o'neill",
            "r2-d2",
            "🦀",
            &"ñ".repeat(24),
        ] {
            assert_eq!(refusal(name), None, "{name:?}");
        }
    }

    #[test]
    fn refused_names() {
        for name in [
            "",
            " ",
            "ana maria",
            "tab\there",
            "nbsp\u{a0}",
            "\u{1b}[31mred",
            "bell\u{7}",
            "an\u{200b}a",
            "\u{202e}ana",
            "an\u{fffd}a",
            "ana\u{fe0f}",
            "\u{3164}",
            "ana：",
            "ana꞉",
            "ana∶",
            "an\u{13430}a",
            "*",
            "*ana",
            "!",
            "ana:",
            &"x".repeat(25),
            "Ana",
            "BETO",
        ] {
            assert!(refusal(name).is_some(), "{name:?}");
        }
    }
}
