//! `run` and its neighbours, as a shell meets them: exit codes, streams, signals, files.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, process::Command, time::Duration};

use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;

use crate::{
    collector::Collector,
    space::{Ended, TestSpace, by_task, document, within},
    standin::StandIn,
};

async fn run_document(space: &TestSpace, document: &Value) -> Ended {
    space.run(&["run"], &document.to_string()).await
}

#[tokio::test]
async fn e2e_exit_0_means_that_every_task_succeeded() {
    let standin = StandIn::start().await;
    let space = TestSpace::with(&standin);
    let document = document(&space, &[("a", "coder", &[]), ("b", "debug", &["a"])]);
    let ended = run_document(&space, &document).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(ended.json()["status"], "success");
    assert_eq!(ended.json()["warnings"], json!([]));

    fs::write(space.path("tasks.json"), document.to_string()).unwrap();
    let from_file = space.run(&["run", "tasks.json"], "").await;
    assert_eq!((from_file.code, &from_file.json()["status"]), (Some(0), &json!("success")));
    assert_eq!(space.run(&["run", "-"], &document.to_string()).await.code, Some(0));
}

#[tokio::test]
async fn e2e_exit_1_means_that_some_or_all_did_not() {
    let standin = StandIn::start().await;
    let space = TestSpace::with(&standin);
    for (rows, status) in [
        (vec![("a", "coder", [].as_slice()), ("b", "failing", &[])], "partial"),
        (vec![("b", "failing", &[])], "failure"),
    ] {
        let ended = run_document(&space, &document(&space, &rows)).await;
        assert_eq!((ended.code, &ended.json()["status"]), (Some(1), &json!(status)));
        assert!(ended.stderr.contains("1 failed"), "{}", ended.stderr);
    }
}

#[tokio::test]
async fn e2e_exit_2_means_that_nothing_was_run() {
    let standin = StandIn::start().await;
    let space = TestSpace::with(&standin);
    let cycle = document(&space, &[("a", "coder", &["b"]), ("b", "coder", &["a"])]).to_string();
    for (args, input, says) in [
        (vec!["run"], cycle.as_str(), "error[dependency_cycle]"),
        (vec!["run"], "{\"tasks\": [], \"tasks\": []}", "error[parse_error]"),
        (vec!["run"], "", "error[parse_error]"),
        (vec!["run", "no-such-file.json"], "", "no-such-file.json"),
        (vec!["run", "--max-workers", "0"], cycle.as_str(), "max"),
        (vec!["plan"], cycle.as_str(), "a -> b"),
        (vec!["result", "no-id"], "", "invalid value"),
        (vec!["result", "01900000-0000-7000-8000-000000000000"], "", "error[unknown_dispatch]"),
        (vec!["rum"], "", "run"),
    ] {
        let ended = space.run(&args, input).await;
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(2), ""), "{args:?}: {ended:?}");
        assert!(ended.stderr.contains(says), "{args:?} should say {says}: {}", ended.stderr);
    }
    assert_eq!(standin.calls().len(), 0);
    assert!(!Path::new(&space.path("traces")).exists());
}

#[tokio::test]
async fn e2e_progress_is_lines_on_standard_error() {
    let standin = StandIn::start().await;
    let space = TestSpace::with(&standin);
    fs::write(
        space.path("tasks.json"),
        document(&space, &[("one", "gate", &[]), ("two", "coder", &["one"])]).to_string(),
    )
    .unwrap();
    let mut program = space.start(&["run", "tasks.json"]);
    program.line_with("0 of 2 done, running one").await;
    standin.release(1);
    let ended = program.output().await;
    assert_eq!(ended.json()["status"], "success");
    let id = ended.json()["dispatch_id"].as_str().unwrap().to_owned();
    for line in [format!("dispatch {id}").as_str(), "2 of 2 done", "2 of 2 successful"] {
        assert!(ended.stderr.contains(line), "{}", ended.stderr);
    }
    assert!(!ended.stderr.contains('\u{1b}'), "no colours and no bars where no terminal is");
}

