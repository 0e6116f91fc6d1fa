//! Options that the networks made for pictures have in common.

use serde::{Deserialize, Serialize};

use super::architecture::Options;
use super::blocks::vision::{Variant, check_width};
use super::blocks::{Picture, PixelRange, check_input_channels};
use super::head::{self, HeadConfig};
use crate::config::ConfigError;

/// Options of [`super::ResNet50`], [`super::MobileNetV2`], [`super::InceptionV3`] and [`super::EfficientNetB3`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BackboneConfig {
    /// Whose network, and whose weights fit it: `keras` (the default) or `torch`.
    pub variant: Variant,
    /// 3 (the default) gives the network the features three times, as it was made for colours; or 1.
    pub input_channels: usize,
    /// Whether the features are pixels of 0 to 255 (`features.scale = "image"`), which are then brought to the range that
    /// the library's own weights expect; otherwise, the default, they are taken as they are.
    pub pixels: bool,
    /// Times the published channels, rounded to multiples of 8 (the width multiplier of Sandler et al. 2018). Published
    /// weights fit 1, the default.
    pub width: f64,
    /// From the map to classes.
    #[serde(deserialize_with = "head::read")]
    pub head: HeadConfig,
}

impl Default for BackboneConfig {
    fn default() -> Self {
        Self {
            variant: Variant::default(),
            input_channels: 3,
            pixels: false,
            width: 1.0,
            head: HeadConfig::default(),
        }
    }
}

impl BackboneConfig {
    /// The limits of a network that needs so many bins and frames.
    pub(super) fn options(&self, least: usize) -> Options {
        Options { least: [least; 2], pixels: self.pixels, ..self.head.options() }
    }

    /// Refuses other numbers of channels and widths.
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        check_input_channels(self.input_channels)?;
        check_width(self.width)
    }

    /// What the network sees, when its library brings pixels to `range`.
    pub(super) fn picture(&self, range: PixelRange) -> Picture {
        Picture { channels: self.input_channels, pixels: self.pixels.then_some(range) }
    }
}
