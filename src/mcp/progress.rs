//! Waits for a dispatch on behalf of a call, and tells the client how it goes meanwhile.

use std::time::Duration;

use rmcp::{
    Peer, RoleServer,
    model::{ProgressNotificationParam, ProgressToken},
    service::RequestContext,
};
use tokio::time::{Instant, MissedTickBehavior};

use super::DispatchServer;
use crate::{
    model::{DispatchId, DispatchResult, DispatchStatus, Refusal},
    runtime::{DispatcherHandle, Progress, Ticket},
};

/// Clients that show progress hear at least this often that the call is alive.
const HEARTBEAT: Duration = Duration::from_secs(5);
/// Changes closer together than this are told as one.
const INTERVAL_MIN: Duration = Duration::from_millis(100);

/// How long calls still wait when the server is about to end: quick work is answered whole.
const CLOSING_WAIT: Duration = Duration::from_secs(2);

/// Waits until the dispatch has ended, the wait is over, or nobody waits any more, which ends the
/// wait but not the dispatch; answers what is there then.
pub(super) async fn finish(
    server: &DispatchServer,
    Ticket { dispatch, wait_ms }: Ticket,
    context: &RequestContext<RoleServer>,
) -> Result<DispatchResult, Refusal> {
    let handle = server.handle(context);
    if wait_ms > 0 {
        let finished = handle.finished(dispatch, Duration::from_millis(wait_ms));
        if let Some(result) = attend(server, dispatch, finished, context).await? {
            return Ok(result);
        }
    }
    handle.result(dispatch).await
}

/// Tells the client how the dispatch goes until `ended`, or until nobody waits any more: `None`.
pub(super) async fn attend<T>(
    server: &DispatchServer,
    dispatch: DispatchId,
    ended: impl Future<Output = Result<T, Refusal>>,
    context: &RequestContext<RoleServer>,
) -> Result<Option<T>, Refusal> {
    let token = context.meta.get_progress_token();
    let handle = server.handle(context);
    tokio::select! {
        biased;
        ended = ended => ended.map(Some),
        () = given_up(server, context) => Ok(None),
        never = tell(&handle, dispatch, token, context.peer.clone()) => match never {},
    }
}

/// Ends when a call must not wait any longer: its client cancelled it, or the server is about to
/// end.
async fn given_up(server: &DispatchServer, context: &RequestContext<RoleServer>) {
    let closed = async {
        server.closing().cancelled().await;
        tokio::time::sleep(CLOSING_WAIT).await;
    };
    tokio::select! {
        () = context.ct.cancelled() => (),
        () = closed => (),
    }
}

/// Sends progress for as long as it is polled.
async fn tell(
    handle: &DispatcherHandle,
    dispatch: DispatchId,
    token: Option<ProgressToken>,
    peer: Peer<RoleServer>,
) -> std::convert::Infallible {
    if let (Some(token), Some(mut progress)) = (token, handle.follow(dispatch).await) {
        let started = Instant::now();
        let mut beat = tokio::time::interval(HEARTBEAT);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut notices = Notices::default();
        loop {
            tokio::select! {
                changed = progress.changed() => if changed.is_err() { break },
                _ = beat.tick() => (),
            }
            let now = progress.borrow_and_update().clone();
            if let Some(notice) = notices.next(&token, &now, started.elapsed())
                && peer.notify_progress(notice).await.is_err()
            {
                break;
            }
            if now.status != DispatchStatus::Running {
                break;
            }
            tokio::time::sleep(INTERVAL_MIN).await;
        }
    }
    std::future::pending().await
}

/// What was told of one dispatch.
#[derive(Default)]
struct Notices {
    n_told: u32,
    last: String,
}

impl Notices {
    /// The next notice, unless it would say what the last one said.
    ///
    /// The protocol wants progress that always grows: a heartbeat without news adds a thousandth.
    #[expect(clippy::cast_precision_loss, reason = "counts of tasks")]
    fn next(
        &mut self,
        token: &ProgressToken,
        progress: &Progress,
        elapsed: Duration,
    ) -> Option<ProgressNotificationParam> {
        let text = format!("{}, {} s", progress.describe(), elapsed.as_secs());
        if text == self.last {
            return None;
        }
        self.n_told += 1;
        self.last.clone_from(&text);
        let beat = f64::from(self.n_told.min(999)) / 1_000.0;
        let done =
            progress.n_ended as f64 + if progress.n_ended < progress.n_tasks { beat } else { 0.0 };
        let notice = ProgressNotificationParam::new(token.clone(), done);
        Some(notice.with_total(progress.n_tasks as f64).with_message(text))
    }
}

#[cfg(test)]
mod tests {
    use rmcp::model::NumberOrString;

    use super::*;
    use crate::runtime::Paused;

    #[test]
    fn the_same_is_not_told_twice() {
        let token = ProgressToken(NumberOrString::Number(1));
        let mut notices = Notices::default();
        let mut told = |n_ended, seconds: u64| {
            let status = DispatchStatus::Running;
            let (n_tasks, n_unsuccessful, running, n_running) = (2, 0, Vec::new(), 0);
            let (waiting, n_waiting) = (Vec::new(), 0);
            let progress = Progress {
                status,
                n_tasks,
                n_ended,
                n_unsuccessful,
                running,
                n_running,
                waiting,
                n_waiting,
                paused: Paused::Nothing,
                exceeded: None,
            };
            let notice = notices.next(&token, &progress, Duration::from_secs(seconds));
            notice.map(|it| (it.progress, it.message.unwrap()))
        };
        assert_eq!(told(0, 0), Some((0.001, "0 of 2 done, 0 s".to_owned())));
        assert_eq!(told(0, 0), None);
        assert_eq!(told(0, 5), Some((0.002, "0 of 2 done, 5 s".to_owned())));
        assert_eq!(told(1, 5), Some((1.003, "1 of 2 done, 5 s".to_owned())));
    }
}
