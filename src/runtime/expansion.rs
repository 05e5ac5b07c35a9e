//! What a task stands for: the tasks that it becomes, and the one result of theirs.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::{
    dispatcher::Dispatcher,
    document::StoredDocument,
    gatekeeper::{Found, Seen, evaluate},
    live::Live,
    message::Message,
    rules::OwnedRules,
};
use crate::{
    model::{
        DispatchId, Failure, FailureCode, ForEachSpec, JoinRule, LoopSpec, TaskIdx, TaskSpec,
        TaskStatus, text,
    },
    plan::{self, Condition, Pattern, Scope},
    ports::Journal,
    scheduler::{Gate, GateAnswer},
};

/// The most bytes of outputs that one result is put together from.
const JOINED_BYTES_MAX: usize = 16 << 20;

/// What is looked at to find out what a task becomes.
struct Expansion {
    dispatch: DispatchId,
    task: TaskIdx,
    document: Arc<StoredDocument>,
    /// What it has become so far, and how that stands.
    parts: Vec<(TaskIdx, TaskStatus, Option<String>)>,
    /// How those stand that a loop's condition names.
    named: Vec<(String, TaskIdx, TaskStatus)>,
    journal: Arc<dyn Journal>,
    rules: Arc<OwnedRules>,
}

/// What a task becomes next.
enum Next {
    Parts(Vec<TaskSpec>),
    /// It has its result, as JSON text.
    Joined(String),
}

impl Dispatcher {
    /// Finds out what a task becomes; what it is comes back as a message.
    pub(super) fn ask_expansion(&mut self, dispatch: DispatchId, task: TaskIdx) {
        let Some(live) = self.lives.get(&dispatch) else { return };
        let journal = Arc::clone(&self.dependencies.journal);
        let expansion = Expansion::new(live, task, journal, Arc::clone(&self.rules));
        self.run_errand(async move {
            let gate = Gate::Expansion;
            let found = |answer, output| {
                let found = Found { task, gate, answer, output };
                Message::Answer { dispatch, found }
            };
            match expansion.next().await {
                Ok(Next::Parts(parts)) => Message::Expand { dispatch, task, parts },
                Ok(Next::Joined(output)) => found(GateAnswer::Join, Some(output)),
                Err(failure) => found(GateAnswer::Fail(failure), None),
            }
        });
    }
}

impl Expansion {
    fn new(live: &Live, task: TaskIdx, journal: Arc<dyn Journal>, rules: Arc<OwnedRules>) -> Self {
        let document = Arc::clone(&live.document);
        let stand = |it: TaskIdx| {
            let row = &live.rows[it.as_usize()];
            (it, row.status, row.failure.as_ref().map(|it| it.message.to_string()))
        };
        let parts = document.parts_of(task).into_iter().map(stand).collect();
        let until = document.tasks[task.as_usize()].repeat.as_ref();
        let condition = until.and_then(|it| Condition::read(&it.until).ok());
        let names = condition.iter().flat_map(|it| it.tasks().map(|it| it.0.to_owned()));
        let named = names.filter_map(|id| {
            let place = document.place(&id)?;
            Some((id, place, live.rows[place.as_usize()].status))
        });
        let named = named.collect();
        Self { dispatch: live.id, task, document, parts, named, journal, rules }
    }

    async fn next(self) -> Result<Next, Failure> {
        let pattern = &self.document.tasks[self.task.as_usize()];
        match (&pattern.for_each, &pattern.repeat) {
            (Some(for_each), _) if self.parts.is_empty() => self.fan_out(pattern, for_each).await,
            (Some(for_each), _) => self.join(for_each.join).await,
            (None, Some(repeat)) => self.repeat(pattern, repeat).await,
            (None, None) => Err(fail("the task stands for no others")),
        }
    }

    async fn fan_out(&self, pattern: &TaskSpec, for_each: &ForEachSpec) -> Result<Next, Failure> {
        let Value::Array(items) = self.items(for_each).await? else {
            return Err(fail("the items of for_each are no list"));
        };
        let max = for_each.max_items.unwrap_or(ForEachSpec::ITEMS_DEFAULT) as usize;
        let n_free = self.rules.as_rules().limits.tasks_max;
        let max = max.min(n_free.saturating_sub(self.document.tasks.len()));
        if items.len() > max {
            let n = items.len();
            return Err(fail(&format!("for_each has {n} items; at most {max} are allowed here")));
        }
        if items.is_empty() {
            return Ok(Next::Joined("[]".to_owned()));
        }
        let pattern = Pattern::new(pattern);
        let part = |(index, item): (usize, Value)| {
            self.part(&pattern, index, &Scope::Item { item, index })
        };
        let parts = items.into_iter().enumerate().map(part);
        parts.collect::<Result<_, _>>().map(Next::Parts)
    }

