//! Why a portal operation was refused. No HTTP in here: [`super::reply`] maps each case to the wire.
//!
//! Follows portal-gateway-3x.md 1.5 (product codes), 2.4, 2.5, 2.7, 3.3, 3.4, 3.6.

use super::artifact::ArtifactError;
use claviger_store::error::{StoreError, WriteError};

/// One entry of a refused document or body: a code, a message and, sometimes, where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Product code or `400_{path}`.
    pub code: String,
    /// What is wrong.
    pub message: String,
    /// More about it.
    pub description: String,
}

impl Finding {
    /// A finding of bean validation: `400_{path}`, `{path}: {text}`.
    pub fn field(path: &str, text: &str) -> Self {
        Self { code: format!("400_{path}"), message: format!("{path}: {text}"), description: String::new() }
    }
}

/// Kinds of objects that texts name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource {
    /// An API.
    Api,
    /// An application.
    Application,
    /// An application's keys.
    ApplicationKeys,
    /// A subscription.
    Subscription,
    /// A throttling policy.
    Policy,
    /// A shared scope.
    Scope,
}

impl Resource {
    /// The word in `Requested {word} with Id '..' not found`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Api => "API",
            Self::Application => "Application",
            Self::ApplicationKeys => "Application keys",
            Self::Subscription => "Subscription",
            Self::Policy => "Throttling policy",
            Self::Scope => "Scope",
        }
    }
}

/// Why a portal operation failed.
#[derive(Debug, thiserror::Error)]
pub enum PortalError {
    /// The body is not JSON, or a field has the wrong type.
    #[error("the request body is not well-formed")]
    MalformedBody,
    /// No body where one is needed.
    #[error("the request body is empty")]
    EmptyBody,
    /// A field the contract does not have.
    #[error("the request body has the unknown field {0}")]
    UnknownField(String),
    /// A value outside an enumeration.
    #[error("the request body has a value outside its enumeration")]
    DisallowedValue,
    /// Required fields are missing, or values too long.
    #[error("the request body fails validation at {} fields", .0.len())]
    Invalid(Vec<Finding>),
    /// Any other wrong request; the text goes to the client.
    #[error("bad request: {0}")]
    BadRequest(String),
    /// The caller may not touch this object.
    #[error("no permission for {} {id}", .resource.word())]
    Forbidden {
        /// What.
        resource: Resource,
        /// Which.
        id: String,
    },
    /// Refused for another reason; the text goes to the client.
    #[error("forbidden: {0}")]
    ForbiddenBecause(String),
    /// Not there, or not visible to the caller.
    #[error("{} {id} does not exist", .resource.word())]
    NotFound {
        /// What.
        resource: Resource,
        /// Which.
        id: String,
    },
    /// `POST /apis/validate` found nothing: the name or context is free.
    #[error("nothing matches the query")]
    NoMatch,
    /// Name, version and context are taken.
    #[error("an API {name}-{version} exists")]
    ApiExists {
        /// Name.
        name: String,
        /// Version.
        version: String,
    },
    /// Same name and version under another context: a 400, not a 409.
    #[error("an API {name}-{version} exists with another context")]
    ApiExistsWithOtherContext {
        /// Name.
        name: String,
        /// Version.
        version: String,
    },
    /// Another API has this context template.
    #[error("the context {0} is in use")]
    ContextTaken(String),
    /// A name differing only in the case of its letters exists.
    #[error("an API name differing only in case from {0} exists")]
    NameDiffersInCase(String),
    /// Some policies do not exist in the tenant.
    #[error("unknown policies {0:?}")]
    UnknownPolicies(Vec<String>),
    /// A key manager does not exist or is disabled.
    #[error("unknown key manager {0}")]
    UnknownKeyManager(String),
    /// A key manager that cannot create applications.
    #[error("key manager {0} does not create applications")]
    KeyManagerCannotCreate(String),
    /// The application already has a key of this type there.
    #[error("a key mapping exists")]
    KeyMappingExists,
    /// An API without resources.
    #[error("the API has no resources")]
    NoResources,
    /// A local scope's name belongs to another API or is shared.
    #[error("the scope {0} is taken")]
    ScopeTaken(String),
    /// A role that does not exist.
    #[error("the role {0} does not exist")]
    UnknownRole(String),
    /// The API still has subscriptions.
    #[error("the API {0} has active subscriptions")]
    ActiveSubscriptions(String),
    /// The lifecycle has no such action here.
    #[error("the action {action} is not allowed")]
    ActionNotAllowed {
        /// What was asked for.
        action: String,
        /// What the state allows.
        allowed: Vec<&'static str>,
    },
    /// A definition that cannot be taken; the first finding gives the code.
    #[error("the definition is refused: {} findings", .0.len())]
    Definition(Vec<Finding>),
    /// The owner has an application of that name.
    #[error("an application {0} exists")]
    ApplicationExists(String),
    /// The application is subscribed to the API already.
    #[error("a subscription exists")]
    SubscriptionExists,
    /// The application waits for approval, or was refused.
    #[error("the application is not approved")]
    ApplicationNotApproved,
    /// The tenant does not exist.
    #[error("the tenant {0} does not exist")]
    UnknownTenant(String),
    /// The body or the form is too large.
    #[error("the request is too large")]
    TooLarge,
    /// The operation is not offered.
    #[error("not implemented: {0}")]
    NotImplemented(&'static str),
    /// The key manager has a client of this name.
    #[error("a client {0} exists")]
    ClientNameTaken(String),
    /// The key manager refused; the text goes to the client.
    #[error("the key manager refused: {0}")]
    KeyManager(String),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A stored object cannot be read.
    #[error("stored data is damaged: {0}")]
    Damaged(String),
}

impl PortalError {
    /// No such API, or none that the caller may see.
    pub fn no_api(id: impl Into<String>) -> Self {
        Self::NotFound { resource: Resource::Api, id: id.into() }
    }
}

impl WriteError for PortalError {
    fn store_error(&self) -> Option<&StoreError> {
        match self {
            Self::Store(error) => Some(error),
            _ => None,
        }
    }
}

impl From<ArtifactError> for PortalError {
    fn from(error: ArtifactError) -> Self {
        Self::Damaged(error.to_string())
    }
}
