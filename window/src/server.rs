//! The server's window.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use eframe::egui::{self, Button, Key, Sense, TextStyle, WidgetInfo, vec2};

use super::{
    Colours, Conversation, Kind, field, is_said_aloud, message, one_line_at_a_time, pressed,
};

/// Which connection: the number that it has in the room.
pub type Id = u64;

/// What the server's window shows.
#[derive(Debug, Default)]
pub struct Shown {
    /// Where to listen, as typed.
    pub host: String,
    /// The port to listen on, as typed.
    pub port: String,
    /// What is being typed, and stays until it could be said.
    pub typed: String,
    /// What has been said.
    pub conversation: Conversation,
    state: State,
    /// Who is connected, in the order in which they came.
    present: Vec<Present>,
    /// Who is answered; nobody means everybody.
    recipient: Option<(Id, String)>,
    /// What went wrong, in plain words.
    notice: Option<String>,
    wants_focus: bool,
    /// What was typed after Enter, in the same frame.
    waiting: Vec<egui::Event>,
    /// The longest line that may be said, in bytes: what holds for clients holds for us.
    max_line: usize,
}

/// Somebody who is connected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Present {
    /// Which connection.
    pub id: Id,
    /// `None` until there is a name that is allowed.
    pub name: Option<String>,
    /// Where the connection comes from.
    pub address: SocketAddr,
    /// When it was accepted.
    pub since: Instant,
}

/// Whether anybody is served.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Nobody is.
    #[default]
    Stopped,
    /// Asking the system for the address.
    Starting,
    /// Clients can connect to this address.
    Listening(SocketAddr),
    /// Nobody is accepted any more; those who are there read what is due to them.
    Closing,
}

/// What the person in front of the window wants.
#[derive(Debug, PartialEq, Eq)]
pub enum Wish {
    /// To let clients in.
    Start {
        /// The address to listen on.
        host: String,
        /// The port to listen on; 0 asks the system for one.
        port: u16,
    },
    /// To end in order.
    Stop,
    /// To say something, to one client or to everybody.
    Answer {
        /// Whom; nobody means everybody.
        to: Option<Id>,
        /// What.
        text: String,
    },
    /// To put a client out.
    PutOut(Id),
}

impl Shown {
    /// A window of a server that has not started, with these fields filled in.
    pub fn new(host: &str, port: u16, max_line: usize) -> Self {
        Self {
            max_line,
            host: host.into(),
            port: port.to_string(),
            ..Self::default()
        }
    }

    /// Whether anybody is served.
    pub fn state(&self) -> State {
        self.state
    }

    /// What went wrong, if something did.
    pub fn notice(&self) -> Option<&str> {
        self.notice.as_deref()
    }

    /// Whom an answer goes to; nobody means everybody.
    pub fn recipient(&self) -> Option<Id> {
        self.recipient.as_ref().map(|(id, _)| *id)
    }

    /// The system is being asked for the address.
    pub fn starting(&mut self) {
        self.state = State::Starting;
        self.notice = None;
    }

    /// Clients can connect.
    pub fn listening(&mut self, address: SocketAddr) {
        self.state = State::Listening(address);
        self.wants_focus = true;
        let told = format!("(listening on {address})");
        self.conversation.push(Kind::Announced, told);
    }

    /// Nobody is accepted any more.
    pub fn closing(&mut self) {
        self.state = State::Closing;
    }

    /// All threads have ended; or could not start, for this reason.
    pub fn stopped(&mut self, why: Option<String>) {
        if self.state != State::Starting {
            self.conversation.push(Kind::Announced, "(closed)");
        }
        self.state = State::Stopped;
        self.present.clear();
        self.notice = why;
    }

    /// Who is connected now.
    pub fn are_present(&mut self, present: Vec<Present>) {
        self.present = present;
        if let Some((id, name)) = &mut self.recipient
            && let Some(them) = self.present.iter().find(|present| present.id == *id)
            && let Some(known) = &them.name
        {
            known.clone_into(name);
        }
    }

