//! Whether a request comes from who it should: an HMAC (RFC 2104) over its body, as GitHub, Stripe, Slack and many others send it.

use axum::http::HeaderMap;
use base64::Engine;
use hmac::{Hmac, Mac};
use schemars::JsonSchema;
use serde::Deserialize;
use sha2::{Sha256, Sha512};
use weir_connect::{Result, Secret};

use super::config::wrong;

/// How requests are signed.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SignatureOptions {
    /// Whose rules: `github` (`X-Hub-Signature-256`), `stripe` (`Stripe-Signature` with a time), or `generic` (default), which the other options describe.
    #[serde(default)]
    pub scheme: Scheme,
    /// The shared secret.
    #[schemars(with = "String", extend("x-weir-secret" = true))]
    pub secret: Secret,
    /// The secret before, while senders change to the new one.
    #[schemars(with = "Option<String>", extend("x-weir-secret" = true))]
    pub previous_secret: Option<Secret>,
    /// The header with the signature. Default `X-Signature`.
    pub header: Option<String>,
    /// What stands before the signature: `sha256=`, `v0=`.
    pub prefix: Option<String>,
    /// `sha256` (default) or `sha512`.
    #[serde(default)]
    pub algorithm: Algorithm,
    /// `hex` (default) or `base64`.
    #[serde(default)]
    pub encoding: Encoding,
    /// What is signed: `{body}` (default); with a time `{timestamp}.{body}`, `v0:{timestamp}:{body}`.
    pub signed: Option<String>,
    /// The header with the time, in seconds since 1970; needed if `signed` has `{timestamp}`.
    pub timestamp_header: Option<String>,
    /// Seconds that a signed time may differ from ours. Default 300.
    #[schemars(extend("x-weir-unit" = "s"))]
    pub tolerance_secs: Option<u64>,
}

/// Known rules.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Scheme {
    /// As the other options say.
    #[default]
    Generic,
    /// `X-Hub-Signature-256: sha256=…` over the body.
    Github,
    /// `Stripe-Signature: t=…,v1=…` over time and body.
    Stripe,
}

/// Hash functions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Algorithm {
    /// SHA-256.
    #[default]
    Sha256,
    /// SHA-512.
    Sha512,
}

/// How the signature is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Encoding {
    /// Hexadecimal.
    #[default]
    Hex,
    /// Base64 with padding.
    Base64,
}

const TIMESTAMP: &str = "{timestamp}";
const BODY: &str = "{body}";

/// The rules with all defaults, ready to check requests.
#[derive(Debug, Clone)]
pub struct Verifier {
    options: SignatureOptions,
    /// What is signed, around the body; the text before it may hold the time.
    before: String,
    after: String,
}

impl SignatureOptions {
    /// What the JSON Schema cannot say.
    pub fn validate(&self) -> Result<()> {
        if self.secret.is_empty() || self.previous_secret.as_ref().is_some_and(Secret::is_empty) {
            return Err(wrong("`signature.secret` is empty", "anybody could sign with it"));
        }
        let described = self.header.is_some()
            || self.prefix.is_some()
            || self.signed.is_some()
            || self.timestamp_header.is_some()
            || self.algorithm != Algorithm::Sha256
            || self.encoding != Encoding::Hex;
        if self.scheme != Scheme::Generic && described {
            return Err(wrong(
                "the scheme of `signature` says header, prefix and what is signed",
                "leave them out, or write `scheme: generic`",
            ));
        }
        let signed = self.signed.as_deref().unwrap_or(BODY);
        if signed.matches(BODY).count() != 1 || signed.matches(TIMESTAMP).count() > 1 {
            return Err(wrong(
                "`signature.signed` must have `{body}` once, and `{timestamp}` at most once",
                "`{timestamp}.{body}`",
            ));
        }
        if signed.contains(TIMESTAMP) != self.timestamp_header.is_some() {
            return Err(wrong(
                "`{timestamp}` in `signature.signed` and `timestamp_header` belong together",
                "give both or none: a time that is not signed proves nothing",
            ));
        }
        Ok(())
    }

    /// The rules.
    pub fn verifier(&self) -> Verifier {
        let signed = match self.scheme {
            Scheme::Generic => self.signed.as_deref().unwrap_or(BODY),
            Scheme::Github => BODY,
            Scheme::Stripe => "{timestamp}.{body}",
        };
        let (before, after) = signed.split_once(BODY).unwrap_or_default();
        Verifier { before: before.to_owned(), after: after.to_owned(), options: self.clone() }
    }
}

