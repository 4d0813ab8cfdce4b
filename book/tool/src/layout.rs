//! Where things are in the repository.

use std::path::{Path, PathBuf};

use walkdir::WalkDir;

use crate::error::{Context, Error, Result};
use crate::page::Page;

/// The repository as the book sees it.
#[derive(Debug, Clone)]
pub struct Layout {
    /// The repository's root.
    pub repo: PathBuf,
}

impl Layout {
    /// The repository that `start` lies in: the nearest directory upwards with `book/book.toml`.
    ///
    /// # Errors
    /// Where there is none.
    pub fn find(start: &Path) -> Result<Layout> {
        let found = start.ancestors().find(|dir| dir.join("book/book.toml").is_file());
        let message = || {
            let start = start.display();
            Error::Usage(format!("no book/book.toml in {start} or above: run this in the checkout"))
        };
        Ok(Layout { repo: found.ok_or_else(message)?.to_path_buf() })
    }

    /// The directory of book.toml.
    pub fn book(&self) -> PathBuf {
        self.repo.join("book")
    }

    /// The directory of the pages.
    pub fn src(&self) -> PathBuf {
        self.repo.join("book/src")
    }

    /// The directory of the figures.
    pub fn figures(&self) -> PathBuf {
        self.src().join("figures")
    }

    /// The directory of the recordings.
    pub fn recordings(&self) -> PathBuf {
        self.src().join("recordings")
    }

    /// The directory of the committed measurements.
    pub fn measurements(&self) -> PathBuf {
        self.repo.join("benches/results")
    }

    /// The built book, unless another place is asked for.
    pub fn build_dir(&self) -> PathBuf {
        self.repo.join("book/build")
    }

    /// `path` relative to the repository, for messages.
    pub fn relative(&self, path: &Path) -> PathBuf {
        path.strip_prefix(&self.repo).unwrap_or(path).to_path_buf()
    }

    /// The crate directory of chapter `number`, `chapters/NN-*`.
    pub fn chapter_dir(&self, number: u32) -> Option<PathBuf> {
        let prefix = format!("{number:02}-");
        let entries = std::fs::read_dir(self.repo.join("chapters")).ok()?;
        entries
            .filter_map(std::io::Result::ok)
            .find(|entry| entry.file_name().to_string_lossy().starts_with(&prefix))
            .map(|entry| entry.path())
    }

    /// All pages, sorted by path. `SUMMARY.md` is one of them.
    ///
    /// # Errors
    /// Where a page cannot be read.
    pub fn pages(&self) -> Result<Vec<Page>> {
        files_with_extension(&self.src(), "md")
            .iter()
            .map(|path| {
                let text = std::fs::read_to_string(path).on("read", path)?;
                Ok(Page::parse(path, self.relative(path), text))
            })
            .collect()
    }
}

/// Every file below `dir` whose name ends in `.extension`, sorted.
pub fn files_with_extension(dir: &Path, extension: &str) -> Vec<PathBuf> {
    WalkDir::new(dir)
        .sort_by_file_name()
        .into_iter()
        .filter_entry(|entry| entry.file_name() != "target")
        .filter_map(std::result::Result::ok)
        .map(walkdir::DirEntry::into_path)
        .filter(|path| path.extension().is_some_and(|e| e == extension) && path.is_file())
        .collect()
}
