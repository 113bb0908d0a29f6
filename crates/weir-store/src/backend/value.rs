//! Parameters of a statement, and rows read by position; the same for both databases.

use chrono::{DateTime, Utc};
use serde::de::DeserializeOwned;
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{Arguments, Row as _};
use weir_error::{Error, Result};

use crate::fault;
use crate::model::{
    AlertId, ConnectionId, JobId, PrincipalId, RuleId, RunId, SealedSecret, SilenceId, SubscriptionId, TenantId, TokenId,
};

/// A bound parameter. NULL has a type, because PostgreSQL wants one.
#[derive(Debug, Clone)]
pub(crate) enum Value {
    Int(Option<i64>),
    Float(Option<f64>),
    Text(Option<String>),
    Blob(Option<Vec<u8>>),
}

/// The parameters of a statement, in the order of `$1`, `$2`, ….
macro_rules! args {
    ($($value:expr),* $(,)?) => { vec![$($crate::backend::Value::from($value)),*] };
}
pub(crate) use args;

macro_rules! ids {
    ($($id:ty),*) => {$(
        impl From<&$id> for Value {
            fn from(id: &$id) -> Self {
                Self::Text(Some(id.as_str().to_owned()))
            }
        }
        impl From<Option<&$id>> for Value {
            fn from(id: Option<&$id>) -> Self {
                Self::Text(id.map(|id| id.as_str().to_owned()))
            }
        }
    )*};
}
ids!(AlertId, ConnectionId, JobId, PrincipalId, RuleId, RunId, SilenceId, SubscriptionId, TenantId, TokenId);

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(Some(text.to_owned()))
    }
}
impl From<&String> for Value {
    fn from(text: &String) -> Self {
        Self::Text(Some(text.clone()))
    }
}
impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(Some(text))
    }
}
impl From<Option<String>> for Value {
    fn from(text: Option<String>) -> Self {
        Self::Text(text)
    }
}
impl From<Option<&str>> for Value {
    fn from(text: Option<&str>) -> Self {
        Self::Text(text.map(str::to_owned))
    }
}
impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Int(Some(number))
    }
}
impl From<Option<i64>> for Value {
    fn from(number: Option<i64>) -> Self {
        Self::Int(number)
    }
}
impl From<u32> for Value {
    fn from(number: u32) -> Self {
        Self::Int(Some(number.into()))
    }
}
impl From<u64> for Value {
    /// Counts above 2^63 are kept as 2^63 - 1.
    fn from(number: u64) -> Self {
        Self::Int(Some(i64::try_from(number).unwrap_or(i64::MAX)))
    }
}
impl From<bool> for Value {
    fn from(flag: bool) -> Self {
        Self::Int(Some(flag.into()))
    }
}
impl From<f64> for Value {
    fn from(number: f64) -> Self {
        Self::Float(Some(number))
    }
}
impl From<&[u8]> for Value {
    fn from(bytes: &[u8]) -> Self {
        Self::Blob(Some(bytes.to_vec()))
    }
}
impl From<&SealedSecret> for Value {
    fn from(sealed: &SealedSecret) -> Self {
        Self::Blob(Some(sealed.0.clone()))
    }
}
impl From<Option<&SealedSecret>> for Value {
    fn from(sealed: Option<&SealedSecret>) -> Self {
        Self::Blob(sealed.map(|sealed| sealed.0.clone()))
    }
}
impl From<DateTime<Utc>> for Value {
    fn from(time: DateTime<Utc>) -> Self {
        Self::Int(Some(time.timestamp_micros()))
    }
}
impl From<Option<DateTime<Utc>>> for Value {
    fn from(time: Option<DateTime<Utc>>) -> Self {
        Self::Int(time.map(|time| time.timestamp_micros()))
    }
}

/// PostgreSQL cannot hold U+0000 in a text; neither database shall.
fn text(text: &Option<String>) -> Result<()> {
    match text {
        Some(text) if text.contains('\0') => Err(fault::refused("a text with the character U+0000 cannot be stored")),
        _ => Ok(()),
    }
}

/// Whether each of the values can be kept.
pub(super) fn storable(values: &[Value]) -> Result<()> {
    values.iter().try_for_each(|value| match value {
        Value::Text(value) => text(value),
        _ => Ok(()),
    })
}

fn bound(result: Result<(), sqlx::error::BoxDynError>) -> Result<()> {
    result.map_err(|error| fault::database(sqlx::Error::Encode(error)))
}

pub(super) fn sqlite(values: Vec<Value>) -> Result<SqliteArguments> {
    let mut arguments = SqliteArguments::default();
    for value in values {
        bound(match value {
            Value::Int(value) => arguments.add(value),
            Value::Float(value) => arguments.add(value),
            Value::Text(value) => {
                text(&value)?;
                arguments.add(value)
            }
            Value::Blob(value) => arguments.add(value),
        })?;
    }
    Ok(arguments)
}

pub(super) fn postgres(values: Vec<Value>) -> Result<PgArguments> {
    let mut arguments = PgArguments::default();
    for value in values {
        bound(match value {
            Value::Int(value) => arguments.add(value),
            Value::Float(value) => arguments.add(value),
            Value::Text(value) => {
                text(&value)?;
                arguments.add(value)
            }
            Value::Blob(value) => arguments.add(value),
        })?;
    }
    Ok(arguments)
}

