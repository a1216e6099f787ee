//! Predictions of what requests lead to, against what then happens, and the steps on the way there.

use crate::model::{HealthStatus, Resources};
use crate::reconcile::world::{World, cluster};
use crate::state::Command;

use super::tests::{ask, places, predicted, world};
use super::*;

/// What requests come to: a new revision of a service, a new service, and one that is deleted.
fn rolled_out(world: &mut World) -> Vec<Change> {
    let from = world.log.len();
    world.add_definition("web", Resources::new(64, 110), None);
    world.update_service("web", None, Some(2));
    let delete = Command::DeleteService {
        service: cluster().service("edge"),
        force: true,
        at: world.now,
    };
    world.apply(delete).expect("deletes");
    world.add_definition("new", Resources::new(32, 50), None);
    world.add_service("new", |service| service.desired_count = 4);
    let commands = world.log[from..].iter().cloned();
    commands.map(|command| Change::Request(Box::new(command))).collect()
}

#[test]
fn requests_lead_to_what_was_predicted_with_all_that_is_started_and_stopped_on_the_way() {
    let mut done = world();
    let changes = rolled_out(&mut done);
    let before = world();
    let outlook = ask(&before, &changes);
    assert!(outlook.settled);
    let from = done.log.len();
    done.pass_ms(10 * 60_000);
    assert_eq!(places(&done), predicted(&places(&before), &outlook), "{outlook:#?}");
    let groups = ["service:edge", "service:new", "service:web"];
    let count = |of: fn(&Step) -> &Vec<TasksOnHost>, group: &str| -> usize {
        let tasks = outlook.steps.iter().flat_map(of);
        tasks
            .filter(|found| found.group == group)
            .map(|found| found.tasks)
            .sum()
    };
    let starts = groups.map(|group| count(|step| &step.starts, group));
    let stops = groups.map(|group| count(|step| &step.stops, group));
    assert_eq!((starts, stops), ([0, 4, 12], [5, 0, 12]));
    let created = done.log[from..].iter().map(|command| match command {
        Command::CreateTasks { tasks } => tasks.len(),
        _ => 0,
    });
    assert_eq!(created.sum::<usize>(), 16, "as many tasks were started as is told");
    let first = &outlook.steps[0];
    assert_eq!((first.after_ms, outlook.steps_left_out), (0, 0));
    assert!(
        first.stops.iter().all(|found| found.group == "service:edge"),
        "{first:?}"
    );
    assert!(outlook.steps.is_sorted_by_key(|step| step.after_ms));
    let named: Vec<&str> = outlook.services.iter().map(|found| found.service.as_str()).collect();
    assert_eq!(named, ["new", "web"]);
}

#[test]
fn revision_that_fits_nowhere_is_told_with_what_it_lacks_and_what_would_help() {
    let mut done = world();
    let from = done.log.len();
    done.add_definition("web", Resources::new(4096, 100), None);
    done.update_service("web", None, Some(2));
    let commands = done.log[from..].iter().cloned();
    let changes: Vec<Change> = commands.map(|command| Change::Request(Box::new(command))).collect();
    let outlook = ask(&world(), &changes);
    let web = &outlook.services[0];
    assert_eq!((web.service.as_str(), web.not_replaced), ("web", 12));
    let lacks = web.lacks.as_ref().expect("no host takes the new revision");
    assert_eq!(lacks.fitting(), 0);
    assert!(!lacks.remedies.is_empty());
    assert_eq!((outlook.steps, outlook.moves), (vec![], vec![]));
}

#[test]
fn rollout_one_by_one_is_told_in_as_many_steps() {
    let mut world = World::new();
    world.add_host("h1", "a", Resources::new(1024, 400));
    world.add_definition("web", Resources::new(64, 100), None);
    world.add_service("web", |service| {
        service.desired_count = 3;
        service.deployment_configuration.minimum_healthy_percent = 66;
        service.deployment_configuration.maximum_percent = 100;
    });
    world.pass_ms(60_000);
    let again = Change::UpdateService {
        service: cluster().service("web"),
        desired_count: None,
        placement_strategy: Some(vec![]),
    };
    let steps = ask(&world, &[again]).steps;
    let counts: Vec<(usize, usize)> = steps
        .iter()
        .map(|step| {
            let sum = |tasks: &[TasksOnHost]| tasks.iter().map(|found| found.tasks).sum();
            (sum(&step.starts), sum(&step.stops))
        })
        .collect();
    // 66 % of three is two at least: one stops, one starts in its place, and so on.
    let (starts, stops): (Vec<usize>, Vec<usize>) = counts.iter().copied().unzip();
    assert_eq!(
        (starts.iter().sum::<usize>(), stops.iter().sum::<usize>()),
        (3, 3),
        "{counts:?}"
    );
    assert_eq!(counts[0], (0, 1), "{counts:?}");
    assert!(counts.len() >= 4, "{counts:?}");
}

#[test]
fn tasks_whose_health_is_not_known_yet_are_thought_to_become_healthy() {
    let mut done = world();
    done.checks.insert(("web".to_owned(), 2), HealthStatus::Unknown);
    done.add_definition("web", Resources::new(64, 110), None);
    done.update_service("web", None, Some(2));
    done.pass_ms(60_000);
    // All of the new revision wait for their health checks, and those of the old one run on.
    assert_eq!(places(&done).values().sum::<usize>(), 12 + 12 + 7 + 5);
    let outlook = ask(&done, &[]);
    assert!(outlook.settled);
    let scaled = Change::UpdateService {
        service: cluster().service("web"),
        desired_count: Some(11),
        placement_strategy: None,
    };
    let outlook = ask(&done, &[scaled]);
    let web = outlook
        .services
        .iter()
        .find(|found| found.service.as_str() == "web")
        .expect("changes");
    assert_eq!(
        (web.before, web.after, web.not_replaced),
        (12, 11, 0),
        "what went on already counts as before"
    );
}
