//! SHA-256, and how digests are written.

use sha2::{Digest, Sha256};

/// The digest of these parts, one after the other.
pub(crate) fn sha256<T: AsRef<[u8]>>(parts: impl IntoIterator<Item = T>) -> [u8; 32] {
    let all = parts.into_iter().fold(Sha256::new(), |all, p| all.chain_update(p));
    all.finalize().into()
}

/// Two small letters or digits a byte.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_those_of_the_standard() {
        // FIPS 180-2, B.1.
        let known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(hex(&sha256(["abc"])), known);
        assert_eq!(hex(&sha256(["a", "", "bc"])), known);
    }
}
