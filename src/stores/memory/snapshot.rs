//! What stands in the memory, which does not change while it is looked at.

use super::state::{Kept, State, is_wanted};
use crate::{
    model::{
        AgentName, DispatchId, DispatchStatus, DurationKey, Durations, Millis, PlanId, TaskIdx,
    },
    ports::{
        Asked, Digest, DispatchRow, KeyedDispatch, KnownResult, OpenOwner, OwnerId, Record,
        RecordFilter, RequestId, RequestState, Snapshot, StoreError, StoredPlan, StoredTask,
    },
};

impl Snapshot for State {
    fn dispatch(&self, dispatch: DispatchId) -> Result<Option<DispatchRow>, StoreError> {
        Ok(self.dispatches.get(&dispatch).map(Kept::row))
    }

    fn document(&self, dispatch: DispatchId) -> Result<Option<String>, StoreError> {
        Ok(self.dispatches.get(&dispatch).map(|it| it.document.clone()))
    }

    fn tasks(&self, dispatch: DispatchId) -> Result<Vec<StoredTask>, StoreError> {
        Ok(self.dispatches.get(&dispatch).map(|it| it.tasks.clone()).unwrap_or_default())
    }

    fn outputs(
        &self,
        dispatch: DispatchId,
        tasks: &[TaskIdx],
    ) -> Result<Vec<Option<String>>, StoreError> {
        let kept = self.dispatches.get(&dispatch);
        Ok(tasks.iter().map(|task| kept?.outputs.get(task).cloned()).collect())
    }

    fn records(
        &self,
        dispatch: DispatchId,
        filter: &RecordFilter,
    ) -> Result<Vec<Record>, StoreError> {
        let records = self.dispatches.get(&dispatch).map(|it| it.records.as_slice());
        let wanted = records.unwrap_or_default().iter().filter(|it| is_wanted(it, filter));
        Ok(wanted.take(filter.limit).cloned().collect())
    }

    fn recent(
        &self,
        caller: Option<&str>,
        before: Option<DispatchId>,
        limit: usize,
    ) -> Result<Vec<DispatchRow>, StoreError> {
        let newest_first = self.dispatches.values().rev();
        let own = newest_first.filter(|it| caller.is_none() || it.caller.as_deref() == caller);
        let older = own.filter(|it| before.is_none_or(|before| it.dispatch < before));
        Ok(older.take(limit).map(Kept::row).collect())
    }

    fn open_dispatches(&self) -> Result<Vec<DispatchRow>, StoreError> {
        let open = self.dispatches.values().filter(|it| it.status == DispatchStatus::Running);
        Ok(open.map(Kept::row).collect())
    }

    fn open_owners(&self) -> Result<Vec<OpenOwner>, StoreError> {
        let lease_until = |it| self.leases.get(&it).copied();
        let owners = self.owners_of_open().into_iter();
        Ok(owners.map(|it| OpenOwner { owner: it, lease_until: lease_until(it) }).collect())
    }

    fn by_idempotency_key(&self, key: &str) -> Result<Option<KeyedDispatch>, StoreError> {
        Ok(self.keys.get(key).copied())
    }

    fn requests(&self, owner: OwnerId) -> Result<Vec<Asked>, StoreError> {
        let owns =
            |it: &Asked| self.dispatches.get(&it.dispatch).is_some_and(|it| it.head.owner == owner);
        let waiting = self.requests.iter().filter(|it| it.1.is_none());
        Ok(waiting.map(|it| &it.0).filter(|it| owns(it)).cloned().collect())
    }

    fn request(&self, request: RequestId) -> Result<Option<RequestState>, StoreError> {
        let known = self.requests.iter().find(|it| it.0.id == request);
        let state = |refusal: &Option<String>| {
            refusal.clone().map_or(RequestState::Waits, RequestState::Refused)
        };
        Ok(known.map(|(_, refusal)| state(refusal)))
    }

    fn plan(&self, plan: PlanId) -> Result<Option<StoredPlan>, StoreError> {
        Ok(self.plans.get(&plan).map(|it| it.1.clone()))
    }

    fn recent_plans(
        &self,
        caller: Option<&str>,
        before: Option<PlanId>,
        limit: usize,
    ) -> Result<Vec<(PlanId, Millis)>, StoreError> {
        let newest_first = self.plans.iter().rev();
        let own =
            newest_first.filter(|(_, it)| caller.is_none() || it.1.caller.as_deref() == caller);
        let older = own.filter(|(id, _)| before.is_none_or(|before| **id < before));
        Ok(older.take(limit).map(|(id, it)| (*id, it.0)).collect())
    }

    fn durations(&self, agents: &[AgentName]) -> Result<Vec<(DurationKey, Durations)>, StoreError> {
        let wanted = self.durations.iter().filter(|(key, _)| agents.contains(&key.agent));
        Ok(wanted.map(|(key, it)| (DurationKey::clone(key), it.1.clone())).collect())
    }

    fn known_result(&self, work: Digest) -> Result<Option<KnownResult>, StoreError> {
        Ok(self.result_of(work))
    }
}
