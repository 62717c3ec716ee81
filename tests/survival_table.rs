//! The survival table in `lessons/README.md`: what can happen to a server, and which stages
//! survive it. A test proves each of its cells, the good and the bad ones. No cell is typed by
//! hand. To write it anew: `cargo test --test survival_table -- --ignored`

use std::collections::VecDeque;
use std::fmt::Write;
use std::panic;
use std::path::PathBuf;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};
use std::{fs, io};

use harness::{Client, Server, applies_to_ours_only, contract, lazy, limits, patience, survival};

/// Something that can happen to a server, with two proofs for a stage: that it survives, or
/// that it falls. A proof that does not hold panics.
struct Row {
    what: &'static str,
    applies: fn(u32) -> bool,
    survives: fn(&Stage),
    falls: fn(&Stage),
    /// Whether it takes signals or limits that Windows does not have.
    only_on_unix: bool,
}

struct Stage {
    number: u32,
    name: String,
}

const SURVIVES: &str = "✓";
const FALLS: &str = "✗";
const DOES_NOT_APPLY: &str = "–";

/// The lines above and below the table.
const MARKS: [&str; 2] = [
    "<!-- begin of the survival table: cargo test --test survival_table -- --ignored -->\n",
    "<!-- end of the survival table -->\n",
];

