//! Traces as W3C Trace Context names them: who passes on what of a trace, and whose span is whose.

use std::{fmt, str::FromStr, sync::Arc};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::DispatchId;

/// The name of a trace: 16 bytes, not all zero; as text 32 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TraceId([u8; 16]);

/// The name of a span in its trace: 8 bytes, not all zero; as text 16 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
#[derive(JsonSchema)]
#[schemars(with = "String")]
pub struct SpanId([u8; 8]);

/// What a caller hands on of its trace: `traceparent`, and `tracestate` with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "Written", into = "Written")]
#[schemars(with = "Written")]
pub struct TraceContext {
    /// The trace.
    pub trace: TraceId,
    /// The span that the receiver's own are children of.
    pub span: SpanId,
    /// Whether the caller records the trace.
    pub is_sampled: bool,
    /// What tracing systems pass on beside it; checked, and never looked into.
    pub state: Option<Arc<str>>,
}

/// The trace that an attempt belongs to, and whether this program makes spans of its own in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lineage {
    /// What is handed on.
    pub context: TraceContext,
    /// Whether `context` names a span of this program's. If not, it is handed on as it came.
    pub has_spans: bool,
}

/// A text is no `traceparent`, or no name of a span.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is not a W3C trace context")]
pub struct NotATrace;

impl TraceId {
    /// Wraps the bytes, unless they are all zero.
    pub fn new(bytes: [u8; 16]) -> Option<Self> {
        (bytes != [0; 16]).then_some(Self(bytes))
    }

    /// The trace of a dispatch that came without one: its id, so that whoever goes on with it after
    /// a crash goes on with the trace.
    pub fn of_dispatch(dispatch: DispatchId) -> Self {
        Self(*dispatch.as_bytes())
    }

    /// The bytes, as they go over the wire.
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// Whether it is among the share `ratio` of traces: all of a trace or nothing of it, and the
    /// same everywhere. It is read from the last four bytes, which are random in a UUID too, even
    /// in one of many made in the same millisecond.
    pub fn is_among(&self, ratio: f64) -> bool {
        let [.., a, b, c, d] = self.0;
        f64::from(u32::from_be_bytes([a, b, c, d])) < ratio * 2_f64.powi(32)
    }
}

impl SpanId {
    /// Takes the first eight of some bytes that nobody else has; they may be zero.
    pub fn new(bytes: &[u8]) -> Self {
        let mut id = [0; 8];
        id.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
        if id == [0; 8] {
            id[7] = 1;
        }
        Self(id)
    }

    /// The bytes, as they go over the wire.
    pub fn as_bytes(&self) -> &[u8; 8] {
        &self.0
    }
}

impl TraceContext {
    /// Where it stands in `_meta`, and what the HTTP header is called.
    pub const TRACEPARENT: &'static str = "traceparent";
    /// Where the rest stands.
    pub const TRACESTATE: &'static str = "tracestate";
    /// The same for a program that is started.
    pub const TRACEPARENT_VARIABLE: &'static str = "TRACEPARENT";
    /// The rest for a program that is started.
    pub const TRACESTATE_VARIABLE: &'static str = "TRACESTATE";
    /// The longest `tracestate` that is passed on, in bytes.
    const STATE_BYTES_MAX: usize = 512;

    /// Reads both. A `traceparent` that is wrong counts as none; so does a `tracestate`, alone.
    pub fn read(traceparent: &str, tracestate: Option<&str>) -> Option<Self> {
        let read: Self = traceparent.parse().ok()?;
        let is_fine = |it: &&str| {
            !it.is_empty()
                && it.len() <= Self::STATE_BYTES_MAX
                && it.bytes().all(|it| it == b' ' || it.is_ascii_graphic())
        };
        Some(Self { state: tracestate.filter(is_fine).map(Arc::from), ..read })
    }

    /// As `traceparent` says it.
    pub fn traceparent(&self) -> String {
        format!("00-{}-{}-{:02x}", self.trace, self.span, u8::from(self.is_sampled))
    }
}

impl Lineage {
    /// What a call for the attempt hands on, and which span it is, if it is one: `id` is to be one
    /// that nobody else has.
    pub fn of_call(&self, id: SpanId) -> (TraceContext, Option<SpanId>) {
        if !self.has_spans {
            return (self.context.clone(), None);
        }
        (TraceContext { span: id, ..self.context.clone() }, Some(id))
    }
}

impl FromStr for TraceContext {
    type Err = NotATrace;

    /// Reads `traceparent` as the W3C has it: lower case, no name all zero, version `ff` never, and
    /// of later versions what is known.
    fn from_str(text: &str) -> Result<Self, NotATrace> {
        let mut parts = text.splitn(4, '-');
        let mut part = || parts.next().ok_or(NotATrace);
        let [version] = digits::<1>(part()?)?;
        let trace = TraceId::new(digits(part()?)?).ok_or(NotATrace)?;
        let span = digits::<8>(part()?)?;
        let rest = part()?;
        let flags = rest.get(..2).ok_or(NotATrace)?;
        let is_whole = rest.len() == 2 || (version > 0 && rest.as_bytes()[2] == b'-');
        if version == 0xff || span == [0; 8] || !is_whole {
            return Err(NotATrace);
        }
        let [flags] = digits::<1>(flags)?;
        Ok(Self { trace, span: SpanId(span), is_sampled: flags & 1 == 1, state: None })
    }
}

