//! Client registration: `/keymanager-operations/dcr/register` (contract rest-3x.md 2) and the functions that the portal's key
//! generation and `/client-registration` call; `client_end` has what a new secret and a deletion do to tokens. Every route asks for an application-management permission; the owner cannot
//! be changed and a client id cannot be chosen freely by an update (security.md 4.3).

use crate::app::App;
use crate::http::access::{ADMINISTER, Caller};
use crate::http::reply;
use crate::oauth::client_end::{self, TokenEnd};
use crate::oauth::grant::GRANTS;
use crate::oauth::{KnownClient, OAuth};
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use claviger_proto::encode::from_base64url_padded;
use claviger_proto::entropy::{key_text, uuid};
use claviger_proto::event::Event;
use claviger_proto::ids::{ConsumerKey, TenantId};
use claviger_proto::oauth::TokenType;
use claviger_proto::secret::Secret;
use claviger_proto::time::Timestamp;
use claviger_proto::user::Username;
use claviger_store::clients::{self, ClientSettings, Hold, Lifetimes, NewClient};
use claviger_store::conn::Conn;
use claviger_store::error::{StoreError, WriteError};
use claviger_store::tenants;
use claviger_store::tokens::TokenState;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Length of generated ids and secrets, as upstream's.
pub(super) const KEY_LENGTH: usize = 28;
/// Names an application may list though they are not grants of the token endpoint, or not of ours yet.
const OTHER_GRANTS: &[&str] = &[
    "authorization_code",
    "implicit",
    "iwa:ntlm",
    "urn:ietf:params:oauth:grant-type:saml2-bearer",
    "urn:ietf:params:oauth:grant-type:jwt-bearer",
    "urn:ietf:params:oauth:grant-type:device_code",
];

/// Body of a registration or an update. Fields that the service does not use are accepted and ignored (rest-3x.md 2.1).
#[derive(Clone, Debug, Default, Deserialize)]
pub struct RegistrationRequest {
    client_name: Option<String>,
    redirect_uris: Option<Vec<String>>,
    grant_types: Option<Vec<String>>,
    token_type_extension: Option<String>,
    ext_application_owner: Option<String>,
    ext_param_client_id: Option<String>,
    ext_param_client_secret: Option<String>,
    ext_application_token_lifetime: Option<i64>,
    ext_user_token_lifetime: Option<i64>,
    ext_refresh_token_lifetime: Option<i64>,
    ext_id_token_lifetime: Option<i64>,
    #[serde(rename = "pkceMandatory")]
    pkce_mandatory: Option<bool>,
    #[serde(rename = "pkceSupportPlain")]
    pkce_support_plain: Option<bool>,
    #[serde(rename = "bypassClientCredentials")]
    bypass_client_credentials: Option<bool>,
}

/// A client as the registration wires show it (rest-3x.md 2.2).
#[derive(Debug, Serialize)]
struct ApplicationBody<'a> {
    client_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_secret: Option<&'a str>,
    client_secret_expires_at: Option<i64>,
    redirect_uris: [&'a str; 1],
    client_name: &'a str,
    grant_types: &'a [String],
    ext_application_owner: &'a str,
    ext_application_token_lifetime: i64,
    ext_user_token_lifetime: i64,
    ext_refresh_token_lifetime: i64,
    ext_id_token_lifetime: i64,
    #[serde(rename = "pkceMandatory")]
    pkce_mandatory: bool,
    #[serde(rename = "pkceSupportPlain")]
    pkce_support_plain: bool,
    #[serde(rename = "bypassClientCredentials")]
    bypass_client_credentials: bool,
    token_type_extension: &'a str,
}

/// A client to register, checked and complete.
#[derive(Clone, Debug)]
pub struct Registration {
    /// Owner; its tenant is the client's.
    pub owner: Username,
    /// Preset id and secret, or `None` to generate both.
    pub preset: Option<(ConsumerKey, Secret)>,
    /// What the client may do.
    pub settings: ClientSettings,
    /// Users of other tenants may use it.
    pub is_saas: bool,
}