const ROWS: &[Row] = &[
    Row {
        what: "a second client, while the first one is there",
        applies: |_| true,
        survives: |stage| {
            let server = stage.start();
            let mut served = stage.two_clients(&server);
            served.speak(&server, "I was first");
        },
        falls: the_second_client_waits,
        only_on_unix: false,
    },
    Row {
        what: "an answer is due while the client still sends",
        applies: |_| true,
        survives: |stage| {
            let server = stage.start();
            let mut ana = server.client("ana");
            match stage.number {
                0 => {
                    ana.sends(b"begun");
                    ana.hears_bytes(b"begun");
                }
                1 | 2 => {
                    ana.says("a question");
                    server.shows("a question");
                    server.types("an answer");
                    ana.hears("an answer");
                }
                _ => {
                    let mut served = stage.two_clients(&server);
                    served.others[0].sends(b"I have begun, and");
                    served.speak(&server, "an answer");
                }
            }
        },
        falls: |stage| {
            let server = stage.start();
            let mut ana = server.client("ana");
            ana.says("a question");
            server.shows("a question");
            server.types("an answer");
            for line in ["are you there?", "hello?"] {
                ana.says(line);
                server.shows(line);
            }
            ana.has_heard_nothing();
            ana.half_closes();
            ana.hears("an answer");
        },
        only_on_unix: false,
    },
    Row {
        what: "a line is meant for the other clients",
        applies: |stage| stage >= 1,
        survives: |stage| {
            assert!(stage.number >= 3, "the others hear nothing");
            let server = stage.start();
            stage.two_clients(&server).speak(&server, "for all");
        },
        falls: |stage| {
            let server = stage.start();
            server.keyboard_ends();
            let mut ana = server.client("ana");
            ana.says("for all");
            server.shows("for all");
            let mut beto = server.client("beto");
            ana.leaves();
            beto.says("what did she say?");
            server.shows("what did she say?");
            // Beto hears nothing but the end.
            beto.half_closes();
            beto.hears_the_end();
        },
        only_on_unix: false,
    },
    Row {
        what: "a client vanishes (reset) in a burst of lines",
        applies: |_| true,
        survives: |stage| match stage.number {
            0..=2 => {
                let server = stage.start();
                server.keyboard_ends();
                let mut ana = server.client("ana");
                for n in 100..150 {
                    ana.says(&format!("burst {n}"));
                }
                ana.resets();
                stage.is_served(&server, &mut server.client("beto"), "and now I");
            }
            3 => {
                let server = stage.start();
                let [mut ana, mut beto, carla] = server.room(["ana", "beto", "carla"]);
                for n in 100..150 {
                    ana.says(&format!("burst {n}"));
                }
                carla.resets();
                for n in 150..200 {
                    ana.says(&format!("burst {n}"));
                }
                for n in 100..200 {
                    beto.hears(&format!("burst {n}"));
                }
            }
            _ => {
                let name = &stage.name;
                contract::a_reset_in_the_middle_of_a_burst_does_not_disturb_the_others(name);
            }
        },
        falls: never_falls,
        only_on_unix: false,
    },
    Row {
        what: "a line comes in two packets",
        applies: |stage| stage >= 1,
        survives: |stage| {
            let server = stage.start();
            let mut served = stage.one_client(&server);
            for round in 0..4 {
                let rest = format!(" half {round}\n");
                let speaker = &mut served.speaker;
                speaker.sends_in_two(b"half and", rest.as_bytes(), round);
                served.is_heard(&server, &format!("half and half {round}"));
            }
        },
        falls: never_falls,
        only_on_unix: false,
    },
    Row {
        what: "a character is split between two packets",
        applies: |stage| stage >= 1,
        survives: |stage| {
            let server = stage.start();
            let mut served = stage.one_client(&server);
            for round in 0..4 {
                served.speaker.sends_in_two(b"\xc3", b"\xb1u\n", round);
                served.is_heard(&server, "ñu");
            }
        },
        falls: never_falls,
        only_on_unix: false,
    },
    Row {
        what: "the name and a line come in one packet",
        applies: |stage| stage >= 4,
        survives: |stage| contract::name_and_first_line_may_come_in_one_packet(&stage.name),
        falls: never_falls,
        only_on_unix: false,
    },
    Row {
        what: "a client never reads",
        applies: |stage| stage >= 3,
        survives: |stage| {
            drop(lazy::is_disconnected_as_slow(
                &Server::of(&stage.name).with_high_limits().start().unwrap(),
            ))
        },
        falls: |stage| {
            let server = stage.start();
            let mut lazy = lazy::client(&server);
            let [ana, beto] = match stage.number {
                3 => server.room(["ana", "beto"]),
                _ => {
                    io::Write::write_all(&mut lazy, b"lazy\n").unwrap();
                    server.chat(["ana", "beto"])
                }
            };
            lazy::stops_the_room(lazy, &ana, beto);
        },
        only_on_unix: false,
    },
    Row {
        what: "the code that serves a client panics",
        applies: |stage| stage >= 4,
        survives: |stage| survival::a_panic_disconnects_its_own_client_only(&stage.name),
        falls: never_falls,
        only_on_unix: false,
    },
    Row {
        what: "Ctrl-C: the connected clients are told",
        applies: |_| true,
        survives: every_client_is_told_that_the_server_closes,
        falls: |stage| {
            let server = stage.start();
            let mut ana = server.client("ana");
            match stage.number {
                0..4 => stage.is_served(&server, &mut ana, "I am here"),
                _ => {
                    ana.says("ana");
                    ana.hears("ana");
                }
            }
            #[cfg(unix)]
            server.is_interrupted();
            ana.is_cut_off();
        },
        only_on_unix: true,
    },
    Row {
        what: "a line never ends",
        applies: |_| true,
        survives: |stage| match stage.number {
            0 => {
                let server = stage.start();
                let mut ana = server.client("ana");
                stage.is_served(&server, &mut ana, "I have much to say");
                let before = server.memory();
                for _ in 0..64 {
                    ana.sends(&[b'x'; 64 * 1024]);
                    ana.hears_bytes(&[b'x'; 64 * 1024]);
                }
                assert!(server.memory() < before + (1 << 20), "it has grown");
            }
            1.. => limits::an_endless_line_takes_no_memory(&stage.name),
        },
        falls: |stage| {
            const SENT: usize = 16 << 20;
            let server = stage.start();
            let mut ana = server.client("ana");
            let before = server.memory();
            ana.sends(&vec![b'x'; SENT]);
            let deadline = Instant::now() + patience();
            while server.memory() < before + SENT as u64 {
                assert!(Instant::now() < deadline, "it has not kept all of it");
                thread::park_timeout(Duration::from_millis(10));
            }
        },
        only_on_unix: false,
    },
    Row {
        what: "a flood of lines",
        applies: |stage| stage >= 1,
        survives: |stage| {
            assert!(stage.number >= 3, "nothing stops it");
            limits::a_flood_is_stopped(&stage.name);
        },
        // The server passes on all of it, for as long as the flood lasts.
        falls: |stage| {
            let server = stage.start();
            let mut served = stage.one_client(&server);
            for n in 10..50 {
                served.speaker.sends("flood\n".repeat(99).as_bytes());
                served.speaker.says(&format!("wave {n}"));
                for _ in 0..99 {
                    served.is_heard(&server, "flood");
                }
                served.is_heard(&server, &format!("wave {n}"));
            }
        },
        only_on_unix: false,
    },
    Row {
        what: "a flood within the rate by 240 clients that never read",
        applies: |stage| stage >= 7,
        survives: |stage| limits::a_flood_within_the_rate_takes_little_memory(&stage.name),
        falls: never_falls,
        only_on_unix: false,
    },
    Row {
        what: "more clients come than there is room for",
        applies: |_| true,
        survives: |stage| {
            assert!(stage.number >= 3, "no client is told");
            limits::a_client_too_many_is_told_and_may_come_back(&stage.name);
        },
        falls: no_client_is_told_that_the_server_is_full,
        only_on_unix: true,
    },
    Row {
        what: "a client says nothing, and stays",
        applies: |_| true,
        survives: |stage| {
            assert!(stage.number >= 3, "nothing is done about it");
            limits::a_client_that_gives_no_name_is_disconnected(&stage.name);
        },
        falls: a_silent_client_stays,
        only_on_unix: false,
    },
    Row {
        what: "bytes that are not UTF-8",
        applies: |_| true,
        survives: |stage| match stage.number {
            0 => {
                let server = stage.start();
                let mut ana = server.client("ana");
                ana.sends(b"\xff\xfe");
                ana.hears_bytes(b"\xff\xfe");
            }
            1 | 2 => {
                let server = stage.start();
                let mut ana = server.client("ana");
                ana.sends(b"caf\xe9\n");
                server.shows("caf");
            }
            _ => limits::bytes_that_are_not_text_are_replaced(&stage.name),
        },
        falls: |stage| {
            let server = stage.start();
            server.keyboard_ends();
            let mut served = stage.one_client(&server);
            served.speaker.sends(b"caf\xe9\n");
            served.speaker.is_let_go();
        },
        only_on_unix: false,
    },
    Row {
        what: "escape codes for the terminals of others",
        applies: |stage| stage >= 1,
        survives: |stage| {
            assert!(stage.number >= 3, "the operator's terminal gets them");
            limits::no_control_character_reaches_another_terminal(&stage.name);
        },
        falls: |stage| {
            let server = stage.start();
            let mut served = stage.one_client(&server);
            served.speaker.says("\u{1b}[2J");
            served.is_heard(&server, "\u{1b}[2J");
        },
        only_on_unix: false,
    },
];

