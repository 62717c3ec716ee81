//! The small library behind the numbered programs in `examples/`.
//!
//! It holds two kinds of things: what is not a lesson ([`cli`], [`mod@log`], [`prompt`]),
//! and what an earlier lesson has taught, so that later stages can use it. What a stage
//! itself teaches stands in its example, with the standard library's own names.
//!
//! - [`cli`]: the command line of every program, and its errors in plain words.
//! - [`prompt`]: a prompt that survives the arrival of a line.
//! - [`room`]: the chat room as a plain value (lesson 04).
//! - [`log`](mod@log): a log that never makes a thread wait (from stage 04 on; lesson 06).
//! - [`lines`]: lines within bounds (lesson 07).
//! - [`limits`]: what a client may use (lesson 07).
//! - [`outbox`]: an outbox that is bounded in bytes (lesson 07).
//! - [`backlog`]: one backlog for all clients (lesson 08).

#![warn(missing_docs)]

pub mod backlog;
pub mod cli;
pub mod limits;
pub mod lines;
pub mod log;
pub mod outbox;
pub mod prompt;
pub mod room;
