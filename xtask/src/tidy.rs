//! Rules of this repository that a compiler does not know, as T0 tests.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::{process, workspace};

/// The files that git tracks or would track, as they are now.
fn files() -> Vec<PathBuf> {
    let listing = process::read(
        Command::new("git")
            .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
            .current_dir(workspace::root()),
    )
    .unwrap();
    let mut files: Vec<PathBuf> =
        listing.split('\0').filter(|name| !name.is_empty()).map(PathBuf::from).collect();
    files.sort();
    files.dedup();
    files.retain(|file| workspace::root().join(file).is_file());
    assert!(files.len() > 10, "git lists no files");
    files
}

fn read(file: &Path) -> String {
    fs::read_to_string(workspace::root().join(file)).unwrap_or_default()
}

fn rust_files() -> Vec<PathBuf> {
    files().into_iter().filter(|file| file.extension().is_some_and(|e| e == "rs")).collect()
}

/// Fails with all of `problems`, not with the first only.
fn none(rule: &str, problems: &[String]) {
    assert!(problems.is_empty(), "{rule}\n  {}", problems.join("\n  "));
}

/// The lines of code: without comments and the text of strings. Exact enough to look for words;
/// it knows nothing of block comments, which this repository has none of.
fn code(text: &str) -> impl Iterator<Item = (usize, String)> {
    text.lines().enumerate().map(|(at, line)| {
        let mut code = String::new();
        let (mut in_string, mut escaped) = (false, false);
        let mut previous = ' ';
        for c in line.chars() {
            if in_string {
                in_string = escaped || c != '"';
                escaped = c == '\\' && !escaped;
            } else if c == '/' && previous == '/' {
                code.pop();
                break;
            } else {
                in_string = c == '"' && previous != '\'';
                code.push(c);
            }
            previous = c;
        }
        (at + 1, code)
    })
}

/// Whether `word` stands in `line` by itself.
fn has_word(line: &str, word: &str) -> bool {
    line.split(|c: char| !c.is_alphanumeric() && c != '_').any(|part| part == word)
}

#[test]
fn no_source_file_is_longer_than_a_reader_will_read() {
    const LONGEST: usize = 500;
    let problems: Vec<String> = rust_files()
        .iter()
        .map(|file| (file, read(file).lines().count()))
        .filter(|(_, lines)| *lines > LONGEST)
        .map(|(file, lines)| format!("{}: {lines} lines", file.display()))
        .collect();
    none("a source file has at most 500 lines: split it along its topics", &problems);
}

#[test]
fn every_crate_denies_unsafe_code() {
    let problems: Vec<String> = targets()
        .into_iter()
        .filter(|file| !read(file).contains("#![deny(unsafe_code)]"))
        .map(|file| file.display().to_string())
        .collect();
    none("the root of every library and program says #![deny(unsafe_code)]", &problems);
}

#[test]
fn unsafe_code_stands_only_in_modules_called_sys() {
    let mut problems = Vec::new();
    for file in rust_files() {
        let in_sys =
            file.components().any(|part| part.as_os_str() == "sys" || part.as_os_str() == "sys.rs");
        if in_sys {
            continue;
        }
        for (at, line) in code(&read(&file)) {
            // `unsafe_code` is another word; the attribute of the module sys is no use of it.
            if has_word(&line, "unsafe") {
                problems.push(format!("{}:{at}", file.display()));
            }
        }
    }
    none("unsafe code stands in a module sys of its crate", &problems);
}

/// The command line and the daemon stand on the engine. It knows neither, nor that there are daemons elsewhere.
#[test]
fn the_engine_knows_nobody_who_uses_it() {
    let users = ["corten_daemon", "crate::cli", "crate::daemon"];
    let mut problems = Vec::new();
    for file in rust_files().iter().filter(|file| file.starts_with("src/engine")) {
        for (at, line) in code(&read(file)) {
            if users.iter().any(|user| line.contains(user)) {
                problems.push(format!("{}:{}", file.display(), at + 1));
            }
        }
    }
    none("src/engine does not name its users", &problems);
}

#[test]
fn nothing_is_left_to_be_written() {
    let (todo, unimplemented) = (concat!("to", "do!"), concat!("unimple", "mented!"));
    let mut problems = Vec::new();
    for file in rust_files() {
        for (at, line) in code(&read(&file)) {
            if line.contains(todo) || line.contains(unimplemented) {
                problems.push(format!("{}:{at}", file.display()));
            }
        }
    }
    none("code is finished or not there", &problems);
}

#[test]
fn no_module_has_a_name_that_says_nothing() {
    let vague = ["utils", "util", "common", "helpers", "helper", "manager", "misc"];
    let problems: Vec<String> = rust_files()
        .into_iter()
        .filter(|file| {
            let stem = file.file_stem().unwrap_or_default();
            let dir = file.parent().and_then(Path::file_name).unwrap_or_default();
            vague.iter().any(|name| stem == *name || dir == *name)
        })
        .map(|file| file.display().to_string())
        .collect();
    none("a module is named after a noun of the field", &problems);
}

