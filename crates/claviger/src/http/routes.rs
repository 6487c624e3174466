//! The list of routes. Path, rule and handler stand in one line of the feature that owns them; the list itself is what the
//! access test walks.

use crate::app::App;
use crate::http::access::{Rule, enforce, unserved};
use crate::http::tenant;
use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::handler::Handler;
use axum::http::{Method, StatusCode};
use axum::middleware::from_fn_with_state;
use axum::routing::{MethodFilter, any, on};
use std::sync::Arc;

/// One line of the list.
#[derive(Clone, Debug)]
pub struct RouteEntry {
    /// HTTP method.
    pub method: Method,
    /// Path with `{placeholders}`.
    pub path: &'static str,
    /// Who may call it.
    pub rule: Rule,
}

/// Routes under construction.
pub struct Routes {
    /// `None`: only the list is wanted.
    app: Option<Arc<App>>,
    router: Router<Arc<App>>,
    entries: Vec<RouteEntry>,
}

impl Routes {
    /// An empty list.
    pub fn new(app: Arc<App>) -> Self {
        Self { app: Some(app), router: Router::new(), entries: Vec::new() }
    }

    /// The list that features make, without anything behind it.
    pub fn list(features: impl FnOnce(Self) -> Self) -> Vec<RouteEntry> {
        features(Self { app: None, router: Router::new(), entries: Vec::new() }).entries
    }

    /// Adds a route.
    #[must_use]
    pub fn add<H, T>(mut self, method: Method, path: &'static str, rule: Rule, handler: H) -> Self
    where
        H: Handler<T, Arc<App>>,
        T: 'static,
    {
        let filter = MethodFilter::try_from(method.clone()).expect("routes use the standard methods");
        self.entries.push(RouteEntry { method, path, rule });
        let Some(app) = &self.app else { return self };
        let mut route = on(filter, handler);
        // Open routes are on the hot path and have nothing to enforce, unless the operator wants it.
        if !matches!(rule, Rule::Public(_) | Rule::OAuthClient) || !app.config.access_rules.is_empty() {
            route = route.layer(from_fn_with_state((app.clone(), rule), enforce));
        }
        self.router = self.router.route(path, route);
        self
    }

    /// Adds the routes of a feature.
    #[must_use]
    pub fn with(self, feature: impl FnOnce(Self) -> Self) -> Self {
        feature(self)
    }

    /// The router and the list.
    pub fn finish(self) -> (Router, Vec<RouteEntry>) {
        let app = self.app.expect("only `list` makes none, and keeps the value to itself");
        let (no_route, no_method) = (app.clone(), app.clone());
        let router = self
            .router
            .fallback(move |request: Request| unserved(no_route, request, StatusCode::NOT_FOUND))
            .method_not_allowed_fallback(move |request: Request| {
                unserved(no_method, request, StatusCode::METHOD_NOT_ALLOWED)
            });
        let router: Router = router.with_state(app.clone());
        // The same routes once more, with a tenant before them.
        let limit = DefaultBodyLimit::max(app.limits.body_bytes_max);
        let inner = router.clone().layer(limit);
        let forward = any(move |request: Request| tenant::forward(app, inner, request));
        (router.route(tenant::ROUTE, forward), self.entries)
    }
}
