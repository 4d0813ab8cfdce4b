//! The cache: what a step has made, by what it depends on.
//!
//! ```text
//! build/cache/KEY.json   one step: what it depended on, and what came of it
//! build/folders/KEY      digests of the files of a folder, as long as stat(2) says the same
//! build/sums/KEY         the digest of files of a stage or an image, which never change
//! build/mounts/KEY/      caches of RUN --mount=type=cache
//! ```
//!
//! A key is the hash of what a step depends on and no time is among it, so a cache hit needs no
//! comparison. A record is a hint: what it names is looked for in the stores each time, and a file that
//! a power cut has spoiled is no record. So nothing here is ever synced.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use corten_registry::{Descriptor, Digest, MediaType, Store};
use corten_unionfs::{ChainId, DiffId};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::error::{At, Result};
use crate::tree::hex;

// ANCHOR: depends
/// What a step depends on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Depends {
    /// The instruction, with its variables expanded.
    pub instruction: String,
    /// The tree and configuration that it begins with.
    pub parent: String,
    /// Build arguments that a command sees.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub arguments: BTreeMap<String, String>,
    /// Files that it reads: by their name, the digest.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub files: BTreeMap<String, String>,
    /// What else decides: the network, the date, owners.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub settings: BTreeMap<String, String>,
}
// ANCHOR_END: depends

impl Depends {
    // ANCHOR: key
    /// The key of the step.
    pub fn key(&self) -> String {
        // Maps are sorted, so equal dependencies have equal texts.
        let text = json!(self).to_string();
        hex(&Sha256::digest(text.as_bytes()))
    }
    // ANCHOR_END: key

    /// Why `self` is not `other`, a step that was done before.
    fn differs(&self, other: &Depends) -> (usize, String) {
        let maps = [
            ("the build argument", &self.arguments, &other.arguments),
            ("", &self.files, &other.files),
            ("the setting", &self.settings, &other.settings),
        ];
        let mut why = Vec::new();
        if self.instruction != other.instruction {
            why.push(format!("the instruction was `{}`", other.instruction));
        }
        if self.parent != other.parent {
            why.push("the step before has made something else".to_owned());
        }
        for (what, now, before) in maps {
            let names: std::collections::BTreeSet<_> = now.keys().chain(before.keys()).collect();
            for name in names {
                let change = match (before.get(name), now.get(name)) {
                    (None, _) => "is new",
                    (_, None) => "is gone",
                    (before, now) if before == now => continue,
                    _ => "has changed",
                };
                why.push(format!("{what} {name} {change}").trim_start().to_owned());
            }
        }
        (why.len(), why.join(", "))
    }
}

/// What a step has made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// What it depended on.
    pub depends: Depends,
    /// When it was done, in RFC 3339.
    pub created: String,
    /// The layer; none where nothing has changed.
    pub layer: Option<Made>,
}

/// A layer that a step has made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Made {
    /// The digest of its blob.
    pub blob: String,
    /// The blob's size.
    pub size: u64,
    /// The digest of the plain stream.
    pub diff_id: DiffId,
    /// With all below it.
    pub chain_id: ChainId,
}

impl Made {
    /// The blob.
    ///
    /// # Errors
    /// For a digest that is none.
    pub fn descriptor(&self) -> Result<Descriptor> {
        let digest: Digest = self.blob.parse()?;
        let kind = MediaType::OciLayer(corten_registry::Compression::Gzip);
        Ok(Descriptor::new(kind, digest, self.size))
    }
}

/// The directory of the cache.
#[derive(Debug, Clone)]
pub struct Cache {
    directory: PathBuf,
}

/// Something that the cache has, for lists of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// BuildKit's word for what it is: `regular`, `exec.cachemount`.
    pub kind: &'static str,
    /// The instruction of a step.
    pub description: String,
    /// Bytes of the layer's blob, or of a cache mount on the disk.
    pub size: u64,
    /// The layer of a step.
    pub layer: Option<ChainId>,
    /// When it was made.
    pub created: SystemTime,
    /// When it was used last.
    pub used: SystemTime,
}

/// What [`Cache::prune`] did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Keys of records and caches that are gone.
    pub removed: Vec<String>,
    /// Bytes of layers that nothing else may need, and of cache mounts.
    pub freed: u64,
}

/// What may stay.
#[derive(Debug, Clone, Copy, Default)]
pub struct Keep {
    /// What was used within this time.
    pub age: Option<Duration>,
    /// So many bytes, the latest used first.
    pub bytes: Option<u64>,
}

impl Cache {
    /// The cache in `directory`, which is made where it is missing.
    ///
    /// # Errors
    /// Where it cannot be made.
    pub fn open(directory: &Path) -> Result<Cache> {
        let cache = Cache { directory: directory.to_owned() };
        for path in [cache.records(), cache.sums(), cache.mounts()] {
            fs::create_dir_all(&path).at("make", &path)?;
        }
        Ok(cache)
    }

