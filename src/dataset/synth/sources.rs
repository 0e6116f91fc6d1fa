//! The ten sources. Each draws the traits of an individual from `who` (the same for all clips of a
//! recording) and the course of events from `now` (new for each clip), and gives mono samples of any level.

use std::f64::consts::TAU;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::dsp::{Biquad, Canvas, Harmonics, amplitude, decay, gate, log_uniform, uniform, white};

/// Makes one clip of one class.
pub(super) type Synthesise = fn(Canvas, &mut ChaCha8Rng, &mut ChaCha8Rng) -> Vec<f32>;

/// The classes in alphabetical order, and how each sounds.
pub(super) const SOURCES: [(&str, Synthesise); 10] = [
    ("car_horn", car_horn),
    ("dog_bark", dog_bark),
    ("drilling", drilling),
    ("engine", engine),
    ("gun_shot", gun_shot),
    ("hum", hum),
    ("jackhammer", jackhammer),
    ("siren", siren),
    ("street_music", street_music),
    ("voices", voices),
];

/// Two reeds a third apart, rich in harmonics, in honks with sharp edges.
fn car_horn(canvas: Canvas, who: &mut ChaCha8Rng, now: &mut ChaCha8Rng) -> Vec<f32> {
    let pitch = log_uniform(who, 300.0, 520.0);
    let third = uniform(who, 1.18, 1.27);
    let slope = uniform(who, 0.4, 0.9);
    let mut low = Harmonics::new(canvas, 14, slope).coloured(who, 4.0);
    let mut high = Harmonics::new(canvas, 14, slope).coloured(who, 4.0);
    let honk = log_uniform(now, 0.18, 1.2);
    let starts = canvas.onsets(now, 0.5, (honk + 0.08, honk + 0.5), honk.min(0.3));
    canvas.render(|t| {
        let sounding = starts.iter().map(|start| gate(t - start, honk, 0.012, 0.03)).fold(0.0, f64::max);
        sounding * (low.next(pitch) + high.next(pitch * third))
    })
}

/// Barks: a voice that leaps up and falls within a sixth of a second, in the colour of one throat, with
/// the breath in it.
fn dog_bark(canvas: Canvas, who: &mut ChaCha8Rng, now: &mut ChaCha8Rng) -> Vec<f32> {
    let pitch = log_uniform(who, 260.0, 700.0);
    let length = uniform(who, 0.09, 0.2);
    let rise = uniform(who, 1.4, 2.2);
    let breath = amplitude(uniform(who, -16.0, -6.0));
    let mut voice = Harmonics::new(canvas, 16, 0.6);
    let mut throat = Biquad::band_pass(canvas, pitch * uniform(who, 2.0, 3.0), 1.5);
    let starts = canvas.onsets(now, 0.4, (length + 0.08, length + 0.6), length);
    let stress: Vec<f64> = starts.iter().map(|_| uniform(now, 0.85, 1.15)).collect();
    canvas.render(|t| {
        let Some((start, stress)) = starts.iter().zip(&stress).rfind(|(start, _)| **start <= t) else {
            return throat.next(0.0);
        };
        let phase = (t - start) / length;
        let arch = (TAU / 2.0 * phase.min(1.0)).sin();
        let loud = gate(t - start, length, 0.012, 0.6 * length);
        let tone = voice.next(pitch * stress * (0.7 + (rise - 0.7) * arch));
        throat.next(loud * (tone + breath * 4.0 * white(now)))
    })
}

/// An electric drill: the whine of its motor, which sinks under load, and the hiss of the bit.
fn drilling(canvas: Canvas, who: &mut ChaCha8Rng, now: &mut ChaCha8Rng) -> Vec<f32> {
    let pitch = log_uniform(who, 220.0, 420.0);
    let mut motor = Harmonics::new(canvas, 24, 0.35).coloured(who, 7.0);
    let mut bit = Biquad::band_pass(canvas, log_uniform(who, 2_000.0, 4_500.0), 1.2);
    let hiss = amplitude(uniform(who, -4.0, 6.0));
    let (load, rate, phase) = (uniform(now, 0.05, 0.18), uniform(now, 0.5, 1.5), uniform(now, 0.0, TAU));
    let flutter = uniform(now, 18.0, 40.0);
    canvas.render(|t| {
        let press = (TAU * rate * t + phase).sin();
        let turn = pitch * (1.0 - load * press + 0.01 * (TAU * flutter * t).sin());
        motor.next(turn) + hiss * (1.5 + press) * bit.next(white(now))
    })
}

