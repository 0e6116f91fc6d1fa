use std::f64::consts::PI;

use super::config::Window;

/// The periodic window of `win_length` samples, centred in `n_fft` (zeros around it), computed in `f64`.
/// Formulas as `scipy.signal.get_window(.., fftbins=True)`; centring as `librosa.util.pad_center`.
pub(super) fn centred_window(window: Window, win_length: usize, n_fft: usize) -> Vec<f32> {
    let mut padded = vec![0.0; n_fft];
    let left = (n_fft - win_length) / 2;
    for (i, value) in padded[left..left + win_length].iter_mut().enumerate() {
        let x = 2.0 * PI * i as f64 / win_length as f64;
        *value = match window {
            _ if win_length == 1 => 1.0,
            Window::Hann => 0.5 - 0.5 * x.cos(),
            Window::Hamming => 0.54 - 0.46 * x.cos(),
            Window::Blackman => 0.42 - 0.5 * x.cos() + 0.08 * (2.0 * x).cos(),
        } as f32;
    }
    padded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_periodic_not_symmetric() {
        let hann = centred_window(Window::Hann, 4, 4);
        for (value, expected) in hann.iter().zip([0.0, 0.5, 1.0, 0.5]) {
            assert!((value - expected).abs() < 1e-7, "{hann:?}");
        }
    }

    #[test]
    fn starts_and_peaks_as_the_formulas_say() {
        for (window, first, peak) in
            [(Window::Hann, 0.0, 1.0), (Window::Hamming, 0.08, 1.0), (Window::Blackman, 0.0, 1.0)]
        {
            let values = centred_window(window, 400, 400);
            assert!((values[0] - first).abs() < 1e-7, "{window:?} {}", values[0]);
            assert!((values[200] - peak).abs() < 1e-7, "{window:?} {}", values[200]);
        }
    }

    #[test]
    fn a_short_window_is_centred_between_zeros() {
        let values = centred_window(Window::Hamming, 3, 8);
        assert!(values[..2].iter().chain(&values[5..]).all(|&v| v == 0.0), "{values:?}");
        assert!(values[2..5].iter().all(|&v| v > 0.0), "{values:?}");
    }

    #[test]
    fn one_sample_passes_unchanged() {
        assert_eq!(centred_window(Window::Hann, 1, 2), [1.0, 0.0]);
    }
}
