//! A person in front of a window: types, clicks, and reads what it shows. The window is the
//! real one, with its real threads; only that nothing is put on a display.

use std::io::{self, Write};
use std::process;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use socket_stages_window as window;
use socket_stages_window::eframe::egui::accesskit::Role;
use socket_stages_window::eframe::egui::{
    self, Event, Key, Modifiers, Theme, ViewportCommand, ViewportEvent, ViewportId,
};
use socket_stages_window::egui_kittest::Harness;
use socket_stages_window::egui_kittest::kittest::{AccessKitNode, NodeT, Queryable};
use window::{eframe, egui_kittest};

use super::patience;
use super::picture::{Picture, Textures};

pub struct Screen<A: eframe::App + 'static> {
    name: String,
    harness: Harness<'static, A>,
    textures: Textures,
    /// When the next frame is due, whenever the window is woken. Without that, none is
    /// drawn.
    wakes: Receiver<Instant>,
    frames: usize,
    longest: Duration,
}

/// How large, and in what colours.
#[derive(Clone, Copy)]
pub struct Look {
    pub size: [f32; 2],
    pub theme: Theme,
    pub scale: f32,
}

impl Default for Look {
    fn default() -> Self {
        Self {
            size: [760.0, 520.0],
            theme: Theme::Dark,
            scale: 1.0,
        }
    }
}

