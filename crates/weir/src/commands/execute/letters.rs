//! A job's dead letters: what is asked about them, and the verb `replay`.

use std::sync::Arc;
use std::time::Instant;

use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use weir_control::worker::letters::{LetterChoice, LetterErrand, LetterState};
use weir_control::worker::order::WorkOrder;
use weir_control::worker::scrub::Scrubber;
use weir_engine::RunStatus;
use weir_engine::replay::{self, Corrected, ReplayedChosen};
use weir_engine::store::letters::{Choice, Discarded, Letter, LetterState as State, no_letter};
use weir_error::{Error, Kind, Result};

use super::asking::Asking;
use super::{run, say};

/// Does the errand.
pub async fn answer(order: &WorkOrder, asking: Arc<Asking>, errand: &LetterErrand) -> Result<Value> {
    // Looking makes nothing.
    if !order.checkpoints_at_worker && !order.state_dir.join("state.db").is_file() {
        return match errand {
            LetterErrand::Find { .. } => Ok(json!({"letters": [], "kinds": []})),
            LetterErrand::Show { id } | LetterErrand::Correct { id, .. } => Err(no_letter(*id)),
            LetterErrand::Discard { .. } => Ok(json!({"discarded": 0})),
            LetterErrand::Choose { .. } => Ok(json!({"chosen": 0})),
        };
    }
    let opened = run::open(order)?;
    let store = run::state(order, asking).open().await?;
    let scrubber = Scrubber::new(&order.secret_values());
    let name = &opened.pipeline.name;
    let whole = async |id: i64| store.letter(name, id).await?.ok_or_else(|| no_letter(id));
    match errand {
        LetterErrand::Find { choice, below, limit } => {
            let choice = choice_of(choice);
            let letters = store.letter_page(name, &choice, *below, *limit).await?;
            let kinds = match below {
                None => store.letter_kinds(name, choice.state).await?,
                Some(_) => Vec::new(),
            };
            let letters: Vec<Value> = letters.iter().map(|letter| told(letter, &scrubber, false)).collect();
            Ok(json!({"letters": letters, "kinds": kinds}))
        }
        LetterErrand::Show { id } => Ok(json!({"letter": told(&whole(*id).await?, &scrubber, true)})),
        LetterErrand::Correct { id, record, by } => {
            let before = whole(*id).await?;
            if covered(&before.payload, &scrubber).1 {
                return Err(Error::new("WEIR-DEAD-007", Kind::Conflict, "a secret of the job stands in this record")
                    .because("it is not shown here, so what is written instead of it would lose it")
                    .hint("correct the record at its source"));
            }
            let plan = run::plan(&opened, opened.lanes(None)).await?;
            match replay::correct(&plan, &store, *id, record.as_bytes(), by).await? {
                Corrected::Kept { .. } => Ok(json!({"letter": told(&whole(*id).await?, &scrubber, true)})),
                Corrected::Wrong(wrong) => {
                    let part = |wrong: weir_plan::WrongColumn| json!({"column": wrong.column, "message": wrong.message, "help": wrong.help});
                    Ok(json!({"wrong": wrong.into_iter().map(part).collect::<Vec<_>>()}))
                }
            }
        }
        LetterErrand::Discard { choice, reason, by } => {
            let at = chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Millis, true);
            let discarded = Discarded { by: by.clone(), at, reason: reason.clone() };
            Ok(json!({"discarded": store.letters_discarded(name, &choice_of(choice), &discarded).await?}))
        }
        LetterErrand::Choose { choice, key } => Ok(json!({"chosen": store.letters_choose(name, &choice_of(choice), key).await?})),
    }
}

fn choice_of(asked: &LetterChoice) -> Choice {
    Choice {
        ids: asked.ids.clone(),
        state: asked.state.map(|state| match state {
            LetterState::Waiting => State::Waiting,
            LetterState::Replayed => State::Replayed,
            LetterState::Discarded => State::Discarded,
        }),
        run: asked.run.clone(),
        stream: asked.stream.clone(),
        code: asked.code.clone(),
        sink: asked.sink.clone(),
        since: asked.since.clone(),
        until: asked.until.clone(),
        up_to: asked.up_to,
    }
}

