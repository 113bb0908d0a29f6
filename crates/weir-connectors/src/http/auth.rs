//! Credentials on requests. They go to the origin that the pipeline names and nowhere else; who calls [`Authenticator::apply`]
//! has checked that.

use std::time::{Duration, Instant};

use base64::Engine;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use serde::Deserialize;
use tokio::sync::Mutex;
use url::Url;
use weir_connect::{Error, Kind, Result, Secret, guard};
use weir_error::veil;

use super::client::{read_body, shown, snippet, transport};
use super::config::{Auth, ClientAuth, ClientCredentials, KeyPlace, spec};

/// A token is renewed this long before it expires.
const LEEWAY: Duration = Duration::from_secs(30);

/// The credentials of a connection, with the OAuth token if one was fetched.
pub struct Authenticator {
    auth: Option<Auth>,
    token: Mutex<Option<Token>>,
}

struct Token {
    value: Secret,
    renew_at: Option<Instant>,
}

#[derive(Deserialize)]
struct TokenResponse {
    access_token: Secret,
    expires_in: Option<serde_json::Value>,
}

impl Authenticator {
    /// Checks that the credentials can be put into headers.
    pub fn new(auth: Option<Auth>) -> Result<Self> {
        let authenticator = Self { auth, token: Mutex::new(None) };
        match &authenticator.auth {
            Some(Auth::Bearer(bearer)) => drop(header("auth.bearer.token", bearer.token.expose())?),
            Some(Auth::ApiKey(key)) if key.place == KeyPlace::Header => {
                header_name(&key.name)?;
                header("auth.api_key.value", key.value.expose())?;
            }
            Some(Auth::Oauth2ClientCredentials(oauth)) => {
                Url::parse(&oauth.token_url).map_err(|error| spec("`token_url` is not an address").because(error))?;
            }
            _ => {}
        }
        Ok(authenticator)
    }

    /// Whether a 401 may be cured by a new token.
    pub fn renews(&self) -> bool {
        matches!(self.auth, Some(Auth::Oauth2ClientCredentials(_)))
    }

    /// Whether there are credentials at all.
    pub fn present(&self) -> bool {
        self.auth.is_some()
    }

    /// Name of the query parameter that carries a key.
    pub fn secret_param(&self) -> Option<&str> {
        match &self.auth {
            Some(Auth::ApiKey(key)) if key.place == KeyPlace::Query => Some(&key.name),
            _ => None,
        }
    }

    /// Adds the credentials to a request; returns the token it used, so that a refused one can be told apart from a newer one.
    pub async fn apply(&self, http: &reqwest::Client, url: &mut Url, headers: &mut HeaderMap) -> Result<Option<Secret>> {
        match &self.auth {
            None => {}
            Some(Auth::Bearer(bearer)) => {
                headers.insert(AUTHORIZATION, header("auth.bearer.token", &format!("Bearer {}", bearer.token.expose()))?);
            }
            Some(Auth::Basic(basic)) => {
                headers.insert(AUTHORIZATION, basic_value(&basic.user, basic.password.expose())?);
            }
            Some(Auth::ApiKey(key)) if key.place == KeyPlace::Header => {
                headers.insert(header_name(&key.name)?, header("auth.api_key.value", key.value.expose())?);
            }
            // An address that the API gave us may carry the key already.
            Some(Auth::ApiKey(key)) if url.query_pairs().any(|(name, _)| name == key.name) => {}
            Some(Auth::ApiKey(key)) => {
                url.query_pairs_mut().append_pair(&key.name, key.value.expose());
            }
            Some(Auth::Oauth2ClientCredentials(oauth)) => {
                let token = self.token(http, oauth).await?;
                headers.insert(AUTHORIZATION, header("the access token", &format!("Bearer {}", token.expose()))?);
                return Ok(Some(token));
            }
        }
        Ok(None)
    }

