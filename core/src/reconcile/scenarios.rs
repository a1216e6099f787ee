//! Golden scenarios: files under `scenarios/` in which each line that begins with `> ` is something that happens, and the
//! lines after it are what came of it. With `BERTH_WRITE_GENERATED=1` the test writes what came of it into the files.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use crate::model::*;
use crate::state::{Command, StopType, Taggable, UpdateCluster};

use super::Agenda;
use super::scenario_words::{alarm_state, changes, configure, failure_threshold, health_status, strategy_of};
use super::world::{START, World, cluster};

#[path = "scenario_daemons.rs"]
mod daemons;
#[path = "scenario_pools.rs"]
mod pools;

#[test]
fn scenarios_as_written_come_out_as_written() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/reconcile/scenarios");
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .expect("folder")
        .map(|e| e.expect("entry").path())
        .collect();
    files.sort();
    assert!(files.len() >= 5, "the scenarios are missing");
    for file in files {
        let text = std::fs::read_to_string(&file).expect("readable");
        let played = play(&text);
        if std::env::var_os("BERTH_WRITE_GENERATED").is_some() {
            std::fs::write(&file, &played).expect("writable");
            continue;
        }
        assert_eq!(text, played, "{} came out otherwise", file.display());
    }
}

fn play(script: &str) -> String {
    let mut stage = Stage {
        world: World::new(),
        names: BTreeMap::new(),
        said: BTreeMap::new(),
        refused: None,
        failures: None,
    };
    let mut out = String::new();
    for line in script.lines() {
        if line.starts_with('#') || line.is_empty() {
            out.push_str(line);
            out.push('\n');
        } else if let Some(step) = line.strip_prefix("> ") {
            writeln!(out, "> {step}").expect("a string takes it");
            stage.step(step);
            stage.show(&mut out);
        }
    }
    out
}

struct Stage {
    world: World,
    /// Short names of ids, in the order of their appearance.
    names: BTreeMap<String, String>,
    /// Events already shown, by service.
    said: BTreeMap<ServiceKey, String>,
    /// Why the last task outside services was refused, if it was.
    refused: Option<String>,
    /// Why the last tasks of a capacity provider found no host, if they did not.
    failures: Option<String>,
}

