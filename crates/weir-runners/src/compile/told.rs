//! What a compilation finds: refusals with their places, and notes.

use weir_plan::{place, place_of_key};
use weir_spec::Diagnostic;
use weir_spec::model::{Node, Pipeline, Role};

use crate::registry::Target;

/// Codes of this crate. A code never changes its meaning.
pub mod code {
    /// The engine cannot express a node, or an option of it.
    pub const CANNOT: &str = "WEIR-ENGINE-001";
    /// The engine cannot keep what the pipeline as a whole asks for.
    pub const PIPELINE: &str = "WEIR-ENGINE-002";
    /// The engine needs to know the columns, and nothing says them.
    pub const COLUMNS: &str = "WEIR-ENGINE-003";
    /// SQL that does not mean the same on the engine, or is not known to.
    pub const SQL: &str = "WEIR-ENGINE-004";
    /// An engine or target that there is not.
    pub const TARGET: &str = "WEIR-ENGINE-005";
}

/// Everything found so far.
#[derive(Debug, Default)]
pub struct Told {
    diagnostics: Vec<Diagnostic>,
    notes: Vec<String>,
}

impl Told {
    /// What a node cannot have on this engine.
    pub fn refuse(&mut self, pipeline: &Pipeline, node: &Node, option: Option<&str>, target: Target, why: String, help: String) {
        let noun = match node.role {
            Role::Source => "source",
            Role::Transform => "transform",
            Role::Sink => "sink",
        };
        let message = format!("{noun} `{}` ({}): {} {why}", node.name, node.kind, target.title());
        self.tell(pipeline, &node.name, option, code::CANNOT, message, help);
    }

    /// A problem in a node.
    pub fn tell(&mut self, pipeline: &Pipeline, node: &str, option: Option<&str>, code: &str, message: String, help: String) {
        let (path, span) = place(pipeline, node, option);
        self.push(Diagnostic::error(code, message).at(path, span), help);
    }

    /// What the pipeline as a whole cannot have.
    pub fn refuse_at(&mut self, pipeline: &Pipeline, key: &str, target: Target, why: String, help: String) {
        let (path, span) = place_of_key(pipeline, key);
        self.push(Diagnostic::error(code::PIPELINE, format!("{} {why}", target.title())).at(path, span), help);
    }

    /// What somebody else found.
    pub fn extend(&mut self, diagnostics: impl IntoIterator<Item = Diagnostic>) {
        for diagnostic in diagnostics {
            if !self.diagnostics.contains(&diagnostic) {
                self.diagnostics.push(diagnostic);
            }
        }
    }

    /// Something worth knowing, once.
    pub fn note(&mut self, note: String) {
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }

    fn push(&mut self, diagnostic: Diagnostic, help: String) {
        let diagnostic = if help.is_empty() { diagnostic } else { diagnostic.help(help) };
        self.extend([diagnostic]);
    }

    /// In file order.
    pub(crate) fn finish(mut self) -> (Vec<Diagnostic>, Vec<String>) {
        self.diagnostics.sort_by(|a, b| {
            let start = |found: &Diagnostic| found.span.map_or(usize::MAX, |span| span.start);
            start(a).cmp(&start(b)).then_with(|| a.path.cmp(&b.path)).then_with(|| a.message.cmp(&b.message))
        });
        (self.diagnostics, self.notes)
    }
}
