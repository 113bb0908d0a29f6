//! One connected part of the graph as a program: row-local if every node is, relational otherwise.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::prelude::SessionContext;
use weir_connect::stream::LossChoice;
use weir_connect::{Error, OnLoss, Sink, StreamInfo};
use weir_spec::{Node, Pipeline, Role};

use crate::lineage::{self, Origin};
use crate::model::{Program, RelationalProgram};
use crate::planner::tables;
use crate::relational::{Relational, Step};
use crate::row_local::{self, RowNode, RowTree};
use crate::transforms::{self, CastOptions, FieldMapperOptions, OnCastError, Op};

/// A source node with the stream chosen for this flow.
pub struct Chosen {
    /// The node.
    pub node: Node,
    /// The stream.
    pub stream: StreamInfo,
}

/// A flow's program with what reaches each sink.
pub struct Built {
    /// The program.
    pub program: Program,
    /// One per sink, in file order.
    pub outputs: Vec<Output>,
}

/// What reaches one sink.
pub struct Output {
    /// The sink node.
    pub sink: String,
    /// The node that feeds it.
    pub from: String,
    /// Columns.
    pub schema: SchemaRef,
    /// Per column the source columns (by source node) that it depends on.
    pub lineage: Vec<BTreeSet<Origin>>,
}

/// What is wrong with a node.
pub struct Trouble {
    /// The node.
    pub node: String,
    /// The option, if one is to blame.
    pub option: Option<&'static str>,
    /// What.
    pub error: Error,
}

/// The connected components of the graph, each in file order. Sinks connect nothing: a sink with several inputs writes each
/// of them, so it appears once per input, with that input only.
pub fn components(pipeline: &Pipeline) -> Vec<Vec<Node>> {
    let inner = || pipeline.nodes.iter().filter(|node| node.role != Role::Sink);
    let mut group: BTreeMap<&str, usize> = inner().enumerate().map(|(index, node)| (node.name.as_str(), index)).collect();
    // Few nodes: joining by repetition is simple and ends after at most as many rounds as there are nodes.
    loop {
        let mut changed = false;
        for node in inner() {
            for input in &node.inputs {
                let (Some(&a), Some(&b)) = (group.get(node.name.as_str()), group.get(input.node.as_str())) else { continue };
                if a != b {
                    let low = a.min(b);
                    group.values_mut().filter(|value| **value == a || **value == b).for_each(|value| *value = low);
                    changed = true;
                }
            }
        }
        if !changed {
            break;
        }
    }
    let mut parts: BTreeMap<usize, Vec<Node>> = BTreeMap::new();
    for node in inner() {
        if let Some(&index) = group.get(node.name.as_str()) {
            parts.entry(index).or_default().push(node.clone());
        }
    }
    for sink in pipeline.of(Role::Sink) {
        for input in &sink.inputs {
            if let Some(&index) = group.get(input.node.as_str()) {
                parts.entry(index).or_default().push(Node { inputs: vec![input.clone()], ..sink.clone() });
            }
        }
    }
    parts.into_values().collect()
}

/// Transforms in an order in which every node comes after its inputs.
fn topological<'a>(component: &[&'a Node]) -> Vec<&'a Node> {
    let mut placed: BTreeSet<&str> =
        component.iter().filter(|node| node.role == Role::Source).map(|node| node.name.as_str()).collect();
    let mut rest: Vec<&Node> = component.iter().filter(|node| node.role == Role::Transform).copied().collect();
    let mut order = Vec::new();
    while !rest.is_empty() {
        let (ready, waiting): (Vec<_>, Vec<_>) =
            rest.into_iter().partition(|node| node.inputs.iter().all(|input| placed.contains(input.node.as_str())));
        if ready.is_empty() {
            break; // a cycle; the spec has reported it
        }
        placed.extend(ready.iter().map(|node| node.name.as_str()));
        order.extend(ready);
        rest = waiting;
    }
    order
}

