//! IDN_OAUTH2_ACCESS_TOKEN and its scopes (contract database.md 3). One row per issued pair; for a JWT the row holds the
//! `jti`. Look-ups go through the hash columns and are compared exactly in our own code.

use crate::capability::Capability;
use crate::conn::Conn;
use crate::error::StoreError;
use crate::forms::Forms;
use crate::sql::{Engine, queries};
use crate::tenants;
use crate::users;
use crate::value::{Arg, Row};
use claviger_proto::hash::TokenHash;
use claviger_proto::ids::{ConsumerKey, ConsumerKeyId, TenantId, TokenId};
use claviger_proto::scope::Scopes;
use claviger_proto::secret::Secret;
use claviger_proto::time::Timestamp;
use claviger_proto::user::NameRule;
use std::collections::BTreeSet;

mod insert;
pub mod namesakes;
pub mod of_user;
mod together;

pub use insert::{NewRow, insert, insert_rows};
pub(crate) use insert::{insert_all, said};
pub(crate) use together::fill;
pub use together::{Active, TOGETHER_MAX, find_active_of, retire_all};

/// The statements of this folder.
pub(crate) fn statements() -> impl Iterator<Item = &'static (&'static str, &'static crate::sql::Sql)> {
    STATEMENTS.iter().chain(insert::STATEMENTS).chain(together::STATEMENTS).chain(of_user::STATEMENTS)
}

/// The SELECT list that [`decode`] reads, with the scopes of each token or without.
macro_rules! select_tokens {
    ($rest:literal) => {
        select_tokens!(usual, "S.TOKEN_SCOPE", $rest)
    };
    (usual, $columns:literal, $rest:expr) => {
        select_tokens!(
            $columns,
            "IDN_OAUTH2_ACCESS_TOKEN T JOIN IDN_OAUTH_CONSUMER_APPS C ON C.ID = T.CONSUMER_KEY_ID \
             LEFT JOIN IDN_OAUTH2_ACCESS_TOKEN_SCOPE S ON S.TOKEN_ID = T.TOKEN_ID ",
            $rest
        )
    };
    // MariaDB would look into seven indexes for each key to find out that this one is the best.
    (by_key, $columns:literal, $rest:expr) => {
        select_tokens!(
            $columns,
            "IDN_OAUTH2_ACCESS_TOKEN T [active_key:FORCE INDEX (CON_APP_KEY) ]\
             JOIN IDN_OAUTH_CONSUMER_APPS C ON C.ID = T.CONSUMER_KEY_ID \
             LEFT JOIN IDN_OAUTH2_ACCESS_TOKEN_SCOPE S ON S.TOKEN_ID = T.TOKEN_ID ",
            $rest
        )
    };
    // PostgreSQL takes the conditions of an ACTIVE row for independent of each other and expects thousands of them where a
    // client's dead tokens have the same scopes: it would read the tables of scopes and clients whole for one token.
    (one_by_one, $columns:literal, $rest:expr) => {
        select_tokens!(
            $columns,
            "IDN_OAUTH2_ACCESS_TOKEN T \
             CROSS JOIN LATERAL (SELECT CONSUMER_KEY FROM IDN_OAUTH_CONSUMER_APPS WHERE ID = T.CONSUMER_KEY_ID OFFSET 0) C \
             LEFT JOIN LATERAL (SELECT TOKEN_SCOPE FROM IDN_OAUTH2_ACCESS_TOKEN_SCOPE WHERE TOKEN_ID = T.TOKEN_ID OFFSET 0) S ON TRUE ",
            $rest
        )
    };
    ($columns:literal, $from:literal, $rest:expr) => {
        concat!(
            "SELECT T.TOKEN_ID, T.ACCESS_TOKEN, T.REFRESH_TOKEN, C.CONSUMER_KEY, T.CONSUMER_KEY_ID, T.AUTHZ_USER, T.TENANT_ID, T.USER_DOMAIN, \
             T.USER_TYPE, T.GRANT_TYPE, T.TIME_CREATED, T.REFRESH_TOKEN_TIME_CREATED, T.VALIDITY_PERIOD, T.REFRESH_TOKEN_VALIDITY_PERIOD, \
             T.TOKEN_STATE, T.SUBJECT_IDENTIFIER, [token_hash:T.ACCESS_TOKEN_HASH|NULL], ",
            $columns,
            " FROM ",
            $from,
            $rest
        )
    };
}

