//! A source without checksums of its own, or whose rows are changed on the way: its reader's rows, after the pipeline's row program, hashed here.
//!
//! Every question reads the whole stream. Rows of chunks are sorted by reading the stream once for every few hundred thousand of them, in the
//! order of their chunks: memory does not grow with the stream. Rows have no versions; their hash stands for it.
//!
//! Not here: logs. Where such a reader is in a log cannot be said, so it is compared only with a pipeline that stands still.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::Arc;

use arrow::array::{RecordBatch, UInt32Array};
use arrow::compute::{concat_batches, take_record_batch};
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use futures::StreamExt;
use serde_json::Value;
use weir_connect::verify::canonical::{self, Canonical};
use weir_connect::verify::{Comparison, Found, Key, Line, Looked, Sums, VerifyColumn, VerifySource, VerifyTable, VerifyView};
use weir_connect::{Event, ReadRequest, Source, StreamReader};
use weir_error::{Error, Result};
use weir_plan::{FlowInput, FlowOutput, RowProgram};

/// Rows that are sorted at once.
const SORTED: u64 = 300_000;

/// See the module.
pub struct Scan {
    source: Arc<dyn Source>,
    stream: String,
    place: String,
    program: Arc<dyn RowProgram>,
    /// Of the program's outputs.
    output: usize,
    schema: SchemaRef,
    columns: Vec<VerifyColumn>,
    rows: Option<u64>,
}

/// The rows as the sink gets them.
struct Rows {
    reader: Arc<dyn StreamReader>,
    program: Arc<dyn RowProgram>,
    output: usize,
}

impl Rows {
    /// Gives every batch to `each`.
    async fn read(&self, mut each: impl FnMut(RecordBatch) -> Result<()> + Send) -> Result<()> {
        for split in self.reader.splits() {
            let mut events = self.reader.read(&split, None).await?;
            while let Some(event) = events.next().await {
                // What went to the dead letters is in no sink.
                let Event::Batch(batch) = event? else { continue };
                let batch = if self.program.is_identity() {
                    batch.records
                } else {
                    let mut outputs = self.program.apply(&batch.records)?;
                    if self.output >= outputs.len() {
                        return Err(Error::internal("the program has fewer outputs than the flow"));
                    }
                    outputs.swap_remove(self.output).batch
                };
                each(batch)?;
            }
        }
        Ok(())
    }
}

impl Scan {
    /// What a flow gives to one of its outputs.
    pub fn new(input: &FlowInput, program: &Arc<dyn RowProgram>, at: usize, output: &FlowOutput) -> Self {
        let columns = output.schema.fields().iter().filter_map(|field| {
            let form = canonical::form(field)?;
            Some(VerifyColumn { name: field.name().clone(), form, kind: field.data_type().to_string() })
        });
        Self {
            source: input.source.clone(),
            stream: input.stream.name.clone(),
            place: format!("{} (`{}`), read", input.stream.name, input.connector),
            program: program.clone(),
            output: at,
            schema: output.schema.clone(),
            columns: columns.collect(),
            rows: input.stream.estimated_rows,
        }
    }

    async fn open(&self) -> Result<Rows> {
        let request = ReadRequest { stream: self.stream.clone(), parallelism: 1, ..ReadRequest::default() };
        let reader: Arc<dyn StreamReader> = Arc::from(self.source.open(request).await?);
        Ok(Rows { reader, program: self.program.clone(), output: self.output })
    }
}

/// One opened reader: one view.
struct ScanView {
    rows: Rows,
    comparison: Arc<Comparison>,
    bits: u8,
    /// Rows of each chunk, once they are known.
    sums: BTreeMap<u32, Sums>,
    chunks: VecDeque<u32>,
}

fn chunk(key: u128, bits: u8) -> u32 {
    if bits == 0 { 0 } else { (key >> (128 - u32::from(bits))) as u32 }
}

