//! Whether this machine shuts down, as its service manager says. Shell.

use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

/// How long the service manager may take to answer: it is asked while it has a lot to do.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// Whether systemd is about to stop all that runs here, to power off, restart or halt. `false` where it does not say so, or is not there.
pub(crate) async fn is_under_way() -> bool {
    let asked = Command::new("systemctl")
        .arg("is-system-running")
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .output();
    match tokio::time::timeout(ANSWER_WITHIN, asked).await {
        // Its exit code says only whether all is well.
        Ok(Ok(output)) => says_so(&output.stdout),
        Ok(Err(_)) | Err(_) => false,
    }
}

fn says_so(answer: &[u8]) -> bool {
    answer.trim_ascii() == b"stopping"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machine_shuts_down_if_its_service_manager_says_that_it_is_stopping() {
        assert!(says_so(b"stopping\n"));
        for answer in [&b"running\n"[..], b"degraded\n", b"starting\n", b"offline\n", b""] {
            assert!(!says_so(answer));
        }
    }
}
