//! Keys: ECDSA over P-256, in files as cosign keeps them.
//!
//! The public key is a PEM file that openssl reads too. The private key is encrypted: scrypt makes a
//! key of the passphrase, slowly and with much memory, and NaCl's secretbox (XSalsa20 and Poly1305)
//! encrypts the PKCS #8 document with it.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use crypto_secretbox::aead::Aead as _;
use crypto_secretbox::{KeyInit as _, Nonce, XSalsa20Poly1305};
use p256::ecdsa::signature::{Signer as _, Verifier as _};
use p256::ecdsa::{DerSignature, SigningKey, VerifyingKey};
use p256::pkcs8::{
    DecodePrivateKey as _, DecodePublicKey as _, EncodePrivateKey as _, EncodePublicKey as _,
    LineEnding,
};
use serde::{Deserialize, Serialize};

use crate::error::{At, Error, Result};

/// The label of cosign's private keys, and its newer one.
const LABELS: [&str; 2] = ["ENCRYPTED COSIGN PRIVATE KEY", "ENCRYPTED SIGSTORE PRIVATE KEY"];
/// scrypt's parameters, as cosign has them: 32 MiB and about 100 ms.
const SCRYPT: Scrypt = Scrypt { n: 1 << 15, r: 8, p: 1 };
/// The largest that is obeyed in a file: 128 MiB.
const MAX_COST: u64 = 1 << 17;
/// The largest key file that is read.
const MAX_FILE: u64 = 64 << 10;

/// A key that signs.
#[derive(Clone)]
pub struct PrivateKey(SigningKey);

/// A key that verifies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey(VerifyingKey);

#[derive(Serialize, Deserialize)]
struct Encrypted {
    kdf: Kdf,
    cipher: Cipher,
    ciphertext: String,
}

#[derive(Serialize, Deserialize)]
struct Kdf {
    name: String,
    params: Scrypt,
    salt: String,
}

#[derive(Serialize, Deserialize, Clone, Copy)]
struct Scrypt {
    #[serde(rename = "N")]
    n: u64,
    r: u32,
    p: u32,
}

#[derive(Serialize, Deserialize)]
struct Cipher {
    name: String,
    nonce: String,
}

impl std::fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PrivateKey")
    }
}

impl PrivateKey {
    /// A new key, from the kernel's random numbers.
    ///
    /// # Errors
    /// Where the kernel gives none.
    pub fn generate() -> Result<PrivateKey> {
        loop {
            // All but one in 2³² numbers of 256 bits are keys.
            if let Ok(key) = SigningKey::from_slice(&random::<32>()?) {
                return Ok(PrivateKey(key));
            }
        }
    }

    /// The public half.
    pub fn public(&self) -> PublicKey {
        PublicKey(*self.0.verifying_key())
    }

    /// Signs bytes. The same key and bytes give the same signature (RFC 6979), so no bad random
    /// number can give the key away.
    pub fn sign(&self, bytes: &[u8]) -> Vec<u8> {
        let signature: DerSignature = self.0.sign(bytes);
        signature.as_bytes().to_vec()
    }

