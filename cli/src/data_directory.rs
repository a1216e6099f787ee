//! To which program a data directory belongs: a controller and an agent that shared one would overwrite each other's identity.
//!
//! Owns by which names that is told, and the refusal of a directory that is the other's. Shell: it looks what is there, and writes nothing.

use std::path::Path;

use anyhow::{Result, bail};
use berth_controller::node::{MEMBER_FILE, STORE_FOLDER};

use crate::root_keys::ROOT_KEY_FILE;

/// The folder of an agent's ledger, which it makes before anything of its identity.
pub(crate) const LEDGER_FOLDER: &str = "ledger";

/// A program that keeps something in a data directory of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Program {
    Controller,
    Agent,
}

impl Program {
    /// What it writes there that the other does not, the first things first.
    fn marks(self) -> &'static [&'static str] {
        match self {
            Self::Controller => &[STORE_FOLDER, MEMBER_FILE, ROOT_KEY_FILE],
            Self::Agent => &[LEDGER_FOLDER],
        }
    }

    fn other(self) -> Self {
        match self {
            Self::Controller => Self::Agent,
            Self::Agent => Self::Controller,
        }
    }

    fn named(self) -> &'static str {
        match self {
            Self::Controller => "a controller",
            Self::Agent => "an agent",
        }
    }
}

/// Refuses a directory that belongs to the other program. One that the program has used before is its own, whatever else is in it by now: whose
/// the identity in it is, it looks itself.
///
/// # Errors
/// With what was found there, and what to do.
pub(crate) fn check(data_dir: &Path, program: Program) -> Result<()> {
    let other = program.other();
    let found = |program: Program| program.marks().iter().find(|mark| data_dir.join(mark).exists());
    match (found(program), found(other)) {
        (None, Some(mark)) => bail!(
            "{} is the data directory of {}, whose {mark} is in it, and {} that wrote there would overwrite its identity: give this one a \
             directory of its own with --data-dir",
            data_dir.display(),
            other.named(),
            program.named()
        ),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directory_of_the_other_program_is_refused_by_what_is_in_it() {
        for (program, marks) in [
            (Program::Agent, Program::Controller.marks()),
            (Program::Controller, Program::Agent.marks()),
        ] {
            for mark in marks {
                let directory = tempfile::tempdir().expect("a directory");
                check(directory.path(), program).expect("an empty one is nobody's");
                std::fs::create_dir(directory.path().join(mark)).expect("made");
                let error = check(directory.path(), program).expect_err("refused").to_string();
                assert!(error.contains(&format!("whose {mark} is in it")), "{error}");
                assert!(error.contains(&directory.path().display().to_string()), "{error}");
                check(directory.path(), program.other()).expect("it is its own");
            }
        }
    }

    #[test]
    fn directory_that_both_have_used_is_left_to_either() {
        let directory = tempfile::tempdir().expect("a directory");
        for mark in [STORE_FOLDER, LEDGER_FOLDER] {
            std::fs::create_dir(directory.path().join(mark)).expect("made");
        }
        check(directory.path(), Program::Agent).expect("its own");
        check(directory.path(), Program::Controller).expect("its own");
    }
}
