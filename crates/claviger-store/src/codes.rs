//! IDN_OAUTH2_AUTHORIZATION_CODE and the scopes of codes (contract database.md 3.7). Codes stand in the form of tokens
//! ([`crate::forms`]) and are looked up by their hash where there is a column for it.
//!
//! What the tables have no column for, and an ID token needs, is in our own CLV_CODE_CONTEXT: it is written with its code and
//! cleaned behind it ([`crate::cleaning`]). No foreign key ties them: WSO2's table is not ours, and may be of another character
//! set.
//!
//! Every UPDATE names TIME_CREATED: on MySQL the tables of 2.1 to 3.0 may set it to the present otherwise (database.md 1.3).

use crate::capability::Capability;
use crate::conn::Conn;
use crate::error::{StoreError, check_widths};
use crate::sql::{queries, repeated};
use crate::tokens::of_user::{self, Holder};
use crate::tokens::{self, TokenState, insert_all, said, stored_scopes};
use crate::value::Row;
use claviger_proto::ids::{ConsumerKeyId, TenantId, TokenId};
use claviger_proto::pkce::Method;
use claviger_proto::scope::Scopes;
use claviger_proto::secret::Secret;
use claviger_proto::time::Timestamp;

/// An INSERT of that many scopes.
macro_rules! insert_scopes {
    ($rows:tt) => {
        concat!(
            "INSERT INTO IDN_OAUTH2_AUTHZ_CODE_SCOPE (CODE_ID, SCOPE, TENANT_ID) VALUES ",
            repeated!($rows, "(?, ?, ?)")
        )
    };
}

queries! {
    INSERT_CODE = "INSERT INTO IDN_OAUTH2_AUTHORIZATION_CODE (CODE_ID, AUTHORIZATION_CODE, CONSUMER_KEY_ID, CALLBACK_URL, SCOPE, \
                   AUTHZ_USER, TENANT_ID, USER_DOMAIN, TIME_CREATED, VALIDITY_PERIOD, STATE, SUBJECT_IDENTIFIER, PKCE_CODE_CHALLENGE, \
                   PKCE_CODE_CHALLENGE_METHOD[code_hash:, AUTHORIZATION_CODE_HASH][idp_id:, IDP_ID]) \
                   VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 'ACTIVE', ?, ?, ?[code_hash:, ?][idp_id:, ?])";
    INSERT_SCOPE = insert_scopes!(1);
    INSERT_4_SCOPES = insert_scopes!(4);
    INSERT_16_SCOPES = insert_scopes!(16);
    FIND = "SELECT A.CODE_ID, A.AUTHORIZATION_CODE, A.CALLBACK_URL, A.SCOPE, A.AUTHZ_USER, A.TENANT_ID, A.USER_DOMAIN, A.TIME_CREATED, \
            A.VALIDITY_PERIOD, A.STATE, A.TOKEN_ID, A.SUBJECT_IDENTIFIER, A.PKCE_CODE_CHALLENGE, A.PKCE_CODE_CHALLENGE_METHOD, \
            [code_scopes:S.SCOPE|NULL] FROM IDN_OAUTH2_AUTHORIZATION_CODE A \
            [code_scopes:LEFT JOIN IDN_OAUTH2_AUTHZ_CODE_SCOPE S ON S.CODE_ID = A.CODE_ID ]\
            WHERE A.[code_hash:AUTHORIZATION_CODE_HASH|AUTHORIZATION_CODE] = ? AND A.CONSUMER_KEY_ID = ? ORDER BY A.CODE_ID";
    INSERT_CONTEXT = "INSERT INTO CLV_CODE_CONTEXT (CODE_ID, AUTH_TIME, NONCE) VALUES (?, ?, ?)";
    FIND_CONTEXT = "SELECT AUTH_TIME, NONCE FROM CLV_CODE_CONTEXT WHERE CODE_ID = ?";
    FIND_AUTH_TIME = "SELECT MIN(X.AUTH_TIME), MAX(X.AUTH_TIME) FROM IDN_OAUTH2_AUTHORIZATION_CODE A JOIN CLV_CODE_CONTEXT X ON X.CODE_ID = A.CODE_ID \
                      WHERE A.TOKEN_ID = ? AND A.CONSUMER_KEY_ID = ?";
    FIND_TOKEN = "SELECT TOKEN_ID FROM IDN_OAUTH2_AUTHORIZATION_CODE WHERE CODE_ID = ?";
    CONSUME = "UPDATE IDN_OAUTH2_AUTHORIZATION_CODE SET STATE = 'INACTIVE', TOKEN_ID = ?, TIME_CREATED = TIME_CREATED \
               WHERE CODE_ID = ? AND STATE = 'ACTIVE'";
    END = "UPDATE IDN_OAUTH2_AUTHORIZATION_CODE SET STATE = ?, TIME_CREATED = TIME_CREATED WHERE CODE_ID = ? AND STATE = 'ACTIVE'";
    END_ALL = "UPDATE IDN_OAUTH2_AUTHORIZATION_CODE SET STATE = 'REVOKED', TIME_CREATED = TIME_CREATED \
               WHERE CONSUMER_KEY_ID = ? AND STATE = 'ACTIVE'";
    // In the order of the key, but not by its index: see `tokens::of_user`.
    LIST_OF_USER = "SELECT CODE_ID, AUTHZ_USER FROM IDN_OAUTH2_AUTHORIZATION_CODE WHERE AUTHZ_USER IN (?, ?, ?, ?) AND TENANT_ID = ? \
                    AND USER_DOMAIN = ? AND STATE = 'ACTIVE' AND CONCAT(CODE_ID, '') > ? ORDER BY CONCAT(CODE_ID, '') LIMIT ?";
    MOVE_TOKEN = "UPDATE IDN_OAUTH2_AUTHORIZATION_CODE SET TOKEN_ID = ?, TIME_CREATED = TIME_CREATED \
                  WHERE TOKEN_ID = ? AND CONSUMER_KEY_ID = ?";
}

