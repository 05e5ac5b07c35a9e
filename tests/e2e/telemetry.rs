//! What the program tells of itself: counts, health, and the spans of each dispatch.

use std::{collections::BTreeMap, fs, os::unix::fs::PermissionsExt as _};

use rmcp::model::{CallToolResponse, ProtocolVersion};
use serde_json::{Value, json};

use crate::{
    client::{Client, Face, http, id_of},
    collector::{Collector, Span, Told},
    space::{TestSpace, document, within},
    standin::StandIn,
};

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const NEWEST: ProtocolVersion = ProtocolVersion::V_2026_07_28;
const INTERNAL: u64 = 1;
const CLIENT: u64 = 3;

/// Adds to the settings of a space.
fn add_settings(space: &TestSpace, settings: &str) {
    let text = fs::read_to_string(space.config_file()).unwrap();
    fs::write(space.config_file(), format!("{text}{settings}\n")).unwrap();
}

/// Has the spans of a space told to a collector.
fn tell(space: &TestSpace, collector: &Collector, more: &str) {
    add_settings(space, &format!("telemetry: {{otlp: {{endpoint: '{}'{more}}}}}", collector.url));
}

async fn get(url: &str, path: &str) -> (u16, String, String) {
    let answer = within(http().get(format!("{url}{path}")).send()).await.unwrap();
    let content_type = answer.headers()["content-type"].to_str().unwrap().to_owned();
    (answer.status().as_u16(), content_type, within(answer.text()).await.unwrap())
}

async fn health(url: &str) -> (u16, Value) {
    let (status, content_type, body) = get(url, "/health").await;
    assert_eq!(content_type, "application/json");
    (status, serde_json::from_str(&body).unwrap())
}

/// The samples of a page of metrics, each of which must belong to a family of a known type.
async fn scrape(url: &str) -> BTreeMap<String, f64> {
    let (status, content_type, page) = get(url, "/metrics").await;
    let open_metrics = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    assert_eq!((status, &*content_type), (200, open_metrics));
    assert!(page.ends_with("\n# EOF\n"), "{page}");
    let mut types = BTreeMap::new();
    let mut samples = BTreeMap::new();
    for line in page.lines() {
        if let Some(family) = line.strip_prefix("# TYPE ") {
            let (name, kind) = family.split_once(' ').unwrap();
            assert_eq!(types.insert(name.to_owned(), kind.to_owned()), None, "{name} twice");
            continue;
        }
        if line.starts_with("# HELP ") || line == "# EOF" {
            continue;
        }
        let (sample, value) = line.rsplit_once(' ').unwrap();
        let name = sample.split('{').next().unwrap();
        let part = ["_bucket", "_sum", "_count"].iter().find_map(|it| name.strip_suffix(it));
        let kind = part.and_then(|it| types.get(it)).filter(|it| *it == "histogram");
        let is_info = |it: &&str| types.get(*it).is_some_and(|it| it == "info");
        let info = || name.strip_suffix("_info").filter(is_info);
        let family = name.strip_suffix("_total").or_else(info);
        let kind = kind.or_else(|| types.get(family.unwrap_or(name)));
        let kind = kind.unwrap_or_else(|| panic!("{line}: no type"));
        assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
        assert_eq!(samples.insert(sample.to_owned(), value.parse().unwrap()), None, "{line} twice");
    }
    samples
}

/// What became more, and by how much.
fn growth(before: &BTreeMap<String, f64>, after: &BTreeMap<String, f64>, name: &str) -> String {
    let grown = after.iter().filter(|it| it.0.starts_with(name)).filter_map(|(sample, value)| {
        let by = value - before.get(sample).copied().unwrap_or_default();
        (by != 0.0).then(|| format!("{sample} {by}\n"))
    });
    grown.collect()
}

/// Whether a sample is this count.
fn is(samples: &BTreeMap<String, f64>, name: &str, count: u32) -> bool {
    (samples[name] - f64::from(count)).abs() < 0.5
}