#[tokio::test]
async fn e2e_signals_cancel_the_run_and_its_result_is_printed() {
    for signal in [Signal::INT, Signal::TERM] {
        let standin = StandIn::start().await;
        let space = TestSpace::with(&standin);
        let rows: [(&str, &str, &[&str]); 3] =
            [("done", "coder", &[]), ("held", "gate", &["done"]), ("after", "coder", &["held"])];
        fs::write(space.path("tasks.json"), document(&space, &rows).to_string()).unwrap();
        let program = space.start(&["run", "tasks.json"]);
        standin.at_gate(1).await;
        program.signal(signal);
        let ended = program.output().await;
        assert_eq!(ended.code, Some(1), "{ended:?}");
        let result = ended.json();
        assert_eq!(result["status"], "cancelled");
        let statuses: Vec<_> = by_task(&result, "status").into_iter().map(|it| it.1).collect();
        assert_eq!(statuses, ["success", "cancelled", "cancelled"]);
        assert!(Path::new(result["trace_index"].as_str().unwrap()).is_file());
    }
}

#[tokio::test]
async fn e2e_a_signal_ends_a_run_whose_document_does_not_come() {
    let space = TestSpace::offline();
    let mut program = space.start(&["run"]);
    let (_stdout, mut stdin) = program.streams();
    // More than a pipe holds, so that it reads when this is written.
    within(stdin.write_all(&vec![b' '; 1 << 20])).await.unwrap();
    program.signal(Signal::INT);
    assert!(!program.ended(Duration::from_secs(10)).await.success());
}

#[tokio::test]
async fn e2e_an_address_that_cannot_be_served_is_an_error_with_a_reason() {
    let space = TestSpace::offline();
    let (_program, url) = space.serve_http().await;
    let taken = url.strip_prefix("http://").unwrap();
    let by_name = taken.replace("127.0.0.1", "localhost");
    for (address, says) in [
        (taken, "Address already in use"),
        (by_name.as_str(), "Address already in use"),
        ("0.0.0.0:0", "use 127.0.0.1"),
        ("8080", "as in 127.0.0.1:8080"),
    ] {
        let ended = space.run(&["serve", "--http", address], "").await;
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(2), ""), "{ended:?}");
        assert_eq!(ended.stderr.matches(says).count(), 1, "{address}: {}", ended.stderr);
        assert_eq!(ended.stderr.matches("already").count(), says.matches("already").count());
    }
}

#[tokio::test]
async fn e2e_context_is_gathered_when_it_is_enabled() {
    let standin = StandIn::start().await;
    let space = TestSpace::with(&standin);
    fs::write(space.path("auth.py"), "SECRET_SAUCE = 1\n").unwrap();
    let mut document = document(&space, &[("a", "coder", &[])]);
    document["tasks"][0]["context_requirements"] = json!(["file:auth.py"]);
    let without = run_document(&space, &document).await.json();
    assert!(without["warnings"][0].as_str().unwrap().contains("enable_context"), "{without}");
    let with = space.run(&["run", "--enable-context"], &document.to_string()).await;
    assert_eq!(with.json()["warnings"], json!([]));
    let calls = standin.calls();
    assert!(!calls[0].arguments.contains_key("pre_gathered_context"));
    let context = calls[1].arguments["pre_gathered_context"].to_string();
    assert!(context.contains("SECRET_SAUCE"), "{context}");
}

