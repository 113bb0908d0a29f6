//! The rows that changes amount to: of each key the last one, by `_seq`.
//!
//! The files are read once for each version of the manifest. The forms of every change go into temporary files, divided by the hash of the key so that one
//! of them fits into memory; a part is then sorted and folded whenever it is asked for. So memory does not grow with the number of changes.
//!
//! A value that the log left out (`_absent`) is that of the change before. A table that was emptied (`t`) has no row that was written earlier.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::fs::File;
use std::io::{BufReader, BufWriter, Seek as _};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type, SchemaRef};
use async_trait::async_trait;
use futures::StreamExt;
use serde_json::Value;
use tokio::sync::Mutex;
use weir_connect::verify::canonical::{self, Canonical};
use weir_connect::verify::read::chunk;
use weir_connect::verify::{
    Comparison, Form, Found, Key, Line, Looked, Mend, Sums, VerifyColumn, VerifyRows, VerifySink, VerifyStream, VerifyTable,
    VerifyView,
};
use weir_connect::{Event, ReadRequest, Source};
use weir_error::{Error, Kind, Result};

use super::{Lake, Written};

/// About so many changes are sorted in memory.
const SORTED: u64 = 100_000;
/// At most so many files are open.
const MOST_BITS: u8 = 8;
/// The columns that say what happened.
const OURS: [&str; 5] = ["_op", "_source_ts", "_position", "_absent", "_seq"];

/// A folder of changes, as the table that they amount to.
pub(super) struct Changes {
    lake: Arc<Lake>,
    written: Written,
    stream: String,
    columns: Vec<VerifyColumn>,
    schema: SchemaRef,
    rows: Option<u64>,
    known: Mutex<Option<Arc<Spilled>>>,
}

/// The changes of one version of the manifest.
struct Spilled {
    version: u64,
    comparison: Comparison,
    bits: u8,
    /// By the first bits of the key's digest.
    parts: Vec<File>,
    /// Number of the change that emptied the table last.
    emptied: i64,
}

/// One change of a row.
struct Change {
    key: u128,
    seq: i64,
    deleted: bool,
    /// `None`: the log did not have it.
    forms: Vec<Option<Option<String>>>,
    values: Vec<Option<String>>,
}

/// A row.
struct Row {
    key: Key,
    seq: i64,
    forms: Vec<Option<String>>,
    hash: u128,
}

impl Changes {
    pub(super) fn new(
        lake: Arc<Lake>,
        written: Written,
        of: &VerifyStream,
        schema: &SchemaRef,
        rows: Option<u64>,
    ) -> Result<Self> {
        if of.key.is_empty() {
            return Err(Error::new("WEIR-FILE-121", Kind::Unsupported, "changes without a key amount to no table")
                .at(lake.dataset.place.clone())
                .hint("give the sink a `key`"));
        }
        let columns = schema.fields().iter().filter(|field| !OURS.contains(&field.name().as_str())).filter_map(|field| {
            let form = canonical::form(field)?;
            Some(VerifyColumn { name: field.name().clone(), form, kind: field.data_type().to_string() })
        });
        Ok(Self {
            lake,
            written,
            stream: of.stream.clone(),
            columns: columns.collect(),
            schema: schema.clone(),
            rows,
            known: Mutex::new(None),
        })
    }

