use safetensors::SafeTensors;
use safetensors::tensor::Dtype;

use super::tensors::{Collector, Kind, Tensors, floats};
use crate::text::printable;

/// A safetensors file → its tensors.
pub(super) fn read(bytes: &[u8]) -> Result<Tensors, String> {
    let file = SafeTensors::deserialize(bytes).map_err(|e| format!("not a valid safetensors file: {e}"))?;
    let mut collector = Collector::new(bytes.len() as u64);
    for (name, view) in file.tensors() {
        let kind = match view.dtype() {
            Dtype::F64 => Kind::F64,
            Dtype::F32 => Kind::F32,
            Dtype::F16 => Kind::F16,
            Dtype::BF16 => Kind::BF16,
            Dtype::I64 => Kind::I64,
            Dtype::I32 => Kind::I32,
            other => return Err(format!("{} is {other:?}; weights are floating point", printable(&name))),
        };
        collector.reserve(&name, view.shape())?;
        collector.add(name, view.shape().to_vec(), floats(kind, view.data()))?;
    }
    collector.finish()
}