#[tokio::test]
async fn e2e_other_commands_tell_the_same_story() {
    let standin = StandIn::start().await;
    let space = TestSpace::with(&standin);
    let rows: [(&str, &str, &[&str]); 2] = [("good", "coder", &[]), ("bad", "failing", &["good"])];
    let ran = run_document(&space, &document(&space, &rows)).await.json();
    let id = ran["dispatch_id"].as_str().unwrap();

    let result = space.run(&["result", id], "").await;
    assert_eq!((result.code, result.json()), (Some(1), ran.clone()));
    let list = space.run(&["list", "--json"], "").await.json();
    assert_eq!((&list[0]["dispatch_id"], &list[0]["status"]), (&json!(id), &json!("partial")));
    assert!(space.run(&["list"], "").await.stdout.contains(id));
    let trace = space.run(&["trace", id, "bad"], "").await;
    let last: Value = serde_json::from_str(trace.stdout.lines().last().unwrap()).unwrap();
    assert_eq!((&last["kind"], &last["task_id"]), (&json!("attempt_ended"), &json!("bad")));
    let cancelled = space.run(&["cancel", id], "").await;
    assert_eq!((cancelled.code, &cancelled.json()["status"]), (Some(0), &json!("partial")));
    let again = space.run(&["retry", id], "").await;
    assert_eq!((again.code, &again.json()["retry_of"]), (Some(1), &json!(id)));
    let calls = (standin.calls_of("good").len(), standin.calls_of("bad").len());
    assert_eq!(calls, (1, 2), "only what failed runs again");
}

#[tokio::test]
async fn e2e_another_process_can_cancel_what_runs() {
    let standin = StandIn::start().await;
    let space = TestSpace::with(&standin);
    fs::write(space.path("tasks.json"), document(&space, &[("a", "gate", &[])]).to_string())
        .unwrap();
    let mut program = space.start(&["run", "tasks.json"]);
    let line = program.line_with("dispatch ").await;
    standin.at_gate(1).await;
    let cancelled = space.run(&["cancel", line.split(' ').nth(1).unwrap()], "").await;
    assert_eq!((cancelled.code, &cancelled.json()["status"]), (Some(0), &json!("cancelled")));
    let ended = program.output().await;
    assert_eq!((ended.code, &ended.json()["status"]), (Some(1), &json!("cancelled")));
}

#[tokio::test]
async fn e2e_traces_are_private_files_with_relative_links() {
    let standin = StandIn::start().await;
    let space = TestSpace::with(&standin);
    let rows: [(&str, &str, &[&str]); 2] = [("good", "coder", &[]), ("bad", "failing", &[])];
    let result = run_document(&space, &document(&space, &rows)).await.json();
    let id = result["dispatch_id"].as_str().unwrap();
    let traces = space.workspace().join("traces");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&traces), mode(&traces.join(id))), (0o700, 0o700));
    for (task, _) in by_task(&result, "status") {
        let file = traces.join(id).join(format!("{task}.json"));
        assert_eq!(mode(&file), 0o600);
        let link = fs::read_link(traces.join(format!("{task}.json"))).unwrap();
        assert_eq!(link, Path::new(id).join(format!("{task}.json")));
    }
    let index = Path::new(result["trace_index"].as_str().unwrap());
    assert_eq!((index.parent().unwrap(), mode(index)), (traces.as_path(), 0o600));
    let name = index.file_stem().unwrap().to_str().unwrap();
    let shape: String =
        name.chars().map(|it| if it.is_ascii_hexdigit() { '0' } else { it }).collect();
    assert_eq!(shape, "0isp0t0h-00000000T000000000Z-00000000", "{name}");
    assert!(name.ends_with(&id[..8]));
}

/// `jq '.summary'` and `jq '.tasks[] | select(.status=="error")'` of the index, and what a task's
/// own file says.
#[tokio::test]
async fn e2e_traces_answer_the_usual_questions() {
    let standin = StandIn::start().await;
    let space = TestSpace::with(&standin);
    let rows: [(&str, &str, &[&str]); 3] =
        [("good", "coder", &[]), ("bad", "failing", &[]), ("after", "debug", &["bad"])];
    let result = run_document(&space, &document(&space, &rows)).await.json();
    let read =
        |path: &str| -> Value { serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap() };
    let index = read(result["trace_index"].as_str().unwrap());
    assert_eq!(index["summary"], result["summary"]);
    let tasks = index["tasks"].as_array().unwrap();
    let failed: Vec<_> = tasks.iter().filter(|it| it["status"] == "error").collect();
    assert_eq!((failed.len(), &failed[0]["task_id"]), (1, &json!("bad")));
    for (task, listed) in result["results"].as_array().unwrap().iter().zip(tasks) {
        for field in ["task_id", "agent", "status", "error", "attempts", "trace_file"] {
            assert_eq!(task[field], listed[field], "{field}");
        }
    }
    let good = read(&space.path("traces/good.json"));
    assert_eq!(
        (&good["status"], &good["output"]),
        (&json!("success"), &result["results"][0]["output"])
    );
    assert_eq!(good["input"]["node_type"], "Effect");
    let attempts = good["attempts"].as_array().unwrap();
    assert_eq!(attempts.len(), 1, "{good}");
    assert_eq!(attempts[0]["upstream_calls"][0]["tool"], "agent_coder", "{good}");
    assert!(attempts[0]["upstream_calls"][0]["duration_ms"].is_u64(), "{good}");
}

