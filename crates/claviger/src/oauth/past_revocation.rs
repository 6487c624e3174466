//! What a revocation asks of tokens that are issued after it: those of a client wait for its end, and a user's requests are
//! authorized again.

use crate::oauth::reply::TokenError;
use crate::oauth::{KnownClient, OAuth, OAuthSettings};
use claviger_proto::time::Timestamp;
use claviger_proto::user::Username;
use std::time::Duration;
use tokio::time::Instant;

/// Longest wait until a revocation is past: the rest of a second, the time of the news, clocks that differ a little.
const WAIT_MS_MAX: u64 = 5_000;
/// How much longer the wait may last than the clock said: it may be slowed down or set back meanwhile.
const WAIT_SLACK_MS: u64 = 1_000;

/// Was the request authorized after the user's last change, as far as it is known? One that was authorized before may have been by
/// a password, a role or a state that he has no more, and what it would be given, he may have lost meanwhile.
pub(super) fn check_begun(begun: Timestamp, revoked_before: Option<Timestamp>) -> Result<(), TokenError> {
    if revoked_before.is_some_and(|before| before > begun) { Err(TokenError::UserChanged) } else { Ok(()) }
}

/// Waits until the user's last change is past, as it stands by now, and every node has heard of it.
pub(super) async fn wait_for_user(oauth: &OAuth, user: &Username) -> Result<(), TokenError> {
    oauth.forget_user(user);
    match oauth.find_user_revocation(user).await? {
        Some(before) => wait_past(oauth, before, OAuthSettings::user_revoked_before).await,
        None => Ok(()),
    }
}

/// A JWT names its issue time in whole seconds; one made in the second of its client's revocation (a new secret), or by a
/// clock behind the one that named it, would be refused with the older ones. So the request waits until that is past.
pub(super) async fn wait_for_client(oauth: &OAuth, client: &KnownClient) -> Result<(), TokenError> {
    match client.revoked_before {
        Some(before) => wait_past(oauth, before, OAuthSettings::revoked_before).await,
        None => Ok(()),
    }
}

/// Waits until the end of a revocation is past, which lies as far ahead at most as one's that is written now.
async fn wait_past(
    oauth: &OAuth,
    before: Timestamp,
    next: fn(&OAuthSettings, Timestamp) -> Timestamp,
) -> Result<(), TokenError> {
    // Our own clock may be this far from the end of the revocation without anybody's clock being wrong.
    let own_ms = next(&oauth.settings, oauth.clock.now()).millis_since(oauth.clock.now());
    let wait_ms_max = WAIT_MS_MAX.saturating_add(u64::try_from(own_ms).unwrap_or(0));
    let deadline = Instant::now() + Duration::from_millis(wait_ms_max + WAIT_SLACK_MS);
    loop {
        match u64::try_from(before.millis_since(oauth.clock.now())) {
            Ok(0) | Err(_) => return Ok(()),
            Ok(left_ms) if left_ms <= wait_ms_max && Instant::now() < deadline => {
                tokio::time::sleep(Duration::from_millis(left_ms)).await;
            }
            Ok(_) => return Err(TokenError::ClockBehind),
        }
    }
}
