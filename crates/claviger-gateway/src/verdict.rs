//! What is known of a presented token: judged once, remembered for a while.
//!
//! Owns: JWT or opaque (portal-gateway-3x.md 6.5), the checks of a JWT (security.md 4.2), asking the control plane about an
//! opaque token once for all callers that present it, and the two bounded caches under the SHA-256 of the *whole* token, so
//! that an altered byte is another token. Leaves to `authenticate`: revocations and everything about the API.

use crate::api::{Api, TenantNumber};
use crate::catalog::AcceptedIssuer;
use crate::config::GatewayConfig;
use crate::fault::Fault;
use crate::gateway::Gateway;
use crate::model::{ActiveToken, TokenVerdict};
use claviger_proto::hash::TokenHash;
use claviger_proto::ids::ConsumerKey;
use claviger_proto::jose::{JoseError, has_jws_shape, may_be_access_token, unverified_claims};
use claviger_proto::secret::Secret;
use claviger_proto::time::Timestamp;
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};
use serde_json::{Map, Value};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// A token that is good as far as the token alone can tell.
#[derive(Debug)]
pub(crate) struct Verdict {
    /// The name under which it is revoked.
    pub(crate) token: TokenHash,
    pub(crate) consumer_key: ConsumerKey,
    pub(crate) key_manager: String,
    pub(crate) username: String,
    pub(crate) scopes: Vec<String>,
    pub(crate) issued_at: Timestamp,
    /// A JWT, whoever checked it. Otherwise its row decides, and its own revocation.
    pub(crate) is_self_contained: bool,
    /// Does it end with what its user was given? A JWT does, whoever it speaks for: it does not always say.
    pub(crate) ends_with_user: bool,
    /// Not used from this instant on; the skew is already in it.
    expires_at: Timestamp,
    basis: Basis,
}

/// What a verdict rests on.
#[derive(Debug)]
enum Basis {
    /// The issuers' keys of this generation.
    Keys(u64),
    /// A tenant's own of this generation, which counts as long as the client is that tenant's.
    TenantKeys(u64),
    /// The control plane's word about a row, good until then.
    Word(Timestamp),
    /// Its word about a JWT, which rests on keys as well: those that were current when it was asked.
    WordOnKeys(Timestamp, u64),
}

/// Issuers differ between tenants, and with them the verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct VerdictKey {
    presented: TokenHash,
    tenant: TenantNumber,
}

type Answer = Result<Arc<Verdict>, Fault>;

/// The caches, and the questions under way.
pub(crate) struct Verdicts {
    positive: quick_cache::sync::Cache<VerdictKey, Arc<Verdict>>,
    /// Refused opaque tokens until an instant. Apart from the good ones, so that guesses push none of them out.
    negative: quick_cache::sync::Cache<VerdictKey, Timestamp>,
    questions: Mutex<HashMap<VerdictKey, Shared<BoxFuture<'static, Answer>>>>,
    /// When an unknown `kid` last made us fetch the issuers.
    issuers_fetched: tokio::sync::Mutex<Option<Timestamp>>,
}

impl Verdicts {
    pub(crate) fn new(config: &GatewayConfig) -> Self {
        Self {
            positive: quick_cache::sync::Cache::new(config.verdicts_max),
            negative: quick_cache::sync::Cache::new(config.negative_verdicts_max),
            questions: Mutex::default(),
            issuers_fetched: tokio::sync::Mutex::new(None),
        }
    }

    /// Cached good verdicts.
    pub(crate) fn count(&self) -> usize {
        self.positive.len()
    }
}

/// Takes a question off the list when it is answered, and also when its task breaks off.
struct Asked {
    gateway: Arc<Gateway>,
    key: VerdictKey,
}

impl Drop for Asked {
    fn drop(&mut self) {
        self.gateway.verdicts.questions.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
    }
}

impl Gateway {
    /// The verdict on a token presented to an API.
    pub(crate) async fn judge(self: &Arc<Self>, api: &Api, token: &str, now: Timestamp) -> Answer {
        let key = VerdictKey { presented: TokenHash::of(token), tenant: api.tenant };
        if let Some(verdict) = self.verdicts.positive.get(&key) {
            if now >= verdict.expires_at {
                self.verdicts.positive.remove(&key);
                return Err(Fault::InvalidCredentials);
            }
            let is_current = match verdict.basis {
                Basis::Keys(generation) => generation == self.catalog.issuers().generation,
                Basis::TenantKeys(generation) => {
                    let (client, manager) = (&verdict.consumer_key, &verdict.key_manager);
                    generation == self.catalog.issuers().generation
                        && self.catalog.is_client_of(client, manager, &api.tenant_domain)
                }
                Basis::Word(until) => now < until,
                Basis::WordOnKeys(until, keys) => now < until && keys == self.catalog.key_changes(),
            };
            if is_current {
                self.metrics.verdict_hits.inc();
                return Ok(verdict);
            }
        }
        self.metrics.verdict_misses.inc();
        // Boxed: the way of a miss is long, and the future of every request would be as large.
        self.judge_anew(api, token, key, now).boxed().await
    }

