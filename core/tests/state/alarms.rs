//! Alarms: what is written of them anew and what stays, which deployments one that goes off ends, and how many there may be.

use berth_core::model::{
    Alarm, AlarmKey, AlarmState, DeploymentAlarms, RolloutState, ServiceDeployment, ServiceDeploymentStatus, Tags,
    Timestamp,
};
use berth_core::state::{
    ClusterState, Command, Event, MAX_ALARM_DEFINITION_BYTES, MAX_ALARMS, Rejection, Taggable, apply,
};

use super::given::cluster;
use super::service_deployments::{created, found, perform, reach, record, redeploy, the_service, update};

fn key(name: &str) -> AlarmKey {
    cluster().scope.alarm(name)
}

pub(crate) fn alarm(name: &str, definition: &str) -> Alarm {
    Alarm {
        key: key(name),
        definition: definition.to_owned(),
        found_after_secs: 90,
        state: AlarmState::InsufficientData,
        state_reason: "new".to_owned(),
        state_reason_data: None,
        state_updated_at: Timestamp(1),
        state_changed_at: Timestamp(1),
        configured_at: Timestamp(1),
        tags: Tags::from([("team".to_owned(), "web".to_owned())]),
    }
}

fn put(state: &mut ClusterState, alarm: Alarm) -> Result<(), Rejection> {
    perform(state, Command::PutAlarm(Box::new(alarm)))
}

pub(crate) fn set(name: &str, state: AlarmState, at: i64) -> Command {
    Command::SetAlarmState {
        alarm: key(name),
        state,
        reason: "somebody looked".to_owned(),
        reason_data: Some("{}".to_owned()),
        at: Timestamp(at),
    }
}

pub(crate) fn minded(names: &[&str], rollback: bool) -> Option<DeploymentAlarms> {
    Some(DeploymentAlarms {
        names: names.iter().map(|name| (*name).into()).collect(),
        enable: true,
        rollback,
    })
}

/// A service at its first revision, with alarms `a` and `b`, that minds them and is deployed anew.
fn deployed(rollback: bool) -> ClusterState {
    let mut state = created();
    reach(&mut state);
    for name in ["a", "b"] {
        put(&mut state, alarm(name, "{}")).expect("there is room");
    }
    update(&mut state, "ecs-svc/2", |update| {
        update.deployment_configuration.alarms = minded(&["a", "b"], rollback);
        update.force_new_deployment = true;
    });
    state
}

fn current(state: &ClusterState) -> &ServiceDeployment {
    the_service(state).current_service_deployment().expect("deployed")
}

fn triggered(state: &ClusterState) -> Option<Vec<String>> {
    let monitored = current(state).alarms.as_ref()?;
    Some(monitored.triggered.iter().map(ToString::to_string).collect())
}

#[test]
fn alarm_written_anew_keeps_its_state_and_its_tags() {
    let mut state = ClusterState::at_newest_level();
    put(&mut state, alarm("a", "1")).expect("there is room");
    perform(&mut state, set("a", AlarmState::Alarm, 5)).expect("is there");
    perform(&mut state, set("a", AlarmState::Alarm, 6)).expect("is there");
    let again = Alarm {
        tags: Tags::new(),
        configured_at: Timestamp(9),
        ..alarm("a", "2")
    };
    put(&mut state, again).expect("is there");
    let found = state.alarm(&key("a")).expect("is there");
    assert_eq!((found.definition.as_str(), found.configured_at), ("2", Timestamp(9)));
    assert_eq!(
        (found.state, found.state_reason.as_str()),
        (AlarmState::Alarm, "somebody looked")
    );
    assert_eq!(
        (found.state_changed_at, found.state_updated_at),
        (Timestamp(5), Timestamp(6))
    );
    assert_eq!(found.tags.len(), 1);
    let untag = Command::UntagResource {
        resource: Taggable::Alarm(key("a")),
        keys: vec!["team".to_owned()],
    };
    perform(&mut state, untag).expect("is there");
    assert_eq!(state.alarm(&key("a")).expect("is there").tags.len(), 0);
    let delete = Command::DeleteAlarms {
        alarms: vec![key("a"), key("nowhere")],
    };
    let index = state.applied();
    let events = apply(&mut state, index, &delete).expect("is always valid");
    assert_eq!(events, [Event::AlarmChanged(key("a"))]);
    let refused = perform(&mut state, set("a", AlarmState::Ok, 7));
    assert_eq!(refused, Err(Rejection::AlarmNotFound(key("a"))));
}

