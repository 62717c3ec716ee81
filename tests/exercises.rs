//! The exercises of the lessons, *Change it*. Lesson, check, hints and solution belong together
//! by name. Every check fails before its solution and passes after it. The loop in the
//! teachers' notes grades a folder of submissions.
//!
//! The quick half runs with all the other tests. The slow one builds every solution:
//! `cargo test --test exercises -- --ignored --nocapture`

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{LazyLock, Mutex};
use std::thread;
use std::time::Instant;

use harness::root;

/// The lessons whose exercises have checks: all but the last.
static STAGES: LazyLock<Vec<String>> = LazyLock::new(harness::stages);

/// An exercise, as the lesson has it.
struct Exercise {
    stage: &'static str,
    number: usize,
    /// What the lesson says: the exercise, its hints, and where its solution is.
    text: String,
}

fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    let text = fs::read_to_string(&path);
    let text = text.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    text.replace("\r\n", "\n")
}

fn lesson(stage: &str) -> String {
    read(format!("lessons/{stage}.md"))
}

/// A section of a lesson, up to the next heading.
fn section<'a>(lesson: &'a str, heading: &str) -> &'a str {
    let (_, section) = lesson.split_once(&format!("\n## {heading}\n")).unwrap();
    section.split("\n## ").next().unwrap()
}

/// The numbered list of *Change it*.
fn exercises() -> Vec<Exercise> {
    let mut all: Vec<Exercise> = Vec::new();
    for stage in STAGES.iter() {
        let lesson = lesson(stage);
        let mut numbers = 1..;
        for line in section(&lesson, "Change it").lines() {
            match line.split_once(". ") {
                Some((number, text)) if number.parse::<usize>().is_ok() => all.push(Exercise {
                    stage,
                    number: numbers.next().unwrap(),
                    text: format!("{text}\n"),
                }),
                _ => {
                    // Text before the first exercise is about all of them.
                    if let Some(exercise) = all.last_mut().filter(|last| last.stage == stage) {
                        exercise.text += line;
                        exercise.text += "\n";
                    }
                }
            }
        }
    }
    all
}

impl Exercise {
    /// What lesson, check and solution have in common.
    fn name(&self) -> String {
        format!("{}_{}", self.stage, self.number)
    }

    fn check(&self) -> String {
        format!("exercises::exercise_{}", self.number)
    }

    fn patch(&self) -> String {
        format!("lessons/solutions/{}.patch", self.name())
    }

    /// The files that the solution changes.
    fn changes(&self) -> BTreeSet<String> {
        let patch = read(self.patch());
        let files = patch.lines().filter_map(|line| line.strip_prefix("+++ b/"));
        files.map(String::from).collect()
    }

    fn changes_the_library(&self) -> bool {
        self.changes().iter().any(|file| file.starts_with("src/"))
    }

    /// The solution as the lesson shows it, folded away: the reason, and the changes.
    fn shown_solution(&self) -> String {
        let patch = read(self.patch());
        let (why, changes) = patch.split_once("\n\ndiff --git ").expect("a patch");
        let changes = changes.lines().skip(1);
        let changes: Vec<_> = changes.filter(|line| !line.starts_with("diff ")).collect();
        let (name, changes) = (self.name(), changes.join("\n"));
        let text = format!(
            "{FOLDED_SOLUTION}\n\n{}\n\n```diff\n{changes}\n```\n\n\
             [As a patch](solutions/{name}.patch)\n\n</details>",
            why.trim()
        );
        // It belongs to an item of a list, so it is indented.
        let lines = text.lines().map(|line| format!("   {line}"));
        let lines: Vec<_> = lines.map(|line| line.trim_end().to_owned()).collect();
        lines.join("\n")
    }