    /// Forgets a token that was refused, unless it has been renewed meanwhile.
    pub async fn refused(&self, used: &Secret) {
        let mut token = self.token.lock().await;
        if token.as_ref().is_some_and(|token| token.value == *used) {
            *token = None;
        }
    }

    async fn token(&self, http: &reqwest::Client, oauth: &ClientCredentials) -> Result<Secret> {
        let mut token = self.token.lock().await;
        if let Some(known) = &*token
            && known.renew_at.is_none_or(|at| Instant::now() < at)
        {
            return Ok(known.value.clone());
        }
        let fresh = fetch(http, oauth).await?;
        let value = fresh.value.clone();
        *token = Some(fresh);
        Ok(value)
    }
}

async fn fetch(http: &reqwest::Client, oauth: &ClientCredentials) -> Result<Token> {
    let url = Url::parse(&oauth.token_url).map_err(|error| spec("`token_url` is not an address").because(error))?;
    let place = shown(&url, None);
    guard::current().permit_request(&url).await.map_err(|error| error.at(place.clone()))?;
    let mut form = vec![("grant_type", "client_credentials")];
    form.extend(oauth.scope.as_deref().map(|scope| ("scope", scope)));
    let mut request = http.post(url).header(ACCEPT, "application/json").header(CONTENT_TYPE, "application/x-www-form-urlencoded");
    match oauth.client_auth {
        ClientAuth::Basic => {
            // RFC 6749, 2.3.1: both parts are form-encoded before they are joined.
            let encode = |text: &str| url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
            request =
                request.header(AUTHORIZATION, basic_value(&encode(&oauth.client_id), &encode(oauth.client_secret.expose()))?);
        }
        ClientAuth::Body => {
            form.push(("client_id", &oauth.client_id));
            form.push(("client_secret", oauth.client_secret.expose()));
        }
    }
    let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
    let response = request.body(body).send().await.map_err(|error| transport(error, &place))?;
    let status = response.status();
    if status.is_server_error() || status.as_u16() == 429 {
        let what = format!("the token server answers {status}");
        return Err(Error::new("WEIR-HTTP-009", Kind::Connect, what).at(place).transient());
    }
    let body = read_body(response, 1 << 20, &place).await?;
    if !status.is_success() {
        return Err(Error::new("WEIR-HTTP-003", Kind::Auth, format!("the token server refuses the client: {status}"))
            .at(place)
            .because(snippet(&body))
            .hint("check client_id, client_secret, scope and client_auth"));
    }
    let begin = Instant::now();
    let parsed: TokenResponse = serde_json::from_slice(&body)
        .map_err(|_| Error::new("WEIR-HTTP-003", Kind::Auth, "the token server's answer has no access_token").at(place))?;
    veil::remember(parsed.access_token.expose());
    // Some servers send the seconds as text.
    let seconds = match parsed.expires_in {
        Some(serde_json::Value::Number(number)) => number.as_f64(),
        Some(serde_json::Value::String(text)) => text.parse().ok(),
        _ => None,
    };
    let lifetime = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds.max(0.0)).ok());
    // A token that lives shorter than the leeway is used for half its life.
    let renew_at =
        lifetime.map(|lifetime| begin + lifetime.checked_sub(LEEWAY).filter(|rest| *rest > LEEWAY).unwrap_or(lifetime / 2));
    Ok(Token { value: parsed.access_token, renew_at })
}

fn basic_value(user: &str, password: &str) -> Result<HeaderValue> {
    let encoded = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
    header("auth.basic", &format!("Basic {encoded}"))
}

/// A header's value, marked so that it does not print.
pub fn header(option: &str, value: &str) -> Result<HeaderValue> {
    let mut header =
        HeaderValue::from_str(value).map_err(|_| spec(format!("`{option}` has a character that no header can carry")))?;
    header.set_sensitive(true);
    Ok(header)
}

/// A header's name.
pub fn header_name(name: &str) -> Result<HeaderName> {
    HeaderName::from_bytes(name.as_bytes()).map_err(|_| spec(format!("`{name}` is not the name of a header")))
}
