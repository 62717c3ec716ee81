//! The lessons and the README are true. The excerpts stand in the files that they name, the
//! transcripts are run, and the links lead to files.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use harness::{build_ahead, root, transcript};

/// A text for readers, and where it is.
struct Page {
    path: PathBuf,
    text: String,
}

/// A fenced block of code: what stands behind the three backticks, its lines, and the
/// line of the page that it begins at.
struct Block<'a> {
    info: &'a str,
    code: String,
    line: usize,
}

fn pages() -> Vec<Page> {
    let lessons = fs::read_dir(root().join("lessons")).unwrap();
    let mut paths: Vec<_> = lessons.map(|file| file.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|ending| ending == "md"));
    paths.push(root().join("README.md"));
    paths.sort();
    paths
        .into_iter()
        .map(|path| Page {
            text: fs::read_to_string(&path).unwrap().replace("\r\n", "\n"),
            path,
        })
        .collect()
}

impl Page {
    fn blocks(&self) -> Vec<Block<'_>> {
        let mut blocks: Vec<Block> = Vec::new();
        let mut open = false;
        for (line, number) in self.text.lines().zip(1..) {
            match (line.strip_prefix("```"), open) {
                (Some(info), false) => {
                    open = true;
                    let code = String::new();
                    let line = number;
                    blocks.push(Block { info, code, line });
                }
                (Some(_), true) => open = false,
                (None, true) => {
                    let code = &mut blocks.last_mut().unwrap().code;
                    code.push_str(line);
                    code.push('\n');
                }
                (None, false) => {}
            }
        }
        assert!(!open, "{}: a block of code is not closed", self.name());
        blocks
    }

    fn name(&self) -> String {
        let path = self.path.strip_prefix(root()).unwrap();
        path.to_string_lossy().replace('\\', "/")
    }

    fn is_stage(&self) -> bool {
        let name = self.path.file_name().unwrap().to_string_lossy();
        name.starts_with(|c: char| c.is_ascii_digit())
    }
}

/// A place in a page, as editors and terminals make it a link.
fn place(page: &Page, block: &Block) -> String {
    format!("{}:{}", page.name(), block.line)
}

/// The windows are compiled only on request, so their transcripts have a test of their own.
fn needs_windows(code: &str) -> bool {
    code.contains("--features window")
}

#[test]
fn every_transcript_shows_what_happens() {
    transcripts_show_what_happens(|code| !needs_windows(code));
}

#[cfg(feature = "window")]
#[test]
fn every_transcript_of_windows_shows_what_happens() {
    transcripts_show_what_happens(needs_windows);
}

fn transcripts_show_what_happens(is_meant: impl Fn(&str) -> bool) {
    let pages = pages();
    let blocks: Vec<_> = pages
        .iter()
        .flat_map(|page| page.blocks().into_iter().map(move |block| (page, block)))
        .filter(|(_, block)| block.info == "console" && is_meant(&block.code))
        .filter(|(_, block)| transcript::applies(&block.code))
        .collect();
    assert!(!blocks.is_empty(), "no transcript was found");
    let commands = blocks.iter().flat_map(|(_, block)| {
        let commands = block.code.split("cargo run --example ").skip(1);
        commands.filter_map(|command| command.split_whitespace().next())
    });
    build_ahead(commands.collect::<BTreeSet<_>>());
    // All run at the same time: each has its own port and its own programs.
    let failures: Vec<_> = thread::scope(|scope| {
        let running: Vec<_> = blocks
            .iter()
            .map(|(page, block)| {
                (
                    place(page, block),
                    scope.spawn(|| transcript::run(&block.code)),
                )
            })
            .collect();
        running
            .into_iter()
            .filter_map(|(place, result)| Some((place, result.join().unwrap().err()?)))
            .map(|(place, difference)| format!("\n{place}: {difference}\n"))
            .collect()
    });
    assert!(failures.is_empty(), "{}", failures.concat());
}

#[test]
fn every_excerpt_stands_in_the_file_it_names() {
    let mut excerpts = 0;
    for page in &pages() {
        for block in page.blocks() {
            let Some((_, path)) = block.info.split_once(' ').filter(|(_, p)| p.contains('/'))
            else {
                continue;
            };
            excerpts += 1;
            let file = fs::read_to_string(root().join(path))
                .unwrap_or_else(|error| panic!("{}: {path}: {error}", place(page, &block)));
            if let Some(missing) = first_missing(&block.code, &file) {
                panic!(
                    "\n{}: this excerpt does not stand in {path}, from this line on:\n{missing}\n",
                    place(page, &block)
                );
            }
        }
    }
    assert!(excerpts > 0, "no excerpt was found");
}

