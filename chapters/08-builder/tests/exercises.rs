//! The solutions of the exercises of chapter 8, each put to the test.
#![deny(unsafe_code)]
#![allow(clippy::unwrap_used)]

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use corten_unionfs::fixture::LayerBuilder;
use proptest::prelude::*;

#[path = "../examples/clamp.rs"]
#[allow(dead_code)]
mod clamp;
#[path = "../examples/key.rs"]
#[allow(dead_code)]
mod key;
#[path = "../examples/schedule.rs"]
#[allow(dead_code)]
mod schedule;
#[path = "../examples/sum.rs"]
#[allow(dead_code)]
mod sum;

#[test]
fn exercise_1_when_a_build_is_done() {
    let stages = |list: &[(u64, &[usize])]| -> Vec<schedule::Stage> {
        let one = |(takes, needs): &(u64, &[usize])| schedule::Stage {
            takes: *takes,
            needs: needs.to_vec(),
        };
        list.iter().map(one).collect()
    };
    let done = |list: &[(u64, &[usize])], target| schedule::done(&stages(list), target);
    assert_eq!(done(&[(30, &[]), (50, &[]), (20, &[0, 1])], 2), Ok(70));
    // What nobody needs takes no time, and a need may be a later stage.
    assert_eq!(done(&[(5, &[2]), (1000, &[]), (7, &[])], 0), Ok(12));
    // A diamond is no circle.
    assert_eq!(done(&[(1, &[]), (2, &[0]), (4, &[0]), (8, &[1, 2])], 3), Ok(13));
    assert_eq!(done(&[(1, &[1]), (1, &[2]), (1, &[1])], 0), Err(vec![1, 2]));
    assert_eq!(done(&[(1, &[0])], 0), Err(vec![0]));
    // Each stage needs the two before it twice over: 2^100 ways lead to the first.
    let ladder: Vec<schedule::Stage> = (0..100_usize)
        .map(|n| schedule::Stage { takes: 1, needs: (n.saturating_sub(2)..n).collect() })
        .collect();
    assert_eq!(schedule::done(&ladder, 99), Ok(100));
}

fn write(folder: &Path, name: &str, content: &str) {
    let path = folder.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, content).unwrap();
}

