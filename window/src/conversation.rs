//! The lines that have been said: which ones are kept, and how they are drawn.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use eframe::egui::{self, Align, Galley, Key, Rect, TextFormat, TextStyle, text::LayoutJob, vec2};

use super::{Colours, beginning};

/// How many lines are kept. Older ones are dropped.
pub const MOST_LINES: usize = 2000;

/// How many bytes are kept, of all lines together. (A line may be a million letters long: we
/// cannot trust the server to keep it short.)
pub const MOST_BYTES: usize = 1 << 20;

/// How many bytes of a line are drawn: as many as our servers let pass by default.
const MOST_LAID_OUT: usize = 4096;

/// How many letters may be new in one frame. To draw a letter for the first time takes as
/// long as to lay out a line, and some scripts have tens of thousands of letters.
const NEW_LETTERS: usize = 64;

/// What kind of line it is. Each kind looks different.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Another client said it.
    Said,
    /// The person in front of this window said it.
    Mine,
    /// An announcement of the room, or of this window.
    Announced,
    /// The server said it, to all clients or to this one alone.
    Server,
    /// The server has refused something, or something went wrong.
    Refused,
}

impl Kind {
    /// The kind of a line that has arrived.
    pub fn of(line: &str) -> Self {
        match line {
            line if line.starts_with("! ") => Self::Refused,
            line if line.starts_with("* the server") => Self::Server,
            line if line.starts_with("* ") => Self::Announced,
            _ => Self::Said,
        }
    }
}

#[derive(Debug)]
struct Entry {
    kind: Kind,
    text: String,
    /// A width, and its height when it was drawn that wide. `None` before it was drawn.
    measured: Option<(f32, f32)>,
}

/// The first line in view, when the view has been scrolled away from the newest line.
#[derive(Debug, Clone, Copy)]
struct Reading {
    /// Counted from the first line of all.
    number: usize,
    /// How far below the line's upper edge the view begins.
    below: f32,
    /// How far the view was scrolled for that.
    offset: f32,
}

/// Between two lines.
const GAP: f32 = 3.0;

/// How far the second row of a line, and each further one, is indented. So no row in the
/// middle of a line looks like the beginning of another client's line, or of the server's.
const INDENT: f32 = 16.0;

impl Entry {
    /// Its height at this width: measured, or estimated if it has not been drawn yet.
    fn height(&self, width: f32, row: f32) -> f32 {
        match self.measured {
            Some((measured_at, height)) if measured_at == width => height,
            _ => {
                (self.text.len().min(MOST_LAID_OUT) as f32 * row * 0.45 / width)
                    .ceil()
                    .max(1.0)
                    * row
            }
        }
    }
}

/// The lines of a conversation. However long it goes on, it takes no more memory, because
/// the oldest lines are dropped, and no more time to draw, because only the lines in view
/// are laid out.
#[derive(Debug, Default)]
pub struct Conversation {
    entries: VecDeque<Entry>,
    bytes: usize,
    /// How many lines have been dropped, and how many were never here.
    gone: usize,
    missed: usize,
    /// What the person is reading; `None` at the newest line, where the view stays.
    reading: Option<Reading>,
    /// The width and the height of a row in the last frame.
    width: f32,
    row: f32,
    /// The height of all lines together.
    height: f32,
    to_newest: bool,
    letters: Letters,
}

/// The letters that have been drawn before, and how many new ones this frame has time for.
#[derive(Debug, Default)]
struct Letters {
    known: HashSet<char>,
    left: usize,
    /// Whether some letters have to wait for the next frame.
    wanting: bool,
}

impl Letters {
    fn begin_frame(&mut self) {
        self.left = NEW_LETTERS;
        self.wanting = false;
    }

    /// The text as this frame can draw it. A dot stands for a letter that has to wait.
    fn of(&mut self, text: &str) -> String {
        text.chars().map(|letter| self.or_dot(letter)).collect()
    }

    fn or_dot(&mut self, letter: char) -> char {
        if letter.is_ascii() || self.known.contains(&letter) {
            return letter;
        }
        if self.left == 0 {
            self.wanting = true;
            return '·';
        }
        self.left -= 1;
        self.known.insert(letter);
        letter
    }
}

