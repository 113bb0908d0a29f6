//! A column of a stripe under construction: takes Arrow arrays, gives streams. A child column gets only the rows in which
//! its parent has a value, as the format wants it.

use arrow::array::{Array, ArrayRef, AsArray, GenericListArray, OffsetSizeTrait};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, TimeUnit,
    TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType,
};
use weir_error::{Error, Kind, Result};

use super::arrays::{each, each_binary, each_text, only, push_lengths, try_each, whole};
use super::proto::{Message, put_varint};
use super::rle::{Bits, Bytes, Ints};
use super::stats::{Bounds, Stats, widen};
use super::stream::{Codec, Stream};
use super::text::Texts;
use super::timestamp::split;
use super::types::refused;

pub(super) struct Column {
    id: u64,
    /// The column's name with those of its parents, for errors.
    name: String,
    present: Bits,
    values: Values,
    stripe: Stats,
    file: Stats,
}

enum Values {
    Bools(Bits),
    Tiny(Bytes),
    Ints(Ints),
    Floats(Stream),
    Texts(Texts),
    Binary {
        lengths: Ints,
        bytes: Stream,
    },
    Timestamps {
        seconds: Ints,
        nanos: Ints,
    },
    Decimals {
        digits: Stream,
        scales: Ints,
    },
    Struct(Vec<Column>),
    /// The items of a list, or the keys and values of a map.
    Items {
        lengths: Ints,
        children: Vec<Column>,
    },
}

/// What the columns of a stripe leave behind, in the order of their ids.
#[derive(Default)]
pub(super) struct Parts {
    pub(super) data: Vec<Vec<u8>>,
    /// Fields of the stripe's footer.
    pub(super) streams: Message,
    pub(super) encodings: Message,
    pub(super) stats: Message,
}

/// Kinds of streams.
const PRESENT: u64 = 0;
const DATA: u64 = 1;
const LENGTH: u64 = 2;
const DICTIONARY_DATA: u64 = 3;
const SECONDARY: u64 = 5;

/// Kinds of encodings.
const DIRECT: u64 = 0;
const DIRECT_V2: u64 = 2;
const DICTIONARY_V2: u64 = 3;

impl Parts {
    fn stream(&mut self, column: u64, kind: u64, bytes: Vec<u8>) {
        let mut stream = Message::default();
        stream.number(1, kind);
        stream.number(2, column);
        stream.number(3, bytes.len() as u64);
        self.streams.message(1, &stream);
        self.data.push(bytes);
    }

    fn encoding(&mut self, kind: u64, dictionary: Option<u64>) {
        let mut encoding = Message::default();
        encoding.number(1, kind);
        if let Some(size) = dictionary {
            encoding.number(2, size);
        }
        self.encodings.message(2, &encoding);
    }
}

