//! Makes tasks out of phrases: ids, agents and inputs that a text does not spell out.

use serde_json::{Map, Value, json};

use super::{
    routing::{self, Routed},
    rules::Rules,
    unique::UniqueNames,
};
use crate::model::{AgentName, NodeType, TaskId, TaskSpec, TriggerRule, text};

/// How many warnings are kept; more are counted only.
const WARNINGS_MAX: usize = 20;

/// Words that say nothing about what a task is, and so do not belong into its id.
const FILLER_WORDS: [&str; 34] = [
    "a", "an", "the", "and", "or", "of", "for", "to", "in", "into", "on", "at", "with", "by",
    "why", "is", "are", "was", "be", "it", "its", "this", "that", "new", "existing", "please",
    "also", "all", "some", "our", "my", "from", "task", "out",
];

/// The most words of a phrase that an id is made of.
const ID_WORDS_MAX: usize = 5;

/// Tasks made from a text, and what was assumed on the way.
#[derive(Debug)]
pub(super) struct Drafts {
    pub(super) tasks: Vec<TaskSpec>,
    pub(super) warnings: Vec<String>,
}

/// Collects the tasks of one text.
#[derive(Debug)]
pub(super) struct DraftMaker<'r> {
    rules: &'r Rules<'r>,
    root: Option<String>,
    ids: UniqueNames,
    stems: UniqueNames,
    tasks: Vec<TaskSpec>,
    warnings: Vec<String>,
    n_warnings: usize,
    n_edges: usize,
}

/// What is known of a task.
#[derive(Clone, Debug, Default)]
pub(super) struct Draft {
    /// Its id if the text gives one; otherwise it is made from `subject`.
    pub(super) id: Option<String>,
    /// What it is about in a few words: makes the id and the file name.
    pub(super) subject: String,
    pub(super) description: String,
    /// What the agent is told; the description if empty.
    pub(super) told: String,
    /// By routing if unknown.
    pub(super) agent: Option<&'static str>,
    pub(super) node_type: Option<NodeType>,
    pub(super) output_path: Option<String>,
    /// Files to look at.
    pub(super) files: Vec<String>,
    pub(super) dependencies: Vec<TaskId>,
    pub(super) estimate_seconds: Option<f64>,
}

impl<'r> DraftMaker<'r> {
    pub(super) fn new(rules: &'r Rules<'r>) -> Self {
        Self {
            rules,
            root: rules.paths.roots().into_iter().next(),
            ids: UniqueNames::default(),
            stems: UniqueNames::default(),
            tasks: Vec::new(),
            warnings: Vec::new(),
            n_warnings: 0,
            n_edges: 0,
        }
    }

    /// Adds a task and says where it stands.
    pub(super) fn add(&mut self, draft: Draft) -> usize {
        let agent = draft.agent.unwrap_or_else(|| self.choose_agent(&draft.description));
        let is_coder = agent == AgentName::CODER;
        let task_id = if let Some(id) = &draft.id {
            id.clone()
        } else {
            let front = if is_coder { "gen" } else { "debug" };
            self.ids.choose(&format!("{front}-{}", slug(&draft.subject, '-')), '-')
        };
        let input_data =
            if is_coder { self.tell_coder(&task_id, &draft) } else { tell_debug(&draft) };
        self.n_edges += draft.dependencies.len();
        self.tasks.push(TaskSpec {
            task_id: TaskId::new(&task_id),
            agent: AgentName::new(agent),
            description: draft.description,
            input_data: input_data.into(),
            dependencies: draft.dependencies,
            trigger_rule: TriggerRule::default(),
            when: None,
            context_requirements: Vec::new(),
            timeout_seconds: None,
            total_timeout_seconds: None,
            idle_timeout_seconds: None,
            retry: None,
            approval: None,
            expect: None,
            output_schema: None,
            estimate_seconds: draft.estimate_seconds,
            for_each: None,
            repeat: None,
            writes: None,
            resources: None,
            cache: None,
            estimate_tokens: None,
            estimate_cost_usd: None,
        });
        self.tasks.len() - 1
    }

    /// A task that was added.
    pub(super) fn task(&self, at: usize) -> &TaskSpec {
        &self.tasks[at]
    }

    /// The two tasks that were added last.
    pub(super) fn last_two(&self) -> Option<[usize; 2]> {
        let n_tasks = self.tasks.len();
        (n_tasks >= 2).then(|| [n_tasks - 2, n_tasks - 1])
    }

    /// The ids of tasks that were added.
    pub(super) fn ids_of(&self, tasks: &[usize]) -> Vec<TaskId> {
        tasks.iter().map(|it| self.tasks[*it].task_id.clone()).collect()
    }

