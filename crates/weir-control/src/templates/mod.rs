//! Templates: ready pipelines with parameters, in four categories.
//!
//! A template is a file `templates/<category>/<id>.yaml`, built in: a head (title, description, parameters, `requires`), `---`, and a pipeline in
//! which `<<name>>` stands for a parameter. Parameters enter as YAML values, written as JSON in the place of a scalar: whatever a value holds, it stays that one
//! value. Inside of a longer text only parameters whose values are checked letter by letter may stand.

mod catalogue;
mod fill;
mod parameter;

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value};
use weir_error::{Error, Kind, Result};
use weir_spec::nearest;

use crate::jobs::{Refused, kinds};
use crate::workbench::Workbench;

pub use parameter::{Parameter, ParameterType};

/// The categories of seed 000.
pub const CATEGORIES: [&str; 4] = ["data-lake", "cdc", "streaming", "etl"];

/// A template as listings show it.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct Template {
    /// Its id.
    pub id: String,
    /// One of `data-lake`, `cdc`, `streaming`, `etl`.
    pub category: String,
    /// For people.
    pub title: String,
    /// What it does, and what it does not.
    pub description: String,
    /// Connector that this build may lack.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requires: Option<String>,
    /// Whether this build can run it.
    pub available: bool,
    /// What can be chosen.
    pub parameters: Vec<Parameter>,
}

/// A template with its text.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct TemplateDetail {
    /// The template.
    pub template: Template,
    /// The pipeline with `<<name>>` for each parameter.
    pub spec: String,
    /// The pipeline with its examples and defaults filled in.
    pub example: String,
}

/// All templates, by category and id.
pub fn list(workbench: &dyn Workbench) -> Result<Vec<Template>> {
    let kinds = kinds(workbench);
    catalogue::FILES.iter().map(|file| Ok(shown(catalogue::parse(file)?.head, &kinds))).collect()
}

/// One template.
pub fn get(workbench: &dyn Workbench, id: &str) -> Result<TemplateDetail> {
    let file = find(id)?;
    let example = fill::fill(&file.body, &file.head.parameters, &examples(&file.head.parameters)).map_err(Refused::into_error)?;
    Ok(TemplateDetail { template: shown(file.head, &kinds(workbench)), spec: file.body, example })
}

/// The pipeline with parameters filled in; it passes [`Workbench::check`]. `stored` are the tenant's connections by name and kind.
pub fn instantiate(
    workbench: &dyn Workbench,
    id: &str,
    given: &Map<String, Value>,
    stored: &[(String, String)],
) -> Result<String, Refused> {
    let file = find(id)?;
    let template = shown(file.head, &kinds(workbench));
    if let Some(requires) = template.requires.filter(|_| !template.available) {
        return Err(Error::new(
            "WEIR-TEMPLATE-002",
            Kind::Unsupported,
            format!("the template `{id}` needs the connector `{requires}`"),
        )
        .because("this build does not have it")
        .hint("GET /api/v1/templates says which are available")
        .into());
    }
    let spec = fill::fill(&file.body, &template.parameters, given)?;
    let checked = crate::jobs::check(workbench, &spec, id, stored);
    if checked.has_errors() {
        return Err(Refused::Diagnostics(checked.diagnostics));
    }
    Ok(spec)
}

/// Example values of the parameters that have one and no default, for trying a template out.
pub fn examples(parameters: &[Parameter]) -> Map<String, Value> {
    let given = parameters.iter().filter(|parameter| parameter.default.is_none());
    given.filter_map(|parameter| Some((parameter.name.clone(), parameter.example.clone()?))).collect()
}

