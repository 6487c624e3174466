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
    /// Any user by Basic credentials.
    User,
}

/// Takes routes.
pub trait RouteSink<S>: Sized
where
    Portal: FromRef<S>,
{
    /// Adds one operation.
    #[must_use]
    fn operation<H, T>(self, method: Method, path: &'static str, access: Rule, handler: H) -> Self
    where
        H: Handler<T, S>,
        T: 'static;
}

/// Every route of the portal.
pub fn routes(routes: Routes) -> Routes {
    let sink = super::publisher::routes(sink);
    let sink = super::publisher_views::routes(sink);
    let sink = super::devportal::routes(sink);
    let sink = super::applications::routes(sink);
    let sink = super::keys::routes(sink);
    let sink = super::subscriptions::routes(sink);
    super::client_registration::routes(sink)
}
