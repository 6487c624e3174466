//! Files made by keytool, the Java keystore API and OpenSSL (fixtures/README.md), read, altered and written again.

use super::*;
use crate::encode::hex;
use crate::jose::SigningKey;
use crate::tests::rng;
use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};

const KEYS_JKS: &[u8] = include_bytes!("fixtures/keys.jks");
const SMALL_JKS: &[u8] = include_bytes!("fixtures/small.jks");
const TRUST_JKS: &[u8] = include_bytes!("fixtures/truststore.jks");
const UNICODE_JKS: &[u8] = include_bytes!("fixtures/unicode.jks");
const KEYS_P12: &[u8] = include_bytes!("fixtures/keys.p12");
const LEGACY_P12: &[u8] = include_bytes!("fixtures/legacy.p12");
const QUICK_P12: &[u8] = include_bytes!("fixtures/quick.p12");
const TRUST_P12: &[u8] = include_bytes!("fixtures/truststore.p12");
const UNICODE_P12: &[u8] = include_bytes!("fixtures/unicode.p12");
const OPENSSL_P12: &[u8] = include_bytes!("fixtures/openssl.p12");
const TWO_PASSWORDS_P12: &[u8] = include_bytes!("fixtures/two-passwords.p12");
const JCEKS: &[u8] = include_bytes!("fixtures/sun.jceks");

fn read(bytes: &[u8], password: &str) -> Result<KeyStore, KeyStoreError> {
    KeyStore::read(bytes, StoreType::Jks, &Secret::new(password))
}

fn key(store: &KeyStore, alias: &str, password: &str) -> Result<PrivateKeyEntry, KeyStoreError> {
    store.private_key(alias, &Secret::new(password))
}

fn failure<T>(result: Result<T, KeyStoreError>) -> KeyStoreError {
    result.err().expect("this is refused")
}

#[test]
fn a_jks_file_gives_its_keys_chains_and_trusted_certificates() {
    let store = read(KEYS_JKS, "store-secret").unwrap();
    assert_eq!(store.aliases().collect::<Vec<_>>(), ["authority", "ec", "wso2carbon"]);
    assert_eq!((store.format(), store.mismatch()), (StoreType::Jks, None));
    let rsa = key(&store, "WSO2Carbon", "rsa-secret").unwrap();
    assert_eq!((rsa.alias.as_str(), rsa.chain.len()), ("wso2carbon", 2));
    assert!(rsa.created > Timestamp::from_secs(1_700_000_000));
    SigningKey::new(&rsa.pkcs8, &rsa.chain[0]).unwrap();
    let authority = store.trusted_certificates().next().unwrap();
    assert_eq!((authority.alias.as_str(), &authority.der), ("authority", &rsa.chain[1]));
    assert_eq!(store.certificate("wso2carbon").unwrap(), rsa.chain[0]);
    assert_eq!(store.certificate("authority").unwrap(), rsa.chain[1]);
    // keytool -list shows this SHA-256 of the certificate.
    assert_eq!(
        hex(&crate::hash::sha256(&rsa.chain[0])),
        "f9612c80d6cc151770b05fea564e2b1a6b93ce00639095a830c84437af0891f0"
    );
    assert_eq!(key(&store, "ec", "ec-secret").unwrap().chain.len(), 1);
    assert_eq!(key(&read(SMALL_JKS, "wso2carbon").unwrap(), "wso2carbon", "wso2carbon").unwrap().chain.len(), 1);
}

