//! `corten stats` and `corten top`: what containers use, and their processes.

use std::collections::HashMap;
use std::io::IsTerminal;
use std::time::Duration;

use clap::Args;
use corten_daemon::backend::{Backend, List};
use serde_json::{Value, json};

use super::format::{Columns, Format};
use super::{print, remote, table};
use crate::cli::{Error, Result};
use crate::engine;
use crate::engine::Engine;
use crate::engine::record::Record;
use crate::engine::stats::{Sample, Traffic, Usage};

#[derive(Debug, Args)]
pub(super) struct Stats {
    /// Look once instead of every second
    #[arg(long)]
    no_stream: bool,
    /// Those that do not run, too
    #[arg(short, long)]
    all: bool,
    /// Print ids in full
    #[arg(long)]
    no_trunc: bool,
    #[command(flatten)]
    format: Format,
    /// The containers; all that run otherwise
    #[arg(value_name = "CONTAINER")]
    containers: Vec<String>,
}

/// From one look to the next.
const PAUSE: Duration = Duration::from_secs(1);

impl Stats {
    pub(super) fn execute(&self, engine: &Engine) -> Result<()> {
        let mut before: HashMap<String, Sample> = HashMap::new();
        // Without a first look there is nothing to compare the processors' time with.
        self.look(engine, &mut before)?;
        self.watch(|| {
            std::thread::sleep(PAUSE);
            let rows = self.look(engine, &mut before)?;
            Ok(rows.iter().map(|row| self.row(row)).collect())
        })
    }

    /// Prints the rows that `look` has, again and again, or once.
    fn watch(&self, mut look: impl FnMut() -> Result<Vec<Value>>) -> Result<()> {
        loop {
            let text = self.format.list(COLUMNS, &look()?)?;
            let clears =
                !self.no_stream && self.format.is_table() && std::io::stdout().is_terminal();
            print(&if clears { format!("\x1b[H\x1b[2J{text}") } else { text })?;
            if self.no_stream {
                return Ok(());
            }
        }
    }

