//! The server's window.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use eframe::egui::{self, Button, Key, Sense, TextStyle, WidgetInfo, vec2};

use super::{
    Colours, Conversation, Kind, field, is_said_aloud, message, one_line_at_a_time, pressed,
};

/// Identifies a connection: the number that it has in the room.
pub type Id = u64;

/// What the server's window shows.
#[derive(Debug, Default)]
pub struct Shown {
    /// Where to listen, as typed.
    pub host: String,
    /// The port to listen on, as typed.
    pub port: String,
    /// The text in the field at the bottom. It stays there until it can be sent.
    pub typed: String,
    /// The lines that have been said.
    pub conversation: Conversation,
    state: State,
    /// The clients, in the order in which they have connected.
    present: Vec<Present>,
    /// The client that is answered, with its name; `None` for all clients.
    recipient: Option<(Id, String)>,
    /// What went wrong, in plain words.
    notice: Option<String>,
    wants_focus: bool,
    /// Keys that were pressed after Enter, in the same frame.
    waiting: Vec<egui::Event>,
    /// The longest line that may be sent, in bytes: the same limit as for clients.
    max_line: usize,
}

/// A client that is connected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Present {
    /// The number of its connection.
    pub id: Id,
    /// `None` until the client has given an allowed name.
    pub name: Option<String>,
    /// The peer address.
    pub address: SocketAddr,
    /// When the connection was accepted.
    pub since: Instant,
}

/// Whether the server runs.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It does not run.
    #[default]
    Stopped,
    /// It asks the system for the address.
    Starting,
    /// Clients can connect to this address.
    Listening(SocketAddr),
    /// It accepts no more clients. Those that are connected get what is due to them.
    Closing,
}

/// What the person in front of the window wants the program to do.
#[derive(Debug, PartialEq, Eq)]
pub enum Wish {
    /// Start the server.
    Start {
        /// The address to listen on.
        host: String,
        /// The port to listen on; 0 asks the system for one.
        port: u16,
    },
    /// Stop the server, in order.
    Stop,
    /// Say something, to one client or to all.
    Answer {
        /// The client; `None` for all.
        to: Option<Id>,
        /// The text, as typed.
        text: String,
    },
    /// Disconnect a client.
    Disconnect(Id),
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

    /// Whether the server runs.
    pub fn state(&self) -> State {
        self.state
    }

    /// What went wrong, if something did.
    pub fn notice(&self) -> Option<&str> {
        self.notice.as_deref()
    }

    /// The client that is answered; `None` for all clients.
    pub fn recipient(&self) -> Option<Id> {
        self.recipient.as_ref().map(|(id, _)| *id)
    }

    /// The server asks the system for the address.
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

    /// The server accepts no more clients.
    pub fn closing(&mut self) {
        self.state = State::Closing;
    }

    /// The server has ended, or could not start, for this reason.
    pub fn stopped(&mut self, why: Option<String>) {
        if self.state != State::Starting {
            self.conversation.push(Kind::Announced, "(closed)");
        }
        self.state = State::Stopped;
        self.present.clear();
        self.notice = why;
    }

    /// The clients that are connected now.
    pub fn are_present(&mut self, present: Vec<Present>) {
        self.present = present;
        if let Some((id, name)) = &mut self.recipient
            && let Some(client) = self.present.iter().find(|present| present.id == *id)
            && let Some(known) = &client.name
        {
            known.clone_into(name);
        }
    }

    /// All clients in the room have heard this: one line or several.
    pub fn hears(&mut self, lines: &str) {
        for line in lines.lines() {
            let kind = match Kind::of(line) {
                Kind::Server => Kind::Mine, // it was typed here
                kind => kind,
            };
            self.conversation.push(kind, line);
        }
    }

    /// So many lines came too fast, and are not shown.
    pub fn has_missed(&mut self, lines: usize) {
        self.conversation.has_missed(lines);
    }

    /// The answer has been sent. If it was for all clients, it comes back through
    /// [`hears`](Self::hears).
    pub fn answered(&mut self, text: &str) {
        if let Some((_, name)) = &self.recipient {
            let line = format!("* the server to {name}: {text}");
            self.conversation.push(Kind::Mine, line);
        }
        self.conversation.go_to_newest();
        self.typed.clear();
        self.notice = None;
    }

    /// The wish could not be fulfilled, for this reason. The typed text stays.
    pub fn could_not(&mut self, why: impl Into<String>) {
        self.notice = Some(why.into());
    }