fn never_falls(_: &Stage) {
    panic!("there is no proof that any stage falls");
}

#[cfg(unix)]
fn every_client_is_told_that_the_server_closes(stage: &Stage) {
    harness::shutdown::every_client_is_told_that_the_server_closes(&stage.name);
}

#[cfg(not(unix))]
fn every_client_is_told_that_the_server_closes(_: &Stage) {
    unreachable!("only on Unix");
}

fn the_second_client_waits(stage: &Stage) {
    let server = stage.start();
    server.keyboard_ends();
    let mut ana = server.client("ana");
    stage.is_served(&server, &mut ana, "I was first");
    let mut beto = server.client("beto");
    beto.says("are you there?");
    stage.is_served(&server, &mut ana, "and I am still here");
    beto.has_heard_nothing();
    assert_eq!(server.lines_with("are you there?"), 0);
    ana.leaves();
    match stage.number {
        0 => drop(beto.hears("are you there?")),
        _ => drop(server.shows("are you there?")),
    }
}

fn no_client_is_told_that_the_server_is_full(stage: &Stage) {
    // Descriptors for half a dozen clients.
    let server = survival::limited(&stage.name, "ulimit -n 12").unwrap();
    let mut served = stage.one_client(&server);
    let mut crowd: Vec<_> = (0..30).map(|_| server.client("one of many")).collect();
    for n in 10..13 {
        served.speak(&server, &format!("among the crowd {n}"));
    }
    let last = crowd.last_mut().unwrap();
    last.has_heard_nothing();
}

