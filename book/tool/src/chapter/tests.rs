use super::*;

/// A chapter 1 without faults, in a repository of its own.
struct Fixture {
    dir: tempfile::TempDir,
    text: String,
}

impl Fixture {
    fn new() -> Fixture {
        let dir = tempfile::tempdir().unwrap();
        let chapter = dir.path().join("chapters/01-x");
        std::fs::create_dir_all(chapter.join("mutants")).unwrap();
        std::fs::create_dir_all(chapter.join("tests")).unwrap();
        std::fs::write(chapter.join("mutants/leak.patch"), "x").unwrap();
        let tests = "#[corten_tier::t1]\n// why\nfn no_leak() {}\nfn not_a_test() {}\n";
        std::fs::write(chapter.join("tests/t.rs"), tests).unwrap();
        let console = "```console,norun=\"w\"\n$ ls\n```\n";
        let mut text = String::from("# One\n");
        for name in SECTIONS {
            text += &format!("\n## {name}\n\n");
            text += &match name {
                "In short" | "Measure" => "![a](figures/a.svg)\n".to_owned(),
                "Predict" => "<details>\n".to_owned(),
                "The problem, shown" | "By hand" | "Run it" => console.to_owned(),
                "Build" => "```rust\n{{#include a.rs:b}}\n```\n".to_owned(),
                "Invariants" => "- **I1.** Nothing leaks,\n  test: `no_leak`\n".to_owned(),
                "Break it on purpose" => "Apply `mutants/leak.patch`.\n".to_owned(),
                "Exercises" => ["build", "build", "build", "debug", "design"]
                    .iter()
                    .enumerate()
                    .map(|(i, kind)| {
                        let i = i + 1;
                        let rubric = if *kind == "design" { "<summary>Rubric" } else { "" };
                        format!(
                            "### Exercise 1.{i} ({kind}): t\n\n<summary>Hint 1<summary>Solution{rubric}\n\n"
                        )
                    })
                    .collect(),
                _ => String::new(),
            };
        }
        Fixture { dir, text }
    }

    fn faults(&self) -> Vec<String> {
        let layout = Layout { repo: self.dir.path().to_path_buf() };
        let page = Page::parse("book/src/01-x.md".as_ref(), "01-x.md".into(), self.text.clone());
        check(&layout, &page).iter().map(ToString::to_string).collect()
    }

    fn replaced(from: &str, to: &str) -> Vec<String> {
        let mut fixture = Fixture::new();
        assert!(fixture.text.contains(from), "{from}");
        fixture.text = fixture.text.replacen(from, to, 1);
        fixture.faults()
    }
}

fn one(faults: &[String], part: &str) {
    assert!(faults.len() == 1 && faults[0].contains(part), "{part}: {faults:?}");
}

#[test]
fn a_whole_chapter_has_no_faults() {
    assert_eq!(Fixture::new().faults(), [""; 0]);
}

#[test]
fn each_missing_section_is_a_fault() {
    for name in SECTIONS {
        let faults = Fixture::replaced(&format!("## {name}\n"), "");
        assert!(
            faults.iter().any(|f| f.contains("missing") && f.contains(name)),
            "{name}: {faults:?}"
        );
    }
}

#[test]
fn sections_out_of_order_and_unknown_ones_are_faults() {
    let faults = Fixture::replaced("## Measure\n", "## Extra\n\n## Measure\n");
    one(&faults, "`Extra` is none of the 14 sections");
    let mut fixture = Fixture::new();
    fixture.text = fixture.text.replace("## Card\n", "## Swap\n");
    fixture.text = fixture.text.replace("## In production\n", "## Card\n");
    fixture.text = fixture.text.replace("## Swap\n", "## In production\n");
    assert!(fixture.faults().iter().any(|f| f.contains("out of order")));
}

#[test]
fn an_invariant_names_an_existing_test() {
    one(&Fixture::replaced("`no_leak`", "`nope`"), "I1: no test `nope`");
    one(&Fixture::replaced("`no_leak`", "`not_a_test`"), "I1: no test `not_a_test`");
    one(&Fixture::replaced("test: `no_leak`", "surely"), "I1 names no test");
    one(&Fixture::replaced("**I1.**", "**I2.**"), "I2 where I1 is due");
    one(&Fixture::replaced("- **I1.**", "Text"), "no invariants");
}

#[test]
fn an_exercise_has_hint_solution_and_rubric() {
    one(&Fixture::replaced("<summary>Solution", ""), "without `<summary>Solution");
    one(&Fixture::replaced("<summary>Hint 1", ""), "without `<summary>Hint");
    one(&Fixture::replaced("<summary>Rubric", ""), "without `<summary>Rubric");
    one(&Fixture::replaced("(debug)", "(build)"), "0 exercise(s) of kind debug");
    assert!(Fixture::replaced("Exercise 1.2", "Exercise 1.3")[0].contains("is headed"));
}

#[test]
fn break_it_names_a_patch_that_exists() {
    one(&Fixture::replaced("leak.patch", "gone.patch"), "no mutants/gone.patch");
    one(&Fixture::replaced("mutants/leak.patch", "x"), "names no `mutants/NAME.patch`");
}

#[test]
fn sections_hold_what_they_promise() {
    one(&Fixture::replaced("![a](figures/a.svg)", ""), "`In short` needs a figure");
    one(&Fixture::replaced("<details>", ""), "`Predict` needs an answer");
    one(&Fixture::replaced("```rust\n{{#include a.rs:b}}\n```\n", ""), "`Build` needs");
}

#[test]
fn headings_leave_out_no_level_and_there_is_one_title() {
    let check = |text: &str| -> Vec<String> {
        let layout = Layout { repo: "/nonexistent".into() };
        let page = Page::parse("p.md".as_ref(), "p.md".into(), text.into());
        check(&layout, &page).iter().map(ToString::to_string).collect()
    };
    one(&check("# A\n\n### B\n"), "leaves out a level");
    one(&check("# A\n\n# B\n"), "one title");
    one(&check("## A\n"), "begins with its title");
}

#[test]
fn the_tour_is_no_chapter() {
    let layout = Layout { repo: "/nonexistent".into() };
    let text = "# T\n\n## Card\n\n## In short\n\n## One container\n\n## From here to a cluster\n";
    let page = |text: String| Page::parse("10-t.md".as_ref(), "10-t.md".into(), text);
    assert_eq!(check(&layout, &page(text.into())), []);
    let faults = check(&layout, &page(text.replace("a cluster", "there")));
    one(&faults.iter().map(ToString::to_string).collect::<Vec<_>>(), "the tour lacks");
}

#[test]
fn chapter_0_has_a_lighter_template() {
    let layout = Layout { repo: "/nonexistent".into() };
    let text = "# 0\n\n## Card\n\n## In short\n\n## Other\n\n## Predict\n\n## Troubleshooting\n";
    let page = |text: String| Page::parse("00-m.md".as_ref(), "00-m.md".into(), text);
    assert_eq!(check(&layout, &page(text.into())), []);
    assert_eq!(check(&layout, &page(text.replace("## Card", "## Map"))).len(), 1 + 3);
}
