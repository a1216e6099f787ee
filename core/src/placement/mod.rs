//! Which host each task goes to, and why not to another. Pure: [`place`] is a function of a [`PlacementProblem`] and a
//! [`Seed`], so that production, a dry run, a simulation and the explanation of a past decision are the same call.
//! It knows hosts and requests as plain data and nothing of how they are stored or replicated.
//!
//! The order is ECS's: hosts that fit in cpu, memory and ports, then constraints, which bind, then strategies in the
//! order given, which are best effort.
//!
//! - `filter/`: reasons to refuse a host, one file each; `strategy/`: preferences among the hosts that are left, one file
//!   each. What to do for a new one is in `docs/checklists/new-placement-strategy.md`.
//! - `gpus.rs`: GPUs and shares of them; `fragmentation.rs`: how much of what is free of them is of no use.
//! - `session.rs`: the same for those who place and take off one task after the other.
//! - `board.rs`: the hosts while a plan is made. Filters and strategies read it alone and reservations change it; `groups.rs` counts the tasks
//!   of each group for it.
//! - `known_hosts.rs`: hosts and planners that are kept from plan to plan.
//! - `planner.rs` decides for one request after the other. `roads.rs` says how the best host is found without a look at all of them: by an order
//!   that kinds of requests share (`shared_order.rs`, made of `order.rs`) and a census of the room that hosts have (`census.rs`), or by an order of
//!   one kind (`candidates.rs`). Whichever it is, it finds what a pass over all hosts would. What finds none learns from `crowd.rs` which hosts are closest.
//! - `together.rs`: many tasks placed at once, packed host by host (`packing.rs`): those of services that want them at the same moment.
//! - [`query_language`]: the language of `memberOf`.
//! - `scale_in.rs`: the same strategies turned round, for a service that shrinks.

mod board;
mod candidates;
mod census;
mod crowd;
mod distance;
mod explain;
mod filter;
mod fragmentation;
mod from_state;
mod gpus;
mod groups;
mod known_hosts;
mod need;
mod order;
mod packing;
mod plan;
mod planner;
mod podium;
mod problem;
pub mod query_language;
mod record;
mod refusal;
mod roads;
mod scale_in;
mod score;
mod seed;
mod sentence;
mod session;
mod shared_order;
mod strategy;
mod together;

pub use crowd::MAX_LACKING_ROOM;
pub use explain::{Explanation, HostVerdict, explain};
pub use filter::FilterKind;
pub use fragmentation::TypicalTasks;
pub(crate) use from_state::Requests;
pub use gpus::{GpuDevice, GpuKind, GpuNeed, GpuSet, Gpus, MAX_GPUS, WHOLE_GPU};
pub use known_hosts::{FollowedHosts, KnownHosts};
pub use plan::{Decision, Funnel, Outcome, Placement, PlacementPlan, RefusedHost, Unplaced};
pub use planner::place;
pub use problem::{Ask, Holding, Host, PlacementProblem, Shape, TaskRequest};
pub use refusal::{GpuShortage, Refusal, Shortage};
pub use scale_in::{ScaleIn, StopCandidate, choose_to_stop};
pub use score::{MAX_STRATEGIES, Score};
pub use seed::Seed;
pub use sentence::{Closest, HOSTS_PER_SENTENCE, closest_of, failed_to_provision, is_unable_to_place, unable_to_place};
pub use session::{HostState, Session};
pub use strategy::{Dependence, SpreadField, Ties, service_default, standalone_default};
pub use together::place_together;
