//! The measurements: `servers/` and `window.rs`, beside this folder. There is nothing in
//! here; but cargo does not take a package that has neither a library nor a program.
