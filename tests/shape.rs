//! The shape of the programs in `examples/`: how much each stage adds to the one before it,
//! and how long and how wide their functions are. A program is read from top to bottom, and
//! the difference between two servers is what a lesson teaches.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use harness::root;

/// Two servers, and how many lines the second one may add to the first.
const STEPS: [(&str, &str, usize); 4] = [
    ("04_chat_server.rs", "05_outbox_server.rs", 60),
    ("05_outbox_server.rs", "06_shutdown_server.rs", 90),
    ("06_shutdown_server.rs", "07_limits_server.rs", 110),
    ("07_limits_server.rs", "10_window_server/chat.rs", 60),
];

/// A screen.
const MOST_LINES: usize = 40;
const MOST_PARAMETERS: usize = 4;

#[test]
fn each_server_adds_few_lines_to_the_one_before() {
    let mut too_many = String::new();
    for (before, after, most) in STEPS {
        let [before, after] = [before, after].map(|file| format!("examples/{file}"));
        if !root().join(&after).exists() {
            println!("{after} is not there");
            continue;
        }
        let diff = Command::new("git")
            .args(["diff", "--no-index", "--numstat", &before, &after])
            .current_dir(root())
            .output();
        let Ok(diff) = diff else {
            return eprintln!("does not run: there is no git on this machine");
        };
        let numbers = String::from_utf8_lossy(&diff.stdout).into_owned();
        let added = numbers
            .split_whitespace()
            .next()
            .and_then(|n| n.parse().ok());
        let added: usize = added.unwrap_or_else(|| panic!("git diff: {numbers:?}"));
        println!("{after} adds {added} lines to {before}, of at most {most}");
        if added > most {
            too_many += &format!("{after} adds {added} lines to {before}, but may add {most}\n");
        }
    }
    assert!(too_many.is_empty(), "\n{too_many}");
}

#[test]
fn every_function_fits_a_screen() {
    check(|function| {
        let lines = function.lines;
        (lines > MOST_LINES).then(|| format!("has {lines} lines, of at most {MOST_LINES}"))
    });
}

#[test]
fn no_function_has_many_parameters() {
    check(|function| {
        let count = function.parameters;
        (count > MOST_PARAMETERS)
            .then(|| format!("has {count} parameters, of at most {MOST_PARAMETERS}"))
    });
}

/// A reader who looks for a name finds one function. (Methods of different types may share
/// their name.)
#[test]
fn no_two_functions_of_a_file_share_a_name() {
    let mut first = BTreeMap::<(PathBuf, String, String), usize>::new();
    check(|function| {
        // A trait prescribes the names of its methods.
        if function.level.contains(" for ") {
            return None;
        }
        let Function {
            file, level, name, ..
        } = function;
        let key = (file.clone(), level.clone(), name.clone());
        let other = *first.entry(key).or_insert(function.line);
        (other != function.line).then(|| format!("has the name of another, in line {other}"))
    });
}

/// A function of an example, as its text shows it.
struct Function {
    file: PathBuf,
    line: usize,
    /// The `impl` or `mod` that it stands in. Empty at the level of the file.
    level: String,
    name: String,
    /// From `fn` to the closing brace.
    lines: usize,
    /// Without `self`.
    parameters: usize,
}

/// Fails with the place of each function that has this fault.
#[track_caller]
fn check(mut fault: impl FnMut(&Function) -> Option<String>) {
    let functions = functions();
    assert!(functions.len() > 50, "only {} were found", functions.len());
    let mut faults = String::new();
    for function in &functions {
        if let Some(fault) = fault(function) {
            let Function {
                file, line, name, ..
            } = function;
            faults += &format!("{}:{line}: `{name}` {fault}\n", file.display());
        }
    }
    assert!(faults.is_empty(), "\n{faults}");
}

