//! What a service deployment that was given up says of it beyond ECS's sentence: which tasks failed, which alarms went off, where the
//! service returned to. Pure.

use crate::model::{
    AlarmKey, AlarmName, AlarmState, Deployment, DeploymentId, Service, ServiceDeployment, StopCode, Task,
};
use crate::state::ClusterState;

/// Alarms named in one sentence; a deployment may mind ten times as many.
const MAX_ALARMS_IN_SENTENCE: usize = 10;

/// Which tasks of a deployment failed: how many, and how the last one ended that is remembered.
pub(super) fn failed_tasks(state: &ClusterState, service: &Service, deployment: &Deployment) -> Option<String> {
    let tasks = state.tasks_of_service(&service.key);
    let failed = tasks.filter(|task| task.deployment() == Some(&deployment.id) && has_failed(task));
    let last = failed.max_by_key(|task| (task.stopped_at, task.id))?;
    let why = last.stopped_reason.as_deref().unwrap_or("for no known reason");
    let (id, why) = (last.id, why.trim_end_matches('.'));
    let of = format!("{}:{}", last.task_definition.family, last.task_definition.revision);
    Some(match deployment.failed_tasks {
        0 | 1 => format!("(task {id}) of {of} failed: {why}."),
        count => format!("{count} tasks of {of} failed, the last of them (task {id}): {why}."),
    })
}

fn has_failed(task: &Task) -> bool {
    let by_itself = [StopCode::TaskFailedToStart, StopCode::EssentialContainerExited];
    task.has_failed_health_checks() || task.stop_code.is_some_and(|code| by_itself.contains(&code))
}

/// Which alarms went off while a service deployment was on its way.
pub(super) fn triggered_alarms(current: &ServiceDeployment) -> Option<String> {
    let triggered: Vec<&AlarmName> = current.alarms.as_ref()?.triggered.iter().collect();
    (!triggered.is_empty()).then(|| format!("Alarm{} went off.", listed(&triggered)))
}

/// Why the alarms of a service deployment are not monitored, if they are not although it has some: which were off when it began, as far as that can be seen still.
pub(super) fn ignored_alarms(state: &ClusterState, current: &ServiceDeployment) -> Option<String> {
    let was_off = |name: &&AlarmName| {
        let alarm = state.alarm(&alarm_of(current, name));
        alarm.is_some_and(|alarm| alarm.state == AlarmState::Alarm && alarm.state_changed_at <= current.created_at)
    };
    let off: Vec<&AlarmName> = names(current).iter().filter(was_off).collect();
    current.ignores_alarms().then(|| match off.len() {
        0 => "one of them was".to_owned(),
        1 => format!("alarm{} was", listed(&off)),
        _ => format!("alarm{} were", listed(&off)),
    })
}

/// Which alarms a service deployment monitors that are not there.
pub(super) fn missing_alarms(state: &ClusterState, current: &ServiceDeployment) -> Option<String> {
    let is_missing = |name: &&AlarmName| state.alarm(&alarm_of(current, name)).is_none();
    let missing: Vec<&AlarmName> = names(current).iter().filter(is_missing).collect();
    let is_monitored = current.alarms.is_some() && !missing.is_empty();
    is_monitored.then(|| match missing.len() {
        1 => format!("Alarm{}, which it monitors, does not exist.", listed(&missing)),
        _ => format!("Alarm{}, which it monitors, do not exist.", listed(&missing)),
    })
}

fn names(current: &ServiceDeployment) -> &[AlarmName] {
    let alarms = current.configuration.alarms.as_ref();
    alarms.map(|alarms| alarms.names.as_slice()).unwrap_or_default()
}

fn alarm_of(current: &ServiceDeployment, name: &AlarmName) -> AlarmKey {
    current.revision.task_definition.scope.alarm(name.as_str())
}

