//! Figures for people.

use std::fmt::Write;
use std::time::Duration;

use corten_cgroups::{Max, Stats};

/// `12.3M`.
pub fn size(bytes: u64) -> String {
    let mut value = bytes as f64;
    for unit in ["B", "K", "M", "G"] {
        if value < 1024.0 {
            let digits = usize::from(unit != "B" && value < 100.0);
            return format!("{value:.digits$}{unit}");
        }
        value /= 1024.0;
    }
    format!("{value:.1}T")
}

/// ` of 64.0M`, or nothing without a limit.
fn of(limit: Option<Max>, text: impl Fn(u64) -> String) -> String {
    match limit {
        Some(Max::At(limit)) => format!(" of {}", text(limit)),
        _ => String::new(),
    }
}

fn seconds(time: Duration) -> String {
    format!("{:.2} s", time.as_secs_f64())
}

/// All figures, one line for each resource.
pub fn stats(stats: &Stats) -> String {
    let mut text = String::new();
    cpu(&mut text, stats);
    memory(&mut text, stats);
    if let Some(pids) = &stats.pids {
        let limit = of(pids.limit, |limit| limit.to_string());
        let _ = writeln!(text, "pids      {}{limit}, forks refused {}", pids.current, pids.refused);
    }
    for ((major, minor), io) in &stats.io {
        let (read, written) = (size(io.read_bytes), size(io.written_bytes));
        let (reads, writes) = (io.reads, io.writes);
        let device = format!("{major}:{minor}");
        let _ = writeln!(
            text,
            "io        {device} read {read} in {reads}, written {written} in {writes}"
        );
    }
    for (name, huge) in &stats.hugetlb {
        let (usage, hits) = (size(huge.usage), huge.limit_hits);
        let _ = writeln!(text, "hugetlb   {name} {usage}, limit hit {hits} times");
    }
    for (resource, pressure) in &stats.pressure {
        let name = format!("{resource:?}").to_lowercase();
        let (some, full) = (pressure.some, pressure.full);
        let _ = writeln!(
            text,
            "pressure  {name:<6} some {:.2}% full {:.2}% of the last 10 s, waited {} in all",
            some.avg10,
            full.avg10,
            seconds(some.total)
        );
    }
    text
}

fn cpu(text: &mut String, stats: &Stats) {
    let Some(cpu) = &stats.cpu else { return };
    let (usage, user, system) = (seconds(cpu.usage), seconds(cpu.user), seconds(cpu.system));
    let _ = write!(text, "cpu       {usage} (user {user}, system {system})");
    if cpu.periods > 0 {
        let (throttled, time) = (cpu.throttled_periods, seconds(cpu.throttled));
        let _ = write!(text, ", throttled in {throttled} of {} periods for {time}", cpu.periods);
    }
    text.push('\n');
}

fn memory(text: &mut String, stats: &Stats) {
    let Some(memory) = &stats.memory else { return };
    let usage = size(memory.usage);
    let _ = write!(text, "memory    {usage}{}", of(memory.limit, size));
    if let Some(peak) = memory.peak {
        let _ = write!(text, ", peak {}", size(peak));
    }
    let _ = write!(text, ", working set {}", size(memory.working_set));
    if let Some(swap) = memory.swap {
        let _ = write!(text, ", swap {}{}", size(swap), of(memory.swap_limit, size));
    }
    let (hits, kills) = (memory.limit_hits + memory.swap_limit_hits, memory.oom_kills);
    let _ = writeln!(text, ", limit hit {hits} times, OOM kills {kills}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_three_digits_and_a_unit() {
        let sizes = [0, 999, 1024, 64 << 20, 1536 << 20, 5 << 40].map(size);
        assert_eq!(sizes, ["0B", "999B", "1.0K", "64.0M", "1.5G", "5.0T"]);
    }
}
