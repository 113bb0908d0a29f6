//! Corrections of a folder that keeps every change: they are changes too, appended as the log's own are. A row that is missing or differs comes as the table has
//! it now (`_op: r`, as a snapshot would bring it), a row too many goes (`d`).

use std::sync::Arc;

use weir_connect::{Op, StreamWriter, TransactionMark};
use weir_error::Result;

use super::super::manifest::Manifest;
use super::super::sink::Shared;
use super::super::writer::LaneWriter;
use super::ledger::{Correction, LogRecord};
use super::rows;
use super::state::mend::{Wanted, fitted, known};

/// `_position` of a correction: it has none in the log.
const POSITION: &str = "repair";

/// The changes that make the rows of these keys so. `shared` has the schema of the files.
pub(in super::super) async fn corrections(
    shared: &Arc<Shared>,
    manifest: &Manifest,
    wanted: &Wanted,
    record: &LogRecord,
) -> Result<Correction> {
    let table = rows::table(&shared.contract.dataset);
    let stored = rows::schema(&table)?;
    let now = chrono::Utc::now().timestamp_micros();
    let mark = TransactionMark { end: 0, position: POSITION.into(), id: None, committed_at_us: now };
    let gone = known(shared, manifest, &wanted.key, &wanted.gone).await?;
    let rows = wanted.rows.iter().map(|rows| (Op::Read, rows)).chain(gone.iter().map(|(rows, _)| (Op::Delete, rows)));
    let named = Shared { stem: format!("{:012}", record.next_file), ..shared.as_ref().clone() };
    let mut lane = LaneWriter::collecting(Arc::new(named)).await?;
    let mut changes = record.changes;
    for (op, rows) in rows.filter(|(_, rows)| rows.num_rows() > 0) {
        let batch = fitted(rows, &table, op, mark.clone())?;
        lane.write(rows::of(&batch, &stored, changes)?).await?;
        changes += rows.num_rows() as u64;
    }
    let files = lane.finish().await?;
    Ok(Correction { files, swap: None, numbers: Some((record.next_file + 1, changes)), rows: changes - record.changes })
}
