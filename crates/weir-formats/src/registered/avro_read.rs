//! Avro records by the schema that they were written with, into the columns of the schema that is read.
//!
//! By "Schema Resolution" of the Avro specification 1.12, except where that would bend a value: a long that a double cannot hold is refused, and so
//! are a decimal of another scale, or a time in another unit, unless every value survives.

use std::borrow::Cow;

use arrow::datatypes::{IntervalMonthDayNano, TimeUnit, i256};
use serde_json::Value as Json;

use super::avro_schema::{Avro, Record, last, plain_union};
use super::value::Value;

/// Values without bytes (nulls in an array) that one record may announce.
const MAX_FREE: u64 = 1 << 16;

type Fault = String;

/// How a value is read.
#[derive(Debug)]
pub(super) enum Plan {
    Null,
    Bool,
    /// An int that stays 32 bits wide.
    Word,
    Int(Number),
    Long(Number),
    Float {
        double: bool,
    },
    Double,
    Text {
        bytes: bool,
    },
    /// Bytes; or a text, if they are one.
    Bytes {
        text: bool,
    },
    Fixed(usize),
    Uuid {
        text: bool,
    },
    Enum(Vec<Result<String, Fault>>),
    Decimal {
        size: Option<usize>,
        times: i256,
        digits: i256,
    },
    Duration,
    List(Box<Plan>),
    Map(Box<Plan>),
    Union(Vec<Result<Plan, Fault>>),
    Record(Box<RecordPlan>),
    /// Into a member of the reader's union.
    Member {
        at: usize,
        of: usize,
        plan: Box<Plan>,
    },
}

/// What becomes of a whole number.
#[derive(Debug, Clone, Copy)]
pub(super) enum Number {
    Long,
    Float,
    Double,
    /// Times this.
    Finer(i64),
    /// Divided by this, if nothing is left over.
    Coarser(i64),
}

/// How a record is read.
#[derive(Debug)]
pub(super) struct RecordPlan {
    /// In the writer's order: how, and into which column.
    fields: Vec<(Plan, Option<usize>)>,
    /// The columns' values where the writer has none.
    defaults: Vec<Value<'static>>,
}

/// What the reader does not have, by path.
pub(super) type Extra = Vec<String>;

/// How values of `writer` become values of `reader`.
///
/// # Errors
/// Why they cannot.
pub(super) fn resolve(writer: &Avro, reader: &Avro, path: &str, extra: &mut Extra) -> Result<Plan, Fault> {
    let apart = || Err(format!("{}: {} cannot be read as {}", at(path), writer.word(), reader.word()));
    if let Avro::Union(branches) = writer {
        let branches: Vec<_> = branches.iter().map(|branch| resolve(branch, reader, path, extra)).collect();
        if branches.iter().all(Result::is_err) {
            return apart();
        }
        return Ok(Plan::Union(branches));
    }
    if let Avro::Union(branches) = reader {
        return into_union(writer, branches, path, extra).map_or_else(apart, Ok);
    }
    Ok(match (writer, reader) {
        (Avro::Null, Avro::Null) => Plan::Null,
        (Avro::Boolean, Avro::Boolean) => Plan::Bool,
        (Avro::Int, Avro::Int) | (Avro::Date, Avro::Date) | (Avro::TimeMillis, Avro::TimeMillis) => Plan::Word,
        (Avro::Int, Avro::Long) => Plan::Int(Number::Long),
        (Avro::Int, Avro::Float) => Plan::Int(Number::Float),
        (Avro::Int, Avro::Double) => Plan::Int(Number::Double),
        (Avro::Long, Avro::Long) | (Avro::TimeMicros, Avro::TimeMicros) => Plan::Long(Number::Long),
        (Avro::Long, Avro::Float) => Plan::Long(Number::Float),
        (Avro::Long, Avro::Double) => Plan::Long(Number::Double),
        (Avro::TimeMillis, Avro::TimeMicros) => Plan::Int(Number::Finer(1000)),
        (Avro::Timestamp(from, zone), Avro::Timestamp(to, other)) if zone == other => Plan::Long(between(*from, *to)),
        (Avro::Float, Avro::Float) => Plan::Float { double: false },
        (Avro::Float, Avro::Double) => Plan::Float { double: true },
        (Avro::Double, Avro::Double) => Plan::Double,
        (Avro::Text, Avro::Text) => Plan::Text { bytes: false },
        (Avro::UuidText, Avro::Text) => Plan::Text { bytes: false },
        (Avro::Text, Avro::Bytes) => Plan::Text { bytes: true },
        (Avro::Bytes, Avro::Bytes) => Plan::Bytes { text: false },
        (Avro::Bytes, Avro::Text) => Plan::Bytes { text: true },
        (Avro::UuidText | Avro::Text, Avro::UuidText | Avro::UuidFixed) => Plan::Uuid { text: true },
        (Avro::UuidFixed, Avro::UuidFixed | Avro::UuidText) => Plan::Uuid { text: false },
        (Avro::Fixed(a), Avro::Fixed(b)) if a == b => Plan::Fixed(*a),
        (Avro::Duration, Avro::Duration) => Plan::Duration,
        (Avro::Decimal { size, scale: from, .. }, Avro::Decimal { scale: to, precision, .. }) if from <= to => {
            Plan::Decimal { size: *size, times: power(u32::from(to.abs_diff(*from))), digits: power(u32::from(*precision)) }
        }
        (Avro::Enum(from), Avro::Enum(to)) => Plan::Enum(
            from.symbols
                .iter()
                .map(|symbol| match (to.symbols.contains(symbol), &to.default) {
                    (true, _) => Ok(symbol.clone()),
                    // The reader says what a symbol is that it does not know.
                    (false, Some(default)) => Ok(default.clone()),
                    (false, None) => Err(format!("{}: the enum has no symbol `{symbol}`", at(path))),
                })
                .collect(),
        ),
        (Avro::Array(from), Avro::Array(to)) => Plan::List(Box::new(resolve(from, to, path, extra)?)),
        (Avro::Map(from), Avro::Map(to)) => Plan::Map(Box::new(resolve(from, to, path, extra)?)),
        (Avro::Record(from), Avro::Record(to)) => Plan::Record(Box::new(record(from, to, path, extra)?)),
        _ => return apart(),
    })
}

