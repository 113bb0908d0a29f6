//! What a sink node begins with: what earlier runs left, and its targets in the shapes that they have.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::Value;
use weir_connect::{ChangeWriter, RunIdentity, SchemaChangePolicy, StreamSink, StreamTarget};
use weir_error::{Error, Kind, Result};
use weir_plan::{Flow, FlowOutput};

use super::super::SPLIT;
use super::super::journal::Journal;
use super::super::outlet::Maker;
use super::super::shape::{self, Shape, Shapes};
use super::{Target, Way};
use crate::store::Counts;

/// What the last committed run of a log left.
#[derive(Default)]
pub(in super::super) struct Left {
    /// The boundary that it ended with.
    pub seq: u64,
    /// The streams as they were then.
    pub shapes: Shapes,
    /// What the targets had got through transforms.
    pub outlets: Value,
    /// The sinks that it had; `None`: an older version did not write them down.
    pub sinks: Option<Vec<String>>,
    /// Where sinks that are new begin; see [`super::super::join`].
    pub joined: HashMap<String, u64>,
}

impl Left {
    pub(in super::super) fn read(left: &Value) -> Result<Self> {
        let names = |sinks: &Vec<Value>| sinks.iter().filter_map(Value::as_str).map(str::to_owned).collect();
        Ok(Self {
            seq: left["seq"].as_u64().unwrap_or(0),
            shapes: shape::read(&left["shapes"])?,
            outlets: left["outlets"].clone(),
            sinks: left["sinks"].as_array().map(names),
            joined: HashMap::new(),
        })
    }

    /// A sink that has no checkpoint begins where the last run ended, if it was there then. One that is new has nothing of what came before.
    pub(in super::super) fn begins(&self, sink: &str, journal: &Journal) -> Result<u64> {
        if let Some(seq) = self.joined.get(sink) {
            return Ok(*seq);
        }
        let known = self.sinks.as_ref().is_none_or(|sinks| sinks.iter().any(|known| known == sink));
        if known && (self.seq > 0 || journal.holds(0).is_ok()) {
            return Ok(self.seq);
        }
        Err(Error::new("WEIR-JOURNAL-013", Kind::Conflict, format!("sink `{sink}` is new, and the log has begun without it"))
            .because("what the other sinks have had is not in the journal any more, so the rows of the snapshot would be missing")
            .hint("give it a pipeline of its own; or `weir state reset`, which begins with a new snapshot for all sinks"))
    }
}

/// A target with its writer.
struct Opened {
    sink: Box<dyn StreamSink>,
    writer: Option<Box<dyn ChangeWriter>>,
    /// The boundary that is durable in it.
    seq: Option<u64>,
    /// It has the shape that the stream gets later, and not the one that was asked for.
    fell_back: bool,
}

/// How a target is to be opened.
struct Asked<'a> {
    output: &'a FlowOutput,
    contract: SchemaChangePolicy,
    /// It has had the shape already: opening alters nothing.
    known: bool,
    /// The shape that somebody may have fitted it to.
    later: &'a Shape,
}

impl Opened {
    async fn new(
        asked: &Asked<'_>,
        target: &impl Fn(&Shape, SchemaChangePolicy) -> Result<StreamTarget>,
        shape: &Shape,
    ) -> Result<Self> {
        let Asked { output, contract, later, .. } = *asked;
        let alters = !asked.known || contract != SchemaChangePolicy::Evolve || shape == later;
        let policy = if alters { contract } else { SchemaChangePolicy::Freeze };
        match Self::open(output, target(shape, policy), target(shape, contract)).await {
            // Somebody has fitted the table, or the transforms, to what the source has become.
            Err(error) if shape != later && error.kind() == Kind::Schema => {
                let now = || target(later, contract);
                match Self::open(output, now(), now()).await {
                    Ok(opened) => Ok(Self { fell_back: true, ..opened }),
                    // Or it was left behind by another contract, and may be altered now.
                    Err(_) if policy != contract => {
                        let then = || target(shape, contract);
                        Self::open(output, then(), then()).await
                    }
                    Err(_) => Err(error),
                }
            }
            opened => opened,
        }
    }

    /// `strict` is looked at first.
    async fn open(output: &FlowOutput, strict: Result<StreamTarget>, target: Result<StreamTarget>) -> Result<Self> {
        let (strict, target) = (strict?, target?);
        if strict.on_schema_change != target.on_schema_change {
            output.sink.preview(&strict).await?;
        }
        let sink = output.sink.prepare(target).await?;
        let recovery = sink.recover().await?;
        let known = recovery.progress.iter().flatten().find(|part| part.split.id == SPLIT);
        let seq = known.and_then(|part| part.position.as_ref()?["seq"].as_u64());
        let writer = match recovery.committed {
            Some(_) => None,
            None => Some(sink.change_writer(output.deletes).await?),
        };
        Ok(Self { sink, writer, seq, fell_back: false })
    }
}

