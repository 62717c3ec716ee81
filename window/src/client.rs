//! The client's window.

use eframe::egui::{self, Button, Key};

use super::{
    Colours, Conversation, Kind, beginning, field, is_said_aloud, message, one_line_at_a_time,
    pressed,
};

/// What the client's window shows.
#[derive(Debug, Default)]
pub struct Shown {
    /// The name or address of the server's machine, as typed.
    pub host: String,
    /// The server's port, as typed.
    pub port: String,
    /// The name to use in the chat, as typed.
    pub name: String,
    /// The text in the field at the bottom. It stays there until it can be sent.
    pub typed: String,
    /// The lines that have been said.
    pub conversation: Conversation,
    state: State,
    /// What went wrong, in plain words.
    notice: Option<String>,
    /// Why the server refused something, while this connection lasts.
    refusal: Option<String>,
    focus: Option<Field>,
    /// Keys that were pressed after Enter, in the same frame.
    waiting: Vec<egui::Event>,
}

/// The state of the connection.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub enum State {
    /// Not connected.
    #[default]
    Apart,
    /// Waiting for the server to answer.
    Connecting,
    /// Connected, and waiting for the server to accept the name.
    Asking,
    /// Connected, and the server wants another name.
    Refused,
    /// In the room, under this name.
    In(String),
    /// No more will be sent; waiting for the server to close.
    Leaving,
}

/// What the person in front of the window wants the program to do.
#[derive(Debug, PartialEq, Eq)]
pub enum Wish {
    /// Connect.
    Connect {
        /// The name or address of the server's machine.
        host: String,
        /// The server's port.
        port: u16,
    },
    /// Use this name.
    Name(String),
    /// Say this to the others.
    Say(String),
    /// Leave, or stop waiting for the connection.
    Leave,
}

/// How many bytes of a refusal are shown above the conversation. The conversation shows more
/// of it.
const LONGEST_NOTICE: usize = 300;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Name,
    Message,
    Connect,
}

impl Shown {
    /// A window that is not connected, with these fields filled in.
    pub fn new(host: &str, port: u16, name: &str) -> Self {
        let focus = match name {
            "" => Field::Name,
            _ => Field::Connect,
        };
        Self {
            host: host.into(),
            port: port.to_string(),
            name: name.into(),
            focus: Some(focus),
            ..Self::default()
        }
    }

    /// The state of the connection.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// What went wrong, if something did.
    pub fn notice(&self) -> Option<&str> {
        self.notice.as_deref()
    }

    /// A connection is being made.
    pub fn connecting(&mut self) {
        self.state = State::Connecting;
        self.notice = None;
        self.refusal = None;
        // What is typed from here on is for the others.
        self.focus = Some(Field::Message);
    }

    /// The connection is there, and the name has been sent.
    pub fn asking(&mut self) {
        self.state = State::Asking;
        self.notice = None;
    }

    /// A line has arrived. The first one that is no refusal means that the name is accepted.
    pub fn hears(&mut self, line: &str) {
        let kind = Kind::of(line);
        self.conversation.push(kind, line);
        if kind == Kind::Refused {
            let why = beginning(line.trim_start_matches("! "), LONGEST_NOTICE);
            self.refusal = Some(why.clone().into());
            self.notice = Some(format!("the server says: {why}"));
        }
        if self.state == State::Asking {
            if kind == Kind::Refused {
                self.state = State::Refused;
                self.focus = Some(Field::Name);
            } else {
                self.state = State::In(self.name.clone());
                self.refusal = None;
                self.focus = Some(Field::Message);
            }
        }
    }

    /// This text has been handed over to the writer.
    pub fn said(&mut self, text: &str) {
        let State::In(name) = &self.state else {
            return;
        };
        // No name has a blank in it, so no other client's line can look like this.
        let mine = format!("{name} (you): {text}");
        self.conversation.push(Kind::Mine, mine);
        self.conversation.go_to_newest();
        self.typed.clear();
        self.notice = None;
    }

    /// The wish could not be fulfilled, for this reason. The typed text stays.
    pub fn could_not(&mut self, why: impl Into<String>) {
        self.notice = Some(why.into());
    }