impl<A: eframe::App + 'static> Screen<A> {
    pub fn open(name: &str, begin: impl FnOnce(&egui::Context) -> A) -> Self {
        Self::open_as(name, Look::default(), begin)
    }

    pub fn open_as(name: &str, look: Look, begin: impl FnOnce(&egui::Context) -> A) -> Self {
        let textures = Textures::default();
        let (wake, wakes) = mpsc::channel();
        let harness = Harness::builder()
            .with_size(look.size)
            .with_theme(look.theme)
            .with_pixels_per_point(look.scale)
            .renderer(textures.clone())
            // Which letters a machine has is not what is tested here.
            .allow_missing_glyphs()
            .build_eframe(|created| {
                created
                    .egui_ctx
                    .set_request_repaint_callback(move |request| {
                        // An error: the test is over.
                        let _ = wake.send(Instant::now() + request.delay);
                    });
                window::dress(&created.egui_ctx);
                begin(&created.egui_ctx)
            });
        Self {
            name: name.into(),
            harness,
            textures,
            wakes,
            frames: 0,
            longest: Duration::ZERO,
        }
    }

    pub fn app(&self) -> &A {
        self.harness.state()
    }

    pub fn frames(&self) -> usize {
        self.frames
    }

    /// How long the longest frame took.
    pub fn longest(&self) -> Duration {
        self.longest
    }

    /// Draws one frame.
    pub fn frame(&mut self) {
        self.frames += 1;
        let start = Instant::now();
        let _drawing = watch(&self.name);
        self.harness.step();
        self.longest = self.longest.max(start.elapsed());
    }

    /// Hangs for so long, with the window's own lock held, while something happens. That is
    /// the fault itself, and not a wait for anything: what comes of it is seen afterwards.
    pub fn hangs(&self, time: Duration, meanwhile: impl FnOnce()) {
        self.harness.ctx.input_mut(|_| {
            meanwhile();
            thread::sleep(time);
        });
    }

    /// Draws frames for as long as the window wants another one at once.
    fn settle(&mut self) {
        loop {
            self.frame();
            let closes = self.commands().contains(&ViewportCommand::Close);
            if closes || self.delay() > Duration::ZERO {
                return self.harness.check_accessibility();
            }
        }
    }

    /// When the window wants to be drawn again by itself.
    fn delay(&self) -> Duration {
        self.harness.output().viewport_output[&ViewportId::ROOT].repaint_delay
    }

    /// Draws frames until something is as it should be. As on a display, there is none but
    /// when the window asks for it, or a thread wakes it.
    #[track_caller]
    pub fn until(&mut self, what: &str, done: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + patience();
        loop {
            self.settle();
            if done(self) {
                return;
            }
            if !self.is_due_before(deadline) {
                self.fail(&format!(
                    "should have {what}, but for {:?} did not",
                    patience()
                ));
            }
        }
    }

    /// Waits until another frame is due, as a display does: because the window has asked for
    /// it when it was drawn last, or because a thread has woken it. False if none is before
    /// the deadline.
    fn is_due_before(&self, deadline: Instant) -> bool {
        let by_itself = Instant::now().checked_add(self.delay());
        let mut due = by_itself.filter(|due| *due < deadline);
        loop {
            let until = due.unwrap_or(deadline);
            let left = until.saturating_duration_since(Instant::now());
            match self.wakes.recv_timeout(left) {
                Ok(woken) if woken >= deadline => {}
                Ok(woken) => due = Some(due.map_or(woken, |due| due.min(woken))),
                Err(_) => return due.is_some(),
            }
        }
    }

    /// The person turns to another window: no cursor blinks here any more, so no frame is drawn
    /// for its sake.
    pub fn loses_focus(&mut self) {
        self.harness.input_mut().focused = false;
        self.harness.event(Event::WindowFocused(false));
        self.settle();
    }

    /// Waits until a text with these words is on show.
    #[track_caller]
    pub fn shows(&mut self, text: &str) {
        self.until(&format!("shown {text:?}"), |screen| screen.is_shown(text));
    }

    pub fn is_shown(&self, text: &str) -> bool {
        self.texts().iter().any(|shown| shown.contains(text))
    }

    /// All that can be read, in the order of the window.
    pub fn texts(&self) -> Vec<String> {
        self.nodes()
            .filter_map(|node| text_of(&node.accesskit_node()))
            .collect()
    }

    fn nodes(&self) -> impl Iterator<Item = egui_kittest::Node<'_>> {
        self.harness.root().children_recursive()
    }

    /// Types letters, wherever the keyboard is.
    pub fn types(&mut self, text: &str) {
        self.harness.event(Event::Text(text.into()));
        self.settle();
    }

    /// Types so fast (or draws so slowly) that these lines, and what is typed after them,
    /// come in one frame.
    pub fn types_at_once(&mut self, lines: &[&str], rest: &str) {
        // The harness would draw a frame for each event.
        let events = &mut self.harness.input_mut().events;
        for line in lines {
            events.push(Event::Text((*line).into()));
            events.push(Event::Key {
                key: Key::Enter,
                physical_key: None,
                pressed: true,
                repeat: false,
                modifiers: Modifiers::NONE,
            });
        }
        events.push(Event::Text(rest.into()));
        self.settle();
    }

    /// Presses a key, and lets it go.
    pub fn presses(&mut self, key: Key) {
        self.presses_with(Modifiers::NONE, key);
    }

    pub fn presses_with(&mut self, modifiers: Modifiers, key: Key) {
        self.harness.key_press_modifiers(modifiers, key);
        self.settle();
    }

    /// Types a line, wherever the keyboard is, and presses Enter.
    pub fn says(&mut self, text: &str) {
        self.types(text);
        self.presses(Key::Enter);
    }

    /// Clicks on a button, or on a row of a list.
    #[track_caller]
    pub fn clicks(&mut self, label: &str) {
        let can_be_clicked = |node: &egui_kittest::Node<'_>| {
            let node = node.accesskit_node();
            let is_called = node.label().is_some_and(|name| name.starts_with(label));
            is_called && matches!(node.role(), Role::Button | Role::RadioButton)
        };
        match self.nodes().find(can_be_clicked) {
            Some(node) => node.click(),
            None => self.fail(&format!("shows nothing to click on called {label:?}")),
        }
        self.settle();
    }

    /// Puts another text into a field: clicks on it, marks all, types.
    #[track_caller]
    pub fn fills(&mut self, field: &str, text: &str) {
        self.harness
            .get_by_role_and_label(Role::TextInput, field)
            .click();
        self.settle();
        self.presses_with(Modifiers::COMMAND, Key::A);
        if text.is_empty() {
            self.presses(Key::Backspace);
        } else {
            self.types(text);
        }
    }

    /// What stands in a field.
    pub fn field(&self, label: &str) -> String {
        let field = self.harness.get_by_role_and_label(Role::TextInput, label);
        field.value().unwrap_or_default()
    }

    /// The name of whatever has the keyboard.
    pub fn focus(&self) -> Option<String> {
        let node = self.nodes().find(egui_kittest::Node::is_focused)?;
        node.accesskit_node().label()
    }

    /// Whether a button can be pressed.
    pub fn is_enabled(&self, label: &str) -> bool {
        let node = self.harness.get_by_role_and_label(Role::Button, label);
        !node.accesskit_node().is_disabled()
    }

    /// Clicks on the cross in the corner. Returns whether the window closes at once.
    pub fn closes(&mut self) -> bool {
        let viewports = &mut self.harness.input_mut().viewports;
        let viewport = viewports.entry(ViewportId::ROOT).or_default();
        viewport.events.push(ViewportEvent::Close);
        self.frame();
        // As a display does: the event is for one frame.
        let viewports = &mut self.harness.input_mut().viewports;
        viewports
            .entry(ViewportId::ROOT)
            .or_default()
            .events
            .clear();
        !self.commands().contains(&ViewportCommand::CancelClose)
    }

    /// What the window asks of the display.
    pub fn commands(&self) -> &[ViewportCommand] {
        &self.harness.output().viewport_output[&ViewportId::ROOT].commands
    }

    pub fn resizes(&mut self, size: [f32; 2]) {
        self.harness.set_size(size.into());
        self.settle();
    }

    /// Whether all is within the window, and nothing that one can use lies on something else.
    #[track_caller]
    pub fn is_tidy(&mut self) {
        self.settle();
        let window =
            egui::Rect::from_min_size(egui::Pos2::ZERO, self.harness.ctx.content_rect().size());
        self.no_text_is_cut_off(window);
        let mut used: Vec<(String, egui::Rect)> = Vec::new();
        for node in self.nodes() {
            let access = node.accesskit_node();
            let is_used = matches!(
                access.role(),
                Role::Button | Role::TextInput | Role::RadioButton
            );
            let what = format!("{:?} {:?}", access.role(), access.label());
            if access.raw_bounds().is_none() || !(is_used || text_of(&access).is_some()) {
                continue;
            }
            let place = node.rect();
            // Rows that are scrolled half out of sight are cut off by their list.
            if !window.expand(0.5).contains_rect(place)
                && is_used
                && access.role() != Role::RadioButton
            {
                self.fail(&format!("{what} is cut off: {place:?} of {window:?}"));
            }
            if is_used && access.role() != Role::RadioButton {
                for (other, place_of_other) in &used {
                    if place.shrink(0.5).intersects(place_of_other.shrink(0.5)) {
                        self.fail(&format!("{what} lies on {other}"));
                    }
                }
                used.push((what, place));
            }
            if place.right() > window.right() + 0.5 || place.left() < -0.5 {
                let label = node.accesskit_node().value();
                self.fail(&format!("{label:?} is wider than the window: {place:?}"));
            }
        }
    }

    /// No text goes on where the window ends, however it was drawn.
    #[track_caller]
    fn no_text_is_cut_off(&self, window: egui::Rect) {
        for clipped in &self.harness.output().shapes {
            let egui::Shape::Text(text) = &clipped.shape else {
                continue;
            };
            // What is typed into a field may be longer; but then it ends where the field does.
            let is_in_a_field = clipped.clip_rect.right() < window.right() - 20.0;
            let place = text.visual_bounding_rect();
            if place.right() > window.right() + 1.0 && !is_in_a_field {
                let text = &text.galley.job.text;
                self.fail(&format!("cuts off {text:?}: {place:?} of {window:?}"));
            }
        }
    }

    /// What a person in front of it would see.
    pub fn picture(&mut self) -> Picture {
        self.settle();
        let harness = &self.harness;
        Picture::new(&harness.ctx, harness.output(), &self.textures)
    }

    #[track_caller]
    pub fn fail(&self, what: &str) -> ! {
        let texts = self.texts();
        let from = texts.len().saturating_sub(30);
        let shown: String = texts[from..]
            .iter()
            .map(|text| format!("  | {text}\n"))
            .collect();
        panic!(
            "\n\n{} {what}.\n\nThe window shows:\n{shown}\nTo learn more: lessons/10_window.md\n",
            self.name
        );
    }
}

/// A frame that waits may never end, nor does its test. A thread cannot be ended, so then all
/// tests end here. It watches for as long as its result is kept.
fn watch(name: &str) -> Sender<()> {
    let (drawing, drawn) = mpsc::channel();
    let name = name.to_owned();
    thread::spawn(move || {
        let most = 4 * patience();
        if drawn.recv_timeout(most) == Err(RecvTimeoutError::Timeout) {
            let what = "does the window wait? To learn more: lessons/10_window.md";
            // Around the harness, which keeps what a test prints until the test is over.
            let _ = writeln!(io::stderr(), "\na frame of {name} took {most:?}: {what}\n");
            process::exit(1);
        }
    });
    drawing
}

/// What can be read at a place of the window.
fn text_of(node: &AccessKitNode<'_>) -> Option<String> {
    match node.role() {
        Role::Label => node.value().or_else(|| node.label()),
        Role::Button | Role::RadioButton => node.label(),
        Role::TextInput => Some(format!(
            "{} [{}]",
            node.label().unwrap_or_default(),
            node.value().unwrap_or_default()
        )),
        _ => None,
    }
}