/// Opens the targets of one stream at one sink node.
pub(super) struct Opening<'a> {
    pub run: &'a RunIdentity,
    pub sink: &'a str,
    /// The flow and its place in the log.
    pub flow: &'a Flow,
    pub at: usize,
    pub left: &'a Left,
    /// Of the last checkpoint.
    pub position: &'a Value,
    pub shapes: &'a Shapes,
    pub counts: &'a Counts,
    /// See `Applier::again`.
    pub again: u64,
    pub journal: &'a Arc<Journal>,
}

impl Opening<'_> {
    /// The outputs that come to this node, with their places in the flow.
    pub fn outputs(&self) -> impl Iterator<Item = (usize, &FlowOutput)> {
        self.flow.outputs.iter().enumerate().filter(|(_, output)| output.node == self.sink)
    }

    /// The targets, each where it is. Those of a stream that waits are not touched.
    pub async fn targets(&self, way: &Way) -> Result<Vec<Target>> {
        let mut targets = Vec::new();
        for (earlier, (index, output)) in self.outputs().enumerate() {
            let rows = self.counts.written.get(earlier).copied().unwrap_or(0);
            targets.push(self.target(index, output, way, rows).await?);
        }
        Ok(targets)
    }

    async fn target(&self, index: usize, output: &FlowOutput, way: &Way, rows: u64) -> Result<Target> {
        let stream: Arc<str> = self.flow.inputs[0].stream.name.as_str().into();
        let maker = Maker::new(self.flow, index, output);
        let place = format!("{}/{stream}#{index}", self.sink);
        let saved = [&self.position["outlets"][&place], &self.left.outlets[&place]].into_iter().find(|saved| saved.is_object());
        let saved = saved.unwrap_or(&Value::Null);
        let asks = StreamTarget { changes: true, ..output.target(self.run.clone()) };
        let target = |shape: &Shape, policy| {
            let outlet = maker.outlet_or_saved(shape, saved)?;
            Ok(StreamTarget { schema: outlet.schema, key: outlet.key, on_schema_change: policy, ..asks.clone() })
        };
        let told = maker.told(output);
        let known = self
            .shapes
            .get(&stream)
            .or_else(|| self.left.shapes.get(&stream).filter(|_| !self.left.joined.contains_key(self.sink)))
            .cloned();
        let has_had = known.is_some();
        let mut shape = known.unwrap_or_else(|| told.clone());
        let holds = output.on_schema_change == SchemaChangePolicy::Hold;
        let make = |opened: Option<Opened>, shape: Shape, seq: u64| {
            let (sink, writer, fell_back) = match opened {
                Some(opened) => (Some(opened.sink), opened.writer, opened.fell_back),
                None => (None, None, false),
            };
            Ok(Target {
                flow: self.at,
                output: index,
                sink,
                stream: stream.clone(),
                outlet: maker.outlet_or_saved(&shape, saved)?,
                shape,
                maker: Maker::new(self.flow, index, output),
                place: place.clone(),
                writer,
                seq,
                rows,
                dirty: false,
                holds,
                fell_back,
                connector: output.sink.clone(),
                asks: asks.clone(),
            })
        };
        if way.held.is_some() {
            return make(None, shape, way.from);
        }
        let approved = way.approved.min(self.journal.tail().mark.seq);
        let (contract, later) = match holds && approved > way.from {
            // Not further than that, whatever the table is by now.
            true => {
                let last = shape::last_between(self.journal, &stream, way.from, approved).await?;
                (SchemaChangePolicy::Evolve, last.unwrap_or_else(|| shape.clone()))
            }
            false => (output.on_schema_change, told),
        };
        let asked = Asked { output, contract, known: has_had, later: &later };
        let mut opened = Opened::new(&asked, &target, &shape).await?;
        let seq = if way.from < self.again { way.from } else { opened.seq.unwrap_or(0).max(way.from) };
        if let Some(since) = shape::last_between(self.journal, &stream, way.from, seq).await? {
            // What is saved was got in the shape before.
            maker.outlet(&since)?;
            opened = Opened::new(&asked, &target, &since).await?;
            shape = since;
        }
        if opened.fell_back {
            shape = later;
        }
        make(Some(opened), shape, seq)
    }
}