    /// What everybody has heard: one line or several.
    pub fn hears(&mut self, lines: &str) {
        for line in lines.lines() {
            let kind = match Kind::of(line) {
                Kind::Server => Kind::Mine, // that is us
                kind => kind,
            };
            self.conversation.push(kind, line);
        }
    }

    /// So many lines came too fast to be shown.
    pub fn has_missed(&mut self, lines: usize) {
        self.conversation.has_missed(lines);
    }

    /// The answer is on its way. One for everybody comes back as what everybody hears.
    pub fn answered(&mut self, text: &str) {
        if let Some((_, name)) = &self.recipient {
            let line = format!("* the server to {name}: {text}");
            self.conversation.push(Kind::Mine, line);
        }
        self.conversation.go_to_newest();
        self.typed.clear();
        self.notice = None;
    }

    /// It could not be done; what was typed stays.
    pub fn could_not(&mut self, why: impl Into<String>) {
        self.notice = Some(why.into());
    }

    /// Draws the window, and returns what is wished for.
    pub fn ui(&mut self, ui: &mut egui::Ui) -> Option<Wish> {
        let mut wish = None;
        one_line_at_a_time(ui, &mut self.waiting);
        egui::Panel::top("address").show(ui, |ui| {
            ui.add_space(4.0);
            wish = self.address(ui);
            if let Some(notice) = &self.notice {
                let colour = Colours::of(ui.visuals().dark_mode).refused;
                let text = egui::RichText::new(notice).color(colour);
                is_said_aloud(&ui.add(egui::Label::new(text).wrap()));
            }
            ui.add_space(2.0);
        });
        egui::Panel::bottom("answer").show(ui, |ui| {
            ui.add_space(6.0);
            let said = self.answer(ui);
            wish = wish.take().or(said);
            ui.add_space(4.0);
        });
        let width = (ui.available_width() * 0.36).clamp(170.0, 300.0);
        egui::Panel::right("clients")
            .exact_size(width)
            .resizable(false)
            .show(ui, |ui| {
                ui.add_space(4.0);
                let put_out = self.clients(ui);
                wish = wish.take().or(put_out);
            });
        egui::CentralPanel::default_margins().show(ui, |ui| self.conversation.show(ui));
        if !self.present.is_empty() {
            // How long they have been here changes by itself.
            ui.request_repaint_after(Duration::from_secs(1));
        }
        wish
    }

    /// Where clients can connect, or shall be able to.
    fn address(&mut self, ui: &mut egui::Ui) -> Option<Wish> {
        let mut wish = None;
        ui.horizontal(|ui| match self.state {
            State::Stopped => {
                let (_, enter) = field(ui, "Host", 150.0, &mut self.host, true);
                let (_, enter_too) = field(ui, "Port", 60.0, &mut self.port, true);
                if button(ui, "Start", true) || enter || enter_too {
                    wish = self.start();
                }
                is_said_aloud(&ui.weak("not listening"));
            }
            State::Starting => {
                ui.weak(format!("asking for {} port {} …", self.host, self.port));
            }
            State::Listening(address) => {
                is_said_aloud(&ui.label(format!("listening on {address}")));
                wish = button(ui, "Stop", true).then_some(Wish::Stop);
            }
            State::Closing => {
                is_said_aloud(&ui.label("closing …"));
                button(ui, "Stop", false);
            }
        });
        match self.state {
            _ if !pressed(ui, Key::D) => wish,
            State::Stopped => self.start(),
            State::Listening(_) => Some(Wish::Stop),
            State::Starting | State::Closing => None,
        }
    }

    fn start(&mut self) -> Option<Wish> {
        match self.port.trim().parse() {
            Ok(port) => Some(Wish::Start {
                host: self.host.trim().into(),
                port,
            }),
            Err(_) => {
                self.notice = Some("the port must be a number from 0 to 65535".into());
                None
            }
        }
    }

