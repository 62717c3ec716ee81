//! A prompt at which the user types while lines arrive.

use std::io::{self, IsTerminal, Write};

/// The `> ` in front of the line that the user types.
///
/// Only people see it. If the standard input or output is a pipe or a file, only the lines
/// themselves are printed.
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

    /// A prompt that is shown, or not, whatever the standard input and output are.
    pub fn visible(visible: bool) -> Self {
        Self { visible }
    }

    /// Shows the prompt for the next line.
    pub fn show(self) {
        // An error means that the output is closed, so there is nowhere to report it.
        let _ = self.write_prompt(&mut io::stdout().lock());
    }

    /// Shows the prompt, and before it what to type, such as a name.
    pub fn ask(self, what: &str) {
        // As in `show`.
        let _ = self.write_question(&mut io::stdout().lock(), what);
    }

    /// Prints a line that has arrived, above the line that the user is typing. That one
    /// stays as it is, with its letters and its cursor, if the terminal can move the cursor
    /// and each of the two lines fits in a row. Otherwise a new prompt is shown below the new line.
    /// The letters typed before are no longer beside it, but they still count.
    pub fn print(self, line: &str) {
        // As in `show`.
        let _ = self.write_line(&mut io::stdout().lock(), line, columns());
    }

    /// Prints the program's last line, in the place of the prompt.
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
    /// When the terminal cannot be written to.
    pub fn write_line(self, out: &mut impl Write, line: &str, columns: usize) -> io::Result<()> {
        // Letters of other scripts may take two columns. How many a tab or another
        // control character takes, we cannot know.
        let width: usize = line.chars().map(|c| if c.is_ascii() { 1 } else { 2 }).sum();
        let columns = if line.contains(char::is_control) {
            0
        } else {
            columns
        };
        if !self.visible {
            writeln!(out, "{line}")?;
        } else if width < columns {
            // We cannot know what the user has typed: the terminal keeps it until Enter.
            // But the terminal can push that row down. VT and CUU make room below it, in
            // case it is the last row. DECSC, CR and IL open a row above it. DECRC and CUD
            // go back to where the cursor was. (ECMA-48; DECSC and DECRC are from the VT100.)
            write!(out, "\x0b\x1b[A\x1b7\r\x1b[L{line}\x1b8\x1b[B")?;
        } else {
            // Leave the row of the prompt behind, and begin a new one. What the user has
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

/// The width of the terminal; 0 if the terminal may be unable to move its cursor.
fn columns() -> usize {
    match std::env::var_os("TERM") {
        None => 0, // an older Windows console
        Some(kind) if kind == "dumb" => 0,
        Some(_) => terminal_size::terminal_size().map_or(0, |(width, _)| width.0.into()),
    }
}