    /// No more will be sent; the server should close now.
    pub fn leaving(&mut self) {
        self.state = State::Leaving;
    }

    /// The connection has ended, or could not be made, for this reason. `None`: the server
    /// has closed it.
    pub fn ended(&mut self, why: Option<String>) {
        let was = std::mem::take(&mut self.state);
        let notice = match (&was, why, self.refusal.take()) {
            (State::Leaving, None, _) => {
                self.conversation.push(Kind::Announced, "(you left)");
                self.notice = None;
                self.go_to_connect();
                return;
            }
            (_, None, Some(refusal)) => format!("the server has closed the connection: {refusal}"),
            (_, None, None) => "the server has closed the connection".into(),
            (_, Some(why), _) => why,
        };
        if was == State::Connecting {
            self.go_to_connect();
        } else {
            self.conversation.push(Kind::Refused, format!("({notice})"));
        }
        self.notice = Some(notice);
    }

    /// Gives the keyboard to the *Connect* button, unless there is text in the field.
    fn go_to_connect(&mut self) {
        if self.typed.is_empty() {
            self.focus = Some(Field::Connect);
        }
    }

    /// Draws the window. Returns what the person in front of it wishes.
    pub fn ui(&mut self, ui: &mut egui::Ui) -> Option<Wish> {
        let mut wish = None;
        one_line_at_a_time(ui, &mut self.waiting);
        egui::Panel::top("connection").show(ui, |ui| {
            ui.add_space(4.0);
            wish = self.connection(ui);
            self.status(ui);
            ui.add_space(2.0);
        });
        egui::Panel::bottom("message").show(ui, |ui| {
            ui.add_space(6.0);
            let said = self.message(ui);
            wish = wish.take().or(said);
            ui.add_space(4.0);
        });
        egui::CentralPanel::default_margins().show(ui, |ui| self.conversation.show(ui));
        wish
    }

    /// The server's address, the name, and the button that connects or disconnects.
    fn connection(&mut self, ui: &mut egui::Ui) -> Option<Wish> {
        let mut wish = None;
        // Two rows in a narrow window.
        let wide = ui.available_width() >= 620.0;
        ui.horizontal(|ui| {
            let apart = self.state == State::Apart;
            let (_, enter) = field(ui, "Host", 150.0, &mut self.host, apart);
            let (_, enter_too) = field(ui, "Port", 60.0, &mut self.port, apart);
            if enter || enter_too {
                wish = self.connect();
            }
            if wide {
                let named = self.name_and_button(ui);
                wish = wish.take().or(named);
            }
        });
        if !wide {
            ui.horizontal(|ui| {
                let named = self.name_and_button(ui);
                wish = wish.take().or(named);
            });
        }
        if pressed(ui, Key::D) {
            wish = self.connect_or_leave();
        }
        wish
    }

    fn name_and_button(&mut self, ui: &mut egui::Ui) -> Option<Wish> {
        let changeable = matches!(self.state, State::Apart | State::Refused);
        let (name, enter) = field(ui, "Name", 140.0, &mut self.name, changeable);
        if self.focus == Some(Field::Name) {
            name.request_focus();
            self.focus = None;
        }
        let button = match self.state {
            State::Apart => "Connect",
            State::Connecting => "Give up",
            _ => "Disconnect",
        };
        let can = self.state != State::Leaving;
        let button = ui
            .add_enabled(can, Button::new(button))
            .on_hover_text(ui.ctx().format_shortcut(&SHORTCUT));
        if self.focus == Some(Field::Connect) {
            button.request_focus();
            self.focus = None;
        }
        match self.state {
            _ if button.clicked() => self.connect_or_leave(),
            State::Apart if enter => self.connect(),
            State::Refused if enter => Some(Wish::Name(self.name.clone())),
            _ => None,
        }
    }

    fn connect_or_leave(&mut self) -> Option<Wish> {
        match self.state {
            State::Apart => self.connect(),
            State::Leaving => None,
            _ => Some(Wish::Leave),
        }
    }