/// A combustion engine: uneven firing through the resonances of the exhaust, with a touch on the throttle.
fn engine(canvas: Canvas, who: &mut ChaCha8Rng, now: &mut ChaCha8Rng) -> Vec<f32> {
    let idle = log_uniform(who, 22.0, 42.0);
    let cylinders: Vec<f64> = (0..4).map(|_| uniform(who, 0.6, 1.0)).collect();
    let mut exhaust = [(70.0, 130.0), (180.0, 320.0), (450.0, 800.0)]
        .map(|(low, high)| Biquad::band_pass(canvas, log_uniform(who, low, high), 2.5));
    let rattle = amplitude(uniform(who, -14.0, -4.0));
    let throttle = uniform(now, 0.15, 0.6);
    let (rate, phase) = (uniform(now, 0.25, 0.7), uniform(now, 0.0, 1.0));
    let (mut turn, mut fired) = (0.0, 0.0);
    canvas.render(|t| {
        let rev = 1.0 + throttle * (0.5 + 0.5 * (TAU * (rate * t + phase)).sin());
        turn += idle * rev / canvas.rate;
        fired = (fired + idle * rev / canvas.rate * uniform(now, 0.97, 1.03)) % cylinders.len() as f64;
        let (cylinder, within) = (fired as usize, fired.fract());
        let stroke = cylinders[cylinder] * (-within * 9.0).exp();
        let noise = white(now);
        let knock = stroke * (1.0 + 0.6 * noise);
        exhaust.iter_mut().map(|filter| filter.next(knock)).sum::<f64>() + rattle * 0.12 * stroke * noise
    })
}

/// Shots: a burst without a beginning, the boom of the barrel, and the answer of the houses.
fn gun_shot(canvas: Canvas, who: &mut ChaCha8Rng, now: &mut ChaCha8Rng) -> Vec<f32> {
    let crack = log_uniform(who, 0.012, 0.04);
    let boom = log_uniform(who, 60.0, 130.0);
    let tail = log_uniform(who, 0.08, 0.25);
    let mut muzzle = Biquad::low_pass(canvas, log_uniform(who, 2_500.0, 8_000.0));
    let mut houses = Biquad::low_pass(canvas, log_uniform(who, 500.0, 1_500.0));
    let echo = uniform(who, 0.09, 0.25);
    let starts = canvas.onsets(now, 0.9, (0.35, 1.6), 0.3);
    canvas.render(|t| {
        let Some(since) = starts.iter().map(|start| t - start).rfind(|since| *since >= 0.0) else {
            return 0.0;
        };
        let burst = muzzle.next(white(now) * decay(since, crack));
        let barrel = (TAU * boom * since * (1.0 + 0.5 * decay(since, 0.05))).sin() * decay(since, 0.06);
        let answer = houses.next(white(now) * (decay(since, tail) + decay(since - echo, tail)));
        burst + 0.25 * barrel + 0.35 * answer
    })
}

/// A transformer or a fan: the even harmonics of the mains, a blade tone, and a breath of air. It never
/// changes.
fn hum(canvas: Canvas, who: &mut ChaCha8Rng, now: &mut ChaCha8Rng) -> Vec<f32> {
    let mains = if who.random_bool(0.5) { 100.0 } else { 120.0 };
    let mut transformer = Harmonics::new(canvas, 9, 0.7).coloured(who, 8.0);
    let blades = log_uniform(who, 140.0, 480.0);
    let mut fan = Harmonics::new(canvas, 3, 1.5);
    let strength = amplitude(uniform(who, -12.0, 0.0));
    let air = amplitude(uniform(who, -26.0, -12.0));
    let mut duct = Biquad::low_pass(canvas, log_uniform(who, 500.0, 1_500.0));
    let (beat, phase) = (uniform(now, 0.5, 2.0), uniform(now, 0.0, TAU));
    canvas.render(|t| {
        let swell = 1.0 + 0.1 * (TAU * beat * t + phase).sin();
        transformer.next(mains) + strength * swell * fan.next(blades) + air * 4.0 * duct.next(white(now))
    })
}

