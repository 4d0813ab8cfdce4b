//! What came of the tests, and the table of it.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What came of one test.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Outcome {
    /// It ran and passed.
    Passed,
    /// It ran and failed.
    Failed,
    /// It was expected and has no result, which counts as a failure.
    Skipped,
}

/// One row of the table: the tests of a tier on one machine.
#[derive(Debug)]
pub struct Tally {
    /// `T1 host`, `T1+T2 6.12 v2`.
    pub tier: String,
    /// Each test (`crate/target name`) and what came of it.
    pub results: Vec<(String, Outcome)>,
    /// Wall time.
    pub time: Duration,
}

impl Tally {
    /// Puts the results of `ran` beside the tests that were `expected`: one without a result was
    /// skipped, and a result that nobody expected is kept.
    pub fn compare(
        tier: impl Into<String>,
        expected: impl IntoIterator<Item = String>,
        ran: Vec<(String, Outcome)>,
        time: Duration,
    ) -> Tally {
        let seen: BTreeSet<&str> = ran.iter().map(|(name, _)| name.as_str()).collect();
        let skipped: Vec<_> = expected
            .into_iter()
            .filter(|name| !seen.contains(name.as_str()))
            .map(|name| (name, Outcome::Skipped))
            .collect();
        let results = ran.into_iter().chain(skipped).collect();
        Tally { tier: tier.into(), results, time }
    }

    /// How many tests ended so.
    pub fn count(&self, outcome: Outcome) -> usize {
        self.results.iter().filter(|(_, o)| *o == outcome).count()
    }

    /// Whether every test passed.
    pub fn passed(&self) -> bool {
        self.count(Outcome::Passed) == self.results.len()
    }
}

/// The table of all tiers, with what did not pass below it.
pub fn table(tallies: &[Tally], wall: Duration) -> String {
    let mut text = format!(
        "{:<18} {:>6} {:>7} {:>7} {:>8} {:>8}\n",
        "tier", "tests", "passed", "failed", "skipped", "seconds"
    );
    let mut sum = [0; 4];
    for tally in tallies {
        let counts = [
            tally.results.len(),
            tally.count(Outcome::Passed),
            tally.count(Outcome::Failed),
            tally.count(Outcome::Skipped),
        ];
        text += &row(&tally.tier, counts, tally.time);
        sum.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
    }
    text += &row("all", sum, wall);
    for tally in tallies {
        for (name, outcome) in &tally.results {
            match outcome {
                Outcome::Passed => {}
                Outcome::Failed => text += &format!("FAILED  {}: {name}\n", tally.tier),
                Outcome::Skipped => text += &format!("SKIPPED {}: {name}\n", tally.tier),
            }
        }
    }
    text
}

fn row(tier: &str, [tests, passed, failed, skipped]: [usize; 4], time: Duration) -> String {
    let seconds = time.as_secs_f64();
    format!("{tier:<18} {tests:>6} {passed:>7} {failed:>7} {skipped:>8} {seconds:>8.1}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_without_a_result_is_skipped_and_that_is_no_pass() {
        let ran = vec![("a".to_owned(), Outcome::Passed)];
        let tally = Tally::compare("T1", ["a".into(), "b".into()], ran, Duration::ZERO);
        assert_eq!(tally.count(Outcome::Passed), 1);
        assert_eq!(tally.count(Outcome::Skipped), 1);
        assert!(!tally.passed());
        let text = table(&[tally], Duration::ZERO);
        assert!(text.contains("SKIPPED T1: b"), "{text}");
    }

    #[test]
    fn a_result_that_nobody_expected_is_kept() {
        let ran = vec![("x".to_owned(), Outcome::Failed)];
        let tally = Tally::compare("T0", [], ran, Duration::ZERO);
        assert!(!tally.passed());
    }
}
