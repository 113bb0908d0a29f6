//! The issuer's keys: discovery document, then its key set, read again when a token names an unknown key, at most every so often.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyOperations, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde_json::Value;
use tokio::sync::Mutex;
use url::Url;
use weir_error::{Error, Kind, Result};

/// Keys are read again after this long, so that what the issuer has withdrawn is forgotten.
const FRESH: Duration = Duration::from_secs(600);
/// Keys older than this are not used, even if the issuer cannot be reached.
const USABLE: Duration = Duration::from_secs(3600);
/// Between two readings there is at least this long, whatever tokens come.
const PAUSE: Duration = Duration::from_secs(10);
const MAX_BODY_BYTES: usize = 1 << 20;
const MAX_KEYS: usize = 100;
/// Smaller RSA keys are refused: 2048 bits.
const MIN_RSA_BYTES: usize = 256;

pub(super) struct Keys {
    issuer: String,
    discovery: Url,
    http: reqwest::Client,
    known: RwLock<Option<(Instant, Arc<Vec<Jwk>>)>>,
    /// When it was tried last; held while reading, so that many tokens cause one reading.
    tried: Mutex<Option<Instant>>,
    pub(super) pause: Duration,
}

impl Keys {
    pub fn new(issuer: &str) -> Result<Self> {
        let address = format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'));
        let discovery = Url::parse(&address).map_err(|error| unreadable(issuer, &error.to_string()))?;
        let http = reqwest::Client::builder()
            .user_agent(concat!("weir/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(Duration::from_secs(3))
            .timeout(Duration::from_secs(5))
            .build()
            .map_err(|error| Error::internal("no HTTP client can be made for the issuer").caused_by(error))?;
        Ok(Self { issuer: issuer.into(), discovery, http, known: RwLock::default(), tried: Mutex::default(), pause: PAUSE })
    }

    /// The key that a token names, if it fits the algorithm. A token without a name fits only a set with one fitting key.
    pub async fn find(&self, kid: Option<&str>, algorithm: Algorithm) -> Result<Option<DecodingKey>> {
        let known = self.known();
        if let Some((since, keys)) = &known
            && since.elapsed() < FRESH
            && let Some(key) = choose(keys, kid, algorithm)
        {
            return Ok(Some(key));
        }
        let seen = known.as_ref().map(|(since, _)| *since);
        let refreshed = self.refresh(seen).await;
        match (self.known().filter(|(since, _)| since.elapsed() < USABLE), refreshed) {
            (Some((_, keys)), _) => Ok(choose(&keys, kid, algorithm)),
            (None, Err(error)) => Err(error),
            (None, Ok(())) => Err(unreadable(&self.issuer, "they could not be read a moment ago")),
        }
    }

    /// Reads the keys; how many fit one of the algorithms.
    pub async fn count(&self, algorithms: &[Algorithm]) -> Result<usize> {
        let keys = self.read().await?;
        Ok(keys.iter().filter(|key| algorithms.iter().any(|algorithm| fits(key, *algorithm))).count())
    }

    fn known(&self) -> Option<(Instant, Arc<Vec<Jwk>>)> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads the keys, unless somebody has done it since `seen`, or tried within the pause.
    async fn refresh(&self, seen: Option<Instant>) -> Result<()> {
        let mut tried = self.tried.lock().await;
        if self.known().map(|(since, _)| since) != seen || tried.is_some_and(|at| at.elapsed() < self.pause) {
            return Ok(());
        }
        *tried = Some(Instant::now());
        let read = self.read().await;
        match read {
            Ok(keys) => {
                *self.known.write().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), Arc::new(keys)));
                Ok(())
            }
            Err(error) => {
                tracing::warn!(%error, "the issuer's keys were not read");
                Err(error)
            }
        }
    }

    async fn read(&self) -> Result<Vec<Jwk>> {
        let document = self.get(self.discovery.clone()).await?;
        // A document of somebody else's must not name our keys (OpenID Connect Discovery, 4.3).
        if document.get("issuer").and_then(Value::as_str) != Some(self.issuer.as_str()) {
            return Err(unreadable(&self.issuer, "its discovery document is another issuer's"));
        }
        let place = document.get("jwks_uri").and_then(Value::as_str).and_then(|text| Url::parse(text).ok());
        let Some(place) = place.filter(|place| place.scheme() == "https" || self.discovery.scheme() == "http") else {
            return Err(unreadable(&self.issuer, "its discovery document names no `jwks_uri` with https"));
        };
        let set = self.get(place).await?;
        let Some(list) = set.get("keys").and_then(Value::as_array) else {
            return Err(unreadable(&self.issuer, "its key set has no `keys`"));
        };
        // A key of a kind that is not known here is not a reason to refuse the others.
        Ok(list.iter().take(MAX_KEYS).filter_map(|key| serde_json::from_value::<Jwk>(key.clone()).ok()).filter(usable).collect())
    }

    async fn get(&self, url: Url) -> Result<Value> {
        let failed = |why: &str| unreadable(&self.issuer, why);
        let mut answer = self.http.get(url).send().await.map_err(|error| failed(&weir_error::chain(&error.without_url())))?;
        if !answer.status().is_success() {
            return Err(failed(&format!("it answers {}", answer.status().as_u16())));
        }
        let mut bytes = Vec::new();
        while let Some(piece) = answer.chunk().await.map_err(|error| failed(&weir_error::chain(&error.without_url())))? {
            if bytes.len() + piece.len() > MAX_BODY_BYTES {
                return Err(failed("its answer is larger than 1 MiB"));
            }
            bytes.extend_from_slice(&piece);
        }
        serde_json::from_slice(&bytes).map_err(|_| failed("its answer is no JSON"))
    }
}