/// A code that is to be.
#[derive(Clone, Debug)]
pub struct NewCode {
    /// CODE_ID.
    pub id: String,
    /// The code.
    pub code: Secret,
    /// The client it is for.
    pub client: ConsumerKeyId,
    /// The redirect URI of the request; empty when it named none.
    pub callback: String,
    /// Granted scopes.
    pub scopes: Scopes,
    /// User without domain and tenant.
    pub user: String,
    /// User-store domain, upper case.
    pub user_domain: String,
    /// The user's tenant.
    pub tenant: TenantId,
    /// SUBJECT_IDENTIFIER.
    pub subject: String,
    /// When it was made.
    pub created: Timestamp,
    /// Life in milliseconds.
    pub validity_ms: i64,
    /// PKCE challenge with its method.
    pub challenge: Option<(String, Method)>,
    /// What its ID token is to say; `None`: it gets none.
    pub context: Option<CodeContext>,
}

/// What an ID token says of the authorization request behind a code (OpenID Connect Core section 2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CodeContext {
    /// When the user showed his password.
    pub auth_time: Timestamp,
    /// The request's `nonce`, 512 bytes at most.
    pub nonce: Option<String>,
}

/// A code that was issued, by this program or by an old server.
#[derive(Clone, Debug)]
pub struct Code {
    /// CODE_ID.
    pub id: String,
    /// The redirect URI that its exchange must name; empty when any will do.
    pub callback: String,
    /// Granted scopes.
    pub scopes: Scopes,
    /// User without domain and tenant.
    pub user: String,
    /// User-store domain.
    pub user_domain: String,
    /// The user's tenant.
    pub tenant: TenantId,
    /// SUBJECT_IDENTIFIER.
    pub subject: String,
    /// When it was made.
    pub created: Timestamp,
    /// Life in milliseconds.
    pub validity_ms: i64,
    /// ACTIVE until it is used (INACTIVE), over (EXPIRED) or burnt (REVOKED).
    pub state: TokenState,
    /// PKCE_CODE_CHALLENGE with the method as it stands beside it.
    pub challenge: Option<(String, Option<String>)>,
}

impl Code {
    /// Its end.
    pub fn expires_at(&self) -> Timestamp {
        self.created.plus_millis(self.validity_ms)
    }
}

