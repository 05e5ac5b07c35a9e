//! Files and context that exist in memory only, for tests.

use std::{collections::BTreeMap, path::Path, sync::Arc, time::Duration};

use futures::future::BoxFuture;
use parking_lot::Mutex;
use serde_json::Value;

use super::testing::{Script, pass};
use crate::{
    model::{AgentName, Failure},
    ports::{
        AgentBackend, AgentDirectory, AttemptCall, BindError, Binding, CheckCall, CheckOutcome,
        Checks, ContextError, ContextItem, ContextSource, Gathering, MakeTraceFiles, RemovedTraces,
        TraceFile, TraceFiles, TraceTarget, TraceWriteError,
    },
};

/// Context that is its own key; the key `missing` is not there.
#[derive(Debug)]
pub(super) struct Echo;

impl ContextSource for Echo {
    fn prefix(&self) -> &'static str {
        "file"
    }

    fn gather<'a>(
        &'a self,
        key: &'a str,
        _: &'a Gathering,
    ) -> BoxFuture<'a, Result<ContextItem, ContextError>> {
        Box::pin(async move {
            if key == "missing" {
                return Err(ContextError { key: key.into(), reason: "it is not there".into() });
            }
            let metadata = serde_json::Map::new();
            Ok(ContextItem { kind: "file".into(), content: key.into(), metadata })
        })
    }
}

/// Trace files in memory, by path.
#[derive(Debug, Default)]
pub(super) struct Files {
    pub(super) written: Mutex<BTreeMap<String, String>>,
}

impl TraceFiles for Files {
    fn write(
        &self,
        target: TraceTarget,
        make: MakeTraceFiles,
    ) -> BoxFuture<'static, Result<(), TraceWriteError>> {
        for file in make() {
            let (path, text) = match file {
                TraceFile::Task { task_id, json } => (target.task_path(&task_id), json),
                TraceFile::Lines(lines) => (target.lines_path(), lines.join("\n")),
                TraceFile::Index(json) => (target.index_path(), json),
            };
            self.written.lock().insert(path.display().to_string(), text);
        }
        Box::pin(async { Ok(()) })
    }

    fn remove(&self, target: TraceTarget) -> BoxFuture<'static, RemovedTraces> {
        let mut written = self.written.lock();
        let n_before = written.len();
        let (folder, index) = (target.dispatch.to_string(), target.index_path());
        written.retain(|it, _| !it.contains(&folder) && Path::new(it) != index);
        let n_files = n_before - written.len();
        Box::pin(async move { RemovedTraces { n_files, left: None } })
    }
}

/// Checks of which `good` is good, and so is `slow`, after 30 seconds; all others are not.
#[derive(Debug)]
pub(super) struct GoodAndBad;

impl Checks for GoodAndBad {
    fn run(&self, call: CheckCall) -> BoxFuture<'_, CheckOutcome> {
        Box::pin(async move {
            if call.name == "slow" {
                pass(Duration::from_secs(30)).await;
            }
            let ok = ["good", "slow"].contains(&call.name.as_str());
            CheckOutcome { ok, detail: "as scripted".to_owned() }
        })
    }
}

/// The script as one agent.
#[derive(Debug)]
struct Actor(Arc<Script>, AgentName);

impl AgentBackend for Actor {
    fn lane(&self) -> &str {
        self.1.as_str()
    }

    fn run(&self, call: AttemptCall) -> BoxFuture<'_, Result<Value, Failure>> {
        self.0.run(call)
    }
}

/// One script for all agents.
#[derive(Debug)]
pub(super) struct Everywhere(pub(super) Arc<Script>);

impl AgentDirectory for Everywhere {
    fn bind<'a>(&'a self, agent: &'a AgentName) -> BoxFuture<'a, Result<Binding, BindError>> {
        let backend = Arc::new(Actor(Arc::clone(&self.0), agent.clone()));
        Box::pin(async { Ok(Binding { backend, warnings: vec!["scripted".into()] }) })
    }
}
