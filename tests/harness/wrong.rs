//! Servers with a fault, as a learner's may have it. A test that accepts one of them is wrong
//! itself.

use std::any::Any;
use std::cell::Cell;
use std::net::TcpListener;
use std::panic;
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use super::PATIENCE;
use super::applies_to_ours_only;
use super::program::Output;

/// What a server has that runs inside the test.
#[derive(Clone)]
pub struct Hosted {
    pub listener: Arc<TcpListener>,
    /// What the operator types.
    pub keyboard: Arc<Mutex<mpsc::Receiver<String>>>,
    /// What the server prints.
    pub screen: Output,
}

/// A wrong server. It runs on a thread of its own until the tests end.
pub type Wrong = fn(Hosted);

thread_local! {
    static INSTEAD: Cell<Option<Wrong>> = const { Cell::new(None) };
}

/// The server that takes the place of the right one in this thread's test.
pub fn server_of_this_thread() -> Option<Wrong> {
    INSTEAD.get()
}

/// A wrong server, the test that has to refuse it, and words of its complaint.
pub struct Refusal {
    pub name: &'static str,
    pub by: &'static str,
    pub server: Wrong,
    pub test: fn(),
    pub complaint: &'static [&'static str],
}

/// Runs tests against wrong servers: `server by test: "words of the complaint";`
#[macro_export]
macro_rules! refused {
    ($($server:ident by $test:ident: $($words:literal),+;)+) => {
        $crate::wrong::all_are_refused(&[$($crate::wrong::Refusal {
            name: stringify!($server),
            by: stringify!($test),
            server: $server,
            test: $test,
            complaint: &[$($words),+],
        }),+])
    };
}

/// Runs each test against its wrong server, all at the same time, since most of them
/// wait for what will never come. Every one has to fail, and to say why.
pub fn all_are_refused(refusals: &[Refusal]) {
    if !applies_to_ours_only() {
        return;
    }
    let complaints: Vec<_> = thread::scope(|scope| {
        let start = |refusal| scope.spawn(move || complain(refusal, SHORT_PATIENCE));
        let running: Vec<_> = refusals.iter().map(start).collect();
        running.into_iter().map(|thread| thread.join()).collect()
    });

    for (refusal, complaint) in refusals.iter().zip(complaints) {
        let Refusal { name, by, .. } = refusal;
        let mut complaint = complaint.unwrap();
        let lacks = |complaint: &String| {
            let mut words = refusal.complaint.iter();
            words.find(|words| !complaint.contains(**words))
        };
        if complaint.as_ref().is_none_or(|text| lacks(text).is_some()) {
            // Perhaps it had too little time on a busy machine: once more, with plenty.
            complaint = thread::scope(|scope| {
                let again = scope.spawn(|| complain(refusal, 10 * SHORT_PATIENCE));
                again.join().unwrap()
            });
        }
        let Some(complaint) = complaint else {
            panic!("the wrong server {name} was accepted by {by}");
        };
        if let Some(words) = lacks(&complaint) {
            panic!(
                "the wrong server {name} was refused by {by}, but not with the words {words:?}. \
                 The complaint was:\n{complaint}"
            );
        }
    }
}

/// Long for a server inside this process, and short for a person.
const SHORT_PATIENCE: Duration = Duration::from_millis(400);

/// Why the test refuses the wrong server.
fn complain(refusal: &Refusal, patience: Duration) -> Option<String> {
    INSTEAD.set(Some(refusal.server));
    PATIENCE.set(patience);
    panic::catch_unwind(refusal.test).err().map(text_of)
}

/// What a panic says.
pub fn text_of(panic: Box<dyn Any + Send>) -> String {
    match panic.downcast::<String>() {
        Ok(text) => *text,
        Err(panic) => panic
            .downcast_ref::<&str>()
            .copied()
            .unwrap_or_default()
            .into(),
    }
}