/// Why a client could not be registered or changed.
#[derive(Debug, thiserror::Error)]
pub enum RegistrationError {
    /// The JSON is not a registration.
    #[error("the body is not a registration: {0}")]
    Malformed(String),
    /// A field is missing or wrong; the text is for the client.
    #[error("{0}")]
    Metadata(String),
    /// A redirect URI is wrong.
    #[error("invalid redirect URI")]
    RedirectUri(String),
    /// The name is taken.
    #[error("the name is taken")]
    NameTaken(String),
    /// The preset id is taken.
    #[error("the client id is taken")]
    IdTaken(ConsumerKey),
    /// The owner is not a user.
    #[error("the owner is not a user")]
    UnknownOwner,
    /// No such client in the caller's tenant.
    #[error("no such client")]
    NotFound,
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl WriteError for RegistrationError {
    fn store_error(&self) -> Option<&StoreError> {
        match self {
            Self::Store(error) => Some(error),
            _ => None,
        }
    }
}

/// `POST /keymanager-operations/dcr/register`.
pub async fn create(State(app): State<Arc<App>>, caller: Caller, body: Bytes) -> Response {
    let result = async {
        let request = parse(&body)?;
        let owner = request.ext_application_owner.clone().unwrap_or_else(|| caller.principal.username.to_string());
        let owner = Username::parse(&owner).map_err(|_| RegistrationError::UnknownOwner)?;
        let found = app.users.find(&owner).await?.filter(|owner| owner.tenant == caller.principal.tenant);
        let found = found.ok_or(RegistrationError::UnknownOwner)?;
        // A client speaks for its owner: whoever could name another would borrow his roles.
        if found.username != caller.principal.username && !caller.principal.permissions.may(ADMINISTER) {
            let text = "ext_application_owner may name another user only when an administrator registers";
            return Err(RegistrationError::Metadata(text.into()));
        }
        let name = request.client_name.clone().ok_or_else(|| missing("client_name"))?;
        let empty = ClientSettings {
            name,
            callback: String::new(),
            grants: Vec::new(),
            token_type: TokenType::Opaque,
            is_pkce_mandatory: false,
            may_pkce_be_plain: false,
            is_public: false,
            is_refresh_renewed: None,
            lifetimes: default_lifetimes(&app.oauth),
        };
        let preset = preset(&request, &app.oauth)?;
        let settings = merge(empty, &request)?;
        register(&app.oauth, Registration { owner: found.username.clone(), preset, settings, is_saas: false }).await
    };
    answer(&app, StatusCode::CREATED, result.await).await
}

/// `GET /keymanager-operations/dcr/register/{client_id}`.
pub async fn read(State(app): State<Arc<App>>, caller: Caller, Path(id): Path<String>) -> Response {
    answer(&app, StatusCode::OK, find(&app.oauth, &caller, &id).await).await
}

/// `PUT /keymanager-operations/dcr/register/{client_id}`. The body's `client_id` is ignored: some callers send the secret there.
pub async fn update(State(app): State<Arc<App>>, caller: Caller, Path(id): Path<String>, body: Bytes) -> Response {
    let result = async {
        let known = find(&app.oauth, &caller, &id).await?;
        let request = parse(&body)?;
        let edit = move |mut settings: ClientSettings| {
            if let Some(name) = request.client_name.clone() {
                settings.name = name;
            }
            merge(settings, &request)
        };
        change(&app.oauth, &known, edit).await
    };
    answer(&app, StatusCode::OK, result.await).await
}

/// `DELETE /keymanager-operations/dcr/register/{client_id}`.
pub async fn delete(State(app): State<Arc<App>>, caller: Caller, Path(id): Path<String>) -> Response {
    let result = async {
        let known = find(&app.oauth, &caller, &id).await?;
        client_end::remove(&app.oauth, &known).await
    };
    match result.await {
        Ok(()) => reply::empty(StatusCode::NO_CONTENT),
        Err(error) => refuse(&error),
    }
}

/// `POST /keymanager-operations/dcr/register/{client_id}/regenerate-consumer-secret`.
pub async fn regenerate_secret(State(app): State<Arc<App>>, caller: Caller, Path(id): Path<String>) -> Response {
    let result = async {
        let known = find(&app.oauth, &caller, &id).await?;
        client_end::renew_secret(&app.oauth, &known).await
    };
    answer(&app, StatusCode::OK, result.await).await
}

fn parse(body: &[u8]) -> Result<RegistrationRequest, RegistrationError> {
    serde_json::from_slice(body).map_err(|error| RegistrationError::Malformed(error.to_string()))
}

fn missing(field: &str) -> RegistrationError {
    RegistrationError::Metadata(format!("{field} is required"))
}

/// The server-wide lifetimes, which a registration copies into its row (rest-3x.md 1.6.1).
pub fn default_lifetimes(oauth: &OAuth) -> Lifetimes {
    let settings = &oauth.settings;
    Lifetimes {
        user_s: settings.user_access_s,
        application_s: settings.application_access_s,
        refresh_s: settings.refresh_s,
        id_s: 3600,
    }
}

fn preset(request: &RegistrationRequest, oauth: &OAuth) -> Result<Option<(ConsumerKey, Secret)>, RegistrationError> {
    let Some(id) = &request.ext_param_client_id else { return Ok(None) };
    let is_valid = (15..=30).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if !is_valid {
        let text = "Provided client id is not adhering to the provided regex [a-zA-Z0-9_]{15,30}";
        return Err(RegistrationError::Metadata(text.into()));
    }
    let secret = match &request.ext_param_client_secret {
        Some(secret) if secret.is_empty() => {
            return Err(RegistrationError::Metadata("The client secret is empty".into()));
        }
        Some(secret) => secret.clone(),
        None => key_text(&*oauth.rng, KEY_LENGTH),
    };
    Ok(Some((ConsumerKey(id.clone()), Secret::new(secret))))
}

/// Lays a request's fields over settings and checks the result.
fn merge(mut settings: ClientSettings, request: &RegistrationRequest) -> Result<ClientSettings, RegistrationError> {
    if let Some(grants) = request.grant_types.clone().filter(|grants| !grants.is_empty()) {
        settings.grants = grants;
    }
    if let Some(uris) = &request.redirect_uris
        && let Some(callback) = callback(uris)?
    {
        settings.callback = callback;
    }
    if let Some(word) = &request.token_type_extension {
        let unknown = || RegistrationError::Metadata(format!("Unknown token type: {word}"));
        settings.token_type = TokenType::from_word(word).ok_or_else(unknown)?;
    }
    let lifetimes = &mut settings.lifetimes;
    for (field, value) in [
        (&mut lifetimes.application_s, request.ext_application_token_lifetime),
        (&mut lifetimes.user_s, request.ext_user_token_lifetime),
        (&mut lifetimes.refresh_s, request.ext_refresh_token_lifetime),
        (&mut lifetimes.id_s, request.ext_id_token_lifetime),
    ] {
        *field = value.filter(|seconds| *seconds != 0).unwrap_or(*field);
    }
    settings.is_pkce_mandatory = request.pkce_mandatory.unwrap_or(settings.is_pkce_mandatory);
    settings.may_pkce_be_plain = request.pkce_support_plain.unwrap_or(settings.may_pkce_be_plain);
    settings.is_public = request.bypass_client_credentials.unwrap_or(settings.is_public);
    check(&settings)?;
    Ok(settings)
}

/// The stored callback of a list of URIs; `None` for an empty list.
fn callback(uris: &[String]) -> Result<Option<String>, RegistrationError> {
    uris.iter().try_for_each(|uri| check_uri(uri))?;
    Ok(match uris {
        [] => None,
        [one] => Some(one.clone()),
        many => Some(format!("regexp=({})", many.join("|"))),
    })
}

/// Checks a callback that is to be stored: one URI or none; an expression (`regexp=...`) is taken as it is.
pub fn check_callback(callback: &str) -> Result<(), RegistrationError> {
    if callback.starts_with("regexp=") { Ok(()) } else { check_uri(callback) }
}

fn check_uri(uri: &str) -> Result<(), RegistrationError> {
    let refused = || RegistrationError::RedirectUri(uri.to_owned());
    if uri.is_empty() {
        return Ok(());
    }
    let parsed = url::Url::parse(uri).map_err(|_| refused())?;
    let is_safe = !matches!(parsed.scheme(), "javascript" | "data" | "vbscript") && parsed.fragment().is_none();
    if !is_safe || !parsed.username().is_empty() || parsed.password().is_some() {
        return Err(refused());
    }
    Ok(())
}

/// Checks a name, grants and callback that are to be stored.
pub fn check(settings: &ClientSettings) -> Result<(), RegistrationError> {
    let is_named = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, ' ' | '.' | '_' | '-');
    if settings.name.trim().is_empty() || !settings.name.chars().all(is_named) {
        let text = r"Client Name is not adhering to the regex: ^[\sa-zA-Z0-9._-]*$";
        return Err(RegistrationError::Metadata(text.into()));
    }
    let is_known = |name: &str| GRANTS.iter().any(|grant| grant.name() == name) || OTHER_GRANTS.contains(&name);
    if let Some(unknown) = settings.grants.iter().find(|name| !is_known(name)) {
        return Err(RegistrationError::Metadata(format!("Unknown grant type: {unknown}")));
    }
    let needs_callback =
        settings.grants.iter().any(|grant| matches!(grant.as_str(), "authorization_code" | "implicit"));
    if needs_callback && settings.callback.is_empty() {
        let text = "RedirectUris property must have at least one URI value when using Authorization code or implicit grant types.";
        return Err(RegistrationError::Metadata(text.into()));
    }
    Ok(())
}

