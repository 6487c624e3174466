//! A file of a secondary user store, `userstores/<DOMAIN>.xml`, as one checked value (contract users-ldap.md 2.3 and 3.4,
//! database.md 5.3).
//!
//! Owns: the XML, which properties are read, why a store cannot be used. Leaves to others: finding the files and decrypting
//! (`startup::user_stores`), asking the store (`users`). What the old server's class would not know either is left alone; what
//! would change the users that we read is refused by name.

use super::database::{DatabaseUrl, UrlError, parse_url};
use claviger_proto::password::{PasswordDigest, PasswordForm};
use claviger_proto::secret::Secret;
use claviger_proto::user::{NameRule, PRIMARY};
use quick_xml::escape::resolve_predefined_entity;
use quick_xml::events::{BytesStart, Event};
use quick_xml::{Reader, XmlVersion};
use std::collections::BTreeMap;

/// Largest file, in bytes. The console writes some 30 KiB.
pub const FILE_BYTES_MAX: usize = 256 * 1024;
/// The root, its properties, and what others put into theirs.
const DEPTH_MAX: usize = 8;
/// Width of `USER_DOMAIN` of tokens and clients.
const DOMAIN_CHARS_MAX: usize = 50;
/// Domains that mean something else (users-ldap.md 3.1).
const RESERVED: [&str; 5] = [PRIMARY, "INTERNAL", "APPLICATION", "WORKFLOW", "SYSTEM"];
const PACKAGE: &str = "org.wso2.carbon.user.core.jdbc.";
const CLASSES: [&str; 2] = ["JDBCUserStoreManager", "UniqueIDJDBCUserStoreManager"];
/// Connections to one store when its file does not say.
const CONNECTIONS_MAX: u32 = 10;
/// Wait for one of them, in milliseconds, when its file does not say.
const WAIT_MS: u64 = 2_000;
/// Longest such wait: who has no domain in his name waits for every store.
const WAIT_MS_MAX: u64 = 10_000;
/// A shorter wait would be over before a connection is made.
const WAIT_MS_MIN: u64 = 100;
/// Beginnings of the properties whose statements read what we read.
const READ_STATEMENTS: [&str; 3] = ["SelectUser", "UserRoleSQL", "GetUserPropertiesForProfile"];
/// The words of those statements as the old server ships them.
const USUAL_WORDS: [&str; 24] = [
    "SELECT",
    "FROM",
    "WHERE",
    "AND",
    "LOWER",
    "JOIN",
    "INNER",
    "ON",
    "AS",
    "IN",
    "UM_USER",
    "UM_ROLE",
    "UM_USER_ROLE",
    "UM_USER_ATTRIBUTE",
    "UM_ID",
    "UM_USER_ID",
    "UM_USER_NAME",
    "UM_TENANT_ID",
    "UM_ROLE_ID",
    "UM_ROLE_NAME",
    "UM_ATTR_NAME",
    "UM_ATTR_VALUE",
    "UM_PROFILE_ID",
    "UM_SHARED_ROLE",
];

/// What a file says.
#[derive(Debug)]
pub struct UserStoreFile {
    /// `DomainName`, upper case.
    pub domain: String,
    /// `Disabled`: there, and nobody's.
    pub is_disabled: bool,
    /// `url`, with `userName`; without the password.
    pub url: DatabaseUrl,
    /// `password`.
    pub password: FilePassword,
    /// `PasswordDigest`, `StoreSaltedPassword`.
    pub form: PasswordForm,
    /// `CaseInsensitiveUsername`.
    pub name_rule: NameRule,
    /// `ReadGroups`: has the store roles of its own?
    pub are_groups_read: bool,
    /// `SharedGroupEnabled`: roles of other tenants, which are not read.
    pub has_shared_groups: bool,
    /// `maxActive`.
    pub connections_max: u32,
    /// `maxWait`, milliseconds.
    pub wait_ms_max: u64,
}

