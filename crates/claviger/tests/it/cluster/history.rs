//! What clients of several processes saw, and whether one database with one token per key can have answered so.
//!
//! A call takes time: what it saw happened at some moment between its beginning and its end. A history is wrong only when no
//! choice of these moments explains it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// What a client got for a token request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Token(String),
    /// Any other answer: its status, whether it says when to come back, and the body.
    Refused {
        status: u16,
        has_retry_after: bool,
        body: String,
    },
    /// The connection broke.
    Cut,
}

/// A token request.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    /// Number of the client, user and scope set.
    pub(super) key: usize,
    pub(super) process: usize,
    pub(super) begun: Duration,
    pub(super) ended: Duration,
    pub(super) answer: Answer,
}

/// A revocation.
#[derive(Clone, Debug)]
pub(super) struct Revoked {
    pub(super) token: String,
    pub(super) process: usize,
    pub(super) begun: Duration,
    pub(super) ended: Duration,
    /// It was answered with 200; otherwise it may have happened or not, until the end.
    pub(super) is_acknowledged: bool,
}

/// What was done to the servers, by process number.
#[derive(Clone, Debug, Default)]
pub(super) struct Harm {
    /// Killed at that time.
    pub(super) killed: BTreeMap<usize, Duration>,
    /// Its database was killed at that time.
    pub(super) database_killed: BTreeMap<usize, Duration>,
}

/// A token's row at the end.
#[derive(Clone, Debug)]
pub(super) struct Row {
    /// All columns that make the tuple.
    pub(super) tuple: String,
    pub(super) token: String,
    pub(super) state: String,
}

/// Everything that was seen.
#[derive(Clone, Debug, Default)]
pub(super) struct History {
    pub(super) asked: Vec<Asked>,
    pub(super) revoked: Vec<Revoked>,
    pub(super) harm: Harm,
    pub(super) rows: Vec<Row>,
}

impl History {
    /// Everything that cannot be explained. `news_max`: the longest time until another process has heard of a revocation.
    pub(super) fn surprises(&self, news_max: Duration) -> Vec<String> {
        let mut surprises = Vec::new();
        self.check_answers(&mut surprises);
        self.check_tokens(news_max, &mut surprises);
        self.check_rows(&mut surprises);
        surprises
    }

    /// No answer but a token, except from a process that was killed (nothing at all) or whose database was (503, come back).
    fn check_answers(&self, surprises: &mut Vec<String>) {
        let since = |kills: &BTreeMap<usize, Duration>, call: &Asked| {
            kills.get(&call.process).is_some_and(|killed| call.ended >= *killed)
        };
        for call in &self.asked {
            let is_explained = match &call.answer {
                Answer::Token(_) => true,
                Answer::Cut => since(&self.harm.killed, call),
                Answer::Refused { status, has_retry_after, .. } => {
                    *status == 503 && *has_retry_after && since(&self.harm.database_killed, call)
                }
            };
            if !is_explained {
                surprises.push(format!("not an answer to expect: {call:?}"));
            }
        }
    }

    /// One token per key while it lives: of two tokens one was revoked before the other was made, and nobody who could have
    /// heard of it hands out a revoked one.
    fn check_tokens(&self, news_max: Duration, surprises: &mut Vec<String>) {
        let revoked: BTreeMap<&str, &Revoked> = self.revoked.iter().map(|one| (one.token.as_str(), one)).collect();
        let mut first_seen: BTreeMap<usize, BTreeMap<&str, Duration>> = BTreeMap::new();
        for call in &self.asked {
            let Answer::Token(token) = &call.answer else { continue };
            let seen = first_seen.entry(call.key).or_default().entry(token).or_insert(call.ended);
            *seen = (*seen).min(call.ended);
            if let Some(end) = revoked.get(token.as_str()).filter(|end| end.is_acknowledged) {
                let news = if end.process == call.process { Duration::ZERO } else { news_max };
                if call.begun > end.ended + news {
                    surprises.push(format!("{call:?} although {end:?}"));
                }
            }
        }
        for (key, tokens) in &first_seen {
            let tokens: Vec<(&str, Duration)> = tokens.iter().map(|(token, seen)| (*token, *seen)).collect();
            // Could `old` have made place before `new` was seen?
            let makes_place = |old: &str, new: Duration| revoked.get(old).is_some_and(|end| end.begun <= new);
            for (index, (one, one_seen)) in tokens.iter().enumerate() {
                for (other, other_seen) in &tokens[index + 1..] {
                    if !makes_place(one, *other_seen) && !makes_place(other, *one_seen) {
                        surprises.push(format!("key {key} had two tokens at once: {one} and {other}"));
                    }
                }
            }
        }
    }

