//! An error for people: what, where, why, what to do.

use weir_error::Error;

use super::style::Style;
use super::table::one_line;

/// The error in a few lines, each ended.
pub fn render(error: &Error, style: Style) -> String {
    body(
        &style.red("error"),
        style,
        &[error.code(), error.what(), error.place().unwrap_or(""), error.why().unwrap_or(""), error.advice().unwrap_or("")],
    )
}

/// The same from an error that has become data.
pub fn render_body(head: &str, error: &weir_error::ErrorBody, style: Style) -> String {
    body(
        &style.red(head),
        style,
        &[
            error.code,
            &error.message,
            error.place.as_deref().unwrap_or(""),
            error.cause.as_deref().unwrap_or(""),
            error.hint.as_deref().unwrap_or(""),
        ],
    )
}

/// `parts`: code, what, where, why, advice; empty ones are left out.
fn body(head: &str, style: Style, parts: &[&str; 5]) -> String {
    let [code, what, place, why, advice] = parts.map(tame);
    let mut out = format!("{head}{}: {what}", style.dim(&format!("[{code}]")));
    if !place.is_empty() {
        out.push_str(&format!(" ({place})"));
    }
    out.push('\n');
    for line in why.lines() {
        out.push_str(&format!("  {line}\n"));
    }
    for line in advice.lines() {
        out.push_str(&format!("  {} {line}\n", style.bold("=")));
    }
    out
}

/// Texts of other systems may hold anything; line breaks are kept.
fn tame(text: &str) -> String {
    text.lines().map(one_line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_error::Kind;

    #[test]
    fn says_what_where_why_and_what_to_do() {
        let error = Error::new("WEIR-PG-001", Kind::Connect, "cannot reach postgres")
            .at("db:5432")
            .because("connection refused")
            .hint("start it, or check host and port");
        assert_eq!(
            render(&error, Style::new(false)),
            "error[WEIR-PG-001]: cannot reach postgres (db:5432)\n  connection refused\n  = start it, or check host and port\n"
        );
    }
}