impl Stage {
    fn step(&mut self, step: &str) {
        let mut words = step.split_whitespace();
        let verb = words.next().expect("a verb");
        let args: Vec<&str> = words.collect();
        let options: BTreeMap<&str, &str> = args.iter().filter_map(|a| a.split_once('=')).collect();
        let number = |key: &str| options.get(key).map(|v| v.parse::<u32>().expect("a number"));
        let subject = args.first().copied().unwrap_or_default();
        let needs = Resources::new(number("cpu").unwrap_or(1024), number("memory").unwrap_or(1024));
        match verb {
            "host" => {
                let (zone, pool) = (options.get("zone").unwrap_or(&"a"), options.get("pool").copied());
                let offers: Vec<&str> = options.get("offers").map_or(vec![], |names| names.split(',').collect());
                let id = self.world.add_host_offering(subject, zone, needs, pool, &offers);
                let seconds = |key: &str| options.get(key).map(|s| s.parse::<i64>().expect("seconds"));
                let ahead_s = seconds("ahead").unwrap_or(0) - seconds("behind").unwrap_or(0);
                self.world.ahead_ms.insert(id, ahead_s * 1_000);
            }
            "lost-after" => self.set_lost_after(number("s").expect("seconds")),
            "foreign-port" => self.set_foreign_port(subject, number("port")),
            "cut" => self.cut(subject),
            "drain" => self.set_status(subject, ContainerInstanceStatus::Draining),
            "activate" => self.set_status(subject, ContainerInstanceStatus::Active),
            "define" => {
                let port = number("port").map(|port| u16::try_from(port).expect("a port"));
                let revision = self.world.add_definition(subject, needs, port);
                if args.contains(&"broken") {
                    self.world.broken.insert((subject.to_owned(), revision));
                }
                if let Some(status) = options.get("check") {
                    self.world
                        .checks
                        .insert((subject.to_owned(), revision), health_status(status));
                }
            }
            "break" => {
                let revision = number("revision").expect("a revision");
                self.world.broken.insert((subject.to_owned(), revision));
            }
            "service" => self.world.add_service(subject, |service| {
                if args.contains(&"daemon") {
                    service.scheduling_strategy = SchedulingStrategy::Daemon;
                    service.deployment_configuration.maximum_percent = 100;
                    service.deployment_configuration.minimum_healthy_percent = 0;
                }
                let configuration = &mut service.deployment_configuration;
                configuration.maximum_percent = number("max").unwrap_or(configuration.maximum_percent);
                configuration.minimum_healthy_percent = number("min").unwrap_or(configuration.minimum_healthy_percent);
                configuration.circuit_breaker = CircuitBreaker {
                    enable: args.contains(&"breaker"),
                    rollback: args.contains(&"rollback"),
                    reset_on_healthy_task: args.contains(&"no-reset").then_some(false),
                    threshold: options.get("threshold").map(|threshold| failure_threshold(threshold)),
                };
                configure(configuration, &options);
                service.desired_count = number("desired").unwrap_or(0);
                service.zone_rebalancing = args.contains(&"az-rebalancing");
                if args.contains(&"external") {
                    service.deployment_controller = DeploymentController::External;
                    service.deployments.clear();
                }
                service.health_check_grace_period_secs = number("grace");
                let others = options.get("depends-on").map(|names| names.replace(',', " "));
                service
                    .tags
                    .extend(others.map(|names| (DEPENDS_ON_TAG.to_owned(), names)));
                let priority = options.get("priority").map(|number| (*number).to_owned());
                service
                    .tags
                    .extend(priority.map(|number| (Priority::TAG.to_owned(), number)));
                daemons::make_managed(service, &args, &options);
                if let Some(weights) = options.get("weights") {
                    service.capacity_provider_strategy = strategy_of(weights);
                }
            }),
            "tag" => self.tag(subject, args[1]),
            "pools" => self.world.add_capacity_providers(&args),
            "predefined-pools" => self.world.put_capacity_providers(&args),
            "scale-pool" => self.scale_pool(subject, &args, &options),
            "never-wakes" => self.set_wakes(subject, false),
            "wakes" => self.set_wakes(subject, true),
            "sleep" => self.sleep_by_hand(subject),
            "wake" => self.wake_by_hand(subject),
            "fail-call" => self.fail_call(subject),
            "fail-sleep" => self.fail_sleep(subject),
            "update-daemon" => self.update_daemon(subject, &args, &options),
            "delete-daemon" => self.delete_daemon(subject),
            "run" => self.run(subject, options["host"]),
            "stop-alone" => self.stop_alone(subject),
            "run-task" => self.run_tasks(subject, &options),
            "stop-tasks" => self.stop_tasks(subject),
            "task-set" | "scale-set" | "primary-set" | "delete-set" => {
                self.change_task_set(verb, subject, number("set"), number("revision"), number("scale"));
            }
            "update" => self
                .world
                .update_service(subject, number("desired"), number("revision")),
            "configure" => {
                let changed = self.world.service(subject).deployment_configuration.clone();
                let changed = changes(changed, &options);
                self.world
                    .change_service(subject, |update| update.deployment_configuration = changed);
            }
            "redeploy" => self
                .world
                .change_service(subject, |update| update.force_new_deployment = true),
            "stop-deployment" => self.stop_deployment(subject, args.contains(&"abort")),
            "continue" => self.continue_deployment(subject, HookAction::Continue),
            "refuse" => self.continue_deployment(subject, HookAction::Rollback),
            "alarm" => self.world.add_alarm(subject, number("found-after").unwrap_or(60)),
            "set-alarm" => self.world.set_alarm(subject, alarm_state(options["is"])),
            "delete-alarm" => {
                let alarms = vec![cluster().scope.alarm(subject)];
                self.world
                    .apply(Command::DeleteAlarms { alarms })
                    .expect("is always valid");
            }
            "another-leader" => self.world.agenda = Agenda::everything(&self.world.state).waking_hosts(true),
            "delete" => {
                let service = cluster().service(subject);
                let at = self.world.now;
                self.world
                    .apply(Command::DeleteService {
                        service,
                        force: true,
                        at,
                    })
                    .expect("deletes");
            }
            "protect" => self.protect(subject, number("tasks"), number("minutes").expect("minutes")),
            "stop-task" => self.stop_task(subject),
            "kill" => self.kill(subject, args.contains(&"newest")),
            "health" => {
                let newest = args.contains(&"newest");
                self.set_health(subject, number("tasks"), newest, health_status(options["is"]));
            }
            "reconcile" => _ = self.world.reconcile(),
            "hosts-work" => self.world.hosts_finish(),
            "hosts-step" => _ = self.world.hosts_step(),
            "pass" => self.world.pass_ms(i64::from(number("s").expect("seconds")) * 1_000),
            other => panic!("unknown step {other}"),
        }
    }

