//! [`explain`]: the whole why of one decision, host by host, made anew on demand rather than kept. Pure.

use std::sync::Arc;

use super::distance::Distance;
use super::filter;
use super::plan::RefusedHost;
use super::planner::Planner;
use super::problem::PlacementProblem;
use super::refusal::Refusal;
use super::score::Score;
use super::seed::Seed;
use crate::model::{ContainerInstanceId, TaskId};

/// What every host had to say to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// The request's task.
    pub task: TaskId,
    /// Hosts that might have taken it, the best first: the first is the one chosen. Then those that refused, the closest
    /// match first.
    pub hosts: Vec<(ContainerInstanceId, HostVerdict)>,
    /// Hosts that were not asked, since the request names others.
    pub not_considered: usize,
}

/// What one host had to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostVerdict {
    /// It was the best.
    Chosen(Score),
    /// It would have done, and another was better.
    Outranked(Score),
    /// It does not take the task, for at least one reason.
    Refused(Vec<Refusal>),
}

/// Why the request went where [`super::place`] puts it; `None` if the problem has no request for the task. It serves the
/// requests before it again, so that it sees what they reserved.
///
/// # Panics
/// If a host is in the problem twice.
#[must_use]
pub fn explain(problem: &PlacementProblem, seed: Seed, task: TaskId) -> Option<Explanation> {
    let position = problem.requests.iter().position(|request| request.id == task)?;
    let (before, from) = problem.requests.split_at(position);
    let request = from.first()?;
    let hosts = problem.hosts.iter().cloned().map(Arc::new);
    let mut planner = Planner::new(hosts, problem.typical_tasks(), seed);
    for earlier in before {
        planner.decide(earlier);
    }
    let considered = planner.considered(request);
    let not_considered = problem.hosts.len() - considered.len();
    let (need, board) = planner.need_of(request);
    let (mut fitting, mut refused) = (Vec::new(), Vec::new());
    for host in considered {
        let refusals = filter::refusals(board, need, host);
        match refusals.is_empty() {
            true => fitting.push(need.score(board, host, request)),
            false => refused.push(RefusedHost {
                host: board.id(host),
                name: board.host(host).name.clone(),
                refusals,
            }),
        }
    }
    fitting.sort();
    refused.sort_by_cached_key(Distance::of);
    let fitting = fitting.into_iter().enumerate().map(|(place, score)| match place {
        0 => (score.host, HostVerdict::Chosen(score)),
        _ => (score.host, HostVerdict::Outranked(score)),
    });
    let refused = refused.into_iter().map(|r| (r.host, HostVerdict::Refused(r.refusals)));
    Some(Explanation {
        task,
        hosts: fitting.chain(refused).collect(),
        not_considered,
    })
}
