//! Splits untrusted bytes into bounded lines. Lesson 07 teaches it.
//!
//! [`BufRead::lines`](std::io::BufRead::lines), which stages 01 to 06 use, keeps everything
//! until the line ends, even a gibibyte. And it returns an error for bytes that are not UTF-8.
//! [`Lines`] keeps at most one line of the permitted length, and turns each line into text that
//! does no harm on a terminal.
//!
//! There is no socket in here. The caller reads some bytes, [feeds](Lines::feed) them, and gets
//! the lines that they complete. It makes no difference where one packet ends and the next one
//! begins.

use std::borrow::Cow;
use std::fmt;

/// The beginning of a line whose end has not come yet, and how long the line may become.
#[derive(Debug)]
pub struct Lines {
    /// Takes no memory when there is nothing to keep.
    begun: Vec<u8>,
    /// In bytes, without the line end.
    longest: usize,
    too_long: bool,
}

/// A line is longer than this many bytes. No line comes after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooLong(pub usize);

impl fmt::Display for TooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a line has at most {} bytes", self.0)
    }
}

impl std::error::Error for TooLong {}

impl Lines {
    /// For lines of at most `longest` bytes each. The line end does not count.
    pub fn new(longest: usize) -> Self {
        Self {
            begun: Vec::new(),
            longest,
            too_long: false,
        }
    }

    /// Takes the bytes that have been read, and returns the lines that end in them, as
    /// [`printable`] text. The line feed, and a carriage return before it, are removed. An empty
    /// slice means the end of the stream, as in [`std::io::Read::read`]: then the last line needs
    /// no line feed.
    ///
    /// Take all the lines before you feed more bytes. Lines that are not taken are lost.
    ///
    /// # Errors
    ///
    /// [`TooLong`], yielded once, last, when a line is over the limit, ended or not.
    pub fn feed<'a>(
        &'a mut self,
        mut bytes: &'a [u8],
    ) -> impl Iterator<Item = Result<Cow<'a, str>, TooLong>> {
        let is_end_of_stream = bytes.is_empty();
        std::iter::from_fn(move || {
            if self.too_long {
                return None;
            }
            let end = memchr::memchr(b'\n', bytes);
            let (part, rest) = bytes.split_at(end.unwrap_or(bytes.len()));
            bytes = rest.get(1..).unwrap_or_default();
            if end.is_some() && self.begun.is_empty() {
                // The usual case: the whole line is here, and nothing is kept.
                return Some(self.line(Cow::Borrowed(part)));
            }
            // Keep the permitted length, a carriage return, and one more byte: enough to know
            // that the line is too long.
            let most = self.longest.saturating_add(2);
            let room = most.saturating_sub(self.begun.len());
            self.begun.extend_from_slice(&part[..part.len().min(room)]);
            if end.is_some() || (is_end_of_stream && !self.begun.is_empty()) {
                let line = std::mem::take(&mut self.begun);
                return Some(self.line(Cow::Owned(line)));
            }
            let error = self.fits(&self.begun).err()?;
            Some(self.give_up(error))
        })
    }

    fn line<'a>(&mut self, line: Cow<'a, [u8]>) -> Result<Cow<'a, str>, TooLong> {
        if let Err(error) = self.fits(&line) {
            return self.give_up(error);
        }
        Ok(match line {
            Cow::Borrowed(line) => text(without_carriage_return(line)),
            Cow::Owned(line) => Cow::Owned(text(without_carriage_return(&line)).into_owned()),
        })
    }

    /// The line may be a part of one. A carriage return at its end may belong to the line end.
    fn fits(&self, line: &[u8]) -> Result<(), TooLong> {
        let fits = without_carriage_return(line).len() <= self.longest;
        fits.then_some(()).ok_or(TooLong(self.longest))
    }

    fn give_up<T>(&mut self, error: TooLong) -> Result<T, TooLong> {
        self.too_long = true;
        self.begun = Vec::new();
        Err(error)
    }
}

fn without_carriage_return(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

fn text(line: &[u8]) -> Cow<'_, str> {
    match String::from_utf8_lossy(line) {
        Cow::Borrowed(text) => printable(text),
        Cow::Owned(text) => Cow::Owned(printable(&text).into_owned()),
    }
}

