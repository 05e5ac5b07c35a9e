//! However a program behaves, its attempt ends with a typed result and nothing of it is left.

use std::{iter, time::Duration};

use parallel_dispatch::{
    agents::command::{OutputForm, Program, PromptBy},
    model::{AgentName, FailureCode},
};
use serde_json::json;

use crate::place::{OPEN_FILES, Place, call, nothing, within};

/// Says that it is up, ignores every request to stop, and stays.
const STUBBORN: &str = "
signal.signal(signal.SIGTERM, signal.SIG_IGN)
signal.signal(signal.SIGPIPE, signal.SIG_IGN)
life = open(LIFE, 'w')
life.write('up\\n')
life.flush()
while True:
    signal.pause()
";

#[tokio::test]
async fn e2e_a_program_reads_the_prompt_and_its_text_is_the_result() {
    let mut place = Place::shell(Program::Custom, "cat; echo \"[$*]\"; pwd");
    place.setting.output = OutputForm::Text;
    place.setting.argv.push("a b".to_owned());
    let done = place.attempt(nothing()).await;
    let dir = place.dir.path().canonicalize().unwrap();
    let expected = format!("# Task t-1\n\nwrite it\n[a b]\n{}", dir.display());
    assert_eq!(done.result.unwrap(), json!({ "result": expected }));
    let call = &done.calls[0];
    assert_eq!((call.upstream.as_str(), call.tool.as_str(), call.ok), ("command", "custom", true));
    assert_eq!((call.request_bytes, done.calls.len()), (21, 1));

    place.setting.prompt = PromptBy::Argument;
    let done = place.attempt(nothing()).await;
    let expected = format!("[a b # Task t-1\n\nwrite it\n]\n{}", dir.display());
    assert_eq!(done.result.unwrap(), json!({ "result": expected }));
}

#[tokio::test]
async fn e2e_a_program_may_have_as_many_files_open_as_it_should() {
    let mut place = Place::shell(Program::Custom, "ulimit -Sn");
    place.setting.output = OutputForm::Text;
    let done = place.attempt(nothing()).await;
    assert_eq!(done.result.unwrap()["result"], OPEN_FILES.to_string());
}

#[tokio::test]
async fn e2e_a_shell_would_have_understood_what_the_program_just_gets() {
    let mut place = Place::shell(Program::Custom, "printf '%s' \"$1\"");
    place.setting.output = OutputForm::Text;
    place.setting.argv.push("$(touch x); `touch x` && touch x".to_owned());
    let done = place.attempt(json!({ "text": "'; touch x; $(touch x)" })).await;
    assert_eq!(done.result.unwrap()["result"], "$(touch x); `touch x` && touch x");
    assert!(!place.dir.path().join("x").exists());
}

#[tokio::test]
async fn e2e_a_program_gets_the_variables_of_the_settings_and_where_it_belongs() {
    let script = "
echo \"$PARALLEL_DISPATCH_PARENT $PARALLEL_DISPATCH_STATE_DIR\"
env | cut -d= -f1 | grep -vE '^(PWD|OLDPWD|SHLVL|_)$' | sort | xargs";
    let mut place = Place::shell(Program::Custom, script);
    place.setting.output = OutputForm::Text;
    let output = place.attempt(nothing()).await.result.unwrap();
    let parent = "00000000-0000-0000-0000-000000000000/t-1";
    let state_dir = place.dir.path().join("state");
    let expected = format!(
        "{parent} {}\nHOME PARALLEL_DISPATCH_PARENT PARALLEL_DISPATCH_STATE_DIR PATH",
        state_dir.display()
    );
    assert_eq!(output, json!({ "result": expected }));
}

#[tokio::test]
async fn e2e_a_program_that_is_not_installed_is_named_when_it_is_bound() {
    let mut place = Place::shell(Program::Claude, "");
    place.setting.argv.clear();
    place.setting.variables.0 = vec![("PATH".to_owned(), place.dir.path().into())];
    let error = place.commands().bind(&AgentName::new("writer")).unwrap().unwrap_err();
    assert!(error.to_string().contains("runs the program \"claude\", which is not installed"));
    assert!(error.hint().contains("agents.writer.command.argv"), "{}", error.hint());
    assert!(place.commands().bind(&AgentName::new("other")).is_none());
}

#[tokio::test]
async fn e2e_a_program_that_went_away_after_it_was_bound_fails_the_attempt() {
    let place = Place::shell(Program::Custom, "");
    let agent = place.agent();
    std::fs::remove_file(place.dir.path().join("stub")).unwrap();
    let failure = within(agent.run(call(nothing()).0)).await.unwrap_err();
    assert_eq!(failure.code, FailureCode::AgentError);
    assert!(failure.message.contains("No such file"), "{}", failure.message);
}

#[tokio::test]
async fn e2e_an_exit_that_is_not_0_and_its_last_words_are_the_failure() {
    let script = "echo some output; echo no token=hunter22 here >&2; exit 1";
    for program in [Program::Claude, Program::Codex, Program::Gemini, Program::Custom] {
        let place = Place::shell(program, script);
        let done = place.attempt(nothing()).await;
        let failure = done.result.unwrap_err();
        assert_eq!(failure.code, FailureCode::AgentError, "{program:?}");
        let expected = "the program ended with exit code 1: no token=[redacted] here";
        assert_eq!(&*failure.message, expected, "{program:?}");
        assert_eq!(done.calls[0].error.as_deref(), Some(expected));
    }
    let place = Place::shell(Program::Custom, "kill -9 $$");
    let failure = place.attempt(nothing()).await.result.unwrap_err();
    assert_eq!(&*failure.message, "the program was ended by signal 9");
}

