//! Mixtures of speakers: how many people talk in one second, made from recordings of one person each (LibriSpeech,
//! Panayotov et al., ICASSP 2015).
//!
//! ```text
//! folder → Corpus: librispeech (who, where)
//!        → Mixer: activity (when somebody speaks) → plan: (part, i) → Mixture → render → sound
//! ```
//!
//! A [`Mixture`] is a complete description, one row of a manifest: it can be rendered to a file ([`Mixer::write_clips`])
//! or whenever its sound is wanted ([`Mixer::write_manifest`], or straight from a recipe), with the same samples. Mixture
//! `i` of a part is a function of the seed, the part and `i` alone, so neither threads nor interruptions change it, and a
//! shorter list is the beginning of a longer one.
//!
//! **What must not tell the number of speakers.** The mean of `n` recordings is quieter the more there are
//! (0, -3.0, -4.8 dB), so a network can count by loudness ([`Mode::Average`], the original). In
//! [`Mode::LevelEqualised`] every voice has the same active level, the mixture gets a level drawn without regard to what
//! it holds, and what would clip at the *loudest* level is limited before the level is applied: the RMS of a clip is
//! the level that was drawn and says nothing else.
//!
//! **What the number means.** People who speak at the same time, not files that were added: every voice is active for
//! most of the clip and all of them at once for a part of it (see [`MixConfig`]), the speakers of a mixture are
//! different people, and no speaker is heard in two parts.

mod activity;
mod config;
mod librispeech;
mod mixture;
mod plan;
mod render;
mod scan;
mod write;

pub use config::{MixConfig, Mode};
pub use mixture::{Mixture, Noise, SAMPLE_RATE, Sound, Voice};
pub use scan::Corpus;
pub use write::{MixFolder, Mixer, Tally};