use select_tokens;

/// The condition of [`FIND_ACTIVE`].
macro_rules! is_active {
    () => {
        "WHERE T.CONSUMER_KEY_ID = ? AND T.AUTHZ_USER IN (?, ?, ?, ?) AND T.TENANT_ID = ? AND T.USER_DOMAIN = ? \
         AND T.TOKEN_SCOPE_HASH = ? AND T.TOKEN_STATE = 'ACTIVE' AND T.USER_TYPE = ? \
         [idp_id:AND (T.IDP_ID = ? OR T.IDP_ID IS NULL OR T.IDP_ID = -1) ]\
         [token_binding:AND T.TOKEN_BINDING_REF = 'NONE' ]ORDER BY T.TIME_CREATED DESC, T.TOKEN_ID"
    };
}

queries! {
    FIND_BY_ACCESS = select_tokens!("WHERE T.[token_hash:ACCESS_TOKEN_HASH|ACCESS_TOKEN] = ?");
    FIND_UNHASHED = "SELECT TOKEN_ID FROM IDN_OAUTH2_ACCESS_TOKEN WHERE [token_hash:ACCESS_TOKEN_HASH IS NULL|1 = 0] LIMIT 1";
    FIND_UNHASHED_BY_ACCESS = select_tokens!("WHERE [token_hash:T.ACCESS_TOKEN_HASH IS NULL AND ]T.ACCESS_TOKEN = ?");
    FIND_BY_REFRESH = select_tokens!("WHERE T.[token_hash:REFRESH_TOKEN_HASH|REFRESH_TOKEN] = ? AND T.CONSUMER_KEY_ID = ? \
                                      ORDER BY T.TIME_CREATED DESC, \
                                      CASE T.TOKEN_STATE WHEN 'ACTIVE' THEN 0 WHEN 'REVOKED' THEN 1 WHEN 'EXPIRED' THEN 2 ELSE 3 END, \
                                      T.TOKEN_ID");
    FIND_UNHASHED_BY_REFRESH = select_tokens!("WHERE [token_hash:T.REFRESH_TOKEN_HASH IS NULL AND ]T.REFRESH_TOKEN = ? \
                                      AND T.CONSUMER_KEY_ID = ? ORDER BY T.TIME_CREATED DESC, \
                                      CASE T.TOKEN_STATE WHEN 'ACTIVE' THEN 0 WHEN 'REVOKED' THEN 1 WHEN 'EXPIRED' THEN 2 ELSE 3 END, \
                                      T.TOKEN_ID");
    FIND_ACTIVE = select_tokens!(usual, "S.TOKEN_SCOPE", is_active!()),
        MySql = select_tokens!(by_key, "S.TOKEN_SCOPE", is_active!()),
        Postgres = select_tokens!(one_by_one, "S.TOKEN_SCOPE", is_active!());
    LIST_ACTIVE_OF_CLIENT = select_tokens!("NULL", "IDN_OAUTH2_ACCESS_TOKEN T JOIN IDN_OAUTH_CONSUMER_APPS C ON C.ID = T.CONSUMER_KEY_ID ", "WHERE T.CONSUMER_KEY_ID = ? AND T.TOKEN_STATE = 'ACTIVE' LIMIT ?");
    FIND_BY_ID = select_tokens!("WHERE T.TOKEN_ID = ?");
    RETIRE = "UPDATE IDN_OAUTH2_ACCESS_TOKEN SET TOKEN_STATE = ?, TOKEN_STATE_ID = ? WHERE TOKEN_ID = ? AND TOKEN_STATE = ?";
    LIST_IDS_OF_CLIENT = "SELECT TOKEN_ID FROM IDN_OAUTH2_ACCESS_TOKEN WHERE CONSUMER_KEY_ID = ? LIMIT ?";
    DELETE_TOKENS = "DELETE FROM IDN_OAUTH2_ACCESS_TOKEN WHERE TOKEN_ID IN (\
                     ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, \
                     ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
    FIND_LOCAL_IDP = "SELECT ID FROM IDP WHERE TENANT_ID = ? AND NAME = 'LOCAL'";
}

