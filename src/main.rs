//! The `oido` program; see [`oido::cli`].

fn main() -> std::process::ExitCode {
    oido::cli::main()
}
