//! From a pipeline to a plan: references resolved, connectors asked, every problem told at once.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Map, Value, json};
use weir_connect::{Connector, Objects, OnLoss, Registry, Source, SourceContext, StreamInfo};
use weir_error::{Error, Kind, Result, Secret};
use weir_plan::options::{Divided, divide};
use weir_plan::{Plan, PlanFailure, Planner, ResolveReferences, Unresolved};
use weir_query::TableName;
use weir_secrets::{OptionFacts, Plain, Provider, Vault, unresolved_error};
use weir_spec::{Diagnostic, Node, Pipeline, Role, Vocabulary};

use crate::cli;
use crate::commands::Context;
use crate::outcome::Failure;
use crate::pipeline_file::PipelineFile;

/// One pipeline of a file, without errors so far.
pub struct Opened {
    pub registry: Registry,
    pub file: PipelineFile,
    pub pipeline: Arc<Pipeline>,
    pub resolver: Arc<Resolver>,
}

/// Opens the file and chooses the pipeline; the parser's problems are told.
pub fn open(args: &cli::File, json: bool, context: &Context) -> Result<Opened, Failure> {
    open_with(args, Vault::from_environment(), json, context)
}

/// The same with a Vault that was set in another way.
pub fn open_with(args: &cli::File, vault: Vault, json: bool, context: &Context) -> Result<Opened, Failure> {
    let registry = weir_connectors::registry::registry();
    let file = PipelineFile::open(&args.file, &registry)?.checked(json, context)?;
    let pipeline = Arc::new(file.choose(args.pipeline.as_deref())?.clone());
    let resolver = Arc::new(Resolver::of_machine(&registry, &file, vault));
    Ok(Opened { registry, file, pipeline, resolver })
}

/// Opens a file for other engines: connectors that only they have are known too. Nothing is connected.
pub fn open_for_engines(args: &cli::File, json: bool, context: &Context) -> Result<Opened, Failure> {
    let registry = engines_registry();
    let file = PipelineFile::open(&args.file, &registry)?.checked(json, context)?;
    known_to_engines(registry, file, args.pipeline.as_deref(), json, context)
}

/// The connectors of this build, and those that only other engines have.
pub fn engines_registry() -> Registry {
    weir_runners::compile::with_foreign(&weir_connectors::registry::registry())
}

fn known_to_engines(
    registry: Registry,
    file: PipelineFile,
    chosen: Option<&str>,
    json: bool,
    context: &Context,
) -> Result<Opened, Failure> {
    let pipeline = Arc::new(file.choose(chosen)?.clone());
    let found = file.with(check(&registry, &file, &pipeline));
    let file = if found.has_errors() { found.checked(json, context)? } else { file };
    let resolver = Arc::new(Resolver::of_machine(&registry, &file, Vault::from_environment()));
    Ok(Opened { registry, file, pipeline, resolver })
}

/// Why there is no plan.
pub enum NoPlan {
    /// What is wrong with the pipeline, in file order; at least one is an error.
    Problems(Vec<Diagnostic>),
    /// Something else failed.
    Error(Error),
}

/// What is wrong with a pipeline as far as that can be said without connecting, in file order.
pub fn check(registry: &Registry, file: &PipelineFile, pipeline: &Pipeline) -> Vec<Diagnostic> {
    let planner = planner(registry, file, Arc::new(Unresolved), cores());
    file.with(problems(&weir_plan::vocabulary(registry), &planner, pipeline)).diagnostics
}

/// The same with a vocabulary and a planner that are there already; the file is not named.
pub fn problems(words: &dyn Vocabulary, planner: &Planner, pipeline: &Pipeline) -> Vec<Diagnostic> {
    let mut found = weir_spec::check_words(pipeline, words);
    let planned = planner.check(pipeline);
    // The planner says the same of unknown words, without knowing the nearest right one.
    let told = !found.is_empty();
    found.extend(planned.into_iter().filter(|problem| !told || !UNKNOWN_WORD.contains(&problem.code.as_str())));
    found.sort_by_key(|problem| problem.span.map_or(usize::MAX, |span| span.start));
    found
}

/// The planner's codes for connectors and transforms that there are not, or not in this role.
const UNKNOWN_WORD: [&str; 2] = ["WEIR-PLAN-001", "WEIR-PLAN-002"];

fn planner(registry: &Registry, file: &PipelineFile, resolve: Arc<dyn ResolveReferences>, lanes: usize) -> Planner {
    Planner { registry: registry.clone(), resolve, base_dir: file.base_dir.clone(), parallelism: lanes }
}

impl Opened {
    /// The same for our own engine: it knows its own connectors only, and planning tells of the others.
    pub fn native(&self) -> Self {
        Self { registry: weir_connectors::registry::registry(), ..self.with_pipeline((*self.pipeline).clone()) }
    }

