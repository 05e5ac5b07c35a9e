//! Waits for a dispatch on behalf of a call, and tells the client how it goes meanwhile.

use std::time::Duration;

use rmcp::{
    Peer, RoleServer,
    model::{InputRequiredResult, ProgressNotificationParam, ProgressToken},
    service::RequestContext,
};
use tokio::time::{Instant, MissedTickBehavior};

use super::{
    DispatchServer,
    call::{Call, Outcome},
    elicit::Asking,
    log::ForRequest,
    tasks,
};
use crate::{
    model::{DispatchId, DispatchStatus, Millis, Refusal},
    runtime::{DispatcherHandle, Heed, Progress, Ticket},
};

/// Clients that show progress hear at least this often that the call is alive.
const HEARTBEAT: Duration = Duration::from_secs(5);
/// Changes closer together than this are told as one.
const INTERVAL_MIN: Duration = Duration::from_millis(100);

/// How long calls still wait when the server is about to end: quick work is answered whole.
const CLOSING_WAIT: Duration = Duration::from_secs(2);

/// How a wait came to its end.
pub(super) enum Attended<T> {
    /// What was waited for is there, or its time is over.
    Ended(T),
    /// People must be asked first.
    Asks(InputRequiredResult),
    /// Nobody waits any more.
    GivenUp,
}

/// Answers with a task where the client can come back for it. Otherwise waits until the dispatch
/// has ended, the wait is over, or nobody waits any more, which ends the wait but not the dispatch;
/// answers what is there then.
///
/// Who says that they will not wait gets the answer that they ask for, and no task.
pub(super) async fn finish(
    server: &DispatchServer,
    ticket: Ticket,
    call: &Call<'_>,
) -> Result<Outcome, Refusal> {
    let Ticket { dispatch, wait_ms } = ticket;
    let handle = &*call.handle;
    if wait_ms > 0 {
        if tasks::is_wanted(call.context) {
            let task = tasks::create(handle, dispatch, call.context).await?;
            return match task {
                Some(task) => Ok(Outcome::Task(task)),
                None => handle.result(dispatch).await.map(|it| Outcome::Result(Box::new(it))),
            };
        }
        let finished = handle.finished(dispatch, Duration::from_millis(wait_ms));
        match Box::pin(attend(server, ticket, finished, call)).await? {
            Attended::Ended(result) => return Ok(Outcome::Result(Box::new(result))),
            Attended::Asks(asks) => return Ok(Outcome::Asks(asks)),
            Attended::GivenUp => (),
        }
    }
    handle.result(dispatch).await.map(|it| Outcome::Result(Box::new(it)))
}