fn at(path: &str) -> String {
    if path.is_empty() { "the value".to_owned() } else { format!("`{path}`") }
}

/// Into the branch that is the writer's own type, else into the first that takes it.
fn into_union(writer: &Avro, branches: &[Avro], path: &str, extra: &mut Extra) -> Option<Plan> {
    let single = plain_union(branches);
    let order = branches.iter().filter(|branch| *branch == writer).chain(branches.iter().filter(|branch| *branch != writer));
    for branch in order {
        let mut more = Extra::new();
        let Ok(plan) = resolve(writer, branch, path, &mut more) else { continue };
        extra.append(&mut more);
        if single.is_some() || *branch == Avro::Null {
            return Some(plan);
        }
        let members: Vec<&Avro> = branches.iter().filter(|branch| **branch != Avro::Null).collect();
        let at = members.iter().position(|member| *member == branch)?;
        return Some(Plan::Member { at, of: members.len(), plan: Box::new(plan) });
    }
    None
}

fn record(from: &Record, to: &Record, path: &str, extra: &mut Extra) -> Result<RecordPlan, Fault> {
    let below = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    let mut found = vec![false; to.fields.len()];
    let mut fields = Vec::with_capacity(from.fields.len());
    for field in &from.fields {
        let same = |name: &String| *name == field.name;
        let place = to.fields.iter().position(|column| same(&column.name));
        let place = place.or_else(|| to.fields.iter().position(|column| column.aliases.iter().any(same)));
        match place {
            Some(place) => {
                found[place] = true;
                fields.push((resolve(&field.kind, &to.fields[place].kind, &below(&field.name), extra)?, Some(place)));
            }
            None => {
                extra.push(below(&field.name));
                // Its bytes must be passed over.
                fields.push((resolve(&field.kind, &field.kind, &below(&field.name), &mut Extra::new())?, None));
            }
        }
    }
    let mut defaults = Vec::with_capacity(to.fields.len());
    for (field, found) in to.fields.iter().zip(found) {
        defaults.push(match (&field.default, found) {
            (_, true) => Value::Null,
            (Some(default), false) => constant(default, &field.kind)
                .ok_or_else(|| format!("the default of `{}` is no value of its type", below(&field.name)))?,
            (None, false) => {
                return Err(format!("`{}` is missing in {} and has no default", below(&field.name), last(&from.name)));
            }
        });
    }
    Ok(RecordPlan { fields, defaults })
}

