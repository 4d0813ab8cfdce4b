//! Recordings of `corten run --explain-to`, as pages that play them.

use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{Context, Error, Result};
use crate::layout::{Layout, files_with_extension};

#[path = "../../../src/timeline/page.rs"]
mod page;

/// Writes the page of each recording of the book below `out`.
///
/// # Errors
/// Where one cannot be read, is no JSON, or its page cannot be written.
pub fn write(layout: &Layout, out: &Path) -> Result<()> {
    for path in files_with_extension(&layout.recordings(), "json") {
        let text = fs::read_to_string(&path).on("read", &path)?;
        let timeline = serde_json::from_str(&text)
            .map_err(|why| Error::MdBook(format!("{}: {why}", layout.relative(&path).display())))?;
        let below = path.strip_prefix(layout.src()).unwrap_or(&path);
        let to = out.join(below).with_extension("html");
        fs::write(&to, page::page(&timeline, "../")).on("write", &to)?;
    }
    Ok(())
}

/// The recording that a page which is not there is made of.
pub fn source(layout: &Layout, page: &Path) -> Option<PathBuf> {
    let json = page.with_extension("json");
    let is_page =
        page.starts_with(layout.recordings()) && page.extension().is_some_and(|e| e == "html");
    (is_page && json.is_file()).then_some(json)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recording_has_a_page_and_nothing_else_has() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout { repo: dir.path().to_path_buf() };
        let (recordings, out) = (layout.recordings(), dir.path().join("out"));
        fs::create_dir_all(&recordings).unwrap();
        fs::create_dir_all(out.join("recordings")).unwrap();
        fs::write(recordings.join("run.json"), r#"{"command": ["corten", "run"]}"#).unwrap();
        write(&layout, &out).unwrap();
        let page = fs::read_to_string(out.join("recordings/run.html")).unwrap();
        assert!(page.contains(r#"["corten","run"]"#) && page.contains(r#""book":"../""#), "{page}");
        assert!(source(&layout, &recordings.join("run.html")).is_some());
        assert!(source(&layout, &recordings.join("other.html")).is_none());
        assert!(source(&layout, &recordings.join("run.svg")).is_none());
        fs::write(recordings.join("run.json"), "no json").unwrap();
        assert!(write(&layout, &out).unwrap_err().to_string().contains("run.json"));
    }
}
