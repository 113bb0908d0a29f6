//! Transforms that see rows together.

use std::collections::BTreeMap;

use serde_json::Value;
use weir_spec::model::{Input, Node};

use super::super::dialect::Dialect;
use super::super::shapes::address;
use super::{Lowering, view_name};

impl Lowering<'_> {
    pub(super) fn dedupe(&self, node: &Node) -> Option<String> {
        let key = self.list(node, "key");
        if key.is_empty() {
            return Some(format!("SELECT DISTINCT * FROM {}", self.from(node)));
        }
        let columns = self.known(node, "a dedupe")?;
        let last = self.text(node, "keep") == Some("last");
        let direction = if last { "DESC" } else { "ASC" };
        let mut order = Vec::new();
        if let Some(written) = self.text(node, "order_by") {
            for part in written.split(',') {
                let part = part.trim();
                let lower = part.to_lowercase();
                let (name, down) = match lower.strip_suffix(" desc") {
                    Some(_) => (part[..part.len() - 5].trim(), true),
                    None => (part.strip_suffix(" asc").or_else(|| part.strip_suffix(" ASC")).unwrap_or(part).trim(), false),
                };
                let down = down != last;
                let name = self.expression(node, "order_by", name)?;
                // NULL is last natively when ascending, and first when descending.
                order.push(if down { format!("{name} DESC NULLS FIRST") } else { format!("{name} ASC NULLS LAST") });
            }
        }
        let streaming = !self.compiling.bounded();
        if !streaming {
            // Among equals natively the smallest (largest) by the columns that are left.
            let rest = columns.fields().iter().filter(|field| !key.contains(field.name()));
            order.extend(rest.map(|field| {
                let nulls = if last { "NULLS FIRST" } else { "NULLS LAST" };
                format!("{} {direction} {nulls}", self.quoted(field.name()))
            }));
        } else if order.is_empty() {
            self.refuse(node, Some("order_by"), "needs the time by which a stream is ordered", "`order_by` with the event time");
            return None;
        } else if self.dialect == Dialect::Flink {
            // A stream is deduplicated by its time attribute, which is never NULL.
            order = order.into_iter().map(|part| part.replace(" NULLS LAST", "").replace(" NULLS FIRST", "")).collect();
        }
        let all: Vec<String> = columns.fields().iter().map(|field| self.quoted(field.name())).collect();
        let keys: Vec<String> = key.iter().map(|name| self.quoted(name)).collect();
        if self.dialect == Dialect::Spark && streaming {
            self.refuse(node, None, "has no ROW_NUMBER over a stream", "Flink, or the native engine");
            return None;
        }
        if node.options.get("ttl_ms").is_some_and(|ttl| !ttl.is_null()) {
            self.compiling
                .note(format!("`{}.ttl_ms`: on Flink `table.exec.state.ttl` says how long keys are remembered", node.name));
        }
        Some(format!(
            "SELECT {all} FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY {keys} ORDER BY {order}) AS `weir_row` FROM {from}) WHERE `weir_row` = 1",
            all = all.join(", "),
            keys = keys.join(", "),
            order = order.join(", "),
            from = self.from(node),
        ))
    }

    pub(super) fn join(&self, node: &Node) -> Option<String> {
        let [left, right, ..] = node.inputs.as_slice() else { return None };
        let shape = |input: &Input| self.compiling.shapes.columns(&address(input), self.stream);
        let (Some(of_left), Some(of_right)) = (shape(left), shape(right)) else {
            self.refuse(
                node,
                None,
                "needs to know the columns of both inputs for a join",
                "declare them at the sources (`columns`), or compile with --connect",
            );
            return None;
        };
        let (l, r) = (view_name(left, self.stream), view_name(right, self.stream));
        let (ql, qr) = (self.quoted(&l), self.quoted(&r));
        let kind = match self.text(node, "kind").unwrap_or("inner") {
            "left" | "left_outer" => "LEFT JOIN",
            "right" | "right_outer" => "RIGHT JOIN",
            "full" | "full_outer" | "outer" => "FULL JOIN",
            "inner" => "JOIN",
            other => {
                self.refuse(
                    node,
                    Some("kind"),
                    &format!("is compiled without `{other}` joins"),
                    "`sql` with EXISTS or NOT EXISTS",
                );
                return None;
            }
        };
        let mut shared: Vec<String> = Vec::new();
        let on = match node.options.get("on")? {
            Value::String(condition) => {
                let tables =
                    [(vec![address(left), left.node.clone()], l.clone()), (vec![address(right), right.node.clone()], r.clone())];
                self.translate(node, "on", condition, &tables)?
            }
            Value::Array(names) => {
                shared = names.iter().filter_map(Value::as_str).map(Into::into).collect();
                let each: Vec<String> = shared.iter().map(|name| format!("{ql}.{0} = {qr}.{0}", self.quoted(name))).collect();
                each.join(" AND ")
            }
            Value::Object(pairs) => {
                let each: Vec<String> = pairs
                    .iter()
                    .filter_map(|(from, to)| Some(format!("{ql}.{} = {qr}.{}", self.quoted(from), self.quoted(to.as_str()?))))
                    .collect();
                each.join(" AND ")
            }
            _ => return None,
        };
        let drop = self.list(node, "drop");
        let rename: BTreeMap<String, String> =
            node.options.get("rename").and_then(Value::as_object).map_or_else(BTreeMap::new, |map| {
                map.iter().filter_map(|(from, to)| Some((from.clone(), to.as_str()?.to_string()))).collect()
            });
        let mut out = Vec::new();
        for (input, columns, view, is_right) in [(left, &of_left, &ql, false), (right, &of_right, &qr, true)] {
            for field in columns.fields() {
                let name = field.name();
                let spellings = [format!("{}.{name}", input.node), name.clone()];
                if drop.iter().any(|dropped| *dropped == spellings[0]) || (is_right && shared.contains(name)) {
                    continue;
                }
                let target = spellings.iter().find_map(|spelling| rename.get(spelling)).unwrap_or(name);
                let value = match shared.contains(name) {
                    // With whichever side has it.
                    true if kind != "JOIN" && kind != "LEFT JOIN" => format!("COALESCE({ql}.{0}, {qr}.{0})", self.quoted(name)),
                    _ => format!("{view}.{}", self.quoted(name)),
                };
                out.push(format!("{value} AS {}", self.quoted(target)));
            }
        }
        Some(format!("SELECT {} FROM {ql} {kind} {qr} ON {on}", out.join(", ")))
    }

    /// One measure in SQL.
    fn measure(&self, node: &Node, value: &Value) -> Option<String> {
        if let Some(sql) = value.as_str() {
            return self.expression(node, "select", sql);
        }
        let part = |name: &str| value.get(name).and_then(Value::as_str);
        let column = part("column").map(|name| self.quoted(name));
        let function = part("function")?;
        let inner = match function {
            "count" => format!("COUNT({})", column.unwrap_or_else(|| "*".into())),
            "count_distinct" => format!("COUNT(DISTINCT {})", column?),
            "sum" | "min" | "max" => format!("{}({})", function.to_uppercase(), column?),
            other => {
                let why = format!("is compiled without `{other}`, which gives other values there");
                self.refuse(node, Some("select"), &why, "SQL of the engine's own in `sql`, or the native engine");
                return None;
            }
        };
        match part("where") {
            None => Some(inner),
            Some(predicate) => Some(format!("{inner} FILTER (WHERE {})", self.expression(node, "select", predicate)?)),
        }
    }

    fn measures(&self, node: &Node) -> Option<Vec<String>> {
        let select = node.options.get("select")?.as_object()?;
        select.iter().map(|(name, value)| Some(format!("{} AS {}", self.measure(node, value)?, self.quoted(name)))).collect()
    }

    pub(super) fn aggregate(&self, node: &Node) -> Option<String> {
        let key: Vec<String> = self.list(node, "group_by").iter().map(|name| self.quoted(name)).collect();
        let out: Vec<String> = key.iter().cloned().chain(self.measures(node)?).collect();
        let group = if key.is_empty() { String::new() } else { format!(" GROUP BY {}", key.join(", ")) };
        self.compiling.note(format!(
            "`{}`: a sum that does not fit ends the run natively; on the engine it may wrap around or be NULL",
            node.name
        ));
        Some(format!("SELECT {} FROM {}{group}", out.join(", "), self.from(node)))
    }

    pub(super) fn window(&self, node: &Node) -> Option<String> {
        let measures = self.measures(node)?;
        let on = self.text(node, "on")?;
        let key: Vec<String> = self.list(node, "group_by").iter().map(|name| self.quoted(name)).collect();
        let lateness = node.options.get("allowed_lateness_ms").and_then(Value::as_u64).unwrap_or(0);
        if lateness > 0 && !self.compiling.bounded() {
            self.refuse(
                node,
                Some("allowed_lateness_ms"),
                "closes a window for good",
                "a larger `max_lateness_ms` at the source, or the native engine",
            );
        }
        if self.text(node, "nulls") != Some("drop") {
            self.compiling
                .note(format!("`{}`: a row without a time ends the run natively; the engine may leave it out", node.name));
        }
        match self.dialect {
            Dialect::Flink => self.flink_window(node, on, &key, &measures),
            _ => self.spark_window(node, on, &key, &measures),
        }
    }

    fn flink_window(&self, node: &Node, on: &str, key: &[String], measures: &[String]) -> Option<String> {
        let from = self.from(node);
        let time = format!("DESCRIPTOR({})", self.quoted(on));
        let interval = |option: &str| self.text(node, option).and_then(seconds);
        let part = |option: &str, name: &str| node.options.get(option)?.get(name)?.as_str().and_then(seconds);
        let offset = interval("offset").map_or(String::new(), |offset| format!(", {offset}"));
        let call = if let Some(size) = interval("tumble") {
            format!("TUMBLE(TABLE {from}, {time}, {size}{offset})")
        } else if let (Some(size), Some(slide)) = (part("hop", "size"), part("hop", "slide")) {
            format!("HOP(TABLE {from}, {time}, {slide}, {size}{offset})")
        } else if let (Some(size), Some(step)) = (part("cumulate", "size"), part("cumulate", "step")) {
            format!("CUMULATE(TABLE {from}, {time}, {step}, {size}{offset})")
        } else {
            let gap = interval("session")?;
            if self.compiling.bounded() {
                self.refuse(node, Some("session"), "has sessions in streams only", "`mode: streaming`, or the native engine");
                return None;
            }
            let by = if key.is_empty() { String::new() } else { format!(" PARTITION BY ({})", key.join(", ")) };
            format!("SESSION(TABLE {from}{by}, {time}, {gap})")
        };
        let group: Vec<String> =
            ["window_start".to_string(), "window_end".into()].into_iter().chain(key.iter().cloned()).collect();
        let out: Vec<String> = group.iter().cloned().chain(measures.iter().cloned()).collect();
        Some(format!("SELECT {} FROM TABLE({call}) GROUP BY {}", out.join(", "), group.join(", ")))
    }

    fn spark_window(&self, node: &Node, on: &str, key: &[String], measures: &[String]) -> Option<String> {
        let from = self.from(node);
        let time = self.quoted(on);
        let length = |text: &str| weir_spec::units::duration_ms(text).map(|ms| format!("'{ms} milliseconds'"));
        let interval = |option: &str| self.text(node, option).and_then(length);
        let part = |option: &str, name: &str| node.options.get(option)?.get(name)?.as_str().and_then(length);
        let offset = interval("offset");
        let window = if let Some(size) = interval("tumble") {
            match offset {
                Some(offset) => format!("window({time}, {size}, {size}, {offset})"),
                None => format!("window({time}, {size})"),
            }
        } else if let (Some(size), Some(slide)) = (part("hop", "size"), part("hop", "slide")) {
            match offset {
                Some(offset) => format!("window({time}, {size}, {slide}, {offset})"),
                None => format!("window({time}, {size}, {slide})"),
            }
        } else if let Some(gap) = interval("session") {
            format!("session_window({time}, {gap})")
        } else {
            self.refuse(node, Some("cumulate"), "has no windows that grow", "Flink, or the native engine");
            return None;
        };
        let name = if window.starts_with("session") { "session_window" } else { "window" };
        let mut out = vec![format!("{name}.start AS `window_start`"), format!("{name}.end AS `window_end`")];
        out.extend(key.iter().cloned());
        out.extend(measures.iter().cloned());
        let group: Vec<String> = std::iter::once(window).chain(key.iter().cloned()).collect();
        Some(format!("SELECT {} FROM {from} GROUP BY {}", out.join(", "), group.join(", ")))
    }
}