/// All functions of the examples that come with the kit.
fn functions() -> Vec<Function> {
    let mut files = Vec::new();
    let is_own = |path: &Path| {
        path.file_name()
            .is_some_and(|n| n.to_string_lossy().starts_with("my_"))
    };
    let mut folders = vec![PathBuf::from("examples")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(root().join(&folder)).unwrap() {
            let path = folder.join(entry.unwrap().file_name());
            match root().join(&path).is_dir() {
                true => folders.push(path),
                false if path.extension().is_some_and(|e| e == "rs") && !is_own(&path) => {
                    files.push(path);
                }
                false => {}
            }
        }
    }
    files.sort();
    files.iter().flat_map(|file| functions_of(file)).collect()
}

/// The functions of a file that `rustfmt` has formatted: each begins and ends on lines with
/// the same indentation.
fn functions_of(file: &Path) -> Vec<Function> {
    let text = fs::read_to_string(root().join(file))
        .unwrap()
        .replace("\r\n", "\n");
    let lines: Vec<_> = text.lines().collect();
    let mut functions = Vec::new();
    let mut level = String::new();
    for (index, line) in lines.iter().enumerate() {
        let code = line.trim_start();
        let indentation = &line[..line.len() - code.len()];
        if indentation.is_empty() && (code.starts_with("impl") || code.starts_with("mod ")) {
            level = code.trim_end_matches(" {").to_owned();
        } else if *line == "}" {
            level.clear();
        }
        let words: Vec<_> = code.split(' ').collect();
        let modifiers = [
            "pub",
            "pub(crate)",
            "pub(super)",
            "async",
            "const",
            "unsafe",
        ];
        let Some(at) = words.iter().position(|word| !modifiers.contains(word)) else {
            continue;
        };
        if words[at] != "fn" {
            continue;
        }
        let end = format!("{indentation}}}");
        let rest = &lines[index..];
        let length = 1 + rest.iter().position(|line| *line == end).unwrap_or(0);
        let signature = rest[..length].join("\n");
        let (_, signature) = signature.split_once("fn ").unwrap();
        let name = signature.split(['(', '<']).next().unwrap().to_owned();
        functions.push(Function {
            file: file.to_owned(),
            line: index + 1,
            level: level.clone(),
            name,
            lines: length,
            parameters: parameters(signature),
        });
    }
    functions
}

/// How many parameters a signature has, `self` not counted.
fn parameters(signature: &str) -> usize {
    // Generic parameters, as in `fn name<F: Fn(u8)>(…)`, stand before the others.
    let mut depth = 0;
    let mut begin = None;
    let mut parts = vec![String::new()];
    let mut previous = ' ';
    for (index, c) in signature.char_indices() {
        match c {
            '(' if depth == 0 && begin.is_none() => begin = Some(index),
            ')' if depth == 0 && begin.is_some() => break,
            ',' if depth == 0 && begin.is_some() => parts.push(String::new()),
            _ if begin.is_some() => parts.last_mut().unwrap().push(c),
            _ => {}
        }
        match c {
            '(' if begin == Some(index) => {}
            '(' | '[' | '<' => depth += 1,
            ')' | ']' => depth -= 1,
            '>' if previous != '-' && previous != '=' => depth -= 1,
            _ => {}
        }
        previous = c;
    }
    let is_self = |part: &str| part.split([' ', '&']).any(|word| word == "self");
    let parts = parts.iter().map(|part| part.trim());
    parts
        .filter(|part| !part.is_empty() && !is_self(part))
        .count()
}

#[test]
fn parameters_are_counted() {
    assert_eq!(parameters("main() {"), 0);
    assert_eq!(parameters("read(&mut self, id: Id) -> bool {"), 1);
    assert_eq!(
        parameters("new(\n    a: u8,\n    b: (u8, u8),\n) -> Self {"),
        2
    );
    assert_eq!(
        parameters("each<F: Fn(u8, u8) -> u8>(act: F, all: &Map<u8, u8>) {"),
        2
    );
}