/// The client is silent for longer than in the proof that a silent client is disconnected.
fn a_silent_client_stays(stage: &Stage) {
    if stage.number < 2 {
        // And not only that: the next client waits for it.
        return the_second_client_waits(stage);
    }
    let server = stage.start();
    let mut silent = server.client("silent");
    let mut served = stage.one_client(&server);
    let start = Instant::now();
    let mut n = 10;
    while start.elapsed() < Duration::from_millis(600) {
        served.speak(&server, &format!("line {n}"));
        thread::park_timeout(Duration::from_millis(50));
        n += 1;
    }
    // The server has not disconnected it: it may still speak.
    match stage.number {
        2 | 3 => {
            silent.says("good morning");
            server.shows("good morning");
        }
        _ => {
            silent.says("*");
            silent.is_refused();
        }
    }
}

/// A client, and the others that hear what it says, from stage 03 on.
struct Served<'a> {
    stage: &'a Stage,
    speaker: Client,
    others: Vec<Client>,
}

impl Served<'_> {
    #[track_caller]
    fn speak(&mut self, server: &Server, text: &str) {
        self.speaker.says(text);
        self.is_heard(server, text);
    }

    #[track_caller]
    fn is_heard(&mut self, server: &Server, text: &str) {
        match self.stage.number {
            0 => drop(self.speaker.hears(text)),
            1 | 2 => drop(server.shows(text)),
            _ => {
                for other in &mut self.others {
                    other.hears(text);
                }
            }
        }
    }
}

impl Stage {
    #[track_caller]
    fn start(&self) -> Server {
        Server::start(&self.name)
    }

    /// Says a text, and sees that the server has dealt with it. Only for stages where this
    /// needs no other client.
    #[track_caller]
    fn is_served(&self, server: &Server, client: &mut Client, text: &str) {
        client.says(text);
        match self.number {
            0 => drop(client.hears(text)),
            _ => drop(server.shows(text)),
        }
    }

    /// A client that speaks and, from stage 03 on, another one that hears it.
    #[track_caller]
    fn one_client(&self, server: &Server) -> Served<'_> {
        if self.number >= 3 {
            return self.two_clients(server);
        }
        let mut speaker = server.client("ana");
        self.is_served(server, &mut speaker, "I am ana");
        Served {
            stage: self,
            speaker,
            others: Vec::new(),
        }
    }

    /// Two clients that are connected at the same time.
    #[track_caller]
    fn two_clients(&self, server: &Server) -> Served<'_> {
        let [speaker, other] = match self.number {
            0..=2 => {
                let mut both = ["ana", "beto"].map(|name| server.client(name));
                self.is_served(server, &mut both[0], "I am ana");
                self.is_served(server, &mut both[1], "I am beto");
                both
            }
            3 => server.room(["ana", "beto"]),
            _ => server.chat(["ana", "beto"]),
        };
        Served {
            stage: self,
            speaker,
            others: vec![other],
        }
    }
}

/// All stages that have a server which needs no more than a terminal.
fn stages() -> Vec<Stage> {
    let named = |name: String| Stage {
        number: name[..2].parse().unwrap(),
        name,
    };
    harness::stages().into_iter().map(named).collect()
}

fn path() -> PathBuf {
    harness::root().join("lessons/README.md")
}

/// The page before the table, the table, and the page after it.
fn page() -> [String; 3] {
    let page = fs::read_to_string(path()).unwrap().replace("\r\n", "\n");
    let [begin, end] = MARKS.map(|mark| page.find(mark).expect("the table is marked"));
    let begin = begin + MARKS[0].len();
    [&page[..begin], &page[begin..end], &page[end..]].map(String::from)
}

/// Does something for every cell, many at a time, because most of them wait. The results have
/// the order of the rows, and in each row that of the stages.
fn for_each_cell<T: Send>(
    stages: &[Stage],
    job: impl Fn(usize, &Row, usize, &Stage) -> T + Sync,
) -> Vec<Vec<T>> {
    let cells = (0..ROWS.len()).flat_map(|row| (0..stages.len()).map(move |stage| (row, stage)));
    let queue = Mutex::new(cells.collect::<VecDeque<_>>());
    let mut results: Vec<Vec<Option<T>>> = Vec::new();
    results.resize_with(ROWS.len(), || stages.iter().map(|_| None).collect());
    let results = Mutex::new(results);
    thread::scope(|scope| {
        for _ in 0..12 {
            scope.spawn(|| {
                while let Some((row, stage)) = { queue.lock().unwrap().pop_front() } {
                    let result = job(row, &ROWS[row], stage, &stages[stage]);
                    results.lock().unwrap()[row][stage] = Some(result);
                }
            });
        }
    });
    let results = results.into_inner().unwrap().into_iter();
    results
        .map(|row| row.into_iter().flatten().collect())
        .collect()
}

