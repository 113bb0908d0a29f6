//! One dead letter, decoded again with the options as they are now.
//!
//! The letter says which file it is from; that file's layout (delimiter, columns, …) as it is found now is what the record
//! is read with. Only what is certain counts: exactly one record, and all of its bytes.

use std::sync::Arc;

use futures::TryStreamExt;
use weir_connect::{Batch, DeadLetter, Event};
use weir_error::{Kind, Result};
use weir_formats::{Compression, Decoded, FileSplit, Input, Layout, MemoryInput, read};

use super::listing::Listed;
use super::source::{folder_values, with_folders};
use super::survey::Survey;

/// A letter of this size or more may be the beginning of its record only.
const KEPT: usize = 1 << 20;

/// The row, or the letter with the reason why there still is none.
pub(crate) async fn redecode(survey: &Survey, letter: &DeadLetter) -> Result<Vec<Event>> {
    let still = |reason: String| Ok(vec![Event::Dead(DeadLetter { reason, ..letter.clone() })]);
    if letter.payload.len() >= KEPT {
        return still("only the beginning of the record was kept; correct it in its file and read that again".into());
    }
    let Some((file, layout)) = layout_of(survey, &letter.place) else {
        return still("the file that the record came from is not there any more; correct the record at the source".into());
    };
    let Some((layout, text)) = alone(layout, &letter.payload) else {
        return still("records of this format cannot be read one by one; correct the record in its file".into());
    };
    let split = FileSplit { start: 0, end: text.len() as u64, bytes: text.len() as u64, rows: None, layout };
    let input: Arc<dyn Input> = Arc::new(MemoryInput::new(letter.place.clone(), text));
    let decoded: Result<Vec<Decoded>> = match read(input, &split, survey.file_schema.clone(), &survey.options, None).await {
        Ok(stream) => stream.try_collect().await,
        Err(error) => Err(error),
    };
    let decoded = match decoded {
        Ok(decoded) => decoded,
        // `ragged: error` and the like: broken is broken, in whichever way it is told.
        Err(error) if error.kind() == Kind::Data => return still(error.to_string()),
        Err(error) => return Err(error),
    };
    match decoded.as_slice() {
        [Decoded::Dead(dead)] => still(dead.reason.clone()),
        [Decoded::Batch { records, source_bytes, .. }] if records.num_rows() == 1 => {
            let folders = folder_values(survey, &file.partition, &letter.place)?;
            let records = with_folders(records.clone(), &survey.schema(), &survey.folder_fields, &folders)?;
            Ok(vec![Event::Batch(Batch { records, position: None, source_bytes: *source_bytes })])
        }
        _ => still("what was kept is not exactly one record; correct it in its file".into()),
    }
}

/// The file whose name the place begins with: `in.csv:3`, `in.json record 7`.
fn layout_of<'a>(survey: &'a Survey, place: &str) -> Option<(&'a Listed, &'a Layout)> {
    survey.files.iter().zip(&survey.inferred).find_map(|(file, inferred)| {
        let rest = place.strip_prefix(&survey.storage.show(&file.meta.path))?;
        rest.starts_with([':', ' ']).then_some((file, &inferred.layout))
    })
}

/// The layout of a file that holds this record and nothing else, and the file.
fn alone(layout: &Layout, payload: &[u8]) -> Option<(Layout, Vec<u8>)> {
    let mut text = payload.to_vec();
    let layout = match layout {
        Layout::Csv(file) => {
            let mut file = file.clone();
            (file.compression, file.header, file.skip_lines) = (Compression::None, false, 0);
            // Of a file in another encoding the letter has the text as UTF-8 already, unless it was read in a wrong one.
            if std::str::from_utf8(payload).is_ok() {
                file.encoding = "utf-8".into();
            }
            text.push(file.terminator);
            Layout::Csv(file)
        }
        Layout::Json(file) => {
            let mut file = file.clone();
            file.compression = Compression::None;
            if file.lines {
                text.push(b'\n');
            } else {
                // A record of a document may have line breaks inside.
                text.insert(0, b'[');
                text.push(b']');
            }
            Layout::Json(file)
        }
        Layout::SelfDescribing => return None,
    };
    Some((layout, text))
}
