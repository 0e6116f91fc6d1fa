use super::svg::{Anchor, Svg, Tone, columns, shorten};
use crate::metrics::ClassificationReport;

/// F1 of each class as a bar from 0 to 1, the weakest class on top.
pub fn f1_bars(report: &ClassificationReport) -> String {
    const ROW: f64 = 19.0;
    const BAR: f64 = 220.0;
    let mut order: Vec<usize> = (0..report.labels.len()).collect();
    order.sort_by(|&a, &b| report.classes[a].f1.total_cmp(&report.classes[b].f1).then(a.cmp(&b)));
    let short: Vec<String> = report.labels.iter().map(|label| shorten(label, 24)).collect();
    let left = short.iter().map(|s| columns(s)).max().unwrap_or(0) as f64 * 7.0 + 18.0;
    let mut svg = Svg::new(left + BAR + 50.0, 38.0 + ROW * order.len() as f64);
    svg.text(10.0, 20.0, 14.0, Anchor::Start, Tone::Ink, "F1 by class, weakest first");
    for quarter in 0..=4 {
        let x = left + BAR * f64::from(quarter) / 4.0;
        svg.grid(x, 30.0, x, 32.0 + ROW * order.len() as f64);
    }
    for (row, &class) in order.iter().enumerate() {
        let (label, scores) = (&report.labels[class], &report.classes[class]);
        let y = 32.0 + ROW * row as f64;
        let hint = format!(
            "{label}: F1 {:.3}, precision {:.3}, recall {:.3}, {} clips",
            scores.f1, scores.precision, scores.recall, scores.support
        );
        svg.turned_text((left - 6.0, y + 13.0), 0.0, 12.0, (Anchor::End, Tone::Ink), &short[class], &hint);
        svg.rect([left, y + 3.0, (BAR * scores.f1).max(1.0), ROW - 6.0], "#0a7fc2", 1.0, &hint);
        let value = format!("{:.2}", scores.f1);
        svg.text(left + BAR + 8.0, y + 13.0, 11.0, Anchor::Start, Tone::Muted, &value);
    }
    svg.finish("F1 by class")
}

#[cfg(test)]
mod tests {
    use super::super::svg::assert_well_formed;
    use super::*;
    use crate::metrics::Confusion;

    #[test]
    fn the_weakest_class_is_on_top() {
        let mut c = Confusion::new(2);
        [(0, 0), (0, 0), (1, 0), (1, 1)].iter().for_each(|&(t, p)| c.add(t, p));
        let svg = f1_bars(&ClassificationReport::new(&c, &["<b>".into(), "weak".into()]));
        assert_well_formed(&svg);
        assert!(svg.find("weak: F1 0.667").unwrap() < svg.find("&lt;b&gt;: F1 0.800").unwrap());
    }
}
