//! Programs whose writes the kernel keeps in some places.

use std::{fs, path::Path};

use parallel_dispatch::{agents::command::Program, model::FailureCode};
use serde_json::json;

use crate::{
    e2e_worktrees::{self, git},
    place::{Place, nothing},
};

/// A program that writes a file beside its own folder, or says why it cannot.
fn writer(target: &Path) -> Place {
    let script = format!(
        "set -e\necho inside > inside.txt\necho outside > '{}'\necho '{{}}'",
        target.display()
    );
    Place::shell(Program::Custom, &script)
}

#[tokio::test]
async fn e2e_a_confined_program_that_writes_elsewhere_fails_and_writes_nothing_there() {
    let elsewhere = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let target = elsewhere.path().join("outside.txt");
    let mut place = writer(&target);
    place.setting.variables.0.push(("TMPDIR".into(), place.dir.path().into()));
    place.setting.confine = true;
    let failure = place.attempt(json!({})).await.result.unwrap_err();
    assert_eq!(failure.code, FailureCode::AgentError);
    assert!(!target.exists());
    if failure.message.contains("cannot be confined") {
        // Where the system has no way to do it, nothing has run.
        return assert!(!place.dir.path().join("inside.txt").exists());
    }
    assert!(failure.message.contains("Permission denied"), "{failure:?}");
    assert_eq!(fs::read_to_string(place.dir.path().join("inside.txt")).unwrap(), "inside\n");

    place.setting.writable = vec![elsewhere.path().to_owned()];
    place.attempt(json!({})).await.result.unwrap();
    assert_eq!(fs::read_to_string(&target).unwrap(), "outside\n");
}

/// A confined stub in worktrees, which cannot write to its `HOME`.
fn in_worktree(script: &str) -> Place {
    let mut place = e2e_worktrees::place(script);
    let temporary = place.dir.path().join("tmp");
    fs::create_dir(&temporary).unwrap();
    place.setting.variables.0.push(("TMPDIR".to_owned(), temporary.into()));
    place.setting.confine = true;
    place
}

#[tokio::test]
async fn e2e_what_a_confined_program_has_git_start_is_confined_too() {
    let mut place = in_worktree(
        "git init --quiet \"$TMPDIR/evil\"
git -C \"$TMPDIR/evil\" config filter.x.clean \"touch $TMPDIR/started; touch $HOME/escaped; cat\"
echo '* filter=x' > .gitattributes
echo \"gitdir: $TMPDIR/evil/.git\" > .git",
    );
    place.setting.dir = place.dir.path().join("repository");
    let failure = place.attempt(nothing()).await.result.unwrap_err();
    assert!(!place.dir.path().join("escaped").exists());
    if !failure.message.contains("cannot be confined") {
        assert!(place.dir.path().join("tmp/started").exists(), "{failure:?}");
    }
}

#[tokio::test]
async fn e2e_a_confined_program_commits_in_its_worktree_and_cannot_change_what_git_obeys() {
    let mut place = in_worktree(
        "shared=$(git rev-parse --path-format=absolute --git-common-dir)
for it in config hooks/pre-commit info/attributes HEAD; do
  if echo x >> \"$shared/$it\"; then exit 3; fi
done 2> /dev/null
sed -i s/two/TWO/ a.txt
git -c core.hooksPath=/dev/null -c user.name=n -c user.email=e@x commit --quiet -am own",
    );
    let repository = place.dir.path().join("repository");
    let linked = place.dir.path().join("linked");
    let add = ["-c", "core.hooksPath=/dev/null", "worktree", "add", "--quiet", "--detach"];
    git(&repository, &[add.as_slice(), &[linked.to_str().unwrap()]].concat());
    for root in [repository, linked] {
        place.setting.dir = root.join("app");
        match place.attempt(nothing()).await.result {
            Ok(output) => assert_eq!(output["files_changed"], json!(["app/a.txt"])),
            Err(it) => assert!(it.message.contains("cannot be confined"), "{it:?}"),
        }
        assert_eq!(git(&root, &["status", "--porcelain"]), "");
    }
}

#[tokio::test]
async fn e2e_a_program_that_is_not_confined_writes_where_it_may() {
    let elsewhere = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let target = elsewhere.path().join("outside.txt");
    writer(&target).attempt(json!({})).await.result.unwrap();
    assert!(target.exists());
}