/// A registration with everything that is random in it: ready for a transaction, which may run more than once.
#[derive(Clone, Debug)]
pub struct Prepared {
    registration: Registration,
    provider_uuid: String,
    /// Client id.
    pub key: ConsumerKey,
    /// Client secret.
    pub secret: Secret,
}

/// Checks a registration and draws its id and secret.
pub fn prepare(oauth: &OAuth, registration: Registration) -> Result<Prepared, RegistrationError> {
    check(&registration.settings)?;
    check_callback(&registration.settings.callback)?;
    let draw = || key_text(&*oauth.rng, KEY_LENGTH);
    let (key, secret) = registration.preset.clone().unwrap_or_else(|| (ConsumerKey(draw()), Secret::new(draw())));
    Ok(Prepared { registration, provider_uuid: uuid(&*oauth.rng), key, secret })
}

/// Writes a registration in the present transaction.
pub async fn insert(conn: &mut Conn, prepared: &Prepared, now: Timestamp) -> Result<(), RegistrationError> {
    let (registration, key) = (&prepared.registration, &prepared.key);
    let tenant = tenants::find_by_domain(conn, &registration.owner.tenant).await?;
    let tenant = tenant.ok_or(RegistrationError::UnknownOwner)?;
    check_free(conn, tenant, &registration.settings.name).await?;
    if clients::find(conn, key).await?.is_some() {
        return Err(RegistrationError::IdTaken(key.clone()));
    }
    let client = NewClient {
        key: key.clone(),
        secret: prepared.secret.clone(),
        owner: registration.owner.name.clone(),
        owner_domain: registration.owner.domain.clone(),
        tenant,
        settings: registration.settings.clone(),
        is_saas: registration.is_saas,
        provider_uuid: prepared.provider_uuid.clone(),
    };
    match clients::insert(conn, &client).await {
        Ok(_) => {}
        // Lost a race for the name (or, on MySQL, for a name or id that differs in case only).
        Err(StoreError::Conflict(_)) => return Err(RegistrationError::NameTaken(registration.settings.name.clone())),
        Err(StoreError::TooLong(what)) => return Err(RegistrationError::Metadata(format!("{what} is too long"))),
        Err(error) => return Err(error.into()),
    }
    conn.emit(Event::ClientChanged { consumer_key: key.clone() }, now).await?;
    Ok(())
}

