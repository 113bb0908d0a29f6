//! Which engine a pipeline is for, and why: a small model of sizes, cores and memory that says its numbers and where they are from.
//!
//! Our own engine is the choice wherever it can do the work in time: it starts at once, checks every row, and needs nothing installed. Another
//! engine is for what one machine cannot do: a connector that only it has, or a batch that would take longer than [`LONG_SECS`]. Pure: what is
//! not known (rows, bytes) is not guessed, and then says nothing against one machine.

use std::fmt::Write;

use serde::Serialize;
use weir_spec::Engine;
use weir_spec::model::{Delivery, Mode};

use crate::capability::Verdict;
use crate::compile::word;
use crate::registry::Target;
use crate::seam::begin::engine_of;

/// Rows a second and core: Parquet → PostgreSQL, 6,001,215 rows of TPC-H lineitem in 4.87 s on 2 cores that the server shared; PostgreSQL → Parquet took
/// 4.66 s. docs/progress.md, "Measured".
pub const ROWS_PER_CORE_SEC: f64 = 616_000.0;
/// Bytes a second and core: CSV → Parquet, 766 MB in 2.68 s on 2 cores. docs/progress.md, "Measured".
pub const BYTES_PER_CORE_SEC: f64 = 143_000_000.0;
/// Records of 1 KB a second: Kafka → Parquet on 2 cores. docs/progress.md.
pub const STREAMED_PER_SEC: u64 = 150_000;
/// Changes a second into PostgreSQL on 2 cores, the least of nine measurements. docs/progress.md, "Measured".
pub const CHANGES_PER_SEC: u64 = 112_000;
/// What rows that must be seen together (joins, aggregates, sorts) take more: assumed, not measured.
pub const TOGETHER: f64 = 2.0;
/// A batch beyond this is for many machines: it does not fit into a night with room for a second try.
pub const LONG_SECS: f64 = 4.0 * 3600.0;

/// What is known of a pipeline and of the machine that would run it.
#[derive(Debug, Clone, Serialize)]
pub struct Facts {
    /// How it reads.
    pub mode: Mode,
    /// The engine that the file names.
    pub named: Option<Engine>,
    /// Rows of all sources, if they are known.
    pub rows: Option<u64>,
    /// Bytes of all sources at rest, if they are known.
    pub bytes: Option<u64>,
    /// Cores of a native run.
    pub cores: usize,
    /// Memory budget of a native run.
    pub memory_bytes: u64,
    /// Some rows must be seen together: a join, an aggregate, a sort.
    pub together: bool,
    /// State is kept over event time.
    pub keeps_state: bool,
    /// Why our own engine cannot run it.
    pub not_native: Option<String>,
}

/// The choice.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Advice {
    /// The engine; `None`: none can run it.
    pub engine: Option<Engine>,
    /// What it would be compiled for.
    pub target: Option<Target>,
    /// Seconds of a native run, to the millisecond, where rows or bytes are known.
    pub native_secs: Option<f64>,
    /// Why, one clause each.
    pub why: Vec<String>,
    /// Other targets that can run it, with what they keep.
    pub also: Vec<Also>,
}

/// Another target.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Also {
    /// The target.
    pub target: Target,
    /// What it keeps.
    pub delivery: Delivery,
    /// What must run beside the job to feed it.
    pub bridges: Vec<String>,
}

/// Chooses. `verdicts` are in the order of the registry.
pub fn recommend(facts: &Facts, verdicts: &[Verdict]) -> Advice {
    let native_secs = native_secs(facts);
    let mut why = Vec::new();
    let best = best(facts, verdicts);
    let long = native_secs.is_some_and(|secs| secs > LONG_SECS);
    let (engine, target) = match (&facts.not_native, best) {
        (Some(reason), best) => {
            why.push(format!("not native: {reason}"));
            (best.map(|verdict| engine_of(verdict.target)), best.map(|verdict| verdict.target))
        }
        (None, Some(best)) if long && bounded(facts.mode) => (Some(engine_of(best.target)), Some(best.target)),
        (None, _) => (Some(Engine::Native), None),
    };
    why.extend(size(facts, native_secs));
    if engine == Some(Engine::Native) {
        why.extend(memory(facts));
        why.extend(rate(facts));
        if long {
            why.push("no other engine can run it (`weir engines` says why)".into());
        }
    } else if let Some(best) = best {
        let kept = best.delivery.map_or("", word);
        why.push(format!("{} spreads it over machines and keeps {kept}", best.target.title()));
    }
    if let Some(named) = facts.named.filter(|named| Some(*named) != engine) {
        why.push(format!("the file says `engine: {}`, and that counts", named.word()));
    }
    let also = verdicts.iter().filter(|verdict| verdict.runs && Some(verdict.target) != target).filter_map(|verdict| {
        let bridges = verdict.bridges.iter().map(|bridge| bridge.file.clone()).collect();
        Some(Also { target: verdict.target, delivery: verdict.delivery?, bridges })
    });
    Advice { engine, target, native_secs, why, also: also.collect() }
}

