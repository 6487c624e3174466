//! The gateway itself, and the order of a request's phases.
//!
//! Owns: what all requests share, the one context of each request, and the sequence listen, route, authenticate, limit,
//! rewrite, forward, record. Leaves each phase to the file of its name.

use crate::api::Api;
use crate::authenticate::Caller;
use crate::body::{ProxyBody, RequestBody};
use crate::catalog::Catalog;
use crate::config::GatewayConfig;
use crate::control::ControlPlane;
use crate::fault::{self, Fault, Format, Mentioned, Refusal};
use crate::follow::Following;
use crate::limit::{self, InFlight};
use crate::listen::{self, Arrival};
use crate::model::{ApiStatus, KeyType};
use crate::path;
use crate::record::{Metrics, StateCollector};
use crate::rewrite::Inbound;
use crate::route::Routed;
use crate::upstream::Upstream;
use crate::verdict::Verdicts;
use claviger_proto::entropy::{self, Entropy};
use claviger_proto::event::Event;
use claviger_proto::time::Clock;
use futures_util::FutureExt as _;
use http::header::ORIGIN;
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri};
use prometheus_client::registry::Registry;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use tokio::time::Instant;

/// Correlation id of a call (portal-gateway-3x.md 6.10).
const ACTIVITY_ID: HeaderName = HeaderName::from_static("activityid");

/// The data plane of one process.
pub struct Gateway {
    pub(crate) config: GatewayConfig,
    pub(crate) control: Arc<dyn ControlPlane>,
    pub(crate) clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    pub(crate) catalog: Catalog,
    pub(crate) verdicts: Verdicts,
    pub(crate) following: Following,
    pub(crate) upstream: Upstream,
    pub(crate) metrics: Metrics,
    pub(crate) in_flight: InFlight,
    pub(crate) server: listen::Server,
}

impl std::fmt::Debug for Gateway {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gateway").field("config", &self.config).finish_non_exhaustive()
    }
}

/// What became of a request, for the counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The backend answered, below 400.
    Passed,
    /// The backend answered 4xx.
    BackendClientError,
    /// The backend answered 5xx.
    BackendServerError,
    /// The gateway answered by itself: page, health, preflight.
    Local,
    /// Refused as malformed.
    Malformed,
    /// No such API, resource, verb or transport.
    NotFound,
    /// The API is blocked.
    Blocked,
    /// No or bad credentials.
    Unauthenticated,
    /// Not subscribed, wrong scope, no endpoint for the key.
    Forbidden,
    /// Too much at once.
    Overloaded,
    /// The backend could not be called.
    BackendUnavailable,
    /// The token could not be checked.
    ControlUnavailable,
    /// A defect.
    Defect,
    /// The caller left before there was an answer.
    Abandoned,
}

impl Outcome {
    /// Every outcome, in the order of declaration.
    pub(crate) const ALL: [Self; 14] = [
        Self::Passed,
        Self::BackendClientError,
        Self::BackendServerError,
        Self::Local,
        Self::Malformed,
        Self::NotFound,
        Self::Blocked,
        Self::Unauthenticated,
        Self::Forbidden,
        Self::Overloaded,
        Self::BackendUnavailable,
        Self::ControlUnavailable,
        Self::Defect,
        Self::Abandoned,
    ];

    /// Value of the label.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::BackendClientError => "backend_client_error",
            Self::BackendServerError => "backend_server_error",
            Self::Local => "local",
            Self::Malformed => "malformed",
            Self::NotFound => "not_found",
            Self::Blocked => "blocked",
            Self::Unauthenticated => "unauthenticated",
            Self::Forbidden => "forbidden",
            Self::Overloaded => "overloaded",
            Self::BackendUnavailable => "backend_unavailable",
            Self::ControlUnavailable => "control_unavailable",
            Self::Defect => "defect",
            Self::Abandoned => "abandoned",
        }
    }

    fn of(fault: Fault) -> Self {
        match fault {
            Fault::AmbiguousPath
            | Fault::Head(_)
            | Fault::UriTooLong
            | Fault::TokenTooLong
            | Fault::RequestBodyBroken
            | Fault::RequestBodyTimeout => Self::Malformed,
            Fault::UnknownContext | Fault::NoResource | Fault::MethodNotAllowed | Fault::UnsupportedTransport(_) => {
                Self::NotFound
            }
            Fault::ApiBlocked | Fault::SubscriptionBlocked => Self::Blocked,
            Fault::TooManyInFlight => Self::Overloaded,
            Fault::MissingCredentials | Fault::InvalidCredentials | Fault::InvalidJwt => Self::Unauthenticated,
            Fault::AuthenticationUnavailable => Self::ControlUnavailable,
            Fault::NotSubscribed | Fault::SubscriptionInactive | Fault::ScopeMissing | Fault::NoEndpoint(_) => {
                Self::Forbidden
            }
            Fault::BackendRefused | Fault::BackendTimeout | Fault::BackendFailed => Self::BackendUnavailable,
            Fault::Internal => Self::Defect,
        }
    }
}

