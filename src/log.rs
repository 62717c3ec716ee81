//! A log that never waits: a thread of its own writes the lines to the standard output.
//!
//! `println!` waits while the terminal is stopped (Ctrl-S), or while no program reads the pipe.
//! A server that waits for its log serves no client. And `println!` panics when the output has
//! been closed. Here, when the queue is full, lines are dropped and counted.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, Write};
use std::mem;
use std::sync::{Condvar, Mutex, MutexGuard, Once, PoisonError};
use std::thread;
use std::time::Duration;

/// How many lines may wait to be written.
const MOST: usize = 16 * 1024;

/// How long [`flush`] waits.
const PATIENCE: Duration = Duration::from_secs(1);

static LOG: Mutex<Log> = Mutex::new(Log {
    lines: VecDeque::new(),
    left_out: 0,
    is_writing: false,
});

/// A line has been added, or lines have been written.
static CHANGED: Condvar = Condvar::new();

struct Log {
    lines: VecDeque<String>,
    /// How many lines have been dropped since the last ones were written.
    left_out: usize,
    is_writing: bool,
}

/// Logs a line: see [`cli::log!`](crate::cli::log).
pub fn line(text: fmt::Arguments<'_>) {
    static STARTED: Once = Once::new();
    STARTED.call_once(|| {
        let writer = thread::Builder::new().name("log".into()).spawn(write_lines);
        drop(writer); // an error: there is no log, but the server goes on
    });
    let mut log = lock();
    match log.lines.len() < MOST {
        true => log.lines.push_back(format!("{text}\n")),
        false => log.left_out += 1,
    }
    CHANGED.notify_all();
}

/// Waits until everything that has been logged is written, for at most a second.
pub fn flush() {
    let unwritten = |log: &mut Log| log.is_writing || !log.lines.is_empty();
    let written = CHANGED.wait_timeout_while(lock(), PATIENCE, unwritten);
    drop(written);
}

fn write_lines() {
    let mut log = lock();
    loop {
        log.is_writing = false;
        CHANGED.notify_all();
        log = CHANGED
            .wait_while(log, |log| log.lines.is_empty())
            .unwrap_or_else(PoisonError::into_inner);
        log.is_writing = true;
        let count = log.lines.len();
        let mut text: String = mem::take(&mut log.lines).into_iter().collect();
        match mem::take(&mut log.left_out) {
            0 => {}
            count => text += &format!("({count} more lines could not be written)\n"),
        }
        drop(log);
        // An error: the output has been closed, or takes no more. The server goes on.
        let mut output = io::stdout();
        let written = output.write_all(text.as_bytes()).and(output.flush());
        log = lock();
        if written.is_err() {
            log.left_out += count;
        }
    }
}

/// No code panics while it holds the lock, so the log is always in order.
fn lock() -> MutexGuard<'static, Log> {
    LOG.lock().unwrap_or_else(PoisonError::into_inner)
}
