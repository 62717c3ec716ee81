//! What a failing test tells: what was done, what was expected, what came instead, and which
//! lesson to read.

use std::fmt::Display;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::program::Output;

/// What has happened so far, told in order by the server and all its clients.
#[derive(Clone)]
pub struct Story(Arc<Inner>);

struct Inner {
    stage: String,
    server: String,
    output: Output,
    steps: Mutex<Vec<String>>,
    likely_cause: Mutex<Option<String>>,
    still_missing: Mutex<Option<String>>,
}

impl Story {
    pub fn new(stage: &str, server: String, output: Output) -> Self {
        Self(Arc::new(Inner {
            stage: stage.into(),
            server,
            output,
            steps: Mutex::default(),
            likely_cause: Mutex::default(),
            still_missing: Mutex::default(),
        }))
    }

    pub fn step(&self, step: impl Into<String>) {
        self.0.steps.lock().unwrap().push(step.into());
    }

    /// Tells a likely cause if the test fails from here on.
    pub fn likely_cause(&self, cause: &str) {
        *self.0.likely_cause.lock().unwrap() = Some(cause.into());
    }

    /// Tells what an exercise still lacks if its check fails from here on.
    pub fn still_missing(&self, what: &str) {
        *self.0.still_missing.lock().unwrap() = Some(what.into());
    }

    /// If the server has ended, its last words may still be on their way.
    pub fn waits_for_last_words(&self) {
        self.0.output.wait_for_end(Duration::from_millis(300));
    }

    #[track_caller]
    pub fn fail(&self, what: impl Display) -> ! {
        let Inner { stage, server, .. } = &*self.0;
        let mut told = format!("\n\n{what}\n");
        if let Some(cause) = &*self.0.likely_cause.lock().unwrap() {
            told += &format!("A likely cause: {cause}\n");
        }
        if let Some(missing) = &*self.0.still_missing.lock().unwrap() {
            told += &format!("Still missing: {missing}\n");
        }
        told += "\nWhat was done:\n";
        let steps = self.0.steps.lock().unwrap();
        told += &last_of(&steps, |step| format!("  - {step}\n"));
        drop(steps); // a panic would poison it, and other threads have to tell too
        told += &format!("\nThe server ({server}) printed:\n");
        told += &last_of(&self.0.output.lines(), |line| format!("  | {line}\n"));
        told += &format!("\nTo learn more: lessons/{stage}.md\n");
        panic!("{told}");
    }
}

/// The last of many lines, each no longer than a row or two.
fn last_of(lines: &[String], show: impl Fn(&str) -> String) -> String {
    const MOST: usize = 20;
    let skipped = lines.len().saturating_sub(MOST);
    let mut text = match (lines.len(), skipped) {
        (0, _) => "  (nothing)\n".into(),
        (_, 0) => String::new(),
        (_, skipped) => format!("  ({skipped} earlier ones left out)\n"),
    };
    for line in &lines[skipped..] {
        text += &show(&shortened(line));
    }
    text
}

/// A text with its middle left out when it is long.
pub fn shortened(text: &str) -> String {
    const MOST: usize = 160;
    // Bytes are counted, not characters: there may be millions of them.
    let length = text.len();
    if length <= MOST {
        return text.into();
    }
    let start: String = text.chars().take(MOST / 2).collect();
    let end: Vec<_> = text.chars().rev().take(MOST / 4).collect();
    let end: String = end.into_iter().rev().collect();
    format!("{start} […{length} bytes in all…] {end}")
}
