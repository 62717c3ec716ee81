//! The real programs: without a display, and on a virtual one.

use std::io::Write;
use std::time::Instant;

use harness::{Program, applies_to_ours_only, example, patience};

use super::windows::prints;

#[test]
fn without_a_display_the_programs_say_so() {
    if !applies_to_ours_only() || !cfg!(target_os = "linux") {
        return;
    }
    for name in ["10_window_client", "10_window_server"] {
        let mut command = example(name);
        for variable in ["DISPLAY", "WAYLAND_DISPLAY", "WAYLAND_SOCKET"] {
            command.env_remove(variable);
        }
        let program = Program::start(command).unwrap();
        let status = program.wait(patience()).expect("it ends");
        assert_eq!(status.code(), Some(1));
        let lines = program.output().lines();
        let [line] = &lines[..] else {
            panic!("{lines:#?}")
        };
        assert!(
            line.starts_with("Error: cannot open a window: is there a display?"),
            "{line}"
        );
    }
}

/// The real programs, on a virtual display with a virtual keyboard.
#[cfg(target_os = "linux")]
#[test]
fn the_real_programs_open_windows_and_chat() {
    if !applies_to_ours_only() {
        return;
    }
    let Some(display) = virtual_display() else {
        let what = "the real windows were not opened: there is no Xvfb or no xdotool here";
        let _ = writeln!(
            std::io::stderr(),
            "{what} (Debian: apt-get install xvfb xdotool)"
        );
        return;
    };
    let mut command = display.command(example("10_window_server"));
    command.args(["--port", "0"]);
    let server = Program::start(command).unwrap();
    let address = prints(&server, "listening on ");
    let port = address.rsplit(':').next().unwrap();
    display.has_window("Chat server");

    let mut command = display.command(example("10_window_client"));
    command.args(["--name", "ana", "--port", port]);
    let ana = Program::start(command).unwrap();
    let mut beto = example("04_chat_client");
    beto.args(["--name", "beto", "--port", port]);
    let mut beto = Program::start(beto).unwrap();
    prints(&beto, "* welcome, beto");
    // The button *Connect* has the keyboard.
    let window = display.has_window("Chat");
    display.presses(&window, &["key", "Return"]);
    prints(&beto, "* ana joined");
    display.presses(&window, &["type", "hola, terminal"]);
    display.presses(&window, &["key", "Return"]);
    prints(&beto, "ana: hola, terminal");
    // Ctrl-C closes a window in order, as the button in its corner does.
    ana.interrupt().unwrap();
    prints(&beto, "* ana left");
    assert!(ana.wait(patience()).is_some_and(|status| status.success()));
    server.interrupt().unwrap();
    prints(&beto, "* the server is closing");
    beto.ends_input();
    assert!(
        server
            .wait(patience())
            .is_some_and(|status| status.success())
    );
    prints(&server, "closed");
}

/// A display without a screen, which ends with the test.
#[cfg(target_os = "linux")]
struct Display {
    name: String,
    _server: Program,
}

#[cfg(target_os = "linux")]
fn virtual_display() -> Option<Display> {
    let is_there = |tool| {
        std::process::Command::new(tool)
            .arg("-version")
            .output()
            .is_ok()
    };
    if !is_there("xdotool") {
        return None;
    }
    let mut xvfb = std::process::Command::new("Xvfb");
    // Xvfb picks a free number, and prints it when it is ready.
    xvfb.args([
        "-displayfd",
        "1",
        "-nolisten",
        "tcp",
        "-screen",
        "0",
        "1280x800x24",
    ]);
    let server = Program::start(xvfb).ok()?;
    let deadline = Instant::now() + 4 * patience();
    let mut lines = (0..).map_while(|index| server.output().line(index, deadline));
    let number = lines.find(|line| line.parse::<u32>().is_ok())?;
    Some(Display {
        name: format!(":{number}"),
        _server: server,
    })
}

#[cfg(target_os = "linux")]
impl Display {
    /// A program whose windows are to appear here, drawn without a graphics card.
    fn command(&self, mut command: std::process::Command) -> std::process::Command {
        command.env("DISPLAY", &self.name);
        command.env("LIBGL_ALWAYS_SOFTWARE", "1");
        command
            .env_remove("WAYLAND_DISPLAY")
            .env_remove("WAYLAND_SOCKET");
        command
    }

    /// Waits for a window with exactly this title, and gives it the keyboard.
    #[track_caller]
    fn has_window(&self, title: &str) -> String {
        let deadline = Instant::now() + 4 * patience();
        while Instant::now() < deadline {
            let title = format!("^{title}$");
            let found = self.tool(&["search", "--onlyvisible", "--name", &title]);
            if let Some(window) = found.lines().next() {
                self.tool(&["windowfocus", "--sync", window]);
                return window.into();
            }
        }
        panic!("no window called {title:?} has opened");
    }

    fn presses(&self, window: &str, keys: &[&str]) {
        self.tool(&["windowfocus", "--sync", window]);
        self.tool(keys);
    }

    fn tool(&self, words: &[&str]) -> String {
        let mut tool = self.command(std::process::Command::new("xdotool"));
        let output = tool.args(words).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}
