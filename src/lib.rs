//! The small library behind the numbered programs in `examples/`: what is not
//! the lesson. What a stage teaches (accepting, reading, writing, locking,
//! waiting) stands in the example itself, with the standard library's own names.
//!
//! - [`cli`]: the command line of every program, and its errors in plain words.
//! - [`limits`]: what a client may do, from stage 07 on.
//! - [`lines`]: lines within bounds, from stage 07 on.
//! - [`log`](mod@log): a log that makes nobody wait, from stage 06 on.
//! - [`prompt`]: a prompt that survives the arrival of a line.
//! - [`room`]: the chat room as a plain value, from stage 04 on.

#![warn(missing_docs)]

pub mod cli;
pub mod limits;
pub mod lines;
pub mod log;
pub mod prompt;
pub mod room;
