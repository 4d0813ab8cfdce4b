//! Containers that are started again.

use std::time::Duration;

use corten_supervisor::protocol::{Event, Operation};
use corten_supervisor::record::{Exit, Phase};
use corten_supervisor::settings::Restart;

use crate::lab::{Lab, slack, until};

/// The starts' times in ms since the first, as the container itself wrote them.
fn starts(lab: &Lab) -> Vec<u64> {
    // Of /proc/uptime, in hundredths of a second.
    let times: Vec<u64> = lab
        .log()
        .lines()
        .filter_map(|line| line.strip_prefix("up "))
        .map(|time| time.replace('.', "").parse::<u64>().unwrap() * 10)
        .collect();
    let first = times.first().copied().unwrap_or(0);
    times.iter().map(|time| time - first).collect()
}

const SAY_UPTIME: &str = "echo up $(cut -d' ' -f1 /proc/uptime)";

#[corten_tier::t1]
fn the_wait_for_a_restart_doubles() {
    let mut lab = Lab::new(&format!("{SAY_UPTIME}; exit 1"));
    lab.settings.restart = Restart::OnFailure { maximum: 4 };
    let mut client = lab.started();
    client.perform(Operation::Events).unwrap();
    let exit = lab.end_of(&mut client);
    assert_eq!((exit.status, exit.restarts), (1, 4));
    let mut waits = Vec::new();
    while let Some(event) = client.next_event().unwrap() {
        if let Event::Restarting { wait } = event {
            waits.push(wait);
        }
    }
    assert!([100, 200, 400, 800].ends_with(&waits), "{waits:?}");
    let starts = starts(&lab);
    assert_eq!(starts.len(), 5, "{starts:?}");
    let mut least = 0;
    for (pair, wait) in starts.windows(2).zip([100, 200, 400, 800]) {
        // uptime has hundredths.
        assert!(pair[1] - pair[0] + 20 >= wait, "{starts:?}");
        least += wait;
    }
    let all = starts[4];
    assert!(all < least + 4 * u64::try_from(slack().as_millis()).unwrap(), "{starts:?}");
    lab.nothing_left();
}

#[corten_tier::t1]
fn what_fails_no_more_is_left() {
    let mut lab = Lab::new("test -e /tmp/x && exit 0; touch /tmp/x; exit 1");
    lab.settings.restart = Restart::OnFailure { maximum: 0 };
    let exit = lab.end_of(&mut lab.started());
    assert_eq!((exit.status, exit.restarts), (0, 1));
    assert_eq!(lab.exit(), Some(exit));
}

#[corten_tier::t1]
fn always_is_also_after_success() {
    for policy in [Restart::Always, Restart::UnlessStopped] {
        let mut lab = Lab::new("echo up; exit 0");
        lab.settings.restart = policy;
        let mut client = lab.started();
        until("three starts", || lab.log().lines().count() >= 3);
        let exit: Exit = client.stop(None, None).unwrap();
        assert!(exit.stopped && exit.restarts >= 2, "{exit:?}");
        assert_eq!(lab.exit(), Some(exit));
        lab.nothing_left();
    }
}

#[corten_tier::t1]
fn a_container_that_waits_for_its_restart_can_be_stopped() {
    let mut lab = Lab::new("exit 3");
    lab.settings.restart = Restart::Always;
    let mut client = lab.started();
    until("the longer waits", || {
        let status = client.status().unwrap();
        status.phase == Phase::Restarting && status.restarts >= 4
    });
    let begun = std::time::Instant::now();
    let exit = client.stop(None, None).unwrap();
    assert!(begun.elapsed() < Duration::from_millis(400) + slack() / 4, "{:?}", begun.elapsed());
    assert_eq!((exit.status, exit.stopped), (3, true), "{exit:?}");
    assert_eq!(lab.exit(), Some(exit));
    lab.nothing_left();
}

