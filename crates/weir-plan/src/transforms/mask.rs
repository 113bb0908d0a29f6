//! `mask`: hides the content of columns.

use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, StringArray, StringBuilder};
use arrow::datatypes::DataType;
use datafusion::error::Result;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{
    ColumnarValue, Expr, LogicalPlanBuilder, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use hmac::{Hmac, Mac};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use sha2::{Sha256, Sha512};
use weir_error::Secret;

use super::Transform;
use super::token::{TokeniseOptions, Tokens};
use crate::chain::Chain;
use crate::problem::{Problem, code};

/// Hides the content of columns. The result is text; NULL stays NULL. Values that are no text are masked as the text that Arrow prints for them.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Mask {
    /// Column → how: `hash` (keyed hash, equal values stay equal), `redact` (a constant), `partial` (the last four
    /// characters, or the domain of an e-mail address), or one of them with options: `{hash: {salt: "${SALT}"}}`;
    /// `tokenise`, with a key: `{tokenise: {key: "${KEY}", prefix: cus_}}`.
    columns: BTreeMap<String, How>,
}

/// How a column is hidden.
#[derive(Debug, Clone, PartialEq, Eq)]
enum How {
    Hash(HashOptions),
    Redact(RedactOptions),
    Partial(PartialOptions),
    Tokenise(TokeniseOptions),
}

/// A keyed hash (HMAC), in lower-case hexadecimal.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct HashOptions {
    /// The key. Without one, short values (telephone numbers, for example) can be found by trying them all.
    #[serde(default)]
    #[schemars(with = "String", extend("x-weir-secret" = true))]
    salt: Secret,
    /// The hash inside; `sha256` if absent.
    #[serde(default)]
    algorithm: Algorithm,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Algorithm {
    #[default]
    Sha256,
    Sha512,
}

/// A constant in the place of every value.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct RedactOptions {
    /// The constant; `***` if absent.
    with: String,
}

impl Default for RedactOptions {
    fn default() -> Self {
        Self { with: "***".into() }
    }
}

/// Stars, and the end of the value. Of an e-mail address the domain stays, and the first letter before it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct PartialOptions {
    /// Characters that stay; 4 if absent. A value that is not longer than twice this is hidden whole.
    keep: usize,
}

impl Default for PartialOptions {
    fn default() -> Self {
        Self { keep: 4 }
    }
}

impl<'de> Deserialize<'de> for How {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        const EXPECTED: &str =
            "hash, redact, partial, or one of them with its options: {hash: {salt: ..}}, {tokenise: {key: ..}}";
        let value = Value::deserialize(deserializer)?;
        let (word, options) = match &value {
            Value::String(word) => (word.as_str(), Value::Object(Default::default())),
            Value::Object(map) if map.len() == 1 => match map.iter().next() {
                Some((word, Value::Null)) => (word.as_str(), Value::Object(Default::default())),
                Some((word, options)) => (word.as_str(), options.clone()),
                None => return Err(D::Error::custom(format!("expected {EXPECTED}"))),
            },
            _ => return Err(D::Error::custom(format!("expected {EXPECTED}"))),
        };
        match word {
            "hash" => serde_json::from_value(options).map(Self::Hash).map_err(D::Error::custom),
            "redact" => serde_json::from_value(options).map(Self::Redact).map_err(D::Error::custom),
            "partial" => serde_json::from_value(options).map(Self::Partial).map_err(D::Error::custom),
            "tokenise" | "tokenize" => serde_json::from_value(options).map(Self::Tokenise).map_err(D::Error::custom),
            other => Err(D::Error::custom(format!("`{other}` is no way to mask; expected {EXPECTED}"))),
        }
    }
}

impl JsonSchema for How {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Mask".into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let hash = generator.subschema_for::<HashOptions>();
        let redact = generator.subschema_for::<RedactOptions>();
        let partial = generator.subschema_for::<PartialOptions>();
        let tokenise = generator.subschema_for::<TokeniseOptions>();
        json_schema!({
            "oneOf": [
                { "type": "string", "enum": ["hash", "redact", "partial"] },
                { "type": "object", "properties": { "hash": hash }, "required": ["hash"], "additionalProperties": false },
                { "type": "object", "properties": { "redact": redact }, "required": ["redact"], "additionalProperties": false },
                { "type": "object", "properties": { "partial": partial }, "required": ["partial"], "additionalProperties": false },
                { "type": "object", "properties": { "tokenise": tokenise }, "required": ["tokenise"], "additionalProperties": false }
            ]
        })
    }
}

impl Transform for Mask {
    fn check(&self) -> Vec<Problem> {
        let empty = |(column, how): (&String, &How)| match how {
            How::Tokenise(options) if options.key.is_empty() => Some(
                Problem::new(code::TRANSFORM_OPTIONS, format!("the key for the tokens of `{column}` is empty"))
                    .option(format!("columns/{column}"))
                    .help("a token is worth what its key is: `key: \"${TOKEN_KEY}\"`"),
            ),
            _ => None,
        };
        self.columns.iter().filter_map(empty).collect()
    }