    /// Who is connected; whoever is chosen here is answered, or put out.
    fn clients(&mut self, ui: &mut egui::Ui) -> Option<Wish> {
        let mut wish = None;
        ui.strong(match self.present.len() {
            0 => "Nobody is connected".into(),
            1 => "1 client".into(),
            count => format!("{count} clients"),
        });
        egui::Panel::bottom("put out")
            .frame(egui::Frame::NONE)
            .show_separator_line(false)
            .show(ui, |ui| {
                let chosen = self.chosen().map(|present| present.id);
                let button = ui.add_enabled(chosen.is_some(), Button::new("Put out"));
                wish = chosen.filter(|_| button.clicked()).map(Wish::PutOut);
                ui.add_space(6.0);
            });
        ui.spacing_mut().item_spacing.y = 2.0;
        if row(ui, "everybody", None, self.recipient.is_none()).clicked() {
            self.recipient = None;
            self.wants_focus = true;
        }
        let height = row_height(ui, true);
        egui::ScrollArea::vertical().auto_shrink(false).show_rows(
            ui,
            height,
            self.present.len(),
            |ui, rows| {
                for present in &self.present[rows] {
                    let Present { id, address, .. } = *present;
                    let chosen = matches!(self.recipient, Some((chosen, _)) if chosen == id);
                    let name = present.name.as_deref();
                    let time = how_long(present.since.elapsed());
                    let below = format!("{address} · {time}");
                    let shown = name.unwrap_or("(no name yet)");
                    if row(ui, shown, Some(&below), chosen).clicked() {
                        let name = name.map_or_else(|| address.to_string(), str::to_owned);
                        self.recipient = Some((id, name));
                        self.wants_focus = true;
                    }
                }
            },
        );
        wish
    }

    /// The client that is chosen, if it is still there.
    fn chosen(&self) -> Option<&Present> {
        let id = self.recipient()?;
        self.present.iter().find(|present| present.id == id)
    }

    /// What is typed to everybody, or to whoever is chosen.
    fn answer(&mut self, ui: &mut egui::Ui) -> Option<Wish> {
        if !self.conversation.is_at_newest() && ui.button("To the newest line").clicked() {
            self.conversation.go_to_newest();
        }
        let to = match &self.recipient {
            None => "To everybody".into(),
            Some((_, name)) => format!("To {name}"),
        };
        let focus = std::mem::take(&mut self.wants_focus);
        let send = message(ui, &to, &mut self.typed, focus);
        if !send {
            return None;
        }
        if let Err(why) = self.may_answer() {
            self.notice = Some(why);
            return None;
        }
        Some(Wish::Answer {
            to: self.recipient(),
            text: self.typed.clone(),
        })
    }

    /// What was meant for one must never go to all because that one has just left.
    fn may_answer(&self) -> Result<(), String> {
        if !matches!(self.state, State::Listening(_)) {
            return Err("not listening: what you typed is kept".into());
        }
        // A line without end would cost all who hear it their connection.
        let (bytes, most) = (self.typed.len(), self.max_line);
        if bytes > most {
            return Err(format!(
                "a line has at most {most} bytes, and not {bytes}: what you typed is kept"
            ));
        }
        let Some((_, name)) = &self.recipient else {
            return Ok(());
        };
        match self.chosen() {
            None => Err(format!(
                "{name} has left: choose whom to answer; what you typed is kept"
            )),
            Some(present) if present.name.is_none() => Err(format!(
                "{name} has no name yet, and cannot be answered; what you typed is kept"
            )),
            Some(_) => Ok(()),
        }
    }
}

fn row_height(ui: &egui::Ui, has_two_lines: bool) -> f32 {
    let small = ui.text_style_height(&TextStyle::Small);
    let below = if has_two_lines { small } else { 0.0 };
    ui.text_style_height(&TextStyle::Body) + below + 8.0
}

