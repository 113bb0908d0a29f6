//! A source whose batches went through a row-local beginning: what a query session sees in the place of the source itself.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use futures::StreamExt;
use serde_json::Value;
use weir_connect::{
    Batch, Event, EventStream, Position, ReadRequest, ResumeVerdict, Source, SourceCapabilities, Split, StreamInfo, StreamReader,
};
use weir_error::Result;

use crate::model::{FlowInput, RelationalProgram, RowProgram};

/// The input of a relational program as it expects it: with [`RelationalProgram::prepare`] applied. For readers that only
/// look (preview): rows that are filtered out are not counted, dead letters come as events.
pub fn prepared(input: &FlowInput, index: usize, program: &dyn RelationalProgram) -> (Arc<dyn Source>, StreamInfo) {
    match program.prepare(index) {
        None => (input.source.clone(), input.stream.clone()),
        Some((program, schema)) => {
            let stream = StreamInfo { schema: schema.clone(), ..input.stream.clone() };
            (Arc::new(PreparedSource { inner: input.source.clone(), program, stream: stream.clone() }), stream)
        }
    }
}

struct PreparedSource {
    inner: Arc<dyn Source>,
    program: Arc<dyn RowProgram>,
    stream: StreamInfo,
}

#[async_trait]
impl Source for PreparedSource {
    fn capabilities(&self) -> SourceCapabilities {
        self.inner.capabilities()
    }
    async fn streams(&self) -> Result<Vec<StreamInfo>> {
        Ok(vec![self.stream.clone()])
    }
    async fn open(&self, request: ReadRequest) -> Result<Box<dyn StreamReader>> {
        // The program needs every column, and a limit counts rows after it.
        let request = ReadRequest { columns: None, limit: None, ..request };
        let inner = self.inner.open(request).await?;
        Ok(Box::new(PreparedReader { inner, program: self.program.clone(), schema: self.stream.schema.clone() }))
    }
}

struct PreparedReader {
    inner: Box<dyn StreamReader>,
    program: Arc<dyn RowProgram>,
    schema: SchemaRef,
}

#[async_trait]
impl StreamReader for PreparedReader {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }
    fn splits(&self) -> Vec<Split> {
        self.inner.splits()
    }
    fn verdict(&self) -> ResumeVerdict {
        self.inner.verdict()
    }
    fn state(&self) -> Value {
        self.inner.state()
    }
    async fn read(&self, split: &Split, from: Option<Position>) -> Result<EventStream> {
        let program = self.program.clone();
        let events = self.inner.read(split, from).await?;
        let events = events.flat_map(move |event| futures::stream::iter(through(program.as_ref(), event)));
        Ok(events.boxed())
    }
}

fn through(program: &dyn RowProgram, event: Result<Event>) -> Vec<Result<Event>> {
    let batch = match event {
        Ok(Event::Batch(batch)) => batch,
        other => return vec![other],
    };
    match program.apply(&batch.records) {
        Err(error) => vec![Err(error)],
        Ok(outputs) => {
            let mut events = Vec::new();
            for output in outputs {
                events.extend(output.dead.into_iter().map(|letter| Ok(Event::Dead(letter))));
                events.push(Ok(Event::Batch(Batch { records: output.batch, ..batch.clone() })));
            }
            events
        }
    }
}
