//! The log of a run's container, line by line, each once, over connections that break.

use std::time::Duration;

use futures::StreamExt;
use tokio::sync::{mpsc, watch};
use weir_error::Result;

use super::api::{Api, LOG_SILENCE, Path};
use super::manifests::CONTAINER;

/// The longest line that is taken whole, bytes; of a longer one the rest is thrown away as it comes.
pub const MAX_LINE_BYTES: usize = 64 << 20;
/// Between two connections.
const PAUSE: Duration = Duration::from_millis(300);
/// How long the rest of the log of an ended container is asked for.
const REST: Duration = Duration::from_secs(20);

/// A line without its end and its time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Whether there was more, which is gone.
    pub cut: bool,
}

/// Reads the log of a Pod until its container has ended (`ended` turns true) and everything was read. `false`: the end could not be read.
/// Back-pressure: while nobody takes lines, nothing is read.
pub async fn follow(api: Api, namespace: String, pod: String, ended: watch::Receiver<bool>, lines: mpsc::Sender<Line>) -> bool {
    let mut reading = Reading::default();
    let mut since_end: Option<tokio::time::Instant> = None;
    // Whether the last connection ended as a log ends, and not by a break.
    let mut whole = false;
    loop {
        let over = *ended.borrow();
        match once(&api, &namespace, &pod, &mut reading, &lines).await {
            // The connection began after the container's end: what it gave was all there is.
            Ok(Read::Whole) if over => return reading.finish(&lines).await,
            // The Pod is gone, and its log with it.
            Ok(Read::Absent) if over => return reading.finish(&lines).await && whole,
            Ok(Read::Whole) => whole = true,
            Ok(Read::Absent) => {}
            Ok(Read::Silent) => whole = false,
            Ok(Read::NobodyListens) => return false,
            Err(error) => {
                whole = false;
                tracing::debug!(pod, "the log of a run broke off: {error}");
            }
        }
        if over && since_end.get_or_insert_with(tokio::time::Instant::now).elapsed() > REST {
            reading.finish(&lines).await;
            return false;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

enum Read {
    /// To its end.
    Whole,
    /// There is no log.
    Absent,
    /// It said nothing for long.
    Silent,
    NobodyListens,
}

/// One connection.
async fn once(api: &Api, namespace: &str, pod: &str, reading: &mut Reading, lines: &mpsc::Sender<Line>) -> Result<Read> {
    let path = Path::core(Some(namespace), "pods").named(pod);
    let since = reading.last.clone();
    let Some(mut pieces) = api.log(path, CONTAINER, since.as_deref()).await? else { return Ok(Read::Absent) };
    reading.again();
    loop {
        // A log that is silent for long is asked for anew: a connection whose other end is gone says nothing either.
        let Ok(piece) = tokio::time::timeout(LOG_SILENCE, pieces.next()).await else { return Ok(Read::Silent) };
        let Some(piece) = piece else { return Ok(Read::Whole) };
        for line in reading.take(&piece?) {
            if lines.send(line).await.is_err() {
                return Ok(Read::NobodyListens);
            }
        }
    }
}

/// What was read so far. `sinceTime` includes its moment, and several lines may have the same time, so those are counted.
#[derive(Default)]
struct Reading {
    /// The time of the last whole line, as the log has it.
    last: Option<String>,
    /// Whole lines of that time.
    seen: usize,
    /// How many lines of that time this connection has repeated.
    repeated: usize,
    /// Whether this connection is beyond what was read before. From there on all is taken: a clock may be set back.
    caught_up: bool,
    /// The line under way, with its time.
    begun: Vec<u8>,
    cut: bool,
}

impl Reading {
    /// Another connection: the line under way comes again.
    fn again(&mut self) {
        self.begun.clear();
        self.cut = false;
        self.repeated = 0;
        self.caught_up = self.last.is_none();
    }

    fn take(&mut self, piece: &[u8]) -> Vec<Line> {
        let mut found = Vec::new();
        for part in piece.split_inclusive(|&byte| byte == b'\n') {
            let whole = part.ends_with(b"\n");
            let part = part.strip_suffix(b"\n").unwrap_or(part);
            let room = (MAX_LINE_BYTES + 64).saturating_sub(self.begun.len());
            self.cut |= part.len() > room;
            self.begun.extend_from_slice(&part[..part.len().min(room)]);
            if whole {
                found.extend(self.line());
            }
        }
        found
    }

    /// The line under way is whole; `None`: it was given before.
    fn line(&mut self) -> Option<Line> {
        let (line, cut) = (std::mem::take(&mut self.begun), std::mem::take(&mut self.cut));
        let end = line.iter().position(|&byte| byte == b' ').unwrap_or(line.len());
        let time = String::from_utf8_lossy(&line[..end]).into_owned();
        let text = line.get(end + 1..).unwrap_or_default().to_vec();
        let same = self.last.as_deref() == Some(time.as_str());
        if !self.caught_up {
            if self.last.as_deref().is_some_and(|last| moment(&time) < moment(last)) {
                return None;
            }
            if same && self.repeated < self.seen {
                self.repeated += 1;
                return None;
            }
            self.caught_up = true;
        }
        self.seen = if same { self.seen + 1 } else { 1 };
        self.last = Some(time);
        Some(Line { bytes: text, cut })
    }

    /// A last line without a line end.
    async fn finish(&mut self, lines: &mpsc::Sender<Line>) -> bool {
        if !self.begun.is_empty()
            && let Some(line) = self.line()
        {
            return lines.send(line).await.is_ok();
        }
        true
    }
}

/// RFC 3339 with as many digits as there are: compared as times, not as texts.
fn moment(time: &str) -> i64 {
    chrono::DateTime::parse_from_rfc3339(time).ok().and_then(|time| time.timestamp_nanos_opt()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(lines: &[Line]) -> Vec<String> {
        lines.iter().map(|line| String::from_utf8_lossy(&line.bytes).into_owned()).collect()
    }

    #[test]
    fn each_line_comes_once_however_often_the_connection_breaks() {
        let log =
            "2026-11-22T10:00:00.1Z one\n2026-11-22T10:00:00.12Z two\n2026-11-22T10:00:00.12Z two\n2026-11-22T10:00:01Z three\n";
        // Broken at every byte, then read again from the last whole line's second on, which is the worst that a server may do.
        for at in 0..=log.len() {
            let mut reading = Reading::default();
            let mut all = reading.take(&log.as_bytes()[..at]);
            reading.again();
            all.extend(reading.take(log.as_bytes()));
            assert_eq!(texts(&all), ["one", "two", "two", "three"], "broken at {at}");
        }
    }

    #[test]
    fn lines_without_text_and_with_spaces_are_what_they_are() {
        let mut reading = Reading::default();
        let all = reading.take(b"2026-11-22T10:00:00.1Z \n2026-11-22T10:00:00.2Z  a b \n2026-11-22T10:00:00.3Z x");
        assert_eq!(texts(&all), ["", " a b "]);
    }
}
