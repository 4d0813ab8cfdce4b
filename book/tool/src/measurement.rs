//! Measurements: the committed raw data in `benches/results/*.json`, and the figures drawn from it.
//!
//! A figure is a pure function of its data, so `check` can draw it again and compare. Each run is a
//! bar as long as its median with a line from its fastest to its slowest run.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::error::{Context, Error, Result};
use crate::finding::Finding;
use crate::layout::{Layout, files_with_extension};

/// One measurement file.
#[derive(Debug, Deserialize)]
pub struct Measurement {
    /// What was measured: the figure's title, and `bench-NAME.svg` its file.
    pub name: String,
    /// Where.
    #[serde(default)]
    pub machine: String,
    /// Its processor.
    #[serde(default)]
    pub cpu: String,
    /// The kernel's release.
    #[serde(default)]
    pub kernel: String,
    /// The day.
    #[serde(default)]
    pub date: String,
    /// The unit of all values.
    #[serde(default = "milliseconds")]
    pub unit: String,
    /// What was compared.
    pub runs: Vec<Run>,
}

/// One command's values.
#[derive(Debug, Deserialize)]
pub struct Run {
    /// What was run.
    #[serde(default)]
    pub command: String,
    /// A short name for it; the command where it is empty.
    #[serde(default)]
    pub label: String,
    /// How many times.
    #[serde(default)]
    pub n: u64,
    /// The middle value.
    pub median: f64,
    /// The fastest.
    pub min: Option<f64>,
    /// The slowest.
    pub max: Option<f64>,
}

fn milliseconds() -> String {
    "ms".into()
}

/// Every figure that the committed measurements give: its path and its SVG text.
///
/// # Errors
/// Where a file cannot be read or is not of this form.
pub fn figures(layout: &Layout) -> Result<Vec<(PathBuf, String)>> {
    files_with_extension(&layout.measurements(), "json")
        .iter()
        .map(|path| {
            let measurement = read(path)?;
            let file = format!("bench-{}.svg", slug(&measurement.name));
            Ok((layout.figures().join(file), draw(&measurement)))
        })
        .collect()
}

/// Draws all figures and writes those that have changed; returns their paths.
///
/// # Errors
/// As [`figures`], or where a figure cannot be written.
pub fn write(layout: &Layout) -> Result<Vec<PathBuf>> {
    let mut written = Vec::new();
    for (path, svg) in figures(layout)? {
        if std::fs::read_to_string(&path).ok().as_deref() != Some(svg.as_str()) {
            std::fs::create_dir_all(layout.figures()).on("create", layout.figures())?;
            std::fs::write(&path, svg).on("write", &path)?;
            written.push(path);
        }
    }
    Ok(written)
}

/// Faults where a committed figure is not what its data gives, or has no data.
///
/// # Errors
/// As [`figures`].
pub fn check(layout: &Layout) -> Result<Vec<Finding>> {
    let figures = figures(layout)?;
    let mut findings = Vec::new();
    for (path, svg) in &figures {
        if std::fs::read_to_string(path).ok().as_deref() != Some(svg.as_str()) {
            let message = "not what benches/results gives: run cargo run -p corten-book -- figures";
            findings.push(Finding::new(&layout.relative(path), 1, message));
        }
    }
    for path in files_with_extension(&layout.figures(), "svg") {
        let drawn = path.file_name().is_some_and(|f| f.to_string_lossy().starts_with("bench-"));
        if drawn && !figures.iter().any(|(figure, _)| *figure == path) {
            let message = "a drawn figure without data in benches/results";
            findings.push(Finding::new(&layout.relative(&path), 1, message));
        }
    }
    Ok(findings)
}

fn read(path: &Path) -> Result<Measurement> {
    let fault = |why: String| Error::Measurement { path: path.to_path_buf(), why };
    let text = std::fs::read_to_string(path).on("read", path)?;
    let measurement: Measurement =
        serde_json::from_str(&text).map_err(|error| fault(error.to_string()))?;
    if measurement.runs.is_empty() {
        return Err(fault("no runs".into()));
    }
    let values = measurement.runs.iter().flat_map(|run| [Some(run.median), run.min, run.max]);
    if values.flatten().any(|value| !value.is_finite() || value < 0.0) {
        return Err(fault("a value is negative or no number".into()));
    }
    Ok(measurement)
}

fn slug(name: &str) -> String {
    let dashed = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' });
    dashed.collect::<String>().to_lowercase()
}

