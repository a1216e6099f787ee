//! The authorities of a cluster over time: which one signs, which ones are trusted, and how a new one takes over without a connection
//! being refused. Data of the replicated state; every step is a pure function from one to the next.
//!
//! Owns the order of the steps. It must not know how many holders there are: whoever steps says how many are not ready yet.
//!
//! 1. [`Authorities::introduce`]: the next one is there and trusted; the old one still signs. Bundles go out.
//! 2. [`Authorities::switch`], once everyone trusts both: the next one signs. Holders renew. Chains contain the next one signed by
//!    the old one too, so that whoever was given only the old one (a join token, a file of an AWS client) still trusts them.
//! 3. [`Authorities::retire`], once nobody has a certificate of the old one: it is trusted no longer.

use std::fmt;
use std::time::Duration;

use rustls::pki_types::{CertificateDer, UnixTime};
use serde::{Deserialize, Serialize};

use crate::bundle::{Bundle, BundleError, CaCertificate, CaDigest};
use crate::ca::{Authority, CaError, Grant};
use crate::identity::ClusterId;
use crate::pem;
use crate::request::SigningRequest;

/// The authorities of a cluster, with their keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Authorities {
    active: StoredAuthority,
    rotation: Rotation,
}

/// An authority as text.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct StoredAuthority {
    certificate_pem: String,
    key_pem: String,
}

/// How far a rotation is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "phase", deny_unknown_fields)]
enum Rotation {
    Settled,
    #[serde(rename_all = "camelCase")]
    Introduced {
        next: StoredAuthority,
        cross_pem: String,
    },
    #[serde(rename_all = "camelCase")]
    Switched {
        old_pem: String,
        cross_pem: String,
    },
}

/// How far a rotation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// None is under way.
    Settled,
    /// The next authority is trusted, and does not sign yet.
    Introduced {
        /// Which one.
        next: CaDigest,
    },
    /// The new authority signs, and the old one is still trusted.
    Switched {
        /// The old one.
        old: CaDigest,
    },
}

/// The active authority, ready to sign.
#[derive(Debug)]
pub struct Signer {
    authority: Authority,
    above: Vec<CertificateDer<'static>>,
    bundle: Bundle,
}