impl Column {
    /// A column and its children; `next` is the id of the next column.
    pub(super) fn new(data_type: &DataType, name: String, next: &mut u64) -> Result<Self> {
        let id = *next;
        *next += 1;
        let mut child = |data_type: &DataType, part: &str| {
            let name = if name.is_empty() { part.to_owned() } else { format!("{name}.{part}") };
            Column::new(data_type, name, next)
        };
        let ints = || Values::Ints(Ints::new(true));
        let (values, bounds): (Values, fn() -> Bounds) = match data_type {
            DataType::Boolean => (Values::Bools(Bits::default()), || Bounds::True(0)),
            DataType::Int8 => (Values::Tiny(Bytes::default()), || Bounds::Int(None)),
            DataType::Int16 | DataType::Int32 | DataType::Int64 => (ints(), || Bounds::Int(None)),
            DataType::Float32 | DataType::Float64 => {
                (Values::Floats(Stream::default()), || Bounds::Double { range: None, sum: 0.0, nan: false })
            }
            DataType::Utf8 | DataType::LargeUtf8 => (Values::Texts(Texts::new()), || Bounds::Text { range: None, bytes: 0 }),
            DataType::Binary | DataType::LargeBinary => {
                (Values::Binary { lengths: Ints::new(false), bytes: Stream::default() }, || Bounds::Bytes(0))
            }
            DataType::Date32 => (ints(), || Bounds::Date(None)),
            DataType::Timestamp(..) => {
                (Values::Timestamps { seconds: Ints::new(true), nanos: Ints::new(false) }, || Bounds::Timestamp(None))
            }
            DataType::Decimal128(..) => {
                (Values::Decimals { digits: Stream::default(), scales: Ints::new(true) }, || Bounds::None)
            }
            DataType::List(item) | DataType::LargeList(item) => {
                let children = vec![child(item.data_type(), "item")?];
                (Values::Items { lengths: Ints::new(false), children }, || Bounds::None)
            }
            DataType::Map(entries, _) => {
                let DataType::Struct(pair) = entries.data_type() else { return Err(refused(data_type)) };
                let children = pair.iter().map(|field| child(field.data_type(), field.name())).collect::<Result<_>>()?;
                (Values::Items { lengths: Ints::new(false), children }, || Bounds::None)
            }
            DataType::Struct(fields) => {
                let children = fields.iter().map(|field| child(field.data_type(), field.name())).collect::<Result<_>>()?;
                (Values::Struct(children), || Bounds::None)
            }
            _ => return Err(refused(data_type)),
        };
        let new = || match data_type {
            DataType::Decimal128(_, scale) => Stats::new(Bounds::Decimal { range: None, scale: u32::from(scale.unsigned_abs()) }),
            _ => Stats::new(bounds()),
        };
        Ok(Self { id, name, present: Bits::default(), values, stripe: new(), file: new() })
    }

    /// Appends rows.
    pub(super) fn push(&mut self, array: &ArrayRef) -> Result<()> {
        let nulls = array.nulls().filter(|nulls| nulls.null_count() > 0);
        self.stripe.count += (array.len() - array.null_count()) as u64;
        match nulls {
            None => (0..array.len()).for_each(|_| self.present.push(true)),
            Some(nulls) => {
                self.stripe.nulls = true;
                nulls.iter().for_each(|there| self.present.push(there));
            }
        }
        self.push_values(array, nulls)
    }

