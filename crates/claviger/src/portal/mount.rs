//! Where the portal joins the program: its settings from the configuration, its routes in the program's list.

use super::resident::Resident;
use super::routes::{Access, RouteSink, routes as portal_routes};
use super::state::{Actor, Environment, Portal, PortalSettings, PortalState};
use crate::app::App;
use crate::config::Config;
use crate::http::access::{Caller, Rule};
use crate::http::reply::portal_unauthenticated;
use crate::http::routes::Routes;
use axum::extract::Request;
use axum::handler::Handler;
use axum::response::Response;
use http::Method;
use http::header::AUTHORIZATION;
use std::sync::Arc;

/// Adds the portal's routes.
pub fn routes(app: &Arc<App>, routes: Routes) -> Routes {
    let portal = Portal::new(PortalState {
        store: app.store.clone(),
        clock: app.clock.clone(),
        rng: app.rng.clone(),
        settings: settings(&app.config),
        key_manager: Arc::new(Resident::new(app.clone())),
    });
    portal_routes(Mount { routes, portal }).routes
}

/// The portal's settings. What configuration does not offer has the product's default.
pub fn settings(config: &Config) -> PortalSettings {
    let first = |urls: &[String]| urls.first().cloned().unwrap_or_default();
    let environments: Vec<Environment> = config
        .environments
        .iter()
        .map(|it| Environment {
            name: it.name.clone(),
            kind: it.kind.clone(),
            http_url: first(&it.http_endpoints),
            https_url: first(&it.https_endpoints),
        })
        .collect();
    let base = &config.server.base_path;
    PortalSettings {
        environments,
        admin_role: config.super_admin.admin_role.clone(),
        is_deprecated_shown: false,
        are_versions_shown: true,
        is_unlimited_offered: true,
        token_endpoint: format!("{base}/oauth2/token"),
        revoke_endpoint: format!("{base}/oauth2/revoke"),
        userinfo_endpoint: format!("{base}/oauth2/userinfo"),
        grant_types: crate::oauth::grant::GRANTS.iter().map(|grant| grant.name().to_owned()).collect(),
    }
}

struct Mount {
    routes: Routes,
    portal: Portal,
}

impl RouteSink for Mount {
    fn operation<H, T>(self, method: Method, path: &'static str, access: Access, handler: H) -> Self
    where
        H: Handler<T, Portal> + Sync,
        T: 'static,
    {
        let rule = match access {
            Access::Scopes(scopes) => Rule::Portal(scopes),
            Access::BasicUser => Rule::Portal(&[]),
            Access::Anonymous => Rule::PortalOrAnonymous,
        };
        let portal = self.portal.clone();
        let call = async move |request: Request| -> Response { run(handler, portal, access, request).await };
        Self { routes: self.routes.add(method, path, rule, call), portal: self.portal }
    }
}

/// Runs a handler for the caller that the rule let in.
async fn run<H, T>(handler: H, portal: Portal, access: Access, mut request: Request) -> Response
where
    H: Handler<T, Portal>,
    T: 'static,
{
    let is_basic = request.headers().get(AUTHORIZATION).is_some_and(|value| value.as_bytes().starts_with(b"Basic "));
    if access == Access::BasicUser && !is_basic {
        return portal_unauthenticated();
    }
    if let Some(actor) = request.extensions().get::<Caller>().map(Actor::from) {
        request.extensions_mut().insert(actor);
    }
    handler.call(request, portal).await
}
