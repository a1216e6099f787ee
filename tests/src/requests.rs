//! Signed ECS requests, as programs of the tests send them. Shell.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use berth_aws::Timestamp;
use berth_aws::sigv4::{Credentials, Secret, Signer};
use http_body_util::Full;
use hyper::body::Bytes;

const TARGET_PREFIX: &str = "AmazonEC2ContainerServiceV20141113";

/// A variable of the environment, as `berth env` prints them.
///
/// # Errors
/// If it is not set.
pub fn environment(name: &str) -> Result<String> {
    std::env::var(name).with_context(|| format!("{name} is not set; eval \"$(berth env)\""))
}

/// A signer with the keys and the region of the environment.
///
/// # Errors
/// If one of them is not set.
pub fn signer_from_environment() -> Result<Signer> {
    Ok(Signer {
        credentials: Credentials {
            access_key: environment("AWS_ACCESS_KEY_ID")?,
            secret: Secret::new(environment("AWS_SECRET_ACCESS_KEY")?),
            session_token: None,
        },
        region: environment("AWS_REGION")?,
        service: "ecs".to_owned(),
    })
}

/// A request for an ECS operation, signed now.
///
/// # Errors
/// If the endpoint has no host, or the request cannot be signed.
pub fn ecs_request(
    endpoint: &http::Uri,
    signer: &Signer,
    operation: &str,
    body: String,
) -> Result<http::Request<Full<Bytes>>> {
    let host = endpoint.authority().context("the endpoint has no host")?.as_str();
    let (mut parts, ()) = http::Request::post(endpoint.clone())
        .header("host", host)
        .header("content-type", "application/x-amz-json-1.1")
        .header("x-amz-target", format!("{TARGET_PREFIX}.{operation}"))
        .body(())?
        .into_parts();
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis();
    signer.sign(&mut parts, body.as_bytes(), Timestamp(i64::try_from(now)?))?;
    Ok(http::Request::from_parts(parts, Full::new(Bytes::from(body))))
}
