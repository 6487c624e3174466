//! OAuth 2.0 errors and small rules that need no state (RFC 6749, RFC 7009; contract rest-3x.md 1).

use std::borrow::Cow;

/// The value of `error` in an OAuth error reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OAuthErrorCode {
    /// Malformed request.
    InvalidRequest,
    /// Client authentication failed.
    InvalidClient,
    /// The grant (password, refresh token, code) does not hold.
    InvalidGrant,
    /// The client may not use this grant.
    UnauthorizedClient,
    /// The server does not know the grant.
    UnsupportedGrantType,
    /// A scope is unknown, malformed or too wide.
    InvalidScope,
    /// Refused by policy, or by the user.
    AccessDenied,
    /// The authorization endpoint does not know the response type.
    UnsupportedResponseType,
    /// Nobody may be asked, and nobody is logged in (OpenID Connect Core section 3.1.2.6).
    LoginRequired,
    /// Request objects are not understood (OpenID Connect Core section 6).
    RequestNotSupported,
    /// Nor are references to them.
    RequestUriNotSupported,
    /// Our fault.
    ServerError,
    /// The database did not answer in time.
    TemporarilyUnavailable,
}

impl OAuthErrorCode {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InvalidRequest => "invalid_request",
            Self::InvalidClient => "invalid_client",
            Self::InvalidGrant => "invalid_grant",
            Self::UnauthorizedClient => "unauthorized_client",
            Self::UnsupportedGrantType => "unsupported_grant_type",
            Self::InvalidScope => "invalid_scope",
            Self::AccessDenied => "access_denied",
            Self::UnsupportedResponseType => "unsupported_response_type",
            Self::LoginRequired => "login_required",
            Self::RequestNotSupported => "request_not_supported",
            Self::RequestUriNotSupported => "request_uri_not_supported",
            Self::ServerError => "server_error",
            Self::TemporarilyUnavailable => "temporarily_unavailable",
        }
    }
}

/// An OAuth error as the client sees it. The operator's text goes to the log, not here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {description}", code.as_str())]
pub struct OAuthError {
    /// Value of `error`.
    pub code: OAuthErrorCode,
    /// Value of `error_description`, in the contract's words.
    pub description: Cow<'static, str>,
}

impl OAuthError {
    /// An error with its text.
    pub fn new(code: OAuthErrorCode, description: impl Into<Cow<'static, str>>) -> Self {
        Self { code, description: description.into() }
    }
}

/// The two kinds of access token an application can ask for (`token_type_extension`; rest-3x.md 1.6.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TokenType {
    /// Opaque: a UUID, handed out again while it lives.
    #[default]
    Opaque,
    /// A signed JWT, new for every request.
    Jwt,
}

/// The word by which an application asks for its kind of token: `Default` (also `DEFAULT` and `OAUTH`) or `JWT`. It is given
/// back as it was sent: API-M 4.4 and later compare what they read with their own spelling (rest-3x.md 2.1, 2.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenTypeWord(String);

impl TokenTypeWord {
    /// A word as a caller sends it: `None` when it is unknown; none at all is `Default`.
    pub fn parse(word: &str) -> Option<Self> {
        match word {
            "" => Some(Self::default()),
            "Default" | "DEFAULT" | "OAUTH" | "JWT" => Some(Self(word.to_owned())),
            _ => None,
        }
    }

    /// A word as it stands in IDN_OIDC_PROPERTY.tokenType, whatever it is: an old server took any.
    pub fn stored(word: String) -> Self {
        if word.is_empty() { Self::default() } else { Self(word) }
    }

    /// What is issued. Every word but `JWT`, written like that, means opaque tokens, as in the old server's table of issuers.
    pub fn kind(&self) -> TokenType {
        if self.0 == "JWT" { TokenType::Jwt } else { TokenType::Opaque }
    }

    /// The word as it was sent or stored.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<TokenType> for TokenTypeWord {
    fn from(kind: TokenType) -> Self {
        let word = match kind {
            TokenType::Opaque => "Default",
            TokenType::Jwt => "JWT",
        };
        Self(word.to_owned())
    }
}

impl Default for TokenTypeWord {
    fn default() -> Self {
        TokenType::Opaque.into()
    }
}
