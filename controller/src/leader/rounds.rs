//! The loop: waits until there is something to do, looks at the state as it is, decides, and sees it through. Shell.

use std::sync::Arc;
use std::time::Duration;

use berth_core::ids::IdSource;
use berth_core::placement::Seed;
use berth_core::reconcile::{Agenda, StandalonePlan, StandaloneRequest, plan_standalone, reconcile};
use berth_core::state::{ClusterState, apply};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use crate::api::ports::{RanTasks, Unavailable};
use crate::clock::Clock;
use crate::replica::{ApplyOutcome, StateGroup};
use berth_raft::{AppliedFeed, FeedItem};

use super::handle::Waiting;
use super::proposing::{Shortfall, answer_to, propose_all};

/// Requests planned in one round: each of up to ten tasks, so that a round stays short.
const MAX_REQUESTS_PER_ROUND: usize = 256;

/// Changes come in bursts, and looking once at all of a burst costs as much as looking at its first.
const GATHER: Duration = Duration::from_millis(5);

/// Pause of the reconcilers after a decision that did not take effect: the reason may last.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_millis(100);

/// Longest sleep, since the clock may be set.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);

pub(super) struct Rounds {
    group: StateGroup,
    clock: Arc<dyn Clock>,
    ids: IdSource,
    /// Whether hosts that were put to sleep can be woken.
    wakes_hosts: bool,
    requests: mpsc::Receiver<Waiting>,
    feed: AppliedFeed<ApplyOutcome>,
    leads: watch::Receiver<Option<u64>>,
    /// Term in which this member led when last looked at.
    led_term: Option<u64>,
    /// That term, and what there is to look at in it, once this member has caught up with all that came before it.
    leading: Option<(u64, Agenda)>,
    waiting: Vec<Waiting>,
    paused_until: Option<Instant>,
}

/// What ended a wait.
enum Woken {
    Stopped,
    Changed(FeedItem<ApplyOutcome>),
    Asked(Waiting),
    Due,
}

impl Rounds {
    pub(super) fn new(
        group: StateGroup,
        clock: Arc<dyn Clock>,
        ids: IdSource,
        wakes_hosts: bool,
        requests: mpsc::Receiver<Waiting>,
    ) -> Self {
        Self {
            feed: group.subscribe(),
            leads: group.watch_led_term(),
            group,
            clock,
            ids,
            wakes_hosts,
            requests,
            led_term: None,
            leading: None,
            waiting: vec![],
            paused_until: None,
        }
    }

    pub(super) async fn run(mut self) {
        loop {
            match self.wait().await {
                Woken::Stopped => return,
                Woken::Changed(item) => {
                    self.note(&item);
                    tokio::time::sleep(GATHER).await;
                }
                Woken::Asked(waiting) => self.waiting.push(waiting),
                Woken::Due => {}
            }
            if !self.take_what_is_there().await {
                return;
            }
            self.follow_leadership().await;
            match (&self.leading, self.led_term) {
                (Some((term, _)), _) => self.round(*term).await,
                // It leads and cannot reconcile yet: requests wait, as long as their callers do.
                (None, Some(_)) => {}
                (None, None) => self.refuse_all(),
            }
        }
    }

    async fn wait(&mut self) -> Woken {
        if self.leading.is_some() && !self.waiting.is_empty() {
            return Woken::Due;
        }
        let sleep = self.time_to_sleep();
        let led_term = self.led_term;
        let takes_requests = self.waiting.len() < MAX_REQUESTS_PER_ROUND;
        tokio::select! {
            item = self.feed.next() => item.map_or(Woken::Stopped, Woken::Changed),
            Some(waiting) = self.requests.recv(), if takes_requests => Woken::Asked(waiting),
            changed = self.leads.wait_for(|leads| *leads != led_term) => match changed {
                Ok(_) => Woken::Due,
                Err(_) => Woken::Stopped,
            },
            () = tokio::time::sleep(sleep) => Woken::Due,
        }
    }

    fn time_to_sleep(&self) -> Duration {
        let until_due = match (&self.leading, self.led_term) {
            (Some((_, agenda)), _) if !agenda.has_work() => agenda.next_wake().map_or(LONGEST_SLEEP, |wake| {
                Duration::from_millis(u64::try_from(wake.ms_since(self.clock.now())).unwrap_or(0))
            }),
            (Some(_), _) | (None, Some(_)) => Duration::ZERO,
            (None, None) => LONGEST_SLEEP,
        };
        until_due.max(self.pause_left().unwrap_or_default()).min(LONGEST_SLEEP)
    }

    fn pause_left(&self) -> Option<Duration> {
        self.paused_until
            .map(|until| until.saturating_duration_since(Instant::now()))
            .filter(|left| !left.is_zero())
    }

    /// Takes in what has arrived meanwhile, without waiting; returns whether the group still works.
    async fn take_what_is_there(&mut self) -> bool {
        loop {
            tokio::select! {
                biased;
                item = self.feed.next() => match item {
                    Some(item) => self.note(&item),
                    None => return false,
                },
                () = std::future::ready(()) => break,
            }
        }
        while self.waiting.len() < MAX_REQUESTS_PER_ROUND
            && let Ok(waiting) = self.requests.try_recv()
        {
            self.waiting.push(waiting);
        }
        self.waiting.retain(|w| !w.reply.is_closed());
        true
    }

