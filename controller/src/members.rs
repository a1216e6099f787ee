//! What the leader does for the members of its group: gives those a vote that have caught up, raises the feature level once all know it,
//! and forgets what is of no use any more. Shell.

use std::time::Duration;

use berth_raft::{MemberRole, MembershipChange, MembershipError, Role};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use crate::features;
use crate::registrar::Registrar;
use crate::replica::StateGroup;

/// Time between two looks: a new member is to vote soon after it has caught up.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Time between two times that old documents are forgotten.
const TIDY_EVERY: Duration = Duration::from_secs(600);

/// How often it is logged again that a member has no vote yet.
const LOG_EVERY: Duration = Duration::from_secs(30);

/// Looks after the members until `stop`.
pub(crate) async fn look_after(group: StateGroup, registrar: Registrar, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut tidied, mut logged) = (Instant::now(), None);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = stop.cancelled() => return,
        }
        if group.status().role != Role::Leader {
            continue;
        }
        promote(&group, &mut logged).await;
        features::raise(&group).await;
        if tidied.elapsed() >= TIDY_EVERY {
            tidied = Instant::now();
            if let Err(error) = registrar.tidy().await {
                tracing::warn!(%error, "old certificates and tokens could not be forgotten: tried again later");
            }
        }
    }
}

/// Gives learners their vote, one at a time.
async fn promote(group: &StateGroup, logged: &mut Option<Instant>) {
    let members = group.members();
    let learners = members
        .members
        .iter()
        .filter(|member| member.role == MemberRole::Learner);
    for learner in learners.map(|member| member.record.id) {
        let change = MembershipChange::Promote {
            member: learner,
            forced: false,
        };
        match group.change_membership(change).await {
            Ok(index) => tracing::info!(
                member = learner,
                raft_index = index,
                "a member has caught up and votes now"
            ),
            // It is about to catch up.
            Err(MembershipError::LagsBehind { .. } | MembershipError::ChangeUnderWay) => {}
            Err(error) if logged.is_none_or(|at: Instant| at.elapsed() >= LOG_EVERY) => {
                *logged = Some(Instant::now());
                tracing::warn!(member = learner, %error, "a member has no vote yet");
            }
            Err(_) => {}
        }
    }
}
