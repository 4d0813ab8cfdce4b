//! The template that every chapter follows.

use std::path::Path;

use crate::finding::Finding;
use crate::layout::{Layout, files_with_extension};
use crate::page::{Page, Section};

/// The second-level headings of a chapter, in this order.
pub const SECTIONS: [&str; 14] = [
    "Card",
    "In short",
    "The problem, shown",
    "Predict",
    "By hand",
    "Invariants",
    "Build",
    "Run it",
    "Break it on purpose",
    "Attack it",
    "Measure",
    "In production",
    "Exercises",
    "Troubleshooting",
];

/// The second-level headings that chapter 0 has among others, in this order.
const SECTIONS_OF_0: [&str; 4] = ["Card", "In short", "Predict", "Troubleshooting"];

/// The page after the last chapter: a tour, which has no crate.
const TOUR: u32 = 10;

/// Its second-level headings, among others, in this order.
const SECTIONS_OF_THE_TOUR: [&str; 4] =
    ["Card", "In short", "One container", "From here to a cluster"];

/// Faults in the structure of a page.
pub fn check(layout: &Layout, page: &Page) -> Vec<Finding> {
    let mut findings = headings(page);
    match page.chapter() {
        None => {}
        Some(0) => findings.extend(sections_among(page, "chapter 0", &SECTIONS_OF_0)),
        Some(TOUR) => findings.extend(sections_among(page, "the tour", &SECTIONS_OF_THE_TOUR)),
        Some(number) => {
            findings.extend(sections(page));
            findings.extend(contents(page));
            findings.extend(invariants(layout, page, number));
            findings.extend(exercises(page, number));
            findings.extend(mutants(layout, page, number));
        }
    }
    findings
}

/// One title, and no level left out.
fn headings(page: &Page) -> Vec<Finding> {
    if page.path.file_name().is_some_and(|name| name == "SUMMARY.md") {
        return Vec::new();
    }
    let mut findings = Vec::new();
    if page.headings.first().is_none_or(|first| first.level != 1) {
        findings.push(Finding::new(&page.name, 1, "a page begins with its title, `# …`"));
    }
    for pair in page.headings.windows(2) {
        let (before, here) = (&pair[0], &pair[1]);
        if here.level == 1 {
            findings.push(Finding::new(&page.name, here.line, "a page has one title"));
        } else if here.level > before.level + 1 {
            let message = format!("heading `{}` leaves out a level", here.text);
            findings.push(Finding::new(&page.name, here.line, message));
        }
    }
    findings
}

fn sections(page: &Page) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut expected = SECTIONS.iter().peekable();
    for heading in page.headings.iter().filter(|heading| heading.level == 2) {
        match SECTIONS.iter().position(|name| *name == heading.text) {
            Some(_) if expected.peek().is_some_and(|next| **next == heading.text) => {
                expected.next();
            }
            Some(at) => {
                let missing: Vec<&str> =
                    expected.clone().take_while(|name| **name != SECTIONS[at]).copied().collect();
                if missing.len() == expected.len() {
                    let message = format!("section `{}` is out of order", heading.text);
                    findings.push(Finding::new(&page.name, heading.line, message));
                } else {
                    let message = format!("section(s) missing before this: {}", missing.join("; "));
                    findings.push(Finding::new(&page.name, heading.line, message));
                    expected.nth(missing.len());
                }
            }
            None => {
                let message = format!("`{}` is none of the 14 sections: use ###", heading.text);
                findings.push(Finding::new(&page.name, heading.line, message));
            }
        }
    }
    if expected.peek().is_some() {
        let missing: Vec<&str> = expected.copied().collect();
        let message = format!("section(s) missing at the end: {}", missing.join("; "));
        findings.push(Finding::new(&page.name, page.line_of(page.text.len()), message));
    }
    findings
}

/// That a page has these sections, in this order.
fn sections_among(page: &Page, whose: &str, sections: &[&str]) -> Vec<Finding> {
    let names: Vec<&str> =
        page.headings.iter().filter(|h| h.level == 2).map(|h| h.text.as_str()).collect();
    let mut after = names.iter();
    sections
        .iter()
        .filter(|section| !after.any(|name| name == *section))
        .map(|section| {
            Finding::new(&page.name, 1, format!("{whose} lacks `## {section}` (or its order)"))
        })
        .collect()
}

fn section<'a>(page: &'a Page, name: &str) -> Option<Section<'a>> {
    let index = page.headings.iter().position(|h| h.level == 2 && h.text == name)?;
    Some(page.section(index))
}

/// What a section cannot do without.
fn contents(page: &Page) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut demand = |name: &str, there: &dyn Fn(&Section<'_>) -> bool, what: &str| {
        if let Some(section) = section(page, name)
            && !there(&section)
        {
            let message = format!("`{name}` needs {what}");
            findings.push(Finding::new(&page.name, section.heading.line, message));
        }
    };
    let fence = |section: &Section<'_>, language: &str| {
        page.fences.iter().any(|f| f.language == language && section.contains(f.range.start))
    };
    let image =
        |section: &Section<'_>| page.images.iter().any(|image| section.contains(image.range.start));
    demand("In short", &image, "a figure");
    demand("The problem, shown", &|s| fence(s, "console"), "a console block");
    demand("Predict", &|s| s.body.contains("<details>"), "an answer in <details>");
    demand("By hand", &|s| fence(s, "console"), "a console block");
    demand("Build", &|s| fence(s, "rust"), "included Rust code");
    demand("Run it", &|s| fence(s, "console"), "a console block");
    demand("Measure", &image, "a figure");
    findings
}

