//! Client registration (contract rest-3x.md 2 and 3.1): what it means to register, change, give away and end a client,
//! whichever wire asks. `fields` has the members of a body and their rules, `connector` the wire of `/keymanager-operations`,
//! `native` that of `/api/identity/oauth2/dcr/v1.1`; the portal's key generation and `/client-registration` call the functions
//! here. `client_end` has what a new secret and a deletion do to tokens.
//!
//! Every route asks for an application-management permission; a client id cannot be chosen by an update, and nobody but an
//! administrator registers a client for somebody else or gives one away (security.md 4.3).

pub mod connector;
mod fields;
pub mod native;

pub(crate) use fields::{EXPRESSION, check_uri};
pub use fields::{check_callback, default_lifetimes};

use crate::app::App;
use crate::http::access::{ADMINISTER, Caller};
use crate::http::extract::Unreadable;
use crate::http::reply::UNWRITABLE;
use crate::oauth::client_end::TokenEnd;
use crate::oauth::{KnownClient, OAuth};
use claviger_proto::encode::from_base64url_padded;
use claviger_proto::entropy::{key_text, uuid};
use claviger_proto::event::Event;
use claviger_proto::ids::{ConsumerKey, TenantId};
use claviger_proto::secret::Secret;
use claviger_proto::time::Timestamp;
use claviger_proto::user::Username;
use claviger_store::capability::Capability;
use claviger_store::client_details::{self, Details};
use claviger_store::clients::{self, Client, ClientSettings, Hold, NewClient};
use claviger_store::conn::Conn;
use claviger_store::error::{StoreError, WriteError};
use claviger_store::tenants;
use claviger_store::tokens::TokenState;
use fields::{Fields, check};
use std::sync::Arc;

/// Length of generated ids and secrets, as upstream's.
pub(super) const KEY_LENGTH: usize = 28;

/// A client to register, checked and complete.
#[derive(Clone, Debug)]
pub struct Registration {
    /// Owner; its tenant is the client's.
    pub owner: Username,
    /// Preset id and secret, or `None` to generate both.
    pub preset: Option<(ConsumerKey, Secret)>,
    /// What the client may do.
    pub settings: ClientSettings,
    /// What is stored beside it.
    pub details: Details,
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
    /// A part of the request cannot be taken.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    /// The database.
    #[error(transparent)]
    Store(StoreError),
}

impl From<StoreError> for RegistrationError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::TooLong(what) => Self::Metadata(format!("{what} is too long")),
            StoreError::Unwritable(_) => Self::Metadata(UNWRITABLE.to_owned()),
            error => Self::Store(error),
        }
    }
}

impl WriteError for RegistrationError {
    fn store_error(&self) -> Option<&StoreError> {
        match self {
            Self::Store(error) => Some(error),
            _ => None,
        }
    }
}

impl RegistrationError {
    /// What the rows of a client of that name ran into.
    fn of_rows(error: StoreError, name: &str) -> Self {
        match error {
            // Lost a race for the name (or, on MySQL, for a name or id that differs in case only).
            StoreError::Conflict(_) => Self::NameTaken(name.to_owned()),
            error => error.into(),
        }
    }
}

/// The user who is to own a client; the caller when none is named. A client speaks for its owner: whoever could name another
/// would borrow his roles. A name without a tenant is one of the caller's tenant.
async fn resolve_owner(app: &App, caller: &Caller, named: Option<&str>) -> Result<Username, RegistrationError> {
    let own = &caller.principal.username;
    let owner = match named {
        Some(named) => {
            let parsed = Username::parse(named).map_err(|_| RegistrationError::UnknownOwner)?;
            if named.contains('@') { parsed } else { Username { tenant: own.tenant.clone(), ..parsed } }
        }
        None => own.clone(),
    };
    // Who acts for the administrator of a tenant need not be a user there.
    let found = app.users.find_even_barred(&owner).await?.filter(|owner| owner.tenant == caller.principal.tenant);
    let found = found.ok_or(RegistrationError::UnknownOwner)?;
    if found.username != *own && !caller.principal.permissions.may(ADMINISTER) {
        let text = "the owner may be another user than the caller only when an administrator asks";
        return Err(RegistrationError::Metadata(text.into()));
    }
    Ok(found.username.clone())
}

/// Registers what a body says.
async fn register_fields(app: &App, fields: &Fields, owner: Username) -> Result<Arc<KnownClient>, RegistrationError> {
    let registration = Registration {
        owner,
        preset: fields.preset(&app.oauth)?,
        settings: fields.settings(&app.oauth)?,
        details: fields.details(true)?,
        is_saas: false,
    };
    register(&app.oauth, registration).await
}