    /// Where the lesson shows the solution, or only has a link to it.
    fn place_of_the_solution(&self, lesson: &str) -> Range<usize> {
        let link = format!("](solutions/{}.patch)", self.name());
        let at = lesson.find(&link).expect(&link);
        let line = lesson[..at].rfind('\n').unwrap() + 1;
        if lesson[line..].starts_with("   [Solution]") {
            return line..at + link.len();
        }
        let end = "</details>";
        let folded = FOLDED_SOLUTION.replace('\n', "\n   ");
        let begin = lesson[..at].rfind(&folded).expect("a folded solution") - 3;
        begin..at + lesson[at..].find(end).unwrap() + end.len()
    }

    /// The text of each hint, folded away in the lesson.
    fn hints(&self) -> Vec<&str> {
        const HINTS: [&str; 3] = [
            "Hint 1: a question",
            "Hint 2: the plan",
            "Hint 3: the line that matters",
        ];
        let hints = |(summary, _): &(&str, &str)| *summary != "Solution";
        let folded: Vec<_> = folded(&self.text).filter(hints).collect();
        let summaries: Vec<_> = folded.iter().map(|(summary, _)| *summary).collect();
        assert_eq!(summaries, HINTS, "{}: the hints", self.name());
        folded.into_iter().map(|(_, hint)| hint).collect()
    }
}

/// What a page folds away: the summary, and the text behind it.
fn folded(page: &str) -> impl Iterator<Item = (&str, &str)> {
    page.split("<details>").skip(1).map(|details| {
        let (details, _) = details.split_once("</details>").expect("</details>");
        let (_, details) = details.split_once("<summary>").expect("<summary>");
        let (summary, text) = details.split_once("</summary>").expect("</summary>");
        // GitHub shows what follows as Markdown only after an empty line.
        assert!(text.starts_with("\n\n"), "after {summary:?}: an empty line");
        (summary, text.trim())
    })
}

#[test]
fn every_lesson_has_two_or_three_exercises_and_tells_how_to_check_them() {
    for stage in STAGES.iter() {
        let all = exercises();
        let count = all.iter().filter(|one| one.stage == stage).count();
        assert!((2..=3).contains(&count), "{stage}: {count} exercises");
        let lesson = lesson(stage);
        let command = format!("cargo test --test {stage} exercise_1 -- --ignored");
        assert!(
            section(&lesson, "Change it").contains(&command),
            "{stage}: *Change it* does not tell how to check an exercise: {command}"
        );
    }
}

#[test]
fn every_exercise_has_a_check_and_every_check_an_exercise() {
    let checks = STAGES.iter().flat_map(|stage| {
        let file = format!("tests/{stage}/exercises.rs");
        let module = read(&file);
        let number = &stage[..2];
        let head = format!("#[test]\n#[ignore = \"an exercise of lesson {number}\"]\nfn exercise_");
        let tests = module.matches("#[test]").count();
        let checks: Vec<_> = module.split(&head).skip(1).collect();
        assert_eq!(tests, checks.len(), "{file}: each begins {head}");
        let numbers = checks
            .into_iter()
            .map(|check| check.split_once("()").unwrap().0.to_owned());
        numbers
            .map(|number| format!("{stage}_{number}"))
            .collect::<Vec<_>>()
    });
    let names: Vec<_> = exercises().iter().map(Exercise::name).collect();
    assert_eq!(checks.collect::<Vec<_>>(), names);
}

#[test]
fn every_exercise_has_a_solution_that_says_why_and_every_solution_an_exercise() {
    let files = fs::read_dir(root().join("lessons/solutions")).unwrap();
    let files = files.map(|file| file.unwrap().file_name().into_string().unwrap());
    let patches: BTreeSet<_> = files.collect();
    let expected: BTreeSet<_> = exercises()
        .iter()
        .map(|exercise| format!("{}.patch", exercise.name()))
        .collect();
    assert_eq!(patches, expected);

    for exercise in exercises() {
        let name = exercise.patch();
        let patch = read(&name);
        let (why, _) = patch.split_once("\ndiff --git ").expect("a patch");
        let why = why.trim();
        assert!(
            why.split_whitespace().count() >= 10 && why.ends_with('.'),
            "{name} begins with a sentence on why it is done so"
        );
        let link = format!("](solutions/{}.patch)", exercise.name());
        assert!(exercise.text.contains(&link), "{link} is not in the lesson");
        // The tests are those that the learner has.
        for file in exercise.changes() {
            assert!(
                file.starts_with("examples/") || file.starts_with("src/"),
                "{name} changes {file}"
            );
        }
    }
}

