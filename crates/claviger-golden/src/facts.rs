//! The tables of each creation script, read from `facts/*.csv` (what its fields mean: `facts/README.md`).

use crate::{Engine, Release};
use anyhow::{Context as _, Result, bail, ensure};
use std::collections::BTreeMap;

/// Which creation script made a database (contract database.md 1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Script {
    /// The API Manager's: AM_, IDN_, SP_, IDP.
    ApiManager(Release),
    /// The kernel's: UM_ and REG_, always both.
    Kernel(Release),
    /// The identity server's own, release 5.10.0: IDN_, SP_, IDP.
    Identity,
}

/// Every script.
pub const SCRIPTS: [Script; 11] = [
    Script::ApiManager(Release::V2_1),
    Script::ApiManager(Release::V2_6),
    Script::ApiManager(Release::V3_0),
    Script::ApiManager(Release::V3_1),
    Script::ApiManager(Release::V3_2),
    Script::Kernel(Release::V2_1),
    Script::Kernel(Release::V2_6),
    Script::Kernel(Release::V3_0),
    Script::Kernel(Release::V3_1),
    Script::Kernel(Release::V3_2),
    Script::Identity,
];

/// The tables of a script, in its order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// The tables.
    pub tables: Vec<Table>,
}

/// A table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// Upper case.
    pub name: String,
    /// In order.
    pub columns: Vec<Column>,
    /// Columns of the primary key, in order.
    pub primary_key: Vec<String>,
    /// Unique keys besides the primary key.
    pub unique: Vec<Key>,
    /// Indexes.
    pub indexes: Vec<Key>,
    /// Foreign keys.
    pub foreign: Vec<ForeignKey>,
}

/// A column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// Upper case.
    pub name: String,
    /// From 1.
    pub ordinal: u32,
    /// As the script writes it.
    pub kind: String,
    /// May hold NULL.
    pub is_nullable: bool,
    /// An SQL expression.
    pub default: Option<String>,
    /// What else there is to say.
    pub extra: Extra,
}

/// What a MySQL column may have besides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extra {
    /// Nothing.
    None,
    /// Numbers its rows.
    AutoIncrement,
    /// Moves with each update of its row.
    OnUpdate,
    /// A TIMESTAMP whose definition the server's `explicit_defaults_for_timestamp` decides (database.md 1.3).
    BareTimestamp,
}

/// A key over columns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// `None` when the script leaves the naming to the engine.
    pub name: Option<String>,
    /// Columns in order, each with the length of its prefix (MySQL).
    pub parts: Vec<(String, Option<u32>)>,
}

/// A foreign key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForeignKey {
    /// `None` when the script leaves the naming to the engine.
    pub name: Option<String>,
    /// Columns in order.
    pub columns: Vec<String>,
    /// The table they point to.
    pub table: String,
    /// The columns they point to.
    pub references: Vec<String>,
    /// `CASCADE`, `RESTRICT`, `SET NULL` or `NO ACTION`.
    pub on_delete: String,
    /// Likewise.
    pub on_update: String,
}

/// The fields of a line, in order.
const FIELDS: &str = "table,column,ordinal,type,nullable,default,primary_key,unique_key_names,index_names,foreign_key,\
                      on_delete,on_update,extra";

impl Facts {
    /// The tables that a script makes on an engine.
    pub fn of(script: Script, engine: Engine) -> Result<Self> {
        Self::parse(text(script, engine)).with_context(|| format!("the facts of {script:?} on {engine:?}"))
    }

    /// The tables of several scripts that were run in one database.
    pub fn of_one_database(scripts: &[Script], engine: Engine) -> Result<Self> {
        let mut tables = Vec::new();
        for script in scripts {
            tables.extend(Self::of(*script, engine)?.tables);
        }
        Ok(Self { tables })
    }

    /// The table of that name.
    pub fn table(&self, name: &str) -> Option<&Table> {
        self.tables.iter().find(|table| table.name == name)
    }

