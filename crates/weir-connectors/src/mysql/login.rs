//! From a fresh connection to a session: the server's greeting, TLS, and the password by the server's method.

use mysql_common::scramble::{create_response_for_ed25519, scramble_native, scramble_sha256};
use weir_connect::{Error, Kind, Result, Secret};

use super::config::{Address, SslMode};
use super::errors::{ServerError, protocol};
use super::tls;
use super::wire::{HEAD, Packets, Reader, put_text};

const LONG_PASSWORD: u32 = 1;
/// An UPDATE counts the rows that it found, not those that it changed.
const FOUND_ROWS: u32 = 1 << 1;
const LONG_FLAG: u32 = 1 << 2;
const CONNECT_WITH_DB: u32 = 1 << 3;
const LOCAL_FILES: u32 = 1 << 7;
const PROTOCOL_41: u32 = 1 << 9;
const SSL: u32 = 1 << 11;
const TRANSACTIONS: u32 = 1 << 13;
const SECURE_CONNECTION: u32 = 1 << 15;
const MULTI_RESULTS: u32 = 1 << 17;
const PS_MULTI_RESULTS: u32 = 1 << 18;
const PLUGIN_AUTH: u32 = 1 << 19;
const CONNECT_ATTRS: u32 = 1 << 20;
const PLUGIN_AUTH_LENENC: u32 = 1 << 21;
/// No EOF packets.
pub const DEPRECATE_EOF: u32 = 1 << 24;

const UTF8MB4_GENERAL_CI: u8 = 45;

/// What the greeting says and the login settled.
#[derive(Debug, Clone)]
pub struct Greeting {
    /// `8.0.33`, `10.11.19-MariaDB-log`.
    pub version: String,
    /// The session's number at the server.
    pub thread: u32,
    /// Capabilities of both sides.
    pub capabilities: u32,
}

struct Hello {
    greeting: Greeting,
    nonce: Vec<u8>,
    plugin: String,
}

fn hello(body: &[u8], place: &str) -> Result<Hello> {
    if body.first() == Some(&0xff) {
        return Err(ServerError::parse(body).into_error(place));
    }
    let read = || {
        let mut reader = Reader(body);
        if reader.byte()? != 10 {
            return None;
        }
        let version = String::from_utf8_lossy(reader.terminated()).into_owned();
        let thread = u32::from_le_bytes(reader.array()?);
        let mut nonce = reader.bytes(8)?.to_vec();
        reader.byte()?;
        let low = u16::from_le_bytes(reader.array()?);
        reader.bytes(3)?;
        let high = u16::from_le_bytes(reader.array()?);
        let nonce_length = reader.byte()?;
        reader.bytes(10)?;
        let rest = usize::from(nonce_length).saturating_sub(8).max(13);
        nonce.extend_from_slice(reader.bytes(rest)?);
        nonce.truncate(20);
        let plugin = String::from_utf8_lossy(reader.terminated()).into_owned();
        let capabilities = u32::from(low) | u32::from(high) << 16;
        // Old MariaDB servers put this in front for clients that know only MySQL's numbers.
        let version = version.strip_prefix("5.5.5-").unwrap_or(&version).to_string();
        Some(Hello { greeting: Greeting { version, thread, capabilities }, nonce, plugin })
    };
    read().ok_or_else(|| protocol(place, "a greeting of another protocol"))
}

/// Logs in over a fresh connection.
pub async fn login(packets: &mut Packets, address: &Address) -> Result<Greeting> {
    let place = address.place();
    let frame = packets.next().await?;
    let Hello { mut greeting, mut nonce, mut plugin } = hello(packets.body(frame), &place)?;
    let offered = greeting.capabilities;
    let mut wanted = LONG_PASSWORD
        | FOUND_ROWS
        | LONG_FLAG
        | LOCAL_FILES
        | PROTOCOL_41
        | TRANSACTIONS
        | SECURE_CONNECTION
        | MULTI_RESULTS
        | PS_MULTI_RESULTS
        | PLUGIN_AUTH
        | CONNECT_ATTRS
        | PLUGIN_AUTH_LENENC
        | DEPRECATE_EOF;
    if !address.database.is_empty() {
        wanted |= CONNECT_WITH_DB;
    }
    let encrypt = match address.ssl_mode {
        SslMode::Disable => false,
        _ if address.is_socket() => false,
        SslMode::Prefer => offered & SSL != 0,
        _ if offered & SSL == 0 => {
            return Err(tls::tls_error(
                address,
                "the server does not offer TLS",
                "give the server a certificate, or set `ssl_mode: disable` if the network is trusted",
            ));
        }
        _ => true,
    };
    if encrypt {
        wanted |= SSL;
    }
    greeting.capabilities = wanted & (offered | LOCAL_FILES);
    let mut head = vec![0; HEAD];
    head.extend_from_slice(&greeting.capabilities.to_le_bytes());
    head.extend_from_slice(&(1_u32 << 30).to_le_bytes());
    head.push(UTF8MB4_GENERAL_CI);
    head.extend_from_slice(&[0; 23]);
    if encrypt {
        packets.send(&mut head.clone()).await?;
        let stream = packets.take_stream()?;
        packets.set_stream(tls::encrypt(address, stream).await?);
    }
    let safe = encrypt || address.is_socket();
    let mut message = head;
    message.extend_from_slice(address.user.as_bytes());
    message.push(0);
    if !known(&plugin) {
        plugin = "mysql_native_password".into();
    }
    put_text(&mut message, &first_answer(&plugin, &nonce, address.password.as_ref(), safe));
    if greeting.capabilities & CONNECT_WITH_DB != 0 {
        message.extend_from_slice(address.database.as_bytes());
        message.push(0);
    }
    message.extend_from_slice(plugin.as_bytes());
    message.push(0);
    if greeting.capabilities & CONNECT_ATTRS != 0 {
        let mut attributes = Vec::new();
        for (key, value) in [("_client_name", "weir"), ("program_name", "weir")] {
            put_text(&mut attributes, key.as_bytes());
            put_text(&mut attributes, value.as_bytes());
        }
        put_text(&mut message, &attributes);
    }
    packets.send(&mut message).await?;
    loop {
        let frame = packets.next().await?;
        let body = packets.body(frame);
        match body.first() {
            Some(0) => return Ok(greeting),
            Some(0xff) => return Err(ServerError::parse(body).into_error(&place)),
            Some(0xfe) => {
                let mut reader = Reader(&body[1..]);
                plugin = String::from_utf8_lossy(reader.terminated()).into_owned();
                nonce = reader.0.strip_suffix(&[0]).unwrap_or(reader.0).to_vec();
                if !known(&plugin) || (plugin == "mysql_clear_password" && !safe) {
                    return Err(Error::new("WEIR-MY-003", Kind::Auth, format!("the server asks for the login method `{plugin}`"))
                        .at(place)
                        .hint(
                            "use an account with caching_sha2_password, mysql_native_password or ed25519; passwords in clear need TLS",
                        ));
                }
                let mut answer = vec![0; HEAD];
                answer.extend_from_slice(&first_answer(&plugin, &nonce, address.password.as_ref(), safe));
                packets.send(&mut answer).await?;
            }
            // The server knows this password's digest already.
            Some(1) if body.get(1) == Some(&3) && plugin == "caching_sha2_password" => {}
            Some(1) => {
                let key = body.get(1..).filter(|key| key.starts_with(b"-----BEGIN")).map(<[u8]>::to_vec);
                let mut answer = vec![0; HEAD];
                answer.extend_from_slice(&second_answer(&plugin, &nonce, address.password.as_ref(), safe, key, &place)?);
                packets.send(&mut answer).await?;
            }
            _ => return Err(protocol(&place, "an unknown packet during the login")),
        }
    }
}

