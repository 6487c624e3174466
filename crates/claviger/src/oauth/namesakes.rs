//! Users whom MySQL does not tell from each other in its keys: those that differ in case or accents alone (database.md 3.5).
//!
//! At most one of them can hold the ACTIVE row of a client and scope set there. While it lives it is left alone: retiring it
//! would let either end the other's session. When it is over nobody misses it, and its refresh token lives on in EXPIRED.

use crate::oauth::issue::{self, Order};
use crate::oauth::reply::TokenError;
use crate::oauth::revoke::Times;
use crate::oauth::{OAuth, client_auth};
use claviger_proto::entropy::uuid;
use claviger_store::clients::{self, Hold};
use claviger_store::sql::Engine;
use claviger_store::tokens::{self, TokenKey, TokenState, namesakes};
use std::sync::Arc;

/// Retires the rows of other users that are over and stand in the way of a new one. Asked after a conflict only.
pub(super) async fn clear_way(oauth: &OAuth, order: &Arc<Order>, key: &TokenKey) -> Result<(), TokenError> {
    if oauth.store.engine() != Engine::MySql {
        return Ok(());
    }
    let (order, key, rng) = (order.clone(), key.clone(), oauth.rng.clone());
    let (rule, now) = (oauth.settings.name_rule, oauth.clock.now());
    let times = Times { now, ended_before: oauth.settings.ended_before(now) };
    let write = oauth.store.write::<_, TokenError, _>(move |conn| {
        let (order, key, rng) = (order.clone(), key.clone(), rng.clone());
        Box::pin(async move {
            let client = &order.client.client;
            client_auth::check_unchanged(client, clients::hold(conn, client, Hold::Alone).await?.as_ref())?;
            let idp = tokens::local_idp(conn, key.tenant).await?;
            for token in namesakes::find_over(conn, &key, idp, rule, times.ended_before).await? {
                issue::retire(conn, &token, TokenState::Expired, &uuid(&*rng), times).await?;
            }
            Ok(())
        })
    });
    write.await
}
