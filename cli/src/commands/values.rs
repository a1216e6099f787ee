//! Values of flags whose form can be told before anything is started: names, ids and addresses of others. Pure.

use std::ops::RangeInclusive;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use berth_core::model::CapacityProviderName;
use http::Uri;

/// Longest name of a cluster, and of a region here (ECS).
const MAX_NAME: usize = 255;

/// Longest name of a subnet: an attribute's value.
const MAX_SUBNET_ID: usize = 128;

/// Shortest time that a flag takes: what is done again and again must be done before it is done once more.
const SHORTEST: Duration = Duration::from_secs(10);

/// What `CreateJoinToken` takes, of its model's `TokenLifetime`.
const TOKEN_LIFETIMES: RangeInclusive<Duration> = Duration::from_secs(60)..=Duration::from_secs(30 * 86_400);

/// Reads an AWS account id.
///
/// # Errors
/// If it has another form than twelve digits.
pub(super) fn account_id(text: &str) -> Result<String> {
    if text.len() == 12 && text.chars().all(|c| c.is_ascii_digit()) {
        return Ok(text.to_owned());
    }
    bail!("an account id has twelve digits")
}

/// Reads the name of a region.
///
/// # Errors
/// If it is empty, or has characters that could not stand in an ARN or a host name.
pub(super) fn region(text: &str) -> Result<String> {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    ensure!(
        (1..=MAX_NAME).contains(&text.len()) && text.chars().all(fits),
        "a region has lower-case letters, digits and hyphens, such as us-east-1"
    );
    Ok(text.to_owned())
}

/// Reads the name of a cluster.
///
/// # Errors
/// If ECS knows no such names.
pub(super) fn cluster_name(text: &str) -> Result<String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    ensure!(
        (1..=MAX_NAME).contains(&text.len()) && text.chars().all(fits),
        "a cluster's name has letters, numbers, underscores and hyphens, {MAX_NAME} at most"
    );
    Ok(text.to_owned())
}

/// Reads what a subnet is called.
///
/// # Errors
/// If no network configuration could name it.
pub(super) fn subnet_id(text: &str) -> Result<String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    ensure!(
        (1..=MAX_SUBNET_ID).contains(&text.len()) && text.chars().all(fits),
        "a subnet's name has letters, numbers, hyphens, underscores and periods, {MAX_SUBNET_ID} at most"
    );
    Ok(text.to_owned())
}

/// Reads the name of a capacity provider.
///
/// # Errors
/// If ECS knows no such names.
pub(super) fn capacity_provider(text: &str) -> Result<CapacityProviderName> {
    ensure!(
        CapacityProviderName::is_allowed(text),
        "a capacity provider's name has letters, numbers, underscores and hyphens, {MAX_NAME} at most, and does not begin with aws, ecs or \
         fargate"
    );
    Ok(text.into())
}

/// Reads a name or an address that can be in a certificate.
///
/// # Errors
/// If it is neither.
pub(super) fn server_name(text: &str) -> Result<String> {
    let name = rustls::pki_types::ServerName::try_from(text.to_owned());
    ensure!(name.is_ok(), "{text:?} is neither a host name nor an IP address");
    Ok(text.to_owned())
}

/// Reads where others reach something: a host name or an IP address, and a port.
///
/// # Errors
/// If it is not `HOST:PORT`.
pub(super) fn host_and_port(text: &str) -> Result<String> {
    let parsed: Option<http::uri::Authority> = text.parse().ok();
    let fits = parsed.is_some_and(|authority| {
        let has_user = authority.as_str().contains('@');
        !authority.host().is_empty() && authority.port_u16().is_some_and(|port| port > 0) && !has_user
    });
    ensure!(fits, "HOST:PORT is needed, such as 10.0.0.1:7481");
    Ok(text.to_owned())
}

/// Reads the URL of a controller's port for agents.
///
/// # Errors
/// If it is not `http://HOST:PORT`.
pub(super) fn agents_url(text: &str) -> Result<String> {
    let parsed: Option<Uri> = text.parse().ok();
    let is_url = parsed.is_some_and(|uri| {
        let has_path = !matches!(uri.path(), "" | "/");
        uri.scheme_str() == Some("http") && uri.port().is_some() && !has_path && uri.query().is_none()
    });
    ensure!(
        is_url,
        "http://HOST:PORT is needed, such as http://127.0.0.1:7481: what the controller prints behind `Agents:` when it starts"
    );
    Ok(text.to_owned())
}

