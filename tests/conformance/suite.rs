//! Runs the suite as a program of its own, and holds its score against a baseline.

use std::collections::BTreeSet;

use tokio::process::Command;

use crate::node::node_with;

const SCRIPT: &str = "@modelcontextprotocol/conformance/dist/index.js";
/// What stands before the score of each scenario.
const SUMMARY: &str = "=== SUMMARY ===";

/// What a run said.
#[derive(Debug)]
pub(crate) struct Report {
    is_as_expected: bool,
    text: String,
    baseline: BTreeSet<String>,
}

/// Runs all that `revision` requires of servers, and what the suite has for it besides, against
/// the one at `url`.
pub(crate) async fn run(revision: &str, url: &str) -> Report {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/conformance");
    let baseline = format!("{folder}/baseline-{revision}.yaml");
    let (node, script) = node_with(SCRIPT);
    let mut suite = Command::new(node);
    suite.arg(script).args(["server", "--url", url, "--requirements", revision]);
    suite.args(["--expected-failures", &baseline]).kill_on_drop(true);
    let output = suite.output().await.unwrap();
    let texts = [&output.stdout, &output.stderr].map(|it| String::from_utf8_lossy(it));
    Report {
        is_as_expected: output.status.success(),
        text: texts.concat(),
        baseline: scenarios_of(&std::fs::read_to_string(baseline).unwrap()),
    }
}

/// The scenarios in a baseline; an entry may name one check of a scenario.
fn scenarios_of(baseline: &str) -> BTreeSet<String> {
    let entries = baseline.lines().filter_map(|it| it.trim().strip_prefix("- "));
    let entries = entries.map(|it| it.split([':', ' ']).next().unwrap_or_default());
    entries.map(str::to_owned).collect()
}

impl Report {
    /// Prints the score. Fails where another scenario fails than the baseline says, or one of it
    /// does not; the suite itself looks only at those that count for the revision.
    #[track_caller]
    pub(crate) fn check(&self) {
        let (_, score) = self.text.split_once(SUMMARY).unwrap_or(("", &self.text));
        println!("{score}");
        let failed: BTreeSet<_> = score
            .lines()
            .filter_map(|it| it.strip_prefix("\u{2717} ")?.split_once(':'))
            .map(|it| it.0.to_owned())
            .collect();
        assert_eq!(failed, self.baseline, "{}", self.text);
        assert!(self.is_as_expected, "{}", self.text);
        assert!(score.contains("\u{2713} ") && score.contains("Total: "), "{}", self.text);
    }
}
