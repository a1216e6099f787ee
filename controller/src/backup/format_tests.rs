//! What a reader makes of backups that are whole, cut off, changed, or newer than itself.

use berth_core::ids::IdSource;
use berth_core::model::{
    AgentId, Attributes, ContainerInstanceId, HostDescription, LogIndex, Resources, Scope, Timestamp,
};
use berth_core::state::{Command, FeatureLevel, apply};
use berth_proto::record::{FORMAT_VERSION, seal_as};
use prost::Message;

use super::*;

/// A state with a few hosts.
fn state() -> ClusterState {
    let mut state = ClusterState::default();
    let level = Command::RaiseFeatureLevel(FeatureLevel::newest("0.1.0"));
    apply(&mut state, LogIndex(1), &level).expect("raised");
    for number in 2..12u64 {
        let register = Command::RegisterContainerInstance {
            id: ContainerInstanceId(u128::from(number)),
            cluster: Scope::new("123456789012", "us-east-1").cluster("default"),
            agent: AgentId::from(format!("agent-{number}")),
            host: HostDescription {
                host_name: format!("host-{number}"),
                capacity: Resources::new(1024, 1024),
                attributes: Attributes::new(),
                agent_version: "1".into(),
                runtime_version: "simulated".into(),
                capacity_provider: None,
                ecs_agent: None,
            },
            previous: None,
            at: Timestamp(1),
        };
        apply(&mut state, LogIndex(number), &register).expect("registered");
    }
    state
}

fn header(state: &ClusterState) -> BackupHeader {
    let published = Published {
        index: state.applied().0,
        term: 3,
        view: Arc::new(state.clone()),
    };
    header_of(&published, 1_763_800_000_000)
}

fn backup(state: &ClusterState) -> Vec<u8> {
    write_state(vec![], &header(state), state).expect("written")
}

#[test]
fn backup_read_again_is_the_state_at_its_index() {
    let state = state();
    let bytes = backup(&state);
    let (summary, read) = read_state(bytes.as_slice()).expect("sound");
    assert_eq!(read, state);
    assert_eq!((summary.header.index, summary.header.term), (11, 3));
    assert_eq!(summary.header.clusters.len(), 1);
    assert_eq!(summary.bytes, bytes.len() as u64);
}

#[test]
fn backup_cut_off_anywhere_is_refused() {
    let bytes = backup(&state());
    for length in 0..bytes.len() {
        let refused = read_state(&bytes[..length]).expect_err("cut off");
        assert!(
            matches!(refused, BackupError::CutOff(_) | BackupError::NotABackup),
            "{length}: {refused}"
        );
    }
}

#[test]
fn backup_with_a_bit_flipped_anywhere_is_refused() {
    let bytes = backup(&state());
    let mut draw = IdSource::from_seed(7);
    // Each byte once, at a bit drawn from the seed.
    for place in 0..bytes.len() {
        let bit = draw.next_u64() % 8;
        let mut damaged = bytes.clone();
        damaged[place] ^= 1 << bit;
        let outcome = read_state(damaged.as_slice());
        assert!(outcome.is_err(), "bit {bit} of byte {place} went unnoticed");
    }
}

#[test]
fn backup_with_records_missing_repeated_or_exchanged_is_refused() {
    let bytes = backup(&state());
    let mut frames = vec![];
    let mut rest = &bytes[MAGIC.len()..];
    while let Some((length, _)) = rest.split_first_chunk::<4>() {
        let (frame, after) = rest.split_at(4 + u32::from_be_bytes(*length) as usize);
        frames.push(frame.to_vec());
        rest = after;
    }
    let join = |frames: &[Vec<u8>]| [MAGIC.to_vec(), frames.concat()].concat();
    assert!(read_state(join(&frames).as_slice()).is_ok());
    let last = frames.len() - 1;
    let mut missing = frames.clone();
    missing.remove(4);
    let mut repeated = frames.clone();
    repeated.insert(4, frames[4].clone());
    let mut exchanged = frames.clone();
    exchanged.swap(4, 5);
    let mut goes_on = frames.clone();
    goes_on.push(frames[last].clone());
    let without_header = frames[1..].to_vec();
    for (what, frames) in [
        ("missing", missing),
        ("repeated", repeated),
        ("exchanged", exchanged),
        ("goes on", goes_on),
        ("without header", without_header),
    ] {
        assert!(read_state(join(&frames).as_slice()).is_err(), "{what}");
    }
}

#[test]
fn backup_of_a_newer_format_or_feature_level_is_refused_saying_what_reads_it() {
    let header = BackupHeader {
        feature_level: NEWEST_FEATURE_LEVEL + 1,
        berth_version: "9.1.0".to_owned(),
        ..header(&state())
    };
    let framed = |record: Vec<u8>| {
        let length = u32::try_from(record.len()).expect("short").to_be_bytes();
        [MAGIC, &length[..], &record].concat()
    };
    let features = framed(record::encode_message(RecordKind::BackupHeader, &header));
    let refused = BackupReader::begin(features.as_slice()).expect_err("newer");
    assert!(
        refused.chain().contains("use berth 9.1.0 or newer"),
        "{}",
        refused.chain()
    );
    let format = framed(seal_as(
        FORMAT_VERSION + 1,
        RecordKind::BackupHeader,
        header.encode_to_vec(),
    ));
    let refused = BackupReader::begin(format.as_slice()).expect_err("newer");
    assert!(
        refused.chain().contains("run a newer version of berth"),
        "{}",
        refused.chain()
    );
}

#[test]
fn file_of_another_kind_is_no_backup() {
    for other in [&b""[..], b"PK\x03\x04 and more that is not a backup", b"berth-backup"] {
        assert!(matches!(BackupReader::begin(other), Err(BackupError::NotABackup)));
    }
}
