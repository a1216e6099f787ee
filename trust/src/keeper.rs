//! The directory in which a holder keeps its key, its certificate and the authorities that it trusts. Shell: reads and writes files.
//!
//! Owns the files, their modes, and that each is whole at any time, also after a power cut. It must not know when they change.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::bundle::{Bundle, BundleError};
use crate::credentials::{Credentials, CredentialsError};
use crate::request::{HolderKey, RequestError};

/// Key and chain, in one file: so they never come apart.
const IDENTITY_FILE: &str = "identity.pem";
/// The key of one that is about to join.
const JOINING_FILE: &str = "joining.pem";
/// The trusted authorities; other programs may be given this file too.
const AUTHORITIES_FILE: &str = "authorities.pem";

/// Nobody but the owner.
const FILE_MODE: u32 = 0o600;
const DIRECTORY_MODE: u32 = 0o700;
/// Bits of a mode that give others something.
const OTHERS: u32 = 0o077;

/// Largest file that is read; ours have a few KiB.
const MAX_FILE_BYTES: u64 = 64 * 1024;

/// A directory with the identity of a holder.
#[derive(Clone, Debug)]
pub struct Keeper {
    directory: PathBuf,
}

/// What a holder keeps.
#[derive(Clone, Debug)]
pub struct Kept {
    /// Its key and certificate.
    pub credentials: Credentials,
    /// Whom it trusts.
    pub authorities: Bundle,
}

/// Why the identity of a holder cannot be kept or read.
#[derive(Debug, thiserror::Error)]
pub enum KeeperError {
    /// The system refused.
    #[error("cannot {action} {path}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Others could have read the key.
    #[error(
        "{path} has mode {mode:o}, so that others can read or change it: if nobody has, `chmod go= {path}`; otherwise remove it and \
         join the cluster again with a new token"
    )]
    OpenToOthers {
        /// The file or directory.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// Not a file that this keeper wrote.
    #[error("{path} has {bytes} bytes, more than the {MAX_FILE_BYTES} that are read: it was not written by berth")]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size.
        bytes: u64,
    },
    /// Damaged.
    #[error("{path} has no usable key and certificate: move it away, and join the cluster again with a new token")]
    Credentials {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: CredentialsError,
    },
    /// Damaged.
    #[error(
        "{path} has no usable certificates of authorities: move it away, and join the cluster again with a new token"
    )]
    Authorities {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: BundleError,
    },
    /// There is no randomness.
    #[error("a key for joining the cluster cannot be drawn")]
    Draw(#[from] RequestError),
    /// One file is there and the other is not.
    #[error("{present} is there but {missing} is not: move it away, and join the cluster again with a new token")]
    Half {
        /// The one.
        present: PathBuf,
        /// The other.
        missing: PathBuf,
    },
}

impl Keeper {
    /// A keeper of a directory, which need not exist yet.
    #[must_use]
    pub fn new(directory: &Path) -> Self {
        Self {
            directory: directory.to_owned(),
        }
    }

    /// The file of the trusted authorities, for other programs.
    #[must_use]
    pub fn authorities_path(&self) -> PathBuf {
        self.directory.join(AUTHORITIES_FILE)
    }

    /// What is kept, or nothing if the holder has never joined.
    ///
    /// # Errors
    /// Any [`KeeperError`].
    pub fn load(&self) -> Result<Option<Kept>, KeeperError> {
        let (identity, authorities) = (self.directory.join(IDENTITY_FILE), self.authorities_path());
        match (read(&identity)?, read(&authorities)?) {
            (None, None) => Ok(None),
            (Some(identity_text), Some(authorities_text)) => {
                refuse_if_open(&self.directory)?;
                Ok(Some(Kept {
                    credentials: Credentials::from_pem(&identity_text)
                        .map_err(|source| KeeperError::Credentials { path: identity, source })?,
                    authorities: Bundle::from_pem(&authorities_text).map_err(|source| KeeperError::Authorities {
                        path: authorities,
                        source,
                    })?,
                }))
            }
            // Authorities are written first: a power cut between the two leaves only them, and no harm is done.
            (None, Some(_)) => Ok(None),
            (Some(_), None) => Err(KeeperError::Half {
                present: identity,
                missing: authorities,
            }),
        }
    }

