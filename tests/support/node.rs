//! Where the packages of `tests/conformance/package.json` are, with a Node.js for them.

use std::{
    env,
    path::{Path, PathBuf},
};

/// The folder; `scripts/test` names it.
const FOLDER: &str = "PARALLEL_DISPATCH_TEST_NODE";

/// The Node.js, and a `script` of the packages.
pub(crate) fn node_with(script: &str) -> (PathBuf, PathBuf) {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    let folder = env::var_os(FOLDER).map_or_else(|| target.join("conformance"), Into::into);
    let (node, script) = (folder.join("node"), folder.join("node_modules").join(script));
    assert!(
        node.is_file() && script.is_file(),
        "{} or {} is not there: scripts/test installs both and sets {FOLDER} to their folder",
        node.display(),
        script.display(),
    );
    (node, script)
}
