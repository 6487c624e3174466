//! WSO2's cipher texts (CryptoUtil, CipherHolder): one RSA block, bare or in a JSON object, in Base64.
//!
//! Only for values that WSO2 stored so. Both forms are read whatever is configured: bytes that are a JSON object with `c`
//! name their transformation, all others are an unpadded block, whose leading zero bytes BouncyCastle drops (measured).

use super::StoredFormError;
use crate::encode::{base64, from_base64, hex};
use crate::entropy::Entropy;
use crate::hash::sha256;
use crate::secret::Secret;
use aws_lc_rs::rsa::{OAEP_SHA1_MGF1SHA1, OaepPrivateDecryptingKey, PrivateDecryptingKey};
use aws_lc_rs::{digest, hmac};
use rsa::hazmat::{rsa_decrypt_and_check, rsa_encrypt};
use rsa::pkcs8::DecodePrivateKey as _;
use rsa::rand_core::{TryCryptoRng, TryRng};
use rsa::traits::{PrivateKeyParts as _, PublicKeyParts as _};
use rsa::{BoxedUint, Oaep, RsaPrivateKey};
use serde::Deserialize;
use sha1::Sha1;
use std::convert::Infallible;
use std::fmt;
use zeroize::Zeroizing;

/// Smallest key, in bits. The key store of 4.4.11 has 1024, which is refused for signatures and TLS.
pub const KEY_BITS_MIN: usize = 1024;
/// Largest key, in bits.
pub const KEY_BITS_MAX: usize = 8192;
/// Longest column that is looked at, in bytes. The largest key (8192 bit) needs about 2100.
pub const STORED_BYTES_MAX: usize = 8 * 1024;
/// What OAEP with SHA-1 takes from a block, in bytes (RFC 8017 section 7.1.1).
const OAEP_BYTES: usize = 42;
/// Digest of the thumbprint, the only one that WSO2 writes.
const THUMBPRINT_DIGEST: &str = "SHA-1";
/// `=` as Gson writes it in a text.
const GSON_EQUALS: &str = "\\u003d";

/// What is done with a text before and after RSA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transformation {
    /// No padding: deterministic. BouncyCastle's meaning of `RSA`.
    Raw,
    /// OAEP with SHA-1 and MGF1 with SHA-1 (RFC 8017 section 7.1).
    Oaep,
}

impl Transformation {
    /// The name that WSO2 ships for it (`org.wso2.CipherTransformation`, member `t`).
    pub fn name(self) -> &'static str {
        match self {
            Self::Raw => "RSA",
            Self::Oaep => "RSA/ECB/OAEPwithSHA1andMGF1Padding",
        }
    }

    /// From a Java transformation: RSA by itself, or with mode ECB or NONE and one of BouncyCastle's names of the padding.
    pub fn parse(name: &str) -> Option<Self> {
        let normal = name.to_ascii_lowercase().replace('-', "");
        let padding = match normal.split('/').collect::<Vec<_>>()[..] {
            ["rsa"] => return Some(Self::Raw),
            ["rsa", "ecb" | "none", padding] => padding,
            _ => return None,
        };
        match padding {
            "nopadding" => Some(Self::Raw),
            "oaeppadding" | "oaepwithsha1andmgf1padding" => Some(Self::Oaep),
            _ => None,
        }
    }
}

/// The form in which values are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CipherForm {
    /// The bare unpadded block: 2.1, and 3.1 or 3.2 without a configured transformation.
    Block,
    /// The JSON object: 2.6 and later. Without a configured transformation 2.6 writes `Raw`.
    Holder(Transformation),
}

/// A private key with the thumbprint of its certificate.
pub struct CipherKey {
    private: RsaPrivateKey,
    thumbprint: String,
    blinding: hmac::Key,
    /// For OAEP; `None` below 2048 bit, which aws-lc refuses. Six times as fast as `private`.
    fast: Option<OaepPrivateDecryptingKey>,
}

