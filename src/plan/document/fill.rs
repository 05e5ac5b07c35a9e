//! Fills in what a plan leaves out: the agent by routing, the input by the description.

use serde_json::json;

use super::faults::{Place, Subject, Warnings};
use crate::{
    model::{AgentName, InputData, NodeType},
    plan::{
        routing::{self, Routed},
        rules::{InputKind, Rules},
        unique::UniqueNames,
    },
};

/// Fills in, and remembers which files it has given away.
#[derive(Debug, Default)]
pub(super) struct Filler {
    stems: UniqueNames,
}

impl Filler {
    /// Chooses an agent by the words of a description, and says so.
    #[expect(clippy::unused_self, reason = "only who may fill in may choose")]
    pub(super) fn choose_agent(
        &self,
        description: &str,
        place: &Place<'_>,
        warnings: &mut Warnings,
    ) -> AgentName {
        let agent = routing::route(description);
        let subject = place.subject;
        warnings.add(|| match routing::weigh(description) {
            Routed::Tie => format!(
                "{subject}: the description speaks for no agent; {agent} was chosen, \
                 set agent to choose another"
            ),
            Routed::Coder | Routed::Debug => {
                format!("{subject}: agent {agent} was chosen by the description")
            }
        });
        agent
    }

    /// Makes an input from a task's id and description; `None` if there is no workspace to write
    /// to.
    pub(super) fn fill(
        &mut self,
        kind: InputKind,
        (task_id, description): (&str, &str),
        rules: &Rules<'_>,
        warnings: &mut Warnings,
    ) -> Option<InputData> {
        let (data, what) = match kind {
            InputKind::Tool => return None,
            InputKind::Free => return Some(InputData::default()),
            InputKind::Debug => (json!({ "problem_description": description }), String::new()),
            InputKind::Coder => {
                let node_type = routing::guess_node_type(description);
                let path = self.choose_path(task_id, node_type, rules)?;
                let what = format!(", to be written as {node_type:?} node to {path}");
                let data = json!({
                    "contract_description": description,
                    "node_type": node_type,
                    "output_path": path,
                });
                (data, what)
            }
        };
        let subject = Subject::Task(task_id);
        warnings.add(|| format!("{subject}: input_data was made from the description{what}"));
        data.as_object().cloned().map(InputData::from)
    }

    fn choose_path(
        &mut self,
        task_id: &str,
        node_type: NodeType,
        rules: &Rules<'_>,
    ) -> Option<String> {
        let root = rules.paths.roots().into_iter().next()?;
        Some(self.stems.choose(&node_stem(&root, task_id, node_type), '_') + ".py")
    }
}

/// `root/node_user_writer_effect` for the task `gen-user-writer`.
fn node_stem(root: &str, task_id: &str, node_type: NodeType) -> String {
    let kind = format!("{node_type:?}").to_lowercase();
    let words = routing::split_words(task_id);
    let is_verb = |it: &String| matches!(it.as_str(), "gen" | "generate" | "create" | "node");
    let front = words.iter().take_while(|it| is_verb(it)).count();
    let mut name = words.get(front..).filter(|it| !it.is_empty()).unwrap_or(&words).join("_");
    if let Some(stem) = name.strip_suffix(&format!("_{kind}")) {
        name = stem.to_owned();
    }
    format!("{}/node_{name}_{kind}", root.trim_end_matches('/'))
}
