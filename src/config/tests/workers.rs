//! Agents whose workers pull.

use expect_test::expect;

use super::*;

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
