use super::*;

const DATA: &str = r#"{"name":"start","title":"Start <a>","unit":"ms","machine":"vm","cpu":"c",
    "kernel":"6.1","date":"2026-01-02","tool":"t 1","runs":[
    {"label":"Corten","command":"x","n":3,"median":2.0,"p25":1.75,"p75":3.0,"min":1.5,"max":4.0,
     "ratio":1.0,"times":[2.0,1.5,4.0]},
    {"label":"unshare","command":"u","n":1,"median":1.0,"p25":1.0,"p75":1.0,"min":1.0,"max":1.0,
     "ratio":2.0,"times":[1.0]}]}"#;

fn repo(data: &str) -> (tempfile::TempDir, Layout) {
    let dir = tempfile::tempdir().unwrap();
    let layout = Layout { repo: dir.path().to_path_buf() };
    std::fs::create_dir_all(layout.measurements()).unwrap();
    std::fs::write(layout.measurements().join("start.json"), data).unwrap();
    (dir, layout)
}

#[test]
fn a_figure_shows_median_spread_and_place() {
    let (_dir, layout) = repo(DATA);
    let (path, svg) = made(&layout).unwrap().remove(0);
    assert!(path.ends_with("book/src/figures/bench-start.svg"));
    assert!(svg.contains("2.00 (n = 3)") && svg.contains("Linux 6.1 · 2026-01-02"), "{svg}");
    // The longest line ends at 24 + 400.
    assert!(svg.contains("width=\"266.7\"") && svg.contains("H424.0"), "{svg}");
    assert!(svg.contains("Start &lt;a&gt;") && svg.contains(">unshare<"), "{svg}");
}

#[test]
fn a_table_shows_the_ratios() {
    let (_dir, layout) = repo(DATA);
    let (path, table) = made(&layout).unwrap().remove(1);
    assert!(path.ends_with("benches/results/start.md"));
    assert!(table.contains("| Corten | 2.00 |  | 1.75 to 3.00 | 1.50 to 4.00 | 3 |"), "{table}");
    assert!(table.contains("| unshare | 1.00 | 2.00 times as long | "), "{table}");
}

#[test]
fn a_committed_file_is_what_its_data_gives() {
    let (_dir, layout) = repo(DATA);
    assert_eq!(check(&layout).unwrap().len(), 2);
    assert_eq!(write(&layout).unwrap().len(), 2);
    assert_eq!(check(&layout).unwrap(), []);
    assert!(write(&layout).unwrap().is_empty());
    for file in [layout.figures().join("bench-start.svg"), layout.measurements().join("start.md")] {
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, text.replace("2.00", "1.90")).unwrap();
        let findings = check(&layout).unwrap();
        assert!(findings.len() == 1 && findings[0].message.contains("not what"), "{findings:?}");
        std::fs::write(&file, text).unwrap();
    }
    std::fs::remove_file(layout.measurements().join("start.json")).unwrap();
    assert_eq!(check(&layout).unwrap().len(), 2);
}

#[test]
fn a_summary_that_is_not_that_of_its_times_is_an_error() {
    for (right, wrong) in [
        ("\"median\":2.0", "\"median\":1.9"),
        ("\"p25\":1.75", "\"p25\":1.5"),
        ("\"n\":3", "\"n\":30"),
        ("\"ratio\":2.0", "\"ratio\":1.5"),
        ("[1.0]", "[-1.0]"),
        ("\"start\"", "\"other\""),
    ] {
        let data = DATA.replace(right, wrong);
        assert_ne!(data, DATA);
        let (_dir, layout) = repo(&data);
        assert!(made(&layout).unwrap_err().to_string().contains("start.json"), "{wrong}");
    }
}

#[test]
fn malformed_data_is_an_error_that_names_the_file() {
    for data in ["{", r#"{"name":"start","runs":[]}"#] {
        let (_dir, layout) = repo(data);
        assert!(made(&layout).unwrap_err().to_string().contains("start.json"));
    }
}
