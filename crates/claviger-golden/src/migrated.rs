//! What the product's migration scripts leave otherwise than its creation scripts do (contract database.md 7.3).

use crate::db::Db;
use crate::facts::{Facts, Table};
use crate::{Engine, Release};
use anyhow::Result;

/// First release that has it, a table that must be there, the statements on MySQL and on PostgreSQL.
type Step = (Release, &'static str, &'static [&'static str], &'static [&'static str]);

const STEPS: &[Step] = &[
    (
        Release::V3_1,
        "UM_USER",
        &[
            "ALTER TABLE UM_USER DROP INDEX UM_USER_ID, DROP COLUMN UM_USER_ID",
            "ALTER TABLE UM_USER ADD COLUMN UM_USER_ID CHAR(36) NOT NULL DEFAULT 'NONE'",
            "ALTER TABLE UM_USER ADD UNIQUE (UM_USER_ID, UM_TENANT_ID), ADD UNIQUE (UM_USER_NAME, UM_TENANT_ID)",
        ],
        &[
            "ALTER TABLE UM_USER DROP COLUMN UM_USER_ID",
            "ALTER TABLE UM_USER ADD COLUMN UM_USER_ID CHAR(36) NOT NULL DEFAULT 'NONE'",
            "ALTER TABLE UM_USER ADD UNIQUE (UM_USER_ID, UM_TENANT_ID), ADD UNIQUE (UM_USER_NAME, UM_TENANT_ID)",
        ],
    ),
    (
        Release::V3_1,
        "IDP",
        &["ALTER TABLE IDP MODIFY UUID CHAR(36) NULL"],
        &["ALTER TABLE IDP ALTER UUID DROP NOT NULL"],
    ),
    (
        Release::V3_1,
        "IDN_OAUTH2_SCOPE_BINDING",
        &[
            "ALTER TABLE IDN_OAUTH2_SCOPE_BINDING MODIFY BINDING_TYPE VARCHAR(255) NOT NULL DEFAULT 'DEFAULT'",
            "ALTER TABLE IDN_OAUTH2_SCOPE_BINDING ADD UNIQUE (SCOPE_ID, SCOPE_BINDING, BINDING_TYPE)",
            "ALTER TABLE IDN_OAUTH2_SCOPE ADD UNIQUE (NAME, TENANT_ID)",
        ],
        &[
            "ALTER TABLE IDN_OAUTH2_SCOPE_BINDING ALTER BINDING_TYPE SET DEFAULT 'DEFAULT'",
            "ALTER TABLE IDN_OAUTH2_SCOPE_BINDING ADD UNIQUE (SCOPE_ID, SCOPE_BINDING, BINDING_TYPE)",
            "ALTER TABLE IDN_OAUTH2_SCOPE ADD UNIQUE (NAME, TENANT_ID)",
        ],
    ),
    (
        Release::V3_2,
        "AM_APPLICATION_KEY_MAPPING",
        &[
            // Its foreign key leans on the primary key's index until another is there.
            "ALTER TABLE AM_APPLICATION_KEY_MAPPING MODIFY KEY_MANAGER VARCHAR(50) NOT NULL DEFAULT 'Resident Key Manager'",
            "ALTER TABLE AM_APPLICATION_KEY_MAPPING ADD UNIQUE (APPLICATION_ID, KEY_TYPE, KEY_MANAGER), DROP PRIMARY KEY",
            "ALTER TABLE AM_API ADD API_UUID VARCHAR(255)",
        ],
        &[
            "ALTER TABLE AM_APPLICATION_KEY_MAPPING ALTER KEY_MANAGER TYPE VARCHAR(50)",
            "ALTER TABLE AM_APPLICATION_KEY_MAPPING ALTER KEY_MANAGER SET DEFAULT 'Resident Key Manager'",
            "ALTER TABLE AM_APPLICATION_KEY_MAPPING DROP CONSTRAINT AM_APPLICATION_KEY_MAPPING_PKEY",
            "ALTER TABLE AM_APPLICATION_KEY_MAPPING ADD UNIQUE (APPLICATION_ID, KEY_TYPE, KEY_MANAGER)",
            "ALTER TABLE AM_API ADD API_UUID VARCHAR(255)",
        ],
    ),
];

/// In 3.0 alone the column has neither NULL nor a default.
const IDP_ID: (&[&str], &[&str]) = (
    &[
        "ALTER TABLE IDN_OAUTH2_ACCESS_TOKEN MODIFY IDP_ID INT NOT NULL",
        "ALTER TABLE IDN_OAUTH2_AUTHORIZATION_CODE MODIFY IDP_ID INT NOT NULL",
    ],
    &[
        "ALTER TABLE IDN_OAUTH2_ACCESS_TOKEN ALTER IDP_ID SET NOT NULL",
        "ALTER TABLE IDN_OAUTH2_AUTHORIZATION_CODE ALTER IDP_ID SET NOT NULL",
    ],
);

/// Indexes that some creation scripts have too: name, table, columns with prefix lengths (MySQL).
const INDEXES: &[(&str, &str, &str)] = &[
    ("IDX_AT_AT", "IDN_OAUTH2_ACCESS_TOKEN", "ACCESS_TOKEN(191)"),
    ("IDX_AT_RT", "IDN_OAUTH2_ACCESS_TOKEN", "REFRESH_TOKEN(191)"),
    ("IDX_AC_AC_CKID", "IDN_OAUTH2_AUTHORIZATION_CODE", "AUTHORIZATION_CODE(191), CONSUMER_KEY_ID"),
];

/// Gives fresh, empty tables the shape of migrated ones.
pub(crate) async fn alter(db: &Db, facts: &Facts, release: Release) -> Result<()> {
    let of_engine = |mysql: &'static [&'static str], postgres: &'static [&'static str]| match db.engine() {
        Engine::MySql => mysql,
        Engine::Postgres => postgres,
    };
    let mut statements = Vec::new();
    for (since, table, mysql, postgres) in STEPS {
        if release >= *since && facts.table(table).is_some() {
            statements.extend(of_engine(mysql, postgres));
        }
    }
    if release == Release::V3_0 && facts.table("IDN_OAUTH2_ACCESS_TOKEN").is_some() {
        statements.extend(of_engine(IDP_ID.0, IDP_ID.1));
    }
    for statement in statements {
        db.run(statement).await?;
    }
    for (name, table, columns) in INDEXES.iter().filter(|_| release >= Release::V3_0) {
        let has_it = |table: &Table| table.indexes.iter().any(|index| index.name.as_deref() == Some(*name));
        if facts.table(table).is_some_and(|table| !has_it(table)) {
            let columns =
                if db.engine() == Engine::MySql { (*columns).to_owned() } else { columns.replace("(191)", "") };
            db.run(&format!("CREATE INDEX {name} ON {table} ({columns})")).await?;
        }
    }
    Ok(())
}
