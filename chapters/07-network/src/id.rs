//! Identifiers: 32 random bytes in hexadecimal, as Docker has them.

/// Fills `bytes`.
pub(crate) fn random(bytes: &mut [u8]) {
    // Fails only before the kernel has gathered entropy for the first time and is asked not to wait.
    getrandom::fill(bytes).expect("the kernel has random numbers");
}

/// A new identifier.
pub(crate) fn new() -> String {
    let mut bytes = [0; 32];
    random(&mut bytes);
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Whether `text` can be one.
pub(crate) fn is_id(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}