impl Verifier {
    /// Whether a request is signed by who knows the secret, at about this time (seconds since 1970). If not: why, without what would help to forge one.
    pub fn check(&self, headers: &HeaderMap, body: &[u8], now: i64) -> Result<(), &'static str> {
        let one = |name: &str| {
            let mut values = headers.get_all(name).iter();
            match (values.next(), values.next()) {
                (Some(value), None) => value.to_str().ok(),
                _ => None,
            }
        };
        let options = &self.options;
        let (timestamp, signatures): (Option<&str>, Vec<&str>) = match options.scheme {
            Scheme::Github => {
                let given = one("x-hub-signature-256").and_then(|value| value.strip_prefix("sha256="));
                (None, given.into_iter().collect())
            }
            Scheme::Stripe => {
                let parts = one("stripe-signature").unwrap_or_default().split(',').filter_map(|part| part.trim().split_once('='));
                let parts: Vec<(&str, &str)> = parts.collect();
                let timestamp = parts.iter().find(|(name, _)| *name == "t").map(|(_, value)| *value);
                // Only the first few: each costs a hash of the body.
                (timestamp, parts.into_iter().filter(|(name, _)| *name == "v1").map(|(_, value)| value).take(4).collect())
            }
            Scheme::Generic => {
                let given = one(options.header.as_deref().unwrap_or("X-Signature"));
                let given = given.and_then(|value| value.trim().strip_prefix(options.prefix.as_deref().unwrap_or_default()));
                (options.timestamp_header.as_deref().and_then(one), given.into_iter().collect())
            }
        };
        if signatures.is_empty() {
            return Err("the request has no signature");
        }
        let timed = self.before.contains(TIMESTAMP) || self.after.contains(TIMESTAMP);
        if timed {
            let Some(at) = timestamp.and_then(|text| text.parse::<i64>().ok()) else { return Err("the request has no time") };
            let tolerance = options.tolerance_secs.unwrap_or(300);
            if at.abs_diff(now) > tolerance {
                return Err("the request was signed too long ago, or the clocks differ");
            }
        }
        let timestamp = timestamp.unwrap_or_default();
        let (before, after) = (self.before.replace(TIMESTAMP, timestamp), self.after.replace(TIMESTAMP, timestamp));
        let parts = [before.as_bytes(), body, after.as_bytes()];
        for given in signatures {
            let Some(given) = decoded(given, options.encoding) else { continue };
            for secret in [Some(&options.secret), options.previous_secret.as_ref()].into_iter().flatten() {
                if matches(options.algorithm, secret, &parts, &given) {
                    return Ok(());
                }
            }
        }
        Err("the signature is wrong")
    }
}

/// Compares in constant time.
fn matches(algorithm: Algorithm, secret: &Secret, parts: &[&[u8]], given: &[u8]) -> bool {
    fn with<M: Mac + hmac::digest::KeyInit>(secret: &Secret, parts: &[&[u8]], given: &[u8]) -> bool {
        let Ok(mut mac) = <M as Mac>::new_from_slice(secret.expose().as_bytes()) else { return false };
        parts.iter().for_each(|part| mac.update(part));
        mac.verify_slice(given).is_ok()
    }
    match algorithm {
        Algorithm::Sha256 => with::<Hmac<Sha256>>(secret, parts, given),
        Algorithm::Sha512 => with::<Hmac<Sha512>>(secret, parts, given),
    }
}

/// Whether two secrets are the same; says nothing of where they differ, nor of their lengths.
pub(super) fn same(a: &[u8], b: &[u8]) -> bool {
    use sha2::Digest;
    let (a, b) = (Sha256::digest(a), Sha256::digest(b));
    a.iter().zip(b.iter()).fold(0, |sum, (a, b)| sum | (a ^ b)) == 0
}

