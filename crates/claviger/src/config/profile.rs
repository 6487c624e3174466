//! `Profile`: which roles one process plays (design section 2).

use std::fmt;
use std::str::FromStr;

/// One role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// OAuth, client registration, key validation, users, tenants, events.
    KeyManager,
    /// Reverse proxy for APIs.
    Gateway,
    /// Publisher, developer portal and admin interfaces.
    Portal,
    /// Policies, counters, block conditions.
    TrafficManager,
}

impl Role {
    /// Every role, in the order of the documentation.
    pub const ALL: [Role; 4] = [Role::KeyManager, Role::Gateway, Role::Portal, Role::TrafficManager];

    /// The word on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Role::KeyManager => "key-manager",
            Role::Gateway => "gateway",
            Role::Portal => "portal",
            Role::TrafficManager => "traffic-manager",
        }
    }

    const fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// A set of at least one role.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Profile(u8);

impl Profile {
    /// All roles.
    pub const ALL: Profile =
        Profile(Role::KeyManager.bit() | Role::Gateway.bit() | Role::Portal.bit() | Role::TrafficManager.bit());

    /// Whether a role is played.
    pub const fn has(self, role: Role) -> bool {
        self.0 & role.bit() != 0
    }

    /// The roles that are played.
    pub fn roles(self) -> impl Iterator<Item = Role> {
        Role::ALL.into_iter().filter(move |role| self.has(*role))
    }
}

/// A word that is no role.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a role; roles are all, key-manager, gateway, portal, traffic-manager")]
pub struct UnknownRole(String);

impl FromStr for Profile {
    type Err = UnknownRole;

    /// Words separated by commas; the names of WSO2's profiles (configuration.md 6.1) are understood too.
    fn from_str(text: &str) -> Result<Self, UnknownRole> {
        let mut bits = 0;
        for word in text.split(',').map(str::trim) {
            bits |= match word {
                "all" | "default" => Profile::ALL.0,
                "key-manager" | "api-key-manager" => Role::KeyManager.bit(),
                "gateway" | "gateway-worker" => Role::Gateway.bit(),
                "portal" | "api-publisher" | "api-devportal" | "api-store" => Role::Portal.bit(),
                "traffic-manager" => Role::TrafficManager.bit(),
                "control-plane" => Role::KeyManager.bit() | Role::Portal.bit() | Role::TrafficManager.bit(),
                _ => return Err(UnknownRole(super::problem::shown_name(word))),
            };
        }
        Ok(Profile(bits))
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words: Vec<&str> = self.roles().map(Role::name).collect();
        f.write_str(&words.join(","))
    }
}

impl fmt::Debug for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Profile({self})")
    }
}