    /// Draws the window. Returns what the person in front of it wishes.
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
                let disconnect = self.clients(ui);
                wish = wish.take().or(disconnect);
            });
        egui::CentralPanel::default_margins().show(ui, |ui| self.conversation.show(ui));
        if !self.present.is_empty() {
            // The times in the list change without an event.
            ui.request_repaint_after(Duration::from_secs(1));
        }
        wish
    }

    /// The address where clients can connect, and the button that starts or stops the server.
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

    /// The list of clients. The one chosen here can be answered, or disconnected.
    fn clients(&mut self, ui: &mut egui::Ui) -> Option<Wish> {
        let mut wish = None;
        ui.strong(match self.present.len() {
            0 => "No clients".into(),
            1 => "1 client".into(),
            count => format!("{count} clients"),
        });
        egui::Panel::bottom("disconnect")
            .frame(egui::Frame::NONE)
            .show_separator_line(false)
            .show(ui, |ui| {
                let chosen = self.chosen().map(|present| present.id);
                let button = ui.add_enabled(chosen.is_some(), Button::new("Disconnect"));
                wish = chosen.filter(|_| button.clicked()).map(Wish::Disconnect);
                ui.add_space(6.0);
            });
        ui.spacing_mut().item_spacing.y = 2.0;
        if row(ui, "all clients", None, self.recipient.is_none()).clicked() {
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

    /// The client that is chosen, if it is still connected.
    fn chosen(&self) -> Option<&Present> {
        let id = self.recipient()?;
        self.present.iter().find(|present| present.id == id)
    }

    /// The field for an answer to all clients, or to the chosen one.
    fn answer(&mut self, ui: &mut egui::Ui) -> Option<Wish> {
        if !self.conversation.is_at_newest() && ui.button("To the newest line").clicked() {
            self.conversation.go_to_newest();
        }
        let to = match &self.recipient {
            None => "To all clients".into(),
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

    /// Whether the typed text can be sent. A text for a client that has just left must not
    /// go to all the others instead.
    fn may_answer(&self) -> Result<(), String> {
        if !matches!(self.state, State::Listening(_)) {
            return Err("the server does not run: what you typed is kept".into());
        }
        // A client may close the connection when a line is too long for it.
        let (bytes, most) = (self.typed.len(), self.max_line);
        if bytes > most {
            return Err(format!(
                "a line has at most {most} bytes, and this one has {bytes}: what you typed is kept"
            ));
        }
        let Some((_, name)) = &self.recipient else {
            return Ok(());
        };
        match self.chosen() {
            None => Err(format!(
                "{name} has left: choose another client; what you typed is kept"
            )),
            Some(present) if present.name.is_none() => Err(format!(
                "{name} has no name yet, so it hears nothing: what you typed is kept"
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

/// A row that can be chosen, with a second line in smaller letters. Text that is too long is
/// cut off; the full text appears when the pointer rests on the row.
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
    // Painted, instead of added as labels: a screen reader should read each row once.
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

/// Draws a button. Returns whether it was pressed.
fn button(ui: &mut egui::Ui, text: &str, enabled: bool) -> bool {
    ui.add_enabled(enabled, Button::new(text)).clicked()
}

/// A time in the largest unit that fits: 59 s, 3 min, 2 h, 5 d.
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
    fn an_answer_for_a_client_that_has_left_is_kept() {
        let mut shown = to_ana();
        assert_eq!(shown.may_answer(), Ok(()));
        shown.are_present(Vec::new());
        assert!(shown.may_answer().unwrap_err().contains("ana has left"));
        assert_eq!(shown.recipient(), Some(1));
    }

    #[test]
    fn a_client_without_a_name_cannot_be_answered() {
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
        assert!(
            why.contains("at most 100 bytes, and this one has 101"),
            "{why}"
        );
    }

    #[test]
    fn a_stopped_server_sends_no_answer() {
        let mut shown = to_ana();
        shown.closing();
        assert!(shown.may_answer().is_err());
        shown.stopped(None);
        assert!(shown.may_answer().is_err());
    }

    #[test]
    fn several_lines_at_once_are_shown_as_several_lines() {
        let mut shown = to_ana();
        shown.hears("* ana joined\nana: hola\n");
        let lines: Vec<_> = shown.conversation.lines().map(|(_, line)| line).collect();
        assert_eq!(lines[1..], ["* ana joined", "ana: hola"]);
    }

    #[test]
    fn times_are_shown_in_their_largest_unit() {
        let times = [59, 60, 3599, 3600, 86400].map(|secs| how_long(Duration::from_secs(secs)));
        assert_eq!(times, ["59 s", "1 min", "59 min", "1 h", "1 d"]);
    }
}
