use super::svg::{Anchor, Svg, Tone};
use crate::features::Features;

/// Most cells drawn; larger features are averaged down to this.
const MAX_ROWS: usize = 256;
const MAX_COLUMNS: usize = 600;
/// Colours from the lowest value to the highest, evenly spaced: "magma" of matplotlib.
const MAGMA: [[u8; 3]; 9] = [
    [0x00, 0x00, 0x04],
    [0x1c, 0x10, 0x44],
    [0x4f, 0x12, 0x7b],
    [0x81, 0x25, 0x81],
    [0xb5, 0x36, 0x7a],
    [0xe5, 0x50, 0x64],
    [0xfb, 0x87, 0x61],
    [0xfe, 0xc2, 0x87],
    [0xfc, 0xfd, 0xbf],
];
/// Steps of the colour scale.
const LEVELS: usize = 48;

/// Area of the picture.
const LEFT: f64 = 62.0;
const TOP: f64 = 34.0;
const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 300.0;
const PANEL_WIDTH: f64 = LEFT + WIDTH + 80.0;
const PANEL_HEIGHT: f64 = TOP + HEIGHT + 46.0;

/// Features of one clip as a picture over `seconds` of time, lowest row at the bottom; a single row (a waveform) as
/// its envelope. `row_hz` names the frequency of each row in Hz; without it rows are numbered.
pub fn spectrogram(title: &str, features: &Features, seconds: f64, row_hz: Option<&[f64]>) -> String {
    panel(title, features, range(&features.values), seconds, row_hz).finish(title)
}

/// Several features of the same shape as one picture, two beside each other, all with the same colours: those of the range
/// of all values. `panels` are names and features in the order of reading; the rest is as for [`spectrogram`].
pub fn spectrogram_sheet(
    title: &str,
    panels: &[(String, Features)],
    seconds: f64,
    row_hz: Option<&[f64]>,
) -> String {
    let all = panels.iter().map(|(_, features)| range(&features.values));
    let all = all.reduce(|a, b| (a.0.min(b.0), a.1.max(b.1))).unwrap_or_default();
    let mut svg = Svg::new(2.0 * PANEL_WIDTH, PANEL_HEIGHT * panels.len().div_ceil(2) as f64);
    for (i, (name, features)) in panels.iter().enumerate() {
        let [column, row] = [i % 2, i / 2].map(|at| at as f64);
        svg.nest(column * PANEL_WIDTH, row * PANEL_HEIGHT, &panel(name, features, all, seconds, row_hz));
    }
    svg.finish(title)
}

fn panel(
    title: &str,
    features: &Features,
    (low, high): (f32, f32),
    seconds: f64,
    row_hz: Option<&[f64]>,
) -> Svg {
    let mut svg = Svg::new(PANEL_WIDTH, PANEL_HEIGHT);
    svg.text(10.0, 20.0, 14.0, Anchor::Start, Tone::Ink, title);
    if features.shape.bins == 1 {
        envelope(&mut svg, &features.values);
    } else {
        heat_map(&mut svg, features, low, high);
        color_bar(&mut svg, low, high);
        row_ticks(&mut svg, features.shape.bins, row_hz);
    }
    svg.frame([LEFT, TOP, WIDTH, HEIGHT]);
    for fifth in 0..=5 {
        let share = f64::from(fifth) / 5.0;
        let label = short(share * seconds);
        svg.text(LEFT + share * WIDTH, TOP + HEIGHT + 17.0, 11.0, Anchor::Middle, Tone::Muted, &label);
    }
    svg.text(LEFT + WIDTH / 2.0, TOP + HEIGHT + 36.0, 11.0, Anchor::Middle, Tone::Muted, "seconds");
    svg
}

/// Smallest and largest value.
fn range(values: &[f32]) -> (f32, f32) {
    values.iter().fold((f32::INFINITY, f32::NEG_INFINITY), |(low, high), &v| (low.min(v), high.max(v)))
}

