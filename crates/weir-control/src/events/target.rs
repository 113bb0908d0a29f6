//! Where a subscription leads. An address may be a secret as a whole (Slack's are) or carry a token, so it is sealed together with the key of
//! the signatures; what is stored in clear and shown ends with the host.

use serde::{Deserialize, Serialize};
use url::Url;
use weir_error::{Error, Kind, Result, Secret};
use weir_store::TenantScope;
use weir_store::model::{SealedSecret, Subscription};

use crate::seal::{KeyRing, Place};

/// Where events go, and what signs them.
pub struct Target {
    /// The whole address.
    pub url: Secret,
    /// The HMAC key.
    pub key: Option<Secret>,
}

#[derive(Serialize, Deserialize)]
struct Plain {
    url: String,
    key: Option<String>,
}

/// The address as it may be shown, and the sealed rest.
pub fn seal(keys: &KeyRing, scope: &TenantScope, url: &str, key: Option<&Secret>) -> Result<(String, SealedSecret)> {
    let shown = shown(url);
    let plain = Plain { url: url.to_owned(), key: key.map(|key| key.expose().to_owned()) };
    let plain = serde_json::to_vec(&plain).map_err(|error| Error::internal("an address is no JSON").caused_by(error))?;
    let sealed = keys.seal(&place(scope, &shown), &plain)?;
    Ok((shown, sealed))
}

/// Both again. A subscription without a seal shows its whole address and signs nothing.
pub fn open(keys: &KeyRing, scope: &TenantScope, subscription: &Subscription) -> Result<Target> {
    let Some(sealed) = &subscription.sealed else {
        return Ok(Target { url: Secret::new(&subscription.url), key: None });
    };
    let plain = keys.open(&place(scope, &subscription.url), sealed)?;
    // The cause would quote the text.
    let plain: Plain = serde_json::from_slice(&plain).map_err(|_| {
        Error::new("WEIR-EVENT-007", Kind::Data, "the address of a subscription cannot be read")
            .at(format!("subscription {}", subscription.id))
            .hint("delete the subscription and make it again")
    })?;
    Ok(Target { url: Secret::new(plain.url), key: plain.key.map(Secret::new) })
}

fn place<'a>(scope: &'a TenantScope, shown: &'a str) -> Place<'a> {
    Place { tenant: scope.tenant(), table: "subscriptions", row: shown }
}

/// Scheme, host and port; `***` for what follows them.
fn shown(url: &str) -> String {
    let Ok(url) = Url::parse(url) else { return "***".into() };
    let rest = if url.path() == "/" && url.query().is_none() && url.fragment().is_none() { "" } else { "***" };
    format!("{}/{rest}", url.origin().ascii_serialization())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_follows_the_host_is_hidden() {
        let hooks = "https://hooks.example:8443/services/T0/B1/hunter2";
        for (url, expected) in [
            (hooks, "https://hooks.example:8443/***"),
            ("https://h.example/?token=hunter2", "https://h.example/***"),
            ("https://h.example", "https://h.example/"),
            ("https://[2001:db8::1]/x", "https://[2001:db8::1]/***"),
        ] {
            assert_eq!(shown(url), expected);
        }
    }
}
