//! From a checked pipeline to an engine's artefact: what all compilers share.
//!
//! * [`Job`]: a pipeline that `weir check` has nothing against, and the columns of its streams as far as they are known.
//! * `text`, `options`: the options of a node, secrets and references as variables; every option must be read or told.
//! * `systems`: what a node reads or writes, the same for each engine.
//! * `shapes`: the columns behind each node, from the planner; `words`: the types that sources declare; `types`, `dialect`, `views`: queries for engines that speak SQL.
//!
//! Pure: nothing here connects, reads a file or looks at the clock. How an engine writes it down is in the engine's folder.

mod dialect;
mod foreign;
pub mod lanes;
mod options;
mod shapes;
pub mod systems;
mod text;
mod told;
pub mod types;
pub mod views;
mod words;
mod zeta;

use std::cell::RefCell;
use std::collections::BTreeMap;

use weir_connect::{Registry, StreamInfo};
use weir_spec::model::{Delivery, Mode, Node, Pipeline};
use weir_spec::{Diagnostic, Role};

pub use dialect::Dialect;
pub use foreign::with_foreign;
pub use options::Options;
pub use shapes::Shapes;
pub use text::{Piece, Text, Variables};
pub use told::{Told, code};

use crate::artefact::{Artefacts, File};
use crate::registry::{Format, Target};

/// What is compiled.
pub struct Job<'a> {
    /// The pipeline. Its words must be checked: `weir_spec::check_words`, `Planner::check`, against `registry`.
    pub pipeline: &'a Pipeline,
    /// The connectors of this build, and those that only other engines have ([`with_foreign`]).
    pub registry: &'a Registry,
    /// Streams of sources as the systems tell them, by node; empty if nobody asked. Where a node is missing, what its options declare
    /// counts.
    pub streams: BTreeMap<String, Vec<StreamInfo>>,
    /// How SeaTunnel's configuration is written.
    pub format: Format,
}

/// What a compiler gives.
pub struct Output {
    /// In the order in which they are used.
    pub files: Vec<File>,
    /// The weakest promise over all sinks.
    pub delivery: Delivery,
    /// Why, one clause each.
    pub reasons: Vec<String>,
}

impl Output {
    /// Nothing yet, promised exactly.
    pub fn new() -> Self {
        Self { files: Vec::new(), delivery: Delivery::ExactlyOnce, reasons: Vec::new() }
    }

    /// Another file.
    pub fn file(&mut self, name: impl Into<String>, role: crate::artefact::Role, text: impl Into<String>) {
        let mut text = text.into();
        if !text.ends_with('\n') {
            text.push('\n');
        }
        self.files.push(File { name: name.into(), role, text });
    }

    /// A part of the job keeps no more than this.
    pub fn promise(&mut self, delivery: Delivery, reason: impl Into<String>) {
        self.delivery = self.delivery.min(delivery);
        let reason = reason.into();
        if !self.reasons.contains(&reason) {
            self.reasons.push(reason);
        }
    }
}

impl Default for Output {
    fn default() -> Self {
        Self::new()
    }
}

/// One compilation: the job, and what was found so far.
pub struct Compiling<'a> {
    /// What is compiled.
    pub job: &'a Job<'a>,
    /// For what.
    pub target: Target,
    /// The columns behind each node, as far as they are known.
    pub shapes: Shapes,
    variables: RefCell<Variables>,
    told: RefCell<Told>,
}

