//! Reads the bodies of requests, each within its own bounds and all within one.
//!
//! Owns how much may be in memory and how long a body may take. It must not know what bodies say. Shell.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use berth_aws::AwsError;
use berth_aws::error::common;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Largest body: no ECS request is larger than a task definition, 64 KiB; one change of the state has at most 1 MiB.
const MAX_BODY_BYTES: usize = 1024 * 1024;
/// How long a client may take to send its body.
const BODY_DEADLINE: Duration = Duration::from_secs(20);
/// How long the body of a request that is refused is awaited, only so that the refusal is read: closing a connection on which
/// something is on its way takes back what was answered.
const DISCARD_WITHIN: Duration = Duration::from_secs(1);
/// Between two bodies that are given up so that another one gets its room.
const ROOM_WITHIN: Duration = Duration::from_millis(50);

/// The bodies that are in memory.
pub(super) struct Bodies {
    /// Bytes that may still come.
    room: Arc<Semaphore>,
}

/// A whole body, and its share of the room.
pub(super) struct Held {
    pub(super) bytes: Bytes,
    _room: Option<OwnedSemaphorePermit>,
}

impl Bodies {
    /// Bodies of so many bytes in all.
    pub(super) fn new(bytes: usize) -> Self {
        Self {
            room: Arc::new(Semaphore::new(bytes)),
        }
    }

    /// Reads a body. Where there is no room for more of it, `make_room` is called until there is: it is to end a request whose
    /// body has been awaited for long.
    ///
    /// # Errors
    /// `SerializationException` for a body that is too large, does not come in time or cannot be read.
    pub(super) async fn read(&self, body: Body, make_room: impl Fn()) -> Result<Held, AwsError> {
        tokio::time::timeout(BODY_DEADLINE, self.collect(body, make_room))
            .await
            .unwrap_or_else(|_| {
                Err(common::SERIALIZATION.error(format!(
                    "The request body did not arrive within {} s.",
                    BODY_DEADLINE.as_secs()
                )))
            })
    }

    async fn collect(&self, mut body: Body, make_room: impl Fn()) -> Result<Held, AwsError> {
        let mut bytes = BytesMut::new();
        let mut room: Option<OwnedSemaphorePermit> = None;
        while let Some(frame) = body.frame().await {
            let frame = frame
                .map_err(|error| common::SERIALIZATION.error(format!("The request body could not be read: {error}")))?;
            let Ok(data) = frame.into_data() else {
                continue; // trailers
            };
            if bytes.len() + data.len() > MAX_BODY_BYTES {
                return Err(
                    common::SERIALIZATION.error(format!("The request body is larger than {MAX_BODY_BYTES} bytes."))
                );
            }
            let more = self.room_for(data.len(), &make_room).await?;
            match &mut room {
                Some(room) => room.merge(more),
                None => room = Some(more),
            }
            bytes.extend_from_slice(&data);
        }
        Ok(Held {
            bytes: bytes.freeze(),
            _room: room,
        })
    }

    async fn room_for(&self, bytes: usize, make_room: impl Fn()) -> Result<OwnedSemaphorePermit, AwsError> {
        let busy = || common::THROTTLING.error("Rate exceeded: too many large requests are being served already.");
        let bytes = u32::try_from(bytes).map_err(|_| busy())?;
        if let Ok(room) = Arc::clone(&self.room).try_acquire_many_owned(bytes) {
            return Ok(room);
        }
        loop {
            make_room();
            let room = Arc::clone(&self.room).acquire_many_owned(bytes);
            match tokio::time::timeout(ROOM_WITHIN, room).await {
                Ok(room) => return room.map_err(|_| busy()),
                Err(_) => continue, // within the body's own deadline
            }
        }
    }
}

/// Takes in what is on its way of a body that nobody wants, without keeping it.
pub(super) async fn discard(mut body: Body) {
    let taking = async {
        let mut left = MAX_BODY_BYTES;
        while let Some(Ok(frame)) = body.frame().await {
            let taken = frame.data_ref().map_or(0, Bytes::len);
            match left.checked_sub(taken) {
                Some(rest) => left = rest,
                None => return,
            }
        }
    };
    // What has not come by then does not come.
    tokio::time::timeout(DISCARD_WITHIN, taking).await.ok();
}