fn heat_map(svg: &mut Svg, features: &Features, low: f32, high: f32) {
    let (rows, columns) = (features.shape.bins.min(MAX_ROWS), features.shape.frames.min(MAX_COLUMNS));
    let mut runs: Vec<Vec<[usize; 3]>> = vec![Vec::new(); LEVELS];
    for row in 0..rows {
        let mut start = 0;
        for column in 0..columns {
            let this = level(cell(features, row, column, rows, columns), low, high);
            let ends = column + 1 == columns
                || level(cell(features, row, column + 1, rows, columns), low, high) != this;
            if ends {
                runs[this].push([rows - 1 - row, start, column + 1 - start]);
                start = column + 1;
            }
        }
    }
    let size = [WIDTH / columns as f64, HEIGHT / rows as f64];
    for (level, runs) in runs.iter().enumerate().filter(|(_, runs)| !runs.is_empty()) {
        svg.cells([LEFT, TOP], size, &color(level), runs);
    }
}

/// Mean of the values that fall on one cell of the picture.
fn cell(features: &Features, row: usize, column: usize, rows: usize, columns: usize) -> f32 {
    let shape = features.shape;
    let of = |i: usize, drawn: usize, all: usize| i * all / drawn..(i + 1) * all / drawn;
    let (bins, frames) = (of(row, rows, shape.bins), of(column, columns, shape.frames));
    let count = bins.len() * frames.len();
    let sum: f32 =
        bins.map(|b| features.values[b * shape.frames..][frames.clone()].iter().sum::<f32>()).sum();
    sum / count as f32
}

fn level(value: f32, low: f32, high: f32) -> usize {
    let share = if high > low { (value - low) / (high - low) } else { 1.0 };
    ((share * LEVELS as f32) as usize).min(LEVELS - 1)
}

fn color(level: usize) -> String {
    let position = level as f64 / (LEVELS - 1) as f64 * (MAGMA.len() - 1) as f64;
    let below = (position as usize).min(MAGMA.len() - 2);
    let share = position - below as f64;
    let mix = |i: usize| {
        let (from, to) = (f64::from(MAGMA[below][i]), f64::from(MAGMA[below + 1][i]));
        (from + share * (to - from)).round() as u8
    };
    format!("#{:02x}{:02x}{:02x}", mix(0), mix(1), mix(2))
}

fn color_bar(svg: &mut Svg, low: f32, high: f32) {
    let x = LEFT + WIDTH + 14.0;
    for level in 0..LEVELS {
        svg.cells([x, TOP], [14.0, HEIGHT / LEVELS as f64], &color(level), &[[LEVELS - 1 - level, 0, 1]]);
    }
    for (value, y) in [(high, TOP + 9.0), (low, TOP + HEIGHT)] {
        svg.text(x + 18.0, y, 11.0, Anchor::Start, Tone::Muted, &short(f64::from(value)));
    }
}

fn row_ticks(svg: &mut Svg, bins: usize, row_hz: Option<&[f64]>) {
    for quarter in 0..=4 {
        let row = (bins - 1) * quarter / 4;
        let y = TOP + HEIGHT * (1.0 - (row as f64 + 0.5) / bins as f64) + 4.0;
        let label = match row_hz.and_then(|hz| hz.get(row)) {
            Some(hz) => format!("{hz:.0} Hz"),
            None => row.to_string(),
        };
        svg.text(LEFT - 6.0, y, 11.0, Anchor::End, Tone::Muted, &label);
    }
}

