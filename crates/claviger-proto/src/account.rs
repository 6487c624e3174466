//! What keeps a user from logging in although his password is right (contract users-ldap.md 3.6, 3.8).

use crate::time::Timestamp;

/// Who has this role passes a lock, and no disabling.
pub const PASSES_LOCKS: &str = "Internal/system";

/// The name of a fact about an account, as the last part of its claim's URI has it; attributes of user stores have a name of
/// their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccountFact {
    /// Locked, by an administrator or after wrong passwords.
    Locked,
    /// When the lock ends, in milliseconds of the epoch; zero: when somebody unlocks the account.
    UnlockTime,
    /// Disabled by an administrator.
    Disabled,
}

/// What the facts say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AccountState {
    /// Until when the account is locked; [`Timestamp::NEVER`] when somebody must unlock it.
    pub locked_until: Option<Timestamp>,
    /// Disabled by an administrator.
    pub is_disabled: bool,
}

impl AccountState {
    /// Reads facts as they are stored. There may be several of a kind, under several spellings of one name: one that says locked or
    /// disabled is enough, and of their ends the last counts; none counts, where one cannot be read or is zero.
    pub fn read<'a>(facts: impl IntoIterator<Item = (AccountFact, &'a str)>) -> Self {
        let (mut is_locked, mut is_disabled, mut end) = (false, false, None);
        for (fact, text) in facts {
            let text = text.trim();
            match fact {
                AccountFact::Locked => is_locked |= text.eq_ignore_ascii_case("true"),
                AccountFact::Disabled => is_disabled |= text.eq_ignore_ascii_case("true"),
                AccountFact::UnlockTime => {
                    let own = text.parse().ok().filter(|millis| *millis != 0).map(Timestamp::from_millis);
                    end = end.max(Some(own.unwrap_or(Timestamp::NEVER)));
                }
            }
        }
        Self { locked_until: is_locked.then(|| end.unwrap_or(Timestamp::NEVER)), is_disabled }
    }

    /// Of two that are one account's, the longer lock, and disabled if either is.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            locked_until: self.locked_until.max(other.locked_until),
            is_disabled: self.is_disabled || other.is_disabled,
        }
    }

    /// Does it keep the user out until somebody lets him in again?
    pub fn is_barred_for_good(&self) -> bool {
        self.is_disabled || self.locked_until == Some(Timestamp::NEVER)
    }

    /// Does it keep the user out now?
    pub fn is_barred(&self, now: Timestamp) -> bool {
        self.is_disabled || self.locked_until.is_some_and(|end| now < end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(
        locked: Option<&'static str>,
        unlock: Option<&'static str>,
        disabled: Option<&'static str>,
    ) -> AccountState {
        let facts =
            [(AccountFact::Locked, locked), (AccountFact::UnlockTime, unlock), (AccountFact::Disabled, disabled)];
        AccountState::read(facts.into_iter().filter_map(|(fact, text)| Some((fact, text?))))
    }

    #[test]
    fn a_lock_ends_at_its_time_or_never() {
        let now = Timestamp::from_millis(1_500_000_000_000);
        for (text, is_barred) in [
            (None, true),
            (Some(""), true),
            (Some("0"), true),
            (Some("+00"), true),
            (Some("soon"), true),
            (Some("1500000000001"), true),
            (Some(" 1500000000001 "), true),
            (Some("1500000000000"), false),
            (Some("1"), false),
        ] {
            assert_eq!(state(Some("true"), text, None).is_barred(now), is_barred, "{text:?}");
            let is_for_good = is_barred && text.is_none_or(|text| !text.contains("15000"));
            assert_eq!(state(Some("true"), text, None).is_barred_for_good(), is_for_good, "{text:?}");
            assert!(!state(Some("false"), text, None).is_barred(now), "{text:?}");
            assert!(!state(None, text, None).is_barred(now), "{text:?}");
        }
    }

    #[test]
    fn facts_under_several_spellings_are_one_accounts() {
        use AccountFact::{Locked, UnlockTime};
        let now = Timestamp::from_millis(1_000);
        for (facts, is_barred) in [
            (&[(Locked, "true"), (Locked, "false"), (UnlockTime, "2000")][..], true),
            (&[(Locked, "false"), (Locked, "true"), (UnlockTime, "500")], false),
            (&[(Locked, "true"), (UnlockTime, "500"), (UnlockTime, "0")], true),
            (&[(Locked, "true"), (UnlockTime, "500"), (UnlockTime, "2000")], true),
        ] {
            assert_eq!(AccountState::read(facts.iter().copied()).is_barred(now), is_barred, "{facts:?}");
        }
    }

    #[test]
    fn a_disabled_account_is_barred_whatever_its_lock_says() {
        let now = Timestamp::from_millis(1);
        assert!(state(Some("false"), Some("0"), Some("True")).is_barred(now));
        assert!(state(None, None, Some("true")).is_barred_for_good());
        assert!(!state(None, None, Some("false")).is_barred(now));
        assert!(!AccountState::default().is_barred(now));
        assert!(!AccountState::default().is_barred_for_good());
    }
}
