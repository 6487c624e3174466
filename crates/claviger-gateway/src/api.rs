//! An API, an application and a backend as a request meets them: everything that can be computed once is.
//!
//! Owns: turning [`crate::model`]'s plain data into ready header names, URI parts and tables. Leaves to `catalog`: keeping
//! them up to date.

use crate::config::GatewayConfig;
use crate::cors::CorsRules;
use crate::fault::Mentioned;
use crate::listen::Scheme;
use crate::model::{ApiDeployment, ApiStatus, ApplicationEntry, ApplicationKey, Endpoint, KeyType, SubscriptionStatus};
use crate::resource::ResourceTable;
use claviger_proto::ids::{ApiId, ApplicationId};
use http::uri::{Authority, PathAndQuery, Scheme as UriScheme};
use http::{HeaderName, HeaderValue, Uri};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// Number of a tenant in this process: cached verdicts are kept apart by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct TenantNumber(pub(crate) u32);

/// A deployed API.
#[derive(Debug)]
pub(crate) struct Api {
    pub(crate) id: ApiId,
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) tenant: TenantNumber,
    pub(crate) tenant_domain: String,
    pub(crate) context: String,
    pub(crate) default_context: Option<String>,
    pub(crate) status: ApiStatus,
    transports: Vec<String>,
    pub(crate) authorization_header: HeaderName,
    authorization_header_text: String,
    pub(crate) is_oauth2_enough: bool,
    key_managers: Vec<String>,
    pub(crate) resources: ResourceTable,
    production: Target,
    sandbox: Target,
    pub(crate) cors: CorsRules,
}

/// Where a type of key leads.
#[derive(Debug)]
pub(crate) enum Target {
    /// No endpoint of this type.
    Absent,
    /// An endpoint whose URL cannot be used; said in the log when the API arrived.
    Unusable,
    /// A backend.
    Ready(Arc<Backend>),
}

/// A backend, ready to be called.
#[derive(Debug)]
pub(crate) struct Backend {
    pub(crate) scheme: UriScheme,
    pub(crate) authority: Authority,
    pub(crate) host: HeaderValue,
    /// Path of the endpoint's URL without its trailing slash.
    base_path: String,
    /// Query of the endpoint's URL.
    base_query: Option<String>,
    pub(crate) authorization: Option<HeaderValue>,
    pub(crate) timeout: Duration,
}

impl Api {
    /// Compiles a deployment.
    pub(crate) fn new(deployment: ApiDeployment, tenant: TenantNumber, config: &GatewayConfig) -> Self {
        let header = Some(deployment.authorization_header).filter(|header| !header.is_empty());
        let authorization_header_text = header.unwrap_or_else(|| "Authorization".to_owned());
        let cors = CorsRules::new(deployment.cors.as_ref().unwrap_or(&config.cors), &authorization_header_text);
        let name = &deployment.name;
        Self {
            id: deployment.id,
            tenant,
            tenant_domain: deployment.tenant_domain,
            context: deployment.context.trim_end_matches('/').to_owned(),
            default_context: deployment.default_context.map(|context| context.trim_end_matches('/').to_owned()),
            status: deployment.status,
            transports: deployment.transports,
            authorization_header: HeaderName::from_bytes(authorization_header_text.as_bytes())
                .unwrap_or(http::header::AUTHORIZATION),
            authorization_header_text,
            is_oauth2_enough: is_oauth2_enough(&deployment.security),
            key_managers: deployment.key_managers,
            resources: ResourceTable::new(deployment.resources),
            production: Target::new(name, deployment.production, config),
            sandbox: Target::new(name, deployment.sandbox, config),
            cors,
            version: deployment.version,
            name: deployment.name,
        }
    }

    /// Is the API offered on this transport?
    pub(crate) fn has_transport(&self, scheme: Scheme) -> bool {
        self.transports.iter().any(|transport| transport.trim() == scheme.as_str())
    }

    /// Are tokens of this key manager accepted (portal-gateway-3x.md 6.5)?
    pub(crate) fn has_key_manager(&self, name: &str) -> bool {
        self.key_managers.iter().any(|accepted| accepted == "all" || accepted == name)
    }

