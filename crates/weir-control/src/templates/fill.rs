//! Putting values in the places of parameters.

use serde_json::{Map, Value};
use weir_error::Error;
use weir_spec::{Diagnostic, nearest};

use super::parameter::Parameter;
use crate::jobs::{Refused, spelling};

/// The pipeline with each `<<name>>` replaced. Every wrong, missing and unknown parameter is told at once.
pub(super) fn fill(body: &str, parameters: &[Parameter], given: &Map<String, Value>) -> Result<String, Refused> {
    let mut problems = Vec::new();
    for name in given.keys().filter(|name| !parameters.iter().any(|parameter| parameter.name == **name)) {
        let shown: String = name.chars().take(63).collect();
        problems.push(
            Diagnostic::error("WEIR-TEMPLATE-003", format!("the template has no parameter `{shown}`"))
                .at(format!("parameters.{shown}"), None)
                .did_you_mean(nearest(name, parameters.iter().map(|parameter| parameter.name.as_str()))),
        );
    }
    for parameter in parameters {
        let path = format!("parameters.{}", parameter.name);
        match given.get(&parameter.name).filter(|value| !value.is_null()) {
            None if parameter.required => problems.push(
                Diagnostic::error("WEIR-TEMPLATE-003", format!("the parameter `{}` is missing", parameter.name))
                    .at(path, None)
                    .help(parameter.description.clone()),
            ),
            None => {}
            Some(value) => {
                if let Some(expected) = parameter.refuse(value) {
                    problems.push(
                        Diagnostic::error("WEIR-TEMPLATE-003", format!("the parameter `{}` must be {expected}", parameter.name))
                            .at(path, None)
                            .expected(expected),
                    );
                }
            }
        }
    }
    if !problems.is_empty() {
        return Err(Refused::Diagnostics(problems));
    }
    let value = |parameter: &Parameter| {
        given.get(&parameter.name).filter(|value| !value.is_null()).cloned().or(parameter.default.clone())
    };
    let texts = weir_spec::texts(body).ok_or_else(|| Error::internal("a template is no YAML"))?;
    let mut edits: Vec<(usize, usize, String)> = Vec::new();
    for scalar in texts.scalars.iter().filter(|scalar| scalar.text.contains("<<")) {
        let (start, end) = (scalar.span.start, scalar.span.end);
        let whole = parameters.iter().find(|parameter| scalar.text == marker(parameter));
        match whole.map(value) {
            Some(Some(value)) => edits.push((start, end, spelling::as_yaml(&value))),
            // Not given: the line with its key goes.
            Some(None) => {
                let from = body[..start].rfind('\n').map_or(0, |at| at + 1);
                let to = body[end..].find('\n').map_or(body.len(), |at| end + at + 1);
                edits.push((from, to, String::new()));
            }
            None => {
                let mut text = scalar.text.clone();
                for parameter in parameters.iter().filter(|parameter| scalar.text.contains(&marker(parameter))) {
                    let Some(value) = value(parameter).filter(|_| parameter.may_be_part()) else {
                        return Err(Error::internal(format!("`{}` must not stand inside of a text", parameter.name)).into());
                    };
                    let plain = value.as_str().map_or_else(|| value.to_string(), Into::into);
                    text = text.replace(&marker(parameter), &plain);
                }
                edits.push((start, end, spelling::as_yaml(&Value::String(text))));
            }
        }
    }
    Ok(spelling::edited(body, edits))
}

fn marker(parameter: &Parameter) -> String {
    format!("<<{}>>", parameter.name)
}
