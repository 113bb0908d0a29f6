//! Finds the tables of a lake folder: every folder with a Weir manifest, and every folder or file of data without one.

use std::path::{Path, PathBuf};

use weir_connect::{Error, Kind, Result};

/// A table found in a lake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LakeTable {
    /// Its name: the path below the lake with `.` between the last two parts and `_` before (`bronze/crm/orders` is
    /// `bronze_crm.orders`).
    pub name: String,
    /// Where its files are; what the `file` connector takes as `path`.
    pub path: PathBuf,
}

const DATA: [&str; 8] = ["parquet", "csv", "tsv", "json", "ndjson", "jsonl", "avro", "orc"];

/// The tables below `root`, sorted by name. A folder with `_weir/manifest.json` is one table with everything below it; so is a
/// folder that holds data files, or only hive partitions (`key=value`), itself. Hidden names (`_x`, `.x`) are not looked into.
pub fn tables(root: &Path) -> Result<Vec<LakeTable>> {
    if !root.is_dir() {
        return Err(Error::new("WEIR-QUERY-010", Kind::NotFound, "there is no lake folder here")
            .at(root.display().to_string())
            .hint("run a pipeline that writes to it first, or name another with --lake"));
    }
    let mut found = Vec::new();
    walk(root, root, &mut found, 0)?;
    found.sort_by(|a: &LakeTable, b: &LakeTable| a.name.cmp(&b.name));
    Ok(found)
}

fn walk(root: &Path, folder: &Path, found: &mut Vec<LakeTable>, depth: usize) -> Result<()> {
    if folder.join("_weir").join("manifest.json").is_file() {
        found.push(LakeTable { name: name(root, folder), path: folder.to_owned() });
        return Ok(());
    }
    let mut folders = Vec::new();
    let mut files = Vec::new();
    let entries = std::fs::read_dir(folder).map_err(|error| Error::from(error).at(folder.display().to_string()))?;
    for entry in entries {
        let entry = entry.map_err(|error| Error::from(error).at(folder.display().to_string()))?;
        let file_name = entry.file_name().to_string_lossy().into_owned();
        if file_name.starts_with(['_', '.']) {
            continue;
        }
        let path = entry.path();
        if path.is_dir() {
            folders.push(path);
        } else if is_data(&path) {
            files.push(path);
        }
    }
    let partitioned =
        !folders.is_empty() && folders.iter().all(|path| path.file_name().is_some_and(|n| n.to_string_lossy().contains('=')));
    if partitioned || (folder != root && !files.is_empty()) {
        found.push(LakeTable { name: name(root, folder), path: folder.to_owned() });
        return Ok(());
    }
    // Files that lie in the root itself are a table each.
    for path in files {
        found.push(LakeTable { name: name(root, &path.with_extension("")), path });
    }
    // A link that leads back up must not make this endless.
    if depth < 16 {
        for path in folders {
            walk(root, &path, found, depth + 1)?;
        }
    }
    Ok(())
}

fn is_data(path: &Path) -> bool {
    let Some(name) = path.file_name().map(|name| name.to_string_lossy().to_lowercase()) else { return false };
    name.split('.').skip(1).any(|part| DATA.contains(&part))
}

fn name(root: &Path, path: &Path) -> String {
    let relative = path.strip_prefix(root).unwrap_or(path);
    let parts: Vec<String> = relative.components().map(|part| part.as_os_str().to_string_lossy().replace('.', "_")).collect();
    match parts.as_slice() {
        [] => root.file_name().map_or_else(|| "lake".into(), |name| name.to_string_lossy().replace('.', "_")),
        [one] => one.clone(),
        [schema @ .., table] => format!("{}.{table}", schema.join("_")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn touch(root: &Path, path: &str) {
        let path = root.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "").unwrap();
    }

    #[test]
    fn manifests_partitions_and_plain_folders_are_tables_and_hidden_names_are_not() {
        let root = tempfile::tempdir().unwrap();
        touch(root.path(), "bronze/crm/orders/_weir/manifest.json");
        touch(root.path(), "bronze/crm/orders/day=1/part.parquet");
        touch(root.path(), "events/year=2026/x.parquet");
        touch(root.path(), "flat/a.csv.gz");
        touch(root.path(), "_staging/b.parquet");
        touch(root.path(), "notes.txt");
        touch(root.path(), "single.parquet");
        let names: Vec<String> = tables(root.path()).unwrap().into_iter().map(|table| table.name).collect();
        assert_eq!(names, ["bronze_crm.orders", "events", "flat", "single"]);
    }

    #[test]
    fn a_missing_lake_says_what_to_do() {
        let error = tables(Path::new("/nowhere/lake")).unwrap_err();
        assert_eq!(error.code(), "WEIR-QUERY-010");
        assert!(error.advice().unwrap().contains("--lake"));
    }
}
