//! Building the book: mdBook's library with our preprocessor, in this process.

use std::path::Path;

use mdbook_driver::MDBook;
use mdbook_driver::book::{Book, BookItem, Chapter};
use mdbook_driver::config::Config;
use mdbook_preprocessor::{Preprocessor, PreprocessorContext};

use crate::error::{Context, Error, Result};
use crate::fence::Fence;
use crate::include;
use crate::layout::Layout;
use crate::page::Page;
use crate::recording;

/// Builds the book into `out`.
///
/// # Errors
/// Where book.toml or a page cannot be read, or a directive names nothing.
pub fn build(layout: &Layout, out: &Path) -> Result<()> {
    let config = Config::from_disk(layout.book().join("book.toml")).map_err(mdbook_error)?;
    let mut config = config;
    config.build.build_dir = std::path::absolute(out).on("find", out)?;
    config.build.create_missing = false;
    // Ours expands the includes, and no page is called README.
    config.build.use_default_preprocessors = false;
    let mut book = MDBook::load_with_config(layout.book(), config).map_err(mdbook_error)?;
    book.with_preprocessor(Sources { layout: layout.clone() });
    let built = book.config.build.build_dir.clone();
    book.build().map_err(mdbook_error)?;
    recording::write(layout, &built)
}

fn mdbook_error(error: mdbook_driver::errors::Error) -> Error {
    Error::MdBook(format!("{error:#}"))
}

/// Expands the includes, names the file that each piece of code comes from, and takes our own
/// attributes off the fences.
struct Sources {
    layout: Layout,
}

impl Preprocessor for Sources {
    fn name(&self) -> &str {
        "corten"
    }

    fn run(
        &self,
        _context: &PreprocessorContext,
        mut book: Book,
    ) -> mdbook_driver::errors::Result<Book> {
        let mut faults = Vec::new();
        book.for_each_mut(|item| {
            if let BookItem::Chapter(chapter) = item {
                faults.extend(self.chapter(chapter));
            }
        });
        if faults.is_empty() {
            Ok(book)
        } else {
            Err(mdbook_driver::errors::Error::msg(faults.join("\n")))
        }
    }
}

impl Sources {
    fn chapter(&self, chapter: &mut Chapter) -> Vec<String> {
        let Some(source) = &chapter.source_path else { return Vec::new() };
        let path = self.layout.src().join(source);
        let name = self.layout.relative(&path);
        let page = Page::parse(&path, name.clone(), std::mem::take(&mut chapter.content));
        let captioned = Page::parse(&path, name, caption(&page));
        match include::expand(&captioned) {
            Ok(text) => {
                chapter.content = text;
                Vec::new()
            }
            Err(findings) => findings.iter().map(ToString::to_string).collect(),
        }
    }
}

/// The page with plain fences: `console` for `console,replay=01-ls`, and below the fence where its
/// code comes from or why it is not replayed.
fn caption(page: &Page) -> String {
    let mut text = String::new();
    let mut last = 0;
    for fence in &page.fences {
        text.push_str(&page.text[last..fence.range.start]);
        let block = &page.text[fence.range.clone()];
        last = fence.range.end;
        match block.split_once('\n') {
            Some((opening, rest)) if !fence.attributes.is_empty() => {
                let ticks = opening.chars().take_while(|c| *c == '`').count();
                text.push_str(&format!("{}{}\n{rest}", "`".repeat(ticks), fence.language));
            }
            _ => text.push_str(block),
        }
        if let Some(caption) = caption_of(fence) {
            // In a quotation, the caption stands there, too.
            let margin = include::margin(&page.text, fence.range.start);
            if !fence.indented || !margin.is_empty() {
                text.push_str(&format!("\n{margin}<p class=\"origin\">{caption}</p>\n{margin}"));
            }
        }
    }
    text.push_str(&page.text[last..]);
    text
}

fn caption_of(fence: &Fence) -> Option<String> {
    if let Some(why) = fence.attribute("norun") {
        return Some(format!("Not replayed by the tests: {}", escape(why)));
    }
    if fence.attribute("replay").is_some_and(|id| id.starts_with("vm:")) {
        return Some("Run in the lab VM".into());
    }
    let (path, anchor) = include::source_of(&fence.body)?;
    let path = path.trim_start_matches("../");
    let anchor = anchor.map(|anchor| format!(", anchor <code>{}</code>", escape(&anchor)));
    Some(format!("<code>{}</code>{}", escape(path), anchor.unwrap_or_default()))
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn book(page: &str) -> (tempfile::TempDir, Layout) {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout { repo: dir.path().to_path_buf() };
        std::fs::create_dir_all(layout.src()).unwrap();
        std::fs::write(layout.book().join("book.toml"), "[book]\ntitle = \"T\"\n").unwrap();
        std::fs::write(layout.src().join("SUMMARY.md"), "- [A](a.md)\n- [D]()\n").unwrap();
        std::fs::write(layout.src().join("a.md"), page).unwrap();
        std::fs::write(dir.path().join("x.rs"), "// ANCHOR: a\nfn x() {}\n// ANCHOR_END: a\n")
            .unwrap();
        (dir, layout)
    }

    #[test]
    fn the_built_page_holds_the_code_and_where_it_is_from() {
        let (_dir, layout) = book(
            "# A\n\n```rust\n{{#include ../../x.rs:a}}\n```\n\n```console,norun=\"a <b>\"\n$ ls\n```\n\n\
             > ```rust\n> {{#include ../../x.rs:a}}\n> ```\n",
        );
        build(&layout, &layout.build_dir()).unwrap();
        let html = std::fs::read_to_string(layout.build_dir().join("a.html")).unwrap();
        assert!(html.contains("fn x() {}"), "{html}");
        assert!(html.contains("<code>x.rs</code>, anchor <code>a</code>"), "{html}");
        assert!(html.contains("Not replayed by the tests: a &lt;b&gt;"), "{html}");
        assert!(html.contains("class=\"language-console\""), "{html}");
        assert_eq!(html.matches("anchor <code>a</code></p>\n\n</blockquote>").count(), 1, "{html}");
        assert_eq!(html.matches("fn x() {}\n").count(), 2, "{html}");
    }

    #[test]
    fn a_missing_anchor_fails_the_build() {
        let (_dir, layout) = book("# A\n\n```rust\n{{#include ../../x.rs:nope}}\n```\n");
        let error = build(&layout, &layout.build_dir()).unwrap_err().to_string();
        assert!(
            error.contains("book/src/a.md:4: include of ../../x.rs: no `ANCHOR: nope`"),
            "{error}"
        );
    }
}
