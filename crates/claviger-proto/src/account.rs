//! What keeps a user from logging in although his password is right, and the rule by which wrong passwords lock his account (contract
//! users-ldap.md 3.6, 3.8).

use crate::time::Timestamp;

/// Who has this role passes a lock, and no disabling.
pub const PASSES_LOCKS: &str = "Internal/system";

const MINUTE_MS: i64 = 60_000;
/// Largest count that an old server reads.
const COUNT_MAX: u32 = i32::MAX as u32;

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
    /// Wrong passwords since the last lock or the last right one.
    FailedAttempts,
    /// Locks after wrong passwords since the last right one.
    Lockouts,
    /// Wrong passwords before the last right one, those that led to locks among them.
    AttemptsBeforeSuccess,
}

/// What the facts say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AccountState {
    /// Until when the account is locked; [`Timestamp::NEVER`] when somebody must unlock it.
    pub locked_until: Option<Timestamp>,
    /// Disabled by an administrator.
    pub is_disabled: bool,
    /// What wrong passwords have left behind.
    pub failures: Failures,
}

/// What wrong passwords have left behind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Failures {
    /// [`AccountFact::FailedAttempts`].
    pub attempts: u32,
    /// [`AccountFact::Lockouts`].
    pub lockouts: u32,
    /// [`AccountFact::Locked`], whether or not the lock is over.
    pub is_locked: bool,
    /// [`AccountFact::UnlockTime`], whether or not there is a lock.
    pub unlock_time: Option<Timestamp>,
}

impl Failures {
    /// Does a right password reset any of it (3.8 point 4)? `passes_locks`: of a user with the role [`PASSES_LOCKS`].
    pub fn is_reset(&self, passes_locks: bool, now: Timestamp) -> bool {
        self.attempts > 0 || self.unlock_time.is_some_and(|end| end <= now) || (passes_locks && self.is_locked)
    }
}

/// When wrong passwords lock an account, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LockRule {
    /// The wrong password that locks.
    pub attempts_max: u32,
    /// Length of the first lock; zero: until somebody unlocks the account.
    pub minutes: u32,
    /// How many times longer each further lock is, until a right password.
    pub ratio: u32,
}

/// What is to be written of an account.
pub type Facts = Vec<(AccountFact, String)>;

impl LockRule {
    /// After one more wrong password (3.8 point 3): what is to be written, and when it locks the account, until when.
    pub fn fail(&self, before: Failures, now: Timestamp) -> (Facts, Option<Timestamp>) {
        let attempts = before.attempts.saturating_add(1);
        let none_yet = (AccountFact::AttemptsBeforeSuccess, "0".to_owned());
        if attempts < self.attempts_max {
            return (vec![(AccountFact::FailedAttempts, attempts.to_string()), none_yet], None);
        }
        let end = self.lock_end(before.lockouts, now);
        let stored_end = if end == Timestamp::NEVER { 0 } else { end.as_millis() };
        let facts = vec![
            (AccountFact::Locked, "true".to_owned()),
            // Also where it is zero: an end from an earlier lock is not this one's.
            (AccountFact::UnlockTime, stored_end.to_string()),
            (AccountFact::Lockouts, before.lockouts.saturating_add(1).min(COUNT_MAX).to_string()),
            (AccountFact::FailedAttempts, "0".to_owned()),
            none_yet,
        ];
        (facts, Some(end))
    }

    /// After a right password (3.8 point 4), where [`Failures::is_reset`] says that something is to be written.
    pub fn succeed(&self, before: Failures) -> Facts {
        let failed = before.attempts.saturating_add(before.lockouts.saturating_mul(self.attempts_max)).min(COUNT_MAX);
        let mut facts = vec![(AccountFact::AttemptsBeforeSuccess, failed.to_string())];
        facts.extend(unlocked());
        facts
    }

    fn lock_end(&self, lockouts: u32, now: Timestamp) -> Timestamp {
        if self.minutes == 0 {
            return Timestamp::NEVER;
        }
        let longer = i64::from(self.ratio.max(1)).saturating_pow(lockouts);
        now.plus_millis((i64::from(self.minutes) * MINUTE_MS).saturating_mul(longer))
    }
}

/// What is written of an account that is unlocked: nothing is left of wrong passwords.
pub fn unlocked() -> Facts {
    [
        (AccountFact::Locked, "false"),
        (AccountFact::UnlockTime, "0"),
        (AccountFact::FailedAttempts, "0"),
        (AccountFact::Lockouts, "0"),
    ]
    .map(|(fact, value)| (fact, value.to_owned()))
    .into()
}