/// The colours of every drawn figure: its own paper, so that it can be read on any page.
const STYLE: &str = "<style>
.paper{fill:#fbfaf8;stroke:#d9d4cc}.ink{fill:#22262b}.dim{fill:#595f66}.bar{fill:#b4532a}.line{stroke:#22262b}
text{font:15px system-ui,sans-serif}
@media (prefers-color-scheme:dark){.paper{fill:#1d2125;stroke:#3a4047}.ink{fill:#e6e3de}.dim{fill:#aab0b6}.bar{fill:#c96a3f}.line{stroke:#e6e3de}}
</style>
";
const WIDTH: f64 = 560.0;
const LEFT: f64 = 24.0;
/// The longest line, fastest to slowest, in units.
const SCALE: f64 = 400.0;
const ROW: f64 = 58.0;
const TOP: f64 = 84.0;

fn draw(measurement: &Measurement) -> String {
    let runs = &measurement.runs;
    let longest = runs.iter().map(|run| run.max.unwrap_or(run.median).max(run.median));
    let unit = SCALE / longest.fold(f64::MIN_POSITIVE, f64::max);
    let height = TOP + ROW * runs.len() as f64 + 34.0;
    let name = escape(&measurement.name);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\">\n\
         <title>{name}</title>\n{STYLE}\
         <rect class=\"paper\" x=\".5\" y=\".5\" width=\"{}\" height=\"{}\" rx=\"10\"/>\n\
         <text class=\"ink\" x=\"{LEFT}\" y=\"34\" style=\"font-size:18px;font-weight:600\">{name}</text>\n\
         <text class=\"dim\" x=\"{LEFT}\" y=\"58\">median, and fastest to slowest, in {}</text>\n",
        WIDTH - 1.0,
        height - 1.0,
        escape(&measurement.unit),
    );
    for (index, run) in runs.iter().enumerate() {
        svg.push_str(&row(run, TOP + ROW * index as f64, unit));
    }
    let parts = [&measurement.machine, &measurement.cpu, &measurement.kernel, &measurement.date];
    let place: Vec<&str> = parts.iter().map(|p| p.as_str()).filter(|p| !p.is_empty()).collect();
    let place = escape(&place.join(" · "));
    let y = height - 18.0;
    // Writing to a String cannot fail.
    _ = writeln!(svg, "<text class=\"dim\" x=\"{LEFT}\" y=\"{y}\">{place}</text>\n</svg>");
    svg
}

fn row(run: &Run, y: f64, unit: f64) -> String {
    let label = escape(if run.label.is_empty() { &run.command } else { &run.label });
    let bar = (run.median * unit).max(1.0);
    let (from, to) = (run.min.unwrap_or(run.median), run.max.unwrap_or(run.median));
    let (from, to) = (LEFT + from * unit, LEFT + to.max(run.median) * unit);
    let (middle, caps) = (y + 30.0, (y + 25.0, y + 35.0));
    let value = format!("{} (n = {})", rounded(run.median), run.n);
    format!(
        "<text class=\"ink\" x=\"{LEFT}\" y=\"{}\">{label}</text>\n\
         <rect class=\"bar\" x=\"{LEFT}\" y=\"{}\" width=\"{bar:.1}\" height=\"18\" rx=\"2\"/>\n\
         <path class=\"line\" fill=\"none\" stroke-width=\"1.5\" d=\"M{from:.1} {middle}H{to:.1}\
         M{from:.1} {}V{}M{to:.1} {}V{}\"/>\n\
         <text class=\"ink\" x=\"{:.1}\" y=\"{}\">{value}</text>\n",
        y + 14.0,
        y + 21.0,
        caps.0,
        caps.1,
        caps.0,
        caps.1,
        to + 8.0,
        y + 35.0,
    )
}

/// Three significant digits.
fn rounded(value: f64) -> String {
    match value {
        v if v >= 100.0 => format!("{v:.0}"),
        v if v >= 10.0 => format!("{v:.1}"),
        v => format!("{v:.2}"),
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    const DATA: &str = r#"{"name":"Start <a>","machine":"vm","kernel":"6.1","runs":[
        {"command":"x","label":"Corten","n":30,"median":2.0,"min":1.5,"max":4.0,"mad":0.1},
        {"command":"unshare","median":1.0}]}"#;

    fn repo(data: &str) -> (tempfile::TempDir, Layout) {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout { repo: dir.path().to_path_buf() };
        std::fs::create_dir_all(layout.measurements()).unwrap();
        std::fs::write(layout.measurements().join("a.json"), data).unwrap();
        (dir, layout)
    }

    #[test]
    fn a_figure_shows_median_spread_and_place() {
        let (_dir, layout) = repo(DATA);
        let (path, svg) = figures(&layout).unwrap().remove(0);
        assert!(path.ends_with("bench-start--a-.svg"));
        assert!(svg.contains("2.00 (n = 30)") && svg.contains("vm · 6.1"), "{svg}");
        assert!(svg.contains("width=\"200.0\"") && svg.contains("H424.0"), "{svg}");
        assert!(svg.contains("Start &lt;a&gt;") && svg.contains(">unshare<"), "{svg}");
    }

    #[test]
    fn a_committed_figure_is_what_its_data_gives() {
        let (_dir, layout) = repo(DATA);
        assert!(check(&layout).unwrap()[0].message.contains("not what benches/results gives"));
        assert_eq!(write(&layout).unwrap().len(), 1);
        assert_eq!(check(&layout).unwrap(), []);
        assert!(write(&layout).unwrap().is_empty());
        std::fs::remove_file(layout.measurements().join("a.json")).unwrap();
        assert!(check(&layout).unwrap()[0].message.contains("without data"));
    }

    #[test]
    fn malformed_data_is_an_error_that_names_the_file() {
        for data in ["{", r#"{"name":"a","runs":[]}"#, r#"{"name":"a","runs":[{"median":-1}]}"#] {
            let (_dir, layout) = repo(data);
            assert!(figures(&layout).unwrap_err().to_string().contains("a.json"));
        }
    }
}