/// A letter as the API has it.
fn told(letter: &Letter, scrubber: &Scrubber, whole: bool) -> Value {
    let state = match (&letter.replayed_at, &letter.discarded) {
        (Some(_), _) => LetterState::Replayed,
        (None, Some(_)) => LetterState::Discarded,
        (None, None) => LetterState::Waiting,
    };
    let kept = usize::try_from(letter.payload_bytes).unwrap_or(0);
    let correction = letter.correction.as_ref().map(|correction| {
        let record = whole.then(|| record(&correction.payload, correction.payload.len(), &correction.media_type, scrubber));
        json!({"record": record, "by": correction.by, "at": correction.at})
    });
    json!({
        "id": letter.id, "run_id": letter.run, "flow": letter.flow, "sink": letter.sink, "stream": letter.stream,
        "code": letter.code, "reason": letter.reason, "place": letter.place, "at": letter.at, "state": state,
        "record": record(&letter.payload, kept, &letter.media_type, scrubber), "record_bytes": kept, "correction": correction,
        "replayed_at": letter.replayed_at, "discarded": letter.discarded, "refusal": letter.refusal,
    })
}

fn record(shown: &[u8], kept: usize, media_type: &str, scrubber: &Scrubber) -> Value {
    let text = match std::str::from_utf8(shown) {
        Ok(_) => Some(shown),
        // Only its last character is missing a part, because it was cut there.
        Err(error) if shown.len() < kept && error.error_len().is_none() => shown.get(..error.valid_up_to()),
        Err(_) => None,
    };
    let (content, encoding, veiled) = match text {
        Some(text) => {
            let (content, veiled) = covered(text, scrubber);
            (content, "text", veiled)
        }
        None => (shown.iter().map(|byte| format!("{byte:02x}")).collect(), "hex", covered(shown, scrubber).1),
    };
    json!({"content": content, "encoding": encoding, "media_type": media_type, "cut": shown.len() < kept, "veiled": veiled})
}

/// A text without the secrets of the order, and whether there was one in it.
fn covered(record: &[u8], scrubber: &Scrubber) -> (String, bool) {
    let text = String::from_utf8_lossy(record);
    let clean = scrubber.text(&text, false);
    let veiled = clean != text;
    (clean, veiled)
}

/// The verb `replay`: takes the letters that were chosen under a name once more through the pipeline, tells the report, gives the exit code.
pub async fn replay(order: &WorkOrder, letters: &str, stop: CancellationToken, asking: Arc<Asking>) -> u8 {
    let begin = Instant::now();
    let millis = || u64::try_from(begin.elapsed().as_millis()).unwrap_or(u64::MAX);
    match attempt(order, letters, stop, asking).await {
        Ok((pipeline, done)) => {
            let (report, code) = report(&pipeline, done, millis());
            say::report(&report);
            code
        }
        Err(error) => {
            say::report(&run::not_begun("", &error, millis()));
            error.exit_code()
        }
    }
}

async fn attempt(
    order: &WorkOrder,
    letters: &str,
    stop: CancellationToken,
    asking: Arc<Asking>,
) -> Result<(String, ReplayedChosen)> {
    let opened = run::open(order)?;
    let options = run::options(order, &opened, run::state(order, asking), stop.clone())?;
    let plan = tokio::select! {
        plan = run::plan(&opened, options.parallelism) => plan?,
        () = stop.cancelled() => return Err(Error::cancelled()),
    };
    say::schemas(&run::schemas(&plan));
    let done = replay::replay_chosen(&plan, letters, &options, &mut say::Lines).await?;
    Ok((opened.pipeline.name.clone(), done))
}

