//! How many files and connections the process may have open.

use tracing::debug;

/// Takes what the system grants: what it begins with is meant for programs that cannot count
/// further, and a server with many clients can.
#[cfg(unix)]
pub(super) fn raise() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum
        && let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })
    {
        debug!(%error, "the number of open files stays as it is");
    }
}

/// There is no such limit.
#[cfg(not(unix))]
pub(super) fn raise() {}
