//! `cfn`: the testbed's command line. Everything is in the library.

fn main() -> std::process::ExitCode {
    cfn::cli::main()
}
