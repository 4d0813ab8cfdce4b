//! Tests of [`submission`](super): what is taken, and what is refused.

use super::*;

const ENGINE: &str = "\
use std::fs;

pub struct Layer;

impl Layer {
    // ANCHOR: open
    /// Adds them.
    pub fn add(&self, a: u32, b: u32) -> u32 {
        let sum = a.checked_add(b);
        sum.unwrap_or_else(|| crate::limit::most(a))
    }
    // ANCHOR_END: open

    fn secret(&self) -> bool { false }
}

#[cfg(test)]
mod tests {
    #[test]
    fn it_adds() { assert_eq!(super::Layer.add(1, 2), 3); }
}
";

fn task() -> Task {
    Task {
        name: "add".to_owned(),
        title: String::new(),
        text: String::new(),
        minutes: 10,
        file: "x.rs".to_owned(),
        anchor: "open".to_owned(),
        targets: Vec::new(),
        tests: Vec::new(),
        hints: Vec::new(),
        points: 1,
    }
}

fn with(region: &str) -> Result<String> {
    let text = super::super::starter::with_region(ENGINE, "open", region).unwrap();
    admit(ENGINE, &text, &task())
}

fn body(body: &str) -> Result<String> {
    with(&format!("    pub fn add(&self, a: u32, b: u32) -> u32 {{ {body} }}\n"))
}

/// That it is refused, and that the reason names what is wrong.
fn refused(submission: Result<String>, what: &str) {
    let why = submission.expect_err(what).to_string();
    assert!(why.contains(what), "{what}: {why}");
}

#[test]
fn an_honest_function_is_taken_with_its_helpers_and_nothing_else() {
    let text = ENGINE
        .replace("fn secret(&self) -> bool { false }", "fn secret(&self) -> bool { true }")
        .replace("assert_eq!(super::Layer.add(1, 2), 3)", "assert!(true)")
        .replace("let sum = a.checked_add(b);", "let sum = Self::sum(a, b);")
        .replace("/// Adds them.", "/// My words.")
        .replace(
            "    // ANCHOR_END: open",
            "    fn sum(a: u32, b: u32) -> Option<u32> { a.checked_add(b) }\n    // ANCHOR_END: open",
        );
    let admitted = admit(ENGINE, &text, &task()).unwrap();
    assert!(admitted.contains("let sum = Self::sum(a, b);"), "{admitted}");
    assert!(admitted.contains("fn sum(a: u32, b: u32) -> Option<u32> { a.checked_add(b) }"));
    assert!(admitted.contains("{ false }") && admitted.contains("/// Adds them."), "{admitted}");
    assert!(admitted.contains("assert_eq!(super::Layer.add(1, 2), 3)"), "tests are ours");
    assert!(syn::parse_file(&admitted).is_ok(), "{admitted}");
}

#[test]
fn the_solution_is_admitted_as_it_is() {
    assert_eq!(admit(ENGINE, ENGINE, &task()).unwrap(), ENGINE);
    for chapter in super::super::task::Chapter::all().unwrap() {
        for task in &chapter.tasks {
            let engine = task.source().unwrap();
            assert_eq!(admit(&engine, &engine, task).unwrap(), engine, "{}", task.name);
            let blank = super::super::starter::blank(&engine, task, &chapter.number).unwrap();
            assert_eq!(admit(&engine, &blank, task).unwrap(), blank, "{}", task.name);
        }
    }
}

#[test]
fn nothing_is_read_while_it_is_compiled() {
    refused(body("include_bytes!(\"/etc/shadow\").len() as u32"), "include_bytes!");
    refused(body("let _ = include_str ! { \"/etc/shadow\" }; 1"), "include_str!");
    refused(body("let _ = std::include!(\"/etc/shadow\"); 1"), "include!");
    refused(body("println!(\"{}\", env!(\"HOME\")); 1"), "`env`");
    refused(body("option_env!(\"HOME\"); 1"), "option_env!");
    refused(body("use std::include_bytes as vec2; vec2!(\"/etc/shadow\"); 1"), "vec2!");
    refused(body("macro_rules! m { () => { 1 } } m!()"), "macro_rules");
    refused(body("#[path = \"/etc/shadow\"] mod shadow; 1"), "module");
}

#[test]
fn the_process_and_the_system_are_not_reached() {
    refused(body("std::process::exit(0)"), "`process`");
    refused(body("use std::{process::exit as leave}; leave(0)"), "`process`");
    refused(body("use std as s; s::process::exit(0)"), "`std`");
    refused(body("use crate as c; c::sys::exit_now(0)"), "`crate`");
    refused(body("std::r#process::abort()"), "`process`");
    refused(body("std::fs::write(\"/x\", \"\").unwrap(); 1"), "`fs`");
    refused(body("crate::other::erase(); 1"), "crate::other");
    refused(body("use super::*; 1"), "`super`");
    refused(body("unsafe { std::hint::unreachable_unchecked() }"), "`unsafe`");
    refused(body("extern \"C\" { fn _exit(c: i32) -> !; } 1"), "extern");
    refused(body("libc::_exit(0)"), "`libc`");
    refused(body("assert!({ std::process::exit(0); true }); 1"), "`process`");
}

#[test]
fn tests_and_other_code_stay_what_they_are() {
    refused(body("1 } } #[test] fn it_adds() { } impl Layer { fn b() { "), "");
    refused(
        with(
            "    pub fn add(&self, a: u32, b: u32) -> u32 { 1 }\n    #[test]\n    fn it_adds() {}\n",
        ),
        "`test`",
    );
    refused(with("    pub fn add(&self, a: u32, b: u32) -> u64 { 1 }\n"), "head");
    refused(
        with("    #[cfg(any())]\n    pub fn add(&self, a: u32, b: u32) -> u32 { 1 }\n"),
        "head",
    );
    refused(with("    fn other() {}\n"), "is not there");
    refused(
        body("impl PartialEq for super::Layer { fn eq(&self, _: &Self) -> bool { true } } 1"),
        "trait",
    );
    refused(body("#[no_mangle] fn main() {} 1"), "no_mangle");
    refused(body("#[unsafe(link_section = \".init_array\")] static A: u8 = 1; 1"), "`unsafe`");
    refused(body("#[cfg(test)] fn a() {} 1"), "`cfg`");
    let twice = "    pub fn add(&self, a: u32, b: u32) -> u32 { 1 }\n";
    refused(with(&twice.repeat(2)), "two functions");
}

#[test]
fn a_link_or_a_pipe_is_not_read() {
    let place = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink("/etc/passwd", place.path().join("x.rs")).unwrap();
    refused(read(place.path(), "x.rs"), "leads out");
    std::os::unix::fs::symlink("/etc", place.path().join("src")).unwrap();
    refused(read(place.path(), "src/passwd"), "leads out");
    nix::unistd::mkfifo(&place.path().join("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    refused(read(place.path(), "pipe"), "no file");
    fs::write(place.path().join("long"), vec![b' '; 300 << 10]).unwrap();
    refused(read(place.path(), "long"), "no file");
    assert!(read(place.path(), "none").is_err());
}
