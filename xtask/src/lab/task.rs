//! What a chapter's class is to write.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::error::{Error, OnPath, Result};
use crate::workspace;

/// One function, or a few that belong together.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Task {
    /// By which it is called.
    pub name: String,
    /// What is to be written.
    pub title: String,
    /// What to do, in a paragraph, with the manual page or specification that says more.
    pub text: String,
    /// How long a student takes for it, about.
    pub minutes: u32,
    /// The file, from the root of the checkout.
    pub file: String,
    /// The anchor around the functions.
    pub anchor: String,
    /// In which of the crate's test targets, beside its library, there are tests of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub targets: Vec<String>,
    /// The tests that fail without them and pass with them: `PACKAGE TARGET TEST`, as in the headers of
    /// mutants.
    #[serde(default)]
    pub tests: Vec<String>,
    /// From the first push to nearly the solution.
    pub hints: Vec<String>,
    /// For all tests; less for a part of them.
    pub points: u32,
}

/// A chapter with tasks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chapter {
    /// `03`.
    pub number: String,
    /// Its crate.
    pub package: String,
    /// `chapters/03-unionfs`, from the root of the checkout.
    pub directory: String,
    /// In the order in which they are to be done.
    pub tasks: Vec<Task>,
}

impl Chapter {
    /// Reads the tasks of the chapter whose directory begins with `number`.
    ///
    /// # Errors
    /// Where there is none, or its file is wrong.
    pub fn read(number: &str) -> Result<Chapter> {
        let number = format!("{number:0>2}");
        let found = directories()?.into_iter().find(|directory| {
            let name = directory.file_name().unwrap_or_default().to_string_lossy().into_owned();
            name.starts_with(&format!("{number}-"))
        });
        let directory =
            found.ok_or_else(|| Error::failed(format!("there is no chapter {number}")))?;
        let path = directory.join("lab/tasks.json");
        if !path.exists() {
            return Err(Error::failed(format!("chapter {number} has no tasks yet")));
        }
        let text = fs::read_to_string(&path).on("read", &path)?;
        let tasks = serde_json::from_str(&text)
            .map_err(|why| Error::failed(format!("{}: {why}", path.display())))?;
        let name = directory.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let package =
            format!("corten-{}", name.split_once('-').map_or(name.as_str(), |(_, name)| name));
        Ok(Chapter { number, package, directory: format!("chapters/{name}"), tasks })
    }

    /// All chapters that have tasks.
    ///
    /// # Errors
    /// As [`Chapter::read`].
    pub fn all() -> Result<Vec<Chapter>> {
        let mut numbers = BTreeSet::new();
        for directory in directories()? {
            let name = directory.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if directory.join("lab/tasks.json").exists() {
                numbers.extend(name.split('-').next().map(str::to_owned));
            }
        }
        numbers.iter().map(|number| Chapter::read(number)).collect()
    }

    /// A task by its name.
    ///
    /// # Errors
    /// Where there is none of that name.
    pub fn task(&self, name: &str) -> Result<&Task> {
        let known =
            || self.tasks.iter().map(|task| task.name.as_str()).collect::<Vec<_>>().join(", ");
        let found = self.tasks.iter().find(|task| task.name == name);
        found.ok_or_else(|| Error::failed(format!("no task {name}: there are {}", known())))
    }

    /// One task, or all.
    ///
    /// # Errors
    /// As [`Chapter::task`].
    pub fn some(&self, name: Option<&str>) -> Result<Vec<&Task>> {
        match name {
            Some(name) => Ok(vec![self.task(name)?]),
            None => Ok(self.tasks.iter().collect()),
        }
    }
}

fn directories() -> Result<Vec<PathBuf>> {
    let chapters = workspace::root().join("chapters");
    let mut all: Vec<PathBuf> = fs::read_dir(&chapters)
        .on("list", &chapters)?
        .flatten()
        .map(|entry| entry.path())
        .collect();
    all.sort();
    Ok(all)
}

impl Task {
    /// The engine's own file.
    ///
    /// # Errors
    /// Where it is not there.
    pub fn source(&self) -> Result<String> {
        let path = workspace::root().join(&self.file);
        fs::read_to_string(&path).on("read", &path)
    }

    /// A test as package, target and name.
    ///
    /// # Errors
    /// Where it is not three words.
    pub fn parts(test: &str) -> Result<[&str; 3]> {
        let words: Vec<&str> = test.split_whitespace().collect();
        let wrong = |_| Error::failed(format!("a test is PACKAGE TARGET TEST, not `{test}`"));
        words.try_into().map_err(wrong)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::starter;

    /// Runs `check` for each task, and says for which it does not hold.
    fn each(what: &str, check: impl Fn(&Chapter, &Task) -> bool) {
        let chapters = Chapter::all().unwrap();
        assert_eq!(chapters.len(), 9, "every chapter has tasks");
        let wrong: Vec<String> = chapters
            .iter()
            .flat_map(|chapter| chapter.tasks.iter().map(move |task| (chapter, task)))
            .filter(|(chapter, task)| !check(chapter, task))
            .map(|(chapter, task)| format!("{} {}", chapter.number, task.name))
            .collect();
        assert_eq!(wrong, Vec::<String>::new(), "{what}");
    }

    #[test]
    fn every_task_has_its_anchor_in_a_file_of_its_chapter() {
        each("anchors", |chapter, task| {
            let source = task.source().unwrap();
            task.file.starts_with(&format!("{}/src/", chapter.directory))
                && starter::blank(&source, task, &chapter.number).is_ok()
        });
    }

    #[test]
    fn every_task_is_whole() {
        each("three hints", |_, task| task.hints.len() == 3);
        each("a title and a text", |_, task| !task.title.is_empty() && task.text.len() > 100);
        each("10 to 40 minutes", |_, task| (10..=40).contains(&task.minutes));
        each("two tests of the chapter's own", |chapter, task| {
            let own = |test: &String| {
                Task::parts(test).is_ok_and(|[package, target, _]| {
                    package == chapter.package
                        && (target == "lib" || task.targets.iter().any(|own| own == target))
                })
            };
            task.tests.len() >= 2 && task.tests.iter().all(own)
        });
    }

    #[test]
    fn a_chapters_points_are_a_hundred_and_its_names_differ() {
        for Chapter { number, tasks, .. } in Chapter::all().unwrap() {
            assert!((3..=5).contains(&tasks.len()), "{number}");
            assert_eq!(tasks.iter().map(|task| task.points).sum::<u32>(), 100, "{number}");
            let names: BTreeSet<&str> = tasks.iter().map(|task| task.name.as_str()).collect();
            assert_eq!(names.len(), tasks.len(), "{number}");
        }
    }

    #[test]
    fn chapters_of_the_kernel_have_tests_in_the_vm() {
        for number in ["01", "02", "03", "04", "07"] {
            let chapter = Chapter::read(number).unwrap();
            let in_kernel = |test: &String| test.ends_with("::t1") || test.ends_with("::t2");
            assert!(chapter.tasks.iter().flat_map(|task| &task.tests).any(in_kernel), "{number}");
        }
    }
}
