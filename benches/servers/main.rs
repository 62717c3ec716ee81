//! What each way of waiting costs: `cargo bench`, or `cargo bench -- --quick` for a first
//! look in half a minute. Lesson 09 explains what comes out, and shows its pictures.
//!
//! All figures of a run are medians of interleaved rounds, so a slow moment of the machine
//! affects all servers alike. Compare the ratios. Figures of different machines or days cannot
//! be compared.

mod floors;
mod load;
mod plots;
mod process;

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::thread;
use std::time::{Duration, Instant};

use clap::Parser;
use floors::Floor;
use load::{BURSTS, BUSY_ROOM, Load, Outcome, Room, SINGLE_LINES};
use process::{Kind, Running, Usage};

/// Measures the servers of the stages, and the leanest possible servers beside them.
#[derive(Parser)]
struct Args {
    /// A first look in half a minute: fewer servers, one short round
    #[arg(long)]
    quick: bool,

    /// Measure redis-server's publish/subscribe in the same run; redis-server must be installed
    #[arg(long)]
    redis: bool,

    /// Only this part of the measurements
    #[arg(long, value_enum)]
    only: Option<Part>,

    /// Only stages whose name contains this; may be repeated
    #[arg(long)]
    stage: Vec<String>,

    /// Rounds whose median is taken [default: 3]
    #[arg(long)]
    rounds: Option<usize>,

    /// Draw the pictures of lesson 09 anew
    #[arg(long)]
    plot: bool,

    /// Run as one of the leanest servers; the measurements use this themselves
    #[arg(long, value_enum)]
    serve: Option<Floor>,

    /// `cargo bench` gives this option; it has no meaning here
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, clap::ValueEnum)]
enum Part {
    Echo,
    Deliveries,
    Rush,
    Idle,
}

const CHATS: [&str; 7] = [
    "03_broadcast",
    "04_chat",
    "05_outbox",
    "06_shutdown",
    "07_limits",
    "08_event_loop",
    "09_async",
];

const LOADS: [(&str, Load); 3] = [
    ("busy room", BUSY_ROOM),
    ("bursts", BURSTS),
    ("single lines", SINGLE_LINES),
];

/// A load, the number of receivers, and a server.
pub type Deliveries = BTreeMap<(usize, usize, String), Outcome>;

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    if let Some(floor) = args.serve {
        return Ok(floors::serve(floor)?);
    }
    let open_files = rlimit::increase_nofile_limit(u64::MAX)?;
    println!("{open_files} open files for each process");
    let does = |part| args.only.is_none_or(|only| only == part);
    if does(Part::Echo) {
        echo(&args)?;
    }
    if does(Part::Deliveries) {
        let all = deliveries(&args)?;
        if args.plot {
            plots::draw(&all, [LOADS[0].0, LOADS[1].0])?;
        }
    }
    if does(Part::Rush) {
        rush(&args)?;
    }
    if does(Part::Idle) {
        idle(&args)?;
    }
    Ok(())
}

impl Args {
    fn rounds(&self) -> usize {
        self.rounds.unwrap_or(if self.quick { 1 } else { 3 })
    }

    fn time(&self) -> Duration {
        Duration::from_millis(if self.quick { 500 } else { 1000 })
    }

    fn stages(&self, quick: &[&str]) -> Vec<Kind> {
        let wanted = |name: &&str| match self.stage.is_empty() {
            true => !self.quick || quick.contains(name),
            false => self.stage.iter().any(|stage| name.contains(stage.as_str())),
        };
        CHATS.into_iter().filter(wanted).map(Kind::Stage).collect()
    }
}

/// Shows what is being measured, until the next call.
fn progress(what: &str) {
    if std::io::stderr().is_terminal() {
        eprint!("\r\x1b[K{what} …");
    }
}

fn clear_progress() {
    if std::io::stderr().is_terminal() {
        eprint!("\r\x1b[K");
    }
}