    fn push_values(&mut self, array: &ArrayRef, nulls: Option<&NullBuffer>) -> Result<()> {
        let bounds = &mut self.stripe.bounds;
        match (&mut self.values, array.data_type()) {
            (Values::Bools(bits), DataType::Boolean) => {
                let Bounds::True(trues) = bounds else { return Err(refused(array.data_type())) };
                for value in array.as_boolean().iter().flatten() {
                    bits.push(value);
                    *trues += u64::from(value);
                }
            }
            (Values::Tiny(bytes), DataType::Int8) => each::<Int8Type>(array, |value| {
                bytes.push(value as u8);
                bounds.whole(i64::from(value));
            }),
            (Values::Ints(ints), DataType::Int16) => whole::<Int16Type>(array, ints, bounds),
            (Values::Ints(ints), DataType::Int32) => whole::<Int32Type>(array, ints, bounds),
            (Values::Ints(ints), DataType::Int64) => whole::<Int64Type>(array, ints, bounds),
            (Values::Ints(ints), DataType::Date32) => whole::<Date32Type>(array, ints, bounds),
            (Values::Floats(stream), DataType::Float32) => each::<Float32Type>(array, |value| {
                stream.plain.extend_from_slice(&value.to_le_bytes());
                bounds.float(f64::from(value));
            }),
            (Values::Floats(stream), DataType::Float64) => each::<Float64Type>(array, |value| {
                stream.plain.extend_from_slice(&value.to_le_bytes());
                bounds.float(value);
            }),
            (Values::Texts(texts), DataType::Utf8) => each_text(array.as_string::<i32>(), texts, bounds),
            (Values::Texts(texts), DataType::LargeUtf8) => each_text(array.as_string::<i64>(), texts, bounds),
            (Values::Binary { lengths, bytes }, DataType::Binary) => {
                each_binary(array.as_binary::<i32>(), lengths, bytes, bounds);
            }
            (Values::Binary { lengths, bytes }, DataType::LargeBinary) => {
                each_binary(array.as_binary::<i64>(), lengths, bytes, bounds);
            }
            (Values::Timestamps { seconds, nanos }, DataType::Timestamp(unit, _)) => {
                let name = &self.name;
                let push = |value: i64| {
                    let moment = split(value, *unit).map_err(|why| out_of_range(name, why))?;
                    seconds.push(moment.seconds);
                    nanos.push(moment.nanos);
                    if let Bounds::Timestamp(range) = bounds {
                        widen(range, moment.millis);
                    }
                    Ok(())
                };
                match unit {
                    TimeUnit::Second => try_each::<TimestampSecondType>(array, push)?,
                    TimeUnit::Millisecond => try_each::<TimestampMillisecondType>(array, push)?,
                    TimeUnit::Microsecond => try_each::<TimestampMicrosecondType>(array, push)?,
                    TimeUnit::Nanosecond => try_each::<TimestampNanosecondType>(array, push)?,
                }
            }
            (Values::Decimals { digits, scales }, DataType::Decimal128(_, scale)) => each::<Decimal128Type>(array, |value| {
                put_varint(&mut digits.plain, ((value << 1) ^ (value >> 127)) as u128);
                scales.push(i64::from(*scale));
                if let Bounds::Decimal { range, .. } = bounds {
                    widen(range, value);
                }
            }),
            (Values::Struct(children), DataType::Struct(_)) => {
                for (child, column) in children.iter_mut().zip(array.as_struct().columns()) {
                    child.push(&only(column.clone(), nulls)?)?;
                }
            }
            (Values::Items { lengths, children }, DataType::List(_)) => {
                push_list(array.as_list::<i32>(), nulls, lengths, children)?;
            }
            (Values::Items { lengths, children }, DataType::LargeList(_)) => {
                push_list(array.as_list::<i64>(), nulls, lengths, children)?;
            }
            (Values::Items { lengths, children }, DataType::Map(..)) => {
                let map = array.as_map();
                let kept = push_lengths(map.offsets(), nulls, lengths);
                for (child, column) in children.iter_mut().zip(map.entries().columns()) {
                    child.push(&kept.of(column)?)?;
                }
            }
            (_, other) => return Err(refused(other)),
        }
        Ok(())
    }

    /// Calls for each stream that may be long.
    pub(super) fn press(&mut self, codec: &mut Codec) -> Result<()> {
        self.present.stream().press(codec)?;
        match &mut self.values {
            Values::Bools(bits) => bits.stream().press(codec),
            Values::Tiny(bytes) => bytes.stream().press(codec),
            Values::Ints(ints) => ints.stream().press(codec),
            Values::Floats(stream) => stream.press(codec),
            Values::Texts(texts) => texts.press(codec),
            Values::Binary { lengths, bytes: stream } | Values::Decimals { digits: stream, scales: lengths } => {
                lengths.stream().press(codec)?;
                stream.press(codec)
            }
            Values::Timestamps { seconds, nanos } => {
                seconds.stream().press(codec)?;
                nanos.stream().press(codec)
            }
            Values::Struct(children) => children.iter_mut().try_for_each(|child| child.press(codec)),
            Values::Items { lengths, children } => {
                lengths.stream().press(codec)?;
                children.iter_mut().try_for_each(|child| child.press(codec))
            }
        }
    }

    /// Bytes held for the stripe.
    pub(super) fn held(&self) -> usize {
        let children = |children: &[Column]| children.iter().map(Column::held).sum::<usize>();
        self.present.held()
            + match &self.values {
                Values::Bools(bits) => bits.held(),
                Values::Tiny(bytes) => bytes.held(),
                Values::Ints(ints) => ints.held(),
                Values::Floats(stream) => stream.held(),
                Values::Texts(texts) => texts.held(),
                Values::Binary { lengths, bytes: stream } | Values::Decimals { digits: stream, scales: lengths } => {
                    lengths.held() + stream.held()
                }
                Values::Timestamps { seconds, nanos } => seconds.held() + nanos.held(),
                Values::Struct(list) => children(list),
                Values::Items { lengths, children: list } => lengths.held() + children(list),
            }
    }

