//! Log notifications to clients: what happens in the dispatches that a session has asked for.
//!
//! Until 2025-11-25 a session hears warnings, and more or less after `logging/setLevel`. Since
//! 2026-07-28 a request hears what its `_meta` asks for, while it is served, and nothing otherwise.
#![expect(deprecated, reason = "clients of every revision are served, also of those with logging")]

use std::{
    collections::BTreeSet,
    fmt,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU8, Ordering},
    },
    time::Duration,
};

use rmcp::{
    ErrorData, Peer, RoleServer,
    model::{
        LoggingLevel, LoggingMessageNotificationParam, ProtocolVersion, SetLevelRequestMethod,
    },
    service::RequestContext,
};
use serde_json::{Map, Value, json};
use tokio::{sync::mpsc, task::JoinSet};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};
use tracing::debug;

use super::{DispatchServer, call::Call, caller};
use crate::{
    model::{
        DispatchId, DispatchStatus, ErrorCode, KeepAwake, ReadTraceRequest, TraceEvent, TraceKind,
    },
    runtime::{DispatcherHandle, Heed, Progress},
};

/// Who speaks.
const LOGGER: &str = "parallel-dispatch";
/// What happens in this time is looked up at once.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How many events one look reads.
const PAGE: u32 = 200;
/// How much is told of one dispatch; the rest stands in its trace.
const MESSAGES_MAX: usize = 1_000;

/// How many dispatches a session is known to have heard of; of older ones it may hear twice.
const KNOWN_MAX: usize = 10_000;

/// All levels, the least urgent first.
const LEVELS: [LoggingLevel; 8] = [
    LoggingLevel::Debug,
    LoggingLevel::Info,
    LoggingLevel::Notice,
    LoggingLevel::Warning,
    LoggingLevel::Error,
    LoggingLevel::Critical,
    LoggingLevel::Alert,
    LoggingLevel::Emergency,
];

/// What a session wants to hear: a place in [`LEVELS`].
#[derive(Clone, Debug)]
pub(super) struct Level(Arc<AtomicU8>);

impl Default for Level {
    fn default() -> Self {
        Self::new(LoggingLevel::Warning)
    }
}

impl Level {
    fn new(level: LoggingLevel) -> Self {
        Self(Arc::new(AtomicU8::new(urgency(level))))
    }

    fn set(&self, level: LoggingLevel) {
        self.0.store(urgency(level), Ordering::Relaxed);
    }

    fn hears(&self, level: LoggingLevel) -> bool {
        urgency(level) >= self.0.load(Ordering::Relaxed)
    }
}

#[expect(clippy::cast_possible_truncation, reason = "there are eight levels")]
fn urgency(level: LoggingLevel) -> u8 {
    LEVELS.iter().position(|it| *it == level).unwrap_or(0) as u8
}

/// Answers `logging/setLevel`, which revisions with per-request levels do not have.
pub(super) fn set_level(
    server: &DispatchServer,
    level: LoggingLevel,
    context: &RequestContext<RoleServer>,
) -> Result<(), ErrorData> {
    if is_per_request(context) {
        return Err(ErrorData::method_not_found::<SetLevelRequestMethod>());
    }
    server.level.set(level);
    Ok(())
}

/// Tells a session about a dispatch that it has just asked for, until that has ended; twice is
/// once.
pub(super) fn follow_for_session(server: &DispatchServer, dispatch: DispatchId, call: &Call<'_>) {
    let context = call.context;
    if is_per_request(context) {
        return;
    }
    server.tellers.start(
        server.closing(),
        Teller {
            handle: DispatcherHandle::clone(&call.handle),
            dispatch,
            level: server.level.clone(),
            peer: context.peer.clone(),
            after: 0,
            n_told: 0,
        },
        caller::keep_awake(context),
    );
}

/// What tells one session about its dispatches; all of it ends with the last clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Tellers(Arc<OnceLock<Desk>>);

/// One teller, and what keeps its session awake: one that sleeps is told nothing.
type Order = (Teller, Option<KeepAwake>);

/// The task in which a session's tellers run.
struct Desk {
    tellers: mpsc::UnboundedSender<Order>,
    _task: AbortOnDropHandle<Option<()>>,
}

impl fmt::Debug for Desk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Desk").finish_non_exhaustive()
    }
}

