//! The plan for people ([`text`]) and for machines ([`json`]).

use serde_json::{Value, json};
use weir_connect::{Edge, WriteMode};
use weir_spec::model::{Mode, Role};

use crate::guarantee;
use crate::model::{ColumnReport, Flow, FlowInput, FlowOutput, Plan, Program};
use crate::streaming;
use crate::types::show_field;

/// The plan as text, no line wider than `width` characters (at least 40), without colour.
pub fn text(plan: &Plan, width: usize) -> String {
    let mut page = Page { width: width.max(40), lines: Vec::new() };
    let promise = guarantee::word(plan.guarantee.delivery);
    page.line(format!("{}   {} · native engine · {promise}", plan.pipeline.name, mode(plan.pipeline.mode)));
    page.wrapped(&format!("  why {promise}: "), &plan.guarantee.reasons.join("; "));
    if plan.pipeline.mode == Mode::Streaming {
        page.wrapped("  streaming: ", &streaming::told(&plan.pipeline, &plan.flows).join("; "));
    }
    page.line("");
    sources(plan, &mut page);
    transforms(plan, &mut page);
    for output in sinks(plan) {
        page.line(format!("  sink {} {}", output.0, output.1));
    }
    tables(plan, &mut page);
    if !plan.actions.is_empty() {
        page.line("");
        page.wrapped("  will: ", &plan.actions.join(" · "));
    }
    for warning in &plan.warnings {
        page.wrapped("  note: ", warning);
    }
    if let Some(demanded) = plan.pipeline.delivery
        && demanded > plan.guarantee.delivery
    {
        page.line(format!("`delivery: {}` cannot be kept: the run will refuse", guarantee::word(demanded)));
    }
    match plan.columns.iter().filter(|column| !column.allowed).count() {
        0 => {}
        1 => page.line("1 column would lose data: the run will refuse until `on_loss` is set"),
        count => {
            page.line(format!("{} columns would lose data: the run will refuse until `on_loss` is set", grouped(count as u64)))
        }
    }
    page.lines.join("\n") + "\n"
}

/// The plan as data: flows, columns with their lineage, guarantee, actions, warnings.
pub fn json(plan: &Plan) -> Value {
    let flows: Vec<Value> = plan
        .flows
        .iter()
        .map(|flow| {
            let (program, reason) = match &flow.program {
                Program::RowLocal(program) if program.is_identity() => ("identity", None),
                Program::RowLocal(_) => ("row_local", None),
                Program::Relational(program) => ("relational", Some(program.reason())),
                Program::Keyed(program) => ("keyed", Some(program.reason())),
            };
            json!({
                "name": flow.name,
                "program": program,
                "reason": reason,
                "inputs": flow.inputs.iter().map(input_json).collect::<Vec<_>>(),
                "outputs": flow.outputs.iter().map(|output| output_json(plan, output)).collect::<Vec<_>>(),
            })
        })
        .collect();
    let mut told = json!({
        "pipeline": plan.pipeline.name,
        "mode": mode(plan.pipeline.mode),
        "engine": "native",
        "guarantee": plan.guarantee,
        "refused": plan.columns.iter().any(|column| !column.allowed)
            || plan.pipeline.delivery.is_some_and(|demanded| demanded > plan.guarantee.delivery),
        "flows": flows,
        "columns": plan.columns,
        "actions": plan.actions,
        "warnings": plan.warnings,
    });
    if plan.pipeline.mode == Mode::Streaming {
        told["streaming"] = json!(streaming::told(&plan.pipeline, &plan.flows));
    }
    told
}

fn input_json(input: &FlowInput) -> Value {
    json!({
        "node": input.node,
        "connector": input.connector,
        "stream": input.stream.name,
        "estimated_rows": input.stream.estimated_rows,
        "estimated_bytes": input.stream.estimated_bytes,
        "reading": input.stream.reading,
        "primary_key": input.stream.primary_key,
        "cursor": input.cursor,
        "cursor_lag": input.cursor_lag,
    })
}

