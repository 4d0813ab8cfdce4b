//! The engine is killed at random moments while it creates, connects, starts, enters, stops and
//! removes containers. No container is lost or there twice, no exit status and no line of a log is
//! lost, and nothing is left.

use std::process::Stdio;
use std::time::Duration;

use crate::support::{self, Host};

/// What the container writes, and how it ends.
const LINES: usize = 40;
const STATUS: &str = "7";

/// So often a command is killed before it is let go on.
const TRIES: u64 = 3;

/// Random numbers enough for this (xorshift), with a seed that a failure can tell.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

/// A command that starts a container takes about so long, in microseconds.
fn longest_command() -> u64 {
    if is_emulated() { 600_000 } else { 60_000 }
}

fn is_emulated() -> bool {
    std::env::var_os(corten_tier::IN_VM).is_some()
}

struct Killer<'a> {
    host: &'a Host,
    dice: Dice,
    kills: u32,
}

impl Killer<'_> {
    /// Runs a command and kills it at a random moment, unless it ends before.
    fn interrupted(&mut self, args: &[&str]) {
        let mut command = self.host.command(args);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_micros(self.dice.below(longest_command())));
        child.kill().unwrap();
        self.kills += u32::from(child.wait().unwrap().code().is_none());
    }

    fn exists(&self, name: &str) -> bool {
        let list = self.host.corten(&["ps", "-a"]).ok();
        let found = list.lines().filter(|line| line.ends_with(name)).count();
        assert!(found <= 1, "twice:\n{list}");
        found == 1
    }

    /// One container's whole life.
    fn round(&mut self, number: usize) {
        let name = format!("round-{number}");
        let stays = number.is_multiple_of(2);
        let mut script = format!(
            "trap 'exit {STATUS}' TERM; i=1; while [ $i -le {LINES} ]; do echo line $i; \
             i=$((i+1)); done; "
        );
        script += if stays { "while :; do sleep 0.02; done" } else { "exit 7" };
        // Every other one has a port of the host's, too.
        let port = format!("{}:80", 20_000 + number);
        let network: &[&str] = if stays { &["--network", "app"] } else { &["-p", &port] };
        let program = ["busybox", "sh", "-c", &script];
        let run = [&["run", "-d", "--name", &name], network, &program].concat();
        for _ in 0..self.dice.below(TRIES) {
            if !self.exists(&name) {
                self.interrupted(&run);
            }
        }
        if !self.exists(&name) {
            self.host.corten(&run).ok();
        }
        for _ in 0..self.dice.below(TRIES) {
            self.interrupted(&["start", &name]);
        }
        if self
            .host
            .corten(&["ps", "-a"])
            .ok()
            .lines()
            .any(|l| l.ends_with(&name) && l.contains("Created"))
        {
            self.host.corten(&["start", &name]).ok();
        }
        self.interrupted(&["exec", &name, "true"]);
        support::eventually("all is written", || {
            (self.host.corten(&["logs", &name]).ok().lines().count() >= LINES).then_some(())
        });
        self.travel(&name);
        if stays {
            for _ in 0..self.dice.below(TRIES) {
                self.interrupted(&["stop", &name]);
            }
            self.host.corten(&["stop", &name]).ok();
        }
        self.check(&name);
        for _ in 0..self.dice.below(TRIES) {
            self.interrupted(&["rm", &name]);
        }
        if self.exists(&name) {
            self.host.corten(&["rm", &name]).ok();
        }
    }

    /// Onto another network, and off it.
    fn travel(&mut self, name: &str) {
        for (act, has) in [("connect", true), ("disconnect", false)] {
            for _ in 0..self.dice.below(TRIES) {
                self.interrupted(&["network", act, "other", name]);
            }
            // The last one killed may have done it.
            let said = self.host.corten(&["network", act, "other", name]);
            let done = ["already exists in network", "is not connected to network"];
            assert!(
                said.status == 0 || done.iter().any(|done| said.err.contains(done)),
                "{said:?}"
            );
            let seen = self.host.corten(&["inspect", name]).ok();
            let seen: serde_json::Value = serde_json::from_str(&seen).unwrap();
            let other = &seen[0]["NetworkSettings"]["Networks"]["other"];
            assert_eq!(other.is_object(), has, "{name} {act}: {seen}");
            if has && seen[0]["State"]["Running"] == true {
                assert_ne!(other["IPAddress"], "", "{name} {act}: {seen}");
            }
        }
    }

    fn check(&self, name: &str) {
        assert_eq!(self.host.corten(&["wait", name]).ok().trim(), STATUS, "{name}");
        let list = self.host.corten(&["ps", "-a"]).ok();
        let line = list.lines().find(|line| line.ends_with(name)).unwrap();
        assert!(line.contains("Exited (7)"), "{line}");
        // It may have been started more than once by those who were killed, never half.
        let logged = self.host.corten(&["logs", name]).ok();
        let lines: Vec<&str> = logged.lines().collect();
        let expected: Vec<String> = (1..=LINES).map(|number| format!("line {number}")).collect();
        for run in lines.chunks(LINES) {
            assert_eq!(run, expected, "{name}");
        }
    }
}

