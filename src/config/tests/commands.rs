//! What may be said of an agent that is a program.

use expect_test::expect;

use super::*;

#[test]
fn a_program_and_what_it_may_do_are_read() {
    check_user(
        "agents:
  writer:
    command:
      program: claude
      argv: [/opt/claude, --strict-mcp-config]
      model: sonnet
      permission_mode: acceptEdits
      allowed_tools: [Read, 'Bash(git log:*)']
      max_budget_usd: 0.5
      max_turns: 20
      output_schema: schemas/answer.json
      env: [ANTHROPIC_API_KEY]
      worktree: true
  linter: {command: {argv: [lint, --json], output: json, working_directory: ~/code}}
",
        &expect![[r#"
            agents.linter.command.argv = ["lint","--json"]  (@/home/.config/parallel-dispatch/config.yaml:14)
            agents.linter.command.output = json  (@/home/.config/parallel-dispatch/config.yaml:14)
            agents.linter.command.working_directory = @/home/code  (@/home/.config/parallel-dispatch/config.yaml:14)
            agents.writer.command.allowed_tools = ["Read","Bash(git log:*)"]  (@/home/.config/parallel-dispatch/config.yaml:8)
            agents.writer.command.argv = ["/opt/claude","--strict-mcp-config"]  (@/home/.config/parallel-dispatch/config.yaml:5)
            agents.writer.command.env = ["ANTHROPIC_API_KEY"]  (@/home/.config/parallel-dispatch/config.yaml:12)
            agents.writer.command.max_budget_usd = 0.5  (@/home/.config/parallel-dispatch/config.yaml:9)
            agents.writer.command.max_turns = 20  (@/home/.config/parallel-dispatch/config.yaml:10)
            agents.writer.command.model = sonnet  (@/home/.config/parallel-dispatch/config.yaml:6)
            agents.writer.command.output_schema = @/project/schemas/answer.json  (@/home/.config/parallel-dispatch/config.yaml:11)
            agents.writer.command.permission_mode = acceptEdits  (@/home/.config/parallel-dispatch/config.yaml:7)
            agents.writer.command.program = claude  (@/home/.config/parallel-dispatch/config.yaml:4)
            agents.writer.command.worktree = true  (@/home/.config/parallel-dispatch/config.yaml:13)"#]],
    );
    let machine = Machine::new(&[(USER, "agents: {a: {command: {argv: [x]}}}")]);
    let settings = machine.load().unwrap().settings;
    let command = settings.agents["a"].command.clone().unwrap();
    assert_eq!((command.program, command.memory_mb), (CommandProgram::Custom, 250));
}

#[test]
fn what_a_program_does_not_take_is_said() {
    check_user(
        "agents:
  a: {command: {}}
  b: {command: {program: codex, max_turns: 3, output: json}, tool: review}
  c: {command: {program: bash}}
  d: {command: {argv: [./run]}}
  e: {command: {program: claude, output: text, model: --help, allowed_tools: []}}
  f: {command: {argv: run this, env: [CLAUDE_CODE_MESSAGING_TOKEN]}}
  g: {command: {argv: [run], env: ['A=1'], max_budget_usd: 0, memory_mb: 0}}
  h: {command: {argv: [run], env: [CLAUDECODE]}}
  i: {command: {argv: [run, 5], prompt: shell}}
",
        &expect![[r#"
            @/home/.config/parallel-dispatch/config.yaml:4: agents.c.command.program: must be one of claude, codex, gemini, custom, is "bash"
            @/home/.config/parallel-dispatch/config.yaml:5: agents.d.command.argv: must begin with a program's name or absolute path, begins with "./run"
            @/home/.config/parallel-dispatch/config.yaml:6: agents.e.command.model: must be 1 to 4096 bytes on one line that do not begin with `-`, is "--help"
            @/home/.config/parallel-dispatch/config.yaml:6: agents.e.command.allowed_tools: must hold 1 to 256 names, holds 0
            @/home/.config/parallel-dispatch/config.yaml:7: agents.f.command.argv: must be a list of arguments, is a text
            @/home/.config/parallel-dispatch/config.yaml:7: agents.f.command.env: must not hold CLAUDE_CODE_MESSAGING_TOKEN: what belongs to a session is not passed on
            @/home/.config/parallel-dispatch/config.yaml:8: agents.g.command.env: must hold names of variables, holds "A=1"
            @/home/.config/parallel-dispatch/config.yaml:8: agents.g.command.max_budget_usd: must be a number of US dollars above 0, at most 1000000, is 0
            @/home/.config/parallel-dispatch/config.yaml:8: agents.g.command.memory_mb: must be a whole number from 1 to 1048576, is 0
            @/home/.config/parallel-dispatch/config.yaml:9: agents.h.command.env: must not hold CLAUDECODE: what belongs to a session is not passed on
            @/home/.config/parallel-dispatch/config.yaml:10: agents.i.command.argv: must be a list of texts, holds a number
            @/home/.config/parallel-dispatch/config.yaml:10: agents.i.command.prompt: must be one of stdin, argument, is "shell"
            @/home/.config/parallel-dispatch/config.yaml:2: agents.a.command: needs `program`, or `argv` where it is another one
            @/home/.config/parallel-dispatch/config.yaml:3: agents.b.tool: an agent is a command or a tool, not both
            @/home/.config/parallel-dispatch/config.yaml:3: agents.b.command.output: codex does not take it, only claude, gemini, custom
            @/home/.config/parallel-dispatch/config.yaml:3: agents.b.command.max_turns: codex does not take it, only claude
            @/home/.config/parallel-dispatch/config.yaml:6: agents.e.command.output: claude writes json or stream_json"#]],
    );
}

#[test]
fn an_expression_may_begin_with_a_minus_and_have_lines() {
    check_user(
        "agents:
  coder:
    expect:
      condition: |-
        -output.balance > 3
        && input.is_real
",
        &expect![[
            r"agents.coder.expect.condition = -output.balance > 3\u{a}&& input.is_real  (@/home/.config/parallel-dispatch/config.yaml:4)"
        ]],
    );
    let long = "x".repeat(5_000);
    for said in ["''", "7", &long] {
        let text = format!("agents: {{coder: {{expect: {{condition: {said}}}}}}}");
        let faults = Machine::new(&[(USER, &text)]).load().unwrap_err().0;
        assert_eq!(faults[0].key, "agents.coder.expect.condition", "{said}");
    }
}

#[test]
fn an_agent_is_one_thing_and_only_tool_is_allowed_tools() {
    check_user(
        "agents:
  a: {command: {argv: [x]}, recipe: archon_coder}
  b: {allow: ['archon/*']}
  tool: {allow: ['archon/*']}
",
        &expect![[r"
            @/home/.config/parallel-dispatch/config.yaml:3: agents.b.allow: is only for the agent `tool`
            @/home/.config/parallel-dispatch/config.yaml:2: agents.a.recipe: an agent is a command or a recipe, not both"]],
    );
}

#[test]
fn what_tool_may_call_is_said_only_where_nothing_says_what_it_is() {
    for (said, message) in [
        ("tool: x", "does nothing beside `tool`; keep one of the two"),
        ("recipe: archon_coder", "does nothing beside `recipe`; keep one of the two"),
        ("command: {argv: [x]}", "an agent is a command or a tool, not both"),
        ("worker: pull", "cannot go with `worker: pull`"),
    ] {
        let text = format!("agents: {{tool: {{allow: ['archon/*'], {said}}}}}");
        let faults = Machine::new(&[(USER, &text)]).load().unwrap_err().0;
        let faults: Vec<_> = faults.iter().filter(|it| it.key == "agents.tool.allow").collect();
        assert_eq!(faults.len(), 1, "{said}");
        assert!(faults[0].to_string().contains(message), "{}", faults[0]);
    }
}

#[test]
fn a_workspace_names_no_program() {
    for said in ["argv: [sh]", "model: large", "program: claude", ""] {
        let text = format!("agents: {{coder: {{command: {{{said}}}}}}}");
        let errors = Machine::new(&[(WORKSPACE, &text)]).load().unwrap_err().to_string();
        assert!(errors.contains("a workspace's file may not set it"), "{errors}");
    }
}

#[test]
fn what_belongs_to_a_session_is_not_passed_on() {
    let names = ["PATH", "CLAUDE_CODE_MESSAGING_TOKEN", "CLAUDECODE", "CARGO_MANIFEST_DIR"];
    let passed_on = Environment::passed_on(&names.map(str::to_owned));
    let passed_on: Vec<&str> = passed_on.iter().map(|it| it.0.as_str()).collect();
    assert_eq!(passed_on.iter().filter(|it| **it == "PATH").count(), 1);
    assert_eq!(passed_on.contains(&"CARGO_MANIFEST_DIR"), cfg!(test));
    assert!(!passed_on.iter().any(|it| it.starts_with("CLAUDE")));
}
