//! What a cluster must be like to serve, checked over facts that were collected. Pure.

use super::finding::Finding;
use crate::cluster::NoCluster;

/// What was found out about a cluster.
#[derive(Clone, Debug)]
pub(super) struct ClusterFacts {
    /// URL of the controller that was asked.
    pub(super) endpoint: String,
    /// What `/readyz` said: whether it is ready, and its text. An error where nothing answered.
    pub(super) ready: Result<(bool, String), String>,
    /// Seconds that the controller's clock is ahead of this machine's, which may be negative.
    pub(super) clock_ahead_secs: Option<i64>,
    /// Samples of `/metrics` by name with labels.
    pub(super) samples: Vec<(String, f64)>,
    /// The controllers, if the API said: how many, and the names of those that are not in touch with the leader.
    pub(super) controllers: Option<(usize, Vec<String>)>,
    /// What the API said of the cluster, or why it did not.
    pub(super) inside: Option<Result<Inside, NotSeen>>,
}

/// Why it is not known what a cluster holds.
#[derive(Clone, Debug)]
pub(super) enum NotSeen {
    /// The API answers, and knows no such cluster.
    NoCluster(NoCluster),
    /// It does not answer, or refuses.
    Refused(String),
}

/// What the API said of a cluster.
#[derive(Clone, Debug, Default)]
pub(super) struct Inside {
    pub(super) name: String,
    /// Names of hosts whose agent is not connected.
    pub(super) away: Vec<String>,
    /// Number of hosts whose agent is.
    pub(super) connected: usize,
    /// Tasks that are on their way up or down for too long, with their status and minutes.
    pub(super) stuck: Vec<(String, String, i64)>,
    /// Services that lack tasks: name, running, desired.
    pub(super) short: Vec<(String, i64, i64)>,
}

/// Clients' signatures are refused when clocks differ by more than five minutes; a tenth of that asks for a look.
const TOLERATED_SKEW_SECS: i64 = 300;
const NOTICED_SKEW_SECS: i64 = 5;
const LEAST_FREE_BYTES: f64 = 256.0 * 1024.0 * 1024.0;
const GOOD_FREE_BYTES: f64 = 2048.0 * 1024.0 * 1024.0;
/// Names in one finding; more would hide the advice.
const MAX_NAMED: usize = 5;

/// Every finding about a cluster.
pub(super) fn check(facts: &ClusterFacts) -> Vec<Finding> {
    let mut findings = vec![readiness(facts)];
    if facts.ready.is_err() {
        return findings;
    }
    findings.extend(facts.clock_ahead_secs.map(skew));
    findings.extend(member(facts));
    findings.extend(controllers(facts));
    findings.extend(disk(facts));
    findings.extend(backups(facts));
    match &facts.inside {
        None => {}
        Some(Err(NotSeen::NoCluster(missing))) => findings.push(no_cluster(missing)),
        Some(Err(NotSeen::Refused(why))) => findings.push(Finding::problem(
            "API",
            why.clone(),
            "give it the keys of the cluster: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or eval \"$(berth env)\"",
        )),
        Some(Ok(inside)) => findings.extend(check_inside(inside)),
    }
    findings
}

/// Nothing is wrong with an installation that nobody has used yet.
fn no_cluster(missing: &NoCluster) -> Finding {
    let NoCluster { name, region, others } = missing;
    let make = format!("`berth aws ecs create-cluster --cluster-name {name}`");
    if others.is_empty() {
        let found = format!("there is none yet in region {region}, and hosts need one to be in");
        return Finding::warning("clusters", found, format!("make it with {make}, then start agents"));
    }
    Finding::warning(
        "clusters",
        format!(
            "there is no cluster {name} in region {region}; there are {}",
            named(others)
        ),
        format!("look at one of them with --cluster NAME, or make it with {make}"),
    )
}

fn readiness(facts: &ClusterFacts) -> Finding {
    match &facts.ready {
        Err(why) => Finding::problem(
            "controller",
            format!("{} does not answer: {why}", facts.endpoint),
            "is it running (systemctl status berth-controller)? is the address right? its log says why it stopped",
        ),
        Ok((true, _)) => Finding::ok("controller", format!("{} is ready", facts.endpoint)),
        Ok((false, text)) => Finding::problem(
            "controller",
            format!("{} is {text}", facts.endpoint),
            "it lives and cannot serve: it needs a majority of the members; look at the others' /readyz and logs",
        ),
    }
}

