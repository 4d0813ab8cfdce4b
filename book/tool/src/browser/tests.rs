//! A book with one fault of each kind, all of which must be found. Needs Chromium.

use super::*;
use crate::render;

/// The book's own script for the keyboard.
const SCRIPT: &str = include_str!("../../../theme/corten.js");

const PAPER: &str = "<rect width=\"400\" height=\"100\" fill=\"#ffffff\"/>";

/// The findings for a book of two pages, the second of which is `page`, with a script of its own.
fn findings_of(page: &str, ink: &str, script: &str) -> Vec<String> {
    let dir = tempfile::tempdir().unwrap();
    let layout = Layout { repo: dir.path().to_path_buf() };
    std::fs::create_dir_all(layout.figures()).unwrap();
    let write = |name: &str, text: &str| std::fs::write(layout.src().join(name), text).unwrap();
    let config = "[book]\ntitle = \"T\"\n[output.html]\npreferred-dark-theme = \"navy\"\n\
                  additional-css = [\"ink.css\"]\nadditional-js = [\"own.js\"]\n";
    std::fs::write(layout.book().join("book.toml"), config).unwrap();
    // mdBook's own colours are too faint in places.
    let css = "html, html * { color: #000 !important; background: #fff !important; opacity: 1 !important }\n\
               html p.pale { color: #aaa !important }\n";
    std::fs::write(layout.book().join("ink.css"), css).unwrap();
    std::fs::write(layout.book().join("own.js"), script).unwrap();
    write("SUMMARY.md", "- [First](a.md)\n- [Second](b.md)\n");
    write("a.md", "# Search for rutabaga\n\n[there](b.md#place) ![f](figures/f.svg)\n");
    write("b.md", &format!("# Second\n\n## Place\n\n{page}\n"));
    write(
        "figures/f.svg",
        &format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 400 100\">{PAPER}\
             <text x=\"20\" y=\"50\" fill=\"{ink}\">words</text></svg>"
        ),
    );
    render::build(&layout, &layout.build_dir()).unwrap();
    let (count, findings) = check(&layout, &layout.build_dir(), None).unwrap();
    assert_eq!(count, 3, "index.html, a.html and b.html");
    findings.iter().map(ToString::to_string).collect()
}

#[test]
fn every_kind_of_fault_is_found() {
    let page = "<p class=\"pale\">Pale words.</p>\n\n![gone](figures/gone.svg)\n\n\
        [nowhere](#nowhere) and [gone](gone.html)\n\n\
        <pre> </pre>\n\n\
        <pre><code style=\"display:block;overflow-x:auto;width:9em\">a line that is wider than its place</code></pre>\n\n\
        <div style=\"width:600px\">wide</div>\n\n\
        <script>console.error('said', 7); setTimeout(() => { throw new Error('thrown'); });\
        fetch('http://192.0.2.1/').catch(() => {});</script>\n";
    let found = findings_of(page, "#bbbbbb", "");
    for part in [
        "book/src/b.md:1: contrast 2.32 of p.pale: Pale words.",
        "book/src/b.md:1: image not visible: figures/gone.svg",
        "book/src/b.md:1: request answered with 404: figures/gone.svg",
        "book/src/b.md:1: broken link: b.html has no #nowhere",
        "book/src/b.md:1: broken link: gone.html",
        "book/src/b.md:1: empty pre",
        "book/src/b.md:1: the button of the table of contents cannot be reached with the keyboard",
        "book/src/b.md:1: 1 piece(s) of code cannot be scrolled with the keyboard",
        "book/src/b.md:1: wider than the page: div: wide (phone-light, phone-dark)",
        "book/src/b.md:1: console error: said 7",
        "book/src/b.md:1: exception: Error: thrown",
        "book/src/b.md:1: asks another machine: http://192.0.2.1/",
        "book/src/figures/f.svg:1: contrast 1.92: words",
    ] {
        assert!(found.iter().any(|fault| fault.contains(part)), "{part}\n{found:#?}");
    }
}

#[test]
fn a_book_without_faults_has_no_findings() {
    assert_eq!(findings_of("Ink on paper.", "#000000", SCRIPT), [""; 0]);
}