fn decoded(text: &str, encoding: Encoding) -> Option<Vec<u8>> {
    match encoding {
        Encoding::Base64 => base64::engine::general_purpose::STANDARD.decode(text).ok(),
        Encoding::Hex => {
            let digits: Vec<u8> =
                text.bytes().map(|byte| char::from(byte).to_digit(16).map(|digit| digit as u8)).collect::<Option<_>>()?;
            let (pairs, rest) = digits.as_chunks::<2>();
            rest.is_empty().then(|| pairs.iter().map(|[high, low]| high << 4 | low).collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn check(options: Value, headers: &[(&'static str, &str)], body: &str, now: i64) -> Result<(), &'static str> {
        let options: SignatureOptions = serde_json::from_value(options).unwrap();
        options.validate().unwrap();
        let headers: HeaderMap = headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
        options.verifier().check(&headers, body.as_bytes(), now)
    }

    fn wrong_options(options: Value) -> bool {
        serde_json::from_value::<SignatureOptions>(options).map_or(true, |options| options.validate().is_err())
    }

    #[test]
    fn githubs_own_example_is_taken_and_a_changed_body_is_not() {
        // "Validating webhook deliveries", docs.github.com.
        let options = json!({"scheme": "github", "secret": "It's a Secret to Everybody"});
        let signature = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
        assert_eq!(check(options.clone(), &[("x-hub-signature-256", signature)], "Hello, World!", 0), Ok(()));
        assert!(check(options.clone(), &[("x-hub-signature-256", signature)], "Hello, World?", 0).is_err());
        assert!(check(options.clone(), &[("x-hub-signature-256", &signature[..70])], "Hello, World!", 0).is_err());
        assert!(check(options.clone(), &[("x-hub-signature-256", "sha256=zz")], "Hello, World!", 0).is_err());
        assert!(check(options.clone(), &[], "Hello, World!", 0).is_err());
        // Two of them: which one would have been meant?
        let twice = [("x-hub-signature-256", signature), ("x-hub-signature-256", signature)];
        let mut headers = HeaderMap::new();
        for (name, value) in twice {
            headers.append(name, value.parse().unwrap());
        }
        let options: SignatureOptions = serde_json::from_value(options).unwrap();
        assert!(options.verifier().check(&headers, b"Hello, World!", 0).is_err());
    }

    #[test]
    fn slacks_rules_are_taken_within_the_tolerance() {
        let options = json!({
            "secret": "shared by both", "header": "X-Slack-Signature", "prefix": "v0=",
            "timestamp_header": "X-Slack-Request-Timestamp", "signed": "v0:{timestamp}:{body}",
        });
        let body = "token=x&text=a%20b";
        // Made with Python's hmac.
        let headers = [
            ("x-slack-signature", "v0=2915b89e02449090503bc0f432d19a1319ea8f4da78d1a3fbb52e08ee4feb53c"),
            ("x-slack-request-timestamp", "1531420618"),
        ];
        assert_eq!(check(options.clone(), &headers, body, 1_531_420_618 + 300), Ok(()));
        assert_eq!(check(options.clone(), &headers, body, 1_531_420_618 - 300), Ok(()));
        assert!(check(options.clone(), &headers, body, 1_531_420_618 + 301).is_err());
        let later = [headers[0], ("x-slack-request-timestamp", "1531420619")];
        assert!(check(options, &later, body, 1_531_420_618).is_err());
    }

    #[test]
    fn stripes_header_may_have_several_signatures_and_an_old_secret_is_taken_too() {
        let sign = |secret: &str| {
            let mut mac = <Hmac<Sha256> as Mac>::new_from_slice(secret.as_bytes()).unwrap();
            mac.update(b"1000.{}");
            mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect::<String>()
        };
        let options = json!({"scheme": "stripe", "secret": "new", "previous_secret": "old", "tolerance_secs": 10});
        for (header, taken) in [
            (format!("t=1000,v1={}", sign("new")), true),
            (format!("t=1000, v1={}, v1={}", sign("other"), sign("old")), true),
            (format!("t=1000,v1={}", sign("other")), false),
            (format!("t=1001,v1={}", sign("new")), false),
            (format!("v1={}", sign("new")), false),
            (format!("t=1000,v0={}", sign("new")), false),
        ] {
            assert_eq!(check(options.clone(), &[("stripe-signature", &header)], "{}", 1005).is_ok(), taken, "{header}");
        }
        let late = format!("t=1000,v1={}", sign("new"));
        assert!(check(options, &[("stripe-signature", &late)], "{}", 1011).is_err());
    }

    #[test]
    fn rules_that_prove_nothing_are_refused() {
        for options in [
            json!({"secret": ""}),
            json!({"secret": "x", "signed": "{timestamp}"}),
            json!({"secret": "x", "signed": "{timestamp}.{body}"}),
            json!({"secret": "x", "timestamp_header": "T"}),
            json!({"secret": "x", "scheme": "github", "header": "X"}),
        ] {
            assert!(wrong_options(options.clone()), "{options}");
        }
    }
}
