//! Power cuts while containers are made, end and are removed. What a command has said stays so after
//! the next boot, nothing is half there, and what shall always run runs again.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use crate::support::{self, Host};
use corten_vm::{Ended, Error, Job, Outcome, PowerCut, Vm, VmBuilder};
use serde_json::{Value, json};

/// As on a machine: one directory on the disk, one in memory.
const PLACES: &str = "export CORTEN_ROOT=/scratch/state CORTEN_STATE=/run/corten";

/// What is there after a boot, before anything is started again; then what runs after that; then
/// everything but `always` is removed, and what is left of it.
const LOOK: &str = "mkdir -p /scratch/state
    echo list; corten ps -a | tail -n +2
    echo restored; corten system restore >/dev/null; corten ps | tail -n +2
    ids=$(corten ps -a | tail -n +2 | grep -v ' always$' | cut -d' ' -f1)
    [ -z \"$ids\" ] || corten rm -f $ids >/dev/null
    echo removed; corten ps -a | tail -n +2
    echo files; ls /scratch/state/containers; ls /scratch/state/running | wc -l
    corten images -q";

/// One container that shall always run, and a row of short ones: made, waited for, removed when the
/// next has ended. Each command says when it is done.
const WORK: &str = "corten images -q | grep -q . || corten import -c 'CMD [\"sh\"]' - busybox </busybox.tar
    corten ps -a | grep -q ' always$' || corten run -d --name always --restart always busybox sleep 100000
    echo \"made always\"
    i=0; before=
    while :; do
        i=$((i+1)); name=life-$i
        corten run -d --name $name busybox sh -c 'echo out; exit 7' && echo \"made $name\"
        [ \"$(corten wait $name)\" = 7 ] && echo \"ended $name\"
        [ -z \"$before\" ] || { corten rm $before && echo \"gone $before\"; }
        before=$name
    done";

struct Scene {
    host: Host,
}

/// When the power goes: after so many milliseconds of work, or when a command has said a line.
#[derive(Debug, Clone, Copy)]
enum Moment {
    Milliseconds(u64),
    Said(&'static str),
}

impl Scene {
    fn new() -> Scene {
        let host = Host::new();
        fs::write(host.path("busybox.tar"), support::busybox_layer()).unwrap();
        Scene { host }
    }

    fn vm(&self) -> VmBuilder {
        let programs = PathBuf::from(env!("CARGO_BIN_EXE_corten"));
        Vm::builder()
            .unwrap()
            .binary(programs.with_file_name("corten-supervisor"))
            .unwrap()
            .binary(programs)
            .unwrap()
            .file(self.host.path("busybox.tar"), "/busybox.tar")
            .unwrap()
            .scratch_disk(self.host.path("disk"), 160)
            .unwrap()
            .limit(Duration::from_secs(300))
    }

    /// Looks at what the last life has left, works, and loses its power, unless it is the last one.
    /// Gives what was found, and what the commands have said.
    fn live(&self, cut: Option<Moment>) -> (String, String) {
        for _ in 0..3 {
            match self.boot(cut).run(&mut std::io::sink()) {
                // QEMU's emulation stands still now and then before the kernel has said a word, on a
                // busy machine. Nothing has touched the disk then.
                Err(Error::Died(outcome)) if outcome.console.is_empty() => {}
                outcome => return judge_end(&outcome.unwrap(), cut.is_some()),
            }
        }
        panic!("three VMs in a row have said nothing");
    }

    fn boot(&self, cut: Option<Moment>) -> VmBuilder {
        let vm = self.vm().job(Job::shell(&format!("{PLACES}\n{LOOK}")));
        let (wait, line) = match cut {
            None => return vm,
            Some(Moment::Milliseconds(wait)) => {
                (format!("usleep {wait}000; echo cut now"), "cut now")
            }
            Some(Moment::Said(line)) => (String::new(), line),
        };
        let work = format!("{PLACES}\n({WORK}) & {wait}\nsleep 100");
        vm.job(Job::shell(&work)).power_cut(PowerCut::AfterOutput(format!("{line}\n")))
    }

    /// Cuts the power so often; what was found after each.
    fn cut(&self, moments: &[Moment]) -> Vec<Value> {
        let (mut results, mut said) = (Vec::new(), String::new());
        for index in 0..=moments.len() {
            let (found, next) = self.live(moments.get(index).copied());
            if let Some(before) = index.checked_sub(1) {
                let mut result = judge(&found, &said);
                if let Moment::Milliseconds(wait) = moments[before] {
                    result["after_ms"] = json!(wait);
                }
                println!("{result}");
                results.push(result);
            }
            // What was made in an earlier life is there in all later ones.
            let always = said.contains("made always\n");
            said = next + if always { "made always\n" } else { "" };
        }
        results
    }
}

/// The output of both jobs of a VM that has ended as it should.
fn judge_end(outcome: &Outcome, is_cut: bool) -> (String, String) {
    let expected = if is_cut { Ended::PowerCut } else { Ended::PowerOff };
    assert_eq!(outcome.ended, expected, "{}", outcome.console);
    assert!(outcome.jobs[0].status.success(), "{}", outcome.jobs[0].text());
    let said = outcome.jobs.get(1).map(|job| job.text()).unwrap_or_default();
    (outcome.jobs[0].text(), said)
}

/// The lines after the one that says `title`, up to the next title.
fn part<'a>(found: &'a str, title: &str) -> Vec<&'a str> {
    const TITLES: [&str; 4] = ["list", "restored", "removed", "files"];
    let mut lines = found.lines().skip_while(|line| *line != title).skip(1);
    lines.by_ref().take_while(|line| !TITLES.contains(line)).collect()
}

/// Holds what was found after a cut against what had been said before it.
fn judge(found: &str, said: &str) -> Value {
    let context = || format!("found:\n{found}\nsaid:\n{said}");
    let name = |line: &&str| line.rsplit(' ').next().unwrap_or_default().to_owned();
    let list: BTreeMap<String, &str> =
        part(found, "list").iter().map(|line| (name(line), *line)).collect();
    assert_eq!(list.len(), part(found, "list").len(), "none is there twice: {}", context());
    let told = |what: &str| {
        let names = said.lines().filter_map(|line| line.strip_prefix(what)?.strip_prefix(' '));
        names.map(str::to_owned).collect::<Vec<String>>()
    };
    let (made, ended, gone) = (told("made"), told("ended"), told("gone"));
    // The one before the last may be on its way out.
    let newest = made.iter().rfind(|name| *name != "always");
    for name in newest.into_iter().chain(made.iter().filter(|name| *name == "always")) {
        assert!(list.contains_key(name), "{name} is lost: {}", context());
    }
    if let Some(last) = ended.last() {
        let line = list.get(last).copied().unwrap_or_default();
        assert!(line.contains("Exited (7)"), "{last}'s end is lost: {}", context());
    }
    let always = list.contains_key("always");
    let up = |line: &&str| line.ends_with(" always") && line.contains(" Up ");
    let restored = part(found, "restored").iter().any(up);
    assert_eq!(always, restored, "what shall always run runs: {}", context());
    assert_eq!(part(found, "removed").len(), usize::from(always), "{}", context());
    let files = part(found, "files");
    let left = files.iter().filter(|line| line.len() == 64).count();
    assert_eq!(left, usize::from(always), "no half container stays: {}", context());
    json!({"made": made.len(), "ended": ended.len(), "gone": gone.len(), "found": list.len(),
        "always_runs": restored})
}

#[corten_tier::boots_vm]
fn a_power_cut_loses_no_container_and_what_shall_always_run_runs() {
    // The second has ended, and the first is removed.
    let cut = Scene::new().cut(&[Moment::Said("gone life-1")]).remove(0);
    for (what, at_least) in [("made", 3), ("ended", 2), ("gone", 1)] {
        assert!(cut[what].as_u64() >= Some(at_least), "{what}: {cut}");
    }
}

mod soak {
    use super::*;

    #[test]
    #[ignore = "takes minutes: ./x soak outages"]
    fn power_cuts_at_random_moments() {
        let times = std::env::var("CORTEN_SOAK_CUTS").map_or(50, |n| n.parse().unwrap());
        let seed = std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64;
        let mut state = seed | 1;
        let moments: Vec<Moment> = (0..times)
            .map(|_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                Moment::Milliseconds(state % 12_000)
            })
            .collect();
        let each = Scene::new().cut(&moments);
        let count = |name: &str| each.iter().filter(|cut| cut[name] == true).count();
        let sum = |name: &str| each.iter().filter_map(|cut| cut[name].as_u64()).sum::<u64>();
        let document = json!({"cuts": times, "seed": seed, "consistent": each.len(),
            "made": sum("made"), "ended": sum("ended"), "removed": sum("gone"),
            "always_runs_again": count("always_runs"), "each": each});
        if let Some(path) = std::env::var_os("CORTEN_SOAK_RESULT") {
            fs::write(path, document.to_string()).unwrap();
        }
    }
}
