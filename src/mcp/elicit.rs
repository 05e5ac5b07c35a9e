//! Asks the client's user for approvals while a call waits, in the way of the client's revision of
//! the protocol.
//!
//! Until 2025-11-25 the server sends a request of its own, and takes it back when somebody else has
//! decided or the call's wait is over. Since 2026-07-28 it answers the call with its questions, and
//! the client calls again. Whatever a user declines to decide stays as it is, and is not asked
//! again by the same call: the result says who else may decide.

use std::{collections::BTreeSet, time::Duration};

use rmcp::{
    RoleServer,
    model::{
        CancelledNotificationParam, ClientResult, InputRequiredResult, ProtocolVersion, RequestId,
        ServerRequest,
    },
    service::{PeerRequestOptions, RequestContext, RequestHandle, ServiceError},
};
use tokio::sync::watch;
use tracing::debug;

use super::{
    DispatchServer,
    call::Call,
    form::{self, Verdict},
};
use crate::{
    model::{ApproveRequest, DispatchId, ErrorCode, Refusal, TaskIdx},
    runtime::{DispatcherHandle, Question, Questions, Ticket},
};

/// How a decision is refused that is no longer waited for.
const TOO_LATE: [ErrorCode; 4] = [
    ErrorCode::NotWaiting,
    ErrorCode::AlreadyEnded,
    ErrorCode::UnknownDispatch,
    ErrorCode::UnknownTask,
];
/// How long a question rests whose answer could not be carried out.
const ASK_AGAIN: Duration = Duration::from_secs(1);
/// How long a question may take to be taken back.
const WITHDRAW_MAX: Duration = Duration::from_secs(1);

/// The questions that are before some user, in all sessions of this process, so that nobody is
/// asked what another one is being asked.
#[derive(Debug, Default)]
pub(super) struct Asked(watch::Sender<BTreeSet<(DispatchId, TaskIdx)>>);

/// A question that is before a user until this is dropped.
struct Claim<'a> {
    asked: &'a Asked,
    of: (DispatchId, TaskIdx),
}

impl Asked {
    fn claim(&self, dispatch: DispatchId, task: TaskIdx) -> Option<Claim<'_>> {
        let of = (dispatch, task);
        let is_free = self.0.send_if_modified(|it| it.insert(of));
        // A claim that is made and dropped at once would take another one's away.
        is_free.then(|| Claim { asked: self, of })
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        self.asked.0.send_if_modified(|it| it.remove(&self.of));
    }
}

/// How a client can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// Not at all.
    Never,
    /// By a request of the server.
    Request,
    /// By an answer to the call.
    Answer,
}

impl Way {
    fn of(call: &Call<'_>) -> Self {
        let context = call.context;
        let Some(version) = context.protocol_version() else { return Self::Never };
        if !can_show_forms(context) || version < ProtocolVersion::V_2025_06_18 {
            return Self::Never;
        }
        if version < ProtocolVersion::V_2026_07_28 {
            Self::Request
        } else if call.round.may_ask() {
            Self::Answer
        } else {
            Self::Never
        }
    }
}

/// Whether the client says that it can show a form. One that names no mode means forms.
pub(super) fn can_show_forms(context: &RequestContext<RoleServer>) -> bool {
    let declared = context.client_capabilities().and_then(|it| it.elicitation);
    declared.is_some_and(|it| it.form.is_some() || it.url.is_none())
}

/// Asks on behalf of one call.
pub(super) struct Asking<'a> {
    server: &'a DispatchServer,
    handle: &'a DispatcherHandle,
    call: &'a Call<'a>,
    dispatch: DispatchId,
    way: Way,
    /// What is not asked again.
    left: BTreeSet<TaskIdx>,
    /// The request that the client has not answered.
    out: Option<(RequestId, Claim<'a>)>,
}

impl<'a> Asking<'a> {
    pub(super) fn new(
        server: &'a DispatchServer,
        dispatch: DispatchId,
        call: &'a Call<'a>,
    ) -> Self {
        let (way, left) = (Way::of(call), call.round.left());
        let handle = &*call.handle;
        Self { server, handle, call, dispatch, way, left, out: None }
    }

    /// Takes what the client answered to the questions of the round before.
    pub(super) async fn take_answers(&mut self) -> Result<(), Refusal> {
        if self.call.round.responses.is_empty() {
            return Ok(());
        }
        for question in self.handle.questions(self.dispatch).read().await? {
            let Some(response) = form::response_to(&question, &self.call.round.responses) else {
                continue;
            };
            let verdict = Verdict::read(&question, response);
            match settle(self.handle, self.dispatch, &question, verdict).await {
                Ok(()) => _ = self.left.insert(question.task),
                // It is asked once more.
                Err(error) => debug!(%error, "an answer could not be carried out"),
            }
        }
        Ok(())
    }