/// The operators that make a schema fit a sink, as `on_loss` allows: text instead of a type it cannot hold, or no column.
pub fn finishing(schema: &Schema, sink: &dyn Sink, on_loss: &OnLoss) -> Vec<Op> {
    let mut casts = BTreeMap::new();
    let mut drop = Vec::new();
    for field in schema.fields() {
        let view = matches!(field.data_type(), DataType::Utf8View);
        let loses = sink.sink_type(field).edge.loses();
        match on_loss.for_column(field.name()) {
            LossChoice::Drop if loses => drop.push(field.name().clone()),
            LossChoice::String if loses => {
                casts.insert(field.name().clone(), "text".to_owned());
            }
            _ if view => {
                casts.insert(field.name().clone(), "text".to_owned());
            }
            _ => {}
        }
    }
    let mut ops = Vec::new();
    if !casts.is_empty() {
        ops.push(Op::Cast(CastOptions { columns: casts, on_error: OnCastError::Error, accept_loss: false }));
    }
    if !drop.is_empty() {
        ops.push(Op::Map(FieldMapperOptions { drop, ..FieldMapperOptions::default() }));
    }
    ops
}

/// Builds the program of a component for one choice of streams. `finish` gives the operators that end a sink's branch.
pub async fn build(
    context: &SessionContext,
    pipeline: &Pipeline,
    component: &[&Node],
    chosen: &[Chosen],
    finish: &(dyn Fn(&str, &SchemaRef) -> Vec<Op> + Sync),
) -> Result<Built, Trouble> {
    let order = topological(component);
    let sinks: Vec<&Node> = component.iter().filter(|node| node.role == Role::Sink).copied().collect();
    let blame = |node: &str, option, error| Trouble { node: node.to_owned(), option, error };
    let aliases = table_names(chosen);
    let mut steps = Vec::new();
    for node in &order {
        let transform =
            transforms::find(&node.kind).ok_or_else(|| blame(&node.name, None, Error::internal("unknown transform")))?;
        let op = (transform.lower)(&node.options).map_err(|error| blame(&node.name, None, error))?;
        let inputs = node.inputs.iter().map(|input| input.node.clone()).collect();
        steps.push(Step { name: node.name.clone(), inputs, aliases: aliases.clone(), op });
    }
    let feeds: Vec<String> =
        sinks.iter().map(|sink| sink.inputs.first().map(|input| input.node.clone()).unwrap_or_default()).collect();

    // Lineage, and the schemas of a relational program, come from the same views over empty tables.
    tables(context, chosen).map_err(|error| blame(&sinks_first(&sinks), None, error))?;
    let mut relational = Relational {
        tables: chosen.iter().map(|choice| choice.node.name.clone()).collect(),
        steps,
        outputs: feeds.clone(),
        finish: vec![Vec::new(); sinks.len()],
        reason: String::new(),
    };
    diagnose(context, &relational, &order).await?;
    let frames = relational.frames(context).await.map_err(|error| blame(&sinks_first(&sinks), None, error))?;
    for (index, frame) in frames.iter().enumerate() {
        let schema = Arc::new(frame.schema().as_arrow().clone());
        relational.finish[index] = finish(&sinks[index].name, &schema);
    }
    let frames = relational.frames(context).await.map_err(|error| blame(&sinks_first(&sinks), None, error))?;
    let mut outputs: Vec<Output> = frames
        .iter()
        .zip(&sinks)
        .zip(&feeds)
        .map(|((frame, sink), from)| Output {
            sink: sink.name.clone(),
            from: from.clone(),
            schema: nullable(frame.schema().as_arrow()),
            lineage: lineage::of(frame.logical_plan()),
        })
        .collect();
    if let Some((_, output)) = outputs.iter().enumerate().find(|(_, output)| output.schema.fields().is_empty()) {
        return Err(blame(
            &output.sink,
            None,
            Error::new("WEIR-PLAN-026", weir_connect::Kind::Spec, "no column reaches this sink"),
        ));
    }

    match row_tree(context, chosen, &relational, finish, &sinks).await? {
        Ok((tree, schemas)) => {
            for (output, schema) in outputs.iter_mut().zip(schemas) {
                output.schema = schema;
            }
            Ok(Built { program: Program::RowLocal(Arc::new(tree)), outputs })
        }
        Err(reason) => {
            relational.reason = reason;
            let _ = pipeline;
            Ok(Built { program: Program::Relational(Arc::new(relational)), outputs })
        }
    }
}

fn sinks_first(sinks: &[&Node]) -> String {
    sinks.first().map(|sink| sink.name.clone()).unwrap_or_default()
}

