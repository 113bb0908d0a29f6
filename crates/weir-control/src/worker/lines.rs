//! Lines of a process that is not trusted: of bounded length, and clean before anybody sees them.

use tokio::io::{AsyncBufRead, AsyncBufReadExt};

/// The longest line that is taken as JSON, in bytes: a report with many streams, a preview, a checkpoint with its dead letters.
pub const MAX_LINE_BYTES: usize = 64 << 20;
/// The longest text of a log line, in bytes.
pub const MAX_LOG_BYTES: usize = 8 << 10;

/// A line without its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Its bytes, at most the limit.
    pub bytes: Vec<u8>,
    /// Whether there was more, which is gone.
    pub cut: bool,
}

/// Reads lines. What goes beyond the limit is thrown away as it comes, so memory is bounded whatever the other side writes.
pub struct Lines<R> {
    reader: R,
    limit: usize,
    /// What is known of the line under way: whoever waits for it may stop waiting and come back.
    begun: Option<Line>,
}

impl<R: AsyncBufRead + Unpin> Lines<R> {
    /// Lines of at most `limit` bytes.
    pub fn new(reader: R, limit: usize) -> Self {
        Self { reader, limit, begun: None }
    }

    /// The next line, also one that ends without a line break; `None` at the end. Nothing is lost when the future is dropped.
    pub async fn next(&mut self) -> std::io::Result<Option<Line>> {
        loop {
            let available = self.reader.fill_buf().await?;
            if available.is_empty() {
                return Ok(self.begun.take());
            }
            let line = self.begun.get_or_insert_with(|| Line { bytes: Vec::new(), cut: false });
            let end = available.iter().position(|&byte| byte == b'\n');
            let piece = &available[..end.unwrap_or(available.len())];
            let taken = piece.len().min(self.limit - line.bytes.len());
            line.bytes.extend_from_slice(&piece[..taken]);
            line.cut |= taken < piece.len();
            let used = piece.len() + usize::from(end.is_some());
            self.reader.consume(used);
            if end.is_some() {
                return Ok(self.begun.take());
            }
        }
    }
}

/// A text for a log: no control characters (they could paint a terminal or forge lines), at most [`MAX_LOG_BYTES`], with a mark where
/// something was cut. Bytes that are no UTF-8 become `U+FFFD`.
pub fn clean(bytes: &[u8], cut: bool) -> String {
    // More than enough to fill the limit; a character has at most four bytes.
    let head = &bytes[..bytes.len().min(4 * MAX_LOG_BYTES)];
    let text = String::from_utf8_lossy(head);
    let mut out = String::with_capacity(text.len().min(MAX_LOG_BYTES + 4));
    let mut cut = cut || head.len() < bytes.len();
    for letter in text.trim_end_matches(['\r', ' ']).chars() {
        let letter = match letter {
            '\t' | '\n' | '\r' => ' ',
            c if c.is_control() || is_invisible_order(c) => continue,
            c => c,
        };
        if out.len() + letter.len_utf8() > MAX_LOG_BYTES - '…'.len_utf8() {
            cut = true;
            break;
        }
        out.push(letter);
    }
    if cut {
        out.push('…');
    }
    out
}

/// Characters that change the order of others on the screen, so that a line reads as what it is not.
fn is_invisible_order(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{2028}' | '\u{2029}')
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn all(input: &[u8], limit: usize) -> Vec<(String, bool)> {
        // A buffer smaller than the lines, so that they come in pieces.
        let mut lines = Lines::new(tokio::io::BufReader::with_capacity(3, input), limit);
        let mut found = Vec::new();
        while let Some(line) = lines.next().await.unwrap() {
            found.push((String::from_utf8_lossy(&line.bytes).into_owned(), line.cut));
        }
        found
    }

    #[tokio::test]
    async fn lines_end_at_breaks_and_at_the_end_of_the_stream() {
        let found = all(b"one\n\ntwo and\nthree", 100).await;
        assert_eq!(found, [("one", false), ("", false), ("two and", false), ("three", false)].map(|(t, c)| (t.to_string(), c)));
        assert_eq!(all(b"", 100).await, []);
        assert_eq!(all(b"x\n", 100).await.len(), 1);
    }

    #[tokio::test]
    async fn a_line_beyond_the_limit_loses_its_end_and_the_next_is_whole() {
        let mut input = vec![b'x'; 1_000_000];
        input.extend_from_slice(b"\nnext\n");
        let found = all(&input, 10).await;
        assert_eq!(found, [("xxxxxxxxxx".to_string(), true), ("next".to_string(), false)]);
    }

    #[tokio::test]
    async fn who_stops_waiting_in_the_middle_of_a_line_gets_all_of_it_later() {
        use tokio::io::AsyncWriteExt;
        let (mut ours, theirs) = tokio::io::duplex(64);
        let mut lines = Lines::new(tokio::io::BufReader::new(theirs), 100);
        for piece in ["{\"answer\"", ": ", "1"] {
            ours.write_all(piece.as_bytes()).await.unwrap();
            assert!(tokio::time::timeout(std::time::Duration::from_millis(20), lines.next()).await.is_err());
        }
        ours.write_all(b"}\n").await.unwrap();
        assert_eq!(lines.next().await.unwrap().unwrap().bytes, b"{\"answer\": 1}");
    }

    #[test]
    fn control_characters_are_kept_out() {
        assert_eq!(clean(b"a\x1b[31mred\x07\tb\r", false), "a[31mred b");
        assert_eq!(clean("safe\u{202e}txt.exe".as_bytes(), false), "safetxt.exe");
        assert_eq!(clean(b"bad \xff byte", false), "bad \u{fffd} byte");
        assert_eq!(clean(b"cut", true), "cut…");
    }

    #[test]
    fn a_log_text_is_never_longer_than_the_limit() {
        for letter in ["x", "ü", "€", "🚰"] {
            let text = clean(letter.repeat(MAX_LOG_BYTES).as_bytes(), false);
            assert!(
                text.len() <= MAX_LOG_BYTES && text.len() > MAX_LOG_BYTES - 8 && text.ends_with('…'),
                "{letter}: {}",
                text.len()
            );
        }
        let exact = "x".repeat(MAX_LOG_BYTES - 3);
        assert_eq!(clean(exact.as_bytes(), false), exact);
    }
}