    /// Asks as long as it is polled, where questions go to the client as requests; ends with the
    /// questions that the call is to be answered with, where they do not.
    pub(super) async fn run(&mut self, ticket: Ticket) -> InputRequiredResult {
        if self.way != Way::Never {
            let mut questions = self.handle.questions(self.dispatch);
            match self.follow(&mut questions).await {
                Ok(questions) => return self.to_answer(ticket, &questions),
                // Whoever waits for the dispatch hears of it.
                Err(error) => debug!(%error, "nobody is asked for approvals"),
            }
        }
        std::future::pending().await
    }

    /// Takes back the question that is out.
    pub(super) async fn withdraw(&mut self) {
        let Some((id, _claim)) = self.out.take() else { return };
        let reason = "nobody waits for the answer any more".to_owned();
        let cancelled = CancelledNotificationParam::new(Some(id), Some(reason));
        let told = self.call.context.peer.notify_cancelled(cancelled);
        let _gone = tokio::time::timeout(WITHDRAW_MAX, told).await;
    }

    /// The answer that asks `questions`.
    fn to_answer(&self, ticket: Ticket, questions: &[Question]) -> InputRequiredResult {
        let requests = form::requests(self.dispatch, questions);
        InputRequiredResult::new(Some(requests), Some(self.call.next_state(ticket, &self.left)))
    }

    async fn follow(&mut self, questions: &mut Questions) -> Result<Vec<Question>, Refusal> {
        let (asked, dispatch) = (self.server.asked(), self.dispatch);
        let mut others = asked.0.subscribe();
        loop {
            // What others are asked now is not asked here, also if they decide in this moment:
            // it is read again when they let go of it.
            let taken = of_dispatch(&others.borrow_and_update(), dispatch);
            let Some(open) = read(questions).await? else {
                questions.changed().await;
                continue;
            };
            let is_mine =
                |it: &Question| !self.left.contains(&it.task) && !taken.contains(&it.task);
            let mut mine = open.into_iter().filter(is_mine);
            if self.way == Way::Answer {
                let mine: Vec<_> = mine.collect();
                if !mine.is_empty() {
                    return Ok(mine);
                }
            } else if let Some(question) = mine.next() {
                // Whoever was quicker may have let go of it again; all is read anew.
                let Some(claim) = asked.claim(dispatch, question.task) else { continue };
                // Another call may have asked it, and have heard the answer, since it was read.
                if read(questions).await?.is_some_and(|it| it.contains(&question)) {
                    self.put(&question, claim, questions).await;
                }
                continue;
            }
            tokio::select! {
                () = questions.changed() => (),
                () = change(&mut others, dispatch, &taken) => (),
            }
        }
    }

    /// Puts one question to the client, and does what is answered.
    async fn put(&mut self, question: &Question, claim: Claim<'a>, questions: &mut Questions) {
        let request = ServerRequest::ElicitRequest(form::elicitation(self.dispatch, question));
        let options = PeerRequestOptions::no_options();
        let sent = self.call.context.peer.send_request_with_option(request, options).await;
        let answer = match sent {
            Ok(sent) => {
                self.out = Some((sent.id.clone(), claim));
                self.await_answer(question, sent, questions).await
            }
            Err(error) => Answer::Given(Err(error)),
        };
        let verdict = match answer {
            Answer::Given(Ok(response)) => {
                let response = serde_json::to_value(response).unwrap_or_default();
                Verdict::read(question, &response)
            }
            Answer::Given(Err(error)) => {
                debug!(%error, "a client could not be asked for an approval");
                Verdict::Nothing
            }
            Answer::NotNeeded => {
                self.withdraw().await;
                return;
            }
        };
        // The claim is held until the decision stands, so that nobody else is asked meanwhile.
        let claim = self.out.take();
        match settle(self.handle, self.dispatch, question, verdict).await {
            Ok(()) => _ = self.left.insert(question.task),
            Err(error) => {
                debug!(%error, "an answer could not be carried out");
                // It is asked once more, and nobody else is asked meanwhile.
                tokio::time::sleep(ASK_AGAIN).await;
            }
        }
        drop(claim);
    }

