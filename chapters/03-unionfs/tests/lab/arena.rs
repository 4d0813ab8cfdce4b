//! Where layers that mean harm are tried.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use corten_unionfs::fixture::{self, LayerBuilder};
use corten_unionfs::{ChainId, Compression, DiffId, FuseDriver, Layer, LayerStore, Limits, Result};

/// A store and, beside it, files that nothing may touch.
pub struct Arena {
    /// The attack, as the table of the book names it.
    pub attack: &'static str,
    /// How many of its layers were refused, and how many taken without harm.
    pub refused: Cell<u32>,
    pub taken: Cell<u32>,
    pub dir: tempfile::TempDir,
    pub store: LayerStore,
    /// Where deletions are marked by files, in layers on another one.
    pub marked: (LayerStore, ChainId),
    pub before: BTreeMap<PathBuf, String>,
}

impl Arena {
    pub fn new(attack: &'static str) -> Arena {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("outside")).unwrap();
        fs::write(dir.path().join("outside/canary"), "alive").unwrap();
        fs::write(dir.path().join("canary"), "alive").unwrap();
        let store = LayerStore::open(dir.path().join("layers")).unwrap();
        let path = dir.path().join("layers-marked");
        let marked = LayerStore::open_with(path, Box::new(FuseDriver)).unwrap();
        let bottom = layer().file("below", 0o644, "x").build();
        let diff_id = fixture::digest(&bottom).parse().unwrap();
        let below = marked.ensure(None, &diff_id, Compression::None, &bottom[..]).unwrap().chain_id;
        let marked = (marked, below);
        let before = Arena::outside(dir.path());
        Arena { attack, refused: Cell::new(0), taken: Cell::new(0), dir, store, marked, before }
    }

    pub fn outside(dir: &Path) -> BTreeMap<PathBuf, String> {
        let stores = ["layers", "layers-marked"].map(OsString::from);
        let walk = walkdir::WalkDir::new(dir).into_iter();
        let walk = walk.filter_entry(|entry| !stores.iter().any(|name| entry.file_name() == name));
        let describe = |path: &Path| {
            let m = path.symlink_metadata().unwrap();
            let content = fs::read(path).unwrap_or_default();
            format!("{:o} {} {} {} {content:?}", m.mode(), m.uid(), m.nlink(), m.ino())
        };
        let paths = walk.map(|e| e.unwrap().into_path()).filter(|p| p != dir);
        paths.map(|p| (p.clone(), describe(&p))).collect()
    }

    pub fn ensure(&self, bytes: &[u8], diff_id: &DiffId) -> Result<Layer> {
        let complete = self.names();
        let result = self.store.ensure(None, diff_id, Compression::Detect, bytes);
        self.ensure_marked(bytes, diff_id, &result);
        assert_eq!(Arena::outside(self.dir.path()), self.before, "something outside has changed");
        let counter = if result.is_err() { &self.refused } else { &self.taken };
        counter.set(counter.get() + 1);
        if result.is_err() {
            assert_eq!(self.names(), complete, "the refused layer has left something");
        }
        result
    }

    /// The same with marks that are files: the same answer, and nothing is left of a refused layer.
    pub fn ensure_marked(&self, bytes: &[u8], diff_id: &DiffId, wanted: &Result<Layer>) {
        let (store, below) = &self.marked;
        let complete = names(store);
        let result = store.ensure(Some(below), diff_id, Compression::Detect, bytes);
        match (wanted, &result) {
            (Ok(_), Ok(layer)) => store.remove(&layer.chain_id).unwrap(),
            (Err(wanted), Err(error)) => assert_eq!(error.to_string(), wanted.to_string()),
            other => panic!("{other:?}"),
        }
        assert_eq!(names(store), complete, "the layer has left something");
    }

    pub fn names(&self) -> BTreeSet<OsString> {
        names(&self.store)
    }

    pub fn limit(&mut self, limits: Limits) {
        self.store.limits = limits;
        self.marked.0.limits = limits;
    }

    /// The layer is refused, with `reason` in the message.
    pub fn refuses(&self, bytes: &[u8], reason: &str) {
        let diff_id = fixture::digest(bytes).parse().unwrap();
        let error = self.ensure(bytes, &diff_id).expect_err("the layer was taken");
        assert!(error.is_refusal(), "{error}");
        assert!(error.to_string().contains(reason), "{error}");
    }

    /// The layer is taken; returns its directory.
    pub fn takes(&self, bytes: &[u8]) -> PathBuf {
        let layer = self.ensure(bytes, &fixture::digest(bytes).parse().unwrap()).unwrap();
        self.store.diff(&layer.chain_id)
    }

    pub fn outside_path(&self) -> String {
        self.dir.path().join("outside").to_str().unwrap().to_owned()
    }
}

impl Drop for Arena {
    /// The table has this attack with these counts: it is what the book prints.
    fn drop(&mut self) {
        if std::thread::panicking() || self.attack.is_empty() {
            return;
        }
        let line = format!("| {} | {} | {} |", self.attack, self.refused.get(), self.taken.get());
        let table = include_str!("../golden/attacks.md");
        assert!(table.lines().any(|known| known == line), "tests/golden/attacks.md lacks: {line}");
    }
}

pub fn layer() -> LayerBuilder {
    LayerBuilder::new()
}

/// What is in a store, but for its own two files.
pub fn names(store: &LayerStore) -> BTreeSet<OsString> {
    let names = fs::read_dir(store.path()).unwrap().map(|e| e.unwrap().file_name());
    names.filter(|name| name != ".gate" && name != "driver.json").collect()
}
