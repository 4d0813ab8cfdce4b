//! A page of the book, taken apart: headings, code fences, links and images, each with its line.

use std::collections::HashMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use pulldown_cmark::{CodeBlockKind, Event, Options, Parser, Tag, TagEnd};

use crate::fence::Fence;

/// One Markdown file.
#[derive(Debug)]
pub struct Page {
    /// Where it is.
    pub path: PathBuf,
    /// The same, relative to the repository, for messages.
    pub name: PathBuf,
    /// The file's text.
    pub text: String,
    /// Its headings, in order.
    pub headings: Vec<Heading>,
    /// Its code fences, in order.
    pub fences: Vec<Fence>,
    /// Its links, in order.
    pub links: Vec<Link>,
    /// Its images, in order.
    pub images: Vec<Image>,
    /// Its pieces of raw HTML, in order: line and text.
    pub html: Vec<(usize, String)>,
}

/// A heading.
#[derive(Debug)]
pub struct Heading {
    /// 1 to 6.
    pub level: usize,
    /// The text without markup.
    pub text: String,
    /// The id that mdBook gives it.
    pub id: String,
    /// The line, from 1.
    pub line: usize,
    /// Where it begins in the page's text.
    pub start: usize,
}

/// A link.
#[derive(Debug)]
pub struct Link {
    /// Its target as written.
    pub target: String,
    /// The line, from 1.
    pub line: usize,
}

/// An image.
#[derive(Debug)]
pub struct Image {
    /// Its file as written.
    pub target: String,
    /// The text for those who do not see it.
    pub alt: String,
    /// The line, from 1.
    pub line: usize,
    /// Its place in the page's text.
    pub range: Range<usize>,
}

/// A heading's part of the page: from the heading to the next of its level or above.
#[derive(Debug, Clone, Copy)]
pub struct Section<'a> {
    /// The heading.
    pub heading: &'a Heading,
    /// The text below the heading's first byte.
    pub body: &'a str,
}

impl Section<'_> {
    /// Whether a thing at byte `at` of the page lies in this section.
    pub fn contains(&self, at: usize) -> bool {
        (self.heading.start..self.heading.start + self.body.len()).contains(&at)
    }
}

impl Page {
    /// Takes `text` apart.
    pub fn parse(path: &Path, name: PathBuf, text: String) -> Page {
        let mut reader = Reader::new(&text);
        for (event, range) in Parser::new_ext(&text, options()).into_offset_iter() {
            reader.take(event, range);
        }
        let Reader { headings, fences, links, images, html, .. } = reader;
        Page { path: path.to_path_buf(), name, headings, fences, links, images, html, text }
    }

    /// The chapter's number where the file is called `NN-*.md`.
    pub fn chapter(&self) -> Option<u32> {
        let name = self.path.file_name()?.to_str()?;
        let (number, rest) = name.split_at_checked(2)?;
        if rest.starts_with('-') { number.parse().ok() } else { None }
    }

    /// The part below the heading `index`.
    pub fn section(&self, index: usize) -> Section<'_> {
        let heading = &self.headings[index];
        let end = self.headings[index + 1..]
            .iter()
            .find(|next| next.level <= heading.level)
            .map_or(self.text.len(), |next| next.start);
        Section { heading, body: &self.text[heading.start..end] }
    }

    /// The line of byte `at`.
    pub fn line_of(&self, at: usize) -> usize {
        line_of(&self.text, at)
    }
}

/// The extensions that mdBook turns on.
fn options() -> Options {
    Options::ENABLE_TABLES
        | Options::ENABLE_FOOTNOTES
        | Options::ENABLE_STRIKETHROUGH
        | Options::ENABLE_TASKLISTS
        | Options::ENABLE_HEADING_ATTRIBUTES
        | Options::ENABLE_GFM
        | Options::ENABLE_DEFINITION_LIST
}

fn line_of(text: &str, at: usize) -> usize {
    text[..at].matches('\n').count() + 1
}

/// The id that mdBook 0.5 gives a heading of this text (`id_from_content` of mdbook-html).
pub fn heading_id(text: &str) -> String {
    text.trim()
        .to_lowercase()
        .chars()
        .filter_map(|c| match c {
            c if c.is_alphanumeric() || c == '_' || c == '-' => Some(c),
            c if c.is_whitespace() => Some('-'),
            _ => None,
        })
        .collect()
}