/// How a folded solution begins in a lesson.
const FOLDED_SOLUTION: &str = "<details>\n<summary>Solution</summary>";

/// The lesson, with each solution as its patch has it now.
fn with_solutions(stage: &str) -> String {
    let mut lesson = lesson(stage);
    for exercise in exercises().iter().filter(|one| one.stage == stage) {
        let place = exercise.place_of_the_solution(&lesson);
        lesson.replace_range(place, &exercise.shown_solution());
    }
    lesson
}

#[test]
fn every_folded_solution_is_its_patch() {
    for stage in STAGES.iter() {
        let lesson = lesson(stage);
        // A lesson folds all of its solutions, or has a link to each.
        if lesson.contains("<summary>Solution</summary>") {
            assert!(
                lesson == with_solutions(stage),
                "lessons/{stage}.md shows another solution than lessons/solutions. To write them \
                 anew: cargo test --test exercises write_the_solutions -- --ignored"
            );
        }
    }
}

#[test]
#[ignore = "writes the solutions into the lessons anew"]
fn write_the_solutions_into_the_lessons() {
    let _turn = TURN.lock(); // the other slow tests read the lessons
    for stage in STAGES.iter() {
        let lesson = with_solutions(stage);
        fs::write(root().join(format!("lessons/{stage}.md")), lesson).unwrap();
    }
}

#[test]
fn every_exercise_has_three_hints_and_the_last_one_is_in_the_solution() {
    for exercise in exercises() {
        let name = exercise.name();
        let hints = exercise.hints();
        assert!(hints[0].contains('?'), "{name}: hint 1 is a question");
        let (_, code) = hints[2].split_once("```rust\n").expect("```rust");
        let (code, _) = code.split_once("```").expect("the end of the code");
        let patch = read(exercise.patch());
        let added: Vec<_> = patch
            .lines()
            .filter_map(|line| Some(line.strip_prefix('+')?.trim()))
            .collect();
        for line in code.lines().map(str::trim).filter(|line| !line.is_empty()) {
            assert!(
                added.contains(&line),
                "{name}: the solution has no such line as in hint 3:\n{line}"
            );
        }
    }
}

#[test]
fn every_solution_applies() {
    if !git_is_here() {
        return;
    }
    for exercise in exercises() {
        let patch = exercise.patch();
        let applied = git(root()).args(["apply", "--check", &patch]).output();
        let applied = applied.unwrap();
        assert!(
            applied.status.success(),
            "{patch} does not apply. If you have changed the programs yourself, this is why: \
             `git restore examples src` brings them back.\n{}",
            text(&applied)
        );
    }
}

#[test]
fn the_readers_own_programs_stay_out_of_the_way() {
    if !git_is_here() || !root().join(".git").exists() {
        return;
    }
    for file in [
        "examples/my_server.rs",
        "my_server.py",
        "submissions/ana/server.py",
    ] {
        let ignored = git(root()).args(["check-ignore", file]).output().unwrap();
        assert!(ignored.status.success(), "git does not ignore {file}");
    }
}

