//! Between the messages of the wire and what the agent works with. Pure.

use std::sync::Arc;

use berth_core::model::{DesiredStatus, LogIndex, LogPosition, Ports, TaskId, TaskReport, TaskSpec, TransportProtocol};
use berth_proto::record::{self, RecordError, RecordKind};
use berth_proto::v1;

use super::{Session, SessionError};
use crate::log_source::LogChunk;
use crate::supervisor::{AssignedTask, Assignments};

pub(super) fn register(session: &Session) -> Result<v1::Register, RecordError> {
    let reports: Result<Vec<_>, _> = session.board.all().iter().map(report).collect();
    Ok(v1::Register {
        protocol_version: v1::ProtocolVersion::ProtocolVersion1.into(),
        agent_id: session.agent.to_string(),
        account: session.cluster.scope.account.to_string(),
        region: session.cluster.scope.region.to_string(),
        cluster: session.cluster.name.to_string(),
        host_description: record::encode(RecordKind::HostDescription, &session.host)?,
        task_reports: reports?,
        container_instance_arn: session.was.clone().unwrap_or_default(),
    })
}

pub(super) fn host_ports(ports: &Ports) -> Vec<v1::HostPort> {
    let port = |(protocol, port): &(TransportProtocol, u16)| v1::HostPort {
        protocol: match protocol {
            TransportProtocol::Tcp => v1::PortProtocol::Tcp,
            TransportProtocol::Udp => v1::PortProtocol::Udp,
        }
        .into(),
        port: u32::from(*port),
    };
    ports.iter().map(port).collect()
}

pub(super) fn report(report: &TaskReport) -> Result<Vec<u8>, RecordError> {
    record::encode(RecordKind::TaskReport, report)
}

pub(super) fn position(term: u64, index: u64) -> LogPosition {
    LogPosition {
        term,
        index: LogIndex(index),
    }
}

/// A position as people read it.
pub(super) fn position_text(position: LogPosition) -> String {
    format!("term {}, index {}", position.term, position.index.0)
}

pub(super) fn assignments(message: v1::Assignments) -> Result<Assignments, SessionError> {
    let tasks: Result<Vec<_>, _> = message.tasks.into_iter().map(assigned_task).collect();
    let removed: Result<Vec<_>, _> = message.removed.iter().map(|id| task_id(id)).collect();
    Ok(Assignments {
        full: message.full,
        tasks: tasks?,
        removed: removed?,
    })
}

fn assigned_task(message: v1::AssignedTask) -> Result<AssignedTask, SessionError> {
    let task = task_id(&message.task_id)?;
    let desired = match message.desired_status() {
        v1::AssignedStatus::Running => DesiredStatus::Running,
        v1::AssignedStatus::Stopped => DesiredStatus::Stopped,
        v1::AssignedStatus::Unspecified => {
            return Err(SessionError::Malformed(format!("task {task} has no desired status")));
        }
    };
    let spec = match message.spec.is_empty() {
        true => None,
        false => Some(Arc::new(record::decode::<TaskSpec>(
            RecordKind::TaskSpec,
            &message.spec,
        )?)),
    };
    if let Some(spec) = &spec
        && spec.task != task
    {
        return Err(SessionError::Malformed(format!(
            "task {task} comes with the spec of {}",
            spec.task
        )));
    }
    Ok(AssignedTask {
        task,
        desired,
        spec,
        begun: message.begun,
    })
}

pub(super) fn task_id(text: &str) -> Result<TaskId, SessionError> {
    text.parse()
        .map_err(|error| SessionError::Malformed(format!("{error}")))
}

pub(super) fn log_reply(request_id: u64, chunk: LogChunk, end: bool) -> v1::LogReply {
    let lines = chunk.lines.into_iter().map(|line| v1::LogLine {
        timestamp_ms: line.timestamp_ms,
        stderr: line.stderr,
        message: line.message,
        partial: line.partial,
    });
    v1::LogReply {
        request_id,
        lines: lines.collect(),
        next_position: chunk.next_position,
        end,
        error: String::new(),
    }
}
