//! `mask`: hides values. NULL stays NULL; the result is text.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, StringArray};
use arrow::datatypes::DataType;
use datafusion::common::DFSchema;
use datafusion::logical_expr::{ColumnarValue, Expr, Volatility, cast, create_udf, ident};
use hmac::{Hmac, Mac};
use schemars::JsonSchema;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use weir_connect::{Result, Secret};

use super::{Op, Transform, field_mapper::missing, options, schema_of};

/// Hides values of columns. The result is text; NULL stays NULL.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MaskOptions {
    /// Column → how.
    pub columns: BTreeMap<String, Masking>,
    /// Key of `hash`: equal values give equal hashes only under the same salt. Without it anybody can hash a guess.
    #[serde(default)]
    #[schemars(with = "Option<String>", extend("x-weir-secret" = true))]
    pub salt: Option<Secret>,
    /// What `redact` writes.
    #[serde(default = "stars")]
    pub replacement: String,
}

fn stars() -> String {
    "***".into()
}

/// How a value is hidden.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Masking {
    /// HMAC-SHA-256 under `salt` (plain SHA-256 without one), in hexadecimal: still joins, no longer readable.
    Hash,
    /// A constant.
    Redact,
    /// Keeps the last four characters, or the domain of an e-mail address; the rest becomes `*`.
    Partial,
}

impl MaskOptions {
    /// The projection over a schema: every column, masked where asked.
    pub fn projection(&self, schema: &DFSchema) -> Result<Vec<(Expr, String)>> {
        let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
        if let Some(name) = self.columns.keys().find(|name| !names.contains(&name.as_str())) {
            return Err(missing(name, &names));
        }
        Ok(names
            .iter()
            .map(|name| match self.columns.get(*name) {
                Some(masking) => (self.expression(*masking, ident(*name)), (*name).to_owned()),
                None => (ident(*name), (*name).to_owned()),
            })
            .collect())
    }

    fn expression(&self, masking: Masking, column: Expr) -> Expr {
        let (salt, replacement) = (self.salt.clone(), self.replacement.clone());
        let function = move |value: &str| match masking {
            Masking::Hash => hash(salt.as_ref(), value),
            Masking::Redact => replacement.clone(),
            Masking::Partial => partial(value),
        };
        let name = format!("weir_mask_{masking:?}").to_lowercase();
        let body = move |arguments: &[ColumnarValue]| {
            let arrays = ColumnarValue::values_to_arrays(arguments)?;
            let masked: StringArray = arrays[0].as_string::<i32>().iter().map(|value| value.map(&function)).collect();
            Ok(ColumnarValue::Array(Arc::new(masked) as ArrayRef))
        };
        let udf = create_udf(&name, vec![DataType::Utf8], DataType::Utf8, Volatility::Immutable, Arc::new(body));
        udf.call(vec![cast(column, DataType::Utf8)])
    }
}

fn hash(salt: Option<&Secret>, value: &str) -> String {
    let bytes: Vec<u8> = match salt.map(|salt| Hmac::<Sha256>::new_from_slice(salt.expose().as_bytes())) {
        // HMAC takes a key of any length.
        Some(Ok(mut mac)) => {
            mac.update(value.as_bytes());
            mac.finalize().into_bytes().to_vec()
        }
        _ => Sha256::digest(value.as_bytes()).to_vec(),
    };
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn partial(value: &str) -> String {
    if let Some((user, domain)) = value.rsplit_once('@')
        && !user.is_empty()
        && domain.contains('.')
    {
        return format!("***@{domain}");
    }
    let count = value.chars().count();
    // A short value would be given away by its own end.
    let shown = if count > 8 { 4 } else { 0 };
    value.chars().enumerate().map(|(index, character)| if index + shown >= count { character } else { '*' }).collect()
}

pub(super) const TRANSFORM: Transform = Transform {
    name: "mask",
    bare: None,
    schema: schema_of::<MaskOptions>,
    lower: |value| Ok(Op::Mask(options("mask", value)?)),
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partial_keeps_what_helps_and_nothing_more() {
        assert_eq!(partial("ada@example.org"), "***@example.org");
        assert_eq!(partial("4111111111111111"), "************1111");
        assert_eq!(partial("1234"), "****");
        assert_eq!(partial("äöüßäöüßä"), "*****öüßä");
    }

    #[test]
    fn a_hash_depends_on_its_salt() {
        let salted = hash(Some(&Secret::new("s")), "x");
        assert_eq!(salted.len(), 64);
        assert_ne!(salted, hash(None, "x"));
        assert_eq!(salted, hash(Some(&Secret::new("s")), "x"));
    }
}
