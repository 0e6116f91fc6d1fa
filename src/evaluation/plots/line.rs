use super::svg::{Anchor, Svg, Tone, columns, number, shorten};

/// Lines over a common axis, one dot each where something is marked.
#[derive(Debug, Clone)]
pub struct LinePlot<'a> {
    /// Above the plot.
    pub title: &'a str,
    /// Below the horizontal axis.
    pub x_label: &'a str,
    /// Least span of the vertical axis, widened to what the lines need.
    pub y_span: Option<(f64, f64)>,
    /// The lines.
    pub series: Vec<Series>,
}

/// One line. Points that are not finite are left out and break it.
#[derive(Debug, Clone)]
pub struct Series {
    /// In the legend.
    pub name: String,
    /// From left to right.
    pub points: Vec<(f64, f64)>,
    /// An SVG colour.
    pub color: &'static str,
    /// Whether the line is dashed.
    pub dashed: bool,
    /// A point to mark, with what to say of it.
    pub mark: Option<((f64, f64), String)>,
}

/// Ten colours that can be told apart on light and dark paper (Okabe and Ito's, two added); they repeat.
pub fn series_color(index: usize) -> &'static str {
    const COLORS: [&str; 10] = [
        "#0a7fc2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#a6761d", "#7f7f7f", "#9467bd",
        "#17becf",
    ];
    COLORS[index % COLORS.len()]
}

const WIDTH: f64 = 480.0;
const LEFT: f64 = 50.0;
const RIGHT: f64 = 14.0;
const TOP: f64 = 34.0;
const HEIGHT: f64 = 200.0;
const LEGEND_ROW: f64 = 18.0;

impl LinePlot<'_> {
    /// The plot as SVG text, 480 pixels wide; the height grows with the legend.
    pub fn render(&self) -> String {
        self.draw().finish(self.title)
    }

    pub(super) fn draw(&self) -> Svg {
        let legend = self.legend();
        let rows = legend.last().map_or(0, |(_, _, row)| row + 1);
        let bottom = TOP + HEIGHT;
        let mut svg = Svg::new(WIDTH, bottom + 42.0 + LEGEND_ROW * rows as f64);
        svg.text(LEFT, 20.0, 14.0, Anchor::Start, Tone::Ink, self.title);

        let points = || self.series.iter().flat_map(|s| s.points.iter()).filter(|p| finite(p));
        if points().next().is_none() {
            svg.frame([LEFT, TOP, WIDTH - LEFT - RIGHT, HEIGHT]);
            svg.text(WIDTH / 2.0, TOP + HEIGHT / 2.0, 12.0, Anchor::Middle, Tone::Muted, "nothing to show");
            return svg;
        }
        let (x0, x1) = span(points().map(|p| p.0));
        let (mut y0, mut y1) = span(points().map(|p| p.1));
        if let Some((low, high)) = self.y_span {
            (y0, y1) = (y0.min(low), y1.max(high));
        }
        let (x0, x1) = widened(x0, x1);
        let (y0, y1) = widened(y0, y1);
        let to_x = |x: f64| LEFT + (x - x0) / (x1 - x0) * (WIDTH - LEFT - RIGHT);
        let to_y = |y: f64| bottom - (y - y0) / (y1 - y0) * HEIGHT;

        for tick in ticks(y0, y1, 5, false) {
            svg.grid(LEFT, to_y(tick), WIDTH - RIGHT, to_y(tick));
            svg.text(LEFT - 6.0, to_y(tick) + 4.0, 11.0, Anchor::End, Tone::Muted, &tick_text(tick));
        }
        for tick in ticks(x0, x1, 8, true) {
            svg.text(to_x(tick), bottom + 16.0, 11.0, Anchor::Middle, Tone::Muted, &tick_text(tick));
        }
        svg.frame([LEFT, TOP, WIDTH - LEFT - RIGHT, HEIGHT]);
        svg.text(
            (LEFT + WIDTH - RIGHT) / 2.0,
            bottom + 32.0,
            11.0,
            Anchor::Middle,
            Tone::Muted,
            self.x_label,
        );

        for series in &self.series {
            for part in series.points.split(|p| !finite(p)).filter(|part| !part.is_empty()) {
                let part: Vec<_> = part.iter().map(|(x, y)| (to_x(*x), to_y(*y))).collect();
                svg.path(&part, series.color, series.dashed);
            }
        }
        for (series, (point, title)) in self.series.iter().filter_map(|s| s.mark.as_ref().map(|m| (s, m))) {
            if finite(point) {
                svg.dot(to_x(point.0), to_y(point.1), 4.5, series.color, title);
            }
        }
        for (series, (x, name, row)) in self.series.iter().zip(&legend) {
            let y = bottom + 50.0 + LEGEND_ROW * *row as f64;
            svg.path(&[(*x, y - 4.0), (x + 20.0, y - 4.0)], series.color, series.dashed);
            svg.turned_text((x + 26.0, y), 0.0, 11.0, (Anchor::Start, Tone::Ink), name, &series.name);
        }
        svg
    }

    /// Left edge, shown name and row of each entry of the legend.
    fn legend(&self) -> Vec<(f64, String, usize)> {
        let (mut x, mut row) = (LEFT, 0);
        let mut entries = Vec::new();
        for series in &self.series {
            let name = shorten(&series.name, 40);
            let width = 44.0 + 6.2 * columns(&name) as f64;
            if x > LEFT && x + width > WIDTH {
                (x, row) = (LEFT, row + 1);
            }
            entries.push((x, name, row));
            x += width;
        }
        entries
    }
}

