//! The built book as a reader sees it: every page in headless Chromium, on a desk and on a phone,
//! in light and in dark. What is looked at on a page is `browser/probe.js`, and for a figure
//! `browser/figure.js`; both return their faults as sentences.

use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::error::{Context, Error, Result};
use crate::finding::Finding;
use crate::layout::{Layout, files_with_extension};
use crate::serve;

mod chromium;
mod protocol;
mod tab;

use chromium::Chromium;
use protocol::Connection;
use tab::Tab;

/// How long all pages may take together.
const PATIENCE: Duration = Duration::from_secs(400);

const PROBE: &str = include_str!("browser/probe.js");
const FIGURE: &str = include_str!("browser/figure.js");
const AXE: &str = include_str!("browser/axe.js");
const KEYBOARD: &str = include_str!("browser/keyboard.js");

/// Built files that are not looked at: the whole book for the printer, a frame for browsers without
/// scripts, and what a host answers for pages that do not exist, whose links are of another place.
const NO_PAGES: [&str; 3] = ["404.html", "print.html", "toc.html"];

/// A way to look at the book.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct View {
    name: &'static str,
    width: u32,
    height: u32,
    scheme: &'static str,
}

impl View {
    const fn new(name: &'static str, (width, height): (u32, u32), scheme: &'static str) -> View {
        View { name, width, height, scheme }
    }

    /// Whether the device is a phone.
    fn mobile(&self) -> bool {
        self.width < 600
    }
}

const DESK: (u32, u32) = (1280, 800);
const PHONE: (u32, u32) = (390, 844);
const VIEWS: [View; 4] = [
    View::new("desk-light", DESK, "light"),
    View::new("desk-dark", DESK, "dark"),
    View::new("phone-light", PHONE, "light"),
    View::new("phone-dark", PHONE, "dark"),
];

/// Faults, each with the views in which it shows.
type Faults = BTreeMap<(PathBuf, String), Vec<&'static str>>;

/// Looks at every page of the book that was built into `built`, and writes screenshots to `shots`.
/// Returns how many pages there are and what is wrong with them.
///
/// # Errors
/// Where Chromium is missing or does not do what it is told.
pub fn check(layout: &Layout, built: &Path, shots: Option<&Path>) -> Result<(usize, Vec<Finding>)> {
    let (pages, figures) = (pages(built), figures(built));
    if pages.is_empty() {
        return Err(Error::Browser(format!("no pages in {}", built.display())));
    }
    if let Some(shots) = shots {
        std::fs::create_dir_all(shots).on("create", shots)?;
    }
    let (_browser, tab, base) = open(built)?;
    let mut visit = Visit {
        tab,
        base,
        shots,
        faults: Faults::new(),
        links: BTreeSet::new(),
        ids: BTreeSet::new(),
    };
    for view in &VIEWS {
        visit.tab.set_view(view.width, view.height, view.mobile(), view.scheme)?;
        for page in &pages {
            visit.page(page, view)?;
        }
        visit.search(&pages[0], view)?;
        if !view.mobile() {
            for figure in &figures {
                visit.figure(figure, view)?;
            }
        }
    }
    visit.broken_links(built);
    Ok((pages.len(), findings(layout, visit.faults)))
}

/// A browser with a tab in which the book at `built` can be opened, and the address where it is served.
fn open(built: &Path) -> Result<(Chromium, Tab, String)> {
    let listener = TcpListener::bind("127.0.0.1:0").on("listen on", "127.0.0.1")?;
    let base = format!("http://{}/", listener.local_addr().on("listen on", "127.0.0.1")?);
    let root = built.to_path_buf();
    // It answers for as long as the process lives.
    std::thread::spawn(move || serve::serve(&listener, &root, || {}));
    let mut browser = Chromium::start()?;
    let (port, path) = browser.endpoint()?;
    let connection = Connection::open(port, &path, Instant::now() + PATIENCE)?;
    let tab = Tab::new(connection, &base)?;
    Ok((browser, tab, base))
}

