//! `corten stats` and `corten top`: what containers use, and their processes.

use std::collections::HashMap;
use std::io::IsTerminal;
use std::time::Duration;

use clap::Args;
use serde_json::json;

use super::images::Format;
use super::{print, table};
use crate::engine::record::Record;
use crate::engine::stats::{Sample, Usage};
use crate::engine::{Engine, Error, Result};

#[derive(Debug, Args)]
pub(super) struct Stats {
    /// Look once instead of every second
    #[arg(long)]
    no_stream: bool,
    /// A table, or a JSON object per line
    #[arg(long, value_enum, default_value_t)]
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
            let text = match self.format {
                Format::Json => rows.iter().map(|row| format!("{}\n", object(row))).collect(),
                Format::Table => table(&rows),
            };
            let clears =
                !self.no_stream && self.format == Format::Table && std::io::stdout().is_terminal();
            print(&if clears { format!("\x1b[H\x1b[2J{text}") } else { text })?;
            if self.no_stream {
                return Ok(());
            }
        }
    }

    fn look(
        &self,
        engine: &Engine,
        before: &mut HashMap<String, Sample>,
    ) -> Result<Vec<(Record, Usage)>> {
        let records: Vec<Record> = match &self.containers[..] {
            [] => engine.views(false, &[])?.into_iter().map(|view| view.record).collect(),
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
                Err(Error::NotRunning { .. }) if self.containers.is_empty() => continue,
                Err(error) => return Err(error),
            };
            let usage = Usage::between(before.get(&record.id), &sample);
            before.insert(record.id.clone(), sample);
            rows.push((record, usage));
        }
        Ok(rows)
    }
}

fn percent(usage: &Usage) -> f64 {
    match usage.memory_limit {
        0 => 0.0,
        limit => 100.0 * usage.memory as f64 / limit as f64,
    }
}

fn cells((record, usage): &(Record, Usage)) -> [String; 7] {
    [
        record.short().to_owned(),
        record.shown_name().to_owned(),
        format!("{:.2}%", usage.cpu),
        format!("{} / {}", table::size(usage.memory), table::size(usage.memory_limit)),
        format!("{:.2}%", percent(usage)),
        format!("{} / {}", table::size(usage.read), table::size(usage.written)),
        usage.pids.to_string(),
    ]
}

fn table(rows: &[(Record, Usage)]) -> String {
    let header =
        ["CONTAINER ID", "NAME", "CPU %", "MEM USAGE / LIMIT", "MEM %", "BLOCK I/O", "PIDS"];
    table::render(&header, &rows.iter().map(|row| cells(row).to_vec()).collect::<Vec<_>>())
}

fn object(row: &(Record, Usage)) -> serde_json::Value {
    let [id, name, cpu, memory, part, io, pids] = cells(row);
    json!({"ID": id, "Name": name, "CPUPerc": cpu, "MemUsage": memory, "MemPerc": part,
        "BlockIO": io, "PIDs": pids})
}

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