    /// Writes the key, encrypted, into a new file that only its owner may read.
    ///
    /// # Errors
    /// `EEXIST`: a key is never overwritten.
    pub fn write(&self, path: &Path, passphrase: &[u8]) -> Result<()> {
        let text = self.encrypt(passphrase)?;
        let mut options = OpenOptions::new();
        let mut file =
            options.write(true).create_new(true).mode(0o600).open(path).at("create", path)?;
        file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).at("write", path)
    }

    /// Reads a key that cosign, skopeo or this program wrote.
    ///
    /// # Errors
    /// [`Error::Malformed`], also for a wrong passphrase.
    pub fn read(path: &Path, passphrase: &[u8]) -> Result<PrivateKey> {
        let what = path.display().to_string();
        PrivateKey::decrypt(&what, &read(path)?, passphrase)
    }

    fn encrypt(&self, passphrase: &[u8]) -> Result<String> {
        let bad = |why: &str| Error::malformed("private key", why);
        let document = self.0.to_pkcs8_der().map_err(|e| bad(&e.to_string()))?;
        let (salt, nonce) = (random::<32>()?, random::<24>()?);
        let cipher = cipher(passphrase, &salt, SCRYPT).ok_or_else(|| bad("scrypt failed"))?;
        let sealed = cipher
            .encrypt(Nonce::from_slice(&nonce), document.as_bytes())
            .map_err(|_| bad("encryption failed"))?;
        let encrypted = Encrypted {
            kdf: Kdf { name: "scrypt".into(), params: SCRYPT, salt: STANDARD.encode(salt) },
            cipher: Cipher { name: "nacl/secretbox".into(), nonce: STANDARD.encode(nonce) },
            ciphertext: STANDARD.encode(sealed),
        };
        let json = serde_json::to_vec(&encrypted).map_err(|e| bad(&e.to_string()))?;
        Ok(armour(LABELS[0], &json))
    }

    fn decrypt(what: &str, text: &str, passphrase: &[u8]) -> Result<PrivateKey> {
        let bad = |why: &str| Error::malformed(what, why);
        let json = LABELS.iter().find_map(|label| unarmour(label, text)).ok_or_else(|| {
            bad("no private key as cosign writes it: make one with `corten-registry keygen`")
        })?;
        let encrypted: Encrypted =
            serde_json::from_slice(&json).map_err(|e| bad(&e.to_string()))?;
        let names = (encrypted.kdf.name.as_str(), encrypted.cipher.name.as_str());
        if names != ("scrypt", "nacl/secretbox") {
            return Err(bad("encrypted by other means than scrypt and nacl/secretbox"));
        }
        let Scrypt { n, r, p } = encrypted.kdf.params;
        if n > MAX_COST || r > 16 || p > 4 {
            return Err(bad("its scrypt parameters ask for more than 256 MiB: refused"));
        }
        let decode = |text: &str| STANDARD.decode(text).map_err(|_| bad("not base64"));
        let (salt, nonce) = (decode(&encrypted.kdf.salt)?, decode(&encrypted.cipher.nonce)?);
        let sealed = decode(&encrypted.ciphertext)?;
        if nonce.len() != 24 {
            return Err(bad("a nonce has 24 bytes"));
        }
        let cipher = cipher(passphrase, &salt, encrypted.kdf.params)
            .ok_or_else(|| bad("its scrypt parameters are not valid"))?;
        let document = cipher
            .decrypt(Nonce::from_slice(&nonce), sealed.as_slice())
            .map_err(|_| bad("the passphrase does not fit, or the file is damaged"))?;
        let key = SigningKey::from_pkcs8_der(&document)
            .map_err(|e| bad(&format!("not an ECDSA P-256 key: {e}")))?;
        Ok(PrivateKey(key))
    }
}

impl PublicKey {
    /// Reads a PEM file.
    ///
    /// # Errors
    /// [`Error::Malformed`] for another kind of key.
    pub fn read(path: &Path) -> Result<PublicKey> {
        PublicKey::parse(&path.display().to_string(), &read(path)?)
    }

    /// Parses PEM; `what` names it in errors.
    ///
    /// # Errors
    /// As for [`PublicKey::read`].
    pub fn parse(what: &str, pem: &str) -> Result<PublicKey> {
        VerifyingKey::from_public_key_pem(pem.trim()).map(PublicKey).map_err(|e| {
            Error::malformed(what, format!("not a public ECDSA P-256 key in PEM: {e}"))
        })
    }

    /// The key as PEM.
    pub fn pem(&self) -> String {
        // A point of the curve always has an encoding.
        self.0.to_public_key_pem(LineEnding::LF).unwrap_or_default()
    }

    /// Whether `signature` is one of `bytes` by this key.
    pub fn verifies(&self, bytes: &[u8], signature: &[u8]) -> bool {
        DerSignature::from_bytes(signature).is_ok_and(|s| self.0.verify(bytes, &s).is_ok())
    }
}

