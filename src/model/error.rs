//! Refusals: what is wrong with a request, where, and what to do about it (contract, section 4).

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::text;

/// The code of a refusal.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// Not JSON, or JSON that means two things (duplicate keys, lone surrogates).
    ParseError,
    /// A field that must be there is not.
    MissingField,
    /// A field that nobody reads.
    UnknownField,
    /// One thing said twice, by two names.
    DuplicateField,
    /// A value of another JSON type than the field's.
    InvalidType,
    /// A word that is none of the field's.
    InvalidEnum,
    /// A number outside the field's range.
    OutOfRange,
    /// Nothing where something must be.
    EmptyValue,
    /// A text longer than the field takes.
    TooLong,
    /// Nesting deeper than is read.
    TooDeep,
    /// More of something than the server's limits allow.
    LimitExceeded,
    /// A body larger than is read.
    RequestTooLarge,
    /// A task id that is not `[A-Za-z0-9][A-Za-z0-9._-]{0,127}`.
    InvalidTaskId,
    /// Two tasks of one name.
    DuplicateTaskId,
    /// A dependency on a task that is not in the document.
    UnknownDependency,
    /// A task that waits for itself.
    SelfDependency,
    /// Tasks that wait for each other in a circle.
    DependencyCycle,
    /// An agent that is neither built in nor in the settings.
    UnknownAgent,
    /// An agent whose upstream lacks the tool it needs, or whose program is not installed.
    AgentUnavailable,
    /// A path that must be absolute and is not.
    PathNotAbsolute,
    /// A path outside every workspace.
    PathNotAllowed,
    /// A context requirement that is not `PREFIX:KEY` with a known prefix.
    InvalidContextRequirement,
    /// A `${tasks…}` reference that cannot be resolved.
    InvalidReference,
    /// A glob or a resource that a task claims cannot be one.
    InvalidClaim,
    /// A condition (`when`) that does not parse, does not type-check, or names what there is not.
    InvalidExpression,
    /// A plan that is not in the store.
    UnknownPlan,
    /// A dispatch that is not in the store.
    UnknownDispatch,
    /// A task that is not in the dispatch.
    UnknownTask,
    /// A decision on a task that waits for none.
    NotWaiting,
    /// A change to a task that has started.
    AlreadyStarted,
    /// A wish about a dispatch that has ended.
    AlreadyEnded,
    /// A lease that is not in force, or is none.
    LeaseLost,
    /// What the caller may not do, whoever it is about.
    NotAllowed,
    /// One idempotency key for two documents.
    IdempotencyConflict,
    /// Too much at once; come back later.
    Busy,
    /// The store cannot be written or read.
    StorageUnavailable,
    /// A fault of this program.
    Internal,
}

/// One fault of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Fault {
    /// What to branch on.
    pub code: ErrorCode,
    /// What is wrong, in one sentence.
    pub message: String,
    /// Where: a JSON pointer (RFC 6901) into the document; empty for the whole of it.
    pub path: String,
    /// What to do about it.
    pub hint: String,
}

/// Why a request was refused: every fault that was found. Nothing has run.
///
/// Invariant: at least one fault; at most [`Refusal::FAULTS_MAX`] are kept, all are counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    faults: Vec<Fault>,
    n_faults: usize,
    retry_after_ms: Option<u64>,
}

/// A refusal as users get it: at most 4,096 bytes of JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RefusalBody {
    /// The first fault, in document order.
    pub error: Fault,
    /// Every fault found, at most 20, fewer where they would be longer than 4,096 bytes.
    pub errors: Vec<Fault>,
    /// How many faults were found in all.
    pub error_count: usize,
    /// For `busy`: when to come back, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
}

impl Fault {
    /// Describes a fault; texts are cut and escaped here, so that they are safe to show.
    pub fn new(code: ErrorCode, path: impl Into<String>, message: &str, hint: &str) -> Self {
        Self {
            code,
            message: text::escape(&text::cut(message, 400)),
            path: text::escape(&text::cut(&path.into(), 200)),
            hint: text::escape(&text::cut(hint, 300)),
        }
    }

    fn cut(&self, chars_max: usize) -> Self {
        Self {
            code: self.code,
            message: text::cut(&self.message, chars_max),
            path: text::cut(&self.path, chars_max),
            hint: text::cut(&self.hint, chars_max),
        }
    }
}

impl Refusal {
    /// How many faults are kept; more are counted only.
    pub const FAULTS_MAX: usize = 20;
    /// The longest a refusal may be when written as JSON, in bytes.
    pub const BYTES_MAX: usize = 4_096;

    /// Refuses for one fault.
    pub fn new(fault: Fault) -> Self {
        Self { faults: vec![fault], n_faults: 1, retry_after_ms: None }
    }

    /// Refuses for one fault, built in place.
    pub fn of(code: ErrorCode, path: impl Into<String>, message: &str, hint: &str) -> Self {
        Self::new(Fault::new(code, path, message, hint))
    }

    /// Refuses if `faults` has any; `n_faults` counts those that were not kept, too.
    pub fn from_faults(mut faults: Vec<Fault>, n_faults: usize) -> Option<Self> {
        faults.truncate(Self::FAULTS_MAX);
        (!faults.is_empty()).then_some(Self { faults, n_faults, retry_after_ms: None })
    }

    /// Says when to come back.
    #[must_use]
    pub fn retry_after(mut self, millis: u64) -> Self {
        self.retry_after_ms = Some(millis);
        self
    }

    /// Moves what is wrong at `from` to `to`, for a caller who knows the field by that name.
    #[must_use]
    pub fn moved(mut self, from: &str, to: &str) -> Self {
        for it in self.faults.iter_mut().filter(|it| it.path == from) {
            to.clone_into(&mut it.path);
        }
        self
    }