fn echo(args: &Args) -> anyhow::Result<()> {
    let servers = [
        (Kind::Floor(Floor::Echo), 1),
        (Kind::Stage("00_echo"), 1),
        (Kind::Floor(Floor::EchoThreads), 1),
        (Kind::Floor(Floor::EchoThreads), 50),
    ];
    let mut all: Vec<Vec<Outcome>> = vec![Vec::new(); servers.len()];
    for round in 1..=args.rounds() {
        for (&(kind, clients), outcomes) in servers.iter().zip(&mut all) {
            progress(&format!("echo, round {round}: {}", kind.name()));
            let server = Running::start(kind)?;
            let mut room = Room::echoes(&server, clients)?;
            let load = Load {
                senders: clients,
                under_way: 1,
            };
            outcomes.push(room.measure(&server, load, Some(1), args.time())?);
        }
    }
    clear_progress();
    let outcomes: Vec<_> = all.iter().map(|rounds| median(rounds)).collect();
    println!("\nEcho: round trips of 64 bytes");
    println!("| server | clients | a second | of the floor | p50 µs | p99 µs |");
    println!("|---|--:|--:|--:|--:|--:|");
    for (&(kind, clients), outcome) in servers.iter().zip(&outcomes) {
        println!(
            "| {} | {clients} | {:.0} | {:.2} | {} | {} |",
            kind.name(),
            outcome.per_second,
            outcome.per_second / outcomes[0].per_second,
            outcome.p50.as_micros(),
            outcome.p99.as_micros(),
        );
    }
    Ok(())
}

fn deliveries(args: &Args) -> anyhow::Result<Deliveries> {
    let floors = [Kind::Floor(Floor::Write), Kind::Floor(Floor::Gather)];
    let mut servers = floors.to_vec();
    if args.redis {
        servers.push(Kind::Redis);
    }
    servers.extend(args.stages(&["07_limits", "08_event_loop", "09_async"]));
    let receivers: &[usize] = if args.quick { &[100] } else { &[10, 100, 1000] };
    let mut rounds: BTreeMap<_, Vec<Outcome>> = BTreeMap::new();
    for round in 1..=args.rounds() {
        for &count in receivers {
            for &kind in &servers {
                let name = kind.name();
                progress(&format!("round {round}: {count} receivers, {name}"));
                let server = Running::start(kind)?;
                let mut room = Room::enter(&server, count, BUSY_ROOM.senders)?;
                for (number, (_, load)) in LOADS.into_iter().enumerate() {
                    let outcome = room.measure(&server, load, None, args.time())?;
                    let key = (number, count, name.clone());
                    rounds.entry(key).or_default().push(outcome);
                }
            }
        }
    }
    clear_progress();
    let all: Deliveries = rounds
        .into_iter()
        .map(|(key, rounds)| (key, median(&rounds)))
        .collect();
    println!("\nDeliveries of lines of 64 bytes, in a second, and from sending to receiving");
    for (number, (load, Load { senders, under_way })) in LOADS.into_iter().enumerate() {
        for &count in receivers {
            println!("\n{load}: {senders} sending, {under_way} under way each, {count} receivers");
            println!(
                "| server | a second | of gathering | of a write per line | of redis | p50 µs | \
                 p99 µs | lost | CPU server | CPU load |"
            );
            println!("|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|");
            for kind in &servers {
                let figure = |kind: Kind| {
                    let outcome = all.get(&(number, count, kind.name()));
                    outcome.map(|outcome| outcome.per_second)
                };
                let outcome = &all[&(number, count, kind.name())];
                let ratio = |to| match figure(to) {
                    Some(other) => format!("{:.2}", outcome.per_second / other),
                    None => "–".into(),
                };
                println!(
                    "| {} | {:.0} | {} | {} | {} | {} | {} | {} | {:.2} | {:.2} |",
                    kind.name(),
                    outcome.per_second,
                    ratio(floors[1]),
                    ratio(floors[0]),
                    ratio(Kind::Redis),
                    outcome.p50.as_micros(),
                    outcome.p99.as_micros(),
                    outcome.lost,
                    outcome.server_cpu,
                    outcome.load_cpu,
                );
            }
        }
    }
    Ok(all)
}