impl Tellers {
    fn start(&self, closing: &CancellationToken, teller: Teller, awake: Option<KeepAwake>) {
        let desk = self.0.get_or_init(|| {
            let (tellers, inbox) = mpsc::unbounded_channel();
            let task = tokio::spawn(closing.clone().run_until_cancelled_owned(serve(inbox)));
            let task = AbortOnDropHandle::new(task);
            Desk { tellers, _task: task }
        });
        let _closing = desk.tellers.send((teller, awake));
    }
}

/// Runs one teller for each dispatch.
async fn serve(mut inbox: mpsc::UnboundedReceiver<Order>) {
    let (mut known, mut telling) = (BTreeSet::new(), JoinSet::new());
    loop {
        tokio::select! {
            order = inbox.recv() => {
                let Some((mut teller, awake)) = order else { return };
                if known.insert(teller.dispatch) {
                    telling.spawn(async move {
                        let _awake = awake;
                        teller.run().await;
                    });
                }
                if known.len() > KNOWN_MAX {
                    known.pop_first();
                }
            }
            Some(_ended) = telling.join_next() => (),
        }
    }
}

/// Tells a request that asks for it about a dispatch.
pub(super) struct ForRequest(Option<Teller>);

impl ForRequest {
    /// Tells what has happened in the dispatch so far, and what happens.
    pub(super) fn new(dispatch: DispatchId, call: &Call<'_>) -> Self {
        let context = call.context;
        let level = context.meta.log_level().filter(|_| is_per_request(context));
        Self(level.map(|level| Teller {
            handle: DispatcherHandle::clone(&call.handle),
            dispatch,
            level: Level::new(level),
            peer: context.peer.clone(),
            after: 0,
            n_told: 0,
        }))
    }

    /// Tells for as long as it is polled.
    pub(super) async fn run(&mut self) -> std::convert::Infallible {
        if let Some(teller) = &mut self.0 {
            teller.run().await;
        }
        std::future::pending().await
    }

    /// Tells what has happened and was not told.
    pub(super) async fn finish(&mut self) {
        if let Some(teller) = &mut self.0 {
            // A client that does not listen is not told.
            let _gone = teller.look().await;
        }
    }
}

/// Why somebody was not told.
enum Missed {
    /// Nobody listens any more, or there is nothing more to tell.
    Gone,
    /// It could not be read what has happened.
    Unread,
}

struct Teller {
    handle: DispatcherHandle,
    dispatch: DispatchId,
    level: Level,
    peer: Peer<RoleServer>,
    /// The number of the last event that was looked at.
    after: u64,
    n_told: usize,
}

impl Teller {
    /// Tells until the dispatch has ended, or nobody listens.
    async fn run(&mut self) {
        let mut course = self.handle.course(self.dispatch, Heed::Counts);
        let mut seen: Option<Progress> = None;
        loop {
            let mut is_unread = false;
            match course.read().await {
                Ok(now) => {
                    let has_ended = now.status != DispatchStatus::Running;
                    // The store does not say of a dispatch elsewhere all that matters.
                    let cares = !course.is_here() || self.cares(seen.as_ref(), &now);
                    match if has_ended || cares { self.look().await } else { Ok(()) } {
                        Ok(()) if has_ended => return,
                        Ok(()) => seen = Some(now),
                        Err(Missed::Unread) => is_unread = true,
                        Err(Missed::Gone) => return,
                    }
                }
                Err(refusal) if refusal.code() == ErrorCode::UnknownDispatch => return,
                Err(error) => debug!(%error, "failed to read how a dispatch goes"),
            }
            if self.peer.is_transport_closed() {
                return;
            }
            tokio::time::sleep(LOOK_EVERY).await;
            if !is_unread {
                course.changed().await;
            }
        }
    }

    /// Whether what has changed may be worth a message: most sessions want to hear of failures
    /// only, and these are counted, and of a budget that is exceeded.
    fn cares(&self, seen: Option<&Progress>, now: &Progress) -> bool {
        let n_before = seen.map_or(0, |it| it.n_unsuccessful);
        let exceeded = seen.and_then(|it| it.exceeded);
        now.n_unsuccessful > n_before
            || (now.exceeded.is_some() && now.exceeded != exceeded)
            || self.level.hears(LoggingLevel::Notice)
    }