    /// One ACTIVE row per tuple, a row for every token that was answered, and each in the state that the clients know.
    fn check_rows(&self, surprises: &mut Vec<String>) {
        let mut active: BTreeMap<&str, usize> = BTreeMap::new();
        let mut states: BTreeMap<&str, &str> = BTreeMap::new();
        for row in &self.rows {
            *active.entry(&row.tuple).or_default() += usize::from(row.state == "ACTIVE");
            if states.insert(&row.token, &row.state).is_some() {
                surprises.push(format!("two rows hold the token of {row:?}"));
            }
        }
        for (tuple, count) in active.into_iter().filter(|(_, count)| *count > 1) {
            surprises.push(format!("{count} ACTIVE rows for {tuple}"));
        }
        let (mut acknowledged, mut tried) = (BTreeSet::new(), BTreeSet::new());
        for end in &self.revoked {
            tried.insert(end.token.as_str());
            if end.is_acknowledged {
                acknowledged.insert(end.token.as_str());
            }
        }
        let answered: BTreeSet<&str> = self.asked.iter().filter_map(Asked::token).collect();
        for token in answered {
            match states.get(token) {
                None => surprises.push(format!("{token} was answered and has no row")),
                Some(state) if *state == "ACTIVE" && acknowledged.contains(token) => {
                    surprises.push(format!("{token} was revoked and is {state}"));
                }
                Some(state) if *state != "ACTIVE" && !tried.contains(token) => {
                    surprises.push(format!("{token} was never revoked and is {state}"));
                }
                Some(_) => {}
            }
        }
    }
}