/// The question of *Predict* has one right answer, which the lesson tells later, and each of
/// the others is a misconception, which the teacher's notes name.
#[test]
fn the_teachers_notes_name_what_is_behind_each_wrong_answer() {
    for stage in STAGES.iter() {
        let lesson = lesson(stage);
        let letters = |text: &str, before: &str, after: &str| -> Vec<char> {
            let parts = text.split(before).skip(1);
            let rest = parts.filter_map(|part| part.split_once(after));
            rest.filter_map(|(letters, _)| {
                let mut letters = letters.chars();
                letters.next().filter(|_| letters.next().is_none())
            })
            .collect()
        };
        let mut wrong = letters(section(&lesson, "Predict"), "\n- **", ".** ");
        let right = letters(section(&lesson, "What you saw"), "he answer is **", "**");
        let [right] = right[..] else {
            panic!("{stage}: *What you saw* should say \"The answer is **A**\", once");
        };
        assert!(wrong.contains(&right), "{stage}: {right} is no answer");
        wrong.retain(|letter| *letter != right);

        let (summary, notes) = folded(&lesson).last().unwrap();
        assert_eq!(summary, "For teachers", "{stage}: the last folded part");
        assert!(lesson.trim_end().ends_with("</details>"), "{stage}");
        for begin in ["- **Run**", "- **Notice**", "- **Ask**"] {
            assert!(notes.contains(begin), "{stage}: the notes lack {begin}");
        }
        assert_eq!(letters(notes, "\n- **", ".** "), wrong, "{stage}: notes");
    }
}

/// The table for graders quotes messages. The tests must print them.
#[test]
fn the_tests_say_what_graders_are_told_that_they_say() {
    let table = read("lessons/TEACHING.md");
    let (_, table) = table.split_once("\n| the message |").unwrap();
    let table = table.split("\n\n").next().unwrap();
    let harness: String = [
        "harness/client",
        "harness/server",
        "harness/start",
        "harness/contract",
        "03_broadcast/main",
    ]
    .map(|file| read(format!("tests/{file}.rs")))
    .concat();
    let mut quoted = 0;
    for row in table.lines().skip(2) {
        // The words between backticks; `…` stands for what varies.
        let message = row.split('|').nth(1).unwrap();
        for words in message.split('`').skip(1).step_by(2) {
            for part in words.split('…').map(str::trim) {
                assert!(harness.contains(part), "no test says {part:?}");
                quoted += 1;
            }
        }
    }
    assert!(quoted > 5, "the table quotes the messages");
}

fn git(folder: impl AsRef<Path>) -> Command {
    let folder = folder.as_ref();
    let mut git = Command::new("git");
    git.current_dir(folder);
    // The folder may lie inside another repository. Without this, git would look at that one,
    // apply nothing, and say nothing.
    git.env("GIT_CEILING_DIRECTORIES", folder.parent().unwrap());
    git
}

fn git_is_here() -> bool {
    let is_here = Command::new("git").arg("--version").output().is_ok();
    if !is_here {
        eprintln!("does not run: there is no git on this machine");
    }
    is_here
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into()
}

/// The slow tests take turns: each builds and runs much.
static TURN: Mutex<()> = Mutex::new(());

/// A copy of the sources, in which solutions are applied. It shares the build directory:
/// another version number keeps its own artefacts apart, and the crates that both need are
/// there already. Cargo builds only what changes.
struct Copy {
    folder: PathBuf,
}

impl Copy {
    fn make() -> Self {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("exercises");
        let copy = Self { folder };
        copy.restore();
        copy
    }

    /// Restores every file as shipped. A file that has not changed is not touched.
    fn restore(&self) {
        // The text before the version number: once for all packages, and once for each.
        const MANIFESTS: [(&str, &str); 2] = [
            ("Cargo.toml", "\n[workspace.package]"),
            ("Cargo.lock", "\nname = \"socket-stages"),
        ];
        mirror(root(), &self.folder, &|path| {
            let name = path.file_name().unwrap().to_str().unwrap();
            let is_own = name.starts_with("my_") || name.starts_with(".git");
            is_own
                || ["target", "lessons", "submissions"].contains(&name)
                || MANIFESTS.iter().any(|(file, _)| path == root().join(file))
        });
        for (file, before) in MANIFESTS {
            let text = read(file);
            let mut parts = text.split(before);
            let mut changed = parts.next().unwrap().to_owned();
            for part in parts {
                assert!(part.contains("version = \""), "{file}: no version");
                changed += before;
                changed += &part.replacen("version = \"", "version = \"9", 1);
            }
            fs::write(self.folder.join(file), changed).unwrap();
        }
    }

