//! The figure: each run is a bar as long as its median, with a line over the middle half of its
//! values. The slowest of some hundred runs says more of the machine than of the program; it stands
//! in the table.

use std::fmt::Write;

use super::{Measurement, Run, rounded};

/// The colours of every drawn figure: its own paper, so that it can be read on any page.
const STYLE: &str = "<style>
.paper{fill:#fbfaf8;stroke:#d9d4cc}.ink{fill:#22262b}.dim{fill:#595f66}.bar{fill:#b4532a}.line{stroke:#22262b}
text{font:15px system-ui,sans-serif}
@media (prefers-color-scheme:dark){.paper{fill:#1d2125;stroke:#3a4047}.ink{fill:#e6e3de}.dim{fill:#aab0b6}.bar{fill:#c96a3f}.line{stroke:#e6e3de}}
</style>
";
const WIDTH: f64 = 560.0;
const LEFT: f64 = 24.0;
/// The longest line, to the third quartile, in units.
const SCALE: f64 = 400.0;
const ROW: f64 = 58.0;
const TOP: f64 = 84.0;

/// Draws it.
pub(super) fn draw(measurement: &Measurement) -> String {
    let runs = &measurement.runs;
    let longest = runs.iter().map(|run| run.p75);
    let unit = SCALE / longest.fold(f64::MIN_POSITIVE, f64::max);
    let height = TOP + ROW * runs.len() as f64 + 58.0;
    let name = escape(&measurement.title);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\">\n\
         <title>{name}</title>\n{STYLE}\
         <rect class=\"paper\" x=\".5\" y=\".5\" width=\"{}\" height=\"{}\" rx=\"10\"/>\n\
         <text class=\"ink\" x=\"{LEFT}\" y=\"34\" style=\"font-size:18px;font-weight:600\">{name}</text>\n\
         <text class=\"dim\" x=\"{LEFT}\" y=\"58\">median, and the middle half of the runs, in {}</text>\n",
        WIDTH - 1.0,
        height - 1.0,
        escape(&measurement.unit),
    );
    for (index, run) in runs.iter().enumerate() {
        svg.push_str(&row(run, TOP + ROW * index as f64, unit));
    }
    let lines = [
        format!("{} · {}", measurement.cpu, measurement.machine),
        format!("Linux {} · {} · {}", measurement.kernel, measurement.date, measurement.tool),
    ];
    for (line, y) in lines.iter().zip([height - 42.0, height - 20.0]) {
        let line = escape(line);
        // Writing to a String cannot fail.
        _ = writeln!(
            svg,
            "<text class=\"dim\" style=\"font-size:13px\" x=\"{LEFT}\" y=\"{y}\">{line}</text>"
        );
    }
    svg.push_str("</svg>\n");
    svg
}

fn row(run: &Run, y: f64, unit: f64) -> String {
    let label = escape(&run.label);
    let bar = (run.median * unit).max(1.0);
    let (from, to) = (LEFT + run.p25 * unit, LEFT + run.p75 * unit);
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

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