    /// Does the table of that name have the column?
    pub fn has(&self, table: &str, column: &str) -> bool {
        self.table(table).is_some_and(|table| table.column(column).is_some())
    }

    fn parse(text: &str) -> Result<Self> {
        let mut lines = text.lines();
        ensure!(lines.next() == Some(FIELDS), "the first line does not name the fields");
        let mut tables: Vec<Building> = Vec::new();
        for line in lines.filter(|line| !line.is_empty()) {
            let fields: Vec<&str> = line.split(',').collect();
            let fields: [&str; 13] = fields.try_into().ok().with_context(|| format!("not 13 fields: {line}"))?;
            if tables.last().is_none_or(|last| last.table.name != fields[0]) {
                tables.push(Building::new(fields[0]));
            }
            tables.last_mut().context("a table was just added")?.add(&fields).with_context(|| line.to_owned())?;
        }
        Ok(Self { tables: tables.into_iter().map(Building::finish).collect::<Result<_>>()? })
    }
}

impl Table {
    /// The column of that name.
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == name)
    }
}

/// A column's part in a key: the key's name, the place, the column, the length of its prefix.
type Piece = (String, usize, String, Option<u32>);

/// A table while its lines are read: keys come in pieces, one per column.
struct Building {
    table: Table,
    primary: BTreeMap<usize, String>,
    pieces: [Vec<Piece>; 2],
    foreign: Vec<(String, usize, String, [String; 4])>,
}

impl Building {
    fn new(name: &str) -> Self {
        let table = Table {
            name: name.to_owned(),
            columns: Vec::new(),
            primary_key: Vec::new(),
            unique: Vec::new(),
            indexes: Vec::new(),
            foreign: Vec::new(),
        };
        Self { table, primary: BTreeMap::new(), pieces: [Vec::new(), Vec::new()], foreign: Vec::new() }
    }

    fn add(&mut self, fields: &[&str; 13]) -> Result<()> {
        let [_, column, ordinal, kind, nullable, default, primary, unique, index, foreign, on_delete, on_update, extra] =
            *fields;
        let name = column.to_owned();
        if !primary.is_empty() {
            self.primary.insert(primary.parse()?, name.clone());
        }
        for (pieces, list) in self.pieces.iter_mut().zip([unique, index]) {
            for piece in list.split(';').filter(|piece| !piece.is_empty()) {
                let (key, place) = piece.rsplit_once(':').context("a key without a place")?;
                let (place, prefix) = match place.split_once('(') {
                    Some((place, rest)) => (place, Some(rest.trim_end_matches(')').parse()?)),
                    None => (place, None),
                };
                pieces.push((key.to_owned(), place.parse()?, name.clone(), prefix));
            }
        }
        let rules = on_delete.split(';').zip(on_update.split(';'));
        for (piece, (delete, update)) in foreign.split(';').filter(|piece| !piece.is_empty()).zip(rules) {
            let (key, target) = piece.split_once('=').context("a foreign key without a target")?;
            let (key, place) = key.rsplit_once(':').context("a foreign key without a place")?;
            let (table, referenced) = target.split_once('.').context("a foreign key without a column")?;
            let target = [table, referenced, delete, update].map(str::to_owned);
            self.foreign.push((key.to_owned(), place.parse()?, name.clone(), target));
        }
        self.table.columns.push(Column {
            name,
            ordinal: ordinal.parse()?,
            kind: kind.to_owned(),
            is_nullable: match nullable {
                "YES" => true,
                "NO" => false,
                other => bail!("neither YES nor NO: {other}"),
            },
            default: (!default.is_empty()).then(|| default.to_owned()),
            extra: match extra {
                "" => Extra::None,
                "AUTO_INCREMENT" => Extra::AutoIncrement,
                "ON UPDATE CURRENT_TIMESTAMP" => Extra::OnUpdate,
                "BARE_TIMESTAMP" => Extra::BareTimestamp,
                other => bail!("an extra nobody knows: {other}"),
            },
        });
        Ok(())
    }

