//! `{{#tasks PATH}}`: the tasks of the labs as a table, made of each `PATH/NN-…/lab/tasks.json`.

use std::path::Path;

use serde_json::Value;

/// The table of all chapters' tasks below the directory `chapters`.
///
/// # Errors
/// The reason, where a file cannot be read or lacks something, or there is none.
pub fn table(chapters: &Path) -> Result<String, String> {
    let entries = std::fs::read_dir(chapters)
        .map_err(|error| format!("tasks of {}: {error}", chapters.display()))?;
    let mut files: Vec<_> =
        entries.flatten().map(|entry| entry.path().join("lab/tasks.json")).collect();
    files.retain(|file| file.exists());
    files.sort();
    let mut rows = String::from(
        "| Chapter | Task | What is written | Minutes | Points | Tests |\n|---|---|---|---|---|---|\n",
    );
    let (mut minutes, mut tests, mut tasks) = (0, 0, 0);
    for file in &files {
        let wrong = |why: String| format!("tasks of {}: {why}", file.display());
        let text = std::fs::read_to_string(file).map_err(|error| wrong(error.to_string()))?;
        let all: Vec<Value> =
            serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))?;
        for task in &all {
            let text = |name: &str| {
                task[name].as_str().ok_or_else(|| wrong(format!("a task without {name}")))
            };
            let number = |name: &str| {
                task[name].as_u64().ok_or_else(|| wrong(format!("a task without {name}")))
            };
            let own = task["tests"].as_array().map_or(0, Vec::len);
            rows += &format!(
                "| {} | `{}` | {} | {} | {} | {own} |\n",
                number_of(file),
                text("name")?,
                text("title")?,
                number("minutes")?,
                number("points")?,
            );
            minutes += number("minutes")?;
            tests += own;
        }
        tasks += all.len();
    }
    if tasks == 0 {
        return Err(format!("there are no tasks below {}", chapters.display()));
    }
    rows += &format!("| all | {tasks} tasks | | {minutes} | | {tests} |\n");
    Ok(rows)
}

/// `3` for `…/03-unionfs/lab/tasks.json`.
fn number_of(file: &Path) -> String {
    let chapter = file.ancestors().nth(2).and_then(Path::file_name).unwrap_or_default();
    let number = chapter.to_string_lossy();
    number.split('-').next().unwrap_or_default().trim_start_matches('0').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_are_a_table_and_what_they_lack_is_said() {
        let dir = tempfile::tempdir().unwrap();
        assert!(table(dir.path()).unwrap_err().contains("no tasks"));
        let lab = dir.path().join("03-unionfs/lab");
        std::fs::create_dir_all(&lab).unwrap();
        let task =
            r#"[{"name": "merge", "title": "Put", "minutes": 30, "points": 20, "tests": ["a"]}]"#;
        std::fs::write(lab.join("tasks.json"), task).unwrap();
        let made = table(dir.path()).unwrap();
        assert!(
            made.contains("| 3 | `merge` | Put | 30 | 20 | 1 |\n| all | 1 tasks | | 30 | | 1 |")
        );
        std::fs::write(lab.join("tasks.json"), task.replace("\"points\"", "\"p\"")).unwrap();
        assert!(table(dir.path()).unwrap_err().contains("without points"));
    }
}
