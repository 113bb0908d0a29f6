//! The client's connections under the guard of this process (see [`weir_connect::guard`]).
//!
//! librdkafka connects by itself, also to whatever addresses brokers advertise. It asks a hook for every single connection if it has one
//! (`connect_cb`), but the Rust client does not let us set it. So a guarded client is made without brokers, and connects nowhere; then it
//! gets the hook, and only then its brokers. A client that is forgotten here never connects.

use std::ffi::{CStr, CString};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::raw::{c_char, c_int, c_void};

use rdkafka::bindings as sys;
use rdkafka::client::Client;
use rdkafka::config::ClientConfig;
use weir_connect::{Error, Kind, Result, guard};

use super::client::Voice;
use super::errors::unreachable;

/// Settings by which the client would read files, load code, run programs or call addresses past the hook.
const PAST_THE_HOOK: [&str; 7] = ["ssl.", "sasl.", "https.", "plugin.", "enable.sasl.", "enable.ssl.", "client.dns."];

/// Refuses settings that reach past the hook.
pub fn check<'a>(properties: impl IntoIterator<Item = &'a String>) -> Result<()> {
    let past = |name: &&String| PAST_THE_HOOK.iter().any(|prefix| name.starts_with(prefix));
    match properties.into_iter().find(past).filter(|_| !guard::current().is_open()) {
        Some(name) => {
            Err(Error::new("WEIR-KAFKA-008", Kind::Privilege, format!("the platform does not let `properties` set `{name}`"))
                .hint("use `user`, `password`, `sasl_mechanism`, `tls` and the `ssl_` options of the connection"))
        }
        None => Ok(()),
    }
}

/// The brokers, for a client that nobody watches.
pub fn brokers(config: &mut ClientConfig, brokers: &str) {
    if guard::current().is_open() {
        config.set("bootstrap.servers", brokers);
    }
}

/// Lets a new client connect: to what the guard permits, if there is one.
///
/// # Errors
/// Brokers that are no list of addresses.
#[allow(unsafe_code)]
pub fn join(client: &Client<Voice>, brokers: &str) -> Result<()> {
    if guard::current().is_open() {
        return Ok(());
    }
    let list = CString::new(brokers).map_err(|_| Error::new("WEIR-KAFKA-001", Kind::Spec, "an address has no NUL"))?;
    // SAFETY: `rd_kafka_conf` gives the settings that this very client works with, which live as long as it. Nothing reads the hook
    // before there are brokers: their threads
    // are started by `rd_kafka_brokers_add`, after it was set. The context that was given to the client is its `opaque`, a `Voice`.
    let added = unsafe {
        let conf = sys::rd_kafka_conf(client.native_ptr()).cast_mut();
        sys::rd_kafka_conf_set_connect_cb(conf, Some(connect));
        sys::rd_kafka_brokers_add(client.native_ptr(), list.as_ptr())
    };
    match added {
        1.. => Ok(()),
        _ => Err(unreachable(brokers, "it is no list of addresses")),
    }
}

/// What the library calls in place of `connect(2)`: 0, or the number of the error.
///
/// # Safety
/// Only the library may call it: `address` is of `length` bytes, `name` a text or NULL, `opaque` the client's context.
#[allow(unsafe_code)]
unsafe extern "C" fn connect(
    socket: c_int,
    address: *const libc::sockaddr,
    length: c_int,
    name: *const c_char,
    opaque: *mut c_void,
) -> c_int {
    // SAFETY: as above.
    let (target, name, voice) = unsafe {
        let name = if name.is_null() { String::new() } else { CStr::from_ptr(name).to_string_lossy().into_owned() };
        (target(address, length), name, opaque.cast::<Voice>().as_ref())
    };
    let Some((address_of, port)) = target else { return libc::EAFNOSUPPORT };
    if let Err(refusal) = guard::current().permit_address(host(&name), address_of, port) {
        if let Some(voice) = voice {
            voice.refuse(refusal.at(name));
        }
        return libc::EACCES;
    }
    // SAFETY: the socket is the library's, and the address was read above.
    if unsafe { libc::connect(socket, address, length.unsigned_abs()) } == 0 {
        return 0;
    }
    match std::io::Error::last_os_error().raw_os_error() {
        // It goes on by itself: the socket does not block.
        Some(libc::EINPROGRESS) => 0,
        Some(error) => error,
        None => libc::EIO,
    }
}

/// Address and port.
///
/// # Safety
/// `address` is of `length` bytes.
#[allow(unsafe_code)]
unsafe fn target(address: *const libc::sockaddr, length: c_int) -> Option<(IpAddr, u16)> {
    let holds = |size: usize| usize::try_from(length).is_ok_and(|length| length >= size);
    // SAFETY: the family says which of the two it is, and there are enough bytes for it; they need not lie where the type would.
    unsafe {
        match c_int::from((*address).sa_family) {
            libc::AF_INET if holds(size_of::<libc::sockaddr_in>()) => {
                let v4 = address.cast::<libc::sockaddr_in>().read_unaligned();
                Some((Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr)).into(), u16::from_be(v4.sin_port)))
            }
            libc::AF_INET6 if holds(size_of::<libc::sockaddr_in6>()) => {
                let v6 = address.cast::<libc::sockaddr_in6>().read_unaligned();
                Some((Ipv6Addr::from(v6.sin6_addr.s6_addr).into(), u16::from_be(v6.sin6_port)))
            }
            _ => None,
        }
    }
}

/// The host of `host:port`.
fn host(name: &str) -> &str {
    let host = name.rsplit_once(':').map_or(name, |(host, _)| host);
    host.trim_start_matches('[').trim_end_matches(']')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_brokers_have_a_host() {
        for (name, expected) in
            [("kafka-1:9092", "kafka-1"), ("[fd00::1]:9092", "fd00::1"), ("10.0.0.1:9092", "10.0.0.1"), ("", "")]
        {
            assert_eq!(host(name), expected);
        }
    }
}
