//! API tokens: `weir_` and 32 random bytes in base 62. Only their SHA-256 is kept.

use std::fmt::Write;

use rand::TryRngCore;
use sha2::{Digest, Sha256};
use weir_error::Secret;

const PREFIX: &str = "weir_";
const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// Digits of 256 bits in base 62.
const LENGTH: usize = 43;
/// Characters that are kept in clear, to recognise a token by: seven of the random digits.
const SHOWN: usize = 12;

/// A new token.
#[derive(Debug)]
pub struct NewSecret {
    /// The token itself: for its owner, once.
    pub secret: Secret,
    /// Its first characters.
    pub prefix: String,
    /// Its SHA-256, lower-case hexadecimal.
    pub hash: String,
}

/// Makes a token from the operating system's random numbers.
///
/// # Panics
/// When the operating system has no random numbers: nothing that is safe can be made then.
pub fn new_token() -> NewSecret {
    let mut bytes = [0_u8; 32];
    #[expect(clippy::expect_used, reason = "without random numbers there is no token to give")]
    rand::rngs::OsRng.try_fill_bytes(&mut bytes).expect("the operating system gives random numbers");
    let secret = format!("{PREFIX}{}", base62(bytes));
    NewSecret { prefix: secret[..SHOWN].to_owned(), hash: hash(&secret), secret: Secret::new(secret) }
}

/// The SHA-256 of a token, lower-case hexadecimal. The token has 256 random bits: no salt and no slow hash are needed.
pub fn hash(token: &str) -> String {
    Sha256::digest(token.as_bytes()).iter().fold(String::with_capacity(64), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Whether a text has the shape of a token; what has not is not looked up.
pub(super) fn looks_like_one(text: &str) -> bool {
    text.strip_prefix(PREFIX).is_some_and(|rest| rest.len() == LENGTH && rest.bytes().all(|byte| byte.is_ascii_alphanumeric()))
}

/// A 256-bit number in base 62, with leading zeros.
fn base62(mut number: [u8; 32]) -> String {
    let mut digits = [b'0'; LENGTH];
    for digit in digits.iter_mut().rev() {
        let mut remainder = 0_u32;
        for byte in &mut number {
            let value = (remainder << 8) | u32::from(*byte);
            *byte = (value / 62) as u8;
            remainder = value % 62;
        }
        *digit = DIGITS[remainder as usize];
    }
    digits.iter().map(|digit| char::from(*digit)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_long_enough_and_its_hash_is_sha_256() {
        let (one, other) = (new_token(), new_token());
        let text = one.secret.expose();
        assert!(looks_like_one(text) && text.starts_with(&one.prefix) && one.prefix.len() == 12);
        assert_ne!(text, other.secret.expose());
        assert_eq!(one.hash, hash(text));
        assert_eq!(hash("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert!(!format!("{one:?}").contains(text), "a token does not print itself");
    }

    #[test]
    fn base_62_holds_all_256_bits() {
        assert_eq!(base62([0; 32]), "0".repeat(43));
        let mut one = [0; 32];
        one[31] = 61;
        assert_eq!(base62(one), format!("{}z", "0".repeat(42)));
        // 2^256 - 1, from an arbitrary-precision calculator.
        let mut value = vec![0_u8; 32];
        for digit in base62([0xff; 32]).bytes() {
            let digit = DIGITS.iter().position(|known| *known == digit).unwrap() as u32;
            let mut carry = digit;
            for byte in value.iter_mut().rev() {
                let next = u32::from(*byte) * 62 + carry;
                *byte = next as u8;
                carry = next >> 8;
            }
            assert_eq!(carry, 0, "it fits in 256 bits");
        }
        assert_eq!(value, [0xff; 32], "reading it back gives the number");
    }

    #[test]
    fn other_texts_are_no_tokens() {
        for text in
            ["", "weir_", "weir_abc", &format!("weir_{}", "a".repeat(44)), &format!("weir_{}!", "a".repeat(42)), &"a".repeat(48)]
        {
            assert!(!looks_like_one(text), "{text}");
        }
    }
}
