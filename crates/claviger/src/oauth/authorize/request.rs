//! An authorization request (RFC 6749 section 4.1.1, RFC 7636 section 4.3; contract rest-3x.md 1.8): what it may say, in the
//! order in which it is looked at (oauth-oidc.md 2.1). Until its redirect URI is known to be the application's, what is wrong
//! with it is shown and not sent there.

use super::callback;
use super::reply::{AuthorizeError, Back, Refusal};
use claviger_proto::form::Form;
use claviger_proto::ids::ConsumerKey;
use claviger_proto::pkce::{self, Method};
use claviger_proto::scope::Scopes;
use claviger_store::clients::Client;
use serde::{Deserialize, Serialize};

/// Longest `state` and list of scopes (oauth-oidc.md 2.17), and longest `nonce` and `login_hint`.
const STATE_LENGTH_MAX: usize = 4096;
const SCOPE_LENGTH_MAX: usize = 2048;
const NONCE_LENGTH_MAX: usize = 512;
const HINT_LENGTH_MAX: usize = 255;

/// A request that was looked at, as it is sealed into the login.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Request {
    /// Client id.
    pub(super) client: ConsumerKey,
    /// Where the answer goes.
    pub(super) redirect_uri: String,
    /// Did the request name it? Then the exchange must, too (RFC 6749 section 4.1.3).
    pub(super) is_redirect_named: bool,
    /// To be echoed.
    pub(super) state: Option<String>,
    /// Requested scopes.
    pub(super) scope: String,
    /// PKCE challenge and the word of its method.
    challenge: Option<(String, String)>,
    /// Whom the application expects: a suggestion for the form and nothing else.
    pub(super) login_hint: Option<String>,
    /// To be said again in the ID token.
    pub(super) nonce: Option<String>,
}

impl Request {
    /// Reads the parameters of a request by this client.
    pub(super) fn read(form: &Form, client: &Client) -> Result<Self, Refusal> {
        let named = form.get("redirect_uri");
        check_client(client)?;
        let redirect_uri = callback::resolve(&client.settings.callback, named).ok_or(AuthorizeError::Callback)?;
        let challenge = challenge(form, client)?;
        let text = |name: &str| form.get(name).map(str::to_owned);
        let is_short = |text: &String| text.len() <= HINT_LENGTH_MAX;
        let request = Self {
            client: client.key.clone(),
            redirect_uri,
            is_redirect_named: named.is_some(),
            state: text("state"),
            scope: text("scope").unwrap_or_default(),
            challenge: challenge.map(|(challenge, method)| (challenge, method.as_word().to_owned())),
            login_hint: text("login_hint").filter(is_short),
            nonce: text("nonce"),
        };
        match request.check(form, client) {
            Ok(()) => Ok(request),
            Err(error) => Err(Refusal { error, back: Some(request.back()) }),
        }
    }

    /// What is told to the application when it is wrong.
    fn check(&self, form: &Form, client: &Client) -> Result<(), AuthorizeError> {
        if form.get("request").is_some() {
            return Err(AuthorizeError::RequestObject);
        }
        if form.get("request_uri").is_some() {
            return Err(AuthorizeError::RequestUri);
        }
        match form.get("response_type") {
            None => return Err(AuthorizeError::Parameter("Missing response_type parameter value")),
            Some("code") => {}
            Some(_) => return Err(AuthorizeError::ResponseType),
        }
        if !may_use_codes(client) {
            return Err(AuthorizeError::GrantNotListed);
        }
        if !matches!(form.get("response_mode"), None | Some("query")) {
            return Err(AuthorizeError::Parameter("Unsupported response_mode"));
        }
        let is_long = |name: &str, length_max: usize| form.get(name).is_some_and(|text| text.len() > length_max);
        if is_long("state", STATE_LENGTH_MAX) || is_long("nonce", NONCE_LENGTH_MAX) {
            return Err(AuthorizeError::Parameter("state or nonce is too long"));
        }
        if self.scope.len() > SCOPE_LENGTH_MAX || Scopes::parse(&self.scope).is_err() {
            return Err(AuthorizeError::Scope);
        }
        check_prompt(form.get("prompt").unwrap_or_default())
    }

    /// The way back to the application.
    pub(super) fn back(&self) -> Back {
        let is_echoed = |state: &&String| state.len() <= STATE_LENGTH_MAX;
        Back { uri: self.redirect_uri.clone(), state: self.state.as_ref().filter(is_echoed).cloned() }
    }

    /// Is the request still good for the client as it is now? It may have been changed during the login.
    pub(super) fn check_still(&self, client: &Client) -> Result<(), AuthorizeError> {
        check_client(client)?;
        if !callback::is_registered(&client.settings.callback, &self.redirect_uri) {
            return Err(AuthorizeError::Callback);
        }
        if may_use_codes(client) { Ok(()) } else { Err(AuthorizeError::GrantNotListed) }
    }

    /// Requested scopes, checked when the request was read.
    pub(super) fn scopes(&self) -> Scopes {
        Scopes::parse(&self.scope).unwrap_or_default()
    }

    /// The challenge that the exchange must meet.
    pub(super) fn challenge(&self) -> Option<(String, Method)> {
        let (challenge, word) = self.challenge.as_ref()?;
        Method::from_word(Some(word)).map(|method| (challenge.clone(), method))
    }
}

fn check_client(client: &Client) -> Result<(), AuthorizeError> {
    if !client.is_active {
        return Err(AuthorizeError::InactiveClient);
    }
    if client.settings.callback.is_empty() {
        return Err(AuthorizeError::GrantNotListed);
    }
    Ok(())
}

fn may_use_codes(client: &Client) -> bool {
    client.settings.grants.iter().any(|grant| grant == "authorization_code")
}

/// Nobody stays logged in here, so `none` never succeeds, and the others ask for what happens anyway.
fn check_prompt(prompt: &str) -> Result<(), AuthorizeError> {
    let words: Vec<&str> = prompt.split(' ').filter(|word| !word.is_empty()).collect();
    if words.iter().any(|word| !matches!(*word, "none" | "login" | "consent" | "select_account")) {
        return Err(AuthorizeError::Parameter("Unknown value of prompt"));
    }
    match words.as_slice() {
        ["none"] => Err(AuthorizeError::LoginRequired),
        words if words.contains(&"none") => Err(AuthorizeError::Parameter("prompt=none stands alone")),
        _ => Ok(()),
    }
}

fn challenge(form: &Form, client: &Client) -> Result<Option<(String, Method)>, AuthorizeError> {
    let settings = &client.settings;
    let Some(challenge) = form.get("code_challenge") else {
        if settings.is_pkce_mandatory {
            return Err(AuthorizeError::Pkce(
                "PKCE is mandatory for this application. PKCE Challenge is not provided or is not upto RFC 7636 specification.",
            ));
        }
        // Nothing else would tie the answer to the request (RFC 9700 section 4.7).
        if settings.is_public && form.get("state").is_none() {
            return Err(AuthorizeError::Pkce("A public application sends a PKCE challenge, or at least a state."));
        }
        return Ok(None);
    };
    if !pkce::is_well_formed(challenge) {
        return Err(AuthorizeError::Pkce("Code challenge used is not up to RFC 7636 specifications."));
    }
    match Method::from_word(form.get("code_challenge_method")) {
        None => Err(AuthorizeError::Pkce("Unsupported PKCE Challenge Method")),
        Some(Method::Plain) if !settings.may_pkce_be_plain => {
            Err(AuthorizeError::Pkce("This application does not support \"plain\" transformation algorithm."))
        }
        Some(method) => Ok(Some((challenge.to_owned(), method))),
    }
}
