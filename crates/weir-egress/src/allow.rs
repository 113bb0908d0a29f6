//! One entry of an allow list.

use std::net::IpAddr;
use std::str::FromStr;

use weir_error::{Error, Kind};

/// `host`, `*.suffix`, an address or a CIDR block, each with an optional port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allow {
    what: What,
    port: Option<u16>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum What {
    Host(String),
    Suffix(String),
    Network(IpAddr, u8),
}

impl Allow {
    /// Whether a connection to the address, for the sake of the host, is meant by this entry.
    pub fn covers(&self, host: &str, address: IpAddr, port: u16) -> bool {
        if self.port.is_some_and(|wanted| wanted != port) {
            return false;
        }
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        match &self.what {
            What::Host(name) => host == *name,
            What::Suffix(suffix) => host.strip_suffix(suffix.as_str()).is_some_and(|rest| rest.ends_with('.') && rest.len() > 1),
            What::Network(network, bits) => within(address.to_canonical(), *network, *bits),
        }
    }
}

fn within(address: IpAddr, network: IpAddr, bits: u8) -> bool {
    match (address, network) {
        (IpAddr::V4(a), IpAddr::V4(n)) => prefix(u128::from(u32::from(a)) << 96, u128::from(u32::from(n)) << 96, bits),
        (IpAddr::V6(a), IpAddr::V6(n)) => prefix(a.into(), n.into(), bits),
        _ => false,
    }
}

fn prefix(a: u128, b: u128, bits: u8) -> bool {
    bits == 0 || (a ^ b) >> (128 - u32::from(bits)) == 0
}

impl FromStr for Allow {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = || {
            Error::new("WEIR-EGRESS-001", Kind::Spec, format!("`{text}` is no host and no network"))
                .hint("write host, host:port, *.suffix, 10.0.0.0/8 or [fd00::/8]:5432")
        };
        let text = text.trim();
        let (body, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((inner, "")) => (inner, None),
            Some((inner, rest)) => (inner, Some(rest.strip_prefix(':').ok_or_else(wrong)?)),
            // More than one colon without brackets is an IPv6 address.
            None if text.matches(':').count() == 1 => {
                let (body, port) = text.split_once(':').ok_or_else(wrong)?;
                (body, Some(port))
            }
            None => (text, None),
        };
        let port = port.map(|port| port.parse::<u16>().map_err(|_| wrong())).transpose()?;
        let (address, bits) = match body.split_once('/') {
            Some((address, bits)) => (address, Some(bits.parse::<u8>().map_err(|_| wrong())?)),
            None => (body, None),
        };
        if let Ok(address) = address.parse::<IpAddr>() {
            let full = if address.is_ipv4() { 32 } else { 128 };
            let bits = bits.unwrap_or(full);
            return if bits <= full { Ok(Self { what: What::Network(address, bits), port }) } else { Err(wrong()) };
        }
        let name = body.to_ascii_lowercase();
        let (name, suffix) = name.strip_prefix("*.").map_or((name.as_str(), false), |rest| (rest, true));
        let plain = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "-._".contains(c));
        if bits.is_some() || !plain {
            return Err(wrong());
        }
        let what = if suffix { What::Suffix(name.into()) } else { What::Host(name.trim_end_matches('.').into()) };
        Ok(Self { what, port })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn covers(entry: &str, host: &str, address: &str, port: u16) -> bool {
        entry.parse::<Allow>().unwrap().covers(host, address.parse().unwrap(), port)
    }

    #[test]
    fn entries_cover_what_they_say_and_nothing_near() {
        assert!(covers("10.0.0.0/8", "db", "10.2.3.4", 5432));
        assert!(covers("10.0.0.0/8", "db", "::ffff:10.2.3.4", 5432));
        assert!(!covers("10.0.0.0/8", "db", "11.2.3.4", 5432));
        assert!(covers("10.0.0.0/8:5432", "db", "10.2.3.4", 5432));
        assert!(!covers("10.0.0.0/8:5432", "db", "10.2.3.4", 22));
        assert!(covers("[fd00::/8]:5432", "db", "fd12::1", 5432));
        assert!(covers("::1", "localhost", "::1", 1));
        assert!(covers("db.internal", "DB.internal.", "10.0.0.1", 1));
        assert!(!covers("db.internal", "evil-db.internal", "10.0.0.1", 1));
        assert!(covers("*.internal", "a.b.internal", "10.0.0.1", 1));
        assert!(!covers("*.internal", "internal", "10.0.0.1", 1));
        assert!(!covers("*.internal", "evilinternal", "10.0.0.1", 1));
        assert!(covers("localhost:9000", "localhost", "127.0.0.1", 9000));
    }

    #[test]
    fn wrong_entries_are_told() {
        for wrong in ["", "10.0.0.0/33", "host:99999", "http://host", "a b", "host/8", "*.", "[::1]x"] {
            assert_eq!(wrong.parse::<Allow>().unwrap_err().code(), "WEIR-EGRESS-001", "{wrong}");
        }
    }
}
