//! From the layers to one value for each setting, and where it came from: default, file, environment, flag; the later wins.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::Value;
use weir_error::{Error, Kind, Result};

use super::build::build;
use super::fields::{Field, Hidden, OTHER_VARIABLES, Values, default_of, field, fields};
use super::settings::Settings;
use super::shape::shown;

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Nobody set it.
    Default,
    /// The file, under the setting's key.
    File(PathBuf),
    /// This environment variable.
    Environment(&'static str),
    /// This flag.
    Flag(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path) => write!(f, "file {}", path.display()),
            Self::Environment(name) => write!(f, "environment {name}"),
            Self::Flag(flag) => write!(f, "flag {flag}"),
        }
    }
}

/// What settings are made from.
#[derive(Debug, Default)]
pub struct Inputs {
    /// The JSON file.
    pub file: Option<PathBuf>,
    /// The environment; empty values count as unset.
    pub environment: BTreeMap<String, String>,
    /// Flags that were typed: key, flag, value.
    pub flags: Vec<(&'static str, &'static str, String)>,
    /// Defaults of the command that are other than the table's: key, value.
    pub presets: Vec<(&'static str, &'static str)>,
}

impl Inputs {
    /// This process's environment, and the file that `WEIR_CONFIG` names.
    pub fn from_environment() -> Self {
        // What is no Unicode cannot be the name of a setting; as its value it is told like any other wrong one.
        let environment: BTreeMap<String, String> = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.to_string_lossy().into_owned())))
            .collect();
        let file = environment.get("WEIR_CONFIG").filter(|path| !path.is_empty()).map(PathBuf::from);
        Self { file, environment, ..Self::default() }
    }

    /// Adds a flag that was typed.
    #[must_use]
    pub fn flag(mut self, key: &'static str, flag: &'static str, value: Option<String>) -> Self {
        self.flags.extend(value.map(|value| (key, flag, value)));
        self
    }
}

/// Settings, and how they came about.
#[derive(Debug)]
pub struct Loaded {
    /// In effect.
    pub settings: Settings,
    /// Each setting's value and origin, in the order of the table. With secrets: see [`super::show`].
    pub effective: Vec<Effective>,
    /// What the reader should know although it is no error.
    pub warnings: Vec<String>,
}

/// One setting's value.
#[derive(Debug, Clone)]
pub struct Effective {
    /// Which.
    pub field: &'static Field,
    /// Its value in normal form, `None` = there is none.
    pub value: Option<Value>,
    /// Where it came from.
    pub origin: Origin,
}

/// Something wrong with one value.
pub(super) struct Problem {
    pub(super) key: &'static str,
    /// Without secret values.
    pub(super) what: String,
    pub(super) allowed: String,
}

/// Reads all layers and builds the settings. The error names everything that is wrong, each with its place and what is allowed.
pub fn load(inputs: &Inputs) -> Result<Loaded> {
    let mut wrong = Vec::new();
    let mut warnings = Vec::new();
    let mut found: BTreeMap<&'static str, (Value, Origin)> = BTreeMap::new();
    for (key, value) in &inputs.presets {
        found.insert(key, (Value::from(*value), Origin::Default));
    }
    if let Some(path) = &inputs.file {
        from_file(path, &mut found, &mut wrong)?;
    }
    for field in fields() {
        let set = |name: &&&str| inputs.environment.get(**name).filter(|value| !value.trim().is_empty());
        if let Some(name) = field.variables.iter().find(|name| set(name).is_some()) {
            let value = inputs.environment.get(*name).cloned().unwrap_or_default();
            found.insert(field.key, (Value::from(value), Origin::Environment(name)));
        }
    }
    warnings.extend(misspelt(&inputs.environment));
    for (key, flag, value) in &inputs.flags {
        found.insert(key, (Value::from(value.clone()), Origin::Flag(flag)));
    }

    let mut values = Values::new();
    let mut effective = Vec::new();
    for field in fields() {
        let (value, origin) = match found.remove(field.key) {
            Some((raw, origin)) => match field.shape.read(&raw) {
                Ok(value) => (Some(value), origin),
                Err(why) => {
                    let repeated = if field.hidden == Hidden::Nothing { format!(" `{}`", shown(&raw)) } else { String::new() };
                    wrong.push(format!("{}{repeated}: {why}; allowed: {}", place(field, &origin), field.shape.allowed()));
                    (default_of(field, &values), Origin::Default)
                }
            },
            None => (default_of(field, &values), Origin::Default),
        };
        if let Some(value) = &value {
            values.insert(field.key, value.clone());
        }
        effective.push(Effective { field, value, origin });
    }

    let (settings, problems) = build(&values, &mut warnings);
    for problem in problems {
        let place = match effective.iter().find(|effective| effective.field.key == problem.key) {
            Some(effective) => place(effective.field, &effective.origin),
            None => problem.key.to_owned(),
        };
        let told = format!("{place}: {}; allowed: {}", problem.what, problem.allowed);
        // A value that could not be read was told already, and its default's consequences are no news.
        if !wrong.iter().any(|other: &String| other.starts_with(&place)) {
            wrong.push(told);
        }
    }
    match settings {
        Some(settings) if wrong.is_empty() => Ok(Loaded { settings, effective, warnings }),
        _ => {
            // A mistyped name may well be the reason for what is missing.
            wrong.extend(misspelt(&inputs.environment));
            Err(refused(&wrong))
        }
    }
}

