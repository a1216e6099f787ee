//! IPv4 subnets, and finding one for a host's bridge that nothing on the machine uses.
//!
//! Owns the reservations that keep several hosts of one machine apart. Shell; [`Subnet`] itself is pure.

use std::fmt;
use std::io::{self, ErrorKind};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};

use super::NetworkError;
use crate::process::run;

/// Subnets are taken from here, each 256 addresses.
const POOL: Subnet = Subnet {
    address: u32::from_be_bytes([10, 177, 0, 0]),
    length: 16,
};
/// Prefix length of a host's subnet.
const HOST_LENGTH: u8 = 24;
/// Reservations of all hosts on this machine; gone after a reboot, as bridges are.
const RESERVATIONS: &str = "/run/berth/subnets";

/// How often a reservation is tried that a neighbour gets in the way of: more than hosts of one machine begin and end in one moment.
const CLAIM_ATTEMPTS: u32 = 20;

/// An IPv4 subnet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subnet {
    address: u32,
    length: u8,
}

/// Text that is not a subnet.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an IPv4 subnet such as 10.177.3.0/24, with room for a gateway and containers")]
pub struct InvalidSubnet(String);

impl FromStr for Subnet {
    type Err = InvalidSubnet;

    fn from_str(text: &str) -> Result<Self, InvalidSubnet> {
        let subnet = parse(text).filter(|s| (8..=29).contains(&s.length) && s.address & !mask(s.length) == 0);
        subnet.ok_or_else(|| InvalidSubnet(text.to_owned()))
    }
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", Ipv4Addr::from(self.address), self.length)
    }
}

impl Subnet {
    /// Whether the two share an address.
    #[must_use]
    pub fn overlaps(self, other: Self) -> bool {
        let common = mask(self.length.min(other.length));
        self.address & common == other.address & common
    }
}

fn parse(text: &str) -> Option<Subnet> {
    let (address, length) = text.split_once('/').unwrap_or((text, "32"));
    let address = u32::from(address.parse::<Ipv4Addr>().ok()?);
    let length = length.parse().ok().filter(|l| *l <= 32)?;
    Some(Subnet { address, length })
}

fn mask(length: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0)
}

/// Reserves a free subnet for `bridge`, whose data is in `directory`: the one that it had, if it had one.
pub(super) async fn reserve(bridge: &str, directory: &Path) -> Result<Subnet, NetworkError> {
    let remembered = directory.join("subnet");
    let had = std::fs::read_to_string(&remembered)
        .ok()
        .and_then(|t| t.trim().parse::<Subnet>().ok());
    let used = used_by_others(bridge).await;
    let is_free = |subnet: &Subnet| !used.iter().any(|u| u.overlaps(*subnet));
    let candidates = (0..1u32 << (HOST_LENGTH - POOL.length)).map(|n| Subnet {
        address: POOL.address + (n << (32 - HOST_LENGTH)),
        length: HOST_LENGTH,
    });
    for candidate in had.into_iter().chain(candidates) {
        if is_free(&candidate) && claim(candidate, directory)? {
            std::fs::write(&remembered, candidate.to_string()).map_err(|e| NetworkError::file(&remembered, e))?;
            return Ok(candidate);
        }
    }
    Err(NetworkError::NoSubnet { pool: POOL.to_string() })
}

/// Gives the reservation of `directory` back.
pub(super) fn release(directory: &Path) {
    for entry in std::fs::read_dir(RESERVATIONS).into_iter().flatten().flatten() {
        if std::fs::read_to_string(entry.path()).is_ok_and(|owner| Path::new(&owner) == directory) {
            // It is looked at again when a subnet is sought: its owner's directory will be gone.
            drop(std::fs::remove_file(entry.path()));
        }
    }
    drop(std::fs::remove_file(directory.join("subnet")));
    drop(std::fs::remove_dir(RESERVATIONS));
    drop(std::fs::remove_dir("/run/berth"));
}

