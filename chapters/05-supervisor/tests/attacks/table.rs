//! All attacks against our supervisor and against those without a defence, as data for the book.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::{Outcome, clients, containers, lab};

/// CVE, what it is, the patch of `mutants/` that lets it succeed, the attack.
type Attack = (Option<&'static str>, &'static str, &'static str, fn(&Path) -> Outcome);

const ATTACKS: [Attack; 5] = [
    (
        Some("CVE-2020-15257"),
        "command another container over an abstract socket",
        "04-abstract-socket",
        containers::abstract_socket,
    ),
    (
        Some("CVE-2019-5736"),
        "write to the supervisor's own file",
        "09-own-file-unprotected",
        containers::own_file,
    ),
    (None, "kill a container as another user", "05-no-look-at-the-peer", clients::another_user),
    (None, "attach and read nothing", "03-slow-client-is-waited-for", clients::deaf),
    (None, "send descriptors", "10-no-room-for-descriptors", clients::descriptors),
];

/// Where the table goes, and the directory of the programs without a defence, each named like its
/// patch. `./x soak attacks` builds them and sets both.
const VARIABLES: [&str; 2] = ["CORTEN_ATTACKS_TABLE", "CORTEN_ATTACKS_WEAK"];

#[corten_tier::t1]
fn all_attacks_with_and_without_each_defence() {
    let [Some(file), Some(weak)] = VARIABLES.map(std::env::var_os) else {
        println!("{VARIABLES:?} are not set: no table is written");
        return;
    };
    let mut rows = Vec::new();
    let mut wrong = Vec::new();
    for (cve, what, patch, attack) in ATTACKS {
        let (ours, without) =
            (attack(&lab::supervisor()), attack(&PathBuf::from(&weak).join(patch)));
        println!("{what}: {ours:?}, without its defence {without:?}");
        if matches!(ours, Outcome::Succeeded) || without != Outcome::Succeeded {
            wrong.push(what);
        }
        rows.push(json!({
            "cve": cve, "attack": what, "corten": outcome(&ours),
            "patch": patch, "without": outcome(&without),
        }));
    }
    let table = json!({
        "name": "attacks",
        "kernel": fs::read_to_string("/proc/sys/kernel/osrelease").unwrap().trim(),
        "version": env!("CARGO_PKG_VERSION"),
        "attacks": rows,
    });
    fs::write(file, serde_json::to_string_pretty(&table).unwrap() + "\n").unwrap();
    assert!(wrong.is_empty(), "{wrong:?}");
}

fn outcome(outcome: &Outcome) -> Value {
    match outcome {
        Outcome::Succeeded => json!({ "succeeded": true }),
        Outcome::Stopped(said) => json!({ "succeeded": false, "said": said }),
    }
}
