//! The lifecycle of an API as data: states, their two spellings, and which action leads where.
//!
//! Follows portal-gateway-3x.md 2.7 and 0.2 fact 6 (Title case in the registry, upper case elsewhere). What else happens
//! on a change (subscriptions copied, default version, events) is decided by the publisher's route.

use super::error::PortalError;

/// A lifecycle state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Being made; on no gateway.
    Created,
    /// Served without security.
    Prototyped,
    /// Served.
    Published,
    /// Every call is refused.
    Blocked,
    /// Served; takes no new subscriptions.
    Deprecated,
    /// On no gateway, for good.
    Retired,
}

/// Checklist item: older versions become Deprecated when this one is published.
pub const DEPRECATE_OLD_VERSIONS: &str = "Deprecate old versions after publishing the API";
/// Checklist item: subscriptions of the older version are not copied.
pub const REQUIRE_RESUBSCRIPTION: &str = "Requires re-subscription when publishing the API";

const PUBLISH: &str = "Publish";
const PROTOTYPE: &str = "Deploy as a Prototype";
const DEMOTE: &str = "Demote to Created";

/// (from, action, to)
const TRANSITIONS: &[(State, &str, State)] = &[
    (State::Created, PUBLISH, State::Published),
    (State::Created, PROTOTYPE, State::Prototyped),
    (State::Prototyped, PUBLISH, State::Published),
    (State::Prototyped, DEMOTE, State::Created),
    (State::Prototyped, PROTOTYPE, State::Prototyped),
    (State::Published, "Block", State::Blocked),
    (State::Published, PROTOTYPE, State::Prototyped),
    (State::Published, DEMOTE, State::Created),
    (State::Published, "Deprecate", State::Deprecated),
    (State::Published, PUBLISH, State::Published),
    (State::Blocked, "Deprecate", State::Deprecated),
    (State::Blocked, "Re-Publish", State::Published),
    (State::Deprecated, "Retire", State::Retired),
];

const STATES: &[(State, &str, &str)] = &[
    (State::Created, "Created", "CREATED"),
    (State::Prototyped, "Prototyped", "PROTOTYPED"),
    (State::Published, "Published", "PUBLISHED"),
    (State::Blocked, "Blocked", "BLOCKED"),
    (State::Deprecated, "Deprecated", "DEPRECATED"),
    (State::Retired, "Retired", "RETIRED"),
];

impl State {
    /// Reads either spelling.
    pub fn parse(text: &str) -> Option<Self> {
        STATES.iter().find(|(_, title, _)| title.eq_ignore_ascii_case(text)).map(|(state, _, _)| *state)
    }

    /// `Published`: the registry and `lifecycle-state`.
    pub fn title(self) -> &'static str {
        self.spellings().0
    }

    /// `PUBLISHED`: the API object, AM_API_LC_EVENT, most events.
    pub fn upper(self) -> &'static str {
        self.spellings().1
    }

    fn spellings(self) -> (&'static str, &'static str) {
        match self {
            Self::Created => ("Created", "CREATED"),
            Self::Prototyped => ("Prototyped", "PROTOTYPED"),
            Self::Published => ("Published", "PUBLISHED"),
            Self::Blocked => ("Blocked", "BLOCKED"),
            Self::Deprecated => ("Deprecated", "DEPRECATED"),
            Self::Retired => ("Retired", "RETIRED"),
        }
    }

    /// Is an API in this state on a gateway?
    pub fn is_deployed(self) -> bool {
        !matches!(self, Self::Created | Self::Retired)
    }

    /// Is it the version that answers under the versionless context, when it is the default?
    pub fn may_be_published_default(self) -> bool {
        matches!(self, Self::Published | Self::Deprecated | Self::Blocked)
    }

    /// Do the two checklist items exist here?
    pub fn has_checklist(self) -> bool {
        matches!(self, Self::Created | Self::Prototyped)
    }

    /// The actions of this state, in the order of the contract.
    pub fn actions(self) -> Vec<&'static str> {
        TRANSITIONS.iter().filter(|(from, _, _)| *from == self).map(|(_, action, _)| *action).collect()
    }

    /// Where an action leads.
    pub fn after(self, action: &str) -> Result<State, PortalError> {
        let found = TRANSITIONS.iter().find(|(from, name, _)| *from == self && *name == action);
        found
            .map(|(_, _, to)| *to)
            .ok_or_else(|| PortalError::ActionNotAllowed { action: action.to_owned(), allowed: self.actions() })
    }
}

/// What was ticked in `lifecycleChecklist=item:true,item:false`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Checklist {
    /// [`DEPRECATE_OLD_VERSIONS`].
    pub is_deprecating_old: bool,
    /// [`REQUIRE_RESUBSCRIPTION`].
    pub is_resubscription_required: bool,
}

impl Checklist {
    /// Reads the query parameter. Unknown items are passed over.
    pub fn parse(text: &str) -> Self {
        let mut checklist = Self::default();
        for (item, value) in text.split(',').filter_map(|part| part.rsplit_once(':')) {
            let is_ticked = value.trim().eq_ignore_ascii_case("true");
            match item.trim() {
                DEPRECATE_OLD_VERSIONS => checklist.is_deprecating_old = is_ticked,
                REQUIRE_RESUBSCRIPTION => checklist.is_resubscription_required = is_ticked,
                _ => {}
            }
        }
        checklist
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_round_trip() {
        for (state, title, upper) in STATES {
            assert_eq!((state.title(), state.upper()), (*title, *upper));
            assert_eq!(State::parse(title), Some(*state));
            assert_eq!(State::parse(upper), Some(*state));
        }
        assert_eq!(State::parse("Gone"), None);
    }

    #[test]
    fn transitions() {
        assert_eq!(State::Created.after("Publish").unwrap(), State::Published);
        assert_eq!(State::Blocked.after("Re-Publish").unwrap(), State::Published);
        assert_eq!(State::Published.after("Demote to Created").unwrap(), State::Created);
        assert_eq!(State::Published.actions().len(), 5);
        assert!(State::Retired.actions().is_empty());
        let error = State::Created.after("Retire").unwrap_err();
        let (_, body) = super::super::reply::reply(&error, "");
        let text = "Action 'Retire' is not allowed. Allowed actions are [Publish, Deploy as a Prototype]";
        assert_eq!(body.description, text);
    }

    #[test]
    fn checklist() {
        let text = format!("{DEPRECATE_OLD_VERSIONS}:true,{REQUIRE_RESUBSCRIPTION}:false");
        let expected = Checklist { is_deprecating_old: true, is_resubscription_required: false };
        assert_eq!(Checklist::parse(&text), expected);
        assert_eq!(Checklist::parse("nonsense"), Checklist::default());
    }
}
