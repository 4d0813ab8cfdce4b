//! Every system call, for `./x soak`: results go to the file that `CORTEN_SOAK_RESULT` names.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::failures::{ERRORS, Verdict, inject};
use super::kills::kill;
use super::scene::{Scene, Verb};

fn write(result: &Value) {
    let path = std::env::var_os("CORTEN_SOAK_RESULT").expect("./x soak sets CORTEN_SOAK_RESULT");
    std::fs::write(path, format!("{result:#}\n")).unwrap();
}

#[test]
#[ignore = "takes minutes: ./x soak faults"]
fn faults() {
    corten_tier::enter_t1();
    let mut rows = Vec::new();
    let mut wrong = Vec::new();
    for verb in Verb::ALL {
        let calls = Scene::count(verb);
        for errno in ERRORS {
            let mut tally: BTreeMap<Verdict, u64> = BTreeMap::new();
            for n in 1..=calls {
                let (verdict, detail) = inject(&mut Scene::new(verb), n, errno);
                *tally.entry(verdict).or_default() += 1;
                if verdict == Verdict::Wrong {
                    println!("{detail}");
                    wrong.push(detail);
                }
            }
            let count = |verdict| tally.get(&verdict).copied().unwrap_or(0);
            rows.push(json!({
                "verb": verb.name(), "error": format!("{errno:?}"), "injected": calls,
                "refused": count(Verdict::Refused), "tolerated": count(Verdict::Tolerated),
                "aborted": count(Verdict::Aborted), "wrong": count(Verdict::Wrong),
            }));
            println!("{}", rows.last().unwrap());
        }
    }
    write(&json!({"rows": rows, "wrong": wrong}));
    assert!(wrong.is_empty(), "{} are wrong", wrong.len());
}

#[test]
#[ignore = "takes minutes: ./x soak kills"]
fn kills() {
    corten_tier::enter_t1();
    let mut rows = Vec::new();
    let mut wrong = Vec::new();
    for verb in Verb::ALL {
        let calls = Scene::count(verb);
        let before = wrong.len();
        for n in 1..=calls {
            wrong.extend(kill(&mut Scene::new(verb), n));
        }
        let bad = wrong.len() - before;
        rows.push(json!({"verb": verb.name(), "killed": calls, "wrong": bad}));
        println!("{}", rows.last().unwrap());
    }
    println!("{}", wrong.join("\n"));
    write(&json!({"rows": rows, "wrong": wrong}));
    assert!(wrong.is_empty(), "{} are wrong", wrong.len());
}