/// Prints the whole book into the file `to`, as PDF with an outline.
///
/// # Errors
/// As [`check`].
pub fn print(built: &Path, to: &Path) -> Result<()> {
    let (_browser, mut tab, base) = open(built)?;
    let (width, height) = DESK;
    tab.set_view(width, height, false, "light")?;
    tab.open(&format!("{base}print.html"))?;
    // On paper nothing can be unfolded.
    tab.evaluate(
        "for (const part of document.querySelectorAll('details')) part.open = true; \
         document.fonts.ready.then(() => true)",
    )?;
    tab.print(to)
}

/// What axe-core, whose script is the file `axe`, has to say of each page of the book at `built`, in light
/// and in dark: how many pages there are, how many rules they passed, and the violations that it calls
/// serious or worse.
///
/// # Errors
/// As [`check`].
pub fn accessibility(
    layout: &Layout,
    built: &Path,
    axe: &Path,
) -> Result<(usize, u64, Vec<Finding>)> {
    let script = std::fs::read_to_string(axe).on("read", axe)?;
    let (_browser, mut tab, base) = open(built)?;
    let (pages, mut faults, mut passed) = (pages(built), Faults::new(), 0);
    for view in VIEWS.iter().filter(|view| !view.mobile()) {
        tab.set_view(view.width, view.height, false, view.scheme)?;
        for page in &pages {
            tab.open(&format!("{base}{}", page.display()))?;
            tab.evaluate(&format!("{{ {script}; true }}"))?;
            let seen = tab.evaluate(AXE)?;
            passed += seen["passes"].as_u64().unwrap_or(0);
            for fault in strings(&seen["violations"]) {
                faults.entry((page.clone(), fault.to_owned())).or_default().push(view.name);
            }
        }
    }
    Ok((pages.len(), passed, findings(layout, faults)))
}

/// The book's pages below `built`, as paths relative to it.
fn pages(built: &Path) -> Vec<PathBuf> {
    let relative = |path: PathBuf| Some(path.strip_prefix(built).ok()?.to_path_buf());
    files_with_extension(built, "html")
        .into_iter()
        .filter_map(relative)
        .filter(|page| !NO_PAGES.iter().any(|name| page == Path::new(name)))
        .collect()
}

fn figures(built: &Path) -> Vec<PathBuf> {
    let relative = |path: PathBuf| Some(path.strip_prefix(built).ok()?.to_path_buf());
    files_with_extension(&built.join("figures"), "svg").into_iter().filter_map(relative).collect()
}

/// One run through the book.
struct Visit<'a> {
    tab: Tab,
    base: String,
    shots: Option<&'a Path>,
    faults: Faults,
    /// Each link into the book: the page that it stands on, its target, its fragment.
    links: BTreeSet<(PathBuf, String, String)>,
    /// The places in the book that a fragment can name.
    ids: BTreeSet<(String, String)>,
}

