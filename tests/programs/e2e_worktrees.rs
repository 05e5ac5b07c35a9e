//! Attempts in worktrees: what they see, what they leave, and what the next ones start from.

use std::{fs, path::Path, process::Command};

use parallel_dispatch::{
    agents::command::{OutputForm, Program},
    model::{Failure, FailureCode, TaskId},
    ports::UpstreamOutput,
};
use serde_json::{Value, json};

use crate::place::{Place, call, nothing, within};

/// A stub in a folder of a repository, with settings that would break a careless use of git.
pub(crate) fn place(script: &str) -> Place {
    let mut place = Place::shell(Program::Custom, &format!("set -e\n{script}\necho '{{}}'"));
    let repository = place.dir.path().join("repository");
    fs::create_dir_all(repository.join("app")).unwrap();
    git(&repository, &["init", "--quiet", "--initial-branch=main"]);
    fs::write(repository.join("app/a.txt"), "one\ntwo\nthree\nfour\nfive\nsix\nseven\n").unwrap();
    commit(&repository);
    for (name, value) in [
        ("diff.noprefix", "true"),
        ("color.ui", "always"),
        ("diff.external", "false"),
        ("core.fsmonitor", "false"),
        ("apply.whitespace", "error"),
    ] {
        git(&repository, &["config", name, value]);
    }
    for hook in ["post-checkout", "post-index-change", "reference-transaction"] {
        let path = repository.join(".git/hooks").join(hook);
        fs::copy(place.dir.path().join("stub"), &path).unwrap();
        fs::write(&path, "#!/bin/sh\ntouch \"$HOME/hooked\"\n").unwrap();
    }
    place.setting.variables.0.retain(|it| it.0 != "HOME");
    place.setting.variables.0.push(("HOME".to_owned(), place.dir.path().into()));
    place.setting.dir = repository.join("app");
    place.setting.output = OutputForm::Json;
    place.setting.worktree = true;
    place
}

