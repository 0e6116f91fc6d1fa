//! Which voices, cut where, make up mixture `i` of a part.

use std::path::PathBuf;

use rand::RngExt;
use rand::seq::{IndexedRandom, SliceRandom};
use rand_chacha::ChaCha8Rng;

use super::activity::FRAME_SECONDS;
use super::config::{MixConfig, Mode, wrong};
use super::librispeech::Sex;
use super::mixture::{Mixture, Noise, Sound, Voice};
use super::scan::{NoisePool, Pool, Talker, Utterance};
use crate::dataset::synth::{Room, amplitude};
use crate::dataset::{Error, Split};
use crate::seed::{Purpose, Seed};

/// Active level in dB of full scale that every voice is brought to before the mixture gets its own: the usual nominal
/// level of speech (ITU-T P.56).
const VOICE_LEVEL: f64 = -26.0;

/// Draws of the cuts of one mixture before it is taken for impossible.
const MAX_DRAWS: usize = 10_000;

/// Draws every mixture; see [`Planner::plan`].
#[derive(Debug)]
pub(super) struct Planner {
    config: MixConfig,
    seed: Seed,
    pools: [Pool; 3],
    /// For each part and each of the counts: the possible numbers of females.
    females: [Vec<Vec<usize>>; 3],
}

/// A mixture with what is known of it beside its recipe.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Plan {
    /// The recipe; paths start from the data set's root.
    pub mixture: Mixture,
    /// Who speaks, in the order of the voices: males first.
    pub speakers: Vec<String>,
    /// Number of males.
    pub males: usize,
    /// Number of females.
    pub females: usize,
}

/// What a random stream is for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Stream {
    /// Division of the speakers of one sex.
    Speakers(Sex),
    /// Division of noise recordings.
    Noises,
    /// Order of the counts within a block.
    Counts,
    /// Everything about one mixture.
    Content,
    /// Order of the sexes within a block of mixtures of so many speakers.
    Sexes(usize),
}

/// The generator of item `item` of `stream` in a part.
pub(super) fn rng(seed: Seed, part: Split, stream: Stream, item: u64) -> ChaCha8Rng {
    let stream = match stream {
        Stream::Speakers(sex) => sex as u64,
        Stream::Noises => 2,
        Stream::Counts => 3,
        Stream::Content => 4,
        Stream::Sexes(count) => 5 + count as u64,
    };
    seed.rng(Purpose::Mix, 3 * stream + part as u64, item)
}

impl Plan {
    /// The sexes of the speakers, males first: `MMF`.
    pub(super) fn sexes(&self) -> String {
        "M".repeat(self.males) + &"F".repeat(self.females)
    }
}

impl Planner {
    /// Finds out which combinations of sexes there can be.
    ///
    /// # Errors
    /// [`Error::Config`] when a part has too few speakers for one of the counts, or no noise.
    pub(super) fn new(config: &MixConfig, seed: Seed, pools: [Pool; 3]) -> Result<Self, Error> {
        let mut females = [const { Vec::new() }; 3];
        for part in Split::ALL.into_iter().filter(|part| config.size(*part) > 0) {
            let pool = &pools[part as usize];
            for &count in &config.counts {
                females[part as usize].push(possible_females(part, pool.people(), count, config.mode)?);
            }
            let silent = |noise: &NoisePool| matches!(noise, NoisePool::Recordings(list) if list.is_empty());
            if pool.noises.iter().any(silent) {
                let reason = format!("no recording of a folder can be used for {}", part.name());
                return Err(wrong("noise", reason).into());
            }
        }
        Ok(Self { config: config.clone(), seed, pools, females })
    }

    /// What is drawn.
    pub(super) fn config(&self) -> &MixConfig {
        &self.config
    }

    /// Combinations of sexes that a part cannot have, a sentence for each part.
    pub(super) fn remarks(&self) -> Vec<String> {
        let remark = |part: Split| {
            let counts = self.config.counts.iter().zip(&self.females[part as usize]);
            let absent = counts.flat_map(|(&count, possible)| {
                (0..=count)
                    .filter(|females| !possible.contains(females))
                    .map(move |females| (count - females, females))
            });
            let absent: Vec<String> = absent.map(|(m, f)| "M".repeat(m) + &"F".repeat(f)).collect();
            let pool = &self.pools[part as usize];
            (!absent.is_empty()).then(|| {
                format!("{} has {}: no {}", part.name(), described(pool.people()), absent.join(", "))
            })
        };
        Split::ALL.into_iter().filter_map(remark).collect()
    }

    /// Mixture `i` of a part: a function of the seed, the part and `i`.
    ///
    /// Every block of as many mixtures as there are counts has each count once, in random order; of the mixtures of one
    /// count, every block of as many as there are combinations of sexes has each once. So any number of mixtures from the
    /// first on is balanced to within one. Then speakers are drawn (different ones unless the mode is average), one
    /// recording of each, and a cut of it, until all cuts are active enough, by themselves and together.
    ///
    /// # Errors
    /// [`Error::Config`] when no draw is active enough.
    pub(super) fn plan(&self, part: Split, i: usize) -> Result<Plan, Error> {
        let (count, females) = self.speakers(part, i);
        let males = count - females;
        let mut rng = rng(self.seed, part, Stream::Content, i as u64);
        let pool = &self.pools[part as usize];
        let mut talkers = self.choose(&pool.talkers[Sex::Male as usize], males, &mut rng);
        talkers.extend(self.choose(&pool.talkers[Sex::Female as usize], females, &mut rng));
        let cuts = self.cuts(&talkers, &mut rng)?;
        let mixture = self.mixture(pool, &cuts, &mut rng);
        let speakers = talkers.iter().map(|talker| talker.id.clone()).collect();
        Ok(Plan { mixture, speakers, males, females })
    }

