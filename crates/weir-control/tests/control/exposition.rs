//! A strict reader of the Prometheus text format 0.0.4. Stricter than Prometheus itself, which takes families without HELP and TYPE, samples in
//! any order and counters of any name. (`promtool check metrics` said yes to the same page when this was written; it is not used here because
//! its Debian package starts a server.)

use std::collections::{BTreeMap, BTreeSet};

/// Families in order: type and samples (name, labels, value).
#[derive(Debug, Default)]
pub struct Page {
    pub types: BTreeMap<String, String>,
    pub samples: Vec<(String, BTreeMap<String, String>, f64)>,
}

impl Page {
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let wanted: BTreeMap<String, String> = labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        self.samples.iter().find(|(n, l, _)| n == name && *l == wanted).map(|(.., value)| *value)
    }
}

/// Reads a page; panics with the line that is wrong.
pub fn read(text: &str) -> Page {
    assert!(text.is_empty() || text.ends_with('\n'), "the last line has no end");
    let (mut page, mut seen, mut helped, mut family) = (Page::default(), BTreeSet::new(), None, String::new());
    for line in text.lines() {
        let wrong = |why: &str| -> ! { panic!("{why}: {line}") };
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').unwrap_or_else(|| wrong("no help"));
            if help.is_empty() || !seen.insert(name.to_owned()) {
                wrong("no help, or the family comes twice");
            }
            helped = Some(name.to_owned());
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap_or_else(|| wrong("no type"));
            if helped.as_deref() != Some(name) || !["counter", "gauge", "histogram"].contains(&kind) || !is_name(name, true) {
                wrong("a type without its help, or an odd one");
            }
            // The conventions that `promtool check metrics` lints.
            if (kind == "counter") != name.ends_with("_total") {
                wrong("counters, and only they, end in _total");
            }
            family = name.to_owned();
            page.types.insert(family.clone(), kind.to_owned());
        } else {
            let (name, labels, value) = sample(line).unwrap_or_else(|| wrong("no sample"));
            let suffix = name.strip_prefix(family.as_str()).unwrap_or_else(|| wrong("a sample of another family"));
            let histogram = page.types.get(&family).is_some_and(|kind| kind == "histogram");
            // Seed 001 prints the mean under the bare name of the histogram.
            let bare = name == "uis_runner_job_duration_seconds";
            if if histogram { !(["_bucket", "_sum", "_count"].contains(&suffix) || bare) } else { !suffix.is_empty() } {
                wrong("a sample of another family");
            }
            if !suffix.is_empty() && (suffix == "_bucket") != labels.contains_key("le") {
                wrong("`le` belongs to buckets");
            }
            if page.types[&family] != "gauge" && value.is_nan() {
                wrong("not a number");
            }
            if page.samples.iter().any(|(n, l, _)| *n == name && *l == labels) {
                wrong("the same series twice");
            }
            page.samples.push((name, labels, value));
        }
    }
    check_histograms(&page);
    page
}

fn check_histograms(page: &Page) {
    for name in page.types.iter().filter(|(_, kind)| *kind == "histogram").map(|(name, _)| name) {
        let mut lines: BTreeMap<BTreeMap<String, String>, Vec<(f64, f64)>> = BTreeMap::new();
        for (_, labels, value) in page.samples.iter().filter(|(n, ..)| *n == format!("{name}_bucket")) {
            let mut rest = labels.clone();
            let bound = rest.remove("le").unwrap();
            lines.entry(rest).or_default().push((if bound == "+Inf" { f64::INFINITY } else { bound.parse().unwrap() }, *value));
        }
        for (labels, buckets) in lines {
            assert!(
                buckets.windows(2).all(|w| w[0].0 < w[1].0 && w[0].1 <= w[1].1),
                "{name}{labels:?} does not grow: {buckets:?}"
            );
            let last = buckets.last().unwrap();
            let plain: Vec<(&str, &str)> = labels.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
            assert!(last.0.is_infinite() && page.value(&format!("{name}_count"), &plain) == Some(last.1), "{name}{labels:?}");
            assert!(page.value(&format!("{name}_sum"), &plain).is_some());
        }
    }
}

fn is_name(text: &str, colon: bool) -> bool {
    let ok = |c: char| c.is_ascii_alphanumeric() || c == '_' || (colon && c == ':');
    !text.is_empty() && text.chars().all(ok) && !text.starts_with(|c: char| c.is_ascii_digit())
}

fn sample(line: &str) -> Option<(String, BTreeMap<String, String>, f64)> {
    let end = line.find(['{', ' '])?;
    let name = &line[..end];
    let mut labels = BTreeMap::new();
    let mut rest = &line[end..];
    if let Some(mut inner) = rest.strip_prefix('{') {
        loop {
            let (label, after) = inner.split_once("=\"")?;
            let mut value = String::new();
            let mut chars = after.char_indices();
            let close = loop {
                match chars.next()? {
                    (at, '"') => break at,
                    (_, '\\') => value.push(match chars.next()?.1 {
                        'n' => '\n',
                        c @ ('\\' | '"') => c,
                        _ => return None,
                    }),
                    (_, c) => value.push(c),
                }
            };
            if !is_name(label, false) || labels.insert(label.to_owned(), value).is_some() {
                return None;
            }
            inner = &after[close + 1..];
            match inner.chars().next()? {
                ',' => inner = &inner[1..],
                '}' => break rest = &inner[1..],
                _ => return None,
            }
        }
    }
    let value = rest.strip_prefix(' ')?;
    let value = match value {
        "+Inf" => f64::INFINITY,
        "-Inf" => f64::NEG_INFINITY,
        "NaN" => f64::NAN,
        // Rust reads more than the format writes: `inf`, `infinity`.
        text if text.chars().all(|c| c.is_ascii_digit() || "+-.eE".contains(c)) => text.parse().ok()?,
        _ => return None,
    };
    is_name(name, true).then(|| (name.to_owned(), labels, value))
}

#[test]
#[should_panic(expected = "the same series twice")]
fn a_series_twice_is_refused() {
    read("# HELP a_total h\n# TYPE a_total counter\na_total 1\na_total 2\n");
}
