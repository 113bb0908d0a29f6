//! What an engine says when a job fails is a Java stack trace, hundreds of lines long; the reason is the innermost cause. Here it is found, and sorted.

use weir_error::{Error, Kind};

/// Longer messages are cut: some repeat a whole row or a whole file.
const LONGEST: usize = 1_000;

/// The message of the innermost cause of a Java stack trace: the last `Caused by:`, without the class if it says something itself.
pub fn first(trace: &str) -> String {
    let last = trace.lines().map(str::trim).filter_map(|line| line.strip_prefix("Caused by: ")).next_back();
    let line = last.or_else(|| trace.lines().map(str::trim).find(|line| !line.is_empty())).unwrap_or("no reason was given");
    let text = with_list(trace, line, without_class(line));
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// A message that ends with a colon goes on: what it announces stands in the next lines.
fn with_list(trace: &str, line: &str, text: &str) -> String {
    let mut text = text.to_owned();
    if text.ends_with(':') {
        let behind = trace.lines().map(str::trim).skip_while(|each| !each.ends_with(line)).skip(1);
        let stack = |line: &&str| !line.starts_with("at ") && !line.starts_with("... ") && !line.starts_with("Caused by: ");
        let items: Vec<&str> = behind.take_while(stack).filter(|line| !line.is_empty()).collect();
        text.push(' ');
        text.push_str(&items.join(", "));
    }
    text.trim_end().to_owned()
}

/// `org.postgresql.util.PSQLException: ERROR: …` → `ERROR: …`; `java.lang.NullPointerException` stays.
fn without_class(line: &str) -> &str {
    let mut rest = line;
    while let Some((class, message)) = rest.split_once(": ") {
        let named = class.contains('.') && class.chars().all(|c| c.is_ascii_alphanumeric() || "._$".contains(c));
        if !named || message.trim().is_empty() {
            break;
        }
        // A path or a name alone says little: of `java.nio.file.NoSuchFileException: /x` the last word of the class stays.
        if !message.trim().contains(' ') {
            return rest.get(class.rfind('.').map_or(0, |dot| dot + 1)..).unwrap_or(rest).trim();
        }
        rest = message;
    }
    rest.trim()
}

/// The error of a job that has failed. The exit code follows from what the cause looks like: a system that the job could not reach is not a wrong row.
pub fn failed(engine: &'static str, job: &str, cause: &str) -> Error {
    let error =
        Error::new("WEIR-LAUNCH-013", kind(cause), format!("the job failed on {engine}")).at(job.to_owned()).because(cause);
    match error.kind() {
        Kind::Connect => error.hint("the engine itself must reach the systems, from the machines where it runs"),
        Kind::NotFound => {
            error.hint("paths and tables are the engine's: a local file must be there on the machine that runs the job")
        }
        _ => error.hint("`weir run --engine native` says more about rows that cannot be read or written"),
    }
}

/// What drivers and engines write, in lower case.
const WORDS: [(Kind, &[&str]); 4] = [
    (
        Kind::Connect,
        &["connection refused", "unknownhost", "connection attempt failed", "timed out", "no route to host", "connection reset"],
    ),
    (Kind::Auth, &["password authentication failed", "access denied for user", "authentication failed", "invalid credentials"]),
    (Kind::Privilege, &["permission denied", "not authorized", "accessdenied", "access denied"]),
    (
        Kind::NotFound,
        &["does not exist", "path_not_found", "filenotfound", "nosuchfile", "no such file", "not found in", "doesn't exist"],
    ),
];

fn kind(cause: &str) -> Kind {
    let cause = cause.to_lowercase();
    let found = WORDS.iter().find(|(_, words)| words.iter().any(|word| cause.contains(word)));
    found.map_or(Kind::Data, |(kind, _)| *kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_innermost_cause_is_told_without_its_class() {
        let trace = "org.apache.flink.runtime.JobException: Recovery is suppressed\n\tat a.b.C(D.java:1)\nCaused by: java.io.IOException: outer\n\
                     \tat x\nCaused by: org.postgresql.util.PSQLException: ERROR: relation \"t\" does not exist\n  Position: 15\n\t... 9 more\n";
        assert_eq!(first(trace), "ERROR: relation \"t\" does not exist");
        assert_eq!(first("java.lang.NullPointerException\n\tat x"), "java.lang.NullPointerException");
        assert_eq!(first("a.b.X: c.d.Y: what it is: really"), "what it is: really");
        assert_eq!(
            first("x.Y: z\nCaused by: a.b.X: All of these:\n\nusername\npassword\n\tat c.d\n"),
            "All of these: username, password"
        );
        assert_eq!(first("a.b.X: java.nio.file.NoSuchFileException: /in/x.csv"), "NoSuchFileException: /in/x.csv");
        assert_eq!(first(""), "no reason was given");
        assert_eq!(first(&"ä".repeat(2_000)).chars().count(), LONGEST + 1);
    }

    #[test]
    fn the_exit_code_follows_from_the_cause() {
        let code = |cause: &str| failed("flink", "job", cause).exit_code();
        assert_eq!(code("Connection to 127.0.0.1:1 refused. Check … Connection refused"), 3);
        assert_eq!(code("FATAL: password authentication failed for user \"u\""), 3);
        assert_eq!(code("ERROR: relation \"t\" does not exist"), 1);
        assert_eq!(code("For input string: \"abc\""), 1);
        assert_eq!(failed("flink", "job", "For input string").kind(), Kind::Data);
    }
}
