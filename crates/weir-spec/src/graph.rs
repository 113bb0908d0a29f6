//! From nodes to a graph: names, inputs, and everything that can be wrong with how nodes hang together.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use serde_json::Value as Json;

use crate::codes;
use crate::diagnostic::Diagnostic;
use crate::model::{Input, Node, Role, Span};
use crate::native::slug;
use crate::nodes::Draft;
use crate::options::Checker;
use crate::problems::{nearest, one_of, short};
use crate::vocabulary::Vocabulary;

/// What is known about the document apart from its nodes.
pub(crate) struct Expects {
    /// There is nothing at all under `source` or `sources`.
    pub no_source: bool,
    /// There is nothing at all under `sink` or `sinks`.
    pub no_sink: bool,
    /// Names of nodes that could not be read; they are no unknown inputs.
    pub unread: BTreeSet<String>,
    /// Whether some node could not be read, named or not.
    pub broken: bool,
    /// Where to say that something is missing.
    pub place: Span,
}

/// Names the nodes, joins them, and reports what does not fit. Returns them with the pointer of each.
pub(crate) fn link(
    drafts: Vec<Draft>,
    expects: &Expects,
    vocabulary: &dyn Vocabulary,
    mut check: Checker<'_>,
) -> (Vec<Node>, BTreeMap<String, String>) {
    let given: Vec<Option<&str>> = drafts.iter().map(|draft| draft.name.as_deref()).collect();
    let names = names(&given, &drafts.iter().map(|draft| (draft.role, draft.kind.as_str())).collect::<Vec<_>>());
    let mut index: HashMap<&str, usize> = HashMap::new();
    for (at, name) in names.iter().enumerate() {
        if index.contains_key(name.as_str()) {
            check.problems.push(
                Diagnostic::error(codes::DUPLICATE_NODE, format!("two nodes are called `{}`", short(name)))
                    .at(&drafts[at].path.dotted, Some(drafts[at].place))
                    .label("the second one")
                    .help("give one of them another name"),
            );
        } else {
            index.insert(name, at);
        }
    }
    missing_ends(&drafts, expects, &mut check);
    let mut linked = Linked { names: &names, drafts: &drafts, index: &index, inputs: Vec::new(), meant: HashSet::new() };
    linked.join(expects, &mut check);
    linked.unread(expects, &mut check);
    linked.cycles(&mut check);
    two_writers(&drafts, &names, vocabulary, &mut check);
    let inputs = linked.inputs;
    let paths = names.iter().cloned().zip(drafts.iter().map(|draft| draft.path.pointer.clone())).collect();
    let nodes = names.iter().cloned().zip(drafts).zip(inputs).map(|((name, draft), inputs)| Node {
        name,
        role: draft.role,
        kind: draft.kind,
        inputs: inputs.into_iter().map(|(input, _)| input).collect(),
        options: draft.options,
    });
    (nodes.collect(), paths)
}

/// Names of nodes that have none: `source`, `sink`, the transform's own word; then with `_2`, `_3`.
pub(crate) fn names(given: &[Option<&str>], kinds: &[(Role, &str)]) -> Vec<String> {
    let mut taken: HashSet<String> = given.iter().flatten().map(|name| (*name).to_string()).collect();
    let mut next: HashMap<String, usize> = HashMap::new();
    let mut out = Vec::with_capacity(given.len());
    for (name, (role, kind)) in given.iter().zip(kinds) {
        if let Some(name) = name {
            out.push((*name).to_string());
            continue;
        }
        let base = match role {
            Role::Source => "source".to_string(),
            Role::Sink => "sink".to_string(),
            Role::Transform => slug(kind),
        };
        let counter = next.entry(base.clone()).or_insert(1);
        let name = loop {
            let candidate = if *counter == 1 { base.clone() } else { format!("{base}_{counter}") };
            *counter += 1;
            if taken.insert(candidate.clone()) {
                break candidate;
            }
        };
        out.push(name);
    }
    out
}

fn missing_ends(drafts: &[Draft], expects: &Expects, check: &mut Checker<'_>) {
    if expects.no_source && !drafts.iter().any(|draft| draft.role == Role::Source) {
        check.problems.push(
            Diagnostic::error(codes::NO_SOURCE, "the pipeline has no source")
                .at("source", Some(expects.place))
                .help("add `source: {CONNECTOR: {…}}`; `weir connectors` lists them"),
        );
    }
    if expects.no_sink && !drafts.iter().any(|draft| draft.role == Role::Sink) {
        check.problems.push(
            Diagnostic::error(codes::NO_SINK, "the pipeline has no sink")
                .at("sink", Some(expects.place))
                .help("add `sink: {CONNECTOR: {…}}`; `weir connectors` lists them"),
        );
    }
}