#[test]
fn no_host_name_of_a_registry_is_written() {
    // In parts, so that this file does not hold what it looks for. Not among them is the domain
    // that Docker's grammar of image references gives to every name without one.
    let names = [
        concat!("gh", "cr.io"),
        concat!("quay", ".io"),
        concat!("gcr", ".io"),
        concat!("registry.k8s", ".io"),
        concat!("hub.docker", ".com"),
        concat!("mcr.microsoft", ".com"),
        concat!("public.ecr", ".aws"),
        concat!("registry.gitlab", ".com"),
        concat!("crates", ".io"),
        concat!("deb.debian", ".org"),
        concat!("archive.ubuntu", ".com"),
    ];
    let mut problems = Vec::new();
    for file in files() {
        if file.ends_with("Cargo.lock") {
            continue; // cargo writes it
        }
        for (at, line) in read(&file).lines().enumerate() {
            if let Some(name) = names.iter().find(|name| line.contains(*name)) {
                problems.push(format!("{}:{}: {name}", file.display(), at + 1));
            }
        }
    }
    none("no host name of a registry is written anywhere", &problems);
}

#[test]
fn every_chapter_has_a_readme_of_one_screen() {
    let mut problems = Vec::new();
    for chapter in fs::read_dir(workspace::root().join("chapters")).unwrap().flatten() {
        let readme = chapter.path().join("README.md");
        match fs::read_to_string(&readme).map(|text| text.lines().count()) {
            Ok(1..=60) => {}
            Ok(lines) => problems.push(format!("{}: {lines} lines", readme.display())),
            Err(error) => problems.push(format!("{}: {error}", readme.display())),
        }
    }
    none("a chapter has a README of at most 60 lines", &problems);
}

#[test]
fn every_dependency_is_explained() {
    let architecture = read(Path::new("ARCHITECTURE.md"));
    let problems: Vec<String> = dependencies()
        .into_iter()
        .filter(|name| !name.starts_with("corten"))
        .filter(|name| {
            let cell = format!("`{name}`");
            !architecture.lines().any(|line| line.starts_with('|') && line.contains(&cell))
        })
        .collect();
    none("ARCHITECTURE.md has a row in its table for each dependency", &problems);
}

/// The names in [workspace.dependencies].
fn dependencies() -> Vec<String> {
    let manifest = read(Path::new("Cargo.toml"));
    let names: Vec<String> = manifest
        .lines()
        .skip_while(|line| *line != "[workspace.dependencies]")
        .skip(1)
        .take_while(|line| !line.starts_with('['))
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_once('='))
        .map(|(name, _)| name.trim().split('.').next().unwrap_or_default().to_owned())
        .collect();
    assert!(names.contains(&"clap".to_owned()), "Cargo.toml is laid out in another way");
    names
}

#[test]
fn a_chapter_depends_only_on_chapters_before_it() {
    let metadata = metadata();
    let mut chapters = BTreeMap::new();
    for package in metadata["packages"].as_array().unwrap() {
        let manifest = package["manifest_path"].as_str().unwrap();
        if let Some((_, rest)) = manifest.split_once("/chapters/") {
            chapters.insert(package["name"].as_str().unwrap(), rest.split('-').next().unwrap());
        }
    }
    assert!(chapters.len() >= 3, "{chapters:?}");
    let mut problems = Vec::new();
    for package in metadata["packages"].as_array().unwrap() {
        let name = package["name"].as_str().unwrap();
        let Some(number) = chapters.get(name) else { continue };
        for dependency in package["dependencies"].as_array().unwrap() {
            let on = dependency["name"].as_str().unwrap();
            // A crate's tests may ask for the crate itself with its test fixtures.
            let later = on != name && chapters.get(on).is_some_and(|other| other >= number);
            if later || on == "corten" || on == "xtask" {
                problems.push(format!("{name} depends on {on}"));
            }
        }
    }
    none("a chapter's crate depends only on chapters before it", &problems);
}

#[test]
fn versions_stand_in_the_root_only() {
    let mut problems = Vec::new();
    for file in files().iter().filter(|file| file.ends_with("Cargo.toml")) {
        if file.components().count() == 1 {
            continue;
        }
        let text = read(file);
        // A workspace of its own has its own versions.
        if text.lines().any(|line| line == "[workspace]") {
            continue;
        }
        let mut section = "";
        for (at, line) in text.lines().enumerate() {
            if line.starts_with('[') {
                section = line;
            } else if section.contains("dependencies") && line.contains('=') {
                let inherits = line.replace(' ', "").contains("workspace=true");
                if !inherits && !line.trim_start().starts_with('#') {
                    problems.push(format!("{}:{}: {line}", file.display(), at + 1));
                }
            }
        }
    }
    none("versions of dependencies stand in the root Cargo.toml", &problems);
}

/// What cargo says about the members of the workspace.
fn metadata() -> Value {
    let arguments = ["metadata", "--no-deps", "--offline", "--format-version=1"];
    let text = process::read(workspace::cargo().args(arguments)).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// The root files of every library and program of the workspace.
fn targets() -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    for package in metadata()["packages"].as_array().unwrap() {
        for target in package["targets"].as_array().unwrap() {
            let kind = target["kind"][0].as_str().unwrap();
            if ["lib", "bin", "proc-macro"].contains(&kind) {
                found.insert(PathBuf::from(target["src_path"].as_str().unwrap()));
            }
        }
    }
    assert!(found.len() >= 5);
    found
}

#[test]
fn words_are_looked_for_in_code_only() {
    let text = "let a = \"unsafe\"; // unsafe\n/// unsafe\nunsafe { b() }\nc(unsafe_code)\n";
    let found: Vec<usize> =
        code(text).filter(|(_, line)| has_word(line, "unsafe")).map(|(at, _)| at).collect();
    assert_eq!(found, [3]);
}
