//! Commands as they are proposed and stand in the log. Pure.

use berth_proto::record::{self, RecordKind};

use super::error::ProposeError;
use super::options::MAX_COMMAND_BYTES;
use super::state_machine::StateMachine;

/// The record of a command, packed if the members of the group read that.
///
/// # Errors
/// [`ProposeError::NotEncodable`] and [`ProposeError::TooLarge`].
pub fn command_record<M: StateMachine>(command: &M::Command, view: &M::View) -> Result<Vec<u8>, ProposeError> {
    let payload = record::payload(RecordKind::Command, command).map_err(|error| ProposeError::NotEncodable {
        reason: error.to_string(),
    })?;
    // Not of what is left once it is packed, so that what is refused does not depend on how much alike its parts are.
    let bytes = payload.len();
    if bytes > MAX_COMMAND_BYTES {
        return Err(ProposeError::TooLarge {
            bytes,
            max_bytes: MAX_COMMAND_BYTES,
        });
    }
    Ok(if M::packs(view) {
        record::seal_packed(RecordKind::Command, payload)
    } else {
        record::seal(RecordKind::Command, payload)
    })
}
