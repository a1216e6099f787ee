//! A client for a controller's AWS-compatible endpoint: signs requests, reads answers and errors.
//!
//! Owns the way of one call over HTTP; what is called comes from the shapes in `berth-aws`. Shell.

use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use berth_aws::sigv4::{Credentials, Secret, Signer};
use berth_aws::{Operation, Protocol, Timestamp};
use http::{Method, Request, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper_util::client::legacy;
use hyper_util::rt::TokioExecutor;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::https::Connector;
use crate::running;
use crate::target::{Origin, Target};

/// How long one call may take: longer than the longest that the server holds an answer back.
const CALL_DEADLINE: Duration = Duration::from_secs(60);

/// Bytes of an answer: far above the largest page that the controller writes.
const MAX_ANSWER_BYTES: usize = 32 * 1024 * 1024;

/// Codes of errors that come of wrong keys.
const KEY_ERRORS: [&str; 4] = [
    "IncompleteSignatureException",
    "InvalidClientTokenId",
    "InvalidSignatureException",
    "UnrecognizedClientException",
];

/// What the server answered instead of an output.
#[derive(Debug, thiserror::Error)]
#[error("{operation}: {code}: {message}")]
pub(crate) struct ServiceError {
    /// The operation that was called.
    pub(crate) operation: &'static str,
    /// The error's code.
    pub(crate) code: String,
    /// The error's message.
    pub(crate) message: String,
}

/// Calls operations of a controller.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    http: legacy::Client<Connector, Full<Bytes>>,
    endpoint: Uri,
    credentials: Credentials,
    region: String,
    origin: Origin,
}

impl Client {
    /// The region whose resources it asks for.
    pub(crate) fn region(&self) -> &str {
        &self.region
    }

    /// A client for a cluster.
    ///
    /// # Errors
    /// If the endpoint is neither an `http://` nor an `https://` address, or it is not said whom to believe.
    pub(crate) fn new(target: &Target) -> Result<Self> {
        let endpoint: Uri = target
            .endpoint
            .parse()
            .with_context(|| format!("{} is not a URL", target.endpoint))?;
        if !matches!(endpoint.scheme_str(), Some("http" | "https")) || endpoint.authority().is_none() {
            bail!("{} is neither an http:// nor an https:// address", target.endpoint);
        }
        let credentials = Credentials {
            access_key: target.access_key_id.clone(),
            secret: Secret::new(target.secret_access_key.clone()),
            session_token: target.session_token.clone().map(Secret::new),
        };
        let http = legacy::Client::builder(TokioExecutor::new()).build(Connector::for_endpoint(&endpoint)?);
        Ok(Self {
            http,
            endpoint,
            credentials,
            region: target.region.clone(),
            origin: target.origin,
        })
    }

    /// Calls an operation of a JSON service.
    ///
    /// # Errors
    /// [`ServiceError`] if the controller refuses; others if it cannot be reached or understood.
    pub(crate) async fn call<O>(&self, input: &O::Input) -> Result<O::Output>
    where
        O: Operation,
        O::Input: Serialize,
        O::Output: DeserializeOwned,
    {
        let body = Bytes::from(serde_json::to_vec(input)?);
        let request = self.request::<O>(body)?;
        let answer = tokio::time::timeout(CALL_DEADLINE, async {
            let answer = self
                .http
                .request(request)
                .await
                .map_err(|error| self.unreachable(&error))?;
            let (parts, body) = answer.into_parts();
            let body = Limited::new(body, MAX_ANSWER_BYTES)
                .collect()
                .await
                .map_err(|error| anyhow::anyhow!(error))?;
            anyhow::Ok((parts.status, body.to_bytes()))
        });
        let (status, body) = answer.await.with_context(|| {
            format!(
                "{} did not answer {} within {} s",
                self.endpoint,
                O::NAME,
                CALL_DEADLINE.as_secs()
            )
        })??;
        if status.is_success() {
            return serde_json::from_slice(&body).with_context(|| format!("cannot read the answer to {}", O::NAME));
        }
        let refusal = refusal(O::NAME, status, &body);
        if self.origin == Origin::Environment && KEY_ERRORS.contains(&refusal.code.as_str()) {
            let hint = format!(
                "the keys of the environment are not those of the controller at {}; a `berth dev` that was started again has new ones: \
                 eval \"$(berth env)\"",
                self.base()
            );
            return Err(anyhow::Error::from(refusal).context(hint));
        }
        Err(refusal.into())
    }

    /// The endpoint as it was given, without the slash that the parser adds.
    fn base(&self) -> String {
        self.endpoint.to_string().trim_end_matches('/').to_owned()
    }

    fn unreachable(&self, error: &legacy::Error) -> anyhow::Error {
        let endpoint = self.base();
        let why = root_cause(error);
        if !error.is_connect() {
            let hint = match self.endpoint.scheme_str() {
                Some("https") => "",
                _ => "; if it speaks TLS, its URL begins with https://",
            };
            return anyhow!("the controller at {endpoint} broke off the connection: {why}{hint}");
        }
        if is_about_tls(error) {
            return anyhow!(
                "what answers at {endpoint} is not believed to be a controller: {why}; AWS_CA_BUNDLE has to name its cluster's authorities, which \
                 a controller has in its data directory as identity/authorities.pem, and the URL a name that its certificate is for; or it speaks \
                 plain HTTP"
            );
        }
        let running = running::list().unwrap_or_default();
        let others: Vec<String> = running
            .into_iter()
            .map(|cluster| cluster.endpoint)
            .filter(|other| *other != endpoint)
            .collect();
        unreachable_text(&endpoint, self.origin, &why, &others)
    }