/// Rows removed by one statement.
const DELETED_PER_STATEMENT: usize = 50;

/// Token states of the WSO2 tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenState {
    /// Usable while it lives.
    Active,
    /// Over, or of a type that the client no longer has; its refresh token may live on.
    Expired,
    /// Replaced by a refresh.
    Inactive,
    /// Revoked.
    Revoked,
}

impl TokenState {
    /// The word in TOKEN_STATE.
    pub fn as_word(self) -> &'static str {
        match self {
            Self::Active => "ACTIVE",
            Self::Expired => "EXPIRED",
            Self::Inactive => "INACTIVE",
            Self::Revoked => "REVOKED",
        }
    }

    pub(crate) fn from_word(word: &str) -> Self {
        match word {
            "ACTIVE" => Self::Active,
            "EXPIRED" => Self::Expired,
            "INACTIVE" => Self::Inactive,
            // REVOKED, or not a state of the product's: whatever it says, nobody may use it, and it is in nobody's way.
            _ => Self::Revoked,
        }
    }
}

/// Whom a token speaks for (USER_TYPE).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UserType {
    /// The application itself: client_credentials.
    Application,
    /// An end user.
    ApplicationUser,
}

impl UserType {
    /// The word in USER_TYPE.
    pub fn as_word(self) -> &'static str {
        match self {
            Self::Application => "APPLICATION",
            Self::ApplicationUser => "APPLICATION_USER",
        }
    }

    /// The type of a word.
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Application, Self::ApplicationUser].into_iter().find(|known| known.as_word() == word)
    }
}

/// The tuple for which at most one token is ACTIVE (CON_APP_KEY, database.md 3.5).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TokenKey {
    /// The client.
    pub consumer_key_id: ConsumerKeyId,
    /// User without domain and tenant.
    pub user: String,
    /// User-store domain, upper case.
    pub user_domain: String,
    /// The user's tenant.
    pub tenant: TenantId,
    /// Application or end user.
    pub user_type: UserType,
    /// The granted scopes.
    pub scopes: Scopes,
}

/// An issued pair.
#[derive(Clone, Debug)]
pub struct Token {
    /// TOKEN_ID.
    pub id: TokenId,
    /// Digest of the opaque token or of the `jti`, under which events and logs name the token.
    pub hash: TokenHash,
    /// The opaque token, or the `jti` of a JWT; `None` when the database holds its hash only and nobody presented it.
    pub identifier: Option<Secret>,
    /// The refresh token; `None` when there is none, or as with the identifier.
    pub refresh: Option<Secret>,
    /// Client id.
    pub consumer_key: ConsumerKey,
    /// Whom and what it is for.
    pub key: TokenKey,
    /// GRANT_TYPE.
    pub grant: String,
    /// Issue time.
    pub created: Timestamp,
    /// Issue time of the refresh token.
    pub refresh_created: Timestamp,
    /// Life in milliseconds; negative: never ends.
    pub validity_ms: i64,
    /// Life of the refresh token in milliseconds; negative: never ends.
    pub refresh_validity_ms: i64,
    /// State.
    pub state: TokenState,
    /// SUBJECT_IDENTIFIER.
    pub subject: String,
}

/// Periods from here on mean "never ends" (database.md 3.1).
const ENDLESS_MS: i64 = 99_999_999_999_990;

impl Token {
    /// End of the access token.
    pub fn expires_at(&self) -> Timestamp {
        end_of(self.created, self.validity_ms)
    }

    /// End of the refresh token.
    pub fn refresh_expires_at(&self) -> Timestamp {
        end_of(self.refresh_created, self.refresh_validity_ms)
    }
}

fn end_of(created: Timestamp, validity_ms: i64) -> Timestamp {
    if (0..ENDLESS_MS).contains(&validity_ms) { created.plus_millis(validity_ms) } else { Timestamp::NEVER }
}

