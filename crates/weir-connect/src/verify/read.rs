//! A table that is read by its connector's own reader and hashed here, of either side.
//!
//! Every question reads the whole stream, unless the system can be asked for keys or for hashes ([`VerifyRows`]). Rows of chunks are sorted by reading the
//! stream once for every few hundred thousand of them, in the order of their chunks: memory does not grow with the stream.
//!
//! Rows may be changed on the way ([`RowChange`]): then it is the changed rows that are compared. What the reader or the change sets aside (dead letters) is in
//! no sink, and not here either.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;

use arrow::array::{Array, AsArray, BooleanArray, RecordBatch, UInt32Array};
use arrow::compute::{cast, concat_batches, filter_record_batch, take_record_batch};
use arrow::datatypes::{DataType, Schema, SchemaRef};
use arrow::error::ArrowError;
use async_trait::async_trait;
use futures::StreamExt;
use serde_json::Value;
use weir_error::{Error, Result};

use super::canonical::{self, Canonical};
use super::{
    Comparison, Form, Found, Gathered, Key, Line, Looked, Mend, Sums, VerifyColumn, VerifyRows, VerifySink, VerifySource,
    VerifyTable, VerifyView,
};
use crate::source::{Event, ReadRequest, Source, StreamReader};

/// Rows that are sorted at once.
const SORTED: u64 = 300_000;
/// Keys that a system is asked for at once.
const TOGETHER: usize = 500;

/// What a pipeline makes of rows on their way.
pub trait RowChange: Send + Sync {
    /// The rows that go on.
    fn apply(&self, rows: &RecordBatch) -> Result<RecordBatch>;

    /// The same, with the place in `rows` of each.
    fn traced(&self, rows: &RecordBatch) -> Result<(RecordBatch, Vec<usize>)>;

    /// The column of the stream that a column of the result is, if nothing but its name was changed.
    fn origin(&self, column: &str) -> Option<String>;
}

/// A system that can do nothing but be read.
struct Plain;

#[async_trait]
impl VerifyRows for Plain {}

/// See the module.
pub struct Read {
    source: Arc<dyn Source>,
    stream: String,
    place: String,
    schema: SchemaRef,
    columns: Vec<VerifyColumn>,
    rows: Option<u64>,
    system: Arc<dyn VerifyRows>,
    change: Option<Arc<dyn RowChange>>,
    mark: Option<String>,
}

impl Read {
    /// A stream of a source; `schema` is that of the rows as they are compared.
    pub fn new(source: Arc<dyn Source>, stream: &str, place: String, schema: SchemaRef, rows: Option<u64>) -> Self {
        let columns = schema.fields().iter().filter_map(|field| {
            let form = canonical::form(field)?;
            Some(VerifyColumn { name: field.name().clone(), form, kind: field.data_type().to_string() })
        });
        Self {
            columns: columns.collect(),
            source,
            stream: stream.into(),
            place,
            schema,
            rows,
            system: Arc::new(Plain),
            change: None,
            mark: None,
        }
    }

    /// What the system can do besides.
    #[must_use]
    pub fn with(mut self, system: Arc<dyn VerifyRows>) -> Self {
        self.system = system;
        self
    }

    /// What becomes of the rows before they are compared.
    #[must_use]
    pub fn through(mut self, change: Option<Arc<dyn RowChange>>) -> Self {
        self.change = change;
        self
    }

    /// Rows in which this column is true are not there. The system's own hashes leave them out by themselves.
    #[must_use]
    pub fn without(mut self, mark: Option<&str>) -> Self {
        self.mark = mark.map(str::to_owned);
        self
    }

    /// Columns whose form is another one than their type's.
    #[must_use]
    pub fn meaning(mut self, form: impl Fn(&str) -> Option<Form>) -> Self {
        for column in &mut self.columns {
            if let Some(form) = form(&column.name) {
                column.form = form;
            }
        }
        self
    }

