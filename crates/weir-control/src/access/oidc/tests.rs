//! Against a little issuer that really answers, with keys that really sign.

use std::process::Command;
use std::sync::LazyLock;
use std::time::Duration;

use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};
use weir_error::Kind;
use weir_store::model::Role;
use weir_testkit::{HttpFixture, Reply};

use super::*;

const AUDIENCE: &str = "weir";
const KEYS: &str = "/realms/data/keys";
const DISCOVERY: &str = "/realms/data/.well-known/openid-configuration";

/// A private key in PEM: made by OpenSSL, once for a test process.
fn pem(arguments: &[&str]) -> Vec<u8> {
    let made = Command::new("openssl").args(arguments).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    made.stdout
}

static RSA: LazyLock<Vec<u8>> =
    LazyLock::new(|| pem(&["genpkey", "-quiet", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"]));
static OTHER_RSA: LazyLock<Vec<u8>> =
    LazyLock::new(|| pem(&["genpkey", "-quiet", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"]));
static SHORT_RSA: LazyLock<Vec<u8>> =
    LazyLock::new(|| pem(&["genpkey", "-quiet", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:1024"]));
static EC: LazyLock<Vec<u8>> =
    LazyLock::new(|| pem(&["genpkey", "-quiet", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"]));

fn public(key: &EncodingKey, algorithm: Algorithm, kid: &str) -> Value {
    let mut jwk = serde_json::to_value(Jwk::from_encoding_key(key, algorithm).unwrap()).unwrap();
    jwk["kid"] = json!(kid);
    jwk["use"] = json!("sig");
    jwk
}

fn rsa(pem: &[u8]) -> EncodingKey {
    EncodingKey::from_rsa_pem(pem).unwrap()
}

fn ec() -> EncodingKey {
    EncodingKey::from_ec_pem(&EC).unwrap()
}

pub struct Little {
    pub server: HttpFixture,
    issuer: Issuer,
}

impl Little {
    /// One that signs with [`Little::token`].
    pub fn signing() -> Self {
        Self::new(json!([public(&rsa(&RSA), Algorithm::RS256, "r1")]))
    }

    /// The settings that take its tokens.
    pub fn settings(&self) -> OidcSettings {
        self.issuer.settings.clone()
    }

    /// A good token with these claims changed; `null` takes one out.
    pub fn token(&self, changes: &[(&str, Value)]) -> String {
        sign(&self.with_claims(changes), "r1")
    }

    fn new(keys: Value) -> Self {
        Self::with(keys, &["RS256", "ES256"])
    }

    fn with(keys: Value, algorithms: &[&str]) -> Self {
        let server = HttpFixture::start().unwrap();
        let url = format!("{}/realms/data", server.url());
        server.on(DISCOVERY, Reply::json(json!({"issuer": url, "jwks_uri": format!("{}{KEYS}", server.url())})));
        server.on(KEYS, Reply::json(json!({"keys": keys})));
        let settings = OidcSettings {
            issuer: url,
            audience: AUDIENCE.into(),
            algorithms: algorithms.iter().map(|name| (*name).to_owned()).collect(),
            tenant_claim: "tenant".into(),
            role_claim: "realm_access.roles".into(),
        };
        let mut issuer = Issuer::new(settings).unwrap();
        issuer.keys.pause = Duration::ZERO;
        Self { server, issuer }
    }

    fn claims(&self) -> Value {
        let now = chrono::Utc::now().timestamp();
        json!({
            "iss": self.issuer.settings.issuer, "aud": ["other", AUDIENCE], "sub": "u-1", "exp": now + 300, "nbf": now, "iat": now,
            "tenant": "acme", "realm_access": {"roles": ["offline_access", "editor"]}, "email": "ada@example.org",
        })
    }

    fn with_claims(&self, changes: &[(&str, Value)]) -> Value {
        let mut claims = self.claims();
        for (name, value) in changes {
            if value.is_null() {
                claims.as_object_mut().unwrap().remove(*name);
            } else {
                claims[*name] = value.clone();
            }
        }
        claims
    }

    async fn take(&self, token: &str) -> Option<Claims> {
        self.issuer.verify(token).await.unwrap()
    }
}

fn header(algorithm: Algorithm, kid: &str) -> Header {
    Header { kid: Some(kid.into()), ..Header::new(algorithm) }
}

fn sign(claims: &Value, kid: &str) -> String {
    encode(&header(Algorithm::RS256, kid), claims, &rsa(&RSA)).unwrap()
}

fn base64(text: &str) -> String {
    use base64::Engine;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(text)
}

#[tokio::test]
async fn a_good_token_gives_subject_tenant_and_role() {
    let little = Little::new(json!([public(&ec(), Algorithm::ES256, "e1"), public(&rsa(&RSA), Algorithm::RS256, "r1")]));
    let claims = little.take(&sign(&little.claims(), "r1")).await.unwrap();
    assert_eq!(claims.subject(), format!("{}|u-1", little.issuer.settings.issuer));
    assert_eq!((claims.tenant.as_str(), claims.role, claims.name.as_str()), ("acme", Some(Role::Editor), "ada@example.org"));
    let by_ec = encode(&header(Algorithm::ES256, "e1"), &little.claims(), &ec()).unwrap();
    assert!(little.take(&by_ec).await.is_some());
    assert_eq!(little.server.requests().len(), 2, "discovery and keys are read once");
}

#[tokio::test]
async fn forged_tokens_are_refused() {
    let little = Little::new(json!([public(&rsa(&RSA), Algorithm::RS256, "r1"), public(&ec(), Algorithm::ES256, "e1")]));
    let claims = little.claims();
    let body = base64(&claims.to_string());
    let good = sign(&claims, "r1");
    let signature = good.rsplit('.').next().unwrap();
    let public_pem = {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), &*RSA).unwrap();
        pem(&["pkey", "-in", file.path().to_str().unwrap(), "-pubout"])
    };
    let with_public_key = encode(&header(Algorithm::HS256, "r1"), &claims, &EncodingKey::from_secret(&public_pem)).unwrap();
    let modulus = public(&rsa(&RSA), Algorithm::RS256, "r1")["n"].as_str().unwrap().to_owned();
    let with_modulus = encode(&header(Algorithm::HS256, "r1"), &claims, &EncodingKey::from_secret(modulus.as_bytes())).unwrap();
    let mut own_key = header(Algorithm::RS256, "r1");
    own_key.jwk = serde_json::from_value(public(&rsa(&OTHER_RSA), Algorithm::RS256, "r1")).unwrap();
    own_key.jku = Some(format!("{}/evil", little.server.url()));
    own_key.x5u = Some(format!("{}/evil", little.server.url()));
    let mut critical = header(Algorithm::RS256, "r1");
    critical.crit = Some(vec!["exp".into()]);
    let mut other_kind = header(Algorithm::RS256, "r1");
    other_kind.typ = Some("logout+jwt".into());
    for (what, token) in [
        ("alg none", format!("{}.{body}.", base64(r#"{"alg":"none"}"#))),
        ("alg none with a signature", format!("{}.{body}.{signature}", base64(r#"{"alg":"None","kid":"r1"}"#))),
        ("HS256 with the public key", with_public_key),
        ("HS256 with the modulus", with_modulus),
        ("another key", encode(&header(Algorithm::RS256, "r1"), &claims, &rsa(&OTHER_RSA)).unwrap()),
        ("its own key in the header", encode(&own_key, &claims, &rsa(&OTHER_RSA)).unwrap()),
        ("an algorithm that is not pinned", encode(&header(Algorithm::RS512, "r1"), &claims, &rsa(&RSA)).unwrap()),
        ("an EC key's name on an RSA signature", encode(&header(Algorithm::RS256, "e1"), &claims, &rsa(&RSA)).unwrap()),
        ("a critical extension", encode(&critical, &claims, &rsa(&RSA)).unwrap()),
        ("another kind of statement", encode(&other_kind, &claims, &rsa(&RSA)).unwrap()),
        ("an unknown key", encode(&header(Algorithm::RS256, "r2"), &claims, &rsa(&RSA)).unwrap()),
        ("no key name among several", encode(&Header::new(Algorithm::RS256), &claims, &rsa(&OTHER_RSA)).unwrap()),
        (
            "another body",
            format!(
                "{}.{}.{signature}",
                good.split('.').next().unwrap(),
                base64(&little.with_claims(&[("sub", json!("u-2"))]).to_string())
            ),
        ),
        ("no JSON", format!("{}.{}.{signature}", base64("{}"), base64("[]"))),
    ] {
        assert_eq!(little.take(&token).await, None, "{what}");
    }
    assert!(little.server.requests_to("/evil").is_empty(), "addresses in a token are not asked");
    assert!(little.take(&good).await.is_some());
}

#[tokio::test]
async fn claims_that_do_not_fit_are_refused() {
    let little = Little::new(json!([public(&rsa(&RSA), Algorithm::RS256, "r1")]));
    let now = chrono::Utc::now().timestamp();
    for (what, change) in [
        ("expired", ("exp", json!(now - 31))),
        ("no expiry", ("exp", Value::Null)),
        ("expiry as a text", ("exp", json!("soon"))),
        ("not yet", ("nbf", json!(now + 60))),
        ("another audience", ("aud", json!("weir2"))),
        ("no audience", ("aud", Value::Null)),
        ("an empty audience", ("aud", json!([]))),
        ("another issuer", ("iss", json!("https://evil.example"))),
        ("the issuer with a slash", ("iss", json!(format!("{}/", little.issuer.settings.issuer)))),
        ("no issuer", ("iss", Value::Null)),
        ("no subject", ("sub", Value::Null)),
        ("an empty subject", ("sub", json!(""))),
        ("a subject with a line end", ("sub", json!("u\n1"))),
        ("no tenant", ("tenant", Value::Null)),
        ("a tenant that is a path", ("tenant", json!("../acme"))),
        ("several tenants", ("tenant", json!(["acme"]))),
    ] {
        let token = sign(&little.with_claims(&[change]), "r1");
        assert_eq!(little.take(&token).await, None, "{what}");
    }
    let within = [("exp", json!(now - 20)), ("nbf", json!(now + 20))];
    assert!(little.take(&sign(&little.with_claims(&within), "r1")).await.is_some(), "clocks may differ by 30 seconds");
}

#[tokio::test]
async fn a_token_makes_nobody_a_platform_admin() {
    let little = Little::new(json!([public(&rsa(&RSA), Algorithm::RS256, "r1")]));
    for (roles, role) in [
        (json!(["platform-admin"]), None),
        (json!(["platform-admin", "viewer"]), Some(Role::Viewer)),
        (json!(["viewer", "admin", "editor"]), Some(Role::Admin)),
        (json!("operator"), Some(Role::Operator)),
        (json!([]), None),
        (json!({"admin": true}), None),
        (json!("ADMIN"), None),
    ] {
        let token = sign(&little.with_claims(&[("realm_access", json!({"roles": roles}))]), "r1");
        assert_eq!(little.take(&token).await.unwrap().role, role, "{roles}");
    }
}

#[tokio::test]
async fn keys_that_could_sign_or_are_small_are_not_used() {
    let symmetric = json!({"kty": "oct", "kid": "s1", "k": base64("hunter2hunter2hunter2hunter2hunter2"), "alg": "HS256"});
    let mut for_encryption = public(&rsa(&RSA), Algorithm::RS256, "x1");
    for_encryption["use"] = json!("enc");
    let mut of_another_algorithm = public(&rsa(&RSA), Algorithm::RS256, "p1");
    of_another_algorithm["alg"] = json!("PS256");
    let small = public(&rsa(&SHORT_RSA), Algorithm::RS256, "k1");
    let little = Little::new(json!([symmetric, for_encryption, of_another_algorithm, small, {"kty": "unknown"}, 7]));
    let claims = little.claims();
    let secret = EncodingKey::from_secret(b"hunter2hunter2hunter2hunter2hunter2");
    for (what, token) in [
        ("a symmetric key", encode(&header(Algorithm::HS256, "s1"), &claims, &secret).unwrap()),
        ("a key for encryption", sign(&claims, "x1")),
        ("a key for another algorithm", sign(&claims, "p1")),
        ("1024 bits", encode(&header(Algorithm::RS256, "k1"), &claims, &rsa(&SHORT_RSA)).unwrap()),
    ] {
        assert_eq!(little.take(&token).await, None, "{what}");
    }
}

#[tokio::test]
async fn a_new_key_is_found_and_unknown_names_do_not_flood_the_issuer() {
    let mut little = Little::new(json!([public(&rsa(&OTHER_RSA), Algorithm::RS256, "old")]));
    let token = sign(&little.claims(), "new");
    assert_eq!(little.take(&token).await, None);
    little.server.on(KEYS, Reply::json(json!({"keys": [public(&rsa(&RSA), Algorithm::RS256, "new")]})));
    assert!(little.take(&token).await.is_some(), "the key set is read again for an unknown name");
    little.issuer.keys.pause = Duration::from_secs(3600);
    let before = little.server.requests_to(KEYS).len();
    for number in 0..50 {
        assert_eq!(little.take(&sign(&little.claims(), &format!("made-up-{number}"))).await, None);
    }
    assert_eq!(little.server.requests_to(KEYS).len(), before, "within the pause nothing is read");
    assert!(little.take(&token).await.is_some());
}

#[tokio::test]
async fn an_issuer_that_cannot_be_read_is_an_error_and_no_refusal() {
    let little = Little::new(json!([public(&rsa(&RSA), Algorithm::RS256, "r1")]));
    let token = sign(&little.claims(), "r1");
    let other = json!({"issuer": "https://other.example", "jwks_uri": format!("{}{KEYS}", little.server.url())});
    for broken in [
        Reply::status(500),
        Reply::text("no JSON"),
        Reply::json(other),
        Reply::json(json!({"issuer": little.issuer.settings.issuer})),
        Reply::json(json!({"issuer": little.issuer.settings.issuer, "jwks_uri": "file:///etc/passwd"})),
        Reply::status(302).header("location", "http://169.254.169.254/"),
        Reply::text("x".repeat(2 << 20)),
    ] {
        little.server.on(DISCOVERY, broken);
        let error = little.issuer.verify(&token).await.unwrap_err();
        assert_eq!((error.code(), error.kind()), ("WEIR-AUTH-004", Kind::Connect), "{error}");
    }
    let url = little.issuer.settings.issuer.clone();
    little.server.on(DISCOVERY, Reply::json(json!({"issuer": url, "jwks_uri": format!("{}{KEYS}", little.server.url())})));
    assert!(little.take(&token).await.is_some(), "it comes back by itself");
    little.server.on(DISCOVERY, Reply::status(500));
    assert!(little.take(&token).await.is_some(), "known keys are used while the issuer is away");
}

#[test]
fn what_is_no_token_is_not_looked_at() {
    for text in ["", "a.b", "a.b.c.d", "a..c", "a.b!.c", "a.b.c ", &format!("{}.b.c", "a".repeat(20_000))] {
        assert!(!looks_like_one(text), "{text:.20}");
    }
    assert!(looks_like_one("eyJh.eyJ_.a-b"));
}
