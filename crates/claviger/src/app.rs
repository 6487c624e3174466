//! The state every feature works on, and the only place where a real clock and real randomness are made.

use crate::config::Config;
use crate::events::EventLog;
use crate::notifications::Notifications;
use crate::oauth::OAuth;
use crate::oauth::introspect::Introspected;
use crate::ops::{Limits, Metrics};
use crate::portal::state::PortalSettings;
use crate::users::Users;
use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
use claviger_proto::entropy::Entropy;
use claviger_proto::event::Event;
use claviger_proto::time::{Clock, Timestamp};
use claviger_proto::user::Username;
use claviger_store::db::Store;
use claviger_store::error::StoreError;
use claviger_store::tokens::UserType;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// Longest wait for what is known of a token's user.
const ACCOUNT_MS_MAX: u64 = 250;

/// The state of a process with a database: key manager, portal, traffic manager.
pub struct App {
    /// The configuration it was started with.
    pub config: Config,
    /// The database.
    pub store: Store,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub rng: Arc<dyn Entropy>,
    /// Who users are.
    pub users: Arc<Users>,
    /// The OAuth server.
    pub oauth: OAuth,
    /// What configuration says to the portal.
    pub portal: PortalSettings,
    /// The event log.
    pub events: EventLog,
    /// Who is told of dead tokens beside gateways.
    pub notifications: Notifications,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Bounds.
    pub limits: Limits,
}

impl App {
    /// Takes notice of committed events: those of this process right after their commit, those of others when they are read.
    pub fn apply(&self, events: &[Event]) {
        for event in events {
            self.users.apply(event);
            self.oauth.apply(event);
            self.notifications.apply(event);
        }
    }

    /// Forgets every cached value.
    pub fn forget_everything(&self) {
        self.users.forget_everything();
        self.oauth.forget_everything();
    }

    /// Looks at an access token. One that a user lent is worth nothing while his account is locked or disabled (security.md 4.4), nor
    /// if he was changed since, whatever its row says by now; when nobody can tell in time, it goes by what the token says: a
    /// database that is away ends no session.
    pub async fn introspect(&self, token: &str) -> Result<Option<Introspected>, StoreError> {
        let Some(token) = self.oauth.introspect(token).await? else { return Ok(None) };
        if token.user_type == Some(UserType::Application) {
            return Ok(Some(token));
        }
        let bound = Duration::from_millis(ACCOUNT_MS_MAX);
        // Each says it alone: his table may be in another database than ours, and one of them away.
        let (by_revocation, by_account) = tokio::join!(
            timeout(bound, self.is_from_before(&token.username, &token)),
            timeout(bound, self.has_user_ended(&token))
        );
        let is_over = [by_revocation, by_account].iter().any(|said| matches!(said, Ok(Ok(true))));
        Ok((!is_over).then_some(token))
    }

    /// Is a token from before the revocation of the user of that name?
    async fn is_from_before(&self, name: &Username, token: &Introspected) -> Result<bool, StoreError> {
        let revoked_before = self.oauth.find_user_revocation(name).await?;
        Ok(revoked_before.is_some_and(|before| token.issued_at < before))
    }

    /// Is the user who lent a token locked or disabled, or was he revoked under the name as his table spells it?
    async fn has_user_ended(&self, token: &Introspected) -> Result<bool, StoreError> {
        let Some(user) = self.users.find_even_barred(&token.username).await? else { return Ok(false) };
        let is_spelled_otherwise = user.username != token.username;
        Ok(user.is_barred(self.clock.now())
            || (is_spelled_otherwise && self.is_from_before(&user.username, token).await?))
    }
}

/// The system's clock.
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the program's one real clock")]
    fn now(&self) -> Timestamp {
        let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Timestamp::from_millis(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX))
    }
}

/// The system's random source, through the crypto provider.
pub struct SystemEntropy(SystemRandom);

impl Default for SystemEntropy {
    fn default() -> Self {
        Self(SystemRandom::new())
    }
}

impl Entropy for SystemEntropy {
    fn fill(&self, buffer: &mut [u8]) {
        self.0.fill(buffer).expect("the system's random source does not fail once it is seeded");
    }
}