fn skew(ahead: i64) -> Finding {
    let text = match ahead {
        0 => "as this machine's".to_owned(),
        ahead => format!(
            "{} s {} this machine's",
            ahead.abs(),
            if ahead > 0 { "ahead of" } else { "behind" }
        ),
    };
    let advice = "run chrony or systemd-timesyncd on both machines";
    match ahead.abs() {
        skew if skew >= TOLERATED_SKEW_SECS => {
            Finding::problem("controller's clock", format!("{text}: signatures are refused"), advice)
        }
        skew if skew >= NOTICED_SKEW_SECS => Finding::warning("controller's clock", text, advice),
        _ => Finding::ok("controller's clock", text),
    }
}

fn sample(facts: &ClusterFacts, name: &str) -> Option<f64> {
    facts
        .samples
        .iter()
        .find(|(known, _)| known == name)
        .map(|(_, value)| *value)
}

fn member(facts: &ClusterFacts) -> Option<Finding> {
    let committed = sample(facts, "berth_raft_commit_index")?;
    let applied = sample(facts, "berth_raft_applied_index")?;
    let role = ["leader", "follower", "candidate"]
        .into_iter()
        .find(|role| sample(facts, &format!("berth_raft_role{{role=\"{role}\"}}")) == Some(1.0))?;
    let text = format!("{role}, applied {applied:.0} of {committed:.0}");
    Some(match role {
        "candidate" => Finding::problem(
            "member",
            text,
            "it asks to be elected and is not: a majority of the members must be up and reach each other",
        ),
        _ => Finding::ok("member", text),
    })
}

fn disk(facts: &ClusterFacts) -> Option<Finding> {
    let free = sample(facts, "berth_store_free_bytes")?;
    let text = format!("{:.0} MiB free", free / (1024.0 * 1024.0));
    Some(if free < LEAST_FREE_BYTES {
        Finding::problem(
            "controller's disk",
            format!("{text}: changes are refused"),
            "free space on the disk of its data directory",
        )
    } else if free < GOOD_FREE_BYTES {
        Finding::warning(
            "controller's disk",
            text,
            "free space on the disk of its data directory before changes are refused",
        )
    } else {
        Finding::ok("controller's disk", text)
    })
}

fn backups(facts: &ClusterFacts) -> Option<Finding> {
    let failed = sample(facts, "berth_backups_total{outcome=\"failed\"}")?;
    (failed > 0.0).then(|| {
        Finding::warning(
            "backups",
            format!("{failed:.0} scheduled ones have failed since the controller started"),
            "its log says why; `berth backup create` makes one now",
        )
    })
}

fn check_inside(inside: &Inside) -> Vec<Finding> {
    let cluster = format!("cluster {}", inside.name);
    let hosts = match (inside.connected, inside.away.len()) {
        (0, 0) => Finding::warning(
            &cluster,
            "has no hosts",
            "make a token with `berth token create --role agent`, and start an agent on a host with it: `berth agent --join-file FILE --peer \
             HOST:PORT`; on the machine of a controller that is alone: `berth agent --controller http://127.0.0.1:7481`",
        ),
        (connected, 0) => Finding::ok(&cluster, format!("all {connected} hosts are connected")),
        (connected, away) => Finding::problem(
            &cluster,
            format!(
                "{connected} hosts are connected, {away} are not: {}",
                named(&inside.away)
            ),
            "look at the agents there (systemctl status berth-agent); a host that is gone for good: `berth hosts remove HOST`",
        ),
    };
    let mut findings = vec![hosts];
    let stuck: Vec<String> = inside
        .stuck
        .iter()
        .map(|(task, status, minutes)| format!("{task} {status} for {minutes} min"))
        .collect();
    if !stuck.is_empty() {
        findings.push(Finding::problem(
            "tasks",
            format!("{} do not get on: {}", stuck.len(), named(&stuck)),
            "the log of the agent on the task's host says what it waits for; `berth ps` shows which host that is",
        ));
    }
    let short: Vec<String> = inside
        .short
        .iter()
        .map(|(name, running, desired)| format!("{name} ({running} of {desired})"))
        .collect();
    if !short.is_empty() {
        findings.push(Finding::warning(
            "services",
            format!("{} have fewer tasks than they want: {}", short.len(), named(&short)),
            "`berth ps` says why; it may be on its way",
        ));
    }
    findings
}

fn controllers(facts: &ClusterFacts) -> Option<Finding> {
    let (count, away) = facts.controllers.as_ref()?;
    if *count < 2 {
        return None;
    }
    if away.is_empty() {
        return Some(Finding::ok(
            "controllers",
            format!("all {count} are in touch with the leader"),
        ));
    }
    Some(Finding::problem(
        "controllers",
        format!(
            "{} of {count} are not in touch with the leader: {}",
            away.len(),
            named(away)
        ),
        "start them (systemctl status berth-controller); one that is lost for good is replaced: `berth members remove NAME`, \
         then a new one with a token of `berth token create --role controller`",
    ))
}

