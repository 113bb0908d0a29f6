//! The sink of the dead letters (`dead_letters: {to: …}`): what is asked of it, and how it is opened. The engine fills it.

use weir_connect::{DeleteMode, Edge, Registry, SchemaChangePolicy, SinkContext, WriteMode, letters};
use weir_error::{Kind, Result};
use weir_spec::model::{Mode, Node, Pipeline};

use crate::check::{refused, undecided};
use crate::model::{FlowOutput, asker};
use crate::options;
use crate::planner::{Planner, Policies};
use crate::problem::{Problem, code};

/// What can be said about it without connecting anywhere.
pub(crate) fn check(pipeline: &Pipeline, registry: &Registry, node: &Node) -> Result<(), Problem> {
    let connector = options::connector(registry, node)?;
    let split = options::split(pipeline, node, connector.as_ref())?;
    if let Err(error) = connector.validate("sink", &split.connection, &split.own)
        && !undecided(&split.connection)
        && !undecided(&split.own)
    {
        return Err(refused(&error));
    }
    // Letters are rows, whatever the pipeline reads.
    let mode = options::write_mode(Mode::Batch, node, connector.as_ref())?;
    let key = options::key(node)?;
    match mode {
        WriteMode::Overwrite => {
            Err(Problem::new(code::WRITE_MODE, "dead letters are added to those before, not put in their place")
                .option("write_mode")
                .expected("append, upsert"))
        }
        WriteMode::Upsert | WriteMode::Merge if key.is_empty() => {
            Err(Problem::new(code::KEY, format!("`write_mode: {}` needs a key", mode.as_str()))
                .option("write_mode")
                .help("`key: [id]`"))
        }
        _ => Ok(()),
    }
}

impl Planner {
    /// Opens it. Nothing is connected to yet.
    pub(crate) async fn letters(
        &self,
        pipeline: &Pipeline,
        node: &Node,
        policies: &Policies,
    ) -> Result<Result<FlowOutput, Problem>> {
        let ready = || {
            let connector = options::connector(&self.registry, node)?;
            let split = options::split(pipeline, node, connector.as_ref())?;
            let write_mode = options::write_mode(Mode::Batch, node, connector.as_ref())?;
            Ok::<_, Problem>((connector, split, write_mode, options::key(node)?))
        };
        let (connector, split, write_mode, key) = match ready() {
            Ok(ready) => ready,
            Err(problem) => return Ok(Err(problem)),
        };
        let credentials = pipeline.credentials_ref.as_deref();
        let context = SinkContext {
            connection: self.resolve.resolve(&split.connection, credentials)?,
            options: self.resolve.resolve(&split.own, credentials)?,
            on_loss: policies.on_loss.clone(),
            node: node.name.clone(),
            parallelism: 1,
            base_dir: self.base_dir.clone(),
        };
        let sink = match connector.sink(context).await {
            Ok(sink) => sink,
            Err(error) if matches!(error.kind(), Kind::Spec | Kind::Unsupported) => return Ok(Err(refused(&error))),
            Err(error) => return Err(error.at("the sink of the dead letters")),
        };
        let schema = letters::schema();
        for field in schema.fields() {
            if let Edge::Lossy { reason } | Edge::Unsupported { reason } = sink.sink_type(field).edge {
                let what = format!("the sink cannot keep `{}` of a dead letter as it is: {reason}", field.name());
                return Ok(Err(
                    Problem::new(code::LOSS, what).help("kafka: `format: dead_letter`; files: `format: parquet`; or a table")
                ));
            }
        }
        let stream = "dead_letters".to_owned();
        Ok(Ok(FlowOutput {
            node: node.name.clone(),
            connector: connector.descriptor().name.to_owned(),
            sink,
            stream,
            schema,
            write_mode,
            key,
            on_schema_change: SchemaChangePolicy::Evolve,
            on_loss: policies.on_loss.clone(),
            deletes: DeleteMode::Hard,
            metadata: Vec::new(),
        }))
    }
}

/// Where the letters go and how often each is there, for `weir plan`.
pub(crate) fn promise(output: &FlowOutput) -> String {
    format!("dead letters go to {}, {} and in order", output.sink.place(&output.stream), output.each())
}

/// What a run would do to the target.
pub(crate) async fn actions(pipeline: &Pipeline, output: &FlowOutput) -> Result<Vec<String>> {
    let target = output.target(asker(pipeline));
    output.sink.preview(&target).await.map_err(|error| error.at("the sink of the dead letters"))
}

/// Where two things would write to one place.
pub(crate) fn apart(output: &FlowOutput, others: &[crate::model::Flow]) -> Result<(), Problem> {
    let place = output.sink.place(&output.stream);
    match output.clash(&place, others.iter().flat_map(|flow| &flow.outputs)) {
        Some(other) => {
            Err(Problem::new(code::PLACE, format!("the dead letters and sink `{}` would both write to {place}", other.node))
                .help("give the dead letters a place of their own"))
        }
        None => Ok(()),
    }
}