/// Why a rotation does not take a step.
#[derive(Debug, thiserror::Error)]
pub enum RotationError {
    /// Another one is under way.
    #[error(
        "a rotation of the cluster's authority is under way: finish it, or take it back while the new authority does not sign yet"
    )]
    UnderWay,
    /// Nothing was introduced.
    #[error("no new authority has been introduced: begin with `berth ca rotate`")]
    NotIntroduced,
    /// Nothing is to be retired.
    #[error("no authority is to be retired: the rotation has not switched to a new one")]
    NotSwitched,
    /// Somebody would refuse the new authority's certificates.
    #[error(
        "{waiting} controllers and hosts do not trust the new authority yet, and would refuse its certificates: wait until they have \
         connected, or remove those that are gone"
    )]
    NotTrustedByAll {
        /// How many.
        waiting: usize,
    },
    /// Somebody would be refused.
    #[error(
        "{waiting} controllers and hosts still have certificates of the old authority, and would be refused: wait until they have \
         renewed them, or remove those that are gone"
    )]
    StillInUse {
        /// How many.
        waiting: usize,
    },
    /// The next authority is of another cluster, or the same again.
    #[error("the new authority must be one that was made for cluster {0}, and must not be the old one")]
    Unsuitable(ClusterId),
    /// A stored authority is damaged.
    #[error("an authority of the cluster is unusable")]
    Authority(#[from] CaError),
    /// A stored certificate is damaged.
    #[error("the certificate of an authority of the cluster is unusable")]
    Certificate(#[from] BundleError),
}

impl Authorities {
    /// Those of a new cluster.
    #[must_use]
    pub fn new(first: &Authority) -> Self {
        Self {
            active: StoredAuthority::of(first),
            rotation: Rotation::Settled,
        }
    }

    /// How far a rotation is.
    ///
    /// # Errors
    /// [`RotationError::Certificate`].
    pub fn phase(&self) -> Result<Phase, RotationError> {
        Ok(match &self.rotation {
            Rotation::Settled => Phase::Settled,
            Rotation::Introduced { next, .. } => Phase::Introduced {
                next: certificate(&next.certificate_pem)?.digest(),
            },
            Rotation::Switched { old_pem, .. } => Phase::Switched {
                old: certificate(old_pem)?.digest(),
            },
        })
    }

    /// What everyone is to trust now. The first is the one that signs.
    ///
    /// # Errors
    /// [`RotationError::Certificate`].
    pub fn bundle(&self) -> Result<Bundle, RotationError> {
        let other = match &self.rotation {
            Rotation::Settled => None,
            Rotation::Introduced { next, .. } => Some(next.certificate_pem.as_str()),
            Rotation::Switched { old_pem, .. } => Some(old_pem.as_str()),
        };
        let texts = std::iter::once(self.active.certificate_pem.as_str()).chain(other);
        let certificates: Vec<_> = texts.map(certificate).collect::<Result<_, _>>()?;
        Ok(Bundle::new(certificates)?)
    }

    /// The active authority, ready to sign.
    ///
    /// # Errors
    /// [`RotationError::Authority`] or [`RotationError::Certificate`].
    pub fn signer(&self) -> Result<Signer, RotationError> {
        let authority = self.active.read()?;
        let mut above = Vec::new();
        if let Rotation::Switched { old_pem, cross_pem } = &self.rotation {
            above.push(certificate(cross_pem)?.der().clone());
            above.push(certificate(old_pem)?.der().clone());
        } else {
            // Sent although nobody who trusts it needs it: a joiner finds the digest of its token in it.
            above.push(authority.certificate().der().clone());
        }
        let bundle = self.bundle()?;
        Ok(Signer {
            authority,
            above,
            bundle,
        })
    }

    /// Step 1: trusts the next authority.
    ///
    /// # Errors
    /// [`RotationError::UnderWay`], [`RotationError::Unsuitable`] or [`RotationError::Authority`].
    pub fn introduce(&self, next: &Authority, now: UnixTime) -> Result<Self, RotationError> {
        if self.rotation != Rotation::Settled {
            return Err(RotationError::UnderWay);
        }
        let active = self.active.read()?;
        let (old, new) = (active.certificate(), next.certificate());
        if old.cluster() != new.cluster() || old.digest() == new.digest() {
            return Err(RotationError::Unsuitable(old.cluster().clone()));
        }
        Ok(Self {
            active: self.active.clone(),
            rotation: Rotation::Introduced {
                next: StoredAuthority::of(next),
                cross_pem: pem::certificate(&active.cross_sign(next, now)?),
            },
        })
    }

    /// Takes step 1 back.
    ///
    /// # Errors
    /// [`RotationError::NotIntroduced`], also if the new authority signs already.
    pub fn take_back(&self) -> Result<Self, RotationError> {
        match &self.rotation {
            Rotation::Introduced { .. } => Ok(Self {
                active: self.active.clone(),
                rotation: Rotation::Settled,
            }),
            _ => Err(RotationError::NotIntroduced),
        }
    }

    /// Step 2: signs with the next authority. `waiting` is how many holders have not reported that they trust it.
    ///
    /// # Errors
    /// [`RotationError::NotIntroduced`] or [`RotationError::NotTrustedByAll`].
    pub fn switch(&self, waiting: usize) -> Result<Self, RotationError> {
        let Rotation::Introduced { next, cross_pem } = &self.rotation else {
            return Err(RotationError::NotIntroduced);
        };
        if waiting > 0 {
            return Err(RotationError::NotTrustedByAll { waiting });
        }
        Ok(Self {
            active: next.clone(),
            rotation: Rotation::Switched {
                old_pem: self.active.certificate_pem.clone(),
                cross_pem: cross_pem.clone(),
            },
        })
    }

    /// Step 3: trusts the old authority no longer. `waiting` is how many holders still have a certificate of it.
    ///
    /// # Errors
    /// [`RotationError::NotSwitched`] or [`RotationError::StillInUse`].
    pub fn retire(&self, waiting: usize) -> Result<Self, RotationError> {
        let Rotation::Switched { .. } = &self.rotation else {
            return Err(RotationError::NotSwitched);
        };
        if waiting > 0 {
            return Err(RotationError::StillInUse { waiting });
        }
        Ok(Self {
            active: self.active.clone(),
            rotation: Rotation::Settled,
        })
    }
}

impl Signer {
    /// The authority that signs.
    #[must_use]
    pub fn authority(&self) -> &CaCertificate {
        self.authority.certificate()
    }

    /// What everyone is to trust while it signs.
    #[must_use]
    pub fn bundle(&self) -> &Bundle {
        &self.bundle
    }

    /// Signs a certificate, and returns it with those of the authorities above.
    ///
    /// # Errors
    /// Any [`CaError`] of signing.
    pub fn issue(
        &self,
        request: &SigningRequest,
        grant: &Grant,
        now: UnixTime,
        lifetime: Duration,
    ) -> Result<Vec<CertificateDer<'static>>, CaError> {
        let own = self.authority.issue(request, grant, now, lifetime)?;
        Ok(std::iter::once(own).chain(self.above.iter().cloned()).collect())
    }
}