#[tokio::test]
async fn e2e_garbage_is_no_output() {
    // Bytes of every kind, the same on each run; some of its lines are JSON by chance.
    let mut state = 11_u64;
    let garbage = iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 56) as u8
    });
    let garbage: Vec<u8> = garbage.take(100_000).chain(*b"\n7\n{\"type\":\n").collect();
    for program in [Program::Claude, Program::Codex, Program::Gemini, Program::Custom] {
        let place = Place::shell(program, "cat \"$(dirname \"$0\")/garbage\"");
        std::fs::write(place.dir.path().join("garbage"), &garbage).unwrap();
        let failure = place.attempt(nothing()).await.result.unwrap_err();
        assert_eq!(failure.code, FailureCode::OutputInvalid, "{program:?}");
    }
}

#[tokio::test]
async fn e2e_what_is_cancelled_ends_even_if_it_does_not_want_to() {
    let place = Place::python(Program::Custom, STUBBORN);
    let (mut life, (call, ..)) = (place.life(), call(nothing()));
    let cancelled = call.cancelled.clone();
    let agent = place.agent();
    let running = tokio::spawn(async move { agent.run(call).await });
    assert_eq!(life.up().await, "up");
    cancelled.cancel();
    let failure = within(running).await.unwrap().unwrap_err();
    assert_eq!(failure.code, FailureCode::Cancelled);
    life.gone().await;
}

#[tokio::test]
async fn e2e_what_asks_to_stop_first_lets_a_program_clean_up() {
    let script = "
def stop(*_):
    open('cleaned', 'w').close()
    sys.exit(0)
signal.signal(signal.SIGTERM, stop)
life = open(LIFE, 'w')
life.write('up\\n')
life.flush()
signal.pause()
";
    let place = Place::python(Program::Custom, script);
    let (mut life, (call, ..)) = (place.life(), call(nothing()));
    let cancelled = call.cancelled.clone();
    let agent = place.agent();
    let running = tokio::spawn(async move { agent.run(call).await });
    life.up().await;
    cancelled.cancel();
    within(running).await.unwrap().unwrap_err();
    assert!(place.dir.path().join("cleaned").exists());
    life.gone().await;
}

#[tokio::test]
async fn e2e_what_is_dropped_ends_too() {
    let place = Place::python(Program::Custom, STUBBORN);
    let (mut life, (call, ..)) = (place.life(), call(nothing()));
    let agent = place.agent();
    let running = tokio::spawn(async move { agent.run(call).await });
    life.up().await;
    running.abort();
    life.gone().await;
}

#[tokio::test]
async fn e2e_what_hangs_ends_at_its_deadline() {
    let place = Place::python(Program::Custom, STUBBORN);
    let mut life = place.life();
    let done = place.attempt_with(nothing(), |it| it.timeout = Duration::from_secs(2)).await;
    assert_eq!(done.result.unwrap_err().code, FailureCode::Timeout);
    assert_eq!(life.up().await, "up");
    life.gone().await;
}

#[tokio::test]
async fn e2e_children_that_are_left_behind_end_with_their_program() {
    // One stays in the group, one leaves it and the session, and that one has a child.
    let script = "
exec 9> \"$LIFE\"
echo up >&9
sleep 1000 > /dev/null 2>&1 &
setsid sh -c 'trap \"\" TERM; sleep 1000 & wait; sleep 1000' > /dev/null 2>&1 &
echo done";
    let mut place = Place::shell(Program::Custom, script);
    place.setting.output = OutputForm::Text;
    let mut life = place.life();
    let done = place.attempt(nothing()).await;
    assert_eq!(done.result.unwrap(), json!({ "result": "done" }));
    life.up().await;
    life.gone().await;
}

#[tokio::test]
async fn e2e_children_that_hold_the_output_open_do_not_hold_the_attempt_up() {
    let mut place = Place::shell(Program::Custom, "setsid sleep 1000 & echo done");
    place.setting.output = OutputForm::Text;
    let done = place.attempt(nothing()).await;
    assert_eq!(done.result.unwrap(), json!({ "result": "done" }));
}

#[tokio::test]
async fn e2e_output_without_an_end_is_not_let_in() {
    let script = "exec 9> \"$LIFE\"; echo up >&9; yes | tr -d '\\n'";
    let place = Place::shell(Program::Claude, script);
    let mut life = place.life();
    let failure = place.attempt(nothing()).await.result.unwrap_err();
    assert_eq!(failure.code, FailureCode::UpstreamLimit);
    life.up().await;
    life.gone().await;

    let place = Place::shell(Program::Custom, "yes no | head -c 999999 >&2; echo bye >&2; exit 1");
    let failure = place.attempt(nothing()).await.result.unwrap_err();
    assert!(failure.message.ends_with(" / bye"), "{}", failure.message);
}

#[tokio::test]
async fn e2e_a_long_prompt_that_nobody_reads_is_no_fault() {
    let mut place = Place::shell(Program::Custom, "exec 0<&-; echo done");
    place.setting.output = OutputForm::Text;
    let done = place.attempt(json!({ "text": "x".repeat(900_000) })).await;
    assert_eq!(done.result.unwrap(), json!({ "result": "done" }));
}

#[tokio::test]
async fn e2e_what_is_written_while_a_long_prompt_is_read_comes_through() {
    let script = "
while True:
    read = sys.stdin.buffer.read1(65536)
    if not read:
        break
    sys.stdout.buffer.write(read)
    sys.stdout.buffer.flush()
";
    let mut place = Place::python(Program::Custom, script);
    place.setting.output = OutputForm::Text;
    let output = place.attempt(json!({ "text": "y".repeat(900_000) })).await.result.unwrap();
    assert!(output["result"].as_str().unwrap().len() > 900_000);
}
