//! Questions that a controller answers once there is something to say, put to another controller of the cluster where one does not answer.
//!
//! Owns when another is asked, and when nobody is any more. Shell.

use std::time::Duration;

use anyhow::{Context, Result};
use berth_aws::Operation;
use berth_aws::berth::EventGap;
use clap::Args;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio::time::{Instant, sleep, timeout};

use crate::client::ServiceError;
use crate::cluster::{Cluster, NoCluster};
use crate::output::{self, Format};
use crate::target::Target;

/// How long a controller may hold its answer back.
pub(crate) const WAIT_MS: i32 = 10_000;

/// How long an answer may take: what a controller holds it back, and what it may take for its own work. One whose machine is gone says nothing.
const ANSWER_DEADLINE: Duration = Duration::from_secs(25);

/// Pause before the next controller is asked once all have been.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// How long no controller may answer: one that is restarted, or a group that elects its leader, is back by then.
const PATIENCE: Duration = Duration::from_secs(300);

/// Errors after which the same question may be answered: the others are about the question.
const PASSING: [&str; 4] = [
    "ServiceUnavailable",
    "ThrottlingException",
    "InternalFailure",
    "ServerException",
];

/// The flag of commands that follow a cluster.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct OtherControllers {
    /// URL of another controller of the same cluster of controllers, which is asked where the first does not answer; can be given several times
    #[arg(long = "or-endpoint", value_name = "URL")]
    others: Vec<String>,
}

/// A cluster, with the controllers that can be asked about it.
pub(crate) struct Follower {
    controllers: Vec<(String, Cluster)>,
    /// Which was asked last.
    current: usize,
    has_heard: bool,
}

impl Follower {
    /// The cluster that a command means.
    ///
    /// # Errors
    /// If an endpoint is no address.
    pub(crate) fn of(target: &Target, others: &OtherControllers) -> Result<Self> {
        let mut controllers = vec![(target.endpoint.clone(), Cluster::of(target)?)];
        for endpoint in &others.others {
            let other = Target {
                endpoint: endpoint.clone(),
                ..target.clone()
            };
            controllers.push((endpoint.clone(), Cluster::of(&other)?));
        }
        Ok(Self {
            controllers,
            current: 0,
            has_heard: false,
        })
    }

    /// The cluster, by the controller that answered last.
    pub(crate) fn cluster(&self) -> &Cluster {
        &self.controllers[self.current].1
    }

    /// Calls an operation that reads, on whichever controller answers.
    ///
    /// # Errors
    /// If a controller refuses the question, or none answers: before the first answer, each is asked once.
    pub(crate) async fn call<O>(&mut self, input: &O::Input) -> Result<O::Output>
    where
        O: Operation,
        O::Input: Serialize,
        O::Output: DeserializeOwned,
    {
        let (began, mut asked) = (Instant::now(), 0);
        loop {
            let answer = timeout(ANSWER_DEADLINE, self.cluster().call::<O>(input)).await;
            let seconds = ANSWER_DEADLINE.as_secs();
            let answer = answer.with_context(|| format!("no answer within {seconds} s"));
            let error = match answer.and_then(|answer| answer) {
                Ok(answer) => {
                    if asked > 0 {
                        output::complain(&format!("berth: {} answers", self.controllers[self.current].0));
                    }
                    self.has_heard = true;
                    return Ok(answer);
                }
                Err(error) if is_refusal(&error) => return Err(error),
                Err(error) => error,
            };
            asked += 1;
            let all_were_asked = asked % self.controllers.len() == 0;
            let is_over = if self.has_heard {
                began.elapsed() > PATIENCE
            } else {
                all_were_asked
            };
            if is_over {
                return Err(error);
            }
            if asked == 1 {
                let endpoint = &self.controllers[self.current].0;
                output::complain(&format!("berth: {endpoint} does not answer for now: {error:#}"));
            }
            self.current = (self.current + 1) % self.controllers.len();
            if all_were_asked {
                sleep(AGAIN_AFTER).await;
            }
        }
    }
}

/// Whether a controller has answered, and would answer the same again.
/// Says that something is missing here, in a line of its own where lines are for programs.
///
/// # Errors
/// If nothing can be written.
pub(crate) fn tell_gap(gap: &EventGap, format: Format, what: &str) -> Result<()> {
    if format == Format::Json {
        output::line(&json!({"gap": gap}).to_string())?;
    }
    let reason = gap.reason.as_deref().unwrap_or_default();
    output::complain(&format!("berth: {what} {reason}"));
    Ok(())
}

fn is_refusal(error: &anyhow::Error) -> bool {
    let refused = error.downcast_ref::<ServiceError>();
    let passing = |refusal: &ServiceError| PASSING.contains(&refusal.code.as_str()) || refusal.code.starts_with('5');
    error.is::<NoCluster>() || refused.is_some_and(|refusal| !passing(refusal))
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;

    #[test]
    fn question_that_is_refused_is_not_put_again_and_one_that_nobody_answers_is() {
        let refusal = |code: &str| {
            anyhow::Error::from(ServiceError {
                operation: "GetEvents",
                code: code.to_owned(),
                message: String::new(),
            })
        };
        for code in ["InvalidParameterException", "InvalidSignatureException"] {
            assert!(is_refusal(&refusal(code)), "{code}");
        }
        for code in ["ServiceUnavailable", "ThrottlingException", "502 Bad Gateway"] {
            assert!(!is_refusal(&refusal(code)), "{code}");
        }
        assert!(!is_refusal(&anyhow!("Connection refused")));
    }
}
