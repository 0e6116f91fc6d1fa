use burn::tensor::Device;

use super::Error;

/// A device by name: `cpu`, `vulkan`, `wgpu` or `cuda:0`.
///
/// # Errors
///
/// [`Error::Device`] when the name is unknown or this build lacks the back end.
pub fn device(name: &str) -> Result<Device, Error> {
    let error = |reason: String| Err(Error::Device { name: name.to_owned(), reason });
    let (kind, index) = match name.split_once(':') {
        Some((kind, index)) => (kind, Some(index)),
        None => (name, None),
    };
    match (kind, index) {
        #[cfg(feature = "flex")]
        ("cpu", None) => match oido_kernels::asked_instructions() {
            Ok(()) => Ok(Device::flex()),
            Err(reason) => error(reason),
        },
        #[cfg(feature = "vulkan")]
        ("vulkan", None) => Ok(Device::vulkan(burn::tensor::DeviceKind::DefaultDevice)),
        #[cfg(feature = "wgpu")]
        ("wgpu", None) => Ok(Device::wgpu(burn::tensor::DeviceKind::DefaultDevice)),
        #[cfg(feature = "cuda")]
        ("cuda", index) => match index.unwrap_or("0").parse::<usize>() {
            Ok(index) => Ok(Device::cuda(index)),
            Err(_) => error("the part after the colon is the number of the GPU, as in cuda:0".to_owned()),
        },
        ("cpu" | "vulkan" | "wgpu" | "cuda", _) => {
            let feature = if kind == "cpu" { "flex" } else { kind };
            error(format!("not in this build; build with `cargo build --release --features {feature}`"))
        }
        _ => error("unknown; use cpu, vulkan, wgpu or cuda:0".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_what_to_do_about_a_missing_device() {
        assert!(device("cpu").is_ok());
        assert!(device("tpu").unwrap_err().to_string().contains("use cpu, vulkan"));
        #[cfg(not(feature = "cuda"))]
        assert!(device("cuda:0").unwrap_err().to_string().contains("--features cuda"));
    }
}
