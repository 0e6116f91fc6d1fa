//! Named tensors, taken from a stranger's file inside limits.

use std::collections::BTreeMap;

use crate::text::printable;

/// Most numbers taken from one file: 1 GiB of weights, the largest network there is.
pub(super) const MAX_ELEMENTS: usize = 1 << 28;
/// Most numbers for each byte of a file. Compressed zeros have hundreds; a shape that only claims to be large, far more.
const MAX_DENSITY: u64 = 256;
/// Most tensors of one file.
const MAX_TENSORS: usize = 100_000;

/// A tensor in row-major order.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    /// Its extents, outermost first; empty for a scalar.
    pub shape: Vec<usize>,
    /// As many values as the extents multiply to.
    pub values: Vec<f32>,
}

/// Tensors by name.
pub type Tensors = BTreeMap<String, Tensor>;

/// Takes in tensors one by one. Space is asked for before values are read, so that a shape which only claims to be
/// large costs nothing.
#[derive(Debug)]
pub(super) struct Collector {
    tensors: Tensors,
    elements: usize,
    /// Most numbers altogether.
    most: usize,
}

impl Collector {
    /// For a file of so many bytes.
    pub(super) fn new(file: u64) -> Self {
        let most = usize::try_from(file.saturating_mul(MAX_DENSITY)).unwrap_or(usize::MAX);
        Self { tensors: Tensors::new(), elements: 0, most: most.min(MAX_ELEMENTS) }
    }

    /// How many numbers `shape` has, if there is room for them.
    pub(super) fn reserve(&mut self, name: &str, shape: &[usize]) -> Result<usize, String> {
        let name = printable(name);
        let count = shape.iter().try_fold(1_usize, |product, extent| product.checked_mul(*extent));
        let total = count.and_then(|count| self.elements.checked_add(count));
        let (Some(count), Some(total)) = (count, total.filter(|total| *total <= self.most)) else {
            let most = self.most;
            return Err(format!(
                "{name} of shape {shape:?} goes beyond the limit of {most} numbers for this file"
            ));
        };
        if self.tensors.len() == MAX_TENSORS {
            return Err(format!("more than {MAX_TENSORS} tensors"));
        }
        self.elements = total;
        Ok(count)
    }

    /// Keeps a tensor for which there was room.
    pub(super) fn add(&mut self, name: String, shape: Vec<usize>, values: Vec<f32>) -> Result<(), String> {
        let expected = shape.iter().product::<usize>();
        if values.len() != expected {
            let (name, len) = (printable(&name), values.len());
            return Err(format!("{name} of shape {shape:?} has {len} values where {expected} are needed"));
        }
        if let Some(value) = values.iter().find(|value| !value.is_finite()) {
            return Err(format!("{} holds {value}; weights must be finite", printable(&name)));
        }
        if let Some(Tensor { shape, .. }) = self.tensors.insert(name.clone(), Tensor { shape, values }) {
            return Err(format!("{} occurs twice, once of shape {shape:?}", printable(&name)));
        }
        Ok(())
    }

    pub(super) fn finish(self) -> Result<Tensors, String> {
        if self.tensors.is_empty() { Err("it holds no tensors".to_owned()) } else { Ok(self.tensors) }
    }
}

/// Little-endian bytes of a number type → `f32`.
pub(super) fn floats(kind: Kind, bytes: &[u8]) -> Vec<f32> {
    fn each<const N: usize>(bytes: &[u8], number: impl Fn([u8; N]) -> f32) -> Vec<f32> {
        bytes.as_chunks::<N>().0.iter().map(|chunk| number(*chunk)).collect()
    }
    match kind {
        Kind::F64 => each(bytes, |b| f64::from_le_bytes(b) as f32),
        Kind::F32 => each(bytes, f32::from_le_bytes),
        Kind::F16 => each(bytes, |b| half::f16::from_le_bytes(b).to_f32()),
        Kind::BF16 => each(bytes, |b| half::bf16::from_le_bytes(b).to_f32()),
        Kind::I64 => each(bytes, |b| i64::from_le_bytes(b) as f32),
        Kind::I32 => each(bytes, |b| i32::from_le_bytes(b) as f32),
    }
}

/// Number types that weights come in; integers are counters and indices beside them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    F64,
    F32,
    F16,
    BF16,
    I64,
    I32,
}

impl Kind {
    /// Bytes of one number.
    pub(super) fn size(self) -> usize {
        match self {
            Self::F64 | Self::I64 => 8,
            Self::F32 | Self::I32 => 4,
            Self::F16 | Self::BF16 => 2,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_type_becomes_f32() {
        for (kind, bytes) in [
            (Kind::F64, 1.5_f64.to_le_bytes().to_vec()),
            (Kind::F32, 1.5_f32.to_le_bytes().to_vec()),
            (Kind::F16, half::f16::from_f32(1.5).to_le_bytes().to_vec()),
            (Kind::BF16, half::bf16::from_f32(1.5).to_le_bytes().to_vec()),
        ] {
            assert_eq!(floats(kind, &bytes), [1.5], "{kind:?}");
        }
        assert_eq!(floats(Kind::I64, &(-3_i64).to_le_bytes()), [-3.0]);
        assert_eq!(floats(Kind::I32, &[0xfe, 0xff, 0xff, 0xff, 7, 0, 0, 0]), [-2.0, 7.0]);
    }

    #[test]
    fn what_cannot_be_weights_is_refused_by_name() {
        let error = |shape: &[usize]| Collector::new(u64::MAX).reserve("w", shape).unwrap_err();
        for shape in [&[usize::MAX, 2][..], &[MAX_ELEMENTS, 2], &[1 << 20, 1 << 20, 1 << 20, 1 << 20]] {
            assert!(error(shape).starts_with("w of shape ["), "{}", error(shape));
        }
        assert!(Collector::new(100).reserve("w", &[25_601]).is_err(), "a small file");
        assert_eq!(Collector::new(100).reserve("w", &[25_600]), Ok(25_600));
        let mut collector = Collector::new(u64::MAX);
        collector.reserve("half", &[MAX_ELEMENTS / 2 + 1]).unwrap();
        assert!(collector.reserve("other half", &[MAX_ELEMENTS / 2 + 1]).is_err(), "the sum is limited");

        let mut add = |name: &str, values| collector.add(name.to_owned(), vec![2], values);
        add("a", vec![1.0, 2.0]).unwrap();
        assert!(add("a", vec![1.0, 2.0]).unwrap_err().contains("a occurs twice"));
        assert!(add("b", vec![1.0, f32::NAN]).unwrap_err().contains("b holds NaN"));
        assert!(add("c", vec![f32::INFINITY, 0.0]).unwrap_err().contains("c holds inf"));
        assert!(add("d", vec![1.0]).unwrap_err().contains("has 1 values"));
        assert!(Collector::new(u64::MAX).finish().is_err());
    }
}
