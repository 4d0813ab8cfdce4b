//! The solutions of the exercises of chapter 4, each put to the test.
// clippy.toml allows it in functions with #[test], not in those that they call.
#![allow(clippy::unwrap_used)]

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::mpsc;
use std::time::Duration;

use corten_runtime::seccomp::{Architecture, compile};
use corten_runtime::sys::seccomp::Instruction;
use serde_json::json;

#[path = "../examples/decide.rs"]
#[allow(dead_code)]
mod decide;
#[path = "../examples/explain.rs"]
#[allow(dead_code)]
mod explain;
#[path = "../examples/hang.rs"]
#[allow(dead_code)]
mod hang;
mod rig;
#[path = "../examples/supervise.rs"]
#[allow(dead_code)]
mod supervise;

use rig::Container;

/// The runtime as who calls it without `--root` finds it, with `container`'s state directory for the
/// one that is the machine's.
fn runtime_of(container: &Container) -> PathBuf {
    let [draft, program] = ["draft", "runtime"].map(|name| container.outside().join(name));
    let (runtime, root) = (rig::runtime(), container.root());
    let text =
        format!("#!/bin/sh\nexec '{}' --root '{}' \"$@\"\n", runtime.display(), root.display());
    std::fs::write(&draft, text).unwrap();
    std::fs::set_permissions(&draft, std::fs::Permissions::from_mode(0o755)).unwrap();
    corten_tier::copy_program(draft, &program);
    program
}

fn bundle(script: &str) -> (Container, PathBuf) {
    let container = Container::script(script);
    container.write();
    let bundle = container.bundle();
    (container, bundle)
}

#[corten_tier::t1]
fn exercise_1_the_filter_is_the_last_step_but_one() {
    let (mut container, bundle) = bundle("true");
    container.set("/linux/seccomp", json!({"defaultAction": "SCMP_ACT_ALLOW"}));
    for protected in [false, true] {
        container.set("/process/noNewPrivileges", protected);
        container.write();
        let steps = explain::explain(&bundle, &container.root()).unwrap();
        assert!(steps.ends_with(&["Seccomp".into(), "Execute".into()]), "{steps:?}");
        assert_eq!(steps.contains(&"NoNewPrivileges".to_owned()), protected);
        let at = |name: &str| steps.iter().position(|step| step == name).unwrap();
        assert!(at("SwitchRoot") < at("Credentials") && at("Credentials") < at("AwaitStart"));
    }
    assert_eq!(container.call(&["list", "-q"]).ok().stdout, "", "something was changed");
}

const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;
const EPERM: u32 = libc::SECCOMP_RET_ERRNO | libc::EPERM as u32;

#[test]
fn exercise_2_a_filter_can_be_asked() {
    let clone = json!({"names": ["clone"], "action": "SCMP_ACT_ALLOW",
        "args": [{"index": 0, "op": "SCMP_CMP_MASKED_EQ", "value": 0x1000_0000, "valueTwo": 0}]});
    let profile = json!({"defaultAction": "SCMP_ACT_ERRNO", "architectures": ["SCMP_ARCH_X86"],
        "syscalls": [{"names": ["read", "seccomp"], "action": "SCMP_ACT_ALLOW"}, clone]});
    let profile = serde_json::from_value(profile).unwrap();
    let filter = compile(&profile, Architecture::X86_64).unwrap().program;
    let ask = |audit, number, first| {
        decide::decide(&filter, audit, number, [first, 0, 0, 0, 0, 0]).unwrap()
    };
    let (wide, narrow) = (Architecture::X86_64.audit(), Architecture::X86.audit());
    assert_eq!(ask(wide, 0, 0), ALLOW);
    assert_eq!(ask(narrow, 0, 0), EPERM, "0 is restart_syscall there");
    assert_eq!(ask(narrow, 3, 0), ALLOW);
    assert_eq!(ask(wide, 165, 0), EPERM, "mount");
    // clone, without and with CLONE_NEWUSER.
    assert_eq!((ask(wide, 56, 17), ask(wide, 56, 17 | 0x1000_0000)), (ALLOW, EPERM));
    assert_eq!(ask(Architecture::Aarch64.audit(), 0, 0), libc::SECCOMP_RET_KILL_THREAD);
}

#[test]
fn exercise_2_a_program_that_leads_nowhere_is_told() {
    let one = |code, k| [Instruction { code, jt: 0, jf: 0, k }];
    for program in [&one(0x20, 0), &one(0x20, 64), &one(0x05, 7), &one(0xff, 0)] {
        assert_eq!(decide::decide(program, 0, 0, [0; 6]), None);
    }
    assert_eq!(decide::decide(&one(0x06, 9), 0, 0, [0; 6]), Some(9));
}

#[corten_tier::t1]
fn exercise_3_the_exit_status_comes_through() {
    let (container, bundle) = bundle("exit 7");
    let runtime = runtime_of(&container);
    assert_eq!(supervise::supervise(&runtime, &bundle, &container.id).unwrap(), 7);
    assert_eq!(container.call(&["list", "-q"]).ok().stdout, "", "a container is left");
}

#[corten_tier::t1]
fn exercise_3_a_signal_is_an_exit_status_too() {
    let (mut container, bundle) = bundle("kill -9 $$");
    container.share("pid").write();
    let runtime = runtime_of(&container);
    assert_eq!(supervise::supervise(&runtime, &bundle, &container.id).unwrap(), 128 + 9);
}

#[corten_tier::t1]
fn exercise_4_the_broken_call_hangs_and_the_mended_one_does_not() {
    type Call = fn(&std::path::Path, &std::path::Path, &str) -> std::io::Result<()>;
    let returns = |call: Call| {
        let (container, bundle) = bundle("true");
        let (tell, hear) = mpsc::channel();
        let (id, runtime) = (container.id.clone(), runtime_of(&container));
        let caller = std::thread::spawn(move || {
            let result = call(&runtime, &bundle, &id);
            let _ = tell.send(());
            result
        });
        let returned = hear.recv_timeout(Duration::from_secs(3)).is_ok();
        container.call(&["delete", "--force", &container.id]).ok();
        caller.join().unwrap().unwrap();
        returned
    };
    assert!(!returns(hang::broken));
    assert!(returns(hang::mended));
    let (container, bundle) = bundle("true");
    std::fs::write(bundle.join("config.json"), "{}").unwrap();
    let said = hang::mended(&runtime_of(&container), &bundle, "never").unwrap_err().to_string();
    assert!(said.contains("ociVersion"), "{said}");
}