/// A token by its opaque text or `jti`, whatever its state.
pub async fn find_by_access(conn: &mut Conn, identifier: &str) -> Result<Option<Token>, StoreError> {
    let column = looked_up(conn, identifier)?;
    let mut rows = conn.rows(&FIND_BY_ACCESS, &[(&column).into()]).await?;
    let mut is_by_hash = conn.capabilities().has(Capability::TokenHash);
    if rows.is_empty() && conn.has_unhashed() {
        // A row that came from 2.1 has no hash; the index on the hash finds those (database.md 3.2).
        rows = conn.rows(&FIND_UNHASHED_BY_ACCESS, &[identifier.into()]).await?;
        is_by_hash = false;
    }
    let hash = TokenHash::of(identifier);
    // The collation may find another spelling too (database.md 1.5). What was found by its column's text must have been read:
    // a hash or cipher text in it is nobody's token.
    let is_same = |token: &Token| token.hash == hash && (is_by_hash || token.identifier.is_some());
    let found = decode(conn, &rows)?.into_iter().find(is_same);
    Ok(found.map(|token| Token { identifier: Some(Secret::new(identifier)), ..token }))
}

/// The newest row of a client that carries this refresh token, whatever its state.
pub async fn find_by_refresh(
    conn: &mut Conn,
    client: ConsumerKeyId,
    refresh: &str,
) -> Result<Option<Token>, StoreError> {
    let column = looked_up(conn, refresh)?;
    let mut rows = conn.rows(&FIND_BY_REFRESH, &[(&column).into(), client.into()]).await?;
    let mut is_by_hash = conn.capabilities().has(Capability::TokenHash);
    if rows.is_empty() && conn.has_unhashed() {
        rows = conn.rows(&FIND_UNHASHED_BY_REFRESH, &[refresh.into(), client.into()]).await?;
        is_by_hash = false;
    }
    // A row that was found by the hash has this text, whether it can be read or not. One that was found by its column's text
    // must be read: a cipher text is nobody's refresh token.
    let is_same = |token: &Token| is_by_hash || token.refresh.as_ref().is_some_and(|stored| stored.is_equal(refresh));
    let found = decode(conn, &rows)?.into_iter().find(is_same);
    Ok(found.map(|token| Token { refresh: Some(Secret::new(refresh)), ..token }))
}

/// A token by its row's id, whatever its state.
pub async fn find_by_id(conn: &mut Conn, id: &TokenId) -> Result<Option<Token>, StoreError> {
    let rows = conn.rows(&FIND_BY_ID, &[id.into()]).await?;
    Ok(decode(conn, &rows)?.into_iter().find(|token| token.id == *id))
}

/// Are there rows without a hash?
pub(crate) async fn are_any_unhashed(conn: &mut Conn) -> Result<bool, StoreError> {
    if !conn.capabilities().has(Capability::TokenHash) {
        return Ok(false);
    }
    Ok(conn.row(&FIND_UNHASHED, &[]).await?.is_some())
}

/// What the column that tokens are looked up by holds for a text.
fn looked_up(conn: &Conn, text: &str) -> Result<String, StoreError> {
    let forms = conn.forms();
    if conn.capabilities().has(Capability::TokenHash) {
        return Ok(forms.hash(text));
    }
    let same_each_time = forms.looked_up(text);
    same_each_time
        .ok_or_else(|| StoreError::Corrupt("tokens without a hash column cannot be found by their cipher text".into()))
}

/// The newest ACTIVE row for a key. Failing one under exactly that user name, one under another spelling of it counts when the
/// rule takes both for one user: an old server writes the name as it was typed. On MySQL every spelling is found; elsewhere,
/// where rows of other spellings are in nobody's way, the usual ones are, so that the index on the name serves.
pub async fn find_active(
    conn: &mut Conn,
    key: &TokenKey,
    idp: Option<i64>,
    rule: NameRule,
) -> Result<Option<Token>, StoreError> {
    let mut others = Vec::new();
    for token in list_active(conn, key, idp, &spellings(&key.user, rule)).await? {
        if token.key.user == key.user {
            return Ok(Some(token));
        }
        others.push(token);
    }
    for token in others {
        if users::is_one(conn, (key.tenant, &key.user_domain), (&token.key.user, &key.user), rule).await? {
            return Ok(Some(token));
        }
    }
    Ok(None)
}