    fn request<O: Operation>(&self, body: Bytes) -> Result<Request<Full<Bytes>>> {
        let service = O::SERVICE;
        if service.protocol == Protocol::AwsQuery {
            bail!("{} speaks a protocol that this client does not", service.name);
        }
        let authority = self.endpoint.authority().context("the endpoint has no host")?.as_str();
        let request = Request::builder()
            .method(Method::POST)
            .uri(format!(
                "{}://{authority}/",
                self.endpoint.scheme_str().unwrap_or("http")
            ))
            .header(header::HOST, authority)
            .header(header::CONTENT_TYPE, service.protocol.content_type())
            .header("x-amz-target", format!("{}.{}", service.target_prefix, O::NAME))
            .body(())?;
        let (mut parts, ()) = request.into_parts();
        let signer = Signer {
            credentials: self.credentials.clone(),
            region: self.region.clone(),
            service: service.signing_name.to_owned(),
        };
        signer.sign(&mut parts, &body, Timestamp(jiff::Timestamp::now().as_millisecond()))?;
        Ok(Request::from_parts(parts, Full::new(body)))
    }
}

/// That no controller answers, with what to do; `others` are the endpoints of the `berth dev` that run here.
fn unreachable_text(endpoint: &str, origin: Origin, why: &str, others: &[String]) -> anyhow::Error {
    let given = match origin {
        Origin::Running => "",
        Origin::Environment => " (from AWS_ENDPOINT_URL or --endpoint)",
    };
    let advice = match others {
        [] if origin == Origin::Environment => {
            "see whether it runs (systemctl status berth-controller, on its machine), or name another one of its cluster with AWS_ENDPOINT_URL; \
             `berth dev` starts one for trying things out"
                .to_owned()
        }
        [] => "start one with `berth dev`, or name another with --listen or AWS_ENDPOINT_URL".to_owned(),
        others => format!(
            "a `berth dev` runs at {}: name it with --listen, or eval \"$(berth env)\"",
            others.join(", ")
        ),
    };
    anyhow!("no controller can be reached at {endpoint}{given}: {why}; {advice}")
}

/// Whether there was a connection, over which TLS came to nothing.
fn is_about_tls(error: &(dyn std::error::Error + 'static)) -> bool {
    std::iter::successors(Some(error), |error| error.source()).any(|error| {
        let inner = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        error.is::<rustls::Error>() || inner.is_some_and(|inner| inner.is::<rustls::Error>())
    })
}

/// The innermost reason, such as `Connection refused (os error 111)`; what wraps it says nothing to a user.
fn root_cause(error: &(dyn std::error::Error + 'static)) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

fn refusal(operation: &'static str, status: http::StatusCode, body: &[u8]) -> ServiceError {
    let document: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    let text = |names: [&str; 2]| {
        names
            .iter()
            .find_map(|name| document.get(*name)?.as_str().map(str::to_owned))
    };
    let code = text(["__type", "code"]).map(|code| code.rsplit('#').next().unwrap_or_default().to_owned());
    ServiceError {
        operation,
        code: code.unwrap_or_else(|| status.to_string()),
        message: text(["message", "Message"]).unwrap_or_else(|| String::from_utf8_lossy(body).into_owned()),
    }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::{refusal, unreachable_text};
    use crate::target::Origin;

    #[test]
    fn refusal_with_a_code_and_message_shows_both() {
        let body = br#"{"__type":"ClusterNotFoundException","message":"Cluster not found."}"#;
        let error = refusal("ListTasks", StatusCode::BAD_REQUEST, body);
        assert_eq!(
            error.to_string(),
            "ListTasks: ClusterNotFoundException: Cluster not found."
        );
    }

    #[test]
    fn refusal_by_something_else_shows_status_and_text() {
        let error = refusal("ListTasks", StatusCode::NOT_FOUND, b"nothing here");
        assert_eq!(error.to_string(), "ListTasks: 404 Not Found: nothing here");
    }

    #[test]
    fn unreachable_controller_is_named_with_what_to_do() {
        let text = |others: &[String]| {
            unreachable_text("http://127.0.0.1:1", Origin::Environment, "Connection refused", others).to_string()
        };
        assert_eq!(
            text(&[]),
            "no controller can be reached at http://127.0.0.1:1 (from AWS_ENDPOINT_URL or --endpoint): Connection refused; \
             see whether it runs (systemctl status berth-controller, on its machine), or name another one of its cluster with AWS_ENDPOINT_URL; \
             `berth dev` starts one for trying things out"
        );
        let running = text(&["http://127.0.0.1:7480".to_owned()]);
        assert!(
            running.contains("runs at http://127.0.0.1:7480: name it with --listen"),
            "{running}"
        );
    }
}