pub(crate) fn git(repository: &Path, arguments: &[&str]) -> String {
    let mut command = Command::new("git");
    command.arg("-C").arg(repository).args(["-c", "user.name=n", "-c", "user.email=e@x"]);
    let output = command.args(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn commit(repository: &Path) {
    git(repository, &["add", "--all"]);
    git(repository, &["commit", "--quiet", "--message", "m"]);
}

/// An attempt that starts from the outputs of others.
async fn attempt_after(place: &Place, outputs: &[(&str, Value)]) -> Result<Value, Failure> {
    let mut call = call(nothing()).0;
    let output = |(task, output): &(&str, Value)| UpstreamOutput {
        task_id: TaskId::new(task),
        output: output.clone(),
        is_direct: true,
    };
    call.upstream = outputs.iter().map(output).collect();
    within(place.agent().run(call)).await
}

fn set_script(place: &Place, script: &str) {
    let text = format!("#!/bin/sh\nset -e\n{script}\necho '{{}}'");
    fs::write(place.dir.path().join("stub"), text).unwrap();
}

#[tokio::test]
async fn e2e_what_an_attempt_changes_is_in_its_output_and_not_in_the_checkout() {
    let place = place(
        "cat > /dev/null
sed -i s/two/TWO/ a.txt
printf '\\000\\001' > ../new.bin
mkdir -p deep && echo x > 'deep/größe 1'
git -c core.hooksPath=/dev/null -c user.name=n -c user.email=e@x commit --quiet -am own",
    );
    let output = place.attempt(nothing()).await.result.unwrap();
    assert_eq!(output["files_changed"], json!(["app/a.txt", "app/deep/größe 1", "new.bin"]));
    let diff = output["diff"].as_str().unwrap();
    assert!(diff.contains("\n-two\n+TWO\n") && diff.contains("GIT binary patch"), "{diff}");
    let repository = place.dir.path().join("repository");
    assert_eq!(output["base_commit"], git(&repository, &["rev-parse", "HEAD"]).trim());
    assert_eq!(git(&repository, &["status", "--porcelain"]), "");
    assert!(!place.dir.path().join("hooked").exists(), "hooks are not run");

    let plain = ["-c", "diff.noprefix=false", "apply", "--whitespace=nowarn", "-"];
    let mut command = Command::new("git");
    command.current_dir(&repository).args(plain).stdin(std::process::Stdio::piped());
    let mut child = command.spawn().unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), diff.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(fs::read(repository.join("new.bin")).unwrap(), [0, 1]);
}

#[tokio::test]
async fn e2e_an_attempt_starts_from_the_changes_of_those_before_it_in_their_order() {
    let place = place("sed -i s/two/TWO/ a.txt");
    let first = place.attempt(nothing()).await.result.unwrap();
    set_script(&place, "sed -i s/TWO/zwei/ a.txt; grep -q zwei a.txt");
    let second = attempt_after(&place, &[("a", first.clone())]).await.unwrap();
    set_script(&place, "sed -i s/six/SIX/ a.txt");
    let aside = attempt_after(&place, &[("a", first.clone())]).await.unwrap();
    let all = [("a", first), ("b", second.clone()), ("c", json!([aside])), ("d", json!({}))];
    set_script(&place, "test -z \"$(git status --porcelain)\"; cp a.txt \"$HOME/seen\"");
    let last = attempt_after(&place, &all).await.unwrap();
    let seen = fs::read_to_string(place.dir.path().join("seen")).unwrap();
    assert_eq!(seen, "one\nzwei\nthree\nfour\nfive\nSIX\nseven\n");
    assert_eq!((&last["diff"], &last["files_changed"]), (&json!(""), &json!([])));
    assert_eq!(second["diff"].as_str().unwrap().matches("\n-TWO\n+zwei\n").count(), 1);
}

#[tokio::test]
async fn e2e_a_diff_that_does_not_apply_is_named() {
    let place = place("sed -i s/two/TWO/ a.txt");
    let one = place.attempt(nothing()).await.result.unwrap();
    set_script(&place, "sed -i s/two/ZWEI/ a.txt");
    let other = place.attempt(nothing()).await.result.unwrap();
    let failure = attempt_after(&place, &[("a", one), ("b", other)]).await.unwrap_err();
    assert_eq!(failure.code, FailureCode::AgentError);
    let expected = "worktree: the diff of task \"b\" does not apply: ";
    assert!(failure.message.starts_with(expected), "{}", failure.message);
    assert!(failure.message.contains("app/a.txt"), "{}", failure.message);
}

#[tokio::test]
async fn e2e_where_there_is_no_repository_the_attempt_says_so() {
    let mut place = place("true");
    let empty = place.dir.path().join("empty");
    fs::create_dir(&empty).unwrap();
    place.setting.dir.clone_from(&empty);
    let failure = place.attempt(nothing()).await.result.unwrap_err();
    assert!(failure.message.contains("is not in a git repository"), "{}", failure.message);
    git(&empty, &["init", "--quiet"]);
    let failure = place.attempt(nothing()).await.result.unwrap_err();
    assert!(failure.message.contains("has no commit yet"), "{}", failure.message);
}

#[tokio::test]
async fn e2e_a_failed_attempt_leaves_no_worktree_on_the_list() {
    let place = place("pwd > \"$HOME/where\"; exit 4");
    let agent = place.agent();
    within(agent.run(call(nothing()).0)).await.unwrap_err();
    let repository = place.dir.path().join("repository");
    let where_it_was = fs::read_to_string(place.dir.path().join("where")).unwrap();
    assert!(!where_it_was.contains("repository"), "{where_it_was}");
    // The next one takes those off the list that are gone.
    drop(agent);
    set_script(&place, "git worktree list > \"$HOME/list\"");
    place.attempt(nothing()).await.result.unwrap();
    let list = fs::read_to_string(place.dir.path().join("list")).unwrap();
    assert_eq!(list.lines().count(), 2, "{list}");
    assert_eq!(git(&repository, &["branch", "--list"]).lines().count(), 1);
}
