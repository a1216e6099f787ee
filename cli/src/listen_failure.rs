//! What to do about an address that a controller cannot listen on.
//!
//! Owns the words. Shell, since it looks who else of this user listens there.

use std::io::ErrorKind;

use anyhow::anyhow;
use berth_controller::node::ControllerError;

use crate::running;

/// The error of a controller that cannot listen, with who is in the way and which flag chooses another address; any other error as it is.
pub(crate) fn explain(error: ControllerError) -> anyhow::Error {
    let ControllerError::Listen { address, what, source } = &error else {
        return error.into();
    };
    let flag = match *what {
        "agents" => "--agent-listen",
        "members and agents" => "--cluster-listen",
        _ => "--listen",
    };
    let why = match source.kind() {
        ErrorKind::AddrInUse => {
            let running = running::list().unwrap_or_default();
            let other = running.into_iter().find(|cluster| cluster.listen == *address);
            let holder = other.map_or_else(
                || "another process".to_owned(),
                |cluster| format!("another `berth dev` (process {})", cluster.pid),
            );
            format!("is in use by {holder}; stop it, or choose another port with {flag}")
        }
        ErrorKind::AddrNotAvailable => {
            format!("is no address of this machine; choose one with {flag}, 0.0.0.0 for all that it has")
        }
        ErrorKind::PermissionDenied => {
            format!("may not be used by this user; choose a port above 1023 with {flag}, or start this as root")
        }
        _ => return error.into(),
    };
    anyhow!("{address}, where {what} would connect, {why}")
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;

    #[test]
    fn address_that_cannot_be_listened_on_is_named_with_the_flag_to_change() {
        let text = |what, kind: ErrorKind| {
            let address = SocketAddr::from(([192, 0, 2, 1], 80));
            let source = kind.into();
            explain(ControllerError::Listen { address, what, source }).to_string()
        };
        assert_eq!(
            text("clients", ErrorKind::AddrNotAvailable),
            "192.0.2.1:80, where clients would connect, is no address of this machine; choose one with --listen, 0.0.0.0 for all that it has"
        );
        assert!(text("agents", ErrorKind::PermissionDenied).contains("above 1023 with --agent-listen"));
        assert!(text("agents", ErrorKind::AddrInUse).contains("in use by another process"));
    }
}