impl Conversation {
    /// Adds a line.
    pub fn push(&mut self, kind: Kind, text: impl Into<String>) {
        let text = text.into();
        self.bytes += text.len();
        let measured = None;
        self.entries.push_back(Entry {
            kind,
            text,
            measured,
        });
        while self.entries.len() > MOST_LINES || self.bytes > MOST_BYTES {
            let Some(oldest) = self.entries.pop_front() else {
                break;
            };
            self.bytes -= oldest.text.len();
            self.gone += 1;
        }
    }

    /// The lines that are kept, oldest first.
    pub fn lines(&self) -> impl DoubleEndedIterator<Item = (Kind, &str)> {
        self.entries
            .iter()
            .map(|entry| (entry.kind, entry.text.as_str()))
    }

    /// So many lines came too fast, and are not shown.
    pub fn has_missed(&mut self, lines: usize) {
        if lines > 0 {
            self.missed += lines;
            let text = format!("! {} lines came too fast to be shown", thousands(lines));
            self.push(Kind::Refused, text);
        }
    }

    /// How many lines have been dropped, or were never here.
    pub fn gone(&self) -> usize {
        self.gone + self.missed
    }

    /// How many lines came too fast to be shown.
    pub fn missed(&self) -> usize {
        self.missed
    }

    /// Whether the newest line is in view. If not, new lines do not scroll the view: a person
    /// who reads earlier lines goes on reading.
    pub fn is_at_newest(&self) -> bool {
        self.reading.is_none()
    }

    /// Scrolls to the newest line, and stays there.
    pub fn go_to_newest(&mut self) {
        self.to_newest = true;
    }

    /// Draws it into all the room that is left. Page Up and Page Down scroll it, Ctrl+Home and
    /// Ctrl+End go to its ends, whatever field has the keyboard.
    pub fn show(&mut self, ui: &mut egui::Ui) {
        let mut area = egui::ScrollArea::vertical()
            .auto_shrink(false)
            .stick_to_bottom(true);
        if let Some(reading) = self.reading {
            // Lines above have been dropped, or are higher than estimated. The line that is
            // being read stays in its place.
            let offset = (self.top_of(reading.number) + reading.below).max(0.0);
            if (offset - reading.offset).abs() > 0.5 {
                area = area.vertical_scroll_offset(offset);
            }
        }
        let shown = area.show_viewport(ui, |ui, view| self.draw(ui, view));
        let offset = shown.state.clamped_offset().y;
        let end = shown.content_size.y - shown.inner_rect.height();
        self.reading = (offset < end - 1.0).then(|| self.at(offset));
    }

    /// Where the first line begins: below the note on how many lines are gone.
    fn top(&self) -> f32 {
        if self.gone() > 0 { self.row + GAP } else { 0.0 }
    }

    /// Where a line begins. If it has been dropped, where the first line begins.
    fn top_of(&self, number: usize) -> f32 {
        let before = self.entries.iter().take(number.saturating_sub(self.gone));
        let heights = before.map(|entry| entry.height(self.width, self.row) + GAP);
        self.top() + heights.sum::<f32>()
    }

    /// The line at the top of the view when the view is scrolled this far.
    fn at(&self, offset: f32) -> Reading {
        let mut top = self.top();
        let mut number = self.gone;
        for entry in &self.entries {
            let next = top + entry.height(self.width, self.row) + GAP;
            if next > offset {
                break;
            }
            top = next;
            number += 1;
        }
        let below = offset - top;
        Reading {
            number,
            below,
            offset,
        }
    }

    fn draw(&mut self, ui: &mut egui::Ui, view: Rect) {
        let to_oldest = self.obey_keys(ui, view.height() * 0.9);
        let width = ui.available_width();
        let row = ui.text_style_height(&TextStyle::Body);
        (self.width, self.row) = (width, row);
        self.letters.begin_frame();
        if self.is_at_newest() {
            self.measure_newest(ui, view.height());
        }

        let top = ui.min_rect().left_top();
        let mut y = self.top();
        if y > 0.0 && view.min.y < row {
            self.draw_what_is_gone(ui, Rect::from_min_size(top, vec2(width, row)));
        }
        let mut surprised = false;
        for (entry, number) in self.entries.iter_mut().zip(self.gone..) {
            let expected = entry.height(width, row);
            if y + expected >= view.min.y && y <= view.max.y {
                let place = Rect::from_min_size(top + vec2(0.0, y), vec2(width, expected));
                let height = entry.draw(ui, number, place, &mut self.letters);
                surprised |= height != expected;
                entry.measured = Some((width, height));
            }
            y += entry.height(width, row) + GAP;
        }
        ui.set_min_size(vec2(width, y));
        if std::mem::take(&mut self.to_newest) && !self.is_at_newest() {
            scroll_to(ui, top + vec2(0.0, y), Align::BOTTOM);
        } else if to_oldest {
            scroll_to(ui, top, Align::TOP);
        }
        if self.letters.wanting {
            ui.request_repaint();
        }
        let has_grown = (self.height - y).abs() > 0.5;
        self.height = y;
        if surprised || (has_grown && self.is_at_newest()) {
            // Lines have moved, or a new one is below the view, and the view follows in the
            // next frame. Without this, there is no next frame until a key is pressed.
            ui.request_repaint_after(Duration::from_millis(16));
        }
    }