impl Asked {
    /// The token, when there is one.
    pub(super) fn token(&self) -> Option<&str> {
        match &self.answer {
            Answer::Token(token) => Some(token),
            Answer::Refused { .. } | Answer::Cut => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEWS: Duration = Duration::from_millis(50);

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn asked(process: usize, times: (u64, u64), answer: Answer) -> Asked {
        Asked { key: 0, process, begun: ms(times.0), ended: ms(times.1), answer }
    }

    fn token(process: usize, times: (u64, u64), token: &str) -> Asked {
        asked(process, times, Answer::Token(token.into()))
    }

    fn refused(process: usize, times: (u64, u64), status: u16, has_retry_after: bool) -> Asked {
        asked(process, times, Answer::Refused { status, has_retry_after, body: String::new() })
    }

    fn revoked(process: usize, times: (u64, u64), token: &str) -> Revoked {
        Revoked { token: token.into(), process, begun: ms(times.0), ended: ms(times.1), is_acknowledged: true }
    }

    fn rows(rows: &[(&str, &str)]) -> Vec<Row> {
        let row =
            |(token, state): &(&str, &str)| Row { tuple: "t".into(), token: (*token).into(), state: (*state).into() };
        rows.iter().map(row).collect()
    }

    #[track_caller]
    fn check(history: &History, expected: &[&str]) {
        let surprises = history.surprises(NEWS);
        assert_eq!(surprises.len(), expected.len(), "{surprises:#?}");
        for (surprise, expected) in surprises.iter().zip(expected) {
            assert!(surprise.contains(expected), "{surprise} is not about {expected}");
        }
    }

    #[test]
    fn one_token_for_all_is_no_surprise() {
        let asked = vec![token(0, (0, 10), "a"), token(1, (5, 12), "a"), token(2, (20, 30), "a")];
        let history = History { asked, rows: rows(&[("a", "ACTIVE")]), ..History::default() };
        check(&history, &[]);
    }

    #[test]
    fn two_living_tokens_and_two_active_rows_are() {
        let asked = vec![token(0, (0, 10), "a"), token(1, (5, 12), "b")];
        let history = History { asked, rows: rows(&[("a", "ACTIVE"), ("b", "ACTIVE")]), ..History::default() };
        check(&history, &["two tokens at once", "2 ACTIVE rows"]);
    }

    #[test]
    fn a_revoked_token_makes_place_for_another_but_not_for_an_earlier_one() {
        let asked = vec![token(0, (0, 10), "a"), token(1, (25, 40), "b")];
        let (revoked, rows) = (vec![revoked(0, (20, 30), "a")], rows(&[("a", "REVOKED"), ("b", "ACTIVE")]));
        let history = History { asked, revoked, rows, harm: Harm::default() };
        check(&history, &[]);
        let mut early = history.clone();
        early.asked.push(token(2, (11, 15), "b"));
        check(&early, &["two tokens at once"]);
        let mut third = history;
        third.asked.push(token(2, (50, 60), "c"));
        check(&third, &["two tokens at once: b and c", "c was answered and has no row"]);
    }

    #[test]
    fn a_revoked_token_comes_back_only_where_nobody_could_know() {
        let (revoked, rows) = (vec![revoked(0, (20, 30), "a")], rows(&[("a", "REVOKED")]));
        let of =
            |call| History { asked: vec![call], revoked: revoked.clone(), rows: rows.clone(), ..History::default() };
        check(&of(token(0, (29, 60), "a")), &[]);
        check(&of(token(1, (80, 90), "a")), &[]);
        check(&of(token(0, (31, 60), "a")), &["although"]);
        check(&of(token(1, (81, 90), "a")), &["although"]);
    }

    #[test]
    fn rows_say_what_the_clients_know() {
        let of = |revoked: Vec<Revoked>, state| History {
            asked: vec![token(0, (0, 10), "a")],
            revoked,
            rows: rows(&[("a", state)]),
            harm: Harm::default(),
        };
        check(&of(vec![], "EXPIRED"), &["never revoked"]);
        check(&of(vec![revoked(0, (20, 30), "a")], "ACTIVE"), &["was revoked and is ACTIVE"]);
        let unsure = Revoked { is_acknowledged: false, ..revoked(0, (20, 30), "a") };
        check(&of(vec![unsure.clone()], "ACTIVE"), &[]);
        check(&of(vec![unsure], "REVOKED"), &[]);
        let none = History { asked: vec![token(0, (0, 10), "a")], ..History::default() };
        check(&none, &["has no row"]);
    }

    #[test]
    fn failures_need_their_own_kill() {
        let harm = Harm { killed: BTreeMap::from([(2, ms(100))]), database_killed: BTreeMap::from([(1, ms(100))]) };
        let of = |call| History { asked: vec![call], harm: harm.clone(), ..History::default() };
        check(&of(asked(2, (90, 100), Answer::Cut)), &[]);
        check(&of(asked(2, (90, 99), Answer::Cut)), &["not an answer"]);
        check(&of(asked(1, (90, 110), Answer::Cut)), &["not an answer"]);
        check(&of(refused(1, (90, 110), 503, true)), &[]);
        check(&of(refused(1, (90, 110), 503, false)), &["not an answer"]);
        check(&of(refused(1, (90, 99), 503, true)), &["not an answer"]);
        check(&of(refused(1, (90, 110), 500, true)), &["not an answer"]);
        check(&of(refused(0, (90, 110), 503, true)), &["not an answer"]);
        check(&of(refused(2, (90, 110), 503, true)), &["not an answer"]);
    }
}