    /// How many speak in mixture `i`, and how many of them are females.
    fn speakers(&self, part: Split, i: usize) -> (usize, usize) {
        let counts = self.config.counts.len();
        let block = i / counts;
        let mut order: Vec<usize> = (0..counts).collect();
        order.shuffle(&mut rng(self.seed, part, Stream::Counts, block as u64));
        let count = order[i % counts];
        // `block` mixtures of this count came before.
        let mut females = self.females[part as usize][count].clone();
        let (block, at) = (block / females.len(), block % females.len());
        let count = self.config.counts[count];
        females.shuffle(&mut rng(self.seed, part, Stream::Sexes(count), block as u64));
        (count, females[at])
    }

    fn choose<'a>(&self, talkers: &'a [Talker], count: usize, rng: &mut ChaCha8Rng) -> Vec<&'a Talker> {
        match self.config.mode {
            Mode::Average => (0..count).filter_map(|_| talkers.choose(rng)).collect(),
            Mode::LevelEqualised => talkers.sample(rng, count).collect(),
        }
    }

    /// A recording of each talker and the frame where its cut begins.
    fn cuts<'a>(
        &self,
        talkers: &[&'a Talker],
        rng: &mut ChaCha8Rng,
    ) -> Result<Vec<(&'a Utterance, usize)>, Error> {
        let config = &self.config;
        let len = config.frames();
        for _ in 0..MAX_DRAWS {
            let cut = |talker: &&'a Talker| {
                let utterance = talker.utterances.choose(rng)?;
                Some((utterance, rng.random_range(0..=utterance.activity.len() - len)))
            };
            let cuts: Vec<_> = talkers.iter().filter_map(cut).collect();
            let active = |(utterance, start): &(&Utterance, usize)| {
                utterance.activity.active(*start..start + len) >= config.least_active()
            };
            let together = |frame: usize| cuts.iter().all(|(u, start)| u.activity.is_active(start + frame));
            let overlap = || (0..len).filter(|&frame| together(frame)).count();
            if cuts.iter().all(active) && (cuts.is_empty() || overlap() >= config.least_overlap()) {
                return Ok(cuts);
            }
        }
        let reason = format!(
            "{} speakers were not heard at once for {} of a mixture in {MAX_DRAWS} draws; lower it",
            talkers.len(),
            config.min_overlap
        );
        Err(wrong("min_overlap", reason).into())
    }

    fn mixture(&self, pool: &Pool, cuts: &[(&Utterance, usize)], rng: &mut ChaCha8Rng) -> Mixture {
        let config = &self.config;
        let voice = |&(utterance, start): &(&Utterance, usize)| Voice {
            path: PathBuf::from(&utterance.path),
            start: round(start as f64 * FRAME_SECONDS),
            gain: match config.mode {
                Mode::Average => 1.0 / cuts.len() as f64,
                Mode::LevelEqualised => {
                    let power = utterance.activity.power(start..start + config.frames()).unwrap_or(1.0);
                    (1e6 * amplitude(VOICE_LEVEL) / power.sqrt()).round() / 1e6
                }
            },
        };
        let voices = cuts.iter().map(voice).collect();
        let room = config.reverb.then(|| Room::draw(rng));
        let noise = pool.noises.choose(rng).and_then(|noise| {
            let snr = between(config.snr, rng);
            Some(Noise { sound: self.sound(noise, rng)?, snr: (!cuts.is_empty()).then_some(snr) })
        });
        let level = match config.mode {
            Mode::Average => None,
            Mode::LevelEqualised => Some(between(config.level, rng)),
        };
        Mixture { seconds: config.seconds, voices, room, noise, level }
    }

    fn sound(&self, noise: &NoisePool, rng: &mut ChaCha8Rng) -> Option<Sound> {
        match noise {
            NoisePool::Synthetic(colour) => Some(Sound::Synthetic { colour: *colour, seed: rng.random() }),
            NoisePool::Recordings(list) => {
                let (path, seconds) = list.choose(rng)?;
                let start = rng.random_range(0.0..=(seconds - self.config.seconds).max(0.0));
                // Down, so that the cut ends before the recording does.
                Some(Sound::Recording { path: path.clone(), start: (100.0 * start).floor() / 100.0 })
            }
        }
    }
}

/// A number of the range, in hundredths.
fn between([low, high]: [f64; 2], rng: &mut ChaCha8Rng) -> f64 {
    round(rng.random_range(low..=high))
}

fn round(x: f64) -> f64 {
    (100.0 * x).round() / 100.0
}

/// Numbers of females that mixtures of `count` speakers can have where there are so many males and females to choose from.
///
/// # Errors
/// [`Error::Config`] when there are too few.
pub(super) fn possible_females(
    part: Split,
    people: [usize; 2],
    count: usize,
    mode: Mode,
) -> Result<Vec<usize>, Error> {
    let enough = |sex: Sex, wanted: usize| {
        let there = people[sex as usize];
        wanted <= there || (mode == Mode::Average && there > 0)
    };
    let possible: Vec<usize> = (0..=count)
        .filter(|&females| enough(Sex::Male, count - females) && enough(Sex::Female, females))
        .collect();
    if possible.is_empty() {
        let (part, people) = (part.name(), described(people));
        let advice = "ask for fewer, or add recordings";
        let reason =
            format!("{part} has {people} with enough speech, too few for mixtures of {count}; {advice}");
        return Err(wrong("counts", reason).into());
    }
    Ok(possible)
}

/// "1 male and 5 female speakers".
fn described(people: [usize; 2]) -> String {
    let [males, females] = Sex::ALL.map(|sex| format!("{} {sex}", people[sex as usize]));
    format!("{males} and {females} speakers")
}