fn holds(proof: fn(&Stage), stage: &Stage) -> Result<(), String> {
    panic::catch_unwind(|| proof(stage)).map_err(harness::wrong::text_of)
}

#[test]
fn every_cell_of_the_table_is_true() {
    if !applies_to_ours_only() {
        return;
    }
    let stages = stages();
    let servers: Vec<_> = stages
        .iter()
        .map(|it| format!("{}_server", it.name))
        .collect();
    harness::build_ahead(servers.iter().map(String::as_str));
    let [_, table, _] = page();
    let lines: Vec<_> = table.lines().collect();
    let claims: Vec<Vec<_>> = lines[2..]
        .iter()
        .map(|line| line.split('|').map(str::trim).collect())
        .collect();
    let rows: Vec<_> = claims.iter().map(|cells| cells[1]).collect();
    let expected: Vec<_> = ROWS.iter().map(|row| row.what).collect();
    let advice = "write the table anew: cargo test --test survival_table -- --ignored";
    assert_eq!(rows, expected, "{advice}");
    assert_eq!(lines[0], head(&stages), "{advice}");

    let outcomes = for_each_cell(&stages, |row_number, row, stage_number, stage| {
        let claim = claims[row_number][2 + stage_number];
        let proof = match claim {
            _ if !(row.applies)(stage.number) => {
                return (claim != DOES_NOT_APPLY).then(|| " it does not apply".into());
            }
            _ if row.only_on_unix && !cfg!(unix) => return None,
            SURVIVES => row.survives,
            FALLS => row.falls,
            _ => return Some(format!(" it says {claim:?}")),
        };
        holds(proof, stage).err()
    });
    let mut differences = String::new();
    for (row, outcomes) in ROWS.iter().zip(outcomes) {
        for (stage, outcome) in stages.iter().zip(outcomes) {
            if let Some(difference) = outcome {
                let (what, stage) = (row.what, &stage.name);
                writeln!(
                    differences,
                    "\n{what:?}, {stage}: is not as told:{difference}"
                )
                .unwrap();
            }
        }
    }
    assert!(differences.is_empty(), "{advice}\n{differences}");
}

#[test]
#[ignore = "writes the table in lessons/README.md anew"]
fn write_the_table_anew() {
    if !cfg!(unix) {
        panic!("some rows take a Unix system");
    }
    let stages = stages();
    let outcomes = for_each_cell(&stages, |_, row, _, stage| {
        if !(row.applies)(stage.number) {
            return Ok(DOES_NOT_APPLY);
        }
        let Err(why_not) = holds(row.survives, stage) else {
            return Ok(SURVIVES);
        };
        match holds(row.falls, stage) {
            Ok(()) => Ok(FALLS),
            Err(why_not_either) => Err(format!(
                "{:?}, {}: neither is proven, that it survives:\n{why_not}\n\
                 nor that it falls:\n{why_not_either}",
                row.what, stage.name
            )),
        }
    });
    let mut table = head(&stages) + "\n|---|" + &":-:|".repeat(stages.len()) + "\n";
    for (row, outcomes) in ROWS.iter().zip(outcomes) {
        let cells: Vec<_> = outcomes
            .into_iter()
            .map(|outcome| outcome.unwrap_or_else(|undecided| panic!("{undecided}")))
            .collect();
        writeln!(table, "| {} | {} |", row.what, cells.join(" | ")).unwrap();
    }
    let [before, _, after] = page();
    fs::write(path(), before + &table + &after).unwrap();
}

fn head(stages: &[Stage]) -> String {
    let links = stages
        .iter()
        .map(|Stage { number, name }| format!("[{number:02}]({name}.md)"));
    format!(
        "| what happens | {} |",
        links.collect::<Vec<_>>().join(" | ")
    )
}
