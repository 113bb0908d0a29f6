//! Packets of MQTT 5 and 3.1.1 as a client sends and gets them (OASIS MQTT Version 5.0 and 3.1.1, chapters 2 and 3). Pure.
//!
//! A client library would acknowledge, connect again and resolve names by itself; what is exact here is when each of these happens, so only the
//! packets are needed. Of properties those are understood that matter to us; all others are stepped over.

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// The protocol's version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// MQTT 5.0.
    V5,
    /// MQTT 3.1.1.
    V311,
}

/// How often a message may come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Qos {
    /// At most once.
    AtMostOnce = 0,
    /// At least once.
    AtLeastOnce = 1,
    /// Exactly once, between broker and client.
    ExactlyOnce = 2,
}

/// The first packet of a connection.
#[derive(Debug, Clone, Copy)]
pub struct Connect<'a> {
    /// Who we are: the broker keeps the session under this name.
    pub client_id: &'a str,
    /// Forget what was kept.
    pub clean: bool,
    /// Seconds within which the broker hears from us; 0: never mind.
    pub keep_alive_secs: u16,
    /// How long the session outlives the connection (version 5); `u32::MAX`: for ever.
    pub session_expiry_secs: u32,
    /// Messages that we take unacknowledged (version 5).
    pub receive_maximum: u16,
    /// User.
    pub user: Option<&'a str>,
    /// Password.
    pub password: Option<&'a str>,
}

/// A message on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publish {
    /// It may have come before.
    pub duplicate: bool,
    /// How it is acknowledged.
    pub qos: Qos,
    /// The broker keeps it as the topic's latest, or kept it.
    pub retain: bool,
    /// The topic.
    pub topic: String,
    /// Number of the packet; 0 with [`Qos::AtMostOnce`].
    pub id: u16,
    /// Names and values that the sender has given it (version 5).
    pub properties: Vec<(String, String)>,
    /// The payload.
    pub payload: Bytes,
}

/// The packets that answer a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ack {
    /// Of a message of [`Qos::AtLeastOnce`].
    Received = 0x40,
    /// First answer to one of [`Qos::ExactlyOnce`].
    Taken = 0x50,
    /// The sender's answer to that.
    Release = 0x62,
    /// And the end.
    Complete = 0x70,
}

/// What a broker allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Messages that it takes unacknowledged.
    pub receive_maximum: u16,
    /// The largest packet that it takes.
    pub packet_bytes: u32,
    /// The best quality that it offers.
    pub qos: u8,
    /// Whether it keeps messages as a topic's latest.
    pub retain: bool,
    /// Seconds within which it wants to hear from us.
    pub keep_alive_secs: Option<u16>,
}

/// A packet from the broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Incoming {
    /// The connection is made, or refused if the code is not 0.
    Connected {
        /// It knows us from before.
        session: bool,
        /// 0, or why not.
        code: u8,
        /// What it allows.
        limits: Limits,
    },
    /// A message.
    Publish(Publish),
    /// An answer to one of ours.
    Ack {
        /// Which.
        kind: Ack,
        /// Its packet.
        id: u16,
        /// 0, or a reason; an error from 0x80 on.
        code: u8,
    },
    /// The answer to a subscription: a code per filter, an error from 0x80 on, else the quality.
    Subscribed {
        /// Its packet.
        id: u16,
        /// The codes.
        codes: Vec<u8>,
    },
    /// The answer to a ping.
    Pong,
    /// The broker goes, and why.
    Disconnect(u8),
}

/// The bytes are no packet that a broker may send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Malformed(pub String);

fn malformed(what: impl Into<String>) -> Malformed {
    Malformed(what.into())
}

fn put_text(out: &mut BytesMut, text: &str) {
    // Longer ones are refused where they come from.
    let text = &text.as_bytes()[..text.len().min(usize::from(u16::MAX))];
    out.put_u16(text.len() as u16);
    out.put_slice(text);
}

