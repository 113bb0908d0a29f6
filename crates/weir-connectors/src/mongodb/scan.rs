//! Reading a collection in the order of `_id`, between bounds.
//!
//! The bounds are those of the index (`min`, `max`), not conditions: `{_id: {$gt: 5}}` compares numbers with numbers only, and would leave out
//! documents whose `_id` is of another type.

use mongodb::Cursor;
use mongodb::bson::{Document, RawDocumentBuf, deserialize_from_slice, doc};
use mongodb::options::Hint;
use weir_connect::{Error, Kind, Result};

use super::bson::{self, Malformed, Value, Writer};
use super::client::Client;
use super::errors::shown;
use super::extjson;
use super::rows::ID;

/// A document `{_id: …}` as canonical text: a bound, and the position inside a split.
pub type Bound = String;

/// What to read.
#[derive(Debug, Clone, Default)]
pub struct Scan {
    /// Condition.
    pub filter: Document,
    /// Fields.
    pub projection: Option<Document>,
    /// From here on, this one included.
    pub from: Option<Bound>,
    /// Up to here, this one excluded.
    pub to: Option<Bound>,
    /// In the order of `_id`; without, as the server likes.
    pub ordered: bool,
    /// At most so many.
    pub limit: Option<u64>,
    /// Per answer.
    pub fetch: Option<u32>,
}

/// A malformed thing that should not be.
pub fn broken(what: &str, Malformed(why): Malformed) -> Error {
    Error::new("WEIR-MONGO-024", Kind::Data, what).because(why)
}

/// Bytes as the driver wants them.
pub fn driver_document(bytes: &[u8]) -> Result<Document> {
    deserialize_from_slice(bytes).map_err(|error| broken("a document cannot be used", Malformed(error.to_string())))
}

/// The bound of a document: its `_id`.
pub fn bound_of(document: &[u8]) -> Result<Bound, Malformed> {
    let id = bson::get(document, ID)?.ok_or_else(|| Malformed("the document has no `_id`".into()))?;
    let mut writer = Writer::default();
    writer.put(ID, id)?;
    extjson::canonical(&writer.finish())
}

/// Whether this document is the one that the bound was made of.
pub fn is_bound(bound: &[u8], document: &[u8]) -> bool {
    match (bson::get(bound, ID), bson::get(document, ID)) {
        (Ok(Some(a)), Ok(Some(b))) => bson::same_key(a, b),
        _ => false,
    }
}

/// A bound as bytes.
pub fn bound_bytes(bound: &str) -> Result<Vec<u8>> {
    extjson::document(bound).map_err(|error| broken("a position is not readable", error))
}

/// Opens the cursor.
pub async fn open(client: &Client, collection: &str, scan: &Scan) -> Result<Cursor<RawDocumentBuf>> {
    let source = client.collection(collection);
    let mut find = source.find(scan.filter.clone()).no_cursor_timeout(true);
    if let Some(projection) = &scan.projection {
        find = find.projection(projection.clone());
    }
    if scan.ordered {
        find = find.sort(doc! { ID: 1 }).hint(Hint::Keys(doc! { ID: 1 }));
    }
    if let Some(from) = &scan.from {
        find = find.min(driver_document(&bound_bytes(from)?)?);
    }
    if let Some(to) = &scan.to {
        find = find.max(driver_document(&bound_bytes(to)?)?);
    }
    if let Some(limit) = scan.limit {
        find = find.limit(i64::try_from(limit).unwrap_or(i64::MAX));
    }
    if let Some(fetch) = scan.fetch {
        find = find.batch_size(fetch);
    }
    find.await.map_err(|error| shown(error, &format!("{}.{collection}", client.place)))
}

/// Bounds that about divide a collection, by a sample of its keys: ascending, none twice.
pub async fn divide(client: &Client, collection: &str, parts: u64) -> Result<Vec<Bound>> {
    if parts < 2 {
        return Ok(Vec::new());
    }
    let size = i64::try_from(parts * 20).unwrap_or(i64::MAX);
    let pipeline = [doc! { "$sample": { "size": size } }, doc! { "$project": { ID: 1 } }, doc! { "$sort": { ID: 1 } }];
    let place = format!("{}.{collection}", client.place);
    let source = client.collection(collection);
    let mut cursor = source
        .aggregate(pipeline)
        .with_type::<RawDocumentBuf>()
        .allow_disk_use(true)
        .await
        .map_err(|error| shown(error, &place))?;
    let mut keys: Vec<Bound> = Vec::new();
    while cursor.advance().await.map_err(|error| shown(error, &place))? {
        if let Ok(bound) = bound_of(cursor.current().as_bytes())
            && keys.last() != Some(&bound)
        {
            keys.push(bound);
        }
    }
    let parts = usize::try_from(parts).unwrap_or(1).min(keys.len());
    let mut bounds: Vec<Bound> = (1..parts).map(|at| keys[at * keys.len() / parts].clone()).collect();
    bounds.dedup();
    Ok(bounds)
}

/// A field's value for a bound of the cursor, by the type of its column.
pub fn cursor_value(writer: &mut Writer, name: &str, kind: super::kinds::Kind, text: &str) -> Result<()> {
    use super::kinds::Kind as K;
    let wrong = || Error::new("WEIR-MONGO-015", Kind::Spec, format!("`{text}` is no value of the cursor"));
    let done = match kind {
        K::Int32 | K::Int64 => writer.put(name, Value::Int64(text.parse().map_err(|_| wrong())?)),
        K::Double => writer.put(name, Value::Double(text.parse().map_err(|_| wrong())?)),
        K::Date => {
            let time = chrono::DateTime::parse_from_rfc3339(text).map_err(|_| wrong())?;
            writer.put(name, Value::Date(time.timestamp_millis()))
        }
        K::ObjectId => writer.put(name, Value::ObjectId(extjson::object_id(text).ok_or_else(wrong)?)),
        K::Text => writer.put(name, Value::String(text)),
        K::Decimal(..) | K::DecimalText => {
            let decimal: mongodb::bson::Decimal128 = text.parse().map_err(|_| wrong())?;
            writer.put(name, Value::Decimal128(decimal.bytes()))
        }
        _ => {
            return Err(wrong()
                .because("the column is of no type that has an order")
                .hint("take a date, a number, an objectId or a string"));
        }
    };
    done.map_err(|error| broken("the cursor cannot be written", error))
}