/// True if the subnet is ours now: nobody had it, we did, or its owner's directory is gone.
fn claim(subnet: Subnet, directory: &Path) -> Result<bool, NetworkError> {
    let path = Path::new(RESERVATIONS).join(Ipv4Addr::from(subnet.address).to_string());
    for _ in 1..CLAIM_ATTEMPTS {
        match try_to_claim(&path, directory) {
            // A neighbour gave its reservation back meanwhile, and removed the folder with the last one: it is not there when the draft is written, or
            // was when it was to be made and is not when it is looked at.
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::AlreadyExists) => {}
            claimed => return claimed.map_err(|error| NetworkError::file(&path, error)),
        }
    }
    try_to_claim(&path, directory).map_err(|error| NetworkError::file(&path, error))
}

fn try_to_claim(path: &Path, directory: &Path) -> io::Result<bool> {
    // Hosts of one process claim at the same time as well.
    static DRAFTS: AtomicU64 = AtomicU64::new(0);
    std::fs::create_dir_all(RESERVATIONS)?;
    // Written aside and linked, so that whoever finds the reservation finds its owner in it.
    let number = DRAFTS.fetch_add(1, Ordering::Relaxed);
    let draft = Path::new(RESERVATIONS).join(format!(".{}-{number}", std::process::id()));
    let written = std::fs::write(&draft, directory.as_os_str().as_encoded_bytes());
    let outcome = written.and_then(|()| match std::fs::hard_link(&draft, path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            let owner = PathBuf::from(std::fs::read_to_string(path)?);
            if owner == directory {
                Ok(true)
            } else if owner.exists() {
                Ok(false)
            } else {
                std::fs::rename(&draft, path).map(|()| true)
            }
        }
        Err(error) => Err(error),
    });
    drop(std::fs::remove_file(&draft));
    outcome
}

/// What the machine routes elsewhere than to `bridge`.
async fn used_by_others(bridge: &str) -> Vec<Subnet> {
    let routes = run("ip", ["-4", "-o", "route", "show"]).await.unwrap_or_default();
    let other = |line: &&str| !line.contains(&format!("dev {bridge} "));
    routes
        .lines()
        .filter(other)
        .filter_map(|line| parse(line.split_whitespace().next()?))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subnet_in_text_and_back_is_the_same() {
        let subnet: Subnet = "10.177.3.0/24".parse().unwrap();
        assert_eq!(subnet.to_string(), "10.177.3.0/24");
        for wrong in ["10.177.3.1/24", "10.177.3.0", "10.0.0.0/33", "x/24", "10.0.0.0/31"] {
            assert!(wrong.parse::<Subnet>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn subnet_claimed_by_many_at_once_goes_to_one_of_them_whoever_gives_another_back() {
        if !nix::unistd::geteuid().is_root() {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        // None of the pool, so that no host of this machine is in the way.
        let (wanted, other) = (parse("192.0.2.0/24").unwrap(), parse("198.51.100.0/24").unwrap());
        for round in 0..50 {
            let hosts: Vec<PathBuf> = (0..4)
                .map(|host| folder.path().join(format!("{round}-{host}")))
                .collect();
            hosts.iter().for_each(|host| std::fs::create_dir(host).unwrap());
            let claimed: Vec<bool> = std::thread::scope(|scope| {
                let claims: Vec<_> = hosts
                    .iter()
                    .map(|host| scope.spawn(|| claim(wanted, host).unwrap()))
                    .collect();
                let neighbour = folder.path().join("neighbour");
                drop(std::fs::create_dir(&neighbour));
                claim(other, &neighbour).unwrap();
                release(&neighbour);
                claims.into_iter().map(|claim| claim.join().unwrap()).collect()
            });
            assert_eq!(claimed.iter().filter(|claimed| **claimed).count(), 1, "{claimed:?}");
            hosts.iter().for_each(|host| release(host));
        }
    }

    #[test]
    fn subnets_that_share_an_address_overlap() {
        let subnet = |text: &str| parse(text).unwrap();
        assert!(subnet("10.0.0.0/8").overlaps(subnet("10.177.3.0/24")));
        assert!(subnet("10.177.3.7").overlaps(subnet("10.177.3.0/24")));
        assert!(!subnet("10.177.2.0/24").overlaps(subnet("10.177.3.0/24")));
    }
}
