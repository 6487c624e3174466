//! The portal role: publisher and developer-portal REST of API Manager 3.2 over the WSO2 tables and registry.
//!
//! Owns: the API object and its rules, the registry artifact, OpenAPI documents, the lifecycle, the mapping to what a
//! gateway serves, and the REST error object. Leaves to others: SQL (`claviger-store`), authentication of callers and
//! scopes (`http`), registration of OAuth clients (the key manager).
//! Follows portal-gateway-3x.md sections 1, 2, 3 and 5.

pub mod api_object;
pub mod api_rules;
pub mod artifact;
pub mod artifact_map;
pub mod body;
pub mod context;
pub mod deployment;
pub mod error;
pub mod lifecycle;
pub mod openapi;
pub mod openapi_read;
pub mod reply;
