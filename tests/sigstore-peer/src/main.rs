//! Signs and verifies with sigstore's own library, so that chapter 6 is not its own only judge.
//!
//! ```text
//! sigstore-peer keygen PREFIX PASSPHRASE
//! sigstore-peer sign IMAGE KEY PASSPHRASE
//! sigstore-peer verify IMAGE PUBLIC-KEY
//! ```
#![deny(unsafe_code)]

use std::error::Error;
use std::fs;

use sigstore::cosign::constraint::{Constraint as _, PrivateKeySigner};
use sigstore::cosign::verification_constraint::PublicKeyVerifier;
use sigstore::cosign::{
    ClientBuilder, CosignCapabilities as _, SignatureLayer, verify_constraints,
};
use sigstore::crypto::SigningScheme;
use sigstore::registry::{Auth, ClientConfig, ClientProtocol, OciReference};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["keygen", prefix, passphrase] => keygen(prefix, passphrase),
        ["sign", image, key, passphrase] => sign(image, key, passphrase).await,
        ["verify", image, key] => verify(image, key).await,
        _ => Err("keygen PREFIX PASSPHRASE | sign IMAGE KEY PASSPHRASE | verify IMAGE KEY".into()),
    }
}

fn client() -> Result<sigstore::cosign::Client> {
    let config = ClientConfig { protocol: ClientProtocol::Http, ..ClientConfig::default() };
    Ok(ClientBuilder::default().with_oci_client_config(config).build()?)
}

fn keygen(prefix: &str, passphrase: &str) -> Result<()> {
    let keys = SigningScheme::ECDSA_P256_SHA256_ASN1.create_signer()?.to_sigstore_keypair()?;
    let private = keys.private_key_to_encrypted_pem(passphrase.as_bytes())?;
    fs::write(format!("{prefix}.key"), private.as_bytes())?;
    Ok(fs::write(format!("{prefix}.pub"), keys.public_key_to_pem()?)?)
}

async fn sign(image: &str, key: &str, passphrase: &str) -> Result<()> {
    let image: OciReference = image.parse()?;
    let mut client = client()?;
    let (place, digest) = client.triangulate(&image, &Auth::Anonymous).await?;
    let mut layer = SignatureLayer::new_unsigned(&image, &digest)?;
    let scheme = SigningScheme::ECDSA_P256_SHA256_ASN1;
    let passphrase = passphrase.as_bytes().to_vec();
    let signer = PrivateKeySigner::new_with_raw(fs::read(key)?.into(), passphrase.into(), &scheme)?;
    signer.add_constraint(&mut layer)?;
    client.push_signature(None, &Auth::Anonymous, &place, vec![layer]).await?;
    println!("signed {digest}");
    Ok(())
}

async fn verify(image: &str, key: &str) -> Result<()> {
    let image: OciReference = image.parse()?;
    let mut client = client()?;
    let layers = client.trusted_signature_layers(&Auth::Anonymous, &image).await?;
    let scheme = SigningScheme::ECDSA_P256_SHA256_ASN1;
    let verifier = PublicKeyVerifier::new(&fs::read(key)?, &scheme)?;
    let constraints: sigstore::cosign::verification_constraint::VerificationConstraintVec =
        vec![Box::new(verifier)];
    verify_constraints(&layers, constraints.iter()).map_err(|e| format!("not verified: {e}"))?;
    println!("verified by one of {} signatures", layers.len());
    Ok(())
}
