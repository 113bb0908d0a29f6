//! Types from a sample of JSON records: the union of the keys, and per key the narrowest type that keeps every value.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, Schema};
use weir_error::{Error, Kind, Result};

use crate::format::{Compression, Format};
use crate::inference::{inferred_field, json_text_field, with_declared};
use crate::input::Input;
use crate::json::layout::JsonLayout;
use crate::json::records::{Next, Records};
use crate::json::tape::{Tape, What, unescape};
use crate::options::{Decimals, JsonOptions, ReadOptions};
use crate::read::{Inferred, Layout, no_columns, resolve_compression};
use crate::scalar;
use crate::text::{blocking, open, open_text};
use crate::text_buffer::TextBuffer;

/// Text looked at.
const HEAD: u64 = 8 << 20;
/// How far a first object is looked for.
const FARTHEST: u64 = 64 << 20;
/// Objects nested deeper than this stay JSON text.
const STRUCT_DEPTH: usize = 16;
/// Objects with more keys than this are maps in disguise and stay JSON text.
const STRUCT_KEYS: usize = 500;

/// What was seen at one place.
#[derive(Debug, Default)]
struct Seen {
    bools: u64,
    texts: u64,
    special_floats: u64,
    numbers: u64,
    /// Numbers that are not whole.
    fractions: u64,
    /// Digits of the longest whole number beyond 64 bits.
    wide: bool,
    over_38_digits: bool,
    float_survives: Option<bool>,
    scale: usize,
    whole_digits: usize,
    not_plain: bool,
    objects: u64,
    keys: Vec<(String, Seen)>,
    places: HashMap<String, usize>,
    arrays: u64,
    items: Option<Box<Seen>>,
}

impl Seen {
    fn see(&mut self, tape: &Tape, node: u32, text: &[u8]) {
        match tape.nodes[node as usize].what {
            What::Null => {}
            What::True | What::False => self.bools += 1,
            What::Text { .. } => match tape.text(node, text) {
                b"NaN" | b"Infinity" | b"-Infinity" => self.special_floats += 1,
                _ => self.texts += 1,
            },
            What::Number => self.see_number(tape.text(node, text)),
            What::Array => {
                self.arrays += 1;
                let items = self.items.get_or_insert_default();
                for element in tape.elements(node) {
                    items.see(tape, element, text);
                }
            }
            What::Object => {
                self.objects += 1;
                for (key, value) in tape.members(node) {
                    let mut name = Vec::new();
                    unescape(tape.text(key, text), &mut name);
                    let name = String::from_utf8_lossy(&name).into_owned();
                    let place = match self.places.get(&name) {
                        Some(place) => *place,
                        None => {
                            self.places.insert(name.clone(), self.keys.len());
                            self.keys.push((name, Seen::default()));
                            self.keys.len() - 1
                        }
                    };
                    self.keys[place].1.see(tape, value, text);
                }
            }
        }
    }

    fn see_number(&mut self, text: &[u8]) {
        self.numbers += 1;
        let digits = text.strip_prefix(b"-").unwrap_or(text);
        let point = digits.iter().position(|b| *b == b'.');
        let plain = !digits.iter().any(|b| matches!(b, b'e' | b'E'));
        if plain && point.is_none() && text != b"-0" {
            self.whole_digits = self.whole_digits.max(digits.len());
            if scalar::parse_i64(text, true).is_none() {
                self.wide = true;
                self.over_38_digits |= digits.len() > 38;
            }
        } else {
            self.fractions += 1;
            self.not_plain |= !plain;
            let whole = point.unwrap_or(digits.len());
            self.whole_digits = self.whole_digits.max(whole);
            self.scale = self.scale.max(digits.len() - whole - usize::from(point.is_some()));
        }
        let survives = scalar::parse_f64(text, true).is_some();
        self.float_survives = Some(self.float_survives.unwrap_or(true) && survives);
    }

    fn number_type(&self, decimals: Decimals) -> Option<DataType> {
        if self.fractions == 0 && self.special_floats == 0 {
            return match (self.wide, self.over_38_digits) {
                (false, _) => Some(DataType::Int64),
                (true, false) => Some(DataType::Decimal128(38, 0)),
                (true, true) => None,
            };
        }
        let fits_decimal = !self.not_plain && self.whole_digits + self.scale <= 38 && self.special_floats == 0;
        let survives = self.float_survives.unwrap_or(false);
        match decimals {
            Decimals::Exact if fits_decimal => Some(DataType::Decimal128(38, self.scale as i8)),
            _ if survives => Some(DataType::Float64),
            // No double keeps them, a decimal does: nothing is lost this way.
            _ if fits_decimal => Some(DataType::Decimal128(38, self.scale as i8)),
            _ => None,
        }
    }

