//! `runtimePlatform` of task definitions: the architecture and the operating system that they are made for. Pure.

use berth_aws::AwsError;
use berth_aws::ecs::{CPUArchitecture, OSFamily, RuntimePlatform as Given};
use berth_core::model::{CpuArchitecture, RuntimePlatform};

use crate::api::errors::client;

/// The platform, if the definition says anything of it.
///
/// # Errors
/// `ClientException` for an operating system that no host has.
pub(super) fn from_request(given: Option<Given>) -> Result<Option<RuntimePlatform>, AwsError> {
    let given = given.unwrap_or_default();
    let linux = match given.operating_system_family {
        None => false,
        Some(OSFamily::Linux) => true,
        Some(windows) => {
            return Err(client(format!(
                "The operating system family {windows} is not supported by Berth: the containers of its hosts are Linux. Use LINUX, or leave \
                 runtimePlatform.operatingSystemFamily out."
            )));
        }
    };
    let cpu_architecture = given.cpu_architecture.map(|architecture| match architecture {
        CPUArchitecture::X8664 => CpuArchitecture::X86_64,
        CPUArchitecture::Arm64 => CpuArchitecture::Arm64,
    });
    let platform = RuntimePlatform {
        cpu_architecture,
        linux,
    };
    Ok((platform != RuntimePlatform::default()).then_some(platform))
}

/// The platform in an answer.
pub(in crate::api::ecs) fn render(platform: RuntimePlatform) -> Given {
    Given {
        cpu_architecture: platform.cpu_architecture.map(|architecture| match architecture {
            CpuArchitecture::X86_64 => CPUArchitecture::X8664,
            CpuArchitecture::Arm64 => CPUArchitecture::Arm64,
        }),
        operating_system_family: platform.linux.then_some(OSFamily::Linux),
    }
}

#[cfg(test)]
mod tests {
    use berth_aws::ecs::operations::{RegisterTaskDefinition, RunTask};
    use serde_json::{Value, json};

    use crate::api::testing::Harness;

    async fn register(harness: &Harness, platform: Value) -> Result<Value, berth_aws::AwsError> {
        let input = json!({
            "family": "web", "runtimePlatform": platform, "containerDefinitions": [{"name": "c", "image": "i", "memory": 64}]
        });
        harness.call::<RegisterTaskDefinition>(input).await
    }

    #[tokio::test]
    async fn tasks_go_to_hosts_of_the_architecture_that_their_definition_names() {
        let harness = Harness::new();
        let of = |architecture: &'static str| [("ecs.cpu-architecture", architecture), ("ecs.os-type", "linux")];
        harness.add_host_with(1, &of("x86_64"), None);
        let arm = json!({"cpuArchitecture": "ARM64", "operatingSystemFamily": "LINUX"});
        let registered = register(&harness, arm.clone()).await.expect("registers");
        assert_eq!(registered["taskDefinition"]["runtimePlatform"], arm);
        let run = json!({"taskDefinition": "web"});
        let answer = harness.call::<RunTask>(run.clone()).await.expect("answers");
        assert_eq!(answer["failures"][0]["reason"], "ATTRIBUTE");
        let detail = answer["failures"][0]["detail"].as_str().unwrap_or_default();
        assert!(detail.contains("ecs.cpu-architecture"), "{detail}");
        harness.add_host_with(2, &of("arm64"), None);
        let answer = harness.call::<RunTask>(run).await.expect("runs");
        assert_eq!(
            answer["tasks"][0]["attributes"],
            json!([{"name": "ecs.cpu-architecture", "value": "arm64"}])
        );
    }

    #[tokio::test]
    async fn platform_is_shown_as_it_was_given_and_an_operating_system_that_no_host_has_is_refused() {
        let harness = Harness::new();
        for platform in [
            json!({"cpuArchitecture": "X86_64"}),
            json!({"operatingSystemFamily": "LINUX"}),
            json!({}),
        ] {
            let registered = register(&harness, platform.clone()).await.expect("registers");
            assert_eq!(registered["taskDefinition"]["runtimePlatform"], platform);
        }
        let windows = json!({"operatingSystemFamily": "WINDOWS_SERVER_2022_CORE"});
        let error = register(&harness, windows).await.expect_err("refused");
        assert_eq!(error.kind.code, "ClientException");
        assert!(
            error
                .message
                .starts_with("The operating system family WINDOWS_SERVER_2022_CORE is not supported")
        );
    }
}
