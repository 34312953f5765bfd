//! `cfn completion`.

use super::CliError;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Which shell
    shell: clap_complete::Shell,
}

pub fn main(args: &Args) -> Result<(), CliError> {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut super::command(), "cfn", &mut text);
    super::out::line(String::from_utf8_lossy(&text).trim_end());
    Ok(())
}
