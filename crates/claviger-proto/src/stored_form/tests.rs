//! Vectors of the contract, of BouncyCastle with Gson, and of OpenSSL (vectors.txt); then our own texts read back.

use super::*;
use crate::encode::{base64, from_base64};
use crate::keystore::{KeyStore, StoreType};
use crate::tests::rng;

const TOKEN: &str = "3a1b2c3d-0000-4000-8000-1234567890ab";
const OAEP: CipherForm = CipherForm::Holder(Transformation::Oaep);

fn vector(name: &str) -> &'static str {
    let mut lines = include_str!("vectors.txt").lines().filter_map(|line| line.split_once(' '));
    lines.find(|(first, _)| *first == name).expect("the vector exists").1
}

fn cipher_key(file: &[u8], store_password: &str, key_password: &str) -> CipherKey {
    let store = KeyStore::read(file, StoreType::Jks, &Secret::new(store_password)).unwrap();
    let entry = store.private_key("wso2carbon", &Secret::new(key_password)).unwrap();
    CipherKey::new(&entry.pkcs8, &entry.chain[0]).unwrap()
}

fn key_1024() -> CipherKey {
    cipher_key(include_bytes!("../keystore/fixtures/small.jks"), "wso2carbon", "wso2carbon")
}

fn key_2048() -> CipherKey {
    cipher_key(include_bytes!("../keystore/fixtures/keys.jks"), "store-secret", "rsa-secret")
}

fn encrypted(present: CipherKey, former: Vec<CipherKey>, form: CipherForm) -> StoredForm {
    StoredForm::Encrypted(Arc::new(Cipher::new(present, former, form)))
}

fn text(form: &StoredForm, column: &str) -> String {
    form.read(column).unwrap().text().expect("the value can be had").expose().to_owned()
}

fn failure<T>(result: Result<T, StoredFormError>) -> StoredFormError {
    result.err().expect("this is refused")
}

#[test]
fn plain_columns_hold_the_value_itself() {
    let form = StoredForm::default();
    assert_eq!(form.store(TOKEN, &rng()).unwrap(), TOKEN);
    assert_eq!(text(&form, TOKEN), TOKEN);
    assert!(form.matches(TOKEN, TOKEN));
    assert!(!form.matches(TOKEN, &TOKEN.to_uppercase()) && !form.matches(TOKEN, &TOKEN[1..]));
    assert_eq!((form.lookup(TOKEN).as_deref(), form.column_chars("läden")), (Some(TOKEN), 5));
    // A leaked hash column presented as a value is a value like any other.
    let hash = HashedValue::of(TOKEN, &HashAlgorithm::default()).to_column();
    assert!(!form.matches(&hash, TOKEN));
}