    /// Where keys of a type lead.
    pub(crate) fn target(&self, key_type: KeyType) -> &Target {
        match key_type {
            KeyType::Production => &self.production,
            KeyType::Sandbox => &self.sandbox,
        }
    }

    /// What the text of a fault may mention of this API.
    pub(crate) fn mentioned(&self, resource: Option<usize>) -> Mentioned<'_> {
        Mentioned {
            context: &self.context,
            version: &self.version,
            resource: resource.map_or("", |index| &self.resources.get(index).pattern),
            authorization_header: &self.authorization_header_text,
        }
    }
}

/// Can a bearer token alone open the API? Other schemes are not built yet, so an API that demands one stays shut.
fn is_oauth2_enough(security: &[String]) -> bool {
    let has = |scheme: &str| security.iter().any(|entry| entry == scheme);
    !has("mutualssl_mandatory") && (has("oauth2") || security.is_empty())
}

impl Target {
    fn new(api: &str, endpoint: Option<Endpoint>, config: &GatewayConfig) -> Self {
        let Some(endpoint) = endpoint else { return Self::Absent };
        if let Some(backend) = Backend::new(&endpoint, config) {
            return Self::Ready(Arc::new(backend));
        }
        tracing::warn!(api, "The endpoint's URL is not usable; calls of API {api} will fail");
        Self::Unusable
    }
}

impl Backend {
    fn new(endpoint: &Endpoint, config: &GatewayConfig) -> Option<Self> {
        let url: Uri = endpoint.url.trim().parse().ok()?;
        let scheme = url.scheme().filter(|scheme| [UriScheme::HTTP, UriScheme::HTTPS].contains(scheme))?.clone();
        let authority = url.authority()?.clone();
        if authority.as_str().contains('@') {
            return None;
        }
        let authorization = match &endpoint.authorization {
            None => None,
            Some(text) => {
                let mut value = HeaderValue::from_str(text).ok()?;
                value.set_sensitive(true);
                Some(value)
            }
        };
        Some(Self {
            host: HeaderValue::from_str(authority.as_str()).ok()?,
            scheme,
            authority,
            base_path: url.path().trim_end_matches('/').to_owned(),
            base_query: url.query().map(str::to_owned),
            authorization,
            timeout: Duration::from_millis(endpoint.timeout_ms.unwrap_or(config.endpoint_timeout_ms)),
        })
    }

    /// The URI for the part of a path behind the API's context and for a query.
    pub(crate) fn uri(&self, rest: &str, query: Option<&str>) -> Option<Uri> {
        let mut text = String::with_capacity(self.base_path.len() + rest.len() + query.map_or(0, str::len) + 2);
        text.push_str(&self.base_path);
        text.push_str(rest);
        if text.is_empty() {
            text.push('/');
        }
        let mut separator = '?';
        for part in [self.base_query.as_deref(), query].into_iter().flatten() {
            text.push(separator);
            text.push_str(part);
            separator = '&';
        }
        let mut parts = http::uri::Parts::default();
        parts.scheme = Some(self.scheme.clone());
        parts.authority = Some(self.authority.clone());
        parts.path_and_query = Some(PathAndQuery::from_maybe_shared(bytes::Bytes::from(text)).ok()?);
        Uri::from_parts(parts).ok()
    }
}

/// An application with its subscriptions.
#[derive(Debug)]
pub(crate) struct Application {
    pub(crate) id: ApplicationId,
    pub(crate) name: String,
    pub(crate) keys: Vec<ApplicationKey>,
    subscriptions: HashMap<ApiId, SubscriptionStatus>,
}

impl Application {
    /// Compiles an entry.
    pub(crate) fn new(entry: ApplicationEntry) -> Self {
        let subscriptions =
            entry.subscriptions.into_iter().map(|subscription| (subscription.api_id, subscription.status)).collect();
        Self { id: entry.id, name: entry.name, keys: entry.keys, subscriptions }
    }

    /// The state of its subscription to an API.
    pub(crate) fn subscription(&self, api: ApiId) -> Option<SubscriptionStatus> {
        self.subscriptions.get(&api).copied()
    }
}

/// One client id of an application.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    pub(crate) application: Arc<Application>,
    pub(crate) key_type: KeyType,
    pub(crate) key_manager: Arc<str>,
}
