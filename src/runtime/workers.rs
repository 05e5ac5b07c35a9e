//! What workers that pull their tasks may ask for.

use std::{sync::Arc, time::Duration};

use super::{DispatcherHandle, query::ResultQuery};
use crate::{
    model::{
        ClaimAnswer, ClaimRequest, CompleteRequest, DispatchId, ErrorCode, FailRequest, Failure,
        FailureCode, HandedIn, HeartbeatRequest, LeaseReport, Refusal, TaskId, TaskStatus, View,
        json::Json,
    },
    plan,
    ports::{Claim, WorkBoard},
};

/// How long a worker waits at most until what it handed in is on disk.
const DURABLE_MAX: Duration = Duration::from_secs(2);

impl DispatcherHandle {
    /// Lets workers pull from `board`, where the agents of this process put their attempts.
    #[must_use]
    pub fn with_workers(mut self, board: Arc<dyn WorkBoard>) -> Self {
        self.workers = Some(board);
        self
    }

    /// Whether there are agents whose workers pull.
    pub fn has_workers(&self) -> bool {
        self.workers.is_some()
    }

    /// Whether the caller may be such a worker: tasks come from everybody's dispatches.
    pub fn may_pull(&self) -> bool {
        self.has_workers() && self.sees_all()
    }

    /// Checks the arguments of `claim_task`.
    pub fn check_claim(&self, args: &Json<'_>) -> Result<ClaimRequest, Refusal> {
        plan::check_claim(args, &self.board()?.agents())
    }

    /// Gives a worker a task of this process, after a wait for one if there is none. Dropping the
    /// future takes none.
    pub async fn claim_task(&self, request: ClaimRequest) -> Result<ClaimAnswer, Refusal> {
        let board = self.board()?;
        let ClaimRequest { worker, agents, wait_ms } = request;
        let agents = agents.unwrap_or_default();
        let wait = Duration::from_millis(wait_ms.unwrap_or(ClaimRequest::WAIT_MS_DEFAULT));
        let task = board.claim(Claim { worker, agents: agents.clone(), wait }).await;
        let waiting_tasks = u32::try_from(board.n_waiting(&agents)).unwrap_or(u32::MAX);
        Ok(ClaimAnswer { task, waiting_tasks })
    }

    /// Renews a worker's lease.
    pub fn heartbeat(&self, request: HeartbeatRequest) -> Result<LeaseReport, Refusal> {
        self.board()?.heartbeat(request.lease).ok_or_else(lease_lost)
    }

    /// Takes what a worker's task came to, and answers when it is on disk, or soon after.
    pub async fn complete_task(&self, request: CompleteRequest) -> Result<HandedIn, Refusal> {
        let CompleteRequest { lease, output } = request;
        let handed_in = self.board()?.hand_in(lease, Ok(output)).ok_or_else(lease_lost)?;
        let status = self.durable_status(handed_in.dispatch_id, &handed_in.task_id).await;
        Ok(HandedIn { status, ..handed_in })
    }

    /// Takes a worker's word that its task could not be done.
    pub fn fail_task(&self, request: FailRequest) -> Result<HandedIn, Refusal> {
        let FailRequest { lease, message, code } = request;
        let failure = Failure::new(code.unwrap_or(FailureCode::AgentError), message);
        self.board()?.hand_in(lease, Err(failure)).ok_or_else(lease_lost)
    }

    /// How a task stands once it has ended, or after a short wait. The result was taken either way,
    /// so what cannot be read is no failure.
    async fn durable_status(&self, dispatch: DispatchId, task: &TaskId) -> Option<TaskStatus> {
        let ids = [task.clone()];
        let places = self.places(dispatch, Some(&ids)).await.ok()?;
        self.wait_for(dispatch, places, DURABLE_MAX).await.ok()?;
        let query = ResultQuery {
            tasks: Some(ids.into()),
            view: View::Summary,
            ..ResultQuery::page(dispatch)
        };
        Some(self.answer(query).await.ok()?.results.first()?.status)
    }

    fn board(&self) -> Result<&Arc<dyn WorkBoard>, Refusal> {
        self.check_sees_all("pulling tasks")?;
        self.workers.as_ref().ok_or_else(|| {
            let hint = "set agents.NAME.worker to pull in the settings";
            Refusal::of(ErrorCode::UnknownAgent, "", "no agent's workers pull", hint)
        })
    }
}

fn lease_lost() -> Refusal {
    let message = "the lease is not in force: it lapsed without heartbeats, its task ended or was \
                   cancelled, or the server was restarted";
    let hint = "stop that work, hand nothing in, and claim another task";
    Refusal::of(ErrorCode::LeaseLost, "/lease", message, hint)
}