    /// What of it is at `from` or below, moved to `to`; nothing if it is all elsewhere.
    pub fn within(&self, from: &str, to: &str) -> Option<Self> {
        let inner = |it: &Fault| {
            let rest = it.path.strip_prefix(from)?;
            let path = (rest.is_empty() || rest.starts_with('/')).then(|| format!("{to}{rest}"))?;
            Some(Fault { path, ..it.clone() })
        };
        let faults: Vec<_> = self.faults.iter().filter_map(inner).collect();
        let n_faults = faults.len();
        Self::from_faults(faults, n_faults)
    }

    /// The code of the first fault.
    pub fn code(&self) -> ErrorCode {
        self.faults[0].code
    }

    /// The faults that were kept, in document order.
    pub fn faults(&self) -> &[Fault] {
        &self.faults
    }

    /// The refusal as users get it, cut to [`Self::BYTES_MAX`].
    pub fn to_body(&self) -> RefusalBody {
        let mut body = RefusalBody {
            error: self.faults[0].clone(),
            errors: self.faults.clone(),
            error_count: self.n_faults,
            retry_after_ms: self.retry_after_ms,
        };
        let is_long = |it: &RefusalBody| {
            serde_json::to_vec(it).map_or(0, |bytes| bytes.len()) > Self::BYTES_MAX
        };
        while is_long(&body) && body.errors.len() > 1 {
            body.errors.pop();
        }
        // A text from strangers may grow manyfold when it is escaped.
        let mut chars_max = 400;
        while is_long(&body) && chars_max > 0 {
            chars_max /= 2;
            body.error = self.faults[0].cut(chars_max);
            body.errors = vec![body.error.clone()];
        }
        body
    }
}

/// A refusal that was written and is read back; what was cut stays cut.
impl From<RefusalBody> for Refusal {
    fn from(body: RefusalBody) -> Self {
        let RefusalBody { error, errors, error_count, retry_after_ms } = body;
        let faults = if errors.is_empty() { vec![error] } else { errors };
        Self { n_faults: error_count.max(faults.len()), faults, retry_after_ms }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.faults[0].message)?;
        if self.n_faults > 1 {
            write!(f, " (and {} more)", self.n_faults - 1)?;
        }
        Ok(())
    }
}

impl std::error::Error for Refusal {}

impl ErrorCode {
    /// The code as it is written in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ParseError => "parse_error",
            Self::MissingField => "missing_field",
            Self::UnknownField => "unknown_field",
            Self::DuplicateField => "duplicate_field",
            Self::InvalidType => "invalid_type",
            Self::InvalidEnum => "invalid_enum",
            Self::OutOfRange => "out_of_range",
            Self::EmptyValue => "empty_value",
            Self::TooLong => "too_long",
            Self::TooDeep => "too_deep",
            Self::LimitExceeded => "limit_exceeded",
            Self::RequestTooLarge => "request_too_large",
            Self::InvalidTaskId => "invalid_task_id",
            Self::DuplicateTaskId => "duplicate_task_id",
            Self::UnknownDependency => "unknown_dependency",
            Self::SelfDependency => "self_dependency",
            Self::DependencyCycle => "dependency_cycle",
            Self::UnknownAgent => "unknown_agent",
            Self::AgentUnavailable => "agent_unavailable",
            Self::PathNotAbsolute => "path_not_absolute",
            Self::PathNotAllowed => "path_not_allowed",
            Self::InvalidContextRequirement => "invalid_context_requirement",
            Self::InvalidReference => "invalid_reference",
            Self::InvalidClaim => "invalid_claim",
            Self::InvalidExpression => "invalid_expression",
            Self::UnknownPlan => "unknown_plan",
            Self::UnknownDispatch => "unknown_dispatch",
            Self::UnknownTask => "unknown_task",
            Self::NotWaiting => "not_waiting",
            Self::AlreadyStarted => "already_started",
            Self::AlreadyEnded => "already_ended",
            Self::LeaseLost => "lease_lost",
            Self::NotAllowed => "not_allowed",
            Self::IdempotencyConflict => "idempotency_conflict",
            Self::Busy => "busy",
            Self::StorageUnavailable => "storage_unavailable",
            Self::Internal => "internal",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn n_bytes(refusal: &Refusal) -> usize {
        serde_json::to_vec(&refusal.to_body()).unwrap().len()
    }

    #[test]
    fn a_refusal_fits_its_limit_whatever_its_texts_are() {
        for filler in ["x", "\"", "\\", "\u{7}", "\u{e007f}", "😀", "\u{202e}"] {
            let text = filler.repeat(100_000);
            let fault = || Fault::new(ErrorCode::Internal, text.clone(), &text, &text);
            let one = Refusal::new(fault());
            assert!(n_bytes(&one) <= Refusal::BYTES_MAX, "{filler:?}: {}", n_bytes(&one));
            let many = Refusal::from_faults((0..30).map(|_| fault()).collect(), 30).unwrap();
            assert!(n_bytes(&many) <= Refusal::BYTES_MAX, "{filler:?}: {}", n_bytes(&many));
            assert_eq!(many.to_body().error_count, 30);
        }
    }

    #[test]
    fn short_faults_are_kept_up_to_twenty() {
        let fault = |at: usize| Fault::new(ErrorCode::MissingField, format!("/{at}"), "m", "h");
        let refusal = Refusal::from_faults((0..30).map(fault).collect(), 30).unwrap();
        assert_eq!(refusal.to_body().errors.len(), Refusal::FAULTS_MAX);
        assert_eq!(refusal.to_string(), "m (and 29 more)");
    }
}