fn output_json(plan: &Plan, output: &FlowOutput) -> Value {
    let columns: Vec<Value> = output
        .schema
        .fields()
        .iter()
        .map(|field| json!({ "name": field.name(), "type": show_field(field), "nullable": field.is_nullable() }))
        .collect();
    json!({
        "node": output.node,
        "connector": output.connector,
        "stream": output.stream,
        "place": output.sink.place(&output.stream),
        "write_mode": output.write_mode,
        "key": output.key,
        "partition_by": partition_by(plan, &output.node),
        "on_schema_change": output.on_schema_change,
        "columns": columns,
    })
}

fn mode(mode: Mode) -> &'static str {
    match mode {
        Mode::Batch => "batch",
        Mode::Incremental => "incremental",
        Mode::Cdc => "cdc",
        Mode::Streaming => "streaming",
    }
}

struct Page {
    width: usize,
    lines: Vec<String>,
}

impl Page {
    fn line(&mut self, text: impl AsRef<str>) {
        let cut = shortened(text.as_ref().trim_end(), self.width);
        self.lines.push(cut);
    }

    /// A label and a text that goes on under itself.
    fn wrapped(&mut self, label: &str, text: &str) {
        if text.is_empty() {
            return;
        }
        let indent = " ".repeat(label.chars().count().min(self.width / 3));
        let mut line = label.to_string();
        let mut empty = true;
        for word in text.split_whitespace() {
            let more = word.chars().count() + usize::from(!empty);
            if !empty && line.chars().count() + more > self.width {
                self.line(&line);
                line = indent.clone();
                empty = true;
            }
            if !empty {
                line.push(' ');
            }
            line.push_str(word);
            empty = false;
        }
        self.line(&line);
    }
}

fn sources(plan: &Plan, page: &mut Page) {
    let mut nodes: Vec<&str> = Vec::new();
    for input in plan.flows.iter().flat_map(|flow| &flow.inputs) {
        if !nodes.contains(&input.node.as_str()) {
            nodes.push(&input.node);
        }
    }
    for node in nodes {
        let mut inputs: Vec<&FlowInput> = Vec::new();
        for input in plan.flows.iter().flat_map(|flow| &flow.inputs).filter(|input| input.node == node) {
            if !inputs.iter().any(|known| known.stream.name == input.stream.name) {
                inputs.push(input);
            }
        }
        let Some(first) = inputs.first() else { continue };
        let streams = inputs.iter().map(|input| input.stream.name.as_str()).collect::<Vec<_>>().join(", ");
        let mut facts = Vec::new();
        if let Some(rows) = inputs.iter().map(|input| input.stream.estimated_rows).sum::<Option<u64>>() {
            facts.push(format!("about {} {}", grouped(rows), if rows == 1 { "row" } else { "rows" }));
        }
        if let Some(bytes) = inputs.iter().map(|input| input.stream.estimated_bytes).sum::<Option<u64>>() {
            facts.push(size(bytes));
        }
        let same = inputs.iter().all(|input| input.stream.reading == first.stream.reading);
        match first.stream.reading.as_str() {
            "" => {}
            _ if !same => facts.push(format!("{} streams", inputs.len())),
            reading if inputs.len() > 1 => facts.push(format!("each {reading}")),
            reading => facts.push(reading.into()),
        }
        page.wrapped("  source ", &format!("{} {} · {}", labelled(&first.connector, node), streams, facts.join(", ")));
        match (&first.cursor, plan.pipeline.mode) {
            (Some(cursor), _) => {
                let lag = plan.pipeline.node(node).and_then(|node| node.options.get("lag")).map(|lag| match lag {
                    Value::String(text) => format!(" (lag {text})"),
                    other => format!(" (lag {other})"),
                });
                page.line(format!("    first run: everything; then {cursor} > last committed{}", lag.unwrap_or_default()));
            }
            (None, Mode::Cdc) => page.line("    first run: a snapshot; then every change, in order, through a journal on disk"),
            (None, Mode::Streaming) => {
                page.line("    first run: from where the source says; then without end, each run from where the last one stopped")
            }
            (None, Mode::Incremental) => page.line("    first run: everything; then what is new since the last committed run"),
            (None, _) => {}
        }
    }
}

