//! A client of the server under test, on a plain socket.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use memchr::memmem;
use socket2::SockRef;

use super::story::{Story, shortened};

/// A client of the server under test, with a name for the story.
pub struct Client {
    name: String,
    stream: TcpStream,
    /// What has arrived and is not yet a whole line.
    received: Vec<u8>,
    said: Vec<String>,
    heard: Vec<String>,
    story: Story,
    patience: Duration,
}

/// What came while a client listened.
enum Came {
    Line(Vec<u8>),
    /// The end of the stream, with what stood after the last line.
    End(Vec<u8>),
    Lost(io::Error),
    Nothing,
}

impl Client {
    pub fn new(name: &str, stream: TcpStream, story: Story) -> Self {
        // Each `sends` leaves as a packet of its own.
        stream.set_nodelay(true).unwrap();
        story.step(format!("{name} connected"));
        Self {
            name: name.into(),
            stream,
            received: Vec::new(),
            said: Vec::new(),
            heard: Vec::new(),
            story,
            patience: super::patience(),
        }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// The address that the server sees.
    pub fn address(&self) -> SocketAddr {
        self.stream.local_addr().unwrap()
    }

    /// The connection itself, for what has no verb.
    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Sends a line, in one packet if it is not long.
    #[track_caller]
    pub fn says(&mut self, text: &str) {
        self.story
            .step(format!("{} said {:?}", self.name, shortened(text)));
        self.said.push(text.into());
        self.write(format!("{text}\n").as_bytes());
    }

    /// Sends bytes as they are, in one packet if they are not many.
    #[track_caller]
    pub fn sends(&mut self, bytes: &[u8]) {
        let text = String::from_utf8_lossy(bytes);
        self.story.step(format!(
            "{} sent the bytes {:?}",
            self.name,
            shortened(&text)
        ));
        self.write(bytes);
    }

    #[track_caller]
    fn write(&mut self, bytes: &[u8]) {
        self.stream.set_write_timeout(Some(self.patience)).unwrap();
        if let Err(error) = self.stream.write_all(bytes) {
            let what = match error.kind() {
                ErrorKind::WouldBlock | ErrorKind::TimedOut => {
                    format!("for {:?} the server read nothing", self.patience)
                }
                _ => {
                    self.story.waits_for_last_words();
                    format!("the server had ended the connection ({error})")
                }
            };
            self.fail(format!("could not send: {what}."));
        }
    }

    /// Sends these bytes so many times, or until the server takes no more: it may have
    /// ended the connection, as it should.
    pub fn sends_for_ever(&mut self, bytes: &[u8], times: usize) {
        let text = String::from_utf8_lossy(bytes);
        self.story.step(format!(
            "{} sent the bytes {:?}, {times} times",
            self.name,
            shortened(&text)
        ));
        self.stream.set_write_timeout(Some(self.patience)).unwrap();
        // Many at once, if they are small.
        let gathered = bytes.repeat((64 * 1024 / bytes.len()).clamp(1, times));
        let mut left = bytes.len() * times;
        while left > 0 {
            let part = &gathered[..left.min(gathered.len())];
            if self.stream.write_all(part).is_err() {
                return;
            }
            left -= part.len();
        }
    }

    /// Sends bytes in two packets, with a pause that gives the server time to read the first. A
    /// right server passes, however long the pause is. The pause grows from round to round, so
    /// that a wrong server does not pass by luck.
    #[track_caller]
    pub fn sends_in_two(&mut self, first: &[u8], rest: &[u8], round: u32) {
        self.sends(first);
        pause(round);
        self.sends(rest);
    }

    /// The next line that arrives must have `text` in it, as words of their own.
    /// The rest of the wording is the server's. Returns the whole line.
    #[track_caller]
    pub fn hears(&mut self, text: &str) -> String {
        let line = match self.next(self.patience) {
            Came::Line(line) => line,
            came => self.missed(&format!("{:?}", shortened(text)), came),
        };
        let Ok(line) = String::from_utf8(line.clone()) else {
            let line = shortened(&line.escape_ascii().to_string());
            self.fail(format!(
                "should have heard {:?}, but heard bytes that are not UTF-8: {line}\n\
                 A character was cut in two, or damaged.",
                shortened(text)
            ));
        };
        if !has_words(&line, text) {
            self.fail(format!(
                "should have heard {:?}, but heard {:?}.{}",
                shortened(text),
                shortened(&line),
                self.diagnosis(&line, text)
            ));
        }
        self.heard.push(text.into());
        line
    }

    /// The next line that arrives is this one, to the letter; a server may end all its lines
    /// in CR LF.
    #[track_caller]
    pub fn hears_exactly(&mut self, line: &str) {
        let same = |came: &[u8]| came.strip_suffix(b"\r").unwrap_or(came) == line.as_bytes();
        match self.next(self.patience) {
            Came::Line(came) if same(&came) => self.heard.push(line.into()),
            came => self.missed(&format!("{line:?}"), came),
        }
    }

    /// As [`hears`](Client::hears). The line must name the client that said it, before the
    /// text.
    #[track_caller]
    pub fn hears_from(&mut self, name: &str, text: &str) -> String {
        let line = self.hears(text);
        let before = places(&line, text).last().unwrap_or_default();
        if !has_words(&line[..before], name) {
            let line = shortened(&line);
            self.fail(format!(
                "heard {line:?}, which does not tell that {name} said it."
            ));
        }
        line
    }

    /// As [`hears`](Client::hears), for one of several texts.
    #[track_caller]
    pub fn hears_either(&mut self, texts: &[&str]) -> String {
        let came = self.next(self.patience);
        if let Came::Line(line) = &came {
            let line = String::from_utf8_lossy(line).into_owned();
            if texts.iter().any(|text| has_words(&line, text)) {
                return line;
            }
        }
        let texts: Vec<_> = texts.iter().map(|text| shortened(text)).collect();
        self.missed(&format!("one of {texts:?}"), came)
    }

    /// The server refuses a name, by a line that begins with `! `. A greeting may come
    /// before it.
    #[track_caller]
    pub fn is_refused(&mut self) {
        loop {
            match self.next(self.patience) {
                Came::Line(line) if line.starts_with(b"! ") => return,
                Came::Line(line) if self.said.len() < 2 && !line.starts_with(b"* ") => {}
                came => self.missed("a refusal, which begins with \"! \"", came),
            }
        }
    }

    /// The server says by a line that begins with `! ` why it refuses this. Other lines may
    /// come before it.
    #[track_caller]
    pub fn is_told_why(&mut self) -> String {
        loop {
            match self.next(self.patience) {
                Came::Line(line) if line.starts_with(b"! ") => {
                    return String::from_utf8_lossy(&line).into_owned();
                }
                Came::Line(_) => {}
                came => self.missed("a refusal, which begins with \"! \"", came),
            }
        }
    }

    /// As [`is_told_why`](Client::is_told_why), and then the connection ends.
    #[track_caller]
    pub fn is_told_why_and_disconnected(&mut self) {
        self.is_told_why();
        self.is_let_go();
    }

    /// What a wrong line looks like.
    fn diagnosis(&self, line: &str, expected: &str) -> &'static str {
        let words = |text: &String| has_words(line, text);
        let last_word = line.rsplit(' ').next().unwrap_or_default();
        if line.contains('\u{fffd}') {
            "\nA character was cut in two: half of it was decoded before the rest came."
        } else if self
            .said
            .iter()
            .filter(|text| **text != self.name)
            .any(words)
        {
            "\nThat is this client's own line: it should go to the others only."
        } else if self.heard.iter().any(words) {
            "\nThat line has been heard already: it came twice."
        } else if !last_word.is_empty() && expected.contains(last_word) {
            "\nThat is a part of the line: it was cut where a packet ended."
        } else {
            ""
        }
    }

