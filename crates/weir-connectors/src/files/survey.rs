//! A look at a stream before it is read: which files, which format, which columns.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use arrow::datatypes::{Field, FieldRef, Schema, SchemaRef};
use futures::{StreamExt, TryStreamExt};
use weir_connect::StreamInfo;
use weir_error::{Error, Kind, Result};
use weir_formats::{Format, Inferred, ReadOptions, declared_type, infer_schema, unify_schemas};

use super::config::FileSource;
use super::hive;
use super::listing::{Anchor, Listed, Listing, list};
use super::storage::Storage;

/// Files looked at side by side.
pub(crate) const LOOKS: usize = 8;

/// What a look found. The files and their layouts are in the same order.
pub(crate) struct Survey {
    pub storage: Arc<dyn Storage>,
    pub anchor: Anchor,
    pub files: Vec<Listed>,
    pub inferred: Vec<Inferred>,
    pub options: ReadOptions,
    /// Columns that come from the files.
    pub file_schema: SchemaRef,
    /// Columns that come from the folders.
    pub folder_fields: Vec<FieldRef>,
    pub notes: Vec<String>,
}

impl Survey {
    /// All columns: the files', then the folders'.
    pub(crate) fn schema(&self) -> SchemaRef {
        let fields: Vec<FieldRef> = self.file_schema.fields().iter().chain(&self.folder_fields).cloned().collect();
        Arc::new(Schema::new(fields))
    }

    pub(crate) fn info(&self, name: &str) -> StreamInfo {
        let bytes: u64 = self.files.iter().map(|file| file.meta.size).sum();
        let rows = self
            .files
            .iter()
            .zip(&self.inferred)
            .map(|(file, inferred)| file.rows.or(inferred.rows_estimate))
            .try_fold(0u64, |sum, rows| rows.map(|rows| sum + rows));
        let count = self.files.len();
        let mut reading = format!("{count} {} file{}", self.options.format.as_str(), if count == 1 { "" } else { "s" });
        for note in &self.notes {
            reading.push_str(", ");
            reading.push_str(note);
        }
        StreamInfo {
            name: name.to_owned(),
            schema: self.schema(),
            primary_key: vec![],
            estimated_rows: rows,
            estimated_bytes: Some(bytes),
            reading,
        }
    }
}

/// Lists the files of a stream.
pub(crate) async fn files(storage: &dyn Storage, anchor: &Anchor, patterns: &[String], options: &FileSource) -> Result<Listing> {
    let listing = list(storage, anchor, patterns, options.format).await?;
    if listing.files.is_empty() {
        return Err(Error::new("WEIR-FILE-080", Kind::NotFound, "no file matches the path")
            .at(patterns.iter().map(|pattern| storage.show(pattern)).collect::<Vec<_>>().join(", "))
            .hint("check the path and the glob; names that begin with _ or . are skipped, and in a folder without a `format` only known endings count"));
    }
    Ok(listing)
}

/// How all of the files are read, before anything is found by looking.
pub(crate) fn read_options(files: &[Listed], options: &FileSource) -> Result<ReadOptions> {
    let format = match options.format {
        Some(format) => format,
        None => one_format(files)?,
    };
    let mut read = ReadOptions::new(format);
    read.compression = options.compression;
    read.csv = options.csv.clone();
    read.json = options.json.clone();
    Ok(read)
}

fn one_format(files: &[Listed]) -> Result<Format> {
    let mut found: BTreeMap<&str, (Format, &str)> = BTreeMap::new();
    for file in files {
        match Format::from_path(&file.path) {
            Some((format, _)) => {
                found.entry(format.as_str()).or_insert((format, file.path.as_str()));
            }
            None => {
                return Err(Error::new("WEIR-FILE-081", Kind::Spec, "the file's name does not tell its format")
                    .at(file.path.clone())
                    .hint("set `format: csv` (or tsv, json, ndjson, parquet, avro, orc), or narrow the path"));
            }
        }
    }
    let mut formats = found.into_values();
    match (formats.next(), formats.next()) {
        (Some((format, _)), None) => Ok(format),
        (Some((a, first)), Some((b, second))) => {
            Err(Error::new("WEIR-FILE-082", Kind::Spec, format!("the path matches {} and {} files", a.as_str(), b.as_str()))
                .because(format!("{first} and {second}"))
                .hint("narrow the path, or make two streams"))
        }
        _ => Err(Error::internal("a stream without files")),
    }
}

