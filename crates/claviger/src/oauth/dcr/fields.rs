//! The members of a registration or an update, the same for every wire, and the rules that they follow (contract rest-3x.md
//! 2.1).

use super::{KEY_LENGTH, RegistrationError};
use crate::http::json;
use crate::oauth::OAuth;
use crate::oauth::authorize::callback::is_literal;
use crate::oauth::grant::GRANTS;
use claviger_proto::entropy::key_text;
use claviger_proto::ids::ConsumerKey;
use claviger_proto::oauth::TokenTypeWord;
use claviger_proto::scope::Scopes;
use claviger_proto::secret::Secret;
use claviger_store::client_details::Details;
use claviger_store::clients::{ClientSettings, Lifetimes};
use serde::Deserialize;

/// Names an application may list though they are not grants of the token endpoint, or not of ours yet.
const OTHER_GRANTS: &[&str] = &[
    "implicit",
    "iwa:ntlm",
    "kerberos",
    "urn:ietf:params:oauth:grant-type:saml2-bearer",
    "urn:ietf:params:oauth:grant-type:jwt-bearer",
    "urn:ietf:params:oauth:grant-type:device_code",
    "urn:ietf:params:oauth:grant-type:token-exchange",
];
/// How the stored callback of several URIs begins.
pub(crate) const EXPRESSION: &str = "regexp=";
/// Most `application_scopes` of a client.
const SCOPES_MAX: usize = 500;

/// Body of a registration or an update. Members that the service does not use are accepted and ignored; an update's `client_id`
/// is one of them: some callers send the secret there (rest-3x.md 4.3).
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Fields {
    pub(super) client_name: Option<String>,
    redirect_uris: Option<Vec<String>>,
    grant_types: Option<Vec<String>>,
    token_type_extension: Option<String>,
    pub(super) ext_application_owner: Option<String>,
    ext_param_client_id: Option<String>,
    ext_param_client_secret: Option<String>,
    ext_param_sp_template: Option<String>,
    backchannel_logout_uri: Option<String>,
    ext_application_token_lifetime: Option<i64>,
    ext_user_token_lifetime: Option<i64>,
    ext_refresh_token_lifetime: Option<i64>,
    ext_id_token_lifetime: Option<i64>,
    application_display_name: Option<String>,
    #[serde(rename = "pkceMandatory")]
    pkce_mandatory: Option<bool>,
    #[serde(rename = "pkceSupportPlain")]
    pkce_support_plain: Option<bool>,
    #[serde(rename = "bypassClientCredentials")]
    bypass_client_credentials: Option<bool>,
    application_scopes: Option<Vec<String>>,
}

impl Fields {
    /// Reads a body.
    pub(super) fn parse(body: &[u8]) -> Result<Self, RegistrationError> {
        json::object(body).map_err(|error| RegistrationError::Malformed(error.to_string()))
    }

    /// The settings of a new client.
    pub(super) fn settings(&self, oauth: &OAuth) -> Result<ClientSettings, RegistrationError> {
        let name = self.client_name.clone();
        let name = name.ok_or_else(|| RegistrationError::Metadata("client_name is required".to_owned()))?;
        if let Some(template) = self.ext_param_sp_template.as_ref().filter(|template| !template.is_empty()) {
            // A template is a program of the old server's: there is none here.
            return Err(RegistrationError::Metadata(format!("Invalid service provider template name: {template}")));
        }
        self.merge(ClientSettings {
            name,
            callback: String::new(),
            grants: Vec::new(),
            token_type: TokenTypeWord::default(),
            is_pkce_mandatory: false,
            may_pkce_be_plain: false,
            is_public: false,
            is_refresh_renewed: None,
            lifetimes: default_lifetimes(oauth),
        })
    }

    /// The id and secret that the caller chose. A secret counts only beside an id.
    pub(super) fn preset(&self, oauth: &OAuth) -> Result<Option<(ConsumerKey, Secret)>, RegistrationError> {
        let Some(id) = &self.ext_param_client_id else { return Ok(None) };
        let is_valid =
            (15..=30).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if !is_valid {
            let text = "Provided client id is not adhering to the provided regex [a-zA-Z0-9_]{15,30}";
            return Err(RegistrationError::Metadata(text.into()));
        }
        let secret = match &self.ext_param_client_secret {
            Some(secret) if secret.is_empty() => {
                return Err(RegistrationError::Metadata("The client secret is empty".into()));
            }
            Some(secret) => secret.clone(),
            None => key_text(&*oauth.rng, KEY_LENGTH),
        };
        Ok(Some((ConsumerKey(id.clone()), Secret::new(secret))))
    }