/// The first of several alarms, to follow `alarm` or `Alarm`.
fn listed(alarms: &[&AlarmName]) -> String {
    let named: Vec<&str> = alarms
        .iter()
        .take(MAX_ALARMS_IN_SENTENCE)
        .map(|name| name.as_str())
        .collect();
    let others = match alarms.len() - named.len() {
        0 => String::new(),
        count => format!(" and {count} more"),
    };
    let ending = if alarms.len() == 1 { "" } else { "s" };
    format!("{ending} {}{others}", named.join(", "))
}

/// Why a service deployment went back, once it is back at `revision`.
pub(super) fn returned(current: &ServiceDeployment, revision: &DeploymentId) -> String {
    let because = current.rollback.as_ref().map(|rollback| rollback.reason.as_str());
    let because = because.or(current.status_reason.as_deref()).unwrap_or_default();
    format!("{because} Rolled back to deploymentId {revision}.")
        .trim_start()
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{
        CircuitBreaker, DeploymentAlarms, MonitoredAlarms, Resources, ServiceDeploymentStatus as Status,
    };
    use crate::reconcile::world::{World, cluster};
    use crate::state::{Command, StopType};

    /// A service whose first revision is reached, and whose second is deployed.
    fn deployed(configure: impl FnOnce(&mut Service), is_broken: bool) -> World {
        let mut world = World::new();
        world.add_host("h1", "a", Resources::new(4096, 4096));
        world.add_alarm("errors", 60);
        world.add_alarm("latency", 60);
        world.add_definition("web", Resources::new(100, 100), None);
        world.add_service("web", configure);
        world.pass_ms(10 * 60_000);
        world.add_definition("web", Resources::new(100, 100), None);
        if is_broken {
            world.broken.insert(("web".to_owned(), 2));
        }
        world.update_service("web", None, Some(2));
        world
    }

    fn newest(world: &World) -> &ServiceDeployment {
        let newest = world.service("web").current_service_deployment();
        newest.expect("deployed")
    }

    /// What it says without the ids, which are long and differ.
    fn said(world: &World) -> String {
        let reason = newest(world).status_reason.clone().expect("says why");
        let mut said = reason.replace(newest(world).id().as_str(), "THIS");
        let first = world
            .service("web")
            .service_deployments
            .last()
            .expect("the first")
            .id()
            .clone();
        said = said.replace(first.as_str(), "FIRST");
        for task in world.state.tasks_of_service(&cluster().service("web")) {
            said = said.replace(&task.id.to_string(), "ID");
        }
        said
    }

    #[test]
    fn rollback_by_the_circuit_breaker_says_to_its_end_how_many_tasks_failed_and_how_the_last_did() {
        let breaker = CircuitBreaker {
            enable: true,
            rollback: true,
            ..CircuitBreaker::default()
        };
        let mut world = deployed(
            |service| service.deployment_configuration.circuit_breaker = breaker,
            true,
        );
        world.pass_ms(30 * 60_000);
        assert_eq!(newest(&world).status, Status::RollbackSuccessful);
        assert_eq!(
            said(&world),
            "ECS deployment circuit breaker: tasks failed to start. 3 tasks of web:2 failed, the last of them (task ID): Essential \
             container in task exited. Rolled back to deploymentId FIRST."
        );
        let rollback = newest(&world).rollback.as_ref().expect("returned");
        assert!(said(&world).starts_with(rollback.reason.split(" (task").next().expect("text")));
    }

    #[test]
    fn rollback_by_alarms_names_them_to_its_end_and_so_does_the_service() {
        let alarms = DeploymentAlarms {
            names: vec!["errors".into(), "latency".into()],
            enable: true,
            rollback: true,
        };
        let mut world = deployed(|service| service.deployment_configuration.alarms = Some(alarms), false);
        world.reconcile();
        world.set_alarm("latency", crate::model::AlarmState::Alarm);
        world.pass_ms(60_000);
        assert_eq!(newest(&world).status, Status::RollbackSuccessful);
        assert_eq!(
            said(&world),
            "ECS deployment failed: alarm detected. Alarm latency went off. Rolled back to deploymentId FIRST."
        );
        let mut events = world.service("web").events.iter();
        let named = "deployment failed: alarm detected. Alarm latency went off.";
        assert!(events.any(|event| event.message.ends_with(named)));
    }

    #[test]
    fn rollback_that_somebody_asked_for_says_so_to_its_end() {
        let mut world = deployed(|_| {}, false);
        world.reconcile();
        let stop = Command::StopServiceDeployment {
            service: cluster().service("web"),
            service_deployment: newest(&world).id().clone(),
            stop_type: StopType::Rollback,
            at: world.now,
        };
        world.apply(stop).expect("can be stopped");
        world.pass_ms(60_000);
        assert_eq!(newest(&world).status, Status::RollbackSuccessful);
        assert_eq!(
            said(&world),
            "ECS deployment THIS was told to stop. Rolled back to deploymentId FIRST."
        );
    }

    /// A service that is deployed once, minds these alarms, and is deployed again once `change` was done.
    fn deployed_again(names: &[&str], change: impl FnOnce(&mut World)) -> World {
        let alarms = DeploymentAlarms {
            names: names.iter().map(|name| (*name).into()).collect(),
            enable: true,
            rollback: true,
        };
        let mut world = World::new();
        world.add_host("h1", "a", Resources::new(4096, 4096));
        world.add_alarm("errors", 60);
        world.add_alarm("latency", 60);
        world.add_definition("web", Resources::new(100, 100), None);
        world.add_service("web", |service| service.deployment_configuration.alarms = Some(alarms));
        world.pass_ms(10 * 60_000);
        change(&mut world);
        world.add_definition("web", Resources::new(100, 100), None);
        world.update_service("web", None, Some(2));
        world.reconcile();
        world
    }

    /// What the service said of a deployment last that ends with this.
    fn says(world: &World, end: &str) -> bool {
        let id = newest(world).id();
        let sentence = format!("(service web) (deployment {id}) {end}");
        world
            .service("web")
            .events
            .iter()
            .any(|event| event.message == sentence)
    }

    #[test]
    fn service_says_which_alarm_was_off_when_its_deployment_began_so_that_none_is_monitored() {
        let world = deployed_again(&["errors", "latency"], |world| {
            world.set_alarm("latency", AlarmState::Alarm);
            world.pass_ms(1_000);
        });
        let end = "does not monitor alarms, since alarm latency was in the ALARM state when it began.";
        assert!(says(&world, end), "{:?}", world.service("web").events);
        let world = deployed_again(&["errors", "latency"], |world| {
            world.set_alarm("latency", AlarmState::Alarm);
            world.set_alarm("errors", AlarmState::Alarm);
        });
        let end = "does not monitor alarms, since alarms errors, latency were in the ALARM state when it began.";
        assert!(says(&world, end), "{:?}", world.service("web").events);
    }

    #[test]
    fn service_and_deployment_say_that_an_alarm_that_is_monitored_does_not_exist() {
        let world = deployed_again(&["errors", "latency"], |_| {});
        assert!(missing_alarms(&world.state, newest(&world)).is_none());
        let world = deployed_again(&["errors", "latency"], |world| {
            let alarms = vec![cluster().scope.alarm("latency")];
            world.apply(Command::DeleteAlarms { alarms }).expect("deletes");
        });
        let end = "monitors alarms of which some cannot go off. Alarm latency, which it monitors, does not exist.";
        assert!(says(&world, end), "{:?}", world.service("web").events);
        let reason = said(&world);
        assert!(
            reason.ends_with(" Alarm latency, which it monitors, does not exist."),
            "{reason}"
        );
        assert_eq!(newest(&world).status, Status::InProgress);
    }

    #[test]
    fn many_alarms_are_counted() {
        let world = deployed(|_| {}, false);
        let mut current = newest(&world).clone();
        assert_eq!(triggered_alarms(&current), None);
        let triggered = (0..12).map(|number| format!("a{number}").as_str().into()).collect();
        current.alarms = Some(MonitoredAlarms { triggered });
        assert_eq!(
            triggered_alarms(&current).expect("some went off"),
            "Alarms a0, a1, a2, a3, a4, a5, a6, a7, a8, a9 and 2 more went off."
        );
    }
}
