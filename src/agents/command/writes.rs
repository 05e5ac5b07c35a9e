//! Lets a process, and all that it starts, write in some places only.

use std::{io, path::PathBuf};

/// Confines the calling process. What it may read stays as it is. Fails where the system cannot
/// do it: a program that is to be confined does not run unconfined.
#[cfg(target_os = "linux")]
pub(super) fn confine(writable: &[PathBuf]) -> io::Result<()> {
    use landlock::{
        ABI, AccessFs, Ruleset, RulesetAttr as _, RulesetCreatedAttr as _, RulesetError,
        RulesetStatus, path_beneath_rules,
    };
    // Newer systems confine more of it; older ones what they know.
    let writes = AccessFs::from_write(ABI::V3);
    let restrict = || -> Result<RulesetStatus, RulesetError> {
        let rules = Ruleset::default().handle_access(writes)?.create()?;
        // Places that are not there are left out.
        let rules = rules.add_rules(path_beneath_rules(writable, writes))?;
        Ok(rules.restrict_self()?.ruleset)
    };
    match restrict() {
        Ok(RulesetStatus::NotEnforced) => Err(unable("the system has no Landlock")),
        Ok(RulesetStatus::FullyEnforced | RulesetStatus::PartiallyEnforced) => Ok(()),
        Err(error) => Err(unable(&error.to_string())),
    }
}

/// There is no way to do it here.
#[cfg(not(target_os = "linux"))]
pub(super) fn confine(_writable: &[PathBuf]) -> io::Result<()> {
    Err(unable("that is possible on Linux only"))
}

fn unable(why: &str) -> io::Error {
    io::Error::other(format!("its writes cannot be confined: {why}"))
}