#[test]
fn pkcs12_files_hold_the_same_keys_and_certificates() {
    let jks = read(KEYS_JKS, "store-secret").unwrap();
    for file in [KEYS_P12, LEGACY_P12, QUICK_P12] {
        let store = read(file, "store-secret").unwrap();
        assert_eq!(store.format(), StoreType::Pkcs12);
        assert_eq!(store.mismatch().unwrap(), "the keystore is configured as JKS and read as PKCS12");
        assert_eq!(store.aliases().collect::<Vec<_>>(), jks.aliases().collect::<Vec<_>>());
        for (alias, password) in [("wso2carbon", "rsa-secret"), ("ec", "ec-secret")] {
            let (one, other) = (key(&jks, alias, password).unwrap(), key(&store, alias, "store-secret").unwrap());
            assert_eq!((&one.pkcs8, &one.chain), (&other.pkcs8, &other.chain), "{alias}");
        }
        assert_eq!(store.certificate("Authority").unwrap(), jks.certificate("authority").unwrap());
        assert_eq!(store.trusted_certificates().count(), 1);
    }
    for file in [TRUST_JKS, TRUST_P12] {
        let store = read(file, "trust-secret").unwrap();
        assert_eq!(store.certificate("authority").unwrap(), jks.certificate("authority").unwrap());
    }
    // No friendly name: Java counts.
    let openssl = read(OPENSSL_P12, "store-secret").unwrap();
    let (one, other) = (key(&openssl, "1", "store-secret").unwrap(), key(&jks, "wso2carbon", "rsa-secret").unwrap());
    assert_eq!((&one.pkcs8, &one.chain[0]), (&other.pkcs8, &other.chain[0]));
}

#[test]
fn aliases_and_passwords_of_jks_may_hold_any_characters() {
    let store = read(UNICODE_JKS, "läden€").unwrap();
    assert_eq!(store.aliases().collect::<Vec<_>>(), ["schlüssel 𝄞"]);
    let (ec, keys) = (key(&store, "SCHLÜSSEL 𝄞", "päss€𝄞").unwrap(), read(KEYS_JKS, "store-secret").unwrap());
    assert_eq!(ec.pkcs8, key(&keys, "ec", "ec-secret").unwrap().pkcs8);
}

#[test]
fn pkcs12_passwords_beyond_ascii_are_refused_as_such() {
    for (password, what) in [
        ("𝄞", "a password with characters beyond U+FFFF"),
        ("läden€", "a password beyond ASCII in the way Java uses it in PKCS12"),
    ] {
        assert_eq!(failure(read(UNICODE_P12, password)), KeyStoreError::Unsupported(what));
    }
    assert_eq!(failure(read(UNICODE_P12, "läden")), KeyStoreError::WrongStorePassword);
}

#[test]
fn each_cause_has_its_own_error() {
    let alias = || "wso2carbon".to_owned();
    for (file, password) in [(KEYS_JKS, "rsa-secret"), (QUICK_P12, "store-secret")] {
        assert_eq!(failure(read(file, "other")), KeyStoreError::WrongStorePassword);
        assert_eq!(failure(read(&file[..file.len() / 2], "store-secret")), KeyStoreError::Truncated);
        let longer = [file, b"\n"].concat();
        assert_eq!(failure(read(&longer, "store-secret")), KeyStoreError::Malformed("bytes after its end"));
        let store = read(file, "store-secret").unwrap();
        assert_eq!(failure(key(&store, "wso2carbon", "other")), KeyStoreError::WrongKeyPassword { alias: alias() });
        assert!(key(&store, "wso2carbon", password).is_ok());
        let refused = failure(key(&store, "authority", password));
        assert_eq!(refused, KeyStoreError::NotAKey { alias: "authority".to_owned() });
        let refused = failure(key(&store, "tls", password)).to_string();
        assert_eq!(refused, "the keystore has no alias `tls`; it has authority, ec, wso2carbon");
    }
    assert_eq!(failure(read(TWO_PASSWORDS_P12, "store-secret")), KeyStoreError::KeyPasswordDiffers);
    assert_eq!(failure(read(JCEKS, "store-secret")), KeyStoreError::Jceks);
    assert_eq!(failure(read(b"-----BEGIN CERTIFICATE-----", "")), KeyStoreError::NotAKeyStore);
    for start in [&b""[..], b"\xfe\xed", b"\xce\xce\xce", b"0", b"\x30\x82\x10"] {
        assert_eq!(failure(read(start, "")), KeyStoreError::Truncated, "{start:x?}");
    }
    assert!(matches!(failure(read(b"\x30\x80\x02\x01\x03\x00\x00", "")), KeyStoreError::Malformed(_)));
    let bytes = KEYSTORE_BYTES_MAX + 1;
    assert_eq!(failure(read(&vec![0xfe; bytes], "")), KeyStoreError::TooLarge { bytes });
    let empty = read(&JksWriter::new().finish(&Secret::new("p")), "p").unwrap();
    assert!(failure(key(&empty, "tls", "p")).to_string().ends_with("it has no entries"));
}

