//! OAuth 2 with client credentials: a token from who issues it, fetched anew before it expires.
//!
//! As Java's plug-in does it: the issuer says under `/.well-known/openid-configuration` where tokens are given, and the client proves itself there with what
//! its key file says.

use std::path::PathBuf;
use std::sync::{Mutex as Shelf, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine;
use serde::Deserialize;
use tokio::sync::Mutex;
use url::Url;
use weir_connect::{Error, Kind, Result, Secret, guard};
use weir_error::veil;

use super::config::ConnectionOptions;
use super::errors::wrong;
use crate::certificates::placed;
use crate::guarded;

/// A token is fetched anew so long before it expires.
const LEEWAY: Duration = Duration::from_secs(60);
/// Answers are small; a larger one is none.
const MOST_BYTES: usize = 1 << 20;
const DISCOVERY: &str = ".well-known/openid-configuration";

/// Who issues tokens, and who asks for them; the names are those of Java's plug-in.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct OauthOptions {
    /// What kind of a grant.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// Who issues tokens; `None`: the key file says it.
    pub issuer_url: Option<String>,
    /// The key file.
    pub private_key: Option<Secret>,
    /// For whom the token is.
    pub audience: Option<String>,
    /// What it shall allow.
    pub scope: Option<String>,
}

impl ConnectionOptions {
    /// What OAuth 2 needs, if the connection proves itself by that.
    pub fn oauth(&self) -> Result<Option<OauthOptions>> {
        let given = [self.issuer_url.is_some(), self.credentials_url.is_some(), self.audience.is_some(), self.scope.is_some()];
        let class = self.auth_plugin_class.as_deref().is_some_and(|class| class.ends_with("AuthenticationOAuth2"));
        // Java's clients write the parameters of the plug-in so.
        let parameters = self.token.as_ref().filter(|token| class && token.expose().trim_start().starts_with('{'));
        if !class && !given.contains(&true) {
            return Ok(None);
        }
        if self.user.is_some() || (self.token.is_some() && parameters.is_none()) {
            return Err(wrong("OAuth 2 and another way to prove oneself exclude each other", "keep one of them"));
        }
        let mut found = match parameters {
            // The reason may show what is in it.
            Some(text) => serde_json::from_str(text.expose()).map_err(|_| {
                wrong("`auth.params` of OAuth 2 is no JSON with texts", "`{\"issuerUrl\": …, \"privateKey\": …}`")
            })?,
            None => OauthOptions::default(),
        };
        let or = |mine: &Option<String>, its: Option<String>| mine.clone().or(its);
        found.issuer_url = or(&self.issuer_url, found.issuer_url);
        found.private_key = self.credentials_url.clone().or(found.private_key);
        found.audience = or(&self.audience, found.audience);
        found.scope = or(&self.scope, found.scope);
        if found.private_key.is_none() {
            return Err(wrong(
                "OAuth 2 needs `credentials_url`",
                "the client's key file: JSON with `client_id` and `client_secret`",
            ));
        }
        if let Some(kind) = found.kind.as_deref().filter(|kind| *kind != "client_credentials") {
            return Err(wrong(format!("OAuth 2 of the type `{kind}` is not known here"), "`client_credentials` is"));
        }
        Ok(Some(found))
    }
}

/// A client that has tokens.
pub struct Oauth {
    options: OauthOptions,
    base_dir: PathBuf,
    patience: Duration,
    /// One fetches at a time.
    fetching: Mutex<()>,
    token: Shelf<Option<Token>>,
}

#[derive(Clone)]
struct Token {
    value: Secret,
    renew_at: Option<Instant>,
}

/// The key file.
#[derive(Deserialize)]
struct KeyFile {
    client_id: String,
    client_secret: Secret,
    issuer_url: Option<String>,
}

#[derive(Deserialize)]
struct Discovered {
    token_endpoint: String,
}

#[derive(Deserialize)]
struct Answer {
    access_token: Secret,
    expires_in: Option<serde_json::Value>,
}

fn unreachable(place: &str, why: impl std::fmt::Display) -> Error {
    Error::new("WEIR-PULSAR-012", Kind::Connect, "who issues tokens does not answer")
        .at(place)
        .because(why)
        .hint("check `issuer_url`, and that it can be reached from here")
        .transient()
}