#[test]
fn no_rust_goes_unchecked() {
    for page in &pages() {
        for block in page.blocks() {
            let mut words = block.info.split(' ');
            if words.next() != Some("rust") {
                continue;
            }
            match words.collect::<Vec<_>>()[..] {
                [path] if path.contains('/') => {} // an excerpt
                ["fails", code] => fails_to_compile(page, &block, code),
                _ => panic!(
                    "{}: name the file that the code is from (```rust examples/….rs), or the \
                     error of the compiler (```rust fails E0000)",
                    place(page, &block)
                ),
            }
        }
    }
}

/// The words of the messages in `lessons/PROTOCOL.md` are those that the servers send.
#[test]
fn the_protocol_has_the_servers_words() {
    let pages = pages();
    let protocol = pages
        .iter()
        .find(|page| page.name().ends_with("PROTOCOL.md"));
    let sources = [
        "src/room.rs",
        "examples/03_broadcast_server.rs",
        "examples/06_shutdown_server.rs",
    ];
    let sources = sources.map(|file| fs::read_to_string(root().join(file)).unwrap());
    let blocks = protocol.unwrap().blocks();
    let rules = blocks.iter().filter(|block| block.info == "abnf");
    let words = rules.flat_map(|block| block.code.split("%s\"").skip(1));
    let words: Vec<_> = words.filter_map(|rest| rest.split('"').next()).collect();
    assert!(words.len() > 8, "{words:?}");
    for words in words {
        let sent = sources.iter().any(|source| source.contains(words.trim()));
        assert!(sent, "PROTOCOL.md: no server sends {words:?}");
    }
}

/// The compiler refuses the code, for the reason that the lesson gives.
fn fails_to_compile(page: &Page, block: &Block, code: &str) {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let file = folder.join(place(page, block).replace(['/', ':', '.'], "_") + ".rs");
    fs::write(&file, &block.code).unwrap();
    let compiled = Command::new("rustc")
        .args([
            "--edition",
            "2024",
            "--crate-type",
            "lib",
            "--emit",
            "metadata",
        ])
        .arg("--out-dir")
        .arg(folder)
        .arg(&file)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&compiled.stderr);
    assert!(
        !compiled.status.success() && said.contains(&format!("error[{code}]")),
        "{}: should fail with {code}, but the compiler said:\n{said}",
        place(page, block)
    );
}

/// The first line of the excerpt that does not continue in the file where the lines
/// before it stand. A line of `// …` leaves something out.
fn first_missing<'a>(excerpt: &'a str, file: &str) -> Option<&'a str> {
    let file: Vec<_> = file.lines().collect();
    let excerpt: Vec<_> = excerpt.lines().collect();
    let mut after = 0;
    for part in excerpt.split(|line| line.trim() == "// …") {
        let stands_at = |start: &usize| {
            let lines = &file[*start..*start + part.len()];
            indented(part).eq(indented(lines))
        };
        let last = file.len().saturating_sub(part.len());
        match (after..=last)
            .filter(|start| start + part.len() <= file.len())
            .find(stands_at)
        {
            Some(start) => after = start + part.len(),
            None => return longest_start(part, &file),
        }
    }
    None
}

/// Lines without the indentation that they have in common.
fn indented<'a>(lines: &'a [&'a str]) -> impl Iterator<Item = &'a str> {
    let blanks = |line: &&str| line.len() - line.trim_start().len();
    let filled = lines.iter().filter(|line| !line.trim().is_empty());
    let common = filled.map(blanks).min().unwrap_or(0);
    lines
        .iter()
        .map(move |line| line.get(common..).unwrap_or(""))
}

/// Several places in the file may begin as the excerpt does. The one that agrees longest shows
/// where excerpt and file differ.
fn longest_start<'a>(part: &[&'a str], file: &[&str]) -> Option<&'a str> {
    let same = |start: usize| {
        let pairs = part.iter().zip(&file[start..]);
        pairs.take_while(|(a, b)| a.trim() == b.trim()).count()
    };
    let most = (0..file.len()).map(same).max().unwrap_or(0);
    Some(part.get(most).unwrap_or(&part[0]))
}