impl Visit<'_> {
    fn page(&mut self, page: &Path, view: &View) -> Result<()> {
        self.tab.open(&format!("{}{}", self.base, page.display()))?;
        if let Some(shots) = self.shots {
            let stem = page.with_extension("").display().to_string().replace('/', "-");
            self.tab.screenshots(shots, &format!("{stem}-{}", view.name))?;
        }
        let seen = self.tab.evaluate(PROBE)?;
        let own = page.display().to_string();
        for href in strings(&seen["links"]) {
            let Some(target) = href.strip_prefix(&self.base) else { continue };
            let (file, fragment) = target.split_once('#').unwrap_or((target, ""));
            let file = if file.is_empty() { "index.html" } else { file };
            self.links.insert((page.to_path_buf(), file.to_owned(), fragment.to_owned()));
        }
        self.ids.extend(strings(&seen["ids"]).map(|id| (own.clone(), id.to_owned())));
        self.note(page, view, strings(&seen["faults"]).map(str::to_owned));
        // The recordings' pages are not mdBook's.
        if !view.mobile() && page.components().count() == 1 {
            let faults = self.tab.evaluate(KEYBOARD)?;
            self.note(page, view, strings(&faults).map(str::to_owned));
        }
        let troubles = self.tab.troubles();
        self.note(page, view, troubles);
        Ok(())
    }

    /// Types a word of the title of `page` into the search.
    fn search(&mut self, page: &Path, view: &View) -> Result<()> {
        self.tab.open(&format!("{}{}", self.base, page.display()))?;
        let word = self.tab.evaluate(PROBE)?["word"].as_str().unwrap_or_default().to_owned();
        let results = self.tab.search(&word)?;
        if results == 0 {
            self.note(page, view, [format!("the search does not find `{word}`")]);
        }
        if let Some(shots) = self.shots {
            self.tab.screenshot(shots, &format!("search-{}", view.name))?;
        }
        // The results must be legible, too.
        let seen = self.tab.evaluate(PROBE)?;
        self.note(page, view, strings(&seen["faults"]).map(|fault| format!("search: {fault}")));
        let troubles = self.tab.troubles();
        self.note(page, view, troubles);
        Ok(())
    }

    fn figure(&mut self, figure: &Path, view: &View) -> Result<()> {
        self.tab.open(&format!("{}{}", self.base, figure.display()))?;
        let faults = self.tab.evaluate(FIGURE)?;
        self.note(figure, view, strings(&faults).map(str::to_owned));
        if let Some(shots) = self.shots {
            let stem = figure.with_extension("").display().to_string().replace('/', "-");
            self.tab.screenshot(shots, &format!("{stem}-{}", view.scheme))?;
        }
        let troubles = self.tab.troubles();
        self.note(figure, view, troubles);
        Ok(())
    }

    fn note(&mut self, file: &Path, view: &View, faults: impl IntoIterator<Item = String>) {
        for fault in faults {
            let views = self.faults.entry((file.to_path_buf(), fault)).or_default();
            if !views.contains(&view.name) {
                views.push(view.name);
            }
        }
    }

    /// Links to files that were not built, and to places that their page does not have.
    fn broken_links(&mut self, built: &Path) {
        for (page, file, fragment) in &self.links {
            let place = (file.clone(), fragment.clone());
            // A fragment of what is no page of ours, or of the frame for the printer, is not known.
            let known = fragment.is_empty()
                || NO_PAGES.contains(&file.as_str())
                || self.ids.contains(&place);
            let fault = match built.join(file).is_file() {
                false => format!("broken link: {file}"),
                true if !known => format!("broken link: {file} has no #{fragment}"),
                true => continue,
            };
            self.faults.entry((page.clone(), fault)).or_default();
        }
    }
}

fn strings(value: &Value) -> impl Iterator<Item = &str> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str)
}

/// The faults at their sources, as far as a built file has one of its own.
fn findings(layout: &Layout, faults: Faults) -> Vec<Finding> {
    let finding = |((file, fault), views): ((PathBuf, String), Vec<&str>)| {
        let sources = [layout.src().join(&file), layout.src().join(file.with_extension("md"))];
        let source = sources.into_iter().find(|source| source.is_file());
        let name = source.map_or_else(|| file.clone(), |source| layout.relative(&source));
        let place = if views.is_empty() || views.len() == VIEWS.len() {
            String::new()
        } else {
            format!(" ({})", views.join(", "))
        };
        Finding::new(&name, 1, format!("{fault}{place}"))
    };
    let mut findings: Vec<Finding> = faults.into_iter().map(finding).collect();
    // index.html is the first page once more.
    findings.sort();
    findings.dedup();
    findings
}

/// The parameters of a command that has none.
fn nothing() -> Value {
    json!({})
}

#[cfg(test)]
mod tests;
