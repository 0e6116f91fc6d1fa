//! The demo city: ten classes of street sounds made by the program itself, so that the whole pipeline can
//! be tried, tested and timed without a download.
//!
//! A clip is made as a field recording comes about:
//!
//! 1. a *source* (`sources.rs`): one of ten physical toys, with the parameters of one individual (this dog,
//!    that siren) drawn once a recording and those of the moment drawn for each clip;
//! 2. a *place* (`room.rs`): reverberation drawn once a recording, plus city noise of its own colour, under a
//!    ratio that is drawn for each clip;
//! 3. a *level*: a peak anywhere within 24 dB.
//!
//! Clips of one recording form a group and stay in one fold, so a test fold holds individuals and places
//! that were never heard in training. The ratio of source to noise is drawn alike for all classes and
//! refers to the loudest point of the spectrogram, so neither the level nor the mean of a spectrogram in
//! dB tells the class: a model has to look at patterns in time and frequency.

mod city;
mod dsp;
mod room;
mod sources;

pub use city::{CityConfig, write_city};
pub(super) use dsp::amplitude;
pub use room::Room;