fn find(id: &str) -> Result<catalogue::File> {
    match catalogue::FILES.iter().find(|(_, known, _)| *known == id) {
        Some(file) => catalogue::parse(file),
        None => {
            let shown: String = id.chars().take(63).collect();
            let error = Error::new("WEIR-TEMPLATE-001", Kind::NotFound, format!("there is no template `{shown}`"));
            Err(match nearest(id, catalogue::FILES.iter().map(|(_, known, _)| *known)) {
                Some(near) => error.hint(format!("did you mean `{near}`?")),
                None => error.hint("GET /api/v1/templates lists them"),
            })
        }
    }
}

fn shown(head: catalogue::Head, kinds: &BTreeMap<String, String>) -> Template {
    let available = head.requires.as_ref().is_none_or(|kind| kinds.contains_key(kind));
    Template {
        id: head.id,
        category: head.category,
        title: head.title,
        description: head.description,
        requires: head.requires,
        available,
        parameters: head.parameters,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Bench;
    use proptest::prelude::*;
    use serde_json::json;
    use std::collections::BTreeSet;

    fn stored(parameters: &[Parameter]) -> Vec<(String, String)> {
        let connections = parameters.iter().filter(|parameter| parameter.kind == ParameterType::Connection);
        connections
            .map(|parameter| (parameter.example.as_ref().unwrap().as_str().unwrap().into(), parameter.connector.clone().unwrap()))
            .collect()
    }

    #[test]
    fn the_list_is_the_folder_and_every_category_has_templates_that_run() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("templates");
        let mut files = BTreeSet::new();
        for category in CATEGORIES {
            for file in std::fs::read_dir(root.join(category)).unwrap() {
                files.insert((category.to_string(), file.unwrap().path().file_stem().unwrap().to_str().unwrap().to_string()));
            }
        }
        let listed: BTreeSet<_> =
            catalogue::FILES.iter().map(|(category, id, _)| (category.to_string(), id.to_string())).collect();
        assert_eq!(listed, files);
        let all = list(&Bench::new()).unwrap();
        assert!(all.iter().filter(|template| template.available).count() >= 12);
        for category in CATEGORIES {
            assert!(all.iter().any(|template| template.category == category && template.available), "{category}");
        }
        for template in
            all.iter().filter(|template| ["cdc", "streaming"].contains(&template.category.as_str()) && template.available)
        {
            let said = format!("{} {}", template.title, template.description);
            assert!(said.contains("no deletes") || said.contains("small batches"), "{}: says what it is not", template.id);
        }
    }

    #[test]
    fn every_available_template_with_its_examples_is_a_sound_pipeline() {
        let bench = Bench::new();
        for template in list(&bench).unwrap() {
            let detail = get(&bench, &template.id).unwrap();
            assert!(!detail.example.contains("<<"), "{}", detail.example);
            let stored = stored(&template.parameters);
            let made = instantiate(&bench, &template.id, &examples(&template.parameters), &stored);
            if !template.available {
                assert_eq!(made.unwrap_err().kind(), Kind::Unsupported, "{}", template.id);
                continue;
            }
            let spec = made.unwrap_or_else(|refused| panic!("{}: {:?}\n{}", template.id, refused.into_error(), detail.example));
            let checked = bench.check(&spec, "x", &stored);
            assert_eq!(checked.pipelines[0].name, template.id);
            // Only what is required.
            let required: Map<String, Value> = template
                .parameters
                .iter()
                .filter(|p| p.required)
                .map(|p| {
                    (p.name.clone(), p.example.clone().unwrap_or_else(|| panic!("{}: {} needs an example", template.id, p.name)))
                })
                .collect();
            instantiate(&bench, &template.id, &required, &stored)
                .unwrap_or_else(|refused| panic!("{}: {:?}", template.id, refused.into_error()));
        }
    }

    #[test]
    fn wrong_missing_and_unknown_parameters_are_told_together() {
        let given = json!({"paht": "x", "target": 5, "columns": {"a": 1}});
        let refused = instantiate(&Bench::new(), "csv_to_parquet", given.as_object().unwrap(), &[]).unwrap_err();
        let told: Vec<_> = refused.diagnostics().iter().map(|d| (d.path.as_str(), d.suggestion.as_deref())).collect();
        assert_eq!(
            told,
            [
                ("parameters.paht", Some("path")),
                ("parameters.path", None),
                ("parameters.target", None),
                ("parameters.columns", None)
            ]
        );
        assert_eq!(get(&Bench::new(), "csv_to_parqet").unwrap_err().advice(), Some("did you mean `csv_to_parquet`?"));
    }

    /// The pipeline as JSON, with one text in it blanked.
    fn shape(spec: &str) -> Value {
        let mut value = serde_json::to_value(&Bench::new().check(spec, "x", &[]).pipelines).unwrap();
        value[0]["nodes"][0]["options"]["path"] = Value::Null;
        value
    }

    const HOSTILE: [&str; 18] = [
        "x\nsink: {file: {path: /etc}}",
        "x\"\nmode: cdc",
        "'",
        "\"",
        "x # y",
        "x: y",
        "- x",
        "{a: b}",
        "[a, b]",
        "&a x",
        "*a",
        "!!int 5",
        "| ",
        "> x",
        "\\u0022",
        "---",
        "%YAML 1.2",
        "<<target>>",
    ];

    #[test]
    fn a_hostile_value_stays_one_value() {
        let plain = instantiate(&Bench::new(), "csv_to_parquet", json!({"path": "x"}).as_object().unwrap(), &[]).unwrap();
        for value in HOSTILE {
            let made = instantiate(&Bench::new(), "csv_to_parquet", json!({"path": value}).as_object().unwrap(), &[]);
            if value.contains('\n') {
                assert!(made.is_err());
                continue;
            }
            let spec = made.unwrap();
            assert_eq!(shape(&spec), shape(&plain), "{spec}");
            assert_eq!(Bench::new().check(&spec, "x", &[]).pipelines[0].nodes[0].options["path"], value);
        }
        for value in HOSTILE.iter().filter(|value| **value != "x") {
            let given = json!({"path": "x", "group_by": value, "measure": "a"});
            assert!(instantiate(&Bench::new(), "files_summary", given.as_object().unwrap(), &[]).is_err(), "{value} became SQL");
        }
        // Lines are fine where text is meant.
        let query = "SELECT 1\n-- it's \"x\": {}\n";
        let given = json!({"connection": "crm_db", "query": query});
        let stored = [("crm_db".to_string(), "postgres".to_string())];
        let spec = instantiate(&Bench::new(), "postgres_query_to_files", given.as_object().unwrap(), &stored).unwrap();
        assert_eq!(Bench::new().check(&spec, "x", &stored).pipelines[0].nodes[0].options["query"], query);
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]
        #[test]
        fn any_value_that_is_taken_stays_one_value(value in "\\PC{1,40}", key in "\\PC{1,20}") {
            let plain = instantiate(&Bench::new(), "csv_to_parquet", json!({"path": "x"}).as_object().unwrap(), &[]).unwrap();
            let given = json!({"path": value, "columns": {key.clone(): "text"}});
            match instantiate(&Bench::new(), "csv_to_parquet", given.as_object().unwrap(), &[]) {
                Ok(spec) => {
                    let checked = Bench::new().check(&spec, "x", &[]);
                    let options = &checked.pipelines[0].nodes[0].options;
                    prop_assert_eq!(&options["path"], &value);
                    prop_assert_eq!(&options["columns"], &json!({key: "text"}));
                    let mut shape = shape(&spec);
                    shape[0]["nodes"][0]["options"].as_object_mut().unwrap().remove("columns");
                    prop_assert_eq!(shape, super::tests::shape(&plain));
                }
                // Only references and placeholders are judged by the checker.
                Err(refused) => prop_assert!(value.contains(['$', '{']), "{:?} {:?}", value, refused.into_error()),
            }
        }
    }
}
