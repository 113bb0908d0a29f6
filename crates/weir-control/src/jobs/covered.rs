//! What the checker says of a text, without the secrets that the text holds: a message quotes the value that it does not like, and somebody may
//! have put a password there.

use std::borrow::Cow;

use weir_error::veil::Veil;
use weir_spec::Diagnostic;

use super::secrets::literal_values;
use crate::workbench::{Checked, Workbench};

/// [`Workbench::check`]; whoever shows its answer to somebody asks here.
pub(crate) fn check(workbench: &dyn Workbench, text: &str, file: &str, stored: &[(String, String)]) -> Checked {
    let mut checked = workbench.check(text, file, stored);
    if checked.diagnostics.is_empty() {
        return checked;
    }
    let values = literal_values(text, &checked.diagnostics);
    if !values.is_empty() {
        let veil = Veil::new(values.iter().map(String::as_str));
        checked.diagnostics.iter_mut().for_each(|problem| cover(problem, &veil));
    }
    checked
}

fn cover(problem: &mut Diagnostic, veil: &Veil) {
    let clear = |text: &mut String| {
        if let Cow::Owned(veiled) = veil.text(text) {
            *text = veiled;
        }
    };
    clear(&mut problem.message);
    clear(&mut problem.path);
    [&mut problem.help, &mut problem.suggestion, &mut problem.expected].into_iter().flatten().for_each(clear);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Bench;

    #[test]
    fn a_problem_does_not_quote_a_secret_of_its_text() {
        let text =
            "pipeline: p\nsource:\n  postgres: {password: hunter2-pw, tabel: t, hunter2-pw: x}\nsink:\n  fiel: {path: o}\n";
        let open = Bench::new().check(text, "spec", &[]);
        assert!(format!("{:?}", open.diagnostics).contains("hunter2"), "there is something to cover: {:?}", open.diagnostics);
        let covered = check(&Bench::new(), text, "spec", &[]);
        let shown = format!("{:?}", covered.diagnostics);
        assert!(!shown.contains("hunter2") && shown.contains("***"), "{shown}");
        assert_eq!(covered.diagnostics.len(), open.diagnostics.len());
    }
}