/// The engine's report, with what became of the letters. A run whose letters still wait is no success: it says so, and why.
fn report(pipeline: &str, done: ReplayedChosen, duration_ms: u64) -> (Value, u8) {
    let mut status = done.report.as_ref().map_or(RunStatus::Succeeded, |report| report.status);
    let mut body = match &done.report {
        Some(report) => serde_json::to_value(report).unwrap_or_default(),
        None => json!({
            "run_id": "", "status": status, "streams": [], "guarantee": "", "checkpoint": null, "warnings": [],
        }),
    };
    body["pipeline"] = pipeline.into();
    body["duration_ms"] = duration_ms.into();
    body["streams"] = by_name(body["streams"].take());
    body["replay"] = json!({
        "through": done.through, "waiting": done.waiting, "replaced": done.replaced,
        "reasons": done.reasons.iter().map(|(id, reason)| json!({"letter": id, "reason": reason})).collect::<Vec<_>>(),
    });
    if done.waiting > 0 && matches!(status, RunStatus::Succeeded | RunStatus::DeadLettersExceeded) {
        status = RunStatus::Failed;
        let all = done.through + done.waiting + done.replaced;
        let first = done.reasons.first().map(|(id, reason)| format!("the first of them, {id}: {reason}")).unwrap_or_default();
        let error = Error::new("WEIR-DEAD-011", Kind::Data, format!("{} of {all} dead letters still wait", done.waiting))
            .because(first)
            .hint("those that went through are written; each letter says why it waits");
        body["error"] = serde_json::to_value(error.to_json()).unwrap_or_default();
    }
    body["status"] = serde_json::to_value(status).unwrap_or_default();
    let code = match status {
        RunStatus::Succeeded => 0,
        RunStatus::Interrupted => 130,
        RunStatus::DeadLettersExceeded => 4,
        RunStatus::Failed => {
            if done.waiting > 0 {
                4
            } else {
                1
            }
        }
    };
    (body, code)
}

/// A replay has several runs; to people a stream is one.
fn by_name(streams: Value) -> Value {
    let Value::Array(streams) = streams else { return json!([]) };
    let mut sums: Vec<Value> = Vec::new();
    for stream in streams {
        let Some(sum) = sums.iter_mut().find(|sum| sum["name"] == stream["name"]) else {
            sums.push(stream);
            continue;
        };
        for name in ["rows_read", "rows_written", "rows_filtered", "rows_dead", "rows_derived", "bytes_written", "objects"] {
            let both = sum[name].as_u64().unwrap_or(0).saturating_add(stream[name].as_u64().unwrap_or(0));
            if both > 0 || sum.get(name).is_some() {
                sum[name] = both.into();
            }
        }
    }
    Value::Array(sums)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_text_or_hexadecimal_and_says_what_is_hidden() {
        let scrubber = Scrubber::new(&["hunter2-secret"]);
        let seen = |bytes: &[u8], kept| {
            let shown = record(bytes, kept, "text/csv", &scrubber);
            (
                shown["content"].as_str().unwrap().to_owned(),
                shown["encoding"] == "hex",
                shown["cut"] == true,
                shown["veiled"] == true,
            )
        };
        assert_eq!(seen(b"a,b", 3), ("a,b".into(), false, false, false));
        assert_eq!(seen("aé".as_bytes(), 3), ("aé".into(), false, false, false));
        assert_eq!(seen(&"aé".as_bytes()[..2], 3), ("a".into(), false, true, false));
        assert_eq!(seen(&"aé".as_bytes()[..2], 2), ("61c3".into(), true, false, false));
        assert_eq!(seen(b"x hunter2-secret", 16), ("x ***".into(), false, false, true));
    }

    #[test]
    fn a_replay_whose_letters_still_wait_is_no_success() {
        let done =
            ReplayedChosen { through: 2, waiting: 1, reasons: vec![(7, "still short".into())], ..ReplayedChosen::default() };
        let (body, code) = report("p", done, 5);
        assert_eq!((body["status"].as_str(), body["error"]["code"].as_str(), code), (Some("failed"), Some("WEIR-DEAD-011"), 4));
        let (body, code) = report("p", ReplayedChosen::default(), 5);
        assert_eq!((body["status"].as_str(), body.get("error"), code), (Some("succeeded"), None, 0));
    }

    #[test]
    fn streams_of_several_runs_are_summed() {
        let one = |name: &str, rows: u64| json!({"name": name, "rows_read": rows, "rows_written": rows, "rows_filtered": 0, "rows_dead": 0});
        let sums = by_name(json!([one("a", 2), one("b", 1), one("a", 3)]));
        assert_eq!(
            (sums.as_array().unwrap().len(), &sums[0]["rows_written"], &sums[1]["rows_written"]),
            (2, &json!(5), &json!(1))
        );
    }
}