    async fn judge_anew(self: &Arc<Self>, api: &Api, token: &str, key: VerdictKey, now: Timestamp) -> Answer {
        if has_jws_shape(token) {
            let issuer = unverified_claims(token)
                .ok()
                .and_then(|claims| claims.get("iss").and_then(Value::as_str).map(str::to_owned));
            let accepted = issuer.filter(|issuer| self.catalog.issuers().find(&api.tenant_domain, issuer).is_some());
            if let Some(issuer) = accepted
                && let Some(verdict) = self.verify(&api.tenant_domain, &issuer, token, now).await?
            {
                let verdict = Arc::new(verdict);
                self.verdicts.positive.insert(key, Arc::clone(&verdict));
                return Ok(verdict);
            }
            // Of a client of another tenant, perhaps, whose key signs for that tenant's clients: the control plane knows.
        } else if token.contains('.') {
            return Err(Fault::InvalidJwt);
        }
        self.ask(token, key, now).await
    }

    /// Checks a JWT of a known issuer; `None` when it names none of the keys that surely count for its client here. An unknown
    /// `kid` may be a new key: the issuers are fetched once and then it decides.
    async fn verify(
        &self,
        tenant_domain: &str,
        issuer: &str,
        token: &str,
        now: Timestamp,
    ) -> Result<Option<Verdict>, Fault> {
        match self.verify_with_known_keys(tenant_domain, issuer, token, now) {
            Err(JoseError::UnknownKey) => {
                let timeout = Duration::from_millis(self.config.token_check_timeout_ms);
                if tokio::time::timeout(timeout, self.fetch_issuers(now)).await.is_err() {
                    tracing::warn!("The issuers could not be fetched for an unknown key: no answer in time");
                }
            }
            Ok(verdict) => return verdict.map(Some),
            Err(_) => return Err(Fault::InvalidCredentials),
        }
        match self.verify_with_known_keys(tenant_domain, issuer, token, now) {
            Err(JoseError::UnknownKey) => Ok(None),
            Ok(verdict) => verdict.map(Some),
            Err(_) => Err(Fault::InvalidCredentials),
        }
    }

    fn verify_with_known_keys(
        &self,
        tenant_domain: &str,
        issuer: &str,
        token: &str,
        now: Timestamp,
    ) -> Result<Result<Verdict, Fault>, JoseError> {
        let issuers = self.catalog.issuers();
        let accepted = issuers.find(tenant_domain, issuer).ok_or(JoseError::UnknownKey)?;
        let (claims, basis) = match accepted.keys.verify(token) {
            Err(JoseError::UnknownKey) => {
                let claims = self.verify_with_tenant_keys(tenant_domain, accepted, token)?;
                (claims, Basis::TenantKeys(issuers.generation))
            }
            checked => (checked?, Basis::Keys(issuers.generation)),
        };
        if !may_be_access_token(token, &claims) {
            return Err(JoseError::Header);
        }
        let verdict = verdict_of_claims(accepted, &claims, basis, self.config.clock_skew_ms, now);
        Ok(verdict.ok_or(Fault::InvalidCredentials))
    }

    /// Who found out a tenant's key must not speak for others' clients: it is an unknown one for them, as for the key manager.
    fn verify_with_tenant_keys(
        &self,
        tenant_domain: &str,
        accepted: &AcceptedIssuer,
        token: &str,
    ) -> Result<Map<String, Value>, JoseError> {
        let claims = accepted.tenant_keys.verify(token)?;
        let client = claims.get(&accepted.consumer_key_claim).and_then(Value::as_str).map(ConsumerKey::from);
        let is_own =
            client.is_some_and(|client| self.catalog.is_client_of(&client, &accepted.key_manager, tenant_domain));
        if is_own { Ok(claims) } else { Err(JoseError::UnknownKey) }
    }

    /// At most once per `issuer_refetch_interval_ms`; callers that come meanwhile wait for the same fetch.
    async fn fetch_issuers(&self, now: Timestamp) {
        let mut fetched = self.verdicts.issuers_fetched.lock().await;
        let interval_ms = self.config.issuer_refetch_interval_ms;
        if fetched.is_some_and(|at| now.millis_since(at) < interval_ms) {
            return;
        }
        *fetched = Some(now);
        if let Err(error) = self.refresh_issuers().await {
            tracing::warn!(%error, "The issuers could not be fetched for an unknown key: {error}");
        }
    }

