//! The edges of the program as small traits, one a file; adapters implement them, the runtime
//! holds them.

mod agents;
mod clock;
mod context;
mod failpoint;
mod journal;
mod ownership;
mod record;
mod traces;

pub use agents::{
    AgentBackend, AgentDirectory, AttemptCall, BindError, Binding, CallLog, Heartbeat,
};
pub use clock::Clock;
pub use context::{ContextError, ContextItem, ContextKey, ContextSource};
pub use failpoint::Failpoint;
pub use journal::{
    Accept, CancelAsked, Committed, DispatchRow, Journal, KeyedDispatch, Overview, OwnerId,
    RecordFilter, StoreError, StoredTask, TaskRow, Write,
};
pub use ownership::Ownership;
pub use record::{Record, RecordBody};
pub use traces::{MakeTraceFiles, TraceFile, TraceFiles, TraceTarget, TraceWriteError};
