//! `weir compile`: a pipeline as another engine's own artefact.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use serde_json::json;
use weir_connect::StreamInfo;
use weir_error::{Error, Kind};
use weir_runners::artefact::{Artefacts, Expected, File, Origin, Role};
use weir_runners::compile::{Job, compile, word};
use weir_runners::kubernetes::compile::{Placing, TARGETS, manifests};
use weir_runners::registry::{Format, Target};
use weir_runners::seam::{State, begin, repeats};
use weir_spec::Role as NodeRole;

use crate::cli::{Compile, Notation};
use crate::commands::Context;
use crate::outcome::{Failure, Outcome};
use crate::planning::Opened;
use crate::process::block_on;

pub fn execute(args: &Compile, context: &Context) -> Outcome {
    if args.target == "kubernetes" || args.target.starts_with("kubernetes:") {
        return on_kubernetes(args, context);
    }
    let target = target(&args.target)?;
    let opened = crate::planning::open_for_engines(&args.file, args.json, context)?;
    let streams = if args.connect { streams(&opened)? } else { BTreeMap::new() };
    let format = match args.format {
        Notation::Hocon => Format::Hocon,
        Notation::Json => Format::Json,
    };
    let state = args.start_from.as_deref().map(state).transpose()?;
    let pipeline = match &state {
        Some(state) => begin::begin(&opened.pipeline, &opened.registry, &streams, state, target)?,
        None => (*opened.pipeline).clone(),
    };
    let job = Job { pipeline: &pipeline, registry: &opened.registry, streams, format };
    let made = compile(&job, target).map(|mut made| {
        if let Some(state) = &state {
            begin::attach(&mut made, &pipeline, state);
            let at = state
                .sources
                .iter()
                .map(|source| format!("`{}` {}: {}", source.node, source.stream, repeats(&source.at, begin::engine_of(target))));
            made.notes.extend(at);
        }
        made
    });
    match made {
        Err(refusals) => {
            opened.file.with(refusals).tell(args.json, context)?;
            Ok(2)
        }
        Ok(made) if args.json => {
            writeln!(std::io::stdout(), "{}", serde_json::to_string_pretty(&made).map_err(std::io::Error::from)?)?;
            Ok(0)
        }
        Ok(made) => {
            match &args.output {
                Some(folder) => write(&made.files, folder)?,
                None => print(&made)?,
            }
            tell(&made, args.output.is_some(), context)?;
            Ok(0)
        }
    }
}

/// Manifests: of a native run, or of another engine's job.
fn on_kubernetes(args: &Compile, context: &Context) -> Outcome {
    let Some((_, engine)) = TARGETS.into_iter().find(|(word, _)| *word == args.target) else {
        let words = TARGETS.map(|(word, _)| word).join(", ");
        let what = format!("there is no target `{}`", args.target);
        return Err(Error::new(weir_runners::compile::code::TARGET, Kind::Spec, what).hint(format!("targets: {words}")).into());
    };
    let opened = match engine {
        // Systems that only other engines have are no systems of ours.
        None => {
            let opened = crate::planning::open(&args.file, args.json, context)?;
            opened
                .file
                .with(crate::planning::check(&opened.registry, &opened.file, &opened.pipeline))
                .checked(args.json, context)?;
            opened
        }
        Some(_) => crate::planning::open_for_engines(&args.file, args.json, context)?,
    };
    let streams = if args.connect { streams(&opened)? } else { BTreeMap::new() };
    let job = Job { pipeline: &opened.pipeline, registry: &opened.registry, streams, format: Format::Hocon };
    let made = match manifests(&job, engine, &Placing::default()) {
        Ok(made) => made,
        Err(refusals) => {
            opened.file.with(refusals).tell(args.json, context)?;
            return Ok(2);
        }
    };
    let name = format!("{}.yaml", opened.pipeline.name);
    if args.json {
        let body = json!({"target": args.target, "files": [{"name": name, "role": "job", "text": made.yaml}],
            "expects": made.expects, "notes": made.notes});
        writeln!(std::io::stdout(), "{}", serde_json::to_string_pretty(&body).map_err(std::io::Error::from)?)?;
        return Ok(0);
    }
    match &args.output {
        Some(folder) => write(&[File { name, role: Role::Job, text: made.yaml }], folder)?,
        None => write!(std::io::stdout(), "{}", made.yaml)?,
    }
    tell_expected(&made.expects, &made.notes, context)?;
    Ok(0)
}