/// Reads a key's file, which is small.
fn read(path: &Path) -> Result<String> {
    let length = fs::metadata(path).at("stat", path)?.len();
    if length > MAX_FILE {
        return Err(Error::TooLarge { what: path.display().to_string(), limit: MAX_FILE });
    }
    fs::read_to_string(path).at("read", path)
}

fn cipher(passphrase: &[u8], salt: &[u8], cost: Scrypt) -> Option<XSalsa20Poly1305> {
    if !cost.n.is_power_of_two() {
        return None;
    }
    let log_n = u8::try_from(cost.n.trailing_zeros()).ok()?;
    let params = scrypt::Params::new(log_n, cost.r, cost.p).ok()?;
    let mut key = [0; 32];
    scrypt::scrypt(passphrase, salt, &params, &mut key).ok()?;
    XSalsa20Poly1305::new_from_slice(&key).ok()
}

fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)
        .map_err(|e| Error::malformed("random numbers", format!("the kernel gives none: {e}")))?;
    Ok(bytes)
}

/// PEM, whose inside is JSON here.
fn armour(label: &str, bytes: &[u8]) -> String {
    let text = STANDARD.encode(bytes);
    let lines: Vec<&str> =
        (0..text.len().div_ceil(64)).map(|i| &text[i * 64..text.len().min(i * 64 + 64)]).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

fn unarmour(label: &str, text: &str) -> Option<Vec<u8>> {
    let (_, rest) = text.split_once(&format!("-----BEGIN {label}-----"))?;
    let (inside, _) = rest.split_once(&format!("-----END {label}-----"))?;
    STANDARD.decode(inside.split_whitespace().collect::<String>()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_comes_back_with_its_passphrase_only() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("k.key");
        let key = PrivateKey::generate().unwrap();
        key.write(&path, b"open sesame").unwrap();
        assert!(key.write(&path, b"again").is_err());
        let back = PrivateKey::read(&path, b"open sesame").unwrap();
        assert_eq!(back.public(), key.public());
        let error = PrivateKey::read(&path, b"guess").unwrap_err().to_string();
        assert!(error.contains("the passphrase does not fit"), "{error}");
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("-----BEGIN ENCRYPTED COSIGN PRIVATE KEY-----\n"));
        let mode =
            std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&path).unwrap().permissions());
        assert_eq!(mode & 0o777, 0o600);
        let pem = key.public().pem();
        assert_eq!(PublicKey::parse("x", &pem).unwrap(), key.public());
        assert!(PublicKey::parse("x", &text).is_err());
    }

    #[test]
    fn a_signature_is_of_these_bytes_by_this_key() {
        let (key, other) = (PrivateKey::generate().unwrap(), PrivateKey::generate().unwrap());
        let signature = key.sign(b"payload");
        assert_eq!(signature, key.sign(b"payload"));
        assert!(key.public().verifies(b"payload", &signature));
        assert!(!key.public().verifies(b"payl0ad", &signature));
        assert!(!other.public().verifies(b"payload", &signature));
        for junk in [&b""[..], b"junk", &signature[..signature.len() - 1]] {
            assert!(!key.public().verifies(b"payload", junk));
        }
    }

    #[test]
    fn a_key_file_that_asks_for_gigabytes_is_refused() {
        let key = PrivateKey::generate().unwrap();
        let text = key.encrypt(b"x").unwrap();
        let json = String::from_utf8(unarmour(LABELS[0], &text).unwrap()).unwrap();
        for (from, to) in [("32768", "1073741824"), ("\"r\":8", "\"r\":4000"), ("scrypt", "none")] {
            let forged = armour(LABELS[1], json.replace(from, to).as_bytes());
            let error = PrivateKey::decrypt("x", &forged, b"x").unwrap_err().to_string();
            assert!(error.contains("refused") || error.contains("other means"), "{error}");
        }
    }
}
