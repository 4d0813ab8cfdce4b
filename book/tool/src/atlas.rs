//! `{{#errnos PATH}}` and `{{#calls PATH}}`: what the pages and the sources say of errors and of system calls,
//! in one place.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::page::heading_id;

/// Where the kernel's calls are listed.
const CALLS: &str = "chapters/04-runtime/src/seccomp/syscalls.tbl";

/// So many files of one call are named.
const FILES: usize = 3;

/// Names of errors with the numbers that Linux gives them on most architectures
/// (include/uapi/asm-generic/errno.h), for which the C library has the words.
const ERRNOS: [(&str, i32); 58] = [
    ("E2BIG", 7),
    ("EACCES", 13),
    ("EADDRINUSE", 98),
    ("EADDRNOTAVAIL", 99),
    ("EAFNOSUPPORT", 97),
    ("EAGAIN", 11),
    ("EBADF", 9),
    ("EBUSY", 16),
    ("ECHILD", 10),
    ("ECONNREFUSED", 111),
    ("ECONNRESET", 104),
    ("EDQUOT", 122),
    ("EEXIST", 17),
    ("EFAULT", 14),
    ("EFBIG", 27),
    ("EHOSTUNREACH", 113),
    ("EINTR", 4),
    ("EINVAL", 22),
    ("EIO", 5),
    ("EISDIR", 21),
    ("ELOOP", 40),
    ("EMFILE", 24),
    ("EMLINK", 31),
    ("EMSGSIZE", 90),
    ("ENAMETOOLONG", 36),
    ("ENETDOWN", 100),
    ("ENETUNREACH", 101),
    ("ENFILE", 23),
    ("ENOBUFS", 105),
    ("ENODATA", 61),
    ("ENODEV", 19),
    ("ENOENT", 2),
    ("ENOEXEC", 8),
    ("ENOLCK", 37),
    ("ENOMEM", 12),
    ("ENOSPC", 28),
    ("ENOSYS", 38),
    ("ENOTCONN", 107),
    ("ENOTDIR", 20),
    ("ENOTEMPTY", 39),
    ("ENOTSUP", 95),
    ("ENOTTY", 25),
    ("ENXIO", 6),
    ("EOPNOTSUPP", 95),
    ("EOVERFLOW", 75),
    ("EPERM", 1),
    ("EPIPE", 32),
    ("EPROTONOSUPPORT", 93),
    ("ERANGE", 34),
    ("EROFS", 30),
    ("ESPIPE", 29),
    ("ESRCH", 3),
    ("ESTALE", 116),
    ("ETIMEDOUT", 110),
    ("ETXTBSY", 26),
    ("EUSERS", 87),
    ("EXDEV", 18),
    ("EWOULDBLOCK", 11),
];

/// The pages of the chapters in the book's sources `src`, in their order, with their numbers.
fn chapters(src: &Path) -> Result<Vec<(String, PathBuf, String)>, String> {
    let entries = std::fs::read_dir(src).map_err(|why| format!("{}: {why}", src.display()))?;
    let mut pages = Vec::new();
    for path in entries.flatten().map(|entry| entry.path()) {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let number: String = name.chars().take_while(char::is_ascii_digit).collect();
        if number.len() == 2 && name.ends_with(".md") {
            let text = std::fs::read_to_string(&path)
                .map_err(|why| format!("{}: {why}", path.display()))?;
            pages.push((number.trim_start_matches('0').to_owned(), path, text));
        }
    }
    pages.sort_by(|a, b| a.1.cmp(&b.1));
    Ok(pages)
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// The words of a text that could be names.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
}

/// The cells of a table's row; a bar in code is written `\|`.
fn cells(line: &str) -> Vec<String> {
    let inner = line.trim().trim_start_matches('|').trim_end_matches('|').replace("\\|", "\u{0}");
    inner.split('|').map(|cell| cell.trim().replace('\u{0}', "\\|")).collect()
}

/// The errors that the chapters' tables tell of, each with all that they say of it.
///
/// # Errors
/// The reason, where a page cannot be read or none tells of any.
pub fn errnos(src: &Path) -> Result<String, String> {
    let mut all: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (number, path, text) in chapters(src)? {
        let number = if number.is_empty() { "0" } else { &number };
        let after = text.split("\n## Troubleshooting\n").nth(1).unwrap_or_default();
        let section = after.split("\n## ").next().unwrap_or_default();
        for line in section.lines().filter(|line| line.starts_with('|')) {
            let [says, cause, remedy] = &cells(line)[..] else { continue };
            let named: BTreeSet<&str> = words(says)
                .filter_map(|word| ERRNOS.iter().find(|(name, _)| *name == word))
                .map(|(name, _)| *name)
                .collect();
            let link = format!("[{number}]({}#troubleshooting)", file_name(&path));
            for name in named {
                let row = format!("| {says} | {cause} | {remedy} | {link} |\n");
                all.entry(name).or_default().push(row);
            }
        }
    }
    if all.is_empty() {
        return Err(format!("no page of {} tells of an error", src.display()));
    }
    let part = |(name, rows): (&str, Vec<String>)| {
        let number = ERRNOS.iter().find(|(own, _)| *own == name).map_or(0, |(_, number)| *number);
        let words = std::io::Error::from_raw_os_error(number).to_string();
        let words = words.split(" (os error").next().unwrap_or_default().to_lowercase();
        format!(
            "## {name}\n\n{number}, \u{201c}{words}\u{201d}\n\n| what it says | cause | remedy | chapter |\n\
             |---|---|---|---|\n{}\n",
            rows.concat()
        )
    };
    Ok(all.into_iter().map(part).collect())
}