    async fn await_answer(
        &self,
        question: &Question,
        sent: RequestHandle<RoleServer>,
        questions: &mut Questions,
    ) -> Answer {
        let mut answer = std::pin::pin!(sent.await_response());
        loop {
            tokio::select! {
                biased;
                answer = &mut answer => return Answer::Given(answer),
                () = questions.changed() => {
                    // What cannot be read now is still asked, as far as anybody knows.
                    let is_it = |it: &Question| it.task == question.task;
                    let open = read(questions).await;
                    if !open.is_ok_and(|it| it.is_none_or(|it| it.iter().any(is_it))) {
                        return Answer::NotNeeded;
                    }
                }
            }
        }
    }
}

/// The tasks of a dispatch that are before some user.
fn of_dispatch(asked: &BTreeSet<(DispatchId, TaskIdx)>, dispatch: DispatchId) -> BTreeSet<TaskIdx> {
    let from = (dispatch, TaskIdx::from_usize(0));
    asked.range(from..).take_while(|it| it.0 == dispatch).map(|it| it.1).collect()
}

/// Waits until other tasks of the dispatch are before some user; what becomes of other dispatches
/// wakes nobody.
async fn change(
    asked: &mut watch::Receiver<BTreeSet<(DispatchId, TaskIdx)>>,
    dispatch: DispatchId,
    before: &BTreeSet<TaskIdx>,
) {
    let is_other = |it: &BTreeSet<_>| of_dispatch(it, dispatch) != *before;
    if asked.wait_for(is_other).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// What is asked now; nothing is known while the store cannot be read, and a dispatch that is not
/// there is refused.
async fn read(questions: &mut Questions) -> Result<Option<Vec<Question>>, Refusal> {
    match questions.read().await {
        Ok(open) => Ok(Some(open)),
        Err(error) if error.code() == ErrorCode::UnknownDispatch => Err(error),
        Err(error) => {
            debug!(%error, "failed to read what is asked");
            Ok(None)
        }
    }
}

/// What became of a question.
enum Answer {
    Given(Result<ClientResult, ServiceError>),
    /// Somebody else has decided.
    NotNeeded,
}

/// Carries out what a user has decided, if they have. A decision that comes too late is ignored;
/// after any other refusal the question is still open.
pub(super) async fn settle(
    handle: &DispatcherHandle,
    dispatch: DispatchId,
    question: &Question,
    verdict: Verdict,
) -> Result<(), Refusal> {
    let Verdict::Decided(decision, note) = verdict else { return Ok(()) };
    let (dispatch_id, task_id) = (dispatch, question.task_id.clone());
    let decided = handle.approve(ApproveRequest { dispatch_id, task_id, decision, note }).await;
    match decided {
        Err(error) if TOO_LATE.contains(&error.code()) => {
            debug!(dispatch_id = %dispatch, %error, "a decision came too late");
            Ok(())
        }
        decided => decided.map(|_| ()),
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn what_others_are_asked_about_other_dispatches_wakes_nobody() {
        let (asked, [ours, theirs]) = (Asked::default(), [1, 2].map(dispatch_of));
        let mut others = asked.0.subscribe();
        let before = of_dispatch(&others.borrow_and_update(), ours);
        let task = TaskIdx::from_usize(0);
        let _elsewhere = asked.claim(theirs, task).unwrap();
        assert!(change(&mut others, ours, &before).now_or_never().is_none());
        let here = asked.claim(ours, task).unwrap();
        assert!(change(&mut others, ours, &before).now_or_never().is_some());
        let before = of_dispatch(&others.borrow_and_update(), ours);
        assert_eq!(before, [task].into());
        drop(here);
        assert!(change(&mut others, ours, &before).now_or_never().is_some());
    }

    fn dispatch_of(number: u128) -> DispatchId {
        DispatchId::new(uuid::Uuid::from_u128(number))
    }

    #[test]
    fn a_question_is_before_one_user_at_a_time() {
        let asked = Asked::default();
        let dispatch = "01890a5d-ac96-774b-bcce-b302099a8057".parse().unwrap();
        let task = TaskIdx::from_usize(0);
        let claim = asked.claim(dispatch, task);
        assert!(claim.is_some());
        // Also when it was asked for in vain before.
        assert!(asked.claim(dispatch, task).is_none() && asked.claim(dispatch, task).is_none());
        let other = asked.claim(dispatch, TaskIdx::from_usize(1));
        assert!(other.is_some());
        drop(claim);
        assert!(asked.claim(dispatch, task).is_some());
    }
}
