//! `berth completions`: prints the script by which a shell completes commands and flags.
//!
//! Owns which shells there are. Shell.

use anyhow::Result;
use clap::builder::PossibleValue;
use clap::{Args, CommandFactory, ValueEnum};
use clap_complete::generate;

use crate::output;

/// Flags of `berth completions`.
#[derive(Args, Debug)]
#[command(after_help = "To use it in every new shell:\n  \
    bash  berth completions bash > ~/.local/share/bash-completion/completions/berth\n  \
    zsh   berth completions zsh > \"${fpath[1]}/_berth\"\n  \
    fish  berth completions fish > ~/.config/fish/completions/berth.fish")]
pub(crate) struct Arguments {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Shell(clap_complete::Shell);

/// The shells that were tried; the crate knows more.
const SHELLS: [Shell; 3] = [
    Shell(clap_complete::Shell::Bash),
    Shell(clap_complete::Shell::Zsh),
    Shell(clap_complete::Shell::Fish),
];

impl ValueEnum for Shell {
    fn value_variants<'a>() -> &'a [Self] {
        &SHELLS
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        self.0.to_possible_value()
    }
}

/// Prints the script.
///
/// # Errors
/// If standard output cannot be written.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    output::line(&script(arguments.shell)?)
}

fn script(shell: Shell) -> Result<String> {
    let mut script = Vec::new();
    generate(shell.0, &mut crate::Arguments::command(), "berth", &mut script);
    Ok(String::from_utf8(script)?.trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn script_of_every_shell_knows_the_commands_and_their_flags() {
        for shell in SHELLS {
            let script = script(shell).expect("a script");
            for word in ["drain", "agent-listen", "completions"] {
                assert!(script.contains(word), "{word} for {:?}", shell.0);
            }
        }
    }
}
