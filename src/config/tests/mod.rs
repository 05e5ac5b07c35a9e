//! The rules of the layers, each as a snapshot of what a user would read.

mod commands;
mod recipes;
mod server;
mod telemetry;
mod upstreams;
mod workers;
mod workspace;

use std::{fs, path::Path};

use expect_test::{Expect, expect};
use serde_json::json;
use tempfile::TempDir;

use super::{
    keys::{Found, KEYS, find},
    layer::flatten,
    *,
};

/// A machine made of directories: `etc`, `home`, `project` (the working directory).
struct Machine {
    root: TempDir,
    variables: Vec<(&'static str, String)>,
    flags: Flags,
}

const SYSTEM: &str = "etc/config.yaml";
const USER: &str = "home/.config/parallel-dispatch/config.yaml";
const WORKSPACE: &str = "project/.parallel-dispatch.yaml";
const NAMED: &str = "named.yaml";

impl Machine {
    fn new(files: &[(&str, &str)]) -> Self {
        let root = TempDir::new().unwrap();
        fs::create_dir_all(root.path().join("project")).unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let home = root.path().join("home").to_str().unwrap().to_owned();
        Self { root, variables: vec![("HOME", home)], flags: Flags::default() }
    }

    fn with(mut self, name: &'static str, value: &str) -> Self {
        self.variables.retain(|it| it.0 != name);
        self.variables.push((name, value.replace('@', self.root.path().to_str().unwrap())));
        self
    }

    fn with_flags(mut self, set: impl FnOnce(&mut Flags, &Path)) -> Self {
        set(&mut self.flags, self.root.path());
        self
    }

    fn load(&self) -> Result<Loaded, ConfigErrors> {
        let variables: Vec<(&str, &str)> =
            self.variables.iter().map(|it| (it.0, it.1.as_str())).collect();
        let environment = Environment::made_up(
            &self.root.path().join("project"),
            &self.root.path().join(SYSTEM),
            &variables,
        );
        Settings::load(&environment, &self.flags)
    }

