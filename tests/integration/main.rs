//! Whole-program tests, one binary; a module for each area.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed helper is a failed test")]

<<<<<<< HEAD
mod audio;
mod loader;
=======
mod architecture;
>>>>>>> 4ba04c7 (docs, CI and the architecture test)
mod support;
mod zoo;