impl CipherKey {
    /// From a PKCS#8 private key and its certificate (both DER), as a keystore gives them.
    pub fn new(pkcs8: &[u8], certificate: &[u8]) -> Result<Self, StoredFormError> {
        let private = RsaPrivateKey::from_pkcs8_der(pkcs8).map_err(|_| StoredFormError::Key)?;
        let has_size = |bits| (KEY_BITS_MIN..=KEY_BITS_MAX).contains(&bits);
        if !usize::try_from(private.n().bits()).is_ok_and(has_size) {
            return Err(StoredFormError::Key);
        }
        let thumbprint = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, certificate);
        let exponent = Zeroizing::new(private.d().to_be_bytes());
        let blinding = hmac::Key::new(hmac::HMAC_SHA256, &sha256(&exponent));
        let fast = PrivateDecryptingKey::from_pkcs8(pkcs8).ok().and_then(|key| OaepPrivateDecryptingKey::new(key).ok());
        Ok(Self { private, thumbprint: hex(thumbprint.as_ref()).to_ascii_uppercase(), blinding, fast })
    }

    /// SHA-1 of the certificate as the cipher texts name it (`tp`): upper-case hexadecimal.
    pub fn thumbprint(&self) -> &str {
        &self.thumbprint
    }

    /// Is it too short to sign, or to be a server's (less than 2048 bits)? It may still decrypt what it encrypted.
    pub fn is_short(&self) -> bool {
        self.fast.is_none()
    }

    /// Bytes of a block: the modulus' length.
    fn block_bytes(&self) -> usize {
        self.private.size()
    }

    fn encrypt(&self, plain: &[u8], by: Transformation, rng: &dyn Entropy) -> Result<Vec<u8>, StoredFormError> {
        let bytes_max = match by {
            // An unpadded text of the full length may exceed the modulus; one byte less never does.
            Transformation::Raw => self.block_bytes() - 1,
            Transformation::Oaep => self.block_bytes() - OAEP_BYTES,
        };
        if plain.len() > bytes_max {
            return Err(StoredFormError::TooLong { bytes: plain.len(), bytes_max });
        }
        match by {
            Transformation::Raw if plain.first() == Some(&0) => Err(StoredFormError::LeadingNul),
            Transformation::Raw => {
                let text = self.number(plain).ok_or(StoredFormError::NotEncrypted)?;
                let block = rsa_encrypt(&self.private, &text).map_err(|_| StoredFormError::Key)?.to_be_bytes();
                Ok(block[block.len() - self.block_bytes()..].to_vec())
            }
            Transformation::Oaep => {
                let public = self.private.as_public_key();
                public.encrypt(&mut Random(rng), Oaep::<Sha1>::new(), plain).map_err(|_| StoredFormError::Key)
            }
        }
    }

    /// `None` for whatever reason.
    fn decrypt(&self, block: &[u8], by: Transformation) -> Option<Secret> {
        if block.len() != self.block_bytes() {
            return None;
        }
        let mut rng = Blinding::new(&self.blinding, block);
        let bytes = match (by, &self.fast) {
            (Transformation::Raw, _) => {
                let number = rsa_decrypt_and_check(&self.private, Some(&mut rng), &self.number(block)?).ok()?;
                let bytes = Zeroizing::new(Zeroizing::new(number).to_be_bytes());
                bytes.iter().copied().skip_while(|byte| *byte == 0).collect()
            }
            (Transformation::Oaep, None) => self.private.decrypt_blinded(&mut rng, Oaep::<Sha1>::new(), block).ok()?,
            (Transformation::Oaep, Some(fast)) => {
                let mut buffer = Zeroizing::new(vec![0; fast.min_output_size()]);
                fast.decrypt(&OAEP_SHA1_MGF1SHA1, block, &mut buffer, None).ok()?.to_vec()
            }
        };
        String::from_utf8(bytes).ok().map(Secret::from)
    }

    /// Big-endian bytes in the modulus' precision, which the arithmetic wants.
    fn number(&self, bytes: &[u8]) -> Option<BoxedUint> {
        BoxedUint::from_be_slice(bytes, self.private.n_bits_precision()).ok()
    }
}

/// Encrypts with the present key, decrypts with the present and former ones.
pub struct Cipher {
    keys: Vec<CipherKey>,
    form: CipherForm,
}

impl Cipher {
    /// `former` are the keys of earlier key stores, whose values may still be in the database.
    pub fn new(present: CipherKey, former: Vec<CipherKey>, form: CipherForm) -> Self {
        Self { keys: [present].into_iter().chain(former).collect(), form }
    }

    /// The column's text for a value.
    pub fn encrypt(&self, plain: &str, rng: &dyn Entropy) -> Result<String, StoredFormError> {
        let key = self.present();
        match self.form {
            CipherForm::Block => Ok(base64(&key.encrypt(plain.as_bytes(), Transformation::Raw, rng)?)),
            CipherForm::Holder(by) => {
                let is_empty = plain.is_empty();
                let block = if is_empty { Vec::new() } else { key.encrypt(plain.as_bytes(), by, rng)? };
                Ok(base64(key.holder(&base64(&block), by).as_bytes()))
            }
        }
    }

    /// The value of a column, in either form and for any of the keys. The certificate that the text names goes first,
    /// but is no condition: a renewed certificate may have the same key, and WSO2 does not look at it.
    pub fn decrypt(&self, column: &str) -> Result<Secret, StoredFormError> {
        if column.len() > STORED_BYTES_MAX {
            return Err(StoredFormError::NotEncrypted);
        }
        let bytes = from_base64(column).ok_or(StoredFormError::NotEncrypted)?;
        let Ok(holder) = serde_json::from_slice::<Holder>(&bytes) else {
            // A plain value may be Base64 by chance; a block is as long as its key, and a damaged one not much shorter.
            let unread = if bytes.len() < KEY_BITS_MIN / 16 {
                StoredFormError::NotEncrypted
            } else {
                StoredFormError::NotDecrypted
            };
            return self.open(&bytes, Transformation::Raw, None).ok_or(unread);
        };
        let block = from_base64(&holder.c).ok_or(StoredFormError::NotEncrypted)?;
        let by = Transformation::parse(&holder.t).ok_or(StoredFormError::Transformation(holder.t))?;
        let thumbprint = holder.tp.filter(|_| holder.tpd.is_none_or(|digest| digest == THUMBPRINT_DIGEST));
        self.open(&block, by, thumbprint.as_deref()).ok_or_else(|| match thumbprint {
            Some(thumbprint) if !self.keys.iter().any(|key| key.has_thumbprint(&thumbprint)) => {
                StoredFormError::UnknownKey { thumbprint }
            }
            _ => StoredFormError::NotDecrypted,
        })
    }

