//! The URIs of resources, read strictly: each resource has one spelling that we write.

use std::{fmt, str::FromStr};

use thiserror::Error;

use crate::model::{DispatchId, PlanId, TaskId, text};

/// The template of dispatches.
pub(in crate::mcp) const DISPATCH: &str = "dispatch://{id}";
/// The template of tasks.
pub(in crate::mcp) const TASK: &str = "dispatch://{id}/tasks/{task_id}";
/// The template of traces.
pub(in crate::mcp) const TRACE: &str = "trace://{id}/{task_id}";
/// The template of plans.
pub(in crate::mcp) const PLAN: &str = "plan://{id}";

/// The agents.
const AGENTS: &str = "settings://agents";
/// The longest URI that is read, in bytes: an encoded task id has three for each.
const URI_BYTES_MAX: usize = 1_024;

/// What a URI stands for; it need not be there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::mcp) enum ResourceUri {
    /// The agents of the settings.
    Agents,
    /// Where a dispatch and its tasks stand.
    Dispatch(DispatchId),
    /// One task with its whole output.
    Task(DispatchId, TaskId),
    /// What happened to one task.
    Trace(DispatchId, TaskId),
    /// A stored plan.
    Plan(PlanId),
}

/// Why a URI names no resource of ours.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(in crate::mcp) enum UriFault {
    /// It is a URI, but of something else.
    #[error("there is no resource \"{0}\"")]
    Unknown(String),
    /// It is none, or a part of it cannot be read.
    #[error("\"{uri}\" is no URI of a resource: {problem}")]
    Malformed {
        /// The URI, safe to show.
        uri: String,
        /// What is wrong with it.
        problem: &'static str,
    },
}

impl ResourceUri {
    /// Reads a URI.
    pub(in crate::mcp) fn parse(uri: &str) -> Result<Self, UriFault> {
        let shown = || text::escape(&text::cut(uri, 200));
        let malformed = |problem| UriFault::Malformed { uri: shown(), problem };
        if uri.len() > URI_BYTES_MAX {
            return Err(malformed("it is longer than 1,024 bytes"));
        }
        let (scheme, rest) = uri.split_once("://").ok_or_else(|| malformed("it has no scheme"))?;
        let parts: Vec<&str> = rest.split('/').collect();
        let found = match (scheme, parts.as_slice()) {
            ("settings", ["agents"]) => Some(Self::Agents),
            ("dispatch", [id]) => Some(Self::Dispatch(read_id(id).map_err(malformed)?)),
            ("dispatch", [id, "tasks", task]) => {
                let id = read_id(id).map_err(malformed)?;
                Some(Self::Task(id, read_task(task).map_err(malformed)?))
            }
            ("trace", [id, task]) => {
                let id = read_id(id).map_err(malformed)?;
                Some(Self::Trace(id, read_task(task).map_err(malformed)?))
            }
            ("plan", [id]) => Some(Self::Plan(read_id(id).map_err(malformed)?)),
            _ => None,
        };
        found.ok_or_else(|| UriFault::Unknown(shown()))
    }
}

impl fmt::Display for ResourceUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Agents => f.write_str(AGENTS),
            Self::Dispatch(id) => write!(f, "dispatch://{id}"),
            Self::Task(id, task) => write!(f, "dispatch://{id}/tasks/{}", Encoded(task.as_str())),
            Self::Trace(id, task) => write!(f, "trace://{id}/{}", Encoded(task.as_str())),
            Self::Plan(id) => write!(f, "plan://{id}"),
        }
    }
}

/// Text as one segment of a URI's path (RFC 3986): all but unreserved characters is escaped.
struct Encoded<'a>(&'a str);

impl fmt::Display for Encoded<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for &byte in self.0.as_bytes() {
            if byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-' | b'~') {
                fmt::Write::write_char(f, char::from(byte))?;
            } else {
                write!(f, "%{byte:02X}")?;
            }
        }
        Ok(())
    }
}