#[test]
fn hashed_columns_follow_the_vectors() {
    let check = |algorithm: &str, hex: &str| {
        let form = StoredForm::Hashed(HashAlgorithm::parse(algorithm).unwrap());
        let column = format!(r#"{{"hash":"{hex}","algorithm":"{algorithm}"}}"#);
        assert_eq!(form.store(TOKEN, &rng()).unwrap(), column);
        assert_eq!(form.lookup(TOKEN).as_ref(), Some(&column));
        assert_eq!(form.column_chars(TOKEN), column.len());
        assert!(form.matches(&column, TOKEN) && !form.matches(&column, "other"), "{algorithm}");
        assert!(!form.matches(&column, &column) && !form.matches(TOKEN, TOKEN), "{algorithm}");
        assert!(form.read(&column).unwrap().text().is_none());
        column.len()
    };
    // The first is the contract's; the others are of md5sum, sha1sum, sha384sum and sha512sum.
    let default = "cc9f33cb7596e6e31c1e4298bbd142afcac9029be7b0a33fb7e6ec30af6cfc04";
    assert_eq!(check("SHA-256", default), 97);
    check("sha-256", default);
    check("MD5", "122de53aa298986bd4fee0e0248106ff");
    check("SHA-1", "aa41d197b685976a54e4b48083077b0bde02461b");
    check("SHA1", "aa41d197b685976a54e4b48083077b0bde02461b");
    check(
        "SHA-384",
        "6335cacf26f22ff4e8d0b427e7e68df940cbfc2c1d0069341c5afb22e8a27c81389977a4dd32b7b305e9060518552d99",
    );
    check(
        "SHA-512",
        "ec1781103319c99ef93bb1c4486dba7c02e74c09162def7b3ff5346de0cf19a771c0630db18e933b4a9192bf6bcf8f61eaf81350055593d1671ea662b72b474b",
    );
    assert_eq!(HashAlgorithm::parse("MD2"), None);
}

#[test]
fn a_hash_is_read_with_its_own_algorithm_and_in_either_order() {
    let form = StoredForm::Hashed(HashAlgorithm::parse("SHA-512").unwrap());
    let hex = "cc9f33cb7596e6e31c1e4298bbd142afcac9029be7b0a33fb7e6ec30af6cfc04";
    assert!(form.matches(&format!(r#"{{"algorithm":"SHA-256","hash":"{hex}"}}"#), TOKEN));
    assert!(!form.matches(&format!(r#"{{"algorithm":"SHA-1","hash":"{hex}"}}"#), TOKEN));
    for column in ["", "{}", r#"{"hash":"zz","algorithm":"MD5"}"#, r#"{"hash":"00","algorithm":"CRC"}"#] {
        assert_eq!(failure(form.read(column)), StoredFormError::NotHashed, "{column}");
    }
}

#[test]
fn what_wso2_and_openssl_encrypted_is_read() {
    for form in [CipherForm::Block, OAEP] {
        // Each key alone, whatever form is written now.
        let (small, large) = (encrypted(key_1024(), vec![], form), encrypted(key_2048(), vec![], form));
        for name in ["bc_raw", "bc_oaep", "openssl_raw", "openssl_oaep"] {
            assert_eq!(text(&small, vector(&format!("{name}1024"))), TOKEN, "{name}");
            assert_eq!(text(&large, vector(&format!("{name}2048"))), TOKEN, "{name}");
        }
        assert_eq!(text(&large, vector("bc_holder_raw2048")), TOKEN);
        assert_eq!(text(&large, vector("bc_utf8_oaep2048")), "päss€");
        assert_eq!(text(&large, vector("bc_empty2048")), "");
        assert_eq!(text(&large, ""), "");
        assert!(large.matches(vector("bc_oaep2048"), TOKEN) && !large.matches(vector("bc_oaep2048"), "other"));
    }
}

#[test]
fn unpadded_texts_are_the_very_texts_of_wso2() {
    let holder_raw = CipherForm::Holder(Transformation::Raw);
    for (form, name) in [
        (encrypted(key_1024(), vec![], CipherForm::Block), "bc_raw1024"),
        (encrypted(key_2048(), vec![], CipherForm::Block), "bc_raw2048"),
        (encrypted(key_2048(), vec![], holder_raw), "bc_holder_raw2048"),
    ] {
        let column = form.store(TOKEN, &rng()).unwrap();
        assert_eq!(column, vector(name));
        assert_eq!(form.lookup(TOKEN).as_ref(), Some(&column));
        assert_eq!(form.column_chars(TOKEN), column.len());
    }
}

#[test]
fn oaep_texts_have_the_object_of_wso2_around_another_block_each_time() {
    for (key, name, text_max) in [(key_1024(), "bc_oaep1024", 86), (key_2048(), "bc_oaep2048", 214)] {
        let form = encrypted(key, vec![], OAEP);
        let rng = rng();
        let (one, other) = (form.store(TOKEN, &rng).unwrap(), form.store(TOKEN, &rng).unwrap());
        assert_ne!(one, other);
        assert_eq!((text(&form, &one), text(&form, &other)), (TOKEN.to_owned(), TOKEN.to_owned()));
        // Byte for byte the vector but for the block itself, whose padding must stand as an escape.
        let frame = |column: &str| {
            let json = String::from_utf8(from_base64(column).unwrap()).unwrap();
            let start = json.find(r"\u003d").unwrap();
            (json[..6].to_owned(), start, json[start..].to_owned())
        };
        assert_eq!(frame(&one), frame(vector(name)));
        assert_eq!((form.column_chars(TOKEN), form.lookup(TOKEN)), (one.len(), None));
        let longest = "x".repeat(text_max);
        assert_eq!(text(&form, &form.store(&longest, &rng).unwrap()), longest);
        let refused = failure(form.store(&format!("{longest}x"), &rng));
        assert_eq!(refused, StoredFormError::TooLong { bytes: text_max + 1, bytes_max: text_max });
    }
    let form = encrypted(key_2048(), vec![], OAEP);
    assert_eq!(form.store("", &rng()).unwrap(), vector("bc_empty2048"));
    assert_eq!(form.column_chars(""), vector("bc_empty2048").len());
}

#[test]
fn a_column_of_2_1_takes_only_small_keys() {
    // database.md 2.4: VARCHAR(255); 172 and 344 characters.
    assert_eq!(encrypted(key_1024(), vec![], CipherForm::Block).column_chars(TOKEN), 172);
    assert_eq!(encrypted(key_2048(), vec![], CipherForm::Block).column_chars(TOKEN), 344);
}

#[test]
fn unpadded_blocks_drop_zero_bytes_at_the_beginning() {
    let form = encrypted(key_1024(), vec![], CipherForm::Block);
    let column = form.store("", &rng()).unwrap();
    assert_eq!((from_base64(&column).unwrap(), text(&form, &column)), (vec![0; 128], String::new()));
    assert_eq!(failure(form.store("\0a", &rng())), StoredFormError::LeadingNul);
    let longest = "\u{7f}".repeat(127);
    assert_eq!(text(&form, &form.store(&longest, &rng()).unwrap()), longest);
    assert_eq!(failure(form.store(&"a".repeat(128), &rng())), StoredFormError::TooLong { bytes: 128, bytes_max: 127 });
}

#[test]
fn values_of_former_keys_stay_readable() {
    let form = encrypted(key_2048(), vec![key_1024()], OAEP);
    for name in ["bc_raw1024", "bc_raw2048", "bc_oaep1024", "bc_oaep2048"] {
        assert_eq!(text(&form, vector(name)), TOKEN, "{name}");
    }
    assert!(text(&form, &form.store(TOKEN, &rng()).unwrap()) == TOKEN);
    // A certificate that was renewed for the same key: another thumbprint, the value stays readable.
    let StoredForm::Encrypted(cipher) = &form else { panic!("it is encrypted") };
    let thumbprint = format!("{cipher:?}").rsplit_once(", ").unwrap().1.trim_end_matches(')').to_owned();
    let json = String::from_utf8(from_base64(vector("bc_oaep1024")).unwrap()).unwrap();
    assert!(json.contains(&thumbprint));
    let renewed = base64(json.replace(&thumbprint, &"AB".repeat(20)).as_bytes());
    assert_eq!(text(&form, &renewed), TOKEN);
}

#[test]
fn a_wrong_key_gives_one_clear_error() {
    let form = encrypted(key_2048(), vec![], OAEP);
    let refused = failure(form.read(vector("bc_oaep1024"))).to_string();
    assert!(refused.ends_with("SHA-1 thumbprint 96E21258D40280AAD01AFB33CB8B472322B2107D"), "{refused}");
    assert_eq!(failure(form.read(vector("bc_raw1024"))), StoredFormError::NotDecrypted);
    // A thumbprint by another digest names no key of ours and none of others.
    let json = String::from_utf8(from_base64(vector("bc_oaep1024")).unwrap()).unwrap();
    let other_digest = base64(json.replace("SHA-1", "SHA-256").as_bytes());
    assert_eq!(failure(form.read(&other_digest)), StoredFormError::NotDecrypted);
    assert!(!form.matches(vector("bc_raw1024"), TOKEN));
}

#[test]
fn damaged_texts_give_errors_that_do_not_tell_padding_from_content() {
    let form = encrypted(key_1024(), vec![], OAEP);
    let json = String::from_utf8(from_base64(vector("bc_oaep1024")).unwrap()).unwrap();
    let block = serde_json::from_str::<serde_json::Value>(&json).unwrap()["c"].as_str().unwrap().to_owned();
    let bytes = from_base64(&block).unwrap();
    for at in (0..bytes.len()).step_by(9) {
        let mut altered = bytes.clone();
        altered[at] ^= 0x10;
        let holder = format!(r#"{{"c":"{}","t":"RSA/ECB/OAEPwithSHA1andMGF1Padding"}}"#, base64(&altered));
        assert_eq!(failure(form.read(&base64(holder.as_bytes()))), StoredFormError::NotDecrypted);
    }
    let holder = |t: &str| base64(format!(r#"{{"c":"{}","t":"{t}"}}"#, base64(&bytes)).as_bytes());
    // The block of the one transformation under the name of the other, and beyond the modulus.
    assert_eq!(failure(form.read(&holder("RSA"))), StoredFormError::NotDecrypted);
    assert_eq!(failure(form.read(&base64(&[0xff; 128]))), StoredFormError::NotDecrypted);
    assert_eq!(failure(form.read(&base64(&bytes[1..]))), StoredFormError::NotDecrypted);
    // 1 is its own decryption, but not a whole block; nor is a plain secret that is Base64 by chance.
    assert_eq!(failure(form.read(&base64(&[1]))), StoredFormError::NotEncrypted);
    assert_eq!(failure(form.read("pRvLxVpPbN3ujMvDYzMxjQ3kmq4a")), StoredFormError::NotEncrypted);
    assert_eq!(text(&form, &holder("RSA/NONE/OAEPWithSHA-1AndMGF1Padding")), TOKEN);
    let unknown = "RSA/ECB/PKCS1Padding".to_owned();
    assert_eq!(failure(form.read(&holder(&unknown))), StoredFormError::Transformation(unknown));
    for column in [TOKEN, "?", &"A".repeat(STORED_BYTES_MAX + 4), &base64(br#"{"c":"?"}"#)] {
        assert_eq!(failure(form.read(column)), StoredFormError::NotEncrypted);
    }
    // Without `t` it is RSA.
    let holder = format!(r#"{{"c":"{}"}}"#, vector("bc_raw1024"));
    assert_eq!(text(&form, &base64(holder.as_bytes())), TOKEN);
}

#[test]
fn altered_columns_do_not_panic() {
    let form = encrypted(key_1024(), vec![], OAEP);
    let json = from_base64(vector("bc_oaep1024")).unwrap();
    for at in 0..json.len() {
        let mut altered = json.clone();
        altered[at] ^= 1 << (at % 7);
        // Cut to nothing it is the empty text.
        for column in [base64(&altered), base64(&json[..at.max(1)])] {
            // A change in the names of certificate and digest, or in the case of the transformation, does no harm.
            assert!(form.read(&column).is_err() || at > 180, "byte {at}");
        }
    }
}

#[test]
fn only_rsa_keys_of_1024_bit_or_more_encrypt() {
    let store = include_bytes!("../keystore/fixtures/keys.jks");
    let store = KeyStore::read(store, StoreType::Jks, &Secret::new("store-secret")).unwrap();
    let ec = store.private_key("ec", &Secret::new("ec-secret")).unwrap();
    assert_eq!(failure(CipherKey::new(&ec.pkcs8, &ec.chain[0])), StoredFormError::Key);
    assert_eq!(failure(CipherKey::new(b"", b"")), StoredFormError::Key);
    let short = include_bytes!("../keystore/fixtures/rsa768.der");
    assert_eq!(failure(CipherKey::new(short, b"")), StoredFormError::Key);
}

#[test]
fn nothing_secret_is_printed() {
    let form = encrypted(key_1024(), vec![], OAEP);
    let printed = format!("{form:?} {:?} {:?}", form.read(vector("bc_oaep1024")), StoredForm::default().read(TOKEN));
    assert!(!printed.contains(TOKEN) && printed.contains("96E21258D40280AAD01AFB33CB8B472322B2107D"), "{printed}");
}
