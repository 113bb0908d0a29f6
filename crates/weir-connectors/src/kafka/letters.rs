//! `format: dead_letter`: a record that a pipeline set aside, as a record again. Its value is that of the record as it came; why it was
//! set aside, and where it came from, is in
//! the headers, so that a pipeline with the format of the first one reads the topic back.
//!
//! | header | |
//! | --- | --- |
//! | `weir.id`, `weir.at` | number of the letter in its run, time it was set aside (RFC 3339) |
//! | `weir.pipeline`, `weir.run_id`, `weir.flow`, `weir.sink` | who set it aside; `weir.sink` only if a transform on the way to that sink did |
//! | `weir.stream`, `weir.place` | where it came from |
//! | `weir.topic`, `weir.partition`, `weir.offset` | the same in parts, if it came from a topic |
//! | `weir.code`, `weir.reason`, `weir.media_type` | why, and what the value is |

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{Int64Type, SchemaRef, TimestampMicrosecondType};
use weir_connect::{Error, Kind, Result, letters};

use super::config::{SinkFormat, SinkOptions};

/// A letter of the largest size, with its headers, is larger than a record may be by default.
const MOST_BYTES: u64 = 2 << 20;

/// Options with room for letters, unless they say otherwise.
pub fn roomy(mut options: SinkOptions) -> SinkOptions {
    if options.format == SinkFormat::DeadLetter {
        options.max_message_bytes.get_or_insert(MOST_BYTES);
        options.topic_config.entry("max.message.bytes".into()).or_insert_with(|| MOST_BYTES.to_string());
    }
    options
}

/// Letters as records.
pub struct Letters {
    payloads: ArrayRef,
    headers: Vec<Vec<(String, String)>>,
}

/// Only letters can be written so.
///
/// # Errors
/// Columns of another stream.
pub fn check(schema: &SchemaRef) -> Result<()> {
    if schema.fields() == letters::schema().fields() {
        return Ok(());
    }
    Err(Error::new("WEIR-KAFKA-037", Kind::Spec, "`format: dead_letter` writes dead letters, and these rows are none")
        .hint("it is for the sink under `dead_letters: {to: …}`"))
}

/// Encodes a batch of letters; `more` are headers that every record has.
pub fn encode(batch: &RecordBatch, more: &[(String, String)]) -> Result<Letters> {
    let column = |name: &str| batch.column_by_name(name).ok_or_else(|| Error::internal(format!("a letter without `{name}`")));
    let texts = ["pipeline", "run_id", "flow", "sink", letters::STREAM, "code", "reason", letters::PLACE, "media_type"]
        .into_iter()
        .map(|name| Ok((format!("weir.{name}"), column(name)?.as_string::<i32>())))
        .collect::<Result<Vec<_>>>()?;
    let ids = column("id")?.as_primitive::<Int64Type>();
    let times = column(letters::AT)?.as_primitive::<TimestampMicrosecondType>();
    let places = column(letters::PLACE)?.as_string::<i32>();
    let headers = (0..batch.num_rows()).map(|row| {
        let mut headers = more.to_vec();
        headers.push(("weir.id".into(), ids.value(row).to_string()));
        let at = chrono::DateTime::from_timestamp_micros(times.value(row)).unwrap_or_default();
        headers.push(("weir.at".into(), at.to_rfc3339_opts(chrono::SecondsFormat::Millis, true)));
        for (name, values) in texts.iter().filter(|(_, values)| values.is_valid(row)) {
            headers.push((name.clone(), values.value(row).to_owned()));
        }
        if let Some((topic, partition, offset)) = parts(places.value(row)) {
            headers.push(("weir.topic".into(), topic.to_owned()));
            headers.push(("weir.partition".into(), partition.to_string()));
            headers.push(("weir.offset".into(), offset.to_string()));
        }
        headers
    });
    Ok(Letters { headers: headers.collect(), payloads: column(letters::PAYLOAD)?.clone() })
}

impl Letters {
    /// How many.
    pub fn count(&self) -> usize {
        self.headers.len()
    }

    /// The record as it came.
    pub fn value(&self, row: usize) -> &[u8] {
        self.payloads.as_binary::<i32>().value(row)
    }

    /// What is said of it.
    pub fn headers(&self, row: usize) -> &[(String, String)] {
        &self.headers[row]
    }
}

/// `orders[3] offset 17` in its parts.
fn parts(place: &str) -> Option<(&str, i32, i64)> {
    let (before, offset) = place.rsplit_once("] offset ")?;
    let (topic, partition) = before.rsplit_once('[')?;
    Some((topic, partition.parse().ok()?, offset.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use weir_connect::DeadLetter;
    use weir_connect::letters::KeptLetter;

    use super::*;

    #[test]
    fn a_letter_is_the_record_as_it_came_with_where_it_came_from() {
        let letter = |place: &str| DeadLetter {
            stream: "orders".into(),
            code: "WEIR-FMT-111".into(),
            reason: "no JSON".into(),
            place: place.into(),
            payload: b"\xff{".to_vec(),
            media_type: "application/json".into(),
        };
        let kept = |id, sink: Option<&str>, place| KeptLetter {
            id,
            at: 1_700_000_000_123_000,
            flow: "orders".into(),
            sink: sink.map(Into::into),
            letter: letter(place),
        };
        let rows = [kept(7, None, "orders[3] offset 17"), kept(8, Some("dwh"), "row 4")];
        let batch = letters::batch("shop", "r1", &rows).unwrap();
        check(&batch.schema()).unwrap();
        let told = encode(&batch, &[("team".into(), "data".into())]).unwrap();
        assert_eq!((told.count(), told.value(0)), (2, &b"\xff{"[..]));
        let header = |row: usize, name: &str| {
            let found: Vec<&str> =
                told.headers(row).iter().filter(|(key, _)| key == name).map(|(_, value)| value.as_str()).collect();
            assert!(found.len() < 2, "{name} twice");
            found.first().map(|value| (*value).to_owned())
        };
        let named =
            |row, names: &[&str]| names.iter().map(|name| header(row, name).unwrap_or_default()).collect::<Vec<_>>().join("|");
        assert_eq!(
            named(0, &["team", "weir.id", "weir.at", "weir.pipeline", "weir.run_id", "weir.stream", "weir.code", "weir.reason"]),
            "data|7|2023-11-14T22:13:20.123Z|shop|r1|orders|WEIR-FMT-111|no JSON"
        );
        assert_eq!(named(0, &["weir.place", "weir.topic", "weir.partition", "weir.offset"]), "orders[3] offset 17|orders|3|17");
        assert_eq!((header(0, "weir.sink"), header(1, "weir.sink")), (None, Some("dwh".into())));
        assert_eq!(header(1, "weir.topic"), None);
    }

    #[test]
    fn other_rows_are_no_letters() {
        let fields = letters::schema().fields().iter().skip(1).cloned().collect::<Vec<_>>();
        let error = check(&std::sync::Arc::new(arrow::datatypes::Schema::new(fields))).unwrap_err();
        assert_eq!(error.code(), "WEIR-KAFKA-037");
    }
}
