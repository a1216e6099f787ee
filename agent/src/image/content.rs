//! containerd's content store: blobs by digest, in one namespace.
//!
//! Owns reading, writing and labelling of blobs. Knows nothing of what is in them. Shell.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use containerd_client::services::v1::{
    AbortRequest, Info, InfoRequest, ReadContentRequest, UpdateRequest, WriteAction, WriteContentRequest,
};
use prost_types::FieldMask;
use tokio_stream::{Stream, StreamExt as _};
use tonic::{Code, Status};

use super::ImageError;
use super::document::{Blob, MAX_DOCUMENT_BYTES};
use crate::runtime::containerd::client::{Client, Lease};

/// Bytes on their way, from wherever.
pub(crate) type ByteStream = Pin<Box<dyn Stream<Item = Result<Bytes, ImageError>> + Send>>;
/// Labels of a blob: for containerd's collector, what it refers to.
pub(crate) type Labels = HashMap<String, String>;

/// Largest piece in one message: containerd takes at most 4 MiB by default settings of others, 16 MiB by its own.
const PIECE_BYTES: usize = 1 << 20;
/// Pieces on their way at once, per blob.
const PIECES_IN_FLIGHT: usize = 4;

/// Distinguishes writes of one process, so that two of one blob do not lock each other out.
static WRITES: AtomicU64 = AtomicU64::new(0);

/// Whether the blob is in the namespace; then its labels are set as well, and the lease keeps it.
pub(crate) async fn has(client: &Client, lease: &Lease, blob: &Blob, labels: &Labels) -> Result<bool, ImageError> {
    match client
        .content()
        .info(client.leased(
            InfoRequest {
                digest: blob.digest.clone(),
            },
            lease,
        ))
        .await
    {
        Ok(_) => set_labels(client, lease, &blob.digest, labels).await.map(|()| true),
        Err(status) if status.code() == Code::NotFound => Ok(false),
        Err(status) => Err(ImageError::of_status("look up image content", &status)),
    }
}

/// Takes over a blob that another namespace of the same containerd has, without copying it; false if none has.
pub(crate) async fn adopt(client: &Client, lease: &Lease, blob: &Blob, labels: &Labels) -> Result<bool, ImageError> {
    let reference = ingest_reference(blob);
    let commit = write_request(&reference, blob, WriteAction::Commit, 0, Vec::new(), labels.clone());
    match drive(client, lease, tokio_stream::once(commit)).await {
        Ok(()) => Ok(true),
        Err(status) if status.code() == Code::AlreadyExists => {
            set_labels(client, lease, &blob.digest, labels).await.map(|()| true)
        }
        Err(status) if status.code() == Code::FailedPrecondition => {
            abort(client, reference).await;
            Ok(false)
        }
        Err(status) => Err(ImageError::of_status("take over image content", &status)),
    }
}

/// Writes a blob; containerd checks its digest and size before it can be seen.
pub(crate) async fn write(
    client: &Client,
    lease: &Lease,
    blob: &Blob,
    labels: &Labels,
    source: ByteStream,
) -> Result<(), ImageError> {
    let reference = ingest_reference(blob);
    let (sender, receiver) = tokio::sync::mpsc::channel(PIECES_IN_FLIGHT);
    let requests = tokio_stream::wrappers::ReceiverStream::new(receiver);
    let (fed, written) = tokio::join!(
        feed(source, sender, &reference, blob, labels),
        drive(client, lease, requests)
    );
    match (fed, written) {
        (Ok(()), Ok(())) => Ok(()),
        (_, Err(status)) if status.code() == Code::AlreadyExists => {
            set_labels(client, lease, &blob.digest, labels).await
        }
        (Err(error), _) => {
            abort(client, reference).await;
            Err(error)
        }
        (Ok(()), Err(status)) => {
            abort(client, reference).await;
            if status.code() == Code::FailedPrecondition || status.code() == Code::InvalidArgument {
                let why = status.message().to_owned();
                return Err(ImageError::Damaged {
                    digest: blob.digest.clone(),
                    why,
                });
            }
            Err(ImageError::of_status("write image content", &status))
        }
    }
}