    fn apply(&self, exercise: &Exercise) {
        let patch = root().join(exercise.patch());
        let applied = git(&self.folder).arg("apply").arg(patch).output().unwrap();
        assert!(applied.status.success(), "{}", text(&applied));
        for file in exercise.changes() {
            let formatted = Command::new("rustfmt")
                .args(["--check", "--edition", "2024", &file])
                .current_dir(&self.folder)
                .output()
                .unwrap();
            let name = exercise.patch();
            assert!(formatted.status.success(), "{name}\n{}", text(&formatted));
        }
    }

    fn cargo_test(&self) -> Command {
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
        let mut cargo = Command::new(env!("CARGO"));
        cargo
            .args(["test", "--locked"])
            .current_dir(&self.folder)
            .env("CARGO_TARGET_DIR", target)
            .env_remove("STAGE_CMD");
        cargo
    }

    /// The command that runs a stage's tests.
    fn command(&self, stage: &str) -> Command {
        let mut cargo = self.cargo_test();
        cargo.args(["--test", stage, "--"]);
        cargo
    }

    /// Runs some of a stage's tests.
    fn test(&self, stage: &str, arguments: &[String], patience: &str) -> Output {
        let mut command = self.command(stage);
        let command = command.env("STAGE_PATIENCE_SECS", patience);
        command.args(arguments).output().unwrap()
    }
}

impl Drop for Copy {
    /// The programs in `target/debug/examples` are now those of the copy. Cargo puts back our
    /// own, which are built already.
    fn drop(&mut self) {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["build", "--quiet", "--examples"]);
        // An error comes from one of the reader's own programs, or the next build reports it.
        let _ = cargo.current_dir(root()).output();
    }
}

/// Copies a folder, except for some names. A file that is the same already is not touched.
fn mirror(from: &Path, to: &Path, skips: &dyn Fn(&Path) -> bool) {
    fs::create_dir_all(to).unwrap();
    let names = |folder: &Path| -> BTreeSet<String> {
        let files = fs::read_dir(folder).unwrap();
        files
            .filter_map(|file| file.unwrap().file_name().into_string().ok())
            .filter(|name| !skips(&from.join(name)))
            .collect()
    };
    let wanted = names(from);
    for name in names(to).difference(&wanted) {
        let path = to.join(name);
        match path.is_dir() {
            true => fs::remove_dir_all(path).unwrap(),
            false => fs::remove_file(path).unwrap(),
        }
    }
    for name in wanted {
        let (from, to) = (from.join(&name), to.join(&name));
        if from.is_dir() {
            mirror(&from, &to, skips);
        } else if let wanted = fs::read(&from).unwrap()
            && fs::read(&to).ok().as_ref() != Some(&wanted)
        {
            fs::write(to, wanted).unwrap();
        }
    }
}

/// Does this for each, a few at the same time, since most of the time is spent waiting.
fn for_each<T: Sync>(all: &[T], act: impl Fn(&T) + Sync) {
    const AT_ONCE: usize = 3;
    let next = Mutex::new(all.iter());
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(one) = { next.lock().unwrap().next() } {
                    act(one);
                }
            });
        }
    });
}