/// Reads an id as it is written, and in no other of the forms that a UUID may have.
fn read_id<T: FromStr + ToString>(text: &str) -> Result<T, &'static str> {
    let id = text.parse::<T>().ok().filter(|it| it.to_string().eq_ignore_ascii_case(text));
    id.ok_or("an id is a UUID with hyphens, as the tools answer it")
}

fn read_task(segment: &str) -> Result<TaskId, &'static str> {
    let name = decode(segment)?;
    if !TaskId::is_valid(&name) {
        return Err("no task can be called so");
    }
    Ok(TaskId::new(&name))
}

fn decode(segment: &str) -> Result<String, &'static str> {
    let digit = |byte: Option<u8>| byte.and_then(|it| char::from(it).to_digit(16));
    let (mut decoded, mut bytes) = (Vec::with_capacity(segment.len()), segment.bytes());
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            decoded.push(byte);
            continue;
        }
        let code = digit(bytes.next()).zip(digit(bytes.next())).map(|(high, low)| high * 16 + low);
        let code = code.and_then(|it| u8::try_from(it).ok());
        decoded.push(code.ok_or("after % come two hexadecimal digits")?);
    }
    String::from_utf8(decoded).map_err(|_| "what is encoded is not UTF-8")
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "01a1fc9e-89fa-72a4-9bad-541041093f73";

    #[test]
    fn what_is_written_reads_back() {
        let (dispatch, task) = (ID.parse().unwrap(), TaskId::new("gen-user.writer_2"));
        for (uri, written) in [
            (ResourceUri::Agents, "settings://agents".to_owned()),
            (ResourceUri::Dispatch(dispatch), format!("dispatch://{ID}")),
            (
                ResourceUri::Task(dispatch, task.clone()),
                format!("dispatch://{ID}/tasks/gen-user.writer_2"),
            ),
            (ResourceUri::Trace(dispatch, task), format!("trace://{ID}/gen-user.writer_2")),
            (ResourceUri::Plan(ID.parse().unwrap()), format!("plan://{ID}")),
        ] {
            assert_eq!(uri.to_string(), written);
            assert_eq!(ResourceUri::parse(&written), Ok(uri));
        }
        assert_eq!(Encoded("a b/ü").to_string(), "a%20b%2F%C3%BC");
    }

    #[test]
    fn an_encoded_task_id_is_decoded_once() {
        let uri = ResourceUri::parse(&format!("dispatch://{ID}/tasks/gen%2duser")).unwrap();
        assert_eq!(uri.to_string(), format!("dispatch://{ID}/tasks/gen-user"));
        for task in ["a%252d", "a%", "a%2", "a%2x", "a%+1", "%ff", "a%2F..%2Fb", "", "..", "a b"] {
            let read = ResourceUri::parse(&format!("dispatch://{ID}/tasks/{task}"));
            assert!(matches!(read, Err(UriFault::Malformed { .. })), "{task:?}: {read:?}");
        }
    }

    #[test]
    fn other_things_are_unknown_and_nonsense_is_malformed() {
        for uri in ["file:///etc/passwd", "settings://secrets", "plan://a/b", "dispatch://a/task/b"]
        {
            assert!(matches!(ResourceUri::parse(uri), Err(UriFault::Unknown(_))), "{uri}");
        }
        let long = format!("dispatch://{ID}/tasks/{}", "a".repeat(URI_BYTES_MAX));
        let simple = format!("dispatch://{}", ID.replace('-', ""));
        let braced = format!("plan://{{{ID}}}");
        for uri in ["", "dispatch", "dispatch://", "dispatch://{id}", &long, &simple, &braced] {
            let read = ResourceUri::parse(uri);
            assert!(matches!(read, Err(UriFault::Malformed { .. })), "{uri}: {read:?}");
        }
    }

    #[test]
    fn what_strangers_wrote_is_shown_escaped() {
        let fault = ResourceUri::parse("x\u{202e}\n://").unwrap_err().to_string();
        assert_eq!(fault, r#"there is no resource "x\u{202e}\u{a}://""#);
    }
}