    fn warnings(&self) -> Vec<Problem> {
        self.columns
            .iter()
            .filter(|(_, how)| matches!(how, How::Hash(options) if options.salt.is_empty()))
            .map(|(column, _)| {
                Problem::new(
                    code::WEAK_MASK,
                    format!("the hash of `{column}` has no salt: values can be found by trying them all"),
                )
                .option(format!("columns/{column}"))
                .help(format!("`{column}: {{hash: {{salt: \"${{MASK_SALT}}\"}}}}`"))
            })
            .collect()
    }

    fn lower(&self, chain: &mut Chain<'_>, problems: &mut Vec<Problem>) {
        let schema = chain.schema();
        let names: Vec<String> = schema.fields().iter().map(|field| field.name().clone()).collect();
        let before = problems.len();
        for name in self.columns.keys() {
            match schema.column_with_name(name) {
                None => problems.push(Problem::no_column(name, &format!("columns/{name}"), &names)),
                Some((_, field)) if field.data_type().is_nested() => problems.push(
                    Problem::new(code::TRANSFORM_OPTIONS, format!("`{name}` is nested: mask its parts"))
                        .option(format!("columns/{name}"))
                        .help("take the parts out in `sql` first, or drop the column"),
                ),
                Some(_) => {}
            }
        }
        if problems.len() > before {
            return;
        }
        let built = chain.plan(|_, input| {
            let columns: Vec<Expr> = input
                .schema()
                .columns()
                .into_iter()
                .map(|column| match self.columns.get(&column.name) {
                    Some(how) => {
                        let name = column.name.clone();
                        let function = Arc::new(ScalarUDF::from(Masked::new(how.clone())));
                        Expr::ScalarFunction(ScalarFunction::new_udf(function, vec![Expr::Column(column)])).alias(name)
                    }
                    None => Expr::Column(column),
                })
                .collect();
            LogicalPlanBuilder::from(input).project(columns)?.build()
        });
        if let Err(error) = built {
            problems.push(Problem::query(&error, "columns"));
        }
    }
}

/// The function behind a masked column.
#[derive(Debug, PartialEq, Eq)]
struct Masked {
    how: How,
    signature: Signature,
}

impl Masked {
    fn new(how: How) -> Self {
        Self { how, signature: Signature::any(1, Volatility::Immutable) }
    }
}

impl Hash for Masked {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match &self.how {
            How::Hash(options) => (0, options.algorithm, options.salt.expose()).hash(state),
            How::Redact(options) => (1, options).hash(state),
            How::Partial(options) => (2, options).hash(state),
            How::Tokenise(options) => (3, options.key.expose(), &options.prefix, options.format).hash(state),
        }
    }
}

impl ScalarUDFImpl for Masked {
    fn name(&self) -> &str {
        match self.how {
            How::Hash(_) => "mask_hash",
            How::Redact(_) => "mask_redact",
            How::Partial(_) => "mask_partial",
            How::Tokenise(_) => "mask_tokenise",
        }
    }
    fn signature(&self) -> &Signature {
        &self.signature
    }
    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }
    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let arrays = ColumnarValue::values_to_arrays(&args.args)?;
        let texts = as_text(&arrays[0])?;
        Ok(ColumnarValue::Array(Arc::new(mask(&self.how, &texts)?)))
    }
}

/// Values as text; bytes that are no UTF-8 as hexadecimal digits.
fn as_text(array: &ArrayRef) -> Result<StringArray> {
    use arrow::util::display::{ArrayFormatter, FormatOptions};
    let array = match array.data_type() {
        DataType::Dictionary(_, value) => arrow::compute::cast(array, value)?,
        _ => array.clone(),
    };
    if matches!(array.data_type(), DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View) {
        let texts = arrow::compute::cast(&array, &DataType::Utf8)?;
        return Ok(StringArray::from(texts.to_data()));
    }
    let options = FormatOptions::default();
    let formatter = ArrayFormatter::try_new(array.as_ref(), &options)?;
    let mut texts = StringBuilder::with_capacity(array.len(), array.len() * 16);
    for row in 0..array.len() {
        if array.is_null(row) {
            texts.append_null();
        } else {
            texts.append_value(formatter.value(row).try_to_string()?);
        }
    }
    Ok(texts.finish())
}

