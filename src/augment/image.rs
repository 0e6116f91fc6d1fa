//! The spectrogram as a picture: turned, enlarged and moved, as Keras's `RandomRotation`, `RandomZoom` and
//! `RandomTranslation` do with images. What comes in from outside is the clip's smallest value, its silence.

use crate::features::Features;

/// Turns the picture about its middle by `degrees`, to rising frequencies with time where they are positive.
pub(super) fn rotate(features: &mut Features, degrees: f64) {
    let (sin, cos) = degrees.to_radians().sin_cos();
    map(features, |row, frame| [cos * row - sin * frame, sin * row + cos * frame]);
}

/// Enlarges the picture about its middle, `factor` times in both directions.
pub(super) fn zoom(features: &mut Features, factor: f64) {
    map(features, |row, frame| [row / factor, frame / factor]);
}

/// Moves the picture by whole `rows` up and `frames` later.
pub(super) fn translate(features: &mut Features, rows: f64, frames: f64) {
    let (rows, frames) = (rows.round(), frames.round());
    map(features, |row, frame| [row - rows, frame - frames]);
}

/// Each value becomes that at `source(row, frame)`, both counted from the middle; between values by bilinear
/// interpolation.
fn map(features: &mut Features, source: impl Fn(f64, f64) -> [f64; 2]) {
    let before = features.clone();
    let silence = before.values.iter().copied().fold(f32::INFINITY, f32::min);
    let [rows, frames] = [before.shape.bins, before.shape.frames];
    let middle = [rows, frames].map(|len| (len as f64 - 1.0) / 2.0);
    for row in 0..rows {
        for frame in 0..frames {
            let [at_row, at_frame] = source(row as f64 - middle[0], frame as f64 - middle[1]);
            features.values[row * frames + frame] =
                value(&before, at_row + middle[0], at_frame + middle[1], silence);
        }
    }
}

fn value(features: &Features, row: f64, frame: f64, outside: f32) -> f32 {
    let [rows, frames] = [features.shape.bins as i64, features.shape.frames as i64];
    let (top, left) = (row.floor(), frame.floor());
    let (down, right) = ((row - top) as f32, (frame - left) as f32);
    let (top, left) = (top as i64, left as i64);
    let at = |row: i64, frame: i64| {
        let inside = (0..rows).contains(&row) && (0..frames).contains(&frame);
        if inside { features.values[(row * frames + frame) as usize] } else { outside }
    };
    let line = |row: i64| {
        let (a, b) = (at(row, left), if right > 0.0 { at(row, left + 1) } else { 0.0 });
        (1.0 - right) * a + right * b
    };
    let below = if down > 0.0 { line(top + 1) } else { 0.0 };
    (1.0 - down) * line(top) + down * below
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::FeatureShape;

    /// Row `b`, frame `t` holds `100 b + t + 1`.
    fn features(bins: usize, frames: usize) -> Features {
        let value = |i| (100 * (i / frames) + i % frames + 1) as f32;
        Features { shape: FeatureShape { bins, frames }, values: (0..bins * frames).map(value).collect() }
    }

    fn changed(bins: usize, frames: usize, change: impl Fn(&mut Features)) -> Vec<f32> {
        let mut features = features(bins, frames);
        change(&mut features);
        features.values
    }

    #[test]
    fn moved_values_stay_what_they_were_and_silence_comes_in() {
        let moved = changed(4, 5, |f| translate(f, 1.2, -2.0));
        let expected = [
            [1.0, 1.0, 1.0, 1.0, 1.0],
            [3.0, 4.0, 5.0, 1.0, 1.0],
            [103.0, 104.0, 105.0, 1.0, 1.0],
            [203.0, 204.0, 205.0, 1.0, 1.0],
        ];
        assert_eq!(moved, expected.concat());
    }

    #[test]
    fn a_quarter_turn_lets_frequencies_rise() {
        // A tone in the middle row becomes all frequencies at the middle frame, early ones lowest.
        let turned = changed(3, 3, |f| rotate(f, 90.0));
        let column: Vec<f32> = turned.iter().skip(1).step_by(3).copied().collect();
        assert!(column.iter().zip([101.0, 102.0, 103.0]).all(|(x, y)| (x - y).abs() < 1e-3), "{column:?}");
        for degrees in [0.0, 360.0] {
            let same = changed(6, 9, |f| rotate(f, degrees));
            assert!(same.iter().zip(features(6, 9).values).all(|(x, y)| (x - y).abs() < 1e-2), "{degrees}");
        }
    }

    #[test]
    fn zooming_spreads_the_middle() {
        let large = changed(5, 9, |f| zoom(f, 2.0));
        // Frame 2 of the middle row shows what stood one frame before the middle, frame 4.
        assert_eq!((large[2 * 9 + 4], large[2 * 9 + 2], large[2 * 9 + 3]), (205.0, 204.0, 204.5));
        let small = changed(5, 9, |f| zoom(f, 0.5));
        assert_eq!(
            (small[2 * 9 + 4], small[2 * 9 + 5], small[2 * 9 + 7], small[0]),
            (205.0, 207.0, 1.0, 1.0)
        );
        assert!(changed(1, 1, |f| zoom(f, 0.9)) == [1.0] && changed(0, 0, |f| rotate(f, 5.0)).is_empty());
    }
}