fn kill(rounds: usize, seed: u64) -> u32 {
    let host = Host::with_busybox();
    host.corten(&["network", "create", "app"]).ok();
    host.corten(&["network", "create", "other"]).ok();
    let mut killer = Killer { host: &host, dice: Dice(seed | 1), kills: 0 };
    for number in 0..rounds {
        killer.round(number);
    }
    let kills = killer.kills;
    host.assert_no_trace();
    host.corten(&["network", "rm", "app", "other"]).ok();
    kills
}

#[corten_tier::t1]
fn an_engine_killed_at_any_moment_loses_nothing() {
    let kills = kill(if is_emulated() { 2 } else { 4 }, 0x00c0_47e2);
    assert!(kills > 0, "nothing was killed");
}

mod soak {
    use std::path::PathBuf;

    use corten_vm::{Job, Vm};

    use super::*;

    const KILLS: u32 = 500;

    /// In a VM: what an hour of kills does to a machine is seen there, and done to no other.
    #[test]
    #[ignore = "takes an hour: ./x soak engine"]
    fn in_a_vm() {
        let engine = PathBuf::from(env!("CARGO_BIN_EXE_corten"));
        let own = std::env::current_exe().unwrap();
        let kills = "--exact kills::soak::here --ignored --nocapture --test-threads=1";
        let line = format!(
            "CORTEN_SOAK_RESULT=/tmp/result {} {kills} && echo && cat /tmp/result",
            own.display()
        );
        let limit = Duration::from_secs(3 * 3600);
        let outcome = Vm::builder()
            .unwrap()
            .memory_mib(2048)
            .usual_tools()
            .unwrap()
            .binary(engine.with_file_name("corten-supervisor"))
            .unwrap()
            .binary(engine)
            .unwrap()
            .binary(own)
            .unwrap()
            .job(Job::shell(&line).limit(limit))
            .limit(limit)
            .run(&mut std::io::stdout())
            .unwrap();
        let job = &outcome.jobs[0];
        assert!(job.status.success(), "{:?}", job.status);
        if let Some(path) = std::env::var_os("CORTEN_SOAK_RESULT") {
            std::fs::write(path, job.text().lines().last().unwrap()).unwrap();
        }
    }

    /// The full form: five hundred kills.
    #[test]
    #[ignore = "takes minutes, and the machine on which it runs"]
    fn here() {
        corten_tier::enter_t1();
        let seed = std::env::var("CORTEN_SOAK_SEED").map_or(0x5eed, |n| n.parse().unwrap());
        let (mut kills, mut rounds) = (0, 0);
        while kills < KILLS {
            kills += kill(10, seed + u64::from(kills));
            rounds += 10;
            println!("{kills} kills in the lives of {rounds} containers");
        }
        if let Some(path) = std::env::var_os("CORTEN_SOAK_RESULT") {
            let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
            let document = serde_json::json!({
                "soak": "engine", "seed": seed, "kills": kills, "containers": rounds, "wrong": 0,
                "in_vm": is_emulated(), "vm_kernel": kernel.trim(),
            });
            std::fs::write(path, document.to_string()).unwrap();
        }
    }
}
