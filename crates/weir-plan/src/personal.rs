//! Which columns look personal. Samples end up in logs and screenshots, so they are masked unless somebody asks.

/// Words that make a column personal, compared with whole words of its name (`user_email`, `emailAddress`).
const WORDS: &[&str] = &[
    "email",
    "mail",
    "phone",
    "mobile",
    "fax",
    "ssn",
    "password",
    "passwd",
    "pwd",
    "secret",
    "token",
    "iban",
    "bic",
    "passport",
    "dob",
    "birthday",
    "birthdate",
    "birth",
    "salary",
    "pan",
    "cvv",
    "cvc",
    "surname",
    "lastname",
    "firstname",
    "fullname",
    "street",
    "address",
    "ip",
    "cookie",
    "fingerprint",
    "tin",
    "nin",
];

/// Pairs of neighbouring words that do.
const PAIRS: &[(&str, &str)] = &[
    ("first", "name"),
    ("last", "name"),
    ("full", "name"),
    ("middle", "name"),
    ("maiden", "name"),
    ("given", "name"),
    ("family", "name"),
    ("social", "security"),
    ("credit", "card"),
    ("card", "number"),
    ("account", "number"),
    ("tax", "id"),
    ("national", "id"),
    ("api", "key"),
    ("private", "key"),
    ("access", "key"),
    ("e", "mail"),
];

/// Whether a column's name looks personal.
pub fn looks_personal(column: &str) -> bool {
    let words = words(column);
    words.iter().any(|word| WORDS.contains(&word.as_str()))
        || words.windows(2).any(|pair| PAIRS.contains(&(pair[0].as_str(), pair[1].as_str())))
}

/// What is shown instead of a value; says nothing about its length.
pub const MASK: &str = "•••";

fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut lower_before = false;
    for c in name.chars() {
        if !c.is_alphanumeric() {
            words.push(String::new());
            lower_before = false;
            continue;
        }
        if c.is_uppercase() && lower_before {
            words.push(String::new());
        }
        lower_before = c.is_lowercase();
        if let Some(word) = words.last_mut() {
            word.extend(c.to_lowercase());
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

#[cfg(test)]
mod tests {
    use super::looks_personal;

    #[test]
    fn personal_columns_are_known_by_whole_words() {
        for name in
            ["email", "customer_email", "emailAddress", "Phone", "first_name", "lastName", "SSN", "api_key", "password_hash"]
        {
            assert!(looks_personal(name), "{name}");
        }
        for name in ["name", "airport_name", "mailbox_count", "ship_date", "description", "zip", "tokenize", "shipped", "trip"] {
            assert!(!looks_personal(name), "{name}");
        }
    }
}