/// Output may still come from a process that has the stream open: the container has ended, and
/// whoever stops it now means that it shall not begin again.
#[corten_tier::t1]
fn a_container_whose_output_still_comes_can_be_stopped() {
    let mut lab = Lab::new("setsid sleep 1000 & echo up; exit 3");
    lab.share_processes();
    lab.settings.restart = Restart::Always;
    let mut client = lab.started();
    lab.said("up");
    std::thread::sleep(Duration::from_millis(300));
    let exit = client.stop(None, None).unwrap();
    assert!(exit.stopped, "{exit:?}");
    assert_eq!(exit.restarts, 0);
    lab.nothing_left();
}

#[corten_tier::t1]
fn a_container_that_was_killed_by_somebody_stays_down() {
    let mut lab = Lab::new("echo up; sleep 1000");
    lab.settings.restart = Restart::Always;
    let mut client = lab.started();
    lab.said("up");
    client.perform(Operation::Signal { number: libc::SIGKILL, all: false }).unwrap();
    let exit = lab.end_of(&mut client);
    assert_eq!((exit.status, exit.stopped, exit.restarts), (137, true, 0));
}

#[corten_tier::t1]
fn a_policy_can_be_changed_while_it_runs() {
    let mut lab = Lab::new("echo up; sleep 0.3; exit 1");
    lab.settings.restart = Restart::Always;
    let mut client = lab.started();
    client.perform(Operation::Policy(Restart::No)).unwrap();
    let exit = lab.end_of(&mut client);
    assert_eq!((exit.status, exit.restarts), (1, 0));
}

#[corten_tier::t1]
fn the_next_end_is_told_although_it_begins_again() {
    let mut lab = Lab::new("sleep 0.2; exit 8");
    lab.settings.restart = Restart::Always;
    let mut client = lab.started();
    assert_eq!(client.wait(true).unwrap().restarts, 0);
    assert_eq!(client.wait(true).unwrap().restarts, 1);
    client.stop(None, None).unwrap();
}

/// Who is attached stays so over a restart.
#[corten_tier::t1]
fn clients_stay_attached_over_a_restart() {
    let mut lab = Lab::new("echo up; exit 1");
    lab.settings.restart = Restart::OnFailure { maximum: 2 };
    let (mut client, mut shim) = lab.shim();
    let streams = client.attach(crate::lab::output_streams()).unwrap();
    client.start().unwrap();
    assert_eq!(crate::lab::output(streams), "up\nup\nup\n");
    assert!(shim.wait().unwrap().success());
}

/// Everything that a container makes is made anew: nothing gathers.
#[corten_tier::t1]
fn restarts_leave_no_descriptor_behind() {
    let mut lab = Lab::new("echo up; exit 1");
    lab.settings.restart = Restart::Always;
    let mut client = lab.started();
    let count = |number: u32, client: &mut corten_supervisor::client::Client| {
        until("it waits", || {
            let status = client.status().unwrap();
            status.phase == Phase::Restarting && status.restarts >= number
        });
        crate::lab::proc::descriptors(lab.shim_pid()).len()
    };
    let first = count(1, &mut client);
    let later = count(4, &mut client);
    assert_eq!(first, later, "{:?}", crate::lab::proc::descriptors(lab.shim_pid()));
    client.stop(None, None).unwrap();
}

/// Who hears of the end may start it again at once: nothing of the last time is in the way.
#[corten_tier::t1]
fn a_name_is_free_when_its_end_is_told() {
    let lab = Lab::new("exit 4");
    for n in 0..10 {
        let (mut client, mut shim) = lab.shim();
        client.perform(Operation::Events).unwrap();
        client.start().unwrap_or_else(|error| panic!("{n}: {error}: {}", lab.errors()));
        loop {
            match client.next_event().unwrap() {
                Some(Event::Exit(exit)) => break assert_eq!(exit.status, 4),
                Some(_) => {}
                None => panic!("{n}: no end"),
            }
        }
        // It may still be busy with what is left.
        std::thread::spawn(move || shim.wait());
    }
    lab.nothing_left();
}