#[test]
#[ignore = "builds and runs all solutions, which takes a minute or two"]
fn every_check_fails_before_and_passes_after_its_solution() {
    if !git_is_here() {
        return;
    }
    if cfg!(windows) {
        // Exercises of stage 06 need signals, which only Unix has.
        eprintln!("does not run: not every exercise can be checked on this system");
        return;
    }
    let _turn = TURN.lock();
    let begin = Instant::now();
    let copy = Copy::make();
    let all = exercises();

    // Before: each check fails, and says what is missing.
    for_each(&STAGES, |stage| {
        let arguments = ["exercises::", "--ignored"].map(String::from);
        let output = text(&copy.test(stage, &arguments, "3"));
        for exercise in all.iter().filter(|exercise| exercise.stage == stage) {
            let (name, check) = (exercise.name(), exercise.check());
            let complaint = format!("\n---- {check} stdout ----\n");
            let (_, complaint) = output
                .split_once(&complaint)
                .unwrap_or_else(|| panic!("{name}: the check does not fail:\n{output}"));
            let complaint = complaint.split("\n---- ").next().unwrap();
            assert!(
                complaint.contains("\nStill missing: "),
                "{name}: the check does not tell what is missing:\n{complaint}"
            );
            println!("{name}: the check fails without the solution");
        }
    });

    // After: solutions of several stages at once, so no two change the same file.
    for round in rounds(&all) {
        for exercise in &round {
            copy.apply(exercise);
        }
        for_each(&round, |exercise| {
            let begin = Instant::now();
            let mut arguments = vec![String::from("--include-ignored")];
            // Measurements, tests of the tests, and the other exercises.
            let others = all
                .iter()
                .filter(|other| other.stage == exercise.stage && other.number != exercise.number);
            let skipped = ["measure".into(), "wrong_servers".into()];
            for skipped in skipped.into_iter().chain(others.map(Exercise::check)) {
                arguments.extend(["--skip".into(), skipped]);
            }
            let output = copy.test(exercise.stage, &arguments, "10");
            let (name, printed) = (exercise.name(), text(&output));
            let passes = printed.contains(&format!("\ntest {} ... ok\n", exercise.check()));
            assert!(
                output.status.success() && passes,
                "{name}: with the solution, a test fails:\n{printed}"
            );
            if exercise.changes_the_library() {
                let mut tests = copy.cargo_test();
                let tests = tests.args(["--lib", "--test", "room", "--test", "lines"]);
                let output = tests.output().unwrap();
                assert!(output.status.success(), "{name}:\n{}", text(&output));
            }
            let taken = begin.elapsed().as_secs_f64();
            println!("{name}: the check and the stage's tests pass ({taken:.1} s)");
        });
        copy.restore();
    }
    println!(
        "{} exercises in {:.0} s",
        all.len(),
        begin.elapsed().as_secs_f64()
    );
}

/// Which solutions are tried together: those with the same number, of different stages. A
/// solution that changes the library is tried alone.
fn rounds(all: &[Exercise]) -> Vec<Vec<&Exercise>> {
    let mut rounds = BTreeMap::<_, Vec<_>>::new();
    for exercise in all {
        let round = match exercise.changes_the_library() {
            true => (1, exercise.name()),
            false => (0, exercise.number.to_string()),
        };
        rounds.entry(round).or_default().push(exercise);
    }
    rounds.into_values().collect()
}

/// A server in `examples/my_server.rs` is tested by the command that the index gives.
#[test]
#[ignore = "builds a server once more"]
fn the_readers_own_program_is_tested_as_the_index_says() {
    let _turn = TURN.lock();
    let page = read("lessons/README.md");
    let line = page
        .lines()
        .find(|line| line.contains("--example my_server -- "));
    let (_, line) = line.unwrap().split_once("STAGE_CMD='").unwrap();
    let (command, test) = line.split_once("' cargo test --test ").unwrap();
    let copy = Copy::make();
    let own = copy.folder.join("examples/my_server.rs");
    fs::copy(copy.folder.join(format!("examples/{test}_server.rs")), &own).unwrap();
    let tested = copy.command(test).env("STAGE_CMD", command).output();
    fs::remove_file(own).unwrap();
    let tested = tested.unwrap();
    assert!(tested.status.success(), "{}", text(&tested));
    assert!(text(&tested).contains("does not apply to STAGE_CMD"));
}

/// The block of code that the page for teachers gives for this shell.
fn grading_loop(shell: &str) -> String {
    let page = read("lessons/TEACHING.md");
    let (_, page) = page.split_once("\n## A folder of submissions\n").unwrap();
    let (_, block) = page.split_once(&format!("\n```{shell}\n")).unwrap();
    let (block, _) = block.split_once("\n```\n").unwrap();
    format!("{block}\n")
}

