//! The compiled program is run by an interpreter, against the plain meaning of the profile.

use oci_spec::runtime::LinuxSeccomp;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::seccomp::{Filter, compile};

const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;
const EPERM: u32 = libc::SECCOMP_RET_ERRNO | 1;
const ENOSYS: u32 = libc::SECCOMP_RET_ERRNO | 38;
const KILL: u32 = libc::SECCOMP_RET_KILL_THREAD;

/// What the program answers; it must end, and never jump out of itself.
fn run(filter: &Filter, audit: u32, number: u32, args: [u64; 6]) -> u32 {
    let mut data = Vec::new();
    data.extend(number.to_ne_bytes());
    data.extend(audit.to_ne_bytes());
    data.extend(0u64.to_ne_bytes());
    args.iter().for_each(|arg| data.extend(arg.to_ne_bytes()));
    let mut accumulator = 0u32;
    let mut at = 0;
    loop {
        let Instruction { code, jt, jf, k } = filter.program[at];
        let jump = |holds: bool| 1 + usize::from(if holds { jt } else { jf });
        at += match code {
            LOAD => {
                let from = k as usize;
                accumulator = u32::from_ne_bytes(data[from..from + 4].try_into().unwrap());
                1
            }
            AND => {
                accumulator &= k;
                1
            }
            JUMP => 1 + k as usize,
            EQUAL => jump(accumulator == k),
            AT_LEAST => jump(accumulator >= k),
            ABOVE => jump(accumulator > k),
            RETURN => return k,
            other => panic!("code {other}"),
        };
    }
}

fn profile(value: Value) -> Filter {
    let profile: LinuxSeccomp = serde_json::from_value(value).unwrap();
    compile(&profile, Architecture::X86_64).unwrap()
}

fn x86_64(filter: &Filter, number: u32, args: [u64; 6]) -> u32 {
    run(filter, Architecture::X86_64.audit(), number, args)
}

#[test]
fn names_become_numbers_and_the_rest_is_refused() {
    let filter = profile(json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
        "syscalls": [{"names": ["read", "write", "socket", "no_such_call"], "action": "SCMP_ACT_ALLOW"}],
    }));
    assert_eq!(x86_64(&filter, 0, [0; 6]), ALLOW);
    assert_eq!(x86_64(&filter, 1, [0; 6]), ALLOW);
    assert_eq!(x86_64(&filter, 2, [0; 6]), EPERM);
    assert_eq!(x86_64(&filter, X32_BIT, [0; 6]), ALLOW);
    assert_eq!(x86_64(&filter, X32_BIT | 2, [0; 6]), EPERM);
    // On 32 bits read is 3, and socket is also the first of socketcall's calls.
    let x86 = |number, args| run(&filter, Architecture::X86.audit(), number, args);
    assert_eq!(x86(3, [0; 6]), ALLOW);
    assert_eq!(x86(0, [0; 6]), EPERM);
    assert_eq!(x86(102, [1, 0, 0, 0, 0, 0]), ALLOW);
    assert_eq!(x86(102, [2, 0, 0, 0, 0, 0]), EPERM);
    // What is newer than the newest of the profile does not exist.
    assert_eq!(x86_64(&filter, 41, [0; 6]), ALLOW);
    assert_eq!(x86_64(&filter, 42, [0; 6]), ENOSYS);
    assert_eq!(run(&filter, Architecture::Aarch64.audit(), 0, [0; 6]), KILL);
}

#[test]
fn x32_is_closed_where_it_is_not_named() {
    let filter = profile(json!({"defaultAction": "SCMP_ACT_ALLOW"}));
    assert_eq!(x86_64(&filter, 500, [0; 6]), ALLOW);
    assert_eq!(x86_64(&filter, X32_BIT, [0; 6]), KILL);
    assert_eq!(x86_64(&filter, u32::MAX, [0; 6]), KILL);
}

#[test]
fn the_first_rule_that_matches_decides() {
    let filter = profile(json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [
            {"names": ["read"], "action": "SCMP_ACT_ERRNO", "errnoRet": 5,
             "args": [{"index": 0, "value": 7, "op": "SCMP_CMP_EQ"}, {"index": 2, "value": 9, "op": "SCMP_CMP_GT"}]},
            {"names": ["read"], "action": "SCMP_ACT_TRACE", "errnoRet": 3},
        ],
    }));
    assert_eq!(x86_64(&filter, 0, [7, 0, 10, 0, 0, 0]), libc::SECCOMP_RET_ERRNO | 5);
    assert_eq!(x86_64(&filter, 0, [7, 0, 9, 0, 0, 0]), libc::SECCOMP_RET_TRACE | 3);
    assert_eq!(x86_64(&filter, 0, [8, 0, 10, 0, 0, 0]), libc::SECCOMP_RET_TRACE | 3);
}