    async fn look(&mut self) -> Result<(), Missed> {
        while self.n_told < MESSAGES_MAX {
            let request = ReadTraceRequest {
                dispatch_id: Some(self.dispatch),
                task_id: None,
                kinds: Some(self.kinds()),
                cursor: Some(self.after.to_string()),
                limit: Some(PAGE),
            };
            let page = self.handle.read_trace(request).await.map_err(|error| {
                debug!(%error, "failed to read what happened in a dispatch");
                let is_known = error.code() != ErrorCode::UnknownDispatch;
                if is_known { Missed::Unread } else { Missed::Gone }
            })?;
            for event in &page.events {
                self.after = event.seq;
                self.tell(event).await?;
            }
            if page.next_cursor.is_none() {
                return Ok(());
            }
        }
        Err(Missed::Gone)
    }

    /// The kinds of which somebody wants to hear.
    fn kinds(&self) -> Vec<TraceKind> {
        let mut kinds = vec![
            TraceKind::AttemptEnded,
            TraceKind::GateFailed,
            TraceKind::TaskExpired,
            TraceKind::BudgetExceeded,
        ];
        if self.level.hears(LoggingLevel::Notice) {
            kinds.push(TraceKind::GateReached);
        }
        if self.level.hears(LoggingLevel::Info) {
            kinds.push(TraceKind::DispatchEnded);
        }
        if self.level.hears(LoggingLevel::Debug) {
            kinds.push(TraceKind::AttemptStarted);
        }
        kinds
    }

    async fn tell(&mut self, event: &TraceEvent) -> Result<(), Missed> {
        let Some((level, what)) = judge(event) else { return Ok(()) };
        if !self.level.hears(level) || self.n_told >= MESSAGES_MAX {
            return Ok(());
        }
        self.n_told += 1;
        let data = data_of(self.dispatch, event, what);
        let message = LoggingMessageNotificationParam::new(level, data).with_logger(LOGGER);
        self.peer.notify_logging_message(message).await.map_err(|_| Missed::Gone)
    }
}

/// How urgent an event is, and what it is called.
fn judge(event: &TraceEvent) -> Option<(LoggingLevel, &'static str)> {
    let data = &event.data;
    let is_success = data.get("ok") == Some(&Value::Bool(true));
    let is_approval = data.get("gate").is_some_and(|it| it == "approval");
    let is = |kind: TraceKind| event.kind == kind;
    let judged = if is(TraceKind::AttemptEnded) && is_success {
        (LoggingLevel::Debug, "task_succeeded")
    } else if is(TraceKind::AttemptEnded) && data.contains_key("retry_at") {
        (LoggingLevel::Info, "attempt_failed")
    } else if [TraceKind::AttemptEnded, TraceKind::GateFailed, TraceKind::TaskExpired]
        .contains(&event.kind)
    {
        (LoggingLevel::Warning, "task_failed")
    } else if is(TraceKind::BudgetExceeded) {
        (LoggingLevel::Warning, "budget_exceeded")
    } else if is(TraceKind::GateReached) && is_approval {
        (LoggingLevel::Notice, "approval_wanted")
    } else if is(TraceKind::DispatchEnded) {
        (LoggingLevel::Info, "dispatch_ended")
    } else if is(TraceKind::AttemptStarted) {
        (LoggingLevel::Debug, "attempt_started")
    } else {
        return None;
    };
    Some(judged)
}

/// Names and codes only: what agents and callers wrote stands in the trace.
fn data_of(dispatch: DispatchId, event: &TraceEvent, what: &str) -> Value {
    let mut data = Map::new();
    data.insert("event".into(), what.into());
    data.insert("dispatch_id".into(), json!(dispatch));
    if let Some(task) = &event.task_id {
        data.insert("task_id".into(), crate::model::text::escape(task.as_str()).into());
    }
    if let Some(attempt) = event.attempt {
        data.insert("attempt".into(), json!(attempt));
    }
    for name in ["code", "status", "limit"] {
        if let Some(value) = event.data.get(name) {
            data.insert(name.into(), value.clone());
        }
    }
    Value::Object(data)
}

