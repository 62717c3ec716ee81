//! Draws the pictures of the lesson.

use std::path::Path;

use harness::root;
use harness::screen::Look;
use socket_stages_window::eframe::egui::Theme;

use super::windows::{
    ClientScreen, ServerScreen, client_window, client_window_as, server_window_as,
};

/// Draws the pictures of the lesson, and some more to look at after a change of the windows:
/// `cargo test --features window --test 10_window draw_the_pictures -- --ignored`
#[test]
#[ignore = "it writes files"]
fn draw_the_pictures() {
    let look = |theme| Look {
        size: [640.0, 400.0],
        theme,
        scale: 2.0,
    };
    let images = root().join("lessons/images");
    let (mut server, _clients) = a_conversation(look(Theme::Light));
    server.picture().save(&images.join("10_window_server.png"));
    let (_server, [mut ana, ..]) = a_conversation(look(Theme::Dark));
    ana.picture().save(&images.join("10_window_client.png"));

    let more = Path::new(env!("CARGO_TARGET_TMPDIR"));
    for (size, scale) in [([480.0, 360.0], 1.0), ([1600.0, 1000.0], 1.0)] {
        for theme in [Theme::Dark, Theme::Light] {
            let look = Look { size, theme, scale };
            let (mut server, [mut ana, ..]) = a_conversation(look);
            let [width, height] = size;
            let name = format!("{width}x{height}_{theme:?}.png");
            server.picture().save(&more.join(format!("server_{name}")));
            ana.picture().save(&more.join(format!("client_{name}")));
        }
    }
}

/// The windows of a server and of three clients, in the middle of a conversation.
fn a_conversation(look: Look) -> (ServerScreen, [ClientScreen; 3]) {
    let (mut server, address) = server_window_as(look, &[]);
    let mut ana = client_window_as("ana", address, look, &[]);
    ana.clicks("Connect");
    ana.shows("in the room as ana");
    let mut beto = client_window("beto", address);
    beto.clicks("Connect");
    beto.shows("in the room as beto");
    ana.says("hola, beto");
    beto.shows("ana: hola, beto");
    beto.says("hola, ana. Do we all type into a window now?");
    ana.shows("into a window now?");
    ana.says("Only those who want to; the terminal clients of the earlier lessons are welcome.");
    beto.shows("terminal clients");
    let mut carla = client_window("carla", address);
    carla.clicks("Connect");
    carla.shows("in the room as carla");
    carla.says("¿Qué tal? Soy carla");
    ana.shows("Soy carla");
    server.shows("Soy carla");
    server.says("welcome, all of you");
    ana.shows("welcome, all of you");
    server.clicks("ana, 127.0.0.1");
    server.says("could you stay a little longer?");
    ana.shows("to you: could you stay");
    ana.types("of course");
    server.types("thank you");
    (server, [ana, beto, carla])
}
