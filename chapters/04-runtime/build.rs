//! Links the program statically, so that it starts without the dynamic loader, which maps and
//! relocates libraries each time: a large part of all that `create` does.
//!
//! Whole builds can be static with `-C target-feature=+crt-static`, but not while they hold
//! procedural macros. So only the last link is: the linker is told `-static`, and where rustc names
//! shared libraries, it finds linker scripts that name the static ones.

use std::path::{Path, PathBuf};
use std::process::Command;

/// What rustc names, and what there is of it in the C library and the compiler's.
const LIBRARIES: [(&str, &[&str]); 7] = [
    ("gcc_s", &["libgcc_eh.a", "libgcc.a", "libc.a"]),
    ("c", &["libc.a", "libgcc_eh.a", "libgcc.a"]),
    ("m", &["libm.a"]),
    ("rt", &["librt.a"]),
    ("dl", &["libdl.a"]),
    ("pthread", &["libpthread.a"]),
    ("util", &["libutil.a"]),
];

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let is = |variable: &str, value: &str| std::env::var(variable).is_ok_and(|v| v == value);
    let native = std::env::var("HOST").is_ok_and(|host| is("TARGET", &host));
    if !native || !is("CARGO_CFG_TARGET_OS", "linux") || !is("CARGO_CFG_TARGET_ENV", "gnu") {
        return;
    }
    let out = std::env::var_os("OUT_DIR").map(PathBuf::from).unwrap_or_default();
    if LIBRARIES.iter().all(|(name, parts)| write_script(&out, name, parts).is_some()) {
        println!("cargo::rustc-link-search=native={}", out.display());
        println!("cargo::rustc-link-arg-bins=-static");
    }
}

/// `None` where the static library is not installed; the program is linked dynamically then.
fn write_script(out: &Path, name: &str, parts: &[&str]) -> Option<()> {
    let paths: Vec<String> = parts.iter().map(|part| find(part)).collect::<Option<_>>()?;
    let script = format!("GROUP ( {} )\n", paths.join(" "));
    std::fs::write(out.join(format!("lib{name}.a")), script).ok()
}

fn find(library: &str) -> Option<String> {
    let mut compiler = Command::new("cc");
    let output = compiler.arg(format!("-print-file-name={library}")).output().ok()?;
    let path = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    Path::new(&path).is_absolute().then_some(path)
}
