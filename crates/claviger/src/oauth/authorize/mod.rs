//! `GET|POST /oauth2/authorize` with its pages (RFC 6749 section 4.1; contract rest-3x.md 1.8): an application sends a browser
//! here and gets it back with a code. Only `response_type=code`; nobody stays logged in, so each request asks for the password.
//!
//! The way, each step a redirect: the request -> login page -> its form to `/commonauth` -> back here -> consent page -> its form
//! here -> the application. What is known of the request so far travels with the browser, sealed ([`sealed`]), under WSO2's
//! names `sessionDataKey` and `sessionDataKeyConsent`; it is good for ten minutes and for the browser whose cookie it names.
//! The code becomes a token in `oauth::grant::authorization_code`.

pub(in crate::oauth) mod callback;
mod pages;
mod reply;
mod request;
pub mod sealed;

use crate::app::App;
use crate::http::access::Rule;
use crate::http::routes::Routes;
use crate::oauth::KnownClient;
use crate::oauth::form_request::FormRequest;
use crate::oauth::grant::subject_of;
use crate::oauth::id_token::OPENID;
use crate::oauth::scope_policy;
use crate::users::Principal;
use axum::extract::{RawQuery, State};
use axum::http::header::{COOKIE, SET_COOKIE};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::response::Response;
use claviger_proto::entropy::{key_text, uuid};
use claviger_proto::form::Form;
use claviger_proto::ids::{ConsumerKey, SUPER_TENANT_DOMAIN};
use claviger_proto::secret::Secret;
use claviger_proto::time::Timestamp;
use claviger_proto::user::{LoginName, Username};
use claviger_store::codes::{self, CodeContext, NewCode};
use claviger_store::error::StoreError;
use reply::{AuthorizeError, Refusal, redirect, refuse};
use request::Request;
use sealed::Purpose;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

const AUTHORIZE: &str = "/oauth2/authorize";
const COMMONAUTH: &str = "/commonauth";
const LOGIN_PAGE: &str = "/authenticationendpoint/login.do";
const CONSENT_PAGE: &str = "/authenticationendpoint/oauth2_authz.do";
const ERROR_PAGE: &str = "/authenticationendpoint/oauth2_error.do";

/// How long a user may take for a page.
const PAGE_S: i64 = 600;
/// Names a browser. The prefix has browsers take it from this host over TLS only (RFC 6265bis section 4.1.3.2).
const BROWSER_COOKIE: &str = "__Host-clv_login";
/// 32 of 63 characters are 191 bits.
const BROWSER_LENGTH: usize = 32;
/// Longest client id that is looked up: the column's width.
const CLIENT_ID_LENGTH_MAX: usize = 255;

/// The routes of the login.
pub fn routes(routes: Routes) -> Routes {
    const BROWSER: Rule = Rule::Public("a browser whose user is not known yet; the pages ask for the password");
    routes
        .add(Method::GET, AUTHORIZE, BROWSER, authorize)
        .add(Method::POST, AUTHORIZE, BROWSER, authorize)
        .add(Method::GET, LOGIN_PAGE, BROWSER, login_page)
        .add(Method::POST, COMMONAUTH, BROWSER, log_in)
        .add(Method::GET, CONSENT_PAGE, BROWSER, consent_page)
        .add(Method::GET, ERROR_PAGE, BROWSER, error_page)
}

/// A request on its way through the pages.
#[derive(Serialize, Deserialize)]
struct Interaction {
    request: Request,
    /// The cookie of its browser.
    browser: String,
    ends_ms: i64,
    /// Who logged in.
    user: Option<String>,
    /// When he did.
    logged_in_ms: Option<i64>,
}

async fn authorize(
    State(app): State<Arc<App>>,
    method: Method,
    RawQuery(query): RawQuery,
    request: FormRequest,
) -> Response {
    let is_post = method == Method::POST;
    let found = if is_post { StatusCode::SEE_OTHER } else { StatusCode::FOUND };
    let step = async {
        let form = if is_post { request.form().map_err(AuthorizeError::from)? } else { query_form(query.as_deref())? };
        if let Some(key) = form.get("sessionDataKeyConsent") {
            if !is_post {
                return Err(AuthorizeError::Malformed.into());
            }
            let decided = decide(&app, &request.headers, key, form.get("consent").unwrap_or_default()).await;
            let is_decided = decided.as_ref().map_or_else(|refusal| refusal.back.is_some(), |_| true);
            let mut response = decided.unwrap_or_else(|refusal| refuse(&refusal, &app.oauth.settings.issuer, found));
            if is_decided {
                // Who finds the page in the history of this browser decides nothing more.
                set_browser(&mut response, "", 0);
            }
            return Ok(response);
        }
        match form.get("sessionDataKey") {
            Some(key) => go_on(&app, &request.headers, key, found),
            None => begin(&app, &request.headers, &form, found).await,
        }
    };
    step.await.unwrap_or_else(|refusal| refuse(&refusal, &app.oauth.settings.issuer, found))
}