    fn field(&self, name: &str, decimals: Decimals, depth: usize) -> Field {
        let kinds = [self.bools > 0, self.texts > 0, self.numbers > 0, self.objects > 0, self.arrays > 0];
        let one = kinds.iter().filter(|kind| **kind).count();
        let plain = |data_type| inferred_field(name, data_type, false);
        if one == 0 {
            return if self.special_floats > 0 {
                plain(DataType::Utf8)
            } else {
                let json = json_text_field(name);
                let mut metadata = inferred_field(name, DataType::Utf8, true).metadata().clone();
                metadata.extend(json.metadata().clone());
                json.with_metadata(metadata)
            };
        }
        if one > 1 {
            return json_text_field(name);
        }
        if self.bools > 0 && self.special_floats == 0 {
            return plain(DataType::Boolean);
        }
        if self.texts > 0 {
            return plain(DataType::Utf8);
        }
        if self.numbers > 0 {
            return self.number_type(decimals).map_or_else(|| json_text_field(name), plain);
        }
        if self.special_floats > 0 || depth >= STRUCT_DEPTH {
            return json_text_field(name);
        }
        if self.arrays > 0 {
            return match &self.items {
                Some(items) if !items.only_nulls() => plain(DataType::List(Arc::new(items.field("item", decimals, depth + 1)))),
                _ => json_text_field(name),
            };
        }
        if self.keys.is_empty() || self.keys.len() > STRUCT_KEYS {
            return json_text_field(name);
        }
        plain(DataType::Struct(self.fields(decimals, depth + 1)))
    }

    fn only_nulls(&self) -> bool {
        self.bools + self.texts + self.special_floats + self.numbers + self.objects + self.arrays == 0
    }

    fn fields(&self, decimals: Decimals, depth: usize) -> Fields {
        self.keys.iter().map(|(name, seen)| seen.field(name, decimals, depth)).collect()
    }
}

pub(crate) async fn infer(input: &Arc<dyn Input>, options: &ReadOptions) -> Result<Inferred> {
    let compression = resolve_compression(input, options).await?;
    let lines = options.format == Format::Ndjson;
    let layout = JsonLayout { compression, lines };
    let size = input.size();
    let mut head = if compression == Compression::None { size.min(HEAD) } else { size };
    let Found { seen, rows, unusable, bytes, ended } = loop {
        let raw = open(input, 0..head)?;
        let json = options.json.clone();
        let whole = head == size;
        let found = blocking(move || look(raw, compression, lines, &json, whole)).await?;
        // The first record may be longer than the usual sample, or over the limit and passed over.
        if found.rows > 0 || whole || head > (options.json.max_record_bytes as u64).max(FARTHEST) {
            break found;
        }
        head = (head * 4).min(size);
    };
    let mut notes = Vec::new();
    if rows == 0 && size > 0 && (!ended || (unusable > 0 && options.declared.is_none())) {
        return Err(Error::new("WEIR-FMT-028", Kind::Data, "no JSON object was found")
            .hint("records must be objects; for one object per line use `format: ndjson`, for an array `format: json`"));
    }
    if rows == 0 {
        let schema = options.declared.clone().unwrap_or_else(no_columns);
        return Ok(Inferred { schema, layout: Layout::Json(layout), rows_estimate: Some(0), notes });
    }
    let schema = Schema::new(seen.fields(options.json.decimals, 0));
    for field in schema.fields() {
        if crate::inference::is_json_text(field) {
            notes.push(format!("column `{}` stays JSON text: its values have no type in common", field.name()));
        }
    }
    // Keys that only later records have may be declared.
    let mut fields: Vec<Arc<Field>> = schema.fields().to_vec();
    for field in options.declared.iter().flat_map(|declared| declared.fields()) {
        if schema.field_with_name(field.name()).is_err() {
            fields.push(field.clone());
        }
    }
    let schema = with_declared(Schema::new(fields), options.declared.as_ref(), input.name())?;
    let rows_estimate = if ended {
        Some(rows)
    } else if compression == Compression::None && bytes > 0 {
        Some((u128::from(size) * u128::from(rows) / u128::from(bytes)) as u64)
    } else {
        None
    };
    Ok(Inferred { schema: Arc::new(schema), layout: Layout::Json(layout), rows_estimate, notes })
}

/// What a look at the beginning of a file found.
struct Found {
    seen: Seen,
    /// Objects.
    rows: u64,
    /// Records that are no object, no JSON, or too long.
    unusable: u64,
    bytes: u64,
    /// Whether that was the whole file.
    ended: bool,
}

fn look(raw: crate::text::Raw, compression: Compression, lines: bool, options: &JsonOptions, whole: bool) -> Result<Found> {
    let (reader, counter) = open_text(raw, compression, encoding_rs::UTF_8)?;
    let mut buffer = TextBuffer::new(reader, counter);
    crate::json::skip_mark(&mut buffer)?;
    let mut records = Records::new(lines, options.max_record_bytes, 0);
    let mut tape = Tape::default();
    let mut seen = Seen::default();
    let (mut rows, mut unusable) = (0, 0);
    while rows < options.infer_rows.max(1) as u64 && (buffer.taken() < HEAD || rows == 0) {
        let next = match records.next(&mut buffer) {
            // The sample ends in the middle of a value.
            Err(_) if !whole => break,
            other => other?,
        };
        match next {
            Next::End => return Ok(Found { seen, rows, unusable, bytes: buffer.taken(), ended: whole }),
            Next::TooLong { .. } => unusable += 1,
            Next::Record { from, to, taken } => {
                let cut = !whole && buffer.at_end() && taken == buffer.data().len();
                let text = &buffer.data()[from..to];
                let usable = !cut && simdutf8::basic::from_utf8(text).is_ok() && tape.parse(text, options.max_depth).is_ok();
                if usable && tape.nodes.first().is_some_and(|node| node.what == What::Object) {
                    seen.see(&tape, 0, text);
                    rows += 1;
                } else if !text.trim_ascii().is_empty() {
                    unusable += 1;
                }
                buffer.take(taken);
            }
        }
    }
    Ok(Found { seen, rows, unusable, bytes: buffer.taken(), ended: false })
}