    /// Ends the stripe and begins the next one.
    pub(super) fn end_stripe(&mut self, codec: &mut Codec, parts: &mut Parts) -> Result<()> {
        let id = self.id;
        let present = std::mem::take(&mut self.present).finish().take(codec)?;
        if self.stripe.nulls {
            parts.stream(id, PRESENT, present);
        }
        parts.stats.message(1, &self.stripe.message());
        self.file.join_and_reset(&mut self.stripe);
        match &mut self.values {
            Values::Bools(bits) => {
                parts.encoding(DIRECT, None);
                parts.stream(id, DATA, std::mem::take(bits).finish().take(codec)?);
            }
            Values::Tiny(bytes) => {
                parts.encoding(DIRECT, None);
                parts.stream(id, DATA, bytes.stream().take(codec)?);
            }
            Values::Ints(ints) => {
                parts.encoding(DIRECT_V2, None);
                parts.stream(id, DATA, ints.stream().take(codec)?);
            }
            Values::Floats(stream) => {
                parts.encoding(DIRECT, None);
                parts.stream(id, DATA, stream.take(codec)?);
            }
            Values::Texts(texts) => {
                let ended = texts.end(codec)?;
                let kind = if ended.dictionary.is_some() { DICTIONARY_V2 } else { DIRECT_V2 };
                parts.encoding(kind, ended.dictionary.as_ref().map(|dictionary| dictionary.1));
                parts.stream(id, DATA, ended.data);
                parts.stream(id, LENGTH, ended.lengths);
                if let Some((dictionary, _)) = ended.dictionary {
                    parts.stream(id, DICTIONARY_DATA, dictionary);
                }
            }
            Values::Binary { lengths, bytes } => {
                parts.encoding(DIRECT_V2, None);
                parts.stream(id, DATA, bytes.take(codec)?);
                parts.stream(id, LENGTH, lengths.stream().take(codec)?);
            }
            Values::Timestamps { seconds, nanos } => {
                parts.encoding(DIRECT_V2, None);
                parts.stream(id, DATA, seconds.stream().take(codec)?);
                parts.stream(id, SECONDARY, nanos.stream().take(codec)?);
            }
            Values::Decimals { digits, scales } => {
                parts.encoding(DIRECT_V2, None);
                parts.stream(id, DATA, digits.take(codec)?);
                parts.stream(id, SECONDARY, scales.stream().take(codec)?);
            }
            Values::Struct(children) => {
                parts.encoding(DIRECT, None);
                children.iter_mut().try_for_each(|child| child.end_stripe(codec, parts))?;
            }
            Values::Items { lengths, children } => {
                parts.encoding(DIRECT_V2, None);
                parts.stream(id, LENGTH, lengths.stream().take(codec)?);
                children.iter_mut().try_for_each(|child| child.end_stripe(codec, parts))?;
            }
        }
        Ok(())
    }

    /// The file's statistics of this column and its children.
    pub(super) fn file_stats(&self, footer: &mut Message) {
        footer.message(7, &self.file.message());
        if let Values::Struct(children) | Values::Items { children, .. } = &self.values {
            children.iter().for_each(|child| child.file_stats(footer));
        }
    }
}

fn out_of_range(name: &str, why: &str) -> Error {
    Error::new("WEIR-FMT-031", Kind::Data, format!("column `{name}` has a value out of range"))
        .because(why)
        .hint("cast the column to text or write another format")
}

fn push_list<O: OffsetSizeTrait>(
    list: &GenericListArray<O>,
    nulls: Option<&NullBuffer>,
    lengths: &mut Ints,
    children: &mut [Column],
) -> Result<()> {
    let kept = push_lengths(list.offsets(), nulls, lengths);
    children.iter_mut().try_for_each(|item| item.push(&kept.of(list.values())?))
}