/// Plans the steps one after another, so that an error names its node.
async fn diagnose(context: &SessionContext, program: &Relational, order: &[&Node]) -> Result<(), Trouble> {
    for (index, node) in order.iter().enumerate() {
        let part = Relational {
            tables: program.tables.clone(),
            steps: program.steps[..=index].to_vec(),
            outputs: vec![node.name.clone()],
            finish: vec![Vec::new()],
            reason: String::new(),
        };
        if let Err(error) = part.frames(context).await {
            let option = transforms::find(&node.kind).and_then(|transform| transform.bare);
            return Err(Trouble { node: node.name.clone(), option, error });
        }
    }
    Ok(())
}

type TreeOrReason = Result<(RowTree, Vec<SchemaRef>), String>;

/// The row-local form, or the reason why there is none.
async fn row_tree(
    context: &SessionContext,
    chosen: &[Chosen],
    program: &Relational,
    finish: &(dyn Fn(&str, &SchemaRef) -> Vec<Op> + Sync),
    sinks: &[&Node],
) -> Result<TreeOrReason, Trouble> {
    let [only] = chosen else {
        return Ok(Err(format!("{} inputs are brought together", chosen.len())));
    };
    let mut nodes: Vec<(Option<usize>, RowNode)> = Vec::new();
    let mut index_of: HashMap<&str, Option<usize>> = HashMap::from([(only.node.name.as_str(), None)]);
    let schema_of = |nodes: &[(Option<usize>, RowNode)], at: Option<usize>| match at {
        Some(index) => nodes[index].1.schema.clone(),
        None => only.stream.schema.clone(),
    };
    for step in &program.steps {
        let [input] = step.inputs.as_slice() else {
            return Ok(Err(format!("`{}` has {} inputs", step.name, step.inputs.len())));
        };
        let at = index_of.get(input.as_str()).copied().flatten();
        let mut names = vec!["input".to_owned(), input.clone()];
        names.extend(step.aliases.iter().cloned());
        names.sort();
        names.dedup();
        let compiled = row_local::compile(context, &step.op, &schema_of(&nodes, at), &names, &step.name)
            .await
            .map_err(|error| Trouble { node: step.name.clone(), option: None, error })?;
        let Some(node) = compiled else {
            return Ok(Err(format!("`{}` needs to see rows together", step.name)));
        };
        nodes.push((at, node));
        index_of.insert(&step.name, Some(nodes.len() - 1));
    }
    let mut outputs = Vec::new();
    let mut schemas = Vec::new();
    for (sink, feed) in sinks.iter().zip(&program.outputs) {
        let mut at = index_of.get(feed.as_str()).copied().flatten();
        for op in finish(&sink.name, &schema_of(&nodes, at)) {
            let compiled = row_local::compile(context, &op, &schema_of(&nodes, at), &[], &sink.name)
                .await
                .map_err(|error| Trouble { node: sink.name.clone(), option: None, error })?;
            if let Some(node) = compiled {
                nodes.push((at, node));
                at = Some(nodes.len() - 1);
            }
        }
        outputs.push(at);
        schemas.push(schema_of(&nodes, at));
    }
    Ok(Ok((RowTree { stream: only.stream.name.clone(), nodes, outputs }, schemas)))
}

/// Names under which a query may call its only input: the stream, its last part, and the table in a source query's FROM.
fn table_names(chosen: &[Chosen]) -> Vec<String> {
    let [only] = chosen else { return Vec::new() };
    let mut names = vec![only.stream.name.clone()];
    if let Some((_, last)) = only.stream.name.rsplit_once('.') {
        names.push(last.to_owned());
    }
    if let Some(query) = only.node.options.get("query").and_then(serde_json::Value::as_str) {
        let lower = query.to_lowercase();
        if let Some(at) = lower.find(" from ") {
            let table: String = query[at + 6..].trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            names.push(table);
        }
    }
    names.retain(|name| {
        !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '.') && name.matches('.').count() <= 1
    });
    names.sort();
    names.dedup();
    names
}

/// What a join or aggregate gives may be NULL whatever its inputs were, and text is plain text.
fn nullable(schema: &Schema) -> SchemaRef {
    let fields: Vec<Field> = schema
        .fields()
        .iter()
        .map(|field| {
            let kind = if *field.data_type() == DataType::Utf8View { DataType::Utf8 } else { field.data_type().clone() };
            Field::new(field.name(), kind, true).with_metadata(field.metadata().clone())
        })
        .collect();
    Arc::new(Schema::new(fields))
}