/// The time from connecting to the welcome, when all clients connect at once.
fn rush(args: &Args) -> anyhow::Result<()> {
    const CLIENTS: usize = 1000;
    let servers = args.stages(&["08_event_loop", "09_async"]);
    println!("\n{CLIENTS} clients connect at once: until all are welcomed");
    println!("| server | seconds |");
    println!("|---|--:|");
    for kind in servers {
        if kind.number() < Some(4) {
            continue; // it sends no welcome
        }
        let mut times = Vec::new();
        for round in 1..=args.rounds() {
            progress(&format!("rush, round {round}: {}", kind.name()));
            let server = Running::start(kind)?;
            times.push(load::rush(server.address, CLIENTS)?);
        }
        times.sort_unstable();
        clear_progress();
        let median = times[times.len() / 2];
        println!("| {} | {:.3} |", kind.name(), median.as_secs_f64());
    }
    Ok(())
}

/// The cost of clients that say nothing.
fn idle(args: &Args) -> anyhow::Result<()> {
    let counts: &[usize] = if args.quick { &[500] } else { &[1000, 5000] };
    let seconds = if args.quick { 1 } else { 10 };
    let servers = args.stages(&["07_limits", "08_event_loop", "09_async"]);
    println!("\nIdle clients");
    println!(
        "| server | clients | KiB of memory each | threads each | CPU ms in {seconds} s of silence |"
    );
    println!("|---|--:|--:|--:|--:|");
    for kind in servers {
        for &count in counts {
            progress(&format!("{count} idle clients: {}", kind.name()));
            let server = Running::start(kind)?;
            // The first clients bring threads and tables that do not count for the others.
            let warm_up = Room::enter(&server, 10, 1)?;
            let before = server.usage();
            // With thousands of threads, to announce each client to all would take minutes.
            // There the clients have no name yet.
            let has_names = count <= 1000 || kind.number() >= Some(8);
            let _clients = match has_names {
                true => Room::enter(&server, count, 1)?,
                false => Room::echoes(&server, count)?,
            };
            let quiet = wait_until_quiet(&server);
            thread::sleep(Duration::from_secs(seconds)); // the silence that is measured
            let after = server.usage();
            clear_progress();
            println!(
                "| {} | {count} | {:.1} | {} | {} |",
                kind.name(),
                (after.memory as f64 - before.memory as f64) / 1024.0 / count as f64,
                match (before.threads, after.threads) {
                    (Some(before), Some(after)) =>
                        format!("{:.2}", (after - before) as f64 / count as f64),
                    _ => "–".into(),
                },
                (after.cpu - quiet.cpu).as_millis(),
            );
            drop(warm_up);
        }
    }
    Ok(())
}

/// Waits until the server has accepted all clients and written all lines.
fn wait_until_quiet(server: &Running) -> Usage {
    let deadline = Instant::now() + Duration::from_secs(60);
    let mut before = server.usage();
    loop {
        thread::sleep(Duration::from_millis(500));
        let now = server.usage();
        if now.cpu == before.cpu || Instant::now() > deadline {
            return now;
        }
        before = now;
    }
}

/// The round with the median rate, with its other figures. Only the lost lines of all rounds
/// are added up.
fn median(rounds: &[Outcome]) -> Outcome {
    let mut sorted = rounds.to_vec();
    sorted.sort_by(|a, b| a.per_second.total_cmp(&b.per_second));
    let lost = rounds.iter().map(|round| round.lost).sum();
    Outcome {
        lost,
        ..sorted[sorted.len() / 2]
    }
}
