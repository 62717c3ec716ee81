//! The measurements: `servers/` and `window.rs`, beside this folder. This file is empty,
//! because cargo refuses a package that has neither a library nor a program.
