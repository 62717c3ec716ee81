//! The room against a simple model of it, with random events in random order: no client hears
//! itself, every client in the room hears all the others, names stay unique, and a client that
//! has left hears nothing.

use std::collections::BTreeMap;

use proptest::prelude::*;
use socket_stages::room::{Id, Leaving, Outcome, Room};

/// What may happen at a connection.
#[derive(Debug, Clone)]
enum Command {
    Arrive(Id),
    Hear(Id, String),
    Leave(Id),
}

/// Few connections and few names, so that they meet often; and now and then any text.
fn command() -> impl Strategy<Value = Command> {
    let id = 0..8u64;
    let line = prop_oneof![
        4 => prop::sample::select(vec!["ana", "Ana", "beto", "carla", "ñ", "", "a b", "*x", "x:"])
            .prop_map(String::from),
        1 => any::<String>().prop_map(|text| text.replace('\n', " ")),
    ];
    prop_oneof![
        2 => id.clone().prop_map(Command::Arrive),
        6 => (id.clone(), line).prop_map(|(id, line)| Command::Hear(id, line)),
        1 => id.prop_map(Command::Leave),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn whatever_happens_every_client_in_the_room_hears_it_once(
        commands in prop::collection::vec(command(), 0..200),
    ) {
        let mut room = Room::new();
        // The clients that are connected, each with its name, if it has one.
        let mut present = BTreeMap::<Id, Option<String>>::new();
        for command in commands {
            let (id, outcome) = match command {
                Command::Arrive(id) => {
                    // The server never uses a number twice.
                    present.entry(id).or_insert_with(|| {
                        room.arrive(id);
                        None
                    });
                    (id, Outcome::default())
                }
                Command::Hear(id, line) => {
                    let outcome = room.hear(id, &line);
                    check_what_was_heard(&mut present, id, &line, &outcome)?;
                    (id, outcome)
                }
                Command::Leave(id) => {
                    let outcome = room.leave(id, Leaving::Left);
                    let name = present.remove(&id).flatten();
                    let announced = outcome.to_others.as_deref().map(String::from);
                    prop_assert_eq!(announced, name.map(|name| format!("* {name} left\n")));
                    prop_assert_eq!(&outcome.to_self, &None);
                    (id, outcome)
                }
            };

            // Which client gets which line.
            let mut receivers: Vec<_> = room.deliveries(&outcome).collect();
            receivers.sort_unstable();
            let mut expected: Vec<_> = outcome.to_self.iter().map(|line| (id, line)).collect();
            for line in outcome.to_others.iter() {
                let in_the_room = present.iter().filter(|(_, name)| name.is_some());
                let others = in_the_room.filter(|(other, _)| **other != id);
                expected.extend(others.map(|(other, _)| (*other, line)));
            }
            expected.sort_unstable();
            prop_assert_eq!(receivers, expected);

            // Names are unique, whatever their case.
            let mut names: Vec<_> = present.values().flatten().map(|n| n.to_lowercase()).collect();
            let count = names.len();
            names.sort();
            names.dedup();
            prop_assert_eq!(names.len(), count);
        }
    }
}

/// Brings the model up to date with a line, and compares what the room answered.
fn check_what_was_heard(
    present: &mut BTreeMap<Id, Option<String>>,
    id: Id,
    line: &str,
    outcome: &Outcome,
) -> Result<(), TestCaseError> {
    let taken = |present: &BTreeMap<Id, Option<String>>| {
        let mut names = present.values().flatten();
        names.any(|name| name.to_lowercase() == line.to_lowercase())
    };
    let to_self = outcome.to_self.as_deref();
    let to_others = outcome.to_others.as_deref().map(String::from);
    match present.get(&id) {
        None => prop_assert_eq!(outcome, &Outcome::default()),
        Some(Some(name)) => {
            prop_assert_eq!(to_self, None);
            prop_assert_eq!(to_others, Some(format!("{name}: {line}\n")));
        }
        Some(None) if to_self.is_some_and(|reply| reply.starts_with("! ")) => {
            prop_assert_eq!(to_others, None);
            // Of our few names, these three are always refused, and the others only
            // when they are taken.
            let always_allowed = ["ana", "Ana", "beto", "carla", "ñ"].contains(&line);
            prop_assert!(!always_allowed || taken(present), "{line:?} was refused");
        }
        Some(None) => {
            prop_assert!(!taken(present), "{line:?} was given twice");
            prop_assert!((1..=24).contains(&line.chars().count()));
            prop_assert!(!line.contains(|c: char| c.is_whitespace() || c.is_control()));
            prop_assert_eq!(to_others, Some(format!("* {line} joined\n")));
            present.insert(id, Some(line.into()));
        }
    }
    Ok(())
}
