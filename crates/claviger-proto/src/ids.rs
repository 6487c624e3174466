//! Every identifier of the system, in one alphabetical list.
//!
//! Numbers are the keys of the WSO2 tables; texts are what travels on the wires. Nothing else is a bare `i64` or `String`.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Declares an identifier type over a number or a text.
macro_rules! id {
    ($(#[$doc:meta])* $name:ident(i64)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub i64);
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
    ($(#[$doc:meta])* $name:ident(String)) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub String);
        impl $name {
            /// The text as it stands in the tables and on the wires.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(text.to_owned())
            }
        }
        impl From<String> for $name {
            fn from(text: String) -> Self {
                Self(text)
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

id!(/** AM_API.API_ID. */ ApiId(i64));
id!(/** The registry artifact's UUID: the id of an API in every REST path (contract portal-gateway-3x 0.2). */ ApiUuid(String));
id!(/** AM_APPLICATION.APPLICATION_ID. */ ApplicationId(i64));
id!(/** AM_APPLICATION.UUID. */ ApplicationUuid(String));
id!(/** OAuth client id: IDN_OAUTH_CONSUMER_APPS.CONSUMER_KEY. Compared exactly, byte for byte. */ ConsumerKey(String));
id!(/** IDN_OAUTH_CONSUMER_APPS.ID. */ ConsumerKeyId(i64));
id!(/** CLV_EVENT.ID: the number of an event. Numbers may commit out of order. */ EventId(i64));
id!(/** AM_SUBSCRIPTION.UUID. */ SubscriptionUuid(String));
id!(/** UM_TENANT.UM_ID; the super tenant is -1234 and has no row. */ TenantId(i64));
id!(/** IDN_OAUTH2_ACCESS_TOKEN.TOKEN_ID. */ TokenId(String));

impl TenantId {
    /// `carbon.super` (schema/seed-rows.md section 3).
    pub const SUPER: TenantId = TenantId(-1234);
}

/// Domain of the super tenant.
pub const SUPER_TENANT_DOMAIN: &str = "carbon.super";