    /// The same for other engines, which know more connectors. What was told of the file is not told again.
    pub fn for_engines(&self, json: bool, context: &Context) -> Result<Self, Failure> {
        let registry = engines_registry();
        let mut file = PipelineFile::parse(self.file.text.clone(), self.file.name.clone(), self.file.base_dir.clone(), &registry);
        file.diagnostics.retain(|found| found.is_error() || !self.file.diagnostics.contains(found));
        known_to_engines(registry, file.checked(json, context)?, Some(self.pipeline.name.as_str()), json, context)
    }

    /// The same file, with another pipeline in the place of its own.
    pub fn with_pipeline(&self, pipeline: Pipeline) -> Self {
        let (registry, resolver) = (self.registry.clone(), self.resolver.clone());
        Self { registry, file: self.file.with(Vec::new()), pipeline: Arc::new(pipeline), resolver }
    }

    /// Lanes: what was asked for, else what the pipeline says, else the cores.
    pub fn lanes(&self, asked: Option<usize>) -> usize {
        asked.or(self.pipeline.parallelism).unwrap_or_else(cores).max(1)
    }

    /// Plans against the real systems. A plan that would be refused is none.
    pub async fn plan(&self, lanes: Option<usize>, json: bool, context: &Context) -> Result<Plan, Failure> {
        match self.look(lanes, json, context).await? {
            (plan, refusals) if refusals.is_empty() => Ok(plan),
            (_, refusals) => {
                self.file.with(refusals).tell(json, context)?;
                Err(Failure::Told(2))
            }
        }
    }

    /// Plans against the real systems. Next to a plan that must not run stands why.
    pub async fn look(&self, lanes: Option<usize>, json: bool, context: &Context) -> Result<(Plan, Vec<Diagnostic>), Failure> {
        match self.try_plan(lanes).await {
            Ok(looked) => Ok(looked),
            Err(NoPlan::Error(error)) => Err(error.into()),
            Err(NoPlan::Problems(problems)) => {
                self.file.with(problems).tell(json, context)?;
                Err(Failure::Told(2))
            }
        }
    }

    /// The same; nothing is told.
    pub async fn try_plan(&self, lanes: Option<usize>) -> Result<(Plan, Vec<Diagnostic>), NoPlan> {
        let problems = self.file.with(check(&self.registry, &self.file, &self.pipeline));
        if problems.has_errors() {
            return Err(NoPlan::Problems(problems.diagnostics));
        }
        let planner = planner(&self.registry, &self.file, self.resolver.clone(), self.lanes(lanes));
        match planner.plan(self.pipeline.clone()).await {
            Ok(plan) => Ok((plan, Vec::new())),
            Err(PlanFailure::Refused(plan, refusals)) => Ok((*plan, refusals)),
            Err(PlanFailure::Error(error)) => Err(NoPlan::Error(error)),
            Err(PlanFailure::Diagnostics(diagnostics)) => Err(NoPlan::Problems(self.file.with(diagnostics).diagnostics)),
        }
    }

    /// The bucket that the pipeline names for its journal, if it names one. Does not connect.
    pub fn journal(&self) -> Result<Option<Arc<dyn Objects>>> {
        let Some(policy) = &self.pipeline.journal else { return Ok(None) };
        let refused = |what: String| Error::new("WEIR-CLI-073", Kind::Spec, what).at(self.file.name.clone());
        let options = match &policy.connection {
            None => Value::Null,
            Some(name) => {
                let found = self.pipeline.connections.get(name);
                let connection =
                    found.ok_or_else(|| refused(format!("`journal.connection`: the file declares no connection `{name}`")))?;
                if self.connector(&connection.kind)?.descriptor().name != "s3" {
                    return Err(refused(format!("`journal.connection`: `{name}` is no connection of `s3`")));
                }
                self.resolver.resolve(&connection.options, self.credentials())?
            }
        };
        match &policy.path {
            Some(path) => weir_connectors::files::objects::bucket(&options, path).map(Some),
            None if policy.connection.is_some() => {
                Err(refused("`journal.connection` without `path`".into()).hint("add `path: s3://BUCKET/PREFIX`"))
            }
            None => Ok(None),
        }
    }

    /// The streams that the pipeline's sources choose, each with its node's name.
    pub async fn sources(&self) -> Result<Vec<(String, StreamInfo)>> {
        let mut found = Vec::new();
        for node in self.pipeline.of(Role::Source) {
            let source = self.source(node).await?;
            found.extend(source.streams().await?.into_iter().map(|stream| (node.name.clone(), stream)));
        }
        Ok(found)
    }