#[tokio::test]
async fn e2e_a_dispatch_shows_in_the_metrics() {
    let standin = StandIn::start().await;
    let space = TestSpace::with(&standin);
    let (program, url) = space.serve_http().await;
    let client = Client::over_http(program, &url, &NEWEST).await;
    let before = scrape(&url).await;
    assert!(is(&before, "dispatch_tasks_total{agent=\"coder\",status=\"success\"}", 0));

    let rows: [(&str, &str, &[&str]); 4] =
        [("a", "coder", &[]), ("b", "failing", &[]), ("c", "coder", &["b"]), ("d", "gate", &[])];
    let mut document = document(&space, &rows);
    document["wait"] = json!(false);
    let id = id_of(&client.ask("dispatch", document).await);
    standin.at_gate(1).await;
    let wait = json!({ "dispatch_id": id, "task_ids": ["a", "b", "c"], "wait_ms": 20_000 });
    client.ask("get_result", wait).await;
    let during = scrape(&url).await;
    let now = |name: &str| during[name];
    assert_eq!(
        (now("dispatch_dispatches_open"), now("dispatch_tasks_running")),
        (1.0, 1.0),
        "one waits at the gate"
    );
    standin.release(1);
    client.ask("get_result", json!({ "dispatch_id": id, "wait_ms": 20_000 })).await;

    let after = scrape(&url).await;
    let tasks = "dispatch_tasks_total{agent=\"coder\",status=\"skipped\"} 1
dispatch_tasks_total{agent=\"coder\",status=\"success\"} 1
dispatch_tasks_total{agent=\"failing\",status=\"error\"} 1
dispatch_tasks_total{agent=\"gate\",status=\"success\"} 1
";
    assert_eq!(growth(&before, &after, "dispatch_tasks_total"), tasks);
    let attempts = "dispatch_attempts_total{agent=\"coder\",outcome=\"success\"} 1
dispatch_attempts_total{agent=\"failing\",outcome=\"agent_error\"} 1
dispatch_attempts_total{agent=\"gate\",outcome=\"success\"} 1
";
    assert_eq!(growth(&before, &after, "dispatch_attempts_total"), attempts);
    let calls = "dispatch_upstream_calls_total{upstream=\"archon\",outcome=\"agent_error\"} 1
dispatch_upstream_calls_total{upstream=\"archon\",outcome=\"success\"} 2
";
    assert_eq!(growth(&before, &after, "dispatch_upstream_calls_total"), calls);
    assert_eq!(
        growth(&before, &after, "dispatch_dispatches_total"),
        "dispatch_dispatches_total{status=\"partial\"} 1\n"
    );
    let name = "dispatch_task_duration_seconds";
    for agent in ["coder", "failing", "gate"] {
        let bucket = |end: &str| after[&format!("{name}_bucket{{le=\"{end}\",agent=\"{agent}\"}}")];
        assert_eq!((bucket("3600.0"), bucket("+Inf")), (1.0, 1.0), "{agent}");
        assert!(is(&after, &format!("{name}_count{{agent=\"{agent}\"}}"), 1));
    }
    assert!(is(&after, "dispatch_dispatches_open", 0));
    assert!(is(&after, "dispatch_upstream_connected{upstream=\"archon\"}", 1));
    assert!(after["process_resident_memory_bytes"] > 1e6);
    assert!(growth(&before, &after, "dispatch_store_commits_total").contains("success"));
}

#[tokio::test]
async fn e2e_health_says_what_a_monitor_needs() {
    let standin = StandIn::start().await;
    let space = TestSpace::with(&standin);
    let (_program, url) = space.serve_http().await;
    let (status, health) = health(&url).await;
    assert_eq!((status, &health["status"]), (200, &json!("healthy")));
    assert_eq!(health["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(health["mcp_connected"], true);
    let agents = health["agents_available"].as_array().unwrap();
    assert!(agents.contains(&json!("coder")) && agents.contains(&json!("gate")), "{health}");
    let store = &health["store"];
    assert_eq!((&store["state"], &store["kind"]), (&json!("ok"), &json!("sqlite")));
    assert!(store["schema_version"].as_i64().unwrap() >= 7 && store["dispatches_open"] == 0);
    assert!(health["uptime_seconds"].is_u64());
    let place = space.workspace();
    let place = place.parent().unwrap().to_str().unwrap();
    assert!(!health.to_string().contains(place), "{health}");
}

#[tokio::test]
async fn e2e_health_says_that_no_archon_is_there() {
    let space = TestSpace::offline();
    let (_program, url) = space.serve_http().await;
    let (status, health) = health(&url).await;
    assert_eq!((status, &health["mcp_connected"]), (200, &json!(false)), "{health}");
    let agents = health["agents_available"].as_array().unwrap();
    // The embedded one serves what it can.
    assert!(agents.contains(&json!("coder")) && !agents.contains(&json!("tool")), "{health}");
}

#[tokio::test]
async fn e2e_health_is_degraded_while_the_store_cannot_write() {
    let standin = StandIn::start().await;
    let space = TestSpace::with(&standin);
    let (program, url) = space.serve_http().await;
    let client = Client::over_http(program, &url, &NEWEST).await;
    let store = space.workspace().with_file_name("state").join("store.db");
    let other = rusqlite::Connection::open(store).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let document = document(&space, &[("a", "coder", &[])]);
    assert_eq!(client.refusal("dispatch", document.clone()).await, ["storage_unavailable"]);
    let (status, found) = health(&url).await;
    assert_eq!((status, &found["status"]), (503, &json!("degraded")));
    assert_eq!(found["store"]["state"], "failing");
    other.execute_batch("ROLLBACK").unwrap();
    let (status, found) = health(&url).await;
    assert_eq!((status, &found["status"]), (200, &json!("healthy")), "{found}");
    assert_eq!(client.ask("dispatch", document).await["status"], "success");
}

/// A space with a program as an agent, which answers the trace that it was started in.
fn space_with_program(standin: &StandIn) -> TestSpace {
    let space = TestSpace::with(standin);
    let script = space.path("agent.sh");
    let text = "cat >/dev/null; printf '{\"traceparent\":\"%s\"}' \"$TRACEPARENT\"";
    fs::write(&script, text).unwrap();
    let config = format!(
        "agents:\n  failing: {{tool: failing, retry: {{max_attempts: 2, backoff_ms: 1, \
         on: [agent_error]}}}}\n  costly: {{tool: costly}}\n  gate: {{tool: gate}}\n  \
         shell: {{command: {{program: custom, argv: [/bin/sh, '{script}'], output: json}}}}\n"
    );
    fs::write(space.config_file(), config).unwrap();
    space
}

/// Where a span stands: what is above it, which must be told too and have begun before it.
fn check_parent(told: &Told, span: &Span, parent: &Span) {
    assert_eq!((&span.trace, &span.parent), (&parent.trace, &parent.id), "{span:?}");
    assert!(parent.when.0 <= span.when.0 && span.when.0 <= span.when.1, "{span:?} in {parent:?}");
    assert!(span.when.1 <= parent.when.1, "{span:?} in {parent:?}");
    assert!(told.spans.iter().filter(|it| it.id == span.id).count() == 1, "{span:?} twice");
}

async fn tells_the_spans_of_a_dispatch(protocol: &str) {
    let (standin, collector) = (StandIn::start().await, Collector::start().await);
    let space = space_with_program(&standin);
    let secret = space.path("key");
    fs::write(&secret, "s3cret-token\n").unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
    let more = format!(
        ", protocol: {protocol}, headers: {{X-Key: 'Bearer ${{file:{secret}}}'}}, service_name: \
         testing, resource_attributes: [deployment.environment.name=lab]"
    );
    tell(&space, &collector, &more);
    let rows: [(&str, &str, &[&str]); 4] = [
        ("paid", "costly", &[]),
        ("wrong", "failing", &[]),
        ("never", "coder", &["wrong"]),
        ("own", "shell", &[]),
    ];
    let document = document(&space, &rows);
    let ended = space.run(&["run", "-"], &document.to_string()).await;
    let result = ended.json();
    let told = collector.dispatch_told().await;

    let id = result["dispatch_id"].as_str().unwrap();
    let root = told.span("dispatch");
    assert_eq!((root.trace.as_str(), root.parent.as_str()), (&*id.replace('-', ""), ""));
    assert_eq!((root.kind, root.has_failed, root.flags), (INTERNAL, true, 0x101));
    assert_eq!(root.attributes["parallel_dispatch.dispatch.id"], id);
    assert_eq!(root.attributes["parallel_dispatch.status"], "partial");
    assert_eq!(root.attributes["parallel_dispatch.task.count"], 4);
    for agent in ["costly", "failing", "coder", "shell"] {
        let task = told.span(&format!("task {agent}"));
        check_parent(&told, task, root);
        assert_eq!(task.has_failed, agent == "failing");
    }

    let paid = told.span("invoke_agent costly");
    check_parent(&told, paid, told.span("task costly"));
    let attributes = json!({
        "gen_ai.agent.name": "costly", "gen_ai.conversation.id": id,
        "gen_ai.operation.name": "invoke_agent", "gen_ai.usage.input_tokens": 900,
        "gen_ai.usage.output_tokens": 100, "parallel_dispatch.attempt": 1,
        "parallel_dispatch.dispatch.id": id, "parallel_dispatch.task.id": "paid",
    });
    assert_eq!(json!(paid.attributes), attributes);
    let call = told.span("tools/call costly");
    check_parent(&told, call, paid);
    assert_eq!((call.kind, &call.attributes["mcp.method.name"]), (CLIENT, &json!("tools/call")));
    assert_eq!(call.attributes["gen_ai.tool.name"], "costly");
    assert_eq!(call.attributes["server.address"], "127.0.0.1");
    let handed_on = format!("00-{}-{}-01", root.trace, call.id);
    assert_eq!(standin.calls_of("paid")[0].traceparent.as_deref(), Some(&*handed_on));

    let failed: Vec<_> = told.spans.iter().filter(|it| it.name == "invoke_agent failing").collect();
    assert_eq!(failed.len(), 2, "{:?}", told.names());
    for attempt in failed {
        check_parent(&told, attempt, told.span("task failing"));
        assert_eq!(attempt.attributes["error.type"], "agent_error");
    }
    let own = told.span("run custom");
    check_parent(&told, own, told.span("invoke_agent shell"));
    let by_id = |name: &str| {
        let tasks = result["results"].as_array().unwrap();
        tasks.iter().find(|it| it["task_id"] == name).unwrap()["output"].clone()
    };
    assert_eq!(by_id("own")["traceparent"], format!("00-{}-{}-01", root.trace, own.id));

    check_what_is_said_of_the_program(&told);
    assert!(!ended.stderr.contains("s3cret") && !ended.stdout.contains("s3cret"));
}

/// The resource, the headers, and that nothing else is in what was told.
fn check_what_is_said_of_the_program(told: &Told) {
    assert_eq!(told.resource["service.name"], "testing");
    assert_eq!(told.resource["deployment.environment.name"], "lab");
    assert!(told.headers.iter().all(|it| it["x-key"] == "Bearer s3cret-token"));
    for body in &told.bodies {
        let body = String::from_utf8_lossy(body);
        assert!(!body.contains("s3cret") && !body.contains("do paid"), "{body}");
        assert!(!body.contains("it cannot be done"), "{body}");
    }
}

#[tokio::test]
async fn e2e_the_spans_of_a_dispatch_are_told_as_protocol_buffers() {
    Box::pin(tells_the_spans_of_a_dispatch("http/protobuf")).await;
}

#[tokio::test]
async fn e2e_the_spans_of_a_dispatch_are_told_as_json() {
    Box::pin(tells_the_spans_of_a_dispatch("http/json")).await;
}

#[tokio::test]
async fn e2e_a_dispatch_that_survives_a_kill_keeps_its_trace() {
    let (standin, collector) = (StandIn::start().await, Collector::start().await);
    let space = TestSpace::with(&standin);
    tell(&space, &collector, "");
    let client = Face::Stdio.open(&space, &NEWEST).await;
    let mut held = document(&space, &[("held", "gate", &[]), ("after", "coder", &["held"])]);
    held["wait"] = json!(false);
    let id = id_of(&client.ask("dispatch", held).await).to_string();
    standin.at_gate(1).await;
    client.kill().await;
    let client = Face::Stdio.open(&space, &NEWEST).await;
    standin.at_gate(2).await;
    standin.release(2);
    client.ask("get_result", json!({ "dispatch_id": id, "wait_ms": 20_000 })).await;
    let told = collector.dispatch_told().await;
    let root = told.span("dispatch");
    assert!(told.spans.iter().all(|it| it.trace == id.replace('-', "")), "{:?}", told.spans);
    check_parent(&told, told.span("task gate"), root);
    let attempts: Vec<_> = told.spans.iter().filter(|it| it.name == "invoke_agent gate").collect();
    let ends: Vec<_> = attempts.iter().map(|it| it.attributes.get("error.type")).collect();
    assert_eq!(ends, [Some(&json!("interrupted")), None]);
    assert!(attempts[0].when.1 <= attempts[1].when.0, "{attempts:?}");
    // Both attempts said the same trace, each its own span.
    let said: Vec<_> = standin.calls_of("held").into_iter().map(|it| it.traceparent).collect();
    let trace = |it: &Option<String>| it.as_ref().unwrap()[3..35].to_owned();
    assert_eq!((trace(&said[0]), trace(&said[1])), (root.trace.clone(), root.trace.clone()));
    assert_ne!(said[0], said[1]);
}

#[tokio::test]
async fn e2e_a_trace_of_the_caller_is_gone_on_with() {
    let (standin, collector) = (StandIn::start().await, Collector::start().await);
    let space = TestSpace::with(&standin);
    tell(&space, &collector, "");
    let client = Face::Http.open(&space, &NEWEST).await;
    let meta = json!({ "traceparent": PARENT, "tracestate": "vendor=1" });
    client.ask_as("dispatch", document(&space, &[("a", "coder", &[])]), meta).await;
    let told = collector.dispatch_told().await;
    let root = told.span("dispatch");
    let (trace, parent) = (&PARENT[3..35], &PARENT[36..52]);
    assert_eq!((root.trace.as_str(), root.parent.as_str()), (trace, parent));
    assert_eq!((root.state.as_str(), root.flags), ("vendor=1", 0x301));
    let call = told.span("tools/call agent_coder");
    let said = standin.calls_of("a")[0].traceparent.clone();
    assert_eq!(said, Some(format!("00-{trace}-{}-01", call.id)));
}

#[tokio::test]
async fn e2e_without_a_collector_a_trace_is_handed_on_as_it_came() {
    let standin = StandIn::start().await;
    let space = TestSpace::with(&standin);
    let client = Face::Http.open(&space, &NEWEST).await;
    let document = |id: &str| document(&space, &[(id, "coder", &[])]);
    client.ask_as("dispatch", document("a"), json!({ "traceparent": PARENT })).await;
    client.ask_as("dispatch", document("b"), json!({ "traceparent": "00-1-2-3" })).await;
    client.ask("dispatch", document("c")).await;
    let said = |id: &str| standin.calls_of(id)[0].traceparent.clone();
    assert_eq!((said("a").as_deref(), said("b"), said("c")), (Some(PARENT), None, None));
}

#[tokio::test]
async fn e2e_what_the_caller_does_not_record_is_not_told() {
    let (standin, collector) = (StandIn::start().await, Collector::start().await);
    let space = TestSpace::with(&standin);
    tell(&space, &collector, "");
    let client = Face::Http.open(&space, &NEWEST).await;
    let document = |id: &str| document(&space, &[(id, "coder", &[])]);
    let unsampled = PARENT.replace("-01", "-00");
    client.ask_as("dispatch", document("a"), json!({ "traceparent": unsampled })).await;
    client.ask("dispatch", document("b")).await;
    let told = collector.dispatch_told().await;
    assert!(told.spans.iter().all(|it| it.trace != PARENT[3..35]), "{:?}", told.spans);
    assert!(standin.calls_of("a")[0].traceparent.as_ref().unwrap().ends_with("-00"));
}

#[tokio::test]
async fn e2e_a_collector_that_is_down_costs_nothing_and_is_said_once() {
    let standin = StandIn::start().await;
    let space = TestSpace::with(&standin);
    add_settings(&space, "telemetry: {otlp: {endpoint: 'http://127.0.0.1:9'}}");
    let ids: Vec<_> = (0..50).map(|it| format!("t{it}")).collect();
    let rows: Vec<_> = ids.iter().map(|it| (it.as_str(), "coder", [].as_slice())).collect();
    // Within the time that anything may take here.
    let ended = space.run(&["run", "-"], &document(&space, &rows).to_string()).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let said = ended.stderr.matches("the collector does not take spans").count();
    assert_eq!(said, 1, "{}", ended.stderr);
}

#[tokio::test]
async fn e2e_searches_and_hooks_are_spans_and_attempts_stand_in_the_log() {
    let (standin, collector) = (StandIn::start().await, Collector::start().await);
    let space = TestSpace::with(&standin);
    tell(&space, &collector, "");
    add_settings(&space, "logging: {level: debug, format: json}");
    add_settings(&space, "recipes: {hooks: {task_success: {call: big}}}");
    let mut document = document(&space, &[("a", "coder", &[]), ("b", "failing", &[])]);
    document["config"] = json!({ "enable_context": true });
    document["tasks"][0]["context_requirements"] = json!(["pattern:retry"]);
    let ended = space.run(&["run", "-"], &document.to_string()).await;
    // The last hook ends after the dispatch, and its span is told before the program ends.
    let told = collector.told_of(&["dispatch", "tools/call big"]).await;
    let root = told.span("dispatch");
    let search = told.span("tools/call search_code_examples");
    check_parent(&told, search, root);
    let hook = told.span("tools/call big");
    let attempt = told.span("invoke_agent coder");
    assert_eq!((&hook.trace, &hook.parent, hook.kind), (&root.trace, &attempt.id, CLIENT));
    for (span, tool) in [(search, "search_code_examples"), (hook, "big")] {
        let calls = standin.calls();
        let call = calls.iter().find(|it| it.tool == tool).unwrap();
        let handed_on = format!("00-{}-{}-01", root.trace, span.id);
        assert_eq!(call.traceparent.as_deref(), Some(&*handed_on), "{tool}");
    }
    check_log_of_attempts(&ended.stderr, &root.trace, &ended.json()["dispatch_id"]);
}

/// Each attempt stands in the log with its start and its end, and what it is in the trace.
fn check_log_of_attempts(log: &str, trace: &str, id: &Value) {
    let entries: Vec<Value> = log.lines().filter_map(|it| serde_json::from_str(it).ok()).collect();
    let of = |message: &str, task: &str| {
        let is_it = |it: &&Value| it["message"] == message && it["task_id"] == task;
        let found: Vec<_> = entries.iter().filter(is_it).collect();
        assert_eq!(found.len(), 1, "{message} of {task} in\n{log}");
        let entry = found[0];
        assert_eq!((&entry["trace_id"], &entry["dispatch_id"]), (&json!(trace), id), "{entry}");
        assert_eq!((&entry["level"], &entry["attempt"]), (&json!("DEBUG"), &json!(1)), "{entry}");
        entry
    };
    for (task, agent, outcome) in [("a", "coder", "success"), ("b", "failing", "agent_error")] {
        assert_eq!(of("attempt started", task)["agent"], agent);
        let end = of("attempt ended", task);
        assert!(end["outcome"] == outcome && end["ms"].is_u64(), "{end}");
    }
    for message in ["dispatch accepted", "dispatch ended"] {
        let entry = entries.iter().find(|it| it["message"] == message).unwrap();
        assert_eq!(entry["trace_id"], trace, "{entry}");
    }
}

#[tokio::test]
async fn e2e_a_worker_goes_on_with_the_trace_of_its_task() {
    let (space, collector) = (TestSpace::offline(), Collector::start().await);
    tell(&space, &collector, "");
    add_settings(&space, "agents: {steady: {worker: pull}}");
    let client = Face::Http.open(&space, &NEWEST).await;
    let mut document = document(&space, &[("one", "steady", &[])]);
    document["wait"] = json!(false);
    let asked = json!({ "traceparent": PARENT, "tracestate": "vendor=1" });
    let id = client.ask_as("dispatch", document, asked).await["dispatch_id"].clone();
    let claim = json!({ "worker": "first", "wait_ms": 25_000 });
    let CallToolResponse::Complete(claimed) = client.call_once("claim_task", claim).await else {
        panic!("a claim asks nothing")
    };
    let task = claimed.structured_content.unwrap()["task"].clone();
    let done = json!({ "lease": task["lease"], "output": "done" });
    client.ask("complete_task", done).await;
    client.ask("get_result", json!({ "dispatch_id": id, "wait_ms": 20_000 })).await;

    let told = collector.dispatch_told().await;
    let work = told.span("work of a worker");
    check_parent(&told, work, told.span("invoke_agent steady"));
    let handed_on = json!({ "traceparent": format!("00-{}-{}-01", &PARENT[3..35], work.id), "tracestate": "vendor=1" });
    assert_eq!((&task["trace"], &json!(claimed.meta)), (&handed_on, &handed_on));
    let lease = task["lease"].as_str().unwrap().replace('-', "");
    assert!(!lease.contains(&work.id), "a lease is its worker's secret");
}

#[tokio::test]
async fn e2e_doctor_finds_a_log_that_cannot_be_written() {
    let space = TestSpace::embedded();
    let place = space.path("nowhere/app.log");
    fs::write(space.config_file(), format!("logging: {{destination: {place}}}\n")).unwrap();
    let examined = space.run(&["doctor"], "").await;
    assert!(examined.code == Some(1) && examined.stdout.contains(&place), "{examined:?}");
}
