//! The portal role: publisher and developer-portal REST of API Manager 3.2 over the WSO2 tables and registry.
//!
//! Owns: the API object and its rules, the registry artifact, OpenAPI documents, the lifecycle, the mapping to what a
//! gateway serves, and the REST error object. Leaves to others: SQL (`claviger-store`), authentication of callers and
//! scopes (`http`), registration of OAuth clients (the key manager).
//! Follows portal-gateway-3x.md sections 1, 2, 3 and 5.

pub mod api_object;
pub mod api_rules;
pub mod api_scopes;
pub mod api_write;
pub mod apis;
pub mod applications;
pub mod artifact;
pub mod artifact_map;
pub mod body;
pub mod client_registration;
pub mod context;
pub mod deployed;
pub mod deployment;
pub mod devportal;
pub mod endpoint_secrets;
pub mod error;
pub mod forms;
pub mod key_manager;
pub mod keys;
pub mod lifecycle;
pub mod lifecycle_change;
pub mod openapi;
pub mod openapi_read;
pub mod page;
pub mod params;
pub mod policy_views;
pub mod publisher;
pub mod publisher_views;
pub mod reply;
pub mod search;
pub mod served_contexts;
pub mod state;
pub mod subscriptions;

use crate::http::routes::Routes;

/// Every route of the portal.
pub fn routes(routes: Routes) -> Routes {
    routes
        .with(publisher::routes)
        .with(publisher_views::routes)
        .with(devportal::routes)
        .with(applications::routes)
        .with(keys::routes)
        .with(subscriptions::routes)
        .with(client_registration::routes)
}

#[cfg(test)]
mod tests;
