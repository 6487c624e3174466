//! One user store: the primary one, which every tenant has, or a secondary one of a tenant.

use super::seeker::{Seeker, Sought};
use super::source::{Elsewhere, Source, StoreSettings};
use claviger_proto::account::AccountState;
use claviger_proto::entropy::Entropy;
use claviger_proto::ids::TenantId;
use claviger_proto::password::{PasswordForm, StoredPassword};
use claviger_proto::secret::Secret;
use claviger_proto::user::{NameRule, PRIMARY};
use claviger_store::db::Store;
use claviger_store::error::StoreError;
use claviger_store::{account_locks, claims, users as rows};
use std::collections::BTreeMap;
use std::sync::Arc;

pub(super) struct UserStore {
    /// Whose it is; `None`: every tenant's.
    pub(super) tenant: Option<TenantId>,
    /// Upper case.
    pub(super) domain: String,
    /// Which spellings name one user.
    pub(super) rule: NameRule,
    form: PasswordForm,
    are_groups_read: bool,
    source: Source,
    named: Seeker,
    spelled: Seeker,
    /// Compared with for unknown names, so that they take as long as known ones.
    nobody: StoredPassword,
}

impl UserStore {
    /// The store in our own database.
    pub(super) fn primary(store: Store, (form, rule): (PasswordForm, NameRule), rng: &dyn Entropy) -> Self {
        let of_all = (None, PRIMARY.to_owned());
        Self::new(of_all, Source::Ours(store), (form, rule), true, rng)
    }

    /// A store of its own.
    pub(super) fn secondary(settings: &StoreSettings, rng: &dyn Entropy) -> Self {
        let source = Source::Elsewhere(Arc::new(Elsewhere::new(settings)));
        let of_one = (Some(settings.tenant), settings.domain.clone());
        Self::new(of_one, source, (settings.form, settings.name_rule), settings.are_groups_read, rng)
    }

    fn new(
        (tenant, domain): (Option<TenantId>, String),
        source: Source,
        (form, rule): (PasswordForm, NameRule),
        are_groups_read: bool,
        rng: &dyn Entropy,
    ) -> Self {
        Self {
            tenant,
            domain,
            rule,
            form,
            are_groups_read,
            named: Seeker::new(source.clone(), Sought::Named),
            spelled: Seeker::new(source.clone(), Sought::Spelled),
            source,
            nobody: StoredPassword::in_form(&Secret::new("nobody"), form, rng),
        }
    }

    /// The user of exactly that name.
    pub(super) async fn find_named(&self, tenant: TenantId, name: &str) -> Result<Option<rows::User>, StoreError> {
        self.named.find(tenant, name).await
    }

    /// The only user whose name differs from that in case alone, where the rule takes him for the same.
    pub(super) async fn find_spelled(&self, tenant: TenantId, name: &str) -> Result<Option<rows::User>, StoreError> {
        match self.rule {
            NameRule::Exact => Ok(None),
            NameRule::AnyCase => self.spelled.find(tenant, name).await,
        }
    }

    /// Is this the password of that user? For nobody it is not, which takes as long.
    pub(super) fn is_match(&self, user: Option<&rows::User>, password: &Secret) -> bool {
        let is_match = user.map_or(&self.nobody, |user| &user.password).is_match(password, self.form);
        is_match && user.is_some()
    }

    /// A user's roles as the wires name them: those of a secondary store are `DOMAIN/role` (users-ldap.md 3.1). `ours` is asked
    /// for his hybrid roles, and nobody waits for a store with a connection of another database in his hands.
    pub(super) async fn list_roles(
        &self,
        ours: &Store,
        tenant: TenantId,
        user: &rows::User,
    ) -> Result<Vec<String>, StoreError> {
        let Source::Elsewhere(_) = self.source else {
            let mut conn = ours.reader().await?;
            return rows::list_roles(&mut conn, tenant, user, self.rule).await;
        };
        let mut roles = Vec::new();
        if self.are_groups_read {
            let mut conn = self.source.reader().await?;
            let own = self.source.note(rows::list_store_roles(&mut conn, tenant, user).await)?;
            drop(conn);
            roles.extend(own.into_iter().map(|role| format!("{}/{role}", self.domain)));
        }
        let mut conn = ours.reader().await?;
        let hybrid = rows::list_hybrid_roles(&mut conn, (tenant, &self.domain), &user.name, self.rule).await?;
        drop(conn);
        let mut conn = self.source.reader().await?;
        roles.extend(self.source.note(rows::name_hybrid_roles(&mut conn, tenant, user, (hybrid, self.rule)).await)?);
        Ok(roles)
    }

    /// A user's attributes by name.
    pub(super) async fn list_attributes(
        &self,
        tenant: TenantId,
        user: &rows::User,
    ) -> Result<BTreeMap<String, String>, StoreError> {
        let mut conn = self.source.reader().await?;
        self.source.note(claims::list_attributes(&mut conn, tenant, user.id).await)
    }

    /// What a user's attributes say of his account.
    pub(super) async fn find_account_in_attributes(
        &self,
        tenant: TenantId,
        user: &rows::User,
    ) -> Result<AccountState, StoreError> {
        let mut conn = self.source.reader().await?;
        self.source.note(account_locks::find_in_attributes(&mut conn, tenant, user).await)
    }

    /// Opens a secondary store, so that the log says from the start whether it is there.
    pub(super) fn open(&self) {
        if let Source::Elsewhere(elsewhere) = &self.source {
            let elsewhere = elsewhere.clone();
            tokio::spawn(async move { drop(elsewhere.store().await) });
        }
    }

    /// Ends the connections of a secondary store.
    pub(super) async fn close(&self) {
        if let Source::Elsewhere(elsewhere) = &self.source {
            elsewhere.close().await;
        }
    }

    /// Where exact names are looked up.
    #[cfg(test)]
    pub(super) fn named(&self) -> &Seeker {
        &self.named
    }
}