/// Lowest and highest sample of each column as one closed outline.
fn envelope(svg: &mut Svg, samples: &[f32]) {
    let peak = samples.iter().fold(f32::MIN_POSITIVE, |peak, x| peak.max(x.abs()));
    let columns = samples.len().clamp(1, WIDTH as usize);
    let y = |value: f32| TOP + HEIGHT / 2.0 * (1.0 - f64::from(value / peak));
    let mut points = Vec::with_capacity(2 * columns);
    for column in 0..columns {
        let part = &samples[column * samples.len() / columns..(column + 1) * samples.len() / columns];
        let (low, high) = range(part);
        let x = LEFT + WIDTH * (column as f64 + 0.5) / columns as f64;
        points.extend([(x, y(high)), (x, y(low))]);
    }
    svg.grid(LEFT, y(0.0), LEFT + WIDTH, y(0.0));
    svg.path(&points, "#0a7fc2", false);
    for (value, at) in [(peak, TOP + 9.0), (0.0, y(0.0) + 4.0), (-peak, TOP + HEIGHT)] {
        svg.text(LEFT - 6.0, at, 11.0, Anchor::End, Tone::Muted, &short(f64::from(value)));
    }
}

/// About three digits.
fn short(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        0.0 => "0".to_owned(),
        size if size >= 0.01 => format!("{value:.2}"),
        _ => format!("{value:.1e}"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::svg::assert_well_formed;
    use super::*;
    use crate::features::FeatureShape;

    fn features(bins: usize, frames: usize, value: impl Fn(usize) -> f32) -> Features {
        Features { shape: FeatureShape { bins, frames }, values: (0..bins * frames).map(value).collect() }
    }

    #[test]
    fn any_features_are_well_formed_and_repeatable() {
        for (bins, frames) in [(1, 1), (1, 88_200), (2, 1), (128, 173), (1025, 900)] {
            for flat in [false, true] {
                let features = features(bins, frames, |i| if flat { -80.0 } else { (i % 81) as f32 });
                let svg = spectrogram("<&\u{1b}.wav", &features, 4.0, None);
                assert_well_formed(&svg);
                assert_eq!(svg, spectrogram("<&\u{1b}.wav", &features, 4.0, None));
                assert!(!svg.contains("NaN") && !svg.contains("inf"), "{bins} {frames}");
            }
        }
    }

    #[test]
    fn the_lowest_row_is_at_the_bottom() {
        let svg = spectrogram("t", &features(2, 1, |i| i as f32), 1.0, None);
        assert!(svg.contains("stroke=\"#000004\" d=\"M0 1.5h1\""), "{svg}");
        assert!(svg.contains("stroke=\"#fcfdbf\" d=\"M0 0.5h1\""), "{svg}");
    }

    #[test]
    fn equal_neighbours_are_one_run() {
        let svg = spectrogram("t", &features(2, 4, |i| [0., 0., 1., 1., 0., 0., 0., 0.][i]), 1.0, None);
        assert!(svg.contains("d=\"M0 1.5h2M0 0.5h4\"") && svg.contains("d=\"M2 1.5h2\""), "{svg}");
    }

    #[test]
    fn large_features_are_averaged() {
        let large = features(2 * MAX_ROWS, 2, |i| (i / 2 % 2) as f32);
        assert!((cell(&large, 3, 1, MAX_ROWS, 2) - 0.5).abs() < 1e-6);
    }

    #[test]
    fn panels_of_a_sheet_share_their_colours() {
        let panels =
            [0.0, 1.0, 4.0].map(|value| (format!("<{value}>"), features(2, 2, |i| value * i as f32)));
        let sheet = spectrogram_sheet("s", &panels, 1.0, None);
        assert_well_formed(&sheet);
        assert!(["&lt;0&gt;", "&lt;1&gt;", "&lt;4&gt;"].iter().all(|name| sheet.contains(name)), "{sheet}");
        assert_eq!(sheet.matches(">12.0<").count(), 3, "each colour bar ends at the largest value of all");
        assert!(!spectrogram_sheet("s", &[], 1.0, None).contains("NaN"));
    }

    #[test]
    fn rows_are_named_by_frequency() {
        let svg = spectrogram("t", &features(3, 2, |i| i as f32), 1.0, Some(&[100.0, 450.0, 8000.0]));
        assert!(svg.contains(">100 Hz<") && svg.contains(">8000 Hz<"), "{svg}");
    }
}