    async fn open(&self) -> Result<Rows> {
        let request = ReadRequest { stream: self.stream.clone(), parallelism: 1, ..ReadRequest::default() };
        let reader: Arc<dyn StreamReader> = Arc::from(self.source.open(request).await?);
        Ok(Rows { reader, change: self.change.clone(), mark: self.mark.clone() })
    }

    /// The key's columns in the stream, if rows can be asked for by them.
    fn names(&self, comparison: &Comparison) -> Option<Vec<String>> {
        if !comparison.keyed || !self.system.seeks() {
            return None;
        }
        let origin = |name: &str| match &self.change {
            Some(change) => change.origin(name),
            None => Some(name.to_owned()),
        };
        comparison.key_names().map(origin).collect()
    }

    /// The rows of these keys, with the digest and the version of each.
    async fn gather(&self, comparison: &Comparison, keys: &[Key]) -> Result<(Vec<Part>, Value)> {
        let wanted: HashSet<u128> = keys.iter().map(|key| key.digest).collect();
        let mut parts = Vec::new();
        let Some(names) = self.names(comparison) else {
            let rows = self.open().await?;
            rows.read(|batch| {
                parts.extend(Part::of(&batch, None, comparison, &wanted)?);
                Ok(())
            })
            .await?;
            return Ok((parts, Value::Null));
        };
        let Gathered { rows, versions, point } = self.system.of_keys(&names, keys).await?;
        let (rows, places) = unmarked(&rows, self.mark.as_deref())?;
        let (rows, places) = match &self.change {
            Some(change) => {
                let (rows, origins) = change.traced(&rows)?;
                (rows, origins.into_iter().map(|at| places.get(at).copied().unwrap_or(at)).collect())
            }
            None => (rows, places),
        };
        let versions = versions
            .map(|versions| places.iter().map(|at| versions.get(*at).cloned().unwrap_or_default()).collect::<Vec<String>>());
        parts.extend(Part::of(&rows, versions.as_deref(), comparison, &wanted)?);
        Ok((parts, point))
    }
}

/// Rows that were asked for.
struct Part {
    rows: RecordBatch,
    digests: Vec<u128>,
    versions: Option<Vec<String>>,
}

impl Part {
    fn of(
        batch: &RecordBatch,
        versions: Option<&[String]>,
        comparison: &Comparison,
        wanted: &HashSet<u128>,
    ) -> Result<Option<Self>> {
        let mut forms = Canonical::new(batch, comparison)?;
        let (mut places, mut digests) = (Vec::new(), Vec::new());
        for row in 0..batch.num_rows() {
            let key = forms.key(row);
            if wanted.contains(&key) {
                places.extend(u32::try_from(row).ok());
                digests.push(key);
            }
        }
        if digests.is_empty() {
            return Ok(None);
        }
        let versions = versions.map(|all| places.iter().map(|at| all.get(*at as usize).cloned().unwrap_or_default()).collect());
        let rows = take_record_batch(batch, &UInt32Array::from(places)).map_err(broken)?;
        Ok(Some(Self { rows, digests, versions }))
    }
}

/// The rows that are not marked, and where they were.
fn unmarked(batch: &RecordBatch, mark: Option<&str>) -> Result<(RecordBatch, Vec<usize>)> {
    let Some(marked) = mark.and_then(|mark| batch.column_by_name(mark)) else {
        return Ok((batch.clone(), (0..batch.num_rows()).collect()));
    };
    let marked = cast(marked, &DataType::Boolean).map_err(broken)?;
    let marked = marked.as_boolean();
    let kept: Vec<bool> = (0..batch.num_rows()).map(|row| marked.is_null(row) || !marked.value(row)).collect();
    let places = kept.iter().enumerate().filter(|(_, kept)| **kept).map(|(row, _)| row).collect();
    Ok((filter_record_batch(batch, &BooleanArray::from(kept)).map_err(broken)?, places))
}

