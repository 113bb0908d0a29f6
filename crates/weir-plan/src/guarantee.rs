//! The promise, and why: what the sources can give again, what the sinks keep together with the rows.

use weir_connect::CommitKind;
use weir_spec::model::Delivery;

use crate::model::{Flow, FlowOutput, Guarantee, Program};

/// The word in the spec.
pub(crate) fn word(delivery: Delivery) -> &'static str {
    match delivery {
        Delivery::AtLeastOnce => "at_least_once",
        Delivery::EffectivelyOnce => "effectively_once",
        Delivery::ExactlyOnce => "exactly_once",
    }
}

/// The weakest promise over all sinks.
///
/// | program | source re-reads the same rows | sink | promise |
/// | --- | --- | --- | --- |
/// | row-local | yes | staged, co-committed | exactly once |
/// | row-local | no | staged, co-committed | at least once: a second read of an unfinished split may differ |
/// | keyed | as row-local: its state is part of each epoch, and goes back with the positions | | |
/// | relational (one epoch) | either | staged, co-committed | exactly once: an interrupted attempt leaves nothing |
/// | any | either | idempotent | effectively once; a source that does not re-read the same rows: at least once |
/// | any | either | append | at least once |
pub(crate) fn of(flows: &[Flow]) -> Guarantee {
    let mut delivery = Delivery::ExactlyOnce;
    let mut reasons: Vec<String> = Vec::new();
    let mut add = |reason: String| {
        if !reasons.contains(&reason) {
            reasons.push(reason);
        }
    };
    for flow in flows {
        if matches!(flow.program, Program::Relational(_)) {
            add(format!("`{}` runs as one epoch: an interrupted attempt leaves nothing behind", flow.name));
        } else {
            flow.inputs.iter().for_each(|input| add(clause(&input.connector, &input.source.capabilities().replay_note)));
            if matches!(flow.program, Program::Keyed(_)) {
                add(format!("the state of `{}` is part of each checkpoint", flow.name));
            }
        }
        for output in &flow.outputs {
            delivery = delivery.min(promise(flow, output));
            add(clause(&output.connector, &output.sink.capabilities(output.write_mode).commit_note));
        }
    }
    reasons.retain(|reason| !reason.is_empty());
    Guarantee { delivery, reasons }
}

fn promise(flow: &Flow, output: &FlowOutput) -> Delivery {
    let one_epoch = matches!(flow.program, Program::Relational(_));
    let replayable = flow.inputs.iter().all(|input| input.source.capabilities().replayable);
    match output.sink.capabilities(output.write_mode).commit {
        CommitKind::Staged | CommitKind::CoCommitted if one_epoch || replayable => Delivery::ExactlyOnce,
        CommitKind::Idempotent if replayable => Delivery::EffectivelyOnce,
        _ => Delivery::AtLeastOnce,
    }
}

/// A note with its connector's name before it, unless it names it itself.
fn clause(connector: &str, note: &str) -> String {
    if note.is_empty() || note.contains(connector) { note.to_string() } else { format!("{connector}: {note}") }
}

/// The part that keeps the promise down, in words.
pub(crate) fn weakest(flows: &[Flow]) -> Option<String> {
    let (flow, output) = flows
        .iter()
        .flat_map(|flow| flow.outputs.iter().map(move |output| (flow, output)))
        .min_by_key(|(flow, output)| promise(flow, output))?;
    let kept = word(promise(flow, output));
    let capabilities = output.sink.capabilities(output.write_mode);
    if matches!(capabilities.commit, CommitKind::Staged | CommitKind::CoCommitted) {
        let input = flow.inputs.iter().find(|input| !input.source.capabilities().replayable)?;
        return Some(format!(
            "source `{}` ({}) gives {kept}: {}",
            input.node,
            input.connector,
            input.source.capabilities().replay_note
        ));
    }
    Some(format!(
        "sink `{}` ({}) with write_mode `{}` gives {kept}: {}",
        output.node,
        output.connector,
        output.write_mode.as_str(),
        capabilities.commit_note
    ))
}

/// What to change so that `demanded` holds, as far as the sinks offer it.
pub(crate) fn way_out(flows: &[Flow], demanded: Delivery) -> String {
    use weir_connect::WriteMode;
    for flow in flows {
        for output in &flow.outputs {
            if promise(flow, output) >= demanded {
                continue;
            }
            for mode in [WriteMode::Append, WriteMode::Upsert, WriteMode::Overwrite, WriteMode::Merge] {
                let capabilities = output.sink.capabilities(mode);
                let kept = match capabilities.commit {
                    CommitKind::Staged | CommitKind::CoCommitted => Delivery::ExactlyOnce,
                    CommitKind::Idempotent => Delivery::EffectivelyOnce,
                    CommitKind::Append => Delivery::AtLeastOnce,
                };
                if mode != output.write_mode && kept >= demanded && capabilities.write_modes.contains(&mode) {
                    let key = if matches!(mode, WriteMode::Upsert | WriteMode::Merge) { " with a key" } else { "" };
                    return format!("set `write_mode: {}`{key} on sink `{}`", mode.as_str(), output.node);
                }
            }
        }
    }
    "choose another sink".into()
}