/// Reads a time: a number and `s`, `m`, `h` or `d`.
///
/// # Errors
/// If it is something else, or shorter than ten seconds.
pub(super) fn duration(text: &str) -> Result<Duration> {
    let duration = time(text)?;
    if duration < SHORTEST {
        bail!("{text} is too short; the shortest is {} s", SHORTEST.as_secs());
    }
    Ok(duration)
}

/// Reads for how long to wait.
///
/// # Errors
/// If it is no time.
pub(super) fn patience(text: &str) -> Result<Duration> {
    time(text)
}

/// Reads for how long a join token is to be good.
///
/// # Errors
/// If it is no time, or one that the API does not take.
pub(super) fn token_lifetime(text: &str) -> Result<Duration> {
    let duration = time(text)?;
    ensure!(
        TOKEN_LIFETIMES.contains(&duration),
        "a token is good for a time between 1m and 30d"
    );
    Ok(duration)
}

fn time(text: &str) -> Result<Duration> {
    let what = || format!("{text:?} is no time; write a number and s, m, h or d, such as 6h");
    let unit = match text.chars().last() {
        Some('s') => 1,
        Some('m') => 60,
        Some('h') => 3600,
        Some('d') => 86_400,
        _ => bail!(what()),
    };
    let number: u64 = text[..text.len() - 1].parse().with_context(what)?;
    number.checked_mul(unit).map(Duration::from_secs).with_context(what)
}

/// Reads a command that the program is to run at a moment of its own.
///
/// # Errors
/// If there is none.
pub(crate) fn hook(text: &str) -> Result<String> {
    ensure!(
        !text.trim().is_empty(),
        "say which command; without one leave the flag away"
    );
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_of_others_needs_a_host_and_a_port() {
        for good in ["10.0.0.1:7481", "host-1.example:7481", "[fd00::1]:7481"] {
            assert_eq!(host_and_port(good).expect("read"), good);
        }
        for bad in [
            "10.0.0.1",
            ":7481",
            "host:0",
            "http://host:1",
            "me@host:1",
            "",
            "host:x",
        ] {
            assert!(host_and_port(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn names_in_the_form_of_aws_are_taken_and_others_refused() {
        assert!(account_id("123456789012").is_ok() && account_id("12345678901x").is_err());
        assert!(region("eu-central-1").is_ok() && region("").is_err() && region("EU 1").is_err());
        assert!(cluster_name("shop_1-a").is_ok() && cluster_name("bad name!").is_err() && cluster_name("").is_err());
    }

    #[test]
    fn url_for_agents_needs_scheme_and_port() {
        assert!(agents_url("http://127.0.0.1:7481").is_ok() && agents_url("http://[::1]:7481/").is_ok());
        for text in [
            "127.0.0.1:7481",
            "localhost",
            "http://127.0.0.1",
            "https://a:1",
            "http://a:1/path",
        ] {
            assert!(agents_url(text).is_err(), "{text}");
        }
    }

    #[test]
    fn time_is_read_with_its_unit() {
        for (text, seconds) in [("90s", 90), ("30m", 1_800), ("6h", 21_600), ("1d", 86_400)] {
            assert_eq!(duration(text).expect(text), Duration::from_secs(seconds));
        }
        for text in ["", "6", "h", "6 h", "-1h", "6w", "1s", "99999999999999999999d"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn lifetime_of_a_token_is_within_the_bounds_that_the_api_has() {
        for text in ["60s", "1m", "1h", "30d"] {
            token_lifetime(text).expect(text);
        }
        for text in ["1s", "59s", "31d", "2592001s"] {
            let error = token_lifetime(text).expect_err(text).to_string();
            assert!(error.contains("between 1m and 30d"), "{error}");
        }
        assert!(
            token_lifetime("6")
                .expect_err("no unit")
                .to_string()
                .contains("is no time")
        );
    }
}