#[test]
fn alarms_are_bounded_in_size_and_by_account_and_region_in_number() {
    let mut state = ClusterState::at_newest_level();
    let large = alarm("large", &"x".repeat(MAX_ALARM_DEFINITION_BYTES + 1));
    assert_eq!(put(&mut state, large), Err(Rejection::AlarmTooLarge(key("large"))));
    for number in 0..MAX_ALARMS {
        put(&mut state, alarm(&number.to_string(), "{}")).expect("there is room");
    }
    assert_eq!(put(&mut state, alarm("more", "{}")), Err(Rejection::TooManyAlarms));
    put(&mut state, alarm("7", "anew")).expect("is there");
    let elsewhere = berth_core::model::Scope::new("123456789012", "eu-west-1");
    let of_another_region = Alarm {
        key: elsewhere.alarm("more"),
        ..alarm("more", "{}")
    };
    put(&mut state, of_another_region).expect("there is room");
    assert_eq!(state.alarms(&cluster().scope).count(), MAX_ALARMS);
    assert_eq!(state.alarms(&elsewhere).count(), 1);
}

#[test]
fn alarm_that_goes_off_is_remembered_by_what_is_on_its_way_and_monitors_it() {
    let mut state = deployed(true);
    assert_eq!(triggered(&state), Some(vec![]));
    assert_eq!(current(&state).configuration.bake_minutes, 2, "90 seconds, rounded up");
    perform(&mut state, set("a", AlarmState::InsufficientData, 8)).expect("is there");
    assert_eq!(triggered(&state), Some(vec![]));
    let index = state.applied();
    let events = apply(&mut state, index, &set("a", AlarmState::Alarm, 9)).expect("is there");
    let of_service = Event::ServiceUpdated(cluster().service("web"));
    assert_eq!(events, [Event::AlarmChanged(key("a")), of_service]);
    for (name, value) in [
        ("a", AlarmState::Ok),
        ("a", AlarmState::Alarm),
        ("b", AlarmState::Alarm),
    ] {
        perform(&mut state, set(name, value, 10)).expect("is there");
    }
    assert_eq!(triggered(&state), Some(vec!["a".to_owned(), "b".to_owned()]));
    // What goes back minds nothing more, nor does what is over.
    let mut progress = found(
        the_service(&state),
        ServiceDeploymentStatus::Stopped,
        RolloutState::Failed,
    );
    progress.deployments.clear();
    record(&mut state, progress).expect("recorded");
    let before = state.service(&cluster().service("web")).cloned();
    perform(&mut state, set("b", AlarmState::Alarm, 11)).expect("is there");
    assert_eq!(state.service(&cluster().service("web")).cloned(), before);
}

#[test]
fn deployment_that_begins_with_an_alarm_that_is_off_monitors_none() {
    let mut state = deployed(false);
    assert_eq!(current(&state).configuration.bake_minutes, 0, "it is not rolled back");
    perform(&mut state, set("b", AlarmState::Alarm, 9)).expect("is there");
    redeploy(&mut state, "ecs-svc/3");
    assert_eq!((triggered(&state), current(&state).ignores_alarms()), (None, true));
    perform(&mut state, set("a", AlarmState::Alarm, 10)).expect("is there");
    assert_eq!(triggered(&state), None);
}

#[test]
fn bake_time_that_somebody_said_stays_be_it_none() {
    let mut state = deployed(true);
    update(&mut state, "ecs-svc/3", |update| {
        update.deployment_configuration.bake_minutes = Some(0);
        update.deployment_configuration.bake_is_given = true;
        update.force_new_deployment = true;
    });
    assert_eq!(current(&state).configuration.bake_minutes, 0);
    assert_eq!(the_service(&state).deployment_configuration.bake_minutes, 0);
}

#[test]
fn service_that_minds_an_alarm_that_is_not_there_is_refused() {
    let mut state = created();
    let mut service = the_service(&state).clone();
    service.key = cluster().service("other");
    service.deployment_configuration.alarms = minded(&["nowhere"], true);
    let create = |service| Command::CreateService {
        service: Box::new(service),
        client_token: None,
    };
    let refused = Err(Rejection::AlarmNotFound(key("nowhere")));
    assert_eq!(perform(&mut state, create(service.clone())), refused);
    let mut change = super::given::no_change(the_service(&state), "ecs-svc/2");
    change.deployment_configuration.alarms = minded(&["nowhere"], true);
    assert_eq!(
        perform(&mut state, Command::UpdateService(Box::new(change.clone()))),
        refused
    );
    // While they are off, nobody asks.
    if let Some(alarms) = &mut change.deployment_configuration.alarms {
        alarms.enable = false;
    }
    perform(&mut state, Command::UpdateService(Box::new(change))).expect("updates");
}
