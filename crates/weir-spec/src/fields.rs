//! Reading the values of top-level keys: text, words, whole numbers, the schedule, alerts, labels.
//!
//! These are read before references are resolved, so a reference is an error here.

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json};

use crate::codes;
use crate::cron;
use crate::diagnostic::Diagnostic;
use crate::model::{Alert, Engine, JournalPolicy, Keep, RollPolicy, Schedule, WhenFull};
use crate::options::Checker;
use crate::problems::{Path, nearest, one_of, short};
use crate::reference::has_reference;
use crate::tree::{Entry, Tree, Value};
use crate::units;

impl Checker<'_> {
    fn wrong(&mut self, entry: &Entry, path: &Path, expected: &str) {
        let mut problem = Diagnostic::error(codes::WRONG_TYPE, format!("`{}` must be {expected}", entry.written_key()))
            .at(&path.dotted, Some(entry.place()))
            .label(if entry.value.is_null() { "nothing follows".to_string() } else { format!("this is {}", entry.value.kind()) })
            .expected(expected);
        if let (Value::Number(_) | Value::Bool(_), true) = (&entry.value.value, expected.contains("text")) {
            let quoted = format!("\"{}\"", entry.value.to_json());
            problem = problem.help(format!("write {quoted}"));
            problem.suggestion = Some(quoted);
        }
        self.problems.push(problem);
    }

    fn refuse_reference(&mut self, entry: &Entry, path: &Path) -> bool {
        let found = entry.value.as_text().is_some_and(has_reference);
        if found {
            self.problems.push(
                Diagnostic::error(codes::NO_REFERENCE_HERE, format!("`{}` cannot hold a reference", entry.written_key()))
                    .at(&path.dotted, Some(entry.value.span))
                    .label("not resolved here")
                    .help("references work in the options of sources, transforms, sinks and connections"),
            );
        }
        found
    }

    /// Any text.
    pub fn text_field(&mut self, entry: &Entry, path: &Path) -> Option<String> {
        self.mark(path, entry.place());
        let text = entry.value.as_text().map(Into::into);
        if text.is_none() {
            self.wrong(entry, path, "text");
        }
        text
    }

    /// Text that is an identifier and so holds no reference.
    pub fn plain_field(&mut self, entry: &Entry, path: &Path) -> Option<String> {
        let text = self.text_field(entry, path)?;
        (!self.refuse_reference(entry, path)).then_some(text)
    }

    /// A name: text that is lower_snake.
    pub fn name_field(&mut self, entry: &Entry, path: &Path) -> Option<String> {
        if entry.value.as_text().is_none() {
            self.mark(path, entry.place());
            self.wrong(entry, path, "a name such as orders_to_lake");
            return None;
        }
        let name = self.plain_field(entry, path)?;
        crate::native::name_rule(self, &name, entry, path);
        Some(name)
    }

    /// One of some words.
    pub fn word_field(&mut self, entry: &Entry, path: &Path, words: &[&str]) -> Option<String> {
        self.mark(path, entry.place());
        let expected = one_of(words.iter().copied());
        let Some(text) = entry.value.as_text() else {
            self.wrong(entry, path, &expected);
            return None;
        };
        if words.contains(&text) {
            return Some(text.into());
        }
        if !self.refuse_reference(entry, path) {
            self.problems.push(
                Diagnostic::error(codes::WORD, format!("`{}` cannot be `{}`", entry.written_key(), short(text)))
                    .at(&path.dotted, Some(entry.value.span))
                    .label("not a word it knows")
                    .did_you_mean(nearest(text, words.iter().copied()))
                    .expected(expected),
            );
        }
        None
    }

    /// A whole number from `low` on.
    pub fn whole_field(&mut self, entry: &Entry, path: &Path, low: u64) -> Option<u64> {
        self.mark(path, entry.place());
        let Value::Number(number) = &entry.value.value else {
            if !self.refuse_reference(entry, path) {
                self.wrong(entry, path, "a whole number");
            }
            return None;
        };
        match number.as_u64() {
            Some(n) if n >= low => Some(n),
            _ if number.is_f64() => {
                self.wrong(entry, path, "a whole number");
                None
            }
            _ => {
                self.problems.push(
                    Diagnostic::error(codes::RANGE, format!("`{}` must be at least {low}", entry.written_key()))
                        .at(&path.dotted, Some(entry.value.span))
                        .label("out of range")
                        .expected(format!("a whole number, at least {low}")),
                );
                None
            }
        }
    }

    /// Milliseconds, as a number or as a duration.
    pub fn millis_field(&mut self, entry: &Entry, path: &Path) -> Option<u64> {
        match entry.value.as_text() {
            Some(_) => {
                let text = self.duration_field(entry, path)?;
                units::duration_ms(&text)
            }
            None => self.whole_field(entry, path, 1),
        }
    }

    /// A duration, kept as text.
    pub fn duration_field(&mut self, entry: &Entry, path: &Path) -> Option<String> {
        let text = self.plain_field(entry, path)?;
        if units::duration_ms(&text).is_some() {
            return Some(text);
        }
        let near = units::suggest_duration(&text);
        self.no_measure(entry, path, &text, near, "a duration", "a duration such as 500ms, 5s, 10m, 1h, 1d");
        None
    }

    /// Bytes, as a number or as a size; at least `low`.
    pub fn size_field(&mut self, entry: &Entry, path: &Path, low: u64) -> Option<u64> {
        let bytes = match entry.value.as_text() {
            Some(_) => {
                let text = self.plain_field(entry, path)?;
                let Some(bytes) = units::size_bytes(&text) else {
                    self.no_measure(
                        entry,
                        path,
                        &text,
                        units::suggest_size(&text),
                        "a size",
                        "a size such as 512MiB, 10GiB, 5GB",
                    );
                    return None;
                };
                bytes
            }
            None => self.whole_field(entry, path, low)?,
        };
        if bytes < low {
            self.problems.push(
                Diagnostic::error(codes::RANGE, format!("`{}` must be at least {}", entry.written_key(), units::size_text(low)))
                    .at(&path.dotted, Some(entry.value.span))
                    .label("out of range")
                    .expected(format!("a size, at least {}", units::size_text(low))),
            );
            return None;
        }
        Some(bytes)
    }

    fn no_measure(&mut self, entry: &Entry, path: &Path, text: &str, suggestion: Option<String>, what: &str, expected: &str) {
        self.problems.push(
            Diagnostic::error(codes::UNIT, format!("`{}` is not {what}: `{}`", entry.written_key(), short(text)))
                .at(&path.dotted, Some(entry.value.span))
                .label("one whole number and one unit")
                .did_you_mean(suggestion)
                .expected(expected),
        );
    }

    /// `journal`: a map.
    pub fn journal_field(&mut self, entry: &Entry, path: &Path) -> JournalPolicy {
        const KEYS: [&str; 5] = ["max_bytes", "when_full", "keep", "path", "connection"];
        /// Below this every other batch would be a segment of its own.
        const LEAST_BYTES: u64 = 1 << 20;
        let mut policy = JournalPolicy::default();
        for part in self.map_field(entry, path, "a map such as {max_bytes: 10GiB, when_full: wait}") {
            let at = path.key(&part.key);
            match part.key.as_str() {
                "max_bytes" => policy.max_bytes = self.size_field(part, &at, LEAST_BYTES).unwrap_or(policy.max_bytes),
                "when_full" => {
                    policy.when_full = match self.word_field(part, &at, &crate::native::WHEN_FULL).as_deref() {
                        Some("fail") => WhenFull::Fail,
                        _ => WhenFull::Wait,
                    };
                }
                "keep" => policy.keep = self.keep_field(part, &at),
                "path" => policy.path = self.bucket_field(part, &at),
                "connection" => policy.connection = self.plain_field(part, &at),
                _ => {
                    self.unknown_key(part, "`journal`", path, &KEYS);
                }
            }
        }
        policy
    }

    /// `roll`: a map.
    pub fn roll_field(&mut self, entry: &Entry, path: &Path) -> RollPolicy {
        const KEYS: [&str; 2] = ["interval_ms", "bytes"];
        /// Files that are smaller than this on purpose are a mistake.
        const LEAST_BYTES: u64 = 1 << 20;
        let mut policy = RollPolicy::default();
        for part in self.map_field(entry, path, "a map such as {interval_ms: 60s, bytes: 128MiB}") {
            let at = path.key(&part.key);
            match part.key.as_str() {
                "interval_ms" => policy.interval_ms = self.millis_field(part, &at),
                "bytes" => policy.bytes = self.size_field(part, &at, LEAST_BYTES),
                _ => {
                    self.unknown_key(part, "`roll`", path, &KEYS);
                }
            }
        }
        policy
    }

    /// `engine`: one of the engines; underscores are understood.
    pub fn engine_field(&mut self, entry: &Entry, path: &Path) -> Option<Engine> {
        let written = entry.value.as_text().and_then(Engine::parse);
        if written.is_some() {
            self.mark(path, entry.place());
            return written;
        }
        self.word_field(entry, path, &Engine::ALL.map(Engine::word));
        None
    }

    /// `engine_configs`: a map of settings by engine. What a setting means is known where the engine is reached.
    pub fn engine_configs_field(&mut self, entry: &Entry, path: &Path) -> BTreeMap<Engine, Map<String, Json>> {
        let mut out = BTreeMap::new();
        let words: Vec<&str> = Engine::ALL.into_iter().filter(|engine| *engine != Engine::Native).map(Engine::word).collect();
        for part in self.map_field(entry, path, "a map by engine, such as {flink: {url: \"http://flink:8081\"}}") {
            let at = path.key(&part.key);
            let Some(engine) = Engine::parse(&part.key).filter(|engine| *engine != Engine::Native) else {
                self.unknown_key(part, "`engine_configs`", path, &words);
                continue;
            };
            self.mark(&at, part.key_span);
            match &part.value.value {
                Value::Map(entries) => {
                    let settings = entries.iter().map(|setting| (setting.key.clone(), setting.value.to_json()));
                    out.insert(engine, settings.collect());
                }
                Value::Null => {}
                _ => self.wrong(part, &at, "a map of settings"),
            }
        }
        out
    }

    /// `s3://BUCKET` or `s3://BUCKET/PREFIX`.
    fn bucket_field(&mut self, entry: &Entry, path: &Path) -> Option<String> {
        let text = self.plain_field(entry, path)?;
        let bucket = text.strip_prefix("s3://").map(|rest| rest.split('/').next().unwrap_or_default());
        if bucket.is_none_or(str::is_empty) {
            self.wrong(
                entry,
                path,
                "a place in a bucket, s3://BUCKET/PREFIX; without `path` the journal is where the checkpoints are",
            );
            return None;
        }
        Some(text)
    }

    fn keep_field(&mut self, entry: &Entry, path: &Path) -> Option<Keep> {
        let text = self.plain_field(entry, path)?;
        let kept = units::duration_ms(&text).map(Keep::Ms).or_else(|| units::size_bytes(&text).map(Keep::Bytes));
        if kept.is_none() {
            let near = units::suggest_size(&text).or_else(|| units::suggest_duration(&text));
            self.no_measure(entry, path, &text, near, "a duration or a size", "a duration such as 24h, or a size such as 5GiB");
        }
        kept
    }

    /// The entries of a map.
    pub fn map_field<'t>(&mut self, entry: &'t Entry, path: &Path, expected: &str) -> &'t [Entry] {
        self.mark(path, entry.place());
        match entry.value.as_map() {
            Some(entries) => entries,
            None => {
                if !entry.value.is_null() {
                    self.wrong(entry, path, expected);
                }
                &[]
            }
        }
    }

    /// A key that means nothing here. Returns what was probably meant.
    pub fn unknown_key(&mut self, entry: &Entry, place: &str, path: &Path, allowed: &[&str]) -> Option<String> {
        if self.problems.full() {
            return None;
        }
        let word = nearest(entry.written_key(), allowed.iter().copied());
        self.problems.push(
            Diagnostic::error(codes::UNKNOWN_KEY, format!("unknown key `{}` in {place}", short(entry.written_key())))
                .at(&path.key(&entry.key).dotted, Some(entry.key_span))
                .label("not a key here")
                .did_you_mean(word.clone())
                .expected(one_of(allowed.iter().copied())),
        );
        word
    }

    /// A required key that is not there.
    pub fn missing_key(&mut self, key: &str, place: &str, path: &Path, span: crate::model::Span, help: &str) {
        self.problems.push(
            Diagnostic::error(codes::MISSING_KEY, format!("{place} needs `{key}`"))
                .at(&path.key(key).dotted, Some(span))
                .help(help),
        );
    }

    /// `schedule`: a cron expression, or a map with one.
    pub fn schedule_field(&mut self, entry: &Entry, path: &Path) -> Option<Schedule> {
        if entry.value.as_map().is_none() {
            if entry.value.as_text().is_none() {
                self.wrong(entry, path, "text or a map: five cron fields");
                return None;
            }
            let cron = self.cron_field(entry, path)?;
            return Some(Schedule { cron, timezone: None, overlap: None, catch_up: None });
        }
        const KEYS: [&str; 4] = ["cron", "timezone", "overlap", "catch_up"];
        let mut schedule = Schedule { cron: String::new(), timezone: None, overlap: None, catch_up: None };
        let (mut seen, mut meant) = (false, false);
        for part in self.map_field(entry, path, "a map") {
            let at = path.key(&part.key);
            match part.key.as_str() {
                "cron" => {
                    seen = true;
                    schedule.cron = self.cron_field(part, &at).unwrap_or_default();
                }
                "timezone" => schedule.timezone = self.timezone_field(part, &at),
                "overlap" => schedule.overlap = self.word_field(part, &at, &["skip", "queue"]),
                "catch_up" => schedule.catch_up = self.word_field(part, &at, &["none", "last", "all"]),
                _ => meant |= self.unknown_key(part, "`schedule`", path, &KEYS).as_deref() == Some("cron"),
            }
        }
        if !seen && !meant {
            self.missing_key("cron", "`schedule`", path, entry.key_span, "add the five fields, `cron: \"0 */6 * * *\"`");
        }
        (!schedule.cron.is_empty()).then_some(schedule)
    }

    fn cron_field(&mut self, entry: &Entry, path: &Path) -> Option<String> {
        let text = self.plain_field(entry, path)?;
        let Err((why, suggestion)) = cron::check(&text) else { return Some(text) };
        self.problems.push(
            Diagnostic::error(codes::CRON, format!("this is no cron expression: {why}"))
                .at(&path.dotted, Some(entry.value.span))
                .label("minute hour day month weekday")
                .did_you_mean(suggestion)
                .expected("five fields such as \"0 */6 * * *\" (every six hours)"),
        );
        None
    }

    fn timezone_field(&mut self, entry: &Entry, path: &Path) -> Option<String> {
        let text = self.plain_field(entry, path)?;
        let Err(nearest) = cron::check_timezone(&text) else { return Some(text) };
        self.problems.push(
            Diagnostic::error(codes::TIMEZONE, format!("there is no time zone `{}`", short(&text)))
                .at(&path.dotted, Some(entry.value.span))
                .label("not an IANA name")
                .did_you_mean(nearest)
                .expected("an IANA name such as Europe/Berlin"),
        );
        None
    }

    /// `alerts`: a list of rules.
    pub fn alerts_field(&mut self, entry: &Entry, path: &Path) -> Vec<Alert> {
        self.mark(path, entry.place());
        let Some(items) = entry.value.as_list() else {
            if !entry.value.is_null() {
                self.wrong(entry, path, "a list of maps");
            }
            return Vec::new();
        };
        items.iter().enumerate().filter_map(|(index, item)| self.alert(item, &path.index(index))).collect()
    }

    fn alert(&mut self, item: &Tree, path: &Path) -> Option<Alert> {
        const KEYS: [&str; 5] = ["metric", "above", "window", "severity", "action"];
        let place = item.as_map().and_then(<[Entry]>::first).map_or(item.span, |first| first.key_span);
        let entry = Entry::new("alert", place, item.clone());
        if item.as_map().is_none() {
            self.wrong(&entry, path, "a map with `metric` and `above`");
            return None;
        }
        let (mut metric, mut above) = (None, None);
        let mut alert = Alert { metric: String::new(), above: 0.0, window: None, severity: None, action: None };
        let mut seen: Vec<String> = Vec::new();
        for part in self.map_field(&entry, path, "a map") {
            let at = path.key(&part.key);
            seen.push(part.key.clone());
            match part.key.as_str() {
                "metric" => metric = self.plain_field(part, &at),
                "above" => {
                    self.mark(&at, part.place());
                    match &part.value.value {
                        Value::Number(number) => above = number.as_f64(),
                        _ => self.wrong(part, &at, "a number"),
                    }
                }
                "window" => alert.window = self.duration_field(part, &at),
                "severity" => alert.severity = self.word_field(part, &at, &["info", "warning", "critical"]),
                "action" => alert.action = self.plain_field(part, &at),
                _ => {
                    let word = self.unknown_key(part, "an alert", path, &KEYS);
                    let word = if part.key == "threshold" { Some("above".to_string()) } else { word };
                    if let Some(problem) = self.problems.list.last_mut() {
                        *problem = problem.clone().did_you_mean(word.clone());
                    }
                    seen.extend(word);
                }
            }
        }
        for key in ["metric", "above"] {
            if !seen.iter().any(|known| known == key) {
                self.missing_key(key, "an alert", path, place, "write it like `{metric: error_rate, above: 0.05, window: 5m}`");
            }
        }
        (alert.metric, alert.above) = (metric?, above?);
        Some(alert)
    }

    /// A map of text, such as `labels`.
    pub fn texts_field(&mut self, entry: &Entry, path: &Path) -> BTreeMap<String, String> {
        let mut out = BTreeMap::new();
        for part in self.map_field(entry, path, "a map of text") {
            if let Some(text) = self.text_field(part, &path.key(&part.key)) {
                out.insert(part.key.clone(), text);
            }
        }
        out
    }

    /// `on_loss`: one word for all columns (kept under `*`), or a map of column and word.
    pub fn on_loss_field(&mut self, entry: &Entry, path: &Path) -> BTreeMap<String, String> {
        const WORDS: [&str; 4] = ["error", "string", "accept", "drop"];
        let mut out = BTreeMap::new();
        if entry.value.as_map().is_none() && !entry.value.is_null() {
            if let Some(word) = self.word_field(entry, path, &WORDS) {
                out.insert("*".to_string(), word);
            }
            return out;
        }
        for part in self.map_field(entry, path, "a map") {
            if let Some(word) = self.word_field(part, &path.key(&part.key), &WORDS) {
                out.insert(part.key.clone(), word);
            }
        }
        out
    }
}