#[test]
fn memory_hard_key_derivation_is_refused_before_it_runs() {
    let mut file = QUICK_P12.to_vec();
    file[100..111].copy_from_slice(&[0x06, 0x09, 0x2b, 0x06, 0x01, 0x04, 0x01, 0xda, 0x47, 0x04, 0x0b]);
    assert_eq!(failure(read(&file, "store-secret")), KeyStoreError::Unsupported("scrypt"));
}

#[test]
fn pkcs12_entries_and_shared_chains_have_bounds() {
    let archive = |keys: usize| {
        let mut archive = p12_keystore::Pkcs12Archive::from_pkcs12(QUICK_P12, "store-secret").unwrap();
        let rsa = archive.keys.iter().find(|bag| bag.friendly_name.as_deref() == Some("wso2carbon")).unwrap().clone();
        archive.keys = vec![rsa; keys];
        archive
    };
    assert_eq!(pkcs12::entries(archive(5)).unwrap().len(), 2);
    let refused = failure(pkcs12::entries(archive(ENTRIES_MAX - 10)));
    assert_eq!(refused, KeyStoreError::Malformed("its certificate chains are too large"));
    assert_eq!(failure(pkcs12::entries(archive(ENTRIES_MAX))), KeyStoreError::Malformed("too many entries"));
}

#[test]
fn types_are_named_as_in_java() {
    assert_eq!(StoreType::parse("jks"), Some(StoreType::Jks));
    assert_eq!(StoreType::parse("PKCS12"), Some(StoreType::Pkcs12));
    assert_eq!(StoreType::parse("BKS"), None);
}

/// The integrity digest of a JKS file whose last 20 bytes are to be replaced.
fn sign(mut body: Vec<u8>, password: &str) -> Vec<u8> {
    let password: Vec<u8> = password.encode_utf16().flat_map(u16::to_be_bytes).collect();
    let signed = [&password[..], b"Mighty Aphrodite", &body].concat();
    body.extend_from_slice(digest(&SHA1_FOR_LEGACY_USE_ONLY, &signed).as_ref());
    body
}

#[test]
fn version_1_has_certificates_without_a_type() {
    let mut body = TRUST_JKS[..TRUST_JKS.len() - 20].to_vec();
    let at = body.windows(7).position(|window| window == b"\x00\x05X.509").unwrap();
    body.drain(at..at + 7);
    body[7] = 1;
    let store = read(&sign(body.clone(), "trust-secret"), "trust-secret").unwrap();
    let modern = read(TRUST_JKS, "trust-secret").unwrap();
    assert_eq!(store.certificate("authority"), modern.certificate("authority"));
    body[7] = 3;
    let refused = failure(read(&sign(body, "trust-secret"), "trust-secret"));
    assert_eq!(refused, KeyStoreError::Unsupported("a JKS version other than 1 and 2"));
}

#[test]
fn an_alias_in_upper_case_is_found_in_lower_case() {
    let mut body = TRUST_JKS[..TRUST_JKS.len() - 20].to_vec();
    let at = body.windows(9).position(|window| window == b"authority").unwrap();
    body[at] = b'A';
    let store = read(&sign(body, "trust-secret"), "trust-secret").unwrap();
    assert_eq!(store.aliases().collect::<Vec<_>>(), ["authority"]);
    assert!(store.certificate("AUTHORITY").is_ok());
}

