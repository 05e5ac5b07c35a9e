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
}

#[test]
fn what_an_upstream_leaves_out_is_filled_in() {
    let machine = Machine::new(&[(USER, "upstreams: {search: {url: 'http://[::1]:1'}}")]);
    let settings = machine.load().unwrap().settings;
    expect![[r#"
        {
            "archon": Upstream {
                transport: Http,
                url: Some(
                    "http://localhost:8051/mcp",
                ),
                command: None,
                args: [],
                env: {},
                env_pass: [],
                headers: {},
                bearer: None,
                timeout_seconds: 30.0,
                max_concurrent: 1024,
                protocol: Legacy,
                response_bytes_max: 16777216,
                retry_attempts: 3,
                retry_backoff_ms: 100,
                breaker_failures: 5,
                breaker_open_seconds: 1.0,
                tools_allow: None,
            },
            "search": Upstream {
                transport: Http,
                url: Some(
                    "http://[::1]:1/mcp",
                ),
                command: None,
                args: [],
                env: {},
                env_pass: [],
                headers: {},
                bearer: None,
                timeout_seconds: 30.0,
                max_concurrent: 1024,
                protocol: Auto,
                response_bytes_max: 16777216,
                retry_attempts: 3,
                retry_backoff_ms: 100,
                breaker_failures: 5,
                breaker_open_seconds: 1.0,
                tools_allow: None,
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
            @/home/.config/parallel-dispatch/config.yaml:2: upstreams.a.url: is missing: an upstream needs an address or a command
            @/home/.config/parallel-dispatch/config.yaml:8: upstreams.g.url: is missing: an upstream needs an address or a command
            @/home/.config/parallel-dispatch/config.yaml:10: agents.coder.upstream: there is no upstream `achron`; did you mean `archon`?
            @/home/.config/parallel-dispatch/config.yaml:11: agents.other.upstream: there is no upstream `nowhere-near`; there is a, archon, g"]],
    );
}

#[test]
fn the_archon_in_this_process_keeps_its_name() {
    check_user(
        "upstreams:
  embedded: {url: 'http://localhost:9000'}
",
        &expect![[
            r"@/home/.config/parallel-dispatch/config.yaml:2: upstreams.embedded: is the Archon in this process; choose another name"
        ]],
    );
}

#[test]
fn archon_counts_as_configured_whoever_names_it() {
    let configured = |machine: Machine| machine.load().unwrap().settings.archon;
    let expected = ArchonSetting::Configured;
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
fn a_child_process_and_the_older_transport_are_upstreams_too() {
    check_user(
        "upstreams:
  files: {command: npx, args: [-y, '@scope/server', --flag], env: {LEVEL: warn}, env_pass: [LANG]}
  own: {command: ./bin/server, transport: stdio}
  old: {transport: sse, url: 'http://old.example'}
  older: {transport: sse, url: 'http://old.example/a/mcp', tools_allow: ['rag_*', coder]}
  archon: {command: archon-mcp}
",
        &expect![[r#"
            upstreams.archon.command = archon-mcp  (@/home/.config/parallel-dispatch/config.yaml:6)
            upstreams.files.args = ["-y","@scope/server","--flag"]  (@/home/.config/parallel-dispatch/config.yaml:2)
            upstreams.files.command = npx  (@/home/.config/parallel-dispatch/config.yaml:2)
            upstreams.files.env.LEVEL = (hidden)  (@/home/.config/parallel-dispatch/config.yaml:2)
            upstreams.files.env_pass = ["LANG"]  (@/home/.config/parallel-dispatch/config.yaml:2)
            upstreams.old.transport = sse  (@/home/.config/parallel-dispatch/config.yaml:4)
            upstreams.old.url = http://old.example/sse  (@/home/.config/parallel-dispatch/config.yaml:4)
            upstreams.older.tools_allow = ["rag_*","coder"]  (@/home/.config/parallel-dispatch/config.yaml:5)
            upstreams.older.transport = sse  (@/home/.config/parallel-dispatch/config.yaml:5)
            upstreams.older.url = http://old.example/a/mcp  (@/home/.config/parallel-dispatch/config.yaml:5)
            upstreams.own.command = @/project/bin/server  (@/home/.config/parallel-dispatch/config.yaml:3)
            upstreams.own.transport = stdio  (@/home/.config/parallel-dispatch/config.yaml:3)"#]],
    );
    let machine = Machine::new(&[(USER, "upstreams: {archon: {command: archon-mcp}}")]);
    let settings = machine.load().unwrap().settings;
    assert_eq!(settings.archon, ArchonSetting::Configured);
    assert_eq!(settings.upstreams["archon"].url, None);
}

#[test]
fn what_does_not_fit_a_transport_is_refused() {
    check_user(
        "upstreams:
  a: {command: x, url: 'http://h'}
  b: {transport: stdio}
  c: {transport: sse}
  d: {transport: http, command: x}
  e: {url: 'http://h', env: {A: b}, args: [x]}
  f: {command: x, headers: {X: y}, bearer: z}
  g: {url: 'http://h', headers: {Authorization: x, Host: y, 'a b': z}, bearer: z}
  h: {url: 'http://h', bearer: '${TOKEN}'}
  i: {command: x, env: {A-B: c, CLAUDE_CODE_MESSAGING_TOKEN: d}}
  j: {command: x, env_pass: [CLAUDE_CODE_MESSAGING_TOKEN]}
  k: {url: 'http://h', tools_allow: ['a b']}
  l: {command: x, args: nothing}
",
        &expect![[r#"
            @/home/.config/parallel-dispatch/config.yaml:8: upstreams.g.headers.a b: a header's name is 1 to 64 letters, digits, `_` and `-`
            @/home/.config/parallel-dispatch/config.yaml:9: upstreams.h.bearer: must refer to secrets as ${env:NAME} or ${file:/path}
            @/home/.config/parallel-dispatch/config.yaml:10: upstreams.i.env.A-B: must name variables by letters, digits and `_`, names "A-B"
            @/home/.config/parallel-dispatch/config.yaml:10: upstreams.i.env.CLAUDE_CODE_MESSAGING_TOKEN: must not name CLAUDE_CODE_MESSAGING_TOKEN, which belongs to the editor's session
            @/home/.config/parallel-dispatch/config.yaml:11: upstreams.j.env_pass: must not hold CLAUDE_CODE_MESSAGING_TOKEN: what belongs to a session is not passed on
            @/home/.config/parallel-dispatch/config.yaml:12: upstreams.k.tools_allow: must hold names of tools, in which `*` and `?` stand for any, holds "a b"
            @/home/.config/parallel-dispatch/config.yaml:13: upstreams.l.args: must be a list of arguments, is a text
            @/home/.config/parallel-dispatch/config.yaml:2: upstreams.a.url: is not for a child process (`command`)
            @/home/.config/parallel-dispatch/config.yaml:3: upstreams.b.command: is missing: a child process needs one
            @/home/.config/parallel-dispatch/config.yaml:4: upstreams.c.url: is missing: an upstream needs an address or a command
            @/home/.config/parallel-dispatch/config.yaml:5: upstreams.d.command: is only for a child process (`transport: stdio`)
            @/home/.config/parallel-dispatch/config.yaml:5: upstreams.d.url: is missing: an upstream needs an address or a command
            @/home/.config/parallel-dispatch/config.yaml:6: upstreams.e.args: is only for a child process (`transport: stdio`)
            @/home/.config/parallel-dispatch/config.yaml:6: upstreams.e.env: is only for a child process (`transport: stdio`)
            @/home/.config/parallel-dispatch/config.yaml:7: upstreams.f.headers: is not for a child process (`command`)
            @/home/.config/parallel-dispatch/config.yaml:7: upstreams.f.bearer: is not for a child process (`command`)
            @/home/.config/parallel-dispatch/config.yaml:8: upstreams.g.headers.Authorization: is what `bearer` makes; keep one of them
            @/home/.config/parallel-dispatch/config.yaml:8: upstreams.g.headers.Host: belongs to the protocol; leave it out"#]],
    );
}

#[test]
fn the_values_of_headers_and_variables_are_not_shown() {
    let machine = Machine::new(&[(
        USER,
        "upstreams:
  a: {url: 'http://h', headers: {X-Key: s3cret, X-Team: 'a ${env:TEAM}'}, bearer: '${file:~/t}'}
  b: {command: x, env: {KEY: s3cret}}
",
    )]);
    let loaded = machine.load().unwrap();
    let mut shown: Vec<_> = loaded.explain.iter().map(ToString::to_string).collect();
    shown.push(format!("{:?}", loaded.settings));
    shown.push(serde_json::to_string(&loaded.settings).unwrap());
    assert!(shown.iter().all(|it| !it.contains("s3cret")), "{shown:?}");
    check_user(
        "upstreams: {a: {url: 'http://h', headers: {X-Key: s, X-Team: 'a ${env:TEAM}'}, bearer: \
         '${file:~/t}'}}",
        &expect![[r"
            upstreams.a.bearer = ${file:@/home/t}  (@/home/.config/parallel-dispatch/config.yaml:1)
            upstreams.a.headers.X-Key = (hidden)  (@/home/.config/parallel-dispatch/config.yaml:1)
            upstreams.a.headers.X-Team = (hidden)${env:TEAM}  (@/home/.config/parallel-dispatch/config.yaml:1)
            upstreams.a.url = http://h/mcp  (@/home/.config/parallel-dispatch/config.yaml:1)"]],
    );
    check_user(
        "upstreams: {a: {url: 'http://h/mcp?key=s3cret'}}",
        &expect![[r"
            upstreams.a.url = http://h/mcp?(hidden)  (@/home/.config/parallel-dispatch/config.yaml:1)"]],
    );
}
