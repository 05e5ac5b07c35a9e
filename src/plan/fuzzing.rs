//! What holds of every document, whatever its bytes are; `fuzz/` feeds it.

use super::{
    AgentRule, Checked, InputKind, Limits, PathFault, PathPolicy, Rules, check_dispatch,
    check_document, check_plan, check_retry, check_specs,
};
use crate::model::{AgentName, Refusal, json};

/// Reads any bytes as a document and as the arguments of each tool that takes tasks.
///
/// # Panics
/// When a promise is broken: a refusal is too long, or what was accepted is not accepted again.
#[doc(hidden)]
pub fn fuzz_document(bytes: &[u8]) {
    let [coder, debug] = AgentRule::built_in();
    let free = AgentRule { name: AgentName::new("free"), input: InputKind::Free };
    let agents = [coder, debug, free];
    let rules = Rules { limits: Limits::SERVER, agents: &agents, checks: &[], paths: &Below };
    let json = match json::read(bytes) {
        Ok(json) => json,
        Err(refusal) => return check_refusal(&refusal),
    };
    match check_document(&json, &rules) {
        Ok(checked) => check_again(checked, &rules),
        Err(refusal) => check_refusal(&refusal),
    }
    for refused in [
        check_dispatch(&json, &rules).err(),
        check_plan(&json, &rules).err(),
        check_retry(&json).err(),
    ] {
        refused.iter().for_each(check_refusal);
    }
}

fn check_refusal(refusal: &Refusal) {
    let body = serde_json::to_vec(&refusal.to_body()).unwrap_or_default();
    assert!((2..=Refusal::BYTES_MAX).contains(&body.len()), "a refusal of {} bytes", body.len());
}

/// What was accepted is accepted once more, and comes out as it went in.
fn check_again(checked: Checked, rules: &Rules<'_>) {
    let Checked { tasks, config, graph, warnings: _ } = checked;
    let written = serde_json::to_value(&tasks).unwrap_or_default();
    let n_edges = |it: &super::TaskGraph| it.tasks().map(|at| it.dependencies(at).len()).sum();
    let before: (usize, usize) = (graph.len(), n_edges(&graph));
    match check_specs(tasks, config, rules) {
        Ok(again) => {
            let rewritten = serde_json::to_value(&again.tasks).unwrap_or_default();
            assert_eq!(rewritten, written, "a document changes when it is read again");
            assert_eq!((again.graph.len(), n_edges(&again.graph)), before);
        }
        Err(refusal) => assert!(refusal.to_string().is_empty(), "refused again: {refusal}"),
    }
}

/// Allows what is below `/w`.
struct Below;

impl PathPolicy for Below {
    fn check(&self, path: &str) -> Result<(), PathFault> {
        match path.strip_prefix('/') {
            None => Err(PathFault::NotAbsolute),
            Some(it) if it.starts_with("w/") => Ok(()),
            Some(_) => Err(PathFault::NotAllowed),
        }
    }

    fn roots(&self) -> Vec<String> {
        vec!["/w".to_owned()]
    }

    fn check_trace_dir(&self, dir: &str) -> Result<(), PathFault> {
        self.check(dir)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::testing::mutants;

    #[test]
    fn mutants_of_documents_keep_the_promises() {
        let seeds = [
            include_str!("../../fuzz/seeds/document/diamond.json"),
            include_str!("../../fuzz/seeds/document/dispatch.json"),
            include_str!("../../fuzz/seeds/document/plan.json"),
        ];
        mutants(&seeds, 1_000, fuzz_document);
    }
}
