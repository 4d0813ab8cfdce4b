//! Tables and sizes, as Docker prints them.

/// Columns as wide as their longest cell, three spaces apart; the last one has no padding.
pub fn render(header: &[&str], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.chain(header.get(column).map(|title| title.len())).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..header.len()).map(width).collect();
    let mut text = String::new();
    let head: Vec<String> = header.iter().map(|&title| title.to_owned()).collect();
    for row in std::iter::once(&head).chain(rows) {
        let cells: Vec<_> = row.iter().zip(&widths).map(|(c, w)| format!("{c:<w$}")).collect();
        text += cells.join("   ").trim_end();
        text.push('\n');
    }
    text
}

/// A text of somebody else's, by which a terminal is not moved: blanks in the place of control characters.
pub fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// The same, of at most `width` characters: the last one says where something is missing.
pub fn shortened(text: &str, width: usize) -> String {
    let clean = printable(text);
    match clean.chars().count() <= width {
        true => clean,
        false => clean.chars().take(width - 1).chain(['…']).collect(),
    }
}

/// Bytes in powers of ten with three digits, by the rules of docker/go-units: `1.23MB`.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["B", "kB", "MB", "GB", "TB", "PB"];
    // Only for people to read.
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1000.0 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    let digits = match value {
        v if unit == 0 || v >= 100.0 => 0,
        v if v >= 10.0 => 1,
        _ => 2,
    };
    let number = format!("{value:.digits$}");
    let number =
        if digits > 0 { number.trim_end_matches('0').trim_end_matches('.') } else { &number };
    format!("{number}{}", UNITS[unit])
}

/// Bytes of memory in powers of two with four digits, by the rules of the same: `8.77MiB`.
pub fn memory(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    let digits = match value {
        v if unit == 0 || v >= 1000.0 => 0,
        v if v >= 100.0 => 1,
        v if v >= 10.0 => 2,
        _ => 3,
    };
    let number = format!("{value:.digits$}");
    let number =
        if digits > 0 { number.trim_end_matches('0').trim_end_matches('.') } else { &number };
    format!("{number}{}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stranger_s_text_does_not_move_the_terminal_and_has_an_end() {
        assert_eq!(printable("a\x1b[2Jb\n"), "a [2Jb ");
        assert_eq!(shortened("four", 4), "four");
        assert_eq!(shortened("füünf\r", 5), "füün…");
    }

    #[test]
    fn memory_reads_as_docker_s() {
        for (bytes, text) in [
            (0, "0B"),
            (1023, "1023B"),
            (1024, "1KiB"),
            (9_195_520, "8.77MiB"),
            (100_663_296, "96MiB"),
            (1_047_527_424, "999MiB"),
            (2_079_326_208, "1.937GiB"),
        ] {
            assert_eq!(memory(bytes), text);
        }
    }

    #[test]
    fn columns_line_up_and_lines_have_no_trailing_space() {
        let rows = vec![vec!["é".into(), "1".into()], vec!["long name".into(), String::new()]];
        assert_eq!(render(&["A", "B"], &rows), "A           B\né           1\nlong name\n");
    }

    #[test]
    fn sizes_read_as_docker_s() {
        for (bytes, text) in [
            (0, "0B"),
            (999, "999B"),
            (1000, "1kB"),
            (1_234_567, "1.23MB"),
            (12_340_000, "12.3MB"),
            (123_456_789, "123MB"),
            (5_000_000_000, "5GB"),
        ] {
            assert_eq!(size(bytes), text);
        }
    }
}
