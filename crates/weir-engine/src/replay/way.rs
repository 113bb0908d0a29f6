//! Where a letter belongs: the flow it was met in and the sinks that lack its row, or why it has to stay.

use weir_connect::WriteMode;
use weir_plan::{Flow, Plan, Program};
use weir_spec::Mode;

use crate::store::inspect::DeadView;
use crate::store::letters::{History, MAX_KEPT_BYTES};

/// Where a letter goes.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Way {
    /// Which flow of the plan.
    pub(super) flow: usize,
    /// Which of its outputs lack the row, ascending.
    pub(super) outputs: Vec<usize>,
    /// The same in words, stable from one replay to the next: the sink that the letter names; empty for all sinks.
    pub(super) name: String,
    /// The payload is a row that the flow's own program set aside, not a record of the source.
    pub(super) by_program: bool,
}

/// Why a letter does not go.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Stay {
    /// It waits; the reason says what to do.
    Broken(String),
    /// What its run wrote is not in the target any more.
    Replaced,
}

/// The way of a letter.
pub(super) fn find(plan: &Plan, history: &History, letter: &DeadView) -> Result<Way, Stay> {
    if plan.pipeline.mode == Mode::Cdc {
        return Err(Stay::Broken(
            "a change out of a log goes its own way: correct the row at its source, and the log brings it again".into(),
        ));
    }
    if letter.payload.len() >= MAX_KEPT_BYTES {
        return Err(Stay::Broken("only the beginning of the record was kept; correct it at its source".into()));
    }
    let (at, flow) = flow_of(plan, letter)?;
    match &flow.program {
        Program::RowLocal(_) => {}
        Program::Relational(program) => return Err(Stay::Broken(run_again(plan, flow, &program.reason()))),
        Program::Keyed(program) => {
            return Err(Stay::Broken(format!(
                "rows are seen together here ({}), and time has gone on since: correct the record at its source, which then sends it again",
                program.reason()
            )));
        }
    }
    let (mut outputs, by_program) = outputs_of(flow, letter)?;
    let past = history.flows.get(&(letter.run_id.clone(), letter.flow.clone()));
    match past {
        Some(past) if past.abandoned && !past.committed => return Err(Stay::Replaced),
        Some(past) if !past.committed => {
            return Err(Stay::Broken(match plan.pipeline.mode {
                Mode::Streaming => {
                    "the stream that set it aside is being read, or was not stopped cleanly; stop it with Ctrl-C, then replay"
                        .into()
                }
                _ => "the run that set it aside has not ended; run the pipeline to its end first, then replay".into(),
            }));
        }
        _ => {}
    }
    // Without a record of the run, the moment of the letter is as good.
    let started = past.map_or(&letter.at, |past| &past.started);
    let own = (started.clone(), letter.run_id.clone());
    let replaced = [&letter.flow, &flow.name].into_iter().filter_map(|name| history.last.get(name)).any(|last| *last > own);
    let all = outputs.len();
    if replaced {
        outputs.retain(|&output| flow.outputs[output].write_mode != WriteMode::Overwrite);
    }
    if outputs.is_empty() {
        return Err(Stay::Replaced);
    }
    let name = if !by_program && outputs.len() == all {
        String::new()
    } else {
        outputs.iter().map(|&output| flow.outputs[output].node.as_str()).collect::<Vec<_>>().join("+")
    };
    Ok(Way { flow: at, outputs, name, by_program })
}

/// The flow that the letter was met in, as the plan has it now.
fn flow_of<'a>(plan: &'a Plan, letter: &DeadView) -> Result<(usize, &'a Flow), Stay> {
    let readers: Vec<(usize, &Flow)> = plan
        .flows
        .iter()
        .enumerate()
        .filter(|(_, flow)| flow.inputs.iter().any(|input| input.stream.name == letter.stream))
        .collect();
    // Two sources with a stream of one name give their flows the names of the sources as well.
    let known = |flow: &Flow| {
        flow.name == letter.flow
            || letter.flow == letter.stream && readers.len() == 1
            || flow.inputs.iter().any(|input| letter.flow == format!("{}.{}", input.node, letter.stream))
    };
    let found =
        readers.iter().find(|(_, flow)| flow.name == letter.flow).or_else(|| readers.iter().find(|(_, flow)| known(flow)));
    found.copied().ok_or_else(|| {
        Stay::Broken(match readers.is_empty() {
            true => format!("the pipeline no longer reads stream `{}`; correct the record at its source", letter.stream),
            false => format!(
                "it was met in flow `{}`, which the pipeline no longer has, so it is not known which sinks lack it; correct the record \
                 at its source",
                letter.flow
            ),
        })
    })
}

/// The outputs that lack the row, and whether it is a row of the program.
fn outputs_of(flow: &Flow, letter: &DeadView) -> Result<(Vec<usize>, bool), Stay> {
    let of_program = letter.code.starts_with("WEIR-ROW-");
    let Some(sink) = &letter.sink else {
        if of_program && (flow.outputs.len() > 1 || letter.code == "WEIR-ROW-003") {
            return Err(Stay::Broken(
                "it was kept by an older weir, which did not note which sinks lack the row; correct it at the source".into(),
            ));
        }
        return Ok(((0..flow.outputs.len()).collect(), of_program));
    };
    let outputs: Vec<usize> =
        flow.outputs.iter().enumerate().filter(|(_, output)| output.node == *sink).map(|(at, _)| at).collect();
    match outputs.as_slice() {
        [_] => Ok((outputs, true)),
        _ => Err(Stay::Broken(format!(
            "it was set aside on its way to sink `{sink}`, which the flow no longer has, and the other sinks may have the row; give the \
             sink its name back, or correct the row at the source"
        ))),
    }
}

/// What to do instead where rows are seen together.
fn run_again(plan: &Plan, flow: &Flow, reason: &str) -> String {
    let reason = reason.split("; ").next().unwrap_or(reason);
    let mut text = format!(
        "rows are seen together here ({reason}), so what one more row changes cannot be added afterwards: correct the record at its \
         source, or the pipeline, and run the pipeline again"
    );
    if plan.pipeline.mode == Mode::Incremental {
        text.push_str(&format!(
            ", after `weir state reset {}`, because an incremental run reads only what is new",
            plan.pipeline.name
        ));
    }
    let appends: Vec<String> = flow
        .outputs
        .iter()
        .filter(|output| output.write_mode == WriteMode::Append)
        .map(|output| format!("`{}`", output.node))
        .collect();
    if !appends.is_empty() {
        text.push_str(&format!(
            "; {} appends, so empty its target first or use `write_mode: overwrite`, or the rows that it has come twice",
            appends.join(", ")
        ));
    }
    text
}