fn unreadable(issuer: &str, why: &str) -> Error {
    Error::new("WEIR-AUTH-004", Kind::Connect, "the keys of the token issuer cannot be read")
        .at(issuer.to_owned())
        .because(why)
        .hint("OIDC_ISSUER must be the address under which /.well-known/openid-configuration answers")
        .transient()
}

/// For checking signatures, asymmetric, and large enough.
fn usable(key: &Jwk) -> bool {
    let common = &key.common;
    let for_signatures = common.public_key_use.as_ref().is_none_or(|purpose| *purpose == PublicKeyUse::Signature)
        && common.key_operations.as_ref().is_none_or(|operations| operations.contains(&KeyOperations::Verify));
    let large_enough = match &key.algorithm {
        AlgorithmParameters::RSA(key) => URL_SAFE_NO_PAD.decode(&key.n).is_ok_and(|n| {
            let digits = n.iter().skip_while(|byte| **byte == 0).count();
            digits >= MIN_RSA_BYTES
        }),
        AlgorithmParameters::EllipticCurve(_) | AlgorithmParameters::OctetKeyPair(_) => true,
        // A symmetric key in a public set is a mistake at best.
        _ => false,
    };
    for_signatures && large_enough
}

fn choose(keys: &[Jwk], kid: Option<&str>, algorithm: Algorithm) -> Option<DecodingKey> {
    let mut fitting = keys.iter().filter(|key| fits(key, algorithm));
    let key = match kid {
        Some(kid) => fitting.find(|key| key.common.key_id.as_deref() == Some(kid))?,
        None => {
            let only = fitting.next()?;
            if fitting.next().is_some() {
                return None;
            }
            only
        }
    };
    DecodingKey::from_jwk(key).ok()
}

/// Whether key and algorithm are of one kind: an RSA key never checks an HMAC, a P-256 key only ES256.
fn fits(key: &Jwk, algorithm: Algorithm) -> bool {
    let kind = match (&key.algorithm, algorithm) {
        (
            AlgorithmParameters::RSA(_),
            Algorithm::RS256 | Algorithm::RS384 | Algorithm::RS512 | Algorithm::PS256 | Algorithm::PS384 | Algorithm::PS512,
        ) => true,
        (AlgorithmParameters::EllipticCurve(key), Algorithm::ES256) => key.curve == EllipticCurve::P256,
        (AlgorithmParameters::EllipticCurve(key), Algorithm::ES384) => key.curve == EllipticCurve::P384,
        (AlgorithmParameters::OctetKeyPair(key), Algorithm::EdDSA) => key.curve == EllipticCurve::Ed25519,
        _ => false,
    };
    kind && key.common.key_algorithm.is_none_or(|named| Algorithm::try_from(named).is_ok_and(|named| named == algorithm))
}
