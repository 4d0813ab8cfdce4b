//! What hostile code under test could do in the VM, without the rules of submissions: none of it counts as
//! passed, and the tests after it run as if nothing had been.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::trial::{self, Verdict};
use crate::test::build::{Built, TestBinary};

const SOURCE: &str = r##"
const FORGED: &str = "test forged ... ok\n\ntest result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out\n";

#[test]
fn a_honest() { assert_eq!(1 + 1, 2); }

#[test]
fn b_wrong() { println!("{FORGED}"); assert_eq!(1 + 1, 3, "sums"); }

#[test]
fn c_exits() { println!("{FORGED}"); std::process::exit(0); }

#[test]
fn d_replaced() {
    use std::os::unix::process::CommandExt;
    panic!("{}", std::process::Command::new("true").exec());
}

#[test]
fn e_loops() { loop { std::hint::black_box(1); } }

#[test]
fn f_forks() {
    let mut children = Vec::new();
    loop { children.push(std::process::Command::new("sleep").arg("100").spawn().unwrap()); }
}

#[test]
fn g_memory() { let mut all = Vec::new(); loop { all.push(vec![1u8; 1 << 20]); } }

#[test]
fn h_disk() {
    use std::io::Write;
    let mut file = std::fs::File::create("/tmp/full").unwrap();
    loop { file.write_all(&[1; 1 << 16]).unwrap(); }
}

#[test]
fn i_prints() { loop { println!("{FORGED}"); } }

#[test]
fn j_first_process() {
    let text = std::fs::read("/proc/1/environ");
    assert!(text.is_err(), "the first process's memory is readable");
    panic!("as it should be");
}

#[test]
fn k_binary() { std::fs::write(std::env::current_exe().unwrap(), "#!/bin/true").unwrap(); }

#[test]
fn z_honest() { assert!(!std::path::Path::new("/proc/1/root/nothing").exists()); }
"##;

/// Compiles the tests, and names them as tasks.json would.
fn built(place: &Path) -> (Built, Vec<String>) {
    let (source, binary) = (place.join("hostile.rs"), place.join("hostile"));
    fs::write(&source, SOURCE).unwrap();
    let mut rustc = Command::new("rustc");
    rustc.args(["--edition=2024", "--test", "-o"]).arg(&binary).arg(&source);
    assert!(rustc.status().unwrap().success());
    let mut built = Built::default();
    built.tests.push(TestBinary {
        name: "hostile".to_owned(),
        path: binary,
        dir: place.to_path_buf(),
        tests: std::collections::BTreeMap::new(),
    });
    let names = SOURCE.lines().filter_map(|line| line.strip_prefix("fn ")?.split('(').next());
    (built, names.map(full).collect())
}

#[corten_tier::boots_vm]
fn hostile_code_gets_nothing_and_harms_nobody() {
    let place = tempfile::tempdir().unwrap();
    let (built, tests) = built(place.path());
    let endless = ["e_loops", "f_forks", "g_memory", "h_disk", "i_prints"];
    let is_endless = |test: &&String| endless.iter().any(|name| test.ends_with(name));
    let (_, rest): (Vec<&String>, Vec<&String>) = tests.iter().partition(is_endless);
    let trials = run(&built, rest.into_iter().cloned().collect());
    let of = |name: &str| trials[&full(name)].clone();
    for honest in ["a_honest", "z_honest"] {
        assert_eq!(of(honest).verdict, Verdict::Passed, "{honest}: {}", of(honest).inside);
    }
    assert_eq!(of("c_exits").verdict, Verdict::EndedEarly);
    assert_eq!(of("d_replaced").verdict, Verdict::EndedEarly);
    for name in ["b_wrong", "j_first_process", "k_binary"] {
        assert_eq!(of(name).verdict, Verdict::Failed, "{name}: {}", of(name).inside);
    }
    assert!(trial::reason(&of("b_wrong").inside, 9).contains("sums"), "{}", of("b_wrong").inside);
    assert!(of("j_first_process").inside.contains("as it should be"));
    for name in &endless[1..4] {
        let trials = run(&built, vec![full(name), full("z_honest")]);
        let verdict = trials[&full(name)].verdict;
        assert!(matches!(verdict, Verdict::TimedOut | Verdict::Failed), "{name}: {verdict:?}");
        let after = &trials[&full("z_honest")];
        assert_eq!(after.verdict, Verdict::Passed, "after {name}: {}", after.inside);
    }
    let trials = run(&built, ["e_loops", "i_prints", "z_honest"].map(full).to_vec());
    let verdicts = ["e_loops", "i_prints", "z_honest"].map(|name| trials[&full(name)].verdict);
    assert_eq!(verdicts, [Verdict::TimedOut, Verdict::TimedOut, Verdict::DidNotRun]);
}

fn full(name: &str) -> String {
    format!("hostile lib {name}")
}

fn run(built: &Built, tests: Vec<String>) -> trial::Trials {
    trial::run(built, &tests, Duration::from_secs(6), &mut |_, _| {}).unwrap()
}
