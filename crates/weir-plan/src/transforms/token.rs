//! Tokens: what stands for a value, the same for the same value and key, and not to be undone without the key.
//!
//! `token` is a cut HMAC-SHA-256. `keep` permutes the digits, the small and the capital letters of a value among themselves, by a Feistel
//! network whose round function is HMAC-SHA-256 over everything that stays (the shape of the value), as in NIST SP 800-38G's FF1 but not
//! compatible with it. A permutation has no collisions: two values never get one token, and values of one shape keep that shape.

use datafusion::common::exec_err;
use datafusion::error::{DataFusionError, Result};
use hmac::{Hmac, Mac};
use schemars::JsonSchema;
use serde::Deserialize;
use sha2::Sha256;
use weir_error::Secret;

/// A token in the place of each value: the same for the same value and key.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct TokeniseOptions {
    /// The key. Who has it can find the tokens of values that he guesses.
    #[schemars(with = "String", extend("x-weir-secret" = true))]
    pub(super) key: Secret,
    /// What each token begins with; nothing if absent.
    #[serde(default)]
    pub(super) prefix: String,
    /// `token` (if absent): 26 letters and digits. `keep`: digits become digits, letters letters of the same case, the rest stays: a
    /// card number looks like one. Short values have few tokens: a four-digit number is found by whoever sees enough of them.
    #[serde(default)]
    pub(super) format: Format,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Format {
    #[default]
    Token,
    Keep,
}

/// Makes tokens under one key.
pub(super) struct Tokens {
    mac: Hmac<Sha256>,
    prefix: String,
    format: Format,
}

/// Rounds of the network: as many as FF1 has.
const ROUNDS: u8 = 10;

impl Tokens {
    pub(super) fn new(options: &TokeniseOptions) -> Result<Self> {
        let mac = Hmac::new_from_slice(options.key.expose().as_bytes())
            .map_err(|error| DataFusionError::Internal(format!("HMAC does not take this key: {error}")))?;
        Ok(Self { mac, prefix: options.prefix.clone(), format: options.format })
    }

    /// The token of a value.
    pub(super) fn of(&self, text: &str) -> Result<String> {
        let token = match self.format {
            Format::Token => self.plain(text),
            Format::Keep => self.shaped(text)?,
        };
        Ok(format!("{}{token}", self.prefix))
    }

    fn plain(&self, text: &str) -> String {
        const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
        const BITS: usize = 130;
        let hash = self.mac.clone().chain_update(b"token\0").chain_update(text.as_bytes()).finalize().into_bytes();
        let bit = |at: usize| usize::from((hash[at / 8] >> (7 - at % 8)) & 1);
        (0..BITS).step_by(5).map(|at| char::from(ALPHABET[(at..at + 5).fold(0, |index, at| (index << 1) | bit(at))])).collect()
    }

    fn shaped(&self, text: &str) -> Result<String> {
        let mut shape = String::with_capacity(text.len());
        let mut kinds: Vec<Option<Alphabet>> = Vec::new();
        for c in text.chars() {
            let kind = Alphabet::of(c);
            if kind.is_none() && c.is_alphanumeric() {
                return exec_err!("a token cannot keep the format of letters other than a to z: use `format: token`");
            }
            shape.push(kind.map_or(c, Alphabet::first));
            kinds.push(kind);
        }
        let mut letters: Vec<char> = text.chars().collect();
        for alphabet in [Alphabet::Digit, Alphabet::Small, Alphabet::Capital] {
            let places: Vec<usize> = (0..letters.len()).filter(|&at| kinds[at] == Some(alphabet)).collect();
            let numbers: Vec<u32> = places.iter().map(|&at| u32::from(letters[at]) - u32::from(alphabet.first())).collect();
            let permuted = self.permuted(&numbers, alphabet, &shape);
            for (at, number) in places.into_iter().zip(permuted) {
                letters[at] = char::from_u32(u32::from(alphabet.first()) + number).unwrap_or(letters[at]);
            }
        }
        Ok(letters.into_iter().collect())
    }

    /// A permutation of the sequences of this length over an alphabet.
    fn permuted(&self, numbers: &[u32], alphabet: Alphabet, shape: &str) -> Vec<u32> {
        let radix = alphabet.size();
        if let [only] = numbers {
            return vec![self.shuffled(alphabet, shape).get(*only as usize).copied().unwrap_or(*only)];
        }
        let (mut left, mut right) = (numbers[..numbers.len() / 2].to_vec(), numbers[numbers.len() / 2..].to_vec());
        for round in 0..ROUNDS {
            let mask = self.stream(alphabet, round, shape, &right, left.len());
            for (number, mask) in left.iter_mut().zip(mask) {
                *number = (*number + mask % radix) % radix;
            }
            std::mem::swap(&mut left, &mut right);
        }
        left.extend(right);
        left
    }

