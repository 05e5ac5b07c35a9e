//! The client against child processes that behave and that do not.

use std::{fs, sync::Arc, time::Duration};

use expect_test::{Expect, expect};
use serde_json::{Value, json};

use super::{
    testing::{StillClock, call, child_script, child_settings, upstream},
    *,
};
use crate::model::FailureCode;

fn child(on_call: &str) -> Arc<Upstream> {
    upstream(child_settings(&child_script(on_call)))
}

async fn check(on_call: &str, expected: Expect) {
    let upstream = child(on_call);
    let error = call(&upstream, "coder").await.result.unwrap_err();
    let message = error.message.strip_prefix("upstream \"archon\" (sh): ").unwrap();
    expected.assert_eq(&format!("{}: {message}", error.kind.as_str()));
    upstream.close().await;
}

/// The output, which must be a number.
async fn number(upstream: &Upstream) -> u64 {
    call(upstream, "coder").await.result.unwrap().as_u64().unwrap()
}

/// Whether a process runs; one that only waits to be noticed does not.
fn runs(pid: u64) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|it| !it.1.starts_with(['Z', 'X']))
}

async fn until_gone(pid: u64) {
    let gone = async {
        while runs(pid) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), gone).await.expect("it was to end");
}

#[tokio::test]
async fn e2e_a_child_serves_and_ends_with_all_that_it_started() {
    let upstream = child("sleep 1000 & say \"[$$,$!]\"");
    assert_eq!(upstream.tools().await.unwrap()[0].name, "coder");
    let pids = call(&upstream, "coder").await.result.unwrap();
    let [own, started] = [0, 1].map(|it| pids[it].as_u64().unwrap());
    assert!(runs(own) && runs(started));
    upstream.close().await;
    until_gone(own).await;
    until_gone(started).await;
}

#[tokio::test]
async fn e2e_a_child_ends_when_its_client_is_dropped() {
    let upstream = child("say $$");
    let pid = number(&upstream).await;
    drop(upstream);
    until_gone(pid).await;
}

#[tokio::test]
async fn e2e_a_child_that_will_not_end_is_killed() {
    let script = child_script("trap '' TERM; say $$; exec 0</dev/zero; sleep 1000; sleep 1000");
    let upstream = upstream(child_settings(&script));
    let pid = number(&upstream).await;
    upstream.close().await;
    until_gone(pid).await;
}

#[tokio::test]
async fn e2e_a_child_that_died_is_started_again_by_the_next_call() {
    let upstream = child("say $$; exit");
    let first = number(&upstream).await;
    until_gone(first).await;
    let second = number(&upstream).await;
    assert_ne!(first, second);
}

#[tokio::test]
async fn e2e_a_child_that_dies_or_babbles_fails_the_call_it_happens_to() {
    check("exit 1", expect!["upstream_unavailable: the connection broke: the process ended"]).await;
    check(
        r#"printf '{"jsonrpc":"2.0","id":%s,"res' "$id"; exit"#,
        expect!["upstream_unavailable: the connection broke: the process ended"],
    )
    .await;
    check(r#"printf '{"jsonrpc":"2.0","id":%s,"result":{\n' "$id""#, expect![[r#"upstream_protocol: it does not speak MCP: its answer is "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{""#]]).await;
    check(
        "answer '{\"what\":1}'",
        expect!["upstream_protocol: it answered the call with what is no tool result"],
    )
    .await;
}

#[tokio::test]
async fn e2e_what_is_no_message_is_passed_over() {
    let upstream = child(
        r#"echo 'log: working'; echo; echo '{"jsonrpc":"2.0","id":4711,"result":{}}'; echo '[1'
           say fine"#,
    );
    assert_eq!(call(&upstream, "coder").await.result, Ok(json!("fine")));
}

#[tokio::test]
async fn e2e_an_answer_that_is_too_large_fails_its_call_alone() {
    let flood = r#"case $line in
        *'"large"'*) printf '{"jsonrpc":"2.0","id":%s,"result":"' "$id"
                     head -c 100000000 /dev/zero | tr '\0' x; echo '"}' ;;
        *) say $$ ;; esac"#;
    let upstream = child(flood);
    let before = number(&upstream).await;
    let (large, small) = tokio::join!(call(&upstream, "large"), call(&upstream, "coder"));
    assert_eq!(large.result.unwrap_err().kind, FailureCode::UpstreamLimit);
    assert_eq!(small.result, Ok(json!(before)));
}