    /// The changes as they are now.
    async fn spilled(&self, comparison: &Comparison) -> Result<Arc<Spilled>> {
        let mut known = self.known.lock().await;
        // Before the files: what is read is not older.
        let manifest = self.lake.manifest().await?.unwrap_or_default();
        if let Some(spilled) =
            known.as_ref().filter(|spilled| spilled.version == manifest.version && spilled.comparison == *comparison)
        {
            return Ok(spilled.clone());
        }
        *known = None;
        let changes: u64 = manifest.files.iter().map(|file| file.rows).sum();
        let bits = (changes / SORTED).max(1).next_power_of_two().trailing_zeros();
        let bits = u8::try_from(bits).unwrap_or(MOST_BITS).min(MOST_BITS);
        let mut parts = (0..1_usize << bits).map(|_| Ok(BufWriter::new(tempfile::tempfile()?))).collect::<Result<Vec<_>>>()?;
        let mut emptied = 0;
        let request = ReadRequest { stream: self.stream.clone(), parallelism: 1, ..ReadRequest::default() };
        let reader = self.lake.open(request).await?;
        for split in reader.splits() {
            let mut events = reader.read(&split, None).await?;
            while let Some(event) = events.next().await {
                match event? {
                    Event::Batch(batch) => spill(&batch.records, comparison, bits, &mut parts, &mut emptied)?,
                    Event::Dead(letter) => {
                        return Err(Error::new("WEIR-FILE-122", Kind::Data, "a change in the files cannot be read")
                            .at(letter.place)
                            .because(letter.reason));
                    }
                    _ => {}
                }
            }
        }
        let parts = parts
            .into_iter()
            .map(|part| part.into_inner().map_err(|error| Error::from(error.into_error())))
            .collect::<Result<_>>()?;
        let spilled = Arc::new(Spilled { version: manifest.version, comparison: comparison.clone(), bits, parts, emptied });
        *known = Some(spilled.clone());
        Ok(spilled)
    }
}

fn broken(error: impl std::fmt::Display) -> Error {
    Error::internal("changes in files are not as they are written").because(error)
}

/// Puts every change of a batch into its part.
fn spill(rows: &RecordBatch, comparison: &Comparison, bits: u8, parts: &mut [BufWriter<File>], emptied: &mut i64) -> Result<()> {
    let column = |name: &str, of: &DataType| -> Result<ArrayRef> {
        let column = rows.column_by_name(name).ok_or_else(|| broken(format!("there is no `{name}`")))?;
        cast(column, of).map_err(broken)
    };
    let (ops, seqs) = (column("_op", &DataType::Utf8)?, column("_seq", &DataType::Int64)?);
    let (ops, seqs) = (ops.as_string::<i32>(), seqs.as_primitive::<Int64Type>());
    let absent = rows.column_by_name("_absent").ok_or_else(|| broken("there is no `_absent`"))?;
    let absent = absent.as_list_opt::<i32>().ok_or_else(|| broken("`_absent` is no list"))?;
    let mut forms = Canonical::new(rows, comparison)?;
    for row in 0..rows.num_rows() {
        let (op, seq) = (ops.value(row), seqs.value(row));
        if op == "t" {
            *emptied = seq.max(*emptied);
            continue;
        }
        let missing: HashSet<String> = match absent.is_null(row) {
            true => HashSet::new(),
            false => {
                let names = cast(&absent.value(row), &DataType::Utf8).map_err(broken)?;
                names.as_string::<i32>().iter().flatten().map(str::to_owned).collect()
            }
        };
        let found = forms.forms(row);
        let known = found.into_iter().zip(&comparison.columns).map(|(form, (name, _))| (!missing.contains(name)).then_some(form));
        let change = Change { key: forms.key(row), seq, deleted: op == "d", forms: known.collect(), values: forms.values(row)? };
        let part = parts.get_mut(chunk(change.key, bits) as usize).ok_or_else(|| broken("there is no such part"))?;
        change.write(part)?;
    }
    Ok(())
}

const NULL: u32 = u32::MAX;
const ABSENT: u32 = u32::MAX - 1;

impl Change {
    fn write(&self, out: &mut impl std::io::Write) -> Result<()> {
        out.write_all(&self.key.to_le_bytes())?;
        out.write_all(&self.seq.to_le_bytes())?;
        out.write_all(&[u8::from(self.deleted)])?;
        let values = self.values.iter().map(|value| Some(value.as_ref()));
        for cell in self.forms.iter().map(|form| form.as_ref().map(Option::as_ref)).chain(values) {
            match cell {
                None => out.write_all(&ABSENT.to_le_bytes())?,
                Some(None) => out.write_all(&NULL.to_le_bytes())?,
                Some(Some(text)) => {
                    let length = u32::try_from(text.len()).ok().filter(|length| *length < ABSENT);
                    out.write_all(&length.ok_or_else(|| broken("a key of 4 GiB"))?.to_le_bytes())?;
                    out.write_all(text.as_bytes())?;
                }
            }
        }
        Ok(())
    }

