//! Features as the picture that a network made for pictures expects.

use burn::tensor::{Tensor, TensorData};

use crate::config::ConfigError;

/// `[batch, bins, frames]` → `[batch, channels, bins, frames]`: the same values in every channel.
pub fn image(features: Tensor<3>, channels: usize) -> Tensor<4> {
    let grey = features.unsqueeze_dim::<4>(1);
    if channels == 1 { grey } else { grey.repeat_dim(1, channels) }
}

/// What a library does to the pixels of a picture, 0 to 255, before its network sees them: times `scale` plus `shift`.
///
/// Red, green and blue are equal here, so that their order matters only to these numbers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PixelRange {
    scale: [f64; 3],
    shift: [f64; 3],
}

impl PixelRange {
    /// The mean of ImageNet becomes 0 and its deviation 1: torchvision's and timm's, and the layers in front of Keras'
    /// EfficientNets.
    pub const IMAGENET: Self = Self {
        scale: [1.0 / (255.0 * 0.229), 1.0 / (255.0 * 0.224), 1.0 / (255.0 * 0.225)],
        shift: [-0.485 / 0.229, -0.456 / 0.224, -0.406 / 0.225],
    };
    /// -1 to 1: Keras' for MobileNetV2 and InceptionV3, and the Inception of torchvision.
    pub const UNIT: Self = Self { scale: [1.0 / 127.5; 3], shift: [-1.0; 3] };
    /// The mean of ImageNet, blue first, becomes 0: Keras' for ResNet50.
    pub const CENTRED: Self = Self { scale: [1.0; 3], shift: [-103.939, -116.779, -123.68] };
}

/// What a network made for pictures sees of features.
#[derive(Debug, Clone, Copy)]
pub struct Picture {
    /// 1 or 3.
    pub channels: usize,
    /// For features that are pixels of 0 to 255; others are taken as they are.
    pub pixels: Option<PixelRange>,
}

impl Picture {
    /// `[batch, bins, frames]` → `[batch, channels, bins, frames]`. One channel gets the mean of what three would get.
    pub fn forward(&self, features: Tensor<3>) -> Tensor<4> {
        let Some(range) = self.pixels else { return image(features, self.channels) };
        let device = features.device();
        let part = |values: [f64; 3]| {
            let values =
                if self.channels == 1 { vec![values.iter().sum::<f64>() / 3.0] } else { values.to_vec() };
            let shape = [1, values.len(), 1, 1];
            Tensor::<4>::from_data(TensorData::new(values, shape).convert::<f32>(), &device)
        };
        image(features, self.channels) * part(range.scale) + part(range.shift)
    }
}

/// Refuses `model.input_channels` other than 1 (grey) and 3 (as red, green and blue).
pub fn check_input_channels(channels: usize) -> Result<(), ConfigError> {
    match channels {
        1 | 3 => Ok(()),
        _ => Err(ConfigError::field(
            "model.input_channels",
            format!("{channels} is neither 1 nor 3 (the features three times, as red, green and blue)"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;

    #[test]
    fn every_channel_holds_the_features() {
        let values: Vec<f32> = (0..12_u8).map(f32::from).collect();
        let features = Tensor::<3>::from_data(TensorData::new(values.clone(), [2, 2, 3]), &Device::flex());
        let grey = image(features.clone(), 1);
        assert_eq!((grey.dims(), grey.into_data().iter::<f32>().collect()), ([2, 1, 2, 3], values.clone()));
        let colour = image(features, 3);
        assert_eq!(colour.dims(), [2, 3, 2, 3]);
        let clips: Vec<f32> = values.chunks(6).flat_map(|clip| clip.repeat(3)).collect();
        assert_eq!(colour.into_data().iter::<f32>().collect::<Vec<_>>(), clips);
    }

    /// What `preprocess_input` of keras 3.15.1 and `Normalize` of torchvision 0.29.2 make of a white and a grey pixel.
    #[test]
    fn pixels_get_the_range_of_the_library() {
        for (range, white, grey) in [
            (PixelRange::IMAGENET, [2.248_908, 2.428_571, 2.64], [0.074_064_6, 0.205_182_2, 0.426_492_6]),
            (PixelRange::UNIT, [1.0; 3], [0.003_921_57; 3]),
            (PixelRange::CENTRED, [151.061, 138.221, 131.32], [24.061, 11.221, 4.32]),
        ] {
            let features =
                || Tensor::<3>::from_data(TensorData::from([[[255.0_f32, 128.0]]]), &Device::flex());
            let colour = Picture { channels: 3, pixels: Some(range) }.forward(features());
            let colour: Vec<f32> = colour.into_data().iter::<f32>().collect();
            for (channel, pixels) in colour.chunks(2).enumerate() {
                assert!((f64::from(pixels[0]) - white[channel]).abs() < 1e-4, "{range:?} {pixels:?}");
                assert!((f64::from(pixels[1]) - grey[channel]).abs() < 1e-4, "{range:?} {pixels:?}");
            }
            let one = Picture { channels: 1, pixels: Some(range) }.forward(features());
            let one: Vec<f32> = one.into_data().iter::<f32>().collect();
            assert!((f64::from(one[0]) - white.iter().sum::<f64>() / 3.0).abs() < 1e-4, "{one:?}");
        }
    }
}