fn per_second(unit: TimeUnit) -> i64 {
    match unit {
        TimeUnit::Second => 1,
        TimeUnit::Millisecond => 1_000,
        TimeUnit::Microsecond => 1_000_000,
        TimeUnit::Nanosecond => 1_000_000_000,
    }
}

fn between(from: TimeUnit, to: TimeUnit) -> Number {
    let (from, to) = (per_second(from), per_second(to));
    match from.cmp(&to) {
        std::cmp::Ordering::Equal => Number::Long,
        std::cmp::Ordering::Less => Number::Finer(to / from),
        std::cmp::Ordering::Greater => Number::Coarser(from / to),
    }
}

fn power(exponent: u32) -> i256 {
    i256::from_i128(10).checked_pow(exponent).unwrap_or(i256::MAX)
}

/// A default, in the JSON that schemas write values in. `None`: it is no value of the type.
fn constant(json: &Json, kind: &Avro) -> Option<Value<'static>> {
    // Each character of such a text is a byte.
    let bytes = || json.as_str()?.chars().map(|c| u8::try_from(u32::from(c)).ok()).collect::<Option<Vec<u8>>>();
    Some(match kind {
        Avro::Null => json.is_null().then_some(Value::Null)?,
        Avro::Boolean => Value::Bool(json.as_bool()?),
        Avro::Int | Avro::Date | Avro::TimeMillis => Value::Word(i32::try_from(json.as_i64()?).ok()?),
        Avro::Long | Avro::TimeMicros | Avro::Timestamp(..) => Value::Long(json.as_i64()?),
        Avro::Float => Value::Float(json.as_f64()? as f32),
        Avro::Double => Value::Double(json.as_f64()?),
        Avro::Bytes => Value::Bytes(bytes()?.into()),
        Avro::Fixed(size) => Value::Bytes(bytes().filter(|bytes| bytes.len() == *size)?.into()),
        Avro::Text => Value::Text(json.as_str()?.to_owned().into()),
        Avro::Enum(symbols) => {
            Value::Text(json.as_str().filter(|text| symbols.symbols.iter().any(|symbol| symbol == text))?.to_owned().into())
        }
        Avro::UuidText => Value::Text(Cow::Owned(uuid_text(json.as_str()?)?)),
        Avro::UuidFixed => Value::Text(Cow::Owned(uuid_bytes(&bytes()?)?)),
        Avro::Decimal { precision, .. } => {
            Value::Decimal(decimal(&bytes()?).filter(|value| within(*value, power(u32::from(*precision))))?)
        }
        Avro::Duration => Value::Interval(interval(&bytes()?)?),
        Avro::Array(item) => Value::List(json.as_array()?.iter().map(|json| constant(json, item)).collect::<Option<_>>()?),
        Avro::Map(item) => {
            let pair = |(name, json): (&String, &Json)| Some((Value::Text(name.clone().into()), constant(json, item)?));
            Value::Map(json.as_object()?.iter().map(pair).collect::<Option<_>>()?)
        }
        Avro::Record(record) => {
            let member =
                |field: &super::avro_schema::Member| constant(json.get(&field.name).or(field.default.as_ref())?, &field.kind);
            Value::Record(record.fields.iter().map(member).collect::<Option<_>>()?)
        }
        // By the specification of the first branch; newer ones take any.
        Avro::Union(branches) => {
            let (branch, value) = branches.iter().find_map(|branch| Some((branch, constant(json, branch)?)))?;
            if plain_union(branches).is_some() || *branch == Avro::Null {
                return Some(value);
            }
            let members = branches.iter().filter(|branch| **branch != Avro::Null);
            let mut value = Some(value);
            Value::Record(
                members.map(|member| if member == branch { value.take().unwrap_or(Value::Null) } else { Value::Null }).collect(),
            )
        }
    })
}

fn uuid_text(text: &str) -> Option<String> {
    let plain: String = text.chars().filter(|c| *c != '-').collect();
    let dashes = text.len() == 36 && text.bytes().enumerate().all(|(at, byte)| (byte == b'-') == matches!(at, 8 | 13 | 18 | 23));
    (dashes && plain.len() == 32 && plain.bytes().all(|byte| byte.is_ascii_hexdigit())).then(|| text.to_owned())
}

