//! `corten stats` and `corten top`: what containers use, and their processes.

use std::collections::HashMap;
use std::io::IsTerminal;
use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};

use super::format::{Columns, Format};
use super::{print, table};
use crate::engine::record::Record;
use crate::engine::stats::{Sample, Traffic, Usage};
use crate::engine::{Engine, Error, Result};

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
        loop {
            std::thread::sleep(PAUSE);
            let rows = self.look(engine, &mut before)?;
            let rows: Vec<Value> = rows.iter().map(|row| self.row(row)).collect();
            let text = self.format.list(COLUMNS, &rows)?;
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
                Err(Error::NotRunning { .. }) if self.containers.is_empty() && !self.all => {
                    continue;
                }
                Err(Error::NotRunning { .. }) if self.containers.is_empty() => {
                    rows.push((record, None));
                    continue;
                }
                Err(error) => return Err(error),
            };
            let usage = Usage::between(before.get(&record.id), &sample);
            before.insert(record.id.clone(), sample);
            let pid = engine.containers().shims.status(&record.id).map_or(0, |status| status.pid);
            rows.push((record, Some((usage, Traffic::of(pid)))));
        }
        Ok(rows)
    }

    /// Under the names of `docker stats --format json`.
    fn row(&self, (record, looked): &Row) -> Value {
        let id = if self.no_trunc { record.id.as_str() } else { record.short() };
        let mut row = json!({"Container": id, "ID": id, "Name": record.shown_name()});
        let pair = |numbers: [u64; 2]| numbers.map(table::size).join(" / ");
        let cells = match looked {
            // What does not run.
            None => ["--", "-- / --", "--", "-- / --", "-- / --", "--"].map(str::to_owned),
            Some((usage, traffic)) => [
                format!("{:.2}%", usage.cpu),
                pair([usage.memory, usage.memory_limit]),
                format!("{:.2}%", percent(usage)),
                pair([0, 1].map(|way| traffic.iter().map(|link| link.bytes[way]).sum())),
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
}
