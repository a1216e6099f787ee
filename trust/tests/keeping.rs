//! The directory of a holder's identity: for nobody else's eyes, and whole at any time.

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use berth_trust::keeper::{Keeper, KeeperError, Kept};
use common::Cluster;

fn kept(cluster: &Cluster) -> Kept {
    Kept {
        credentials: cluster.credentials("agent/a"),
        authorities: cluster.authorities.bundle().expect("a bundle"),
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("there").permissions().mode() & 0o777
}

#[test]
fn identity_is_kept_for_the_owner_alone_and_replaced_whole() {
    let parent = tempfile::tempdir().expect("a directory");
    let directory = parent.path().join("deep/trust");
    let keeper = Keeper::new(&directory);
    assert!(keeper.load().expect("nothing there").is_none());
    let cluster = Cluster::new("home");
    keeper.keep(&kept(&cluster)).expect("kept");
    assert_eq!(mode(&directory), 0o700);
    for file in ["identity.pem", "authorities.pem"] {
        assert_eq!(mode(&directory.join(file)), 0o600, "{file}");
    }
    let renewed = cluster.credentials("agent/a");
    keeper.keep_credentials(&renewed).expect("kept");
    let read = keeper.load().expect("read").expect("there");
    assert_eq!(read.credentials.chain(), renewed.chain());
    assert_eq!(read.authorities, cluster.authorities.bundle().expect("a bundle"));
    assert_eq!(
        fs::read_dir(&directory).expect("there").count(),
        2,
        "something was left over"
    );
}

#[test]
fn beginning_of_a_file_that_a_power_cut_left_is_no_obstacle() {
    let parent = tempfile::tempdir().expect("a directory");
    let keeper = Keeper::new(&parent.path().join("trust"));
    let cluster = Cluster::new("home");
    keeper.keep(&kept(&cluster)).expect("kept");
    let left_over = parent.path().join("trust/identity.pem.new");
    fs::write(&left_over, "-----BEGIN PRI").expect("written");
    keeper.load().expect("read").expect("there");
    keeper.keep(&kept(&cluster)).expect("kept");
    assert!(!left_over.exists());
}

#[test]
fn authorities_alone_mean_that_the_host_has_not_joined_and_a_key_alone_that_something_is_wrong() {
    let parent = tempfile::tempdir().expect("a directory");
    let directory = parent.path().join("trust");
    let keeper = Keeper::new(&directory);
    let cluster = Cluster::new("home");
    keeper.keep_authorities(&kept(&cluster).authorities).expect("kept");
    assert!(keeper.load().expect("read").is_none());
    keeper.keep(&kept(&cluster)).expect("kept");
    fs::remove_file(keeper.authorities_path()).expect("removed");
    let error = keeper.load().expect_err("half");
    assert!(matches!(error, KeeperError::Half { .. }), "{error}");
}

#[test]
fn key_that_others_could_have_read_is_refused_with_what_to_do() {
    let parent = tempfile::tempdir().expect("a directory");
    let directory = parent.path().join("trust");
    let keeper = Keeper::new(&directory);
    keeper.keep(&kept(&Cluster::new("home"))).expect("kept");
    for path in [directory.join("identity.pem"), directory.clone()] {
        let before = mode(&path);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("changed");
        let error = keeper.load().expect_err("refused").to_string();
        assert!(error.contains("has mode 755") && error.contains("chmod go="), "{error}");
        fs::set_permissions(&path, fs::Permissions::from_mode(before)).expect("changed");
    }
    keeper.load().expect("read").expect("there");
}

#[test]
fn damaged_file_is_refused_by_name_and_no_part_of_the_key_is_shown() {
    let parent = tempfile::tempdir().expect("a directory");
    let path = parent.path().join("trust/identity.pem");
    let keeper = Keeper::new(&parent.path().join("trust"));
    keeper.keep(&kept(&Cluster::new("home"))).expect("kept");
    let text = fs::read_to_string(&path).expect("read");
    for length in [0, 10, 100, text.len() / 2, text.len() - 30] {
        fs::write(&path, &text[..length]).expect("written");
        let error = keeper.load().expect_err("refused");
        assert!(matches!(error, KeeperError::Credentials { .. }), "{error}");
        let shown = format!("{error} {error:?}");
        assert!(
            shown.contains("identity.pem") && !shown.contains(&text[40..60]),
            "{shown}"
        );
    }
    fs::write(&path, vec![b'x'; 100_000]).expect("written");
    let error = keeper.load().expect_err("refused");
    assert!(matches!(error, KeeperError::TooLarge { .. }), "{error}");
}