/// The ACTIVE rows, newest first, that are a key's but for the user, who has one of these names as the database compares them.
async fn list_active(
    conn: &mut Conn,
    key: &TokenKey,
    idp: Option<i64>,
    names: &[String; 4],
) -> Result<Vec<Token>, StoreError> {
    let hash = key.scopes.column_hash();
    let [first, second, third, fourth] = names;
    let args = [
        key.consumer_key_id.into(),
        first.into(),
        second.into(),
        third.into(),
        fourth.into(),
        key.tenant.into(),
        (&key.user_domain).into(),
        (&hash).into(),
        key.user_type.as_word().into(),
        idp.into(),
    ];
    let rows = conn.rows_planned_anew(&FIND_ACTIVE, &args).await?;
    let scopes = stored_scopes(conn.engine(), &key.scopes).map(str::to_owned).collect();
    let stored = TokenKey { scopes, ..key.clone() };
    let mut tokens = decode(conn, &rows)?;
    tokens.retain(|token| TokenKey { user: key.user.clone(), ..token.key.clone() } == stored);
    Ok(tokens)
}

/// The names under which a user's rows are looked for: his own, and with it the usual spellings of it when the rule takes them
/// for his.
fn spellings(name: &str, rule: NameRule) -> [String; 4] {
    let others = match rule {
        NameRule::Exact => std::array::from_fn(|_| name.to_owned()),
        NameRule::AnyCase => usual_spellings(name),
    };
    let [lower, upper, capitalised] = others;
    [name.to_owned(), lower, upper, capitalised]
}

/// As people type a name: all small, all large, the first letter large.
pub(crate) fn usual_spellings(name: &str) -> [String; 3] {
    let lower = name.to_lowercase();
    let mut letters = lower.chars();
    let first: String = letters.next().into_iter().flat_map(char::to_uppercase).collect();
    let capitalised = first + letters.as_str();
    [lower, name.to_uppercase(), capitalised]
}

/// Some ACTIVE rows of a client, without their scopes; fewer than asked for when there are no more.
pub async fn list_active_of_client(
    conn: &mut Conn,
    client: ConsumerKeyId,
    rows_max: usize,
) -> Result<Vec<Token>, StoreError> {
    let rows_max = i64::try_from(rows_max).unwrap_or(i64::MAX);
    let rows = conn.rows(&LIST_ACTIVE_OF_CLIENT, &[client.into(), rows_max.into()]).await?;
    decode(conn, &rows)
}

/// The scopes that get a row. The usual collations of MySQL take `read` and `READ` for the same (database.md 1.5): one stays.
pub(crate) fn stored_scopes(engine: Engine, scopes: &Scopes) -> impl Iterator<Item = &str> {
    let mut seen = BTreeSet::new();
    scopes.iter().filter(move |scope| engine != Engine::MySql || seen.insert(scope.to_ascii_lowercase()))
}

/// Moves a row from one state to another; false when it was no longer in the first: who holds the client finds only an old
/// node's doing there. `state_id` is a fresh UUID, so that any number of dead rows can stand beside the ACTIVE one.
pub async fn retire(conn: &mut Conn, token: &Token, to: TokenState, state_id: &str) -> Result<bool, StoreError> {
    let args = [to.as_word().into(), state_id.into(), (&token.id).into(), token.state.as_word().into()];
    Ok(conn.execute(&RETIRE, &args).await? == 1)
}

/// Removes some rows of a client, whatever their state, with their scopes; fewer than asked for when there are no more.
pub async fn delete_of_client(conn: &mut Conn, client: ConsumerKeyId, rows_max: usize) -> Result<usize, StoreError> {
    let limit = i64::try_from(rows_max).unwrap_or(i64::MAX);
    let rows = conn.rows(&LIST_IDS_OF_CLIENT, &[client.into(), limit.into()]).await?;
    let ids: Vec<String> = rows.iter().map(|row| row.text(0)).collect::<Result<_, _>>()?;
    for some in ids.chunks(DELETED_PER_STATEMENT) {
        let mut args = [Arg::Text(None); DELETED_PER_STATEMENT];
        for (arg, id) in args.iter_mut().zip(some) {
            *arg = id.into();
        }
        conn.execute(&DELETE_TOKENS, &args).await?;
    }
    Ok(ids.len())
}

