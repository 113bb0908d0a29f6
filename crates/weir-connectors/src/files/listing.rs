//! Which files a path means: globs, excludes, hidden names, and the manifests of datasets that Weir wrote.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::{Component, Path};

use globset::{GlobBuilder, GlobMatcher};
use weir_error::{Error, Kind, Result};
use weir_formats::Format;

use super::hive;
use super::manifest::{DATA, HIDDEN, LiveFile, Manifest};
use super::storage::{FileMeta, Storage, folder_of, join};

/// A file that belongs to a stream.
#[derive(Debug, Clone)]
pub(crate) struct Listed {
    pub meta: FileMeta,
    /// What it is known by: its path, or that of its copy.
    pub path: String,
    /// From its folders.
    pub partition: Vec<(String, Option<String>)>,
    /// Known from a manifest.
    pub rows: Option<u64>,
}

/// The files of a stream, in path order.
#[derive(Debug, Clone, Default)]
pub(crate) struct Listing {
    pub files: Vec<Listed>,
    /// For people: `9 committed files, 1 other`.
    pub notes: Vec<String>,
}

/// Where relative patterns start, and whether they may lead out.
#[derive(Debug, Clone)]
pub(crate) struct Anchor {
    /// A folder, absolute locally, empty for a bucket's top.
    pub folder: String,
    /// No path may lead out of it.
    pub confined: bool,
}

impl Anchor {
    /// The absolute form of a path without globs, `.` and `..` worked out by name.
    pub(crate) fn resolve(&self, path: &str) -> Result<String> {
        let path = path.strip_prefix("file://").unwrap_or(path);
        let local = self.folder.starts_with('/');
        let joined = if local && path.starts_with('/') { path.to_owned() } else { join(&self.folder, path) };
        let mut parts: Vec<&str> = vec![];
        for component in Path::new(&joined).components() {
            match component {
                Component::Normal(part) => parts.push(part.to_str().unwrap_or_default()),
                Component::ParentDir if parts.pop().is_none() && !local => return Err(self.outside(path)),
                _ => {}
            }
        }
        let resolved = format!("{}{}", if local { "/" } else { "" }, parts.join("/"));
        let inside = resolved == self.folder || resolved.starts_with(&join(&self.folder, "/")) || self.folder == "/";
        if self.confined && !inside {
            return Err(self.outside(path));
        }
        Ok(resolved)
    }

    fn outside(&self, path: &str) -> Error {
        Error::new("WEIR-FILE-010", Kind::Spec, format!("the path `{path}` leads out of its root"))
            .at(self.folder.clone())
            .hint("use a path below `root` of the connection, or another connection")
    }

    /// Links must not lead out of the root either.
    pub(crate) fn check_link(&self, path: &str) -> Result<()> {
        if !self.confined || !self.folder.starts_with('/') {
            return Ok(());
        }
        // A file that is yet to be written lies where its nearest existing folder really is.
        let real = Path::new(path).ancestors().find_map(|ancestor| std::fs::canonicalize(ancestor).ok());
        let (Some(real), Ok(root)) = (real, std::fs::canonicalize(&self.folder)) else { return Ok(()) };
        if real.starts_with(root) {
            Ok(())
        } else {
            Err(self.outside(path).because(format!("it is a link to {}", real.display())))
        }
    }
}

fn is_glob(text: &str) -> bool {
    text.contains(['*', '?', '[', '{'])
}

/// A pattern taken apart: `lake/orders` + `**/*.parquet`.
struct Pattern {
    folder: String,
    rest: String,
    matcher: GlobMatcher,
    shows_hidden: bool,
}

fn matcher(glob: &str, given: &str) -> Result<GlobMatcher> {
    GlobBuilder::new(glob).literal_separator(true).backslash_escape(true).build().map(|glob| glob.compile_matcher()).map_err(
        |error| {
            Error::new("WEIR-FILE-011", Kind::Spec, format!("`{given}` is not a glob"))
                .because(error)
                .hint("globs use * ? [a-z] {a,b} and ** for any number of folders; put \\ before a character that means itself")
        },
    )
}

impl Pattern {
    fn new(anchor: &Anchor, text: &str) -> Result<Self> {
        let split = text.split('/').take_while(|part| !is_glob(part)).map(|part| part.len() + 1).sum::<usize>();
        let (folder, rest) = (text[..split.min(text.len())].trim_end_matches('/'), text.get(split..).unwrap_or(""));
        let folder = if folder.is_empty() && text.starts_with('/') { "/" } else { folder };
        let shows_hidden = rest.split('/').any(|part| part.starts_with(['_', '.']));
        Ok(Self { folder: anchor.resolve(folder)?, rest: rest.to_owned(), matcher: matcher(rest, text)?, shows_hidden })
    }

