//! Image names, normalised as Docker does: `busybox` is `docker.io/library/busybox:latest`.
//!
//! Pure.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use oci_client::Reference;

use super::ImageError;

/// A normalised image name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ImageName {
    reference: Reference,
}

impl FromStr for ImageName {
    type Err = ImageError;

    fn from_str(text: &str) -> Result<Self, ImageError> {
        let reference = text
            .parse::<Reference>()
            .map_err(|_| ImageError::InvalidName(text.to_owned()))?;
        Ok(Self { reference })
    }
}

impl fmt::Display for ImageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reference.whole())
    }
}

impl ImageName {
    /// The registry's host, with its port if it has one.
    #[must_use]
    pub fn registry(&self) -> &str {
        self.reference.registry()
    }

    /// Whether the registry is on this machine, where plain HTTP is fine.
    #[must_use]
    pub fn registry_is_loopback(&self) -> bool {
        let host = host_of(self.registry());
        host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
    }

    pub(crate) fn reference(&self) -> &Reference {
        &self.reference
    }
}

fn host_of(registry: &str) -> &str {
    if let Some(rest) = registry.strip_prefix('[') {
        return rest.split_once(']').map_or(rest, |(host, _)| host);
    }
    registry.rsplit_once(':').map_or(registry, |(host, _)| host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn image_name_in_its_forms_is_normalised_as_docker_does() {
        for (given, expected) in [
            ("busybox", "docker.io/library/busybox:latest"),
            ("busybox:1.36", "docker.io/library/busybox:1.36"),
            ("org/app", "docker.io/org/app:latest"),
            ("localhost/app:1", "localhost/app:1"),
            ("localhost:5000/a/b", "localhost:5000/a/b:latest"),
            ("ghcr.io/o/a:v1", "ghcr.io/o/a:v1"),
        ] {
            assert_eq!(given.parse::<ImageName>().unwrap().to_string(), expected, "{given}");
        }
        let digest = format!("busybox@sha256:{}", "a".repeat(64));
        assert_eq!(
            digest.parse::<ImageName>().unwrap().to_string(),
            format!("docker.io/library/{digest}")
        );
    }

    #[test]
    fn image_name_that_is_none_is_refused() {
        for text in ["", "UPPER", "a b", "x:"] {
            assert!(text.parse::<ImageName>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn registry_on_this_machine_is_loopback_and_others_are_not() {
        for (name, loopback) in [
            ("localhost:5000/a", true),
            ("127.0.0.9:5000/a", true),
            ("10.0.0.1:5000/a", false),
            ("busybox", false),
        ] {
            assert_eq!(
                name.parse::<ImageName>().unwrap().registry_is_loopback(),
                loopback,
                "{name}"
            );
        }
    }
}
