//! The one rule for names of clusters, services, families and containers; each has words of its own for a name that breaks it. Pure.

/// Longest name (ECS: 255 characters).
pub(super) const MAX_NAME: usize = 255;

/// Whether a name has at most [`MAX_NAME`] letters, digits, hyphens and underscores, and no others.
pub(super) fn is_well_formed(name: &str) -> bool {
    name.len() <= MAX_NAME && has_only_allowed(name)
}

/// Whether a name has only letters, digits, hyphens and underscores.
pub(super) fn has_only_allowed(name: &str) -> bool {
    name.bytes()
        .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}