/// `10m` → `INTERVAL '10' MINUTE`, in the largest unit that divides it. More than two digits must be announced.
fn seconds(text: &str) -> Option<String> {
    let ms = weir_spec::units::duration_ms(text)?;
    let whole = |count: u64, unit: &str| {
        let digits = count.to_string().len();
        let announced = if digits > 2 { format!("({digits})") } else { String::new() };
        format!("INTERVAL '{count}' {unit}{announced}")
    };
    Some(match ms {
        ms if ms.is_multiple_of(86_400_000) => whole(ms / 86_400_000, "DAY"),
        ms if ms.is_multiple_of(3_600_000) => whole(ms / 3_600_000, "HOUR"),
        ms if ms.is_multiple_of(60_000) => whole(ms / 60_000, "MINUTE"),
        ms if ms.is_multiple_of(1000) => whole(ms / 1000, "SECOND"),
        ms => format!("INTERVAL '{}.{:03}' SECOND({}, 3)", ms / 1000, ms % 1000, (ms / 1000).to_string().len().max(2)),
    })
}

#[cfg(test)]
mod tests {
    use super::seconds;

    #[test]
    fn intervals_have_the_largest_unit() {
        assert_eq!(seconds("90m").unwrap(), "INTERVAL '90' MINUTE");
        assert_eq!(seconds("121m").unwrap(), "INTERVAL '121' MINUTE(3)");
        assert_eq!(seconds("1500ms").unwrap(), "INTERVAL '1.500' SECOND(2, 3)");
    }
}
