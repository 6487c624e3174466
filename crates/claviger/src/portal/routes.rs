//! Where the portal's routes go: the program's list of routes, or the router of a test.
//!
//! Path, access and handler stand in one line of the feature's file. Who checks the access is the sink's business.

use super::state::Portal;
use axum::handler::Handler;
use http::Method;

/// Who may call an operation (portal-gateway-3x.md 1.2, 1.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// A user with one of these scopes; an empty list takes any user.
    Scopes(&'static [&'static str]),
    /// Anybody; credentials that are sent are checked.
    Anonymous,
    /// Any user, by Basic credentials only: a token must not be a way to more rights than it carries.
    BasicUser,
}

/// Takes routes.
pub trait RouteSink: Sized {
    /// Adds one operation.
    #[must_use]
    fn operation<H, T>(self, method: Method, path: &'static str, access: Access, handler: H) -> Self
    where
        H: Handler<T, Portal> + Sync,
        T: 'static;
}

/// Every route of the portal.
pub fn routes<R: RouteSink>(sink: R) -> R {
    let sink = super::publisher::routes(sink);
    let sink = super::publisher_views::routes(sink);
    let sink = super::devportal::routes(sink);
    let sink = super::applications::routes(sink);
    let sink = super::keys::routes(sink);
    let sink = super::subscriptions::routes(sink);
    super::client_registration::routes(sink)
}
