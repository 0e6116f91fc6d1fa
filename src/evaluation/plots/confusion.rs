use super::svg::{Anchor, Svg, Tone, columns, shorten};
use crate::metrics::Confusion;

/// What stands in the cells of a confusion matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cells {
    /// Numbers of clips.
    Counts,
    /// Percent of the clips of the true class: each row adds up to 100.
    Normalized,
}

/// Above this number of classes the cells are too small for numbers; they appear under the pointer.
const MAX_CLASSES_WITH_NUMBERS: usize = 30;

/// The confusion matrix: a row for each true class, a column for each predicted one. Readable for 80 classes: long
/// labels are cut, with the whole name, like every cell's numbers, under the pointer.
pub fn confusion_matrix(confusion: &Confusion, labels: &[String], cells: Cells) -> String {
    const COLOR: &str = "#0b62b4";
    let n = labels.len();
    let (cell, font, longest) = match n {
        0..=12 => (44.0, 12.0, 22),
        13..=MAX_CLASSES_WITH_NUMBERS => (28.0, 11.0, 22),
        _ => (14.0, 9.5, 18),
    };
    let short: Vec<String> = labels.iter().map(|label| shorten(&visible(label), longest)).collect();
    let label_width = short.iter().map(|s| columns(s)).max().unwrap_or(0) as f64 * font * 0.58 + 8.0;
    let (left, top, side) = (label_width + 20.0, 34.0, cell * n as f64);
    let mut svg = Svg::new((left + side + 20.0).max(360.0), top + side + label_width + 26.0);
    let title = match cells {
        Cells::Counts => "Confusion matrix: clips",
        Cells::Normalized => "Confusion matrix: % of the true class",
    };
    svg.text(10.0, 20.0, 14.0, Anchor::Start, Tone::Ink, title);

    let largest = (0..n * n).map(|i| confusion.count(i / n, i % n)).max().unwrap_or(0).max(1);
    for target in 0..n {
        for predicted in 0..n {
            let count = confusion.count(target, predicted);
            if count == 0 {
                continue;
            }
            let share = confusion.share(target, predicted);
            let (depth, text) = match cells {
                Cells::Counts => (count as f64 / largest as f64, count.to_string()),
                Cells::Normalized => (share, format!("{:.0}", share * 100.0)),
            };
            let (x, y) = (left + cell * predicted as f64, top + cell * target as f64);
            let hint = format!(
                "true {}, predicted {}: {count} of {} ({:.1} %)",
                labels[target],
                labels[predicted],
                confusion.support(target),
                share * 100.0
            );
            svg.rect([x, y, cell, cell], COLOR, 0.06 + 0.94 * depth, &hint);
            if n <= MAX_CLASSES_WITH_NUMBERS {
                let tone = if depth > 0.5 { Tone::White } else { Tone::Ink };
                let size = font.min(cell * 1.5 / text.len() as f64);
                svg.text(x + cell / 2.0, y + cell / 2.0 + size * 0.36, size, Anchor::Middle, tone, &text);
            }
        }
    }
    // A line at every cell up to 30 classes, at every fifth beyond.
    let every = if n <= MAX_CLASSES_WITH_NUMBERS { 1 } else { 5 };
    for i in (0..=n).step_by(every) {
        let offset = cell * i as f64;
        svg.grid(left, top + offset, left + side, top + offset);
        svg.grid(left + offset, top, left + offset, top + side);
    }
    svg.frame([left, top, side, side]);
    for (i, (short, label)) in short.iter().zip(labels).enumerate() {
        let middle = cell * (i as f64 + 0.5) + font * 0.36;
        let (row, column) = ((left - 6.0, top + middle), (left + middle, top + side + 6.0));
        let full = format!("{label} ({} clips)", confusion.support(i));
        svg.turned_text(row, 0.0, font, (Anchor::End, Tone::Ink), short, &full);
        let full = format!("{label} (predicted for {} clips)", confusion.predicted(i));
        svg.turned_text(column, -90.0, font, (Anchor::End, Tone::Ink), short, &full);
    }
    let (side_middle, below) = (left + side / 2.0, svg.height() - 8.0);
    svg.text(side_middle, below, 11.0, Anchor::Middle, Tone::Muted, "predicted");
    let truth = (13.0, top + side / 2.0);
    svg.turned_text(truth, -90.0, 11.0, (Anchor::Middle, Tone::Muted), "true", "true");
    svg.finish(title)
}

/// A label on one line.
fn visible(label: &str) -> String {
    label.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::super::svg::assert_well_formed;
    use super::*;

    fn confusion(n: usize) -> Confusion {
        let mut confusion = Confusion::new(n);
        for i in 0..n {
            (0..1 + i).for_each(|_| confusion.add(i, i));
            confusion.add(i, (i + 1) % n);
        }
        confusion
    }

    #[test]
    fn rows_are_true_classes() {
        let mut c = Confusion::new(2);
        c.add(0, 1);
        let svg = confusion_matrix(&c, &["dog".into(), "cat".into()], Cells::Counts);
        assert!(svg.contains("true dog, predicted cat: 1 of 1 (100.0 %)"), "{svg}");
        assert!(!svg.contains("true cat"), "empty cells are not drawn");
    }

    #[test]
    fn any_number_of_classes_and_any_label_is_well_formed_and_repeatable() {
        for n in [1, 2, 10, 30, 80] {
            for cells in [Cells::Counts, Cells::Normalized] {
                let labels: Vec<String> =
                    (0..n).map(|i| format!("{i}<script>\"&'\u{1b}\n🚨{}", "x".repeat(200))).collect();
                let svg = confusion_matrix(&confusion(n), &labels, cells);
                assert_well_formed(&svg);
                assert!(!svg.contains("<script>"));
                assert_eq!(svg, confusion_matrix(&confusion(n), &labels, cells));
            }
        }
    }

    #[test]
    fn normalised_rows_show_percent() {
        let mut c = Confusion::new(2);
        [(0, 0), (0, 0), (0, 0), (0, 1)].iter().for_each(|&(t, p)| c.add(t, p));
        let svg = confusion_matrix(&c, &["a".into(), "b".into()], Cells::Normalized);
        assert!(svg.contains(">75</text>") && svg.contains(">25</text>"), "{svg}");
    }
}
