//! Where a tenant's traffic may go: pure rules over addresses, hosts and URLs. No sockets, no DNS.
//!
//! A name is resolved once, by whoever connects; the addresses that came out are asked here ([`Policy::permit`]) and the connection is made to
//! one of those that passed, so that a second answer of the name server changes nothing. Redirects are new destinations and are asked again.
//!
//! Refused unless allowed: everything that is not a public unicast address: loopback, private (RFC 1918, RFC 4193), link-local with the
//! metadata services of the clouds (169.254.0.0/16, fe80::/10, fd00:ec2::254), shared (RFC 6598), benchmarking, documentation, multicast,
//! broadcast, reserved, unspecified; and IPv6 forms that carry one of those (v4-mapped, v4-compatible, 6to4, NAT64, Teredo).
#![deny(missing_docs)]

mod address;
mod allow;

use std::net::IpAddr;

use url::{Host, Url};
use weir_error::{Error, Kind, Result};

pub use address::special;
pub use allow::Allow;

/// Which destinations are open.
#[derive(Debug, Clone, Default)]
pub struct Policy {
    open: bool,
    allow: Vec<Allow>,
}

impl Policy {
    /// Everything is open: the command line, where the user's own rights are the limit, and `--dev`.
    pub const fn open() -> Self {
        Self { open: true, allow: Vec::new() }
    }

    /// Public addresses, and what the entries allow: `host`, `host:port`, `*.suffix`, an address, a CIDR block, each with an optional port
    /// (`10.0.0.0/8:5432`, `[fd00::/8]:5432`). A wrong entry is `WEIR-EGRESS-001`.
    pub fn public_and(entries: &[String]) -> Result<Self> {
        let allow = entries.iter().map(|entry| entry.parse()).collect::<Result<Vec<Allow>>>()?;
        Ok(Self { open: false, allow })
    }

    /// Whether nothing is refused.
    pub fn is_open(&self) -> bool {
        self.open
    }

    /// Whether a connection to `address` may be made for the sake of `host` (as the user wrote it, lower case). Refused: `WEIR-EGRESS-002`.
    /// The error names the host and not the address: what a name resolves to inside of a network is nobody's business.
    pub fn permit(&self, host: &str, address: IpAddr, port: u16) -> Result<()> {
        let Some(why) = special(address) else { return Ok(()) };
        if self.open || self.allow.iter().any(|allow| allow.covers(host, address, port)) {
            return Ok(());
        }
        Err(Error::new("WEIR-EGRESS-002", Kind::Privilege, format!("the platform does not let pipelines connect to `{host}`"))
            .because(format!("it is {why}"))
            .hint("an administrator can allow a host or network with WEIR_EGRESS_ALLOW"))
    }

    /// What can be said of a URL before its host is resolved: the scheme is http or https, and a literal address is permitted.
    pub fn permit_url(&self, url: &Url) -> Result<()> {
        if !matches!(url.scheme(), "http" | "https") {
            return Err(Error::new("WEIR-EGRESS-003", Kind::Spec, format!("`{}:` is not a web address", url.scheme()))
                .hint("write http:// or https://"));
        }
        let port = url.port_or_known_default().unwrap_or(0);
        match url.host() {
            Some(Host::Ipv4(address)) => self.permit(&address.to_string(), address.into(), port),
            Some(Host::Ipv6(address)) => self.permit(&address.to_string(), address.into(), port),
            Some(Host::Domain(_)) => Ok(()),
            None => Err(Error::new("WEIR-EGRESS-003", Kind::Spec, "the address names no host")),
        }
    }

    /// Those of the addresses that may be connected to; an error if none may.
    pub fn permitted(&self, host: &str, port: u16, addresses: impl IntoIterator<Item = IpAddr>) -> Result<Vec<IpAddr>> {
        let mut open = Vec::new();
        let mut refusal = None;
        for address in addresses {
            match self.permit(host, address, port) {
                Ok(()) => open.push(address),
                Err(error) => refusal = Some(error),
            }
        }
        match refusal {
            // A name with a public and a private address is either a mistake or an attack: none of it is used.
            Some(error) => Err(error),
            None => Ok(open),
        }
    }
}