/// The state to begin at.
pub fn state(path: &Path) -> Result<State, Failure> {
    let place = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|error| Error::from(error).at(place.clone()))?;
    Ok(State::parse(&text, &place)?)
}

/// The target of a word.
fn target(word: &str) -> Result<Target, Failure> {
    Target::parse(word).map_err(|why| {
        let what = format!("there is no target `{word}`");
        Error::new(weir_runners::compile::code::TARGET, Kind::Spec, what).hint(why).into()
    })
}

/// What sources say when they are asked: those that declare no columns, and files.
pub fn streams(opened: &Opened) -> Result<BTreeMap<String, Vec<StreamInfo>>, Failure> {
    let mut found = BTreeMap::new();
    for node in opened.pipeline.of(NodeRole::Source).filter(|node| super::engine::asks(opened, node)) {
        let streams = block_on(async { opened.source(node).await?.streams().await })?;
        found.insert(node.name.clone(), streams);
    }
    Ok(found)
}

/// The job alone, so that it can be piped; several with their names above them.
fn print(made: &Artefacts) -> std::io::Result<()> {
    let mut out = std::io::stdout();
    let jobs: Vec<_> = made.files.iter().filter(|file| file.role == Role::Job).collect();
    for file in &jobs {
        if jobs.len() > 1 {
            writeln!(out, "==> {} <==", file.name)?;
        }
        write!(out, "{}", file.text)?;
    }
    Ok(())
}

fn write(files: &[File], folder: &Path) -> Result<(), Failure> {
    let refused = |path: &Path, error: std::io::Error| {
        Error::new("WEIR-CLI-090", Kind::Io, "the artefact cannot be written").at(path.display().to_string()).caused_by(error)
    };
    std::fs::create_dir_all(folder).map_err(|error| refused(folder, error))?;
    for file in files {
        let path = folder.join(&file.name);
        std::fs::write(&path, &file.text).map_err(|error| refused(&path, error))?;
    }
    Ok(())
}

/// What stands beside the job, for people.
fn tell(made: &Artefacts, written: bool, context: &Context) -> std::io::Result<()> {
    let mut err = std::io::stderr();
    for file in made.files.iter().filter(|file| written || file.role != Role::Job) {
        let what = match (file.role, written) {
            (Role::Companion, true) => " (runs beside the job)",
            (_, true) => "",
            (Role::Companion, false) => " (runs beside the job; --output DIR writes it)",
            (_, false) => " (--output DIR writes it)",
        };
        writeln!(err, "{} {}{what}", context.err.dim("file"), file.name)?;
    }
    writeln!(err, "{} {}: {}", context.err.dim("delivery"), word(made.delivery), made.reasons.join("; "))?;
    tell_expected(&made.expects, &made.notes, context)
}

/// What must be given to the job, and what is worth knowing.
fn tell_expected(expects: &[Expected], notes: &[String], context: &Context) -> std::io::Result<()> {
    let mut err = std::io::stderr();
    for expected in expects {
        let from = match &expected.from {
            Origin::Environment { default: Some(default), .. } => format!("the environment, else `{default}`"),
            Origin::Environment { .. } => "the environment".into(),
            Origin::Credential { name } => format!("`{name}` of the pipeline's credentials"),
            Origin::Vault { path, key } => format!("vault://{path}#{key}"),
            Origin::File { path } => format!("the file {path}"),
            Origin::Literal { node, option } => format!("`{option}` of `{node}`, which is plain text in the file"),
        };
        writeln!(err, "{} {} from {from}", context.err.dim("expects"), expected.name)?;
    }
    for note in notes {
        writeln!(err, "{} {note}", context.err.dim("note"))?;
    }
    Ok(())
}