struct Linked<'a> {
    names: &'a [String],
    drafts: &'a [Draft],
    index: &'a HashMap<&'a str, usize>,
    inputs: Vec<Vec<(Input, Span)>>,
    /// Nodes that a misspelt input probably meant.
    meant: HashSet<String>,
}

impl Linked<'_> {
    fn join(&mut self, expects: &Expects, check: &mut Checker<'_>) {
        let sources: Vec<usize> = self.of(Role::Source);
        let mut before = if sources.len() == 1 { Some(sources[0]) } else { None };
        for (at, draft) in self.drafts.iter().enumerate() {
            let inputs = match (&draft.inputs, draft.role) {
                (_, Role::Source) => Vec::new(),
                (Some(inputs), _) => {
                    for (input, span) in inputs {
                        self.check_input(input, *span, draft, expects, check);
                    }
                    inputs.clone()
                }
                (None, role) => match before {
                    Some(upstream) => vec![(Input { node: self.names[upstream].clone(), port: None }, draft.place)],
                    None => {
                        if sources.len() > 1 {
                            let names = sources.iter().map(|source| self.names[*source].as_str());
                            check.missing_key(
                                "input",
                                &format!("{} `{}`", crate::nodes::noun(role), short(&self.names[at])),
                                &draft.path,
                                draft.place,
                                &format!("say which source it reads: {}", one_of(names)),
                            );
                        }
                        Vec::new()
                    }
                },
            };
            self.inputs.push(inputs);
            if draft.role == Role::Transform {
                before = Some(at);
            }
        }
    }

    fn of(&self, role: Role) -> Vec<usize> {
        (0..self.drafts.len()).filter(|at| self.drafts[*at].role == role).collect()
    }

    fn check_input(&mut self, input: &Input, span: Span, draft: &Draft, expects: &Expects, check: &mut Checker<'_>) {
        let path = draft.path.key("input");
        match self.index.get(input.node.as_str()) {
            Some(at) if self.drafts[*at].role == Role::Sink => check.problems.push(
                Diagnostic::error(codes::SINK_AS_INPUT, format!("`{}` is a sink; nothing comes out of it", short(&input.node)))
                    .at(&path.dotted, Some(span))
                    .label("a sink is an end")
                    .help("read from the node that feeds the sink"),
            ),
            Some(_) => {}
            None if expects.unread.contains(&input.node) => {}
            None => {
                if check.problems.full() {
                    return;
                }
                let mut readable: Vec<&str> = Vec::new();
                for at in (0..self.drafts.len().min(100)).filter(|at| self.drafts[*at].role != Role::Sink) {
                    // Not the node itself, and a name that is taken twice only once.
                    if self.drafts[at].path != draft.path && !readable.contains(&self.names[at].as_str()) {
                        readable.push(&self.names[at]);
                    }
                }
                let word = nearest(&input.node, readable.iter().copied());
                self.meant.extend(word.clone());
                check.problems.push(
                    Diagnostic::error(codes::UNKNOWN_INPUT, format!("there is no node `{}`", short(&input.node)))
                        .at(&path.dotted, Some(span))
                        .label("nothing of this name")
                        .did_you_mean(word)
                        .expected(one_of(readable)),
                );
            }
        }
    }

    /// Sources and transforms that nothing reads.
    fn unread(&self, expects: &Expects, check: &mut Checker<'_>) {
        if expects.broken || self.of(Role::Sink).is_empty() {
            return;
        }
        let read: HashSet<&str> = self.inputs.iter().flatten().map(|(input, _)| input.node.as_str()).collect();
        let loose = self.inputs.iter().zip(self.drafts).any(|(inputs, draft)| inputs.is_empty() && draft.role != Role::Source);
        for (name, draft) in self.names.iter().zip(self.drafts) {
            if draft.role != Role::Sink && !read.contains(name.as_str()) && !self.meant.contains(name) && !loose {
                let noun = crate::nodes::noun(draft.role);
                check.problems.push(
                    Diagnostic::error(codes::UNREAD, format!("nothing reads {noun} `{}`", short(name)))
                        .at(&draft.path.dotted, Some(draft.place))
                        .label("its rows would go nowhere")
                        .help(format!("name it as `input` of a transform or sink, or remove the {noun}")),
                );
            }
        }
    }

    /// Circles, each reported once, at the node that comes first in the file.
    fn cycles(&self, check: &mut Checker<'_>) {
        let upstream: Vec<Vec<usize>> = self
            .inputs
            .iter()
            .map(|inputs| inputs.iter().filter_map(|(input, _)| self.index.get(input.node.as_str()).copied()).collect())
            .collect();
        let mut downstream: Vec<Vec<usize>> = vec![Vec::new(); upstream.len()];
        for (at, ups) in upstream.iter().enumerate() {
            for up in ups {
                downstream[*up].push(at);
            }
        }
        let mut waiting: Vec<usize> = upstream.iter().map(Vec::len).collect();
        let mut left: BTreeSet<usize> = (0..self.drafts.len()).collect();
        let mut free: Vec<usize> = left.iter().copied().filter(|at| waiting[*at] == 0).collect();
        // More than a few circles are one mistake.
        for _ in 0..10 {
            // Peel off what has no upstream left; what remains lies on a circle or behind one.
            while let Some(at) = free.pop() {
                if left.remove(&at) {
                    for down in &downstream[at] {
                        waiting[*down] = waiting[*down].saturating_sub(1);
                        if waiting[*down] == 0 {
                            free.push(*down);
                        }
                    }
                }
            }
            let Some(mut at) = left.first().copied() else { return };
            let mut trail: Vec<usize> = Vec::new();
            let mut place: HashMap<usize, usize> = HashMap::new();
            let start = loop {
                if let Some(start) = place.get(&at) {
                    break *start;
                }
                place.insert(at, trail.len());
                trail.push(at);
                match upstream[at].iter().copied().find(|up| left.contains(up)) {
                    Some(up) => at = up,
                    None => return,
                }
            };
            let mut circle: Vec<usize> = trail[start..].iter().rev().copied().collect();
            let first = circle.iter().enumerate().min_by_key(|(_, at)| **at).map_or(0, |(place, _)| place);
            circle.rotate_left(first);
            let mut shown: Vec<&str> = circle.iter().take(6).map(|at| self.names[*at].as_str()).collect();
            shown.push(if circle.len() > 6 { "…" } else { self.names[circle[0]].as_str() });
            let draft = &self.drafts[circle[0]];
            let place = self.inputs[circle[0]]
                .iter()
                .find(|(input, _)| self.index.get(input.node.as_str()) == circle.last())
                .map_or(draft.place, |(_, span)| *span);
            check.problems.push(
                Diagnostic::error(codes::CYCLE, format!("nodes feed each other in a circle: {}", shown.join(" → ")))
                    .at(draft.path.key("input").dotted, Some(place))
                    .label("closes the circle")
                    .help("a pipeline flows one way, from sources to sinks"),
            );
            // The circle is told; what is behind it can be looked at on its own.
            free = circle;
        }
    }
}

