//! Unpacking: an image's layers as a chain of containerd snapshots.
//!
//! Owns the order in which a layer becomes a snapshot, and that no half-unpacked layer can be seen. Shell.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};

use containerd_client::services::v1::ApplyRequest;
use containerd_client::services::v1::snapshots::{
    CommitSnapshotRequest, PrepareSnapshotRequest, RemoveSnapshotRequest, StatSnapshotRequest,
};
use tonic::{Code, Status};

use super::ImageError;
use super::document::{Blob, chain_ids};
use crate::runtime::containerd::client::{Client, Lease};

/// Distinguishes the unpackings of one process.
static UNPACKINGS: AtomicU64 = AtomicU64::new(0);

/// Whether the chain is unpacked already.
pub(super) async fn is_unpacked(client: &Client, snapshotter: &str, chain_id: &str) -> Result<bool, ImageError> {
    let request = StatSnapshotRequest {
        snapshotter: snapshotter.to_owned(),
        key: chain_id.to_owned(),
    };
    match client.snapshots().stat(client.request(request)).await {
        Ok(_) => Ok(true),
        Err(status) if status.code() == Code::NotFound => Ok(false),
        Err(status) => Err(ImageError::of_status("look up the image's layers", &status)),
    }
}

/// Unpacks the layers that are not yet unpacked.
pub(super) async fn unpack(
    client: &Client,
    lease: &Lease,
    snapshotter: &str,
    layers: &[Blob],
    diff_ids: &[String],
) -> Result<(), ImageError> {
    let chain = chain_ids(diff_ids);
    let mut parent = String::new();
    for ((layer, diff_id), chain_id) in layers.iter().zip(diff_ids).zip(chain) {
        if !is_unpacked(client, snapshotter, &chain_id).await? {
            unpack_layer(client, lease, snapshotter, layer, diff_id, &parent, &chain_id).await?;
        }
        parent = chain_id;
    }
    Ok(())
}

async fn unpack_layer(
    client: &Client,
    lease: &Lease,
    snapshotter: &str,
    layer: &Blob,
    diff_id: &str,
    parent: &str,
    chain_id: &str,
) -> Result<(), ImageError> {
    let failed = |status: Status| ImageError::of_status("unpack an image layer", &status);
    let unique = UNPACKINGS.fetch_add(1, Ordering::Relaxed);
    let key = format!("berth-unpack-{}-{unique}-{chain_id}", std::process::id());
    let labels = HashMap::from([("containerd.io/snapshot.ref".to_owned(), chain_id.to_owned())]);
    let prepare = PrepareSnapshotRequest {
        snapshotter: snapshotter.to_owned(),
        key: key.clone(),
        parent: parent.to_owned(),
        labels: labels.clone(),
    };
    let mounts = client
        .snapshots()
        .prepare(client.leased(prepare, lease))
        .await
        .map_err(failed)?
        .into_inner()
        .mounts;
    let apply = ApplyRequest {
        diff: Some(layer.descriptor()),
        mounts,
        ..Default::default()
    };
    let outcome = match client.diff().apply(client.leased_apply(apply, lease)).await {
        Ok(answer) => {
            let applied = answer.into_inner().applied.map(|d| d.digest).unwrap_or_default();
            check_layer(layer, diff_id, &applied)
        }
        Err(status) => Err(failed(status)),
    };
    if let Err(error) = outcome {
        remove(client, snapshotter, key).await;
        return Err(error);
    }
    let commit = CommitSnapshotRequest {
        snapshotter: snapshotter.to_owned(),
        name: chain_id.to_owned(),
        key: key.clone(),
        labels,
    };
    match client.snapshots().commit(client.leased(commit, lease)).await {
        Ok(_) => Ok(()),
        Err(status) => {
            remove(client, snapshotter, key).await;
            // Someone else unpacked the same layer meanwhile: theirs is as good.
            if status.code() == Code::AlreadyExists {
                Ok(())
            } else {
                Err(failed(status))
            }
        }
    }
}

fn check_layer(layer: &Blob, expected: &str, applied: &str) -> Result<(), ImageError> {
    if applied == expected {
        return Ok(());
    }
    let why = format!("unpacked, the layer has the digest {applied}, and the image's configuration says {expected}");
    Err(ImageError::Damaged {
        digest: layer.digest.clone(),
        why,
    })
}

async fn remove(client: &Client, snapshotter: &str, key: String) {
    // What cannot be removed is collected by containerd when the lease ends.
    let request = RemoveSnapshotRequest {
        snapshotter: snapshotter.to_owned(),
        key,
    };
    drop(client.snapshots().remove(client.request(request)).await);
}
