//! Secondary user stores as an old installation has them: databases with users of their own, and the files that name them.

use super::{Database, Directory, databases};
use claviger::app::SystemEntropy;
use claviger::config;
use claviger::startup::databases::open;
use claviger_proto::entropy::uuid;
use claviger_proto::ids::TenantId;
use claviger_proto::password::StoredPassword;
use claviger_proto::secret::Secret;
use claviger_proto::time::Timestamp;
use claviger_store::error::StoreError;
use claviger_store::schema;
use claviger_store::users::{self, NewUser};
use std::path::{Path, PathBuf};

/// The home of an old installation.
pub(crate) struct Home(Directory);

/// A user of a store: tenant, name, password, roles of the store.
pub(crate) type StoreUser = (TenantId, &'static str, &'static str, &'static [&'static str]);

/// A database with users, and no rows of anything else.
pub(crate) struct UserDatabase {
    pub(crate) database: Database,
    directory: Directory,
}

/// As many fresh user databases as there are lists of users, for each engine.
pub(crate) async fn user_databases<const N: usize>(users: [&[StoreUser]; N]) -> Vec<[UserDatabase; N]> {
    let mut of_engines: Vec<Vec<UserDatabase>> = Vec::new();
    for users in users {
        for (number, database) in databases().await.into_iter().enumerate() {
            let made = UserDatabase::make(database, users).await;
            match of_engines.get_mut(number) {
                Some(of_engine) => of_engine.push(made),
                None => of_engines.push(vec![made]),
            }
        }
    }
    let whole = |some: Vec<UserDatabase>| some.try_into().ok().expect("a database for each list");
    of_engines.into_iter().map(whole).collect()
}

impl UserDatabase {
    pub(crate) async fn make(database: Database, list: &[StoreUser]) -> Self {
        let directory = Directory::new();
        let loaded = config::load(&database.section(), "f", &|_| None).unwrap();
        let config = loaded.config.in_data_dir(directory.path());
        let store = open(&config.databases).await.unwrap();
        schema::prepare(&store).await.unwrap();
        let rng = SystemEntropy::default();
        for (tenant, name, password, roles) in list.iter().copied() {
            let password = StoredPassword::new(&Secret::new(password), &rng);
            let user = NewUser { uuid: uuid(&rng), name: name.to_owned(), password, tenant };
            let write = store.write::<_, StoreError, _>(move |conn| {
                let user = user.clone();
                Box::pin(async move {
                    let id = users::insert(conn, &user, Timestamp::from_secs(1_700_000_000)).await?;
                    for role in roles {
                        users::add_role(conn, user.tenant, id, role).await?;
                    }
                    Ok(())
                })
            });
            write.await.unwrap();
        }
        store.close().await;
        Self { database, directory }
    }

    /// The embedded database's file.
    pub(crate) fn file(&self) -> PathBuf {
        self.directory.path().join("claviger.sqlite")
    }

    /// The properties by which a file names it, on its own port or on that of a relay.
    pub(crate) fn properties(&self, port: Option<u16>) -> String {
        let (url, user) = match self.database.jdbc_at(port.unwrap_or(self.database.port())) {
            Some((url, user)) => (url, user),
            None => (format!("jdbc:sqlite:{}", self.file().display()), ""),
        };
        let url = url.replace('&', "&amp;");
        format!(
            "<Property name=\"url\">{url}</Property><Property name=\"userName\">{user}</Property>\
             <Property name=\"password\">{user}</Property>"
        )
    }
}

impl Home {
    pub(crate) fn new() -> Self {
        Self(Directory::new())
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// Writes the file of a JDBC store with salted SHA-256 passwords; the tenant's number is its folder's name.
    pub(crate) fn write(&self, tenant: TenantId, domain: &str, properties: &str) {
        let text = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
             <UserStoreManager class=\"org.wso2.carbon.user.core.jdbc.JDBCUserStoreManager\">\n\
             <Property name=\"DomainName\">{domain}</Property>\n<Property name=\"PasswordDigest\">SHA-256</Property>\n\
             <Property name=\"StoreSaltedPassword\">true</Property>\n{properties}\n</UserStoreManager>\n"
        );
        self.write_text(tenant, domain, &text);
    }

    pub(crate) fn write_text(&self, tenant: TenantId, domain: &str, text: &str) {
        let directory = if tenant == TenantId::SUPER {
            self.path().join("repository/deployment/server/userstores")
        } else {
            self.path().join(format!("repository/tenants/{}/userstores", tenant.0))
        };
        std::fs::create_dir_all(&directory).unwrap();
        std::fs::write(directory.join(format!("{domain}.xml")), text).unwrap();
    }
}
