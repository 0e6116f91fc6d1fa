//! Plots as SVG text, written directly: no font, no clock, no hash map, so equal input gives equal bytes.
//!
//! Colours are plain attributes for a light page; a style sheet inside each plot changes them on a dark one, so
//! the files also look right in viewers that know no style sheets.

mod bars;
mod confusion;
mod curves;
mod line;
mod spectrogram;
mod stacked;
mod svg;

pub use bars::f1_bars;
pub use confusion::{Cells, confusion_matrix};
pub use curves::{curves, figure_curves, loss_curves};
pub use line::{LinePlot, Series, series_color};
pub use spectrogram::{spectrogram, spectrogram_sheet};
pub use stacked::{StackedRow, stacked_bars};
#[cfg(test)]
pub(super) use svg::assert_well_formed;
