//! What only the admin interface knows (HTTP, `admin_url`): namespaces of a tenant, ledgers of a topic, topics with partitions to be made.
//! <https://pulsar.apache.org/admin-rest-api/>

use reqwest::{Method, StatusCode};
use serde_json::Value;
use url::Url;
use weir_connect::{Error, Kind, Result, guard};

use super::client::Address;
use super::errors::unreachable;
use super::names::Topic;
use super::tls;
use crate::guarded;

/// Answers are small; a larger one is none.
const MOST_BYTES: u64 = 64 << 20;

/// The admin interface of a connection.
pub struct Admin {
    http: reqwest::Client,
    base: Url,
    address: Address,
}

impl Admin {
    /// If the connection names one.
    pub fn of(address: &Address) -> Result<Option<Self>> {
        let Some(text) = &address.options().admin_url else { return Ok(None) };
        let base = Url::parse(text).map_err(|error| unreachable(text, error))?;
        let mut builder = reqwest::Client::builder().timeout(address.patience()).redirect(reqwest::redirect::Policy::none());
        if base.scheme() == "https" {
            builder = builder.use_preconfigured_tls(tls::config(address.options(), address.base_dir())?);
        }
        let http = guarded::client(builder).build().map_err(|error| unreachable(text, error))?;
        Ok(Some(Self { http, base, address: address.clone() }))
    }

    /// `None`: there is no such thing.
    async fn call(&self, method: Method, path: &[&str], body: Option<Value>) -> Result<Option<Value>> {
        let mut url = self.base.clone();
        let place = format!("{}/admin/v2/{}", self.base.as_str().trim_end_matches('/'), path.join("/"));
        url.path_segments_mut()
            .map_err(|()| unreachable(&place, "no path can be added to the address"))?
            .pop_if_empty()
            .extend(["admin", "v2"])
            .extend(path);
        guard::current().permit_request(&url).await.map_err(|error| error.at(place.clone()))?;
        let mut request = self.http.request(method, url);
        if let Some(authorization) = self.address.authorization().await? {
            request = request.header(reqwest::header::AUTHORIZATION, authorization.expose());
        }
        if let Some(body) = &body {
            request = request.json(body);
        }
        let answer = request.send().await.map_err(|error| unreachable(&place, weir_error::chain(&error)))?;
        let status = answer.status();
        if answer.content_length().is_some_and(|bytes| bytes > MOST_BYTES) {
            return Err(unreachable(&place, "the answer is too large"));
        }
        let text = answer.text().await.map_err(|error| unreachable(&place, weir_error::chain(&error)))?;
        let mine = |code: &'static str, kind: Kind, what: &str| {
            Error::new(code, kind, what)
                .at(place.clone())
                .because(format!("{status} {}", text.chars().take(300).collect::<String>()))
        };
        match status {
            StatusCode::NOT_FOUND => Ok(None),
            StatusCode::UNAUTHORIZED => Err(mine("WEIR-PULSAR-003", Kind::Auth, "the admin interface refuses the credentials")
                .hint("check `token`, or `user` and `password`, or `credentials_url` of OAuth 2")),
            StatusCode::FORBIDDEN => {
                Err(mine("WEIR-PULSAR-004", Kind::Privilege, "the role may not ask the admin interface this")
                    .hint("leave `admin_url` out, or give the role the tenant's admin rights"))
            }
            StatusCode::CONFLICT => Ok(Some(Value::Null)),
            status if status.is_success() => Ok(Some(serde_json::from_str(&text).unwrap_or(Value::Null))),
            status if status.is_server_error() || status.is_redirection() => Err(unreachable(&place, format!("{status} {text}"))),
            _ => Err(mine("WEIR-PULSAR-006", Kind::Internal, "the admin interface refuses the operation")),
        }
    }

    /// The namespaces of a tenant, `tenant/namespace` each.
    pub async fn namespaces(&self, tenant: &str) -> Result<Vec<String>> {
        let answer = self.call(Method::GET, &["namespaces", tenant], None).await?.unwrap_or_default();
        Ok(answer.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect())
    }

    /// The first ledger that a topic (or one partition) still has.
    pub async fn first_ledger(&self, topic: &Topic, partition: Option<u32>) -> Result<Option<i64>> {
        let (tenant, namespace) = topic.namespace.split_once('/').unwrap_or_default();
        let local = partition.map_or_else(|| topic.local.clone(), |number| format!("{}-partition-{number}", topic.local));
        let path = ["persistent", tenant, namespace, &local, "internalStats"];
        let answer = self.call(Method::GET, &path, None).await?.unwrap_or_default();
        let ledgers = answer.get("ledgers").and_then(Value::as_array).into_iter().flatten();
        Ok(ledgers.filter_map(|ledger| ledger.get("ledgerId").and_then(Value::as_i64)).min())
    }

    /// Makes a topic with partitions; one that is there already is fine.
    pub async fn create(&self, topic: &Topic, partitions: u32) -> Result<()> {
        let (tenant, namespace) = topic.namespace.split_once('/').unwrap_or_default();
        let path = ["persistent", tenant, namespace, &topic.local, "partitions"];
        match self.call(Method::PUT, &path, Some(partitions.into())).await? {
            Some(_) => Ok(()),
            None => Err(Error::new("WEIR-PULSAR-005", Kind::NotFound, format!("there is no namespace `{}`", topic.namespace))
                .hint("`pulsar-admin namespaces create tenant/namespace` makes one")),
        }
    }
}