#[async_trait]
impl VerifyView for ScanView {
    async fn sums(&mut self, bits: u8) -> Result<BTreeMap<u32, Sums>> {
        let (mut sums, comparison) = (BTreeMap::<u32, Sums>::new(), self.comparison.clone());
        self.rows
            .read(|batch| {
                let mut forms = Canonical::new(&batch, &comparison)?;
                for row in 0..batch.num_rows() {
                    sums.entry(chunk(forms.key(row), bits)).or_default().add(forms.row(row));
                }
                Ok(())
            })
            .await?;
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
            let (mut wanted, mut count) = (HashSet::new(), 0);
            while let Some(next) = self.chunks.front() {
                let rows = self.sums.get(next).map_or(0, |sums| sums.rows);
                if count > 0 && count + rows > SORTED {
                    break;
                }
                count += rows;
                wanted.extend(self.chunks.pop_front());
            }
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
impl VerifyTable for Scan {
    fn place(&self) -> String {
        self.place.clone()
    }

    fn columns(&self) -> &[VerifyColumn] {
        &self.columns
    }

    fn computes(&self, column: &str, form: weir_connect::verify::Form) -> bool {
        self.schema.field_with_name(column).is_ok_and(|field| canonical::computable(field.data_type(), form))
    }

    fn estimated_rows(&self) -> Option<u64> {
        self.rows
    }

    async fn view(&self, comparison: &Arc<Comparison>, _workers: usize) -> Result<Box<dyn VerifyView>> {
        let rows = self.open().await?;
        let comparison = comparison.clone();
        Ok(Box::new(ScanView { rows, comparison, bits: 0, sums: BTreeMap::new(), chunks: VecDeque::new() }))
    }

    fn together(&self) -> usize {
        usize::MAX
    }

    async fn look(&self, comparison: &Comparison, keys: &[Key]) -> Result<Looked> {
        let wanted: HashSet<u128> = keys.iter().map(|key| key.digest).collect();
        let mut found = Vec::new();
        self.open()
            .await?
            .read(|batch| {
                let mut forms = Canonical::new(&batch, comparison)?;
                for row in 0..batch.num_rows() {
                    let key = forms.key(row);
                    if wanted.contains(&key) {
                        let hash = forms.row(row);
                        found.push(Found { key, row: hash, version: String::new(), forms: forms.forms(row) });
                    }
                }
                Ok(())
            })
            .await?;
        Ok(Looked { rows: found, point: Value::Null })
    }
}

#[async_trait]
impl VerifySource for Scan {
    fn reached(&self, _position: &Value, _point: &Value) -> bool {
        false
    }

    async fn nudge(&self) {}

    async fn fetch(&self, comparison: &Comparison, keys: &[Key]) -> Result<(RecordBatch, Vec<u128>)> {
        let wanted: HashSet<u128> = keys.iter().map(|key| key.digest).collect();
        let (mut parts, mut digests) = (Vec::new(), Vec::new());
        let schema = self.schema.clone();
        self.open()
            .await?
            .read(|batch| {
                let mut forms = Canonical::new(&batch, comparison)?;
                let mut rows = Vec::new();
                for row in 0..batch.num_rows() {
                    let key = forms.key(row);
                    if wanted.contains(&key) {
                        rows.extend(u32::try_from(row).ok());
                        digests.push(key);
                    }
                }
                if !rows.is_empty() {
                    let part = take_record_batch(&batch, &UInt32Array::from(rows)).map_err(broken)?;
                    parts.push(RecordBatch::try_new(schema.clone(), part.columns().to_vec()).map_err(broken)?);
                }
                Ok(())
            })
            .await?;
        let whole = concat_batches(&schema, &parts).map_err(broken)?;
        let compared: Vec<usize> = comparison.columns.iter().filter_map(|(name, _)| schema.index_of(name).ok()).collect();
        Ok((whole.project(&compared).map_err(broken)?, digests))
    }
}

fn broken(error: arrow::error::ArrowError) -> Error {
    Error::internal("rows cannot be put together").caused_by(error)
}
