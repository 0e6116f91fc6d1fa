//! What tests of several files need.

#![allow(clippy::unwrap_used, reason = "tests")]

/// Random numbers between -1 and 1 (xorshift of Marsaglia 2003).
pub fn random(len: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / 8_388_608.0 - 1.0
    };
    (0..len).map(|_| next()).collect()
}

/// As `f64`.
pub fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&value| f64::from(value)).collect()
}

/// Asserts that no number is further from the one wanted than `tolerance` times that number or their root mean square.
#[track_caller]
pub fn close(what: &str, got: &[f32], wanted: &[f64], tolerance: f64) {
    assert_eq!(got.len(), wanted.len(), "{what}: numbers");
    let size = (wanted.iter().map(|x| x * x).sum::<f64>() / wanted.len().max(1) as f64).sqrt();
    for (i, (&got, wanted)) in got.iter().zip(wanted).enumerate() {
        let error = (f64::from(got) - wanted).abs() / wanted.abs().max(size).max(1e-30);
        assert!(error <= tolerance, "{what}: number {i} is {got}, not {wanted} (relative error {error:.1e})");
    }
}

/// Derivatives of `of(x)` by central differences.
pub fn slopes(x: &[f64], of: impl Fn(&[f64]) -> f64) -> Vec<f64> {
    let step = 1e-5;
    let mut x = x.to_vec();
    (0..x.len())
        .map(|i| {
            let here = x[i];
            x[i] = here + step;
            let above = of(&x);
            x[i] = here - step;
            let below = of(&x);
            x[i] = here;
            (above - below) / (2.0 * step)
        })
        .collect()
}

/// Runs `of` with pools of one and of three threads and asserts that it gives the same.
#[track_caller]
pub fn same_on_any_threads<T: PartialEq + std::fmt::Debug + Send>(of: impl Fn() -> T + Sync) {
    let [one, three] = [1, 3].map(|threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(&of)
    });
    assert!(one == three, "results depend on the number of threads");
}
