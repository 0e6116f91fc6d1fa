//! Whole-program tests, one binary; a module for each area.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed helper is a failed test")]

mod architecture;
mod audio;
mod features;
mod loader;
mod support;
mod zoo;