impl StoredAuthority {
    fn of(authority: &Authority) -> Self {
        Self {
            certificate_pem: authority.certificate().to_pem(),
            key_pem: authority.key_pem(),
        }
    }

    fn read(&self) -> Result<Authority, CaError> {
        Authority::from_pem(&self.certificate_pem, &self.key_pem)
    }
}

impl fmt::Debug for StoredAuthority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StoredAuthority")
    }
}

fn certificate(text: &str) -> Result<CaCertificate, BundleError> {
    CaCertificate::from_der(pem::one_certificate(text)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text;

    fn authority(cluster: &str) -> Authority {
        Authority::create(&cluster.parse().expect("an id"), now()).expect("an authority")
    }

    fn now() -> UnixTime {
        text::at(1_800_000_000)
    }

    fn digests(authorities: &Authorities) -> Vec<CaDigest> {
        let bundle = authorities.bundle().expect("a bundle");
        bundle.authorities().iter().map(CaCertificate::digest).collect()
    }

    #[test]
    fn rotation_takes_its_three_steps_in_their_order_only() {
        let (first, second) = (authority("home"), authority("home"));
        let (old, new) = (first.certificate().digest(), second.certificate().digest());
        let settled = Authorities::new(&first);
        assert!(matches!(settled.switch(0), Err(RotationError::NotIntroduced)));
        assert!(matches!(settled.retire(0), Err(RotationError::NotSwitched)));

        let introduced = settled.introduce(&second, now()).expect("introduced");
        assert_eq!(introduced.phase().expect("a phase"), Phase::Introduced { next: new });
        assert_eq!(digests(&introduced), [old, new]);
        assert_eq!(introduced.signer().expect("a signer").authority().digest(), old);
        assert!(matches!(
            introduced.introduce(&second, now()),
            Err(RotationError::UnderWay)
        ));
        assert!(matches!(introduced.retire(0), Err(RotationError::NotSwitched)));
        assert_eq!(introduced.take_back().expect("taken back"), settled);

        let switched = introduced.switch(0).expect("switched");
        assert_eq!(switched.phase().expect("a phase"), Phase::Switched { old });
        assert_eq!(digests(&switched), [new, old]);
        assert_eq!(switched.signer().expect("a signer").authority().digest(), new);
        assert!(matches!(switched.take_back(), Err(RotationError::NotIntroduced)));

        let retired = switched.retire(0).expect("retired");
        assert_eq!(retired, Authorities::new(&second));
        assert_eq!(digests(&retired), [new]);
    }

    #[test]
    fn rotation_waits_for_those_who_are_not_ready_and_says_how_many() {
        let introduced = Authorities::new(&authority("home"))
            .introduce(&authority("home"), now())
            .expect("introduced");
        let error = introduced.switch(3).expect_err("too early").to_string();
        assert!(
            error.starts_with("3 controllers and hosts do not trust the new authority yet"),
            "{error}"
        );
        let switched = introduced.switch(0).expect("switched");
        let error = switched.retire(2).expect_err("too early").to_string();
        assert!(
            error.starts_with("2 controllers and hosts still have certificates of the old"),
            "{error}"
        );
    }

    #[test]
    fn authority_of_another_cluster_is_not_introduced() {
        let authorities = Authorities::new(&authority("home"));
        let error = authorities.introduce(&authority("other"), now()).expect_err("refused");
        assert!(matches!(error, RotationError::Unsuitable(_)), "{error}");
    }

    #[test]
    fn authorities_of_every_phase_are_read_back_from_json_and_show_no_key() {
        let settled = Authorities::new(&authority("home"));
        let introduced = settled.introduce(&authority("home"), now()).expect("introduced");
        let switched = introduced.switch(0).expect("switched");
        for authorities in [settled, introduced, switched] {
            let json = serde_json::to_string(&authorities).expect("written");
            assert_eq!(serde_json::from_str::<Authorities>(&json).expect("read"), authorities);
            assert!(!format!("{authorities:?}").contains("PRIVATE KEY"));
        }
    }

    #[test]
    fn old_authoritys_key_is_gone_once_the_new_one_signs() {
        let first = authority("home");
        let introduced = Authorities::new(&first).introduce(&authority("home"), now());
        let switched = introduced.expect("introduced").switch(0).expect("switched");
        let json = serde_json::to_string(&switched).expect("written");
        assert_eq!(json.matches("BEGIN PRIVATE KEY").count(), 1);
    }
}
