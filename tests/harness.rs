//! The tests of the tests: `STAGE_CMD` takes any server in any language, says what is
//! wrong with one that it cannot use, and nothing is left running.

use std::fs;
use std::net::TcpStream;
use std::panic;
use std::process::{Command, Output};

use harness::{Server, example, root, start_foreign};

/// What the learner is told about a command that cannot be used.
fn complaint(template: &str) -> String {
    match start_foreign("00_echo", template) {
        Ok(_) => panic!("{template} was started"),
        Err(complaint) => complaint,
    }
}

/// The path of one of our servers, as a word for `STAGE_CMD`.
fn quoted(program: &str) -> String {
    let program = example(program);
    shell_words::quote(&program.get_program().to_string_lossy()).into_owned()
}

/// Cargo finds the tests of this package by its manifest alone.
#[test]
fn every_test_is_in_the_manifest() {
    let folder = root().join("tests");
    let manifest = fs::read_to_string(folder.join("Cargo.toml")).unwrap();
    for file in fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        if path.extension().is_some_and(|ending| ending == "rs") || path.join("main.rs").exists() {
            let name = path.file_stem().unwrap().to_str().unwrap();
            let line = format!("name = \"{name}\"");
            assert!(
                manifest.lines().any(|it| it == line),
                "tests/Cargo.toml: no {line}"
            );
        }
    }
}

#[test]
fn a_command_without_a_place_for_the_port() {
    let complaint = complaint("python3 -u my_server.py 12345");
    assert!(complaint.contains("no {port} in it"), "{complaint}");
    assert!(complaint.contains("for example"), "{complaint}");
}

#[test]
fn a_command_with_half_a_quotation() {
    let complaint = complaint("python3 'my server.py {port}");
    assert!(
        complaint.contains("quotation mark without its partner"),
        "{complaint}"
    );
}

#[test]
fn an_empty_command() {
    let complaint = complaint("");
    assert!(complaint.contains("no {port} in it"), "{complaint}");
}

#[test]
fn a_program_that_cannot_be_started() {
    let complaint = complaint("no-such-program --port {port}");
    assert!(
        complaint.contains("\"no-such-program\" cannot be started"),
        "{complaint}"
    );
}

#[test]
fn a_program_that_ends_at_once() {
    let complaint = complaint(&format!("{} --prot {{port}}", quoted("00_echo_server")));
    assert!(
        complaint.contains("ended before it listened"),
        "{complaint}"
    );
    // What it printed tells why.
    assert!(
        complaint.contains("unexpected argument '--prot'"),
        "{complaint}"
    );
}

#[test]
fn words_are_split_as_by_a_shell() {
    let server = quoted("00_echo_server");
    let template = format!("{server} '--port' \"{{port}}\" --host=127.0.0.1");
    let server = start_foreign("00_echo", &template).unwrap();
    let mut ana = server.client("ana");
    ana.says("hola");
    ana.hears("hola");
}

#[test]
fn nothing_outlives_a_test_that_fails() {
    let mut address = None;
    let failure = panic::catch_unwind(panic::AssertUnwindSafe(|| {
        let server = Server::start("00_echo");
        address = Some(server.address());
        let mut ana = server.client("ana");
        ana.says("hola");
        ana.hears("adiós");
    }));
    assert!(failure.is_err());
    TcpStream::connect(address.unwrap()).expect_err("the server should have ended");
}

#[cfg(unix)]
#[test]
fn nothing_outlives_its_parent() {
    let server = quoted("00_echo_server");
    let template = format!("sh -c '{server} --port {{port}} & wait'");
    let server = start_foreign("00_echo", &template).unwrap();
    let address = server.address();
    drop(server);
    // The shell's child has been killed, and ends as soon as the system gets to it.
    let deadline = std::time::Instant::now() + harness::patience();
    while TcpStream::connect(address).is_ok() {
        assert!(
            std::time::Instant::now() < deadline,
            "the server outlives its shell"
        );
    }
}

mod in_python {
    use super::*;

    /// The path of a Python of version 3, if there is one. (What `python3` finds first
    /// may be a script that looks for the real one, each time again.)
    fn python() -> Option<String> {
        let path_of = |name: &str| {
            let code = "import sys; print(sys.executable if sys.version_info >= (3, 8) else '')";
            let said = Command::new(name).args(["-c", code]).output().ok()?;
            let path = String::from_utf8(said.stdout).ok()?.trim().to_owned();
            (!path.is_empty()).then_some(path)
        };
        let found = ["python3", "python"].into_iter().find_map(path_of);
        if found.is_none() {
            eprintln!("does not run: there is no Python 3 on this machine");
        }
        found
    }

    /// Runs a stage's tests (or some of them) as a reader does, against
    /// `tests/servers/{server}.py`.
    fn check(stage: &str, server: &str, tests: &[&str], patience: &str) -> Option<Output> {
        let python = python()?;
        let python = shell_words::quote(&python);
        let command = format!("{python} -u tests/servers/{server}.py {{port}}");
        let mut cargo = Command::new(env!("CARGO"));
        cargo
            .args(["test", "--quiet", "--test", stage, "--"])
            .args(tests)
            .current_dir(root())
            .env("STAGE_CMD", command)
            .env("RUST_TEST_THREADS", "8")
            .env("STAGE_PATIENCE_SECS", patience);
        Some(cargo.output().unwrap())
    }

    fn text(output: &Output) -> String {
        String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into()
    }

    fn is_accepted(stage: &str) {
        let Some(checked) = check(stage, stage, &[], "5") else {
            return;
        };
        let text = text(&checked);
        assert!(checked.status.success(), "{text}");
        assert!(text.contains("does not apply to STAGE_CMD"), "{text}");
    }

    #[test]
    fn a_right_server_for_00_is_accepted() {
        is_accepted("00_echo");
    }

    #[test]
    fn a_right_server_for_01_is_accepted() {
        is_accepted("01_sequential_join");
    }

    #[test]
    fn a_right_server_for_02_is_accepted() {
        is_accepted("02_parallel");
    }

    #[test]
    fn a_right_server_for_03_is_accepted() {
        is_accepted("03_broadcast");
    }

    #[test]
    fn the_server_that_tutorials_have_is_told_its_two_faults() {
        let right = [
            "every_other_client_hears_a_line",
            "a_client_does_not_hear_its_own_line",
            "each_line_tells_who_said_it",
            "a_client_that_stops_sending_gets_the_end_and_the_others_go_on",
        ];
        let wrong = [
            "a_reset_in_the_middle_of_a_burst_does_not_disturb_the_others",
            "a_line_in_two_packets_is_one_line",
        ];
        let why = [
            "or take a lock that is held already?",
            "the server takes what one read returned for a line",
        ];
        let tests = [&right[..], &wrong[..]].concat();
        let Some(checked) = check("03_broadcast", "03_broadcast_as_often_taught", &tests, "2")
        else {
            return;
        };
        let text = text(&checked);
        assert!(!checked.status.success(), "{text}");
        for test in right {
            assert!(!text.contains(&format!("---- {test} ")), "{text}");
        }
        for (test, why) in wrong.iter().zip(why) {
            assert!(text.contains(&format!("---- {test} ")), "{text}");
            assert!(text.contains(why), "{text}");
        }
        assert!(text.contains("4 passed; 2 failed"), "{text}");
    }
}