    /// Asks the control plane about an opaque token, once for all who present it meanwhile.
    async fn ask(self: &Arc<Self>, token: &str, key: VerdictKey, now: Timestamp) -> Answer {
        if self.verdicts.negative.get(&key).is_some_and(|until| now < until) {
            return Err(Fault::InvalidCredentials);
        }
        let question = {
            let mut questions = self.verdicts.questions.lock().unwrap_or_else(PoisonError::into_inner);
            match questions.get(&key) {
                Some(question) => question.clone(),
                None if questions.len() >= self.config.token_checks_max => {
                    return Err(Fault::AuthenticationUnavailable);
                }
                None => {
                    let asked = Asked { gateway: Arc::clone(self), key };
                    // A task of its own: the question outlives the caller that happened to come first.
                    let task = tokio::spawn(ask_control_plane(asked, Secret::new(token)));
                    let question =
                        async move { task.await.unwrap_or(Err(Fault::AuthenticationUnavailable)) }.boxed().shared();
                    questions.insert(key, question.clone());
                    question
                }
            }
        };
        question.await
    }
}

async fn ask_control_plane(asked: Asked, token: Secret) -> Answer {
    let gateway = &asked.gateway;
    // Before the question: what changes meanwhile may not be in its answer.
    let keys = gateway.catalog.key_changes();
    let timeout = Duration::from_millis(gateway.config.token_check_timeout_ms);
    let answer = tokio::time::timeout(timeout, gateway.control.check_token(token.expose())).await;
    let now = gateway.clock.now();
    match answer {
        Ok(Ok(TokenVerdict::Active(active))) if now < active.expires_at => {
            let good_until = now.plus_millis(gateway.config.verdict_age_ms_max);
            let is_jwt = has_jws_shape(token.expose());
            let basis = if is_jwt { Basis::WordOnKeys(good_until, keys) } else { Basis::Word(good_until) };
            let verdict = Arc::new(Verdict::of_active(active, is_jwt, basis));
            gateway.verdicts.positive.insert(asked.key, Arc::clone(&verdict));
            Ok(verdict)
        }
        Ok(Ok(TokenVerdict::Active(_) | TokenVerdict::Inactive)) => {
            gateway.verdicts.positive.remove(&asked.key);
            let until = now.plus_millis(gateway.config.negative_verdict_age_ms_max);
            gateway.verdicts.negative.insert(asked.key, until);
            Err(Fault::InvalidCredentials)
        }
        Ok(Err(error)) => {
            tracing::warn!(token = %asked.key.presented, %error, "A token could not be checked: {error}");
            Err(Fault::AuthenticationUnavailable)
        }
        Err(_) => {
            tracing::warn!(token = %asked.key.presented, "A token could not be checked: no answer in time");
            Err(Fault::AuthenticationUnavailable)
        }
    }
}

impl Verdict {
    fn of_active(active: ActiveToken, is_self_contained: bool, basis: Basis) -> Self {
        Self {
            token: active.token,
            consumer_key: active.consumer_key,
            key_manager: active.key_manager,
            username: active.username,
            scopes: active.scopes,
            issued_at: active.issued_at,
            is_self_contained,
            ends_with_user: is_self_contained || active.is_users,
            expires_at: active.expires_at,
            basis,
        }
    }
}

/// The verdict that verified claims give at this instant; `None` when they are not those of a usable access token.
fn verdict_of_claims(
    issuer: &AcceptedIssuer,
    claims: &Map<String, Value>,
    basis: Basis,
    skew_ms: i64,
    now: Timestamp,
) -> Option<Verdict> {
    let text = |name: &str| claims.get(name).and_then(Value::as_str);
    let instant = |name: &str| claims.get(name).map(|value| value.as_i64().map(Timestamp::from_secs));
    // A claim that is there and is no number is not the same as one that is missing.
    let expires_at = instant("exp")??.plus_millis(skew_ms);
    let not_before = match instant("nbf") {
        Some(value) => value?,
        None => Timestamp::from_secs(0),
    };
    let issued_at = match instant("iat") {
        Some(value) => value?,
        // Unknown age counts as old: a revocation of the client reaches it.
        None => Timestamp::from_secs(0),
    };
    if now >= expires_at || now.plus_millis(skew_ms) < not_before {
        return None;
    }
    Some(Verdict {
        // Without a name it could not be revoked.
        token: TokenHash::of(text("jti").filter(|jti| !jti.is_empty())?),
        consumer_key: ConsumerKey::from(text(&issuer.consumer_key_claim)?),
        key_manager: issuer.key_manager.clone(),
        username: text("sub").unwrap_or_default().to_owned(),
        scopes: scopes_of(claims.get(&issuer.scopes_claim)),
        issued_at,
        is_self_contained: true,
        ends_with_user: true,
        expires_at,
        basis,
    })
}

/// Blank-separated text or a list of texts.
fn scopes_of(claim: Option<&Value>) -> Vec<String> {
    match claim {
        Some(Value::String(text)) => text.split(' ').filter(|scope| !scope.is_empty()).map(str::to_owned).collect(),
        Some(Value::Array(items)) => items.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        _ => Vec::new(),
    }
}