    fn records(&self) -> PathBuf {
        self.directory.join("cache")
    }

    fn sums(&self) -> PathBuf {
        self.directory.join("sums")
    }

    /// Where caches of `RUN --mount` are.
    pub fn mounts(&self) -> PathBuf {
        self.directory.join("mounts")
    }

    fn path(&self, key: &str) -> PathBuf {
        self.records().join(format!("{key}.json"))
    }

    // ANCHOR: find
    /// What the step with that key has made, where it is known.
    pub fn find(&self, key: &str) -> Option<Record> {
        let path = self.path(key);
        let text = fs::read(&path).ok()?;
        let record: Record = serde_json::from_slice(&text).ok()?;
        if record.depends.key() != key {
            return None;
        }
        // The time by which old ones are found; one that cannot be set is no harm.
        if let Ok(file) = fs::File::options().append(true).open(&path) {
            let _ = file.set_modified(SystemTime::now());
        }
        Some(record)
    }
    // ANCHOR_END: find

    // ANCHOR: put
    /// Takes a record in, and keeps its blob in `images`.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn put(&self, key: &str, record: &Record, images: &Store) -> Result<()> {
        if let Some(layer) = &record.layer {
            images.keep(key, [&layer.descriptor()?.digest])?;
        }
        self.write(&self.path(key), json!(record).to_string().as_bytes())
    }
    // ANCHOR_END: put

    /// Replaces a file at once; whether a power cut loses it does not matter.
    fn write(&self, path: &Path, bytes: &[u8]) -> Result<()> {
        use std::sync::atomic::{AtomicU64, Ordering};
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let new = self.directory.join(format!(".new-{}-{count}", std::process::id()));
        fs::write(&new, bytes).at("write", &new)?;
        fs::rename(&new, path).at("rename to", path)
    }

    /// The digest of files that never change, where it is known.
    pub fn sum(&self, key: &str) -> Option<String> {
        let text = fs::read_to_string(self.sums().join(key)).ok()?;
        let is_sum = text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_sum.then_some(text)
    }

    /// Takes note of such a digest.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn put_sum(&self, key: &str, sum: &str) -> Result<()> {
        self.write(&self.sums().join(key), sum.as_bytes())
    }

    /// Why there is no record of a step: what is other than at the step that is most like it.
    pub fn why_not(&self, depends: &Depends) -> String {
        let like = |record: &Record| {
            let (now, before) = (&depends.instruction, &record.depends.instruction);
            now == before
                || (depends.parent == record.depends.parent && first(now) == first(before))
        };
        let nearest = self.all().map(|(_, record, _)| record).filter(like);
        let nearest = nearest.map(|record| depends.differs(&record.depends)).min();
        match nearest {
            None => "it was never done before".to_owned(),
            Some((0, _)) => "what it made is not in the stores any more".to_owned(),
            Some((_, why)) => why,
        }
    }

    /// All records, with their keys and when they were used last.
    fn all(&self) -> impl Iterator<Item = (String, Record, SystemTime)> + use<> {
        let entries = fs::read_dir(self.records()).into_iter().flatten().flatten();
        entries.filter_map(|entry| {
            let key = entry.file_name().to_str()?.strip_suffix(".json")?.to_owned();
            let used = entry.metadata().ok()?.modified().ok()?;
            let record = serde_json::from_slice(&fs::read(entry.path()).ok()?).ok()?;
            Some((key, record, used))
        })
    }

    /// All that the cache has: steps, and caches of `RUN --mount`. The digests of files are no entries of
    /// their own.
    pub fn entries(&self) -> Vec<Entry> {
        let steps = self.all().map(|(key, record, used)| Entry {
            kind: "regular",
            size: record.layer.as_ref().map_or(0, |layer| layer.size),
            layer: record.layer.map(|layer| layer.chain_id),
            description: record.depends.instruction,
            // A record is written once, when its step is done; a find changes its times.
            created: born(&self.path(&key)).unwrap_or(used),
            key,
            used,
        });
        steps.chain(crate::mounts::entries(&self.mounts())).collect()
    }

    /// The layers that records name.
    pub fn layers(&self) -> HashSet<ChainId> {
        self.all().filter_map(|(_, record, _)| record.layer).map(|layer| layer.chain_id).collect()
    }

    /// How many bytes the blobs of all records have.
    pub fn size(&self) -> u64 {
        self.all().filter_map(|(_, record, _)| record.layer).map(|layer| layer.size).sum()
    }

    /// Removes records that are none: what a power cut may leave.
    fn remove_spoiled(&self, images: &Store) -> Result<()> {
        let good: HashSet<String> = self.all().map(|(key, _, _)| key).collect();
        let path = self.records();
        for entry in fs::read_dir(&path).at("read", &path)?.flatten() {
            let name = entry.file_name();
            let key = name.to_str().and_then(|name| name.strip_suffix(".json"));
            if let Some(key) = key.filter(|key| !good.contains(*key)) {
                fs::remove_file(entry.path()).at("unlink", entry.path())?;
                images.let_go(key)?;
            }
        }
        Ok(())
    }

    // ANCHOR: prune
    /// Removes what need not stay: records, cache mounts that nobody has locked, digests of files.
    ///
    /// # Errors
    /// Where something cannot be removed.
    pub fn prune(&self, keep: Keep, images: &Store) -> Result<Pruned> {
        let now = SystemTime::now();
        let mut pruned = Pruned::default();
        self.remove_spoiled(images)?;
        let mut records: Vec<_> = self.all().collect();
        records.sort_by_key(|(_, _, used)| std::cmp::Reverse(*used));
        let mut bytes = 0;
        for (key, record, used) in records {
            let size = record.layer.as_ref().map_or(0, |layer| layer.size);
            bytes += size;
            let young = keep.age.is_some_and(|age| now.duration_since(used).is_ok_and(|d| d < age));
            let fits = keep.bytes.is_some_and(|limit| bytes <= limit);
            if young || fits {
                continue;
            }
            let path = self.path(&key);
            fs::remove_file(&path).at("unlink", &path)?;
            images.let_go(&key)?;
            pruned.freed += size;
            pruned.removed.push(key);
        }
        if keep.age.is_none() && keep.bytes.is_none() {
            let folders = self.directory.join("folders");
            for path in [self.sums(), folders] {
                for entry in fs::read_dir(path).into_iter().flatten().flatten() {
                    let _ = fs::remove_file(entry.path());
                }
            }
            crate::mounts::prune(&self.mounts(), &mut pruned)?;
        }
        Ok(pruned)
    }
    // ANCHOR_END: prune
}