fn query_form(query: Option<&str>) -> Result<Form, AuthorizeError> {
    Ok(Form::parse(query.unwrap_or_default().as_bytes())?)
}

/// A new request: the browser goes to the login page.
async fn begin(app: &App, headers: &HeaderMap, form: &Form, found: StatusCode) -> Result<Response, Refusal> {
    let id = form.get("client_id").unwrap_or_default();
    let client = find_client(app, &ConsumerKey::from(id)).await?;
    let request = Request::read(form, &client.client)?;
    let browser = browser_of(headers).unwrap_or_else(|| key_text(&*app.rng, BROWSER_LENGTH));
    let interaction = Interaction { request, browser, ends_ms: page_end(app), user: None, logged_in_ms: None };
    let key = seal(app, Purpose::Login, &interaction)?;
    let mut response = redirect(found, &format!("{LOGIN_PAGE}?sessionDataKey={key}"));
    set_browser(&mut response, &interaction.browser, PAGE_S);
    Ok(response)
}

/// Gives the browser its name for some seconds, or takes it away: what was sealed for it opens nothing more then.
fn set_browser(response: &mut Response, name: &str, seconds: i64) {
    let cookie = format!("{BROWSER_COOKIE}={name}; Path=/; Max-Age={seconds}; Secure; HttpOnly; SameSite=Lax");
    if let Ok(cookie) = HeaderValue::from_str(&cookie) {
        response.headers_mut().insert(SET_COOKIE, cookie);
    }
}

/// Back from the login: the consent page for who is known, the login page for the others.
fn go_on(app: &App, headers: &HeaderMap, key: &str, found: StatusCode) -> Result<Response, Refusal> {
    if open(app, headers, Purpose::Consent, key).is_ok() {
        return Ok(redirect(found, &format!("{CONSENT_PAGE}?sessionDataKeyConsent={key}")));
    }
    open(app, headers, Purpose::Login, key)?;
    Ok(redirect(found, &format!("{LOGIN_PAGE}?sessionDataKey={key}")))
}

async fn login_page(State(app): State<Arc<App>>, RawQuery(query): RawQuery, headers: HeaderMap) -> Response {
    let step = async {
        let form = query_form(query.as_deref())?;
        let interaction = open(&app, &headers, Purpose::Login, form.get("sessionDataKey").unwrap_or_default())?;
        let client = client_of(&app, &interaction).await?;
        let name = interaction.request.login_hint.as_deref().unwrap_or_default();
        let key = form.get("sessionDataKey").unwrap_or_default();
        let has_failed = form.get("authFailure") == Some("true");
        Ok(pages::login(&client.client.settings.name, key, name, has_failed))
    };
    step.await.unwrap_or_else(|refusal: Refusal| refuse(&refusal, &app.oauth.settings.issuer, StatusCode::FOUND))
}

async fn log_in(State(app): State<Arc<App>>, request: FormRequest) -> Response {
    let step = async {
        check_same_site(&request.headers)?;
        let form = request.form().map_err(AuthorizeError::from)?;
        let key = form.get("sessionDataKey").unwrap_or_default();
        let interaction = open(&app, &request.headers, Purpose::Login, key)?;
        let client = client_of(&app, &interaction).await?;
        let (name, password) = (form.get("username").unwrap_or_default(), form.get("password").unwrap_or_default());
        // From before the question: who is let in by what he was until then has logged in before his change.
        let logged_in_ms = Some(app.clock.now().as_millis());
        let Some(user) = authenticate(&app, &client, name, password).await? else {
            return Ok(redirect(
                StatusCode::SEE_OTHER,
                &format!("{LOGIN_PAGE}?sessionDataKey={key}&authFailure=true&authFailureMsg=login.fail.message"),
            ));
        };
        let user = Some(user.username.with_tenant());
        let interaction = Interaction { user, logged_in_ms, ends_ms: page_end(&app), ..interaction };
        let key = seal(&app, Purpose::Consent, &interaction)?;
        Ok(redirect(StatusCode::SEE_OTHER, &format!("{AUTHORIZE}?sessionDataKey={key}")))
    };
    step.await.unwrap_or_else(|refusal: Refusal| refuse(&refusal, &app.oauth.settings.issuer, StatusCode::SEE_OTHER))
}

