//! Signatures: that somebody whose key we know vouches for an image.
//!
//! A digest says that the bytes are the ones which were asked for, and nothing of who made them: for
//! a tag, the registry alone decides which digest that is. A signature in the format of sigstore,
//! which cosign, skopeo and podman share, closes that gap. It is itself an image in the registry:
//!
//! ```text
//! NAME:sha256-HEX.sig                     the tag, made of the signed digest    (attach)
//!   layer: {"critical": …}                the payload: this digest, this name   (payload)
//!   annotation …cosign/signature          ECDSA P-256 over the payload          (key)
//! ```
//!
//! A [`Policy`] ([`policy`]) says per registry and repository what is accepted, what is refused, and
//! what must be signed by whom; in the format of containers-policy.json(5), so that skopeo and podman
//! can be given the same file.

pub mod attach;
pub mod key;
pub mod payload;
pub mod policy;

pub use attach::{Signed, sign, signatures};
pub use key::{PrivateKey, PublicKey};
pub use payload::Payload;
pub use policy::{POLICY_FILE, Policy};
