//! A recording as a page for a browser, in one file. The book's tool has this source, too, for the book's own
//! recording: what is played there and what `--explain-to` writes cannot differ.

use serde_json::{Value, json};

/// The page, without a recording in it.
const PAGE: &str = include_str!("page.html");

/// Where the recording goes in the page.
const PLACE: &str = "/* the recording */ null";

/// The book's pages, by the number of the chapter.
const PAGES: [&str; 10] = [
    "00-machine",
    "01-namespaces",
    "02-cgroups",
    "03-unionfs",
    "04-runtime",
    "05-supervisor",
    "06-registry",
    "07-network",
    "08-builder",
    "09-daemon",
];

/// A page that plays the recording `timeline`; `book` is where the book's pages are.
pub fn page(timeline: &Value, book: &str) -> String {
    let whole = json!({"timeline": timeline, "book": book, "pages": PAGES}).to_string();
    // What a program was called must not end the script that it is in.
    let whole = whole.replace("</", "<\\/").replace("<!--", "<\\!--");
    PAGE.replacen(PLACE, &whole, 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_does_not_become_a_part_of_the_page() {
        let page = page(&json!({"command": ["</script><b>", "<!--"]}), "https://example.org/");
        assert_eq!(page.matches("</script>").count(), PAGE.matches("</script>").count());
        assert!(
            page.contains("<\\/script><b>") && page.contains("<\\!--") && !page.contains(PLACE)
        );
    }
}
