//! Which old server left the databases.

use crate::clock::WallClock;
use crate::digest::{PasswordForm, hash_text};
use crate::{Engine, Release};
use std::fmt;
use std::sync::Arc;

const RELEASES: [Release; 5] = [Release::V2_1, Release::V2_6, Release::V3_0, Release::V3_1, Release::V3_2];
const LAYOUTS: [Layout; 3] = [Layout::One, Layout::Two, Layout::Three];
const CLOCKS: [WallClock; 3] = [WallClock::Utc, WallClock::CentralEurope, WallClock::Ahead(-5 * 3600)];

/// How the families of tables are spread over databases (contract database.md 1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub enum Layout {
    /// All in one.
    One,
    /// `am_db` and `shared_db`.
    Two,
    /// `apimgtdb`, `userdb` and `regdb`; the last two have all tables of the kernel, each with half of the rows.
    Three,
    /// `identity_db` of IS 5.10 with IDN_, SP_ and IDP, `am_db` with AM_ (and empty copies of the others), `shared_db`; 3.2 only.
    Apart,
}

/// The form of tokens, codes and client secrets (contract database.md 2.4).
#[derive(Clone)]
pub enum Form {
    /// As they are.
    Plain,
    /// JSON hash texts, from 2.6 on; client secrets too (`EnableClientSecretHash`).
    Hashed,
    /// Base64 of what the installation's key encrypts.
    Encrypted(Arc<dyn Cipher>),
}

/// The encryption of an old installation; the key and its release's ciphertext are the caller's.
pub trait Cipher: Send + Sync {
    /// The text of the column. Up to 2.1 it must be the same each time (rows are found by it) and at most 255 characters.
    fn encrypt(&self, release: Release, plain: &str) -> String;
    /// The value behind the text of a column, if it is one of ours.
    fn decrypt(&self, stored: &str) -> Option<String>;
}

/// Everything that decides what the databases hold.
#[derive(Clone, Debug)]
pub struct Options {
    /// Which product.
    pub release: Release,
    /// How many databases.
    pub layout: Layout,
    /// Form of secrets.
    pub form: Form,
    /// The installation's key, which encrypts the passwords of tenants' key stores whatever the form of tokens; without it no
    /// tenant has one.
    pub cipher: Option<Arc<dyn Cipher>>,
    /// Form of passwords.
    pub password_form: PasswordForm,
    /// The moment at which the old server was stopped, milliseconds since 1970.
    pub now_ms: i64,
    /// Zone of token and code times.
    pub token_clock: WallClock,
    /// Zone of all other times.
    pub local_clock: WallClock,
    /// The schema has come through the product's migration scripts, and rows of older releases are in it (database.md 7.3).
    pub is_migrated: bool,
    /// The MySQL server of old ran with `explicit_defaults_for_timestamp=OFF` (database.md 1.3).
    pub has_old_timestamps: bool,
    /// Decides identifiers and secrets.
    pub seed: u64,
}

impl Options {
    /// A fresh installation with the product's defaults, in three databases.
    pub fn new(release: Release, now_ms: i64) -> Self {
        Self {
            release,
            layout: Layout::Three,
            form: Form::Plain,
            cipher: None,
            password_form: PasswordForm::DEFAULT,
            now_ms,
            token_clock: WallClock::Utc,
            local_clock: WallClock::Utc,
            is_migrated: false,
            has_old_timestamps: false,
            seed: 1,
        }
    }

    /// `now_ms` at the precision that the engine keeps.
    pub(crate) fn now_on(&self, engine: Engine) -> i64 {
        if engine == Engine::MySql { self.now_ms - self.now_ms.rem_euclid(1000) } else { self.now_ms }
    }
}

/// The cases that a test goes through on an engine: every release once with the other choices in turn, or with `is_long` every
/// form, layout, fresh and migrated. The two engines are out of step, so that a release meets two forms, and the layout with an
/// identity database of its own stands for 3.2 on MySQL. `cipher` makes the encryption of a release.
pub fn matrix(engine: Engine, now_ms: i64, is_long: bool, cipher: impl Fn(Release) -> Arc<dyn Cipher>) -> Vec<Options> {
    let mut matrix = Vec::new();
    for (number, release) in RELEASES.into_iter().enumerate() {
        let number = number + usize::from(engine == Engine::Postgres);
        let cipher = cipher(release);
        let encrypted = Form::Encrypted(cipher.clone());
        let forms = if release == Release::V2_1 {
            vec![Form::Plain, encrypted]
        } else {
            vec![Form::Plain, Form::Hashed, encrypted]
        };
        let new = |turn: usize, form: &Form, layout: Layout, is_migrated: bool| Options {
            form: form.clone(),
            cipher: Some(cipher.clone()),
            layout,
            is_migrated,
            password_form: PasswordForm::ALL[turn % PasswordForm::ALL.len()],
            token_clock: CLOCKS[turn % CLOCKS.len()],
            local_clock: CLOCKS[(turn + 1) % CLOCKS.len()],
            has_old_timestamps: engine == Engine::MySql && turn.is_multiple_of(2),
            seed: 7 + turn as u64,
            ..Options::new(release, now_ms)
        };
        if !is_long {
            // The identity server's own tables are fresh here.
            let is_apart = release == Release::V3_2 && engine == Engine::MySql;
            let layout = if is_apart { Layout::Apart } else { LAYOUTS[number % 3] };
            matrix.push(new(number * 7, &forms[number % forms.len()], layout, number % 2 == 1 && !is_apart));
            continue;
        }
        if release == Release::V3_2 {
            matrix.push(new(3, &forms[0], Layout::Apart, false));
        }
        for (turn, layout) in LAYOUTS.into_iter().enumerate() {
            for (place, form) in forms.iter().enumerate() {
                for is_migrated in [false, true] {
                    matrix.push(new(turn * 6 + place * 2 + usize::from(is_migrated), form, layout, is_migrated));
                }
            }
        }
    }
    matrix
}

impl Form {
    /// What the column of a token, code or client secret holds.
    pub(crate) fn stored(&self, release: Release, plain: &str) -> String {
        match self {
            Self::Plain => plain.to_owned(),
            Self::Hashed => hash_text(plain),
            Self::Encrypted(cipher) => cipher.encrypt(release, plain),
        }
    }

    /// Does the column hold that value?
    pub(crate) fn is_stored(&self, plain: &str, stored: &str) -> bool {
        match self {
            Self::Plain => stored == plain,
            Self::Hashed => stored == hash_text(plain),
            Self::Encrypted(cipher) => cipher.decrypt(stored).is_some_and(|value| value == plain),
        }
    }

    /// `plain`, `hashed` or `encrypted`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Hashed => "hashed",
            Self::Encrypted(_) => "encrypted",
        }
    }
}

impl fmt::Debug for dyn Cipher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the installation's key")
    }
}

impl fmt::Debug for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
