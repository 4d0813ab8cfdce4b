//! Links, images and the figures that they show.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use crate::finding::Finding;
use crate::layout::Layout;
use crate::page::Page;
use crate::recording;

/// The widest drawing whose text can still be read on a phone, in SVG units.
const WIDEST_FIGURE: f64 = 640.0;

/// Faults in the links and images of all pages.
pub fn check(layout: &Layout, pages: &[Page]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for page in pages {
        for link in &page.links {
            if let Err(why) = resolve(layout, pages, page, &link.target) {
                let message = format!("link to {}: {why}", link.target);
                findings.push(Finding::new(&page.name, link.line, message));
            }
        }
        for (line, html) in &page.html {
            if html.contains("<img") || html.contains("<a ") || html.contains("<script") {
                let message = "links and images are written in Markdown, scripts not at all";
                findings.push(Finding::new(&page.name, *line, message));
            }
        }
        findings.extend(images(layout, page));
    }
    findings.extend(unlisted(layout, pages));
    findings.extend(figures(layout));
    findings
}

fn resolve(layout: &Layout, pages: &[Page], page: &Page, target: &str) -> Result<(), String> {
    if target.starts_with("https://") || target.starts_with("mailto:") {
        return Ok(());
    }
    if target.starts_with("http://") {
        return Err("use https".into());
    }
    if target.is_empty() {
        // mdBook's draft chapter, `[Title]()`, which only the summary may have.
        let summary = page.path.file_name().is_some_and(|name| name == "SUMMARY.md");
        return if summary { Ok(()) } else { Err("empty".into()) };
    }
    let (file, fragment) = target.split_once('#').unwrap_or((target, ""));
    let file = if file.is_empty() { page.path.clone() } else { beside(&page.path, file) };
    if !file.starts_with(layout.src()) {
        return Err("leads out of the book; name the file in `code` instead".into());
    }
    if !file.is_file() && recording::source(layout, &file).is_none() {
        return Err("no such file".into());
    }
    if fragment.is_empty() {
        return Ok(());
    }
    let Some(there) = pages.iter().find(|page| page.path == file) else {
        return Err("a fragment of a file that is no page".into());
    };
    let heading = there.headings.iter().any(|heading| heading.id == fragment);
    let element = there.html.iter().any(|(_, html)| html.contains(&format!("id=\"{fragment}\"")));
    if heading || element { Ok(()) } else { Err("no such heading".into()) }
}

/// `relative` as seen from the file `page`, `..` taken away.
fn beside(page: &Path, relative: &str) -> PathBuf {
    let mut path = page.parent().unwrap_or(Path::new("")).to_path_buf();
    for component in Path::new(relative).components() {
        match component {
            Component::ParentDir => _ = path.pop(),
            Component::CurDir => {}
            other => path.push(other),
        }
    }
    path
}

fn images(layout: &Layout, page: &Page) -> Vec<Finding> {
    let mut findings = Vec::new();
    for image in &page.images {
        let mut fault =
            |message: String| findings.push(Finding::new(&page.name, image.line, message));
        if image.alt.trim().is_empty() {
            fault(format!("image {} without alt text", image.target));
        }
        let file = beside(&page.path, &image.target);
        if !file.starts_with(layout.figures()) || file.extension().is_none_or(|e| e != "svg") {
            fault(format!("image {}: figures are SVG files in figures/", image.target));
        } else if !file.is_file() {
            fault(format!("image {}: no such file", image.target));
        }
    }
    findings
}

/// Pages that the summary does not list: mdBook would leave them out without a word.
fn unlisted(layout: &Layout, pages: &[Page]) -> Vec<Finding> {
    let summary = layout.src().join("SUMMARY.md");
    let listed: BTreeSet<PathBuf> = pages
        .iter()
        .filter(|page| page.path == summary)
        .flat_map(|page| page.links.iter().map(|link| beside(&page.path, &link.target)))
        .collect();
    pages
        .iter()
        .filter(|page| page.path != summary && !listed.contains(&page.path))
        .map(|page| Finding::new(&page.name, 1, "not listed in SUMMARY.md"))
        .collect()
}

fn figures(layout: &Layout) -> Vec<Finding> {
    let mut findings = Vec::new();
    for path in crate::layout::files_with_extension(&layout.figures(), "svg") {
        let name = layout.relative(&path);
        match std::fs::read_to_string(&path) {
            Ok(svg) => {
                findings.extend(figure(&svg).into_iter().map(|why| Finding::new(&name, 1, why)));
            }
            Err(error) => findings.push(Finding::new(&name, 1, error.to_string())),
        }
    }
    findings
}