fn put_length(out: &mut BytesMut, mut length: usize) {
    loop {
        let byte = (length % 128) as u8;
        length /= 128;
        if length == 0 {
            return out.put_u8(byte);
        }
        out.put_u8(byte | 0x80);
    }
}

fn put_packet(out: &mut BytesMut, first: u8, body: &[u8]) {
    out.put_u8(first);
    put_length(out, body.len());
    out.put_slice(body);
}

/// CONNECT.
pub fn connect(out: &mut BytesMut, version: Version, given: &Connect<'_>) {
    let mut body = BytesMut::new();
    put_text(&mut body, "MQTT");
    body.put_u8(if version == Version::V5 { 5 } else { 4 });
    let flag = |on: bool, bit: u8| if on { bit } else { 0 };
    body.put_u8(flag(given.user.is_some(), 0x80) | flag(given.password.is_some(), 0x40) | flag(given.clean, 0x02));
    body.put_u16(given.keep_alive_secs);
    if version == Version::V5 {
        body.put_u8(8);
        body.put_u8(0x11);
        body.put_u32(given.session_expiry_secs);
        body.put_u8(0x21);
        body.put_u16(given.receive_maximum.max(1));
    }
    put_text(&mut body, given.client_id);
    for text in [given.user, given.password].into_iter().flatten() {
        put_text(&mut body, text);
    }
    put_packet(out, 0x10, &body);
}

/// PUBLISH. What it takes in bytes, without the fixed header.
pub fn publish(out: &mut BytesMut, version: Version, message: &Publish) -> usize {
    let mut properties = BytesMut::new();
    if version == Version::V5 {
        for (name, value) in &message.properties {
            properties.put_u8(0x26);
            put_text(&mut properties, name);
            put_text(&mut properties, value);
        }
    }
    let mut head = BytesMut::new();
    put_text(&mut head, &message.topic);
    if message.qos != Qos::AtMostOnce {
        head.put_u16(message.id);
    }
    if version == Version::V5 {
        put_length(&mut head, properties.len());
        head.put_slice(&properties);
    }
    let length = head.len() + message.payload.len();
    out.put_u8(0x30 | u8::from(message.duplicate) << 3 | (message.qos as u8) << 1 | u8::from(message.retain));
    put_length(out, length);
    out.put_slice(&head);
    out.put_slice(&message.payload);
    length
}

/// SUBSCRIBE. `retained`: messages that are kept as the latest of their topics come when the subscription is new (version 5; else always).
pub fn subscribe(out: &mut BytesMut, version: Version, id: u16, filters: &[String], qos: Qos, retained: bool) {
    let mut body = BytesMut::new();
    body.put_u16(id);
    if version == Version::V5 {
        body.put_u8(0);
    }
    for filter in filters {
        put_text(&mut body, filter);
        let rule: u8 = if retained { 1 } else { 2 };
        body.put_u8(qos as u8 | if version == Version::V5 { rule << 4 } else { 0 });
    }
    put_packet(out, 0x82, &body);
}

/// An answer to a message: all is well.
pub fn acknowledge(out: &mut BytesMut, kind: Ack, id: u16) {
    put_packet(out, kind as u8, &id.to_be_bytes());
}

/// PINGREQ.
pub fn ping(out: &mut BytesMut) {
    put_packet(out, 0xC0, &[]);
}

/// DISCONNECT. `forget`: the session ends with the connection (version 5).
pub fn disconnect(out: &mut BytesMut, version: Version, forget: bool) {
    match (version, forget) {
        // Normal, with a session expiry of nothing.
        (Version::V5, true) => put_packet(out, 0xE0, &[0, 5, 0x11, 0, 0, 0, 0]),
        _ => put_packet(out, 0xE0, &[]),
    }
}

