//! The edges of the program as small traits, one a file; adapters implement them, the runtime
//! holds them.

mod agents;
mod changes;
mod checks;
mod clock;
mod context;
mod failpoint;
mod journal;
mod meter;
mod ownership;
mod record;
mod request;
mod reuse;
mod snapshot;
mod spans;
mod traces;
mod upkeep;
mod work;

pub use agents::{
    AgentBackend, AgentDirectory, AttemptCall, BindError, Binding, CallLog, EventLog, Heartbeat,
    UpstreamOutput, UpstreamWish,
};
pub use changes::Changes;
pub use checks::{CheckCall, CheckOutcome, Checks};
pub use clock::Clock;
pub use context::{ContextError, ContextItem, ContextKey, ContextSource, Gathering};
pub use failpoint::Failpoint;
pub use journal::{
    Accept, Answer, Committed, DispatchRow, Epoch, Journal, KeyedDispatch, OpenOwner, Overview,
    OwnerId, RecordFilter, StoreError, StoredPlan, StoredTask, TaskRow, Tenure, Write,
};
pub use meter::{Meter, Standing};
pub use ownership::Ownership;
pub use record::{Record, RecordBody};
pub use request::{Asked, Nest, Request, RequestId, RequestState};
pub use reuse::{Digest, KnownResult, Remember};
pub use snapshot::{Query, Snapshot, ask};
pub use spans::{Span, Spanned, Spans};
pub use traces::{
    MakeTraceFiles, RemovedTraces, TraceFile, TraceFiles, TraceTarget, TraceWriteError,
};
pub use upkeep::{EndedDispatch, StoreUsage, Swept, Upkeep};
pub use work::{Claim, WorkBoard};