fn refused(place: &str, why: impl std::fmt::Display) -> Error {
    Error::new("WEIR-PULSAR-013", Kind::Auth, "who issues tokens gives none")
        .at(place)
        .because(why)
        .hint("check `credentials_url`, `audience` and `scope`")
}

impl Oauth {
    /// Asks later.
    pub fn new(options: OauthOptions, base_dir: PathBuf, patience: Duration) -> Self {
        Self { options, base_dir, patience, fetching: Mutex::default(), token: Shelf::default() }
    }

    fn known(&self) -> Option<Secret> {
        let token = self.token.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = token.as_ref().filter(|token| token.renew_at.is_none_or(|at| Instant::now() < at))?;
        Some(fresh.value.clone())
    }

    /// Forgets a token that a broker refused, unless there is another one by now.
    pub fn refused(&self, used: &Secret) {
        let mut token = self.token.lock().unwrap_or_else(PoisonError::into_inner);
        if token.as_ref().is_some_and(|token| token.value == *used) {
            *token = None;
        }
    }

    /// A token that is good for a while. Safe to give up on.
    ///
    /// # Errors
    /// `WEIR-PULSAR-001`: the key file cannot be read. `WEIR-PULSAR-012`, transient: nobody answers. `WEIR-PULSAR-013`: no token is given.
    pub async fn token(&self) -> Result<Secret> {
        if let Some(known) = self.known() {
            return Ok(known);
        }
        let _alone = self.fetching.lock().await;
        // Whoever was first has fetched it.
        if let Some(known) = self.known() {
            return Ok(known);
        }
        let fresh = self.fetch().await?;
        let value = fresh.value.clone();
        *self.token.lock().unwrap_or_else(PoisonError::into_inner) = Some(fresh);
        Ok(value)
    }

    async fn fetch(&self) -> Result<Token> {
        let key = self.key_file()?;
        let issuer = self.options.issuer_url.as_deref().or(key.issuer_url.as_deref());
        let issuer = issuer
            .ok_or_else(|| wrong("OAuth 2 needs `issuer_url`", "the address of who issues tokens: `https://login.example`"))?;
        let http = guarded::client(reqwest::Client::builder().timeout(self.patience).redirect(reqwest::redirect::Policy::none()))
            .build()
            .map_err(|error| unreachable(issuer, weir_error::chain(&error)))?;
        let discovery = address(&format!("{}/{DISCOVERY}", issuer.trim_end_matches('/')), "`issuer_url`")?;
        let found = self.ask(http.get(discovery.clone()), &discovery).await?;
        let found: Discovered = serde_json::from_slice(&found)
            .map_err(|error| refused(discovery.as_str(), format!("its configuration has no `token_endpoint`: {error}")))?;
        let endpoint = address(&found.token_endpoint, "the `token_endpoint` of the issuer")?;
        let request = http.post(endpoint.clone()).header(reqwest::header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        let begin = Instant::now();
        let answer = self.ask(request.body(self.form(&key)), &endpoint).await?;
        // The reason may show what is in it.
        let answer: Answer =
            serde_json::from_slice(&answer).map_err(|_| refused(endpoint.as_str(), "the answer has no `access_token`"))?;
        veil::remember(answer.access_token.expose());
        // Some send the seconds as text.
        let seconds = match answer.expires_in {
            Some(serde_json::Value::Number(number)) => number.as_f64(),
            Some(serde_json::Value::String(text)) => text.parse().ok(),
            _ => None,
        };
        let life = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds.max(0.0)).ok());
        // A token that lives shorter than that is used for half its life.
        let renew_at =
            life.and_then(|life| begin.checked_add(life.checked_sub(LEEWAY).filter(|rest| *rest > LEEWAY).unwrap_or(life / 2)));
        Ok(Token { value: answer.access_token, renew_at })
    }

    fn form(&self, key: &KeyFile) -> String {
        let mut form = url::form_urlencoded::Serializer::new(String::new());
        form.append_pair("grant_type", "client_credentials");
        form.append_pair("client_id", &key.client_id);
        form.append_pair("client_secret", key.client_secret.expose());
        for (name, value) in [("audience", &self.options.audience), ("scope", &self.options.scope)] {
            if let Some(value) = value {
                form.append_pair(name, value);
            }
        }
        form.finish()
    }

    async fn ask(&self, request: reqwest::RequestBuilder, url: &Url) -> Result<Vec<u8>> {
        let place = url.as_str();
        guard::current().permit_request(url).await.map_err(|error| error.at(place))?;
        let request = request.header(reqwest::header::ACCEPT, "application/json");
        let mut answer = request.send().await.map_err(|error| unreachable(place, weir_error::chain(&error.without_url())))?;
        let status = answer.status();
        let mut bytes = Vec::new();
        while let Some(chunk) =
            answer.chunk().await.map_err(|error| unreachable(place, weir_error::chain(&error.without_url())))?
        {
            if bytes.len() + chunk.len() > MOST_BYTES {
                return Err(refused(place, format!("the answer is larger than {} KiB", MOST_BYTES >> 10)));
            }
            bytes.extend_from_slice(&chunk);
        }
        if status.is_success() {
            return Ok(bytes);
        }
        let said = format!("HTTP {} {}", status.as_u16(), String::from_utf8_lossy(&bytes).chars().take(300).collect::<String>());
        match status.is_server_error() || status == reqwest::StatusCode::TOO_MANY_REQUESTS {
            true => Err(unreachable(place, said)),
            false => Err(refused(place, said)),
        }
    }

    fn key_file(&self) -> Result<KeyFile> {
        let hint = "`file:///path/to/key.json`, `data:application/json;base64,…`, or the JSON itself: with `client_id` and `client_secret`";
        let bad = |what: &str| wrong(format!("`credentials_url` {what}"), hint);
        let given = self.options.private_key.as_ref().ok_or_else(|| bad("is missing"))?.expose().trim();
        let bytes = if given.starts_with('{') {
            given.as_bytes().to_vec()
        } else if let Some(data) = given.strip_prefix("data:") {
            let (head, body) = data.split_once(',').ok_or_else(|| bad("has no comma between type and data"))?;
            match head.ends_with(";base64") {
                true => base64::engine::general_purpose::STANDARD
                    .decode(body)
                    .map_err(|_| bad("says that it is base64 and is not"))?,
                false => percent_decoded(body).ok_or_else(|| bad("has a `%` with nothing behind it"))?,
            }
        } else {
            let path = given.strip_prefix("file://").unwrap_or(given);
            let path = guard::current().file(&placed(&self.base_dir, path.as_ref()))?;
            std::fs::read(&path).map_err(|error| Error::from(error).at(path.display().to_string()))?
        };
        // The reason may show what is in it.
        let key: KeyFile = serde_json::from_slice(&bytes).map_err(|_| bad("is no JSON with `client_id` and `client_secret`"))?;
        veil::remember(key.client_secret.expose());
        Ok(key)
    }
}