/// What keeps a drawing from being read in the light, in the dark, and on a phone.
fn figure(svg: &str) -> Vec<String> {
    let mut faults = Vec::new();
    let adapts = ["prefers-color-scheme", "currentColor", "var(--"];
    if !adapts.iter().any(|word| svg.contains(word)) {
        faults.push("same colours in light and dark: use @media (prefers-color-scheme)".into());
    }
    if !svg.contains("<title") {
        faults.push("no <title>".into());
    }
    if svg.contains("<script") || svg.contains("href=\"http") {
        faults.push("a figure holds no script and no link".into());
    }
    let view_box = svg.split_once("viewBox=\"").and_then(|(_, rest)| rest.split_once('"'));
    let width: Option<f64> =
        view_box.and_then(|(numbers, _)| numbers.split_whitespace().nth(2)?.parse().ok());
    match width {
        None => faults.push("no viewBox".into()),
        Some(width) if width > WIDEST_FIGURE => faults.push(format!(
            "{width} units wide: beyond {WIDEST_FIGURE} its text cannot be read on a phone"
        )),
        Some(_) => {}
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    const SVG: &str = "<svg viewBox=\"0 0 600 200\"><title>t</title><style>\
                       @media (prefers-color-scheme: dark) {}</style></svg>";

    fn faults(text: &str) -> Vec<String> {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout { repo: dir.path().to_path_buf() };
        std::fs::create_dir_all(layout.figures()).unwrap();
        std::fs::write(layout.figures().join("a.svg"), SVG).unwrap();
        std::fs::write(layout.src().join("b.md"), "# Be `it`\n").unwrap();
        std::fs::write(layout.src().join("SUMMARY.md"), "[a](a.md)\n[b](b.md)\n[c]()\n").unwrap();
        std::fs::write(layout.src().join("a.md"), text).unwrap();
        check(&layout, &layout.pages().unwrap()).iter().map(ToString::to_string).collect()
    }

    fn one(text: &str, part: &str) {
        let faults = faults(text);
        assert!(faults.len() == 1 && faults[0].contains(part), "{faults:?}");
    }

    #[test]
    fn links_to_files_and_headings_that_exist_are_fine() {
        assert_eq!(faults("# A\n[x](b.md#be-it) [y](#a) [z](https://x.org)\n"), [""; 0]);
    }

    #[test]
    fn a_broken_link_is_a_fault() {
        one("# A\n\n[x](nope.md)\n", "a.md:3: link to nope.md: no such file");
        one("[x](b.md#nope)\n", "no such heading");
        one("[x](#nope)\n", "no such heading");
        one("[x](../../Cargo.toml)\n", "leads out of the book");
        one("[x]()\n", "empty");
        one("<a href=\"x\">x</a>\n", "written in Markdown");
    }

    #[test]
    fn an_image_exists_is_svg_and_has_alt_text() {
        assert_eq!(faults("![words](figures/a.svg)\n"), [""; 0]);
        one("![](figures/a.svg)\n", "without alt text");
        one("![x](figures/nope.svg)\n", "no such file");
        one("![x](figures/a.png)\n", "figures are SVG");
        one("![x](a.svg)\n", "figures are SVG");
        one("<img src=\"figures/a.svg\">\n", "written in Markdown");
    }

    #[test]
    fn an_unlisted_page_is_a_fault() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout { repo: dir.path().to_path_buf() };
        std::fs::create_dir_all(layout.src()).unwrap();
        std::fs::write(layout.src().join("SUMMARY.md"), "# S\n").unwrap();
        std::fs::write(layout.src().join("a.md"), "# A\n").unwrap();
        let findings = check(&layout, &layout.pages().unwrap());
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].message, "not listed in SUMMARY.md");
    }

    #[test]
    fn a_figure_is_legible_in_the_dark_and_on_a_phone() {
        assert_eq!(figure(SVG), [""; 0]);
        assert!(figure(&SVG.replace("prefers-color-scheme", ""))[0].contains("light and dark"));
        assert!(figure(&SVG.replace("600", "1200"))[0].contains("phone"));
        assert!(figure(&SVG.replace("viewBox", "x"))[0].contains("no viewBox"));
        assert!(figure(&SVG.replace("<title", "<x"))[0].contains("<title>"));
        assert!(figure(&SVG.replace("</svg>", "<script/></svg>"))[0].contains("script"));
    }
}