    /// The list, its references resolved.
    async fn items(&self, for_each: &ForEachSpec) -> Result<Value, Failure> {
        let mut given = Map::from_iter([("items".to_owned(), for_each.items.clone())]);
        if !plan::has_references(&given) {
            return Ok(given.remove("items").unwrap_or_default());
        }
        let place = |id: String| self.document.place(&id).map(|it| (id, it));
        let named: Vec<_> = plan::referenced_ids(&given).into_iter().filter_map(place).collect();
        let outputs = self.outputs(named.iter().map(|it| it.1).collect()).await?;
        let read = |json: Option<String>| serde_json::from_str::<Value>(&json?).ok();
        let outputs: Vec<_> =
            named.into_iter().zip(outputs).map(|(it, json)| (it.0, read(json))).collect();
        let of = |id: &str| outputs.iter().find(|it| it.0 == id).and_then(|it| it.1.as_ref());
        let mut resolved = plan::resolve(&given, &of)?;
        Ok(resolved.remove("items").unwrap_or_default())
    }

    async fn join(&self, join: JoinRule) -> Result<Next, Failure> {
        let outputs = self.outputs(self.parts.iter().map(|it| it.0).collect()).await?;
        let n_bytes: usize = outputs.iter().flatten().map(String::len).sum();
        if n_bytes > JOINED_BYTES_MAX {
            let message = format!("the results make {n_bytes} bytes, more than {JOINED_BYTES_MAX}");
            return Err(Failure::new(FailureCode::UpstreamLimit, message));
        }
        let mut items = Vec::with_capacity(outputs.len());
        for ((task, status, error), output) in self.parts.iter().zip(outputs) {
            let output = output.unwrap_or_else(|| "null".to_owned());
            items.push(match join {
                JoinRule::AllSuccess => output,
                JoinRule::AllDone => {
                    let id = json!(self.document.tasks[task.as_usize()].task_id);
                    let (status, error) = (json!(status), json!(error));
                    format!(
                        "{{\"task_id\":{id},\"status\":{status},\"output\":{output},\
                         \"error\":{error}}}"
                    )
                }
            });
        }
        Ok(Next::Joined(format!("[{}]", items.join(","))))
    }

    async fn repeat(&self, pattern: &TaskSpec, repeat: &LoopSpec) -> Result<Next, Failure> {
        let pattern = Pattern::new(pattern);
        let Some(&(last, status, _)) = self.parts.last() else {
            let scope = Scope::Iteration { number: 1, previous: None };
            return Ok(Next::Parts(vec![self.part(&pattern, 0, &scope)?]));
        };
        let output = self.outputs(vec![last]).await?.pop().flatten();
        if self.is_met(repeat, (status, output.clone())).await? {
            return Ok(Next::Joined(output.unwrap_or_else(|| "null".to_owned())));
        }
        let n = self.parts.len();
        if n >= repeat.max_iterations as usize {
            let until = text::escape(&text::cut(&repeat.until, 200));
            let message =
                format!("after {n} iterations, its max_iterations, until is false: {until}");
            return Err(Failure::new(FailureCode::CheckFailed, message));
        }
        let previous = output.and_then(|it| serde_json::from_str(&it).ok());
        let scope = Scope::Iteration { number: n + 1, previous: previous.or(Some(Value::Null)) };
        Ok(Next::Parts(vec![self.part(&pattern, n, &scope)?]))
    }

    /// Whether a loop has come to its end; the task's own id stands for its last iteration.
    async fn is_met(
        &self,
        repeat: &LoopSpec,
        last: (TaskStatus, Option<String>),
    ) -> Result<bool, Failure> {
        let condition = Condition::read(&repeat.until).map_err(|_| fail("until cannot be read"))?;
        let outputs = self.outputs(self.named.iter().map(|it| it.1).collect()).await?;
        let own = self.document.tasks[self.task.as_usize()].task_id.as_str();
        let tasks = self.named.iter().zip(outputs).map(|((id, _, status), output)| {
            let (status, output) = if id == own { last.clone() } else { (*status, output) };
            (id.clone(), status, output)
        });
        let seen = Seen { tasks: tasks.collect(), ..Seen::default() };
        evaluate(condition, seen, (Arc::clone(&self.document), self.task)).await
    }

    /// One of the tasks, checked as far as it is known by now.
    fn part(
        &self,
        pattern: &Pattern<'_>,
        number: usize,
        scope: &Scope,
    ) -> Result<TaskSpec, Failure> {
        let part = pattern.part(number, scope)?;
        let rules = self.rules.as_rules();
        plan::check_resolved_input(&part.agent, &part.input_data, &rules).map_err(|it| {
            let message = format!("part {number}: {}", it.message);
            Failure { message: message.into(), ..it }
        })?;
        Ok(part)
    }

    async fn outputs(&self, tasks: Vec<TaskIdx>) -> Result<Vec<Option<String>>, Failure> {
        self.journal.outputs(self.dispatch, tasks).await.map_err(|it| {
            Failure::new(FailureCode::Interrupted, format!("failed to read outputs: {it}"))
        })
    }
}

fn fail(reason: &str) -> Failure {
    Failure::new(FailureCode::OutputInvalid, reason)
}
