//! The HTTP clients of the connectors under the guard of this process (see [`weir_connect::guard`]).

use std::net::SocketAddr;
use std::sync::Arc;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use weir_connect::guard;

/// Gives out only addresses that may be connected to; reqwest connects to these and asks nobody else.
struct GuardedNames;

impl Resolve for GuardedNames {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found: Vec<SocketAddr> = guard::current().resolve(name.as_str(), 0).await??;
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

/// A client builder that obeys the guard. Hosts that are written as addresses are never resolved: [`guard::Guard::permit_request`] must be asked for every URL.
pub(crate) fn client(builder: reqwest::ClientBuilder) -> reqwest::ClientBuilder {
    if guard::current().is_open() {
        return builder;
    }
    // A proxy would connect in our place, to wherever it is told.
    builder.no_proxy().redirect(reqwest::redirect::Policy::none()).dns_resolver(Arc::new(GuardedNames))
}

#[cfg(test)]
mod tests;
