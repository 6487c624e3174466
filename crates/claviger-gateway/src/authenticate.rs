//! Phase 2: who calls, and may they (portal-gateway-3x.md 6.5).
//!
//! Owns: the order credential, verdict, revocation, key manager, application, subscription, scopes, with their codes.
//! Leaves to `verdict`: how a token is judged and how long that is remembered; to `catalog`: the data.

use crate::api::{Api, Client};
use crate::credential;
use crate::fault::Fault;
use crate::gateway::Gateway;
use crate::limit;
use crate::model::{KeyType, Resource, SubscriptionStatus};
use crate::verdict::Verdict;
use claviger_proto::time::Timestamp;
use http::HeaderMap;
use std::sync::Arc;

/// A caller that may use the resource.
#[derive(Debug)]
pub(crate) struct Caller {
    pub(crate) verdict: Arc<Verdict>,
    pub(crate) client: Client,
}

impl Gateway {
    /// Checks the credentials of a call to a secured resource.
    pub(crate) async fn authenticate(
        self: &Arc<Self>,
        api: &Api,
        resource: &Resource,
        headers: &HeaderMap,
        now: Timestamp,
    ) -> Result<Caller, Fault> {
        if !api.is_oauth2_enough {
            return Err(Fault::MissingCredentials);
        }
        let token = credential::bearer(headers, &api.authorization_header).ok_or(Fault::MissingCredentials)?;
        limit::check_token(token, self.config.token_bytes_max)?;
        let verdict = self.judge(api, token, now).await?;
        // Asked on every request and after the cache: an answer that was cached late cannot outlive a revocation.
        if self.is_revoked(&verdict) {
            return Err(Fault::InvalidCredentials);
        }
        if !api.has_key_manager(&verdict.key_manager) {
            return Err(Fault::InvalidCredentials);
        }
        let client = self.find_client(&verdict, now).await.ok_or(Fault::NotSubscribed)?;
        check_subscription(client.application.subscription(api.id), client.key_type)?;
        check_scopes(&resource.scopes, &verdict.scopes)?;
        Ok(Caller { verdict, client })
    }

    /// A client's revocation concerns self-contained tokens, which nobody can list; opaque ones are revoked one by one. A user's
    /// concerns those that he lent too: he may have any number of them, and the first word of it ends them all.
    fn is_revoked(&self, verdict: &Verdict) -> bool {
        self.catalog.is_token_revoked(&verdict.token)
            || (verdict.is_self_contained && self.catalog.is_client_revoked(&verdict.consumer_key, verdict.issued_at))
            || (verdict.ends_with_user && self.catalog.is_user_revoked(&verdict.username, verdict.issued_at))
    }

    /// The application behind a token. One that is not known may be newer than our copy: the follower is asked to look
    /// again, within the bounds of `unknown_client_*`.
    async fn find_client(&self, verdict: &Verdict, now: Timestamp) -> Option<Client> {
        if let Some(client) = self.catalog.find_client(&verdict.consumer_key, &verdict.key_manager) {
            return Some(client);
        }
        self.look_again(now).await;
        self.catalog.find_client(&verdict.consumer_key, &verdict.key_manager)
    }
}

fn check_subscription(status: Option<SubscriptionStatus>, key_type: KeyType) -> Result<(), Fault> {
    match (status, key_type) {
        (None, _) => Err(Fault::NotSubscribed),
        (Some(SubscriptionStatus::Blocked), _) | (Some(SubscriptionStatus::ProdOnlyBlocked), KeyType::Production) => {
            Err(Fault::SubscriptionBlocked)
        }
        (Some(SubscriptionStatus::OnHold | SubscriptionStatus::Rejected), _) => Err(Fault::SubscriptionInactive),
        (Some(SubscriptionStatus::Unblocked | SubscriptionStatus::TierUpdatePending), _)
        | (Some(SubscriptionStatus::ProdOnlyBlocked), KeyType::Sandbox) => Ok(()),
    }
}

fn check_scopes(needed: &[String], granted: &[String]) -> Result<(), Fault> {
    if needed.is_empty() || needed.iter().any(|scope| granted.contains(scope)) {
        Ok(())
    } else {
        Err(Fault::ScopeMissing)
    }
}
