//! Tokens of an OpenID Connect issuer (JWS, compact). Taken are only signatures that the issuer's published keys check, with an
//! algorithm that the settings name and that fits the key. Whatever a token says about where its key may be found (`jku`, `x5u`, `jwk`,
//! `x5c`) is not looked at.

mod keys;
#[cfg(test)]
pub(super) mod tests;

use chrono::{DateTime, Utc};
use jsonwebtoken::{Algorithm, Validation, decode, decode_header};
use serde_json::{Map, Value};
use weir_error::{Error, Result};
use weir_store::model::Role;

use crate::config::{ASYMMETRIC, OidcSettings, is_dns_label};
use keys::Keys;

/// Difference between the issuer's clock and ours, seconds.
const LEEWAY_SECS: u64 = 30;
/// Tokens beyond this are none.
const MAX_TOKEN_BYTES: usize = 16 << 10;
/// Subjects and names beyond this are cut or refused.
const MAX_NAME_CHARS: usize = 200;

/// Reads an issuer's keys; how many of them fit the algorithms that are taken.
pub async fn check_issuer(settings: &OidcSettings) -> Result<usize> {
    let issuer = Issuer::new(settings.clone())?;
    issuer.keys.count(&issuer.algorithms).await
}

/// What a good token says.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Claims {
    issuer: String,
    sub: String,
    pub tenant: String,
    /// `None`: the token names no role that is known here. Never above admin.
    pub role: Option<Role>,
    pub name: String,
    pub expires_at: DateTime<Utc>,
}

impl Claims {
    /// `issuer|subject`: unique over all issuers.
    pub fn subject(&self) -> String {
        format!("{}|{}", self.issuer, self.sub)
    }
}

/// An issuer whose tokens are taken.
pub(super) struct Issuer {
    settings: OidcSettings,
    algorithms: Vec<Algorithm>,
    keys: Keys,
}

/// Whether a text has the shape of a JWS; what has not is not looked at.
pub(super) fn looks_like_one(text: &str) -> bool {
    let letters = |part: &str| part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
    let mut parts = text.split('.');
    text.len() <= MAX_TOKEN_BYTES
        && (&mut parts).take(3).filter(|part| !part.is_empty() && letters(part)).count() == 3
        && parts.next().is_none()
}

impl Issuer {
    pub fn new(settings: OidcSettings) -> Result<Self> {
        let algorithms = settings.algorithms.iter().filter(|name| ASYMMETRIC.contains(&name.as_str()));
        let algorithms = algorithms.filter_map(|name| name.parse().ok()).collect::<Vec<Algorithm>>();
        if algorithms.len() != settings.algorithms.len() || algorithms.is_empty() {
            return Err(Error::internal("an algorithm that is not taken came through the settings"));
        }
        let keys = Keys::new(&settings.issuer)?;
        Ok(Self { settings, algorithms, keys })
    }

    /// The token's claims; `None` = it is not good, for whatever reason. An error: the issuer's keys cannot be read.
    pub async fn verify(&self, token: &str) -> Result<Option<Claims>> {
        let Ok(header) = decode_header(token) else { return Ok(None) };
        // An extension that must be understood is not (RFC 7515, 4.1.11); other kinds of signed statements are no access tokens.
        let kind = header.typ.as_deref().map_or("jwt".to_owned(), |kind| kind.to_ascii_lowercase());
        let known_kind = ["jwt", "at+jwt", "application/at+jwt"].contains(&kind.as_str());
        if !self.algorithms.contains(&header.alg) || header.crit.is_some() || !known_kind {
            return Ok(None);
        }
        let Some(key) = self.keys.find(header.kid.as_deref(), header.alg).await? else { return Ok(None) };
        let mut validation = Validation::new(header.alg);
        validation.set_audience(&[&self.settings.audience]);
        validation.set_issuer(&[&self.settings.issuer]);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        validation.validate_nbf = true;
        validation.leeway = LEEWAY_SECS;
        let Ok(good) = decode::<Map<String, Value>>(token, &key, &validation) else { return Ok(None) };
        Ok(self.claims(&good.claims))
    }

    fn claims(&self, claims: &Map<String, Value>) -> Option<Claims> {
        let text = |name: &str| claims.get(name).and_then(Value::as_str);
        let sub = text("sub").filter(|sub| (1..=255).contains(&sub.len()) && !sub.chars().any(char::is_control))?;
        let tenant = claim(claims, &self.settings.tenant_claim)?.as_str().filter(|tenant| is_dns_label(tenant))?;
        let role = claim(claims, &self.settings.role_claim).and_then(best_role);
        let expires = claims.get("exp")?.as_f64()?;
        let expires_at = DateTime::from_timestamp(expires.clamp(0.0, 4e9) as i64 + LEEWAY_SECS as i64, 0)?;
        let name = ["email", "preferred_username", "name"].into_iter().find_map(text).unwrap_or(sub);
        let name = name.chars().filter(|c| !c.is_control()).take(MAX_NAME_CHARS).collect();
        Some(Claims { issuer: self.settings.issuer.clone(), sub: sub.into(), tenant: tenant.into(), role, name, expires_at })
    }
}

/// The claim of that name; else the dots of the name lead into objects.
fn claim<'c>(claims: &'c Map<String, Value>, name: &str) -> Option<&'c Value> {
    if let Some(value) = claims.get(name) {
        return Some(value);
    }
    let (first, rest) = name.split_once('.')?;
    claim(claims.get(first)?.as_object()?, rest)
}

/// The highest role up to admin; a token cannot make anybody a platform-admin.
fn best_role(claim: &Value) -> Option<Role> {
    let words: Vec<&str> = match claim {
        Value::String(word) => vec![word],
        Value::Array(words) => words.iter().filter_map(Value::as_str).collect(),
        _ => return None,
    };
    words.into_iter().filter_map(|word| word.parse::<Role>().ok()).filter(|role| *role <= Role::Admin).max()
}
