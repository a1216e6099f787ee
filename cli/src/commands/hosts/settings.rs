//! `berth hosts settings`: shows how a cluster keeps in touch with its hosts and how long it remembers what ran there, and changes it.
//!
//! Owns the flags and what is said of the settings; their bounds are the controller's. Shell, but for the sentences, which are pure.

use anyhow::{Context, Result, bail, ensure};
use berth_aws::berth::operations::{DescribeHostSettings, UpdateHostSettings};
use berth_aws::berth::{DescribeHostSettingsRequest, HostSettings, UpdateHostSettingsRequest};
use clap::Args;

use crate::cluster::Cluster;
use crate::output;
use crate::target::TargetArguments;

/// Flags of `berth hosts settings`.
#[derive(Args, Debug)]
pub(super) struct Arguments {
    /// How often an agent says that it is alive, such as 2s or 500ms
    #[arg(long, value_name = "TIME", value_parser = milliseconds)]
    heartbeat_interval: Option<i32>,
    /// How long an agent is silent before its host is given up and its tasks are replaced
    #[arg(long, value_name = "TIME", value_parser = milliseconds)]
    lost_after: Option<i32>,
    /// How long a host that reaches no controller lets its tasks run on; `off` for as long as they like
    #[arg(long, value_name = "TIME|off", value_parser = fence)]
    fence_after: Option<i32>,
    /// How long stopped tasks can still be described, such as 24h; at most 5,000 of the cluster are, the last ones
    #[arg(long, value_name = "TIME", value_parser = milliseconds)]
    keep_stopped_tasks: Option<i32>,
    /// How long a host is without tasks before it may be put to sleep, where its capacity provider has managed scaling
    #[arg(long, value_name = "TIME", value_parser = milliseconds)]
    sleep_after: Option<i32>,
    /// How long a host that is called may take to wake before it is called again
    #[arg(long, value_name = "TIME", value_parser = milliseconds)]
    wake_within: Option<i32>,
    #[command(flatten)]
    target: TargetArguments,
}

/// Changes what is given, and prints the settings.
///
/// # Errors
/// If the cluster cannot be asked, or cannot keep the settings.
pub(super) async fn run(arguments: Arguments) -> Result<()> {
    let cluster = Cluster::of(&arguments.target.find()?)?;
    let given = [
        arguments.heartbeat_interval,
        arguments.lost_after,
        arguments.fence_after,
        arguments.keep_stopped_tasks,
        arguments.sleep_after,
        arguments.wake_within,
    ];
    let settings = if given.iter().all(Option::is_none) {
        let request = DescribeHostSettingsRequest {
            cluster: cluster.named(),
        };
        cluster.call::<DescribeHostSettings>(&request).await?.host_settings
    } else {
        let request = UpdateHostSettingsRequest {
            cluster: cluster.named(),
            heartbeat_interval_ms: arguments.heartbeat_interval,
            host_lost_after_ms: arguments.lost_after,
            fence_after_ms: arguments.fence_after,
            stopped_tasks_kept_ms: arguments.keep_stopped_tasks,
            sleep_after_ms: arguments.sleep_after,
            wake_within_ms: arguments.wake_within,
        };
        cluster.call::<UpdateHostSettings>(&request).await?.host_settings
    };
    let settings = settings.context("the controller's answer has no settings")?;
    sentences(cluster.name(), &settings)
        .iter()
        .try_for_each(|line| output::line(line))
}

fn sentences(cluster: &str, settings: &HostSettings) -> [String; 6] {
    let time = |ms: Option<i32>| text(ms.unwrap_or(0));
    let fence = match settings.fence_after_ms {
        None | Some(0) => "fence after:        off: a host that reaches no controller lets its tasks run on".to_owned(),
        Some(ms) => format!(
            "fence after:        {}: a host that reaches no controller for so long stops its tasks",
            text(ms)
        ),
    };
    [
        format!(
            "heartbeat interval: {}: agents of {cluster} say so often that they are alive",
            time(settings.heartbeat_interval_ms)
        ),
        format!(
            "lost after:         {}: a host whose agent is silent for so long is given up, and its tasks are replaced",
            time(settings.host_lost_after_ms)
        ),
        fence,
        format!(
            "keep stopped tasks: {}: so long they can be described, and the last 5,000 at most",
            time(settings.stopped_tasks_kept_ms)
        ),
        format!(
            "sleep after:        {}: a host without tasks for so long may be put to sleep, where its capacity provider has managed scaling",
            time(settings.sleep_after_ms)
        ),
        format!(
            "wake within:        {}: a host that is called and has not come by then is called again",
            time(settings.wake_within_ms)
        ),
    ]
}

fn text(ms: i32) -> String {
    match ms {
        3_600_000.. if ms % 3_600_000 == 0 => format!("{}h", ms / 3_600_000),
        _ if ms % 1_000 == 0 => format!("{}s", ms / 1_000),
        _ => format!("{ms}ms"),
    }
}

fn fence(text: &str) -> Result<i32> {
    if text == "off" { Ok(0) } else { milliseconds(text) }
}

/// Reads a time in milliseconds; the controller knows which are too long or too short.
fn milliseconds(text: &str) -> Result<i32> {
    let what = || format!("{text:?} is no time; write a number and ms, s, m or h, such as 30s");
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let unit = match &text[digits..] {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => bail!(what()),
    };
    let number: i32 = text[..digits].parse().with_context(what)?;
    let ms = number.checked_mul(unit).with_context(what)?;
    ensure!(ms > 0, "{text} is no time; a time is longer than nothing");
    Ok(ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_with_their_unit_and_off_is_no_fence() {
        for (text, ms) in [("500ms", 500), ("30s", 30_000), ("2m", 120_000), ("1h", 3_600_000)] {
            assert_eq!(milliseconds(text).expect(text), ms);
        }
        for text in ["", "30", "s", "0s", "-1s", "3w", "99999999h"] {
            assert!(milliseconds(text).is_err(), "{text}");
        }
        assert_eq!(fence("off").expect("off"), 0);
        assert!(milliseconds("off").is_err());
    }

    #[test]
    fn settings_are_said_with_what_they_mean() {
        let settings = HostSettings {
            heartbeat_interval_ms: Some(500),
            host_lost_after_ms: Some(10_000),
            fence_after_ms: Some(0),
            stopped_tasks_kept_ms: Some(86_400_000),
            sleep_after_ms: Some(900_000),
            wake_within_ms: Some(300_000),
        };
        let [heartbeat, lost, fence, kept, sleep, wake] = sentences("shop", &settings);
        assert!(heartbeat.contains("500ms: agents of shop"), "{heartbeat}");
        assert!(lost.contains("10s: a host whose agent is silent"), "{lost}");
        assert!(fence.contains("off"), "{fence}");
        assert!(kept.contains("24h: so long"), "{kept}");
        assert!(sleep.contains("900s: a host without tasks"), "{sleep}");
        assert!(wake.contains("300s: a host that is called"), "{wake}");
    }
}