/// The database's password as the file has it.
#[derive(Debug)]
pub enum FilePassword {
    /// As it is.
    Plain(Secret),
    /// `encrypted="true"`: one cipher text of the old server's key (database.md 2.4).
    Encrypted(String),
}

/// Why a file's store cannot be used. Never repeats a value that may be a secret.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum UserStoreError {
    /// Not well-formed, too deep, or with a document type.
    #[error("it is not well-formed XML, or has a document type")]
    NotXml,
    /// Another document.
    #[error("its root element is not `UserStoreManager`")]
    Root,
    /// An LDAP directory.
    #[error("its class `{0}` reads an LDAP directory, and users in LDAP directories are not supported")]
    Ldap(String),
    /// Any other class.
    #[error(
        "its class `{0}` is not known; `{PACKAGE}JDBCUserStoreManager` and `{PACKAGE}UniqueIDJDBCUserStoreManager` are"
    )]
    Class(String),
    /// A property that a store needs.
    #[error("the property `{0}` is missing")]
    Missing(&'static str),
    /// A property with a value that is not understood.
    #[error("the property `{0}` has a value that is not understood")]
    Value(&'static str),
    /// A domain that means something else, or that no table can hold.
    #[error(
        "`DomainName` is a reserved word, has another sign than ASCII, has / or @, or is longer than {DOMAIN_CHARS_MAX} characters"
    )]
    Domain,
    /// The old server would not load it either.
    #[error("the file must be called as its domain is, with `_` for `.`: `{0}.xml`")]
    FileName(String),
    /// A name that only the old server's runtime can resolve.
    #[error("the property `{0}` names a variable of the old server's runtime (${{...}}); write its value")]
    Variable(String),
    /// A password outside the file.
    #[error("the property `{0}` stands in the secure vault, which cannot be read; write its value, or its cipher text")]
    Vault(String),
    /// A data source in the place of a URL.
    #[error(
        "the property `dataSource` names a data source of the old server's runtime; write `url`, `userName` and `password`"
    )]
    DataSource,
    /// H2.
    #[error("its `url` is of an H2 database, which cannot be read")]
    H2,
    /// Another URL that cannot be used.
    #[error("the property `url`: {0}")]
    Url(#[from] UrlError),
    /// A statement of the administrator's.
    #[error("the property `{0}` replaces a statement by another one, which is not obeyed: the users would be others")]
    Statement(String),
}

/// Reads a file's text; `stem` is its name without `.xml`.
pub fn parse(text: &str, stem: &str) -> Result<UserStoreFile, UserStoreError> {
    let document = Document::decode(text)?;
    check_class(&document.class)?;
    let domain = document.required("DomainName")?.to_uppercase();
    let is_reserved = RESERVED.contains(&domain.as_str());
    // In names on the wires ASCII letters alone have an upper case.
    if is_reserved || !domain.is_ascii() || domain.contains(['/', '@']) || domain.len() > DOMAIN_CHARS_MAX {
        return Err(UserStoreError::Domain);
    }
    if stem.replace('_', ".").to_uppercase() != domain && stem.to_uppercase() != domain {
        return Err(UserStoreError::FileName(domain.replace('.', "_")));
    }
    document.check_statements()?;
    let url = document.url()?;
    let form = PasswordForm { digest: document.digest()?, is_salted: document.flag("StoreSaltedPassword", false)? };
    let is_case_ignored = document.flag("CaseInsensitiveUsername", false)?;
    Ok(UserStoreFile {
        is_disabled: document.flag("Disabled", false)?,
        url,
        password: document.password()?,
        form,
        name_rule: if is_case_ignored { NameRule::AnyCase } else { NameRule::Exact },
        are_groups_read: document.flag("ReadGroups", true)?,
        has_shared_groups: document.flag("SharedGroupEnabled", false)?,
        connections_max: document.bound("maxActive", CONNECTIONS_MAX)?.min(50),
        wait_ms_max: document.bound("maxWait", WAIT_MS)?.clamp(WAIT_MS_MIN, WAIT_MS_MAX),
        domain,
    })
}