    /// Scrolls by the keyboard. Returns whether to go to the oldest line.
    fn obey_keys(&mut self, ui: &mut egui::Ui, page: f32) -> bool {
        let keys = |key| ui.input(|input| input.num_presses(key)) as f32;
        let pages = keys(Key::PageUp) - keys(Key::PageDown);
        let command = ui.input(|input| input.modifiers.command);
        self.to_newest |= command && keys(Key::End) > 0.0;
        let to_oldest = command && keys(Key::Home) > 0.0;
        if pages != 0.0 {
            ui.scroll_with_delta(vec2(0.0, pages * page));
        }
        to_oldest
    }

    fn draw_what_is_gone(&mut self, ui: &mut egui::Ui, place: Rect) {
        let note = Entry {
            kind: Kind::Announced,
            text: format!("({} earlier lines are gone)", thousands(self.gone())),
            measured: None,
        };
        note.draw(ui, "gone", place, &mut self.letters);
    }

    /// Measures the newest lines, which are about to be in view. With their true heights, the
    /// view need not be corrected afterwards.
    fn measure_newest(&mut self, ui: &egui::Ui, view: f32) {
        let width = self.width;
        let mut height = 0.0;
        for entry in self.entries.iter_mut().rev() {
            if height > view {
                break;
            }
            if entry.measured.is_none_or(|(at, _)| at != width) {
                let galley = ui
                    .painter()
                    .layout_job(entry.job(ui, width, &mut self.letters));
                entry.measured = Some((width, galley.size().y));
            }
            height += entry.height(width, 0.0);
        }
    }
}

impl Entry {
    /// Draws the line, and returns its height.
    fn draw(
        &self,
        ui: &mut egui::Ui,
        id: impl egui::AsIdSalt,
        place: Rect,
        letters: &mut Letters,
    ) -> f32 {
        let galley = self.galley(ui, place.width(), letters);
        let height = galley.size().y;
        let place = Rect::from_min_size(place.min, vec2(place.width(), height));
        let mut line = ui.new_child(egui::UiBuilder::new().id_salt(id).max_rect(place));
        line.add(egui::Label::new(galley));
        height
    }

    /// Its letters, and where to draw them.
    fn galley(&self, ui: &egui::Ui, width: f32, letters: &mut Letters) -> Arc<Galley> {
        let job = self.job(ui, width - INDENT, letters);
        let mut galley = Arc::unwrap_or_clone(ui.painter().layout_job(job));
        for row in galley.rows.iter_mut().skip(1) {
            row.pos.x += INDENT;
        }
        galley.rect.max.x += INDENT;
        galley.mesh_bounds.max.x += INDENT;
        Arc::new(galley)
    }

    /// Its letters and colours.
    fn job(&self, ui: &egui::Ui, width: f32, letters: &mut Letters) -> LayoutJob {
        let visuals = ui.visuals();
        let colours = Colours::of(visuals.dark_mode);
        let font = TextStyle::Body.resolve(ui.style());
        let format = |color, italics| TextFormat {
            font_id: font.clone(),
            color,
            italics,
            valign: Align::BOTTOM,
            ..Default::default()
        };
        let mut job = LayoutJob::default();
        job.wrap.max_width = width;
        // One line stays one line, even with a line end in it.
        job.break_on_newline = false;
        let text = letters.of(&beginning(&self.text, MOST_LAID_OUT));
        let text = text.as_str();
        match self.kind {
            Kind::Said => {
                let name = text.find(": ").map_or(0, |end| end + 1);
                let (name, text) = text.split_at(name);
                job.append(name, 0.0, format(colours.name, false));
                job.append(text, 0.0, format(visuals.text_color(), false));
            }
            Kind::Mine => job.append(text, 0.0, format(colours.mine, false)),
            Kind::Announced => job.append(text, 0.0, format(colours.announced, true)),
            Kind::Server => job.append(text, 0.0, format(visuals.text_color(), true)),
            Kind::Refused => job.append(text, 0.0, format(colours.refused, false)),
        }
        job
    }
}