fn bounded(mode: Mode) -> bool {
    matches!(mode, Mode::Batch | Mode::Incremental)
}

fn native_secs(facts: &Facts) -> Option<f64> {
    if !bounded(facts.mode) {
        return None;
    }
    #[allow(clippy::cast_precision_loss)] // An estimate.
    let of = |known: Option<u64>, rate: f64| known.map(|known| known as f64 / (rate * facts.cores.max(1) as f64));
    let secs = match (of(facts.rows, ROWS_PER_CORE_SEC), of(facts.bytes, BYTES_PER_CORE_SEC)) {
        (Some(rows), Some(bytes)) => rows.max(bytes),
        (one, other) => one.or(other)?,
    };
    let secs = if facts.together { secs * TOGETHER } else { secs };
    // More digits than that say nothing.
    Some((secs * 1000.0).round() / 1000.0)
}

/// Of those that can run it the one that keeps the most; of equals the one that is for this kind of work.
fn best<'v>(facts: &Facts, verdicts: &'v [Verdict]) -> Option<&'v Verdict> {
    let order: [Engine; 4] = match (facts.mode, facts.together) {
        (Mode::Cdc, _) => [Engine::Flink, Engine::KafkaConnect, Engine::Seatunnel, Engine::Spark],
        (Mode::Streaming, _) => [Engine::Flink, Engine::Spark, Engine::KafkaConnect, Engine::Seatunnel],
        (_, true) => [Engine::Spark, Engine::Flink, Engine::Seatunnel, Engine::KafkaConnect],
        (_, false) => [Engine::Spark, Engine::Seatunnel, Engine::Flink, Engine::KafkaConnect],
    };
    let place = |verdict: &Verdict| order.iter().position(|engine| *engine == engine_of(verdict.target)).unwrap_or(order.len());
    let able = verdicts.iter().filter(|verdict| verdict.runs);
    // Of one engine's targets the first is what its name means.
    able.min_by_key(|verdict| (std::cmp::Reverse(verdict.delivery), place(verdict)))
}

fn size(facts: &Facts, native_secs: Option<f64>) -> Option<String> {
    if !bounded(facts.mode) {
        return None;
    }
    let mut known = Vec::new();
    known.extend(facts.rows.map(|rows| format!("{} rows", grouped(rows))));
    known.extend(facts.bytes.map(size_of));
    let Some(secs) = native_secs else {
        return Some("how much there is is not known, which says nothing against one machine".into());
    };
    let what = known.join(", ");
    if secs < 1.0 {
        return Some(format!("about {what}: less than a second on one machine"));
    }
    let cores = if facts.cores == 1 { "1 core".into() } else { format!("{} cores", facts.cores) };
    let mut text = format!(
        "about {what}: about {} on {cores} (measured a core: {} rows/s, {}/s; docs/progress.md",
        time(secs),
        grouped(ROWS_PER_CORE_SEC as u64),
        size_of(BYTES_PER_CORE_SEC as u64)
    );
    if facts.together {
        let _ = write!(text, "; twice that for rows that meet, which is assumed");
    }
    text.push(')');
    Some(text)
}

fn memory(facts: &Facts) -> Option<String> {
    let budget = format!("{} MiB", facts.memory_bytes >> 20);
    if facts.keeps_state {
        return Some("its state over event time is on disk, and a part of each checkpoint".into());
    }
    if !facts.together {
        return Some(format!("rows pass one by one: {budget} of memory are enough at any size"));
    }
    match facts.bytes {
        Some(bytes) if bytes > facts.memory_bytes => {
            Some(format!("rows meet: beyond {budget} of memory they spill, up to about {} of disk", size_of(bytes)))
        }
        Some(_) => Some(format!("rows meet, and {budget} of memory hold them")),
        None => Some(format!("rows meet: beyond {budget} of memory they spill to disk")),
    }
}

fn rate(facts: &Facts) -> Option<String> {
    match facts.mode {
        Mode::Streaming => Some(format!(
            "one machine took {} records of 1 KB a second (measured on 2 cores; docs/progress.md)",
            grouped(STREAMED_PER_SEC)
        )),
        Mode::Cdc => Some(format!(
            "one machine took {} changes a second (measured on 2 cores; docs/progress.md)",
            grouped(CHANGES_PER_SEC)
        )),
        Mode::Batch | Mode::Incremental => None,
    }
}