    /// Whether a line with `text` arrives within that time. Other lines are skipped:
    /// this is for getting ready, not for deciding.
    pub fn hears_within(&mut self, text: &str, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        loop {
            match self.next(deadline.saturating_duration_since(Instant::now())) {
                Came::Line(line) if has_words(&String::from_utf8_lossy(&line), text) => {
                    return true;
                }
                Came::Line(_) => {}
                _ => return false,
            }
        }
    }

    /// The next line with this beginning, if one arrives within that time. Other lines are
    /// skipped.
    pub fn hears_next(&mut self, beginning: &str, patience: Duration) -> Option<String> {
        let deadline = Instant::now() + patience;
        loop {
            match self.next(deadline.saturating_duration_since(Instant::now())) {
                Came::Line(line) if line.starts_with(beginning.as_bytes()) => {
                    return Some(String::from_utf8_lossy(&line).into_owned());
                }
                Came::Line(_) => {}
                _ => return None,
            }
        }
    }

    /// The next line, whatever it is, if one arrives within that time.
    pub fn hears_any(&mut self, patience: Duration) -> Option<String> {
        match self.next(patience) {
            Came::Line(line) => Some(String::from_utf8_lossy(&line).trim_end().into()),
            _ => None,
        }
    }

    /// Exactly these bytes arrive next.
    #[track_caller]
    pub fn hears_bytes(&mut self, bytes: &[u8]) {
        let deadline = Instant::now() + self.patience;
        while self.received.len() < bytes.len() {
            let came = match self.receive(deadline) {
                Ok(0) => "the end of the stream came".into(),
                Ok(_) => continue,
                Err(error) if is_timeout(&error) => {
                    format!("for {:?} no more came", self.patience)
                }
                Err(error) => format!("the connection was lost ({error})"),
            };
            let (some, all) = (self.received.len(), bytes.len());
            self.fail(format!(
                "should have got {all} bytes back, but after {some} of them {came}."
            ));
        }
        let rest = self.received.split_off(bytes.len());
        let came = std::mem::replace(&mut self.received, rest);
        if came == bytes {
            return; // comparing them at once is much faster than byte by byte
        }
        if let Some(index) = (0..bytes.len()).find(|&index| came[index] != bytes[index]) {
            self.fail(format!(
                "should have got the same bytes back, but byte {index} (counted from 0) \
                 was 0x{:02x} instead of 0x{:02x}.",
                came[index], bytes[index]
            ));
        }
    }