    fn finish(self) -> Result<Table> {
        let Self { mut table, primary, pieces: [unique, index], foreign } = self;
        table.primary_key = primary.into_values().collect();
        table.unique = keys(unique);
        table.indexes = keys(index);
        let mut names: Vec<&String> = Vec::new();
        for (name, ..) in &foreign {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        for name in names {
            let mut parts: Vec<_> = foreign.iter().filter(|(key, ..)| key == name).collect();
            parts.sort_by_key(|(_, place, ..)| *place);
            let (.., [target, _, on_delete, on_update]) = parts.first().context("a foreign key has a column")?;
            table.foreign.push(ForeignKey {
                name: given(name),
                columns: parts.iter().map(|(_, _, column, _)| column.clone()).collect(),
                table: target.clone(),
                references: parts.iter().map(|(.., [_, column, ..])| column.clone()).collect(),
                on_delete: on_delete.clone(),
                on_update: on_update.clone(),
            });
        }
        Ok(table)
    }
}

fn keys(mut pieces: Vec<Piece>) -> Vec<Key> {
    let mut names: Vec<String> = Vec::new();
    for (name, ..) in &pieces {
        if !names.contains(name) {
            names.push(name.clone());
        }
    }
    pieces.sort_by_key(|(_, place, ..)| *place);
    let parts =
        |name: &str| pieces.iter().filter(|(key, ..)| key == name).map(|(_, _, c, p)| (c.clone(), *p)).collect();
    names.iter().map(|name| Key { name: given(name), parts: parts(name) }).collect()
}

fn given(name: &str) -> Option<String> {
    (!name.starts_with('~')).then(|| name.to_owned())
}

/// The file of a script.
fn text(script: Script, engine: Engine) -> &'static str {
    use Release::{V2_1, V2_6, V3_0, V3_1, V3_2};
    use Script::{ApiManager, Identity, Kernel};
    let (mysql, postgresql) = match script {
        ApiManager(V2_1) => {
            (include_str!("../facts/wso2am-2.1.0-mysql.csv"), include_str!("../facts/wso2am-2.1.0-postgresql.csv"))
        }
        ApiManager(V2_6) => {
            (include_str!("../facts/wso2am-2.6.0-mysql.csv"), include_str!("../facts/wso2am-2.6.0-postgresql.csv"))
        }
        ApiManager(V3_0) => {
            (include_str!("../facts/wso2am-3.0.0-mysql.csv"), include_str!("../facts/wso2am-3.0.0-postgresql.csv"))
        }
        ApiManager(V3_1) => {
            (include_str!("../facts/wso2am-3.1.0-mysql.csv"), include_str!("../facts/wso2am-3.1.0-postgresql.csv"))
        }
        ApiManager(V3_2) => {
            (include_str!("../facts/wso2am-3.2.0-mysql.csv"), include_str!("../facts/wso2am-3.2.0-postgresql.csv"))
        }
        Kernel(V2_1) => {
            (include_str!("../facts/shared-2.1.0-mysql.csv"), include_str!("../facts/shared-2.1.0-postgresql.csv"))
        }
        Kernel(V2_6) => {
            (include_str!("../facts/shared-2.6.0-mysql.csv"), include_str!("../facts/shared-2.6.0-postgresql.csv"))
        }
        Kernel(V3_0) => {
            (include_str!("../facts/shared-3.0.0-mysql.csv"), include_str!("../facts/shared-3.0.0-postgresql.csv"))
        }
        Kernel(V3_1 | V3_2) => {
            (include_str!("../facts/shared-3.1.0-mysql.csv"), include_str!("../facts/shared-3.1.0-postgresql.csv"))
        }
        Identity => (
            include_str!("../facts/identity-5.10.0-mysql.csv"),
            include_str!("../facts/identity-5.10.0-postgresql.csv"),
        ),
    };
    match engine {
        Engine::MySql => mysql,
        Engine::Postgres => postgresql,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ddl;

    const LINES: &str = "\
CHILD,ID,1,INTEGER,NO,,1,,,,,,AUTO_INCREMENT
CHILD,NAME,2,VARCHAR(600),YES,'x',,NAMED:2;~1:1,IDX:1(255),OWNED:2=PARENT.NAME,CASCADE,NO ACTION,
CHILD,TENANT,3,INTEGER,NO,,,NAMED:1,,OWNED:1=PARENT.TENANT,CASCADE,NO ACTION,
CHILD,MADE,4,TIMESTAMP,YES,,,,,,,,
CHILD,SEEN,5,TIMESTAMP,YES,,,,,,,,BARE_TIMESTAMP
PARENT,TENANT,1,INTEGER,NO,NEXTVAL('P_SEQ'),1,,,,,,
PARENT,NAME,2,VARCHAR(600),NO,,2,,,,,,
";

    fn statements(engine: Engine) -> Vec<String> {
        ddl::statements(&Facts::parse(&format!("{FIELDS}\n{LINES}")).unwrap(), engine)
    }

    #[test]
    fn keys_are_put_together_from_their_columns() {
        let parent = "CREATE TABLE PARENT (TENANT INTEGER NOT NULL DEFAULT NEXTVAL('P_SEQ'), NAME VARCHAR(600) NOT NULL, \
                      PRIMARY KEY (TENANT, NAME))";
        let keys = "PRIMARY KEY (ID), CONSTRAINT NAMED UNIQUE (TENANT, NAME), UNIQUE (NAME), CONSTRAINT OWNED FOREIGN KEY \
                    (TENANT, NAME) REFERENCES PARENT (TENANT, NAME) ON DELETE CASCADE)";
        let child = "CREATE TABLE CHILD (ID INTEGER NOT NULL, NAME VARCHAR(600) DEFAULT 'x', TENANT INTEGER NOT NULL, \
                     MADE TIMESTAMP, SEEN TIMESTAMP, ";
        let expected = ["CREATE SEQUENCE P_SEQ", parent, &format!("{child}{keys}"), "CREATE INDEX IDX ON CHILD (NAME)"];
        assert_eq!(statements(Engine::Postgres), expected);
        let child = "CREATE TABLE CHILD (ID INTEGER NOT NULL AUTO_INCREMENT, NAME VARCHAR(600) DEFAULT 'x', \
                     TENANT INTEGER NOT NULL, MADE TIMESTAMP NULL, SEEN TIMESTAMP, ";
        let [parent, child] = [parent.to_owned(), format!("{child}{keys}")].map(|table| table + " ENGINE=InnoDB");
        assert_eq!(statements(Engine::MySql), [&parent, &child, "CREATE INDEX IDX ON CHILD (NAME(255))"]);
    }

    #[test]
    fn malformed_lines_are_refused() {
        let with = |line: &str| Facts::parse(&format!("{FIELDS}\n{line}\n"));
        assert!(with("T,C,1,INTEGER,NO,,,,,,,,").is_ok());
        let bad = [
            "T,C,1,INTEGER,NO,,,,,,,",
            "T,C,x,INTEGER,NO,,,,,,,,",
            "T,C,1,INTEGER,MAYBE,,,,,,,,",
            "T,C,1,INTEGER,NO,,,KEY,,,,,",
            "T,C,1,INTEGER,NO,,,,,F:1=T,CASCADE,CASCADE,",
            "T,C,1,INTEGER,NO,,,,,,,,SOMETHING",
        ];
        for line in bad {
            assert!(with(line).is_err(), "{line}");
        }
        assert!(Facts::parse("table,column\n").is_err());
    }
}