fn known(plugin: &str) -> bool {
    matches!(
        plugin,
        "mysql_native_password" | "caching_sha2_password" | "sha256_password" | "client_ed25519" | "mysql_clear_password"
    )
}

fn with_zero(password: &str) -> Vec<u8> {
    let mut bytes = password.as_bytes().to_vec();
    bytes.push(0);
    bytes
}

fn first_answer(plugin: &str, nonce: &[u8], password: Option<&Secret>, safe: bool) -> Vec<u8> {
    let password = password.map(Secret::expose).unwrap_or_default();
    let bytes = password.as_bytes();
    match plugin {
        "mysql_native_password" => scramble_native(nonce, bytes).map(|answer| answer.to_vec()).unwrap_or_default(),
        "caching_sha2_password" => scramble_sha256(nonce, bytes).map(|answer| answer.to_vec()).unwrap_or_default(),
        "client_ed25519" => create_response_for_ed25519(bytes, nonce).to_vec(),
        "sha256_password" | "mysql_clear_password" if safe => with_zero(password),
        // An empty password is the same in every method; else ask for the server's key.
        "sha256_password" if password.is_empty() => vec![0],
        "sha256_password" => vec![1],
        _ => Vec::new(),
    }
}

/// The whole password, because the server does not have its digest at hand: through TLS, or encrypted with the server's key.
fn second_answer(
    plugin: &str,
    nonce: &[u8],
    password: Option<&Secret>,
    safe: bool,
    key: Option<Vec<u8>>,
    place: &str,
) -> Result<Vec<u8>> {
    let password = with_zero(password.map(Secret::expose).unwrap_or_default());
    if safe {
        return Ok(password);
    }
    let Some(key) = key else {
        return match plugin {
            "caching_sha2_password" => Ok(vec![2]),
            _ => Err(protocol(place, "an unknown question during the login")),
        };
    };
    if nonce.is_empty() {
        return Err(protocol(place, "a key without a nonce during the login"));
    }
    let mixed: Vec<u8> = password.iter().zip(nonce.iter().cycle()).map(|(byte, nonce)| byte ^ nonce).collect();
    // The library takes a well-formed key for granted.
    std::panic::catch_unwind(|| mysql_common::crypto::encrypt(&mixed, &key))
        .map_err(|_| protocol(place, "the server's key for passwords is not one"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_greeting_of_something_else_is_told_as_such() {
        for body in [&b"SSH-2.0-OpenSSH"[..], b"", b"\x0a8.0.33\0\x01"] {
            assert_eq!(hello(body, "h").map(drop).unwrap_err().code(), "WEIR-MY-018");
        }
        let refused = hello(b"\xff\x6a\x04Host '1.2.3.4' is not allowed", "h").map(drop).unwrap_err();
        assert_eq!(refused.kind(), Kind::Auth);
    }

    #[test]
    fn a_password_is_never_sent_in_clear_over_a_plain_connection() {
        let password = Secret::new("secret");
        for plugin in ["sha256_password", "mysql_clear_password", "caching_sha2_password", "mysql_native_password"] {
            let answer = first_answer(plugin, &[7; 20], Some(&password), false);
            assert!(!answer.windows(6).any(|part| part == b"secret"), "{plugin}");
        }
        let asked = second_answer("caching_sha2_password", &[7; 20], Some(&password), false, None, "h").unwrap();
        assert_eq!(asked, [2]);
    }
}