    fn note(&mut self, item: &FeedItem<ApplyOutcome>) {
        let wakes_hosts = self.wakes_hosts;
        let Some((_, agenda)) = &mut self.leading else { return };
        match item {
            FeedItem::Batch(batch) => {
                let events = batch
                    .outcomes
                    .iter()
                    .filter_map(|applied| applied.outcome.as_ref().ok());
                events
                    .flat_map(|events| events.iter())
                    .for_each(|event| agenda.note(event));
            }
            FeedItem::Resync => *agenda = Agenda::everything(&self.group.view().view).waking_hosts(wakes_hosts),
        }
    }

    /// Begins with everything when this member comes to lead, and drops it all when it no longer does.
    async fn follow_leadership(&mut self) {
        self.led_term = *self.leads.borrow_and_update();
        if self.leading.as_ref().map(|(led, _)| *led) != self.led_term {
            self.leading = None;
        }
        let Some(term) = self.led_term.filter(|_| self.leading.is_none()) else {
            return;
        };
        if self.pause_left().is_some() {
            return;
        }
        // A read is answered once all that was committed before is in the view.
        match self.group.read().await {
            Ok(published) => {
                tracing::info!(term, raft_index = published.index, "reconciling as the leader");
                let agenda = Agenda::everything(&published.view).waking_hosts(self.wakes_hosts);
                self.leading = Some((term, agenda));
            }
            Err(error) => {
                tracing::warn!(term, %error, "cannot reconcile yet: trying again");
                self.paused_until = Some(Instant::now() + PAUSE_AFTER_FAILURE);
            }
        }
    }

    /// Nobody places requests here: says so to all that wait.
    fn refuse_all(&mut self) {
        let leader = self.group.status().leader;
        for waiting in self.waiting.drain(..) {
            let leader = leader.map_or_else(|| "unknown".to_owned(), |id| format!("member {id}"));
            let text = format!("this controller does not lead its group; the leader is {leader}");
            answer_to(waiting, Err(Unavailable::NoAnswer(text).into()));
        }
    }

    async fn round(&mut self, term: u64) {
        let began = Instant::now();
        let mut state = ClusterState::clone(&self.group.view().view);
        let runs = self.plan_requests(&mut state);
        let mut commands = vec![];
        if self.pause_left().is_none()
            && let Some((_, agenda)) = &mut self.leading
        {
            commands = reconcile(&state, agenda, self.clock.now(), &mut self.ids);
        }
        let shortfall = propose_all(&self.group, term, commands, runs).await;
        self.look_again(&shortfall);
        self.waiting.extend(shortfall.requests);
        if shortfall.term_passed {
            // Begins anew once it is known who leads now, which may be this member again.
            self.leading = None;
            self.paused_until = Some(Instant::now() + PAUSE_AFTER_FAILURE);
        }
        self.group.metrics().round_took(began.elapsed());
        if let Some((_, agenda)) = &mut self.leading {
            agenda.keep_up(&self.group.view().view);
        }
    }

    /// Puts what did not come about on the agenda again, for after a pause.
    fn look_again(&mut self, shortfall: &Shortfall) {
        let wakes_hosts = self.wakes_hosts;
        let Some((_, agenda)) = &mut self.leading else { return };
        if shortfall.commands.is_empty() && !shortfall.unknown {
            return;
        }
        let view = self.group.view();
        if shortfall.unknown {
            *agenda = Agenda::everything(&view.view).waking_hosts(wakes_hosts);
        }
        let again = shortfall.commands.iter();
        again.for_each(|command| agenda.revisit(&view.view, command));
        self.paused_until = Some(Instant::now() + PAUSE_AFTER_FAILURE);
    }

    /// Plans the requests that wait, applies the plans to `state` so that reconcilers see them, and answers those
    /// about which nothing has to be proposed.
    fn plan_requests(&mut self, state: &mut ClusterState) -> Vec<(Waiting, berth_core::state::Command, RanTasks)> {
        let Some((_, agenda)) = self.leading.as_mut().filter(|_| !self.waiting.is_empty()) else {
            return vec![];
        };
        let batch: Vec<Waiting> = std::mem::take(&mut self.waiting);
        let requests: Vec<StandaloneRequest> = batch.iter().map(|w| w.request.clone()).collect();
        let plans = plan_standalone(state, agenda, &requests, Seed(self.ids.next_u64()), self.clock.now());
        let index = state.applied();
        let mut runs = vec![];
        for (waiting, plan) in batch.into_iter().zip(plans) {
            match plan {
                StandalonePlan::Run { command, unplaced } => {
                    let tasks = waiting.request.tasks.iter().map(|t| t.id);
                    let tasks = tasks.filter(|id| unplaced.iter().all(|(u, _)| u != id)).collect();
                    // Where the copy refuses, the group will as well, and the request is planned again.
                    apply(state, index, &command).ok();
                    runs.push((waiting, command, RanTasks { tasks, unplaced }));
                }
                StandalonePlan::NoRoom(unplaced) => answer_to(
                    waiting,
                    Ok(RanTasks {
                        tasks: vec![],
                        unplaced,
                    }),
                ),
                StandalonePlan::Repeated(tasks) => answer_to(
                    waiting,
                    Ok(RanTasks {
                        tasks,
                        unplaced: vec![],
                    }),
                ),
                StandalonePlan::Later => self.waiting.push(waiting),
                StandalonePlan::Refused(rejection) => answer_to(waiting, Err(rejection.into())),
            }
        }
        runs
    }
}
