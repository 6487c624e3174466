//! What one key makes of one value in each release's ciphertext (contract database.md 2.4), for whoever writes a
//! [`Cipher`](crate::options::Cipher). The key has 1024 bits, as the one that came with 2.1, and was never anybody's. Made with
//! `openssl pkeyutl` (`rsa_padding_mode:none` over the value with zeros before it, and `oaep` with SHA-1) from a key and a
//! certificate of `openssl req -x509 -newkey rsa:1024`; the JSON object around a block was put together as Gson writes it.

use anyhow::Result;

/// Contents of columns that all hold [`Self::plain`], but for [`Self::empty`]. Everything but `plain` is Base64.
#[derive(Clone, Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CipherVector {
    /// The private key, PKCS#8.
    pub key_pkcs8: String,
    /// A certificate of the key, DER; ciphertext names it by its SHA-1 thumbprint.
    pub certificate: String,
    /// The value.
    pub plain: String,
    /// 2.1: the bare block without padding, the same each time.
    pub raw: String,
    /// 2.6 and later as shipped: a JSON object around an OAEP block.
    pub oaep: String,
    /// 2.6 without the property that asks for OAEP: the JSON object around the bare block.
    pub self_contained_raw: String,
    /// The empty text from 2.6 on.
    pub empty: String,
}

impl CipherVector {
    /// The vector of `vectors/ciphertext.json`.
    pub fn read() -> Result<Self> {
        Ok(serde_json::from_str(include_str!("../vectors/ciphertext.json"))?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    #[test]
    fn shapes_of_the_contract() {
        let vector = CipherVector::read().unwrap();
        assert!(vector.raw.len() <= 255, "the column of 2.1");
        assert_eq!(STANDARD.decode(&vector.raw).unwrap().len(), 128);
        let certificate = STANDARD.decode(&vector.certificate).unwrap();
        let thumbprint = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY, &certificate);
        let thumbprint = crate::db::hex(thumbprint.as_ref()).to_uppercase();
        let (oaep, raw) = ("RSA/ECB/OAEPwithSHA1andMGF1Padding", "RSA");
        for (column, transformation, length) in
            [(&vector.oaep, oaep, 128), (&vector.self_contained_raw, raw, 128), (&vector.empty, oaep, 0)]
        {
            let text = String::from_utf8(STANDARD.decode(column).unwrap()).unwrap();
            assert!(text.starts_with(r#"{"c":""#) && !text.contains('='), "{text}");
            let object: serde_json::Value = serde_json::from_str(&text).unwrap();
            assert_eq!(
                (&object["t"], &object["tp"], &object["tpd"]),
                (&transformation.into(), &thumbprint.clone().into(), &"SHA-1".into())
            );
            assert_eq!(STANDARD.decode(object["c"].as_str().unwrap()).unwrap().len(), length);
        }
        let bare: serde_json::Value =
            serde_json::from_slice(&STANDARD.decode(&vector.self_contained_raw).unwrap()).unwrap();
        assert_eq!(bare["c"], vector.raw.as_str(), "without padding there is one ciphertext");
    }
}
