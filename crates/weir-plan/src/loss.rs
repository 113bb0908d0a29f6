//! The type-loss proof: every column of every sink is exact or widening, or the spec allows what it loses.

use arrow::datatypes::{DataType, Field, Schema};
use datafusion::error::Result;
use weir_connect::stream::LossChoice;
use weir_connect::{Edge, OnLoss, Sink, SinkType};
use weir_spec::model::Node;

use crate::chain::{CastColumn, Chain, ColumnState, quoted};
use crate::changes::MetadataColumn;
use crate::convert::convertible;
use crate::model::ColumnReport;
use crate::problem::{Problem, code};
use crate::transforms::Policy;
use crate::types::{TypeWord, show_field};

/// What becomes of a column.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Verdict {
    /// It goes on as it is.
    Keep,
    /// It is written as text, because `on_loss` says so.
    Text {
        /// How the sink stores text.
        sink: SinkType,
    },
    /// It is left out, because `on_loss` says so.
    Drop,
    /// It would lose something that nobody allowed.
    Refuse {
        /// What and why.
        reason: String,
    },
}

/// One column, judged.
pub(crate) struct Judged {
    pub(crate) name: String,
    pub(crate) verdict: Verdict,
    field: Field,
    state: ColumnState,
    sink: SinkType,
    source: Edge,
    allowed: bool,
}

/// Judges every column that arrives at a sink.
pub(crate) fn judge(schema: &Schema, columns: &[ColumnState], sink: &dyn Sink, on_loss: &OnLoss) -> Vec<Judged> {
    schema.fields().iter().zip(columns).map(|(field, state)| judge_column(field, state, sink, on_loss)).collect()
}

/// The report of a column that the engine adds.
pub(crate) fn about_change(column: MetadataColumn, flow: &str, sink: &str, target: &dyn Sink) -> ColumnReport {
    let field = column.field();
    let sink_type = target.sink_type(&field);
    ColumnReport {
        flow: flow.into(),
        sink: sink.into(),
        column: column.name().into(),
        from: Vec::new(),
        source: column.source().into(),
        arrow: show_field(&field),
        sink_type: sink_type.name,
        edge: sink_type.edge,
        allowed: true,
    }
}

fn judge_column(field: &Field, state: &ColumnState, sink: &dyn Sink, on_loss: &OnLoss) -> Judged {
    let name = field.name();
    let choice = on_loss.for_column(name);
    let sink_type = sink.sink_type(field);
    let mut source = state.edge.clone();
    for (_, edge) in &state.losses {
        source = source.then(edge.clone());
    }
    // The source was told `on_loss` by the column's name there; what it still loses must be accepted under either name.
    let open = state
        .losses
        .iter()
        .find(|(column, _)| choice != LossChoice::Accept && on_loss.for_column(column) != LossChoice::Accept)
        .map(|(column, edge)| format!("{}: {}", shown_source(column, name), told(edge)));
    let verdict = if let Some(reason) = open {
        if choice == LossChoice::Drop { Verdict::Drop } else { Verdict::Refuse { reason } }
    } else if !sink_type.edge.loses() {
        Verdict::Keep
    } else {
        match choice {
            LossChoice::Drop => Verdict::Drop,
            LossChoice::String => as_text(field, sink),
            LossChoice::Accept if matches!(sink_type.edge, Edge::Lossy { .. }) => Verdict::Keep,
            LossChoice::Accept => Verdict::Refuse {
                reason: format!("{}; there is nothing to accept, only `string` or `drop` help", told(&sink_type.edge)),
            },
            LossChoice::Error => Verdict::Refuse { reason: told(&sink_type.edge) },
        }
    };
    let allowed = !matches!(verdict, Verdict::Refuse { .. });
    Judged { name: name.clone(), verdict, field: field.clone(), state: state.clone(), sink: sink_type, source, allowed }
}

fn shown_source(column: &str, name: &str) -> String {
    if column == name { "at the source".into() } else { format!("source column `{column}`") }
}

fn told(edge: &Edge) -> String {
    match edge {
        Edge::Lossy { reason } | Edge::Unsupported { reason } => reason.clone(),
        Edge::Widening { note } => note.clone(),
        Edge::Exact => "exact".into(),
    }
}

fn as_text(field: &Field, sink: &dyn Sink) -> Verdict {
    if let Err(why) = convertible(field.data_type(), &DataType::Utf8) {
        return Verdict::Refuse { reason: format!("`on_loss: string` does not help: {why}") };
    }
    let text = sink.sink_type(&Field::new(field.name(), DataType::Utf8, field.is_nullable()));
    if text.edge.loses() {
        return Verdict::Refuse { reason: format!("`on_loss: string` does not help: {}", told(&text.edge)) };
    }
    Verdict::Text { sink: text }
}

/// Appends what the verdicts ask for.
pub(crate) fn carry_out(judged: &[Judged], chain: &mut Chain<'_>) -> Result<()> {
    let casts = judged
        .iter()
        .enumerate()
        .filter(|(_, column)| matches!(column.verdict, Verdict::Text { .. }))
        .map(|(index, _)| CastColumn { index, to: TypeWord { data_type: DataType::Utf8, json: false } })
        .collect();
    chain.cast(casts, Policy::default());
    if judged.iter().any(|column| column.verdict == Verdict::Drop) {
        let kept: Vec<String> =
            judged.iter().filter(|column| column.verdict != Verdict::Drop).map(|column| quoted(&column.name)).collect();
        if !kept.is_empty() {
            chain.query(&format!("SELECT {} FROM input", kept.join(", ")))?;
        }
    }
    Ok(())
}

impl Judged {
    /// The line of this column in `weir plan`.
    pub(crate) fn report(&self, flow: &str, sink: &str) -> ColumnReport {
        let (arrow, sink_type) = match &self.verdict {
            Verdict::Text { sink } => (format!("{} → utf8", show_field(&self.field)), sink),
            _ => (show_field(&self.field), &self.sink),
        };
        ColumnReport {
            flow: flow.into(),
            sink: sink.into(),
            column: self.name.clone(),
            from: self.state.from.iter().cloned().collect(),
            source: self.state.source.clone(),
            arrow,
            sink_type: sink_type.name.clone(),
            edge: self.source.clone().then(sink_type.edge.clone()),
            allowed: self.allowed,
        }
    }

    /// Why the run is refused, with the three ways out.
    pub(crate) fn refusal(&self, node: &Node) -> Problem {
        let Verdict::Refuse { reason } = &self.verdict else {
            return Problem::new(code::LOSS, format!("column `{}` loses nothing", self.name));
        };
        Problem::new(
            code::LOSS,
            format!(
                "column `{}` would lose data in sink `{}`: {} → {} → {}: {reason}",
                self.name,
                node.name,
                self.state.source,
                show_field(&self.field),
                self.sink.name
            ),
        )
        .help(format!(
            "allow it with `on_loss: {{{0}: string}}` ({1}), `cast` it to a type that fits, or drop it with `field_mapper: {{drop: [{0}]}}`",
            self.name,
            if matches!(self.sink.edge, Edge::Unsupported { .. }) { "or drop" } else { "or accept, or drop" }
        ))
    }
}
