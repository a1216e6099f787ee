//! Images: from a name in a task definition to layers unpacked in the host's containerd.
//!
//! Owns names, fetching, importing, unpacking and what is known of unpacked images. Knows nothing of tasks,
//! containers' settings or networks. Shell around containerd's content, snapshot and image services; [`name`] is pure.

mod content;
mod document;
mod error;
mod import;
mod list;
mod name;
mod registry;
mod store;
mod transfer;
mod unpack;

pub use error::ImageError;
pub use list::{ListedImage, images, namespaces};
pub use name::ImageName;
pub use registry::RegistryOptions;
pub use store::{ImageStore, SHARED_NAMESPACE, UnpackedImage};
