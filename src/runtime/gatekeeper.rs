//! What holds a task before its start is found out here, beside the dispatcher.

use std::{sync::Arc, time::Duration};

use serde_json::{Map, Value, json};

use super::{dispatcher::Dispatcher, document::StoredDocument, live::Live, message::Message};
use crate::{
    model::{DispatchId, Failure, FailureCode, TaskIdx, TaskStatus, text},
    plan::{Condition, Facts},
    ports::Journal,
    scheduler::{Gate, GateAnswer},
};

/// How long a condition may take to be evaluated. What it does is bounded beforehand, so that this
/// binds on a machine that is out of breath only.
const EVALUATION_TIMEOUT: Duration = Duration::from_secs(1);
/// The most characters of an expression that are shown.
const SHOWN_CHARS_MAX: usize = 200;

/// What was found out about a held task.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) task: TaskIdx,
    pub(super) gate: Gate,
    pub(super) answer: GateAnswer,
    /// The output that goes with [`GateAnswer::Reuse`], as JSON text.
    pub(super) output: Option<String>,
}

/// A condition, and how the tasks stood that it names when it was asked.
struct Question {
    dispatch: DispatchId,
    task: TaskIdx,
    document: Arc<StoredDocument>,
    condition: Condition,
    named: Vec<Named>,
}

/// A task that a condition names.
struct Named {
    id: String,
    task: TaskIdx,
    status: TaskStatus,
    has_output: bool,
}

impl Dispatcher {
    /// Has a question answered; the answer comes back as `Message::Answer`.
    pub(super) fn ask(&mut self, dispatch: DispatchId, task: TaskIdx, gate: Gate) {
        match gate {
            Gate::Condition => self.ask_condition(dispatch, task),
            Gate::Reuse => self.look_for_result(dispatch, task),
            Gate::Expansion => self.ask_expansion(dispatch, task),
            // People are asked by the result, and they answer by a request.
            Gate::Approval => (),
        }
    }

    fn ask_condition(&mut self, dispatch: DispatchId, task: TaskIdx) {
        let Some(live) = self.lives.get(&dispatch) else { return };
        let question = Question::new(live, task);
        let journal = Arc::clone(&self.dependencies.journal);
        self.run_errand(async move {
            let answer = match question {
                Ok(question) => question.answer(journal.as_ref()).await,
                Err(failure) => GateAnswer::Fail(failure),
            };
            let found = Found { task, gate: Gate::Condition, answer, output: None };
            Message::Answer { dispatch, found }
        });
    }
}

impl Question {
    fn new(live: &Live, task: TaskIdx) -> Result<Self, Failure> {
        let document = Arc::clone(&live.document);
        // It was checked when the document came; only a store of another program has another one.
        let source = document.tasks[task.as_usize()].when.as_deref().unwrap_or("true");
        let condition = Condition::read(source).map_err(|faults| {
            let what = faults.first().map_or("", |it| it.what.as_str());
            Failure::new(FailureCode::ConditionError, text::escape(&format!("`when` {what}")))
        })?;
        let named = condition.tasks().filter_map(|(id, has_output)| {
            let task = document.place(id)?;
            let status = live.rows[task.as_usize()].status;
            Some(Named { id: id.to_owned(), task, status, has_output })
        });
        let named = named.collect();
        Ok(Self { dispatch: live.id, task, document, condition, named })
    }

    async fn answer(self, journal: &dyn Journal) -> GateAnswer {
        let shown = text::cut(self.source(), SHOWN_CHARS_MAX);
        match self.evaluate(journal).await {
            Ok(true) => GateAnswer::Pass,
            Ok(false) => {
                let reason = text::escape(&format!("when: {shown} is false"));
                GateAnswer::Omit(reason.into())
            }
            Err(failure) => GateAnswer::Fail(failure),
        }
    }

    fn source(&self) -> &str {
        self.document.tasks[self.task.as_usize()].when.as_deref().unwrap_or_default()
    }

    async fn evaluate(self, journal: &dyn Journal) -> Result<bool, Failure> {
        let outputs = self.outputs(journal).await?;
        let tasks = self.named.into_iter().zip(outputs);
        let tasks = tasks.map(|(it, output)| (it.id, it.status, output)).collect();
        let seen = Seen { tasks, ..Seen::default() };
        evaluate(self.condition, seen, (self.document, self.task)).await
    }

    /// The outputs of the tasks named, where the condition looks at them.
    async fn outputs(&self, journal: &dyn Journal) -> Result<Vec<Option<String>>, Failure> {
        let wanted = self.named.iter().filter(|it| it.has_output).map(|it| it.task).collect();
        let outputs = journal.outputs(self.dispatch, wanted).await.map_err(|it| {
            Failure::new(FailureCode::Interrupted, format!("failed to read upstream outputs: {it}"))
        })?;
        let mut outputs = outputs.into_iter();
        let output = |it: &Named| if it.has_output { outputs.next().flatten() } else { None };
        Ok(self.named.iter().map(output).collect())
    }
}

/// What a condition of a task looks at.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// How other tasks stand: id, status, and output as JSON text.
    pub(super) tasks: Vec<(String, TaskStatus, Option<String>)>,
    /// The task's own output as JSON text.
    pub(super) output: Option<String>,
    /// The input that its agent got; that of the document where there is none.
    pub(super) input: Option<Map<String, Value>>,
}

/// Whether a condition of a task is met.
pub(super) async fn evaluate(
    condition: Condition,
    Seen { tasks, output, input }: Seen,
    (document, task): (Arc<StoredDocument>, TaskIdx),
) -> Result<bool, Failure> {
    // It may take as long as a blink, in which other dispatches go on.
    let evaluation = tokio::task::spawn_blocking(move || {
        let config = json!(document.config.to_config(None));
        let input = input.as_ref().unwrap_or(&document.tasks[task.as_usize()].input_data);
        condition.evaluate(Facts { tasks, output, input, config })
    });
    match tokio::time::timeout(EVALUATION_TIMEOUT, evaluation).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => Err(fail(&format!("its evaluation broke off: {error}"))),
        Err(_) => Err(fail("it took longer than 1 s")),
    }
}

fn fail(reason: &str) -> Failure {
    let message = format!("the condition cannot be evaluated: {reason}");
    Failure::new(FailureCode::ConditionError, message)
}
