//! Whole-program tests, one binary; a module for each area.

mod support;
mod zoo;