/// A row of either database.
pub(crate) enum Row {
    Sqlite(SqliteRow),
    Postgres(PgRow),
}

impl Row {
    /// Its columns, to be taken from left to right.
    pub(crate) fn columns(&self) -> Columns<'_> {
        Columns { row: self, at: 0 }
    }
}

/// The columns of a row, taken from left to right, as the statement names them.
pub(crate) struct Columns<'r> {
    row: &'r Row,
    at: usize,
}

macro_rules! take {
    ($self:ident, $type:ty) => {{
        let at = $self.at;
        $self.at += 1;
        match $self.row {
            Row::Sqlite(row) => row.try_get_unchecked::<Option<$type>, _>(at),
            Row::Postgres(row) => row.try_get_unchecked::<Option<$type>, _>(at),
        }
        .map_err(|error| fault::stored(error.to_string()))
    }};
}

impl<'r> Columns<'r> {
    fn some<T>(&self, value: Option<T>) -> Result<T> {
        value.ok_or_else(|| fault::stored(format!("column {} is NULL", self.at)))
    }
    pub(crate) fn opt_int(&mut self) -> Result<Option<i64>> {
        take!(self, i64)
    }
    pub(crate) fn int(&mut self) -> Result<i64> {
        let value = self.opt_int()?;
        self.some(value)
    }
    /// A count.
    pub(crate) fn count(&mut self) -> Result<u64> {
        let value = self.int()?;
        u64::try_from(value).map_err(|_| fault::stored(format!("{value} is not a count")))
    }
    pub(crate) fn flag(&mut self) -> Result<bool> {
        Ok(self.int()? != 0)
    }
    pub(crate) fn float(&mut self) -> Result<f64> {
        let value = take!(self, f64)?;
        self.some(value)
    }
    pub(crate) fn opt_str(&mut self) -> Result<Option<&'r str>> {
        take!(self, &'r str)
    }
    pub(crate) fn str(&mut self) -> Result<&'r str> {
        let value = self.opt_str()?;
        self.some(value)
    }
    pub(crate) fn opt_text(&mut self) -> Result<Option<String>> {
        Ok(self.opt_str()?.map(str::to_owned))
    }
    pub(crate) fn text(&mut self) -> Result<String> {
        self.str().map(str::to_owned)
    }
    pub(crate) fn id<T: From<String>>(&mut self) -> Result<T> {
        self.text().map(T::from)
    }
    pub(crate) fn opt_id<T: From<String>>(&mut self) -> Result<Option<T>> {
        Ok(self.opt_text()?.map(T::from))
    }
    pub(crate) fn opt_blob(&mut self) -> Result<Option<Vec<u8>>> {
        take!(self, Vec<u8>)
    }
    pub(crate) fn blob(&mut self) -> Result<Vec<u8>> {
        let value = self.opt_blob()?;
        self.some(value)
    }
    pub(crate) fn opt_time(&mut self) -> Result<Option<DateTime<Utc>>> {
        self.opt_int()?.map(from_micros).transpose()
    }
    pub(crate) fn time(&mut self) -> Result<DateTime<Utc>> {
        from_micros(self.int()?)
    }
    /// A JSON text.
    pub(crate) fn json<T: DeserializeOwned>(&mut self) -> Result<T> {
        parse(self.str()?)
    }
    pub(crate) fn opt_json<T: DeserializeOwned>(&mut self) -> Result<Option<T>> {
        self.opt_str()?.map(parse).transpose()
    }
    /// A word of an enum that serde writes as a string.
    pub(crate) fn word<T: DeserializeOwned>(&mut self) -> Result<T> {
        word(self.str()?)
    }
}

/// A word of an enum that serde writes as a string.
pub(crate) fn word<T: DeserializeOwned>(text: &str) -> Result<T> {
    use serde::de::IntoDeserializer;
    let reader: serde::de::value::StrDeserializer<'_, serde::de::value::Error> = text.into_deserializer();
    T::deserialize(reader).map_err(|error| fault::stored(error.to_string()))
}

fn parse<T: DeserializeOwned>(text: &str) -> Result<T> {
    serde_json::from_str(text).map_err(|error| fault::stored(error.to_string()))
}

/// Microseconds since 1970 as a time.
pub(crate) fn from_micros(micros: i64) -> Result<DateTime<Utc>> {
    DateTime::from_timestamp_micros(micros).ok_or_else(|| fault::stored(format!("{micros} is not a time")))
}

/// A time as the database keeps it: whole microseconds.
pub(crate) fn kept(time: DateTime<Utc>) -> DateTime<Utc> {
    DateTime::from_timestamp_micros(time.timestamp_micros()).unwrap_or(time)
}

/// Now, as the database keeps it.
pub(crate) fn now() -> DateTime<Utc> {
    kept(Utc::now())
}

/// A value as JSON text.
pub(crate) fn json<T: serde::Serialize>(value: &T) -> Result<String> {
    serde_json::to_string(value).map_err(|error| Error::internal("a value has no JSON form").because(error))
}