/// Reads so many bytes of lower-case hexadecimal digits, and nothing else.
fn digits<const N: usize>(text: &str) -> Result<[u8; N], NotATrace> {
    let digit = |it: u8| match it {
        b'0'..=b'9' => Ok(it - b'0'),
        b'a'..=b'f' => Ok(it - b'a' + 10),
        _ => Err(NotATrace),
    };
    if text.len() != 2 * N {
        return Err(NotATrace);
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Ok(bytes)
}

/// The form in which a context stands in the store.
#[derive(Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
struct Written {
    /// As the W3C has it.
    traceparent: String,
    /// What tracing systems pass on beside it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tracestate: Option<String>,
}

impl TryFrom<Written> for TraceContext {
    type Error = NotATrace;

    fn try_from(written: Written) -> Result<Self, NotATrace> {
        Self::read(&written.traceparent, written.tracestate.as_deref()).ok_or(NotATrace)
    }
}

impl From<TraceContext> for Written {
    fn from(context: TraceContext) -> Self {
        let tracestate = context.state.as_deref().map(str::to_owned);
        Self { traceparent: context.traceparent(), tracestate }
    }
}

impl TryFrom<String> for SpanId {
    type Error = NotATrace;

    fn try_from(text: String) -> Result<Self, NotATrace> {
        Ok(Self::new(&digits::<8>(&text)?))
    }
}

impl From<SpanId> for String {
    fn from(id: SpanId) -> Self {
        id.to_string()
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|it| write!(f, "{it:02x}"))
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|it| write!(f, "{it:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn a_context_is_read_as_it_is_written() {
        let context = TraceContext::read(PARENT, Some("a=1,b@c=x y")).unwrap();
        assert_eq!(context.traceparent(), PARENT);
        let json = serde_json::to_string(&context).unwrap();
        assert_eq!(json, format!(r#"{{"traceparent":"{PARENT}","tracestate":"a=1,b@c=x y"}}"#));
        assert_eq!(serde_json::from_str::<TraceContext>(&json).unwrap(), context);
        let plain = PARENT.parse::<TraceContext>().unwrap();
        assert_eq!(
            serde_json::from_str::<TraceContext>(&serde_json::to_string(&plain).unwrap()).unwrap(),
            plain
        );
    }

    #[test]
    fn of_flags_only_one_counts_and_of_later_versions_what_is_known() {
        let flags =
            |it: &str| PARENT.replace("-01", it).parse().map(|it: TraceContext| it.is_sampled);
        assert_eq!(
            [flags("-00"), flags("-02"), flags("-03"), flags("-ff")],
            [Ok(false), Ok(false), Ok(true), Ok(true)]
        );
        let later = PARENT.replacen("00-", "cc-", 1) + "-what-comes";
        assert_eq!(later.parse::<TraceContext>().unwrap().traceparent(), PARENT);
    }

    #[test]
    fn what_the_standard_does_not_allow_is_no_context() {
        let wrong = [
            String::new(),
            "-".to_owned(),
            PARENT.to_uppercase(),
            PARENT.replacen("00-", "ff-", 1),
            PARENT.replacen("00-", "0-", 1),
            PARENT.replace("0af7651916cd43dd8448eb211c80319c", &"0".repeat(32)),
            PARENT.replace("b7ad6b7169203331", &"0".repeat(16)),
            PARENT.replace("-01", "-1"),
            PARENT.replace("-01", "-0g"),
            PARENT.replace("-01", "-01-"),
            PARENT.replace("-01", "-01x"),
            PARENT.replacen("00-", "cc-", 1) + "x",
            format!(" {PARENT}"),
            format!("{PARENT}\n"),
            PARENT.replace("b7", "é"),
            PARENT.replace("-01", "-é"),
        ];
        for it in wrong {
            assert_eq!(it.parse::<TraceContext>(), Err(NotATrace), "{it:?}");
        }
    }

    #[test]
    fn a_state_that_is_wrong_is_left_out() {
        for state in ["", "a\nb", "é", &"x".repeat(513)] {
            let context = TraceContext::read(PARENT, Some(state)).unwrap();
            assert_eq!(context.state, None, "{state:?}");
        }
    }

    #[test]
    fn a_share_of_traces_is_about_that_share() {
        let traces: Vec<_> =
            (0..2_000).map(|_| TraceId::of_dispatch(DispatchId::new(Uuid::now_v7()))).collect();
        let n_of = |ratio| traces.iter().filter(|it| it.is_among(ratio)).count();
        assert_eq!((n_of(0.0), n_of(1.0)), (0, 2_000));
        assert!((350..650).contains(&n_of(0.25)), "{}", n_of(0.25));
    }

    #[test]
    fn no_span_is_called_zero() {
        assert_eq!(SpanId::new(&[0; 32]).to_string(), "0000000000000001");
        assert_eq!(SpanId::new(&[1, 2]).to_string(), "0102000000000000");
    }
}
