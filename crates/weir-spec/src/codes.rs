//! Every code that this crate reports, with one sentence each. A code never changes its meaning.

macro_rules! codes {
    ($($name:ident = $code:literal, $doc:literal;)*) => {
        $(#[doc = $doc] pub const $name: &str = $code;)*
        /// All codes in order, with their sentences: the reference page and `weir explain` are made from it.
        pub const ALL: &[(&str, &str)] = &[$(($code, $doc)),*];
    };
}

codes! {
    SYNTAX = "WEIR-SPEC-001", "The text is neither YAML nor JSON.";
    DUPLICATE_KEY = "WEIR-SPEC-002", "A key stands twice in one map, or once under its name and once under an alias.";
    TOO_MUCH = "WEIR-SPEC-003", "The file is too large, nested too deep, or grows too much through its aliases.";
    KEY_NOT_TEXT = "WEIR-SPEC-004", "A key is a list or a map.";
    TAG = "WEIR-SPEC-005", "A YAML tag that a pipeline file has no use for.";
    NUMBER = "WEIR-SPEC-006", "A number that would change if it were read: leading zeros, too many digits, not finite.";
    EMPTY = "WEIR-SPEC-007", "There is no pipeline in the file.";
    CONTROL_CHARACTER = "WEIR-SPEC-008", "The file contains a NUL or another control character.";
    NOT_A_MAP = "WEIR-SPEC-009", "A document of the file is not a map.";
    UNKNOWN_FORM = "WEIR-SPEC-010", "The document is none of the forms of a pipeline file.";
    UNKNOWN_KEY = "WEIR-SPEC-011", "A key that means nothing at this place.";
    MISSING_KEY = "WEIR-SPEC-012", "A required key is missing.";
    WRONG_TYPE = "WEIR-SPEC-013", "A value has the wrong type.";
    UNKNOWN_OPTION = "WEIR-SPEC-014", "The connector or transform has no such option.";
    MISSING_OPTION = "WEIR-SPEC-015", "The connector or transform needs an option that is missing.";
    OPTION_TYPE = "WEIR-SPEC-016", "The value of an option has the wrong type.";
    OPTION_WORD = "WEIR-SPEC-017", "The value of an option is not one of its words.";
    UNIT = "WEIR-SPEC-018", "A duration or size is not written as a number with a unit.";
    ONE_WORD = "WEIR-SPEC-019", "A node does not have exactly one connector or transform.";
    NAME = "WEIR-SPEC-020", "A name is not lower_snake.";
    DELIVERY = "WEIR-SPEC-021", "The demanded delivery cannot be kept (reported by the plan).";
    WORD = "WEIR-SPEC-022", "A value is not one of the words allowed here.";
    RANGE = "WEIR-SPEC-023", "A number is outside of its range.";
    SAME_PIPELINE = "WEIR-SPEC-024", "Two pipelines of one file have the same name.";
    DUPLICATE_NODE = "WEIR-SPEC-030", "Two nodes have the same name.";
    UNKNOWN_INPUT = "WEIR-SPEC-031", "An input names a node that does not exist.";
    CYCLE = "WEIR-SPEC-032", "Nodes feed each other in a circle.";
    UNREAD = "WEIR-SPEC-033", "Nothing reads a source or transform.";
    SINK_AS_INPUT = "WEIR-SPEC-034", "A sink is used as an input.";
    NO_SOURCE = "WEIR-SPEC-035", "The pipeline has no source.";
    NO_SINK = "WEIR-SPEC-036", "The pipeline has no sink.";
    SOURCE_INPUT = "WEIR-SPEC-037", "A source has an input.";
    TWO_WRITERS = "WEIR-SPEC-038", "Two sinks write to the same place.";
    TWO_FORMS = "WEIR-SPEC-039", "`source` and `sources`, or `sink` and `sinks`, stand side by side.";
    LITERAL_SECRET = "WEIR-SPEC-040", "A secret is written as plain text (a warning).";
    REFERENCE = "WEIR-SPEC-041", "A reference (`${…}`, `{{…}}`, `vault://…`) is not closed or has no usable name.";
    NO_REFERENCE_HERE = "WEIR-SPEC-042", "A reference at a place that is read before references are resolved.";
    PLACEHOLDER = "WEIR-SPEC-043", "A path or name holds a placeholder that does not exist.";
    CONNECTION_NAME = "WEIR-SPEC-044", "A connection is not declared in the file, but one with a similar name is (a warning).";
    CONNECTION_KIND = "WEIR-SPEC-045", "A node uses a connection of another connector.";
    UNUSED_CONNECTION = "WEIR-SPEC-046", "A connection is declared and never used (a warning).";
    DRIVER = "WEIR-SPEC-050", "A JDBC driver is named; Weir needs none (a warning).";
    JDBC_URL = "WEIR-SPEC-051", "A JDBC URL cannot be understood.";
    UIS_VERSION = "WEIR-SPEC-052", "A version of the Unified Ingestion Spec other than 1.1.";
    IGNORED = "WEIR-SPEC-053", "A key that Weir has no use for and leaves out (a warning).";
    CRON = "WEIR-SPEC-060", "A schedule is not five cron fields.";
    TIMEZONE = "WEIR-SPEC-061", "A time zone is not an IANA name.";
    UNKNOWN_CONNECTOR = "WEIR-PLAN-001", "A connector or transform that this build does not have.";
    WRONG_ROLE = "WEIR-PLAN-002", "A connector that cannot read is used as a source, or one that cannot write as a sink.";
}

/// What a code means.
pub fn meaning(code: &str) -> Option<&'static str> {
    ALL.iter().find(|(known, _)| *known == code).map(|(_, doc)| *doc)
}

#[cfg(test)]
mod tests {
    use super::ALL;

    #[test]
    fn no_code_is_used_twice() {
        let mut codes: Vec<_> = ALL.iter().map(|(code, _)| code).collect();
        codes.sort();
        codes.dedup();
        assert_eq!(codes.len(), ALL.len());
    }
}
