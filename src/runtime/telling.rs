//! Tells those who wait for a dispatch, and those who follow it, how it goes and that it ended.

use tokio::sync::oneshot;
use tracing::info;

use super::{
    dispatcher::Dispatcher,
    live::Waiter,
    message::Ended,
    tracer::{DispatchTrace, Job},
};
use crate::model::{DispatchId, DispatchStatus};

impl Dispatcher {
    pub(super) fn tell_followers(&mut self, mut touched: Vec<DispatchId>) {
        touched.sort_unstable();
        touched.dedup();
        for id in touched {
            let Some(live) = self.lives.get_mut(&id) else { continue };
            live.publish(DispatchStatus::Running);
            let (done, waiting) = std::mem::take(&mut live.waiters)
                .into_iter()
                .partition(|it| live.has_ended(&it.tasks));
            live.waiters = waiting;
            let done: Vec<Waiter> = done;
            for waiter in done {
                let _gone = waiter.reply.send(Ended::default());
            }
        }
    }

    /// Lets go of a dispatch that has ended.
    pub(super) async fn finish(&mut self, dispatch: DispatchId, status: DispatchStatus) {
        let Some(mut live) = self.lives.remove(&dispatch) else { return };
        info!(dispatch_id = %dispatch, ?status, "dispatch ended");
        // Whoever is told of the end may look at once.
        self.meter_standing();
        let waiters = std::mem::take(&mut live.waiters).into_iter().map(|it| {
            let (written, files) = oneshot::channel();
            let _gone = it.reply.send(Ended { files: Some(files) });
            written
        });
        let waiters = waiters.collect();
        let (row, tasks) = live.stored(status, self.dependencies.ownership.me());
        let trace = DispatchTrace {
            target: live.trace_target(),
            document: live.document,
            meta: live.meta,
            row,
            tasks,
            from_store: live.traces_from_store,
            waiters,
            progress: live.progress,
        };
        let _closed = self.traces.send(Job::Dispatch(Box::new(trace))).await;
    }
}
