//! `SleepHost`. Shell.

use berth_aws::AwsError;
use berth_aws::berth::{Host, SleepHostRequest, SleepHostResponse};
use berth_core::model::{ContainerInstance, PowerChange};
use berth_core::state::{Command, Feature};

use super::describe_hosts;
use crate::api::context::{Api, Call};
use crate::api::ecs::references;
use crate::api::errors::{self, invalid};

pub(crate) async fn handle(api: &Api, call: &Call, input: SleepHostRequest) -> Result<SleepHostResponse, AwsError> {
    let state = api.read().await?;
    let name = input.container_instance.unwrap_or_default();
    let host = references::existing_host(&state, &call.scope, input.cluster.as_deref(), &name)?;
    let force = input.force.unwrap_or(false);
    let host = by_hand(api, &host, PowerChange::SleepByHand { force }).await?;
    Ok(SleepHostResponse {
        host: Some(host),
        can_be_woken: Some(api.wakes_hosts()),
    })
}

/// Changes what a host does as somebody wishes; returns it as it is then.
pub(super) async fn by_hand(api: &Api, host: &ContainerInstance, change: PowerChange) -> Result<Host, AwsError> {
    errors::check_upgraded(
        api.uses(Feature::ManagedScaling),
        invalid,
        "Putting hosts to sleep and waking them is not supported",
    )?;
    let at = api.now();
    api.propose(Command::ChangePower {
        container_instance: host.id,
        change,
        at,
    })
    .await?;
    let state = api.read().await?;
    let now = state.container_instance(host.id);
    Ok(now.map_or_else(Host::default, |host| describe_hosts::host(&state, at, host)))
}

#[cfg(test)]
mod tests {
    use berth_aws::berth::operations::{DescribeHosts, SleepHost, WakeHost};
    use berth_aws::ecs::operations::UpdateContainerInstancesState;
    use berth_core::model::{ContainerInstanceId, PowerChange};
    use berth_core::state::Command;
    use serde_json::{Value, json};

    use crate::api::testing::{Harness, NOW};

    fn of(id: impl ToString) -> Value {
        json!({"containerInstance": id.to_string()})
    }

    /// The host falls asleep, as its agent would have it.
    fn falls_asleep(harness: &Harness, id: ContainerInstanceId) {
        let told = Command::ChangePower {
            container_instance: id,
            change: PowerChange::Sleep,
            at: NOW,
        };
        harness.state.apply(&told).expect("it is empty");
        let gone = Command::RecordAgentDisconnected {
            container_instance: id,
            last_heard_at: NOW,
            at: NOW,
        };
        harness.state.apply(&gone).expect("it is there");
    }

    #[tokio::test]
    async fn host_is_emptied_put_to_sleep_and_called_by_hand() {
        let harness = Harness::new();
        let id = harness.add_host_with(1, &[("berth.sleep", "")], None);
        let answer = harness.call::<SleepHost>(of(id)).await.expect("is told");
        assert_eq!(answer["canBeWoken"], true);
        let host = &answer["host"];
        assert_eq!(
            (&host["power"], &host["sleepsByHand"], &host["tasksLeft"]),
            (&json!("emptying"), &json!(true), &json!(0))
        );
        let stays = harness.call::<WakeHost>(of(id)).await.expect("stays");
        assert_eq!(stays["host"]["power"], "awake");
        harness.call::<SleepHost>(of(id)).await.expect("is told");
        falls_asleep(&harness, id);
        let error = harness.call::<SleepHost>(of(id)).await.expect_err("refused");
        assert_eq!(error.kind.code, "ClientException");
        assert!(error.message.contains("asleep by hand already"), "{}", error.message);
        let woken = harness.call::<WakeHost>(of(id)).await.expect("is called");
        assert_eq!(
            (&woken["host"]["power"], &woken["host"]["sleepsByHand"]),
            (&json!("waking"), &json!(false))
        );
        let described = json!({"containerInstances": [id.to_string()]});
        let described = harness.call::<DescribeHosts>(described).await.expect("described");
        assert_eq!(described["hosts"][0], woken["host"]);
    }

    #[tokio::test]
    async fn what_cannot_sleep_or_be_woken_is_refused_and_says_what_to_do() {
        let harness = Harness::new();
        let (plain, away) = (
            harness.add_host(1, "z"),
            harness.add_host_with(2, &[("berth.sleep", "")], None),
        );
        let gone = Command::RecordAgentDisconnected {
            container_instance: away,
            last_heard_at: NOW,
            at: NOW,
        };
        harness.state.apply(&gone).expect("it is there");
        let unknown = "0".repeat(31) + "9";
        for (input, part) in [
            (
                of(plain),
                "Host host-1 cannot be put to sleep: its agent was started without --sleep-command",
            ),
            (
                of(away),
                "Host host-2 cannot be put to sleep now: its agent, which would do so, is away.",
            ),
            (of(&unknown), "There is no container instance"),
        ] {
            let error = harness.call::<SleepHost>(input).await.expect_err(part);
            assert!(error.message.contains(part), "{}", error.message);
        }
        let error = harness.call::<WakeHost>(of(away)).await.expect_err("it is no sleeper");
        assert!(error.message.contains("it was not put to sleep"), "{}", error.message);
        let drained = json!({"containerInstances": [plain.to_string()], "status": "DRAINING"});
        harness
            .call::<UpdateContainerInstancesState>(drained)
            .await
            .expect("nothing has changed");
    }

    #[tokio::test]
    async fn host_that_sleeps_is_not_woken_without_a_command_for_it_and_one_that_empties_stays() {
        let harness = Harness::without_wake_command();
        let id = harness.add_host_with(1, &[("berth.sleep", "")], None);
        let answer = harness
            .call::<SleepHost>(of(id))
            .await
            .expect("somebody switches it on");
        assert_eq!(answer["canBeWoken"], false);
        let stays = harness.call::<WakeHost>(of(id)).await.expect("nothing is called");
        assert_eq!(stays["host"]["power"], "awake");
        harness.call::<SleepHost>(of(id)).await.expect("is told");
        falls_asleep(&harness, id);
        let error = harness.call::<WakeHost>(of(id)).await.expect_err("refused");
        assert!(error.message.contains("--wake-command"), "{}", error.message);
    }

    #[tokio::test]
    async fn hosts_are_put_to_sleep_once_all_controllers_know_of_it() {
        let harness = Harness::before_levels();
        let id = harness.add_host_with(1, &[("berth.sleep", "")], None);
        let error = harness.call::<SleepHost>(of(id)).await.expect_err("refused");
        assert!(error.message.contains("not every controller"), "{}", error.message);
    }
}
