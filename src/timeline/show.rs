//! A recording for people, as lines of text.

use std::fmt::Write;

use super::{Process, Role, Step, Timeline};

/// One line for each step: when, how long, who, what it means, and the call itself.
pub fn text(timeline: &Timeline) -> String {
    let mut text = String::new();
    let took = timeline.processes.iter().filter_map(|process| process.until).max().unwrap_or(0);
    // Writing to a String cannot fail.
    let _ = writeln!(
        text,
        "what happened: {} steps by {} processes, of {} system calls, in {} (traced: slower than otherwise)",
        timeline.steps.len(),
        timeline.processes.len(),
        timeline.calls,
        milliseconds(took),
    );
    let _ = writeln!(text, "{:>9} {:>8}  {:<10} ch  step", "ms", "took", "who");
    for (step, repeated) in runs(&timeline.steps) {
        let who = timeline.process(step.pid).map_or("", word);
        let more =
            if repeated > 1 { format!(" (and {} more)", repeated - 1) } else { String::new() };
        let failed = if step.result.starts_with('E') {
            format!(" = {}", step.result)
        } else {
            String::new()
        };
        let arguments = short(&step.arguments);
        let _ = writeln!(
            text,
            "{:>9} {:>8}  {who:<10} {:>2}  {}{more}: {}({arguments}){failed}",
            milliseconds(step.at),
            milliseconds(step.took),
            step.chapter,
            short(&step.says),
            step.call,
        );
    }
    text
}

/// Ids in their short form, and not endless.
fn short(text: &str) -> String {
    let parts = text.split('/').map(|part| {
        let (head, tail) = part.split_at_checked(64).unwrap_or((part, ""));
        let is_id = head.len() == 64 && head.bytes().all(|byte| byte.is_ascii_hexdigit());
        if is_id {
            format!("{}…{tail}", head.get(..12).unwrap_or_default())
        } else {
            part.to_owned()
        }
    });
    let text = parts.collect::<Vec<_>>().join("/");
    match text.char_indices().nth(160) {
        Some((at, _)) => format!("{}…", text.get(..at).unwrap_or_default()),
        None => text,
    }
}

fn milliseconds(micros: u64) -> String {
    format!("{}.{:03}", micros / 1000, micros % 1000)
}

fn word(process: &Process) -> &'static str {
    match process.role {
        Role::Engine => "engine",
        Role::Supervisor => "supervisor",
        Role::Container => "container",
        Role::Helper => "helper",
    }
}

/// Steps that mean the same and follow one another are one, with their number.
fn runs(steps: &[Step]) -> Vec<(&Step, usize)> {
    let mut runs: Vec<(&Step, usize)> = Vec::new();
    for step in steps {
        match runs.last_mut() {
            Some((last, count))
                if (last.pid, &last.says, &last.call) == (step.pid, &step.says, &step.call)
                    && last.result.starts_with('E') == step.result.starts_with('E') =>
            {
                *count += 1;
            }
            _ => runs.push((step, 1)),
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::super::{Event, Kind};
    use super::*;

    fn step(at: u64, call: &str, says: &str) -> Step {
        Step {
            at,
            took: 12,
            pid: 7,
            call: call.to_owned(),
            arguments: "/</script><b>".to_owned(),
            result: "0".to_owned(),
            says: says.to_owned(),
            chapter: 2,
            events: vec![Event::made(Kind::Cgroup, "/sys/fs/cgroup/x")],
        }
    }

    fn timeline() -> Timeline {
        let process = Process { pid: 7, parent: 0, role: Role::Engine, from: 0, until: Some(2500) };
        Timeline {
            processes: vec![process],
            steps: vec![
                step(1, "mkdirat", "a control group"),
                step(1500, "mkdirat", "a control group"),
            ],
            calls: 9,
            ..Timeline::default()
        }
    }

    #[test]
    fn the_same_step_is_told_once() {
        let text = text(&timeline());
        assert!(
            text.starts_with("what happened: 2 steps by 1 processes, of 9 system calls, in 2.500"),
            "{text}"
        );
        assert_eq!(text.lines().count(), 3, "{text}");
        assert!(
            text.contains("0.001    0.012  engine      2  a control group (and 1 more): mkdirat("),
            "{text}"
        );
    }

    #[test]
    fn ids_are_short() {
        let id = "0123456789abcdef".repeat(4);
        assert_eq!(
            short(&format!("/a/{id}/b, /{id}.json")),
            "/a/0123456789ab…/b, /0123456789ab….json"
        );
        assert_eq!(short(&"x".repeat(200)).chars().count(), 161);
    }

    #[test]
    fn a_recording_is_read_back() {
        let text = serde_json::to_string(&timeline()).unwrap();
        assert_eq!(serde_json::from_str::<Timeline>(&text).unwrap(), timeline());
    }
}