/// Takes the next packet out of the buffer; `None`: it is not there as a whole yet.
///
/// # Errors
/// What is no packet, or one of more than `largest` bytes.
pub fn read(buffer: &mut BytesMut, version: Version, largest: usize) -> Result<Option<Incoming>, Malformed> {
    let Some((length, header)) = remaining_length(buffer)? else { return Ok(None) };
    if length > largest {
        return Err(malformed(format!("a packet of {length} bytes, more than `max_message_bytes`")));
    }
    if buffer.len() < header + length {
        buffer.reserve(header + length - buffer.len());
        return Ok(None);
    }
    let first = buffer[0];
    let mut packet = buffer.split_to(header + length).freeze();
    packet.advance(header);
    Body(packet).packet(first, version).map(Some)
}

/// Of the packet at the beginning: bytes behind the fixed header, bytes of it.
fn remaining_length(buffer: &[u8]) -> Result<Option<(usize, usize)>, Malformed> {
    let mut length = 0;
    for at in 0..4 {
        let Some(byte) = buffer.get(1 + at) else { return Ok(None) };
        length |= usize::from(byte & 0x7F) << (7 * at);
        if byte & 0x80 == 0 {
            return Ok(Some((length, 2 + at)));
        }
    }
    Err(malformed("a length of more than four bytes"))
}

struct Body(Bytes);

impl Body {
    fn packet(mut self, first: u8, version: Version) -> Result<Incoming, Malformed> {
        match first >> 4 {
            2 => {
                let (flags, code) = (self.u8()?, self.u8()?);
                let mut limits =
                    Limits { receive_maximum: u16::MAX, packet_bytes: u32::MAX, qos: 2, retain: true, keep_alive_secs: None };
                // A broker that refuses the version answers in its own.
                if version == Version::V5 && !self.0.is_empty() {
                    self.properties(|id, value| match (id, value) {
                        (0x21, Property::Number(number)) => {
                            limits.receive_maximum = u16::try_from(number).unwrap_or(u16::MAX).max(1)
                        }
                        (0x27, Property::Number(number)) => limits.packet_bytes = number,
                        (0x24, Property::Number(number)) => limits.qos = u8::try_from(number).unwrap_or(2),
                        (0x25, Property::Number(number)) => limits.retain = number != 0,
                        (0x13, Property::Number(number)) => limits.keep_alive_secs = u16::try_from(number).ok(),
                        _ => {}
                    })?;
                }
                Ok(Incoming::Connected { session: flags & 1 == 1, code, limits })
            }
            3 => self.publish(first, version),
            4 => self.ack(Ack::Received),
            5 => self.ack(Ack::Taken),
            6 => self.ack(Ack::Release),
            7 => self.ack(Ack::Complete),
            9 => {
                let id = self.u16()?;
                if version == Version::V5 {
                    self.properties(|_, _| {})?;
                }
                Ok(Incoming::Subscribed { id, codes: self.0.to_vec() })
            }
            13 => Ok(Incoming::Pong),
            14 => Ok(Incoming::Disconnect(self.0.first().copied().unwrap_or(0))),
            kind => Err(malformed(format!("a packet of type {kind}"))),
        }
    }

    fn publish(mut self, first: u8, version: Version) -> Result<Incoming, Malformed> {
        let qos = match (first >> 1) & 3 {
            0 => Qos::AtMostOnce,
            1 => Qos::AtLeastOnce,
            2 => Qos::ExactlyOnce,
            _ => return Err(malformed("a message of quality 3")),
        };
        let topic = self.text()?;
        let id = if qos == Qos::AtMostOnce { 0 } else { self.u16()? };
        let mut properties = Vec::new();
        if version == Version::V5 {
            self.properties(|_, value| {
                if let Property::Pair(name, value) = value {
                    properties.push((name, value));
                }
            })?;
        }
        if topic.is_empty() {
            return Err(malformed("a message without a topic, though no aliases were agreed on"));
        }
        let (duplicate, retain) = (first & 8 != 0, first & 1 != 0);
        Ok(Incoming::Publish(Publish { duplicate, qos, retain, topic, id, properties, payload: self.0 }))
    }