    fn connect(&mut self) -> Option<Wish> {
        match self.port.trim().parse() {
            Ok(0) | Err(_) => {
                self.notice = Some("the port must be a number from 1 to 65535".into());
                None
            }
            Ok(port) => Some(Wish::Connect {
                host: self.host.trim().into(),
                port,
            }),
        }
    }

    /// The state of the connection in one line, and in a second one what went wrong.
    fn status(&mut self, ui: &mut egui::Ui) {
        let state = match &self.state {
            State::Apart => "not connected".into(),
            State::Connecting => format!("connecting to {} port {} …", self.host, self.port),
            State::Asking => "connected; waiting for the name to be accepted".into(),
            State::Refused => "connected, but not in the room: choose another name".into(),
            State::In(name) => format!("in the room as {name}"),
            State::Leaving => "leaving …".into(),
        };
        let label = ui.add(egui::Label::new(egui::RichText::new(state).weak()).wrap());
        is_said_aloud(&label);
        if let Some(notice) = &self.notice {
            let colour = Colours::of(ui.visuals().dark_mode).refused;
            let text = egui::RichText::new(notice).color(colour);
            let label = ui.add(egui::Label::new(text).wrap());
            is_said_aloud(&label);
        }
    }

    /// The field for a line to the others.
    fn message(&mut self, ui: &mut egui::Ui) -> Option<Wish> {
        if !self.conversation.is_at_newest() && ui.button("To the newest line").clicked() {
            self.conversation.go_to_newest();
        }
        let focus = self.focus.take_if(|field| *field == Field::Message);
        let send = message(ui, "Say", &mut self.typed, focus.is_some());
        match self.state {
            _ if !send => None,
            State::In(_) => Some(Wish::Say(self.typed.clone())),
            _ => {
                self.notice = Some("not in the room: what you typed is kept".into());
                None
            }
        }
    }
}

const SHORTCUT: egui::KeyboardShortcut =
    egui::KeyboardShortcut::new(egui::Modifiers::COMMAND, Key::D);

#[cfg(test)]
mod tests {
    use super::*;

    fn asking() -> Shown {
        let mut shown = Shown::new("127.0.0.1", 12345, "ana");
        shown.connecting();
        shown.asking();
        shown
    }

    #[test]
    fn the_first_line_that_is_no_refusal_means_that_we_are_in_the_room() {
        let mut shown = asking();
        shown.hears("! the name ana is taken: try another one");
        assert_eq!(shown.state(), &State::Refused);
        assert!(shown.notice().unwrap().contains("the name ana is taken"));
        shown.name = "beto".into();
        shown.asking();
        shown.hears("* welcome, beto");
        assert_eq!(shown.state(), &State::In("beto".into()));
        assert_eq!(shown.notice(), None);
    }

    #[test]
    fn typed_text_stays_until_it_is_sent() {
        let mut shown = asking();
        shown.hears("* welcome, ana");
        shown.typed = "hola".into();
        shown.ended(None);
        assert_eq!(shown.state(), &State::Apart);
        assert_eq!(shown.notice(), Some("the server has closed the connection"));
        assert_eq!(shown.typed, "hola");
        shown.connecting();
        shown.asking();
        shown.hears("* welcome, ana");
        shown.said("hola");
        assert_eq!(shown.typed, "");
        let (kind, line) = shown.conversation.lines().next_back().unwrap();
        assert_eq!((kind, line), (Kind::Mine, "ana (you): hola"));
    }

    #[test]
    fn a_disconnected_client_shows_the_reason() {
        let mut shown = asking();
        shown.hears("* welcome, ana");
        shown.hears("! rate limit: 100 lines per second");
        shown.ended(None);
        assert_eq!(
            shown.notice(),
            Some("the server has closed the connection: rate limit: 100 lines per second")
        );
    }

    #[test]
    fn leaving_on_purpose_shows_no_fault() {
        let mut shown = asking();
        shown.hears("* welcome, ana");
        shown.leaving();
        shown.ended(None);
        assert_eq!((shown.state(), shown.notice()), (&State::Apart, None));
    }
}
