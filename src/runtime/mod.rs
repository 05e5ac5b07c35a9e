//! The program's service: takes checked documents, drives their schedulers, answers questions.
//!
//! One dispatcher task owns every live dispatch. It collects what happened into a batch, lets the
//! schedulers decide, makes their facts durable in one commit, and only then acts. Everyone else
//! holds a [`DispatcherHandle`].

mod addition;
mod advice;
mod ancestors;
#[cfg(test)]
mod approval_tests;
mod approvals;
mod attempt;
mod batch;
#[cfg(test)]
mod condition_tests;
mod control;
#[cfg(test)]
mod control_tests;
mod course;
#[cfg(test)]
mod course_tests;
mod decision;
mod defaults;
mod dispatcher;
mod document;
mod durable;
mod elsewhere;
mod evidence;
#[cfg(test)]
mod evidence_tests;
mod expansion;
#[cfg(test)]
mod expansion_tests;
#[cfg(test)]
mod fakes;
mod family;
#[cfg(test)]
mod fault_tests;
mod files;
mod filter;
#[cfg(test)]
mod flaky;
mod forecast;
#[cfg(test)]
mod forecast_tests;
mod fuzzing;
mod gatekeeper;
mod gather;
mod growth;
mod handle;
mod history;
mod lanes;
mod live;
mod lookout;
#[cfg(test)]
mod lookout_tests;
mod lookup;
mod markdown;
mod message;
mod metering;
mod nesting;
#[cfg(test)]
mod nesting_tests;
mod options;
mod orphans;
mod own_journal;
mod paths;
mod query;
mod recovery;
mod report;
mod retention;
mod retry_dispatch;
#[cfg(test)]
mod retry_tests;
mod reuse;
#[cfg(test)]
mod reuse_tests;
mod room;
mod row;
mod rules;
mod sharing;
#[cfg(test)]
mod sharing_tests;
mod spans;
#[cfg(test)]
mod spans_tests;
mod spending;
#[cfg(test)]
mod spending_tests;
mod standing;
#[cfg(test)]
mod standing_tests;
mod steer;
mod submission;
#[cfg(test)]
mod takeover_tests;
mod telling;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod trace;
mod trace_file;
mod tracer;
mod views;
#[cfg(test)]
mod views_asked;
#[cfg(test)]
mod views_tests;
mod work;
mod workers;

pub use approvals::{Question, Questions};
pub use course::{Course, Heed};
#[doc(hidden)]
pub use fuzzing::fuzz_journal;
pub use handle::{Caller, DispatcherHandle, Ticket};
pub use lookout::Watch;
pub use lookup::{Found, Newest};
pub use message::{Paused, Progress};
pub use options::{AgentExpect, AgentOptions, Dependencies, Options, Recover};
pub use paths::Paths;
pub use retention::{PruneMode, Pruned, PrunedDispatch, Retention};
pub use standing::Standing;