    /// The server closes this connection, and sends nothing before it does.
    #[track_caller]
    pub fn hears_the_end(&mut self) {
        match self.next(self.patience) {
            Came::End(rest) if rest.is_empty() => {
                self.story
                    .step(format!("{} heard the end of the stream", self.name));
            }
            came => self.missed("the end of the stream", came),
        }
    }

    /// The connection ends, in order or not, and nothing comes before its end.
    #[track_caller]
    pub fn is_cut_off(&mut self) {
        match self.next(self.patience) {
            Came::End(rest) if rest.is_empty() => {}
            Came::Lost(_) => {}
            came => self.missed("nothing but the end", came),
        }
    }

    /// The server closes this connection, in order or not. Other lines may come before.
    #[track_caller]
    pub fn is_let_go(&mut self) {
        let deadline = Instant::now() + self.patience;
        loop {
            match self.next(deadline.saturating_duration_since(Instant::now())) {
                Came::Line(_) => {}
                Came::End(_) | Came::Lost(_) => return,
                came => self.missed("the end of the stream", came),
            }
        }
    }

    /// Nothing has arrived so far. It proves something only when the server has just
    /// been seen at work on what came later.
    #[track_caller]
    pub fn has_heard_nothing(&mut self) {
        match self.next(Duration::ZERO) {
            Came::Nothing if self.received.is_empty() => {}
            came => self.missed("nothing yet", came),
        }
    }

