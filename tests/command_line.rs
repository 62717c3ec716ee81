//! The command line of every program in `examples/`: its help, its options, and its
//! errors, each one sentence that says what to do next.

use std::fs;
use std::net::TcpListener;

use assert_cmd::Command;
use harness::{Program, build_ahead, example, free_port, patience, root};
use predicates::prelude::*;

/// The names of all programs that end like this, by their files. Not those of stage 10: they
/// need a feature, and show their errors in windows.
fn programs(ending: &str) -> Vec<String> {
    let files = fs::read_dir(root().join("examples")).unwrap();
    let mut names: Vec<_> = files
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        // A program is a file, or a folder.
        .map(|file| file.trim_end_matches(".rs").to_owned())
        .filter(|name| name.ends_with(ending))
        .filter(|name| !name.starts_with("my_") && !name.starts_with("10_"))
        .collect();
    names.sort();
    assert!(!names.is_empty(), "no examples/*{ending}.rs");
    build_ahead(names.iter().map(String::as_str));
    names
}

fn run(name: &str, arguments: &[&str]) -> assert_cmd::assert::Assert {
    let mut command = Command::from_std(example(name));
    command
        .env_remove("STAGE_PORT")
        // A back-trace is for a panic. Below an error in one sentence there is none.
        .env("RUST_BACKTRACE", "1")
        .args(arguments)
        .timeout(patience())
        .assert()
}

/// Exit status 1, and this one sentence on the standard error, with no more around it.
fn fails_with(name: &str, arguments: &[&str], sentence: &str) {
    run(name, arguments)
        .code(1)
        .stdout("")
        .stderr(format!("Error: {sentence}\n"));
}

#[test]
fn help_tells_what_the_program_does_and_how_to_end_it() {
    for name in programs("_server") {
        run(&name, &["--help"]).success().stdout(
            predicate::str::contains("--host <HOST>")
                .and(predicate::str::contains("[default: 127.0.0.1]"))
                .and(predicate::str::contains("[env: STAGE_PORT=]"))
                .and(predicate::str::contains("[default: 12345]"))
                .and(predicate::str::contains("listening on ADDRESS:PORT"))
                .and(predicate::str::contains("Ctrl-C")),
        );
    }
    for name in programs("_client") {
        run(&name, &["--help"]).success().stdout(
            predicate::str::contains("[default: 12345]")
                .and(predicate::str::contains("salir or /quit"))
                .and(predicate::str::contains("Ctrl-D")),
        );
    }
}

#[test]
fn the_port_comes_from_the_command_line_or_the_environment() {
    for name in programs("_server") {
        let (port, _reservation) = free_port();
        let port = port.to_string();
        let mut by_option = example(&name);
        by_option.args(["--port", &port]).env("STAGE_PORT", "1");
        let mut by_variable = example(&name);
        by_variable.env("STAGE_PORT", &port);
        for command in [by_option, by_variable] {
            let server = Program::start(command).unwrap();
            let deadline = std::time::Instant::now() + patience();
            let line = server.output().line(0, deadline);
            assert_eq!(
                line,
                Some(format!("listening on 127.0.0.1:{port}")),
                "{name}"
            );
        }
    }
}

#[test]
fn a_port_in_use() {
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = other.local_addr().unwrap().port();
    for name in programs("_server") {
        fails_with(
            &name,
            &["--port", &port.to_string()],
            &format!(
                "port {port} of 127.0.0.1 is in use: stop the program that uses it, or \
                 choose another with --port (0 takes any free one)"
            ),
        );
    }
}

#[test]
fn a_port_out_of_range() {
    for name in programs("_server") {
        run(&name, &["--port", "70000"])
            .code(2)
            .stderr(predicate::str::contains(
                "--port or STAGE_PORT must be a number from 0 to 65535",
            ));
    }
    for name in programs("_client") {
        run(&name, &["--port", "0"])
            .code(2)
            .stderr(predicate::str::contains(
                "--port or STAGE_PORT must be a number from 1 to 65535",
            ));
    }
}

#[test]
fn an_unknown_host() {
    for name in programs("") {
        fails_with(
            &name,
            &["--host", "nowhere.invalid"],
            "no machine called \"nowhere.invalid\" is known: check the spelling, or give \
             an IP address",
        );
    }
}

#[test]
fn a_host_with_a_port_in_it() {
    for name in programs("") {
        fails_with(
            &name,
            &["--host", "127.0.0.1:4000"],
            "give the host and the port separately: --host 127.0.0.1 --port 4000",
        );
    }
}

#[test]
fn an_address_of_another_machine() {
    // 192.0.2.0/24 is kept for examples and no machine has it (RFC 5737).
    for name in programs("_server") {
        fails_with(
            &name,
            &["--host", "192.0.2.1"],
            "192.0.2.1 is not an address of this machine: give one that is with --host, \
             or 0.0.0.0 for all of them",
        );
    }
}

#[test]
fn no_server_there() {
    let (port, _reservation) = free_port();
    for name in programs("_client") {
        fails_with(
            &name,
            &["--port", &port.to_string()],
            &format!(
                "no server listens on port {port} of 127.0.0.1: start one in another \
                 terminal first, or say where it is with --host and --port"
            ),
        );
    }
}
