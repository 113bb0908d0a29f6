//! A script of Flink SQL, taken apart into statements: the gateway takes one at a time.

/// The statements, without their semicolons and without comments around them. Semicolons inside of strings, quoted names, comments and
/// `BEGIN … END` (a statement set) end nothing.
pub fn split(script: &str) -> Vec<String> {
    let mut out = Vec::new();
    let mut now = String::new();
    let mut depth = 0_u32;
    let mut rest = script;
    while let Some(first) = rest.chars().next() {
        let piece = piece(rest, first);
        let text = &rest[..piece];
        rest = &rest[piece..];
        if is_comment(text) {
            now.push(' ');
            continue;
        }
        match text.to_ascii_uppercase().as_str() {
            "BEGIN" => depth += 1,
            "END" => depth = depth.saturating_sub(1),
            ";" if depth == 0 => {
                keep(&mut now, &mut out);
                continue;
            }
            _ => {}
        }
        now.push_str(text);
    }
    keep(&mut now, &mut out);
    out
}

fn keep(now: &mut String, out: &mut Vec<String>) {
    let statement = now.trim().to_owned();
    now.clear();
    if !statement.is_empty() {
        out.push(statement);
    }
}

/// Bytes of the piece at the start: a comment, something quoted, a word, or one character.
fn piece(rest: &str, first: char) -> usize {
    let until = |end: &str, from: usize| rest[from..].find(end).map_or(rest.len(), |at| from + at + end.len());
    match first {
        '-' if rest.starts_with("--") => rest.find('\n').unwrap_or(rest.len()),
        // A hint is a comment by its looks only.
        '/' if rest.starts_with("/*") => until("*/", 2),
        // A doubled quote ends one string and begins the next: the same for our purpose.
        '\'' | '"' | '`' => until(&first.to_string(), 1),
        c if word(c) => rest.find(|c: char| !word(c)).unwrap_or(rest.len()),
        c => c.len_utf8(),
    }
}

fn word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn is_comment(piece: &str) -> bool {
    piece.starts_with("--") || (piece.starts_with("/*") && !piece.starts_with("/*+"))
}

/// Whether it begins a job: an `INSERT`, a statement set, a table that is made from a query.
pub fn runs(statement: &str) -> bool {
    let words: Vec<String> = statement.split_whitespace().map(str::to_ascii_uppercase).collect();
    let made = words.windows(2).any(|pair| pair[0] == "AS" && pair[1].starts_with("SELECT"));
    match words.iter().map(String::as_str).find(|word| !matches!(*word, "OR" | "REPLACE" | "CREATE" | "TEMPORARY")) {
        Some("INSERT" | "EXECUTE") => true,
        Some("TABLE") => words[0] == "CREATE" && made,
        _ => false,
    }
}

/// Whether it gives the job a name.
pub fn names(statement: &str) -> bool {
    let mut words = statement.split(|c: char| c.is_whitespace() || "='".contains(c)).filter(|word| !word.is_empty());
    words.next().is_some_and(|word| word.eq_ignore_ascii_case("set")) && words.next() == Some("pipeline.name")
}

/// What it is, without what is in it: `CREATE TABLE orders`. Options hold passwords.
pub fn head(statement: &str) -> String {
    let end = statement.find(['(', '\'']).unwrap_or(statement.len());
    statement[..end].split_whitespace().take(6).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn semicolons_end_statements_only_where_sql_says_so() {
        let script = "SET 'a' = 'b;c';\n-- no; end\nCREATE TABLE `x;y` (a STRING) WITH ('p' = 'it''s; fine') /* ; */;\n\
                      EXECUTE STATEMENT SET BEGIN INSERT INTO a SELECT 1; INSERT INTO b SELECT beginning FROM c; END;\n;\nINSERT INTO d SELECT /*+ H('k'='v') */ 1";
        let found = split(script);
        assert_eq!(found.len(), 4, "{found:#?}");
        assert_eq!(found[0], "SET 'a' = 'b;c'");
        assert!(found[1].starts_with("CREATE TABLE `x;y`") && found[1].ends_with(')'), "{}", found[1]);
        assert!(found[2].ends_with("FROM c; END"), "{}", found[2]);
        assert!(found[3].contains("/*+ H('k'='v') */"), "a hint stays: {}", found[3]);
        assert_eq!(split("'never closed; -- x"), ["'never closed; -- x"]);
        assert!(split(" -- nothing\n;;").is_empty());
    }

    #[test]
    fn what_is_told_of_a_statement_has_no_options_in_it() {
        assert_eq!(head("CREATE TABLE orders (id INT) WITH ('password'='x')"), "CREATE TABLE orders");
        assert_eq!(head("SET 'a.password' = 'x'"), "SET");
        assert!(runs("insert into a select 1") && runs("EXECUTE STATEMENT SET BEGIN INSERT INTO a SELECT 1; END"));
        assert!(!runs("CREATE TABLE orders (id INT)") && !runs("SET 'a' = 'b'"));
        assert!(!runs("CREATE TEMPORARY VIEW v AS SELECT 1") && runs("create table t with ('a'='b') as\nselect 1"));
        assert!(names("SET 'pipeline.name' = 'x'") && names("set pipeline.name=x") && !names("SET 'a' = 'pipeline.name'"));
    }
}