impl AccountState {
    /// Reads facts as they are stored. There may be several of a kind, under several spellings of one name: one that says locked or
    /// disabled is enough, and of their ends the last counts; none counts, where one cannot be read or is zero. Of counts the highest
    /// counts, and what is none is zero.
    pub fn read<'a>(facts: impl IntoIterator<Item = (AccountFact, &'a str)>) -> Self {
        let (mut is_disabled, mut end, mut failures) = (false, None, Failures::default());
        for (fact, text) in facts {
            let text = text.trim();
            let count = || text.parse::<u32>().unwrap_or(0).min(COUNT_MAX);
            match fact {
                AccountFact::Locked => failures.is_locked |= text.eq_ignore_ascii_case("true"),
                AccountFact::Disabled => is_disabled |= text.eq_ignore_ascii_case("true"),
                AccountFact::UnlockTime => {
                    let own = text.parse().ok().filter(|millis| *millis != 0).map(Timestamp::from_millis);
                    end = end.max(Some(own.unwrap_or(Timestamp::NEVER)));
                }
                AccountFact::FailedAttempts => failures.attempts = failures.attempts.max(count()),
                AccountFact::Lockouts => failures.lockouts = failures.lockouts.max(count()),
                AccountFact::AttemptsBeforeSuccess => {}
            }
        }
        failures.unlock_time = end;
        let locked_until = failures.is_locked.then(|| end.unwrap_or(Timestamp::NEVER));
        Self { locked_until, is_disabled, failures }
    }

    /// Of two that are one account's, the longer lock, disabled if either is, and the higher counts.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        let (own, others) = (self.failures, other.failures);
        Self {
            locked_until: self.locked_until.max(other.locked_until),
            is_disabled: self.is_disabled || other.is_disabled,
            failures: Failures {
                attempts: own.attempts.max(others.attempts),
                lockouts: own.lockouts.max(others.lockouts),
                is_locked: own.is_locked || others.is_locked,
                unlock_time: own.unlock_time.max(others.unlock_time),
            },
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

    /// What stands there after `facts` were written.
    fn written(facts: &Facts) -> Failures {
        AccountState::read(facts.iter().map(|(fact, text)| (*fact, text.as_str()))).failures
    }

    #[test]
    fn wrong_passwords_lock_for_longer_each_time() {
        let now = Timestamp::from_millis(1_000_000);
        for (rule, ends_after_minutes) in [
            (LockRule { attempts_max: 3, minutes: 5, ratio: 2 }, [Some(5), Some(10), Some(20)]),
            (LockRule { attempts_max: 1, minutes: 5, ratio: 0 }, [Some(5), Some(5), Some(5)]),
            (LockRule { attempts_max: 2, minutes: 0, ratio: 3 }, [None, None, None]),
        ] {
            let mut state = Failures::default();
            for (round, minutes) in ends_after_minutes.into_iter().enumerate() {
                for attempt in 1..rule.attempts_max {
                    let (facts, end) = rule.fail(state, now);
                    assert_eq!(end, None, "{rule:?}");
                    state = Failures { lockouts: state.lockouts, ..written(&facts) };
                    assert_eq!(state.attempts, attempt, "{rule:?}");
                }
                let (facts, end) = rule.fail(state, now);
                let wanted = minutes.map_or(Timestamp::NEVER, |minutes| now.plus_millis(minutes * 60_000));
                assert_eq!(end, Some(wanted), "{rule:?}, {round}");
                let locked = AccountState::read(facts.iter().map(|(fact, text)| (*fact, text.as_str())));
                assert_eq!(locked.locked_until, Some(wanted), "{rule:?}, {round}");
                state = locked.failures;
                assert_eq!((state.attempts, state.lockouts as usize), (0, round + 1), "{rule:?}");
            }
        }
    }

    #[test]
    fn no_lock_is_too_long_to_be_told() {
        let rule = LockRule { attempts_max: 1, minutes: u32::MAX, ratio: u32::MAX };
        for lockouts in [1, 2, 70, u32::MAX] {
            let before = Failures { lockouts, ..Failures::default() };
            assert_eq!(rule.fail(before, Timestamp::from_millis(1)).1, Some(Timestamp::NEVER), "{lockouts}");
        }
        let before = Failures { attempts: u32::MAX, lockouts: u32::MAX, ..Failures::default() };
        assert_eq!(rule.succeed(before)[0].1, i32::MAX.to_string());
    }

    #[test]
    fn a_right_password_resets_what_there_is() {
        let now = Timestamp::from_millis(1_000);
        let none = Failures::default();
        for (before, is_reset, is_reset_of_who_passes) in [
            (none, false, false),
            (Failures { attempts: 1, ..none }, true, true),
            (Failures { lockouts: 1, ..none }, false, false),
            (Failures { unlock_time: Some(now), ..none }, true, true),
            (Failures { unlock_time: Some(Timestamp::NEVER), is_locked: true, ..none }, false, true),
        ] {
            assert_eq!(before.is_reset(false, now), is_reset, "{before:?}");
            assert_eq!(before.is_reset(true, now), is_reset_of_who_passes, "{before:?}");
        }
        let rule = LockRule { attempts_max: 5, minutes: 5, ratio: 2 };
        let facts = rule.succeed(Failures { attempts: 3, lockouts: 2, is_locked: true, unlock_time: Some(now) });
        assert_eq!(facts[0], (AccountFact::AttemptsBeforeSuccess, "13".to_owned()));
        assert!(!written(&facts).is_reset(true, now));
    }

    #[test]
    fn of_several_counts_the_highest_counts() {
        use AccountFact::{FailedAttempts, Lockouts};
        let read = |facts: &[(AccountFact, &'static str)]| AccountState::read(facts.iter().copied());
        let state = read(&[(FailedAttempts, "2"), (FailedAttempts, " 4 "), (FailedAttempts, "-1"), (Lockouts, "many")]);
        assert_eq!((state.failures.attempts, state.failures.lockouts), (4, 0));
        let both = state.or(read(&[(FailedAttempts, "3"), (Lockouts, "1")]));
        assert_eq!((both.failures.attempts, both.failures.lockouts), (4, 1));
    }
}