/// `- **I1.** …, test: `name`` with consecutive numbers and tests that exist.
fn invariants(layout: &Layout, page: &Page, number: u32) -> Vec<Finding> {
    let Some(section) = section(page, "Invariants") else { return Vec::new() };
    let tests = tests_of_chapter(layout, number);
    let mut findings = Vec::new();
    let mut count = 0;
    for item in list_items(section.body) {
        let line = section.heading.line + item.line;
        let Some(rest) = item.text.strip_prefix("- **I") else { continue };
        count += 1;
        let id = rest.split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default();
        if id != count.to_string() {
            let message = format!("invariant I{id} where I{count} is due");
            findings.push(Finding::new(&page.name, line, message));
        }
        match item.text.rsplit_once("test: `").and_then(|(_, rest)| rest.split_once('`')) {
            None => {
                let message = format!("I{id} names no test: end it with \"test: `name`\"");
                findings.push(Finding::new(&page.name, line, message));
            }
            Some((name, _)) if !tests.iter().any(|test| test == name) => {
                let message = format!("I{id}: no test `{name}` in chapters/{number:02}-*");
                findings.push(Finding::new(&page.name, line, message));
            }
            Some(_) => {}
        }
    }
    if count == 0 {
        let message = "no invariants: write \"- **I1.** …, test: `name`\"";
        findings.push(Finding::new(&page.name, section.heading.line, message));
    }
    findings
}

struct Item {
    line: usize,
    text: String,
}

/// The items of the lists at the left margin, continuation lines joined.
fn list_items(body: &str) -> Vec<Item> {
    let mut items: Vec<Item> = Vec::new();
    for (line, text) in body.lines().enumerate() {
        if text.starts_with("- ") {
            items.push(Item { line, text: text.to_owned() });
        } else if let (true, Some(item)) = (text.starts_with("  "), items.last_mut()) {
            item.text.push(' ');
            item.text.push_str(text.trim());
        }
    }
    items
}

/// The names of the test functions in the chapter's crate: `fn` lines below a test attribute.
fn tests_of_chapter(layout: &Layout, number: u32) -> Vec<String> {
    let Some(dir) = layout.chapter_dir(number) else { return Vec::new() };
    let files = files_with_extension(&dir, "rs");
    files.iter().filter_map(|file| std::fs::read_to_string(file).ok()).flat_map(tests_in).collect()
}

fn tests_in(source: String) -> Vec<String> {
    let mut names = Vec::new();
    let mut attributed = false;
    for line in source.lines().map(str::trim) {
        if let Some(attribute) = line.strip_prefix("#[") {
            let path = attribute.split(['(', ']']).next().unwrap_or_default();
            let last = path.rsplit("::").next().unwrap_or_default();
            attributed |= ["test", "t1", "t2", "boots_vm"].contains(&last);
        } else if let Some((_, rest)) = line.split_once("fn ").filter(|_| attributed) {
            names.extend(rest.split('(').next().map(str::to_owned));
            attributed = false;
        } else if !line.starts_with("//") {
            attributed = false;
        }
    }
    names
}

/// `### Exercise 1.1 (build): …`: three that build, one that debugs, one that designs, each with
/// its folded hints and solution.
fn exercises(page: &Page, number: u32) -> Vec<Finding> {
    let Some(all) = section(page, "Exercises") else { return Vec::new() };
    let mut findings = Vec::new();
    let mut kinds = Vec::new();
    for (index, heading) in page.headings.iter().enumerate() {
        if heading.level != 3 || !all.contains(heading.start) {
            continue;
        }
        let mut fault = |message: String| {
            findings.push(Finding::new(&page.name, heading.line, message));
        };
        let due = format!("Exercise {number}.{} (", kinds.len() + 1);
        let Some(kind) = heading.text.strip_prefix(&due).and_then(|rest| rest.split_once("): "))
        else {
            fault(format!("an exercise is headed `### {due}build|debug|design): …`"));
            continue;
        };
        kinds.push(kind.0.to_owned());
        let body = page.section(index).body;
        let mut wanted = vec!["Hint", "Solution"];
        wanted.extend((kind.0 == "design").then_some("Rubric"));
        for summary in wanted {
            if !body.contains(&format!("<summary>{summary}")) {
                fault(format!("exercise without `<summary>{summary}…` in a <details>"));
            }
        }
    }
    for (kind, least) in [("build", 3), ("debug", 1), ("design", 1)] {
        let count = kinds.iter().filter(|k| *k == kind).count();
        if count < least {
            let message = format!("{count} exercise(s) of kind {kind}, at least {least} are due");
            findings.push(Finding::new(&page.name, all.heading.line, message));
        }
    }
    findings
}

/// "Break it on purpose" names a patch of the chapter, and every patch that it names is there.
fn mutants(layout: &Layout, page: &Page, number: u32) -> Vec<Finding> {
    let Some(section) = section(page, "Break it on purpose") else { return Vec::new() };
    let dir = layout.chapter_dir(number).unwrap_or_default();
    let named: Vec<&str> = section
        .body
        .split(|c: char| c.is_whitespace() || "`()[]{}\",".contains(c))
        .filter_map(|word| word.split_once("mutants/").map(|(_, file)| file))
        .filter(|file| file.ends_with(".patch"))
        .collect();
    let fault = |message: String| Finding::new(&page.name, section.heading.line, message);
    if named.is_empty() {
        return vec![fault("names no `mutants/NAME.patch` of the chapter".into())];
    }
    named
        .iter()
        .filter(|file| !dir.join("mutants").join(Path::new(file)).is_file())
        .map(|file| fault(format!("no mutants/{file} in chapters/{number:02}-*")))
        .collect()
}

#[cfg(test)]
mod tests;
