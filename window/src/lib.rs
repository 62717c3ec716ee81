//! What the windows of stage 10 show, and how they look. No socket and no thread in here.
//! Lesson 10 teaches it.
//!
//! Each window is a plain value: [`client::Shown`] and [`server::Shown`]. The program tells
//! it what has happened (a line has arrived, the connection was lost). It draws itself, and
//! returns what the person in front of it wishes (connect, say this, disconnect that
//! client). The program, for example `examples/10_window_client.rs`, fulfils the wishes. A
//! test needs neither a display nor a network.

#![warn(missing_docs)]

pub mod client;
mod conversation;
pub mod server;

use std::borrow::Cow;

use anyhow::anyhow;
use eframe::egui;

// What programs with a window, and their tests, need from the toolkit. So its version stands
// in one place, this package's manifest.
pub use eframe;
#[cfg(feature = "testing")]
pub use {egui_kittest, egui_system_font_provider, png};

pub use conversation::{Conversation, Kind, MOST_BYTES, MOST_LINES};

/// Opens the window of a program, and returns when it has been closed. The program starts its
/// threads in `begin`: then the window is there.
///
/// # Errors
///
/// If there is no display, or it cannot show the window. The message is one sentence.
pub fn open<A: eframe::App + 'static>(
    title: &str,
    begin: impl FnOnce(&egui::Context) -> A + 'static,
) -> anyhow::Result<()> {
    let options = eframe::NativeOptions {
        viewport: egui::ViewportBuilder::default()
            .with_title(title)
            .with_inner_size([760.0, 520.0])
            .with_min_inner_size([480.0, 360.0]),
        ..Default::default()
    };
    let create = Box::new(move |created: &eframe::CreationContext<'_>| {
        dress(&created.egui_ctx);
        Ok(Box::new(begin(&created.egui_ctx)) as Box<dyn eframe::App>)
    });
    eframe::run_native(title, options, create)
        .map_err(|error| anyhow!("cannot open a window: is there a display? ({error})"))
}

/// Sets sizes and colours: letters that are large enough, with enough contrast.
pub fn dress(context: &egui::Context) {
    context.all_styles_mut(|style| {
        for (text, font) in &mut style.text_styles {
            font.size = match text {
                egui::TextStyle::Heading => 18.0,
                egui::TextStyle::Small => 12.0,
                _ => 14.5,
            };
        }
        style.spacing.item_spacing = egui::vec2(8.0, 6.0);
        style.spacing.button_padding = egui::vec2(8.0, 4.0);
        style.spacing.interact_size.y = 26.0;
        let visuals = &mut style.visuals;
        let [text, faint] = match visuals.dark_mode {
            true => [225, 170].map(egui::Color32::from_gray),
            false => [30, 90].map(egui::Color32::from_gray),
        };
        visuals.widgets.noninteractive.fg_stroke.color = text;
        visuals.widgets.inactive.fg_stroke.color = text;
        visuals.weak_text_color = Some(faint);
        // It must be easy to see which field has the keyboard.
        let accent = Colours::of(visuals.dark_mode).mine;
        visuals.selection.stroke = egui::Stroke::new(2.0, accent);
        visuals.selection.bg_fill = match visuals.dark_mode {
            true => egui::Color32::from_rgb(20, 70, 115),
            false => egui::Color32::from_rgb(190, 220, 250),
        };
        // And which parts can be typed into or pressed.
        let border = egui::Stroke::new(1.0, egui::Color32::from_gray(128));
        visuals.widgets.inactive.bg_stroke = border;
        visuals.widgets.active.bg_stroke = egui::Stroke::new(2.0, accent);
    });
}

/// The colours of special text. Colour is never the only difference.
#[derive(Debug, Clone, Copy)]
struct Colours {
    mine: egui::Color32,
    name: egui::Color32,
    announced: egui::Color32,
    refused: egui::Color32,
}

impl Colours {
    fn of(dark: bool) -> Self {
        let colour = egui::Color32::from_rgb;
        match dark {
            true => Self {
                mine: colour(125, 190, 255),
                name: colour(140, 215, 160),
                announced: colour(170, 170, 170),
                refused: colour(255, 165, 90),
            },
            false => Self {
                mine: colour(0, 85, 170),
                name: colour(0, 105, 60),
                announced: colour(90, 90, 90),
                refused: colour(160, 60, 0),
            },
        }
    }
}

/// Whether a shortcut was pressed: Ctrl (on a Mac: Command) and this key.
fn pressed(ui: &egui::Ui, key: egui::Key) -> bool {
    ui.input_mut(|input| input.consume_key(egui::Modifiers::COMMAND, key))
}

