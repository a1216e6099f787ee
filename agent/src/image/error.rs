//! What can go wrong with an image. Pure.

use tonic::Status;

/// Why an image is not ready.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImageError {
    /// The name is not an image reference.
    #[error("invalid reference format: {0:?} is not an image name")]
    InvalidName(String),
    /// The registry was reached and refused, or answered something that is no image.
    #[error("failed to resolve or pull image {image}: {why}")]
    Refused {
        /// The normalised name.
        image: String,
        /// The registry's words.
        why: String,
    },
    /// The registry could not be reached, however often it was tried.
    #[error("failed to pull image {image}: {why} (tried {tries} times)")]
    Unreachable {
        /// The normalised name.
        image: String,
        /// The last error.
        why: String,
        /// Number of tries.
        tries: u32,
    },
    /// What was fetched or read is not what was announced.
    #[error("image content {digest} is damaged: {why}")]
    Damaged {
        /// Digest that was announced.
        digest: String,
        /// What is wrong.
        why: String,
    },
    /// The image has nothing for this machine.
    #[error("no match for platform linux/{architecture} in image {image}")]
    NoPlatform {
        /// The name, or the digest of the index.
        image: String,
        /// This machine's architecture.
        architecture: String,
    },
    /// A file could not be read.
    #[error("{path}: {why}")]
    File {
        /// Its path.
        path: String,
        /// What went wrong.
        why: String,
    },
    /// containerd refused.
    #[error("containerd could not {step}: {why}")]
    Containerd {
        /// What was to be done.
        step: &'static str,
        /// containerd's words.
        why: String,
    },
    /// containerd could not be asked.
    #[error("containerd cannot be reached: {0}")]
    Away(String),
}

impl ImageError {
    pub(crate) fn of_status(step: &'static str, status: &Status) -> Self {
        if crate::runtime::containerd::client::is_away(status) {
            Self::Away(status.message().to_owned())
        } else {
            Self::Containerd {
                step,
                why: status.message().to_owned(),
            }
        }
    }
}
