//! The one table of architectures: `oido models` prints it, and one test runs over every row.

use super::{
    AstConfig, BackboneConfig, CnnConfig, ConformerConfig, CrnnConfig, DenseConfig, EscCnnConfig, LstmConfig,
    M34ResConfig, ModelConfig, SimpleConfig, SpecCnnConfig, VggishConfig, WaveformCnnConfig,
};
use crate::features::FeatureShape;

/// One architecture.
#[derive(Debug, Clone)]
pub struct ZooRow {
    /// The model with its default options.
    pub config: ModelConfig,
    /// Input of the study it comes from.
    pub input: FeatureShape,
    /// Classes of that study.
    pub num_classes: usize,
    /// What it is, in a few words.
    pub summary: &'static str,
    /// Where it was published.
    pub source: &'static str,
}

/// Every architecture.
pub fn zoo() -> Vec<ZooRow> {
    let urban = |config, summary| ZooRow {
        config,
        input: FeatureShape { bins: 128, frames: 173 },
        num_classes: 10,
        summary,
        source: "urban-sounds study",
    };
    let speakers = |config, input, summary| ZooRow {
        config,
        input,
        num_classes: 3,
        summary,
        source: "speaker-counting study",
    };
    let wave = |config, summary| ZooRow {
        source: "Dai et al. 2016, narrower",
        ..speakers(config, FeatureShape { bins: 1, frames: 16_000 }, summary)
    };
    let spectrogram = |config, summary| speakers(config, FeatureShape { bins: 201, frames: 81 }, summary);
    let picture = |config, summary, source| ZooRow {
        config,
        input: FeatureShape { bins: 80, frames: 92 },
        num_classes: 80,
        summary,
        source,
    };
    // Five seconds of ESC-50.
    let sounds = |config, input, summary, source| ZooRow { config, input, num_classes: 50, summary, source };
    let (m, spec) = (WaveformCnnConfig::default, SpecCnnConfig::default);
    vec![
        urban(ModelConfig::Dense(DenseConfig::default()), "mean of the spectrogram, five dense layers"),
        urban(ModelConfig::Cnn(CnnConfig::default()), "four convolution blocks, dense head"),
        urban(ModelConfig::Lstm(LstmConfig::default()), "two recurrent layers over the frames"),
        urban(ModelConfig::Crnn(CrnnConfig::default()), "three convolution blocks, one recurrent layer"),
        wave(ModelConfig::M3(m()), "3 layers on the wave"),
        wave(ModelConfig::M5(m()), "5 layers on the wave"),
        wave(ModelConfig::M11(m()), "11 layers on the wave"),
        wave(ModelConfig::M18(m()), "18 layers on the wave"),
        wave(ModelConfig::M34Res(M34ResConfig::default()), "34 residual layers on the wave"),
        spectrogram(ModelConfig::Spec1Block(spec()), "1 convolution block, mean over the map"),
        spectrogram(ModelConfig::Spec2Block(spec()), "2 convolution blocks, mean over the map"),
        spectrogram(ModelConfig::Spec4Block(spec()), "4 convolution blocks, mean over the map"),
        ZooRow {
            config: ModelConfig::Simple(SimpleConfig::default()),
            input: FeatureShape { bins: 80, frames: 92 },
            num_classes: 80,
            summary: "two convolutions on an image of 0 to 255",
            source: "Freesound tagging study",
        },
        ZooRow {
            config: ModelConfig::EscCnn(EscCnnConfig::default()),
            input: FeatureShape { bins: 128, frames: 215 },
            num_classes: 50,
            summary: "three convolution blocks, attention, dense head",
            source: "environmental-sounds study",
        },
        picture(ModelConfig::ResNet50(BackboneConfig::default()), "50 residual layers", "He et al. 2016"),
        picture(
            ModelConfig::MobileNetV2(BackboneConfig::default()),
            "17 inverted residual blocks",
            "Sandler et al. 2018",
        ),
        picture(
            ModelConfig::InceptionV3(BackboneConfig::default()),
            "11 blocks of parallel branches",
            "Szegedy et al. 2016",
        ),
        picture(
            ModelConfig::EfficientNetB3(BackboneConfig::default()),
            "26 inverted residual blocks, channels weighted",
            "Tan & Le 2019",
        ),
        sounds(
            ModelConfig::Vggish(VggishConfig::default()),
            FeatureShape { bins: 64, frames: 498 },
            "six convolutions on examples of 0.96 s",
            "Hershey et al. 2017",
        ),
        sounds(
            ModelConfig::Conformer(ConformerConfig::default()),
            FeatureShape { bins: 80, frames: 498 },
            "16 layers of attention and convolution",
            "Gulati et al. 2020",
        ),
        sounds(
            ModelConfig::Ast(AstConfig::default()),
            FeatureShape { bins: 128, frames: 1024 },
            "transformer on patches of the spectrogram",
            "Gong et al. 2021",
        ),
    ]
}