fn finite(point: &(f64, f64)) -> bool {
    point.0.is_finite() && point.1.is_finite()
}

fn span(values: impl Iterator<Item = f64>) -> (f64, f64) {
    values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)))
}

/// An empty span gets a width, so that one point stands in the middle.
fn widened(low: f64, high: f64) -> (f64, f64) {
    if high - low > 1e-9 * high.abs().max(1e-9) {
        return (low, high);
    }
    let half = (high.abs() * 0.1).max(0.5);
    (low - half, high + half)
}

/// Round numbers (1, 2 or 5 times a power of ten) inside `low..=high`, at most about `count`.
fn ticks(low: f64, high: f64, count: usize, whole: bool) -> Vec<f64> {
    let raw = (high - low) / count as f64;
    let power = 10_f64.powf(raw.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|m| m * power).find(|s| *s >= raw).unwrap_or(raw);
    let step = if whole { step.max(1.0).round() } else { step };
    let first = (low / step - 1e-9).ceil();
    (0..=2 * count).map(|i| (first + i as f64) * step).take_while(|t| *t <= high + step * 1e-9).collect()
}

fn tick_text(tick: f64) -> String {
    let size = tick.abs();
    if size >= 1e5 || (size > 0.0 && size < 0.01) { format!("{tick:e}") } else { number(tick) }
}

#[cfg(test)]
mod tests {
    use super::super::svg::assert_well_formed;
    use super::*;

    fn plot(points: Vec<(f64, f64)>) -> LinePlot<'static> {
        let series = Series { name: "a < b".into(), points, color: "#000", dashed: false, mark: None };
        LinePlot { title: "loss", x_label: "epoch", y_span: None, series: vec![series] }
    }

    #[test]
    fn draws_any_number_of_points() {
        for points in [vec![], vec![(1.0, 2.0)], vec![(1.0, 2.0), (2.0, 2.0)], vec![(1.0, f64::NAN)]] {
            let svg = plot(points).render();
            assert_well_formed(&svg);
            assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        }
    }

    #[test]
    fn a_missing_value_breaks_the_line() {
        let svg = plot(vec![(1.0, 1.0), (2.0, 2.0), (3.0, f64::NAN), (4.0, 1.0), (5.0, 3.0)]).render();
        let lines_and_legend = 3;
        assert_eq!(svg.matches("<polyline").count(), lines_and_legend);
    }

    #[test]
    fn ticks_are_round_numbers_inside() {
        assert_eq!(ticks(0.0, 1.0, 5, false).len(), 6);
        assert_eq!(ticks(1.0, 12.0, 8, true), [2.0, 4.0, 6.0, 8.0, 10.0, 12.0]);
        assert_eq!(ticks(0.5, 1.5, 8, true), [1.0]);
    }

    #[test]
    fn many_series_wrap_their_legend() {
        let mut plot = plot(vec![(0.0, 0.0), (1.0, 1.0)]);
        let one = plot.render().len();
        plot.series = (0..12).map(|_| Series { name: "x".repeat(200), ..plot.series[0].clone() }).collect();
        let svg = plot.render();
        assert_well_formed(&svg);
        assert!(svg.len() > one && svg.contains("height=\"492\""), "{svg}");
    }
}