fn labelled(connector: &str, node: &str) -> String {
    // In the short form the node is called after its role or connector: nothing to add.
    if node == connector || node == "source" || node == "sink" { connector.to_string() } else { format!("{connector} {node}") }
}

fn transforms(plan: &Plan, page: &mut Page) {
    let nodes: Vec<String> = plan
        .pipeline
        .of(Role::Transform)
        .map(|node| {
            if plan.pipeline.of(Role::Source).count() > 1 { format!("{} ({})", node.name, node.kind) } else { node.kind.clone() }
        })
        .collect();
    let reasons = reasons(&plan.flows);
    if nodes.is_empty() && reasons.is_empty() {
        return;
    }
    let chain = nodes.join(" → ");
    if reasons.is_empty() {
        page.wrapped("  transforms ", &format!("{chain} · streaming, bounded memory"));
        return;
    }
    page.wrapped("  transforms ", &chain);
    for (label, reason) in reasons {
        page.wrapped(label, &reason);
    }
}

/// Why a flow is more than row by row; each reason once.
fn reasons(flows: &[Flow]) -> Vec<(&'static str, String)> {
    let mut told: Vec<(&'static str, String)> = Vec::new();
    for flow in flows {
        let reason = match &flow.program {
            Program::RowLocal(_) => continue,
            Program::Relational(program) => ("    not streaming: ", program.reason()),
            Program::Keyed(program) => ("    keeps state: ", program.reason()),
        };
        if !told.contains(&reason) {
            told.push(reason);
        }
    }
    told
}

/// The sink's `partition_by` as it is written.
fn partition_by(plan: &Plan, node: &str) -> Option<String> {
    match plan.pipeline.node(node)?.options.get("partition_by")? {
        Value::String(one) => Some(one.clone()),
        Value::Array(many) => Some(many.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", ")),
        _ => None,
    }
}

/// Each sink node once, with the places of its streams.
fn sinks(plan: &Plan) -> Vec<(String, String)> {
    let mut nodes: Vec<&str> = Vec::new();
    for output in plan.flows.iter().flat_map(|flow| &flow.outputs) {
        if !nodes.contains(&output.node.as_str()) {
            nodes.push(&output.node);
        }
    }
    nodes
        .into_iter()
        .filter_map(|node| {
            let outputs: Vec<&FlowOutput> =
                plan.flows.iter().flat_map(|flow| &flow.outputs).filter(|output| output.node == node).collect();
            let first = outputs.first()?;
            let place = match outputs.len() {
                1 => first.sink.place(&first.stream),
                _ => first.sink.place(&first.stream).replace(&first.stream, "{stream}"),
            };
            let how = match (first.write_mode, first.key.as_slice()) {
                (WriteMode::Upsert | WriteMode::Merge, key) if outputs.len() == 1 => {
                    format!("{} on ({})", first.write_mode.as_str(), key.join(", "))
                }
                (mode, _) => mode.as_str().to_string(),
            };
            let by = partition_by(plan, node).map(|by| format!("   partition_by {by}")).unwrap_or_default();
            Some((labelled(&first.connector, node), format!("{place}   {how}{by}")))
        })
        .collect()
}

fn tables(plan: &Plan, page: &mut Page) {
    let mut shown: Vec<(&str, &str)> = Vec::new();
    for column in &plan.columns {
        let group = (column.flow.as_str(), column.sink.as_str());
        if !shown.contains(&group) {
            shown.push(group);
        }
    }
    for (flow, sink) in &shown {
        let columns: Vec<&ColumnReport> =
            plan.columns.iter().filter(|column| column.flow == *flow && column.sink == *sink).fold(Vec::new(), once);
        page.line("");
        if shown.len() > 1 {
            page.line(format!("  {flow} → {sink}"));
        }
        table(&columns, page);
    }
}

