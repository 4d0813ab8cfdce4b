//! Exercise 4.1: print the plan of a bundle without carrying it out.
//!
//! `cargo run -p corten-runtime --example explain -- BUNDLE`
#![deny(unsafe_code)]

use std::path::Path;
use std::process::ExitCode;

use corten_runtime::create::{Create, Options};
use corten_runtime::{Bundle, Result};

// ANCHOR: explain
/// The names of the steps of a bundle's plan. `root` is where compiled filters are kept.
///
/// # Errors
/// Where the bundle asks for something that cannot be.
pub fn explain(bundle: &Path, root: &Path) -> Result<Vec<String>> {
    let bundle = Bundle::open(bundle)?;
    let options = Options { root: root.to_path_buf(), ..Options::default() };
    let plan = Create::new("explained".parse()?, &bundle, options)?;
    let name = |step: &corten_runtime::create::Step| {
        let text = format!("{step:?}");
        let end = text.find(|c: char| !c.is_alphanumeric()).unwrap_or(text.len());
        text.get(..end).unwrap_or_default().to_owned()
    };
    Ok(plan.steps.iter().map(name).collect())
}
// ANCHOR_END: explain

fn main() -> ExitCode {
    let Some(bundle) = std::env::args_os().nth(1) else {
        eprintln!("usage: explain BUNDLE");
        return ExitCode::FAILURE;
    };
    match explain(Path::new(&bundle), &std::env::temp_dir()) {
        Ok(steps) => {
            steps.iter().for_each(|step| println!("{step}"));
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("explain: {error}");
            ExitCode::FAILURE
        }
    }
}
