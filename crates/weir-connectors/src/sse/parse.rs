//! `text/event-stream` as bytes into events, by "Interpreting an event stream" of the HTML standard (9.2.6). Unlike there, bytes that are no UTF-8
//! stay as they are: what they mean is decided where they become a row, and nothing is replaced.

use bytes::Bytes;

/// What came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Its type: `message` if it names none.
    pub event: Bytes,
    /// The last event id up to here, itself included; `None` before the first.
    pub id: Option<Bytes>,
    /// Its lines, joined by line feeds.
    pub data: Bytes,
    /// It was larger than allowed: `data` is empty and this is how large it was.
    pub too_large: Option<usize>,
}

/// A stream in the making.
#[derive(Debug)]
pub struct Parser {
    max_bytes: usize,
    /// Bytes of the stream so far, up to the three of a byte order mark.
    begun: Vec<u8>,
    started: bool,
    line: Vec<u8>,
    /// The line at hand is longer than an event may be.
    cut: bool,
    /// A line feed that comes next belongs to the end of the line before.
    after_return: bool,
    event: Vec<u8>,
    data: Vec<u8>,
    has_data: bool,
    /// Bytes of the event at hand that were left out.
    left_out: usize,
    id: Option<Bytes>,
    last_id: Option<Bytes>,
    retry_ms: Option<u64>,
}

impl Parser {
    /// At the beginning of a stream. `last_id`: what earlier streams ended with.
    pub fn new(max_bytes: usize, last_id: Option<Bytes>) -> Self {
        Self {
            max_bytes,
            begun: Vec::new(),
            started: false,
            line: Vec::new(),
            cut: false,
            after_return: false,
            event: Vec::new(),
            data: Vec::new(),
            has_data: false,
            left_out: 0,
            id: last_id.clone(),
            last_id,
            retry_ms: None,
        }
    }

    /// The last event id.
    pub fn last_id(&self) -> Option<&Bytes> {
        self.last_id.as_ref()
    }

    /// How long the server wants us to wait before we connect again, if it has said so since this was asked.
    pub fn retry_ms(&mut self) -> Option<u64> {
        self.retry_ms.take()
    }

    /// Takes the next bytes; gives the events that end in them. What is not ended when the stream ends is no event.
    pub fn push(&mut self, bytes: &[u8], events: &mut Vec<Event>) {
        if self.started {
            return self.bytes(bytes, events);
        }
        const MARK: &[u8] = b"\xef\xbb\xbf";
        self.begun.extend_from_slice(bytes);
        if self.begun.len() < MARK.len() && MARK.starts_with(&self.begun) {
            return;
        }
        self.started = true;
        let begun = std::mem::take(&mut self.begun);
        self.bytes(begun.strip_prefix(MARK).unwrap_or(&begun), events);
    }

    fn bytes(&mut self, mut bytes: &[u8], events: &mut Vec<Event>) {
        while !bytes.is_empty() {
            if std::mem::take(&mut self.after_return) && bytes[0] == b'\n' {
                bytes = &bytes[1..];
                continue;
            }
            let end = bytes.iter().position(|byte| matches!(byte, b'\n' | b'\r'));
            let part = &bytes[..end.unwrap_or(bytes.len())];
            // A line may hold all of an event, and the name of its field.
            if self.line.len() + part.len() > self.max_bytes.saturating_add(16) {
                self.left_out += self.line.len() + part.len();
                self.cut = true;
                self.line.clear();
            } else if self.cut {
                self.left_out += part.len();
            } else {
                self.line.extend_from_slice(part);
            }
            let Some(end) = end else { return };
            self.after_return = bytes[end] == b'\r';
            bytes = &bytes[end + 1..];
            let line = std::mem::take(&mut self.line);
            if std::mem::take(&mut self.cut) {
                self.has_data = true;
            } else {
                self.take_line(&line, events);
            }
            self.line = line;
            self.line.clear();
        }
    }

    fn take_line(&mut self, line: &[u8], events: &mut Vec<Event>) {
        if line.is_empty() {
            return self.dispatch(events);
        }
        let colon = line.iter().position(|byte| *byte == b':').unwrap_or(line.len());
        let (name, value) = (&line[..colon], line.get(colon + 1..).unwrap_or_default());
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match name {
            b"event" => self.event = value.to_vec(),
            b"data" => {
                self.has_data = true;
                if self.left_out > 0 || self.data.len() + value.len() > self.max_bytes {
                    self.left_out += std::mem::take(&mut self.data).len() + value.len();
                } else {
                    self.data.extend_from_slice(value);
                    self.data.push(b'\n');
                }
            }
            b"id" if !value.contains(&0) => self.id = Some(Bytes::copy_from_slice(value)),
            b"retry" if !value.is_empty() && value.iter().all(u8::is_ascii_digit) => {
                self.retry_ms = std::str::from_utf8(value).ok().and_then(|digits| digits.parse().ok()).or(self.retry_ms);
            }
            // A comment, or a field that means nothing.
            _ => {}
        }
    }

