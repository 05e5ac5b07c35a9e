//! What paths a document may name: those inside a workspace, and traces below the trace root too.

use std::path::{Path, PathBuf};

use crate::{
    confine::{ConfineError, Workspaces},
    plan::{PathFault, PathPolicy},
};

/// The places that documents may name.
#[derive(Clone, Debug)]
pub struct Paths {
    workspaces: Workspaces,
    /// The workspaces and the trace root.
    trace_places: Workspaces,
    roots: Vec<PathBuf>,
    trace_root: PathBuf,
}

impl Paths {
    /// Lets documents name paths inside `workspaces`, and traces inside `trace_root` too. Both must
    /// be absolute; the first workspace is where relative trace directories begin.
    pub fn new(workspaces: &[PathBuf], trace_root: &Path) -> Result<Self, ConfineError> {
        let places = workspaces.iter().cloned().chain([trace_root.to_path_buf()]);
        Ok(Self {
            workspaces: Workspaces::new(workspaces.iter().cloned())?,
            trace_places: Workspaces::new(places)?,
            roots: workspaces.to_vec(),
            trace_root: trace_root.to_owned(),
        })
    }

    /// The directories below which trace files may be written.
    pub fn trace_roots(&self) -> Vec<PathBuf> {
        self.roots.iter().cloned().chain([self.trace_root.clone()]).collect()
    }

    /// The workspaces.
    pub fn workspaces(&self) -> &Workspaces {
        &self.workspaces
    }

    /// The absolute form of a trace directory that a document names.
    pub(super) fn trace_dir(&self, dir: &str) -> PathBuf {
        let dir = Path::new(dir);
        let below = |root: &PathBuf| root.join(dir.strip_prefix(".").unwrap_or(dir));
        self.roots.first().map_or_else(|| dir.to_path_buf(), below)
    }
}

impl PathPolicy for Paths {
    fn check(&self, path: &str) -> Result<(), PathFault> {
        self.workspaces.allows(path).map_err(|it| to_fault(&it))
    }

    fn roots(&self) -> Vec<String> {
        self.roots.iter().map(|it| it.display().to_string()).collect()
    }

    fn check_trace_dir(&self, dir: &str) -> Result<(), PathFault> {
        let absolute = self.trace_dir(dir);
        let Some(absolute) = absolute.to_str() else { return Err(PathFault::NotAllowed) };
        self.trace_places.allows(absolute).map_err(|it| to_fault(&it))
    }
}

fn to_fault(error: &ConfineError) -> PathFault {
    if matches!(error, ConfineError::NotAbsolute { .. }) {
        return PathFault::NotAbsolute;
    }
    PathFault::NotAllowed
}
