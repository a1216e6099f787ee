//! Where the last contact is kept for the next start of the agent. Shell.
//!
//! A file beside the ledger rather than a document in it: it is written with every heartbeat that is answered, and need not be synced each time.
//! Its times mean something in the same boot only, and within a boot what was written is read whether it reached the disk or not.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use berth_proto::record::{self, RecordKind};

use super::contact::Contact;

const NAME: &str = "contact";

/// The file in the folder of an agent's ledger.
#[derive(Clone, Debug)]
pub(super) struct ContactFile {
    path: PathBuf,
}

impl ContactFile {
    pub(super) fn in_folder(folder: &Path) -> Self {
        Self {
            path: folder.join(NAME),
        }
    }

    /// What was kept; `None` where nothing was.
    pub(super) fn read(&self) -> io::Result<Option<Contact>> {
        match std::fs::read(&self.path) {
            Ok(bytes) => record::decode(RecordKind::AgentLedger, &bytes)
                .map(Some)
                .map_err(io::Error::other),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Replaces what was kept, in one step. Where it is `for_good`, it is there after a power cut too.
    pub(super) fn write(&self, contact: &Contact, for_good: bool) -> io::Result<()> {
        let bytes = record::encode(RecordKind::AgentLedger, contact).map_err(io::Error::other)?;
        let new = self.path.with_extension("new");
        let mut file = File::create(&new)?;
        file.write_all(&bytes)?;
        if for_good {
            file.sync_all()?;
        }
        std::fs::rename(&new, &self.path)?;
        if for_good && let Some(folder) = self.path.parent() {
            File::open(folder)?.sync_all()?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contact_written_is_read_again_and_one_that_is_damaged_is_said_to_be() {
        let folder = tempfile::tempdir().unwrap();
        let file = ContactFile::in_folder(folder.path());
        assert_eq!(file.read().unwrap(), None);
        for (heard_at_ms, for_good) in [(1, true), (2, false)] {
            let contact = Contact::new("boot", heard_at_ms, Some(30_000));
            file.write(&contact, for_good).unwrap();
            assert_eq!(file.read().unwrap(), Some(contact));
        }
        std::fs::write(folder.path().join(NAME), "not a record").unwrap();
        assert!(file.read().is_err());
    }
}
