//! Which addresses are not public, and what they are instead.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What an address is if it is not a public unicast one, from the IANA special-purpose registries (RFC 6890 and successors).
pub fn special(address: IpAddr) -> Option<&'static str> {
    match address {
        IpAddr::V4(address) => v4(address),
        IpAddr::V6(address) => v6(address),
    }
}

fn v4(address: Ipv4Addr) -> Option<&'static str> {
    match address.octets() {
        [0, ..] => Some("an address of this host (0.0.0.0/8)"),
        [127, ..] => Some("a loopback address"),
        [10, ..] | [192, 168, ..] => Some("a private address"),
        [172, b, ..] if b & 0xf0 == 16 => Some("a private address"),
        [169, 254, ..] => Some("a link-local address, as metadata services have"),
        [100, b, ..] if b & 0xc0 == 64 => Some("a shared address (100.64.0.0/10)"),
        [192, 0, 0, _] => Some("a protocol assignment (192.0.0.0/24)"),
        [192, 0, 2, _] | [198, 51, 100, _] | [203, 0, 113, _] => Some("a documentation address"),
        [192, 88, 99, _] => Some("a relay address (192.88.99.0/24)"),
        [198, 18 | 19, ..] => Some("a benchmarking address"),
        [224..=239, ..] => Some("a multicast address"),
        // Azure's platform address: public by number, the metadata service by use.
        [168, 63, 129, 16] => Some("a metadata service"),
        [240..=255, ..] => Some("a reserved address"),
        _ => None,
    }
}

fn v6(address: Ipv6Addr) -> Option<&'static str> {
    let parts = address.segments();
    let low = |high: u16, low: u16| Ipv4Addr::from((u32::from(high) << 16) | u32::from(low));
    match parts {
        [0, 0, 0, 0, 0, 0, 0, 0] => return Some("the unspecified address"),
        [0, 0, 0, 0, 0, 0, 0, 1] => return Some("a loopback address"),
        [0, 0, 0, 0, 0, 0xffff, a, b] => return v4(low(a, b)),
        [0, 0, 0, 0, 0, 0, ..] => return Some("a reserved address (::/96)"),
        [0, 0, 0, 0, 0xffff, 0, a, b] => return v4(low(a, b)).or(Some("a translated address")),
        [0x64, 0xff9b, 0, 0, 0, 0, a, b] => return v4(low(a, b)),
        [0x64, 0xff9b, 1, ..] => return Some("a translated address (64:ff9b:1::/48)"),
        [0x100, 0, 0, 0, ..] => return Some("a discard-only address"),
        [0x2001, 0xdb8, ..] => return Some("a documentation address"),
        // Teredo carries the server's and, inverted, the client's address.
        [0x2001, 0, ..] => return Some("a tunnelled address (Teredo)"),
        [0x2001, b, ..] if b < 0x200 => return Some("a protocol assignment (2001::/23)"),
        [0x2002, a, b, ..] => return v4(low(a, b)).or(Some("a tunnelled address (6to4)")),
        [0x3fff, b, ..] if b < 0x1000 => return Some("a documentation address"),
        _ => {}
    }
    match parts[0] {
        a if a & 0xfe00 == 0xfc00 => Some("a private address"),
        a if a & 0xffc0 == 0xfe80 => Some("a link-local address"),
        a if a & 0xffc0 == 0xfec0 => Some("a site-local address"),
        a if a & 0xff00 == 0xff00 => Some("a multicast address"),
        // Only 2000::/3 is global unicast.
        a if a & 0xe000 == 0x2000 => None,
        _ => Some("a reserved address"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn public_addresses_pass_and_all_others_have_a_name() {
        for public in ["1.1.1.1", "8.8.8.8", "93.184.216.34", "172.15.0.1", "172.32.0.1", "100.63.0.1", "2606:4700:4700::1111"] {
            assert_eq!(special(public.parse().unwrap()), None, "{public}");
        }
        for inner in [
            "0.0.0.0",
            "0.1.2.3",
            "127.0.0.1",
            "127.255.255.254",
            "10.0.0.1",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "169.254.169.254",
            "169.254.170.2",
            "100.64.0.1",
            "100.100.100.200",
            "168.63.129.16",
            "192.0.0.192",
            "192.0.2.1",
            "198.18.0.1",
            "224.0.0.1",
            "239.255.255.250",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::127.0.0.1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "::ffff:0:10.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b:1::1",
            "2002:7f00:1::",
            "2002:a9fe:a9fe::1",
            "2001::1",
            "2001:db8::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "100::1",
            "4000::1",
        ] {
            assert!(special(inner.parse().unwrap()).is_some(), "{inner}");
        }
    }

    proptest! {
        #[test]
        fn a_mapped_address_is_what_the_plain_one_is(bits: u32) {
            let plain = Ipv4Addr::from(bits);
            prop_assert_eq!(special(plain.into()), special(plain.to_ipv6_mapped().into()));
            prop_assert!(special(plain.into()).is_none() || !plain.is_loopback() || special(plain.into()) == Some("a loopback address"));
        }
    }
}