impl<'a> Compiling<'a> {
    /// The pipeline.
    pub fn pipeline(&self) -> &'a Pipeline {
        self.job.pipeline
    }

    /// Batch, or incremental: it has an end.
    pub fn bounded(&self) -> bool {
        matches!(self.pipeline().mode, Mode::Batch | Mode::Incremental)
    }

    /// The options of a node.
    pub fn options<'c>(&'c self, node: &'c Node) -> Options<'c> {
        Options::of(self, node)
    }

    /// The connector's own name, whatever alias the file has; a transform's likewise.
    pub fn kind(&self, node: &Node) -> String {
        match node.role {
            Role::Transform => views::transform_name(&node.kind).to_string(),
            _ => self.job.registry.get(&node.kind).map_or_else(|| node.kind.clone(), |known| known.descriptor().name.to_string()),
        }
    }

    /// A node, or an option of it, that the engine cannot express.
    pub fn refuse(&self, node: &Node, option: Option<&str>, why: impl Into<String>, alternatives: impl Into<String>) {
        self.told.borrow_mut().refuse(self.pipeline(), node, option, self.target, why.into(), alternatives.into());
    }

    /// The pipeline as a whole, at one of its keys.
    pub fn refuse_at(&self, key: &str, why: impl Into<String>, alternatives: impl Into<String>) {
        self.told.borrow_mut().refuse_at(self.pipeline(), key, self.target, why.into(), alternatives.into());
    }

    /// Something worth knowing.
    pub fn note(&self, note: impl Into<String>) {
        self.told.borrow_mut().note(note.into());
    }

    /// What is taken for a variable of the environment that is not set.
    pub fn default_of(&self, variable: &str) -> Option<String> {
        let expected = self.variables.borrow().expected();
        expected.into_iter().find(|known| known.name == variable).and_then(|known| match known.from {
            crate::artefact::Origin::Environment { default, .. } => default,
            _ => None,
        })
    }

    /// A text with its variables as `${NAME}`, and entries of `credentials_ref` as pipeline files have them: `{{name}}`.
    pub fn with_credentials(&self, text: &Text) -> String {
        let expected = self.variables.borrow().expected();
        text.show(|name| match expected.iter().find(|known| known.name == name).map(|known| &known.from) {
            Some(crate::artefact::Origin::Credential { name }) => format!("{{{{{name}}}}}"),
            _ => format!("${{{name}}}"),
        })
    }

    /// A variable that the engine's place must have, for what no option says.
    pub fn variable(&self, name: &str, default: Option<&str>, secret: bool) -> Text {
        let origin = crate::artefact::Origin::Environment { name: name.into(), default: default.map(Into::into) };
        Text::variable(self.variables.borrow_mut().of(origin, name, secret))
    }
}

/// Compiles for a target, or says everything that stands against it. Deterministic.
///
/// # Errors
/// Diagnostics in file order, at least one of them an error: each node that the engine cannot express, with the reason and what can be
/// done.
pub fn compile(job: &Job<'_>, target: Target) -> Result<Artefacts, Vec<Diagnostic>> {
    let mut told = Told::default();
    let shapes = Shapes::of(job, &mut told);
    let compiling = Compiling { job, target, shapes, variables: RefCell::default(), told: RefCell::new(told) };
    shared(&compiling);
    let output = (target.engine().compile)(&compiling);
    if let Some(demanded) = pipeline_demand(job.pipeline, &output) {
        compiling.refuse_at("delivery", format!("keeps {} here: {}", word(output.delivery), output.reasons.join("; ")), demanded);
    }
    let Compiling { told, variables, .. } = compiling;
    let (diagnostics, notes) = told.into_inner().finish();
    if diagnostics.iter().any(Diagnostic::is_error) {
        return Err(diagnostics);
    }
    let expects = variables.into_inner().expected();
    let Output { files, delivery, reasons } = output;
    Ok(Artefacts { target, files, expects, delivery, reasons, notes })
}

