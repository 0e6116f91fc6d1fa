//! Helpers shared by the integration tests.

/// The `oido` program, with the environment variables it reads removed.
pub(crate) fn oido() -> assert_cmd::Command {
    let mut command = assert_cmd::Command::new(assert_cmd::cargo::cargo_bin!("oido"));
    command.env_remove("SAGEMAKER_BIND_TO_PORT").env_remove("SM_MODEL_DIR").env_remove("RUST_LOG");
    command
}