    /// The alphabet in an order of the key's: what single letters become.
    fn shuffled(&self, alphabet: Alphabet, shape: &str) -> Vec<u32> {
        let mut order: Vec<(u32, u32)> =
            self.stream(alphabet, u8::MAX, shape, &[], alphabet.size() as usize).into_iter().zip(0..alphabet.size()).collect();
        order.sort_unstable();
        order.into_iter().map(|(_, number)| number).collect()
    }

    /// Numbers from the key, the round, the shape and one half.
    fn stream(&self, alphabet: Alphabet, round: u8, shape: &str, half: &[u32], length: usize) -> Vec<u32> {
        let mut numbers = Vec::with_capacity(length);
        let mut block = 0u32;
        while numbers.len() < length {
            let mut mac =
                self.mac.clone().chain_update(b"keep\0").chain_update([alphabet as u8, round]).chain_update(block.to_be_bytes());
            mac.update(&(shape.len() as u64).to_be_bytes());
            mac.update(shape.as_bytes());
            for number in half {
                mac.update(&number.to_be_bytes());
            }
            let hash = mac.finalize().into_bytes();
            numbers.extend(
                hash.chunks_exact(4).map(|bytes| bytes.iter().fold(0u32, |number, byte| (number << 8) | u32::from(*byte))),
            );
            block += 1;
        }
        numbers.truncate(length);
        numbers
    }
}

/// Characters that become others of their kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Alphabet {
    Digit,
    Small,
    Capital,
}

impl Alphabet {
    fn of(c: char) -> Option<Self> {
        match c {
            '0'..='9' => Some(Self::Digit),
            'a'..='z' => Some(Self::Small),
            'A'..='Z' => Some(Self::Capital),
            _ => None,
        }
    }

    fn first(self) -> char {
        match self {
            Self::Digit => '0',
            Self::Small => 'a',
            Self::Capital => 'A',
        }
    }

    fn size(self) -> u32 {
        if self == Self::Digit { 10 } else { 26 }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn tokens(key: &str, format: Format) -> Tokens {
        Tokens::new(&TokeniseOptions { key: Secret::new(key), prefix: String::new(), format }).unwrap()
    }

    #[test]
    fn a_token_depends_on_the_value_and_the_key_and_on_nothing_else() {
        let (one, other) = (tokens("k", Format::Token), tokens("l", Format::Token));
        assert_eq!(one.of("ada").unwrap(), tokens("k", Format::Token).of("ada").unwrap());
        assert_ne!(one.of("ada").unwrap(), one.of("eve").unwrap());
        assert_ne!(one.of("ada").unwrap(), other.of("ada").unwrap());
        assert_eq!(one.of("").unwrap().len(), 26);
    }

    #[test]
    fn a_kept_format_has_digits_for_digits_and_no_two_values_meet() {
        let tokens = tokens("k", Format::Keep);
        for width in 1..=4usize {
            let all: BTreeSet<String> =
                (0..10_u32.pow(width as u32)).map(|n| tokens.of(&format!("{n:0width$}")).unwrap()).collect();
            assert_eq!(all.len(), 10_usize.pow(width as u32), "{width} digits");
            assert!(all.iter().all(|token| token.len() == width && token.bytes().all(|byte| byte.is_ascii_digit())));
        }
        let token = tokens.of("4111-1111-1111-1111 Ab").unwrap();
        let shape = |text: &str| text.chars().map(|c| Alphabet::of(c).map_or(c, Alphabet::first)).collect::<String>();
        assert_eq!(shape(&token), "0000-0000-0000-0000 Aa");
        assert_ne!(token, "4111-1111-1111-1111 Ab");
        assert_ne!(token, super::tests::tokens("l", Format::Keep).of("4111-1111-1111-1111 Ab").unwrap());
    }

    #[test]
    fn letters_that_would_stay_readable_are_refused() {
        assert!(tokens("k", Format::Keep).of("Żaneta").unwrap_err().to_string().contains("a to z"));
        assert!(tokens("k", Format::Token).of("Żaneta").is_ok());
    }

    proptest::proptest! {
        #[test]
        fn different_values_have_different_tokens(one in "[a-zA-Z0-9@. -]{0,12}", other in "[a-zA-Z0-9@. -]{0,12}") {
            let tokens = tokens("k", Format::Keep);
            proptest::prop_assert_eq!(tokens.of(&one).unwrap() == tokens.of(&other).unwrap(), one == other);
        }
    }
}
