//! The metrics of a controller: their names, their labels and how they are written. `docs/metrics.md` lists them; a test holds the page
//! to what is served. Pure, but for the clock of a [`RequestTimer`].

use std::borrow::Cow;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use berth_aws::{OperationModel, Service};
use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Metric, Registry};

/// Value of a label where there is none to name, and of `code` where nothing went wrong.
const NO_OPERATION: &str = "none";
const NO_ERROR: &str = "OK";

/// A gauge of a number that is never negative.
pub(super) type Count = Gauge<u64, AtomicU64>;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Request {
    service: &'static str,
    operation: &'static str,
    code: Cow<'static, str>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Operation {
    service: &'static str,
    operation: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Named {
    pub(super) role: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct HostLabels {
    pub(super) status: &'static str,
    pub(super) connected: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Power {
    pub(super) power: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Status {
    pub(super) status: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Version {
    pub(super) version: &'static str,
}

/// The metrics of one controller. Clones count into the same ones.
#[derive(Clone, Debug)]
pub struct Metrics(Arc<Instruments>);

impl Deref for Metrics {
    type Target = Instruments;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

/// What [`Metrics`] count into.
#[derive(Debug)]
pub struct Instruments {
    registry: Registry,
    /// How long commits of the store take, in seconds.
    pub(crate) store_commits: Histogram,
    proposals: Family<Outcome, Counter>,
    proposal_seconds: Histogram,
    proposals_waiting: Count,
    read_seconds: Histogram,
    round_seconds: Histogram,
    requests: Family<Request, Counter>,
    request_seconds: Family<Operation, Histogram, fn() -> Histogram>,
    requests_in_flight: Count,
    backups: Family<Outcome, Counter>,
    pub(crate) last_backup_seconds: Count,
    pub(crate) last_backup_bytes: Count,
    host_calls: Family<Outcome, Counter>,
    pub(super) state: StateGauges,
}

/// What is read off when somebody asks.
#[derive(Clone, Debug, Default)]
pub(super) struct StateGauges {
    pub(super) raft_role: Family<Named, Count>,
    pub(super) raft_term: Count,
    pub(super) raft_commit_index: Count,
    pub(super) raft_applied_index: Count,
    pub(super) raft_snapshot_index: Count,
    pub(super) feature_level: Count,
    pub(super) store_free_bytes: Count,
    pub(super) agent_sessions: Count,
    pub(super) hosts: Family<HostLabels, Count>,
    pub(super) hosts_by_power: Family<Power, Count>,
    pub(super) hosts_in_trouble: Count,
    pub(super) services: Family<Status, Count>,
    pub(super) tasks: Family<Status, Count>,
    pub(super) tasks_missing: Count,
    pub(super) build_info: Family<Version, Count>,
    pub(super) resident_bytes: Count,
    pub(super) open_files: Count,
}

/// How a proposal ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ProposalOutcome {
    /// It was applied.
    Applied,
    /// It was applied, and the state refused it.
    Rejected,
    /// It was not proposed, or its outcome is not known.
    Failed,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut metrics = Instruments {
            registry: Registry::default(),
            store_commits: Histogram::new(seconds()),
            proposals: Family::default(),
            proposal_seconds: Histogram::new(seconds()),
            proposals_waiting: Count::default(),
            read_seconds: Histogram::new(seconds()),
            round_seconds: Histogram::new(seconds()),
            requests: Family::default(),
            request_seconds: Family::new_with_constructor(|| Histogram::new(seconds())),
            requests_in_flight: Count::default(),
            backups: Family::default(),
            last_backup_seconds: Count::default(),
            last_backup_bytes: Count::default(),
            host_calls: Family::default(),
            state: StateGauges::default(),
        };
        // So that what never happened reads as 0.
        for outcome in ["applied", "rejected", "failed"] {
            drop(metrics.proposals.get_or_create(&Outcome { outcome }));
        }
        for outcome in ["written", "failed"] {
            drop(metrics.backups.get_or_create(&Outcome { outcome }));
        }
        for outcome in ["made", "failed"] {
            drop(metrics.host_calls.get_or_create(&Outcome { outcome }));
        }
        let mut registry = Registry::default();
        metrics.register_raft(&mut registry);
        metrics.register_cluster(&mut registry);
        metrics.register_backups(&mut registry);
        metrics.register_api(&mut registry);
        metrics.register_process(&mut registry);
        metrics.registry = registry;
        Self(Arc::new(metrics))
    }
}

impl Instruments {
    fn register_raft(&self, to: &mut Registry) {
        let state = &self.state;
        add(
            to,
            "berth_raft_role",
            "1 for what this controller is in its group, 0 for what it is not",
            &state.raft_role,
        );
        add(
            to,
            "berth_raft_term",
            "The newest term that this controller has seen",
            &state.raft_term,
        );
        add(
            to,
            "berth_raft_commit_index",
            "The newest log index known to be committed",
            &state.raft_commit_index,
        );
        add(
            to,
            "berth_raft_applied_index",
            "The newest log index whose effect is in the state",
            &state.raft_applied_index,
        );
        add(
            to,
            "berth_raft_snapshot_index",
            "The log index of the newest snapshot, 0 without one",
            &state.raft_snapshot_index,
        );
        add(
            to,
            "berth_feature_level",
            "The feature level that the cluster uses; it rises at the end of an upgrade",
            &state.feature_level,
        );
        add(
            to,
            "berth_proposals",
            "Changes that this controller proposed, by how they ended",
            &self.proposals,
        );
        add(
            to,
            "berth_proposal_seconds",
            "From proposing a change until it is committed and applied",
            &self.proposal_seconds,
        );
        add(
            to,
            "berth_proposals_waiting",
            "Changes that are proposed and not answered yet",
            &self.proposals_waiting,
        );
        add(
            to,
            "berth_read_seconds",
            "How long a linearizable read waits for its confirmation",
            &self.read_seconds,
        );
        add(
            to,
            "berth_store_commit_seconds",
            "How long a write to the store takes, its sync included",
            &self.store_commits,
        );
        add(
            to,
            "berth_store_free_bytes",
            "Free space on the disk of the data directory",
            &state.store_free_bytes,
        );
    }

    fn register_cluster(&self, to: &mut Registry) {
        let state = &self.state;
        add(
            to,
            "berth_reconcile_round_seconds",
            "From looking at the state until the leader's placements and other decisions are committed",
            &self.round_seconds,
        );
        add(
            to,
            "berth_agent_sessions",
            "Agents that have a session with this controller",
            &state.agent_sessions,
        );
        add(
            to,
            "berth_hosts",
            "Container instances, by status and by whether their agent is connected",
            &state.hosts,
        );
        add(
            to,
            "berth_hosts_by_power",
            "Container instances that are not inactive, by where they are between awake and asleep",
            &state.hosts_by_power,
        );
        add(
            to,
            "berth_hosts_in_trouble",
            "Container instances that did not wake or sleep when they were to",
            &state.hosts_in_trouble,
        );
        add(
            to,
            "berth_host_calls",
            "Times that this controller ran the command by which a host is woken, by how that ended",
            &self.host_calls,
        );
        add(
            to,
            "berth_services",
            "Services, by status, without managed daemons",
            &state.services,
        );
        add(to, "berth_tasks", "Tasks, by last status", &state.tasks);
        add(
            to,
            "berth_tasks_missing",
            "Tasks that services and managed daemons want and have not: no host has room, or their starts fail and wait for a retry",
            &state.tasks_missing,
        );
    }

    fn register_backups(&self, to: &mut Registry) {
        add(
            to,
            "berth_backups",
            "Scheduled backups of this controller, by how they ended",
            &self.backups,
        );
        add(
            to,
            "berth_last_backup_timestamp_seconds",
            "When this controller last wrote a scheduled backup, in seconds since the Unix epoch; 0 if never",
            &self.last_backup_seconds,
        );
        add(
            to,
            "berth_last_backup_bytes",
            "Size of that backup",
            &self.last_backup_bytes,
        );
    }

    fn register_api(&self, to: &mut Registry) {
        add(
            to,
            "berth_api_requests",
            "Requests to the API that were answered, by operation and error code",
            &self.requests,
        );
        add(
            to,
            "berth_api_request_seconds",
            "How long requests to the API take, by operation",
            &self.request_seconds,
        );
        add(
            to,
            "berth_api_requests_in_flight",
            "Requests to the API that are being served",
            &self.requests_in_flight,
        );
    }

    fn register_process(&self, to: &mut Registry) {
        let state = &self.state;
        add(
            to,
            "berth_build_info",
            "1, with the version of this controller as a label",
            &state.build_info,
        );
        add(
            to,
            "process_resident_memory_bytes",
            "Memory of this process that is in RAM",
            &state.resident_bytes,
        );
        add(
            to,
            "process_open_fds",
            "Files and sockets that this process has open",
            &state.open_files,
        );
    }
}

impl Metrics {
    /// Scheduled backups that ended so.
    pub(crate) fn backups_with(&self, outcome: &'static str) -> Counter {
        self.backups.get_or_create(&Outcome { outcome }).clone()
    }

    /// A host was called, or could not be.
    pub(crate) fn host_called(&self, was_made: bool) {
        let outcome = if was_made { "made" } else { "failed" };
        self.host_calls.get_or_create(&Outcome { outcome }).inc();
    }

    /// All metrics as OpenMetrics text.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a string does not fail.
        text::encode(&mut text, &self.registry).ok();
        text
    }

    /// A proposal is on its way.
    pub(crate) fn begin_proposal(&self) -> Waiting {
        self.proposals_waiting.inc();
        Waiting {
            began: Instant::now(),
            waiting: self.proposals_waiting.clone(),
        }
    }

    /// It has ended.
    pub(crate) fn end_proposal(&self, waiting: Waiting, outcome: ProposalOutcome) {
        if outcome != ProposalOutcome::Failed {
            self.proposal_seconds.observe(waiting.began.elapsed().as_secs_f64());
        }
        let outcome = match outcome {
            ProposalOutcome::Applied => "applied",
            ProposalOutcome::Rejected => "rejected",
            ProposalOutcome::Failed => "failed",
        };
        self.proposals.get_or_create(&Outcome { outcome }).inc();
    }

    /// A linearizable read was answered.
    pub(crate) fn read_took(&self, duration: Duration) {
        self.read_seconds.observe(duration.as_secs_f64());
    }

    /// A round of the leader has ended.
    pub(crate) fn round_took(&self, duration: Duration) {
        self.round_seconds.observe(duration.as_secs_f64());
    }

    /// A request to the API has come in.
    pub(crate) fn begin_request(&self) -> RequestTimer {
        self.requests_in_flight.inc();
        RequestTimer {
            waiting: Waiting {
                began: Instant::now(),
                waiting: self.requests_in_flight.clone(),
            },
            metrics: self.clone(),
        }
    }
}

/// Something under way; no longer counted as such once it is dropped.
#[derive(Debug)]
pub(crate) struct Waiting {
    began: Instant,
    waiting: Count,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.waiting.dec();
    }
}

/// A request to the API that is being served.
#[derive(Debug)]
pub struct RequestTimer {
    waiting: Waiting,
    metrics: Metrics,
}

impl RequestTimer {
    /// The request was answered: with an error of that code, or without.
    pub(crate) fn answered(self, called: Option<(&Service, &OperationModel)>, code: Option<Cow<'static, str>>) {
        let (service, operation) = called.map_or((NO_OPERATION, NO_OPERATION), |(service, operation)| {
            (service.name, operation.name)
        });
        let code = code.unwrap_or(Cow::Borrowed(NO_ERROR));
        let request = Request {
            service,
            operation,
            code,
        };
        self.metrics.requests.get_or_create(&request).inc();
        let took = self.waiting.began.elapsed().as_secs_f64();
        let operation = Operation { service, operation };
        self.metrics.request_seconds.get_or_create(&operation).observe(took);
    }
}

/// Bounds of the buckets of durations: 0.1 ms, a good sync, to 13 s, above every deadline of a proposal.
fn seconds() -> impl Iterator<Item = f64> {
    exponential_buckets(0.0001, 2.0, 18)
}

fn add(registry: &mut Registry, name: &str, help: &str, metric: &(impl Metric + Clone)) {
    registry.register(name, help, metric.clone());
}
