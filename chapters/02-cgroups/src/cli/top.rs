//! `top`: the groups below a group, with what each used since the last look.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;
use corten_cgroups::{Cgroup, Hierarchy, Max, Placement, Result, Stats};

use super::{inspect, show};

/// Arguments of `top`.
#[derive(Debug, Args)]
pub struct TopArgs {
    /// The group; without it, the top of the hierarchies.
    group: Option<PathBuf>,
    /// Seconds between two looks.
    #[arg(short, long, value_name = "SECONDS", default_value_t = 1.0)]
    interval: f64,
    /// So many looks, and then the end.
    #[arg(short = 'n', long, value_name = "COUNT")]
    count: Option<u64>,
}

impl TopArgs {
    /// Prints the table again and again.
    pub fn top(self) -> Result<u8> {
        let hierarchy = Hierarchy::detect()?;
        let interval = Duration::try_from_secs_f64(self.interval.clamp(0.05, 3600.0));
        let interval = interval.unwrap_or(Duration::from_secs(1));
        let mut last = look(&hierarchy, self.group.as_deref())?;
        let mut looks = 0;
        while self.count.is_none_or(|count| looks < count) {
            std::thread::sleep(interval);
            let now = look(&hierarchy, self.group.as_deref())?;
            if !print(&last, &now) {
                break;
            }
            last = now;
            looks += 1;
        }
        Ok(0)
    }
}

/// The figures of all groups at one moment.
struct Look {
    at: Instant,
    groups: BTreeMap<String, Stats>,
}

fn look(hierarchy: &Hierarchy, group: Option<&Path>) -> Result<Look> {
    let mount = inspect::tree_of(hierarchy);
    let placement = |name: Option<&str>| -> Result<Placement> {
        let top = group.unwrap_or(Path::new("/"));
        Placement::parse(Some(&name.map_or(top.to_path_buf(), |name| top.join(name))), "")
    };
    let dir = match group {
        Some(_) => hierarchy.directory(mount, &placement(None)?),
        None => mount.point.clone(),
    };
    if !dir.is_dir() {
        Cgroup::open(hierarchy, &placement(None)?)?;
    }
    let mut groups = BTreeMap::new();
    for name in inspect::children(&dir) {
        // It may be gone by now.
        let stats = Cgroup::open(hierarchy, &placement(Some(&name))?).and_then(|g| g.stats());
        groups.extend(stats.ok().map(|stats| (name, stats)));
    }
    Ok(Look { at: Instant::now(), groups })
}

/// Prints one table; `false` where nobody reads it any more.
fn print(last: &Look, now: &Look) -> bool {
    let mut text = String::new();
    if std::io::stdout().is_terminal() {
        // Home, and clear to the end.
        text.push_str("\x1b[H\x1b[2J");
    }
    text += &format!(
        "{:<24} {:>7} {:>8} {:>8} {:>5} {:>9} {:>9} {:>6}\n",
        "GROUP", "CPU", "MEMORY", "LIMIT", "PIDS", "READ/S", "WRITE/S", "STALL"
    );
    let seconds = (now.at - last.at).as_secs_f64();
    let mut rows: Vec<(f64, String)> = Vec::new();
    for (name, stats) in &now.groups {
        let before = last.groups.get(name).cloned().unwrap_or_default();
        rows.push(row(name, &before, stats, seconds));
    }
    rows.sort_by(|a, b| b.0.total_cmp(&a.0));
    rows.iter().for_each(|(_, row)| text.push_str(row));
    std::io::stdout().write_all(text.as_bytes()).is_ok()
}

fn row(name: &str, before: &Stats, now: &Stats, seconds: f64) -> (f64, String) {
    let used = |stats: &Stats| stats.cpu.as_ref().map(|cpu| cpu.usage).unwrap_or_default();
    let cpu = used(now).saturating_sub(used(before)).as_secs_f64() / seconds * 100.0;
    let memory = now.memory.as_ref();
    let usage = memory.map_or("-".into(), |memory| show::size(memory.usage));
    let limit = match memory.and_then(|memory| memory.limit) {
        Some(Max::At(limit)) => show::size(limit),
        _ => "-".into(),
    };
    let pids = now.pids.map_or("-".into(), |pids| pids.current.to_string());
    let bytes = |stats: &Stats| {
        let sum = |pick: fn(&corten_cgroups::stats::Io) -> u64| stats.io.values().map(pick).sum();
        let (read, written): (u64, u64) = (sum(|io| io.read_bytes), sum(|io| io.written_bytes));
        (read, written)
    };
    let rate = |old: u64, new: u64| show::size((new.saturating_sub(old) as f64 / seconds) as u64);
    let ((old_read, old_written), (read, written)) = (bytes(before), bytes(now));
    let (read, written) = (rate(old_read, read), rate(old_written, written));
    // The resource that processes waited for most.
    let stall = now.pressure.values().map(|pressure| pressure.some.avg10).fold(0.0, f64::max);
    let row = format!(
        "{name:<24} {cpu:>6.1}% {usage:>8} {limit:>8} {pids:>5} {read:>9} {written:>9} {stall:>5.1}%\n"
    );
    (cpu, row)
}