/// A pavement breaker: eight to thirteen blows a second, each a dull thump and the ring of the chisel,
/// over escaping air.
fn jackhammer(canvas: Canvas, who: &mut ChaCha8Rng, now: &mut ChaCha8Rng) -> Vec<f32> {
    let blows = uniform(who, 8.0, 13.0);
    let ring = log_uniform(who, 0.006, 0.016);
    let mut chisel = [(500.0, 1_000.0), (1_300.0, 2_400.0), (3_000.0, 5_000.0)]
        .map(|(low, high)| Biquad::band_pass(canvas, log_uniform(who, low, high), 3.0));
    let thump = log_uniform(who, 70.0, 130.0);
    let air = amplitude(uniform(who, -34.0, -24.0));
    let (mut cycle, mut since, mut force) = (uniform(now, 0.0, 1.0), 1.0, 1.0);
    canvas.render(|_| {
        cycle += blows / canvas.rate;
        since += 1.0 / canvas.rate;
        if cycle >= 1.0 {
            (cycle, since, force) = (cycle - uniform(now, 0.94, 1.06), 0.0, uniform(now, 0.7, 1.0));
        }
        let strike = force * decay(since, ring) * white(now) + air * white(now);
        let rung: f64 = chisel.iter_mut().map(|filter| filter.next(strike)).sum();
        rung + 0.25 * force * decay(since, 0.025) * (TAU * thump * since).sin()
    })
}

/// A siren: wail (slow), yelp (fast) or two tones in turn, over a register of about an octave.
fn siren(canvas: Canvas, who: &mut ChaCha8Rng, now: &mut ChaCha8Rng) -> Vec<f32> {
    let low = log_uniform(who, 450.0, 800.0);
    let kind = who.random_range(0..3);
    let (interval, rate) = match kind {
        0 => (uniform(who, 1.7, 2.4), uniform(who, 0.4, 0.7)),
        1 => (uniform(who, 1.6, 2.2), uniform(who, 2.0, 4.0)),
        _ => (uniform(who, 1.25, 1.45), uniform(who, 0.7, 1.3)),
    };
    let mut horn = Harmonics::new(canvas, 7, uniform(who, 0.8, 1.4)).coloured(who, 4.0);
    let (phase, doppler) = (uniform(now, 0.0, 1.0), uniform(now, 0.95, 1.05));
    canvas.render(|t| {
        let cycle = (rate * t + phase).fract();
        let height = match kind {
            0 | 1 => 1.0 - (2.0 * cycle - 1.0).abs(),
            _ => f64::from(cycle >= 0.5),
        };
        horn.next(doppler * low * interval.powf(height))
    })
}

/// Steps of a pentatonic scale in semitones, over two octaves.
const PENTATONIC: [f64; 10] = [0.0, 2.0, 4.0, 7.0, 9.0, 12.0, 14.0, 16.0, 19.0, 21.0];

