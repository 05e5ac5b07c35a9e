//! Why attempts started when they did: made from the journal when somebody asks, and never stored.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::document::StoredDocument;
use crate::{
    model::{Attempt, Millis, TaskIdx, Timestamp, TraceEvent, TraceKind},
    plan::TaskGraph,
    ports::{Record, RecordBody, StoreError},
    scheduler::{Decision, Event},
};

/// Knows the ranks that a dispatch was scheduled by.
#[derive(Debug)]
pub(super) struct Explainer {
    document: StoredDocument,
    graph: Arc<TaskGraph>,
    created_at: Millis,
}

impl Explainer {
    /// Reads a dispatch's document. Costs O(document).
    pub(super) fn read(json: &str, created_at: Millis) -> Result<Self, StoreError> {
        let document = StoredDocument::read(json)?;
        let graph = document.graph()?;
        Ok(Self { document, graph, created_at })
    }

    /// The decision behind a record; `None` unless it is the start of an attempt.
    pub(super) fn event(&self, record: &Record) -> Option<TraceEvent> {
        let RecordBody::Scheduler(Event::AttemptStarted { task, attempt, decision, .. }) =
            record.body
        else {
            return None;
        };
        let spec = self.document.tasks.get(task.as_usize())?;
        Some(TraceEvent {
            seq: record.seq,
            at: Timestamp(record.at),
            kind: TraceKind::Decision,
            task_id: Some(spec.task_id.clone()),
            attempt: Some(attempt),
            data: self.describe(record.at, (task, attempt), decision),
        })
    }

    fn describe(
        &self,
        at: Millis,
        (task, attempt): (TaskIdx, Attempt),
        decision: Decision,
    ) -> Map<String, Value> {
        let mut data = Map::new();
        let mut put = |name: &str, value: Value| data.insert(name.to_owned(), value);
        put("rank_seconds", json!(self.graph.rank(task).seconds()));
        put("estimate_seconds", json!(self.graph.estimate(task).seconds()));
        put("position", json!(self.graph.priority(task) + 1));
        if decision.is_unknown() {
            return data;
        }
        let Decision { n_ready, waited, released_by, worker_from, overtakes, .. } = decision;
        let trigger = Trigger::of(attempt, decision);
        put("ready_tasks", json!(n_ready));
        put("trigger", json!(trigger.name()));
        if let Some(it) = released_by {
            put("released_by", json!(self.name(it)));
        }
        if let Some(it) = worker_from {
            put("worker_from", json!(self.name(it)));
        }
        if let Some(it) = decision.claim_from {
            put("claim_from", json!(self.name(it)));
        }
        if overtakes {
            put("overtakes", json!(true));
        }
        if attempt == Attempt(1) {
            put("blocked_ms", json!(at.since(waited).since(self.created_at).0));
        }
        put("waited_ms", json!(waited.0));
        put("why", json!(self.sentence((task, attempt), decision, trigger)));
        data
    }

    fn sentence(
        &self,
        (task, attempt): (TaskIdx, Attempt),
        decision: Decision,
        trigger: Trigger,
    ) -> String {
        let rank = self.graph.rank(task).seconds();
        let chosen = match decision.n_ready {
            1 => "it was the only ready task".to_owned(),
            n if decision.overtakes => {
                format!(
                    "of {n} ready tasks none that had room had a longer remaining path than \
                         its {rank} s"
                )
            }
            n => format!("of {n} ready tasks none had a longer remaining path than its {rank} s"),
        };
        let name = |it: Option<TaskIdx>| it.map_or_else(String::new, |it| self.name(it));
        let moment = match trigger {
            Trigger::DispatchStarted => "a worker was free from the start".to_owned(),
            Trigger::DependencyEnded => {
                format!(
                    "\"{}\", the last that it waited for, had ended",
                    name(decision.released_by)
                )
            }
            Trigger::WorkerFree => match decision.worker_from {
                Some(_) => format!("\"{}\" gave its worker back", name(decision.worker_from)),
                None => "a worker came free".to_owned(),
            },
            Trigger::ClaimFree => {
                format!(
                    "\"{}\" made way, whose claims overlap with its own",
                    name(decision.claim_from)
                )
            }
            Trigger::RoomFree => {
                "there was room again, which other dispatches or its agent's upstream had not left"
                    .to_owned()
            }
            Trigger::Resumed => "a pause was lifted".to_owned(),
            Trigger::BudgetFree => "the budget had room for it".to_owned(),
            Trigger::NextAttempt => format!("this is attempt {}", attempt.0),
        };
        format!("{chosen}, and {moment}")
    }

    fn name(&self, task: TaskIdx) -> String {
        let spec = self.document.tasks.get(task.as_usize());
        spec.map_or_else(String::new, |it| it.task_id.to_string())
    }
}

/// What made the start possible at that moment and no earlier.
#[derive(Clone, Copy, Debug)]
enum Trigger {
    DispatchStarted,
    DependencyEnded,
    WorkerFree,
    ClaimFree,
    RoomFree,
    BudgetFree,
    NextAttempt,
    Resumed,
}

impl Trigger {
    fn of(attempt: Attempt, decision: Decision) -> Self {
        if attempt > Attempt(1) {
            Self::NextAttempt
        } else if decision.claim_from.is_some() {
            Self::ClaimFree
        } else if decision.waited > Millis(0) {
            match decision {
                Decision { is_funded: true, .. } => Self::BudgetFree,
                Decision { is_allowed: true, .. } => Self::RoomFree,
                Decision { is_resumed: true, .. } => Self::Resumed,
                _ => Self::WorkerFree,
            }
        } else if decision.released_by.is_some() {
            Self::DependencyEnded
        } else if decision.worker_from.is_some() {
            Self::WorkerFree
        } else {
            Self::DispatchStarted
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::DispatchStarted => "dispatch_started",
            Self::DependencyEnded => "dependency_ended",
            Self::WorkerFree => "worker_free",
            Self::ClaimFree => "claim_free",
            Self::RoomFree => "room_free",
            Self::BudgetFree => "budget_free",
            Self::NextAttempt => "next_attempt",
            Self::Resumed => "resumed",
        }
    }
}
