//! What keeps a service from its tasks whatever room there is, and what ends it: a deployment that failed, a daemon that failed and has to come first,
//! priorities that have no effect. Pure.

use std::collections::BTreeSet;

use super::why_not::HostAnswer;
use crate::model::{ClusterKey, PREEMPTION_TAG, RolloutState, Service};
use crate::placement::Refusal;
use crate::state::ClusterState;

/// That the deployment of a service failed or was stopped and none stands in for it, why, and what begins another.
pub(super) fn of_deployment(service: &Service) -> Option<String> {
    let update = if service.is_managed_daemon() {
        "UpdateDaemon"
    } else {
        "UpdateService"
    };
    let cause = failure(service)?;
    Some(format!(
        "Its deployment is FAILED, and nothing is started until {update} begins another: {cause}"
    ))
}

/// The critical daemons that some of the hosts wait for in vain, and how they are opened to other tasks.
pub(super) fn of_daemons(state: &ClusterState, cluster: &ClusterKey, hosts: &[HostAnswer]) -> Vec<String> {
    let refusals = hosts.iter().flat_map(|host| &host.refusals);
    let missed: BTreeSet<&str> = refusals
        .filter_map(|refusal| match refusal {
            Refusal::MissesDaemon(name) => Some(name.as_str()),
            _ => None,
        })
        .collect();
    let failed = missed.into_iter().filter_map(|name| {
        let cause = failure(state.service(&cluster.daemon(name))?)?;
        Some(format!(
            "Hosts wait in vain for daemon {name}, which is critical: its deployment is FAILED, and nothing of it is started. UpdateDaemon with \
             a task definition that works or with critical=false opens them to other tasks, and so does DeleteDaemon. It failed so: {cause}"
        ))
    });
    failed.collect()
}

/// Why the deployment failed that new tasks of the service would be of.
fn failure(service: &Service) -> Option<&str> {
    let starting = service.starting_deployment()?;
    let failed = Some(starting).filter(|starting| starting.rollout_state == RolloutState::Failed)?;
    let recorded = service.service_deployment(&failed.id);
    let in_detail = recorded.and_then(|recorded| recorded.status_reason.as_deref());
    Some(in_detail.unwrap_or(&failed.rollout_state_reason))
}

/// That tasks of lower priority could be stopped for one of the service, and are not, since its cluster does not say that they are.
pub(super) fn of_preemption(state: &ClusterState, service: &Service) -> Option<String> {
    let cluster = &service.key.cluster;
    if state.preempts(cluster) {
        return None;
    }
    let priority = state.priority_of_service(&service.key);
    let highest = priority.highest_preempted()?;
    let lowest = state.lowest_preemptible(cluster)?;
    (lowest <= highest).then(|| {
        format!(
            "Its priority is {priority}, and there are tasks of priority {highest} or lower. None of them is stopped for it, since preemption is off: \
             the tag {PREEMPTION_TAG} of cluster {} turns it on with the value enabled.",
            cluster.name
        )
    })
}

#[cfg(test)]
mod tests {
    use super::super::why_not;
    use super::*;
    use crate::model::{
        CapacityProviderStrategyItem, CircuitBreaker, DaemonSettings, DeploymentConfiguration, ManagedDaemon, Priority,
        Resources, Scale, SchedulingStrategy,
    };
    use crate::reconcile::world::{World, cluster};
    use crate::state::Taggable;

    const HALF_AN_HOUR_MS: i64 = 30 * 60_000;

    fn said(world: &World, service: &str) -> String {
        let answer = why_not(&world.state, world.service(service), None, world.now);
        answer.expect("a definition").to_string()
    }

    fn world(pools: &[Option<&str>]) -> World {
        let mut world = World::new();
        world.add_capacity_providers(&["gpu"]);
        for (number, pool) in pools.iter().enumerate() {
            world.add_host_of(&format!("h{number}"), "a", Resources::new(1024, 1024), *pool);
        }
        world
    }

    fn add_broken_daemon(world: &mut World, critical: bool) {
        world.add_definition("daemon:bad", Resources::new(64, 64), None);
        world.broken.insert(("daemon:bad".to_owned(), 1));
        let drain = Scale::of_percent(25.0).expect("a share");
        world.add_service("daemon:bad", |daemon| {
            daemon.scheduling_strategy = SchedulingStrategy::Daemon;
            daemon.desired_count = 0;
            daemon.deployment_configuration = DeploymentConfiguration::of_daemon(0);
            daemon.capacity_provider_strategy = vec![CapacityProviderStrategyItem {
                capacity_provider: "gpu".into(),
                weight: 1,
                base: 0,
            }];
            daemon.managed_daemon = Some(Box::new(ManagedDaemon {
                settings: DaemonSettings { critical, drain },
            }));
        });
    }

