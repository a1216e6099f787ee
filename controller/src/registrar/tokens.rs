//! Join tokens: made, listed, withdrawn, and used. Shell.

use berth_core::state::Expected;
use berth_trust::ca::{DEFAULT_LIFETIME, Grant};
use berth_trust::identity::{HolderId, Identity};
use berth_trust::join::{self, JoinResponse};
use berth_trust::token::{JoinToken, TokenError, TokenId, TokenTerms};
use berth_trust::token_record::TokenRecord;

use super::account;
use super::changes::{Registrar, RegistrarError, not_after_s, read_request, signer};
use super::documents::{self, Holder};

/// A token that was made, and its record.
#[derive(Debug)]
pub struct NewToken {
    /// The token: a secret.
    pub token: JoinToken,
    /// What the cluster keeps of it.
    pub record: TokenRecord,
}

impl Registrar {
    /// Makes a join token.
    ///
    /// # Errors
    /// [`RegistrarError`]; [`RegistrarError::Token`] for terms that are out of bounds.
    pub async fn create_token(&self, terms: TokenTerms) -> Result<NewToken, RegistrarError> {
        self.change(|state, now| {
            let (token, record) = JoinToken::mint(terms.clone(), signer(state)?.authority().digest(), now)?;
            let change = documents::put_token(&record, Expected::Absent)?;
            Ok((vec![change], NewToken { token, record }))
        })
        .await
    }

    /// All tokens that are remembered, the newest last.
    ///
    /// # Errors
    /// [`RegistrarError`]
    pub async fn tokens(&self) -> Result<Vec<TokenRecord>, RegistrarError> {
        let published = self.group.read().await?;
        let mut tokens = documents::tokens(&published.view)?;
        tokens.sort_by(|a, b| (a.created_at_s, &a.id).cmp(&(b.created_at_s, &b.id)));
        Ok(tokens)
    }

    /// Withdraws a token; those who joined with it stay.
    ///
    /// # Errors
    /// [`RegistrarError`]; [`TokenError::Unknown`] for a token that is not remembered.
    pub async fn revoke_token(&self, id: &TokenId) -> Result<TokenRecord, RegistrarError> {
        self.change(|state, now| {
            let unknown = || TokenError::Unknown { id: id.clone() };
            let (version, record) = documents::token(state, id)?.ok_or_else(unknown)?;
            let revoked = record.revoke(now);
            let change = documents::put_token(&revoked, Expected::Version(version))?;
            Ok((vec![change], revoked))
        })
        .await
    }

