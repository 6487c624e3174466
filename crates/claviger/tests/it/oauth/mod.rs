//! The OAuth server on the wire (contract rest-3x.md 1 and 2). One module per endpoint or rule.

mod client_auth;
mod client_end;
mod discovery;
mod errors;
mod introspect;
mod issue;
mod jwt;
mod password;
mod refresh;
mod registration;
mod revoke;
mod scopes;
mod spelling;
mod tenant_keys;
mod together;
mod token_type;