    /// Tags the cluster or a service.
    fn tag(&mut self, name: &str, tag: &str) {
        let (key, value) = tag.split_once('=').expect("a tag with a value");
        let resource = match name {
            "cluster" => Taggable::Cluster(cluster()),
            service => Taggable::Service(cluster().service(service)),
        };
        self.world.tag(resource, key, value);
    }

    fn cut(&mut self, name: &str) {
        let id = self.world.host(name).expect("a host");
        let at = self.world.now;
        self.world.cut_off.insert(id);
        self.world
            .apply(Command::RecordAgentDisconnected {
                container_instance: id,
                last_heard_at: at,
                at,
            })
            .expect("a host");
    }

    /// Has somebody stop what is deployed of a service.
    fn stop_deployment(&mut self, name: &str, abort: bool) {
        let service = self.world.service(name);
        let current = service.current_service_deployment().expect("one deployment at least");
        let command = Command::StopServiceDeployment {
            service: service.key.clone(),
            service_deployment: current.id().clone(),
            stop_type: if abort { StopType::Abort } else { StopType::Rollback },
            at: self.world.now,
        };
        self.world.apply(command).expect("can be stopped");
    }

    /// Has the deployer of a service do something with a task set: make one, or change the one that is `nth` in age.
    fn change_task_set(
        &mut self,
        verb: &str,
        name: &str,
        nth: Option<u32>,
        revision: Option<u32>,
        percent: Option<u32>,
    ) {
        let (service, at) = (cluster().service(name), self.world.now);
        let scale = percent.map_or(Scale::WHOLE, |percent| {
            Scale::of_percent(percent.into()).expect("a scale")
        });
        let of_nth = |nth: u32| self.world.service(name).task_sets[nth as usize - 1].id.clone();
        let command = match (verb, nth.map(of_nth)) {
            ("scale-set", Some(task_set)) => Command::UpdateTaskSet {
                service,
                task_set,
                scale,
                at,
            },
            ("primary-set", Some(task_set)) => Command::UpdateServicePrimaryTaskSet { service, task_set, at },
            ("delete-set", Some(task_set)) => Command::DeleteTaskSet {
                service,
                task_set,
                force: true,
                at,
            },
            ("task-set", None) => Command::CreateTaskSet {
                service,
                task_set: Box::new(self.world.task_set(name, revision.expect("a revision"), scale)),
                client_token: None,
            },
            other => panic!("{other:?} is no step"),
        };
        self.world.apply(command).expect("the deployer may do so");
    }

    /// Has somebody say what becomes of a deployment that has paused, at the first hook that waits.
    fn continue_deployment(&mut self, name: &str, action: HookAction) {
        let service = self.world.service(name);
        let current = service.current_service_deployment().expect("one deployment at least");
        let mut hooks = current.lifecycle.iter().flat_map(|at| &at.hooks);
        let hook = hooks
            .find(|hook| hook.awaits(self.world.now))
            .expect("a hook that waits");
        let command = Command::ContinueServiceDeployment {
            service: service.key.clone(),
            service_deployment: current.id().clone(),
            hook: hook.id.clone(),
            action,
            at: self.world.now,
        };
        self.world.apply(command).expect("can go on");
    }

    fn set_lost_after(&mut self, seconds: u32) {
        let update = UpdateCluster {
            cluster: cluster(),
            settings: vec![],
            host_settings: HostSettingsChange {
                host_lost_after_ms: Some(seconds * 1_000),
                ..HostSettingsChange::default()
            },
        };
        self.world.apply(Command::UpdateCluster(update)).expect("can be kept");
    }

    /// Has a program that is no task hold a port of a host, or none.
    fn set_foreign_port(&mut self, name: &str, port: Option<u32>) {
        let container_instance = self.world.host(name).expect("a host");
        let port = port.map(|port| (TransportProtocol::Tcp, u16::try_from(port).expect("a port")));
        let ports = port.into_iter().collect();
        let command = Command::RecordForeignPorts {
            container_instance,
            ports,
        };
        self.world.apply(command).expect("a host");
    }

