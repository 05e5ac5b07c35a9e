//! Upstreams, the agents bound to them, and the origins let in.

use expect_test::expect;

use super::*;
use crate::model::{FailureCode, RetrySpec};

#[test]
fn upstreams_are_made_whole_and_agents_name_them() {
    check_user(
        "upstreams:
  search: {url: 'https://search.example/v1/mcp/', timeout_seconds: 5}
  archon: {max_concurrent: 8}
limits: {max_workers: 64}
mcp: {timeout_seconds: 9}
agents:
  reviewer: {upstream: search, tool: review-code}
  agent_coder: {validation_level: lenient}
  writer: {}
  painter:
",
        &expect![[r"
            agents.coder.validation_level = lenient  (@/home/.config/parallel-dispatch/config.yaml:8)
            agents.painter = {}  (@/home/.config/parallel-dispatch/config.yaml:10)
            agents.reviewer.tool = review-code  (@/home/.config/parallel-dispatch/config.yaml:7)
            agents.reviewer.upstream = search  (@/home/.config/parallel-dispatch/config.yaml:7)
            agents.writer = {}  (@/home/.config/parallel-dispatch/config.yaml:9)
            limits.max_workers = 64  (@/home/.config/parallel-dispatch/config.yaml:4)
            mcp.timeout_seconds = 9  (@/home/.config/parallel-dispatch/config.yaml:5)
            upstreams.archon.max_concurrent = 8  (@/home/.config/parallel-dispatch/config.yaml:3)
            upstreams.search.timeout_seconds = 5  (@/home/.config/parallel-dispatch/config.yaml:2)
            upstreams.search.url = https://search.example/v1/mcp  (@/home/.config/parallel-dispatch/config.yaml:2)"]],
    );
    let machine = Machine::new(&[(USER, "upstreams: {search: {url: 'http://[::1]:1'}}")]);
    let settings = machine.load().unwrap().settings;
    expect![[r#"
        {
            "archon": Upstream {
                url: "http://localhost:8051/mcp",
                timeout_seconds: 30.0,
                max_concurrent: 1024,
                protocol: Legacy,
            },
            "search": Upstream {
                url: "http://[::1]:1/mcp",
                timeout_seconds: 30.0,
                max_concurrent: 1024,
                protocol: Auto,
            },
        }
    "#]]
    .assert_debug_eq(&settings.upstreams);
    assert_eq!(settings.archon, ArchonSetting::Default);
}

#[test]
fn upstreams_that_cannot_be_reached_are_refused() {
    check_user(
        "upstreams:
  a: {protocol: auto}
  b: {url: 'ftp://host'}
  c: {url: 'http://me:secret@host/'}
  d: {url: ''}
  e: {url: 'http://host/#x'}
  f: {url: 8051}
  g:
agents:
  coder: {upstream: achron}
  other: {upstream: nowhere-near}
",
        &expect![[r"
            @/home/.config/parallel-dispatch/config.yaml:3: upstreams.b.url: must begin with http:// or https://
            @/home/.config/parallel-dispatch/config.yaml:4: upstreams.c.url: must not hold a user name or a password
            @/home/.config/parallel-dispatch/config.yaml:5: upstreams.d.url: not an address (relative URL without a base)
            @/home/.config/parallel-dispatch/config.yaml:6: upstreams.e.url: must not have a fragment
            @/home/.config/parallel-dispatch/config.yaml:7: upstreams.f.url: must be an address such as http://localhost:8051, is 8051
            @/home/.config/parallel-dispatch/config.yaml:2: upstreams.a.url: is missing: an upstream needs an address
            @/home/.config/parallel-dispatch/config.yaml:8: upstreams.g.url: is missing: an upstream needs an address
            @/home/.config/parallel-dispatch/config.yaml:10: agents.coder.upstream: there is no upstream `achron`; did you mean `archon`?
            @/home/.config/parallel-dispatch/config.yaml:11: agents.other.upstream: there is no upstream `nowhere-near`; there is a, archon, g"]],
    );
}

#[test]
fn archon_counts_as_configured_whoever_names_it() {
    let configured = |machine: Machine| machine.load().unwrap().settings.archon;
    let url = "http://localhost:8051/mcp".to_owned();
    let expected = ArchonSetting::Configured { url };
    let in_file = |text| configured(Machine::new(&[(USER, text)]));
    assert_eq!(in_file("mcp: {url: 'http://localhost:8051'}"), expected);
    assert_eq!(in_file("upstreams: {archon: {url: 'http://localhost:8051/mcp/'}}"), expected);
    let variable = Machine::new(&[]).with("ARCHON_MCP_URL", "http://localhost:8051/mcp");
    assert_eq!(configured(variable), expected);
    assert_eq!(in_file("upstreams: {archon: {timeout_seconds: 1}}"), ArchonSetting::Default);
}

#[test]
fn one_value_by_two_names_is_refused() {
    check_user(
        "mcp: {url: 'http://a'}
upstreams: {archon: {url: 'http://b'}}
agents: {coder: {timeout_seconds: 1}, agent_coder: {timeout_seconds: 2}}
",
        &expect![[r"
            @/home/.config/parallel-dispatch/config.yaml:2: upstreams.archon.url: says `upstreams.archon.url` once more, by another name; keep one
            @/home/.config/parallel-dispatch/config.yaml:3: agents.agent_coder.timeout_seconds: says `agents.coder.timeout_seconds` once more, by another name; keep one"]],
    );
}

#[test]
fn origins_are_origins() {
    check_user(
        "server: {allowed_origins: ['https://Example.org', 'http://10.0.0.1:8080/']}",
        &expect![[
            r#"server.allowed_origins = ["https://example.org","http://10.0.0.1:8080"]  (@/home/.config/parallel-dispatch/config.yaml:1)"#
        ]],
    );
    for wrong in ["*", "null", "example.org", "https://a.b/path", "file:///x", "https://u@h"] {
        let text = format!("server: {{allowed_origins: ['{wrong}']}}");
        let faults = Machine::new(&[(USER, &text)]).load().unwrap_err().0;
        assert_eq!(faults[0].key, "server.allowed_origins", "{wrong}");
    }
}

#[test]
fn an_agents_tasks_may_be_tried_again() {
    let machine = Machine::new(&[
        (
            USER,
            "agents: {agent_coder: {retry: {max_attempts: 5, on: [timeout]}}, debug: {retry: {}}}",
        ),
        (WORKSPACE, "agents: {coder: {retry: {backoff_ms: 50}}}"),
    ]);
    let agents = machine.load().unwrap().settings.agents;
    let coder = agents["coder"].retry.clone().unwrap();
    assert_eq!((coder.max_attempts, coder.backoff_ms, coder.max_backoff_ms), (5, 50, 30_000));
    assert_eq!(coder.on, Some(vec![FailureCode::Timeout]));
    assert_eq!(agents["debug"].retry, Some(RetrySpec::default()));
    check_user(
        "agents:
  coder:
    retry:
      max_attempts: 21
      on: [timout, cancelled]
      bakoff_ms: 3
  debug:
    retry: {on: []}
",
        &expect![[r#"
            @/home/.config/parallel-dispatch/config.yaml:4: agents.coder.retry.max_attempts: must be a whole number from 1 to 20, is 21
            @/home/.config/parallel-dispatch/config.yaml:5: agents.coder.retry.on: must hold some of agent_error, check_failed, output_invalid, timeout, upstream_unavailable, upstream_protocol, circuit_open, rate_limited, interrupted, context_unavailable, holds "timout"; did you mean `timeout`?
            @/home/.config/parallel-dispatch/config.yaml:6: agents.coder.retry.bakoff_ms: unknown key; did you mean `backoff_ms`?
            @/home/.config/parallel-dispatch/config.yaml:8: agents.debug.retry.on: must name at least one failure; leave it out to mean all"#]],
    );
}

#[test]
fn workers_that_pull_stand_for_nobody_else_and_have_time() {
    check_user(
        "agents:
  reviewer: {worker: pull}
  agent_coder: {worker: Pull, heartbeat_seconds: 20}
",
        &expect![[r"
            agents.coder.heartbeat_seconds = 20  (@/home/.config/parallel-dispatch/config.yaml:3)
            agents.coder.worker = pull  (@/home/.config/parallel-dispatch/config.yaml:3)
            agents.reviewer.worker = pull  (@/home/.config/parallel-dispatch/config.yaml:2)
            warning: dispatcher.timeout_seconds is 300 s, waiting for a worker included, and workers of agent reviewer show up every 300 s: set agents.reviewer.timeout_seconds to more"]],
    );
    check_user(
        "agents:
  a: {worker: push}
  b: {heartbeat_seconds: 20}
  c: {worker: pull, tool: t, upstream: archon}
",
        &expect![[r#"
            @/home/.config/parallel-dispatch/config.yaml:2: agents.a.worker: must be one of pull, is "push"
            @/home/.config/parallel-dispatch/config.yaml:3: agents.b.heartbeat_seconds: is only for agents with `worker: pull`
            @/home/.config/parallel-dispatch/config.yaml:4: agents.c.tool: cannot go with `worker: pull`: workers do the agent's tasks, and nobody else
            @/home/.config/parallel-dispatch/config.yaml:4: agents.c.upstream: cannot go with `worker: pull`: workers do the agent's tasks, and nobody else"#]],
    );
    let theirs = "agents: {reviewer: {heartbeat_seconds: 1}, coder: {worker: pull}}";
    let ours = "agents: {reviewer: {worker: pull, timeout_seconds: 900}}";
    Machine::new(&[(USER, ours), (WORKSPACE, theirs)]).check(&expect![[r"
        @/project/.parallel-dispatch.yaml:1: agents.reviewer.heartbeat_seconds: a workspace's file may not set it; ~/.config/parallel-dispatch/config.yaml, /etc/parallel-dispatch/config.yaml and --config may
        @/project/.parallel-dispatch.yaml:1: agents.coder.worker: a workspace's file may not set it; ~/.config/parallel-dispatch/config.yaml, /etc/parallel-dispatch/config.yaml and --config may"]]);
}
