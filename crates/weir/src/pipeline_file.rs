//! From a file to pipelines: reading, parsing, telling every problem at once.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use serde_json::json;
use weir_connect::Registry;
use weir_error::{Error, Kind};
use weir_spec::{Diagnostic, Pipeline, Severity};

use crate::commands::Context;
use crate::outcome::Failure;

/// A pipeline file, parsed.
pub struct PipelineFile {
    /// Name as the user gave it.
    pub name: String,
    /// Its text.
    pub text: String,
    /// Folder against which relative paths in it resolve.
    pub base_dir: PathBuf,
    /// The pipelines that have a usable shape.
    pub pipelines: Vec<Pipeline>,
    /// Every problem found so far.
    pub diagnostics: Vec<Diagnostic>,
}

/// Files beyond this are no pipeline files.
const MAX_BYTES: u64 = 16 * 1024 * 1024;

impl PipelineFile {
    /// Reads and parses. Problems of the content are in `diagnostics`, not errors.
    pub fn open(path: &Path, registry: &Registry) -> Result<Self, Failure> {
        let text = read(path)?;
        let standard_input = path == Path::new("-");
        let name = if standard_input { "<stdin>".into() } else { path.display().to_string() };
        let base_dir = match path.parent() {
            Some(parent) if !standard_input && parent != Path::new("") => parent.to_path_buf(),
            _ => PathBuf::from("."),
        };
        Ok(Self::parse(text, name, base_dir, registry))
    }

    /// Parses a text that came another way. Problems are in `diagnostics`.
    pub fn parse(text: String, name: String, base_dir: PathBuf, registry: &Registry) -> Self {
        let vocabulary = weir_plan::vocabulary(registry);
        let parsed = weir_spec::parse(&text, &name, &vocabulary);
        Self { name, text, base_dir, pipelines: parsed.pipelines, diagnostics: parsed.diagnostics }
    }

    /// Tells the diagnostics: on stderr with the source lines underlined, with `json` as one object on stdout.
    pub fn tell(&self, json: bool, context: &Context) -> Result<(), Failure> {
        if json {
            let (errors, warnings) = count(&self.diagnostics);
            let body = json!({
                "file": self.name, "errors": errors, "warnings": warnings, "diagnostics": self.diagnostics,
                "pipelines": self.pipelines.iter().map(|pipeline| &pipeline.name).collect::<Vec<_>>(),
            });
            writeln!(std::io::stdout(), "{}", serde_json::to_string_pretty(&body).map_err(std::io::Error::from)?)?;
        } else if !self.diagnostics.is_empty() {
            let text = weir_spec::render::terminal(&self.diagnostics, &self.text, context.err_colored);
            write!(std::io::stderr(), "{text}")?;
        }
        Ok(())
    }

    /// The same file with other problems, those of the plan.
    pub fn with(&self, mut diagnostics: Vec<Diagnostic>) -> Self {
        diagnostics.iter_mut().for_each(|diagnostic| diagnostic.file.clone_from(&self.name));
        Self {
            name: self.name.clone(),
            text: self.text.clone(),
            base_dir: self.base_dir.clone(),
            pipelines: self.pipelines.clone(),
            diagnostics,
        }
    }

    /// Whether any problem is an error.
    pub fn has_errors(&self) -> bool {
        self.diagnostics.iter().any(|diagnostic| diagnostic.severity == Severity::Error)
    }

    /// Tells the problems; goes on only without errors.
    pub fn checked(self, json: bool, context: &Context) -> Result<Self, Failure> {
        if self.has_errors() {
            self.tell(json, context)?;
            return Err(Failure::Told(2));
        }
        // Warnings are talk: they never mix with the command's own JSON.
        self.tell(false, context)?;
        Ok(self)
    }

    /// The only pipeline, or the one of that name.
    pub fn choose(&self, wanted: Option<&str>) -> Result<&Pipeline, Failure> {
        let names = || self.pipelines.iter().map(|p| p.name.as_str()).collect::<Vec<_>>().join(", ");
        match (wanted, self.pipelines.as_slice()) {
            (None, [only]) => Ok(only),
            (None, []) => Err(Error::new("WEIR-CLI-001", Kind::Spec, "the file holds no pipeline").at(self.name.clone()).into()),
            (None, _) => Err(Error::new("WEIR-CLI-002", Kind::Spec, "the file holds several pipelines")
                .at(self.name.clone())
                .because(names())
                .hint("choose one with --pipeline NAME")
                .into()),
            (Some(wanted), all) => all.iter().find(|pipeline| pipeline.name == wanted).ok_or_else(|| {
                Error::new("WEIR-CLI-003", Kind::Spec, format!("the file holds no pipeline `{wanted}`"))
                    .at(self.name.clone())
                    .because(format!("it holds: {}", names()))
                    .into()
            }),
        }
    }
}

fn read(path: &Path) -> Result<String, Failure> {
    let place = |error: std::io::Error| {
        let told = |what| Error::new("WEIR-CLI-004", Kind::Spec, what).at(path.display().to_string());
        match error.kind() {
            std::io::ErrorKind::NotFound => told("there is no such file").hint("`weir init` writes a starter pipeline"),
            _ => told("the file cannot be read").caused_by(error),
        }
    };
    let mut bytes = Vec::new();
    if path == Path::new("-") {
        std::io::stdin().take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(place)?;
    } else {
        std::fs::File::open(path).and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut bytes)).map_err(place)?;
    }
    if bytes.len() as u64 > MAX_BYTES {
        return Err(Error::new("WEIR-CLI-005", Kind::Spec, "the file is larger than a pipeline file may be")
            .at(path.display().to_string())
            .because("the limit is 16 MiB")
            .into());
    }
    String::from_utf8(bytes).map_err(|error| {
        Error::new("WEIR-CLI-006", Kind::Spec, "the file is not UTF-8 text")
            .at(path.display().to_string())
            .because(format!("byte {} is not valid", error.utf8_error().valid_up_to()))
            .into()
    })
}

fn count(diagnostics: &[Diagnostic]) -> (usize, usize) {
    let errors = diagnostics.iter().filter(|d| d.severity == Severity::Error).count();
    (errors, diagnostics.len() - errors)
}
