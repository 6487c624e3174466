//! From the configuration's databases to an open store.

use crate::config::database::{DatabaseServer, DatabaseTls, DatabaseUrl};
use crate::config::model::{Database, Databases};
use claviger_store::db::{Place, Places, PoolLimits, Store, Zones};
use claviger_store::location::{Location, Server, Tls};
use claviger_store::sql::Family;

/// Opens the databases of the four families of tables; equal ones are opened once.
pub async fn open(databases: &Databases) -> anyhow::Result<Store> {
    let places = Places {
        identity: place(&databases.identity),
        api: place(&databases.api),
        user: place(&databases.user),
        registry: place(&databases.registry),
        zones: Zones { token: databases.token_time_zone, local: databases.local_time_zone },
    };
    Store::open(places).await.map_err(|error| {
        let database = match error.family() {
            Family::Identity => &databases.identity,
            Family::Api => &databases.api,
            Family::User => &databases.user,
            Family::Registry => &databases.registry,
        };
        let label = format!("the database {} of [{}] cannot be opened", database.url.label(), database.name);
        anyhow::Error::new(error).context(label)
    })
}

/// The databases, each once, for messages.
pub fn labels(databases: &Databases) -> String {
    let mut labels: Vec<String> = Vec::new();
    for (_, database) in databases.all() {
        let label = database.url.label();
        if !labels.contains(&label) {
            labels.push(label);
        }
    }
    labels.join(", ")
}

fn place(database: &Database) -> Place {
    let pool = database.pool;
    let limits = PoolLimits { connections_max: pool.connections_max, acquire_ms_max: pool.acquire_timeout_ms };
    Place { location: location(&database.url), limits }
}

pub(super) fn location(url: &DatabaseUrl) -> Location {
    match url {
        DatabaseUrl::Sqlite { path } => Location::Sqlite(path.clone()),
        DatabaseUrl::MySql(at) => Location::MySql(server(at)),
        DatabaseUrl::Postgres(at) => Location::Postgres(server(at)),
    }
}

fn server(server: &DatabaseServer) -> Server {
    Server {
        host: server.host.clone(),
        port: server.port,
        database: server.name.clone(),
        schema: server.schema.clone(),
        user: server.user.clone(),
        password: server.password.clone(),
        tls: match server.tls {
            DatabaseTls::Disable => Tls::Disable,
            DatabaseTls::Prefer => Tls::Prefer,
            DatabaseTls::Require => Tls::Require,
            DatabaseTls::VerifyCa => Tls::VerifyCa,
            DatabaseTls::VerifyFull => Tls::VerifyFull,
        },
        tls_root_file: server.tls_root_file.clone(),
    }
}
