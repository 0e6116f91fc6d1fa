//! Uncompressed samples, straight from the bytes of a packet to the mean of the channels.
//!
//! Symphonia's decoder reads them one by one into a plane for each channel, which takes longer than everything else
//! between a wav file and its samples. What is done here gives the same bits; other codecs go through the decoder.

use symphonia::core::codecs::audio::AudioCodecParameters;
use symphonia::core::codecs::audio::well_known::{
    CODEC_ID_PCM_F32LE, CODEC_ID_PCM_S16LE, CODEC_ID_PCM_S24LE,
};

/// How samples stand in a packet: channel after channel, frame after frame.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Pcm {
    format: Format,
    channels: usize,
}

/// The codecs of nearly all wav files; the lowest byte comes first.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Format {
    Int16,
    Int24,
    Float32,
}

impl Format {
    fn bytes(self) -> usize {
        match self {
            Self::Int16 => 2,
            Self::Int24 => 3,
            Self::Float32 => 4,
        }
    }
}

impl Pcm {
    /// `None` for every other codec.
    pub(super) fn of(params: &AudioCodecParameters) -> Option<Self> {
        let format = match params.codec {
            CODEC_ID_PCM_S16LE => Format::Int16,
            CODEC_ID_PCM_S24LE => Format::Int24,
            CODEC_ID_PCM_F32LE => Format::Float32,
            _ => return None,
        };
        let channels = params.channels.as_ref()?.count();
        // Symphonia moves up samples that have fewer bits than they should.
        let whole = params.bits_per_sample == params.bits_per_coded_sample;
        (whole && channels > 0).then_some(Self { format, channels })
    }

    /// Bytes of one sample of all channels.
    fn frame_bytes(self) -> usize {
        self.format.bytes() * self.channels
    }

    /// Frames of a packet.
    pub(super) fn frames(self, packet: &[u8]) -> usize {
        packet.len() / self.frame_bytes()
    }

    /// Appends the mean of the channels of some frames to `samples`.
    pub(super) fn mix(self, packet: &[u8], frames: std::ops::Range<usize>, samples: &mut Vec<f32>) {
        let bytes = &packet[frames.start * self.frame_bytes()..frames.end * self.frame_bytes()];
        match self.format {
            Format::Int16 => {
                self.read(bytes, samples, |bytes| f32::from(i16::from_le_bytes(bytes)) / 32_768.0)
            }
            Format::Int24 => self.read(bytes, samples, |[low, middle, high]| {
                // The lowest byte stays empty, so that the sign stands where it belongs.
                (i32::from_le_bytes([0, low, middle, high]) >> 8) as f32 / 8_388_608.0
            }),
            Format::Float32 => self.read(bytes, samples, f32::from_le_bytes),
        }
    }

    #[inline(always)]
    fn read<const N: usize>(self, bytes: &[u8], samples: &mut Vec<f32>, sample: impl Fn([u8; N]) -> f32) {
        let (values, _) = bytes.as_chunks::<N>();
        // Summed in channel order, as numpy's mean over the channel axis.
        match self.channels {
            1 => samples.extend(values.iter().map(|value| sample(*value))),
            2 => {
                let (frames, _) = values.as_chunks::<2>();
                samples
                    .extend(frames.iter().map(|[left, right]| (0.0 + sample(*left) + sample(*right)) / 2.0));
            }
            channels => samples.extend(
                values
                    .chunks_exact(channels)
                    .map(|frame| frame.iter().fold(0.0, |sum, value| sum + sample(*value)) / channels as f32),
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use symphonia::core::audio::Channels;
    use symphonia::core::codecs::audio::AudioDecoderOptions;
    use symphonia::core::packet::Packet;
    use symphonia::core::units::{Duration, Timestamp};
    use symphonia::default::get_codecs;

    /// Every sample with 16 bits, and as many others.
    fn bytes(format: Format) -> Vec<u8> {
        let words = 0..=u16::MAX;
        match format {
            Format::Int16 => words.flat_map(u16::to_le_bytes).collect(),
            Format::Int24 => words.flat_map(|w| [(w >> 5) as u8, w as u8, (w >> 8) as u8]).collect(),
            Format::Float32 => words.flat_map(|w| (f32::from(w) * 3e-5 - 1.0).to_le_bytes()).collect(),
        }
    }

    #[test]
    fn gives_the_bits_of_the_decoder() {
        for (codec, format) in [
            (CODEC_ID_PCM_S16LE, Format::Int16),
            (CODEC_ID_PCM_S24LE, Format::Int24),
            (CODEC_ID_PCM_F32LE, Format::Float32),
        ] {
            for channels in [1, 2, 3, 8] {
                let mut params = AudioCodecParameters::new();
                params.for_codec(codec).with_sample_rate(8_000).with_channels(Channels::Discrete(channels));
                let channels = usize::from(channels);
                let data = bytes(format);
                // A part of a frame at the end counts for nothing.
                let data = &data[..data.len() - 1];
                let packet = Packet::new(0, Timestamp::new(0), Duration::new(0), data);
                let mut decoder =
                    get_codecs().make_audio_decoder(&params, &AudioDecoderOptions::default()).unwrap();
                let mut planes: Vec<Vec<f32>> = Vec::new();
                decoder.decode(&packet).unwrap().copy_to_vecs_planar(&mut planes);
                let mean = |i: usize| planes.iter().fold(0.0, |sum, p| sum + p[i]) / channels as f32;
                let expected: Vec<u32> = (3..planes[0].len()).map(|i| mean(i).to_bits()).collect();

                let pcm = Pcm::of(&params).unwrap();
                assert_eq!((pcm.format, pcm.frames(data)), (format, planes[0].len()));
                let mut samples = Vec::new();
                pcm.mix(data, 3..pcm.frames(data), &mut samples);
                assert_eq!(samples.iter().map(|x| x.to_bits()).collect::<Vec<_>>(), expected, "{pcm:?}");
            }
        }
    }

    #[test]
    fn leaves_what_has_unused_bits_to_the_decoder() {
        let mut params = AudioCodecParameters::new();
        params.for_codec(CODEC_ID_PCM_S16LE).with_channels(Channels::Discrete(1));
        assert!(Pcm::of(&params).is_some());
        assert_eq!(Pcm::of(params.clone().with_bits_per_sample(16).with_bits_per_coded_sample(12)), None);
        assert_eq!(
            Pcm::of(params.for_codec(symphonia::core::codecs::audio::well_known::CODEC_ID_FLAC)),
            None
        );
    }
}