    fn dispatch(&mut self, events: &mut Vec<Event>) {
        self.last_id = self.id.clone();
        let event = std::mem::take(&mut self.event);
        let mut data = std::mem::take(&mut self.data);
        let left_out = std::mem::take(&mut self.left_out);
        if !std::mem::take(&mut self.has_data) {
            // By the standard an event without data is none; its id counts.
            return;
        }
        data.pop();
        let event = if event.is_empty() { Bytes::from_static(b"message") } else { event.into() };
        let too_large = (left_out > 0).then(|| left_out + data.len());
        let data = if too_large.is_some() { Bytes::new() } else { data.into() };
        events.push(Event { event, id: self.last_id.clone(), data, too_large });
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(stream: &[u8]) -> Vec<Event> {
        let mut events = Vec::new();
        Parser::new(1 << 20, None).push(stream, &mut events);
        events
    }

    fn told(stream: &str) -> Vec<(String, Option<String>, String)> {
        let text = |bytes: &Bytes| String::from_utf8(bytes.to_vec()).unwrap();
        all(stream.as_bytes()).iter().map(|event| (text(&event.event), event.id.as_ref().map(text), text(&event.data))).collect()
    }

    fn message(data: &str) -> (String, Option<String>, String) {
        ("message".into(), None, data.into())
    }

    #[test]
    fn the_examples_of_the_standard() {
        assert_eq!(told("data: YHOO\ndata: +2\ndata: 10\n\n"), [message("YHOO\n+2\n10")]);
        let id = |id: &str, data: &str| ("message".to_owned(), Some(id.to_owned()), data.to_owned());
        assert_eq!(
            told(": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n"),
            [id("1", "first event"), id("", "second event")]
        );
        assert_eq!(told("data\n\ndata\ndata\n\ndata:"), [message(""), message("\n")]);
        assert_eq!(told("data:test\n\ndata: test\n\n"), [message("test"), message("test")]);
        assert_eq!(told("event: add\ndata: 73857293\n\nevent: remove\ndata: 2153\n\n")[1].0, "remove");
    }

    #[test]
    fn marks_line_ends_and_fields_that_mean_nothing() {
        assert_eq!(told("\u{feff}data: a\r\rdata: b\r\n\r\ndata: c\n\n"), [message("a"), message("b"), message("c")]);
        assert_eq!(told("\u{feff}\u{feff}data: a\n\ndata: b\n\n"), [message("b")]);
        assert_eq!(told("unknown: x\ndata: a\nretry: 1x\nid: a\0b\n\n"), [message("a")]);
        // An event that is not ended is none.
        assert_eq!(told("data: a\n\ndata: b\n"), [message("a")]);
        assert_eq!(all(b"data: \xff\n\n")[0].data, b"\xff".as_slice());
    }

    #[test]
    fn ids_last_and_the_pause_is_told_once() {
        let mut events = Vec::new();
        let mut parser = Parser::new(100, Some(Bytes::from_static(b"7")));
        parser.push(b"retry: 250\ndata: a\n\nid: 8\n\n", &mut events);
        assert_eq!(events[0].id.as_deref(), Some(b"7".as_slice()));
        assert_eq!(parser.last_id().map(Bytes::as_ref), Some(b"8".as_slice()));
        assert_eq!((parser.retry_ms(), parser.retry_ms()), (Some(250), None));
        parser.push(b"data: b\n\nid: 9\ndata: c\n", &mut events);
        assert_eq!(
            (events[1].id.as_deref(), parser.last_id().map(Bytes::as_ref)),
            (Some(b"8".as_slice()), Some(b"8".as_slice()))
        );
    }

    #[test]
    fn a_large_event_is_told_and_not_held() {
        for stream in
            [format!("id: 3\ndata: {}\n\n", "x".repeat(500)), format!("id: 3\n{}\n", "data: 12345678901234567890\n".repeat(20))]
        {
            let mut events = Vec::new();
            let mut parser = Parser::new(100, None);
            for byte in format!("{stream}data: next\n\n").as_bytes() {
                parser.push(&[*byte], &mut events);
                assert!(parser.line.len() + parser.data.len() < 300);
            }
            assert_eq!(events.len(), 2, "{events:?}");
            assert!(events[0].too_large.is_some_and(|size| size >= 400) && events[0].data.is_empty());
            assert_eq!((events[0].id.as_deref(), &events[1].data[..]), (Some(b"3".as_slice()), b"next".as_slice()));
        }
    }

    proptest! {
        #[test]
        fn however_the_bytes_are_cut_the_events_are_the_same(
            parts in prop::collection::vec(prop::sample::select(vec!["data", ": ", ":", "id", "event", "retry", "\r", "\n", "\r\n", "x", "\u{feff}", " ", "7"]), 0..60),
            cuts in prop::collection::vec(0usize..200, 0..10),
        ) {
            let stream = parts.concat().into_bytes();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(stream.len())).collect();
            cuts.extend([0, stream.len()]);
            cuts.sort_unstable();
            let mut parser = Parser::new(1 << 20, None);
            let mut events = Vec::new();
            cuts.windows(2).for_each(|cut| parser.push(&stream[cut[0]..cut[1]], &mut events));
            prop_assert_eq!(events, all(&stream));
        }
    }
}