#[test]
fn lengths_and_counts_of_jks_have_bounds() {
    let max = |max: usize| u32::try_from(max).unwrap();
    // Magic, version, count; tag, alias `a`, time: 27 bytes before the first field of an entry's content.
    let start = |count: u32, tag: u8| {
        [&[0xfe, 0xed, 0xfe, 0xed, 0, 0, 0, 1][..], &count.to_be_bytes(), &[0, 0, 0, tag, 0, 1, b'a'], &[0; 8]].concat()
    };
    let check = |file: Vec<u8>, length: u32, too_large: &'static str| {
        let file_of = |length: u32| [&file[..], &length.to_be_bytes()].concat();
        assert_eq!(failure(read(&file_of(length), "")), KeyStoreError::Truncated);
        assert_eq!(failure(read(&file_of(length + 1), "")), KeyStoreError::Malformed(too_large));
        assert_eq!(failure(read(&file_of(u32::MAX), "")), KeyStoreError::Malformed(too_large));
    };
    check(start(0, 0)[..8].to_vec(), max(ENTRIES_MAX), "too many entries");
    check(start(1, 1), max(KEY_BYTES_MAX), "a key is too large");
    check(start(1, 2), max(CERTIFICATE_BYTES_MAX), "a certificate is too large");
    let key = [start(1, 1), vec![0; 4]].concat();
    check(key, max(CHAIN_CERTIFICATES_MAX), "too many certificates in a chain");
    assert!(matches!(failure(read(&start(1, 3), "")), KeyStoreError::Malformed(_)));
}

#[test]
fn der_has_definite_lengths_of_at_most_four_bytes() {
    for length in [0, 0x7f, 0x80, 0xff, 0x100, 0x1_0000] {
        let element = crate::der::element(crate::der::OCTET_STRING, &vec![7; length]);
        let (header, content) = crate::der::lengths(&element).unwrap();
        assert_eq!((header + content, content), (element.len(), length));
        let mut reader = crate::der::Reader::new(&element);
        assert_eq!(reader.take(crate::der::OCTET_STRING).map(<[u8]>::len), Some(length));
        assert!(reader.is_empty());
        assert_eq!(crate::der::Reader::new(&element[..element.len() - 1]).take(element[0]), None);
    }
    for header in [&[0x30][..], &[0x30, 0x80], &[0x30, 0x85, 0, 0, 0, 0, 1, 9], &[0x30, 0x82, 1]] {
        assert_eq!(crate::der::lengths(header), None, "{header:x?}");
    }
}

/// Reads, writes and reads again; gives the written file.
fn round_trip(file: &[u8], store_password: &str, keys: &[(&str, &str)]) -> Vec<u8> {
    let before = read(file, store_password).unwrap();
    let mut writer = JksWriter::new();
    for (alias, password) in keys {
        writer.add_key(&key(&before, alias, password).unwrap(), &Secret::new(*password), &rng()).unwrap();
    }
    before.trusted_certificates().for_each(|certificate| writer.add_certificate(certificate).unwrap());
    let written = writer.finish(&Secret::new(store_password));
    let after = read(&written, store_password).unwrap();
    assert_eq!(before.aliases().collect::<Vec<_>>(), after.aliases().collect::<Vec<_>>());
    for (alias, password) in keys {
        assert_eq!(key(&before, alias, password).unwrap(), key(&after, alias, password).unwrap());
    }
    assert!(before.trusted_certificates().eq(after.trusted_certificates()));
    written
}

#[test]
fn what_is_written_reads_back_the_same() {
    let written = round_trip(KEYS_JKS, "store-secret", &[("wso2carbon", "rsa-secret"), ("ec", "ec-secret")]);
    assert_eq!(written.len(), KEYS_JKS.len());
    round_trip(UNICODE_JKS, "läden€", &[("schlüssel 𝄞", "päss€𝄞")]);
    // Without keys nothing depends on chance: the very bytes of keytool.
    assert_eq!(round_trip(TRUST_JKS, "trust-secret", &[]), TRUST_JKS);
}

#[test]
fn the_writer_keeps_the_bounds_of_the_reader() {
    let certificate = TrustedCertificate {
        alias: "a".repeat(65_536),
        created: Timestamp::from_millis(0),
        der: vec![0; CERTIFICATE_BYTES_MAX + 1],
    };
    let mut writer = JksWriter::new();
    assert_eq!(writer.add_certificate(&certificate), Err(KeyStoreError::Malformed("an alias is too long")));
    let certificate = TrustedCertificate { alias: "a".to_owned(), ..certificate };
    assert_eq!(writer.add_certificate(&certificate), Err(KeyStoreError::Malformed("a certificate is too large")));
}