    fn read(from: &mut impl std::io::Read, columns: usize, keys: usize) -> Result<Option<Self>> {
        let mut key = [0; 16];
        match from.read_exact(&mut key) {
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(None),
            done => done?,
        }
        let (mut seq, mut deleted) = ([0; 8], [0; 1]);
        from.read_exact(&mut seq)?;
        from.read_exact(&mut deleted)?;
        let mut cells = |count: usize| -> Result<Vec<Option<Option<String>>>> {
            (0..count)
                .map(|_| {
                    let mut length = [0; 4];
                    from.read_exact(&mut length)?;
                    Ok(match u32::from_le_bytes(length) {
                        ABSENT => None,
                        NULL => Some(None),
                        length => {
                            let mut text = vec![0; length as usize];
                            from.read_exact(&mut text)?;
                            Some(Some(String::from_utf8(text).map_err(broken)?))
                        }
                    })
                })
                .collect()
        };
        let forms = cells(columns)?;
        let values = cells(keys)?.into_iter().map(Option::flatten).collect();
        let (key, seq) = (u128::from_le_bytes(key), i64::from_le_bytes(seq));
        Ok(Some(Self { key, seq, deleted: deleted[0] != 0, forms, values }))
    }
}

impl Spilled {
    /// The rows of a part, ascending by their keys' digests.
    fn rows(&self, part: usize) -> Result<Vec<Row>> {
        let Some(file) = self.parts.get(part) else { return Ok(Vec::new()) };
        let mut file = file.try_clone()?;
        file.rewind()?;
        let mut reader = BufReader::new(file);
        let keys = self.comparison.key.len();
        let mut changes = Vec::new();
        while let Some(change) = Change::read(&mut reader, self.comparison.columns.len(), keys)? {
            if change.seq > self.emptied {
                changes.push(change);
            }
        }
        changes.sort_unstable_by_key(|change| (change.key, change.seq));
        let mut rows = Vec::new();
        for of_key in changes.chunk_by(|one, two| one.key == two.key) {
            let mut forms: Option<Vec<Option<String>>> = None;
            for change in of_key {
                forms = match change.deleted {
                    true => None,
                    false => Some(fold(forms.as_deref(), change)),
                };
            }
            if let (Some(forms), Some(last)) = (forms, of_key.last()) {
                let text: Vec<&str> = forms.iter().map(|form| form.as_deref().unwrap_or("N")).collect();
                let hash = canonical::hash(text.join(",").as_bytes());
                rows.push(Row { key: Key { digest: last.key, values: last.values.clone() }, seq: last.seq, forms, hash });
            }
        }
        Ok(rows)
    }
}

/// The row after a change.
fn fold(before: Option<&[Option<String>]>, change: &Change) -> Vec<Option<String>> {
    let form = |(at, form): (usize, &Option<Option<String>>)| match (form, before.and_then(|before| before.get(at))) {
        (Some(form), _) => form.clone(),
        (None, Some(was)) => was.clone(),
        // Nothing has this form: it differs from whatever it is compared with.
        (None, None) => Some("absent".to_owned()),
    };
    change.forms.iter().enumerate().map(form).collect()
}

struct ChangesView {
    spilled: Arc<Spilled>,
    bits: u8,
    wanted: HashSet<u32>,
    parts: VecDeque<usize>,
}

#[async_trait]
impl VerifyView for ChangesView {
    async fn sums(&mut self, bits: u8) -> Result<BTreeMap<u32, Sums>> {
        let mut sums = BTreeMap::<u32, Sums>::new();
        for part in 0..self.spilled.parts.len() {
            for row in self.spilled.rows(part)? {
                sums.entry(chunk(row.key.digest, bits)).or_default().add(row.hash);
            }
        }
        Ok(sums)
    }

