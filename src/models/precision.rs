use std::str::FromStr;

use burn::tensor::Device;
use serde::{Deserialize, Serialize};

use super::Error;
use super::infer::is_cpu;

/// What [`Precision::on`] gives: [`Products::run`] runs a forward pass with it.
pub use oido_kernels::Precision as Products;

/// The numbers that the network multiplies: recipe key `training.precision`, flag `--precision`.
///
/// `bf16` is for processors with AVX-512 BF16: see [`Products`] for what is rounded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// `f32`.
    #[default]
    F32,
    /// bfloat16; sums are `f32`.
    Bf16,
}

impl Precision {
    /// The same for the kernels.
    ///
    /// # Errors
    ///
    /// [`Error::Precision`] on a device or processor that does not multiply such numbers.
    pub fn on(self, device: &Device) -> Result<Products, Error> {
        match self {
            Self::F32 => Ok(Products::F32),
            Self::Bf16 if !is_cpu(device) => {
                Err(Error::Precision("bf16 is for --device cpu only".to_owned()))
            }
            Self::Bf16 if Products::Bf16.is_available() => Ok(Products::Bf16),
            Self::Bf16 => {
                let reason = "bf16 needs AVX-512 BF16, which this processor lacks or OIDO_SIMD switches off";
                Err(Error::Precision(reason.to_owned()))
            }
        }
    }
}

impl FromStr for Precision {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        match name {
            "f32" => Ok(Self::F32),
            "bf16" => Ok(Self::Bf16),
            _ => Err(Error::Precision(format!("{name:?} is neither f32 nor bf16"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_precision_that_cannot_be_had_is_refused() {
        assert_eq!(
            "f16".parse::<Precision>().unwrap_err().to_string(),
            "precision: \"f16\" is neither f32 nor bf16; use f32"
        );
        let device = Device::flex();
        assert_eq!(Precision::F32.on(&device).unwrap(), Products::F32);
        let available = Products::Bf16.is_available();
        assert_eq!(Precision::Bf16.on(&device).is_ok(), available);
    }
}