/// Hands in some submissions, grades them as the page for teachers says, and looks at the table.
fn is_graded(program: &str, arguments: &[&str], block: &str) {
    // What `python3` finds first may be a script that looks for the real one.
    let Some(python) = ["python3", "python"].into_iter().find_map(|python| {
        let code = "import sys; print(sys.executable if sys.version_info >= (3, 8) else '')";
        let said = Command::new(python).args(["-c", code]).output().ok()?;
        let path = String::from_utf8(said.stdout).ok()?.trim().to_owned();
        (!path.is_empty()).then(|| format!("'{path}'"))
    }) else {
        return eprintln!("does not run: there is no Python 3 on this machine");
    };
    let _turn = TURN.lock();
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("submissions_{program}"));
    let _ = fs::remove_dir_all(&folder); // from the last time, if there was one
    // As the graders see it, from the folder of the repository.
    let folder_name = folder.strip_prefix(root()).unwrap_or(&folder);
    let folder_name = folder_name.to_str().unwrap().replace('\\', "/");
    for (name, program, command) in [
        (
            "ana",
            Some("03_broadcast.py"),
            "{python} -u {folder}/server.py {port}",
        ),
        (
            "beto",
            Some("03_broadcast_as_often_taught.py"),
            "{python} -u {folder}/server.py {port}",
        ),
        ("carla", None, "{python} -u {folder}/server.py {port}"),
        ("dora", None, ""),
    ] {
        let folder = folder.join(name);
        fs::create_dir_all(&folder).unwrap();
        if let Some(program) = program {
            let path = format!("tests/servers/{program}");
            fs::write(folder.join("server.py"), read(path)).unwrap();
        }
        // Dora has forgotten the file.
        if !command.is_empty() {
            let command = command
                .replace("{python}", &python)
                .replace("{folder}", &format!("'{folder_name}/{name}'"));
            fs::write(folder.join("command"), command + "\n").unwrap();
        }
    }
    let script = block.replace("submissions", &folder_name);
    let script_file = folder.join("grade.ps1");
    fs::write(&script_file, script).unwrap();
    let graded = Command::new(program)
        .args(arguments)
        .arg(&script_file)
        .current_dir(root())
        .env("STAGE_PATIENCE_SECS", "5")
        .output()
        .unwrap();
    let table = String::from_utf8_lossy(&graded.stdout).replace('\r', "");
    println!("{program}:\n{table}");
    let said = text(&graded);
    let row = |name: &str| {
        let row = table.lines().find_map(|line| line.strip_prefix(name));
        row.unwrap_or_else(|| panic!("no row for {name}:\n{said}"))
            .trim()
    };
    assert_eq!(row("ana "), "passed", "{said}");
    let failed = row("beto ").strip_prefix("fails: ").unwrap_or_default();
    for test in [
        "a_line_in_two_packets_is_one_line",
        "a_reset_in_the_middle_of_a_burst_does_not_disturb_the_others",
    ] {
        assert!(failed.split(' ').any(|failed| failed == test), "{said}");
    }
    assert!(
        !failed.contains("every_other_client_hears_a_line"),
        "{said}"
    );
    assert!(table.contains(" should have heard "), "{said}");
    let told = row("carla ");
    assert!(
        told.starts_with("does not start: The program ended before it listened"),
        "{said}"
    );
    assert_eq!(row("dora "), "has no file called command", "{said}");
    for name in ["ana", "beto", "carla"] {
        assert!(
            folder.join(name).join("log.txt").exists(),
            "{name} has no log"
        );
    }
}

#[cfg(unix)]
#[test]
#[ignore = "runs a stage's tests against several servers"]
fn a_folder_of_submissions_is_graded_by_a_shell() {
    is_graded("sh", &[], &grading_loop("sh"));
}

#[test]
#[ignore = "runs a stage's tests against several servers"]
fn a_folder_of_submissions_is_graded_by_powershell() {
    if Command::new("pwsh").arg("-Version").output().is_err() {
        eprintln!("does not run: there is no PowerShell (pwsh) on this machine");
        return;
    }
    let arguments = ["-NoProfile", "-ExecutionPolicy", "Bypass", "-File"];
    is_graded("pwsh", &arguments, &grading_loop("powershell"));
}