fn address(text: &str, what: &str) -> Result<Url> {
    let parsed = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    parsed.ok_or_else(|| wrong(format!("{what} is no address of HTTP: `{text}`"), "`https://login.example`"))
}

fn percent_decoded(text: &str) -> Option<Vec<u8>> {
    let mut bytes = text.bytes();
    let mut out = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'%' => {
                let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
                let (high, low) = (digit(bytes.next())?, digit(bytes.next())?);
                u8::try_from(high << 4 | low).ok()?
            }
            other => other,
        });
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(given: &str) -> Result<KeyFile> {
        let options = OauthOptions { private_key: Some(Secret::new(given)), ..OauthOptions::default() };
        Oauth::new(options, ".".into(), Duration::from_secs(1)).key_file()
    }

    #[test]
    fn a_key_file_comes_in_every_form_and_a_bad_one_does_not_show_itself() {
        let text = r#"{"type": "client_credentials", "client_id": "weir", "client_secret": "hush-hush"}"#;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key.json");
        std::fs::write(&path, text).unwrap();
        let encoded = base64::engine::general_purpose::STANDARD.encode(text);
        let escaped: String = text.bytes().map(|byte| format!("%{byte:02X}")).collect();
        for given in [
            text.to_owned(),
            format!("file://{}", path.display()),
            path.display().to_string(),
            format!("data:application/json;base64,{encoded}"),
            format!("data:application/json,{escaped}"),
        ] {
            let key = key(&given).unwrap();
            assert_eq!((key.client_id.as_str(), key.client_secret.expose()), ("weir", "hush-hush"), "{given}");
        }
        for bad in ["data:application/json;base64", "data:;base64,***", r#"{"client_secret": "hush-hush"}"#, "data:,%2"] {
            let error = key(bad).err().unwrap();
            assert_eq!(error.code(), "WEIR-PULSAR-001", "{bad}");
            assert!(!format!("{error} {error:?}").contains("hush-hush"));
        }
    }
}