fn is_per_request(context: &RequestContext<RoleServer>) -> bool {
    context.protocol_version().is_some_and(|it| it >= ProtocolVersion::V_2026_07_28)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        mcp::testing::{Talk, serve},
        runtime::testing::{World, document, pass},
    };

    /// What the session was told so far, after a while in which it could be.
    async fn told(talk: &mut Talk) -> Vec<String> {
        pass(Duration::from_secs(10)).await;
        talk.request("ping", json!({})).await;
        let heard = std::mem::take(&mut talk.aside).into_iter();
        let heard = heard.filter(|it| it["method"] == "notifications/message");
        heard.map(|it| it["params"]["data"]["event"].as_str().unwrap().to_owned()).collect()
    }

    async fn dispatch(talk: &mut Talk, mut arguments: Value) -> Value {
        arguments["wait"] = json!(false);
        let call = json!({ "name": "dispatch", "arguments": arguments });
        let answer = talk.request("tools/call", call).await;
        answer["result"]["structuredContent"]["dispatch_id"].clone()
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_hears_once_of_what_it_asks_for_twice() {
        let world = World::new().await;
        let mut talk = Talk::open(serve(&world)).await;
        let mut open = document("a !fail\nb !hang");
        open["idempotency_key"] = json!("once");
        let id = dispatch(&mut talk, open.clone()).await;
        assert_eq!(told(&mut talk).await, ["task_failed"]);
        assert_eq!(dispatch(&mut talk, open.clone()).await, id);
        let mut more = document("c !fail");
        more["dispatch_id"] = id.clone();
        assert_eq!(dispatch(&mut talk, more).await, id);
        assert_eq!(told(&mut talk).await, ["task_failed"], "of what was added");
        let cancel = json!({ "name": "cancel_dispatch", "arguments": { "dispatch_id": id } });
        talk.request("tools/call", cancel).await;
        told(&mut talk).await;
        assert_eq!(dispatch(&mut talk, open).await, id);
        assert_eq!(told(&mut talk).await, [""; 0]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_budget_that_is_exceeded_is_told_where_the_dispatch_pauses() {
        let world = World::new().await;
        let mut talk = Talk::open(serve(&world)).await;
        let mut paused = document("a\nb\nc");
        let budget = json!({ "tasks": 1, "on_exceeded": "pause" });
        paused["config"] = json!({ "budget": budget, "max_workers": 1 });
        dispatch(&mut talk, paused).await;
        assert_eq!(told(&mut talk).await, ["budget_exceeded"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_hears_of_what_another_process_goes_on_with() {
        let [ours, theirs] = World::two();
        let mut talk = Talk::open(serve(&ours)).await;
        let mut open = document("a !gate\nb !fail <- a");
        open["idempotency_key"] = json!("once");
        let id = dispatch(&mut Talk::open(serve(&theirs)).await, open.clone()).await;
        assert_eq!(dispatch(&mut talk, open).await, id);
        assert_eq!(told(&mut talk).await, [""; 0]);
        ours.break_reads(true);
        theirs.open_gate();
        pass(Duration::from_secs(5)).await;
        ours.break_reads(false);
        assert_eq!(told(&mut talk).await, ["task_failed"]);
    }

    #[test]
    fn a_session_hears_what_is_as_urgent_as_it_wants() {
        let level = Level::default();
        assert!(level.hears(LoggingLevel::Warning) && !level.hears(LoggingLevel::Notice));
        level.set(LoggingLevel::Debug);
        assert!(level.hears(LoggingLevel::Debug));
        level.set(LoggingLevel::Emergency);
        assert!(!level.hears(LoggingLevel::Alert) && level.hears(LoggingLevel::Emergency));
    }

    #[test]
    fn a_message_has_names_and_codes_and_no_texts() {
        let dispatch = "01890a5d-ac96-774b-bcce-b302099a8057".parse().unwrap();
        let event: TraceEvent = serde_json::from_value(json!({
            "seq": 3, "at": "2026-11-21T03:44:00.123Z", "kind": "attempt_ended",
            "task_id": "a", "attempt": 2,
            "data": { "ok": false, "code": "agent_error", "error": "do as I say" },
        }))
        .unwrap();
        let (level, what) = judge(&event).unwrap();
        assert_eq!((level, what), (LoggingLevel::Warning, "task_failed"));
        let expected = json!({
            "event": "task_failed", "dispatch_id": dispatch, "task_id": "a", "attempt": 2,
            "code": "agent_error",
        });
        assert_eq!(data_of(dispatch, &event, what), expected);
    }
}
