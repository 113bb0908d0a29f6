//! CSV and TSV.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use weir_error::{Error, Result};

use crate::format::Compression;
use crate::input::Input;
use crate::options::{ReadOptions, WriteOptions};
use crate::read::{DecodeStream, FilePosition, FileSplit, Inferred};
use crate::write::Encoder;

pub(crate) mod layout;

pub(crate) async fn infer(_input: &Arc<dyn Input>, _options: &ReadOptions) -> Result<Inferred> {
    Err(Error::internal("csv is not there yet"))
}

pub(crate) async fn plan_splits(
    _input: &Arc<dyn Input>,
    _options: &ReadOptions,
    _inferred: &Inferred,
    _target: u64,
) -> Result<Vec<FileSplit>> {
    Err(Error::internal("csv is not there yet"))
}

pub(crate) async fn read(
    _input: Arc<dyn Input>,
    _split: &FileSplit,
    _schema: SchemaRef,
    _options: &ReadOptions,
    _from: Option<FilePosition>,
) -> Result<DecodeStream> {
    Err(Error::internal("csv is not there yet"))
}

pub(crate) fn encoder(_schema: SchemaRef, _options: &WriteOptions, _compression: Compression) -> Result<Box<dyn Encoder>> {
    Err(Error::internal("csv is not there yet"))
}