    /// Longest text in bytes for [`Cipher::encrypt`].
    pub fn plain_bytes_max(&self) -> usize {
        match self.form {
            CipherForm::Block | CipherForm::Holder(Transformation::Raw) => self.present().block_bytes() - 1,
            CipherForm::Holder(Transformation::Oaep) => self.present().block_bytes() - OAEP_BYTES,
        }
    }

    /// Length of the column's text for a text of `plain_bytes`: the same for every text but the empty one.
    pub fn column_chars(&self, plain_bytes: usize) -> usize {
        let key = self.present();
        let block = vec![0; key.block_bytes()];
        match self.form {
            CipherForm::Block => base64(&block).len(),
            CipherForm::Holder(by) => {
                let block = if plain_bytes == 0 { &[][..] } else { &block };
                base64(key.holder(&base64(block), by).as_bytes()).len()
            }
        }
    }

    /// The text that encrypting gives each time, if it does so.
    pub(super) fn lookup(&self, plain: &str) -> Option<String> {
        /// Unpadded encryption asks for no randomness.
        struct Unused;
        impl Entropy for Unused {
            fn fill(&self, _: &mut [u8]) {
                unreachable!("unpadded RSA takes no randomness");
            }
        }
        match self.form {
            CipherForm::Block | CipherForm::Holder(Transformation::Raw) => self.encrypt(plain, &Unused).ok(),
            CipherForm::Holder(Transformation::Oaep) => None,
        }
    }

    fn present(&self) -> &CipherKey {
        &self.keys[0]
    }

    /// Tries the keys, the named one first. A wrong key gives random bytes, which are not UTF-8, or a wrong padding.
    fn open(&self, block: &[u8], by: Transformation, thumbprint: Option<&str>) -> Option<Secret> {
        if block.is_empty() {
            return Some(Secret::new(""));
        }
        let is_named = |key: &&CipherKey| thumbprint.is_some_and(|thumbprint| key.has_thumbprint(thumbprint));
        let named = self.keys.iter().filter(is_named);
        let others = self.keys.iter().filter(|key| !is_named(key));
        named.chain(others).find_map(|key| key.decrypt(block, by))
    }
}

impl CipherKey {
    fn has_thumbprint(&self, thumbprint: &str) -> bool {
        self.thumbprint.eq_ignore_ascii_case(thumbprint)
    }

    /// The JSON object as Gson writes it.
    fn holder(&self, block: &str, by: Transformation) -> String {
        format!(
            r#"{{"c":"{}","t":"{}","tp":"{}","tpd":"{THUMBPRINT_DIGEST}"}}"#,
            block.replace('=', GSON_EQUALS),
            by.name(),
            self.thumbprint
        )
    }
}

impl fmt::Debug for Cipher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let thumbprints: Vec<&str> = self.keys.iter().map(CipherKey::thumbprint).collect();
        write!(f, "Cipher({:?}, {})", self.form, thumbprints.join(", "))
    }
}

#[derive(Deserialize)]
struct Holder {
    c: String,
    #[serde(default = "default_transformation")]
    t: String,
    tp: Option<String>,
    tpd: Option<String>,
}

fn default_transformation() -> String {
    Transformation::Raw.name().to_owned()
}

/// Our source of randomness under the library's name.
struct Random<'a>(&'a dyn Entropy);

impl TryRng for Random<'_> {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        self.0.fill(&mut bytes);
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0; 8];
        self.0.fill(&mut bytes);
        Ok(u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        self.0.fill(bytes);
        Ok(())
    }
}

impl TryCryptoRng for Random<'_> {}

/// The factors that hide a block from the private operation's timing: HMAC-SHA256 under a digest of the private key, so
/// that nobody else can foresee them and reading a column needs no source of randomness.
struct Blinding {
    key: hmac::Key,
    count: u64,
}

impl Blinding {
    fn new(secret: &hmac::Key, block: &[u8]) -> Self {
        Self { key: hmac::Key::new(hmac::HMAC_SHA256, hmac::sign(secret, block).as_ref()), count: 0 }
    }
}

impl TryRng for Blinding {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0; 8];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        for chunk in bytes.chunks_mut(digest::SHA256_OUTPUT_LEN) {
            let block = hmac::sign(&self.key, &self.count.to_be_bytes());
            self.count += 1;
            chunk.copy_from_slice(&block.as_ref()[..chunk.len()]);
        }
        Ok(())
    }
}

impl TryCryptoRng for Blinding {}
