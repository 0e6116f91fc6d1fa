use super::svg::Svg;
use super::{LinePlot, Series, series_color};
use crate::decision::Task;
use crate::training::EpochRow;

/// Loss of training and validation by epoch, the kept epoch marked.
pub fn loss_curves(epochs: &[EpochRow], best_epoch: Option<usize>) -> String {
    loss(epochs, best_epoch).render()
}

/// What the task is judged by, of training and validation by epoch, the kept epoch marked: accuracy, or lwlrap with several
/// labels a clip.
pub fn figure_curves(epochs: &[EpochRow], best_epoch: Option<usize>, task: Task) -> String {
    figure(epochs, best_epoch, task).render()
}

/// Both, side by side: `curves.svg`.
pub fn curves(epochs: &[EpochRow], best_epoch: Option<usize>, task: Task) -> String {
    let panels = [loss(epochs, best_epoch).draw(), figure(epochs, best_epoch, task).draw()];
    let mut svg = Svg::new(panels.iter().map(Svg::width).sum(), panels[0].height());
    svg.nest(0.0, 0.0, &panels[0]);
    svg.nest(panels[0].width(), 0.0, &panels[1]);
    svg.finish("learning curves")
}

fn loss(epochs: &[EpochRow], best_epoch: Option<usize>) -> LinePlot<'static> {
    plot("loss", None, epochs, best_epoch, |row| (row.train_loss, row.valid_loss))
}

fn figure(epochs: &[EpochRow], best_epoch: Option<usize>, task: Task) -> LinePlot<'static> {
    let span = Some((0.0, 1.0));
    match task {
        Task::SingleLabel => {
            plot("accuracy", span, epochs, best_epoch, |row| (row.train_accuracy, row.valid_accuracy))
        }
        Task::MultiLabel => {
            plot("lwlrap", span, epochs, best_epoch, |row| (row.train_lwlrap, row.valid_lwlrap))
        }
    }
}

fn plot(
    title: &'static str,
    y_span: Option<(f64, f64)>,
    epochs: &[EpochRow],
    best_epoch: Option<usize>,
    values: impl Fn(&EpochRow) -> (f64, f64),
) -> LinePlot<'static> {
    let points = |value: &dyn Fn(&EpochRow) -> f64| -> Vec<(f64, f64)> {
        epochs.iter().map(|row| (row.epoch as f64, value(row))).collect()
    };
    let mark = epochs.iter().find(|row| Some(row.epoch) == best_epoch).map(|row| {
        let value = values(row).1;
        ((row.epoch as f64, value), format!("epoch {} was kept: {value:.3}", row.epoch))
    });
    let name = match best_epoch {
        Some(epoch) => format!("validation (dot: epoch {epoch}, kept)"),
        None => "validation".to_owned(),
    };
    let train = Series {
        name: "training".to_owned(),
        points: points(&|row| values(row).0),
        color: series_color(1),
        dashed: true,
        mark: None,
    };
    let valid =
        Series { name, points: points(&|row| values(row).1), color: series_color(0), dashed: false, mark };
    LinePlot { title, x_label: "epoch", y_span, series: vec![train, valid] }
}

#[cfg(test)]
mod tests {
    use super::super::svg::assert_well_formed;
    use super::*;

    fn rows(count: usize) -> Vec<EpochRow> {
        (1..=count)
            .map(|epoch| EpochRow {
                epoch,
                time: 1.0,
                train_loss: 2.0 / epoch as f64,
                train_accuracy: 0.5,
                valid_loss: 2.5 / epoch as f64,
                valid_accuracy: 0.4,
                valid_lwlrap: 0.3,
                ..EpochRow::default()
            })
            .collect()
    }

    #[test]
    fn the_kept_epoch_is_marked_in_both_panels() {
        let svg = curves(&rows(7), Some(5), Task::SingleLabel);
        assert_well_formed(&svg);
        assert!(svg.contains("<title>epoch 5 was kept: 0.500</title>"), "{svg}");
        assert!(svg.contains("<title>epoch 5 was kept: 0.400</title>"), "{svg}");
        let svg = curves(&rows(7), Some(5), Task::MultiLabel);
        assert!(svg.contains("<title>epoch 5 was kept: 0.300</title>"), "{svg}");
    }

    #[test]
    fn works_without_any_epoch_and_gives_equal_bytes() {
        for count in [0, 1, 500] {
            let svg = curves(&rows(count), None, Task::MultiLabel);
            assert_well_formed(&svg);
            assert_eq!(svg, curves(&rows(count), None, Task::MultiLabel));
        }
    }
}
