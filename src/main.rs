use std::process::ExitCode;

fn main() -> ExitCode {
    stagedive::cli::main()
}