#[tokio::test]
async fn e2e_a_flood_without_an_end_is_cut_off() {
    for flood in ["yes", "yes | tr -d '\\n'", "tr '\\0' x </dev/zero"] {
        let settings = child_settings(&child_script(flood));
        let settings = UpstreamSettings { response_bytes_max: 1 << 16, ..settings };
        let upstream = upstream(settings);
        let error = call(&upstream, "coder").await.result.unwrap_err();
        assert_eq!(error.kind, FailureCode::UpstreamLimit, "{flood}");
        upstream.close().await;
    }
}

#[tokio::test]
async fn e2e_a_child_that_hangs_is_left_at_the_deadline() {
    for on_call in ["sleep 1000", r#"echo '{"jsonrpc":"2.0","id":4711,"result":{}}'"#] {
        let settings = child_settings(&child_script(on_call));
        let call_timeout = Duration::from_millis(200);
        let upstream = upstream(UpstreamSettings { call_timeout, ..settings });
        let error = call(&upstream, "coder").await.result.unwrap_err();
        assert_eq!(error.kind, FailureCode::Timeout);
        upstream.close().await;
    }
    let connect_timeout = Duration::from_millis(200);
    let settings = UpstreamSettings { connect_timeout, ..child_settings("sleep 1000") };
    let upstream = upstream(settings);
    let error = call(&upstream, "coder").await.result.unwrap_err();
    assert_eq!(error.kind, FailureCode::Timeout);
}

#[tokio::test]
async fn e2e_a_program_that_is_not_there_is_named() {
    let transport = UpstreamTransport::Stdio {
        command: "no-such-program".to_owned(),
        args: Vec::new(),
        env: Supply::default(),
    };
    let upstream = upstream(UpstreamSettings { transport, ..child_settings("") });
    let error = call(&upstream, "coder").await.result.unwrap_err();
    assert_eq!(error.kind, FailureCode::UpstreamUnavailable);
    assert!(error.message.contains("no-such-program cannot be started: "), "{error}");
    assert_eq!(upstream.status().state, crate::model::UpstreamState::Down);
}

#[tokio::test]
async fn e2e_a_child_gets_the_environment_of_its_settings_alone() {
    let mut settings =
        child_settings(&child_script("say \"$(env | cut -d= -f1 | sort | tr '\\n' ' ')\""));
    if let UpstreamTransport::Stdio { env, .. } = &mut settings.transport {
        let set = [("PATH", "/usr/bin:/bin"), ("KEY", "s3cret")];
        *env = Supply::fixed(set.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
    }
    let upstream = Upstream::new(settings, Arc::new(StillClock::default()));
    let Value::String(names) = call(&upstream, "coder").await.result.unwrap() else {
        panic!("not a text");
    };
    let own = ["PWD", "SHLVL", "_", "OLDPWD"];
    let names: Vec<_> = names.split_whitespace().filter(|it| !own.contains(it)).collect();
    assert_eq!(names, ["KEY", "PATH"]);
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn e2e_a_child_may_have_as_many_files_open_as_the_settings_say() {
    let settings = child_settings(&child_script("say \"$(ulimit -Sn)\""));
    let upstream = upstream(UpstreamSettings { open_files: Some(77), ..settings });
    assert_eq!(call(&upstream, "coder").await.result, Ok(json!(77)));
}

#[tokio::test]
async fn e2e_what_a_child_says_of_itself_holds_it_up_never() {
    let upstream = child("head -c 1000000 /dev/zero >&2; yes | head -c 1000000 >&2; say fine");
    assert_eq!(call(&upstream, "coder").await.result, Ok(json!("fine")));
}

#[tokio::test]
async fn e2e_what_a_child_asks_is_refused() {
    let ask = r#"echo '{"jsonrpc":"2.0","id":901,"method":"sampling/createMessage","params":{"messages":[],"maxTokens":5}}'
        mine=$id; IFS= read -r refusal; id=$mine
        case $refusal in *-32601*) say refused ;; *) say "something else" ;; esac"#;
    assert_eq!(call(&child(ask), "coder").await.result, Ok(json!("refused")));
}