/// Changes a client as a body says.
async fn change_fields(
    oauth: &OAuth,
    known: &Arc<KnownClient>,
    fields: Fields,
) -> Result<Arc<KnownClient>, RegistrationError> {
    let details = fields.details(false)?;
    let edit = move |mut settings: ClientSettings| {
        if let Some(name) = fields.client_name.clone().filter(|name| !name.is_empty()) {
            settings.name = name;
        }
        fields.merge(settings)
    };
    change(oauth, known, edit, details).await
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
    let name = &registration.settings.name;
    check_free(conn, tenant, name).await?;
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
    let of_rows = |error| RegistrationError::of_rows(error, name);
    clients::insert(conn, &client).await.map_err(of_rows)?;
    if registration.details != Details::default() {
        let client = clients::find(conn, key).await?.ok_or(RegistrationError::NotFound)?;
        client_details::put(conn, &client, &registration.details).await.map_err(of_rows)?;
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
    details: Details,
) -> Result<Arc<KnownClient>, RegistrationError> {
    let shared = Arc::new((known.clone(), edit, details, TokenEnd::new(oauth)));
    loop {
        let shared = shared.clone();
        let write = oauth.store.write(move |conn| {
            let shared = shared.clone();
            Box::pin(async move {
                let (known, edit, details, token_end) = &*shared;
                let client = clients::hold(conn, &known.client, Hold::Alone).await?;
                let client = client.ok_or(RegistrationError::NotFound)?;
                check_owner(&known.client, &client)?;
                let mut settings = edit(client.settings.clone())?;
                if !conn.capabilities().has(Capability::OidcProperty) {
                    // There is no place for another type (2.1).
                    settings.token_type = client.settings.token_type.clone();
                }
                check(&settings)?;
                if settings.name != client.settings.name {
                    check_free(conn, client.tenant, &settings.name).await?;
                }
                let is_other_type = settings.token_type.kind() != client.settings.token_type.kind();
                if is_other_type && !token_end.end_some(conn, &client, TokenState::Expired).await? {
                    return Ok(false);
                }
                let of_rows = |error| RegistrationError::of_rows(error, &settings.name);
                client_details::put(conn, &client, details).await.map_err(of_rows)?;
                clients::update(conn, &client, &settings).await.map_err(of_rows)?;
                let event = Event::ClientChanged { consumer_key: client.key.clone() };
                conn.emit(event, token_end.now()).await?;
                Ok::<_, RegistrationError>(true)
            })
        });
        if write.await.inspect_err(|_| oauth.clients.forget(&known.client.key))? {
            return oauth.find_client(&known.client.key).await?.ok_or(RegistrationError::NotFound);
        }
    }
}

/// Gives a client to another user of its tenant; its name stays. Tokens that it was issued for itself go on to their end in
/// the name of the owner before, as upstream's do.
async fn change_owner(
    oauth: &OAuth,
    known: &Arc<KnownClient>,
    owner: Username,
) -> Result<Arc<KnownClient>, RegistrationError> {
    let (held, now) = (known.clone(), oauth.clock.now());
    let write = oauth.store.write(move |conn| {
        let (known, owner) = (held.clone(), owner.clone());
        Box::pin(async move {
            let client = clients::hold(conn, &known.client, Hold::Alone).await?;
            let client = client.ok_or(RegistrationError::NotFound)?;
            check_owner(&known.client, &client)?;
            let before = Username { domain: client.owner_domain.clone(), name: client.owner.clone(), ..owner.clone() };
            if before == owner {
                return Ok(());
            }
            client_details::change_owner(conn, &client, &owner.name, &owner.domain).await?;
            for user in [&before, &owner] {
                conn.emit(Event::UserChanged { username: user.with_tenant() }, now).await?;
            }
            conn.emit(Event::ClientChanged { consumer_key: client.key.clone() }, now).await?;
            Ok::<_, RegistrationError>(())
        })
    });
    write.await.inspect_err(|_| oauth.clients.forget(&known.client.key))?;
    oauth.find_client(&known.client.key).await?.ok_or(RegistrationError::NotFound)
}

/// The client of a path segment: the id as it is, else decoded from base64url (API-M 4.1+). Only of the caller's tenant.
async fn find(
    oauth: &OAuth,
    caller: &Caller,
    segment: &str,
    may_decode: bool,
) -> Result<Arc<KnownClient>, RegistrationError> {
    if segment.trim().is_empty() {
        return Err(RegistrationError::Metadata("Invalid client_id".to_owned()));
    }
    let decode = || from_base64url_padded(segment).and_then(|bytes| String::from_utf8(bytes).ok());
    let decoded = if may_decode { decode() } else { None };
    for id in [Some(segment.to_owned()), decoded].into_iter().flatten() {
        if let Some(known) = oauth.find_client(&ConsumerKey(id)).await?
            && known.client.tenant == caller.principal.tenant
            && may_manage(caller, &known.client)
        {
            return Ok(known);
        }
    }
    Err(RegistrationError::NotFound)
}

/// A client is its owner's and the administrators': who has its secret speaks with its owner's roles.
fn may_manage(caller: &Caller, client: &Client) -> bool {
    let own = &caller.principal.username;
    let is_owner = own.name == client.owner && own.domain.eq_ignore_ascii_case(&client.owner_domain);
    is_owner || caller.principal.permissions.may(ADMINISTER)
}

/// Asked of a client that is held: whoever was let in because the client was his has nothing to say when it is another's by now.
pub(super) fn check_owner(found: &Client, held: &Client) -> Result<(), RegistrationError> {
    let is_same = found.owner == held.owner && found.owner_domain == held.owner_domain;
    if is_same { Ok(()) } else { Err(RegistrationError::NotFound) }
}

/// A parameter of a query that may be there once.
fn parameter(query: Option<&str>, name: &str) -> Option<String> {
    let mut pairs = url::form_urlencoded::parse(query.unwrap_or_default().as_bytes());
    pairs.find(|(own, _)| own == name).map(|(_, value)| value.into_owned())
}