    fn add_web(world: &mut World, needs: Resources) {
        world.add_definition("web", needs, None);
        world.add_service("web", |service| service.desired_count = 2);
    }

    #[test]
    fn service_whose_deployment_failed_says_so_with_the_cause_until_another_begins() {
        let mut world = world(&[None]);
        world.add_definition("web", Resources::new(64, 64), None);
        world.broken.insert(("web".to_owned(), 1));
        world.add_service("web", |service| {
            service.desired_count = 2;
            service.deployment_configuration.circuit_breaker = CircuitBreaker {
                enable: true,
                ..CircuitBreaker::default()
            };
        });
        assert_eq!(said(&world, "web"), "The host would take a task now.");
        world.pass_ms(HALF_AN_HOUR_MS);
        let sentence = said(&world, "web");
        let begins = "The host would take a task now. Its deployment is FAILED, and nothing is started until UpdateService begins another: ECS \
                      deployment circuit breaker: tasks failed to start. 4 tasks of web:1 failed, the last of them (task ";
        assert!(sentence.starts_with(begins), "{sentence}");
        world.add_definition("web", Resources::new(64, 64), None);
        world.update_service("web", None, Some(2));
        assert_eq!(said(&world, "web"), "The host would take a task now.");
    }

    #[test]
    fn daemon_that_failed_says_so_and_so_do_services_that_wait_for_it_where_it_is_critical() {
        let mut world = world(&[Some("gpu"), Some("gpu")]);
        add_broken_daemon(&mut world, true);
        add_web(&mut world, Resources::new(64, 64));
        assert_eq!(said(&world, "web"), "None of 2 hosts would take a task now.");
        world.pass_ms(HALF_AN_HOUR_MS);
        let of_daemon = said(&world, "daemon:bad");
        let cause = "ECS deployment circuit breaker: tasks failed to start. 4 tasks of daemon:bad:1 failed, ";
        let begins = format!("and nothing is started until UpdateDaemon begins another: {cause}");
        assert!(of_daemon.contains(&begins), "{of_daemon}");
        let of_web = said(&world, "web");
        let begins = "None of 2 hosts would take a task now. Hosts wait in vain for daemon bad, which is critical: its deployment is FAILED, ";
        assert!(of_web.starts_with(begins) && of_web.contains(cause), "{of_web}");
    }

    #[test]
    fn service_says_nothing_of_a_daemon_without_which_hosts_take_tasks() {
        let mut world = world(&[Some("gpu"), None]);
        add_broken_daemon(&mut world, false);
        add_web(&mut world, Resources::new(2048, 64));
        world.pass_ms(HALF_AN_HOUR_MS);
        assert_eq!(said(&world, "web"), "None of 2 hosts would take a task now.");
    }

    #[test]
    fn service_of_high_priority_says_that_preemption_is_off_where_it_could_have_tasks_stopped() {
        let mut world = world(&[None]);
        world.add_definition("batch", Resources::new(512, 64), None);
        world.add_service("batch", |service| service.desired_count = 2);
        world.quiesce();
        add_web(&mut world, Resources::new(512, 64));
        let tag = |world: &mut World, name: &str, priority: &str| {
            world.tag(Taggable::Service(cluster().service(name)), Priority::TAG, priority);
        };
        let refused = "The host would not take a task now.";
        tag(&mut world, "batch", "41");
        assert_eq!(said(&world, "web"), refused);
        tag(&mut world, "batch", "40");
        let off = format!(
            "{refused} Its priority is 50, and there are tasks of priority 40 or lower. None of them is stopped for it, since preemption is off: the tag \
             berth:preemption of cluster {} turns it on with the value enabled.",
            cluster().name
        );
        assert_eq!(said(&world, "web"), off);
        world.tag(Taggable::Cluster(cluster()), PREEMPTION_TAG, "enabled");
        let on = said(&world, "web");
        assert!(
            on.contains("these, whose priority is lower by 10 at least, are stopped on h0"),
            "{on}"
        );
    }
}