    fn depth(&self) -> Option<usize> {
        (!self.rest.contains("**")).then(|| self.rest.matches('/').count())
    }

    fn relative<'a>(&self, path: &'a str) -> Option<&'a str> {
        if self.folder.is_empty() {
            return Some(path);
        }
        path.strip_prefix(self.folder.trim_end_matches('/'))?.strip_prefix('/')
    }
}

/// Whether a path is selected.
type Wanted = Box<dyn Fn(&str) -> bool + Send + Sync>;

/// What a pattern selects before manifests speak.
enum Selected {
    File(FileMeta),
    Folder(String),
    Glob(Pattern),
}

/// Lists a stream. `format` given means that names need not end in a known ending.
pub(crate) async fn list(storage: &dyn Storage, anchor: &Anchor, patterns: &[String], format: Option<Format>) -> Result<Listing> {
    // A commit between listing and reading the manifest looks like a missing file: look again.
    let mut last = None;
    for _ in 0..3 {
        match list_once(storage, anchor, patterns, format).await {
            Err(error) if error.code() == "WEIR-FILE-013" => last = Some(error),
            other => return other,
        }
    }
    Err(last.unwrap_or_else(|| Error::internal("no attempt")))
}

async fn list_once(storage: &dyn Storage, anchor: &Anchor, patterns: &[String], format: Option<Format>) -> Result<Listing> {
    let excludes = patterns
        .iter()
        .filter_map(|pattern| pattern.strip_prefix('!'))
        .map(|pattern| {
            // Without a folder the name counts, wherever the file is.
            let glob = if pattern.contains('/') {
                format!("{}/{pattern}", globset::escape(&anchor.folder))
            } else {
                format!("**/{pattern}")
            };
            matcher(if anchor.folder.is_empty() && pattern.contains('/') { pattern } else { &glob }, pattern)
        })
        .collect::<Result<Vec<_>>>()?;
    let mut governors = Governors { storage, found: HashMap::new() };
    let mut files: BTreeMap<String, Listed> = BTreeMap::new();
    let (mut committed, mut foreign) = (0usize, 0usize);
    for text in patterns.iter().filter(|pattern| !pattern.starts_with('!')) {
        let (candidates, folder, named, wanted): (Vec<FileMeta>, String, bool, Wanted) =
            match select(storage, anchor, text).await? {
                Selected::File(file) => {
                    let folder = folder_of(&file.path).to_owned();
                    let path = file.path.clone();
                    (vec![file], folder, true, Box::new(move |other| other == path))
                }
                Selected::Folder(folder) => {
                    let files = storage.list(&folder, None).await?;
                    let below = if folder.is_empty() { String::new() } else { join(&folder, "/") };
                    (
                        files,
                        folder,
                        false,
                        Box::new(move |path| path.strip_prefix(below.as_str()).is_some_and(|rest| !is_hidden(rest))),
                    )
                }
                Selected::Glob(pattern) => {
                    // One folder deeper, to see the manifests of the datasets in there.
                    let depth = pattern.depth().map(|depth| if depth == 0 { 0 } else { depth + 1 });
                    let files = storage.list(&pattern.folder, depth).await?;
                    let folder = pattern.folder.clone();
                    let wanted = move |path: &str| {
                        pattern.relative(path).is_some_and(|relative| {
                            pattern.matcher.is_match(relative) && (pattern.shows_hidden || !is_hidden(relative))
                        })
                    };
                    (files, folder, true, Box::new(wanted))
                }
            };
        governors.learn(&candidates, &folder).await?;
        let wanted = |path: &str| wanted(path) && !excludes.iter().any(|exclude| exclude.is_match(path));
        let mut present = BTreeSet::new();
        for file in candidates {
            if file.path.split('/').any(|part| part == HIDDEN) || !wanted(&file.path) {
                continue;
            }
            // A folder may hold anything: only what has (or is given) a format is data.
            if !named
                && (file.size == 0 && !file.name().contains('.') || format.is_none() && Format::from_path(&file.path).is_none())
            {
                continue;
            }
            let rows = match governors.judge(&file)? {
                Judgement::Hidden => continue,
                Judgement::Committed(rows) => {
                    committed += 1;
                    Some(rows)
                }
                Judgement::Foreign => {
                    foreign += 1;
                    None
                }
                Judgement::Free => None,
            };
            present.insert(file.path.clone());
            anchor.check_link(&file.path)?;
            let partition = hive::parse(file.path.strip_prefix(anchor.folder.as_str()).unwrap_or(&file.path));
            files.insert(file.path.clone(), Listed { path: file.path.clone(), meta: file, partition, rows });
        }
        for (copy, found) in governors.apart(&wanted)? {
            committed += 1;
            anchor.check_link(&found.meta.path)?;
            let partition = hive::parse(copy.strip_prefix(anchor.folder.as_str()).unwrap_or(&copy));
            present.insert(copy.clone());
            files.insert(copy, Listed { partition, ..found });
        }
        governors.all_present(&wanted, &present)?;
    }
    let mut notes = vec![];
    if committed > 0 {
        notes.push(format!("{committed} committed by Weir's manifest"));
        if foreign > 0 {
            notes.push(format!("{foreign} others beside them"));
        }
    }
    Ok(Listing { files: files.into_values().collect(), notes })
}