    /// Everything that a connection declared in the file could give.
    pub async fn discover(&self, name: &str) -> Result<Vec<StreamInfo>> {
        let Some(connection) = self.pipeline.connections.get(name) else {
            let declared = self.pipeline.connections.keys().cloned().collect::<Vec<_>>().join(", ");
            let error = Error::new("WEIR-CLI-051", Kind::Spec, format!("the file declares no connection `{name}`"))
                .at(self.file.name.clone());
            return Err(if declared.is_empty() { error } else { error.because(format!("it declares: {declared}")) });
        };
        let connector = self.connector(&connection.kind)?;
        let options = self.resolver.resolve(&connection.options, self.credentials())?;
        connector.discover(self.source_context(options, Value::Object(Map::new()))).await
    }

    /// The source and stream behind a table's name: `connection.stream`, `node.stream`, `node` alone when it has
    /// one stream, or the stream's own name.
    pub async fn table(&self, name: &TableName) -> Result<Option<(Arc<dyn Source>, StreamInfo)>> {
        if let Some(connection) = self.pipeline.connections.get(name.first()) {
            let Some(stream) = name.below_first() else { return Ok(None) };
            let connector = self.connector(&connection.kind)?;
            let node = Node {
                name: name.first().into(),
                role: Role::Source,
                kind: connection.kind.clone(),
                inputs: Vec::new(),
                options: json!({"connection": name.first(), connector.descriptor().address_option: stream}),
            };
            let source = self.source(&node).await?;
            let found = source.streams().await?.into_iter().next();
            return Ok(found.map(|info| (source, info)));
        }
        let Some(node) = self.pipeline.of(Role::Source).find(|node| node.name == name.first()) else {
            return self.stream(&name.path()).await;
        };
        let source = self.source(node).await?;
        let streams = source.streams().await?;
        let found = match name.below_first() {
            Some(wanted) => streams.into_iter().find(|stream| stream.name == wanted),
            None if streams.len() == 1 => streams.into_iter().next(),
            None => None,
        };
        Ok(found.map(|info| (source, info)))
    }

    /// A source's stream by its own name.
    async fn stream(&self, name: &str) -> Result<Option<(Arc<dyn Source>, StreamInfo)>> {
        for node in self.pipeline.of(Role::Source) {
            let source = self.source(node).await?;
            if let Some(info) = source.streams().await?.into_iter().find(|stream| stream.name == name) {
                return Ok(Some((source, info)));
            }
        }
        Ok(None)
    }

    /// What tables the file offers, for messages: nodes, and connections with a star.
    pub fn table_names(&self) -> Vec<String> {
        let nodes = self.pipeline.of(Role::Source).map(|node| node.name.clone());
        nodes.chain(self.pipeline.connections.keys().map(|name| format!("{name}.*"))).collect()
    }

    /// The source of a node.
    pub async fn source(&self, node: &Node) -> Result<Arc<dyn Source>> {
        let connector = self.connector(&node.kind)?;
        let Divided { connection, own } = divide(&self.pipeline, node, connector.as_ref())?;
        let connection = self.resolver.resolve(&connection, self.credentials())?;
        let own = self.resolver.resolve(&own, self.credentials())?;
        connector.source(self.source_context(connection, own)).await
    }

    fn credentials(&self) -> Option<&str> {
        self.pipeline.credentials_ref.as_deref()
    }

    fn connector(&self, kind: &str) -> Result<Arc<dyn Connector>> {
        self.registry
            .get(kind)
            .ok_or_else(|| Error::new("WEIR-CLI-020", Kind::Spec, format!("there is no connector `{kind}` in this build")))
    }

    fn source_context(&self, connection: Value, options: Value) -> SourceContext {
        SourceContext {
            connection,
            options,
            on_loss: OnLoss::default(),
            parallelism: self.lanes(None),
            base_dir: self.file.base_dir.clone(),
        }
    }
}

/// Lanes when nobody says otherwise.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(2, usize::from)
}

/// `weir-secrets` as the planner wants it. One for everything that a command resolves: what was read from Vault is kept here.
pub struct Resolver {
    base_dir: PathBuf,
    facts: OptionFacts,
    values: Values,
}

/// Where values come from.
enum Values {
    /// The environment, files and Vault of who runs the command.
    Machine(Arc<Vault>),
    /// Only what was handed over; secret files below the base folder.
    Given(Arc<dyn Given>),
}

/// Values for a process that works for somebody who does not own the machine.
pub trait Given: Send + Sync {
    /// What `{{name}}` means for a pipeline with this `credentials_ref`.
    fn credential(&self, credentials_ref: Option<&str>, name: &str) -> Result<Option<Secret>, String>;
    /// What `vault://path#key` means.
    fn vault(&self, locator: &str) -> Result<Option<Secret>, String>;
    /// Why secrets cannot be in files, if they cannot.
    fn no_files(&self) -> Option<&'static str>;
}

impl Resolver {
    fn of_machine(registry: &Registry, file: &PipelineFile, vault: Vault) -> Self {
        let values = Values::Machine(Arc::new(vault));
        Self { base_dir: file.base_dir.clone(), facts: option_facts(registry), values }
    }