async fn feed(
    mut source: ByteStream,
    sender: tokio::sync::mpsc::Sender<WriteContentRequest>,
    reference: &str,
    blob: &Blob,
    labels: &Labels,
) -> Result<(), ImageError> {
    let mut offset = 0i64;
    while let Some(bytes) = source.next().await {
        for piece in bytes?.chunks(PIECE_BYTES) {
            let request = write_request(
                reference,
                blob,
                WriteAction::Write,
                offset,
                piece.to_vec(),
                Labels::new(),
            );
            offset = offset.saturating_add(i64::try_from(piece.len()).unwrap_or(i64::MAX));
            if sender.send(request).await.is_err() {
                return Ok(()); // containerd ended the write; its answer says why
            }
        }
    }
    let commit = write_request(reference, blob, WriteAction::Commit, offset, Vec::new(), labels.clone());
    // As above: an error here is told by the answer.
    drop(sender.send(commit).await);
    Ok(())
}

async fn drive(
    client: &Client,
    lease: &Lease,
    requests: impl Stream<Item = WriteContentRequest> + Send + 'static,
) -> Result<(), Status> {
    let mut request = client.unbounded(requests);
    request.metadata_mut().insert("containerd-lease", lease.header.clone());
    let mut answers = client.content().write(request).await?.into_inner();
    while answers.message().await?.is_some() {}
    Ok(())
}

fn write_request(
    reference: &str,
    blob: &Blob,
    action: WriteAction,
    offset: i64,
    data: Vec<u8>,
    labels: Labels,
) -> WriteContentRequest {
    WriteContentRequest {
        action: action as i32,
        r#ref: reference.to_owned(),
        total: i64::try_from(blob.size).unwrap_or(i64::MAX),
        expected: blob.digest.clone(),
        offset,
        data,
        labels,
    }
}

fn ingest_reference(blob: &Blob) -> String {
    let write = WRITES.fetch_add(1, Ordering::Relaxed);
    format!("berth-{}-{write}-{}", std::process::id(), blob.digest)
}

async fn abort(client: &Client, reference: String) {
    // What cannot be aborted is collected by containerd when the lease ends.
    drop(
        client
            .content()
            .abort(client.request(AbortRequest { r#ref: reference }))
            .await,
    );
}

async fn set_labels(client: &Client, lease: &Lease, digest: &str, labels: &Labels) -> Result<(), ImageError> {
    if labels.is_empty() {
        return Ok(());
    }
    let info = Info {
        digest: digest.to_owned(),
        labels: labels.clone(),
        ..Default::default()
    };
    let paths = labels.keys().map(|key| format!("labels.{key}")).collect();
    let update = UpdateRequest {
        info: Some(info),
        update_mask: Some(FieldMask { paths }),
    };
    let updated = client.content().update(client.leased(update, lease)).await;
    updated
        .map(drop)
        .map_err(|status| ImageError::of_status("label image content", &status))
}

/// Reads a small blob whole; `None` if the namespace has none of that digest.
pub(crate) async fn read_small(client: &Client, digest: &str) -> Result<Option<Vec<u8>>, ImageError> {
    let failed = |status: Status| ImageError::of_status("read image content", &status);
    let request = ReadContentRequest {
        digest: digest.to_owned(),
        offset: 0,
        size: 0,
    };
    let mut pieces = match client.content().read(client.request(request)).await {
        Ok(answer) => answer.into_inner(),
        Err(status) if status.code() == Code::NotFound => return Ok(None),
        Err(status) => return Err(failed(status)),
    };
    let mut bytes = Vec::new();
    loop {
        match pieces.message().await {
            Ok(Some(piece)) => bytes.extend_from_slice(&piece.data),
            Ok(None) => return Ok(Some(bytes)),
            Err(status) if status.code() == Code::NotFound => return Ok(None),
            Err(status) => return Err(failed(status)),
        }
        if bytes.len() as u64 > MAX_DOCUMENT_BYTES {
            let why =
                format!("it is larger than the {MAX_DOCUMENT_BYTES} bytes that a manifest or configuration may have");
            return Err(ImageError::Damaged {
                digest: digest.to_owned(),
                why,
            });
        }
    }
}

/// Reads a blob piece by piece.
pub(crate) async fn stream(client: &Client, digest: &str) -> Result<ByteStream, ImageError> {
    let request = ReadContentRequest {
        digest: digest.to_owned(),
        offset: 0,
        size: 0,
    };
    let pieces = client
        .content()
        .read(client.unbounded(request))
        .await
        .map_err(|status| ImageError::of_status("read image content", &status))?;
    Ok(Box::pin(pieces.into_inner().map(|piece| {
        piece
            .map(|p| Bytes::from(p.data))
            .map_err(|status| ImageError::of_status("read image content", &status))
    })))
}
