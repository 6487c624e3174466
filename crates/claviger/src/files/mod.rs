//! The data directory: made at the first start with signing key, server certificate and administrator's password.
//!
//! Owns: creating these files once and for all (never overwritten, right even when two processes start at once), reading
//! them back, one server per directory. Leaves to others: using keys (`claviger_proto::jose`, TLS), the database file.
//! Follows configuration.md 4 (roles of keys; fail early naming file and reason) for PEM files.

mod certificate;
mod pem;
mod write;

#[cfg(test)]
mod tests;

use claviger_proto::secret::Secret;
use claviger_proto::time::Timestamp;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::fs::{self, DirBuilder, File, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};

/// Signing key and certificate.
pub const SIGNING_FILE: &str = "signing.pem";
/// Certificate of the signing key alone, for other servers' trust stores.
pub const SIGNING_CERTIFICATE_FILE: &str = "signing-certificate.pem";
/// Server key and certificate.
pub const TLS_FILE: &str = "tls.pem";
/// Server certificate alone, for clients' trust stores.
pub const TLS_CERTIFICATE_FILE: &str = "tls-certificate.pem";
/// Password of the first administrator.
pub const ADMIN_PASSWORD_FILE: &str = "initial-admin-password";
/// Lock of the running server; holds its process id.
pub const LOCK_FILE: &str = "claviger.lock";
/// Days the generated signing certificate is valid. Its key id derives from it, so it outlives every token by far.
pub const SIGNING_CERTIFICATE_DAYS: i64 = 3650;
/// Days the generated server certificate is valid: the most that common clients accept.
pub const TLS_CERTIFICATE_DAYS: i64 = 825;
/// Largest PEM or password file that is read.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// What is wrong with the data directory or a key file, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// The system refused.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// The path of the data directory is something else.
    #[error("{} is not a directory; give another one with --data-dir", .0.display())]
    NotADirectory(PathBuf),
    /// A file does not hold what it should.
    #[error("{}: {reason}; put back the file from a backup, or move it away to have a new one made", path.display())]
    Broken {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        reason: &'static str,
    },
    /// Another server runs on this directory.
    #[error(
        "the data directory {} is in use by another server{}; stop it or give another directory with --data-dir",
        path.display(), pid.map(|pid| format!(" (process {pid})")).unwrap_or_default()
    )]
    InUse {
        /// Which directory.
        path: PathBuf,
        /// The other's process id, if it could be read.
        pid: Option<u32>,
    },
    /// Many unfinished files of crashed starts.
    #[error("too many unfinished files beside {}; remove those that end in .tmp", .0.display())]
    TooManyLeftovers(PathBuf),
    /// A key or certificate could not be made, for example for an impossible host name.
    #[error("cannot make a key and certificate for {0}")]
    Generate(String),
}

impl FilesError {
    fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| FilesError::Io { action, path: path.to_owned(), source }
    }
}

/// A private key with its certificate chain (leaf first), checked to belong together.
pub struct KeyPair {
    /// Certificates.
    pub chain: Vec<CertificateDer<'static>>,
    /// Key.
    pub key: PrivateKeyDer<'static>,
    /// Whether it was made just now.
    pub is_new: bool,
}

impl KeyPair {
    /// Whether the leaf is for this host name or address: a start-up warning when not (configuration.md 6.4).
    pub fn is_for_host(&self, host: &str) -> bool {
        certificate::is_for_host(&self.chain, host)
    }
}

impl std::fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyPair").field("certificates", &self.chain.len()).finish_non_exhaustive()
    }
}

/// An open data directory.
#[derive(Clone, Debug)]
pub struct DataDir {
    path: PathBuf,
}

