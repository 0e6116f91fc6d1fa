//! The recipes inside the program: those of `recipes/`, and a test that none was forgotten.

/// Reads them while the program is built.
macro_rules! recipes {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!("../../recipes/", $name, ".toml")))),*]
    };
}

/// Name and text.
pub const BUILT_IN: &[(&str, &str)] = recipes![
    "esc50/ast",
    "esc50/conformer",
    "esc50/efficientnet-b3_frozen",
    "esc50/efficientnet-b3_tuned",
    "esc50/esc-cnn",
    "esc50/esc-cnn_augmented",
    "esc50/esc-cnn_batch-16",
    "esc50/esc-cnn_batch-64",
    "esc50/esc-cnn_dropout-0.3",
    "esc50/esc-cnn_exponential",
    "esc50/esc-cnn_first",
    "esc50/esc-cnn_kernel-7",
    "esc50/esc-cnn_l2-0.01",
    "esc50/esc-cnn_masks",
    "esc50/esc-cnn_no-attention",
    "esc50/esc-cnn_pictures",
    "esc50/esc-cnn_progressive",
    "esc50/esc-cnn_waveform",
    "esc50/inception-v3_frozen",
    "esc50/inception-v3_tuned",
    "esc50/resnet50_frozen",
    "esc50/resnet50_tuned",
    "esc50/vggish",
    "fsdkaggle2019/mobilenet-v2",
    "fsdkaggle2019/mobilenet-v2_dense-head_mixup",
    "fsdkaggle2019/mobilenet-v2_noisy-curated",
    "fsdkaggle2019/mobilenet-v2_noisy-curated_mixup",
    "fsdkaggle2019/mobilenet-v2_noisy-curated_specaugment",
    "fsdkaggle2019/mobilenet-v2_simple-head",
    "fsdkaggle2019/mobilenet-v2_simple-head_specaugment",
    "fsdkaggle2019/mobilenet-v2_whole",
    "fsdkaggle2019/resnet50",
    "fsdkaggle2019/resnet50_dense-head_mixup",
    "fsdkaggle2019/resnet50_noisy-curated",
    "fsdkaggle2019/resnet50_noisy-curated_mixup",
    "fsdkaggle2019/resnet50_noisy-curated_specaugment",
    "fsdkaggle2019/resnet50_noisy_lr-1e-2",
    "fsdkaggle2019/resnet50_noisy_lr-1e-3",
    "fsdkaggle2019/resnet50_noisy_lr-1e-5",
    "fsdkaggle2019/resnet50_simple-head",
    "fsdkaggle2019/resnet50_simple-head_specaugment",
    "fsdkaggle2019/resnet50_whole",
    "fsdkaggle2019/simple",
    "fsdkaggle2019/simple_adam_lr-1e-2",
    "fsdkaggle2019/simple_adam_lr-1e-3",
    "fsdkaggle2019/simple_adam_lr-1e-5",
    "fsdkaggle2019/simple_kernel-5",
    "fsdkaggle2019/simple_kernel-7",
    "fsdkaggle2019/simple_sgd_lr-1e-2",
    "fsdkaggle2019/simple_sgd_lr-1e-3",
    "fsdkaggle2019/simple_sgd_lr-1e-5",
    "fsdkaggle2019/simple_sgd_lr-3e-4",
    "librispeech-mix/m11",
    "librispeech-mix/m11_average",
    "librispeech-mix/m18",
    "librispeech-mix/m18_average",
    "librispeech-mix/m3",
    "librispeech-mix/m34-res",
    "librispeech-mix/m34-res_average",
    "librispeech-mix/m3_average",
    "librispeech-mix/m5",
    "librispeech-mix/m5_average",
    "librispeech-mix/spec-1block",
    "librispeech-mix/spec-1block_average",
    "librispeech-mix/spec-2block",
    "librispeech-mix/spec-2block_average",
    "librispeech-mix/spec-4block",
    "librispeech-mix/spec-4block_average",
    "quickstart/cnn",
    "quickstart/dense",
    "urbansound8k/cnn",
    "urbansound8k/cnn_shuffled",
    "urbansound8k/crnn",
    "urbansound8k/dense",
    "urbansound8k/lstm",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_recipe_of_the_folder_is_built_in() {
        let mut files = Vec::new();
        for folder in std::fs::read_dir("recipes").unwrap().map(|folder| folder.unwrap().path()) {
            for file in std::fs::read_dir(folder).unwrap() {
                let path = file.unwrap().path();
                assert_eq!(path.extension().unwrap(), "toml", "{}", path.display());
                let name = path.strip_prefix("recipes").unwrap().with_extension("");
                files.push(name.to_string_lossy().into_owned());
            }
        }
        files.sort();
        let names: Vec<&str> = BUILT_IN.iter().map(|(name, _)| *name).collect();
        assert_eq!(names, files, "the list of src/training/built_in.rs, sorted, is what is in recipes/");
    }
}