fn broken(error: ArrowError) -> Error {
    Error::internal("rows cannot be put together").caused_by(error)
}

/// An opened reader: one consistent moment, as often as it is read.
struct Rows {
    reader: Arc<dyn StreamReader>,
    change: Option<Arc<dyn RowChange>>,
    mark: Option<String>,
}

impl Rows {
    /// Gives every batch to `each`.
    async fn read(&self, mut each: impl FnMut(RecordBatch) -> Result<()> + Send) -> Result<()> {
        for split in self.reader.splits() {
            let mut events = self.reader.read(&split, None).await?;
            while let Some(event) = events.next().await {
                let Event::Batch(batch) = event? else { continue };
                let batch = match &self.mark {
                    Some(mark) => unmarked(&batch.records, Some(mark))?.0,
                    None => batch.records,
                };
                each(match &self.change {
                    Some(change) => change.apply(&batch)?,
                    None => batch,
                })?;
            }
        }
        Ok(())
    }
}

/// The number of a key's chunk.
pub fn chunk(key: u128, bits: u8) -> u32 {
    if bits == 0 { 0 } else { (key >> (128 - u32::from(bits))) as u32 }
}

/// Chunks in their order, a few at a time: those that have about so many rows together.
pub fn next_chunks(chunks: &mut VecDeque<u32>, rows: impl Fn(u32) -> u64, most: u64) -> HashSet<u32> {
    let (mut wanted, mut count) = (HashSet::new(), 0);
    while let Some(next) = chunks.front() {
        let more = rows(*next);
        if count > 0 && count + more > most {
            break;
        }
        count += more;
        wanted.extend(chunks.pop_front());
    }
    wanted
}

struct ReadView {
    rows: Rows,
    system: Option<Arc<dyn VerifyRows>>,
    comparison: Arc<Comparison>,
    bits: u8,
    /// Rows of each chunk, once they are known.
    sums: BTreeMap<u32, Sums>,
    chunks: VecDeque<u32>,
}

#[async_trait]
impl VerifyView for ReadView {
    async fn sums(&mut self, bits: u8) -> Result<BTreeMap<u32, Sums>> {
        let (mut sums, comparison) = (BTreeMap::<u32, Sums>::new(), self.comparison.clone());
        let done = match &self.system {
            Some(system) => {
                let mut each = |key: u128, row: u128| sums.entry(chunk(key, bits)).or_default().add(row);
                system.digests(&comparison, &mut each).await?
            }
            None => false,
        };
        if !done {
            self.rows
                .read(|batch| {
                    let mut forms = Canonical::new(&batch, &comparison)?;
                    for row in 0..batch.num_rows() {
                        sums.entry(chunk(forms.key(row), bits)).or_default().add(forms.row(row));
                    }
                    Ok(())
                })
                .await?;
        }
        self.sums = sums.clone();
        Ok(sums)
    }

    async fn open(&mut self, bits: u8, chunks: &[u32]) -> Result<()> {
        self.bits = bits;
        self.chunks = chunks.iter().copied().collect();
        self.chunks.make_contiguous().sort_unstable();
        Ok(())
    }

    async fn next(&mut self) -> Result<Vec<Line>> {
        while !self.chunks.is_empty() {
            let sums = &self.sums;
            let wanted = next_chunks(&mut self.chunks, |chunk| sums.get(&chunk).map_or(0, |sums| sums.rows), SORTED);
            let (mut lines, comparison, bits) = (Vec::new(), self.comparison.clone(), self.bits);
            self.rows
                .read(|batch| {
                    let mut forms = Canonical::new(&batch, &comparison)?;
                    for row in 0..batch.num_rows() {
                        let digest = forms.key(row);
                        if wanted.contains(&chunk(digest, bits)) {
                            lines.push(Line { key: Key { digest, values: forms.values(row)? }, row: forms.row(row) });
                        }
                    }
                    Ok(())
                })
                .await?;
            if !lines.is_empty() {
                lines.sort_unstable_by_key(|line| (line.key.digest, line.row));
                return Ok(lines);
            }
        }
        Ok(Vec::new())
    }
}