/// One request on its way through the phases.
pub(crate) struct Context {
    pub(crate) started: Instant,
    pub(crate) method: Method,
    uri: Uri,
    pub(crate) peer: HeaderValue,
    format: Format,
    origin: Option<HeaderValue>,
    pub(crate) activity: Option<HeaderValue>,
    pub(crate) api: Option<Arc<Api>>,
    resource: Option<usize>,
    /// The decoded path behind the context, kept only when CORS headers will need it.
    cors_path: Option<String>,
    is_preflight: bool,
    pub(crate) caller: Option<Caller>,
    pub(crate) outcome: Outcome,
}

impl Context {
    fn new(request: &Request<RequestBody>, arrival: &Arrival) -> Self {
        let headers = request.headers();
        Self {
            started: Instant::now(),
            method: request.method().clone(),
            uri: request.uri().clone(),
            peer: arrival.peer.clone(),
            format: Format::of(headers),
            origin: headers.get(ORIGIN).cloned(),
            activity: headers.get(ACTIVITY_ID).cloned(),
            api: None,
            resource: None,
            cors_path: None,
            is_preflight: false,
            caller: None,
            outcome: Outcome::Abandoned,
        }
    }

    /// The path as it came, without the query.
    pub(crate) fn path(&self) -> &str {
        self.uri.path()
    }
}

/// Records a request when it is over, also when its caller leaves and the phases are dropped on the way.
struct Entry<'g> {
    gateway: &'g Gateway,
    context: Context,
    status: Option<StatusCode>,
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        self.gateway.record(&self.context, self.status);
    }
}

impl Gateway {
    /// A gateway with an empty catalog: every call is answered 404 until [`Gateway::run_follower`] has a snapshot.
    pub fn new(
        config: GatewayConfig,
        control: Arc<dyn ControlPlane>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
        backend_tls: rustls::ClientConfig,
        registry: &mut Registry,
    ) -> Arc<Self> {
        let metrics = Metrics::new(registry);
        let gateway = Arc::new(Self {
            catalog: Catalog::new(),
            verdicts: Verdicts::new(&config),
            following: Following::new(),
            upstream: Upstream::new(&config, backend_tls),
            metrics,
            in_flight: InFlight::default(),
            server: listen::server(&config),
            config,
            control,
            clock,
            entropy,
        });
        registry.register_collector(Box::new(StateCollector(Arc::downgrade(&gateway))));
        gateway
    }

    /// Takes in the revocations among some events at once, without waiting for the follower: for the program that has just
    /// committed them in the same process. The others are left to the follower.
    pub fn apply_revocations(&self, events: &[Event]) {
        for event in events {
            self.catalog.apply_revocation(event);
        }
    }

    /// Answers one request, whatever happens on the way.
    pub(crate) async fn handle(
        self: Arc<Self>,
        request: Request<RequestBody>,
        arrival: Arc<Arrival>,
    ) -> Response<ProxyBody> {
        let mut entry = Entry { gateway: &self, context: Context::new(&request, &arrival), status: None };
        let context = &mut entry.context;
        let permit = self.in_flight.take(self.config.requests_in_flight_max);
        let (permit, outcome) = match permit {
            // A panic ends this request and no other.
            Ok(permit) => {
                let phases = AssertUnwindSafe(self.pass(context, request, &arrival)).catch_unwind();
                (Some(permit), phases.await.unwrap_or(Err(Fault::Internal.into())))
            }
            Err(fault) => (None, Err(fault.into())),
        };
        let mut response = outcome.unwrap_or_else(|refusal| self.refuse(context, &refusal));
        self.add_cors(context, &mut response);
        entry.status = Some(response.status());
        response.map(|body| body.with_permit(permit))
    }