fn check_class(class: &str) -> Result<(), UserStoreError> {
    if class.strip_prefix(PACKAGE).is_some_and(|name| CLASSES.contains(&name)) {
        return Ok(());
    }
    let is_ldap = ["LDAP", "ActiveDirectory"].iter().any(|word| class.contains(word));
    Err(if is_ldap { UserStoreError::Ldap(class.to_owned()) } else { UserStoreError::Class(class.to_owned()) })
}

/// The element and its properties, as they stand there.
#[derive(Default)]
struct Document {
    class: String,
    properties: BTreeMap<String, Property>,
}

#[derive(Default)]
struct Property {
    text: String,
    is_encrypted: bool,
    is_in_vault: bool,
}

impl Document {
    fn decode(text: &str) -> Result<Self, UserStoreError> {
        let mut reader = Reader::from_str(text.trim_start_matches('\u{feff}'));
        let mut document = None;
        let mut depth = 0;
        // The property that is being read.
        let mut open: Option<(String, Property)> = None;
        loop {
            match reader.read_event().map_err(|_| UserStoreError::NotXml)? {
                Event::Start(start) => {
                    depth += 1;
                    open = document_opened(&mut document, depth, &start)?.or(open);
                }
                Event::Empty(start) => {
                    if let Some((name, property)) = document_opened(&mut document, depth + 1, &start)? {
                        insert(&mut document, name, property);
                    }
                }
                Event::End(_) => {
                    if depth == 2
                        && let Some((name, property)) = open.take()
                    {
                        insert(&mut document, name, property);
                    }
                    depth -= 1;
                }
                Event::Text(text) => push(&mut open, &text.xml10_content()),
                Event::CData(text) => push(&mut open, &text.xml10_content()),
                Event::GeneralRef(reference) => match reference.resolve_char_ref() {
                    Ok(Some(letter)) => push(&mut open, letter.encode_utf8(&mut [0; 4])),
                    Ok(None) => {
                        push(&mut open, resolve_predefined_entity(&reference).ok_or(UserStoreError::NotXml)?);
                    }
                    Err(_) => return Err(UserStoreError::NotXml),
                },
                Event::Comment(_) | Event::Decl(_) | Event::PI(_) => {}
                Event::Eof if depth == 0 => return document.ok_or(UserStoreError::NotXml),
                Event::DocType(_) | Event::Eof => return Err(UserStoreError::NotXml),
            }
            if depth > DEPTH_MAX {
                return Err(UserStoreError::NotXml);
            }
        }
    }

    /// A property that says something.
    fn get(&self, name: &str) -> Result<Option<&str>, UserStoreError> {
        let Some(property) = self.properties.get(name) else { return Ok(None) };
        if property.is_in_vault {
            return Err(UserStoreError::Vault(name.to_owned()));
        }
        let text = property.text.trim();
        if text.contains("${") {
            return Err(UserStoreError::Variable(name.to_owned()));
        }
        Ok((!text.is_empty()).then_some(text))
    }

    fn required(&self, name: &'static str) -> Result<&str, UserStoreError> {
        self.get(name)?.ok_or(UserStoreError::Missing(name))
    }

    /// As Java reads one, but that a word which is neither is told.
    fn flag(&self, name: &'static str, default: bool) -> Result<bool, UserStoreError> {
        match self.get(name)? {
            None => Ok(default),
            Some(word) if word.eq_ignore_ascii_case("true") => Ok(true),
            Some(word) if word.eq_ignore_ascii_case("false") => Ok(false),
            Some(_) => Err(UserStoreError::Value(name)),
        }
    }

    /// A bound of the pool. Zero and less mean none to the product's pools, which is not to be had here.
    fn bound<T: TryFrom<i64>>(&self, name: &'static str, default: T) -> Result<T, UserStoreError> {
        let Some(text) = self.get(name)? else { return Ok(default) };
        let number: i64 = text.parse().map_err(|_| UserStoreError::Value(name))?;
        Ok(T::try_from(number).ok().filter(|_| number > 0).unwrap_or(default))
    }

