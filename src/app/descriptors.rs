//! How many files and connections the process may have open, and the programs that it starts.

use std::sync::OnceLock;

use tracing::debug;

/// The limit that the process began with. It holds for programs that are started, also once this
/// process has raised its own: some of them cannot count beyond 1,024 (`select`).
static BEGAN_WITH: OnceLock<Option<u64>> = OnceLock::new();

/// How many files programs may have open that this process starts, where there is a limit.
pub(super) fn of_programs() -> Option<u64> {
    *BEGAN_WITH.get_or_init(current)
}

/// Takes what the system grants: what it begins with is meant for programs that cannot count
/// further, and a server with many clients can.
#[cfg(unix)]
pub(super) fn raise() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    let before = of_programs();
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum
        && let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })
    {
        debug!(?before, %error, "the number of open files stays as it is");
    }
}

/// There is no such limit.
#[cfg(not(unix))]
pub(super) fn raise() {}

#[cfg(unix)]
fn current() -> Option<u64> {
    rustix::process::getrlimit(rustix::process::Resource::Nofile).current
}

#[cfg(not(unix))]
fn current() -> Option<u64> {
    None
}
