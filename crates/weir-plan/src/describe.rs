//! A plan for people (`weir plan`) and for machines (`weir plan --json`).

use std::fmt::Write;

use serde_json::{Value, json};
use weir_connect::Edge;

use crate::model::{Flow, Plan, Program};

/// The plan as text, no line wider than `width` where it can be helped.
pub fn text(plan: &Plan, width: usize) -> String {
    let mut out = String::new();
    let mode = serde_json::to_value(plan.pipeline.mode).ok().and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default();
    let delivery =
        serde_json::to_value(plan.guarantee.delivery).ok().and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default();
    let _ = writeln!(out, "{}   {mode} · native engine · {delivery}", plan.pipeline.name);
    if !plan.guarantee.reasons.is_empty() {
        let _ = writeln!(out, "  why {delivery}: {}", plan.guarantee.reasons.join("; "));
    }
    for flow in &plan.flows {
        let _ = writeln!(out);
        flow_text(&mut out, flow);
    }
    let mut sinks: Vec<(&str, &str)> = Vec::new();
    for column in &plan.columns {
        if !sinks.contains(&(&column.flow, &column.sink)) {
            sinks.push((&column.flow, &column.sink));
        }
    }
    for (flow, sink) in sinks {
        let _ = writeln!(out);
        if plan.flows.len() > 1 || plan.flows.iter().any(|flow| flow.outputs.len() > 1) {
            let _ = writeln!(out, "  {flow} → {sink}");
        }
        columns_text(&mut out, plan, flow, sink, width);
    }
    if !plan.actions.is_empty() {
        let _ = writeln!(out, "\n  will: {}", plan.actions.join(" · "));
    }
    for warning in &plan.warnings {
        let _ = writeln!(out, "  warning: {warning}");
    }
    out
}

fn flow_text(out: &mut String, flow: &Flow) {
    for input in &flow.inputs {
        let mut size = Vec::new();
        if let Some(rows) = input.stream.estimated_rows {
            size.push(format!("about {} rows", grouped(rows)));
        }
        if let Some(bytes) = input.stream.estimated_bytes {
            size.push(bytes_text(bytes));
        }
        size.push(input.stream.reading.clone());
        let _ = writeln!(out, "  source {} {}   {}", input.connector, input.stream.name, size.join(", "));
        if let Some(cursor) = &input.cursor {
            let _ =
                writeln!(out, "    first run: everything; then {cursor} >= last committed, rows delivered before are recognised");
        }
    }
    match &flow.program {
        Program::RowLocal(program) if program.is_identity() => {}
        Program::RowLocal(_) => {
            let _ = writeln!(out, "  transforms   row by row, bounded memory");
        }
        Program::Relational(program) => {
            let _ = writeln!(
                out,
                "  transforms   see everything together ({}), spill to disk; one checkpoint at the end",
                program.reason()
            );
        }
    }
    for output in &flow.outputs {
        let key = if output.key.is_empty() || matches!(output.write_mode.as_str(), "append" | "overwrite") {
            String::new()
        } else {
            format!(" on ({})", output.key.join(", "))
        };
        let _ = writeln!(
            out,
            "  sink {} {}   {}{key}",
            output.connector,
            output.sink.place(&output.stream),
            output.write_mode.as_str()
        );
    }
}

fn columns_text(out: &mut String, plan: &Plan, flow: &str, sink: &str, width: usize) {
    let mut rows = vec![["column".to_owned(), "source".into(), "arrow".into(), "sink".into(), "edge".into()]];
    for column in plan.columns.iter().filter(|column| column.flow == flow && column.sink == sink) {
        let edge = match &column.edge {
            Edge::Exact => "exact".into(),
            Edge::Widening { note } => format!("widening  {note}"),
            Edge::Lossy { reason } | Edge::Unsupported { reason } => {
                format!("{}  {reason}", if column.allowed { "lossy, allowed" } else { "LOSSY" })
            }
        };
        rows.push([column.column.clone(), column.source.clone(), column.arrow.clone(), column.sink_type.clone(), edge]);
    }
    let cap = (width.saturating_sub(12) / 4).max(12);
    let mut widths = [0usize; 4];
    for row in &rows {
        for (index, cell) in row.iter().take(4).enumerate() {
            widths[index] = widths[index].max(cell.chars().count().min(cap));
        }
    }
    for row in rows {
        let mut line = String::from("  ");
        for (index, cell) in row.iter().enumerate() {
            match widths.get(index) {
                Some(&room) => {
                    let _ = write!(line, "{:room$}  ", shortened(cell, room));
                }
                None => line.push_str(cell),
            }
        }
        let _ = writeln!(out, "{}", line.trim_end());
    }
}

fn shortened(text: &str, room: usize) -> String {
    if text.chars().count() <= room {
        return text.to_owned();
    }
    text.chars().take(room.saturating_sub(1)).chain(std::iter::once('…')).collect()
}

/// `6001215` as `6,001,215`.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Bytes with a unit, powers of 1,000.
pub fn bytes_text(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "kB", "MB", "GB", "TB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    if unit == 0 || value >= 100.0 { format!("{value:.0} {}", UNITS[unit]) } else { format!("{value:.1} {}", UNITS[unit]) }
}

/// The plan as data: guarantee, flows, columns with lineage, actions, warnings.
pub fn json(plan: &Plan) -> Value {
    let flows: Vec<Value> = plan
        .flows
        .iter()
        .map(|flow| {
            let (program, reason) = match &flow.program {
                Program::RowLocal(program) if program.is_identity() => ("copy", None),
                Program::RowLocal(_) => ("row_local", None),
                Program::Relational(program) => ("relational", Some(program.reason())),
            };
            json!({
                "name": flow.name,
                "program": program,
                "bounded_memory": reason.is_none(),
                "reason": reason,
                "inputs": flow.inputs.iter().map(|input| json!({
                    "node": input.node, "connector": input.connector, "stream": input.stream.name,
                    "estimated_rows": input.stream.estimated_rows, "estimated_bytes": input.stream.estimated_bytes,
                    "reading": input.stream.reading, "cursor": input.cursor,
                })).collect::<Vec<_>>(),
                "outputs": flow.outputs.iter().map(|output| json!({
                    "node": output.node, "connector": output.connector, "place": output.sink.place(&output.stream),
                    "write_mode": output.write_mode.as_str(), "key": output.key,
                })).collect::<Vec<_>>(),
            })
        })
        .collect();
    json!({
        "pipeline": plan.pipeline.name,
        "mode": plan.pipeline.mode,
        "guarantee": plan.guarantee,
        "flows": flows,
        "columns": plan.columns,
        "actions": plan.actions,
        "warnings": plan.warnings,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_and_sized() {
        assert_eq!((grouped(0), grouped(999), grouped(6_001_215)), ("0".into(), "999".into(), "6,001,215".into()));
        assert_eq!(
            (bytes_text(12), bytes_text(999_999), bytes_text(766_000_000)),
            ("12 B".into(), "1.0 MB".into(), "766 MB".into())
        );
    }
}
