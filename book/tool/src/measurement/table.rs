//! The table, a piece of Markdown that a chapter includes.

use std::fmt::Write;

use super::{Measurement, rounded};

/// Writes it.
pub(super) fn table(measurement: &Measurement) -> String {
    let unit = &measurement.unit;
    let ours = measurement.runs.first().map_or("", |run| run.label.as_str());
    let (comparison, extremes) = match unit.as_str() {
        "ms" => ("long", "fastest to slowest"),
        _ => ("much", "least to most"),
    };
    let mut text = format!(
        "| | median, {unit} | {ours} takes | middle half | {extremes} | runs |\n\
         |---|---:|---:|---:|---:|---:|\n"
    );
    for (index, run) in measurement.runs.iter().enumerate() {
        let span = |from, to| format!("{} to {}", rounded(from), rounded(to));
        let ratio = match index {
            0 => String::new(),
            _ => format!("{} times as {comparison}", rounded(run.ratio)),
        };
        // Writing to a String cannot fail.
        _ = writeln!(
            text,
            "| {} | {} | {ratio} | {} | {} | {} |",
            run.label,
            rounded(run.median),
            span(run.p25, run.p75),
            span(run.min, run.max),
            run.n,
        );
    }
    let Measurement { machine, cpu, kernel, date, tool, name, .. } = measurement;
    _ = writeln!(
        text,
        "\nMeasured with {tool} on {date}: {cpu}, {machine}, Linux {kernel}. Every single value is in \
         `benches/results/{name}.json`."
    );
    text
}