/// When a file was made, where its file system knows.
pub(crate) fn born(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).and_then(|metadata| metadata.created()).ok()
}

/// The name of an instruction.
fn first(instruction: &str) -> &str {
    instruction.split_whitespace().next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn depends(instruction: &str, file: &str) -> Depends {
        Depends {
            instruction: instruction.into(),
            parent: "p".into(),
            files: [("a.txt".to_owned(), file.to_owned())].into(),
            ..Depends::default()
        }
    }

    fn record(depends: Depends) -> Record {
        Record { depends, created: "2026-01-01T00:00:00Z".into(), layer: None }
    }

    #[test]
    fn a_step_is_found_by_all_that_it_depends_on() {
        let dir = tempfile::tempdir().unwrap();
        let images = Store::open(dir.path().join("images")).unwrap();
        let cache = Cache::open(&dir.path().join("build")).unwrap();
        let copy = depends("COPY a.txt /", "1");
        cache.put(&copy.key(), &record(copy.clone()), &images).unwrap();
        assert_eq!(cache.find(&copy.key()), Some(record(copy.clone())));
        let [entry] = &cache.entries()[..] else { panic!("{:?}", cache.entries()) };
        assert_eq!(
            (entry.key.as_str(), entry.description.as_str()),
            (&*copy.key(), "COPY a.txt /")
        );
        assert!(entry.created <= entry.used);
        let other = depends("COPY a.txt /", "2");
        assert_eq!(cache.find(&other.key()), None);
        assert_eq!(cache.why_not(&other), "a.txt has changed");
        let moved = Depends { parent: "q".into(), ..copy.clone() };
        assert_eq!(cache.why_not(&moved), "the step before has made something else");
        assert_eq!(cache.why_not(&depends("RUN x", "1")), "it was never done before");
        // A power cut can leave anything.
        fs::write(cache.path(&copy.key()), "{\"depends\"").unwrap();
        assert_eq!(cache.find(&copy.key()), None);
        assert_eq!(cache.prune(Keep::default(), &images).unwrap().removed.len(), 0);
    }

    #[test]
    fn what_is_old_or_too_much_goes() {
        let dir = tempfile::tempdir().unwrap();
        let images = Store::open(dir.path().join("images")).unwrap();
        let cache = Cache::open(&dir.path().join("build")).unwrap();
        for name in ["RUN a", "RUN b"] {
            let depends = depends(name, "1");
            cache.put(&depends.key(), &record(depends.clone()), &images).unwrap();
        }
        let hour = Keep { age: Some(Duration::from_secs(3600)), bytes: None };
        assert_eq!(cache.prune(hour, &images).unwrap().removed.len(), 0);
        assert_eq!(cache.prune(Keep::default(), &images).unwrap().removed.len(), 2);
    }
}