    fn look(&self, engine: &Engine, before: &mut HashMap<String, Sample>) -> Result<Vec<Row>> {
        let records: Vec<Record> = match &self.containers[..] {
            [] => engine.views(self.all, &[])?.into_iter().map(|view| view.record).collect(),
            names => names
                .iter()
                .map(|name| Ok(engine.containers().find(name)?.0))
                .collect::<Result<_>>()?,
        };
        let mut rows = Vec::new();
        for record in records {
            let sample = match engine.sample(&record) {
                Ok(sample) => sample,
                // Of all that run one may end at any moment.
                Err(engine::Error::NotRunning { .. })
                    if self.containers.is_empty() && !self.all =>
                {
                    continue;
                }
                Err(engine::Error::NotRunning { .. }) if self.containers.is_empty() => {
                    rows.push((record, None));
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            let usage = Usage::between(before.get(&record.id), &sample);
            before.insert(record.id.clone(), sample);
            let pid = engine.containers().shims.status(&record.id).map_or(0, |status| status.pid);
            rows.push((record, Some((usage, Traffic::of(pid)))));
        }
        Ok(rows)
    }

    fn row(&self, (record, looked): &Row) -> Value {
        let id = if self.no_trunc { record.id.as_str() } else { record.short() };
        let looked = looked.as_ref().map(|(usage, traffic)| {
            (*usage, [0, 1].map(|way| traffic.iter().map(|link| link.bytes[way]).sum()))
        });
        cells(id, record.shown_name(), looked)
    }

    /// The same of a daemon's containers. It is asked about all of them at once, for each answer takes a
    /// second.
    pub(super) fn remote(&self, engine: &dyn Backend) -> Result<()> {
        self.watch(|| self.remote_rows(engine))
    }

    fn remote_rows(&self, engine: &dyn Backend) -> Result<Vec<Value>> {
        let names = match &self.containers[..] {
            [] => {
                let list = engine.list(&List { all: self.all, ..List::default() })?;
                let list = remote::array(&list)?;
                list.iter().map(|one| remote::text(one, "Id").to_owned()).collect()
            }
            names => names.to_vec(),
        };
        let figures = std::thread::scope(|scope| {
            let ask = |name: &String| {
                let name = name.clone();
                scope.spawn(move || Ok(engine.stats(&name, false, false)?.blocking_recv()))
            };
            let asked: Vec<_> = names.iter().map(ask).collect();
            let told = asked.into_iter().map(|thread| {
                thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            });
            told.collect::<Result<Vec<Option<Value>>>>()
        });
        let figures = match figures {
            // Of all that run one may end at any moment.
            Err(Error::Elsewhere(why)) if why.status == 404 && self.containers.is_empty() => {
                return self.remote_rows(engine);
            }
            figures => figures?,
        };
        let row = |told: &Value| {
            let id = remote::short(remote::text(told, "id"), self.no_trunc);
            let name = remote::text(told, "name").trim_start_matches('/');
            cells(&id, name, measured(told))
        };
        Ok(figures.iter().flatten().map(row).collect())
    }
}

/// What a daemon has measured, by the rules of docker's client; `None` of what does not run.
fn measured(told: &Value) -> Option<(Usage, [u64; 2])> {
    let number = |value: &Value| value.as_u64().unwrap_or(0);
    let (now, before) = (&told["cpu_stats"], &told["precpu_stats"]);
    let pids = told["pids_stats"]["current"].as_u64()?;
    let since = |path: fn(&Value) -> &Value| number(path(now)).saturating_sub(number(path(before)));
    // Only for people to read.
    let own = since(|cpu| &cpu["cpu_usage"]["total_usage"]) as f64;
    let all = since(|cpu| &cpu["system_cpu_usage"]) as f64;
    let processors = number(&now["online_cpus"]).max(1) as f64;
    let memory = &told["memory_stats"];
    let idle = ["total_inactive_file", "inactive_file"].map(|name| number(&memory["stats"][name]));
    let used = number(&memory["usage"]);
    let links = || told["networks"].as_object().into_iter().flatten().map(|(_, link)| link);
    let disks = |what: &str| {
        let list =
            told["blkio_stats"]["io_service_bytes_recursive"].as_array().into_iter().flatten();
        let fits = |one: &&Value| remote::text(one, "op").eq_ignore_ascii_case(what);
        list.filter(fits).map(|one| number(&one["value"])).sum()
    };
    let usage = Usage {
        cpu: if all > 0.0 { own / all * processors * 100.0 } else { 0.0 },
        memory: used.saturating_sub(idle.into_iter().find(|idle| *idle > 0).unwrap_or(0)),
        memory_limit: number(&memory["limit"]),
        read: disks("read"),
        written: disks("write"),
        pids,
    };
    let bytes = ["rx_bytes", "tx_bytes"].map(|way| links().map(|link| number(&link[way])).sum());
    Some((usage, bytes))
}

/// A row, under the names of `docker stats --format json`; the last numbers are bytes that came and went.
fn cells(id: &str, name: &str, looked: Option<(Usage, [u64; 2])>) -> Value {
    let mut row = json!({"Container": id, "ID": id, "Name": name});
    let pair = |numbers: [u64; 2]| numbers.map(table::size).join(" / ");
    let cells = match looked {
        // What does not run.
        None => ["--", "-- / --", "--", "-- / --", "-- / --", "--"].map(str::to_owned),
        Some((usage, bytes)) => [
            format!("{:.2}%", usage.cpu),
            [usage.memory, usage.memory_limit].map(table::memory).join(" / "),
            format!("{:.2}%", percent(&usage)),
            pair(bytes),
            pair([usage.read, usage.written]),
            usage.pids.to_string(),
        ],
    };
    for (name, cell) in
        ["CPUPerc", "MemUsage", "MemPerc", "NetIO", "BlockIO", "PIDs"].iter().zip(cells)
    {
        row[*name] = cell.into();
    }
    row
}

/// A container and, where it runs, what it uses.
type Row = (Record, Option<(Usage, Vec<Traffic>)>);

fn percent(usage: &Usage) -> f64 {
    match usage.memory_limit {
        0 => 0.0,
        limit => 100.0 * usage.memory as f64 / limit as f64,
    }
}

const COLUMNS: Columns = Columns {
    titles: &[
        ("Container", "CONTAINER"),
        ("ID", "CONTAINER ID"),
        ("Name", "NAME"),
        ("CPUPerc", "CPU %"),
        ("MemUsage", "MEM USAGE / LIMIT"),
        ("MemPerc", "MEM %"),
        ("NetIO", "NET I/O"),
        ("BlockIO", "BLOCK I/O"),
        ("PIDs", "PIDS"),
    ],
    usual: "{{.ID}}\t{{.Name}}\t{{.CPUPerc}}\t{{.MemUsage}}\t{{.MemPerc}}\t{{.NetIO}}\t{{.BlockIO}}\t{{.PIDs}}",
};

#[derive(Debug, Args)]
pub(super) struct Top {
    /// The container
    #[arg(value_name = "CONTAINER")]
    container: String,
    /// Arguments for ps(1) of the host, whose lines are shown
    #[arg(value_name = "PS", default_value = "-ef", trailing_var_arg = true)]
    #[arg(allow_hyphen_values = true)]
    arguments: Vec<String>,
}

impl Top {
    pub(super) fn execute(&self, engine: &Engine) -> Result<()> {
        let record = engine.containers().find(&self.container)?.0;
        let rows = engine.top(&record, &self.arguments)?;
        print(&rows.iter().map(|row| format!("{row}\n")).collect::<String>())
    }

    /// The same of a daemon's container: the lines of its ps(1), in columns.
    pub(super) fn remote(&self, engine: &dyn Backend) -> Result<()> {
        let top = engine.top(&self.container, &self.arguments)?;
        let titles: Vec<&str> = top.titles.iter().map(String::as_str).collect();
        print(&table::render(&titles, &top.processes))
    }
}