/// The system calls that the pages in `src` or the sources tell of: where it is in the book, and in the code.
///
/// # Errors
/// The reason, where something cannot be read.
pub fn calls(src: &Path) -> Result<String, String> {
    let root = src.ancestors().nth(2).unwrap_or(Path::new("."));
    let list = root.join(CALLS);
    let known = std::fs::read_to_string(&list).map_err(|why| format!("{CALLS}: {why}"))?;
    let known: BTreeSet<&str> =
        known.lines().skip(1).filter_map(|line| line.split_whitespace().next()).collect();
    let mut sections: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (number, path, text) in chapters(src)? {
        let number = if number.is_empty() { "0" } else { &number };
        let mut heading = None;
        for line in text.lines() {
            if let Some(title) = line.strip_prefix("## ").or_else(|| line.strip_prefix("### ")) {
                heading = Some(title);
            }
            let Some(title) = heading else { continue };
            let page = file_name(&path);
            let link = format!("[{number}, {title}]({page}#{})", heading_id(title));
            for name in named(line).filter(|name| known.contains(name)) {
                let links = sections.entry(name.to_owned()).or_default();
                if !links.contains(&link) {
                    links.push(link.clone());
                }
            }
        }
    }
    let mut files: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for top in ["chapters", "src"] {
        for entry in walkdir::WalkDir::new(root.join(top)).sort_by_file_name() {
            let entry = entry.map_err(|why| format!("{top}: {why}"))?;
            let shown = entry.path().strip_prefix(root).unwrap_or(entry.path()).display();
            let shown = shown.to_string();
            if !shown.ends_with(".rs") || !(shown.contains("/src/") || top == "src") {
                continue;
            }
            let text =
                std::fs::read_to_string(entry.path()).map_err(|why| format!("{shown}: {why}"))?;
            let comments = text.lines().filter(|line| line.trim_start().starts_with("//"));
            let told = comments.flat_map(named);
            let made = words(&text).filter_map(|word| word.strip_prefix("SYS_"));
            for name in told.chain(made).filter(|name| known.contains(name)) {
                files.entry(name.to_owned()).or_default().insert(shown.clone());
            }
        }
    }
    let names: BTreeSet<&String> = sections.keys().chain(files.keys()).collect();
    let mut table = String::from("| call | in the book | in the code |\n|---|---|---|\n");
    for name in names {
        let links = sections.get(name).map(|links| links.join("; ")).unwrap_or_default();
        let of = files.get(name).into_iter().flatten();
        let mut shown: Vec<String> = of.clone().take(FILES).map(|f| format!("`{f}`")).collect();
        let more = of.count().saturating_sub(FILES);
        if more > 0 {
            shown.push(format!("{more} more"));
        }
        table += &format!(
            "| [{name}(2)](https://man7.org/linux/man-pages/man2/{name}.2.html) | {links} | {} |\n",
            shown.join(", ")
        );
    }
    Ok(table)
}

/// The names before `(2)` in a line.
fn named(line: &str) -> impl Iterator<Item = &str> {
    line.match_indices("(2)").filter_map(|(at, _)| {
        let before = &line[..at];
        let name = words(before).last()?;
        (!name.is_empty()).then_some(name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_together_by_the_error_that_they_name() {
        let dir = tempfile::tempdir().unwrap();
        assert!(errnos(dir.path()).unwrap_err().contains("no page of"));
        let page = "# A\n\n## Troubleshooting\n\n| says | cause | remedy |\n|---|---|---|\n\
                    | `x: EPERM` | a \\| b | c |\n| other | d | e |\n\n## Next\n\n| `EIO` | f | g |\n";
        std::fs::write(dir.path().join("01-a.md"), page).unwrap();
        std::fs::write(dir.path().join("labs.md"), page).unwrap();
        let made = errnos(dir.path()).unwrap();
        assert!(
            made.starts_with("## EPERM\n\n1, \u{201c}operation not permitted\u{201d}\n"),
            "{made}"
        );
        assert!(made.contains("| `x: EPERM` | a \\| b | c | [1](01-a.md#troubleshooting) |"));
        assert!(!made.contains("EIO") && !made.contains("other"));
    }

    #[test]
    fn calls_are_found_in_pages_and_sources() {
        let dir = tempfile::tempdir().unwrap();
        let put = |name: &str, text: &str| {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        put(CALLS, "name x86_64\nread 0\nsetns 1\n");
        put(
            "book/src/02-b.md",
            "## By hand\n\nWith setns(2) and max(2).\n\n### It's so\n\nread(2)\n",
        );
        put("src/main.rs", "");
        put("chapters/01-a/src/sys.rs", "// setns(2): joins.\nlet x = nth(2); libc::SYS_read;\n");
        let made = calls(&dir.path().join("book/src")).unwrap();
        let rows: Vec<&str> = made.lines().skip(2).collect();
        assert_eq!(rows.len(), 2, "{made}");
        assert!(rows[0].contains("[2, It's so](02-b.md#its-so) | `chapters/01-a/src/sys.rs` |"));
        assert!(
            rows[1].starts_with("| [setns(2)](https://man7.org/linux/man-pages/man2/setns.2.html)")
        );
        assert!(rows[1].contains("(02-b.md#by-hand)"));
    }
}