/// Brings one end of the conversation into view, from the next frame on.
fn scroll_to(ui: &egui::Ui, end: egui::Pos2, edge: Align) {
    let end = Rect::from_min_size(end, vec2(ui.available_width(), 0.0));
    ui.scroll_to_rect_animation(end, Some(edge), egui::style::ScrollAnimation::none());
    ui.request_repaint();
}

/// 1234567 as 1,234,567.
fn thousands(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (digit, left) in digits.chars().zip((0..digits.len()).rev()) {
        text.push(digit);
        if left > 0 && left % 3 == 0 {
            text.push(',');
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_lines_are_dropped_and_counted() {
        let mut conversation = Conversation::default();
        for n in 0..MOST_LINES + 5 {
            conversation.push(Kind::Said, format!("ana: {n}"));
        }
        assert_eq!(conversation.lines().count(), MOST_LINES);
        assert_eq!(conversation.gone(), 5);
        assert_eq!(conversation.lines().next().unwrap().1, "ana: 5");
    }

    #[test]
    fn missed_lines_are_counted_and_reported() {
        let mut conversation = Conversation::default();
        conversation.has_missed(0);
        assert_eq!(conversation.lines().count(), 0);
        conversation.has_missed(1234);
        assert_eq!(conversation.gone(), 1234);
        let line = conversation.lines().next().unwrap().1;
        assert_eq!(line, "! 1,234 lines came too fast to be shown");
    }

    #[test]
    fn long_lines_are_dropped_sooner() {
        let mut conversation = Conversation::default();
        for _ in 0..20 {
            conversation.push(Kind::Said, "x".repeat(MOST_BYTES / 10));
        }
        assert_eq!(conversation.lines().count(), 10);
        assert_eq!(conversation.gone(), 10);
    }

    #[test]
    fn the_second_row_of_a_line_is_indented() {
        let entry = Entry {
            kind: Kind::Said,
            text: format!("mallory: {}* the server to you: hola", "blah ".repeat(20)),
            measured: None,
        };
        let width = 200.0;
        let _ = egui::Context::default().run_ui(egui::RawInput::default(), |ui| {
            let mut letters = Letters::default();
            let galley = entry.galley(ui, width, &mut letters);
            let (first, others) = galley.rows.split_first().unwrap();
            assert_eq!(first.pos.x, 0.0);
            assert!(!others.is_empty(), "it has one row only");
            for row in others {
                assert_eq!(row.pos.x, INDENT, "this row stands at the margin");
                assert!(row.rect().right() <= width, "this row is cut off");
            }
        });
    }

    #[test]
    fn a_frame_draws_no_more_new_letters_than_it_has_time_for() {
        let text: String = ('\u{4e00}'..).take(NEW_LETTERS + 1).collect();
        let mut letters = Letters::default();
        letters.begin_frame();
        let first = letters.of(&text);
        assert_eq!(first.chars().filter(|letter| *letter == '·').count(), 1);
        assert!(letters.wanting, "the last one would never be drawn");
        letters.begin_frame();
        assert_eq!(letters.of(&text), text);
        assert!(!letters.wanting, "it would draw for ever");
    }

    #[test]
    fn each_line_has_its_kind() {
        assert_eq!(Kind::of("ana: hola"), Kind::Said);
        assert_eq!(Kind::of("* ana joined"), Kind::Announced);
        assert_eq!(Kind::of("* the server to you: hola"), Kind::Server);
        assert_eq!(Kind::of("! too long"), Kind::Refused);
    }

    #[test]
    fn large_numbers_can_be_read() {
        let numbers = [0, 999, 1000, 1_234_567].map(thousands);
        assert_eq!(numbers, ["0", "999", "1,000", "1,234,567"]);
    }
}