/// Collects the parts of a page while the parser walks over it.
struct Reader<'a> {
    source: &'a str,
    headings: Vec<Heading>,
    fences: Vec<Fence>,
    links: Vec<Link>,
    images: Vec<Image>,
    html: Vec<(usize, String)>,
    used: HashMap<String, usize>,
    /// The heading and the image that are open: their text is being collected.
    heading: Option<(Heading, Option<String>)>,
    image: Option<Image>,
    fence: Option<Fence>,
}

impl<'a> Reader<'a> {
    fn new(source: &'a str) -> Self {
        Reader {
            source,
            headings: Vec::new(),
            fences: Vec::new(),
            links: Vec::new(),
            images: Vec::new(),
            html: Vec::new(),
            used: HashMap::new(),
            heading: None,
            image: None,
            fence: None,
        }
    }

    fn take(&mut self, event: Event<'_>, range: Range<usize>) {
        let line = line_of(self.source, range.start);
        match event {
            Event::Start(tag) => self.open(tag, range, line),
            Event::End(tag) => self.close(tag),
            Event::Text(text) | Event::Code(text) => self.text(&text, range),
            Event::Html(html) | Event::InlineHtml(html) => self.html.push((line, html.to_string())),
            _ => {}
        }
    }

    fn open(&mut self, tag: Tag<'_>, range: Range<usize>, line: usize) {
        match tag {
            Tag::Heading { level, id, .. } => {
                let start = range.start;
                let level = level as usize;
                let heading =
                    Heading { level, text: String::new(), id: String::new(), line, start };
                self.heading = Some((heading, id.map(|id| id.to_string())));
            }
            Tag::Link { dest_url, .. } => {
                self.links.push(Link { target: dest_url.to_string(), line });
            }
            Tag::Image { dest_url, .. } => {
                let target = dest_url.to_string();
                self.image = Some(Image { target, alt: String::new(), line, range });
            }
            Tag::CodeBlock(kind) => {
                let info = match kind {
                    CodeBlockKind::Fenced(info) => Some(info.to_string()),
                    CodeBlockKind::Indented => None,
                };
                let column = self.source[..range.start].rfind('\n').map_or(0, |at| at + 1);
                let indented = !self.source[column..range.start].is_empty();
                self.fence = Some(Fence::open(info, line, range, indented));
            }
            _ => {}
        }
    }

    fn text(&mut self, text: &str, range: Range<usize>) {
        if let Some(fence) = &mut self.fence {
            fence.push(text, range);
        } else if let Some(image) = &mut self.image {
            image.alt.push_str(text);
        } else if let Some((heading, _)) = &mut self.heading {
            heading.text.push_str(text);
        }
    }

    fn close(&mut self, tag: TagEnd) {
        match tag {
            TagEnd::Heading(_) => {
                if let Some((mut heading, id)) = self.heading.take() {
                    heading.id = id.unwrap_or_else(|| self.unique(heading_id(&heading.text)));
                    self.headings.push(heading);
                }
            }
            TagEnd::Image => self.images.extend(self.image.take()),
            TagEnd::CodeBlock => self.fences.extend(self.fence.take()),
            _ => {}
        }
    }

    fn unique(&mut self, id: String) -> String {
        let count = self.used.entry(id.clone()).or_insert(0);
        let unique = if *count == 0 { id } else { format!("{id}-{count}") };
        *count += 1;
        unique
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(text: &str) -> Page {
        Page::parse(Path::new("book/src/01-x.md"), "book/src/01-x.md".into(), text.into())
    }

    #[test]
    fn headings_links_images_and_fences_have_their_lines() {
        let page = page(
            "# A `b` c\n\n[x](y.md#z) ![a *b*](f.svg)\n\n```console,replay=q\n$ ls\n```\n\n## A\n## A\n",
        );
        assert_eq!(page.chapter(), Some(1));
        assert_eq!(page.headings[0].id, "a-b-c");
        assert_eq!(page.headings[2].id, "a-1");
        assert_eq!((page.links[0].target.as_str(), page.links[0].line), ("y.md#z", 3));
        assert_eq!(page.images[0].alt, "a b");
        assert_eq!((page.fences[0].language.as_str(), page.fences[0].line), ("console", 5));
        assert_eq!(page.fences[0].body, "$ ls\n");
    }

    #[test]
    fn a_section_ends_at_the_next_heading_of_its_level() {
        let page = page("# T\n\n## A\none\n### B\ntwo\n## C\n");
        assert_eq!(page.section(1).body, "## A\none\n### B\ntwo\n");
    }
}
