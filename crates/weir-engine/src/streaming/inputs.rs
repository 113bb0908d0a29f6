//! What a flow reads: its inputs, opened, and the names under which the checkpoint keeps their splits.
//!
//! Ids of splits are unique in their stream. In a flow with several inputs the checkpoint and the sinks know them as `node/id`.

use std::collections::BTreeMap;
use std::sync::Arc;

use weir_connect::{ReadRequest, Resume, ResumeVerdict, Source, Split, SplitProgress, StreamReader};
use weir_error::{Error, Kind, Result};
use weir_plan::{Flow, FlowInput};

use crate::run::RunContext;
use crate::store::{FlowRecord, ReaderRecord};

/// An input, opened.
pub(super) struct Input {
    stream: String,
    source: Arc<dyn Source>,
    pub(super) reader: Arc<dyn StreamReader>,
    /// What stands before the ids of its splits.
    prefix: String,
}

/// A split of an input, to be read.
pub(super) struct Named {
    pub(super) input: usize,
    /// Its id in the checkpoint.
    pub(super) name: String,
    /// As its source knows it.
    pub(super) plain: SplitProgress,
}

impl Named {
    /// What is durable of it is not read again.
    pub(super) fn go_on(&mut self, known: &SplitProgress) {
        let split = Split { id: self.plain.split.id.clone(), ..known.split.clone() };
        self.plain = SplitProgress { split, ..known.clone() };
    }

    /// As the checkpoint knows it.
    pub(super) fn progress(&self) -> SplitProgress {
        let split = Split { id: self.name.clone(), ..self.plain.split.clone() };
        SplitProgress { split, ..self.plain.clone() }
    }
}

/// All inputs of a flow.
pub(super) struct Inputs(Vec<Input>);

impl Inputs {
    /// Opens all of them, to go on where `progress` is; `known`: an attempt before this one has begun to read.
    pub(super) async fn open(
        context: &RunContext,
        flow: &Flow,
        before: Option<FlowRecord>,
        progress: &BTreeMap<String, SplitProgress>,
        known: bool,
    ) -> Result<Self> {
        let records = before.map(|record| record.readers).unwrap_or_default();
        let single = flow.inputs.len() == 1;
        let mut inputs = Vec::new();
        for input in &flow.inputs {
            let prefix = if single { String::new() } else { format!("{}/", input.node) };
            let state = records.iter().find(|record| single || record.node == input.node).map(|record| record.state.clone());
            let own = |part: &SplitProgress| plain(part, &prefix);
            let resume = known.then(|| Resume {
                reader_state: state.unwrap_or_default(),
                progress: progress.values().filter_map(own).collect(),
            });
            let reader: Arc<dyn StreamReader> = Arc::from(input.source.open(request(context, input, resume)).await?);
            if let ResumeVerdict::StartOver { reason } = reader.verdict() {
                return Err(Error::new(
                    "WEIR-STREAM-002",
                    Kind::Conflict,
                    format!("the stream cannot be gone on with: {reason}"),
                )
                .at(format!("stream `{}`", flow.name))
                .hint("`weir state reset` begins anew, and gives the sinks again what the source still has"));
            }
            inputs.push(Input { stream: input.stream.name.clone(), source: input.source.clone(), reader, prefix });
        }
        Ok(Self(inputs))
    }

    pub(super) fn reader(&self, input: usize) -> Result<Arc<dyn StreamReader>> {
        let found = self.0.get(input).map(|input| input.reader.clone());
        found.ok_or_else(|| Error::internal("a split of an input that there is not"))
    }

    /// What the next attempt must know of the readers.
    pub(super) fn records(&self, flow: &Flow) -> Vec<ReaderRecord> {
        let one = |(input, opened): (&FlowInput, &Input)| ReaderRecord {
            node: input.node.clone(),
            state: opened.reader.state(),
            next_state: None,
            as_of: opened.reader.as_of(),
        };
        flow.inputs.iter().zip(&self.0).map(one).collect()
    }

    /// The splits there were when they were opened, from their beginning.
    pub(super) fn splits(&self) -> Vec<Named> {
        self.0
            .iter()
            .enumerate()
            .flat_map(|(at, input)| input.reader.splits().into_iter().map(move |split| input.named(at, split)))
            .collect()
    }

    /// The splits there are by now.
    pub(super) async fn look(&self) -> Result<Vec<Named>> {
        let mut found = Vec::new();
        for (at, input) in self.0.iter().enumerate() {
            found.extend(input.reader.look().await?.into_iter().map(|split| input.named(at, split)));
        }
        Ok(found)
    }

    /// The same by split, those that are furthest behind; one that has nothing left is not told.
    pub(super) fn furthest_behind(&self) -> BTreeMap<String, u64> {
        /// Told with every progress: a topic may have thousands.
        const MOST: usize = 16;
        let mut all: Vec<(String, u64)> = Vec::new();
        for input in &self.0 {
            let behind = input.reader.lags().into_iter().filter(|(_, rows)| *rows > 0);
            all.extend(behind.map(|(id, rows)| (format!("{}{id}", input.prefix), rows)));
        }
        all.sort_by_key(|(_, rows)| std::cmp::Reverse(*rows));
        all.truncate(MOST);
        all.into_iter().collect()
    }

    /// About how many rows the sources have that were not read, if all of them know.
    pub(super) fn lag(&self) -> Option<u64> {
        self.0.iter().map(|input| input.reader.lag()).sum()
    }

    /// For how long the oldest row that was not read has been there, as far as the sources know.
    pub(super) fn lag_ms(&self) -> Option<u64> {
        self.0.iter().filter_map(|input| input.reader.lag_ms()).max()
    }

    /// Tells the sources what is durable.
    pub(super) async fn committed<'a>(&self, durable: impl Iterator<Item = &'a SplitProgress> + Clone) -> Result<()> {
        for input in &self.0 {
            let progress: Vec<SplitProgress> = durable.clone().filter_map(|part| plain(part, &input.prefix)).collect();
            if !progress.is_empty() {
                input.source.committed(&input.stream, &progress).await?;
            }
        }
        Ok(())
    }
}

impl Input {
    fn named(&self, input: usize, split: Split) -> Named {
        let name = format!("{}{}", self.prefix, split.id);
        Named { input, name, plain: SplitProgress { split, position: None, done: false, rows: 0 } }
    }
}

/// A part of the checkpoint as the input with this prefix knows it, if it is one of its own.
fn plain(part: &SplitProgress, prefix: &str) -> Option<SplitProgress> {
    let id = part.split.id.strip_prefix(prefix)?.to_owned();
    Some(SplitProgress { split: Split { id, ..part.split.clone() }, ..part.clone() })
}

fn request(context: &RunContext, input: &FlowInput, resume: Option<Resume>) -> ReadRequest {
    ReadRequest {
        stream: input.stream.name.clone(),
        resume,
        parallelism: context.options.parallelism,
        batch_bytes: context.budget.batch,
        unbounded: true,
        ..ReadRequest::default()
    }
}