/// Where a value stands, as its writer knows it.
fn place(field: &Field, origin: &Origin) -> String {
    match origin {
        Origin::File(path) => format!("`{}` in {}", field.key, path.display()),
        Origin::Environment(name) => (*name).to_owned(),
        Origin::Flag(flag) => (*flag).to_owned(),
        Origin::Default => match field.variables.first() {
            Some(name) => format!("{name} (`{}` in the file)", field.key),
            None => format!("`{}`", field.key),
        },
    }
}

fn refused(wrong: &[String]) -> Error {
    let what = match wrong.len() {
        1 => "a setting is wrong".to_owned(),
        n => format!("{n} settings are wrong"),
    };
    Error::new("WEIR-CONFIG-001", Kind::Spec, what)
        .because(wrong.join("\n"))
        .hint("`weir config show` prints every setting and where its value comes from")
}

/// A key's value in the file, in file order, twice if it is there twice.
struct Entries(Vec<(String, Value)>);

impl<'de> serde::Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Entries;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Entries(entries))
            }
        }
        deserializer.deserialize_map(Object)
    }
}

/// A settings file beyond this is none.
const MAX_FILE_BYTES: u64 = 4 << 20;

fn from_file(path: &Path, found: &mut BTreeMap<&'static str, (Value, Origin)>, wrong: &mut Vec<String>) -> Result<()> {
    let unreadable = |why: String| {
        Error::new("WEIR-CONFIG-002", Kind::Spec, "the settings file cannot be read")
            .at(path.display().to_string())
            .because(why)
            .hint("it is one JSON object; docs/reference/config.md lists its keys")
    };
    let size = std::fs::metadata(path).map_err(|error| unreadable(error.to_string()))?.len();
    if size > MAX_FILE_BYTES {
        return Err(unreadable("it is larger than 4 MiB".into()));
    }
    let bytes = std::fs::read(path).map_err(|error| unreadable(error.to_string()))?;
    let entries: Entries = serde_json::from_slice(&bytes).map_err(|error| unreadable(error.to_string()))?;
    for (key, value) in entries.0 {
        let Some(field) = field(&key) else {
            let nearest = nearest(&key, fields().map(|field| field.key)).map(|near| format!("; is `{near}` meant?"));
            let key = shown(&Value::from(key));
            wrong.push(format!("`{key}` in {}: there is no such setting{}", path.display(), nearest.unwrap_or_default()));
            continue;
        };
        if found.get(field.key).is_some_and(|(_, origin)| matches!(origin, Origin::File(_))) {
            wrong.push(format!("`{key}` in {}: it is there twice", path.display()));
        }
        if value.is_null() {
            found.remove(field.key);
        } else {
            found.insert(field.key, (value, Origin::File(path.to_path_buf())));
        }
    }
    Ok(())
}

/// Variables that look like a mistyped one of ours; a setting that is silently not set is worse than a wrong one.
fn misspelt(environment: &BTreeMap<String, String>) -> Vec<String> {
    let known: Vec<&str> = fields().flat_map(|field| field.variables).chain(OTHER_VARIABLES).copied().collect();
    let ours = ["WEIR_", "METRICS_", "TRACING_", "OIDC_", "IGNITE_", "PULSAR_", "MINIO_", "ALERT_"];
    let mut warnings = Vec::new();
    for name in environment.keys().filter(|name| !known.contains(&name.as_str())) {
        if !ours.iter().any(|prefix| name.starts_with(prefix)) {
            continue;
        }
        if let Some(near) = nearest(name, known.iter().copied()) {
            warnings
                .push(format!("the environment variable {} is not known; is {near} meant?", shown(&Value::from(name.as_str()))));
        }
    }
    warnings
}

fn nearest<'w>(word: &str, words: impl IntoIterator<Item = &'w str>) -> Option<&'w str> {
    let lower = word.to_ascii_lowercase();
    words
        .into_iter()
        .map(|known| (strsim::damerau_levenshtein(&lower, &known.to_ascii_lowercase()), known))
        .filter(|(distance, known)| *distance <= (known.len() / 4).clamp(1, 3))
        .min()
        .map(|(_, known)| known)
}
