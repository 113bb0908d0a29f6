//! Whether what somebody wrote instead of a record would go through: asked before it is kept, with the replay's own steps.

use weir_connect::Event;
use weir_error::{Error, Kind, Result};
use weir_plan::{Plan, Program, WrongColumn, correct_record};

use super::rows;
use super::way::{self, Stay, Way};
use crate::store::StateStore;
use crate::store::letters::{Correction, MAX_KEPT_BYTES, no_letter};

/// What became of a correction.
#[derive(Debug)]
pub enum Corrected {
    /// It is kept beside the original; a replay makes so many rows of it.
    Kept {
        /// The rows.
        rows: u64,
    },
    /// It would not go through.
    Wrong(Vec<WrongColumn>),
}

/// Keeps `record` as the correction of a letter that waits, if a replay through `plan` would write it. A row that a transform set aside is a
/// JSON object with all columns, each exactly as it would be written; a record of a source is as the source has it.
///
/// # Errors
/// `WEIR-DEAD-001`: there is no such letter; `002`: it does not wait; `003`: no replay would take it, whatever is in it; `005`: it is too long.
/// A source that cannot be asked.
pub async fn correct(plan: &Plan, store: &StateStore, id: i64, record: &[u8], by: &str) -> Result<Corrected> {
    let pipeline = plan.pipeline.name.clone();
    let letter = store.letter(&pipeline, id).await?.ok_or_else(|| no_letter(id))?;
    if letter.replayed_at.is_some() || letter.discarded.is_some() {
        return Err(over(id));
    }
    if record.len() >= MAX_KEPT_BYTES {
        return Err(Error::new("WEIR-DEAD-005", Kind::Limit, "the record is too long to be kept")
            .because(format!("it has {} bytes; there is room for less than {MAX_KEPT_BYTES}", record.len())));
    }
    let history = store.history(&pipeline, &format!("{pipeline}.replay/")).await?;
    let mut view = letter.into_view();
    view.payload = record.to_vec();
    let way = way::find(plan, &history, &view).map_err(|stay| match stay {
        Stay::Broken(reason) => no_way(id).because(reason),
        Stay::Replaced => no_way(id).because(super::REPLACED),
    })?;
    if way.by_program {
        let schema = plan.flows[way.flow].inputs.first().map(|input| input.stream.schema.clone());
        let schema = schema.ok_or_else(|| Error::internal("a flow without an input"))?;
        match correct_record(record, &schema) {
            Ok((payload, media_type)) => (view.payload, view.media_type) = (payload, media_type.to_owned()),
            Err(wrong) => return Ok(Corrected::Wrong(wrong)),
        }
    }
    let mut count = 0;
    for event in rows(&plan.flows[way.flow], &way, &view).await? {
        match event {
            Event::Dead(dead) => return Ok(Corrected::Wrong(vec![WrongColumn::of_record(dead.reason)])),
            Event::Batch(batch) => {
                if let Some(reason) = set_aside(plan, &way, &batch.records)? {
                    return Ok(Corrected::Wrong(vec![WrongColumn::of_record(reason)]));
                }
                count += batch.records.num_rows() as u64;
            }
            _ => {}
        }
    }
    if count == 0 {
        return Ok(Corrected::Wrong(vec![WrongColumn::of_record("there is no record in it".into())]));
    }
    let correction = Correction {
        payload: view.payload,
        media_type: view.media_type,
        by: by.to_owned(),
        at: chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Millis, true),
    };
    match store.letter_corrected(&pipeline, id, &correction).await? {
        true => Ok(Corrected::Kept { rows: count }),
        false => Err(over(id)),
    }
}

/// Why a transform on the letter's way would set the row aside again.
fn set_aside(plan: &Plan, way: &Way, records: &arrow::array::RecordBatch) -> Result<Option<String>> {
    let Program::RowLocal(program) = &plan.flows[way.flow].program else { return Ok(None) };
    let outputs = match program.apply(records) {
        Ok(outputs) => outputs,
        Err(error) => return Ok(Some(error.to_string())),
    };
    let dead = outputs.into_iter().enumerate().filter(|(at, _)| way.outputs.contains(at)).flat_map(|(_, output)| output.dead);
    Ok(dead.map(|dead| dead.reason).next())
}

fn over(id: i64) -> Error {
    Error::new("WEIR-DEAD-002", Kind::Conflict, format!("dead letter {id} does not wait any more"))
        .because("it was replayed or given up")
}

fn no_way(id: i64) -> Error {
    Error::new("WEIR-DEAD-003", Kind::Conflict, format!("no replay would take dead letter {id}, whatever is in it"))
}