/// A user of the client's tenant by his password; who does not name a tenant is of the client's. Everybody else looks alike.
async fn authenticate(
    app: &App,
    client: &KnownClient,
    name: &str,
    password: &str,
) -> Result<Option<Arc<Principal>>, StoreError> {
    let tenant = client.client.tenant;
    let domain = app.oauth.tenant_domain(tenant).await?.unwrap_or_default();
    let is_plain = !name.contains('@') && domain != SUPER_TENANT_DOMAIN;
    let name = if is_plain { format!("{name}@{domain}") } else { name.to_owned() };
    let Ok(login) = LoginName::parse(&name) else { return Ok(None) };
    let user = app.users.authenticate(&login, &Secret::new(password)).await?;
    let user = user.filter(|user| user.tenant == tenant);
    let outcome = if user.is_some() { "accepted" } else { "refused" };
    let who = user.as_ref().map_or(&login.username, |user| &user.username);
    tracing::info!(target: "audit", user = who.with_tenant(), client_id = %client.client.key, outcome, "login page");
    Ok(user)
}

async fn consent_page(State(app): State<Arc<App>>, RawQuery(query): RawQuery, headers: HeaderMap) -> Response {
    let step = async {
        let form = query_form(query.as_deref())?;
        let key = form.get("sessionDataKeyConsent").unwrap_or_default();
        let interaction = open(&app, &headers, Purpose::Consent, key)?;
        let client = client_of(&app, &interaction).await?;
        let user = user_of(&app, &client, &interaction).await;
        let user = user.map_err(|error| Refusal { error, back: Some(interaction.request.back()) })?;
        let scopes = scope_policy::grant(&app, &user.username, user.tenant, &interaction.request.scopes()).await?;
        Ok(pages::consent(&client.client.settings.name, key, &user.username.to_string(), &scopes))
    };
    step.await.unwrap_or_else(|refusal: Refusal| refuse(&refusal, &app.oauth.settings.issuer, StatusCode::FOUND))
}

async fn error_page(RawQuery(query): RawQuery) -> Response {
    let form = Form::parse(query.unwrap_or_default().as_bytes()).unwrap_or_default();
    pages::error(form.get("oauthErrorCode").unwrap_or_default())
}

/// The user's answer: a code for the application, or none. `approveAlways` is an approval of this request.
async fn decide(app: &App, headers: &HeaderMap, key: &str, consent: &str) -> Result<Response, Refusal> {
    check_same_site(headers)?;
    let interaction = open(app, headers, Purpose::Consent, key)?;
    let client = client_of(app, &interaction).await?;
    let back = interaction.request.back();
    let outcome = match consent {
        "approve" | "approveAlways" => issue_code(app, &client, &interaction).await,
        "deny" => Err(AuthorizeError::Denied),
        _ => return Err(AuthorizeError::Malformed.into()),
    };
    let user = interaction.user.as_deref().unwrap_or_default();
    match outcome {
        Ok(code) => {
            tracing::info!(target: "audit", user, client_id = %client.client.key, outcome = "approved", "consent");
            let location = back.with(&[("code", code.expose())], &app.oauth.settings.issuer);
            Ok(redirect(StatusCode::SEE_OTHER, &location))
        }
        Err(error) => {
            tracing::info!(target: "audit", user, client_id = %client.client.key, outcome = "refused", reason = %error, "consent");
            Err(Refusal { error, back: Some(back) })
        }
    }
}

/// Makes the code, with the scopes that the user may give away now.
async fn issue_code(app: &App, client: &KnownClient, interaction: &Interaction) -> Result<Secret, AuthorizeError> {
    // As of a login: an exchange compares it with the user's change.
    let created = app.clock.now();
    let user = user_of(app, client, interaction).await?;
    let request = &interaction.request;
    let scopes = scope_policy::grant(app, &user.username, user.tenant, &request.scopes()).await?;
    let code = Secret::new(uuid(&*app.rng));
    let logged_in = interaction.logged_in_ms.filter(|_| scopes.contains(OPENID)).map(Timestamp::from_millis);
    let new = Arc::new(NewCode {
        id: uuid(&*app.rng),
        code: code.clone(),
        client: client.client.id,
        callback: if request.is_redirect_named { request.redirect_uri.clone() } else { String::new() },
        scopes,
        user: user.username.name.clone(),
        user_domain: user.username.domain.clone(),
        tenant: user.tenant,
        subject: subject_of(&user.username),
        created,
        validity_ms: app.oauth.settings.code_s.saturating_mul(1000),
        challenge: request.challenge(),
        context: logged_in.map(|auth_time| CodeContext { auth_time, nonce: request.nonce.clone() }),
    });
    let idp = app.oauth.find_idp(user.tenant).await?;
    let write = app.store.write::<_, StoreError, _>(move |conn| {
        let new = new.clone();
        Box::pin(async move { codes::insert(conn, &new, idp).await })
    });
    match write.await {
        Ok(()) => Ok(code),
        // Nothing else of a code is a text that an application may choose freely.
        Err(StoreError::Unwritable(_)) => {
            Err(AuthorizeError::Parameter("The nonce has a character that cannot be stored"))
        }
        Err(error) => Err(error.into()),
    }
}