    /// What differs from what is built in, or the faults; the machine's root is shown as `@`.
    fn check(&self, expect: &Expect) {
        let text = match self.load() {
            Ok(loaded) => {
                let differs = |it: &&Explained| it.source != Source::BuiltIn;
                let lines = loaded.explain.iter().filter(differs).map(ToString::to_string);
                let warnings = loaded.warnings.iter().map(|it| format!("warning: {it}"));
                lines.chain(warnings).collect::<Vec<_>>().join("\n")
            }
            Err(errors) => errors.to_string(),
        };
        expect.assert_eq(&text.replace(self.root.path().to_str().unwrap(), "@"));
    }
}

fn check_user(text: &str, expect: &Expect) {
    Machine::new(&[(USER, text)]).check(expect);
}

#[test]
fn every_value_has_a_default_and_shows_it() {
    let machine = Machine::new(&[]).with_flags(|it, _| it.role = Role::Serve);
    let loaded = machine.load().unwrap();
    let lines: Vec<String> = loaded.explain.iter().map(ToString::to_string).collect();
    expect![[r"
        dispatcher.cache = off  (built in)
        dispatcher.enable_context = false  (built in)
        dispatcher.max_workers = 5  (built in)
        dispatcher.on_failure = skip_dependents  (built in)
        dispatcher.timeout_seconds = 300  (built in)
        dispatcher.trace_dir = @/home/.local/state/parallel-dispatch/traces  (built in)
        limits.dispatches_open_max = 1000  (built in)
        limits.document_bytes_max = 4194304  (built in)
        limits.edges_max = 1000000  (built in)
        limits.max_workers = 1024  (built in)
        limits.nesting_max = 3  (built in)
        limits.retention_days = 30  (built in)
        limits.run_document_bytes_max = 1073741824  (built in)
        limits.run_tasks_max = 1000000  (built in)
        limits.store_bytes_max = 2147483648  (built in)
        limits.tasks_max = 10000  (built in)
        limits.workers_total_max = 1024  (built in)
        logging.destination = stderr  (built in)
        logging.format = text  (built in)
        logging.level = info  (built in)
        mcp.retry_attempts = 3  (built in)
        mcp.timeout_seconds = 30  (built in)
        server.allowed_hosts = []  (built in)
        server.allowed_origins = []  (built in)
        server.connections_max = 4096  (built in)
        server.sessions_max = 10000  (built in)
        state_dir = @/home/.local/state/parallel-dispatch  (built in)
        telemetry.otlp.enabled = true  (built in)
        telemetry.otlp.protocol = http/protobuf  (built in)
        telemetry.otlp.sample_ratio = 1  (built in)
        telemetry.otlp.service_name = parallel-dispatch  (built in)
        upstreams.archon.breaker_failures = 5  (built in)
        upstreams.archon.breaker_open_seconds = 1  (built in)
        upstreams.archon.max_concurrent = 1024  (built in)
        upstreams.archon.protocol = legacy  (built in)
        upstreams.archon.response_bytes_max = 16777216  (built in)
        upstreams.archon.retry_attempts = 3  (built in)
        upstreams.archon.retry_backoff_ms = 100  (built in)
        upstreams.archon.timeout_seconds = 30  (built in)
        upstreams.archon.transport = http  (built in)
        upstreams.archon.url = http://localhost:8051/mcp  (built in)
        workspace = @/project  (built in)"]]
    .assert_eq(&lines.join("\n").replace(machine.root.path().to_str().unwrap(), "@"));
    assert_eq!(loaded.settings.archon, ArchonSetting::Default);
}

#[test]
fn stronger_layers_win_and_each_value_remembers_its_own() {
    let all = [
        (SYSTEM, "dispatcher: {max_workers: 1, timeout_seconds: 1}\nmcp: {retry_attempts: 1}\n"),
        (USER, "dispatcher:\n  max_workers: 2\n  timeout_seconds: 2\n  on_failure: fail_fast\n"),
        (WORKSPACE, "dispatcher: {max_workers: 3, timeout_seconds: 3, on_failure: continue}\n"),
        (NAMED, "dispatcher: {max_workers: 4, timeout_seconds: 4.5}\n"),
    ];
    Machine::new(&all)
        .with("PARALLEL_DISPATCH_CONFIG", "@/named.yaml")
        .with("PARALLEL_DISPATCH_MAX_WORKERS", "5")
        .with_flags(|it, _| it.max_workers = Some(6))
        .check(&expect![[r"
            dispatcher.max_workers = 6  (flag --max-workers)
            dispatcher.on_failure = continue  (@/project/.parallel-dispatch.yaml:1)
            dispatcher.timeout_seconds = 4.5  (@/named.yaml:1)
            mcp.retry_attempts = 1  (@/etc/config.yaml:2)"]]);
}

#[test]
fn the_environment_and_the_flags_set_what_they_name() {
    Machine::new(&[])
        .with("ARCHON_MCP_URL", "http://archon.local:9000/")
        .with("PARALLEL_DISPATCH_TRACE_DIR", "here")
        .with("PARALLEL_DISPATCH_TIMEOUT", " 600 ")
        .with("PARALLEL_DISPATCH_STATE_DIR", "~/state")
        .with("PARALLEL_DISPATCH_MAX_WORKERS", "")
        .with("DISPATCH_DEBUG", "1")
        .check(&expect![[r"
            dispatcher.timeout_seconds = 600  (environment PARALLEL_DISPATCH_TIMEOUT)
            dispatcher.trace_dir = @/project/here  (environment PARALLEL_DISPATCH_TRACE_DIR)
            logging.level = debug  (environment DISPATCH_DEBUG)
            state_dir = @/home/state  (environment PARALLEL_DISPATCH_STATE_DIR)
            upstreams.archon.url = http://archon.local:9000/mcp  (environment ARCHON_MCP_URL)"]]);
    Machine::new(&[(NAMED, "logging: {level: ERROR}")])
        .with("CLAUDE_PROJECT_DIR", "@/home")
        .with_flags(|it, root| {
            it.state_dir = Some("s".into());
            it.trace_dir = Some(root.join("t"));
            it.workspaces = vec![root.join("project"), "..".into()];
            it.config = Some("../named.yaml".into());
            it.timeout_seconds = Some(0.5);
            it.enable_context = Some(true);
        })
        .check(&expect![[r"
            dispatcher.enable_context = true  (flag --enable-context)
            dispatcher.timeout_seconds = 0.5  (flag --timeout-seconds)
            dispatcher.trace_dir = @/t  (flag --trace-dir)
            logging.level = error  (@/project/../named.yaml:1)
            state_dir = @/project/s  (flag --state-dir)
            workspace = @/project  (flag --workspace)
            workspace = @/project/..  (flag --workspace)"]]);
}

#[test]
fn what_the_environment_says_wrong_is_all_said_at_once() {
    Machine::new(&[])
        .with("ARCHON_MCP_URL", "localhost:8051")
        .with("PARALLEL_DISPATCH_MAX_WORKERS", "many")
        .with("PARALLEL_DISPATCH_TIMEOUT", "-1")
        .with("PARALLEL_DISPATCH_CONFIG", "@/nowhere.yaml")
        .with("DISPATCH_DEBUG", "yes")
        .with_flags(|it, _| {
            it.max_workers = Some(0);
            it.timeout_seconds = Some(f64::NAN);
            it.workspaces = vec!["/nowhere\u{202e}".into()];
        })
        .check(&expect![[r#"
            flag --workspace: the workspace /nowhere\u{202e} is not a directory
            @/nowhere.yaml: cannot be read: No such file or directory (os error 2)
            environment ARCHON_MCP_URL: upstreams.archon.url: must begin with http:// or https://
            environment PARALLEL_DISPATCH_MAX_WORKERS: dispatcher.max_workers: must be a whole number from 1 to 1024, is "many"
            environment PARALLEL_DISPATCH_TIMEOUT: dispatcher.timeout_seconds: must be a number of seconds above 0, at most 86400, is -1
            environment DISPATCH_DEBUG: logging.level: must be 1 or 0
            flag --max-workers: dispatcher.max_workers: must be a whole number from 1 to 1024, is 0
            flag --timeout-seconds: dispatcher.timeout_seconds: must be a number of seconds above 0, at most 86400, is "NaN""#]]);
}

#[test]
fn places_follow_the_command_and_the_home() {
    let places = |machine: Machine| {
        let settings = machine.load().unwrap().settings;
        let shown = [&settings.state_dir, &settings.dispatcher.trace_dir, settings.workspace()]
            .map(|it| it.to_str().unwrap().replace(machine.root.path().to_str().unwrap(), "@"));
        shown.join(" ")
    };
    let machine = |role| Machine::new(&[]).with_flags(|it, _| it.role = role);
    expect!["@/home/.local/state/parallel-dispatch @/home/.local/state/parallel-dispatch/traces @/project"].assert_eq(&places(machine(Role::Serve)));
    expect!["@/home/.local/state/parallel-dispatch @/project/traces @/project"]
        .assert_eq(&places(machine(Role::Run)));
    expect!["@/xdg/parallel-dispatch @/xdg/parallel-dispatch/traces @/project"]
        .assert_eq(&places(machine(Role::Serve).with("XDG_STATE_HOME", "@/xdg")));
    expect!["@/home/.local/state/parallel-dispatch @/home/.local/state/parallel-dispatch/traces @/project"].assert_eq(&places(machine(Role::Serve).with("XDG_STATE_HOME", "not/absolute")));
    expect!["@/home/.local/state/parallel-dispatch @/home/.local/state/parallel-dispatch/traces @/project/.."]
        .assert_eq(&places(machine(Role::Serve).with("CLAUDE_PROJECT_DIR", "@/project/..")));
    machine(Role::Serve).with("HOME", "").check(&expect!["built in: state_dir: there is no home directory to keep state in; set PARALLEL_DISPATCH_STATE_DIR"]);
    Machine::new(&[("xdg/parallel-dispatch/config.yaml", "mcp: {timeout_seconds: 7}")])
        .with("XDG_CONFIG_HOME", "@/xdg")
        .check(&expect!["mcp.timeout_seconds = 7  (@/xdg/parallel-dispatch/config.yaml:1)"]);
}

#[test]
fn the_documented_file_is_read() {
    check_user(
        "dispatcher:
  max_workers: 10
  timeout_seconds: 600
  trace_dir: /var/log/parallel-dispatch/traces

agents:
  coder:
    timeout_seconds: 300
    validation_level: strict

  debug:
    timeout_seconds: 600
    analysis_depth: deep

mcp:
  url: http://localhost:8051
  timeout_seconds: 30
  retry_attempts: 3

logging:
  level: INFO
  format: json
  destination: /var/log/parallel-dispatch/app.log
",
        &expect![[r"
            agents.coder.timeout_seconds = 300  (@/home/.config/parallel-dispatch/config.yaml:8)
            agents.coder.validation_level = strict  (@/home/.config/parallel-dispatch/config.yaml:9)
            agents.debug.analysis_depth = deep  (@/home/.config/parallel-dispatch/config.yaml:13)
            agents.debug.timeout_seconds = 600  (@/home/.config/parallel-dispatch/config.yaml:12)
            dispatcher.max_workers = 10  (@/home/.config/parallel-dispatch/config.yaml:2)
            dispatcher.timeout_seconds = 600  (@/home/.config/parallel-dispatch/config.yaml:3)
            dispatcher.trace_dir = /var/log/parallel-dispatch/traces  (@/home/.config/parallel-dispatch/config.yaml:4)
            logging.destination = /var/log/parallel-dispatch/app.log  (@/home/.config/parallel-dispatch/config.yaml:23)
            logging.format = json  (@/home/.config/parallel-dispatch/config.yaml:22)
            logging.level = info  (@/home/.config/parallel-dispatch/config.yaml:21)
            mcp.retry_attempts = 3  (@/home/.config/parallel-dispatch/config.yaml:18)
            mcp.timeout_seconds = 30  (@/home/.config/parallel-dispatch/config.yaml:17)
            upstreams.archon.url = http://localhost:8051/mcp  (@/home/.config/parallel-dispatch/config.yaml:16)"]],
    );
}

#[test]
fn faults_of_a_file_are_all_said_with_line_key_and_nearest_name() {
    check_user(
        "dispatcher:
  max_worker: 3
  max_workers: 1025
  timeout_seconds: 0
  on_failure: panic
  enable_context: 1
  trace_dir:
agent: {}
agents:
  coder: {tols: x, tool: 'rm -rf /'}
  '../x': {}
mcp: 8051
logging: {destination: stdout, level: 5}
limits: {tasks_max: 10.5, document_bytes_max: -1}
workspaces: [/]
recipes: {a: b}
\"\\u202e\": 1
",
        &expect![[r#"
            @/home/.config/parallel-dispatch/config.yaml:2: dispatcher.max_worker: unknown key; did you mean `max_workers`?
            @/home/.config/parallel-dispatch/config.yaml:3: dispatcher.max_workers: must be a whole number from 1 to 1024, is 1025
            @/home/.config/parallel-dispatch/config.yaml:4: dispatcher.timeout_seconds: must be a number of seconds above 0, at most 86400, is 0
            @/home/.config/parallel-dispatch/config.yaml:5: dispatcher.on_failure: must be one of skip_dependents, fail_fast, continue, is "panic"
            @/home/.config/parallel-dispatch/config.yaml:6: dispatcher.enable_context: must be true or false, is 1
            @/home/.config/parallel-dispatch/config.yaml:7: dispatcher.trace_dir: must be a path, is nothing
            @/home/.config/parallel-dispatch/config.yaml:8: agent: unknown key; did you mean `agents`?
            @/home/.config/parallel-dispatch/config.yaml:10: agents.coder.tols: unknown key
            @/home/.config/parallel-dispatch/config.yaml:10: agents.coder.tool: must be a name of 1 to 64 letters, digits, `_` and `-`, is "rm -rf /"
            @/home/.config/parallel-dispatch/config.yaml:11: agents.../x: a name is 1 to 64 letters, digits, `_` and `-`
            @/home/.config/parallel-dispatch/config.yaml:12: mcp: must be a mapping, is a number
            @/home/.config/parallel-dispatch/config.yaml:13: logging.destination: must not be stdout, which carries the protocol
            @/home/.config/parallel-dispatch/config.yaml:13: logging.level: must be one of off, error, warn, info, debug, trace, is 5
            @/home/.config/parallel-dispatch/config.yaml:14: limits.tasks_max: must be a whole number from 1 to 1000000, is 10.5
            @/home/.config/parallel-dispatch/config.yaml:14: limits.document_bytes_max: must be a whole number from 1024 to 67108864, is -1
            @/home/.config/parallel-dispatch/config.yaml:15: workspaces: unknown key; workspaces are named by `--workspace`
            @/home/.config/parallel-dispatch/config.yaml:17: \u{202e}: unknown key"#]],
    );
    check_user(
        "[1, 2]",
        &expect!["@/home/.config/parallel-dispatch/config.yaml: must be a mapping, is a list"],
    );
    check_user(
        "a: [",
        &expect!["@/home/.config/parallel-dispatch/config.yaml:1: unclosed bracket '['"],
    );
    check_user("recipes: {}\nagents:\n", &expect![[""]]);
}

#[test]
fn many_faults_are_counted_and_twenty_shown() {
    let text = (0..50).map(|it| format!("x{it}: 1")).collect::<Vec<_>>().join("\n");
    let shown = Machine::new(&[(USER, &text)]).load().unwrap_err().to_string();
    assert_eq!(shown.lines().count(), 21);
    assert!(shown.ends_with("\nand 30 more"), "{shown}");
}

#[test]
fn a_file_that_is_no_file_or_too_large_is_refused() {
    let large = "#".repeat(256 * 1024 + 1);
    check_user(
        &large,
        &expect!["@/home/.config/parallel-dispatch/config.yaml: is larger than 256 KiB"],
    );
    check_user(&large[1..], &expect![[""]]);
    let machine = Machine::new(&[]);
    fs::create_dir_all(machine.root.path().join(USER)).unwrap();
    fs::create_dir_all(machine.root.path().join("etc")).unwrap();
    fs::write(machine.root.path().join(SYSTEM), [0xff, 0xfe, 0x00]).unwrap();
    machine.check(&expect![[r"
        @/etc/config.yaml: is not UTF-8
        @/home/.config/parallel-dispatch/config.yaml: is not a regular file"]]);
}

#[test]
fn a_faulty_layer_does_not_hide_the_faults_of_another() {
    Machine::new(&[(SYSTEM, "a: 1"), (USER, "b: ["), (WORKSPACE, "state_dir: x")])
        .with("PARALLEL_DISPATCH_TIMEOUT", "x")
        .check(&expect![[r#"
            @/etc/config.yaml:1: a: unknown key
            @/home/.config/parallel-dispatch/config.yaml:1: unclosed bracket '['
            environment PARALLEL_DISPATCH_TIMEOUT: dispatcher.timeout_seconds: must be a number of seconds above 0, at most 86400, is "x"
            @/project/.parallel-dispatch.yaml:1: state_dir: a workspace's file may not set it; ~/.config/parallel-dispatch/config.yaml, /etc/parallel-dispatch/config.yaml and --config may"#]]);
}

#[test]
fn the_table_of_keys_and_the_settings_agree() {
    let one = json!({ "transport": "http", "url": "http://a/mcp", "command": "x", "args": ["y"],
        "env": { "A": "b" }, "env_pass": ["C"], "headers": { "D": "e" }, "bearer": "f",
        "timeout_seconds": 1.0, "max_concurrent": 1, "protocol": "auto",
        "response_bytes_max": 1024, "retry_attempts": 1, "retry_backoff_ms": 1,
        "breaker_failures": 1, "breaker_open_seconds": 1.0, "tools_allow": ["g"] });
    let command = json!({ "program": "claude", "argv": ["a"], "output": "json", "prompt": "stdin",
        "output_schema": "/s", "model": "m", "permission_mode": "plan", "allowed_tools": ["Read"],
        "max_budget_usd": 1.0, "max_turns": 1, "env": ["A"], "working_directory": "/w",
        "memory_mb": 1, "worktree": true, "confine": true, "writable": ["/x"] });
    let agent = json!({ "timeout_seconds": 1.0, "validation_level": "strict",
        "analysis_depth": "deep", "allow": ["u/t"], "tool": "t", "upstream": "u", "recipe": "r",
        "worker": "pull", "heartbeat_seconds": 1.0,
        "retry": { "max_attempts": 2, "on": ["timeout"] }, "command": command,
        "expect": { "checks": ["c"], "condition": "true", "output_path": true } });
    let check = json!({ "argv": ["a"], "env": ["A"], "timeout_seconds": 1.0,
        "working_directory": "/w" });
    let mut loaded = Machine::new(&[]).load().unwrap().settings;
    loaded.agents = serde_json::from_value(json!({ "a": agent })).unwrap();
    loaded.checks = serde_json::from_value(json!({ "c": check })).unwrap();
    loaded.upstreams = serde_json::from_value(json!({ "a": one })).unwrap();
    loaded.telemetry.otlp =
        serde_json::from_value(json!({ "enabled": true, "endpoint": "http://a",
        "traces_endpoint": "http://a", "protocol": "http/json", "headers": { "A": "b" },
        "service_name": "s", "resource_attributes": ["a=b"], "sample_ratio": 1.0 }))
        .unwrap();
    loaded.recipes = serde_json::from_value(json!({ "r": "text" })).unwrap();
    loaded.server.tokens =
        serde_json::from_value(json!({ "t": { "bearer": "a", "sees": "own" } })).unwrap();
    let oauth = json!({ "issuer": "i", "audience": "a", "resource": "r", "jwks": "j",
        "authorization_servers": ["i"], "scopes": ["s"], "all_scope": "a", "sees": "own" });
    loaded.server.oauth = serde_json::from_value(oauth).unwrap();
    loaded.server.tls =
        serde_json::from_value(json!({ "certificate": "/c", "key": "/k" })).unwrap();
    let settings = flatten(&serde_json::to_value(&loaded).unwrap());
    let known = settings.iter().map(|it| {
        let path: Vec<&str> = it.key.split('.').collect();
        let Found::Key(key) = find(&path) else { panic!("`{}` is not in the table", it.key) };
        key.path
    });
    let mut known: Vec<&str> = known.chain(["mcp.url"]).collect();
    known.sort_unstable();
    let table: Vec<&str> = KEYS.iter().map(|it| it.path).collect();
    assert_eq!(known, table);
}

#[test]
fn no_text_makes_it_panic() {
    let pieces = "agents|:| |\n|- |{|}|[|]|&a|*a|'|\"|é|limits:\n  tasks_max|1e999|~|!!binary|<<|>|?|\
                  \u{0}|\t|# |\u{202e}";
    let pieces: Vec<&str> = pieces.split('|').collect();
    let mut state = 7_u64;
    for _ in 0..300 {
        let mut text = String::new();
        for _ in 0..12 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            text.push_str(pieces[(state >> 33) as usize % pieces.len()]);
        }
        if let Err(errors) = Machine::new(&[(WORKSPACE, &text)]).load() {
            assert!(!errors.0.is_empty(), "{text:?}");
        }
    }
}