/// IDP.ID of a tenant's resident identity provider, made in a write where it is missing. Without that row a token would be
/// invisible to WSO2 (database.md 3.3).
/// `None` where token rows name no provider.
pub async fn local_idp(conn: &mut Conn, tenant: TenantId) -> Result<Option<i64>, StoreError> {
    if !conn.capabilities().has(Capability::IdpId) {
        return Ok(None);
    }
    match seek_local_idp(conn, tenant).await? {
        Some(idp) => Ok(Some(idp)),
        None => tenants::ensure_local_idp(conn, tenant).await.map(Some),
    }
}

/// [`local_idp`] where token rows name a provider and the row is there.
pub async fn seek_local_idp(conn: &mut Conn, tenant: TenantId) -> Result<Option<i64>, StoreError> {
    if !conn.capabilities().has(Capability::IdpId) {
        return Ok(None);
    }
    conn.row(&FIND_LOCAL_IDP, &[tenant.into()]).await?.map(|row| row.int(0)).transpose()
}

/// Gathers the scope rows of each token; rows of one token stand together.
fn decode(conn: &Conn, rows: &[Row]) -> Result<Vec<Token>, StoreError> {
    let mut tokens: Vec<(Token, Vec<String>)> = Vec::new();
    for row in rows {
        let id = row.text(0)?;
        if tokens.last().is_none_or(|(token, _)| token.id.0 != id) {
            tokens.push((decode_one(conn.forms(), row, id)?, Vec::new()));
        }
        if let (Some((_, scopes)), Some(scope)) = (tokens.last_mut(), row.opt_text(17)?) {
            scopes.push(scope);
        }
    }
    let with_scopes = |(mut token, scopes): (Token, Vec<String>)| {
        token.key.scopes = scopes.into_iter().collect();
        token
    };
    Ok(tokens.into_iter().map(with_scopes).collect())
}

fn decode_one(forms: &Forms, row: &Row, id: String) -> Result<Token, StoreError> {
    let user_type = match row.opt_text(8)?.as_deref() {
        Some("APPLICATION") => UserType::Application,
        _ => UserType::ApplicationUser,
    };
    let created = row.time(10)?;
    let column = row.text(1)?;
    let named = row.opt_text(16)?.as_deref().and_then(TokenHash::from_column);
    // What does not have the row's hash is not its text but another form of it, from a time with other settings.
    let is_text = |text: &Secret| named.is_none_or(|hash| hash == TokenHash::of(text.expose()));
    let identifier = forms.text(&column).filter(is_text);
    // A row that tells neither text nor hash can still be ended, under a name of its own.
    let hash = named.unwrap_or_else(|| TokenHash::of(identifier.as_ref().map_or(column.as_str(), Secret::expose)));
    Ok(Token {
        id: TokenId(id),
        hash,
        identifier,
        refresh: row.opt_text(2)?.and_then(|column| forms.text(&column)),
        consumer_key: ConsumerKey(row.text(3)?),
        key: TokenKey {
            consumer_key_id: ConsumerKeyId(row.int(4)?),
            user: row.opt_text(5)?.unwrap_or_default(),
            tenant: TenantId(row.opt_int(6)?.unwrap_or(TenantId::SUPER.0)),
            user_domain: row.opt_text(7)?.unwrap_or_default(),
            user_type,
            scopes: Scopes::default(),
        },
        grant: row.opt_text(9)?.unwrap_or_default(),
        created,
        refresh_created: row.opt_time(11)?.unwrap_or(created),
        validity_ms: row.opt_int(12)?.unwrap_or(0),
        refresh_validity_ms: row.opt_int(13)?.unwrap_or(0),
        state: TokenState::from_word(&row.opt_text(14)?.unwrap_or_default()),
        subject: row.opt_text(15)?.unwrap_or_default(),
    })
}
