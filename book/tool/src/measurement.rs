//! Measurements: the committed raw data in `benches/results/NAME.json`, and what is made of it: the
//! table `benches/results/NAME.md` and the figure `bench-NAME.svg`.
//!
//! Both are pure functions of the data, so `check` can make them again and compare. The summary of
//! each run, which a reader of the data finds beside the raw times, is checked against them.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::error::{Context, Error, Result};
use crate::finding::Finding;
use crate::layout::{Layout, files_with_extension};

mod figure;
mod table;

/// One measurement file, as `./x bench` writes it.
#[derive(Debug, Deserialize)]
pub struct Measurement {
    /// What was measured, in a word: the name of its files.
    pub name: String,
    /// The same in a few words: the figure's title.
    pub title: String,
    /// The unit of all values.
    pub unit: String,
    /// Where.
    pub machine: String,
    /// Its processor.
    pub cpu: String,
    /// The kernel's release.
    pub kernel: String,
    /// When.
    pub date: String,
    /// What has measured.
    pub tool: String,
    /// What was compared. The first is ours.
    pub runs: Vec<Run>,
}

/// One command's values.
#[derive(Debug, Deserialize)]
pub struct Run {
    /// A short name for it.
    pub label: String,
    /// What was run.
    pub command: String,
    /// How many times.
    pub n: usize,
    /// The middle value.
    pub median: f64,
    /// The value that a quarter of all is below.
    pub p25: f64,
    /// The value that three quarters of all are below.
    pub p75: f64,
    /// The least.
    pub min: f64,
    /// The greatest.
    pub max: f64,
    /// The first run's median as a multiple of this one's.
    pub ratio: f64,
    /// Every value.
    pub times: Vec<f64>,
}

/// A file that is made from the data.
type Made = (PathBuf, String);

/// Every figure and table that the committed measurements give: its path and its text.
///
/// # Errors
/// Where a file cannot be read or is not of this form.
pub fn made(layout: &Layout) -> Result<Vec<Made>> {
    let mut made = Vec::new();
    for path in files_with_extension(&layout.measurements(), "json") {
        let Some(measurement) = read(&path)? else { continue };
        let figure = format!("bench-{}.svg", measurement.name);
        made.push((layout.figures().join(figure), figure::draw(&measurement)));
        made.push((path.with_extension("md"), table::table(&measurement)));
    }
    Ok(made)
}

/// Makes all figures and tables and writes those that have changed; returns their paths.
///
/// # Errors
/// As [`made`], or where a file cannot be written.
pub fn write(layout: &Layout) -> Result<Vec<PathBuf>> {
    let mut written = Vec::new();
    for (path, text) in made(layout)? {
        if std::fs::read_to_string(&path).ok().as_deref() != Some(text.as_str()) {
            std::fs::create_dir_all(layout.figures()).on("create", layout.figures())?;
            std::fs::write(&path, text).on("write", &path)?;
            written.push(path);
        }
    }
    Ok(written)
}

/// Faults where a committed figure or table is not what its data gives, or has no data.
///
/// # Errors
/// As [`made`].
pub fn check(layout: &Layout) -> Result<Vec<Finding>> {
    let made = made(layout)?;
    let mut findings = Vec::new();
    for (path, text) in &made {
        if std::fs::read_to_string(path).ok().as_deref() != Some(text.as_str()) {
            let message = "not what benches/results gives: run cargo run -p corten-book -- figures";
            findings.push(Finding::new(&layout.relative(path), 1, message));
        }
    }
    let drawn = |path: &PathBuf| {
        path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("bench-"))
    };
    let figures = files_with_extension(&layout.figures(), "svg").into_iter().filter(drawn);
    for path in figures.chain(files_with_extension(&layout.measurements(), "md")) {
        if !made.iter().any(|(known, _)| *known == path) {
            let message = "made from data that is not in benches/results";
            findings.push(Finding::new(&layout.relative(&path), 1, message));
        }
    }
    Ok(findings)
}

/// Reads a measurement: `None` where the file holds results of another kind, which have no `runs`.
fn read(path: &Path) -> Result<Option<Measurement>> {
    let fault = |why: String| Error::Measurement { path: path.to_path_buf(), why };
    let text = std::fs::read_to_string(path).on("read", path)?;
    let value: serde_json::Value =
        serde_json::from_str(&text).map_err(|error| fault(error.to_string()))?;
    if value.get("runs").is_none() {
        return Ok(None);
    }
    let measurement: Measurement =
        serde_json::from_value(value).map_err(|error| fault(error.to_string()))?;
    if path.file_stem().is_none_or(|stem| stem != measurement.name.as_str()) {
        return Err(fault(format!("its name is `{}`: name the file so", measurement.name)));
    }
    let Some(first) = measurement.runs.first() else { return Err(fault("no runs".into())) };
    let ours = first.median;
    for run in &measurement.runs {
        run.verify(ours).map_err(|why| fault(format!("{}: {why}", run.label)))?;
    }
    Ok(Some(measurement))
}

impl Run {
    /// That the summary is that of the times; `ours` is the first run's median.
    fn verify(&self, ours: f64) -> std::result::Result<(), String> {
        let mut times = self.times.clone();
        if times.iter().any(|time| !time.is_finite() || *time <= 0.0) {
            return Err("a time is no positive number".into());
        }
        times.sort_by(f64::total_cmp);
        if times.is_empty() || times.len() != self.n {
            return Err(format!("n is {}, and there are {} times", self.n, times.len()));
        }
        let parts = [
            ("min", self.min, 0.0),
            ("p25", self.p25, 0.25),
            ("median", self.median, 0.5),
            ("p75", self.p75, 0.75),
            ("max", self.max, 1.0),
        ];
        for (name, value, part) in parts {
            let right = quantile(&times, part);
            if (value - right).abs() > ROUNDING {
                return Err(format!("{name} is {value}, and its times give {right}"));
            }
        }
        let right = ours / self.median;
        if (self.ratio - right).abs() > ROUNDING {
            return Err(format!("ratio is {}, and the medians give {right}", self.ratio));
        }
        Ok(())
    }
}

/// What may be lost by writing four digits after the point.
const ROUNDING: f64 = 0.0002;

/// The value below which the part `part` of the sorted `times` lies, interpolated.
fn quantile(times: &[f64], part: f64) -> f64 {
    let at = part * (times.len() - 1) as f64;
    let (low, high) = (times[at.floor() as usize], times[at.ceil() as usize]);
    low + (high - low) * at.fract()
}

/// Three significant digits.
fn rounded(value: f64) -> String {
    match value {
        v if v >= 100.0 => format!("{v:.0}"),
        v if v >= 10.0 => format!("{v:.1}"),
        v => format!("{v:.2}"),
    }
}

#[cfg(test)]
mod tests;