#[tokio::test]
async fn e2e_a_timeout_says_which_call_took_too_long() {
    let standin = StandIn::start().await;
    let space = TestSpace::with(&standin);
    let mut document = document(&space, &[("held", "gate", &[]), ("other", "coder", &[])]);
    document["config"] = json!({ "timeout_seconds": 2 });
    let ended = run_document(&space, &document).await;
    let result = ended.json();
    assert_eq!((ended.code, &result["status"]), (Some(1), &json!("partial")));
    assert_eq!(result["results"][0]["failure"]["code"], "timeout");
    let error = result["results"][0]["error"].as_str().unwrap();
    assert!(error.contains("archon"), "{error}");
    let trace = fs::read_to_string(space.path("traces/held.json")).unwrap();
    let trace: Value = serde_json::from_str(&trace).unwrap();
    let call = &trace["attempts"][0]["upstream_calls"][0];
    assert_eq!((&call["tool"], &call["ok"]), (&json!("gate"), &json!(false)), "{trace}");
}

#[tokio::test]
async fn e2e_every_example_succeeds_with_the_embedded_archon() {
    let space = TestSpace::embedded();
    space.copy_examples();
    for name in [
        "01_parallel_generation",
        "02_debug_then_fix",
        "03_mixed_workflow",
        "04_references",
        "05_claims",
        "06_conditions",
        "07_fan_out",
        "08_cache",
        "09_budget",
        "10_evidence",
    ] {
        let ended = space.run(&["run", &format!("examples/{name}.json")], "").await;
        let result = ended.json();
        assert_eq!((ended.code, &result["status"]), (Some(0), &json!("success")), "{ended:?}");
        let warning = result["warnings"][0].as_str().unwrap();
        assert!(warning.contains("embedded Archon"), "{warning}");
        let is_left_out = |it: &Value| it["failure"]["code"] == "condition_unmet";
        let n_left_out = result["results"].as_array().unwrap().iter().filter(|it| is_left_out(it));
        assert_eq!(n_left_out.count(), usize::from(name == "06_conditions"), "{result}");
    }
    let generated = fs::read_dir(space.workspace().join("generated")).unwrap();
    let files: Vec<_> = generated.map(|it| it.unwrap().path()).collect();
    assert_eq!(files.len(), 16, "{files:?}");
    let compile = Command::new("python3").args(["-m", "py_compile"]).args(&files).output().unwrap();
    assert!(compile.status.success(), "{}", String::from_utf8_lossy(&compile.stderr));
}

