//! The two names of a layer: what is in it, and what it stands on.
//!
//! A *diff id* is the SHA-256 of a layer's plain tar stream. A *chain id* names a layer together
//! with everything below it, so two images that share their first three layers share three
//! directories on disk, and a layer on another base is another directory.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::error::{Error, Result};

const PREFIX: &str = "sha256:";

fn parse(text: &str) -> Result<[u8; 32]> {
    let bad = || Error::Digest { text: text.to_owned() };
    let hex = text.strip_prefix(PREFIX).ok_or_else(bad)?;
    if hex.len() != 64 || hex.bytes().any(|b| !matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
        return Err(bad());
    }
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(hex.as_bytes().chunks_exact(2)) {
        // Both are ASCII hex digits, checked above.
        let digit = |b: u8| if b.is_ascii_digit() { b - b'0' } else { b - b'a' + 10 };
        *byte = digit(pair[0]) << 4 | digit(pair[1]);
    }
    Ok(bytes)
}

macro_rules! sha256_name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name([u8; 32]);

        impl $name {
            /// The 32 bytes of the digest.
            pub fn from_bytes(bytes: [u8; 32]) -> Self {
                $name(bytes)
            }

            /// The digest as 64 lower-case hex digits, without `sha256:`: fit for a file name.
            pub fn hex(&self) -> String {
                self.0.iter().map(|byte| format!("{byte:02x}")).collect()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{PREFIX}{}", self.hex())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }

        impl FromStr for $name {
            type Err = Error;

            /// Parses `sha256:` and 64 lower-case hex digits, the only form that an OCI image may
            /// use for SHA-256 (image-spec, descriptor.md).
            fn from_str(text: &str) -> Result<Self> {
                parse(text).map($name)
            }
        }

        impl TryFrom<String> for $name {
            type Error = Error;

            fn try_from(text: String) -> Result<Self> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.to_string()
            }
        }
    };
}

sha256_name! {
    /// The SHA-256 of a layer's plain (uncompressed) tar stream: an entry of `rootfs.diff_ids` in
    /// the image's config (OCI image-spec, config.md, "Layer DiffID").
    DiffId
}
sha256_name! {
    /// The SHA-256 of a layer as it is kept and sent, compressed or not: the digest of its descriptor
    /// in the image's manifest.
    BlobDigest
}
sha256_name! {
    /// A layer together with all layers below it (OCI image-spec, config.md, "Layer ChainID").
    ChainId
}

impl ChainId {
    /// The layer `diff_id` on top of `parent`, or at the bottom where there is none:
    /// `ChainID(L0) = DiffID(L0)`, `ChainID(L0|…|Ln) = SHA256(ChainID(L0|…|Ln-1) " " DiffID(Ln))`.
    pub fn of(parent: Option<&ChainId>, diff_id: &DiffId) -> ChainId {
        match parent {
            None => ChainId(diff_id.0),
            Some(parent) => ChainId(Sha256::digest(format!("{parent} {diff_id}")).into()),
        }
    }

    /// The chain ids of a whole image, bottom first, from the `diff_ids` of its config.
    pub fn chain(diff_ids: &[DiffId]) -> Vec<ChainId> {
        let mut chain = Vec::with_capacity(diff_ids.len());
        for diff_id in diff_ids {
            chain.push(ChainId::of(chain.last(), diff_id));
        }
        chain
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn diff_id(text: &str) -> DiffId {
        DiffId(Sha256::digest(text).into())
    }

    #[test]
    fn a_chain_id_hashes_the_parent_and_the_diff_id_as_text() {
        let (a, b) = (diff_id("a"), diff_id("b"));
        let chain = ChainId::chain(&[a, b]);
        assert_eq!(chain[0].hex(), a.hex());
        let by_hand: [u8; 32] = Sha256::digest(format!("{a} {b}")).into();
        assert_eq!(chain[1], ChainId(by_hand));
    }

    #[test]
    fn a_digest_is_sha256_and_64_lower_case_hex_digits() {
        let text = diff_id("a").to_string();
        assert_eq!(text.parse::<DiffId>().unwrap().to_string(), text);
        for bad in
            ["", "sha256:", &text[..70], &text.to_uppercase(), &text.replace("sha256", "md5")]
        {
            assert!(bad.parse::<DiffId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn two_bases_give_one_layer_two_chain_ids() {
        let top = diff_id("top");
        let on = |base: &str| ChainId::of(Some(&ChainId::of(None, &diff_id(base))), &top);
        assert_ne!(on("debian"), on("alpine"));
    }
}