fn is_hidden(relative: &str) -> bool {
    relative.split('/').any(|part| part.starts_with(['_', '.']) && !part.contains('='))
}

async fn select(storage: &dyn Storage, anchor: &Anchor, text: &str) -> Result<Selected> {
    let text = text.strip_prefix("file://").unwrap_or(text);
    // A name may contain what looks like a glob.
    let literal = anchor.resolve(text)?;
    if !literal.is_empty()
        && !text.ends_with('/')
        && let Some(file) = storage.head(&literal).await?
    {
        return Ok(Selected::File(file));
    }
    if is_glob(text) { Ok(Selected::Glob(Pattern::new(anchor, text)?)) } else { Ok(Selected::Folder(literal)) }
}

enum Judgement {
    /// Not governed by any manifest.
    Free,
    /// Beside Weir's files, not written by Weir.
    Foreign,
    Committed(u64),
    Hidden,
}

/// The manifests that have a say, by dataset folder.
struct Governors<'a> {
    storage: &'a dyn Storage,
    found: HashMap<String, Option<Governor>>,
}

/// A manifest with its paths for looking up.
struct Governor {
    live: HashMap<String, LiveFile>,
    removed: HashSet<String>,
    /// Content that lies apart, by path.
    apart: HashMap<String, FileMeta>,
}

impl Governor {
    async fn new(storage: &dyn Storage, hidden: &str, manifest: Manifest) -> Result<Self> {
        let mut apart = HashMap::new();
        if manifest.files.iter().any(|file| file.content.is_some()) {
            let found = storage.list(&join(hidden, DATA), None).await?;
            apart.extend(found.into_iter().map(|file| (file.path.clone(), file)));
        }
        Ok(Self {
            live: manifest.files.into_iter().map(|live| (live.path.clone(), live)).collect(),
            removed: manifest.removed.into_iter().collect(),
            apart,
        })
    }
}