/// Inserts an ACTIVE code with its context.
pub async fn insert(conn: &mut Conn, code: &NewCode, idp: Option<i64>) -> Result<(), StoreError> {
    let column = conn.forms().column(&code.code)?;
    let hash = conn.forms().hash(code.code.expose());
    let capabilities = conn.capabilities();
    let has_rows = capabilities.has(Capability::CodeScopes);
    let scopes: Vec<String> = stored_scopes(conn.engine(), &code.scopes).map(str::to_owned).collect();
    let scope = if has_rows { String::new() } else { scopes.join(" ") };
    check_widths(&[
        ("the redirect URI", code.callback.as_str(), if capabilities.has(Capability::IdpId) { 2048 } else { 1024 }),
        ("the list of scopes", &scope, 2048),
        ("the user name", &code.user, 100),
        ("the user store's domain", &code.user_domain, 50),
        ("the subject", &code.subject, 255),
        ("the code", &column, if capabilities.has(Capability::CodeHash) { 2048 } else { 512 }),
    ])?;
    for scope in &scopes {
        check_widths(&[("a scope", scope, 60)])?;
    }
    let (created, validity_ms) = said(conn, code.created, code.validity_ms);
    let challenge = code.challenge.as_ref();
    let args = [
        (&code.id).into(),
        (&column).into(),
        code.client.into(),
        (&code.callback).into(),
        (&scope).into(),
        (&code.user).into(),
        code.tenant.into(),
        (&code.user_domain).into(),
        created.into(),
        validity_ms.into(),
        (&code.subject).into(),
        challenge.map(|(challenge, _)| challenge.as_str()).into(),
        challenge.map(|(_, method)| method.as_word()).into(),
        (&hash).into(),
        idp.into(),
    ];
    conn.execute(&INSERT_CODE, &args).await?;
    if let Some(CodeContext { auth_time, nonce }) = &code.context {
        let nonce = nonce.as_deref().into();
        conn.execute(&INSERT_CONTEXT, &[(&code.id).into(), auth_time.as_millis().into(), nonce]).await?;
    }
    if !has_rows {
        return Ok(());
    }
    let rows: Vec<_> = scopes.iter().map(|scope| [(&code.id).into(), scope.into(), code.tenant.into()]).collect();
    insert_all(conn, [&INSERT_16_SCOPES, &INSERT_4_SCOPES, &INSERT_SCOPE], &rows).await
}

/// Ends all codes of a client that nobody has used yet (database.md 2.6). A used one stays what it is: it tells of its second use.
pub async fn end_all(conn: &mut Conn, client: ConsumerKeyId) -> Result<(), StoreError> {
    conn.execute(&END_ALL, &[client.into()]).await.map(drop)
}

/// Some codes under a user's names that nobody has used yet: (CODE_ID, the name that stands there), in the order of their ids,
/// behind one; fewer than asked for when there are no more. Which of them are his, [`of_user::is_of`] says. The tables of 2.1
/// have no index for this: they are read once, without a lock.
pub async fn list_of_user(
    conn: &mut Conn,
    holder: &Holder,
    after: &str,
    rows_max: usize,
) -> Result<Vec<(String, String)>, StoreError> {
    let limit = i64::try_from(rows_max).unwrap_or(i64::MAX);
    let rows = of_user::rows_of(conn, &LIST_OF_USER, &[], holder, [after.into(), limit.into()]).await?;
    rows.iter().map(|row| Ok((row.text(0)?, row.opt_text(1)?.unwrap_or_default()))).collect()
}

/// A client's code, whatever its state.
pub async fn find(conn: &mut Conn, client: ConsumerKeyId, code: &str) -> Result<Option<Code>, StoreError> {
    let has_hash = conn.capabilities().has(Capability::CodeHash);
    let column = if has_hash { Some(conn.forms().hash(code)) } else { conn.forms().looked_up(code) };
    let column = column.ok_or_else(|| {
        StoreError::Corrupt("codes without a hash column cannot be found by their cipher text".into())
    })?;
    let rows = conn.rows(&FIND, &[(&column).into(), client.into()]).await?;
    // The collation may find another spelling too (database.md 1.5), and a cipher text is nobody's code.
    let is_same = |column: &str| has_hash || conn.forms().text(column).is_some_and(|text| text.is_equal(code));
    let mut found: Option<(Code, Vec<String>)> = None;
    for row in &rows {
        let id = row.text(0)?;
        if found.as_ref().is_none_or(|(code, _)| code.id != id) {
            if found.is_some() || !is_same(&row.text(1)?) {
                continue;
            }
            found = Some((decode(row, id)?, Vec::new()));
        }
        if let (Some((_, scopes)), Some(scope)) = (&mut found, row.opt_text(14)?) {
            scopes.push(scope);
        }
    }
    Ok(found.map(|(mut code, rows)| {
        // SCOPE counts where it says something: the rows came with 3.1.
        if code.scopes.is_empty() {
            code.scopes = rows.into_iter().collect();
        }
        code
    }))
}