    /// Closes its sending side, and still listens.
    pub fn half_closes(&mut self) {
        self.story.step(format!("{} half-closed", self.name));
        // If the server has gone, the next `hears` tells.
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// Closes the connection: in order, unless something has arrived that was not read.
    pub fn leaves(self) {
        self.story.step(format!("{} left", self.name));
    }

    /// Closes the connection with a reset, as a crashing machine's system may.
    pub fn resets(self) {
        self.story
            .step(format!("{} reset the connection", self.name));
        // SO_LINGER of zero seconds: `man 7 socket`.
        SockRef::from(&self.stream)
            .set_linger(Some(Duration::ZERO))
            .unwrap();
    }

    /// Waits for a line.
    fn next(&mut self, patience: Duration) -> Came {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(end) = memchr::memchr(b'\n', &self.received) {
                let rest = self.received.split_off(end + 1);
                let mut line = std::mem::replace(&mut self.received, rest);
                line.truncate(end);
                return Came::Line(line);
            }
            match self.receive(deadline) {
                Ok(0) => return Came::End(std::mem::take(&mut self.received)),
                Ok(_) => {}
                Err(error) if is_timeout(&error) => return Came::Nothing,
                Err(error) => return Came::Lost(error),
            }
        }
    }

    /// Reads once, waiting until the deadline.
    fn receive(&mut self, deadline: Instant) -> io::Result<usize> {
        let left = deadline.saturating_duration_since(Instant::now());
        // A time-out of zero would wait for ever.
        let left = left.max(Duration::from_millis(1));
        // macOS refuses this once both sides are closed; but then no read waits.
        let _ = self.stream.set_read_timeout(Some(left));
        let mut buffer = [0; 64 * 1024];
        let count = self.stream.read(&mut buffer)?;
        self.received.extend_from_slice(&buffer[..count]);
        Ok(count)
    }

    #[track_caller]
    fn missed(&self, expected: &str, came: Came) -> ! {
        let came = match came {
            Came::Line(line) => format!("heard {:?}", shortened(&String::from_utf8_lossy(&line))),
            Came::End(rest) if rest.is_empty() => "the server closed the connection".into(),
            Came::End(rest) => format!(
                "the server closed the connection after {:?} without an end of line",
                shortened(&String::from_utf8_lossy(&rest))
            ),
            Came::Lost(error) => format!("the connection was lost ({error})"),
            Came::Nothing if self.received.is_empty() => {
                format!("for {:?} nothing came", self.patience)
            }
            Came::Nothing => format!(
                "for {:?} only {:?} came, without an end of line",
                self.patience,
                shortened(&String::from_utf8_lossy(&self.received))
            ),
        };
        self.fail(format!("should have heard {expected}, but {came}."))
    }

    #[track_caller]
    pub fn fail(&self, what: String) -> ! {
        self.story.fail(format!("{} {what}", self.name))
    }
}

/// Gives the server time to notice something, longer in each round. It never decides: a
/// right server passes without it.
pub fn pause(round: u32) {
    thread::park_timeout(Duration::from_millis(3u64.pow(round)));
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

/// Whether `text` stands in the line with no letter or digit right before or after:
/// "line 1" is not in "line 12".
pub fn has_words(line: &str, text: &str) -> bool {
    let is_word = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
    places(line, text).any(|start| {
        let before = line[..start].chars().next_back();
        let after = line[start + text.len()..].chars().next();
        !is_word(before) && !is_word(after)
    })
}

/// Where the text stands in the line. What `std` has for this prepares itself for the whole
/// text; unoptimised, and with texts of 16 KiB, that took a fifth of the tests' time.
pub fn places(line: &str, text: &str) -> impl Iterator<Item = usize> {
    let whole = line;
    let (line, text) = (line.as_bytes(), text.as_bytes());
    let beginning = &text[..text.len().min(32)];
    let mut from = 0;
    let begins = std::iter::from_fn(move || {
        let start = from + memmem::find(line.get(from..)?, beginning)?;
        from = start + 1;
        Some(start)
    });
    // An empty text is found between any two bytes, even inside a character.
    begins.filter(move |&start| whole.is_char_boundary(start) && line[start..].starts_with(text))
}