fn named(names: &[String]) -> String {
    let shown = names.iter().take(MAX_NAMED).cloned().collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(MAX_NAMED) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;

    fn good() -> ClusterFacts {
        let samples = [
            ("berth_raft_role{role=\"leader\"}", 1.0),
            ("berth_raft_commit_index", 17.0),
            ("berth_raft_applied_index", 17.0),
            ("berth_store_free_bytes", 1e11),
            ("berth_backups_total{outcome=\"failed\"}", 0.0),
        ];
        ClusterFacts {
            endpoint: "http://127.0.0.1:7480".to_owned(),
            ready: Ok((true, "ready".to_owned())),
            clock_ahead_secs: Some(0),
            samples: samples.map(|(name, value)| (name.to_owned(), value)).to_vec(),
            controllers: Some((3, vec![])),
            inside: Some(Ok(Inside {
                name: "default".to_owned(),
                connected: 3,
                ..Inside::default()
            })),
        }
    }

    fn at(level: Level, facts: &ClusterFacts) -> Vec<String> {
        let findings = check(facts).into_iter().filter(|finding| finding.level == level);
        findings.map(|finding| finding.subject).collect()
    }

    #[test]
    fn cluster_as_it_should_be_has_nothing_to_do() {
        let findings = check(&good());
        assert!(
            findings.iter().all(|f| f.level == Level::Ok && f.advice.is_empty()),
            "{findings:#?}"
        );
        assert_eq!(findings.len(), 6);
    }

    #[test]
    fn installation_without_the_cluster_is_told_how_to_make_it_and_is_no_problem() {
        let without = |others: &[&str]| ClusterFacts {
            inside: Some(Err(NotSeen::NoCluster(NoCluster {
                name: "default".to_owned(),
                region: "us-east-1".to_owned(),
                others: others.iter().map(|&name| name.to_owned()).collect(),
            }))),
            ..good()
        };
        for (others, said) in [(&[][..], "there is none yet"), (&["shop"], "there are shop")] {
            let facts = without(others);
            assert_eq!(at(Level::Problem, &facts), Vec::<String>::new());
            assert_eq!(at(Level::Warning, &facts), ["clusters"]);
            let finding = check(&facts).pop().expect("the last one");
            assert!(finding.found.contains(said), "{finding:?}");
            assert!(
                finding.advice.contains("create-cluster --cluster-name default"),
                "{finding:?}"
            );
        }
        let refused = ClusterFacts {
            inside: Some(Err(NotSeen::Refused("the signature is wrong".to_owned()))),
            ..good()
        };
        assert_eq!(at(Level::Problem, &refused), ["API"]);
    }

    #[test]
    fn controller_that_does_not_answer_is_the_only_finding() {
        let facts = ClusterFacts {
            ready: Err("connection refused".to_owned()),
            ..good()
        };
        assert_eq!(check(&facts).len(), 1);
        assert_eq!(at(Level::Problem, &facts), ["controller"]);
    }

    #[test]
    fn cluster_in_trouble_is_told_where() {
        let mut facts = good();
        facts.ready = Ok((false, "not ready: no leader".to_owned()));
        facts.clock_ahead_secs = Some(-400);
        facts.samples[0].0 = "berth_raft_role{role=\"candidate\"}".to_owned();
        facts.controllers = Some((3, vec!["c2".to_owned()]));
        facts.samples[3].1 = 1e6;
        facts.samples[4].1 = 2.0;
        facts.inside = Some(Ok(Inside {
            name: "default".to_owned(),
            away: (1..=7).map(|number| format!("host-{number}")).collect(),
            connected: 1,
            stuck: vec![("abc".to_owned(), "PENDING".to_owned(), 12)],
            short: vec![("web".to_owned(), 1, 3)],
        }));
        assert_eq!(
            at(Level::Problem, &facts),
            [
                "controller",
                "controller's clock",
                "member",
                "controllers",
                "controller's disk",
                "cluster default",
                "tasks"
            ]
        );
        assert_eq!(at(Level::Warning, &facts), ["backups", "services"]);
        let text = check(&facts)
            .into_iter()
            .map(|finding| finding.found)
            .collect::<Vec<_>>()
            .join("\n");
        assert!(
            text.contains("host-5 and 2 more") && text.contains("400 s behind"),
            "{text}"
        );
    }
}
