//! Health checks.

use std::time::Duration;

use corten_supervisor::client::Client;
use corten_supervisor::health::State;
use corten_supervisor::protocol::{Event, Operation};
use corten_supervisor::record::Phase;
use corten_supervisor::settings::Health;

use crate::lab::{Lab, proc, until};

fn lab(script: &str, probe: &str) -> Lab {
    let mut lab = Lab::new(script);
    lab.settings.health = Some(Health {
        command: ["sh", "-c", probe].map(str::to_owned).to_vec(),
        interval: Duration::from_millis(100),
        timeout: Duration::from_secs(20),
        start_period: Duration::ZERO,
        start_interval: Duration::from_millis(50),
        retries: 2,
    });
    lab
}

fn health(lab: &mut Lab) -> &mut Health {
    lab.settings.health.as_mut().unwrap()
}

#[track_caller]
fn becomes(client: &mut Client, state: State) {
    until(&format!("{state:?}"), || client.status().unwrap().health.unwrap().state == state);
}

#[corten_tier::t1]
fn health_follows_the_probe() {
    let lab = lab("sleep 1000", "echo said; test -e /tmp/well");
    let mut client = lab.started();
    let mut watcher = lab.client();
    watcher.perform(Operation::Events).unwrap();
    assert_eq!(client.status().unwrap().health.unwrap().state, State::Starting);
    becomes(&mut client, State::Unhealthy);
    std::fs::write(lab.rootfs().join("tmp/well"), "").unwrap();
    becomes(&mut client, State::Healthy);
    std::fs::remove_file(lab.rootfs().join("tmp/well")).unwrap();
    becomes(&mut client, State::Unhealthy);
    let report = client.status().unwrap().health.unwrap();
    assert!(report.failing >= 2 && report.probes.len() == 5, "{report:?}");
    let last = report.probes.back().unwrap();
    assert_eq!((last.status, last.output.as_str()), (1, "said\n"));
    assert!(last.end >= last.start);
    client.stop(Some(libc::SIGKILL), None).unwrap();
    let mut changes = Vec::new();
    while let Some(event) = watcher.next_event().unwrap() {
        if let Event::Health(state) = event {
            changes.push(state);
        }
    }
    assert_eq!(changes, [State::Unhealthy, State::Healthy, State::Unhealthy]);
    lab.nothing_left();
}

#[corten_tier::t1]
fn failures_in_the_start_period_do_not_count() {
    let mut lab = lab("sleep 1000", "echo x >> /tmp/probes; test -e /tmp/well");
    health(&mut lab).start_period = Duration::from_secs(600);
    let mut client = lab.started();
    let probes = || std::fs::read_to_string(lab.rootfs().join("tmp/probes")).unwrap_or_default();
    until("five probes", || probes().lines().count() >= 5);
    let report = client.status().unwrap().health.unwrap();
    assert_eq!((report.state, report.failing), (State::Starting, 0));
    std::fs::write(lab.rootfs().join("tmp/well"), "").unwrap();
    becomes(&mut client, State::Healthy);
    // Over for good.
    std::fs::remove_file(lab.rootfs().join("tmp/well")).unwrap();
    becomes(&mut client, State::Unhealthy);
}

/// With all that it has started.
#[corten_tier::t1]
fn a_probe_that_takes_too_long_is_killed() {
    let mut lab = lab("sleep 1000", "sleep 777 & sleep 778; true");
    health(&mut lab).timeout = Duration::from_millis(300);
    let mut client = lab.started();
    becomes(&mut client, State::Unhealthy);
    let report = client.status().unwrap().health.unwrap();
    let last = report.probes.back().unwrap();
    assert_eq!(last.status, -1);
    assert!(last.output.contains("exceeded timeout (0.3s)"), "{last:?}");
    let sleepers = || {
        let all = proc::all().into_iter();
        let ours = all.filter(|pid| proc::read(*pid, "cgroup").contains(&format!("/{}", lab.id())));
        ours.filter(|pid| proc::read(*pid, "cmdline").starts_with("sleep 77")).count()
    };
    assert!(sleepers() <= 2, "{}", sleepers());
}

#[corten_tier::t1]
fn the_output_of_a_probe_is_cut() {
    let lab = lab("sleep 1000", "yes | head -c 100000");
    let mut client = lab.started();
    becomes(&mut client, State::Healthy);
    let report = client.status().unwrap().health.unwrap();
    let output = &report.probes.back().unwrap().output;
    assert_eq!(output.len(), 4096 + 3);
    assert!(output.ends_with("..."), "as Docker marks it");
}

#[corten_tier::t1]
fn a_paused_container_is_not_probed() {
    let lab = lab("sleep 1000", "echo x >> /tmp/probes");
    let mut client = lab.started();
    becomes(&mut client, State::Healthy);
    client.perform(Operation::Pause).unwrap();
    std::thread::sleep(Duration::from_millis(100));
    let probes = || std::fs::read(lab.rootfs().join("tmp/probes")).unwrap().len();
    let before = probes();
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(probes(), before);
    assert_eq!(client.status().unwrap().health.unwrap().state, State::Healthy);
    client.perform(Operation::Resume).unwrap();
    until("it is probed again", || probes() > before);
}

/// A probe that is killed with the container says nothing about it, and no other comes.
#[corten_tier::t1]
fn no_probe_outlives_its_container() {
    let mut lab = lab("setsid sleep 1000 & sleep 0.5; exit 3", "sleep 1000");
    lab.share_processes();
    health(&mut lab).retries = 1;
    let mut client = lab.started();
    let mut watcher = lab.client();
    watcher.perform(Operation::Events).unwrap();
    assert_eq!(lab.end_of(&mut client).status, 3);
    let mut health = Vec::new();
    while let Some(event) = watcher.next_event().unwrap() {
        if let Event::Health(state) = event {
            health.push(state);
        }
    }
    assert_eq!(health, []);
    lab.nothing_left();
}

#[corten_tier::t1]
fn a_probe_that_cannot_run_is_a_failure() {
    let mut lab = lab("sleep 1000", "");
    health(&mut lab).command = vec!["/none".into()];
    let mut client = lab.started();
    becomes(&mut client, State::Unhealthy);
    let report = client.status().unwrap().health.unwrap();
    let last = report.probes.back().unwrap();
    assert!(last.status == -1 && last.output.contains("/none"), "{last:?}");
    assert_eq!(client.status().unwrap().phase, Phase::Running);
}
