//! The harness. It starts a server, lets clients talk to it, and tells as a story what went
//! wrong.
//!
//! ```text
//! let server = Server::start("03_broadcast");
//! let [mut ana, mut beto] = server.room(["ana", "beto"]);
//! ana.says("hola");
//! beto.hears("hola");
//! ```
//!
//! The server is our own example or, with `STAGE_CMD`, the reader's own program in any
//! language (`README.md` tells how); or a wrong one from [`wrong`], which a test
//! must refuse.
//!
//! No sleep decides. A wait ends as soon as what it waits for is there. Only a test that fails
//! reaches its deadline. What arrives next shows that something did *not* arrive.

use std::cell::Cell;
use std::env;
use std::fs;
use std::path::Path;
use std::time::Duration;

/// A list of promises that several stages share. It stands at the top of the file that has
/// the function of each promise. `promises! { lazy: … }` there defines the macro `lazy!()`.
/// That makes a test of each promise, for the stage in `STAGE`.
macro_rules! promises {
    ($module:ident: $($promise:ident)+) => {
        #[macro_export]
        macro_rules! $module {
            () => {
                mod $module {
                    $(
                        #[test]
                        pub fn $promise() {
                            $crate::$module::$promise(super::STAGE);
                        }
                    )+
                }
            };
        }
    };
}

mod client;
pub mod contract;
pub mod lazy;
pub mod limits;
#[cfg(feature = "window")]
pub mod picture;
mod program;
pub mod scenes;
#[cfg(feature = "window")]
pub mod screen;
mod server;
#[cfg(unix)]
pub mod shutdown;
mod start;
mod story;
pub mod survival;
pub mod transcript;
pub mod wrong;
pub mod wrong_chat;

pub use client::{Client, has_words, pause};
pub use program::{Output, Program, build_ahead, example};
pub use server::{Server, all_speak_at_once};
pub use start::{applies_to_ours_only, free_port, start_foreign};

thread_local! {
    /// How long this test waits for what should come: `STAGE_PATIENCE_SECS`, for a slow
    /// machine, or else 5 seconds.
    static PATIENCE: Cell<Duration> = Cell::new(
        match env::var("STAGE_PATIENCE_SECS").map(|secs| secs.parse()) {
            Ok(Ok(secs)) => Duration::from_secs(secs),
            Ok(Err(_)) => panic!("STAGE_PATIENCE_SECS must be a whole number of seconds"),
            Err(_) => Duration::from_secs(5),
        }
    );
}

/// The folder of the kit, where `cargo` is called; the tests are a package in it.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// The names of the stages, by their servers: all but the last, which needs a feature, and
/// serves as stage 07 does.
pub fn stages() -> Vec<String> {
    let files = fs::read_dir(root().join("examples")).unwrap();
    let names = files.filter_map(|file| file.unwrap().file_name().into_string().ok());
    let mut stages: Vec<_> = names
        .filter_map(|name| {
            let name = name.strip_suffix(".rs").unwrap_or(&name);
            name.strip_suffix("_server").map(String::from)
        })
        .filter(|name| name.starts_with('0'))
        .collect();
    stages.sort();
    stages
}

/// The file of a program in `examples/`: a file of its own, or `main.rs` in a folder.
pub fn source_of(program: &str) -> String {
    let file = format!("examples/{program}.rs");
    match root().join(&file).exists() {
        true => file,
        false => format!("examples/{program}/main.rs"),
    }
}

/// How long a test waits for what should come before it gives up and fails.
pub fn patience() -> Duration {
    PATIENCE.get()
}