/// The advice for people: a line for the choice, one for the others; not wrapped.
pub fn lines(advice: &Advice) -> Vec<String> {
    let chosen = match (advice.engine, advice.target) {
        (None, _) => "none can run it".to_owned(),
        (Some(engine), Some(target)) if target.name() != engine.word() => format!("{} ({})", engine.word(), target.name()),
        (Some(engine), _) => engine.word().to_owned(),
    };
    let mut lines = vec![format!("engine: {chosen}; {}", advice.why.join("; "))];
    if !advice.also.is_empty() {
        let each = advice.also.iter().map(|also| match also.bridges.as_slice() {
            [] => format!("{} ({})", also.target.name(), word(also.delivery)),
            bridges => format!("{} ({}, fed by {})", also.target.name(), word(also.delivery), bridges.join(", ")),
        });
        lines.push(format!("also runs on: {}", each.collect::<Vec<_>>().join(", ")));
    }
    lines
}

fn time(secs: f64) -> String {
    match secs {
        secs if secs < 120.0 => format!("{secs:.0} s"),
        secs if secs < 7200.0 => format!("{:.0} min", secs / 60.0),
        secs => format!("{:.0} h", secs / 3600.0),
    }
}

fn size_of(bytes: u64) -> String {
    const UNITS: [(u64, &str); 4] = [(1_000_000_000_000, "TB"), (1_000_000_000, "GB"), (1_000_000, "MB"), (1000, "kB")];
    match UNITS.iter().find(|(unit, _)| bytes >= *unit) {
        #[allow(clippy::cast_precision_loss)] // For people.
        Some((unit, name)) if bytes < 100 * unit => format!("{:.1} {name}", bytes as f64 / *unit as f64),
        Some((unit, name)) => format!("{} {name}", bytes / unit),
        None => format!("{bytes} B"),
    }
}

fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::capability::Bridge;
    use crate::registry::Release;

    fn facts() -> Facts {
        Facts {
            mode: Mode::Batch,
            named: None,
            rows: Some(6_001_215),
            bytes: Some(766_000_000),
            cores: 2,
            memory_bytes: 512 << 20,
            together: false,
            keeps_state: false,
            not_native: None,
        }
    }

    fn verdict(target: Target, delivery: Option<Delivery>) -> Verdict {
        let bridges = match target {
            Target::FlinkSql if delivery.is_some() => vec![Bridge { file: "p-ws.weir.yaml".into(), by: "weir run" }],
            _ => Vec::new(),
        };
        Verdict { target, runs: delivery.is_some(), delivery, reasons: vec![], refusals: vec![], notes: vec![], bridges }
    }

    /// `tests/golden/cost.txt`; `WEIR_REWRITE=1` writes what is said now.
    #[test]
    fn the_choice_and_its_reasons_are_exactly_what_is_expected() {
        use Delivery::{AtLeastOnce, EffectivelyOnce};
        let all = [
            verdict(Target::SeaTunnel(Release::V2_3_9), Some(AtLeastOnce)),
            verdict(Target::FlinkSql, Some(EffectivelyOnce)),
            verdict(Target::Spark, Some(EffectivelyOnce)),
            verdict(Target::KafkaConnect, None),
        ];
        let none = [verdict(Target::Spark, None)];
        let terabytes = || Facts { rows: None, bytes: Some(40_000_000_000_000), ..facts() };
        let cases: Vec<(&str, Facts, &[Verdict])> = vec![
            ("lineitem", facts(), &all),
            ("twelve rows", Facts { rows: Some(12), bytes: Some(400), ..facts() }, &none),
            ("nothing known", Facts { rows: None, bytes: None, ..facts() }, &all),
            ("a join of 2 GB", Facts { bytes: Some(2_000_000_000), together: true, cores: 8, ..facts() }, &all),
            ("40 TB", terabytes(), &all),
            ("40 TB that meet", Facts { together: true, ..terabytes() }, &all),
            ("40 TB on 64 cores", Facts { cores: 64, ..terabytes() }, &all),
            ("40 TB that nobody else can read", terabytes(), &none),
            ("a stream", Facts { mode: Mode::Streaming, rows: None, bytes: None, keeps_state: true, ..facts() }, &all),
            ("a log", Facts { mode: Mode::Cdc, ..facts() }, &all),
            ("a table of Iceberg", Facts { not_native: Some("this build does not reach `iceberg`".into()), ..facts() }, &all),
            ("nobody", Facts { not_native: Some("this build does not reach `x`".into()), ..facts() }, &none),
            ("flink is named", Facts { named: Some(Engine::Flink), ..facts() }, &all),
        ];
        let mut made = String::new();
        for (name, facts, verdicts) in cases {
            let _ = writeln!(made, "{name}\n  {}", lines(&recommend(&facts, verdicts)).join("\n  "));
        }
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/cost.txt");
        if std::env::var_os("WEIR_REWRITE").is_some() {
            std::fs::write(&path, &made).unwrap();
        }
        assert_eq!(std::fs::read_to_string(&path).unwrap_or_default(), made);
    }
}
