//! One seed, many independent random streams.
//!
//! Every random draw in oido is a pure function of *(seed, purpose, epoch, item)*: there is no global
//! generator, so neither the number of threads nor the point at which a run was resumed can change a draw.
//! The generator is ChaCha8, whose output is fixed by its specification on every platform.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

/// What a random stream is used for. Streams of different purposes never overlap.
///
/// The numbers are part of the reproducibility contract: never renumber, only append.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Purpose {
    /// Initial weights of a network.
    Init = 1,
    /// Order of the clips within an epoch.
    Order = 2,
    /// Dropout masks of one training step (item: the step within the epoch).
    Dropout = 3,
    /// Assignment of clips to train, validation and test.
    Split = 4,
    /// Synthesis of demo sounds (item: the clip).
    Synth = 5,
    /// Augmentation of one clip (item: its place in the order of the epoch).
    Augment = 6,
    /// Resampling for bootstrap intervals.
    Bootstrap = 7,
    /// Which part of a long recording is trained on (item: the clip's index in the manifest).
    Crop = 8,
    /// Mixtures of speakers (epoch: the part and what is drawn; item: the mixture).
    Mix = 9,
    /// Mixing of training clips with one another (item: the place of their batch's first clip in the order of the epoch).
    MixClips = 10,
    /// Which clips a share of the training clips has.
    Share = 11,
}

/// The seed of an experiment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seed(pub u64);

impl Seed {
    /// The generator for `purpose` in `epoch` for `item` (a clip index, a step, or 0).
    ///
    /// Items are `2^32` words apart in the stream, so up to `2^36` items of `2^32` draws do not overlap;
    /// epochs up to `2^56` are separate streams.
    pub fn rng(self, purpose: Purpose, epoch: u64, item: u64) -> ChaCha8Rng {
        let mut rng = ChaCha8Rng::seed_from_u64(self.0);
        rng.set_stream((u64::from(purpose as u8) << 56) | (epoch & ((1 << 56) - 1)));
        rng.set_word_pos(u128::from(item) << 32);
        rng
    }

    /// A single 64-bit number for generators that can only be seeded (Burn's back ends).
    pub fn number(self, purpose: Purpose, epoch: u64, item: u64) -> u64 {
        use rand::Rng;
        self.rng(purpose, epoch, item).next_u64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::Rng;

    #[test]
    fn is_a_pure_function_of_its_arguments() {
        let draw = || Seed(42).rng(Purpose::Order, 3, 7).next_u64();
        assert_eq!(draw(), draw());
    }

    #[test]
    fn every_argument_matters() {
        let base = Seed(42).number(Purpose::Order, 3, 7);
        assert_ne!(base, Seed(43).number(Purpose::Order, 3, 7));
        assert_ne!(base, Seed(42).number(Purpose::Dropout, 3, 7));
        assert_ne!(base, Seed(42).number(Purpose::Order, 4, 7));
        assert_ne!(base, Seed(42).number(Purpose::Order, 3, 8));
    }

    #[test]
    fn the_stream_is_frozen() {
        // A change here would silently change every published result.
        assert_eq!(Seed(42).number(Purpose::Order, 0, 0), 1_491_449_246_528_654_903);
        assert_eq!(Seed(42).number(Purpose::Synth, 1, 2), 6_952_186_647_622_507_220);
    }
}