    /// The phases, in their order.
    async fn pass(
        self: &Arc<Self>,
        context: &mut Context,
        request: Request<RequestBody>,
        arrival: &Arrival,
    ) -> Result<Response<ProxyBody>, Refusal> {
        let now = self.clock.now();
        if let Some(fault) = request.body().head_fault {
            return Err(Fault::Head(fault).into());
        }
        limit::check_uri(request.uri(), self.config.uri_bytes_max)?;
        let (parts, body) = request.into_parts();
        let uri = context.uri.clone();
        let path = path::check(uri.path()).map_err(|path::Ambiguous| Fault::AmbiguousPath)?;
        let Some(located) = self.locate(&path) else {
            let answer = self.answer_without_api(&parts.method, path.raw)?;
            context.outcome = Outcome::Local;
            return Ok(answer);
        };
        let api = Arc::clone(&located.api);
        context.api = Some(Arc::clone(&api));
        let rest = located.decoded_rest(&path);
        if self.config.is_cors_enabled && (context.origin.is_some() || parts.method == Method::OPTIONS) {
            context.cors_path = Some(rest.to_owned());
        }
        let index = match self.route(&api, &parts, arrival.scheme, rest)? {
            Routed::Resource(index) => index,
            Routed::Here(answer) => {
                context.is_preflight = true;
                context.outcome = Outcome::Local;
                return Ok(answer);
            }
        };
        context.resource = Some(index);
        let resource = api.resources.get(index);
        let is_prototyped = api.status == ApiStatus::Prototyped;
        let key_type = if resource.is_secured && !is_prototyped {
            let caller = self.authenticate(&api, resource, &parts.headers, now).await?;
            context.caller.insert(caller).client.key_type
        } else {
            KeyType::Production
        };
        let is_credential_kept = self.config.is_outbound_authorization_kept || is_prototyped;
        let inbound = Inbound {
            version: parts.version,
            peer: &arrival.peer,
            credential: (!is_credential_kept).then_some(&api.authorization_header),
        };
        let response = self.forward(&api, key_type, (parts, body), located.raw_rest(&path), inbound).await?;
        context.outcome = match response.status().as_u16() {
            500.. => Outcome::BackendServerError,
            400.. => Outcome::BackendClientError,
            _ => Outcome::Passed,
        };
        Ok(response)
    }

    fn refuse(&self, context: &mut Context, refusal: &Refusal) -> Response<ProxyBody> {
        let fault = refusal.fault;
        context.outcome = Outcome::of(fault);
        let mentioned = context.api.as_ref().map_or(Mentioned::default(), |api| api.mentioned(context.resource));
        let is_gateway_status = self.config.is_backend_fault_as_gateway_status;
        let mut response = fault::reply(fault, context.format, &mentioned, is_gateway_status);
        if response.status().is_server_error() {
            // All that a client learns of a failure of ours: where to look for it.
            let fresh = || {
                HeaderValue::from_str(&entropy::uuid(&*self.entropy)).expect("a UUID is hexadecimal digits and dashes")
            };
            let activity = context.activity.get_or_insert_with(fresh).clone();
            response.headers_mut().insert(ACTIVITY_ID, activity.clone());
            // 503 is an answer by intention; the access log has it.
            if response.status() != StatusCode::SERVICE_UNAVAILABLE {
                tracing::warn!(
                    activity = activity.to_str().unwrap_or_default(),
                    path = context.path(),
                    cause = refusal.cause.as_deref(),
                    %fault,
                    "A request was answered with a failure: {fault}"
                );
            }
        }
        response.map(ProxyBody::own)
    }

    /// CORS headers, on answers of the backend and on our own (portal-gateway-3x.md 6.4).
    fn add_cors(&self, context: &Context, response: &mut Response<ProxyBody>) {
        let (Some(api), Some(path)) = (&context.api, &context.cors_path) else { return };
        if context.origin.is_none() && !context.is_preflight {
            return;
        }
        let verbs = api.resources.verbs_of(path, self.config.resource_matching);
        api.cors.add(response.headers_mut(), context.origin.as_ref(), verbs);
    }
}
