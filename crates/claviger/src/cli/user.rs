//! `claviger user`: an administrator changes a user, and what the user holds ends.
//!
//! Owns: the words, the password from standard input, the output, the exit codes. Leaves to others: the act (`users::admin`). A
//! server on MariaDB or PostgreSQL may run meanwhile, and hears of it as of another node's doing; the embedded database belongs to
//! one process.

use super::{EXIT_FAILURE, EXIT_OK};
use crate::config::Config;
use crate::config::database::DatabaseUrl;
use crate::http::reply::Chain;
use crate::oauth::client_end::TokenEnd;
use crate::oauth::user_end::Ended;
use crate::startup::{self, databases, keystores};
use crate::users::admin::{Act, AdminError, AdminSettings, UserAdmin};
use anyhow::Context as _;
use claviger_proto::entropy::Entropy;
use claviger_proto::secret::Secret;
use claviger_proto::time::Clock;
use claviger_proto::user::Username;
use claviger_store::revocations;
use std::io::{self, BufRead, Write};
use std::sync::Arc;

/// Longest line that is read as a password, in bytes.
const PASSWORD_BYTES_MAX: u64 = 4096;

/// What is to be done to a user, as the command line says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserAction {
    /// `[DOMAIN/]name[@tenant]`.
    pub name: String,
    /// The act.
    pub verb: Verb,
}

/// An act, without what is read from standard input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Keep the user out.
    Lock,
    /// End a lock.
    Unlock,
    /// Keep him out whatever his roles.
    Disable,
    /// The opposite.
    Enable,
    /// Remove the user.
    Delete,
    /// Give him another password.
    Password,
    /// Give him roles and take others.
    Roles {
        /// He gets them.
        add: Vec<String>,
        /// He loses them.
        remove: Vec<String>,
    },
}

/// Does it. The exit code is [`EXIT_FAILURE`] when it was refused or could not be done to its end.
pub async fn run(
    config: &Config,
    action: &UserAction,
    clock: Arc<dyn Clock>,
    rng: Arc<dyn Entropy>,
    (input, out): (&mut dyn BufRead, &mut dyn Write),
) -> anyhow::Result<u8> {
    let username = Username::parse(&action.name).with_context(|| format!("`{}` is not a user's name", action.name))?;
    let act = match &action.verb {
        Verb::Lock => Act::Lock,
        Verb::Unlock => Act::Unlock,
        Verb::Disable => Act::Disable,
        Verb::Enable => Act::Enable,
        Verb::Delete => Act::Delete,
        Verb::Password => Act::Password(read_password(input)?),
        Verb::Roles { add, remove } => Act::Roles { add: add.clone(), remove: remove.clone() },
    };
    // It is not made by looking for a user in it.
    if let DatabaseUrl::Sqlite { path } = &config.databases.identity.url {
        anyhow::ensure!(path.exists(), "there is no database {}", path.display());
    }
    let super_admin = &config.super_admin;
    let settings = AdminSettings {
        password_form: config.password_form,
        name_rule: config.name_rule,
        super_admin: Username::parse(&super_admin.username).context("super_admin.username is not a user name")?,
        admin_role: super_admin.admin_role.clone(),
    };
    let store = databases::open(&config.databases).await?;
    store.detect().await.context("the tables cannot be read")?;
    let known = revocations::find_user(&mut store.reader().await?, &username.with_tenant()).await;
    known.context("the tables cannot be read; `claviger db create` makes those that are missing")?;
    store.use_forms(keystores::forms(config, store.capabilities(), &rng)?);
    let users = startup::users_of(&store, config, clock.clone(), &rng);
    let token_end = TokenEnd::of_settings(startup::oauth_settings(config), clock.clone(), rng.clone());
    let admin = UserAdmin::new(store.clone(), users, token_end, settings, clock, rng);
    let done = admin.perform(&username, &act).await;
    admin.close().await;
    store.close().await;
    match done {
        Ok(Ended { codes, tokens }) => {
            writeln!(out, "{}: {} done; {tokens} tokens and {codes} codes ended", username.with_tenant(), act.name())?;
            Ok(EXIT_OK)
        }
        Err(AdminError::Store(error)) => {
            anyhow::bail!("{} is not done to its end; do it again: {}", act.name(), Chain(&error))
        }
        Err(refusal) => {
            writeln!(out, "{} is refused: {refusal}", act.name())?;
            Ok(EXIT_FAILURE)
        }
    }
}

/// One line, without its end.
fn read_password(input: &mut dyn BufRead) -> anyhow::Result<Secret> {
    let mut line = String::new();
    // One byte more than is allowed, so that a longer one is not cut.
    let mut limited = io::Read::take(input, PASSWORD_BYTES_MAX + 1);
    limited.read_line(&mut line).context("no password can be read from standard input")?;
    let line = Secret::new(line);
    let text = line.expose().trim_end_matches(['\r', '\n']);
    let bytes = u64::try_from(text.len()).unwrap_or(u64::MAX);
    anyhow::ensure!(bytes <= PASSWORD_BYTES_MAX, "the password is longer than {PASSWORD_BYTES_MAX} bytes");
    Ok(Secret::new(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_one_line() {
        let read = |text: &str| read_password(&mut text.as_bytes()).map(|password| password.expose().to_owned());
        assert_eq!(read("two words \r\nmore").unwrap(), "two words ");
        assert_eq!(read("no end").unwrap(), "no end");
        assert_eq!(read("").unwrap(), "");
        let longest = "x".repeat(4096);
        assert_eq!(read(&longest).unwrap(), longest);
        assert!(read(&format!("{longest}x")).is_err());
        assert!(read_password(&mut &b"\xff\n"[..]).is_err());
    }
}
