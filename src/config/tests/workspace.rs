//! What a file in a workspace may say, which may come from anybody.

use expect_test::expect;

use super::*;

fn check_workspace(text: &str, expect: &Expect) {
    Machine::new(&[(WORKSPACE, text)]).check(expect);
}

#[test]
fn a_workspace_may_tune_and_lower() {
    Machine::new(&[
        (USER, "agents: {reviewer: {tool: review}}\nlimits: {tasks_max: 100}\n"),
        (
            WORKSPACE,
            "dispatcher: {max_workers: 9, trace_dir: logs/traces}
agents: {coder: {validation_level: strict}, reviewer: {timeout_seconds: 5}}
limits: {tasks_max: 50, max_workers: 4}
logging: {level: debug}
",
        ),
    ])
    .check(&expect![[r"
        agents.coder.validation_level = strict  (@/project/.parallel-dispatch.yaml:2)
        agents.reviewer.timeout_seconds = 5  (@/project/.parallel-dispatch.yaml:2)
        agents.reviewer.tool = review  (@/home/.config/parallel-dispatch/config.yaml:1)
        dispatcher.max_workers = 4  (@/project/.parallel-dispatch.yaml:1)
        dispatcher.trace_dir = @/project/logs/traces  (@/project/.parallel-dispatch.yaml:1)
        limits.max_workers = 4  (@/project/.parallel-dispatch.yaml:3)
        limits.tasks_max = 50  (@/project/.parallel-dispatch.yaml:3)
        logging.level = debug  (@/project/.parallel-dispatch.yaml:4)
        warning: dispatcher.max_workers is 9 (@/project/.parallel-dispatch.yaml:1), above limits.max_workers, and counts as 4"]]);
}

#[test]
fn a_workspace_may_not_lead_anywhere_else() {
    check_workspace(
        "mcp: {url: 'http://evil.example'}
upstreams: {archon: {}, evil: {url: 'http://evil.example'}}
agents: {coder: {tool: evil, upstream: evil}, manage_task: {}, archive: {timeout_seconds: 5}}
logging: {destination: /tmp/evil}
state_dir: .
dispatcher: {trace_dir: ../outside}
limits: {tasks_max: 1000000}
server: {allowed_origins: ['https://evil.example'], connections_max: 1}
",
        &expect![[r"
            @/project/.parallel-dispatch.yaml:1: mcp.url: a workspace's file may not set it; ~/.config/parallel-dispatch/config.yaml, /etc/parallel-dispatch/config.yaml and --config may
            @/project/.parallel-dispatch.yaml:2: upstreams.archon: a workspace's file may not set it; ~/.config/parallel-dispatch/config.yaml, /etc/parallel-dispatch/config.yaml and --config may
            @/project/.parallel-dispatch.yaml:2: upstreams.evil.url: a workspace's file may not set it; ~/.config/parallel-dispatch/config.yaml, /etc/parallel-dispatch/config.yaml and --config may
            @/project/.parallel-dispatch.yaml:3: agents.coder.tool: a workspace's file may not set it; ~/.config/parallel-dispatch/config.yaml, /etc/parallel-dispatch/config.yaml and --config may
            @/project/.parallel-dispatch.yaml:3: agents.coder.upstream: a workspace's file may not set it; ~/.config/parallel-dispatch/config.yaml, /etc/parallel-dispatch/config.yaml and --config may
            @/project/.parallel-dispatch.yaml:3: agents.manage_task: a workspace's file may not set a new agent; ~/.config/parallel-dispatch/config.yaml, /etc/parallel-dispatch/config.yaml and --config may
            @/project/.parallel-dispatch.yaml:3: agents.archive.timeout_seconds: a workspace's file may not set a new agent; ~/.config/parallel-dispatch/config.yaml, /etc/parallel-dispatch/config.yaml and --config may
            @/project/.parallel-dispatch.yaml:4: logging.destination: a workspace's file may not set it; ~/.config/parallel-dispatch/config.yaml, /etc/parallel-dispatch/config.yaml and --config may
            @/project/.parallel-dispatch.yaml:5: state_dir: a workspace's file may not set it; ~/.config/parallel-dispatch/config.yaml, /etc/parallel-dispatch/config.yaml and --config may
            @/project/.parallel-dispatch.yaml:6: dispatcher.trace_dir: a workspace's file may name no place outside the workspace or behind a link
            @/project/.parallel-dispatch.yaml:7: limits.tasks_max: a workspace's file may only lower it, and it is 10000
            @/project/.parallel-dispatch.yaml:8: server.allowed_origins: a workspace's file may not set it; ~/.config/parallel-dispatch/config.yaml, /etc/parallel-dispatch/config.yaml and --config may
            @/project/.parallel-dispatch.yaml:8: server.connections_max: a workspace's file may not set it; ~/.config/parallel-dispatch/config.yaml, /etc/parallel-dispatch/config.yaml and --config may"]],
    );
    for outside in ["/etc", "~/traces", "a/../../b", "logs/../.."] {
        let machine =
            Machine::new(&[(WORKSPACE, &format!("dispatcher: {{trace_dir: {outside}}}"))]);
        let faults = machine.load().unwrap_err().0;
        assert_eq!(faults.len(), 1, "{outside}");
        assert_eq!(faults[0].key, "dispatcher.trace_dir", "{outside}");
    }
}

#[test]
#[cfg(unix)]
fn a_workspace_may_not_lead_anywhere_else_by_links() {
    use std::os::unix::fs::symlink;

    let machine = Machine::new(&[(WORKSPACE, "dispatcher: {trace_dir: link/traces}")]);
    let root = machine.root.path().to_owned();
    symlink(&root, root.join("project/link")).unwrap();
    machine.check(&expect!["@/project/.parallel-dispatch.yaml:1: dispatcher.trace_dir: a workspace's file may name no place outside the workspace or behind a link"]);

    let machine = Machine::new(&[("secret", "password: hunter2")]);
    let root = machine.root.path().to_owned();
    symlink(root.join("secret"), root.join(WORKSPACE)).unwrap();
    machine.check(&expect!["@/project/.parallel-dispatch.yaml: is not a regular file"]);
}
