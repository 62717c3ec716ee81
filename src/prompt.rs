//! A prompt at which somebody types while lines arrive.

use std::io::{self, IsTerminal, Write};

/// The `> ` in front of the line being typed.
///
/// It is there for people only: when the standard input or output is a pipe or a
/// file, nothing but the lines themselves is printed.
#[derive(Debug, Clone, Copy)]
pub struct Prompt {
    visible: bool,
}

impl Prompt {
    /// A prompt for this program's terminal, if it has one.
    pub fn new() -> Self {
        Self {
            visible: io::stdin().is_terminal() && io::stdout().is_terminal(),
        }
    }

    /// A prompt that is there whatever the standard input and output are, or not there.
    pub fn visible(visible: bool) -> Self {
        Self { visible }
    }

    /// Asks for the next line.
    pub fn show(self) {
        // An error means that nobody is looking any more; there is nobody to tell.
        let _ = self.write_prompt(&mut io::stdout().lock());
    }

    /// Asks for something in particular, such as a name.
    pub fn ask(self, what: &str) {
        // As in `show`.
        let _ = self.write_question(&mut io::stdout().lock(), what);
    }

    /// Prints a line that has arrived above the one being typed, which stays as it is,
    /// letters, cursor and all, where the terminal can move its cursor and both lines
    /// fit in a row. Elsewhere the prompt is shown again below; what was typed counts.
    pub fn print(self, line: &str) {
        // As in `show`.
        let _ = self.write_line(&mut io::stdout().lock(), line, columns());
    }

    /// Prints the last line of all, in place of a prompt that nobody will answer.
    pub fn close(self, line: &str) {
        // As in `show`.
        let _ = self.write_close(&mut io::stdout().lock(), line, columns());
    }

    /// As [`show`](Self::show), on any terminal.
    ///
    /// # Errors
    ///
    /// When it cannot be written to.
    pub fn write_prompt(self, out: &mut impl Write) -> io::Result<()> {
        if self.visible {
            out.write_all(b"> ")?;
        }
        out.flush()
    }

    fn write_question(self, out: &mut impl Write, what: &str) -> io::Result<()> {
        if self.visible {
            write!(out, "{what}> ")?;
        }
        out.flush()
    }

    /// As [`print`](Self::print), on any terminal: one with so many columns, or 0 when it may
    /// not know how to move its cursor.
    ///
    /// # Errors
    ///
    /// When it cannot be written to.
    pub fn write_line(self, out: &mut impl Write, line: &str, columns: usize) -> io::Result<()> {
        // Letters of other scripts may take two columns; a tab, who knows how many.
        let width: usize = line.chars().map(|c| if c.is_ascii() { 1 } else { 2 }).sum();
        let columns = if line.contains(char::is_control) {
            0
        } else {
            columns
        };
        if !self.visible {
            writeln!(out, "{line}")?;
        } else if width < columns {
            // We cannot know what has been typed: the terminal keeps it until Enter.
            // But the terminal can push that row down. ECMA-48: VT and CUU make room
            // below, in case this is the last row; DECSC, CR, IL open a row above;
            // DECRC, CUD go back to the letter where the cursor was.
            write!(out, "\x0b\x1b[A\x1b7\r\x1b[L{line}\x1b8\x1b[B")?;
        } else {
            // The row of the prompt is left behind, and a new one begun. What was
            // typed still counts.
            write!(out, "\n{line}\n> ")?;
        }
        out.flush()
    }

    /// As [`close`](Self::close), on any terminal: see [`write_line`](Self::write_line).
    ///
    /// # Errors
    ///
    /// When it cannot be written to.
    pub fn write_close(self, out: &mut impl Write, line: &str, columns: usize) -> io::Result<()> {
        match (self.visible, columns) {
            (false, _) => writeln!(out, "{line}")?,
            (true, 0) => writeln!(out, "\n{line}")?,
            // CR, and EL: erase to the end of the row.
            (true, _) => writeln!(out, "\r\x1b[K{line}")?,
        }
        out.flush()
    }
}

impl Default for Prompt {
    fn default() -> Self {
        Self::new()
    }
}

/// How wide the terminal is; 0 when it may not know how to move its cursor.
fn columns() -> usize {
    match std::env::var_os("TERM") {
        None => 0, // an older Windows console
        Some(kind) if kind == "dumb" => 0,
        Some(_) => terminal_size::terminal_size().map_or(0, |(width, _)| width.0.into()),
    }
}