async fn find_client(app: &App, key: &ConsumerKey) -> Result<Arc<KnownClient>, Refusal> {
    let unknown = || AuthorizeError::UnknownClient(key.as_str().chars().take(CLIENT_ID_LENGTH_MAX).collect());
    if key.as_str().is_empty() || key.as_str().len() > CLIENT_ID_LENGTH_MAX {
        return Err(unknown().into());
    }
    let found = app.oauth.find_client(key).await?;
    Ok(found.ok_or_else(unknown)?)
}

/// The client of a request that is under way, if it may still have its answer.
async fn client_of(app: &App, interaction: &Interaction) -> Result<Arc<KnownClient>, Refusal> {
    let client = find_client(app, &interaction.request.client).await?;
    interaction.request.check_still(&client.client)?;
    Ok(client)
}

/// The user who logged in, as he is now.
async fn user_of(app: &App, client: &KnownClient, interaction: &Interaction) -> Result<Arc<Principal>, AuthorizeError> {
    let name = interaction.user.as_deref().and_then(|name| Username::parse(name).ok());
    let found = match name {
        Some(name) => app.users.find(&name).await?,
        None => None,
    };
    let user = found.filter(|user| user.tenant == client.client.tenant).ok_or(AuthorizeError::UserGone)?;
    // Another password, a lock or other roles end the logins that came before.
    let logged_in = interaction.logged_in_ms.map(Timestamp::from_millis);
    if app
        .oauth
        .find_user_revocation(&user.username)
        .await?
        .is_some_and(|before| logged_in.is_none_or(|at| at < before))
    {
        return Err(AuthorizeError::SessionOver);
    }
    Ok(user)
}

fn page_end(app: &App) -> i64 {
    app.clock.now().plus_millis(PAGE_S * 1000).as_millis()
}

fn seal(app: &App, purpose: Purpose, interaction: &Interaction) -> Result<String, Refusal> {
    let sealed = app.oauth.keys.sealing.seal(purpose, interaction, &*app.rng);
    let too_long = AuthorizeError::Parameter("The request is too long");
    sealed.ok_or_else(|| Refusal { error: too_long, back: Some(interaction.request.back()) })
}

/// What was sealed for this browser, not too long ago.
fn open(app: &App, headers: &HeaderMap, purpose: Purpose, key: &str) -> Result<Interaction, AuthorizeError> {
    let interaction: Option<Interaction> = app.oauth.keys.sealing.open(purpose, key);
    let browser = browser_of(headers).map(Secret::new);
    let is_good = |interaction: &Interaction| {
        interaction.ends_ms > app.clock.now().as_millis()
            && browser.as_ref().is_some_and(|browser| browser.is_equal(&interaction.browser))
    };
    interaction.filter(is_good).ok_or(AuthorizeError::SessionOver)
}

/// What the browser calls itself, in the form that we name browsers in.
fn browser_of(headers: &HeaderMap) -> Option<String> {
    let is_name = |value: &&str| {
        value.len() == BROWSER_LENGTH && value.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    };
    let cookies =
        headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok()).flat_map(|text| text.split(';'));
    let mut values = cookies.filter_map(|cookie| cookie.trim().strip_prefix(BROWSER_COOKIE)?.strip_prefix('='));
    values.find(is_name).map(str::to_owned)
}

/// Browsers say of each request whether our own page made it (Fetch Metadata). `Origin` would not do: under our referrer policy
/// it is `null`.
fn check_same_site(headers: &HeaderMap) -> Result<(), AuthorizeError> {
    match headers.get("sec-fetch-site") {
        Some(site) if site != "same-origin" => Err(AuthorizeError::CrossSite),
        _ => Ok(()),
    }
}