/// Two sinks of one system with the same address would write over each other. What the schema is when none is given is not known
/// here, so only two that are given are two places.
fn two_writers(drafts: &[Draft], names: &[String], vocabulary: &dyn Vocabulary, check: &mut Checker<'_>) {
    let mut places: HashMap<String, Vec<(Option<&Json>, &str)>> = HashMap::new();
    for (draft, name) in drafts.iter().zip(names).filter(|(draft, _)| draft.role == Role::Sink) {
        let Some(words) = vocabulary.connector(&draft.kind) else { continue };
        let Some(address) = draft.options.get(&words.address_option) else { continue };
        let own = |key: &String| words.connection.pointer("/properties").is_some_and(|known| known.get(key).is_some());
        let connection: BTreeMap<&String, &Json> =
            draft.options.as_object().into_iter().flatten().filter(|(key, _)| *key == "connection" || own(key)).collect();
        let place = format!("{}|{address}|{}", words.canonical, serde_json::to_string(&connection).unwrap_or_default());
        let schema = draft.options.get("schema");
        let here = places.entry(place).or_default();
        let other =
            here.iter().find(|(other, _)| schema.is_none() || other.is_none() || *other == schema).map(|(_, other)| *other);
        here.push((schema, name));
        if let Some(other) = other {
            let path = draft.path.key(&draft.kind).key(&words.address_option);
            let span = check.spans.get(&path.pointer).copied().unwrap_or(draft.place);
            check.problems.push(
                Diagnostic::error(
                    codes::TWO_WRITERS,
                    format!("sinks `{}` and `{}` write to the same place", short(other), short(name)),
                )
                .at(&path.dotted, Some(span))
                .label(format!("`{}` writes here too", short(other)))
                .help("give one of them another place, or feed one sink with `input: [a, b]`"),
            );
        }
    }
}