#[test]
fn every_lesson_has_the_same_sections() {
    const SECTIONS: [&str; 9] = [
        "The problem",
        "Predict",
        "Run it",
        "What you saw",
        "The code",
        "In Python",
        "Change it",
        "Build it",
        "Still broken",
    ];
    for page in pages().iter().filter(|page| page.is_stage()) {
        let headings: Vec<_> = page
            .text
            .lines()
            .filter_map(|line| line.strip_prefix("## "))
            .collect();
        assert_eq!(headings, SECTIONS, "{}", page.name());
    }
}

#[test]
fn every_lesson_can_be_read_in_three_to_six_minutes() {
    for page in pages().iter().filter(|page| page.is_stage()) {
        let (mut words, mut code, mut folded) = (0, false, false);
        for line in page.text.lines().map(str::trim) {
            match line {
                // What is folded away is not read on the way.
                "<details>" => folded = true,
                "</details>" => folded = false,
                _ if line.starts_with("```") => code = !code,
                _ if code || folded => {}
                _ => words += line.split_whitespace().count(),
            }
        }
        let minutes = words as f64 / 200.0;
        assert!(
            (3.0..=6.0).contains(&minutes),
            "{}: {words} words are {minutes:.1} minutes",
            page.name()
        );
    }
}

#[test]
fn every_link_leads_to_a_file() {
    for page in &pages() {
        for target in page.text.split("](").skip(1) {
            let target = target.split(')').next().unwrap_or_default();
            let (file, _) = target.split_once('#').unwrap_or((target, ""));
            if file.is_empty() || file.contains("://") {
                continue;
            }
            let path = page.path.parent().unwrap().join(file);
            assert!(path.exists(), "{}: no file {target}", page.name());
        }
    }
}

#[test]
fn every_command_names_what_is_there() {
    for page in &pages() {
        for line in page.text.lines() {
            for command in line.split('`').flat_map(|text| text.split('|')) {
                let words: Vec<_> = command.split_whitespace().collect();
                for pair in words.windows(2) {
                    let folder = match pair[0] {
                        "--example" => "examples",
                        "--test" => "tests",
                        _ => continue,
                    };
                    let name = pair[1].trim_matches(['.', ',', ')', '\'', '"']);
                    // A reader's own program, or a place to put a name in.
                    if ["my_", "NN_", "$"].iter().any(|own| name.starts_with(own)) {
                        continue;
                    }
                    let folder = root().join(folder);
                    let files = ["{}.rs", "{}/main.rs"].map(|form| form.replace("{}", name));
                    assert!(
                        files.iter().any(|file| folder.join(file).exists()),
                        "{}: no {name} in {}",
                        page.name(),
                        folder.display()
                    );
                }
            }
        }
    }
}

#[test]
fn one_number_leads_to_program_lesson_and_proof() {
    let names = |folder: &str, ending: &str| -> BTreeSet<String> {
        let files = fs::read_dir(root().join(folder)).unwrap();
        files
            .filter_map(|file| file.unwrap().file_name().into_string().ok())
            .filter(|name| name.starts_with(|c: char| c.is_ascii_digit()))
            // A program or a test may be a folder.
            .map(|name| name.trim_end_matches(".rs").to_owned())
            .filter_map(|name| Some(name.strip_suffix(ending)?.to_owned()))
            .collect()
    };
    let servers = names("examples", "_server");
    assert_eq!(servers, names("lessons", ".md"));
    assert_eq!(servers, names("tests", ""));
    assert!(names("examples", "_client").is_subset(&servers));
    // And both indexes lead there.
    for index in ["README.md", "lessons/README.md"] {
        let text = fs::read_to_string(root().join(index)).unwrap();
        for stage in &servers {
            assert!(
                text.contains(&format!("{stage}.md)")),
                "{index} lacks {stage}"
            );
        }
    }
}

#[test]
fn a_wildcard_stands_for_any_text() {
    assert!(transcript::matches("hola", "hola"));
    assert!(!transcript::matches("hola", "hola a todos"));
    assert!(transcript::matches("[..]:[..] left", "127.0.0.1:4567 left"));
    assert!(!transcript::matches(
        "[..]:[..] left",
        "127.0.0.1:4567 left early"
    ));
    assert!(transcript::matches("a [..]", "a "));
    assert!(!transcript::matches("a [..] b [..] c", "a b c"));
}
