//! A look at every row that a key manager writes: what an old server relies on without checking it.

use super::OldServer;
use crate::Release;
use crate::db::Row;
use crate::digest::{hash_text, scope_hash};
use crate::options::Form;
use anyhow::Result;
use std::collections::{BTreeMap, BTreeSet};

/// Two clocks may differ by that much.
const SKEW_MS: i64 = 5 * 60 * 1000;

/// A row of one of the two tables, with what both have.
const TOKENS: &str = "SELECT TOKEN_ID, CONSUMER_KEY_ID, AUTHZ_USER, TENANT_ID, USER_DOMAIN, USER_TYPE, TOKEN_SCOPE_HASH, \
    TOKEN_STATE, TOKEN_STATE_ID, TIME_CREATED, REFRESH_TOKEN_TIME_CREATED, VALIDITY_PERIOD, REFRESH_TOKEN_VALIDITY_PERIOD, \
    SUBJECT_IDENTIFIER, ACCESS_TOKEN, REFRESH_TOKEN";

impl OldServer<'_> {
    /// What is wrong with the rows of tokens, codes and clients, one line each that begins with the row's id; none is the
    /// expected answer, but for the rows that a [manifest](crate::manifest) says are not found by an old server, and the
    /// twins that a schema without a working unique key has.
    pub async fn complaints(&self, now_ms: i64) -> Result<Vec<String>> {
        let mut complaints = Vec::new();
        self.complain_of_tokens(now_ms, &mut complaints).await?;
        self.complain_of_codes(now_ms, &mut complaints).await?;
        self.complain_of_clients(&mut complaints).await?;
        self.complain_of_keys(&mut complaints).await?;
        Ok(complaints)
    }

    async fn complain_of_tokens(&self, now_ms: i64, complaints: &mut Vec<String>) -> Result<()> {
        let hashes = if self.has_hashes() { "ACCESS_TOKEN_HASH, REFRESH_TOKEN_HASH" } else { "NULL, NULL" };
        let provider = match self.release() {
            Release::V2_1 | Release::V2_6 => "1",
            _ => {
                "(SELECT COUNT(*) FROM IDP i WHERE i.ID = t.IDP_ID AND i.NAME = 'LOCAL' AND i.TENANT_ID = t.TENANT_ID)"
            }
        };
        let sql = format!("{TOKENS}, {hashes}, {provider} FROM IDN_OAUTH2_ACCESS_TOKEN t");
        let mut scopes: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        let find = "SELECT s.TOKEN_ID, s.TOKEN_SCOPE, s.TENANT_ID, t.TENANT_ID FROM IDN_OAUTH2_ACCESS_TOKEN_SCOPE s \
                    JOIN IDN_OAUTH2_ACCESS_TOKEN t ON t.TOKEN_ID = s.TOKEN_ID";
        for row in self.idn().rows(find, &[]).await? {
            if row.get(2) != row.get(3) {
                complaints.push(format!("{}: the scope {} is of another tenant", row.text(0)?, row.text(1)?));
            }
            scopes.entry(row.text(0)?).or_default().insert(row.text(1)?);
        }
        let mut active: BTreeMap<Vec<Option<String>>, String> = BTreeMap::new();
        for row in self.idn().rows(&sql, &[]).await? {
            let id = row.text(0)?;
            let mut complain = |text: &str| complaints.push(format!("{id}: {text}"));
            if (1..=13).any(|column| row.get(column).is_none()) {
                complain("a column that readers rely on is NULL");
                continue;
            }
            self.complain_of_values(&row, now_ms, &mut complain)?;
            let of_row: Vec<String> = scopes.remove(&id).unwrap_or_default().into_iter().collect();
            if row.text(6)? != scope_hash(&of_row) {
                complain("TOKEN_SCOPE_HASH is not that of the scopes");
            }
            if row.int(18)? != 1 {
                complain("no identity provider LOCAL of the tenant");
            }
            let key: Vec<_> = (1..=6).map(|column| row.get(column).map(str::to_owned)).collect();
            if let ("ACTIVE", Some(other)) = (row.text(7)?.as_str(), active.get(&key)) {
                complain(&format!("ACTIVE beside {other}"));
            } else if row.get(7) == Some("ACTIVE") {
                active.insert(key, id.clone());
            }
        }
        Ok(())
    }

    fn complain_of_values(&self, row: &Row, now_ms: i64, complain: &mut impl FnMut(&str)) -> Result<()> {
        let (state, state_id) = (row.text(7)?, row.text(8)?);
        if !["ACTIVE", "INACTIVE", "REVOKED", "EXPIRED"].contains(&state.as_str()) {
            complain("a state nobody knows");
        }
        if (state == "ACTIVE") != (state_id == "NONE") {
            complain("TOKEN_STATE_ID is NONE for ACTIVE rows and no others");
        }
        if !["APPLICATION", "APPLICATION_USER"].contains(&row.text(5)?.as_str()) {
            complain("a user type nobody knows");
        }
        let store = row.text(4)?;
        if store.is_empty() || store != store.to_uppercase() {
            complain("USER_DOMAIN is not in upper case");
        }
        if row.text(2)?.contains('/') {
            complain("AUTHZ_USER with a domain");
        }
        for column in [9, 10] {
            if self.instant_ms(&row.text(column)?)? > now_ms + SKEW_MS {
                complain("a time that is still to come");
            }
        }
        for (value, hash) in [(14, 16), (15, 17)] {
            self.complain_of_hash(row.get(value), row.get(hash), complain);
        }
        Ok(())
    }

    /// The value of a column and its hash say the same.
    fn complain_of_hash(&self, stored: Option<&str>, hash: Option<&str>, complain: &mut impl FnMut(&str)) {
        let Some(stored) = stored else {
            if hash.is_some() {
                complain("a hash of nothing");
            }
            return;
        };
        let expected = match &self.options.form {
            Form::Plain => Some(hash_text(stored)),
            Form::Hashed => Some(stored.to_owned()),
            Form::Encrypted(cipher) => cipher.decrypt(stored).map(|plain| hash_text(&plain)),
        };
        match expected {
            None => complain("a value that nobody can decrypt"),
            Some(expected) if self.has_hashes() && hash != Some(&expected) => {
                complain("a hash that is not the value's");
            }
            Some(_) => {}
        }
    }

    async fn complain_of_codes(&self, now_ms: i64, complaints: &mut Vec<String>) -> Result<()> {
        let hash = if self.has_hashes() { "a.AUTHORIZATION_CODE_HASH" } else { "NULL" };
        let provider = match self.release() {
            Release::V2_1 | Release::V2_6 => "1",
            _ => {
                "(SELECT COUNT(*) FROM IDP i WHERE i.ID = a.IDP_ID AND i.NAME = 'LOCAL' AND i.TENANT_ID = a.TENANT_ID)"
            }
        };
        let sql = format!(
            "SELECT a.CODE_ID, a.AUTHORIZATION_CODE, {hash}, a.STATE, a.TOKEN_ID, a.TIME_CREATED, a.SCOPE, a.CALLBACK_URL, \
             {provider} FROM IDN_OAUTH2_AUTHORIZATION_CODE a"
        );
        for row in self.idn().rows(&sql, &[]).await? {
            let id = row.text(0)?;
            let mut complain = |text: &str| complaints.push(format!("{id}: {text}"));
            self.complain_of_hash(row.get(1), row.get(2), &mut complain);
            if row.get(4).is_some() && row.get(3) == Some("ACTIVE") {
                complain("a code that was used and is ACTIVE");
            }
            if row.get(6).is_none() || row.get(7).is_none() {
                complain("a column that readers rely on is NULL");
            }
            if row.get(5).map(|time| self.instant_ms(time)).transpose()?.is_none_or(|time| time > now_ms + SKEW_MS) {
                complain("a time that is still to come, or none");
            }
            if row.int(8)? != 1 {
                complain("no identity provider LOCAL of the tenant");
            }
        }
        Ok(())
    }

    async fn complain_of_clients(&self, complaints: &mut Vec<String>) -> Result<()> {
        for row in
            self.idn().rows("SELECT CONSUMER_KEY FROM IDN_OAUTH_CONSUMER_APPS WHERE OAUTH_VERSION <> ''", &[]).await?
        {
            let key = row.text(0)?;
            if self.client(&key).await?.is_none() {
                complaints.push(format!("{key}: a client without its service provider"));
            }
        }
        // Without a service provider's role the owner does not see it (database.md 2.1, step 6).
        let roles = "SELECT UM_ROLE_NAME FROM UM_HYBRID_ROLE WHERE UM_ROLE_NAME LIKE 'Application/%'";
        let roles: BTreeSet<String> =
            self.um().rows(roles, &[]).await?.iter().map(|row| row.text(0)).collect::<Result<_>>()?;
        let apps = "SELECT s.APP_NAME FROM SP_APP s JOIN SP_INBOUND_AUTH b ON b.APP_ID = s.ID WHERE b.INBOUND_AUTH_TYPE = 'oauth2'";
        for row in self.idn().rows(apps, &[]).await? {
            let name = row.text(0)?;
            if !roles.contains(&format!("Application/{name}")) {
                complaints.push(format!("{name}: a service provider without its role"));
            }
        }
        Ok(())
    }

    /// The API Manager's side of a client: tied to it by nothing but the text of its id (database.md 2.5).
    async fn complain_of_keys(&self, complaints: &mut Vec<String>) -> Result<()> {
        let keys = "SELECT k.CONSUMER_KEY, (SELECT COUNT(*) FROM AM_APP_KEY_DOMAIN_MAPPING d \
                    WHERE d.CONSUMER_KEY = k.CONSUMER_KEY) FROM AM_APPLICATION_KEY_MAPPING k WHERE k.STATE = 'COMPLETED'";
        for row in self.am().rows(keys, &[]).await? {
            let key = row.get(0).unwrap_or_default().to_owned();
            if self.client(&key).await?.is_none() {
                complaints.push(format!("{key}: a key of an application without its client"));
            }
            if row.int(1)? == 0 {
                complaints.push(format!("{key}: a key of an application without domains"));
            }
        }
        Ok(())
    }

    fn has_hashes(&self) -> bool {
        self.release() >= Release::V2_6
    }
}
