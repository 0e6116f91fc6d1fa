//! Random filters: other microphones, rooms and distances (Nam, Kim & Park 2022, "FilterAugment", its linear kind).

use std::f64::consts::LN_10;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use crate::audio::filter;
use crate::features::MelScale;

/// Filters samples by a curve of straight lines over the mel axis from 0 Hz to half the rate: through `bands + 1` points, of
/// which those between the ends stand anywhere, each with a gain drawn from `db`. The paper does that to a mel spectrogram;
/// here it is done to the sound, so that any features can follow.
pub(super) fn equalize(
    samples: &mut [f32],
    bands: usize,
    db: [f64; 2],
    sample_rate: u32,
    rng: &mut ChaCha8Rng,
) {
    let curve = Curve::draw(bands, db, MelScale::Htk.hz_to_mel(f64::from(sample_rate) / 2.0), rng);
    let mut filtered: Vec<f64> = samples.iter().map(|&x| f64::from(x)).collect();
    filter(&mut filtered, sample_rate, |hz| (curve.at(MelScale::Htk.hz_to_mel(hz)) * LN_10 / 20.0).exp());
    samples.iter_mut().zip(filtered).for_each(|(x, filtered)| *x = filtered as f32);
}

/// Places in mel, ascending, and gains in dB.
struct Curve(Vec<(f64, f64)>);

impl Curve {
    fn draw(bands: usize, [low, high]: [f64; 2], last: f64, rng: &mut ChaCha8Rng) -> Self {
        let mut places: Vec<f64> = (1..bands).map(|_| last * rng.random::<f64>()).collect();
        places.extend([0.0, last]);
        places.sort_by(f64::total_cmp);
        Self(places.into_iter().map(|place| (place, rng.random_range(low..=high))).collect())
    }

    fn at(&self, mel: f64) -> f64 {
        let right = self.0.partition_point(|(place, _)| *place <= mel).clamp(1, self.0.len() - 1);
        let [(from, start), (to, end)] = [self.0[right - 1], self.0[right]];
        let share = if to > from { ((mel - from) / (to - from)).clamp(0.0, 1.0) } else { 0.0 };
        start + share * (end - start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seed::{Purpose, Seed};
    use std::f64::consts::TAU;

    fn rng(item: u64) -> ChaCha8Rng {
        Seed(5).rng(Purpose::Augment, 1, item)
    }

    #[test]
    fn curves_go_through_their_points_and_stay_in_their_range() {
        let curve = Curve(vec![(0.0, -6.0), (100.0, 0.0), (200.0, 4.0)]);
        for (mel, gain) in [(0.0, -6.0), (50.0, -3.0), (100.0, 0.0), (175.0, 3.0), (200.0, 4.0), (250.0, 4.0)]
        {
            assert!((curve.at(mel) - gain).abs() < 1e-12, "{mel}");
        }
        for item in 0..50 {
            let Curve(points) = Curve::draw(5, [-6.0, 3.0], 1_000.0, &mut rng(item));
            assert_eq!((points.len(), points[0].0, points[5].0), (6, 0.0, 1_000.0));
            assert!(points.windows(2).all(|pair| pair[0].0 <= pair[1].0));
            assert!(points.iter().all(|(_, gain)| (-6.0..=3.0).contains(gain)));
        }
    }

    #[test]
    fn tones_get_the_gain_of_the_curve() {
        let tone = |hz: f64| (0..8_000).map(move |n| (TAU * hz * f64::from(n) / 8_000.0).sin() as f32);
        for item in 0..5 {
            let curve = Curve::draw(4, [-12.0, 12.0], MelScale::Htk.hz_to_mel(4_000.0), &mut rng(item));
            for hz in [150.0, 1_000.0, 3_000.0] {
                let mut filtered: Vec<f32> = tone(hz).collect();
                equalize(&mut filtered, 4, [-12.0, 12.0], 8_000, &mut rng(item));
                let gain = 10f64.powf(curve.at(MelScale::Htk.hz_to_mel(hz)) / 20.0) as f32;
                assert!(filtered.iter().zip(tone(hz)).all(|(x, y)| (x - gain * y).abs() < 1e-4), "{hz} Hz");
            }
        }
        equalize(&mut [], 3, [0.0, 0.0], 8_000, &mut rng(0));
    }
}