    /// Protects the first of the wanted tasks of a service, or all.
    fn protect(&mut self, service: &str, count: Option<u32>, minutes: u32) {
        let tasks = self.wanted(service).into_iter();
        let count = count.map_or(usize::MAX, |count| usize::try_from(count).expect("a count"));
        let at = self.world.now;
        let command = Command::UpdateTaskProtection {
            tasks: tasks.take(count).collect(),
            protected_until: Some(at.plus_ms(i64::from(minutes) * 60_000)),
            at,
        };
        self.world.apply(command).expect("is always valid");
    }

    /// Has a user stop the first wanted task of a service.
    fn stop_task(&mut self, service: &str) {
        let command = Command::StopTasks {
            tasks: self.wanted(service).into_iter().take(1).collect(),
            stop_code: StopCode::UserInitiated,
            reason: "enough".to_owned(),
            at: self.world.now,
        };
        self.world.apply(command).expect("is always valid");
    }

    /// Has the health checks of the first of the wanted tasks of a service, of those that began last, or of all, say something from now on.
    fn set_health(&mut self, service: &str, count: Option<u32>, newest: bool, status: HealthStatus) {
        let mut tasks = self.wanted(service);
        if newest {
            let began_at = |id: &TaskId| self.world.state.task(*id).map(|task| task.created_at);
            let last = tasks.iter().map(began_at).max();
            tasks.retain(|id| Some(began_at(id)) == last);
        }
        let tasks = tasks.into_iter();
        let count = count.map_or(usize::MAX, |count| usize::try_from(count).expect("a count"));
        self.world.health.extend(tasks.take(count).map(|task| (task, status)));
    }

    fn wanted(&self, service: &str) -> Vec<TaskId> {
        let key = cluster().service(service);
        let tasks = self.world.state.live_tasks_of_service(&key);
        let wanted = tasks.filter(|task| task.desired_status == DesiredStatus::Running);
        wanted.map(|task| task.id).collect()
    }

    fn set_status(&mut self, name: &str, status: ContainerInstanceStatus) {
        let container_instance = self.world.host(name).expect("a host");
        self.world
            .apply(Command::UpdateContainerInstanceStatus {
                container_instance,
                status,
                at: None,
            })
            .expect("a host");
    }

    /// Has the first running task of a service, or the one that began last, begin to end by itself, as its host reports first.
    fn kill(&mut self, service: &str, newest: bool) {
        let key = cluster().service(service);
        let tasks = self.world.state.tasks_of_service(&key);
        let running = tasks.filter(|t| t.last_status == TaskStatus::Running);
        let mut running: Vec<Task> = running.map(|t| Task::clone(t)).collect();
        if newest {
            running.sort_by_key(|t| std::cmp::Reverse(t.running_since));
        }
        let task = running.first().expect("a running task");
        let command = Command::RecordTaskReports {
            container_instance: task.container_instance.expect("runs on a host"),
            reports: vec![self.world.report_of(task.id, TaskStatus::Deactivating)],
            at: self.world.now,
        };
        self.world.apply(command).expect("a host");
    }

    fn show(&mut self, out: &mut String) {
        let services: Vec<Service> = self.world.state.all_services().map(|s| Service::clone(s)).collect();
        let mut text = String::new();
        for service in &services {
            self.show_events(service, &mut text).expect("a string takes it");
            self.show_service(service, &mut text).expect("a string takes it");
        }
        self.show_hosts_of_daemons(&mut text).expect("a string takes it");
        self.show_tasks_of_pools(&mut text).expect("a string takes it");
        self.show_power(&mut text).expect("a string takes it");
        out.push_str(&self.shorten(&text));
    }

    fn show_events(&mut self, service: &Service, text: &mut String) -> std::fmt::Result {
        let last = self.said.get(&service.key);
        let news: Vec<&ServiceEvent> = service.events.iter().take_while(|e| Some(&e.id) != last).collect();
        for event in news.iter().rev() {
            let seconds = event.created_at.ms_since(START) / 1_000;
            writeln!(text, "    {seconds:>4} s  {}", event.message)?;
        }
        if let Some(newest) = news.first() {
            self.said.insert(service.key.clone(), newest.id.clone());
        }
        Ok(())
    }