    /// Nothing of the machine is reachable.
    pub fn of_given(registry: &Registry, base_dir: &Path, given: Arc<dyn Given>) -> Self {
        Self { base_dir: base_dir.to_path_buf(), facts: option_facts(registry), values: Values::Given(given) }
    }
}

impl ResolveReferences for Resolver {
    fn resolve(&self, options: &Value, credentials_ref: Option<&str>) -> Result<Value> {
        let facts = self.facts.clone();
        let resolver = match &self.values {
            Values::Machine(vault) => {
                weir_secrets::Resolver::new(&self.base_dir, credentials_ref, facts).with_vault(vault.clone())
            }
            Values::Given(given) => {
                let vault = FromVault(given.clone());
                let resolver = weir_secrets::Resolver::confined(&self.base_dir, None, BTreeMap::new(), vault, facts)
                    .with_credentials(Credential { given: given.clone(), of: credentials_ref.map(Into::into) });
                match given.no_files() {
                    Some(why) => resolver.with_files(Nowhere(why)),
                    None => resolver,
                }
            }
        };
        resolver.resolve(options, "").map_err(|problems| unresolved_error(&problems))
    }
}

/// Has nothing, and says why.
struct Nowhere(&'static str);

impl weir_secrets::Provider for Nowhere {
    fn get(&self, _: &str) -> Result<Option<Secret>, String> {
        Err(self.0.into())
    }
}

struct FromVault(Arc<dyn Given>);

impl Provider for FromVault {
    fn get(&self, locator: &str) -> Result<Option<Secret>, String> {
        self.0.vault(locator)
    }
}

struct Credential {
    given: Arc<dyn Given>,
    of: Option<String>,
}

impl Provider for Credential {
    fn get(&self, name: &str) -> Result<Option<Secret>, String> {
        self.given.credential(self.of.as_deref(), name)
    }
}

/// Which options are secrets, numbers or truth values, by name. A name that is a number for one connector and a text for another is
/// taken as text. Of transforms only the secrets count: their other options are read before anything is resolved.
fn option_facts(registry: &Registry) -> OptionFacts {
    let mut facts = OptionFacts::default();
    let mut texts = BTreeSet::new();
    for connector in registry.iter() {
        let descriptor = connector.descriptor();
        let schemas = [Some(&descriptor.connection), descriptor.source.as_ref(), descriptor.sink.as_ref()];
        schemas.into_iter().flatten().for_each(|schema| collect(schema, &mut facts, &mut texts));
    }
    facts.plain.retain(|name, _| !texts.contains(name));
    let words = weir_plan::vocabulary(registry);
    for transform in words.transforms().iter().filter_map(|name| words.transform(name)) {
        let mut of_transform = OptionFacts::default();
        collect(&transform.schema, &mut of_transform, &mut BTreeSet::new());
        facts.secret.extend(of_transform.secret);
    }
    facts
}

fn collect(schema: &Value, facts: &mut OptionFacts, texts: &mut BTreeSet<String>) {
    match schema {
        Value::Object(map) => {
            if let Some(Value::Object(properties)) = map.get("properties") {
                for (name, property) in properties {
                    if property.get("x-weir-secret") == Some(&Value::Bool(true)) {
                        facts.secret.insert(name.clone());
                    }
                    match plain(property) {
                        Some(plain) => conflicting(&mut facts.plain, name, plain, texts),
                        None => {
                            texts.insert(name.clone());
                        }
                    }
                }
            }
            map.values().for_each(|inner| collect(inner, facts, texts));
        }
        Value::Array(items) => items.iter().for_each(|inner| collect(inner, facts, texts)),
        _ => {}
    }
}

fn conflicting(known: &mut BTreeMap<String, Plain>, name: &str, plain: Plain, texts: &mut BTreeSet<String>) {
    if known.insert(name.to_string(), plain).is_some_and(|before| before != plain) {
        texts.insert(name.to_string());
    }
}

fn plain(property: &Value) -> Option<Plain> {
    let names: Vec<&str> = match property.get("type")? {
        Value::String(name) => vec![name],
        Value::Array(names) => names.iter().filter_map(Value::as_str).filter(|name| *name != "null").collect(),
        _ => return None,
    };
    match names.as_slice() {
        ["integer"] => Some(Plain::Whole),
        ["number"] => Some(Plain::Number),
        ["boolean"] => Some(Plain::Truth),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::option_facts;

    #[test]
    fn secrets_of_connectors_and_transforms_are_known_by_name() {
        let facts = option_facts(&weir_connectors::registry::registry());
        for name in ["password", "secret_key", "salt"] {
            assert!(facts.secret.contains(name), "{name} of {:?}", facts.secret);
        }
    }
}
