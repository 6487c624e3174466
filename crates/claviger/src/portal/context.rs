//! The four forms of an API's context, derived from what the publisher sent.
//!
//! Follows portal-gateway-3x.md 0.2 fact 2, 2.4 (end), 5.2, 5.3. Whether a context is free is decided by the publisher.

use super::error::PortalError;
use claviger_proto::ids::SUPER_TENANT_DOMAIN;

const VERSION: &str = "{version}";
/// AM_API.CONTEXT is 256 wide; the contract's 82 binds what the client sends.
pub const CONTEXT_LENGTH_MAX: usize = 82;

/// A checked context with everything derived from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiContext {
    /// AM_API.CONTEXT, the artifact's `context`: `/t/abc.com/weather/1.0.0`.
    pub full: String,
    /// AM_API.CONTEXT_TEMPLATE: `/t/abc.com/weather`, `/wx/{version}/eu`.
    pub row_template: String,
    /// The artifact's `contextTemplate`: `/t/abc.com/weather/{version}`.
    pub artifact_template: String,
}

impl ApiContext {
    /// From the body's context. The tenant prefix is added when it is missing.
    pub fn new(context: &str, version: &str, tenant_domain: &str) -> Result<Self, PortalError> {
        let refused = |why: &str| Err(PortalError::BadRequest(format!("Context {why}")));
        if context.is_empty() {
            return refused("cannot be empty");
        }
        if context.len() > CONTEXT_LENGTH_MAX {
            return refused("is too long");
        }
        if !context.starts_with('/') {
            return refused("should start with '/'");
        }
        if context.ends_with('/') {
            return refused("cannot end with '/' character");
        }
        let without_version = context.replace(VERSION, "v");
        let is_clean = |byte: u8| byte.is_ascii_alphanumeric() || b"/-._~@".contains(&byte);
        let has_bad_segment = without_version.split('/').skip(1).any(|part| matches!(part, "" | "." | ".."));
        if !without_version.bytes().all(is_clean) || has_bad_segment {
            return refused("holds characters or segments that are not allowed");
        }
        let prefix = tenant_prefix(tenant_domain);
        let own = context.strip_prefix(prefix.as_str()).filter(|rest| rest.starts_with('/')).unwrap_or(context);
        if own.split('/').nth(1) == Some(VERSION) {
            return refused("cannot begin with '/{version}'");
        }
        let artifact_template =
            if own.contains(VERSION) { format!("{prefix}{own}") } else { format!("{prefix}{own}/{VERSION}") };
        let context = Self::from_artifact_template(&artifact_template, version);
        context.check_tenant(tenant_domain)?;
        Ok(context)
    }

    /// With its version in place, does the context stay in the tenant's part of the path space?
    pub fn check_tenant(&self, tenant_domain: &str) -> Result<(), PortalError> {
        let prefix = tenant_prefix(tenant_domain);
        let own = self.full.strip_prefix(prefix.as_str()).filter(|rest| rest.starts_with('/'));
        match own {
            Some(own) if own != "/t" && !own.starts_with("/t/") => Ok(()),
            _ => Err(PortalError::BadRequest("Context cannot start with another tenant's prefix".to_owned())),
        }
    }

    /// From the artifact's `contextTemplate`.
    pub fn from_artifact_template(template: &str, version: &str) -> Self {
        Self {
            full: template.replace(VERSION, version),
            row_template: template.strip_suffix("/{version}").unwrap_or(template).to_owned(),
            artifact_template: template.to_owned(),
        }
    }

    /// The context under which the default version answers.
    pub fn default_context(&self) -> String {
        default_context(&self.row_template)
    }
}

/// The context of a default version from AM_API.CONTEXT_TEMPLATE: the template without its version segment.
pub fn default_context(row_template: &str) -> String {
    row_template.replace("/{version}", "")
}

/// `/t/{domain}`; nothing for the super tenant.
pub fn tenant_prefix(tenant_domain: &str) -> String {
    if tenant_domain == SUPER_TENANT_DOMAIN { String::new() } else { format!("/t/{tenant_domain}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(context: &str, tenant: &str, full: &str, row: &str, artifact: &str, default: &str) {
        let got = ApiContext::new(context, "1.0.0", tenant).unwrap();
        let found = (got.full.as_str(), got.row_template.as_str(), got.artifact_template.as_str());
        assert_eq!(found, (full, row, artifact));
        assert_eq!(got.default_context(), default);
    }

    #[test]
    fn derivations() {
        check("/weather", "carbon.super", "/weather/1.0.0", "/weather", "/weather/{version}", "/weather");
        let (full, row) = ("/t/abc.com/weather/1.0.0", "/t/abc.com/weather");
        check("/weather", "abc.com", full, row, "/t/abc.com/weather/{version}", row);
        check("/t/abc.com/weather", "abc.com", full, row, "/t/abc.com/weather/{version}", row);
        check("/wx/{version}/eu", "carbon.super", "/wx/1.0.0/eu", "/wx/{version}/eu", "/wx/{version}/eu", "/wx/eu");
        check("/weather/{version}", "carbon.super", "/weather/1.0.0", "/weather", "/weather/{version}", "/weather");
    }

    #[test]
    fn refusals() {
        let long = format!("/{}", "x".repeat(CONTEXT_LENGTH_MAX));
        let bad = [
            "",
            "weather",
            "/weather/",
            "/{version}",
            "/a//b",
            "/a/../b",
            "/a b",
            "/a?x",
            "/a*",
            "/t/x.com/a",
            "/{version}/a",
            &long,
        ];
        for context in bad {
            assert!(ApiContext::new(context, "1", "carbon.super").is_err(), "{context}");
        }
        assert!(ApiContext::new("/t/other.com/a", "1", "abc.com").is_err());
        // What counts is the context as it is served.
        assert!(ApiContext::new("/{version}/x.com/a", "t", "carbon.super").is_err());
        assert!(ApiContext::new("/t{version}", "/x.com", "carbon.super").is_err());
        let copy = ApiContext::from_artifact_template("/{version}/x.com/a", "t");
        assert!(copy.check_tenant("carbon.super").is_err());
        assert!(ApiContext::from_artifact_template("/t/abc.com/a/{version}", "1").check_tenant("abc.com").is_ok());
    }
}
