//! Signed webhooks: `X-Weir-Signature: t=<seconds>,v1=<hex of HMAC-SHA256(key, "<seconds>.<body>")>`.

use hmac::{Hmac, Mac};
use sha2::Sha256;
use weir_error::Secret;

/// The header's name.
pub const HEADER: &str = "x-weir-signature";

/// The header's value for a body sent at that second.
pub fn sign(key: &Secret, seconds: i64, body: &[u8]) -> String {
    let code = code(key, seconds, body).finalize().into_bytes();
    let hex: String = code.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("t={seconds},v1={hex}")
}

/// Whether a header fits the body, and was made at most `tolerance` seconds before or after `now`. As a receiver does it; in constant time.
pub fn verify(key: &Secret, header: &str, body: &[u8], now: i64, tolerance: i64) -> bool {
    let part = |name: &str| header.split(',').find_map(|part| part.trim().strip_prefix(name)?.strip_prefix('='));
    let (Some(seconds), Some(hex)) = (part("t").and_then(|t| t.parse::<i64>().ok()), part("v1")) else { return false };
    if hex.len() != 64 || !hex.is_ascii() || now.abs_diff(seconds) > tolerance.unsigned_abs() {
        return false;
    }
    let claimed: Option<Vec<u8>> = (0..32).map(|at| u8::from_str_radix(&hex[at * 2..at * 2 + 2], 16).ok()).collect();
    claimed.is_some_and(|claimed| code(key, seconds, body).verify_slice(&claimed).is_ok())
}

fn code(key: &Secret, seconds: i64, body: &[u8]) -> Hmac<Sha256> {
    // HMAC takes a key of any length, so this cannot fail; an empty code would verify nothing.
    let mut code = <Hmac<Sha256> as Mac>::new_from_slice(key.expose().as_bytes())
        .unwrap_or_else(|_| <Hmac<Sha256> as Mac>::new(&Default::default()));
    code.update(seconds.to_string().as_bytes());
    code.update(b".");
    code.update(body);
    code
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_code_is_what_others_compute() {
        // printf '1700000000.{"a":1}' | openssl dgst -sha256 -hmac topsecret
        let header = sign(&Secret::new("topsecret"), 1_700_000_000, br#"{"a":1}"#);
        assert_eq!(header, "t=1700000000,v1=6a939b0c71853d606167625a15168ee9188c6a511c773ef4f42d307f3849e50f");
    }

    #[test]
    fn another_key_body_or_time_does_not_verify() {
        let key = Secret::new("k");
        let header = sign(&key, 1000, b"body");
        assert!(verify(&key, &header, b"body", 1200, 300));
        assert!(!verify(&key, &header, b"body", 1301, 300));
        assert!(!verify(&key, &header, b"bodz", 1000, 300));
        assert!(!verify(&Secret::new("l"), &header, b"body", 1000, 300));
        assert!(!verify(&key, &header.replace("t=1000", "t=1001"), b"body", 1000, 300));
        for odd in
            ["", "t=1000", "v1=00", "t=x,v1=y", "t=1000,v1=é0000000000000000000000000000000000000000000000000000000000000000"]
        {
            assert!(!verify(&key, odd, b"body", 1000, 300), "{odd}");
        }
    }
}
