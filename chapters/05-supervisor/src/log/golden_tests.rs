//! The same output, the same bytes: beside what dockerd has written (tests/dockerd/capture.sh).

use std::path::PathBuf;

use super::format::{Format, Found};
use super::*;

fn golden(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/dockerd").join(name)
}

/// What our log has of what the files `NAME.N.stdout` and `NAME.N.stderr` hold.
fn ours(name: &str, driver: &str, attributes: &[(&str, &str)]) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let attributes = attributes.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
    let options = Default::default();
    let log = Log { driver: driver.into(), path: path.clone(), options, attributes };
    let mut output = Output::open(Some(&log)).unwrap();
    for number in 1.. {
        let file = |stream: &str| std::fs::read(golden(&format!("{name}.{number}.{stream}")));
        match (file("stdout"), file("stderr")) {
            (Ok(bytes), _) => assert!(output.write(false, &bytes).is_none()),
            (_, Ok(bytes)) => assert!(output.write(true, &bytes).is_none()),
            _ => break,
        }
    }
    output.end();
    std::fs::read(path).unwrap()
}

/// The entries, without what differs: times, and the ids of long lines. Times are checked to be such.
fn entries(format: Format, mut bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    while let Found::Whole(length) = format.first(bytes) {
        let (entry, rest) = bytes.split_at(length);
        let mut entry = entry.to_vec();
        match format {
            Format::Json => {
                let text = String::from_utf8(entry).unwrap();
                let at = text.rfind("\"time\":\"").unwrap() + 8;
                let time = text[at..].strip_suffix("\"}\n").unwrap();
                assert_eq!(stamp::rfc3339(stamp::parse(time).unwrap()), time);
                entry = text[..at].into();
            }
            Format::Local => {
                // Behind the length, the source and a tag.
                assert_eq!(entry[12], 0x10);
                entry[13..22].fill(0);
                if let Some(at) = entry.windows(2).rposition(|window| window == b"\x12\x40") {
                    entry[at + 2..at + 66].fill(0);
                }
            }
        }
        found.push(entry);
        bytes = rest;
    }
    assert_eq!(bytes, b"");
    found
}

#[test]
fn our_logs_are_dockerd_s_but_for_the_times() {
    for name in ["odd", "both", "long"] {
        for (driver, format) in [("json-file", Format::Json), ("local", Format::Local)] {
            let theirs = std::fs::read(golden(&format!("{name}.{driver}"))).unwrap();
            let (theirs, ours) =
                (entries(format, &theirs), entries(format, &ours(name, driver, &[])));
            assert!(theirs.len() >= 5);
            for (theirs, ours) in theirs.iter().zip(&ours) {
                let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                assert_eq!(text(ours), text(theirs), "{name} {driver}");
                assert_eq!(ours, theirs, "{name} {driver}");
            }
            assert_eq!(ours.len(), theirs.len());
        }
    }
}

#[test]
fn attributes_stand_where_dockerd_puts_them() {
    let attributes = [("FROM", "image"), ("com.example", "<1>\t"), ("tag", "tagged/image")];
    let theirs = std::fs::read(golden("attributes.json-file")).unwrap();
    let ours = ours("both", "json-file", &attributes);
    assert_eq!(entries(Format::Json, &ours), entries(Format::Json, &theirs));
}

/// dockerd's log is read as ours is, by both drivers to the same text.
#[test]
fn dockerd_s_logs_are_read() {
    for name in ["odd", "both", "long"] {
        let text = |driver: &str| {
            let mut all = [Vec::new(), Vec::new()];
            let (path, wanted) = (golden(&format!("{name}.{driver}")), Default::default());
            let found = Driver::named(driver).unwrap();
            crate::reader::read(found, &path, wanted, &|| false, &mut |entry| {
                let stderr = entry.stream == crate::reader::Stream::Stderr;
                all[usize::from(stderr)].extend(entry.log);
                Ok(true)
            })
            .unwrap();
            all
        };
        let written = |stream: &str| -> Vec<u8> {
            let file = |number| std::fs::read(golden(&format!("{name}.{number}.{stream}"))).ok();
            (1..9).filter_map(file).flatten().collect()
        };
        // Whatever the bytes are, `local` has them all.
        assert_eq!(text("local"), [written("stdout"), written("stderr")], "{name}");
        let lossy = |bytes: &[u8]| String::from_utf8_lossy(bytes).replace('\u{fffd}', "");
        assert_eq!(text("json-file").map(|t| lossy(&t)), text("local").map(|t| lossy(&t)));
    }
}

#[test]
fn files_take_turns_where_dockerd_s_do() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("container.log");
    let options = [("max-size", "1k"), ("max-file", "4"), ("compress", "false")];
    let options = options.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
    let log = Log { driver: "local".into(), path, options, ..Log::default() };
    let mut output = Output::open(Some(&log)).unwrap();
    let lines: String = (100..=160).map(|number| format!("line {number}\n")).collect();
    output.write(false, lines.as_bytes());
    let theirs = std::fs::read_to_string(golden("rotation.local.txt")).unwrap();
    for line in theirs.lines() {
        let (name, size) = line.split_once(' ').unwrap();
        assert_eq!(dir.path().join(name).metadata().unwrap().len().to_string(), size, "{name}");
    }
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), theirs.lines().count());
}
