//! The Prometheus text format, version 0.0.4.

use std::fmt::Write;

/// Content type of what [`Text`] writes.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What a family's samples mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only grows (until the process, or the database, begins anew).
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts of what was at most so large, with sum and count.
    Histogram,
}

impl Kind {
    /// As written after `# TYPE`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// Labels in the order in which they are written.
pub type Labels<'a> = [(&'a str, &'a str)];

/// A text in the making. Each family is begun once; a family without samples is not written.
#[derive(Debug, Default)]
pub struct Text {
    out: String,
    head: String,
    families: Vec<(String, Kind, String)>,
}

impl Text {
    /// Begins a family: all samples until the next one belong to it.
    pub fn family(&mut self, name: &str, kind: Kind, help: &str) {
        debug_assert!(!self.families.iter().any(|(known, ..)| known == name), "family {name} twice");
        self.families.push((name.to_owned(), kind, help.to_owned()));
        let kind = kind.as_str();
        self.head = format!("# HELP {name} {}\n# TYPE {name} {kind}\n", help.replace('\\', "\\\\").replace('\n', "\\n"));
    }

    /// One sample.
    pub fn sample(&mut self, name: &str, labels: &Labels<'_>, value: f64) {
        self.out.push_str(&std::mem::take(&mut self.head));
        self.out.push_str(name);
        for (at, (label, text)) in labels.iter().enumerate() {
            self.out.push(if at == 0 { '{' } else { ',' });
            self.out.push_str(label);
            self.out.push_str("=\"");
            for c in text.chars() {
                match c {
                    '\\' => self.out.push_str("\\\\"),
                    '"' => self.out.push_str("\\\""),
                    '\n' => self.out.push_str("\\n"),
                    c => self.out.push(c),
                }
            }
            self.out.push('"');
        }
        if !labels.is_empty() {
            self.out.push('}');
        }
        self.out.push(' ');
        self.number(value);
        self.out.push('\n');
    }

    /// The samples of one histogram: `counts[i]` values were above `bounds[i - 1]` and at most `bounds[i]`; the last count is of those above all.
    pub fn histogram(&mut self, name: &str, labels: &Labels<'_>, bounds: &[f64], counts: &[f64], sum: f64) {
        let bucket = format!("{name}_bucket");
        let mut so_far = 0.0;
        for (at, count) in counts.iter().enumerate() {
            so_far += count;
            let bound = bounds.get(at).map_or_else(|| "+Inf".to_owned(), |bound| bound.to_string());
            let mut with_bound = labels.to_vec();
            with_bound.push(("le", &bound));
            self.sample(&bucket, &with_bound, so_far);
        }
        self.sample(&format!("{name}_sum"), labels, sum);
        self.sample(&format!("{name}_count"), labels, so_far);
    }

    /// What was begun, with samples or without: name, kind, help.
    #[cfg(test)]
    pub fn families(&self) -> &[(String, Kind, String)] {
        &self.families
    }

    /// The text.
    pub fn finish(self) -> String {
        self.out
    }

    fn number(&mut self, value: f64) {
        // Writing into a String cannot fail.
        let _ = match value {
            v if v.is_nan() => write!(self.out, "NaN"),
            v if v.is_infinite() => write!(self.out, "{}Inf", if v > 0.0 { '+' } else { '-' }),
            v => write!(self.out, "{v}"),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_and_help_are_escaped_and_empty_families_are_left_out() {
        let mut text = Text::default();
        text.family("empty_total", Kind::Counter, "never");
        text.family("a_total", Kind::Counter, "one\\two\nthree");
        text.sample("a_total", &[("x", "q\"b\\n\n"), ("y", "ü")], 1.0);
        text.sample("a_total", &[], f64::INFINITY);
        assert_eq!(
            text.finish(),
            "# HELP a_total one\\\\two\\nthree\n# TYPE a_total counter\na_total{x=\"q\\\"b\\\\n\\n\",y=\"ü\"} 1\na_total +Inf\n"
        );
    }

    #[test]
    fn buckets_are_cumulative_and_end_with_all() {
        let mut text = Text::default();
        text.family("s", Kind::Histogram, "h");
        text.histogram("s", &[("a", "b")], &[0.5, 2.0], &[1.0, 2.0, 4.0], 30.5);
        let lines: Vec<String> = text.finish().lines().skip(2).map(str::to_owned).collect();
        assert_eq!(
            lines,
            [
                "s_bucket{a=\"b\",le=\"0.5\"} 1",
                "s_bucket{a=\"b\",le=\"2\"} 3",
                "s_bucket{a=\"b\",le=\"+Inf\"} 7",
                "s_sum{a=\"b\"} 30.5",
                "s_count{a=\"b\"} 7"
            ]
        );
    }
}