    /// Keeps what a holder got when it joined. When it returns, that survives a power cut.
    ///
    /// # Errors
    /// [`KeeperError::Io`]; what was kept before is then still there.
    pub fn keep(&self, kept: &Kept) -> Result<(), KeeperError> {
        self.keep_authorities(&kept.authorities)?;
        self.keep_credentials(&kept.credentials)?;
        self.forget_joining_key()
    }

    /// The key with which to join: that of an attempt of which it is not known what became of it, else a new one. It is kept before anybody
    /// is asked, so that one that stopped before it had its answer can ask again.
    ///
    /// # Errors
    /// [`KeeperError::Io`], [`KeeperError::OpenToOthers`] or [`KeeperError::Draw`].
    pub fn joining_key(&self) -> Result<HolderKey, KeeperError> {
        if let Some(text) = read(&self.directory.join(JOINING_FILE))?
            && let Ok(key) = HolderKey::from_pem(&text)
        {
            return Ok(key);
        }
        let key = HolderKey::draw()?;
        self.replace(JOINING_FILE, &key.to_pem())?;
        Ok(key)
    }

    /// Forgets the key of an attempt that came to its end.
    ///
    /// # Errors
    /// [`KeeperError::Io`]
    pub fn forget_joining_key(&self) -> Result<(), KeeperError> {
        remove_left_over(&self.directory.join(JOINING_FILE))?;
        // Nothing else is in there if nobody was let in; else it stays.
        fs::remove_dir(&self.directory).ok();
        Ok(())
    }

    /// Keeps a renewed certificate.
    ///
    /// # Errors
    /// As [`Keeper::keep`].
    pub fn keep_credentials(&self, credentials: &Credentials) -> Result<(), KeeperError> {
        self.replace(IDENTITY_FILE, &credentials.to_pem())
    }

    /// Keeps other authorities.
    ///
    /// # Errors
    /// As [`Keeper::keep`].
    pub fn keep_authorities(&self, authorities: &Bundle) -> Result<(), KeeperError> {
        self.replace(AUTHORITIES_FILE, &authorities.to_pem())
    }

    /// Writes a new file beside the old one, and puts it in the place of the old one.
    fn replace(&self, name: &str, text: &str) -> Result<(), KeeperError> {
        self.create_directory()?;
        let path = self.directory.join(name);
        let new = self.directory.join(format!("{name}.new"));
        remove_left_over(&new)?;
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(FILE_MODE)
            .open(&new)
            .map_err(io_error("create", &new))?;
        file.write_all(text.as_bytes()).map_err(io_error("write", &new))?;
        file.sync_all().map_err(io_error("sync", &new))?;
        fs::rename(&new, &path).map_err(io_error("replace", &path))?;
        sync_directory(&self.directory)
    }

    fn create_directory(&self) -> Result<(), KeeperError> {
        if self.directory.exists() {
            return refuse_if_open(&self.directory);
        }
        DirBuilder::new()
            .recursive(true)
            .mode(DIRECTORY_MODE)
            .create(&self.directory)
            .map_err(io_error("create", &self.directory))?;
        match self.directory.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => sync_directory(parent),
            _ => Ok(()),
        }
    }
}

fn read(path: &Path) -> Result<Option<String>, KeeperError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io_error("open", path)(error)),
    };
    refuse_if_open(path)?;
    let bytes = file.metadata().map_err(io_error("examine", path))?.len();
    if bytes > MAX_FILE_BYTES {
        return Err(KeeperError::TooLarge {
            path: path.to_owned(),
            bytes,
        });
    }
    io::read_to_string(file).map(Some).map_err(io_error("read", path))
}

fn refuse_if_open(path: &Path) -> Result<(), KeeperError> {
    let mode = fs::metadata(path).map_err(io_error("examine", path))?.mode() & 0o777;
    if mode & OTHERS == 0 {
        return Ok(());
    }
    Err(KeeperError::OpenToOthers {
        path: path.to_owned(),
        mode,
    })
}

/// A power cut or a full disk may have left the beginning of a file.
fn remove_left_over(path: &Path) -> Result<(), KeeperError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(io_error("remove", path)(error)),
        _ => Ok(()),
    }
}

fn sync_directory(path: &Path) -> Result<(), KeeperError> {
    let directory = File::open(path).map_err(io_error("open", path))?;
    directory.sync_all().map_err(io_error("sync", path))
}

fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> KeeperError {
    let path = path.to_owned();
    move |source| KeeperError::Io { action, path, source }
}