    /// Lets somebody in who has a token, under the id that it drew for itself. One that was removed may come back with it under
    /// another id: under the old one, whoever has the old key would be back too. One that says that it is of another account than the cluster is
    /// refused, since nobody would find it there.
    ///
    /// # Errors
    /// [`RegistrarError`]
    pub async fn join(
        &self,
        token: &str,
        request: &[u8],
        id: &str,
        account: Option<&str>,
    ) -> Result<(Identity, JoinResponse), RegistrarError> {
        let token: JoinToken = token.parse()?;
        let key = read_request(request)?.key_digest();
        let members = self.group.members();
        self.change(|state, now| {
            let signer = signer(state)?;
            let unknown = || TokenError::Unknown { id: token.id().clone() };
            let (version, record) = documents::token(state, token.id())?.ok_or_else(unknown)?;
            let id: HolderId = id.parse()?;
            let identity = Identity::new(signer.authority().cluster().clone(), token.role(), id)?;
            let grant = Grant {
                identity: identity.clone(),
                names: vec![],
            };
            let is_repeated = record.last_key.as_ref() == Some(&key);
            let admission = join::admit(&token, request, &record, &signer, &grant, now, DEFAULT_LIFETIME)?;
            // After the token was found to be good: a stranger learns nothing about accounts and members.
            let root = documents::root_key(state)?;
            if let (Some(said), Some(root)) = (account, &root) {
                account::check(&root.account, said)?;
            }
            if documents::is_removed(state, &identity) {
                return Err(RegistrarError::IdOfRemoved(identity));
            }
            if let Some(member) = identity.member_id()
                && members.get(member).is_some()
                && !is_repeated
            {
                return Err(RegistrarError::MemberExists(member));
            }
            let holder = Holder {
                identity: identity.clone(),
                authority: signer.authority().digest(),
                not_after_s: not_after_s(&signer, now),
                trusts: signer.bundle().authorities().iter().map(|one| one.digest()).collect(),
            };
            let mut changes = vec![documents::put_holder(&holder, Expected::Any)?];
            if admission.record != record {
                changes.push(documents::put_token(&admission.record, Expected::Version(version))?);
            }
            Ok((changes, (identity, admission.response)))
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicI64, Ordering};
    use std::time::Duration;

    use berth_core::model::{LogIndex, Timestamp};
    use berth_core::state::{ClusterState, Command, apply};
    use berth_raft::RaftOptions;
    use berth_storage::MemoryStorage;
    use berth_trust::identity::Role;
    use berth_trust::request::HolderKey;

    use super::super::documents::RootKey;
    use super::super::removal_of_controllers;
    use super::*;
    use crate::clock::Clock;
    use crate::replica::{ReplicatedState, StateGroup};

    #[derive(Clone, Default)]
    struct SetClock(Arc<AtomicI64>);

    impl Clock for SetClock {
        fn now(&self) -> Timestamp {
            Timestamp(self.0.load(Ordering::SeqCst))
        }
    }

    fn terms(role: Role) -> TokenTerms {
        TokenTerms {
            role,
            lifetime: Duration::from_secs(60),
            uses: 2,
            created_by: "a test".to_owned(),
        }
    }

    async fn registrar(clock: &SetClock) -> Registrar {
        let options = RaftOptions {
            required_free_bytes: 0,
            on_fault: |_| {},
            ..RaftOptions::default()
        };
        let storage = Arc::new(MemoryStorage::default());
        let group = StateGroup::start(storage, ReplicatedState::default(), options).expect("the group starts");
        Registrar::new(group, Arc::new(clock.clone()))
    }

    async fn founded(clock: &SetClock) -> Registrar {
        clock.0.store(1_800_000_000_000, Ordering::SeqCst);
        let registrar = registrar(clock).await;
        let root = RootKey {
            account: "123456789012".to_owned(),
            access_key_id: "AKIA".to_owned(),
            secret_access_key: "secret".to_owned(),
        };
        let cluster = "home".parse().expect("an id");
        for _ in 0..2 {
            registrar.found(&cluster, Some(&root)).await.expect("founded");
        }
        registrar
    }

    fn request() -> Vec<u8> {
        HolderKey::draw().and_then(|key| key.request()).expect("a request")
    }

    #[tokio::test]
    async fn token_that_has_expired_or_was_revoked_lets_nobody_in() {
        let clock = SetClock::default();
        let registrar = founded(&clock).await;
        let made = registrar.create_token(terms(Role::Agent)).await.expect("a token");
        let text = made.token.to_secret_text();
        registrar.join(&text, &request(), "host-1", None).await.expect("let in");
        clock.0.fetch_add(61_000, Ordering::SeqCst);
        let error = registrar
            .join(&text, &request(), "host-2", None)
            .await
            .expect_err("refused");
        assert!(error.to_string().contains("expired"), "{error}");
        let made = registrar.create_token(terms(Role::Agent)).await.expect("a token");
        registrar.revoke_token(made.token.id()).await.expect("revoked");
        let text = made.token.to_secret_text();
        let error = registrar
            .join(&text, &request(), "host-2", None)
            .await
            .expect_err("refused");
        assert!(error.to_string().contains("was revoked"), "{error}");
        assert_eq!(registrar.tokens().await.expect("listed").len(), 2);
    }

    #[tokio::test]
    async fn host_of_another_account_is_not_let_in_and_its_token_stays_good() {
        let clock = SetClock::default();
        let registrar = founded(&clock).await;
        let once = TokenTerms {
            uses: 1,
            ..terms(Role::Agent)
        };
        let made = registrar.create_token(once).await.expect("a token");
        let text = made.token.to_secret_text();
        let other = registrar.join(&text, &request(), "host-1", Some("999999999999")).await;
        let error = other.expect_err("refused").to_string();
        assert!(error.contains("start it with --account-id 123456789012"), "{error}");
        let own = registrar.join(&text, &request(), "host-1", Some("123456789012")).await;
        own.expect("let in");
    }

    #[tokio::test]
    async fn tokens_removals_and_holders_are_forgotten_once_they_are_of_no_use() {
        let clock = SetClock::default();
        let registrar = founded(&clock).await;
        let made = registrar.create_token(terms(Role::Agent)).await.expect("a token");
        let text = made.token.to_secret_text();
        for id in ["host-1", "host-2"] {
            registrar.join(&text, &request(), id, None).await.expect("let in");
        }
        let (gone, _) = {
            let view = registrar.group.view();
            let holders = documents::holders(&view.view).expect("read");
            (holders[0].identity.clone(), holders.len())
        };
        registrar.remove(&gone).await.expect("removed");
        let count = || {
            let view = registrar.group.view();
            let removed = documents::removed(&view.view).expect("read").iter().count();
            (documents::holders(&view.view).expect("read").len(), removed)
        };
        registrar.tidy().await.expect("nothing to forget");
        assert_eq!(count(), (1, 1));
        clock.0.fetch_add(15 * 24 * 3600 * 1000, Ordering::SeqCst);
        registrar.tidy().await.expect("forgotten");
        assert_eq!(count(), (0, 0));
        assert_eq!(registrar.tokens().await.expect("listed"), []);
    }

    #[tokio::test]
    async fn cluster_that_goes_on_from_a_backup_refuses_the_controllers_of_before_and_no_host() {
        let clock = SetClock::default();
        let registrar = founded(&clock).await;
        for (role, id) in [(Role::Agent, "host-1"), (Role::Controller, "77")] {
            let made = registrar.create_token(terms(role)).await.expect("a token");
            let text = made.token.to_secret_text();
            registrar.join(&text, &request(), id, None).await.expect("let in");
        }
        let mut state = ClusterState::clone(&registrar.group.view().view);
        let now = documents::at(1_800_000_000);
        let changes = removal_of_controllers(&state, now).expect("read");
        let (index, command) = (LogIndex(100), Command::ChangeDocuments { changes });
        apply(&mut state, index, &command).expect("changed");
        let left = documents::holders(&state).expect("read");
        assert_eq!(
            left.iter().map(|one| one.identity.role()).collect::<Vec<_>>(),
            [Role::Agent]
        );
        let refused = documents::removed_holders(&state).expect("read");
        let refused: Vec<_> = refused
            .iter()
            .map(|one| (one.identity.member_id(), one.removed_at_s))
            .collect();
        assert_eq!(refused, [(Some(77), 1_800_000_000)]);
    }

    #[tokio::test]
    async fn many_that_join_with_one_token_at_once_are_counted() {
        let clock = SetClock::default();
        let registrar = founded(&clock).await;
        let many = TokenTerms {
            uses: 10,
            ..terms(Role::Agent)
        };
        let text = registrar
            .create_token(many)
            .await
            .expect("a token")
            .token
            .to_secret_text();
        let mut joining = tokio::task::JoinSet::new();
        for number in 0..20 {
            let (registrar, text) = (registrar.clone(), text.clone());
            joining.spawn(async move {
                registrar
                    .join(&text, &request(), &format!("host-{number}"), None)
                    .await
                    .is_ok()
            });
        }
        let let_in = joining.join_all().await.into_iter().filter(|is_in| *is_in).count();
        assert_eq!(let_in, 10);
    }

    #[tokio::test]
    async fn controller_by_itself_lets_nobody_join() {
        let registrar = registrar(&SetClock::default()).await;
        let error = registrar
            .create_token(terms(Role::Controller))
            .await
            .expect_err("refused");
        assert!(error.to_string().contains("--bootstrap"), "{error}");
    }
}