fn uuid_bytes(bytes: &[u8]) -> Option<String> {
    let hex: String = (bytes.len() == 16).then(|| bytes.iter().map(|byte| format!("{byte:02x}")).collect())?;
    Some(format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]))
}

/// A number in two's complement, the highest byte first.
fn decimal(bytes: &[u8]) -> Option<i256> {
    let sign = if bytes.first().is_some_and(|byte| byte & 0x80 != 0) { 0xff } else { 0 };
    let over = bytes.len().saturating_sub(32);
    // What is cut off may only repeat the sign.
    let kept = &bytes[over..];
    if bytes[..over].iter().any(|byte| *byte != sign) || (over > 0 && kept.first().is_some_and(|byte| (byte ^ sign) & 0x80 != 0))
    {
        return None;
    }
    let mut whole = [sign; 32];
    whole[32 - kept.len()..].copy_from_slice(kept);
    Some(i256::from_be_bytes(whole))
}

fn within(value: i256, limit: i256) -> bool {
    value < limit && value > limit.wrapping_neg()
}

fn interval(bytes: &[u8]) -> Option<IntervalMonthDayNano> {
    let part = |at: usize| Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    let (months, days, millis) = (part(0)?, part(4)?, part(8)?);
    Some(IntervalMonthDayNano::new(i32::try_from(months).ok()?, i32::try_from(days).ok()?, i64::from(millis) * 1_000_000))
}

/// One record's bytes.
pub(super) struct Bytes<'a> {
    rest: &'a [u8],
    free: u64,
}

const ENDS: &str = "the record ends in the middle of a value";

impl<'a> Bytes<'a> {
    pub(super) fn new(rest: &'a [u8]) -> Self {
        Self { rest, free: MAX_FREE }
    }