/// Looks into every file.
pub(crate) async fn survey(storage: Arc<dyn Storage>, anchor: Anchor, listing: Listing, options: &FileSource) -> Result<Survey> {
    let Listing { files, mut notes } = listing;
    let declared = declared(options)?;
    let folder_fields = folder_fields(&files, options, &declared)?;
    let folders: HashSet<&str> = folder_fields.iter().map(|field| field.name().as_str()).collect();
    let mut read = read_options(&files, options)?;
    let declared_fields: Vec<Field> = declared
        .iter()
        .filter(|(name, _)| !folders.contains(name.as_str()))
        .map(|(name, data_type)| Field::new(name, data_type.clone(), true))
        .collect();
    if !declared_fields.is_empty() {
        read.declared = Some(Arc::new(Schema::new(declared_fields)));
    }
    let looks: Vec<_> = files
        .iter()
        .map(|file| {
            let (storage, meta, read) = (storage.clone(), file.meta.clone(), read.clone());
            async move { infer_schema(&storage.open(&meta).await?, &read).await }
        })
        .collect();
    let inferred: Vec<Inferred> = futures::stream::iter(looks).buffered(LOOKS).try_collect().await?;
    let file_schema = union(&files, &inferred, options.schema_sample_files)?;
    if let Some(clash) = folder_fields.iter().find(|field| file_schema.index_of(field.name()).is_ok()) {
        return Err(Error::new(
            "WEIR-FILE-083",
            Kind::Schema,
            format!("column `{}` is in the files and in the folders' names", clash.name()),
        )
        .hint("set `partitioned: false` to take the files' own column"));
    }
    if let Some(unknown) = declared.keys().find(|name| file_schema.index_of(name).is_err() && !folders.contains(name.as_str())) {
        let have: Vec<&str> = file_schema.fields().iter().map(|field| field.name().as_str()).collect();
        return Err(Error::new("WEIR-FILE-084", Kind::Spec, format!("`columns` declares `{unknown}`, which no file has"))
            .hint(format!("columns are: {}", have.join(", "))));
    }
    if let Some(first) = inferred.first() {
        notes.extend(first.notes.iter().cloned());
    }
    if !folder_fields.is_empty() {
        let names: Vec<&str> = folder_fields.iter().map(|field| field.name().as_str()).collect();
        notes.push(format!("columns from folders: {}", names.join(", ")));
    }
    Ok(Survey { storage, anchor, files, inferred, options: read, file_schema, folder_fields, notes })
}

fn declared(options: &FileSource) -> Result<BTreeMap<String, arrow::datatypes::DataType>> {
    options
        .columns
        .iter()
        .map(|(name, word)| Ok((name.clone(), declared_type(word).map_err(|error| error.at(format!("columns.{name}")))?)))
        .collect()
}

/// Types come from the sampled files, spread over the list; the others can only add columns.
fn union(files: &[Listed], inferred: &[Inferred], sample: Option<usize>) -> Result<SchemaRef> {
    let count = files.len();
    let sampled = match sample {
        Some(wanted) if wanted > 0 && wanted < count => (0..wanted).map(|at| at * count / wanted).collect::<HashSet<usize>>(),
        _ => (0..count).collect(),
    };
    let named = |index: usize| (files[index].meta.path.as_str(), inferred[index].schema.clone());
    // A file without a single byte says nothing about columns.
    let looked: Vec<(&str, SchemaRef)> =
        (0..count).filter(|index| sampled.contains(index) && files[*index].meta.size > 0).map(named).collect();
    let mut known: HashSet<String> =
        looked.iter().flat_map(|(_, schema)| schema.fields().iter().map(|field| field.name().clone())).collect();
    let mut all = looked;
    for index in (0..count).filter(|index| !sampled.contains(index)) {
        let (path, schema) = named(index);
        let new: Vec<FieldRef> = schema.fields().iter().filter(|field| known.insert(field.name().clone())).cloned().collect();
        if !new.is_empty() {
            all.push((path, Arc::new(Schema::new(new))));
        }
    }
    // Thousands of files of one shape need no comparing.
    let mut shapes = HashSet::new();
    all.retain(|(_, schema)| shapes.insert(schema.clone()));
    match all.as_slice() {
        [] => Ok(Arc::new(Schema::empty())),
        [(_, only)] => Ok(only.clone()),
        several => unify_schemas(several),
    }
}

fn folder_fields(
    files: &[Listed],
    options: &FileSource,
    declared: &BTreeMap<String, arrow::datatypes::DataType>,
) -> Result<Vec<FieldRef>> {
    let Some(first) = files.first() else { return Ok(vec![]) };
    let keys = |file: &Listed| file.partition.iter().map(|(key, _)| key.clone()).collect::<Vec<_>>();
    let expected = keys(first);
    let different = files.iter().find(|file| keys(file) != expected);
    let wanted = match options.partitioned {
        Some(wanted) => wanted,
        // What Weir wrote has every column in the files; its folders only repeat them.
        None => !expected.is_empty() && different.is_none() && files.iter().all(|file| file.rows.is_none()),
    };
    if !wanted {
        return Ok(vec![]);
    }
    if expected.is_empty() || different.is_some() {
        let other = different.unwrap_or(first);
        return Err(Error::new(
            "WEIR-FILE-085",
            Kind::Schema,
            "`partitioned: true`, but not every file lies in the same key=value folders",
        )
        .at(other.meta.path.clone())
        .because(format!("{} has {:?}, this file {:?}", first.meta.path, expected, keys(other))));
    }
    let partitions: Vec<_> = files.iter().map(|file| file.partition.clone()).collect();
    hive::fields(&partitions, declared)
}