    /// Without the property a password is not digested at all (database.md 5.2).
    fn digest(&self) -> Result<PasswordDigest, UserStoreError> {
        let Some(word) = self.get("PasswordDigest")? else { return Ok(PasswordDigest::PlainText) };
        match word.to_ascii_uppercase().as_str() {
            "SHA-256" | "SHA256" => Ok(PasswordDigest::Sha256),
            "SHA-384" | "SHA384" => Ok(PasswordDigest::Sha384),
            "SHA-512" | "SHA512" => Ok(PasswordDigest::Sha512),
            "SHA" | "SHA-1" | "SHA1" => Ok(PasswordDigest::Sha1),
            "MD5" => Ok(PasswordDigest::Md5),
            "PLAIN_TEXT" => Ok(PasswordDigest::PlainText),
            _ => Err(UserStoreError::Value("PasswordDigest")),
        }
    }

    fn url(&self) -> Result<DatabaseUrl, UserStoreError> {
        if self.get("dataSource")?.is_some() {
            return Err(UserStoreError::DataSource);
        }
        let parsed = parse_url(self.required("url")?)?;
        if parsed.is_h2 {
            return Err(UserStoreError::H2);
        }
        let mut url = parsed.url;
        if let Some(server) = url.server_mut() {
            match self.get("userName")? {
                Some(user) => user.clone_into(&mut server.user),
                None if server.user.is_empty() => return Err(UserStoreError::Missing("userName")),
                None => {}
            }
        }
        Ok(url)
    }

    fn password(&self) -> Result<FilePassword, UserStoreError> {
        let Some(property) = self.properties.get("password") else { return Ok(FilePassword::Plain(Secret::new(""))) };
        if property.is_in_vault {
            return Err(UserStoreError::Vault("password".to_owned()));
        }
        let text = property.text.trim();
        Ok(if property.is_encrypted {
            FilePassword::Encrypted(text.split_whitespace().collect())
        } else {
            FilePassword::Plain(Secret::new(text))
        })
    }

    /// The console writes every statement of the old server into its files, as shipped. One with a word, a constant or a
    /// condition of its own selects other users.
    fn check_statements(&self) -> Result<(), UserStoreError> {
        for (name, property) in &self.properties {
            let is_read = READ_STATEMENTS.iter().any(|start| name.starts_with(start));
            if is_read && !is_usual(&property.text) {
                return Err(UserStoreError::Statement(name.clone()));
            }
        }
        Ok(())
    }
}

fn is_usual(statement: &str) -> bool {
    let is_sign = |letter: char| letter.is_whitespace() || "*?=(),.;".contains(letter);
    let mut words = statement.split(is_sign).filter(|word| !word.is_empty());
    words.all(|word| USUAL_WORDS.iter().any(|usual| usual.eq_ignore_ascii_case(word)))
}

/// An element begins: the root, or a property of it with what its attributes say. Others are nothing to us.
fn document_opened(
    document: &mut Option<Document>,
    depth: usize,
    start: &BytesStart<'_>,
) -> Result<Option<(String, Property)>, UserStoreError> {
    let attribute = |name: &str| {
        let found = start.attributes().flatten().find(|attribute| attribute.key.local_name().as_ref() == name);
        let value = found
            .map(|attribute| attribute.normalized_value(XmlVersion::Implicit1_0).map(std::borrow::Cow::into_owned));
        value.transpose().map_err(|_| UserStoreError::NotXml)
    };
    let name = start.local_name();
    match (depth, name.as_ref()) {
        (1, "UserStoreManager") if document.is_none() => {
            let class = attribute("class")?.unwrap_or_default().trim().to_owned();
            *document = Some(Document { class, ..Document::default() });
            Ok(None)
        }
        (1, _) => Err(UserStoreError::Root),
        (2, "Property") => {
            let Some(name) = attribute("name")? else { return Ok(None) };
            let is_encrypted = attribute("encrypted")?.is_some_and(|word| word.eq_ignore_ascii_case("true"));
            let is_in_vault = attribute("secretAlias")?.is_some();
            Ok(Some((name.trim().to_owned(), Property { text: String::new(), is_encrypted, is_in_vault })))
        }
        _ => Ok(None),
    }
}