/// A row that can be chosen, with smaller letters below the larger ones. What is too long is
/// cut off, and can be read in full when the pointer is there.
fn row(ui: &mut egui::Ui, text: &str, below: Option<&str>, chosen: bool) -> egui::Response {
    let size = vec2(ui.available_width(), row_height(ui, below.is_some()));
    let (place, row) = ui.allocate_exact_size(size, Sense::click());
    let told = match below {
        Some(below) => format!("{text}, {below}"),
        None => text.into(),
    };
    let role = egui::accesskit::Role::RadioButton;
    row.widget_info(|| WidgetInfo::selected(role, true, chosen, &told));

    let style = *ui.style().interact(&row);
    let fill = match chosen {
        true => ui.visuals().selection.bg_fill,
        false if row.hovered() => style.weak_bg_fill,
        false => egui::Color32::TRANSPARENT,
    };
    let stroke = match row.has_focus() {
        true => style.bg_stroke,
        false => egui::Stroke::NONE,
    };
    let inside = egui::StrokeKind::Inside;
    ui.painter()
        .rect(place, style.corner_radius, fill, stroke, inside);
    // Painted, and no labels: a screen reader is to read each row once.
    let mut pen = place.min + vec2(8.0, 4.0);
    for (text, size) in [
        (text, TextStyle::Body),
        (below.unwrap_or_default(), TextStyle::Small),
    ] {
        let width = place.width() - 16.0;
        let text = egui::WidgetText::from(text);
        let galley = text.into_galley(ui, Some(egui::TextWrapMode::Truncate), width, size);
        let next = pen + vec2(0.0, galley.size().y);
        ui.painter().galley(pen, galley, ui.visuals().text_color());
        pen = next;
    }
    row.on_hover_text(told)
}

/// A button, and whether it was pressed.
fn button(ui: &mut egui::Ui, text: &str, enabled: bool) -> bool {
    ui.add_enabled(enabled, Button::new(text)).clicked()
}

/// A time in its largest unit: 59 s, 3 min, 2 h, 5 d.
fn how_long(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        3600..86400 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ana() -> Present {
        Present {
            id: 1,
            name: Some("ana".into()),
            address: ([127, 0, 0, 1], 40318).into(),
            since: Instant::now(),
        }
    }

    fn to_ana() -> Shown {
        let mut shown = Shown::new("127.0.0.1", 0, 100);
        shown.starting();
        shown.listening(([127, 0, 0, 1], 12345).into());
        shown.are_present(vec![ana()]);
        shown.recipient = Some((1, "ana".into()));
        shown
    }

    #[test]
    fn what_is_meant_for_one_who_has_left_goes_to_nobody() {
        let mut shown = to_ana();
        assert_eq!(shown.may_answer(), Ok(()));
        shown.are_present(Vec::new());
        assert!(shown.may_answer().unwrap_err().contains("ana has left"));
        assert_eq!(shown.recipient(), Some(1));
    }

    #[test]
    fn who_has_no_name_cannot_be_answered() {
        let mut shown = to_ana();
        shown.are_present(vec![Present {
            name: None,
            ..ana()
        }]);
        assert!(shown.may_answer().is_err());
    }

    #[test]
    fn a_line_that_is_too_long_is_kept() {
        let mut shown = to_ana();
        shown.typed = "x".repeat(100);
        assert_eq!(shown.may_answer(), Ok(()));
        shown.typed.push('x');
        let why = shown.may_answer().unwrap_err();
        assert!(why.contains("at most 100 bytes, and not 101"), "{why}");
    }

    #[test]
    fn a_server_that_has_stopped_answers_nobody() {
        let mut shown = to_ana();
        shown.closing();
        assert!(shown.may_answer().is_err());
        shown.stopped(None);
        assert!(shown.may_answer().is_err());
    }

    #[test]
    fn packets_of_several_lines_are_several_lines() {
        let mut shown = to_ana();
        shown.hears("* ana joined\nana: hola\n");
        let lines: Vec<_> = shown.conversation.lines().map(|(_, line)| line).collect();
        assert_eq!(lines[1..], ["* ana joined", "ana: hola"]);
    }

    #[test]
    fn times_are_told_in_their_largest_unit() {
        let times = [59, 60, 3599, 3600, 86400].map(|secs| how_long(Duration::from_secs(secs)));
        assert_eq!(times, ["59 s", "1 min", "59 min", "1 h", "1 d"]);
    }
}