/// A busker: a plucked tune on a pentatonic scale over a bass, sometimes with a shaker.
fn street_music(canvas: Canvas, who: &mut ChaCha8Rng, now: &mut ChaCha8Rng) -> Vec<f32> {
    let key = log_uniform(who, 200.0, 400.0);
    let step = 60.0 / uniform(who, 95.0, 160.0) / 2.0;
    let ringing = uniform(who, 0.15, 0.4);
    let slope = uniform(who, 0.9, 1.6);
    let shaker = if who.random_bool(0.5) { amplitude(uniform(who, -24.0, -14.0)) } else { 0.0 };
    let mut rustle = Biquad::high_pass(canvas, 5_000.0);
    let mut strings = Harmonics::new(canvas, 10, slope).coloured(who, 4.0);
    let mut second = strings.clone();
    let mut bass = Harmonics::new(canvas, 5, 1.2);
    let pitch = |degree: usize| key * (PENTATONIC[degree] / 12.0).exp2();
    let offset = uniform(now, 0.0, step);
    let steps = (canvas.seconds() / step) as usize + 2;
    let mut degree = now.random_range(2..8usize);
    let tune: Vec<usize> = (0..steps)
        .map(|_| {
            degree = (degree + now.random_range(0..5)).saturating_sub(2).min(PENTATONIC.len() - 1);
            degree
        })
        .collect();
    canvas.render(|t| {
        let beat = (t + offset) / step;
        let (index, since) = (beat as usize, beat.fract() * step);
        let pluck = decay(since, ringing) * (since / 0.004).min(1.0);
        let note = tune[index];
        let melody = strings.next(pitch(note)) + 0.6 * second.next(pitch(note.saturating_sub(2)));
        let low = bass.next(pitch(tune[index / 4 * 4] % 5) / 2.0);
        let since_bar = (beat / 4.0).fract() * 4.0 * step;
        pluck * melody
            + 0.7 * decay(since_bar, 0.5) * low
            + shaker * decay(since, 0.03) * rustle.next(4.0 * white(now))
    })
}

/// First three formants in Hz of vowels as in "father", "heed", "boot", "head", "hawed"
/// (Peterson & Barney, "Control methods used in a study of the vowels", JASA 1952, men).
const VOWELS: [[f64; 3]; 5] = [
    [730.0, 1090.0, 2440.0],
    [270.0, 2290.0, 3010.0],
    [300.0, 870.0, 2240.0],
    [530.0, 1840.0, 2480.0],
    [570.0, 840.0, 2410.0],
];

/// One or two people talking without words: syllables of a consonant's hiss and a vowel.
fn voices(canvas: Canvas, who: &mut ChaCha8Rng, now: &mut ChaCha8Rng) -> Vec<f32> {
    let people = who.random_range(1..3);
    let mut sum = vec![0.0; canvas.len];
    for _ in 0..people {
        for (total, x) in sum.iter_mut().zip(talker(canvas, who, now)) {
            *total += x;
        }
    }
    sum
}

fn talker(canvas: Canvas, who: &mut ChaCha8Rng, now: &mut ChaCha8Rng) -> Vec<f32> {
    let pitch = log_uniform(who, 95.0, 240.0);
    let stature = if pitch > 160.0 { uniform(who, 1.1, 1.25) } else { uniform(who, 0.92, 1.08) };
    let tempo = uniform(who, 0.16, 0.26);
    let mut glottis = Harmonics::new(canvas, 40, 1.0);
    let mut mouth = Biquad::high_pass(canvas, uniform(who, 2_500.0, 4_500.0));
    let starts = canvas.onsets(now, 0.2, (tempo, 1.8 * tempo), 0.5 * tempo);
    let syllables: Vec<_> = starts
        .iter()
        .map(|_| (now.random_range(0..VOWELS.len()), uniform(now, 0.85, 1.25), uniform(now, 0.0, 0.7)))
        .collect();
    let mut formants = VOWELS.map(|vowel| {
        let width = [7.0, 12.0, 14.0];
        [0, 1, 2].map(|i| Biquad::band_pass(canvas, vowel[i] * stature, width[i]))
    });
    let length = 0.85 * tempo;
    canvas.render(|t| {
        let Some(index) = starts.iter().rposition(|start| *start <= t) else { return 0.0 };
        let (since, (vowel, tone, hiss)) = (t - starts[index], syllables[index]);
        // The voice rises and falls within a syllable by a few semitones.
        let melody = pitch * tone * (1.0 + 0.12 * (TAU / 2.0 * since / length).sin());
        let throat = glottis.next(melody) * gate(since - 0.05, length - 0.05, 0.03, 0.06);
        let sung: f64 = formants[vowel]
            .iter_mut()
            .zip([1.0, 0.6, 0.3])
            .map(|(filter, gain)| gain * filter.next(throat))
            .sum();
        sung + 0.12 * hiss * gate(since, 0.07, 0.02, 0.03) * mouth.next(white(now))
    })
}