fn decode(row: &Row, id: String) -> Result<Code, StoreError> {
    let method = row.opt_text(13)?;
    Ok(Code {
        id,
        callback: row.opt_text(2)?.unwrap_or_default(),
        scopes: row.opt_text(3)?.unwrap_or_default().split_whitespace().collect(),
        user: row.opt_text(4)?.unwrap_or_default(),
        tenant: TenantId(row.opt_int(5)?.unwrap_or(TenantId::SUPER.0)),
        user_domain: row.opt_text(6)?.unwrap_or_default(),
        created: row.time(7)?,
        validity_ms: row.opt_int(8)?.unwrap_or(0),
        state: TokenState::from_word(&row.opt_text(9)?.unwrap_or_default()),
        subject: row.opt_text(11)?.unwrap_or_default(),
        challenge: row.opt_text(12)?.filter(|challenge| !challenge.is_empty()).map(|challenge| (challenge, method)),
    })
}

/// The context of a code; `None` when it has none: it is an old server's, or gets no ID token.
pub async fn find_context(conn: &mut Conn, code_id: &str) -> Result<Option<CodeContext>, StoreError> {
    let Some(row) = conn.row(&FIND_CONTEXT, &[code_id.into()]).await? else { return Ok(None) };
    Ok(Some(CodeContext { auth_time: Timestamp::from_millis(row.int(0)?), nonce: row.opt_text(1)? }))
}

/// When the user of a token logged in for it, if it comes from a code with a context, also by refreshes, and from one login only.
pub async fn find_auth_time(
    conn: &mut Conn,
    client: ConsumerKeyId,
    token: &TokenId,
) -> Result<Option<Timestamp>, StoreError> {
    let Some(row) = conn.row(&FIND_AUTH_TIME, &[token.into(), client.into()]).await? else { return Ok(None) };
    // Two logins that share a token: whose refresh this is nobody knows, and no later ID token may say otherwise than the first.
    let (first, last) = (row.opt_int(0)?, row.opt_int(1)?);
    Ok(first.filter(|_| first == last).map(Timestamp::from_millis))
}

/// Uses a code up for a token; false when somebody was first. One statement: of any number of exchanges, on any number of nodes,
/// one has it touch a row.
pub async fn consume(conn: &mut Conn, code_id: &str, token: &TokenId) -> Result<bool, StoreError> {
    Ok(conn.execute(&CONSUME, &[token.into(), code_id.into()]).await? == 1)
}

/// Ends a code that was not used; false when it was no longer ACTIVE.
pub async fn end(conn: &mut Conn, code_id: &str, to: TokenState) -> Result<bool, StoreError> {
    Ok(conn.execute(&END, &[to.as_word().into(), code_id.into()]).await? == 1)
}

/// The token that a code was used for, as it is since its last refresh.
pub async fn find_token(conn: &mut Conn, code_id: &str) -> Result<Option<tokens::Token>, StoreError> {
    let Some(row) = conn.row(&FIND_TOKEN, &[code_id.into()]).await? else { return Ok(None) };
    let Some(id) = row.opt_text(0)? else { return Ok(None) };
    tokens::find_by_id(conn, &TokenId(id)).await
}

/// A refresh has put a token in the place of one that may have come from a code (database.md 3.4).
pub async fn move_token(
    conn: &mut Conn,
    client: ConsumerKeyId,
    from: &TokenId,
    to: &TokenId,
) -> Result<(), StoreError> {
    conn.execute(&MOVE_TOKEN, &[to.into(), from.into(), client.into()]).await.map(|_| ())
}
