//! The prompt of the clients, on a screen in memory.

use std::num::NonZero;

use socket_stages::prompt::Prompt;

/// A terminal of 5 rows and 80 columns with `before` on it.
fn terminal(before: &str) -> vt100::Parser {
    let [rows, columns] = [5, 80].map(|count| NonZero::new(count).unwrap());
    let mut terminal = vt100::Parser::new(rows, columns, 0);
    terminal.process(before.replace('\n', "\r\n").as_bytes());
    terminal
}

fn print(terminal: &mut vt100::Parser, line: &str) {
    let mut bytes = Vec::new();
    Prompt::visible(true)
        .write_line(&mut bytes, line, 80)
        .unwrap();
    // A terminal shows a line feed as carriage return and line feed (ONLCR).
    let text = String::from_utf8(bytes).unwrap().replace('\n', "\r\n");
    terminal.process(text.as_bytes());
}

#[test]
fn a_line_arrives_above_what_is_being_typed() {
    let mut terminal = terminal("> ho");
    print(&mut terminal, "beto: buenas");
    assert_eq!(terminal.screen().contents(), "beto: buenas\n> ho");
    assert_eq!(terminal.screen().cursor_position(), (1, 4));
}

#[test]
fn a_line_arrives_above_what_is_being_typed_on_the_last_row() {
    let mut terminal = terminal("1\n2\n3\n4\n> ho");
    print(&mut terminal, "beto: buenas");
    print(&mut terminal, "carla: 漢字");
    assert_eq!(
        terminal.screen().contents(),
        "3\n4\nbeto: buenas\ncarla: 漢字\n> ho"
    );
    assert_eq!(terminal.screen().cursor_position(), (4, 4));
}

#[test]
fn a_long_line_leaves_the_prompt_behind_and_shows_it_again() {
    let mut terminal = terminal("> ho");
    let long = "long".repeat(20);
    print(&mut terminal, &long);
    assert_eq!(terminal.screen().contents(), format!("> ho\n{long}\n> "));
}

#[test]
fn the_last_line_takes_the_place_of_the_prompt() {
    let mut terminal = terminal("beto: buenas\n> ho");
    let mut bytes = Vec::new();
    Prompt::visible(true)
        .write_close(&mut bytes, "closed", 80)
        .unwrap();
    terminal.process(&bytes);
    assert_eq!(terminal.screen().contents(), "beto: buenas\nclosed");
}

#[test]
fn a_pipe_gets_the_lines_and_nothing_else() {
    let mut bytes = Vec::new();
    let prompt = Prompt::visible(false);
    prompt.write_prompt(&mut bytes).unwrap();
    prompt.write_line(&mut bytes, "hola", 80).unwrap();
    prompt.write_close(&mut bytes, "closed", 80).unwrap();
    assert_eq!(bytes, b"hola\nclosed\n");
}