/// The pipeline for our own engine elsewhere: each node with the options of its connection, variables in place of secrets in plain text, and
/// everything that it refers to.
///
/// # Errors
/// References that cannot be read.
pub fn native(job: &Job<'_>) -> Result<(Pipeline, Vec<crate::artefact::Expected>), Vec<Diagnostic>> {
    let told = RefCell::new(Told::default());
    let compiling = Compiling { job, target: Target::Spark, shapes: Shapes::default(), variables: RefCell::default(), told };
    let mut pipeline = job.pipeline.clone();
    // The journal's connection as if it were a node, so that its secrets are found as those of nodes are.
    let journal = job.pipeline.journal.as_ref().and_then(|journal| journal.connection.as_ref());
    let journal = journal.and_then(|name| Some((name, job.pipeline.connections.get(name)?)));
    let mut connections = BTreeMap::new();
    if let Some((name, connection)) = journal {
        let node = Node {
            name: name.clone(),
            role: Role::Source,
            kind: connection.kind.clone(),
            inputs: Vec::new(),
            options: connection.options.clone(),
        };
        let options = compiling.options(&node);
        options.expect_references();
        connections.insert(name.clone(), weir_spec::Connection { options: options.masked(), ..connection.clone() });
    }
    let letters = pipeline.dead_letters.to.as_deref_mut().zip(job.pipeline.dead_letters.to.as_deref());
    for (node, original) in pipeline.nodes.iter_mut().zip(&job.pipeline.nodes).chain(letters) {
        let options = compiling.options(original);
        options.expect_references();
        node.options = options.masked();
    }
    pipeline.connections = connections;
    let Compiling { told, variables, .. } = compiling;
    let (diagnostics, _) = told.into_inner().finish();
    match diagnostics.iter().any(Diagnostic::is_error) {
        true => Err(diagnostics),
        false => Ok((pipeline, variables.into_inner().expected())),
    }
}

/// What to do where a demanded `delivery` cannot be kept.
fn pipeline_demand(pipeline: &Pipeline, output: &Output) -> Option<String> {
    let demanded = pipeline.delivery.filter(|demanded| *demanded > output.delivery)?;
    Some(format!(
        "ask for {}, choose another sink or write mode, or another engine (the demand is {})",
        word(output.delivery),
        word(demanded)
    ))
}

/// The word of a promise in pipeline files.
pub fn word(delivery: Delivery) -> &'static str {
    match delivery {
        Delivery::AtLeastOnce => "at_least_once",
        Delivery::EffectivelyOnce => "effectively_once",
        Delivery::ExactlyOnce => "exactly_once",
    }
}

/// What is so for each engine but our own.
fn shared(compiling: &Compiling<'_>) {
    let pipeline = compiling.pipeline();
    if pipeline.mode == Mode::Incremental {
        compiling.refuse_at(
            "mode",
            "keeps no cursor from one run to the next",
            "`mode: cdc` or `streaming`; or `mode: batch` with `write_mode: upsert`; or the native engine",
        );
    }
    if pipeline.dead_letters.allow > 0 {
        compiling
            .note("dead_letters.allow: a record that cannot be processed ends the job on this engine, there are no dead letters");
    }
    if pipeline.dead_letters.to.is_some() {
        compiling.refuse_at(
            "dead_letters/to",
            "has no dead letters, so none could go there",
            "leave it out, or the native engine",
        );
    }
    if let Some(policy) = pipeline.on_schema_change.as_deref().filter(|policy| !matches!(*policy, "evolve" | "freeze")) {
        compiling.refuse_at("on_schema_change", format!("has no `{policy}`"), "`freeze`, or the native engine");
    }
    for (column, choice) in &pipeline.on_loss {
        if choice != "error" {
            let key = if column == "*" { "on_loss".to_string() } else { format!("on_loss/{column}") };
            compiling.refuse_at(
                &key,
                format!("cannot be told what to do where a type is lossy (`{choice}`)"),
                "a `cast` in a transform, or the native engine",
            );
        }
    }
}

/// What feeds a reader, as an input is written: `node`, or `node.port`.
pub fn address_of(input: &weir_spec::Input) -> String {
    shapes::address(input)
}

/// A name as engines take it for tables and files: letters, digits, underscores.
pub fn identifier(text: &str) -> String {
    let mut name: String = text.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    if name.starts_with(|c: char| c.is_ascii_digit()) || name.is_empty() {
        name.insert(0, '_');
    }
    name
}