impl Governors<'_> {
    async fn learn(&mut self, candidates: &[FileMeta], folder: &str) -> Result<()> {
        let mut folders: BTreeSet<String> = BTreeSet::new();
        let mut at = folder;
        loop {
            folders.insert(at.to_owned());
            if at.is_empty() {
                break;
            }
            at = folder_of(at);
        }
        let ending = format!("/{HIDDEN}/manifest.json");
        folders.extend(candidates.iter().filter_map(|file| file.path.strip_suffix(&ending)).map(str::to_owned));
        for folder in folders {
            if !self.found.contains_key(&folder) {
                let hidden = if folder.is_empty() && candidates.first().is_some_and(|file| file.path.starts_with('/')) {
                    format!("/{HIDDEN}")
                } else {
                    join(&folder, HIDDEN)
                };
                let governor = match Manifest::load(self.storage, &hidden).await? {
                    Some((manifest, _)) => Some(Governor::new(self.storage, &hidden, manifest).await?),
                    None => None,
                };
                self.found.insert(folder, governor);
            }
        }
        Ok(())
    }

    fn judge(&self, file: &FileMeta) -> Result<Judgement> {
        let mut folder = folder_of(&file.path);
        loop {
            if let Some(Some(manifest)) = self.found.get(folder) {
                let relative = file.path[folder.len()..].trim_start_matches('/');
                if let Some(live) = manifest.live.get(relative) {
                    if live.content.is_some() {
                        // A copy for others: it may lag behind.
                        return Ok(Judgement::Hidden);
                    }
                    self.whole(live, file)?;
                    return Ok(Judgement::Committed(live.rows));
                }
                let gone = is_ours(file.name()) || manifest.removed.contains(relative);
                return Ok(if gone { Judgement::Hidden } else { Judgement::Foreign });
            }
            if folder.is_empty() {
                return Ok(Judgement::Free);
            }
            folder = folder_of(folder);
        }
    }

    fn whole(&self, live: &LiveFile, file: &FileMeta) -> Result<()> {
        if live.bytes == file.size {
            return Ok(());
        }
        Err(Error::new("WEIR-FILE-012", Kind::Data, "a committed file does not have its size any more")
            .at(self.storage.show(&file.path))
            .because(format!("the manifest says {} bytes, the file has {}", live.bytes, file.size))
            .hint("restore the file, or write the dataset again"))
    }

    /// The files whose content lies apart, by the path of the copy, which is what a pattern means.
    fn apart(&self, wanted: &(dyn Fn(&str) -> bool + Sync)) -> Result<Vec<(String, Listed)>> {
        let mut all = vec![];
        for (folder, governor) in &self.found {
            let Some(governor) = governor else { continue };
            let below = |path: &str| if folder.is_empty() { path.to_owned() } else { join(folder, path) };
            for live in governor.live.values() {
                let (Some(content), copy) = (&live.content, below(&live.path)) else { continue };
                // One that is missing is found by `all_present`.
                if let Some(file) = governor.apart.get(&below(content)).filter(|_| wanted(&copy)) {
                    self.whole(live, file)?;
                    all.push((copy.clone(), Listed { path: copy, meta: file.clone(), partition: vec![], rows: Some(live.rows) }));
                }
            }
        }
        Ok(all)
    }

    fn all_present(&self, wanted: &(dyn Fn(&str) -> bool + Sync), present: &BTreeSet<String>) -> Result<()> {
        for (folder, manifest) in &self.found {
            for live in manifest.iter().flat_map(|manifest| manifest.live.keys()) {
                let path = if folder.is_empty() { live.clone() } else { join(folder, live) };
                if wanted(&path) && !present.contains(&path) {
                    return Err(Error::new("WEIR-FILE-013", Kind::NotFound, "a committed file is gone")
                        .at(self.storage.show(&path))
                        .because("the manifest names it, the folder does not have it")
                        .hint("restore the file, or write the dataset again"));
                }
            }
        }
        Ok(())
    }
}

/// The name of a file that a Weir sink wrote; see `sink::file_name`.
pub(crate) fn is_ours(name: &str) -> bool {
    let Some(rest) = name.strip_prefix("part-") else { return false };
    let stem = rest.split('.').next().unwrap_or(rest);
    let mut parts = stem.rsplit('-');
    let digits = |part: Option<&str>| part.is_some_and(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()));
    digits(parts.next())
        && digits(parts.next())
        && parts.next().is_some_and(|part| part.len() == 8 && part.bytes().all(|b| b.is_ascii_hexdigit()))
}

/// The name of a stream: the last part of the path before a glob that is no `key=value` folder, endings taken off a file.
pub(crate) fn stream_name(pattern: &str) -> String {
    let parts: Vec<&str> = pattern
        .split("://")
        .last()
        .unwrap_or(pattern)
        .split('/')
        .filter(|part| !part.is_empty() && *part != "." && *part != "..")
        .take_while(|part| !is_glob(part))
        .filter(|part| !part.contains('='))
        .collect();
    let last = parts.last().copied().unwrap_or("files");
    let stem = if Format::from_path(last).is_some() { last.split('.').next().unwrap_or(last) } else { last };
    if stem.is_empty() { "files".to_owned() } else { stem.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_named_after_the_last_plain_part_of_the_path() {
        for (pattern, name) in [
            ("data/orders.csv.gz", "orders"),
            ("lake/orders/*.parquet", "orders"),
            ("lake/orders/year=2026/*.parquet", "orders"),
            ("s3://bucket/raw/events/", "events"),
            ("*.csv", "files"),
            ("./in", "in"),
        ] {
            assert_eq!(stream_name(pattern), name, "{pattern}");
        }
    }

    #[test]
    fn a_confined_path_cannot_leave_its_root() {
        let anchor = Anchor { folder: "/srv/data".into(), confined: true };
        assert_eq!(anchor.resolve("a/../b").unwrap(), "/srv/data/b");
        for path in ["../x", "/etc/passwd", "a/../../x", "/srv/database"] {
            assert_eq!(anchor.resolve(path).unwrap_err().code(), "WEIR-FILE-010", "{path}");
        }
        let free = Anchor { folder: "/srv/data".into(), confined: false };
        assert_eq!(free.resolve("../x").unwrap(), "/srv/x");
    }

    #[test]
    fn our_file_names_are_told_from_others() {
        assert!(is_ours("part-0191f2-1a2b3c4d-0-00001.parquet"));
        assert!(!is_ours("part-00000-abc.parquet"));
        assert!(!is_ours("orders.parquet"));
    }
}
