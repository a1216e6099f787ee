//! STS's operations, one file each. Shell.

pub(super) mod get_caller_identity;
