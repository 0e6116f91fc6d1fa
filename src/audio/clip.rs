//! Fixed lengths: one clip out of a recording, or many windows over it.

/// Exactly `len` samples: the first `len`, or all of them followed by zeros.
pub fn fit(samples: &[f32], len: usize) -> Vec<f32> {
    let mut clip = samples[..samples.len().min(len)].to_vec();
    clip.resize(len, 0.0);
    clip
}

/// Iterator over `(start, end)` of the windows of a recording; see [`windows`].
#[derive(Debug, Clone)]
pub struct Windows {
    total: usize,
    clip: usize,
    hop: usize,
    next: Option<usize>,
}

/// Windows of `clip_samples` every `hop_samples` over a recording of `total_samples`.
///
/// The last window may be shorter: it ends where the recording ends, and none starts after a window has reached
/// the end. A recording shorter than a clip gives one window, an empty one none. Zero lengths count as 1.
pub fn windows(total_samples: usize, clip_samples: usize, hop_samples: usize) -> Windows {
    Windows {
        total: total_samples,
        clip: clip_samples.max(1),
        hop: hop_samples.max(1),
        next: (total_samples > 0).then_some(0),
    }
}

impl Iterator for Windows {
    type Item = (usize, usize);

    fn next(&mut self) -> Option<Self::Item> {
        let start = self.next?;
        let end = start.saturating_add(self.clip).min(self.total);
        self.next = start.checked_add(self.hop).filter(|next| end < self.total && *next < self.total);
        Some((start, end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(total: usize, clip: usize, hop: usize) -> Vec<(usize, usize)> {
        windows(total, clip, hop).collect()
    }

    #[test]
    fn pads_short_clips_with_zeros_and_cuts_long_ones() {
        assert_eq!(fit(&[1.0, 2.0], 4), [1.0, 2.0, 0.0, 0.0]);
        assert_eq!(fit(&[1.0, 2.0, 3.0], 2), [1.0, 2.0]);
        assert_eq!(fit(&[], 1), [0.0]);
    }

    #[test]
    fn the_last_window_ends_with_the_recording() {
        assert_eq!(all(10, 4, 2), [(0, 4), (2, 6), (4, 8), (6, 10)]);
        assert_eq!(all(9, 4, 4), [(0, 4), (4, 8), (8, 9)]);
        assert_eq!(all(9, 4, 2), [(0, 4), (2, 6), (4, 8), (6, 9)]);
    }

    #[test]
    fn short_empty_and_sparse_recordings() {
        assert_eq!(all(3, 4, 4), [(0, 3)]);
        assert_eq!(all(4, 4, 1), [(0, 4)]);
        assert_eq!(all(0, 4, 1), []);
        assert_eq!(all(10, 2, 4), [(0, 2), (4, 6), (8, 10)]);
        assert_eq!(all(9, 2, 7), [(0, 2), (7, 9)]);
    }
}