#[async_trait]
impl VerifyTable for Read {
    fn place(&self) -> String {
        self.place.clone()
    }

    fn columns(&self) -> &[VerifyColumn] {
        &self.columns
    }

    fn computes(&self, column: &str, form: Form) -> bool {
        self.schema.field_with_name(column).is_ok_and(|field| canonical::computable(field.data_type(), form))
    }

    fn versioned(&self) -> bool {
        self.system.versioned()
    }

    fn estimated_rows(&self) -> Option<u64> {
        self.rows
    }

    async fn view(&self, comparison: &Arc<Comparison>, _workers: usize) -> Result<Box<dyn VerifyView>> {
        let rows = self.open().await?;
        let system = self.change.is_none().then(|| self.system.clone());
        let comparison = comparison.clone();
        Ok(Box::new(ReadView { rows, system, comparison, bits: 0, sums: BTreeMap::new(), chunks: VecDeque::new() }))
    }

    fn together(&self) -> usize {
        if self.system.seeks() { TOGETHER } else { usize::MAX }
    }

    async fn look(&self, comparison: &Comparison, keys: &[Key]) -> Result<Looked> {
        let (parts, point) = self.gather(comparison, keys).await?;
        let mut found = Vec::new();
        for part in parts {
            let mut forms = Canonical::new(&part.rows, comparison)?;
            for (row, key) in part.digests.iter().enumerate() {
                let hash = forms.row(row);
                let version = match &part.versions {
                    Some(versions) => versions.get(row).cloned().unwrap_or_default(),
                    None => format!("{hash:032x}"),
                };
                found.push(Found { key: *key, row: hash, version, forms: forms.forms(row) });
            }
        }
        Ok(Looked { rows: found, point })
    }
}

#[async_trait]
impl VerifySource for Read {
    fn reached(&self, position: &Value, point: &Value) -> bool {
        self.system.reached(position, point)
    }

    async fn nudge(&self) {
        self.system.nudge().await;
    }

    async fn fetch(&self, comparison: &Comparison, keys: &[Key]) -> Result<(RecordBatch, Vec<u128>)> {
        let (parts, _) = self.gather(comparison, keys).await?;
        let digests = parts.iter().flat_map(|part| part.digests.iter().copied()).collect();
        // Readers may say more of a column than the plan does.
        let whole = match parts.first() {
            Some(first) => concat_batches(&first.rows.schema(), parts.iter().map(|part| &part.rows)).map_err(broken)?,
            None => RecordBatch::new_empty(self.schema.clone()),
        };
        let places: HashMap<String, usize> =
            whole.schema().fields().iter().enumerate().map(|(at, field)| (field.name().clone(), at)).collect();
        let carried: Vec<usize> = comparison.carried.iter().filter_map(|name| places.get(name).copied()).collect();
        let rows = whole.project(&carried).map_err(broken)?;
        // The sink is told what the plan says of the columns, if it is the same.
        let known: Option<Vec<_>> =
            rows.schema().fields().iter().map(|field| self.schema.field_with_name(field.name()).ok().cloned()).collect();
        let told = known.and_then(|fields| RecordBatch::try_new(Arc::new(Schema::new(fields)), rows.columns().to_vec()).ok());
        Ok((told.unwrap_or(rows), digests))
    }
}

#[async_trait]
impl VerifySink for Read {
    fn holds(&self, column: &VerifyColumn, stream: Form) -> Form {
        self.system.holds(column, stream)
    }

    async fn progress(&self, pipeline: &str) -> Result<Vec<Value>> {
        self.system.progress(pipeline).await
    }

    async fn hold(&self, pipeline: &str, comparison: &Comparison) -> Result<Box<dyn Mend>> {
        self.system.hold(pipeline, comparison).await
    }
}