/// Tells the client how the dispatch goes, and asks its user what the dispatch asks, until `ended`,
/// or until nobody waits any more.
pub(super) async fn attend<T>(
    server: &DispatchServer,
    ticket: Ticket,
    ended: impl Future<Output = Result<T, Refusal>>,
    call: &Call<'_>,
) -> Result<Attended<T>, Refusal> {
    let (dispatch, context) = (ticket.dispatch, call.context);
    let token = context.meta.get_progress_token();
    let mut asking = Asking::new(server, dispatch, call);
    asking.take_answers().await?;
    let mut log = ForRequest::new(dispatch, call);
    let attended = tokio::select! {
        biased;
        ended = ended => ended.map(Attended::Ended),
        () = given_up(server, context) => Ok(Attended::GivenUp),
        asks = asking.run(ticket) => Ok(Attended::Asks(asks)),
        never = tell(&call.handle, dispatch, token, context.peer.clone()) => match never {},
        never = log.run() => match never {},
    };
    asking.withdraw().await;
    log.finish().await;
    attended
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

/// Sends progress for as long as it is polled, whatever process runs the dispatch.
async fn tell(
    handle: &DispatcherHandle,
    dispatch: DispatchId,
    token: Option<ProgressToken>,
    peer: Peer<RoleServer>,
) -> std::convert::Infallible {
    if let Some(token) = token {
        let mut course = handle.course(dispatch, Heed::End);
        let started = Instant::now();
        let mut beat = tokio::time::interval_at(started + HEARTBEAT, HEARTBEAT);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut notices, mut known) = (Notices::default(), None);
        loop {
            let mut is_beat = false;
            tokio::select! {
                () = course.changed() => (),
                _ = beat.tick() => is_beat = true,
            }
            // What cannot be read now is told as it was. Elsewhere the store changes without news.
            let read = course.read().await.ok();
            let has_news = is_beat || read != known;
            known = read.or(known);
            if let Some(now) = known.as_ref().filter(|_| has_news) {
                let when = (handle.now(), started.elapsed(), is_beat);
                if let Some(notice) = notices.next(&token, now, when)
                    && peer.notify_progress(notice).await.is_err()
                {
                    break;
                }
                if now.status != DispatchStatus::Running {
                    break;
                }
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
    done: f64,
}

impl Notices {
    /// The next notice; none if it would say what the last one said, unless it is time to say
    /// anything. Where nobody knows how long it takes, it says how long it took.
    ///
    /// The protocol wants progress that always grows: a heartbeat without news adds a thousandth.
    #[expect(clippy::cast_precision_loss, reason = "counts of tasks")]
    fn next(
        &mut self,
        token: &ProgressToken,
        progress: &Progress,
        (now, elapsed, is_beat): (Millis, Duration, bool),
    ) -> Option<ProgressNotificationParam> {
        let mut text = progress.tell(now);
        if progress.left(now).is_none() {
            text = format!("{text}, {} s", elapsed.as_secs());
        }
        if text == self.last && !is_beat {
            return None;
        }
        self.n_told += 1;
        self.last.clone_from(&text);
        let beat = f64::from(self.n_told.min(999)) / 1_000.0;
        let done =
            progress.n_ended as f64 + if progress.n_ended < progress.n_tasks { beat } else { 0.0 };
        // What is added to a dispatch may be all that is left of it.
        let done = done.max(self.done + 0.000_1);
        self.done = done;
        let notice = ProgressNotificationParam::new(token.clone(), done);
        Some(notice.with_total(progress.n_tasks as f64).with_message(text))
    }
}

#[cfg(test)]
mod tests {
    use rmcp::model::NumberOrString;

    use super::*;

    #[test]
    fn the_same_is_not_told_twice_but_for_heartbeats_and_progress_grows() {
        let token = ProgressToken(NumberOrString::Number(1));
        let mut notices = Notices::default();
        let mut told = |n_ended, seconds: u64, is_beat| {
            let mut progress = Progress::new(2);
            progress.n_ended = n_ended;
            let when = (Millis(0), Duration::from_secs(seconds), is_beat);
            let notice = notices.next(&token, &progress, when);
            notice.map(|it| (it.progress, it.message.unwrap()))
        };
        assert_eq!(told(0, 0, false), Some((0.001, "0 of 2 done, 0 s".to_owned())));
        assert_eq!(told(0, 0, false), None);
        assert_eq!(told(0, 5, true), Some((0.002, "0 of 2 done, 5 s".to_owned())));
        assert_eq!(told(1, 5, false), Some((1.003, "1 of 2 done, 5 s".to_owned())));
        assert_eq!(told(1, 5, true), Some((1.004, "1 of 2 done, 5 s".to_owned())));
        let grown = told(0, 6, true).unwrap().0;
        assert!(grown > 1.004 && grown < 2.0, "{grown}");
    }

    #[test]
    fn what_is_left_is_told_where_it_is_known() {
        let token = ProgressToken(NumberOrString::Number(1));
        let mut progress = Progress::new(2);
        progress.ends_at = Some(Millis(40_000));
        let when = (Millis(0), Duration::from_secs(3), false);
        let notice = Notices::default().next(&token, &progress, when).unwrap();
        assert_eq!(notice.message.unwrap(), "0 of 2 done, ~40 s left");
    }
}
