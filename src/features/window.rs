use std::f64::consts::PI;

use super::config::Window;

/// The window's `win_length` samples in their periodic or symmetric form, computed in `f64`. Formulas as
/// `scipy.signal.get_window(.., fftbins=periodic)`; `povey` as `torchaudio.compliance.kaldi`.
pub(super) fn window(window: Window, win_length: usize, periodic: bool) -> Vec<f64> {
    let period = if periodic { win_length } else { win_length.saturating_sub(1) };
    let value = |i: usize| {
        let x = 2.0 * PI * i as f64 / period as f64;
        match window {
            _ if win_length == 1 => 1.0,
            Window::Hann => 0.5 - 0.5 * x.cos(),
            Window::Hamming => 0.54 - 0.46 * x.cos(),
            Window::Blackman => 0.42 - 0.5 * x.cos() + 0.08 * (2.0 * x).cos(),
            Window::Povey => (0.5 - 0.5 * x.cos()).max(0.0).powf(0.85),
        }
    };
    (0..win_length).map(value).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_periodic_or_symmetric() {
        for (periodic, expected) in
            [(true, &[0.0, 0.5, 1.0, 0.5][..]), (false, &[0.0, 0.5, 1.0, 0.5, 0.0][..])]
        {
            let hann = window(Window::Hann, expected.len(), periodic);
            for (value, expected) in hann.iter().zip(expected) {
                assert!((value - expected).abs() < 1e-7, "{hann:?}");
            }
        }
    }

    #[test]
    fn starts_and_peaks_as_the_formulas_say() {
        for (shape, first, quarter) in [
            (Window::Hann, 0.0, 0.5),
            (Window::Hamming, 0.08, 0.54),
            (Window::Blackman, 0.0, 0.34),
            (Window::Povey, 0.0, 0.554_785),
        ] {
            let values = window(shape, 400, true);
            assert!((values[0] - first).abs() < 1e-6, "{shape:?} {}", values[0]);
            assert!((values[100] - quarter).abs() < 1e-6, "{shape:?} {}", values[100]);
            assert!((values[200] - 1.0).abs() < 1e-6, "{shape:?} {}", values[200]);
        }
    }

    #[test]
    fn one_sample_passes_unchanged() {
        for periodic in [true, false] {
            assert_eq!(window(Window::Hann, 1, periodic), [1.0]);
        }
    }
}
