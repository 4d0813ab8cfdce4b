//! What Rust's test binaries print: their lists and their results.

use super::report::Outcome;

/// What a test needs, by the last segment of its name; see the crate corten-tier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tier {
    /// Nothing.
    T0,
    /// Root.
    T1,
    /// The lab VM with cgroup v2.
    T2,
    /// The lab VM with cgroup v1.
    T2V1,
    /// QEMU on the host.
    BootsVm,
}

impl Tier {
    /// The tier of a test that is ignored by default; `None` where it is ignored for a reason of
    /// its own.
    pub fn of_ignored(name: &str) -> Option<Tier> {
        match name.rsplit("::").next()? {
            "t1" => Some(Tier::T1),
            "t2" => Some(Tier::T2),
            "t2_v1" => Some(Tier::T2V1),
            "boots_vm" => Some(Tier::BootsVm),
            _ => None,
        }
    }
}

/// The names in the output of `BINARY --list`.
pub fn parse_list(list: &str) -> Vec<String> {
    list.lines().filter_map(|line| line.strip_suffix(": test")).map(str::to_owned).collect()
}

/// The results in what a test binary printed, in order. A child of a test may have written to the
/// same output, so that text stands before `test` on the line; what looks like a result of a test
/// that does not exist is the caller's to drop.
pub fn parse_results(output: &str) -> Vec<(String, Outcome)> {
    output.lines().filter_map(parse_result).collect()
}

fn parse_result(line: &str) -> Option<(String, Outcome)> {
    let (before, verdict) = line.rsplit_once(" ... ")?;
    let outcome = match verdict.split_whitespace().next()? {
        "ok" => Outcome::Passed,
        "FAILED" => Outcome::Failed,
        // `ignored, reason`: nothing was asked of it.
        _ => return None,
    };
    let name = before.get(before.rfind("test ")? + "test ".len()..)?;
    // What libtest adds for attributes of the test.
    let name = ["should panic", "compile fail", "compile"]
        .iter()
        .find_map(|mode| name.strip_suffix(mode)?.strip_suffix(" - "))
        .unwrap_or(name);
    Some((name.to_owned(), outcome))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_gives_tests_but_no_benchmarks_and_no_summary() {
        let list = "root::tests::a: test\nb::t1: test\nc: benchmark\n\n2 tests, 1 benchmark\n";
        assert_eq!(parse_list(list), ["root::tests::a", "b::t1"]);
    }

    #[test]
    fn the_tier_is_the_last_segment() {
        assert_eq!(Tier::of_ignored("chroot_escape::t1"), Some(Tier::T1));
        assert_eq!(Tier::of_ignored("a::b::t2_v1"), Some(Tier::T2V1));
        assert_eq!(Tier::of_ignored("a::boots_vm"), Some(Tier::BootsVm));
        assert_eq!(Tier::of_ignored("a::slow"), None);
        assert_eq!(Tier::of_ignored("t1::other"), None);
    }

    #[test]
    fn results_are_read_with_and_without_a_note() {
        let output = "\nrunning 5 tests\ntest a::b ... ok\ntest c - should panic ... ok\n\
                      test d ... FAILED\ntest e::t1 ... ignored, T1: needs root\n\
                      test src/lib.rs - x (line 3) - compile ... ok\nthe test ... is long\n";
        let expected = [
            ("a::b", Outcome::Passed),
            ("c", Outcome::Passed),
            ("d", Outcome::Failed),
            ("src/lib.rs - x (line 3)", Outcome::Passed),
        ];
        let results = parse_results(output);
        let results: Vec<_> = results.iter().map(|(name, o)| (name.as_str(), *o)).collect();
        assert_eq!(results, expected);
    }

    #[test]
    fn what_a_child_wrote_before_the_result_does_not_hide_it() {
        assert_eq!(parse_results("hello\x1b[0mtest a::t1 ... ok")[0].0, "a::t1");
    }
}