impl DataDir {
    /// Opens the directory; makes it, readable by the owner only, when it is missing.
    pub fn open(path: &Path) -> Result<Self, FilesError> {
        let mut builder = DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        match fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => {}
            Ok(_) => return Err(FilesError::NotADirectory(path.to_owned())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                builder.create(path).map_err(FilesError::io("make the data directory", path))?;
            }
            Err(error) => return Err(FilesError::io("open the data directory", path)(error)),
        }
        Ok(Self { path: path.to_owned() })
    }

    /// The directory's path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether others than the owner may look into the directory: a start-up warning. It is not changed, because it may
    /// be a mounted volume with a group of its own.
    pub fn is_open_to_others(&self) -> bool {
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            fs::metadata(&self.path).is_ok_and(|metadata| metadata.permissions().mode() & 0o077 != 0)
        }
        #[cfg(not(unix))]
        false
    }

    /// Takes the directory for this process until the lock is dropped.
    pub fn lock(&self) -> Result<DirLock, FilesError> {
        let path = self.path.join(LOCK_FILE);
        let mut options = File::options();
        options.read(true).write(true).create(true).truncate(false);
        let mut file = options.open(&path).map_err(FilesError::io("open", &path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                let pid = (&file).take(32).read_to_string(&mut text).ok().and_then(|_| text.trim().parse().ok());
                return Err(FilesError::InUse { path: self.path.clone(), pid });
            }
            Err(TryLockError::Error(error)) => return Err(FilesError::io("lock", &path)(error)),
        }
        let write_pid = |file: &mut File| {
            file.set_len(0)?;
            file.rewind()?;
            writeln!(file, "{}", std::process::id())
        };
        write_pid(&mut file).map_err(FilesError::io("write", &path))?;
        Ok(DirLock { _file: file })
    }

    /// The signing key (RSA-2048) with its certificate; made when missing.
    pub fn signing_material(&self, now: Timestamp) -> Result<KeyPair, FilesError> {
        self.material(SIGNING_FILE, SIGNING_CERTIFICATE_FILE, || certificate::signing_pem(now))
    }

    /// The server key (ECDSA P-256) with a self-signed certificate for `host`, `localhost` and the loopback addresses;
    /// made when missing.
    pub fn tls_material(&self, host: &str, now: Timestamp) -> Result<KeyPair, FilesError> {
        self.material(TLS_FILE, TLS_CERTIFICATE_FILE, || certificate::tls_pem(host, now))
    }

    /// Key and certificate are one file, so that they appear together; the certificate's copy is derived from it.
    fn material(
        &self,
        file: &str,
        certificate_file: &str,
        make: impl FnOnce() -> Result<String, FilesError>,
    ) -> Result<KeyPair, FilesError> {
        let path = self.path.join(file);
        let is_new = if path.exists() { false } else { write::create(&path, make()?.as_bytes())? };
        let pair = pem::load_pair(&path, None)?;
        let copy = self.path.join(certificate_file);
        let text = pem::certificates_text(&pair.chain);
        if fs::read(&copy).ok().as_deref() != Some(text.as_bytes()) {
            write::replace(&copy, text.as_bytes())?;
        }
        Ok(KeyPair { is_new, ..pair })
    }

    /// Writes the made-up administrator's password, unless the file exists. True when it was written.
    pub fn create_admin_password(&self, password: &Secret) -> Result<bool, FilesError> {
        write::create(&self.path.join(ADMIN_PASSWORD_FILE), format!("{}\n", password.expose()).as_bytes())
    }

    /// The password of `create_admin_password`, until an administrator removes the file.
    pub fn read_admin_password(&self) -> Result<Option<Secret>, FilesError> {
        let path = self.path.join(ADMIN_PASSWORD_FILE);
        match pem::read_bounded(&path) {
            Ok(bytes) => {
                let text = String::from_utf8(bytes)
                    .map_err(|_| FilesError::Broken { path: path.clone(), reason: "not UTF-8 text" })?;
                let password = text.trim_end_matches(['\n', '\r']);
                if password.is_empty() {
                    return Err(FilesError::Broken { path, reason: "the file is empty" });
                }
                Ok(Some(Secret::new(password)))
            }
            Err(FilesError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// The data directory belongs to this process while this value lives. The system releases it when the process dies.
#[derive(Debug)]
pub struct DirLock {
    _file: File,
}

/// Loads key and certificates from files that the configuration names.
pub fn load_pem(certificate_file: &Path, key_file: Option<&Path>) -> Result<KeyPair, FilesError> {
    pem::load_pair(certificate_file, key_file)
}