    /// Lays the members over settings and checks the result.
    pub(super) fn merge(&self, mut settings: ClientSettings) -> Result<ClientSettings, RegistrationError> {
        if let Some(grants) = self.grant_types.clone().filter(|grants| !grants.is_empty()) {
            settings.grants = grants;
        }
        if let Some(uris) = &self.redirect_uris
            && let Some(callback) = callback(uris)?
        {
            settings.callback = callback;
        }
        if let Some(word) = &self.token_type_extension {
            let unknown = || RegistrationError::Metadata(format!("Unknown token type: {word}"));
            settings.token_type = TokenTypeWord::parse(word).ok_or_else(unknown)?;
        }
        let lifetimes = &mut settings.lifetimes;
        for (field, value) in [
            (&mut lifetimes.application_s, self.ext_application_token_lifetime),
            (&mut lifetimes.user_s, self.ext_user_token_lifetime),
            (&mut lifetimes.refresh_s, self.ext_refresh_token_lifetime),
            (&mut lifetimes.id_s, self.ext_id_token_lifetime),
        ] {
            *field = value.filter(|seconds| *seconds != 0).unwrap_or(*field);
        }
        settings.is_pkce_mandatory = self.pkce_mandatory.unwrap_or(settings.is_pkce_mandatory);
        settings.may_pkce_be_plain = self.pkce_support_plain.unwrap_or(settings.may_pkce_be_plain);
        settings.is_public = self.bypass_client_credentials.unwrap_or(settings.is_public);
        check(&settings)?;
        Ok(settings)
    }

    /// What is stored beside the settings. The display name is written by a registration only.
    pub(super) fn details(&self, is_new: bool) -> Result<Details, RegistrationError> {
        let is_given = |text: &&String| !text.trim().is_empty();
        let logout_uri = self.backchannel_logout_uri.as_ref().filter(is_given);
        if let Some(uri) = logout_uri {
            check_logout_uri(uri)?;
        }
        if self.application_scopes.as_ref().is_some_and(|scopes| scopes.len() > SCOPES_MAX) {
            let text = format!("application_scopes holds more than {SCOPES_MAX} scopes");
            return Err(RegistrationError::Metadata(text));
        }
        for scope in self.application_scopes.iter().flatten() {
            let is_one = Scopes::parse(scope).is_ok_and(|parsed| parsed.contains(scope));
            if !is_one {
                return Err(RegistrationError::Metadata("application_scopes holds what is no scope".to_owned()));
            }
        }
        Ok(Details {
            display_name: self.application_display_name.as_ref().filter(|name| is_new && is_given(name)).cloned(),
            scopes: self.application_scopes.clone(),
            logout_uri: logout_uri.cloned(),
        })
    }
}

/// The server-wide lifetimes, which a registration copies into its row (rest-3x.md 1.6.1).
pub fn default_lifetimes(oauth: &OAuth) -> Lifetimes {
    let settings = &oauth.settings;
    Lifetimes {
        user_s: settings.user_access_s,
        application_s: settings.application_access_s,
        refresh_s: settings.refresh_s,
        id_s: settings.id_s,
    }
}

/// The stored callback of a list of URIs; `None` for an empty list. What was stored for several comes back as one text, and
/// the word `null` clears it (rest-3x.md 2.4).
fn callback(uris: &[String]) -> Result<Option<String>, RegistrationError> {
    if let [one] = uris {
        if one.eq_ignore_ascii_case("null") {
            return Ok(Some(String::new()));
        }
        if one.starts_with(EXPRESSION) {
            check_expression(one)?;
            return Ok(Some(one.clone()));
        }
    }
    for uri in uris {
        check_uri(uri)?;
        // It would end an alternative of the list, become one of its own, or be read as an expression.
        if uris.len() > 1 && (uri.contains(['|', '(', ')']) || !is_literal(uri)) {
            return Err(RegistrationError::RedirectUri(uri.clone()));
        }
    }
    Ok(match uris {
        [] => None,
        [one] => Some(one.clone()),
        many => Some(format!("{EXPRESSION}({})", many.join("|"))),
    })
}

/// `regexp=(a|b)`: a list of URIs and nothing else.
fn check_expression(text: &str) -> Result<(), RegistrationError> {
    let refused = || RegistrationError::RedirectUri(text.to_owned());
    let list = text.strip_prefix(EXPRESSION).and_then(|rest| rest.strip_prefix('(')?.strip_suffix(')'));
    for uri in list.ok_or_else(refused)?.split('|') {
        if uri.is_empty() || uri.contains(['(', ')']) || check_uri(uri).is_err() {
            return Err(refused());
        }
    }
    Ok(())
}

/// Checks a callback that is to be stored: one URI or none; an expression (`regexp=...`) is taken as it is.
pub fn check_callback(callback: &str) -> Result<(), RegistrationError> {
    if callback.starts_with(EXPRESSION) { Ok(()) } else { check_uri(callback) }
}

/// A URI that answers may be sent to: absolute, without fragment and credentials, and no program. An empty text passes.
pub(crate) fn check_uri(uri: &str) -> Result<(), RegistrationError> {
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

/// An address that the server itself will call one day: http or https, no fragment, no credentials.
fn check_logout_uri(uri: &str) -> Result<(), RegistrationError> {
    let is_web = url::Url::parse(uri).is_ok_and(|parsed| matches!(parsed.scheme(), "http" | "https"));
    if is_web && check_uri(uri).is_ok() {
        Ok(())
    } else {
        Err(RegistrationError::Metadata(format!("Invalid back-channel logout URI: {uri}")))
    }
}

/// Checks a name, grants and callback that are to be stored.
pub(super) fn check(settings: &ClientSettings) -> Result<(), RegistrationError> {
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
