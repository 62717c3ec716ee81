//! An outbox that is bounded in bytes: a channel, as in lesson 05, and a count of the bytes that
//! wait in it. Lesson 07 tells why.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, RecvError, Sender, TrySendError};

use crate::room::Line;

/// What a line takes beside its text, in bytes: short lines are counted too.
const OVERHEAD: usize = 64;

/// About how many bytes a writer takes at a time: this much memory is in its hands, and no
/// longer counted.
const GATHERED: usize = 16 * 1024;

/// Makes an outbox in which at most `max_bytes` bytes wait, and the writer's end of it.
///
/// Outboxes share lines: a line that waits for many clients is in memory once.
pub fn bounded(max_bytes: usize) -> (Outbox, Lines) {
    let (sender, receiver) = mpsc::channel();
    let waiting = Arc::new(AtomicUsize::new(0));
    let lines = Lines {
        receiver,
        waiting: Arc::clone(&waiting),
    };
    let outbox = Outbox {
        sender,
        waiting,
        max_bytes,
    };
    (outbox, lines)
}

/// Lines on their way to a client.
#[derive(Debug)]
pub struct Outbox {
    sender: Sender<Line>,
    /// The bytes that wait. The outbox adds them, and [`Lines`] subtracts them.
    waiting: Arc<AtomicUsize>,
    max_bytes: usize,
}

impl Outbox {
    /// Puts a line in, and never waits.
    ///
    /// # Errors
    ///
    /// As for [`SyncSender::try_send`](mpsc::SyncSender::try_send): the outbox is full, or its
    /// [`Lines`] are gone.
    pub fn try_send(&self, line: Line) -> Result<(), TrySendError<Line>> {
        let bytes = line.len() + OVERHEAD;
        // Count first: the writer may take the line before `send` returns.
        let waiting = self.waiting.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let sent = match waiting > self.max_bytes {
            true => Err(TrySendError::Full(line)),
            false => self
                .sender
                .send(line)
                .map_err(|error| TrySendError::Disconnected(error.0)),
        };
        if sent.is_err() {
            self.waiting.fetch_sub(bytes, Ordering::Relaxed);
        }
        sent
    }
}

/// The writer's end of an outbox: the lines that wait in it.
#[derive(Debug)]
pub struct Lines {
    receiver: Receiver<Line>,
    waiting: Arc<AtomicUsize>,
}

impl Lines {
    /// Waits for a line, and takes it.
    ///
    /// # Errors
    ///
    /// As for [`Receiver::recv`]: no line waits, and the [`Outbox`] is gone.
    pub fn recv(&self) -> Result<Line, RecvError> {
        self.receiver.recv().inspect(|line| self.taken(line))
    }

    /// Takes the lines that are there already, at most about 16 KiB of them.
    pub fn try_iter(&self) -> impl Iterator<Item = Line> {
        let mut bytes = 0;
        std::iter::from_fn(move || {
            let line = (bytes < GATHERED).then(|| self.receiver.try_recv().ok())??;
            bytes += line.len();
            self.taken(&line);
            Some(line)
        })
    }

    fn taken(&self, line: &Line) {
        self.waiting
            .fetch_sub(line.len() + OVERHEAD, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_full_when_the_bytes_are_used_up_and_takes_more_when_some_are_taken() {
        let (outbox, lines) = bounded(10 + 2 * OVERHEAD);
        assert_eq!(outbox.try_send("12345\n".into()), Ok(()));
        let full = Err(TrySendError::Full("12345\n".into()));
        assert_eq!(outbox.try_send("12345\n".into()), full);
        assert_eq!(outbox.try_send("123\n".into()), Ok(()));
        assert_eq!(lines.recv().as_deref(), Ok("12345\n"));
        assert_eq!(outbox.try_send("12345\n".into()), Ok(()));
        let rest: Vec<_> = lines.try_iter().collect();
        assert_eq!(rest, ["123\n".into(), "12345\n".into()]);
    }

    #[test]
    fn short_lines_are_counted_too() {
        let (outbox, _lines) = bounded(100 * (1 + OVERHEAD));
        let sent = (0..1000).take_while(|_| outbox.try_send("\n".into()).is_ok());
        assert_eq!(sent.count(), 100);
    }

    #[test]
    fn what_waits_is_taken_after_the_outbox_is_dropped() {
        let (outbox, lines) = bounded(1000);
        outbox.try_send("last\n".into()).unwrap();
        drop(outbox);
        assert_eq!(lines.recv().as_deref(), Ok("last\n"));
        assert_eq!(lines.recv(), Err(RecvError));
    }
}