    /// Whether there is more than a document may hold, so that adding on is of no use.
    pub(super) fn is_full(&self) -> bool {
        self.tasks.len() > self.rules.limits.tasks_max || self.n_edges > self.rules.limits.edges_max
    }

    /// Adds a warning.
    pub(super) fn warn(&mut self, warning: &str) {
        self.n_warnings += 1;
        if self.warnings.len() < WARNINGS_MAX {
            self.warnings.push(text::escape(&text::cut(warning, 400)));
        }
    }

    /// The tasks and warnings; a text that made no task is one task itself.
    pub(super) fn finish(mut self) -> Drafts {
        if self.n_warnings > self.warnings.len() {
            let n_more = self.n_warnings - self.warnings.len();
            self.warnings.push(format!("{n_more} more assumptions were made"));
        }
        Drafts { tasks: self.tasks, warnings: self.warnings }
    }

    /// Whether agents may use a path.
    pub(super) fn allows(&self, path: &str) -> bool {
        self.rules.paths.check(path).is_ok()
    }

    /// The main workspace.
    pub(super) fn root(&self) -> Option<&str> {
        self.root.as_deref()
    }

    fn choose_agent(&mut self, description: &str) -> &'static str {
        match routing::weigh(description) {
            Routed::Coder => AgentName::CODER,
            Routed::Debug => AgentName::DEBUG,
            Routed::Tie => {
                self.warn(&format!(
                    "{:?} speaks for no agent; coder was chosen",
                    text::cut(description, 80)
                ));
                AgentName::CODER
            }
        }
    }

    fn tell_coder(&mut self, task_id: &str, draft: &Draft) -> Map<String, Value> {
        let told = if draft.told.is_empty() { &draft.description } else { &draft.told };
        let node_type =
            draft.node_type.unwrap_or_else(|| routing::guess_node_type(&draft.description));
        let mut input = Map::new();
        input.insert("contract_description".into(), json!(told));
        input.insert("node_type".into(), json!(node_type));
        let mut assumed = Vec::new();
        if draft.node_type.is_none() {
            assumed.push(format!("node_type {node_type:?}"));
        }
        let path = draft.output_path.clone().or_else(|| {
            let stem = node_stem(self.root.as_deref()?, &draft.subject, node_type);
            let path = self.stems.choose(&stem, '_') + ".py";
            assumed.push(format!("output_path {path}"));
            Some(path)
        });
        if !assumed.is_empty() {
            self.warn(&format!("task {task_id:?}: assumed {}", assumed.join(" and ")));
        }
        if let Some(path) = path {
            input.insert("output_path".into(), json!(path));
        }
        if !draft.files.is_empty() {
            input.insert("context_files".into(), json!(draft.files));
        }
        input
    }
}

fn tell_debug(draft: &Draft) -> Map<String, Value> {
    let told = if draft.told.is_empty() { &draft.description } else { &draft.told };
    let mut input = Map::new();
    input.insert("problem_description".into(), json!(told));
    if !draft.files.is_empty() {
        input.insert("affected_files".into(), json!(draft.files));
    }
    input
}

/// `root/node_user_writer_effect` for "user writer Effect node".
pub(super) fn node_stem(root: &str, subject: &str, node_type: NodeType) -> String {
    let kind = format!("{node_type:?}").to_lowercase();
    let name = slug(subject, '_');
    let name = name.strip_prefix("gen_").unwrap_or(&name);
    let name = name.strip_suffix("_node").unwrap_or(name);
    let name = name.strip_suffix(&format!("_{kind}")).unwrap_or(name);
    format!("{}/node_{name}_{kind}", root.trim_end_matches('/'))
}

/// The first words of a phrase that say what it is about, in letters and digits of ASCII.
pub(super) fn slug(phrase: &str, separator: char) -> String {
    let words = phrase.split(|it: char| !it.is_ascii_alphanumeric()).filter(|it| !it.is_empty());
    let words: Vec<String> = words.map(|it| text::cut(it, 30).to_ascii_lowercase()).collect();
    let telling = words.iter().filter(|it| !FILLER_WORDS.contains(&it.as_str()));
    let mut kept: Vec<&str> =
        telling.take(ID_WORDS_MAX).map(|it| it.trim_end_matches('…')).collect();
    if kept.is_empty() {
        kept.push("task");
    }
    kept.join(&separator.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slugs_keep_what_a_phrase_is_about() {
        assert_eq!(slug("why the authentication is failing", '-'), "authentication-failing");
        assert_eq!(slug("Ünïcode ☃", '-'), "n-code");
        assert_eq!(slug("the ☃", '-'), "task");
    }

    #[test]
    fn file_names_do_not_repeat_the_type() {
        let stem = node_stem("/w/", "user writer Effect node", NodeType::Effect);
        assert_eq!(stem, "/w/node_user_writer_effect");
    }
}
