//! `CreateBackup`: begins a backup of the state as it is now, to be fetched in parts. Shell.

use berth_aws::berth::{CreateBackupRequest, CreateBackupResponse};
use berth_aws::{AwsError, Timestamp};
use berth_core::ids::IdSource;

use crate::api::context::{Api, Call};
use crate::api::errors;

pub(crate) async fn handle(
    api: &Api,
    _call: &Call,
    _input: CreateBackupRequest,
) -> Result<CreateBackupResponse, AwsError> {
    let id = api.with_ids(IdSource::uuid);
    let begun = api.backups().begin(id.clone()).await;
    let begun = begun.map_err(|error| errors::unavailable(&error))?;
    Ok(CreateBackupResponse {
        backup_id: Some(id),
        raft_index: i64::try_from(begun.index).ok(),
        created_at: Some(Timestamp(begun.created_at.0)),
    })
}

#[cfg(test)]
mod tests {
    use berth_aws::berth::operations::{CreateBackup, GetBackupPart};
    use serde_json::json;

    use crate::api::testing::Harness;

    #[tokio::test]
    async fn backup_is_fetched_in_parts_of_which_the_last_says_so() {
        let harness = Harness::new();
        let begun = harness.call::<CreateBackup>(json!({})).await.expect("begun");
        assert_eq!(begun["raftIndex"], 7);
        let id = &begun["backupId"];
        let part = |number| harness.call::<GetBackupPart>(json!({"backupId": id, "partNumber": number}));
        let first = part(0).await.expect("the first part");
        assert_eq!(first, json!({"data": "YmFja3Vw", "last": false}));
        let second = part(1).await.expect("the second part");
        assert_eq!(second, json!({"data": "", "last": true}));
    }

    #[tokio::test]
    async fn part_of_an_unknown_backup_is_refused() {
        let harness = Harness::new();
        let error = harness
            .call::<GetBackupPart>(json!({"backupId": "unknown", "partNumber": 0}))
            .await
            .expect_err("refused");
        assert_eq!(error.kind.code, "ResourceNotFoundException");
    }
}
