//! A page of a listing.

use std::borrow::Cow;

use serde::Serialize;
use utoipa::openapi::schema::{ArrayBuilder, ObjectBuilder, Schema, SchemaType, Type};
use utoipa::openapi::{Ref, RefOr};
use utoipa::{PartialSchema, ToSchema};
use weir_store::model;

use crate::ask::MAX_LIMIT;

/// A page of a listing.
#[derive(Debug, Serialize)]
pub struct Page<T> {
    /// The rows, at most `limit`.
    pub items: Vec<T>,
    /// Give it back as `cursor` to get the next page; null after the last.
    pub next_cursor: Option<String>,
}

impl<T> Page<T> {
    /// From the store's page.
    pub fn of<S: Into<T>>(page: model::Page<S>) -> Self {
        Self { items: page.items.into_iter().map(Into::into).collect(), next_cursor: page.next_cursor }
    }
}

/// A listing that is always short enough for one answer.
#[derive(Debug, Serialize)]
pub struct All<T> {
    /// The rows.
    pub items: Vec<T>,
}

// By hand: the derived schemas of a generic type all have one name.

fn rows<T: ToSchema>() -> ArrayBuilder {
    ArrayBuilder::new().items(Ref::from_schema_name(T::name()))
}

fn own_and_parts<T: ToSchema>(schemas: &mut Vec<(String, RefOr<Schema>)>) {
    schemas.push((T::name().into(), T::schema()));
    T::schemas(schemas);
}

impl<T: ToSchema> PartialSchema for Page<T> {
    fn schema() -> RefOr<Schema> {
        let cursor = ObjectBuilder::new()
            .schema_type(SchemaType::from_iter([Type::String, Type::Null]))
            .description(Some("Give it back as `cursor` to get the next page; null after the last."));
        ObjectBuilder::new()
            .description(Some("A page of a listing."))
            .property("items", rows::<T>().max_items(Some(MAX_LIMIT as usize)))
            .property("next_cursor", cursor)
            .required("items")
            .required("next_cursor")
            .into()
    }
}

impl<T: ToSchema> ToSchema for Page<T> {
    fn name() -> Cow<'static, str> {
        format!("PageOf{}", T::name()).into()
    }
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        own_and_parts::<T>(schemas);
    }
}

impl<T: ToSchema> PartialSchema for All<T> {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new().description(Some("A whole listing.")).property("items", rows::<T>()).required("items").into()
    }
}

impl<T: ToSchema> ToSchema for All<T> {
    fn name() -> Cow<'static, str> {
        format!("AllOf{}", T::name()).into()
    }
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        own_and_parts::<T>(schemas);
    }
}