#[tokio::test]
async fn e2e_a_second_run_takes_the_results_of_the_first_where_nothing_changed() {
    let space = TestSpace::embedded();
    space.copy_examples();
    let run = async || {
        let ended = space.run(&["run", "examples/08_cache.json"], "").await;
        assert_eq!(ended.code, Some(0), "{ended:?}");
        ended
    };
    let is_reused = |result: &Value| {
        let reused = by_task(result, "reused").into_iter();
        reused.map(|it| !it.1.is_null()).collect::<Vec<_>>()
    };
    let (first, second) = (run().await.json(), run().await);
    assert_eq!(is_reused(&first), [false, false, false]);
    assert!(second.stderr.contains("3 of 3 successful (2 reused)"), "{}", second.stderr);
    let second = second.json();
    assert_eq!(is_reused(&second), [true, true, false]);
    assert_eq!(second["summary"]["reused"], 2);
    let (was, is) = (&first["results"][1], &second["results"][1]);
    assert_eq!((&is["output"], &is["attempts"]), (&was["output"], &json!(0)));
    assert_eq!(is["reused"]["dispatch_id"], first["dispatch_id"]);
    let id = second["dispatch_id"].as_str().unwrap();
    let trace = space.run(&["trace", id, "--kind", "task_reused"], "").await.stdout;
    assert!(trace.contains(first["dispatch_id"].as_str().unwrap()), "{trace}");

    let written = space.path("generated/node_session_reader_effect.py");
    fs::remove_file(&written).unwrap();
    let third = run().await.json();
    assert_eq!(is_reused(&third), [false, true, false], "what was written is gone");
    assert!(Path::new(&written).is_file());
    let told = space.path("examples/sample_project/auth/token_manager.py");
    fs::write(&told, fs::read_to_string(&told).unwrap() + "\n# changed\n").unwrap();
    assert!(!is_reused(&run().await.json())[0], "a file that it is told of has changed");
    let removed = space.run(&["prune", "--older-than", "0s"], "").await;
    assert_eq!(removed.json()["dispatches_removed"], 4, "{removed:?}");
    assert_eq!(is_reused(&run().await.json()), [false, false, false]);
}

#[tokio::test]
async fn e2e_configured_but_unreachable_is_no_silent_fallback() {
    let standin = StandIn::start().await;
    let space = TestSpace::with(&standin);
    drop(standin);
    let mut document = document(&space, &[("a", "coder", &[])]);
    document["config"] = json!({ "timeout_seconds": 20 });
    let ended = run_document(&space, &document).await;
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert_eq!(ended.json()["results"][0]["failure"]["code"], "upstream_unavailable");
    assert!(!Path::new(&space.path("generated")).exists());
}

#[tokio::test]
async fn e2e_doctor_and_config_say_how_things_stand() {
    let standin = StandIn::start().await;
    let space = TestSpace::with(&standin);
    let doctor = space.run(&["doctor"], "").await;
    assert_eq!(doctor.code, Some(0), "{doctor:?}");
    assert!(doctor.stdout.contains("has 7 tools"), "{}", doctor.stdout);
    let config = space.run(&["config", "--explain"], "").await;
    let line = format!("upstreams.archon.url = {}  (environment ARCHON_MCP_URL)", standin.url);
    assert!(config.stdout.contains(&line), "{}", config.stdout);
    drop(standin);
    let doctor = space.run(&["doctor"], "").await;
    assert_eq!(doctor.code, Some(1), "{doctor:?}");
    assert!(doctor.stdout.contains("ARCHON_MCP_URL"), "{}", doctor.stdout);
    assert!(doctor.stdout.contains("note agent coder: upstream archon does not answer"));
}

#[tokio::test]
async fn e2e_doctor_asks_the_collector_whether_it_takes_spans() {
    let (space, collector) = (TestSpace::embedded(), Collector::start().await);
    let refuses = StandIn::start().await;
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for (url, code, found) in [
        (&collector.url, 0, format!("ok   collector: {}/v1/traces takes spans", collector.url)),
        (&refuses.url, 1, "takes no spans: it answered 415".to_owned()),
        (&format!("http://{nobody}"), 1, "takes no spans: no connection".to_owned()),
    ] {
        let settings =
            format!("telemetry:\n  otlp: {{endpoint: '{url}', headers: {{X-Key: k}}}}\n");
        fs::write(space.config_file(), settings).unwrap();
        let doctor = space.run(&["doctor"], "").await;
        assert_eq!(doctor.code, Some(code), "{doctor:?}");
        assert!(doctor.stdout.contains(&found), "{found}: {}", doctor.stdout);
    }
    let told = collector.told();
    assert_eq!((told.headers.len(), told.headers[0]["x-key"].to_str().unwrap()), (1, "k"));
    assert!(told.spans.is_empty());
}
