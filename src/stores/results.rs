//! The results that later tasks may take, of a store in memory.

use std::collections::BTreeMap;

use super::head::RESULTS_MAX;
use crate::{
    model::DispatchId,
    ports::{Digest, Remember},
};

/// The results, each under what decided on it.
#[derive(Debug, Default)]
pub(super) struct Results {
    by_work: BTreeMap<Digest, (u64, Remember)>,
    /// Grows with each result, so that the oldest are known.
    last_number: u64,
}

impl Results {
    pub(super) fn remember(&mut self, result: Remember) {
        self.last_number += 1;
        self.by_work.insert(result.work, (self.last_number, result));
        if self.by_work.len() > RESULTS_MAX
            && let Some(oldest) = self.by_work.values().min_by_key(|it| it.0)
        {
            let work = oldest.1.work;
            self.by_work.remove(&work);
        }
    }

    pub(super) fn find(&self, work: Digest) -> Option<&Remember> {
        self.by_work.get(&work).map(|it| &it.1)
    }

    /// Forgets all but the results of dispatches that are still there.
    pub(super) fn retain(&mut self, is_there: impl Fn(DispatchId) -> bool) {
        self.by_work.retain(|_, (_, it)| is_there(it.dispatch));
    }
}