fn mask(how: &How, texts: &StringArray) -> Result<StringArray> {
    Ok(match how {
        How::Redact(options) => texts.iter().map(|text| text.map(|_| options.with.as_str())).collect(),
        How::Partial(options) => texts.iter().map(|text| text.map(|text| partial(text, options.keep))).collect(),
        How::Tokenise(options) => {
            let tokens = Tokens::new(options)?;
            let token = |text: Option<&str>| text.map(|text| tokens.of(text)).transpose();
            texts.iter().map(token).collect::<Result<StringArray>>()?
        }
        How::Hash(options) => {
            let key = options.salt.expose().as_bytes();
            let keyed = match options.algorithm {
                Algorithm::Sha256 => Keyed::Sha256(Hmac::new_from_slice(key).map_err(bad_key)?),
                Algorithm::Sha512 => Keyed::Sha512(Hmac::new_from_slice(key).map_err(bad_key)?),
            };
            texts.iter().map(|text| text.map(|text| keyed.hash(text))).collect()
        }
    })
}

fn bad_key(error: impl std::fmt::Display) -> datafusion::error::DataFusionError {
    datafusion::error::DataFusionError::Internal(format!("HMAC does not take this key: {error}"))
}

enum Keyed {
    Sha256(Hmac<Sha256>),
    Sha512(Hmac<Sha512>),
}

impl Keyed {
    fn hash(&self, text: &str) -> String {
        match self {
            Self::Sha256(mac) => hex(&mac.clone().chain_update(text.as_bytes()).finalize().into_bytes()),
            Self::Sha512(mac) => hex(&mac.clone().chain_update(text.as_bytes()).finalize().into_bytes()),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    text
}

fn partial(text: &str, keep: usize) -> String {
    if let Some((local, domain)) = text.rsplit_once('@')
        && !local.is_empty()
        && domain.contains('.')
    {
        let first = if local.chars().count() > 2 { local.chars().next() } else { None };
        return first.into_iter().chain("***@".chars()).chain(domain.chars()).collect();
    }
    let length = text.chars().count();
    // Hidden whole when the part that stays would be most of it; and the stars never tell how long a short value was.
    if length <= keep.saturating_mul(2) {
        return "****".into();
    }
    let tail = text.char_indices().nth(length - keep).map_or("", |(at, _)| &text[at..]);
    format!("****{tail}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn how(text: &str) -> How {
        serde_json::from_str(text).unwrap()
    }

    fn masked(how: &How, values: Vec<Option<&str>>) -> Vec<Option<String>> {
        mask(how, &StringArray::from(values)).unwrap().iter().map(|value| value.map(String::from)).collect()
    }

    #[test]
    fn a_hash_is_hmac_sha_256_as_rfc_4231_has_it() {
        let how = how(r#"{"hash": {"salt": "Jefe"}}"#);
        let expected = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        assert_eq!(masked(&how, vec![Some("what do ya want for nothing?"), None]), [Some(expected.into()), None]);
    }

    #[test]
    fn sha_512_too() {
        let how = how(r#"{"hash": {"salt": "Jefe", "algorithm": "sha512"}}"#);
        let value = masked(&how, vec![Some("what do ya want for nothing?")])[0].clone().unwrap();
        assert!(value.starts_with("164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea250554"));
        assert_eq!(value.len(), 128);
    }

    #[test]
    fn a_salt_does_not_print() {
        let how = how(r#"{"hash": {"salt": "hunter2"}}"#);
        assert!(!format!("{:?}", Masked::new(how)).contains("hunter2"));
        let how = super::tests::how(r#"{"tokenise": {"key": "hunter2"}}"#);
        assert!(!format!("{:?}", Masked::new(how)).contains("hunter2"));
    }

    #[test]
    fn partial_keeps_the_end_or_the_domain() {
        let values = vec![
            Some("4111111111111111"),
            Some("ada@example.org"),
            Some("al@b.co"),
            Some("secret"),
            Some("@x.y"),
            None,
            Some("日本語日本語日本語"),
        ];
        let shown = masked(&how("\"partial\""), values);
        let expected = ["****1111", "a***@example.org", "***@b.co", "****", "****"];
        assert_eq!(shown[..5], expected.map(|text| Some(text.to_string())));
        assert_eq!(shown[5..], [None, Some("****語日本語".to_string())]);
    }

    #[test]
    fn every_type_is_masked_as_text() {
        let number: ArrayRef = Arc::new(arrow::array::Int64Array::from(vec![Some(1234567890), None]));
        assert_eq!(
            mask(&how("\"partial\""), &as_text(&number).unwrap()).unwrap(),
            StringArray::from(vec![Some("****7890"), None])
        );
        let bytes: ArrayRef = Arc::new(arrow::array::BinaryArray::from(vec![&[0xff_u8, 0x00][..]]));
        assert_eq!(as_text(&bytes).unwrap().value(0), "ff00");
    }

    #[test]
    fn an_unknown_way_says_which_there_are() {
        let error = serde_json::from_str::<How>("\"hide\"").unwrap_err().to_string();
        assert!(error.contains("hash, redact, partial"), "{error}");
    }
}