/// Replaces each character that tells a terminal to do something, instead of showing something,
/// by U+FFFD, the replacement character �. These are the control characters (escape, carriage
/// return, bell and others, but not the tab), the separators of lines and paragraphs, and the
/// characters that embed or override the direction of writing.
///
/// A replacement has three bytes, so the text may become three times as long. An escape sequence
/// without its escape is shown as it was typed: `�[2J` clears nothing.
pub fn printable(text: &str) -> Cow<'_, str> {
    let is_harmful = |c: char| match c {
        '\t' => false,
        '\u{2028}' | '\u{2029}' => true,
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => true,
        c => c.is_control(),
    };
    match text.contains(is_harmful) {
        true => Cow::Owned(text.replace(is_harmful, "\u{fffd}")),
        false => Cow::Borrowed(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The result of these packets, and then the end of the stream.
    fn lines(longest: usize, packets: &[&[u8]]) -> Vec<Result<String, TooLong>> {
        let mut lines = Lines::new(longest);
        let mut all = Vec::new();
        for packet in packets.iter().chain([&&b""[..]]) {
            all.extend(lines.feed(packet).map(|line| line.map(Cow::into_owned)));
        }
        all
    }

    fn texts(longest: usize, packets: &[&[u8]]) -> Vec<String> {
        lines(longest, packets).into_iter().flatten().collect()
    }

    #[test]
    fn line_ends() {
        assert_eq!(
            texts(9, &[b"uno\ndos\r\n\n\r\ntres"]),
            ["uno", "dos", "", "", "tres"]
        );
        assert_eq!(texts(9, &[b"uno\r", b"\ndos\r"]), ["uno", "dos"]);
        assert_eq!(texts(9, &[b"un", b"o", b"\n"]), ["uno"]);
        // Only one carriage return belongs to the line end.
        assert_eq!(texts(9, &[b"uno\r\r\n"]), ["uno\u{fffd}"]);
    }

    #[test]
    fn a_line_of_the_greatest_length_is_allowed() {
        for packets in [&[&b"1234\r\n56"[..]][..], &[b"12", b"34", b"\r", b"\n56"]] {
            assert_eq!(lines(4, packets), [Ok("1234".into()), Ok("56".into())]);
        }
    }

    #[test]
    fn a_line_that_is_too_long_is_the_last() {
        for packets in [
            &[&b"uno\n12345\ndos\n"[..]][..],
            &[b"uno\n12345", b"\ndos\n"],
            &[b"uno\n123", b"45", b"6"],
            &[b"uno\n1234", b"\r", b"\r", b"\n"],
        ] {
            assert_eq!(
                lines(4, packets),
                [Ok("uno".into()), Err(TooLong(4))],
                "{packets:?}"
            );
        }
    }

    #[test]
    fn it_keeps_no_more_than_one_line() {
        let mut lines = Lines::new(4);
        assert_eq!(lines.feed(&[b'x'; 1 << 20]).count(), 1);
        assert_eq!(lines.begun.capacity(), 0);
        let mut lines = Lines::new(1 << 16);
        assert_eq!(lines.feed(&[b'x'; 1 << 16]).count(), 0);
        assert!(lines.begun.capacity() <= (1 << 16) + 8);
        assert_eq!(lines.feed(b"\n").count(), 1);
        assert_eq!(lines.begun.capacity(), 0, "memory is wasted");
    }

    #[test]
    fn bytes_that_are_not_utf_8_are_replaced() {
        assert_eq!(texts(9, &[b"a\xffb\xc3(\n"]), ["a\u{fffd}b\u{fffd}("]);
        // But a character may come in two packets.
        assert_eq!(texts(9, &[b"\xc3", b"\xb1and\xc3", b"\xba\n"]), ["ñandú"]);
    }

    #[test]
    fn nothing_tells_a_terminal_what_to_do() {
        assert_eq!(printable("\u{1b}[2J"), "\u{fffd}[2J");
        // A return to the beginning of the line, a bell, and C1, which some terminals obey too.
        assert_eq!(
            printable("\r* ana left\u{7}\u{9b}31m"),
            "\u{fffd}* ana left\u{fffd}\u{fffd}31m"
        );
        assert_eq!(
            printable("uno\u{2028}dos \u{202e}tres"),
            "uno\u{fffd}dos \u{fffd}tres"
        );
        for harmless in ["", "a\ttab", "ñandú", "漢字", "👩‍🚀 🇪🇸", "שלום"] {
            assert!(matches!(printable(harmless), Cow::Borrowed(same) if same == harmless));
        }
    }
}
