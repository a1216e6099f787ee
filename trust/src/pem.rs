//! PEM, the text form of certificates and keys. Pure.
//!
//! Owns the encoding; decoding is the one of rustls. It must not know what a certificate means.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::pem::{Error, PemObject, SectionKind};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

/// Characters of a line of base64, as RFC 7468 wants them.
const LINE: usize = 64;

/// Why a text is not the PEM that was expected.
#[derive(Debug, thiserror::Error)]
pub enum PemError {
    /// Not PEM at all, or cut off.
    #[error("it is not PEM: {0}")]
    Malformed(String),
    /// PEM of something else.
    #[error("it contains no {0}")]
    Missing(&'static str),
    /// More than was asked for.
    #[error("it contains more than one {0}")]
    Several(&'static str),
}

pub(crate) fn certificate(der: &CertificateDer<'_>) -> String {
    section("CERTIFICATE", der)
}

pub(crate) fn private_key(der: &PrivatePkcs8KeyDer<'_>) -> String {
    section("PRIVATE KEY", der.secret_pkcs8_der())
}

/// The certificates of a text in their order; there is at least one.
pub(crate) fn certificates(text: &str) -> Result<Vec<CertificateDer<'static>>, PemError> {
    let found: Vec<_> = CertificateDer::pem_slice_iter(text.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(malformed)?;
    if found.is_empty() {
        return Err(PemError::Missing("CERTIFICATE section"));
    }
    Ok(found)
}

/// The one certificate of a text.
pub(crate) fn one_certificate(text: &str) -> Result<CertificateDer<'static>, PemError> {
    let mut found = certificates(text)?;
    match (found.pop(), found.is_empty()) {
        (Some(certificate), true) => Ok(certificate),
        _ => Err(PemError::Several("CERTIFICATE section")),
    }
}

/// The one PKCS #8 key of a text.
pub(crate) fn one_private_key(text: &str) -> Result<PrivatePkcs8KeyDer<'static>, PemError> {
    let mut found: Vec<_> = PrivatePkcs8KeyDer::pem_slice_iter(text.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(malformed)?;
    match (found.pop(), found.is_empty()) {
        (Some(key), true) => Ok(key),
        (None, _) => Err(PemError::Missing("PRIVATE KEY section (PKCS #8)")),
        _ => Err(PemError::Several("PRIVATE KEY section")),
    }
}

/// The first key of a text, in whatever form.
pub(crate) fn any_private_key(text: &str) -> Result<PrivateKeyDer<'static>, PemError> {
    PrivateKeyDer::from_pem_slice(text.as_bytes()).map_err(|error| match error {
        Error::NoItemsFound => PemError::Missing("PRIVATE KEY section"),
        other => malformed(other),
    })
}

/// The DER of a `CERTIFICATE REQUEST`.
pub(crate) fn one_request(text: &str) -> Result<Vec<u8>, PemError> {
    let sections: Vec<(SectionKind, Vec<u8>)> = <(SectionKind, Vec<u8>)>::pem_slice_iter(text.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(malformed)?;
    let mut requests = sections.into_iter().filter(|(kind, _)| *kind == SectionKind::Csr);
    match (requests.next(), requests.next()) {
        (Some((_, der)), None) => Ok(der),
        (None, _) => Err(PemError::Missing("CERTIFICATE REQUEST section")),
        _ => Err(PemError::Several("CERTIFICATE REQUEST section")),
    }
}

// Written out, since the library's own message may repeat lines of what it read, which may be a key.
fn malformed(error: Error) -> PemError {
    PemError::Malformed(
        match error {
            Error::MissingSectionEnd { .. } => "a section does not end",
            Error::IllegalSectionStart { .. } => "a section does not begin as it should",
            Error::Base64Decode(_) => "a section is not base64",
            Error::SectionTooLarge => "a section is too large",
            _ => "it cannot be read",
        }
        .to_owned(),
    )
}

fn section(label: &str, der: &[u8]) -> String {
    let encoded = STANDARD.encode(der);
    let mut text = format!("-----BEGIN {label}-----\n");
    let mut rest = encoded.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(LINE));
        text.push_str(line);
        text.push('\n');
        rest = after;
    }
    text.push_str(&format!("-----END {label}-----\n"));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn section_of_every_length_is_read_back() {
        for length in 1..200 {
            let der = CertificateDer::from(vec![7; length]);
            assert_eq!(one_certificate(&certificate(&der)).expect("read"), der);
        }
    }

    #[test]
    fn text_that_is_no_certificate_is_refused_without_being_repeated() {
        let key = private_key(&PrivatePkcs8KeyDer::from(vec![1, 2, 3]));
        let error = certificates(&key).expect_err("refused").to_string();
        assert_eq!(error, "it contains no CERTIFICATE section");
        let cut = key.split("-----END").next().expect("begun");
        let error = one_private_key(cut).expect_err("refused").to_string();
        assert_eq!(error, "it is not PEM: a section does not end");
    }
}