    /// Reads the one value that these bytes are.
    pub(super) fn whole(mut self, plan: &Plan) -> Result<Value<'a>, Fault> {
        let value = self.value(plan)?;
        if self.rest.is_empty() { Ok(value) } else { Err(format!("{} bytes are left over behind the record", self.rest.len())) }
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], Fault> {
        if count > self.rest.len() {
            return Err(ENDS.into());
        }
        let (taken, rest) = self.rest.split_at(count);
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        self.take(N)?.try_into().map_err(|_| ENDS.into())
    }

    fn long(&mut self) -> Result<i64, Fault> {
        let mut value = 0u64;
        for (at, &byte) in self.rest.iter().enumerate().take(10) {
            if at == 9 && byte > 1 {
                return Err("a number of more than 64 bits".into());
            }
            value |= u64::from(byte & 0x7f) << (7 * at);
            if byte < 0x80 {
                self.rest = &self.rest[at + 1..];
                return Ok((value >> 1) as i64 ^ -((value & 1) as i64));
            }
        }
        Err(ENDS.into())
    }

    fn int(&mut self) -> Result<i32, Fault> {
        i32::try_from(self.long()?).map_err(|_| "an int of more than 32 bits".into())
    }

    fn sized(&mut self) -> Result<&'a [u8], Fault> {
        let length = usize::try_from(self.long()?).map_err(|_| "a negative length".to_owned())?;
        self.take(length)
    }

    fn value(&mut self, plan: &Plan) -> Result<Value<'a>, Fault> {
        Ok(match plan {
            Plan::Null => Value::Null,
            Plan::Bool => match self.array::<1>()? {
                [0] => Value::Bool(false),
                [1] => Value::Bool(true),
                _ => return Err("a boolean that is neither true nor false".into()),
            },
            Plan::Word => Value::Word(self.int()?),
            Plan::Int(number) => turned(i64::from(self.int()?), *number)?,
            Plan::Long(number) => turned(self.long()?, *number)?,
            Plan::Float { double } => {
                let value = f32::from_le_bytes(self.array()?);
                if *double { Value::Double(f64::from(value)) } else { Value::Float(value) }
            }
            Plan::Double => Value::Double(f64::from_le_bytes(self.array()?)),
            Plan::Text { bytes } => {
                let text = self.text()?;
                if *bytes { Value::Bytes(text.as_bytes().into()) } else { Value::Text(text.into()) }
            }
            Plan::Bytes { text: true } => Value::Text(self.text()?.into()),
            Plan::Bytes { text: false } => Value::Bytes(self.sized()?.into()),
            Plan::Fixed(size) => Value::Bytes(self.take(*size)?.into()),
            Plan::Uuid { text: true } => {
                let text = self.text()?;
                Value::Text(uuid_text(text).ok_or_else(|| format!("`{}` is no UUID", clipped(text)))?.into())
            }
            Plan::Uuid { text: false } => Value::Text(uuid_bytes(self.take(16)?).ok_or(ENDS)?.into()),
            Plan::Enum(symbols) => {
                let at = usize::try_from(self.int()?).ok();
                let symbol = at.and_then(|at| symbols.get(at)).ok_or("an enum symbol that the schema does not have")?;
                Value::Text(symbol.as_ref().map_err(Clone::clone)?.clone().into())
            }
            Plan::Decimal { size, times, digits } => {
                let bytes = match size {
                    Some(size) => self.take(*size)?,
                    None => self.sized()?,
                };
                let value = decimal(bytes).and_then(|value| value.checked_mul(*times)).filter(|value| within(*value, *digits));
                Value::Decimal(value.ok_or("a decimal with more digits than its precision")?)
            }
            Plan::Duration => Value::Interval(interval(self.take(12)?).ok_or("a duration of more than 2^31 months or days")?),
            Plan::List(item) => {
                let mut items = Vec::new();
                self.blocks(|bytes| {
                    items.push(bytes.value(item)?);
                    Ok(())
                })?;
                Value::List(items)
            }
            Plan::Map(item) => {
                let mut items = Vec::new();
                self.blocks(|bytes| {
                    let name = bytes.text()?;
                    items.push((Value::Text(name.into()), bytes.value(item)?));
                    Ok(())
                })?;
                Value::Map(items)
            }
            Plan::Union(branches) => {
                let at = usize::try_from(self.long()?).ok();
                let branch = at.and_then(|at| branches.get(at)).ok_or("a union branch that the schema does not have")?;
                self.value(branch.as_ref().map_err(Clone::clone)?)?
            }
            Plan::Member { at, of, plan } => {
                let mut members = vec![Value::Null; *of];
                members[*at] = self.value(plan)?;
                Value::Record(members)
            }
            Plan::Record(plan) => {
                let mut values: Vec<Value<'a>> = plan.defaults.to_vec();
                for (field, place) in &plan.fields {
                    let value = self.value(field)?;
                    if let Some(place) = place {
                        values[*place] = value;
                    }
                }
                Value::Record(values)
            }
        })
    }

    fn text(&mut self) -> Result<&'a str, Fault> {
        std::str::from_utf8(self.sized()?).map_err(|_| "a text that is not valid UTF-8".into())
    }

    fn blocks(&mut self, mut item: impl FnMut(&mut Self) -> Result<(), Fault>) -> Result<(), Fault> {
        loop {
            let count = self.long()?;
            if count == 0 {
                return Ok(());
            }
            if count < 0 {
                // How many bytes they are; reading them says it again.
                self.long()?;
            }
            for _ in 0..count.unsigned_abs() {
                let before = self.rest.len();
                item(self)?;
                if self.rest.len() == before {
                    self.free = self.free.checked_sub(1).ok_or("too many items that have no bytes")?;
                }
            }
        }
    }
}

fn clipped(text: &str) -> String {
    text.chars().take(60).collect()
}

fn turned(value: i64, number: Number) -> Result<Value<'static>, Fault> {
    let bent = |into: &str| format!("{value} has no exact {into}");
    Ok(match number {
        Number::Long => Value::Long(value),
        Number::Float => {
            let float = value as f32;
            if float as i128 != i128::from(value) {
                return Err(bent("float"));
            }
            Value::Float(float)
        }
        Number::Double => {
            let double = value as f64;
            if double as i128 != i128::from(value) {
                return Err(bent("double"));
            }
            Value::Double(double)
        }
        Number::Finer(times) => Value::Long(value.checked_mul(times).ok_or_else(|| bent("value in a finer unit"))?),
        Number::Coarser(parts) if value % parts == 0 => Value::Long(value / parts),
        Number::Coarser(_) => return Err(bent("value in a coarser unit")),
    })
}
