//! `berth ps`: lists the tasks of a cluster with their hosts and ports, and says why services lack some.
//!
//! Owns the columns and the order of rows. Shell, but for the rendering, which is pure.

mod row;

use anyhow::Result;
use berth_aws::Timestamp;
use berth_aws::ecs::Task;
use clap::Args;

use self::row::Row;
use crate::cluster::Cluster;
use crate::daemons;
use crate::host_names::{self, HostNames};
use crate::output::{self, Format};
use crate::short_id;
use crate::shortfall;
use crate::table::{self, Table};
use crate::target::TargetArguments;

/// Services that are asked why they lack tasks: what a person reads below a table, in ten calls at most.
const MAX_SERVICES_ASKED: usize = 100;

/// Characters of a task's reason that are shown, but with `--wide`.
const REASON_CHARACTERS: usize = 120;

/// The same for what a service lacks tasks of, below the table: enough for the closest host and what it lacks, where the whole goes on to others.
const SENTENCE_CHARACTERS: usize = 320;

/// Flags of `berth ps`.
#[derive(Args, Debug)]
pub(crate) struct Arguments {
    #[command(flatten)]
    target: TargetArguments,
    /// Only tasks of this service
    #[arg(long, short, value_name = "NAME")]
    service: Option<String>,
    /// Stopped tasks too, with why they stopped, for as long as the cluster remembers them (`berth hosts settings`)
    #[arg(long, short)]
    all: bool,
    /// Ids and reasons in full, however long the lines
    #[arg(long, short)]
    wide: bool,
    /// As a table, or as a JSON array with one object per task
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

/// Prints the tasks.
///
/// # Errors
/// If the cluster cannot be asked, or has no such service.
pub(crate) async fn run(arguments: Arguments) -> Result<()> {
    let target = arguments.target.find()?;
    let cluster = Cluster::of(&target)?;
    let service = arguments.service.as_deref();
    let arns = cluster.all_task_arns(service).await?;
    let mut tasks = cluster.tasks(&arns).await?;
    host_names::find_hosts_of_fargate(&cluster, &mut tasks).await?;
    let now = crate::age::now();
    let hosts = host_names::of_tasks(&cluster, &tasks).await?;
    let rows = rows(&tasks, &hosts, arguments.all, now);
    if arguments.format == Format::Json {
        return output::line(&serde_json::to_string_pretty(&rows)?);
    }
    let width = if arguments.wide { None } else { output::width() };
    output::line(&table(&rows, now, arguments.wide).render(width))?;
    let mut is_cut = !arguments.wide
        && rows
            .iter()
            .any(|row| row.reason_cell(now).chars().count() > REASON_CHARACTERS);
    if rows.is_empty() {
        output::complain(&nothing(&cluster, service, arguments.all || tasks.is_empty()));
    }
    for sentence in shortfalls(&cluster, service, &tasks, now).await? {
        is_cut |= !arguments.wide && sentence.chars().count() > SENTENCE_CHARACTERS;
        output::complain(&shown(sentence, SENTENCE_CHARACTERS, arguments.wide));
    }
    if is_cut {
        output::complain("(`berth ps --wide` shows reasons in full)");
    }
    Ok(())
}

/// A reason as it is shown.
fn shown(text: String, characters: usize, wide: bool) -> String {
    if wide { text } else { table::cut(&text, characters) }
}

/// What each service that lacks tasks says about it.
async fn shortfalls(cluster: &Cluster, service: Option<&str>, tasks: &[Task], now: Timestamp) -> Result<Vec<String>> {
    let named = match service {
        // What a daemon lacks, `berth why-not` says.
        Some(service) if daemons::named(service).is_some() => return Ok(vec![]),
        Some(service) => vec![service.to_owned()],
        None => cluster.service_arns(MAX_SERVICES_ASKED).await?,
    };
    let services = cluster.services(&named).await?;
    Ok(services
        .iter()
        .filter_map(|service| shortfall::sentence(service, tasks, now))
        .collect())
}

fn nothing(cluster: &Cluster, service: Option<&str>, none_at_all: bool) -> String {
    let whose = match service {
        Some(service) => format!("service {service} of cluster {}", cluster.name()),
        None => format!("cluster {}", cluster.name()),
    };
    match none_at_all {
        true => format!("{whose} has no tasks"),
        false => format!("{whose} has stopped tasks only; --all shows them"),
    }
}

/// The rows to show: of each service or group those that run before those that stopped, these the newest first.
fn rows(tasks: &[Task], hosts: &HostNames, all: bool, now: Timestamp) -> Vec<Row> {
    let mut rows: Vec<Row> = tasks.iter().map(|task| Row::of(task, hosts, now)).collect();
    rows.retain(|row| all || !row.is_stopped());
    rows.sort_by(|a, b| {
        let key = |row: &Row| (row.group.clone(), row.is_stopped());
        key(a).cmp(&key(b)).then_with(|| match a.is_stopped() {
            true => b
                .stopped_ms()
                .cmp(&a.stopped_ms())
                .then_with(|| a.task_id.cmp(&b.task_id)),
            false => (&a.availability_zone, &a.host, &a.task_id).cmp(&(&b.availability_zone, &b.host, &b.task_id)),
        })
    });
    rows
}

fn table(rows: &[Row], now: Timestamp, wide: bool) -> Table {
    let has_reasons = rows.iter().any(|row| row.reason.is_some());
    let has_health = rows.iter().any(Row::has_health);
    let mut headings = vec!["TASK", "SERVICE", "DEFINITION", "STATUS"];
    headings.extend(has_health.then_some("HEALTH"));
    headings.extend(["HOST", "ZONE", "AGE", "PORTS"]);
    if has_reasons {
        headings.push("REASON");
    }
    let ids: Vec<&str> = rows.iter().map(|row| row.task_id.as_str()).collect();
    let length = if wide { usize::MAX } else { short_id::length(&ids) };
    let mut table = Table::new(&headings);
    for row in rows {
        let mut cells = row.cells(length, has_health, now);
        cells.extend(has_reasons.then(|| shown(row.reason_cell(now), REASON_CHARACTERS, wide)));
        table.row(cells);
    }
    table
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use berth_aws::ecs::{Container, HealthStatus, NetworkBinding, NetworkInterface, TransportProtocol};

    use super::*;

    const NOW: Timestamp = Timestamp(1_000_000);

    fn hosts() -> HostNames {
        BTreeMap::from([("host".to_owned(), "host-1".to_owned())])
    }

    fn running() -> Task {
        let binding = NetworkBinding {
            bind_ip: Some("127.1.0.1".to_owned()),
            host_port: Some(32768),
            container_port: Some(80),
            protocol: Some(TransportProtocol::Tcp),
            ..Default::default()
        };
        Task {
            task_arn: Some("arn:aws:ecs:us-east-1:123456789012:task/shop/0123456789abcdef0123456789abcdef".to_owned()),
            task_definition_arn: Some("arn:aws:ecs:us-east-1:123456789012:task-definition/web:3".to_owned()),
            container_instance_arn: Some("host".to_owned()),
            group: Some("service:web".to_owned()),
            desired_status: Some("RUNNING".to_owned()),
            last_status: Some("RUNNING".to_owned()),
            availability_zone: Some("us-east-1a".to_owned()),
            created_at: Some(Timestamp(955_000)),
            containers: Some(vec![Container {
                network_bindings: Some(vec![binding]),
                ..Default::default()
            }]),
            ..Default::default()
        }
    }

    fn stopped(id: &str, at: i64, reason: &str) -> Task {
        Task {
            task_arn: Some(format!("arn:aws:ecs:us-east-1:123456789012:task/shop/{id}")),
            desired_status: Some("STOPPED".to_owned()),
            last_status: Some("STOPPED".to_owned()),
            stopped_at: Some(Timestamp(at)),
            stopped_reason: Some(reason.to_owned()),
            ..running()
        }
    }

    fn text(tasks: &[Task], all: bool) -> String {
        table(&rows(tasks, &hosts(), all, NOW), NOW, false).render(None)
    }

    #[test]
    fn table_of_a_running_task_shows_host_address_and_age_within_100_columns() {
        let text = text(&[running()], false);
        assert_eq!(
            text.lines().collect::<Vec<_>>(),
            [
                "TASK      SERVICE  DEFINITION  STATUS   HOST    ZONE        AGE  PORTS",
                "01234567  web      web:3       RUNNING  host-1  us-east-1a  45s  127.1.0.1:32768->80/tcp",
            ]
        );
        assert!(text.lines().all(|line| line.len() <= 100), "{text}");
    }

    #[test]
    fn table_of_a_task_with_an_address_of_its_own_shows_that() {
        let interface = NetworkInterface {
            private_ipv4_address: Some("10.177.0.2".to_owned()),
            ..Default::default()
        };
        let task = Task {
            containers: Some(vec![Container {
                network_interfaces: Some(vec![interface]),
                ..Default::default()
            }]),
            ..running()
        };
        assert!(text(&[task], false).ends_with("45s  10.177.0.2"));
    }

    #[test]
    fn table_of_all_tasks_shows_stopped_ones_last_the_newest_first_with_their_reasons() {
        let tasks = [
            stopped("aaaaaaaa01", 970_000, "first\nline"),
            stopped("bbbbbbbb02", 990_000, "second"),
            running(),
        ];
        let all = text(&tasks, true);
        let ends: Vec<&str> = all
            .lines()
            .skip(1)
            .map(|line| line.rsplit("  ").next().expect("a cell"))
            .collect();
        assert_eq!(ends, ["-", "10s ago: second", "30s ago: first line"]);
        assert_eq!(text(&tasks, false).lines().count(), 2);
    }

    #[test]
    fn table_of_a_task_that_is_being_stopped_shows_both_statuses() {
        let task = Task {
            desired_status: Some("STOPPED".to_owned()),
            stopped_reason: Some("Scaling activity".to_owned()),
            ..running()
        };
        let text = text(&[task], false);
        assert!(text.contains("RUNNING->STOPPED"), "{text}");
        assert!(text.ends_with("Scaling activity"), "{text}");
    }

    #[test]
    fn table_of_tasks_with_health_checks_shows_their_health() {
        let with_health = |status| Task {
            health_status: Some(status),
            ..running()
        };
        let of_two = text(
            &[with_health(HealthStatus::Unhealthy), with_health(HealthStatus::Unknown)],
            false,
        );
        assert!(
            of_two.starts_with("TASK      SERVICE  DEFINITION  STATUS   HEALTH     HOST"),
            "{of_two}"
        );
        assert!(of_two.contains("RUNNING  UNHEALTHY  host-1"), "{of_two}");
        let without = text(&[with_health(HealthStatus::Unknown)], false);
        assert!(!without.contains("HEALTH"), "{without}");
    }

    #[test]
    fn long_reasons_are_cut_but_in_a_wide_table() {
        let why = "no host has room for it, ".repeat(20);
        let tasks = [stopped("aaaaaaaa01", 970_000, &why)];
        let text = |wide| table(&rows(&tasks, &hosts(), true, NOW), NOW, wide).render(None);
        let last = text(false).lines().last().expect("a row").to_owned();
        assert!(last.ends_with('…') && last.chars().count() < 220, "{last}");
        assert!(text(true).ends_with(why.trim_end()), "{}", text(true));
    }

    #[test]
    fn table_of_a_task_that_says_nothing_shows_dashes() {
        let text = text(&[Task::default()], false);
        let row: Vec<&str> = text.lines().nth(1).expect("a row").split_whitespace().collect();
        assert_eq!(row[..8], ["-"; 8]);
    }

    #[test]
    fn json_of_a_task_names_service_address_and_full_id() {
        let rows = rows(&[running()], &hosts(), false, NOW);
        let value = serde_json::to_value(rows).expect("JSON");
        assert_eq!(value[0]["taskId"], "0123456789abcdef0123456789abcdef");
        assert_eq!(value[0]["service"], "web");
        assert_eq!(value[0]["ports"][0]["address"], "127.1.0.1");
        assert_eq!(value[0]["ports"][0]["hostPort"], 32768);
        assert_eq!(value[0]["createdAt"], "1970-01-01T00:15:55.000Z");
    }
}