    async fn open(&mut self, bits: u8, chunks: &[u32]) -> Result<()> {
        (self.bits, self.wanted) = (bits, chunks.iter().copied().collect());
        self.parts = (0..self.spilled.parts.len()).collect();
        Ok(())
    }

    async fn next(&mut self) -> Result<Vec<Line>> {
        while let Some(part) = self.parts.pop_front() {
            let rows = self.spilled.rows(part)?.into_iter().filter(|row| self.wanted.contains(&chunk(row.key.digest, self.bits)));
            let lines: Vec<Line> = rows.map(|row| Line { key: row.key, row: row.hash }).collect();
            if !lines.is_empty() {
                return Ok(lines);
            }
        }
        Ok(Vec::new())
    }
}

#[async_trait]
impl VerifyTable for Changes {
    fn place(&self) -> String {
        format!("changes in {}", self.lake.dataset.place)
    }

    fn columns(&self) -> &[VerifyColumn] {
        &self.columns
    }

    fn computes(&self, column: &str, form: Form) -> bool {
        self.schema.field_with_name(column).is_ok_and(|field| canonical::computable(field.data_type(), form))
    }

    fn estimated_rows(&self) -> Option<u64> {
        self.rows
    }

    async fn view(&self, comparison: &Arc<Comparison>, _workers: usize) -> Result<Box<dyn VerifyView>> {
        let spilled = self.spilled(comparison).await?;
        Ok(Box::new(ChangesView { spilled, bits: 0, wanted: HashSet::new(), parts: VecDeque::new() }))
    }

    fn together(&self) -> usize {
        usize::MAX
    }

    async fn look(&self, comparison: &Comparison, keys: &[Key]) -> Result<Looked> {
        let spilled = self.spilled(comparison).await?;
        let wanted: HashSet<u128> = keys.iter().map(|key| key.digest).collect();
        let parts: std::collections::BTreeSet<usize> =
            wanted.iter().map(|digest| chunk(*digest, spilled.bits) as usize).collect();
        let mut rows = Vec::new();
        for part in parts {
            let found = spilled.rows(part)?.into_iter().filter(|row| wanted.contains(&row.key.digest));
            // The number of its last change is a row's version.
            rows.extend(found.map(|row| Found {
                key: row.key.digest,
                row: row.hash,
                version: row.seq.to_string(),
                forms: row.forms,
            }));
        }
        Ok(Looked { rows, point: Value::Null })
    }
}

#[async_trait]
impl VerifySink for Changes {
    async fn progress(&self, pipeline: &str) -> Result<Vec<Value>> {
        self.written.progress(pipeline).await
    }

    async fn hold(&self, pipeline: &str, comparison: &Comparison) -> Result<Box<dyn Mend>> {
        self.written.hold(pipeline, comparison).await
    }
}

/// Key, forms and number of the last change.
#[cfg(test)]
pub(super) type Folded = (Key, Vec<Option<String>>, i64);

/// The rows of one batch of changes.
#[cfg(test)]
pub(super) fn folded(
    rows: &RecordBatch,
    comparison: &Comparison,
    bits: u8,
    parts: &mut Vec<BufWriter<File>>,
) -> Result<Vec<Folded>> {
    let mut emptied = 0;
    spill(rows, comparison, bits, parts, &mut emptied)?;
    let parts = std::mem::take(parts).into_iter().map(|part| part.into_inner().map_err(|error| Error::from(error.into_error())));
    let spilled = Spilled { version: 1, comparison: comparison.clone(), bits, parts: parts.collect::<Result<_>>()?, emptied };
    let mut all = Vec::new();
    for part in 0..spilled.parts.len() {
        all.extend(spilled.rows(part)?.into_iter().map(|row| (row.key, row.forms, row.seq)));
    }
    Ok(all)
}
