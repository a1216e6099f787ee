//! Addresses as people type them: an IP address or a host name, with a port.
//!
//! Owns their reading. Shell, since a name is looked up.

use std::net::{SocketAddr, ToSocketAddrs};

use anyhow::{Context, Result, anyhow, bail};

/// Reads `ADDRESS:PORT`. A name is looked up: of its addresses a loopback one is taken before others, and IPv4 before IPv6,
/// since that is where `berth dev` listens unless told otherwise.
///
/// # Errors
/// If the text has another form, or the name is of no address.
pub(crate) fn parse(text: &str) -> Result<SocketAddr> {
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    let Some((name, port)) = text.rsplit_once(':').filter(|(name, _)| !name.is_empty()) else {
        bail!("ADDRESS:PORT is needed, such as 127.0.0.1:7480 or localhost:7480");
    };
    let port: u16 = port
        .parse()
        .map_err(|_| anyhow!("`{port}` is no port; ports are numbers from 0 to 65535"))?;
    if name.contains([':', '/', '[']) {
        bail!(
            "`{name}` is neither an IP address nor a host name; an IPv6 address stands in brackets, such as [::1]:7480"
        );
    }
    let found = (name, port)
        .to_socket_addrs()
        .map_err(|error| anyhow!("the host name `{name}` cannot be looked up: {error}"))?;
    preferred(found).with_context(|| format!("the host name `{name}` has no address"))
}

fn preferred(addresses: impl Iterator<Item = SocketAddr>) -> Option<SocketAddr> {
    addresses.min_by_key(|address| (!address.ip().is_loopback(), address.is_ipv6()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().expect("an address")).collect()
    }

    #[test]
    fn name_of_this_machine_becomes_its_loopback_address() {
        assert_eq!(
            parse("localhost:7480").expect("found"),
            addresses(&["127.0.0.1:7480"])[0]
        );
        assert_eq!(parse("[::1]:7480").expect("read"), addresses(&["[::1]:7480"])[0]);
    }

    #[test]
    fn name_with_several_addresses_takes_loopback_then_ipv4() {
        let all = addresses(&["[2001:db8::1]:1", "192.0.2.1:1", "[::1]:1"]);
        assert_eq!(preferred(all.iter().copied()), Some(all[2]));
        assert_eq!(preferred(all[..2].iter().copied()), Some(all[1]));
    }

    #[test]
    fn text_that_is_no_address_is_refused_with_an_example() {
        for (text, part) in [
            ("7480", "127.0.0.1:7480"),
            (":7480", "127.0.0.1:7480"),
            ("localhost:http", "`http` is no port"),
            ("localhost:70000", "`70000` is no port"),
            ("http://localhost:7480", "`http://localhost` is neither"),
            ("::1:7480x", "no port"),
            (
                "no-such-host.invalid:7480",
                "`no-such-host.invalid` cannot be looked up",
            ),
        ] {
            let error = parse(text).expect_err(text);
            assert!(format!("{error:#}").contains(part), "{text}: {error:#}");
        }
    }
}