/// A sink that gets several outputs of one node gets the same columns several times.
fn once<'a>(mut shown: Vec<&'a ColumnReport>, column: &'a ColumnReport) -> Vec<&'a ColumnReport> {
    let same = |other: &&ColumnReport| {
        (&other.column, &other.source, &other.arrow, &other.sink_type, &other.from)
            == (&column.column, &column.source, &column.arrow, &column.sink_type, &column.from)
    };
    if !shown.iter().any(same) {
        shown.push(column);
    }
    shown
}

fn table(columns: &[&ColumnReport], page: &mut Page) {
    const HEAD: [&str; 5] = ["column", "source", "arrow", "sink", "edge"];
    /// No column but the last is wider than this.
    const WIDEST: [usize; 4] = [24, 30, 28, 28];
    let rows: Vec<[String; 5]> = columns
        .iter()
        .map(|column| {
            [column.column.clone(), column.source.clone(), column.arrow.clone(), column.sink_type.clone(), edge(column)]
        })
        .collect();
    let mut widths = [0; 4];
    for (at, width) in widths.iter_mut().enumerate() {
        let longest = rows.iter().map(|row| row[at].chars().count()).max().unwrap_or(0).max(HEAD[at].len());
        *width = longest.min(WIDEST[at]);
    }
    // Narrow terminals: the widest column gives way first; the edge keeps room for a few words.
    const EDGE: usize = 16;
    let edge = rows.iter().map(|row| row[4].chars().count()).max().unwrap_or(0).clamp(HEAD[4].len(), EDGE);
    while 2 + widths.iter().sum::<usize>() + 2 * widths.len() + edge > page.width {
        let Some(widest) = widths.iter_mut().max() else { break };
        if *widest <= 6 {
            break;
        }
        *widest -= 1;
    }
    let mut row = |cells: [&str; 5]| {
        let mut line = String::from("  ");
        for (cell, width) in cells.iter().zip(widths) {
            let cell = shortened(cell, width);
            let pad = width - cell.chars().count();
            line.push_str(&cell);
            line.push_str(&" ".repeat(pad + 2));
        }
        line.push_str(cells[4]);
        page.line(line);
    };
    row(HEAD);
    for cells in &rows {
        row([&cells[0], &cells[1], &cells[2], &cells[3], &cells[4]]);
    }
}

fn edge(column: &ColumnReport) -> String {
    match &column.edge {
        Edge::Exact if column.source.ends_with(')') && column.from.len() == 1 && column.source.contains(" (") => {
            format!("from {}", last(&column.from[0]))
        }
        Edge::Exact if column.from.len() > 1 => {
            format!("from {}", column.from.iter().map(|from| last(from)).collect::<Vec<_>>().join(", "))
        }
        Edge::Exact => "exact".into(),
        Edge::Widening { note } => format!("widening  {note}"),
        Edge::Lossy { reason } | Edge::Unsupported { reason } if column.allowed => format!("lossy, allowed  {reason}"),
        Edge::Lossy { reason } => format!("LOSSY  {reason}; set on_loss: string, or cast"),
        Edge::Unsupported { reason } => format!("UNSUPPORTED  {reason}; set on_loss: string, or drop"),
    }
}

fn last(path: &str) -> &str {
    path.rsplit('.').next().unwrap_or(path)
}

fn shortened(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_string();
    }
    text.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "kB", "MB", "GB", "TB"];
    let (mut value, mut unit) = (bytes as f64, 0);
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    if unit == 0 || value >= 99.95 { format!("{value:.0} {}", UNITS[unit]) } else { format!("{value:.1} {}", UNITS[unit]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_and_sizes_have_units() {
        assert_eq!((grouped(0), grouped(999), grouped(6_001_215)), ("0".into(), "999".into(), "6,001,215".into()));
        assert_eq!((size(12), size(1_040_000_000), size(231_000_000)), ("12 B".into(), "1.0 GB".into(), "231 MB".into()));
    }
}