#[test]
fn exercise_2_a_folder_has_one_digest() {
    let dir = tempfile::tempdir().unwrap();
    let sum_of = |name: &str, files: &[(&str, &str)]| {
        let folder = dir.path().join(name);
        std::fs::create_dir(&folder).unwrap();
        files.iter().for_each(|(name, content)| write(&folder, name, content));
        sum::sum(&folder).unwrap()
    };
    let one = sum_of("1", &[("a", "1"), ("b", "2"), ("d/e", "3")]);
    // Made in another order, at another time, elsewhere.
    let two = sum_of("2", &[("d/e", "3"), ("b", "2"), ("a", "1")]);
    assert_eq!(one, two);
    let file = std::fs::File::options().write(true).open(dir.path().join("2/a")).unwrap();
    file.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
    assert_eq!(sum::sum(&dir.path().join("2")).unwrap(), one);
    // Nothing can be moved from a name to a content, from a folder to its neighbour.
    let mut all = vec![one];
    let folders: [&[(&str, &str)]; 5] = [
        &[("a", "bc")],
        &[("ab", "c")],
        &[("d/x", ""), ("d/y", "")],
        &[("d/x", ""), ("y", "")],
        &[("a", "1"), ("b", "2"), ("d/f", "3")],
    ];
    for (number, files) in folders.iter().enumerate() {
        all.push(sum_of(&format!("f{number}"), files));
    }
    // Rights and links count; a link to nothing is no error, and one to itself ends.
    let two = dir.path().join("2");
    std::fs::set_permissions(two.join("a"), PermissionsExt::from_mode(0o755)).unwrap();
    all.push(sum::sum(&two).unwrap());
    symlink("nowhere", two.join("l")).unwrap();
    all.push(sum::sum(&two).unwrap());
    std::fs::remove_file(two.join("l")).unwrap();
    symlink("../2", two.join("l")).unwrap();
    all.push(sum::sum(&two).unwrap());
    nix::unistd::mkfifo(&two.join("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    all.push(sum::sum(&two).unwrap());
    let number = all.len();
    all.sort();
    all.dedup();
    assert_eq!(all.len(), number, "two folders have one digest");
}

fn clamped(layer: &[u8], date: u64) -> Vec<u8> {
    let mut out = Vec::new();
    clamp::clamp(layer, date, &mut out).unwrap();
    out
}

/// The names, times and contents of a layer.
fn read(layer: &[u8]) -> Vec<(String, String, String)> {
    use std::io::Read;
    let mut archive = tar::Archive::new(layer);
    let mut all = Vec::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let mut time = entry.header().mtime().unwrap().to_string();
        for record in entry.pax_extensions().unwrap().into_iter().flatten() {
            let record = record.unwrap();
            if record.key() == Ok("mtime") {
                time = record.value().unwrap().to_owned();
            }
        }
        let name = entry.path().unwrap().display().to_string();
        let mut content = String::new();
        entry.read_to_string(&mut content).unwrap();
        all.push((name, time, content));
    }
    all
}

#[test]
fn exercise_3_no_time_is_later() {
    let long = "d/".repeat(120) + "file";
    let layer = LayerBuilder::new()
        .mtime("1000")
        .file("old", 0o644, "old")
        .mtime("3000")
        .file("new", 0o644, "new")
        .mtime("2000.5")
        .file("half", 0o644, "half")
        .xattr("user.x", "kept")
        .file("marked", 0o644, "marked")
        .mtime("1999.75")
        .file(&long, 0o644, "long")
        .build();
    let out = clamped(&layer, 2000);
    let times: Vec<String> = read(&out).into_iter().map(|(_, time, _)| time).collect();
    assert_eq!(times, ["1000", "2000", "2000", "2000", "1999.75"]);
    let rest = |layer: &[u8]| -> Vec<(String, String)> {
        read(layer).into_iter().map(|(name, _, content)| (name, content)).collect()
    };
    assert_eq!(rest(&out), rest(&layer));
    assert!(out.windows(4).any(|window| window == b"kept"), "the xattr is there");
    // Twice is once, and a later date changes nothing.
    assert_eq!(clamped(&out, 2000), out);
    assert_eq!(read(&clamped(&layer, 9000)), read(&layer));
}

fn step(words: &[&str]) -> key::Step {
    let words = words.iter().map(|word| (*word).to_owned()).collect();
    key::Step { parent: "p".into(), words, ..key::Step::default() }
}

#[test]
fn exercise_4_another_step_has_the_same_key_and_has_not() {
    let with = |files: &[(&str, &str)], arguments: &[(&str, &str)]| {
        let text = |text: &&str| (*text).to_owned();
        let mut step = step(&["x"]);
        step.files = files.iter().map(|(a, b)| (text(a), b.as_bytes().to_vec())).collect();
        step.arguments = arguments.iter().map(|(a, b)| (text(a), text(b))).collect();
        step
    };
    for (one, two) in [
        (step(&["touch", "a b"]), step(&["touch", "a", "b"])),
        // A file has another name.
        (with(&[("a", "1")], &[]), with(&[("b", "1")], &[])),
        // A value goes on where the next name begins.
        (with(&[("f", "1")], &[("A", "x")]), with(&[("f", "")], &[("A", "x1")])),
    ] {
        assert_eq!(key::broken(&one), key::broken(&two));
        assert_ne!(key::mended(&one), key::mended(&two));
    }
    // And equal steps have several keys: a map has another order each time.
    let many: Vec<(String, String)> = (0..20).map(|n| (format!("A{n}"), "1".into())).collect();
    let again = || key::Step { arguments: many.iter().cloned().collect(), ..step(&["x"]) };
    let keys = |key: fn(&key::Step) -> [u8; 32]| {
        (0..20).map(|_| key(&again())).collect::<std::collections::HashSet<_>>().len()
    };
    assert!(keys(key::broken) > 1);
    assert_eq!(keys(key::mended), 1);
}

proptest! {
    #[test]
    fn exercise_4_words_are_told_apart(
        one in prop::collection::vec("[ab =]{0,3}", 0..4),
        two in prop::collection::vec("[ab =]{0,3}", 0..4),
    ) {
        let step = |words: &Vec<String>| key::Step { words: words.clone(), ..key::Step::default() };
        prop_assert_eq!(key::mended(&step(&one)) == key::mended(&step(&two)), one == two);
    }
}