/// A field for one line of text, after its label. Screen readers know the label too. Returns
/// the field, and whether Enter was pressed in it.
fn field(
    ui: &mut egui::Ui,
    label: &str,
    width: f32,
    text: &mut String,
    enabled: bool,
) -> (egui::Response, bool) {
    let label = ui.label(label);
    let edit = egui::TextEdit::singleline(text).desired_width(width);
    let field = ui.add_enabled(enabled, edit).labelled_by(label.id);
    let enter = field.lost_focus() && ui.input(|input| input.key_pressed(egui::Key::Enter));
    (field, enter)
}

/// Keeps the keys pressed after Enter for the next frame. When Enter is pressed in a field,
/// the field takes no more keys in that frame; and when frames are slow, people type on.
fn one_line_at_a_time(ui: &egui::Ui, waiting: &mut Vec<egui::Event>) {
    use egui::{Event, Key};
    let is_enter = |event: &Event| {
        let Event::Key { key, pressed, .. } = event else {
            return false;
        };
        *key == Key::Enter && *pressed
    };
    ui.input_mut(|input| {
        let mut events = std::mem::take(waiting);
        events.append(&mut input.events);
        if let Some(enter) = events.iter().position(is_enter) {
            *waiting = events.split_off(enter + 1);
        }
        input.events = events;
    });
    if !waiting.is_empty() {
        ui.request_repaint();
    }
}

/// The row at the bottom: a label, a field as wide as possible, and a button. Returns whether
/// to send the typed text. The field keeps the keyboard.
fn message(ui: &mut egui::Ui, label: &str, text: &mut String, focus: bool) -> bool {
    let mut send = false;
    ui.horizontal(|ui| {
        let most = ui.available_width() * 0.4;
        let label = ui.scope(|ui| {
            ui.set_max_width(most);
            ui.add(egui::Label::new(label).truncate())
        });
        let font = egui::TextStyle::Button.resolve(ui.style());
        let button = ui
            .painter()
            .layout_no_wrap("Send".into(), font, egui::Color32::WHITE);
        let padding = 2.0 * ui.spacing().button_padding.x + ui.spacing().item_spacing.x;
        let width = ui.available_width() - button.size().x - padding;
        let edit = egui::TextEdit::singleline(text).desired_width(width);
        let field = ui.add(edit).labelled_by(label.inner.id);
        if field.lost_focus() && ui.input(|input| input.key_pressed(egui::Key::Enter)) {
            send = true;
            field.request_focus(); // for the next line
        }
        if focus {
            field.request_focus();
        }
        send |= ui.button("Send").clicked();
    });
    send
}

/// The beginning of a text of any length, and how many bytes are left out.
fn beginning(text: &str, bytes: usize) -> Cow<'_, str> {
    if text.len() <= bytes {
        return text.into();
    }
    let ends = text.char_indices().map(|(end, _)| end);
    let end = ends.take_while(|end| *end <= bytes).last().unwrap_or(0);
    let more = text.len() - end;
    format!("{}… ({more} bytes more)", &text[..end]).into()
}

/// Tells a screen reader to say this text when it changes.
fn is_said_aloud(response: &egui::Response) {
    let live = egui::accesskit::Live::Polite;
    response
        .ctx
        .accesskit_node_builder(response.id, |node| node.set_live(live));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_is_shown_from_its_beginning() {
        assert_eq!(beginning("hola", 4), "hola");
        assert_eq!(beginning("año nuevo", 2), "a… (9 bytes more)");
    }

    /// How well a colour can be read on another one: WCAG 2.2, "contrast ratio".
    fn contrast(a: egui::Color32, b: egui::Color32) -> f32 {
        let luminance = |colour: egui::Color32| {
            let [r, g, b, _] = egui::Rgba::from(colour).to_array();
            0.2126 * r + 0.7152 * g + 0.0722 * b + 0.05
        };
        let (a, b) = (luminance(a), luminance(b));
        a.max(b) / a.min(b)
    }

    #[test]
    fn every_text_can_be_read() {
        let context = egui::Context::default();
        dress(&context);
        for theme in [egui::Theme::Dark, egui::Theme::Light] {
            let visuals = &context.style_of(theme).visuals;
            let (text, panel) = (visuals.text_color(), visuals.panel_fill);
            let colours = Colours::of(visuals.dark_mode);
            for (colour, ground) in [
                (colours.mine, panel),
                (colours.name, panel),
                (colours.announced, panel),
                (colours.refused, panel),
                (visuals.weak_text_color(), panel),
                (text, panel),
                (text, visuals.selection.bg_fill),
            ] {
                let ratio = contrast(colour, ground);
                // WCAG asks for this, for text of this size (level AA).
                assert!(ratio >= 4.5, "{theme:?}: {colour:?} has only {ratio}");
            }
            // And for the borders of fields and buttons.
            let border = visuals.widgets.inactive.bg_stroke.color;
            assert!(contrast(border, panel) >= 3.0, "{theme:?}: {border:?}");
        }
    }
}
