//! What an agent offers to tasks of the launch type FARGATE, as flags and as attributes of its host.
//!
//! Owns the flags. Shell: looks which runtime there is.

use anyhow::{Result, bail};
use berth_agent::runtime::containerd::OciRuntime;
use berth_core::model::{Attributes, attribute_names};
use clap::Args;

/// What the simulated runtime calls what runs its containers.
const SIMULATED: &str = "simulated";

/// Flags of agents.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct FargateArguments {
    /// Offer hosts to tasks of the launch type FARGATE
    #[arg(long)]
    fargate: bool,
    /// Offer hosts to tasks of the capacity provider FARGATE_SPOT, which are stopped when their host is drained
    #[arg(long)]
    fargate_spot: bool,
    /// What runs the containers of such tasks: runc, kata, runsc, or containerd's name of another, such as io.containerd.NAME.v2 [default: kata
    /// where it is installed and there is /dev/kvm, else runsc where it can run a container, else runc]
    #[arg(long, value_name = "NAME")]
    fargate_runtime: Option<String>,
}

impl FargateArguments {
    /// What runs the containers of such tasks; nothing where containers are simulated.
    ///
    /// # Errors
    /// If the runtime that was named is not on this machine, or would run nothing.
    pub(crate) async fn runtime(&self, is_simulated: bool) -> Result<Option<OciRuntime>> {
        let runtime = match &self.fargate_runtime {
            Some(name) if is_simulated => {
                bail!("--fargate-runtime {name} is for real containers, and these are simulated: leave it out")
            }
            Some(name) if !self.is_offered() => {
                bail!("--fargate-runtime {name} is for hosts that take such tasks: add --fargate or --fargate-spot")
            }
            Some(name) => OciRuntime::named(name)?,
            None if is_simulated => return Ok(None),
            None if self.is_offered() => OciRuntime::strongest().await,
            None => return Ok(Some(OciRuntime::runc())),
        };
        tracing::info!(
            runtime = runtime.name(),
            "this runs the containers of tasks of the launch type FARGATE"
        );
        Ok(Some(runtime))
    }

    fn is_offered(&self) -> bool {
        self.fargate || self.fargate_spot
    }

    /// What a host says of itself whose containers are run by `runtime`, or simulated.
    pub(crate) fn attributes(&self, runtime: Option<&OciRuntime>) -> Attributes {
        let runs = Some(runtime.map_or(SIMULATED, OciRuntime::name).to_owned());
        let shares_network = runtime.is_none_or(OciRuntime::shares_network);
        let offered = [
            (attribute_names::FARGATE, self.fargate, runs.clone()),
            (attribute_names::FARGATE_SPOT, self.fargate_spot, runs),
            (
                attribute_names::FARGATE_SIDECARS,
                shares_network && self.is_offered(),
                None,
            ),
        ];
        let offered = offered.into_iter().filter(|(_, is_offered, _)| *is_offered);
        offered.map(|(name, _, value)| (name.to_owned(), value)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(arguments: &FargateArguments, runtime: Option<&OciRuntime>) -> Vec<(String, Option<String>)> {
        arguments.attributes(runtime).into_iter().collect()
    }

    #[test]
    fn host_says_what_it_offers_and_what_runs_it() {
        let said = |name: &str, value: Option<&str>| (name.to_owned(), value.map(str::to_owned));
        let arguments = FargateArguments {
            fargate: true,
            ..Default::default()
        };
        let runc = OciRuntime::runc();
        assert_eq!(
            names(&arguments, Some(&runc)),
            [
                said("berth.fargate", Some("runc")),
                said("berth.fargate-sidecars", None)
            ]
        );
        let spot = FargateArguments {
            fargate_spot: true,
            ..Default::default()
        };
        assert_eq!(
            names(&spot, None),
            [
                said("berth.fargate-sidecars", None),
                said("berth.fargate-spot", Some("simulated"))
            ]
        );
        assert_eq!(names(&FargateArguments::default(), Some(&runc)), []);
    }

    #[tokio::test]
    async fn runtime_that_is_not_there_is_an_error_that_names_it() {
        let arguments = FargateArguments {
            fargate: true,
            fargate_runtime: Some("io.containerd.none-such.v1".to_owned()),
            ..Default::default()
        };
        let error = async |arguments: &FargateArguments, is_simulated| {
            arguments.runtime(is_simulated).await.expect_err("refused").to_string()
        };
        let said = error(&arguments, false).await;
        assert!(said.contains("containerd-shim-none-such-v1 is not in PATH"), "{said}");
        let said = error(&arguments, true).await;
        assert!(said.contains("these are simulated"), "{said}");
        let unused = FargateArguments {
            fargate: false,
            ..arguments
        };
        let said = error(&unused, false).await;
        assert!(said.contains("add --fargate or --fargate-spot"), "{said}");
    }
}