/// Registers a client in a transaction of its own.
pub async fn register(oauth: &OAuth, registration: Registration) -> Result<Arc<KnownClient>, RegistrationError> {
    let prepared = prepare(oauth, registration)?;
    let (key, secret, now) = (prepared.key.clone(), prepared.secret.clone(), oauth.clock.now());
    oauth
        .store
        .write(move |conn| {
            let prepared = prepared.clone();
            Box::pin(async move { insert(conn, &prepared, now).await })
        })
        .await?;
    let known = oauth.find_client(&key).await?.ok_or(RegistrationError::NotFound)?;
    Ok(known.with_secret(&secret))
}

async fn check_free(conn: &mut Conn, tenant: TenantId, name: &str) -> Result<(), RegistrationError> {
    match clients::find_key_by_name(conn, tenant, name).await? {
        Some(_) => Err(RegistrationError::NameTaken(name.to_owned())),
        None => Ok(()),
    }
}

/// Changes a client's settings: lays an edit over them as they are when nobody else changes them. ACTIVE tokens of another
/// type than the new one end, and gateways hear of each; their refresh tokens go on.
pub async fn change(
    oauth: &OAuth,
    known: &Arc<KnownClient>,
    edit: impl Fn(ClientSettings) -> Result<ClientSettings, RegistrationError> + Send + Sync + 'static,
) -> Result<Arc<KnownClient>, RegistrationError> {
    let shared = Arc::new((known.clone(), edit, TokenEnd::new(oauth)));
    loop {
        let shared = shared.clone();
        let write = oauth.store.write(move |conn| {
            let shared = shared.clone();
            Box::pin(async move {
                let (known, edit, token_end) = &*shared;
                let client = clients::hold(conn, &known.client, Hold::Alone).await?;
                let client = client.ok_or(RegistrationError::NotFound)?;
                let settings = edit(client.settings.clone())?;
                check(&settings)?;
                if settings.name != client.settings.name {
                    check_free(conn, client.tenant, &settings.name).await?;
                }
                let is_other_type = settings.token_type != client.settings.token_type;
                if is_other_type && !token_end.end_some(conn, &client, TokenState::Expired).await? {
                    return Ok(false);
                }
                clients::update(conn, &client, &settings).await?;
                let event = Event::ClientChanged { consumer_key: client.key.clone() };
                conn.emit(event, token_end.now()).await?;
                Ok::<_, RegistrationError>(true)
            })
        });
        if write.await? {
            return oauth.find_client(&known.client.key).await?.ok_or(RegistrationError::NotFound);
        }
    }
}

