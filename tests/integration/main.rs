//! Whole-program tests, one binary; a module for each area.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed helper is a failed test")]

mod architecture;
mod archive;
mod audio;
mod audio_networks;
mod augment;
mod backbones;
mod bundle;
mod cli;
mod cv;
mod dataset;
mod ensemble;
mod evaluation;
mod features;
mod fetch;
mod folds;
mod fsdkaggle2019;
mod hash_weights;
mod loader;
mod mix;
mod multi_label;
mod packing;
mod pipeline;
mod predict;
mod pretrained;
mod recipes;
mod reproducible;
mod server;
mod support;
mod sweep;
mod tiny;
mod tones;
mod tracking;
mod training;
mod web;
mod zoo;