    fn show_service(&self, service: &Service, text: &mut String) -> std::fmt::Result {
        let tasks: Vec<_> = self
            .world
            .state
            .tasks_of_service(&service.key)
            .filter(|t| !t.is_stopped())
            .collect();
        let running = tasks.iter().filter(|t| t.last_status == TaskStatus::Running).count();
        let pending = tasks.iter().filter(|t| t.last_status < TaskStatus::Running).count();
        let zones = self.world.by_zone(service.key.name.as_str());
        let zones: Vec<String> = zones.iter().map(|(zone, count)| format!("{zone}:{count}")).collect();
        writeln!(
            text,
            "  {} {:?} desired {} running {running} pending {pending} zones {}{}",
            service.key.name,
            service.status,
            service.desired_count,
            zones.join(" "),
            health_in_words(&tasks)
        )?;
        for deployment in &service.deployments {
            let of_it = tasks.iter().filter(|t| t.deployment() == Some(&deployment.id)).count();
            writeln!(
                text,
                "    {} {:?} revision {} tasks {of_it} failed {} {:?}: {}",
                deployment.id,
                deployment.status,
                deployment.task_definition.revision,
                deployment.failed_tasks,
                deployment.rollout_state,
                deployment.rollout_state_reason
            )?;
        }
        for set in &service.task_sets {
            let of_it = tasks.iter().filter(|t| t.deployment() == Some(&set.id)).count();
            let (wanted, stability) = (
                set.computed_desired_count(service.desired_count),
                if set.steady { "STEADY_STATE" } else { "STABILIZING" },
            );
            writeln!(
                text,
                "    {} {:?} revision {} wants {wanted} tasks {of_it} failed {} {stability}",
                set.id, set.status, set.task_definition.revision, set.failed_tasks
            )?;
        }
        self.show_service_deployments(service, text)
    }

    /// What became of each deployment, where more than one was.
    fn show_service_deployments(&self, service: &Service, text: &mut String) -> std::fmt::Result {
        let all = &service.service_deployments;
        let has_more = all
            .iter()
            .any(|deployment| deployment.configuration.is_for_deployments_alone());
        for deployment in all.iter().filter(|_| all.len() > 1 || has_more) {
            write!(text, "    deployment of {} {:?}", deployment.id(), deployment.status)?;
            if let Some(rollback) = &deployment.rollback {
                write!(text, ", back to {}", rollback.revision)?;
            }
            if let Some(stage) = deployment.stage() {
                write!(text, ", {stage}")?;
            }
            if let Some(alarms) = &deployment.alarms {
                let names: Vec<&str> = alarms.triggered.iter().map(AlarmName::as_str).collect();
                write!(text, ", alarms [{}]", names.join(" "))?;
            }
            for part in deployment.traffic.revisions() {
                let (production, test) = (part.production.tenths(), part.test.tenths());
                write!(text, ", {} {production}/{test} ‰", part.revision)?;
            }
            writeln!(text)?;
        }
        Ok(())
    }

    /// Replaces ids by short names, in the order in which they appear.
    fn shorten(&mut self, text: &str) -> String {
        for host in self.world.state.all_container_instances() {
            self.names.insert(host.id.to_string(), host.host.host_name.clone());
        }
        let mut short = String::new();
        for line in text.lines() {
            let pieces = line.split_inclusive([' ', '.', ')', ':', ';', ',']);
            for piece in pieces {
                let id = piece.trim_end_matches([' ', '.', ')', ':', ';', ',']);
                let kind = match id {
                    _ if id.starts_with("ecs-svc/") => Some("ecs-svc/"),
                    _ if id.starts_with("ecs-pause-") => Some("ecs-pause-"),
                    _ if id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit()) => Some("t"),
                    _ => None,
                };
                let Some(kind) = kind else {
                    short.push_str(piece);
                    continue;
                };
                let count = self.names.values().filter(|n| n.starts_with(kind)).count();
                let name = self
                    .names
                    .entry(id.to_owned())
                    .or_insert_with(|| format!("{kind}{}", count + 1));
                short.push_str(name);
                short.push_str(&piece[id.len()..]);
            }
            short.push('\n');
        }
        short
    }
}

/// How many tasks are healthy and how many are not, where any has health checks.
fn health_in_words(tasks: &[&std::sync::Arc<Task>]) -> String {
    let count = |wanted| {
        let of_tasks = tasks.iter().filter_map(|task| task.health);
        of_tasks.filter(|health| health.status == wanted).count()
    };
    let (healthy, unknown, unhealthy) = (
        count(HealthStatus::Healthy),
        count(HealthStatus::Unknown),
        count(HealthStatus::Unhealthy),
    );
    if healthy + unknown + unhealthy == 0 {
        return String::new();
    }
    format!(" healthy {healthy} unknown {unknown} unhealthy {unhealthy}")
}
