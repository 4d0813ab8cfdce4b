//! All attacks against all runtimes, as data for the book.

use std::fs;
use std::process::Command;

use serde_json::{Value, json};

use super::lab::{Outcome, Runtime, corten};
use super::{descriptors, labels, masks, mounts, rights};

/// CVE, what it is, the attack.
type Attack = (&'static str, &'static str, fn(Runtime) -> Outcome);

const ATTACKS: [Attack; 15] = [
    ("CVE-2019-5736", "overwrite the runtime's file", descriptors::overwrite_the_runtime),
    ("CVE-2019-16884", "a volume over /proc", mounts::volume_over_proc),
    ("CVE-2021-30465", "exchanged names: a mount outside", mounts::mount_outside),
    ("CVE-2022-0492", "write release_agent", rights::release_agent),
    ("CVE-2022-29162", "inheritable capabilities", rights::inheritable),
    ("CVE-2023-27561", "/proc is a link into a volume", mounts::proc_is_a_link),
    ("CVE-2023-27561", "/sys is a link into a volume", mounts::sys_is_a_link),
    ("CVE-2023-28642", "/proc is a link, and covered", labels::proc_is_covered),
    (
        "CVE-2024-21626",
        "working directory by descriptor",
        descriptors::working_directory_by_descriptor,
    ),
    ("CVE-2024-21626", "a leaked descriptor", descriptors::leaked_descriptor),
    ("CVE-2024-45310", "exchanged names: a directory outside", mounts::directory_outside),
    ("CVE-2025-31133", "/dev/null is a link", masks::null_is_a_link),
    ("CVE-2025-52565", "/dev/console is a link", masks::console_is_a_link),
    ("CVE-2025-52565", "exchanged names: the terminal", masks::terminal_is_exchanged),
    ("CVE-2025-52881", "writes to /proc go elsewhere", masks::parameter_is_redirected),
];

/// `CORTEN_ATTACKS_TABLE=chapters/04-runtime/attacks.json cargo test -p corten-runtime --test attacks
/// -- --ignored all_attacks` writes the table.
const VARIABLE: &str = "CORTEN_ATTACKS_TABLE";

#[corten_tier::t1]
fn all_attacks_against_all_runtimes() {
    let Some(file) = std::env::var_os(VARIABLE) else {
        println!("{VARIABLE} is not set: no table is written");
        return;
    };
    let runtimes = [("corten", Runtime::Corten), ("crun", Runtime::Crun), ("runc", Runtime::Runc)];
    let mut rows = Vec::new();
    for (cve, what, attack) in ATTACKS {
        let mut row = json!({ "cve": cve, "attack": what });
        for (name, runtime) in runtimes {
            row[name] = match attack(runtime) {
                Outcome::Succeeded => json!({ "succeeded": true }),
                Outcome::Stopped(said) => json!({ "succeeded": false, "said": plain(&said) }),
            };
            println!("{cve} {what}: {name}: {}", row[name]);
        }
        rows.push(row);
    }
    let table = json!({
        "name": "attacks",
        "rounds_of_a_race": {
            "corten": mounts::rounds(Runtime::Corten),
            "crun": mounts::rounds(Runtime::Crun),
            "runc": mounts::rounds(Runtime::Runc),
        },
        "kernel": fs::read_to_string("/proc/sys/kernel/osrelease").unwrap().trim(),
        "versions": {
            "corten": version(corten().to_str().unwrap()),
            "crun": version("crun"),
            "runc": version("runc"),
        },
        "attacks": rows,
    });
    fs::write(file, serde_json::to_string_pretty(&table).unwrap() + "\n").unwrap();
}

/// A message without what differs from run to run: runc's time, and the bundle's name.
fn plain(said: &str) -> String {
    let text = said.split_once("msg=\"").map_or(said, |(_, rest)| rest.trim_end_matches('"'));
    let mut parts = text.split("/tmp/corten-attack-");
    let mut plain = parts.next().unwrap_or_default().replace("\\", "");
    for part in parts {
        plain += "BUNDLE";
        plain += &part.trim_start_matches(char::is_alphanumeric).replace("\\", "");
    }
    plain
}

/// The first line, and the package's version where there is one.
fn version(program: &str) -> Value {
    let output = Command::new(program).arg("--version").output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let package = Command::new("dpkg-query").args(["-W", "-f", "${Version}", program]).output();
    let package = package.ok().filter(|output| output.status.success());
    let package = package.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    json!({ "program": text.lines().next(), "package": package })
}