/// The client of a path segment: the id as it is, else decoded from base64url (API-M 4.1+). Only of the caller's tenant.
async fn find(oauth: &OAuth, caller: &Caller, segment: &str) -> Result<Arc<KnownClient>, RegistrationError> {
    let decoded = from_base64url_padded(segment).and_then(|bytes| String::from_utf8(bytes).ok());
    for id in [Some(segment.to_owned()), decoded].into_iter().flatten() {
        if let Some(known) = oauth.find_client(&ConsumerKey(id)).await?
            && known.client.tenant == caller.principal.tenant
        {
            return Ok(known);
        }
    }
    Err(RegistrationError::NotFound)
}

async fn answer(app: &App, status: StatusCode, result: Result<Arc<KnownClient>, RegistrationError>) -> Response {
    let known = match result {
        Ok(known) => known,
        Err(error) => return refuse(&error),
    };
    let client = &known.client;
    let tenant = match app.oauth.tenant_domain(client.tenant).await {
        Ok(tenant) => tenant.unwrap_or_default(),
        Err(error) => return reply::store_failure(&error),
    };
    let owner = Username { domain: client.owner_domain.clone(), name: client.owner.clone(), tenant };
    let (settings, lifetimes) = (&client.settings, client.settings.lifetimes);
    let body = ApplicationBody {
        client_id: client.key.as_str(),
        client_secret: client.secret.text().map(Secret::expose),
        client_secret_expires_at: None,
        redirect_uris: [&settings.callback],
        client_name: &settings.name,
        grant_types: &settings.grants,
        ext_application_owner: &owner.to_string(),
        ext_application_token_lifetime: lifetimes.application_s,
        ext_user_token_lifetime: lifetimes.user_s,
        ext_refresh_token_lifetime: lifetimes.refresh_s,
        ext_id_token_lifetime: lifetimes.id_s,
        pkce_mandatory: settings.is_pkce_mandatory,
        pkce_support_plain: settings.may_pkce_be_plain,
        bypass_client_credentials: settings.is_public,
        token_type_extension: settings.token_type.as_word(),
    };
    reply::json_no_store(status, &body)
}

/// `message` of most refusals.
const METADATA: &str = "invalid_client_metadata";

/// The error bodies of rest-3x.md 2.3, with `error_description` added for API-M 4.2+, which reads only that key (4.5).
fn refuse(error: &RegistrationError) -> Response {
    #[derive(Serialize)]
    struct ErrorBody<'a> {
        code: &'a str,
        message: &'a str,
        description: &'a str,
        error_description: &'a str,
    }
    let bad = |message: &str, description: &str| {
        let body = ErrorBody { code: message, message, description, error_description: description };
        reply::json_no_store(StatusCode::BAD_REQUEST, &body)
    };
    match error {
        RegistrationError::Malformed(text) => {
            bad(METADATA, &format!("The body is not valid JSON of a registration: {text}"))
        }
        RegistrationError::Metadata(text) => bad(METADATA, text),
        RegistrationError::RedirectUri(uri) => bad("invalid_redirect_uri", &format!("Invalid redirect URI: {uri}")),
        RegistrationError::NameTaken(name) => {
            bad(METADATA, &format!("Application with the name {name} already exist in the system"))
        }
        RegistrationError::IdTaken(key) => bad(METADATA, &format!("Client id {key} already exist in the system")),
        // Upstream answers 500 with an empty body here; the caller deserves to know (no client depends on a 500).
        RegistrationError::UnknownOwner => bad(METADATA, "ext_application_owner is not a user of this tenant"),
        RegistrationError::NotFound => reply::empty(StatusCode::UNAUTHORIZED),
        RegistrationError::Store(error) => reply::store_failure(error),
    }
}
