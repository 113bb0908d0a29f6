//! Is in the golden files; what is here needs the module's own parts.

use super::Config;
use crate::compile::Text;

#[test]
fn variables_are_those_of_the_worker_s_provider() {
    let mut config = Config::default();
    config.put("a", Text::plain("x").then(Text::variable("SECRET")));
    config.set("b", 3);
    let text = config.into_file("n");
    assert!(text.contains("\"a\": \"x${env:SECRET}\"") && text.contains("\"b\": \"3\""), "{text}");
}