    fn ack(mut self, kind: Ack) -> Result<Incoming, Malformed> {
        Ok(Incoming::Ack { kind, id: self.u16()?, code: self.0.first().copied().unwrap_or(0) })
    }

    fn take(&mut self, bytes: usize) -> Result<Bytes, Malformed> {
        if self.0.len() < bytes { Err(malformed("a packet that ends too early")) } else { Ok(self.0.split_to(bytes)) }
    }

    fn u8(&mut self) -> Result<u8, Malformed> {
        self.take(1).map(|bytes| bytes[0])
    }

    fn u16(&mut self) -> Result<u16, Malformed> {
        self.take(2).map(|bytes| u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    fn u32(&mut self) -> Result<u32, Malformed> {
        self.take(4).map(|bytes| u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }

    fn binary(&mut self) -> Result<Bytes, Malformed> {
        let length = self.u16()?;
        self.take(usize::from(length))
    }

    fn text(&mut self) -> Result<String, Malformed> {
        String::from_utf8(self.binary()?.to_vec()).map_err(|_| malformed("a text that is no UTF-8"))
    }

    fn number(&mut self) -> Result<usize, Malformed> {
        let mut number = 0;
        for at in 0..4 {
            let byte = self.u8()?;
            number |= usize::from(byte & 0x7F) << (7 * at);
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(malformed("a number of more than four bytes"))
    }

    /// Properties of version 5 (2.2.2.2).
    fn properties(&mut self, mut seen: impl FnMut(u8, Property)) -> Result<(), Malformed> {
        let length = self.number()?;
        let mut all = Body(self.take(length)?);
        while !all.0.is_empty() {
            let id = all.u8()?;
            let value = match id {
                0x01 | 0x17 | 0x19 | 0x24 | 0x25 | 0x28 | 0x29 | 0x2A => Property::Number(u32::from(all.u8()?)),
                0x13 | 0x21 | 0x22 | 0x23 => Property::Number(u32::from(all.u16()?)),
                0x02 | 0x11 | 0x18 | 0x27 => Property::Number(all.u32()?),
                0x0B => Property::Number(u32::try_from(all.number()?).unwrap_or(u32::MAX)),
                0x03 | 0x08 | 0x09 | 0x12 | 0x15 | 0x16 | 0x1A | 0x1C | 0x1F => {
                    all.binary()?;
                    Property::Other
                }
                0x26 => Property::Pair(all.text()?, all.text()?),
                other => return Err(malformed(format!("a property {other}"))),
            };
            seen(id, value);
        }
        Ok(())
    }
}

enum Property {
    Number(u32),
    Pair(String, String),
    Other,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn message(qos: Qos, payload: &[u8]) -> Publish {
        Publish {
            duplicate: true,
            qos,
            retain: true,
            topic: "a/ü".into(),
            id: if qos == Qos::AtMostOnce { 0 } else { 513 },
            properties: Vec::new(),
            payload: Bytes::copy_from_slice(payload),
        }
    }

    #[test]
    fn a_message_comes_as_it_was_written_however_the_bytes_are_cut() {
        for version in [Version::V5, Version::V311] {
            for qos in [Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce] {
                let mut given = message(qos, &[7; 300]);
                if version == Version::V5 {
                    given.properties = vec![("k".into(), "v".into()), ("k".into(), String::new())];
                }
                let mut bytes = BytesMut::new();
                publish(&mut bytes, version, &given);
                let mut buffer = BytesMut::new();
                for byte in &bytes[..bytes.len() - 1] {
                    buffer.put_u8(*byte);
                    assert_eq!(read(&mut buffer, version, 1000).unwrap(), None);
                }
                buffer.put_u8(bytes[bytes.len() - 1]);
                assert_eq!(read(&mut buffer, version, 1000).unwrap(), Some(Incoming::Publish(given)));
                assert!(buffer.is_empty());
            }
        }
    }

    #[test]
    fn packets_are_written_as_the_standard_shows_them() {
        let written = |write: &dyn Fn(&mut BytesMut)| {
            let mut out = BytesMut::new();
            write(&mut out);
            out.to_vec()
        };
        let hello = Connect {
            client_id: "c",
            clean: false,
            keep_alive_secs: 10,
            session_expiry_secs: 1,
            receive_maximum: 2,
            user: Some("u"),
            password: Some("p"),
        };
        assert_eq!(
            written(&|out| connect(out, Version::V311, &hello)),
            [&[0x10, 19, 0, 4][..], b"MQTT", &[4, 0xC0, 0, 10, 0, 1, b'c', 0, 1, b'u', 0, 1, b'p']].concat()
        );
        assert_eq!(
            written(&|out| connect(out, Version::V5, &hello)),
            [
                &[0x10, 28, 0, 4][..],
                b"MQTT",
                &[5, 0xC0, 0, 10, 8, 0x11, 0, 0, 0, 1, 0x21, 0, 2, 0, 1, b'c', 0, 1, b'u', 0, 1, b'p']
            ]
            .concat()
        );
        assert_eq!(written(&|out| acknowledge(out, Ack::Release, 258)), [0x62, 2, 1, 2]);
        let filters = ["a/#".to_owned()];
        assert_eq!(
            written(&|out| subscribe(out, Version::V5, 9, &filters, Qos::AtLeastOnce, true)),
            [0x82, 9, 0, 9, 0, 0, 3, b'a', b'/', b'#', 0x11]
        );
        assert_eq!(written(&|out| ping(out)), [0xC0, 0]);
    }

    #[test]
    fn answers_of_brokers_are_understood_with_and_without_their_optional_parts() {
        let of = |bytes: &[u8], version| read(&mut BytesMut::from(bytes), version, 1000).unwrap().unwrap();
        let none = Limits { receive_maximum: 65535, packet_bytes: u32::MAX, qos: 2, retain: true, keep_alive_secs: None };
        assert_eq!(of(&[0x20, 2, 1, 0], Version::V311), Incoming::Connected { session: true, code: 0, limits: none });
        // An old broker says "unacceptable version" without properties.
        assert_eq!(of(&[0x20, 2, 0, 1], Version::V5), Incoming::Connected { session: false, code: 1, limits: none });
        let limits = Limits { receive_maximum: 20, qos: 1, ..none };
        let full = [0x20, 8, 0, 0, 5, 0x21, 0, 20, 0x24, 1];
        assert_eq!(of(&full, Version::V5), Incoming::Connected { session: false, code: 0, limits });
        assert_eq!(of(&[0x40, 2, 0, 7], Version::V5), Incoming::Ack { kind: Ack::Received, id: 7, code: 0 });
        assert_eq!(of(&[0x40, 4, 0, 7, 0x87, 0], Version::V5), Incoming::Ack { kind: Ack::Received, id: 7, code: 0x87 });
        assert_eq!(of(&[0xE0, 1, 0x8E], Version::V5), Incoming::Disconnect(0x8E));
        assert_eq!(of(&[0xE0, 0], Version::V5), Incoming::Disconnect(0));
        assert_eq!(of(&[0x90, 4, 0, 7, 0, 0x87], Version::V5), Incoming::Subscribed { id: 7, codes: vec![0x87] });
    }

    proptest! {
        #[test]
        fn nothing_that_comes_makes_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), five in any::<bool>()) {
            let version = if five { Version::V5 } else { Version::V311 };
            let mut buffer = BytesMut::from(&bytes[..]);
            while let Ok(Some(_)) = read(&mut buffer, version, 100) {}
        }
    }
}
