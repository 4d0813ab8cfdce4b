//! Pressure stall information: how much time was lost by waiting (Documentation/accounting/psi.rst
//! of the kernel).

use std::time::Duration;

/// What was waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Resource {
    /// A processor.
    Cpu,
    /// Memory: reclaim, and reading back what was reclaimed too early.
    Memory,
    /// A disk.
    Io,
}

impl Resource {
    /// The three of them.
    pub const ALL: [Resource; 3] = [Resource::Cpu, Resource::Memory, Resource::Io];

    /// Its file.
    pub const fn file(self) -> &'static str {
        match self {
            Resource::Cpu => "cpu.pressure",
            Resource::Memory => "memory.pressure",
            Resource::Io => "io.pressure",
        }
    }
}

// ANCHOR: pressure
/// The pressure on one resource.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Pressure {
    /// Some of the processes waited.
    pub some: Line,
    /// All of them waited, so that nothing was done at all.
    pub full: Line,
}

/// Percent of the last 10, 60 and 300 seconds, and the time since the group was made.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Line {
    /// Of the last 10 seconds.
    pub avg10: f64,
    /// Of the last 60 seconds.
    pub avg60: f64,
    /// Of the last 300 seconds.
    pub avg300: f64,
    /// All of it.
    pub total: Duration,
}
// ANCHOR_END: pressure

impl Pressure {
    /// The text of a pressure file; older kernels have no `full` for the processor.
    pub fn parse(text: &str) -> Option<Pressure> {
        let line =
            |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).map(Line::parse);
        Some(Pressure { some: line("some ")?, full: line("full ").unwrap_or_default() })
    }
}

impl Line {
    fn parse(text: &str) -> Line {
        let mut line = Line::default();
        for (key, value) in text.split_whitespace().filter_map(|word| word.split_once('=')) {
            let number = value.parse().unwrap_or(0.0);
            match key {
                "avg10" => line.avg10 = number,
                "avg60" => line.avg60 = number,
                "avg300" => line.avg300 = number,
                "total" => line.total = Duration::from_micros(value.parse().unwrap_or(0)),
                _ => {}
            }
        }
        line
    }
}
