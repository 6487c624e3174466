//! Tests of the data directory, on real directories below the system's temporary one.

use super::*;
use claviger_proto::jose::SigningKey;
use std::sync::Barrier;
use std::sync::atomic::{AtomicU32, Ordering};

const NOW: Timestamp = Timestamp::from_secs(1_780_000_000);

/// A directory of its own for one test, removed afterwards.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("claviger-files-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        Self(std::env::temp_dir().join(name))
    }

    fn open(&self) -> DataDir {
        DataDir::open(&self.0.join("a/data")).unwrap()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[cfg(unix)]
fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt as _;
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn leftovers(dir: &DataDir) -> Vec<String> {
    let names = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.contains("tmp")).collect()
}

#[test]
fn material_is_made_once_and_read_back() {
    let scratch = Scratch::new();
    let dir = scratch.open();
    let signing = dir.signing_material(NOW).unwrap();
    let tls = dir.tls_material("am.example.com", NOW).unwrap();
    assert!(signing.is_new && tls.is_new);
    SigningKey::new(signing.key.secret_der(), &signing.chain[0]).unwrap();
    for host in ["am.example.com", "localhost", "127.0.0.1", "::1"] {
        assert!(tls.is_for_host(host), "{host}");
    }
    assert!(!tls.is_for_host("other.example.com"));

    let again = scratch.open();
    let (signing_again, tls_again) = (again.signing_material(NOW).unwrap(), again.tls_material("other", NOW).unwrap());
    assert!(!signing_again.is_new && !tls_again.is_new);
    assert_eq!(signing_again.chain, signing.chain);
    assert_eq!(signing_again.key.secret_der(), signing.key.secret_der());
    assert_eq!(tls_again.chain, tls.chain);
    let exported = fs::read_to_string(dir.path().join(TLS_CERTIFICATE_FILE)).unwrap();
    assert!(exported.contains("CERTIFICATE") && !exported.contains("KEY"));
    assert!(leftovers(&dir).is_empty());
    #[cfg(unix)]
    for (file, expected) in [(".", 0o700), (SIGNING_FILE, 0o600), (TLS_FILE, 0o600)] {
        assert_eq!(mode(&dir.path().join(file)), expected, "{file}");
    }
    assert!(!dir.is_open_to_others());
}

#[test]
fn addresses_and_localhost_get_certificates_and_impossible_names_an_error() {
    for host in ["localhost", "127.0.0.1", "10.0.0.7", "::1"] {
        let scratch = Scratch::new();
        assert!(scratch.open().tls_material(host, NOW).unwrap().is_for_host(host), "{host}");
    }
    let error = Scratch::new().open().tls_material("b\u{fc}cher", NOW).unwrap_err();
    assert!(matches!(error, FilesError::Generate(_)), "{error}");
}

#[test]
fn of_many_starts_at_once_one_makes_the_key_and_all_use_it() {
    let scratch = Scratch::new();
    let barrier = Barrier::new(8);
    let chains: Vec<(bool, Vec<u8>)> = std::thread::scope(|scope| {
        let start = || {
            barrier.wait();
            let pair = scratch.open().tls_material("localhost", NOW).unwrap();
            (pair.is_new, pair.chain[0].to_vec())
        };
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(start)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(chains.iter().filter(|(is_new, _)| *is_new).count(), 1);
    assert!(chains.iter().all(|(_, certificate)| *certificate == chains[0].1));
    assert!(leftovers(&scratch.open()).is_empty());
}

#[test]
fn leftovers_of_a_crash_are_stepped_over_and_nothing_is_overwritten() {
    let scratch = Scratch::new();
    let dir = scratch.open();
    fs::write(dir.path().join(".tls.pem.0.tmp"), "half").unwrap();
    assert!(dir.tls_material("localhost", NOW).unwrap().is_new);
    let path = dir.path().join("file");
    assert!(write::create(&path, b"first").unwrap());
    assert!(!write::create(&path, b"second").unwrap());
    assert_eq!(fs::read(&path).unwrap(), b"first");
    write::replace(&path, b"third").unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"third");
}

#[test]
fn broken_files_are_named_and_kept() {
    let scratch = Scratch::new();
    let dir = scratch.open();
    let tls = dir.tls_material("localhost", NOW).unwrap();
    let other = Scratch::new();
    let other_tls = other.open().tls_material("localhost", NOW).unwrap();
    let certificate = pem::certificates_text(&tls.chain);
    let foreign_key = pem::block("PRIVATE KEY", other_tls.key.secret_der());
    let table = [
        (String::new(), "no CERTIFICATE block"),
        ("garbage".to_owned(), "no CERTIFICATE block"),
        (certificate.clone(), "no PRIVATE KEY block"),
        (format!("{certificate}{foreign_key}"), "not that of the certificate"),
        (certificate + &pem::block("PRIVATE KEY", b"x"), "the private key cannot be read"),
    ];
    let path = dir.path().join(TLS_FILE);
    for (text, reason) in table {
        fs::write(&path, &text).unwrap();
        let message = dir.tls_material("localhost", NOW).unwrap_err().to_string();
        assert!(message.contains(reason) && message.contains(TLS_FILE), "{message}");
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
    }
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    assert!(dir.tls_material("localhost", NOW).unwrap_err().to_string().contains(TLS_FILE));
}

#[test]
fn pem_files_may_be_one_or_two() {
    let scratch = Scratch::new();
    let dir = scratch.open();
    dir.tls_material("localhost", NOW).unwrap();
    let (both, alone) = (dir.path().join(TLS_FILE), dir.path().join(TLS_CERTIFICATE_FILE));
    assert_eq!(load_pem(&both, None).unwrap().chain, load_pem(&alone, Some(&both)).unwrap().chain);
    assert!(load_pem(&alone, None).unwrap_err().to_string().contains("no PRIVATE KEY"));
    assert!(load_pem(&dir.path().join("absent.pem"), None).unwrap_err().to_string().contains("absent.pem"));
}

#[test]
fn a_second_server_is_refused_with_the_first_ones_process_id() {
    let scratch = Scratch::new();
    let lock = scratch.open().lock().unwrap();
    let message = scratch.open().lock().unwrap_err().to_string();
    assert!(message.contains(&format!("(process {})", std::process::id())), "{message}");
    drop(lock);
    scratch.open().lock().unwrap();
}

#[test]
fn admin_password_is_written_once() {
    let scratch = Scratch::new();
    let dir = scratch.open();
    assert!(dir.read_admin_password().unwrap().is_none());
    assert!(dir.create_admin_password(&Secret::new("one")).unwrap());
    assert!(!dir.create_admin_password(&Secret::new("two")).unwrap());
    assert_eq!(dir.read_admin_password().unwrap().unwrap().expose(), "one");
    #[cfg(unix)]
    assert_eq!(mode(&dir.path().join(ADMIN_PASSWORD_FILE)), 0o600);
    fs::write(dir.path().join(ADMIN_PASSWORD_FILE), "\n").unwrap();
    assert!(dir.read_admin_password().unwrap_err().to_string().contains("empty"));
}

#[test]
fn a_file_in_place_of_the_directory_is_refused() {
    let scratch = Scratch::new();
    let dir = scratch.open();
    let path = dir.path().join("file");
    fs::write(&path, "").unwrap();
    assert!(matches!(DataDir::open(&path), Err(FilesError::NotADirectory(_))));
    assert!(DataDir::open(&path.join("below")).is_err());
}