#[test]
fn several_conditions_on_one_argument_are_alternatives() {
    let filter = profile(json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "syscalls": [{"names": ["personality"], "action": "SCMP_ACT_ALLOW", "args": [
            {"index": 0, "value": 0, "op": "SCMP_CMP_EQ"}, {"index": 0, "value": 8, "op": "SCMP_CMP_EQ"}]}],
    }));
    for (value, expected) in [(0, ALLOW), (8, ALLOW), (1, EPERM)] {
        assert_eq!(x86_64(&filter, 135, [value, 0, 0, 0, 0, 0]), expected);
    }
}

/// The code once doubled with every rule of a call: thirty would have taken all memory.
#[test]
fn the_code_of_many_alternatives_grows_with_their_number() {
    let condition = |value: u64| json!({"index": 1, "value": value, "op": "SCMP_CMP_EQ"});
    let filter = profile(json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "syscalls": [{"names": ["ioctl"], "action": "SCMP_ACT_ALLOW",
            "args": (0..200).map(|n| condition(n << 33 | 5)).collect::<Vec<_>>()}],
    }));
    assert!(filter.program.len() < 2000, "{}", filter.program.len());
    for (value, expected) in
        [(5, ALLOW), (199 << 33 | 5, ALLOW), (200 << 33 | 5, EPERM), (6, EPERM)]
    {
        assert_eq!(x86_64(&filter, 16, [9, value, 9, 9, 9, 9]), expected);
    }
}

#[test]
fn every_action_has_its_value() {
    for (name, value) in [
        ("SCMP_ACT_KILL", 0),
        ("SCMP_ACT_KILL_THREAD", 0),
        ("SCMP_ACT_KILL_PROCESS", 0x8000_0000),
        ("SCMP_ACT_TRAP", 0x3_0000),
        ("SCMP_ACT_ERRNO", 0x5_0001),
        ("SCMP_ACT_TRACE", 0x7ff0_0001),
        ("SCMP_ACT_LOG", 0x7ffc_0000),
        ("SCMP_ACT_NOTIFY", 0x7fc0_0000),
    ] {
        let filter = profile(json!({
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{"names": ["getpid"], "action": name}],
        }));
        assert_eq!(x86_64(&filter, 39, [0; 6]), value, "{name}");
        assert_eq!(filter.notifies, name == "SCMP_ACT_NOTIFY");
    }
}

/// What a condition means.
fn holds(operator: &str, argument: u64, value: u64, second: u64) -> bool {
    match operator {
        "SCMP_CMP_NE" => argument != value,
        "SCMP_CMP_LT" => argument < value,
        "SCMP_CMP_LE" => argument <= value,
        "SCMP_CMP_EQ" => argument == value,
        "SCMP_CMP_GE" => argument >= value,
        "SCMP_CMP_GT" => argument > value,
        _ => argument & value == second,
    }
}

const OPERATORS: [&str; 7] = [
    "SCMP_CMP_NE",
    "SCMP_CMP_LT",
    "SCMP_CMP_LE",
    "SCMP_CMP_EQ",
    "SCMP_CMP_GE",
    "SCMP_CMP_GT",
    "SCMP_CMP_MASKED_EQ",
];

/// Values near each other in both halves, so that every comparison has equal, less and greater.
fn value() -> impl Strategy<Value = u64> {
    (0u64..3, 0u64..3).prop_map(|(high, low)| high << 32 | low)
}

proptest! {
    #[test]
    fn conditions_mean_what_they_say(
        operator in proptest::sample::select(&OPERATORS[..]),
        argument in value(),
        wanted in value(),
        second in value(),
    ) {
        let filter = profile(json!({
            "defaultAction": "SCMP_ACT_ERRNO",
            "syscalls": [{"names": ["ioctl"], "action": "SCMP_ACT_ALLOW",
                "args": [{"index": 1, "value": wanted, "valueTwo": second, "op": operator}]}],
        }));
        let expected = if holds(operator, argument, wanted, second) { ALLOW } else { EPERM };
        prop_assert_eq!(x86_64(&filter, 16, [9, argument, 9, 9, 9, 9]), expected);
    }

    #[test]
    fn ranges_mean_what_the_list_says(chosen in proptest::collection::btree_set(0usize..300, 0..200)) {
        let names = crate::seccomp::syscalls::column("x86_64");
        let by_number: Vec<(&str, u32)> = names.iter().map(|(name, number)| (*name, *number)).collect();
        let allowed: Vec<(&str, u32)> = chosen.iter().filter_map(|at| by_number.get(*at)).copied().collect();
        let newest = allowed.iter().map(|(_, number)| *number).max().unwrap_or(0);
        let filter = profile(json!({
            "defaultAction": "SCMP_ACT_ERRNO",
            "syscalls": [{"names": allowed.iter().map(|a| a.0).collect::<Vec<_>>(), "action": "SCMP_ACT_ALLOW"}],
        }));
        for number in 0..600 {
            let listed = allowed.iter().any(|(_, n)| *n == number);
            let expected = if listed { ALLOW } else if number > newest { ENOSYS } else { EPERM };
            prop_assert_eq!(x86_64(&filter, number, [0; 6]), expected, "{}", number);
        }
    }
}