/// What a reader keeps is cut from the file, so it cannot be larger.
fn bytes_kept(store: &KeyStore) -> usize {
    let of_entry = |entry: &Entry| match entry {
        Entry::Certificate(certificate) => certificate.der.len(),
        Entry::Key { key: Key::Protected(bytes), chain, .. } => bytes.len() + chain.iter().map(Vec::len).sum::<usize>(),
        Entry::Key { key: Key::Open(bytes), chain, .. } => bytes.len() + chain.iter().map(Vec::len).sum::<usize>(),
    };
    store.entries.values().map(of_entry).sum()
}

/// A reader may refuse or accept, but neither panic nor keep more than the file holds (certificates of PKCS#12 chains
/// may stand in several chains).
fn check_altered(file: &[u8], password: &str, may_be_accepted: bool) {
    if let Ok(store) = read(file, password) {
        assert!(may_be_accepted, "an altered file was accepted");
        assert!(bytes_kept(&store) <= 4 * file.len());
    }
}

#[test]
fn altered_jks_files_are_refused_without_panic() {
    for (file, password) in [(SMALL_JKS, "wso2carbon"), (TRUST_JKS, "trust-secret"), (UNICODE_JKS, "läden€")] {
        for at in 0..file.len() {
            check_altered(&file[..at], password, false);
            for bit in 0..8 {
                let mut altered = file.to_vec();
                altered[at] ^= 1 << bit;
                check_altered(&altered, password, false);
            }
        }
        check_lengths(file, |altered| check_altered(&altered, password, false));
        // The same with a correct digest: what somebody with the password could make.
        check_lengths(&file[..file.len() - 20], |body| check_altered(&sign(body, password), password, true));
    }
}

#[test]
fn altered_protected_keys_are_refused_without_panic() {
    let store = read(SMALL_JKS, "wso2carbon").unwrap();
    let Some(Entry::Key { key: Key::Protected(info), .. }) = store.entries.get("wso2carbon") else {
        panic!("the file has this key");
    };
    let open = |info: &[u8]| jks::open_key(info, &Secret::new("wso2carbon"), "wso2carbon");
    assert!(open(info).is_ok());
    let mut other = info.clone();
    let oid = info.windows(3).position(|window| window == [0x11, 0x01, 0x01]).unwrap();
    other[oid + 2] = 2;
    let refused = failure(open(&other));
    assert_eq!(refused, KeyStoreError::Unsupported("a key protection other than Sun's for JKS"));
    let refused = failure(open(&[&info[..], &[0]].concat()));
    assert_eq!(refused, KeyStoreError::Malformed("a key is not PKCS#8"));
    for at in 0..info.len() {
        assert!(open(&info[..at]).is_err());
        for bit in 0..8 {
            let mut altered = info.clone();
            altered[at] ^= 1 << bit;
            if let Ok(key) = open(&altered) {
                // Only the parameters of the algorithm, which are NULL, are neither read nor digested.
                assert!(key.len() < info.len() && altered[..at] == info[..at] && at < 24, "byte {at}");
            }
        }
    }
}

#[test]
fn altered_pkcs12_files_do_not_panic() {
    // Some bytes, such as the parameters of the MAC's digest, are neither read nor under the MAC.
    for at in 0..QUICK_P12.len() {
        check_altered(&QUICK_P12[..at], "store-secret", false);
        let mut altered = QUICK_P12.to_vec();
        altered[at] ^= 1 << (at % 8);
        check_altered(&altered, "store-secret", true);
    }
    check_lengths(QUICK_P12, |altered| check_altered(&altered, "store-secret", true));
}

/// Puts tempting lengths at every place of a small file, at every 7th of a larger one.
fn check_lengths(file: &[u8], mut check: impl FnMut(Vec<u8>)) {
    for length in [0_u32, 1, 0x1_0000, 0x7fff_ffff, u32::MAX] {
        for at in (0..file.len() - 4).step_by(if file.len() > 2_000 { 7 } else { 1 }) {
            let mut altered = file.to_vec();
            altered[at..at + 4].copy_from_slice(&length.to_be_bytes());
            if altered != file {
                check(altered);
            }
        }
    }
}