fn insert(document: &mut Option<Document>, name: String, property: Property) {
    if let Some(document) = document {
        // Of two the last one counts.
        document.properties.insert(name, property);
    }
}

fn push(open: &mut Option<(String, Property)>, text: &str) {
    if let Some((_, property)) = open {
        property.text.push_str(text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(class: &str, properties: &str) -> String {
        format!("<?xml version=\"1.0\"?>\n<UserStoreManager class=\"{class}\">{properties}</UserStoreManager>")
    }

    const JDBC: &str = "org.wso2.carbon.user.core.jdbc.JDBCUserStoreManager";
    const URL: &str = "<Property name=\"url\">jdbc:mysql://db:3307/hr?useSSL=false&amp;autoReconnect=true</Property>\
                       <Property name=\"userName\">hr</Property>";

    fn read(properties: &str) -> Result<UserStoreFile, UserStoreError> {
        parse(
            &file(JDBC, &format!("<Property name=\"DomainName\">hr.Example</Property>{URL}{properties}")),
            "HR_example",
        )
    }

    fn refused(properties: &str) -> UserStoreError {
        read(properties).map(drop).unwrap_err()
    }

    #[test]
    fn what_a_file_says() {
        let store =
            read("<Property name=\"password\">p&amp;&#119;</Property><Property name=\"Description\"/>").unwrap();
        assert_eq!(store.domain, "HR.EXAMPLE");
        assert_eq!(store.url.label(), "mysql db:3307/hr");
        assert_eq!(store.url.server().unwrap().user, "hr");
        let FilePassword::Plain(password) = &store.password else { panic!("{store:?}") };
        assert_eq!(password.expose(), "p&w");
        // What the class does without the property, not what the console offers.
        assert_eq!(store.form, PasswordForm { digest: PasswordDigest::PlainText, is_salted: false });
        assert_eq!((store.name_rule, store.are_groups_read), (NameRule::Exact, true));
        assert!(!store.is_disabled && !store.has_shared_groups);
        assert_eq!((store.connections_max, store.wait_ms_max), (CONNECTIONS_MAX, WAIT_MS));
        let store = read(
            "<Property name='PasswordDigest'>SHA-512</Property><Property name='StoreSaltedPassword'>true</Property>\
             <Property name='CaseInsensitiveUsername'>TRUE</Property><Property name='ReadGroups'>false</Property>\
             <Property name='Disabled'>true</Property><Property name='maxActive'>5000</Property>\
             <Property name='maxWait'>60000</Property>\
             <Property encrypted='true' name='password'>QUJD\n  RA==</Property>",
        );
        let store = store.unwrap();
        assert_eq!(store.form, PasswordForm { digest: PasswordDigest::Sha512, is_salted: true });
        assert_eq!((store.name_rule, store.are_groups_read, store.is_disabled), (NameRule::AnyCase, false, true));
        assert_eq!((store.connections_max, store.wait_ms_max), (50, WAIT_MS_MAX));
        assert!(matches!(&store.password, FilePassword::Encrypted(text) if text == "QUJDRA=="), "{store:?}");
    }

    #[test]
    fn what_cannot_be_used_is_said_by_name() {
        let ldap = "org.wso2.carbon.user.core.ldap.ReadWriteLDAPUserStoreManager";
        assert_eq!(parse(&file(ldap, ""), "x").map(drop).unwrap_err(), UserStoreError::Ldap(ldap.to_owned()));
        let own = "com.acme.JDBCUserStoreManager";
        assert_eq!(parse(&file(own, ""), "x").map(drop).unwrap_err(), UserStoreError::Class(own.to_owned()));
        assert_eq!(parse(&file(JDBC, ""), "x").map(drop).unwrap_err(), UserStoreError::Missing("DomainName"));
        let named = |domain: &str, stem: &str| {
            parse(&file(JDBC, &format!("<Property name='DomainName'>{domain}</Property>{URL}")), stem).map(drop)
        };
        assert_eq!(named("Hr", "hr"), Ok(()));
        for domain in ["primary", "Internal", "a/b", "a@b", "h\u{fc}r", &"d".repeat(51)] {
            assert_eq!(named(domain, domain), Err(UserStoreError::Domain), "{domain}");
        }
        assert_eq!(named("hr.example", "other"), Err(UserStoreError::FileName("HR_EXAMPLE".to_owned())));
        for (properties, expected) in [
            ("<Property name='PasswordDigest'>PBKDF2</Property>", UserStoreError::Value("PasswordDigest")),
            ("<Property name='Disabled'>maybe</Property>", UserStoreError::Value("Disabled")),
            ("<Property name='maxWait'>soon</Property>", UserStoreError::Value("maxWait")),
            ("<Property name='url'>${hr.url}</Property>", UserStoreError::Variable("url".to_owned())),
            ("<Property name='url'/>", UserStoreError::Missing("url")),
            ("<Property name='url'>jdbc:h2:./hr</Property>", UserStoreError::H2),
            ("<Property name='url'>jdbc:oracle:thin:@db:1521/hr</Property>", UserStoreError::Url(UrlError::Engine)),
            ("<Property name='userName'/>", UserStoreError::Missing("userName")),
            ("<Property name='dataSource'>jdbc/HR</Property>", UserStoreError::DataSource),
            (
                "<Property name='password' svns:secretAlias='a'>x</Property>",
                UserStoreError::Vault("password".to_owned()),
            ),
            (
                "<Property name='SelectUserSQL'>SELECT * FROM UM_USER WHERE UM_USER_NAME=? AND UM_ENABLED=1</Property>",
                UserStoreError::Statement("SelectUserSQL".to_owned()),
            ),
        ] {
            assert_eq!(refused(properties), expected, "{properties}");
        }
    }

    #[test]
    fn shipped_statements_are_no_change() {
        let shipped = "<Property name='SelectUserSQL'>SELECT * FROM UM_USER WHERE UM_USER_NAME=? AND UM_TENANT_ID=?</Property>\
                       <Property name='SelectUserSQLCaseInsensitive'>SELECT * FROM UM_USER WHERE LOWER(UM_USER_NAME)=LOWER(?) \
                       AND UM_TENANT_ID=?</Property>\
                       <Property name='UserRoleSQL'>SELECT UM_ROLE_NAME FROM UM_USER_ROLE, UM_ROLE, UM_USER WHERE \
                       UM_USER.UM_USER_NAME=? AND UM_USER.UM_ID=UM_USER_ROLE.UM_USER_ID AND UM_ROLE.UM_TENANT_ID=?</Property>\
                       <Property name='AddUserSQL'>INSERT INTO ELSEWHERE (A) VALUES ('b')</Property>";
        assert!(read(shipped).is_ok());
        let changed = "<Property name='UserRoleSQL'>SELECT UM_ROLE_NAME FROM UM_ROLE WHERE UM_TENANT_ID=7</Property>";
        assert_eq!(refused(changed), UserStoreError::Statement("UserRoleSQL".to_owned()));
    }

    #[test]
    fn bad_xml_is_told_from_other_trouble() {
        for text in ["", "<UserStoreManager", "<UserStoreManager>", "<!DOCTYPE a><UserStoreManager/>", "no XML"] {
            assert_eq!(parse(text, "x").map(drop).unwrap_err(), UserStoreError::NotXml, "{text}");
        }
        let entity = file(JDBC, "<Property name='DomainName'>&other;</Property>");
        assert_eq!(parse(&entity, "x").map(drop).unwrap_err(), UserStoreError::NotXml);
        assert_eq!(parse("<Realm/>", "x").map(drop).unwrap_err(), UserStoreError::Root);
    }
}
