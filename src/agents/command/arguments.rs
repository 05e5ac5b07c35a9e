//! From the settings to the arguments of a program, by the conventions that it keeps.

use super::settings::{CommandSetting, OutputForm, Program, PromptBy};
use crate::model::{Failure, FailureCode};

/// The longest argument that Linux lets a program have, in bytes, with its end.
const ARGUMENT_BYTES_MAX: usize = 128 << 10;
/// What goes behind the prompt for Gemini, which takes standard input as the first part of it.
const GEMINI_LAST_WORD: &str = "Do the task that is described above.";

/// A JSON schema that an output has to have: where it stands, and its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct OutputSchema {
    pub(super) path: String,
    pub(super) text: String,
}

/// What is run: the program as `path`, and its arguments but for the prompt.
pub(super) fn argv(
    setting: &CommandSetting,
    path: &str,
    schema: Option<&OutputSchema>,
) -> Vec<String> {
    let mut argv = vec![path.to_owned()];
    argv.extend(setting.argv.iter().skip(1).cloned());
    match setting.program {
        Program::Claude => claude(setting, schema, &mut argv),
        Program::Codex => codex(setting, schema, &mut argv),
        Program::Gemini => gemini(setting, &mut argv),
        Program::Custom => {}
    }
    argv
}

/// Puts the prompt where the program looks for it; answers what goes to its standard input.
pub(super) fn place_prompt(
    by: PromptBy,
    prompt: String,
    argv: &mut Vec<String>,
) -> Result<String, Failure> {
    match by {
        PromptBy::Stdin => Ok(prompt),
        PromptBy::Argument if prompt.len() >= ARGUMENT_BYTES_MAX => {
            let message = format!(
                "the prompt has {} bytes, and an argument at most {}; let the program read it \
                 from standard input",
                prompt.len(),
                ARGUMENT_BYTES_MAX - 1
            );
            Err(Failure::new(FailureCode::AgentError, message))
        }
        PromptBy::Argument => {
            argv.push(prompt);
            Ok(String::new())
        }
    }
}

fn claude(setting: &CommandSetting, schema: Option<&OutputSchema>, argv: &mut Vec<String>) {
    argv.push("-p".to_owned());
    match setting.output {
        OutputForm::Json => pair(argv, "--output-format", "json"),
        OutputForm::StreamJson | OutputForm::Text => {
            pair(argv, "--output-format", "stream-json");
            argv.push("--verbose".to_owned());
        }
    }
    option(argv, "--model", setting.model.as_deref());
    option(argv, "--permission-mode", setting.permission_mode.as_deref());
    option(argv, "--max-turns", setting.max_turns.map(|it| it.to_string()).as_deref());
    let budget = setting.max_budget_usd.map(|it| it.to_string());
    option(argv, "--max-budget-usd", budget.as_deref());
    option(argv, "--json-schema", schema.map(|it| it.text.as_str()));
    tools(argv, "--allowedTools", &setting.allowed_tools);
}

fn codex(setting: &CommandSetting, schema: Option<&OutputSchema>, argv: &mut Vec<String>) {
    let fixed = ["exec", "--json", "--ephemeral", "--skip-git-repo-check"];
    argv.extend(fixed.map(str::to_owned));
    option(argv, "-m", setting.model.as_deref());
    option(argv, "-s", setting.permission_mode.as_deref());
    option(argv, "--output-schema", schema.map(|it| it.path.as_str()));
    // Its name for standard input.
    argv.push("-".to_owned());
}

fn gemini(setting: &CommandSetting, argv: &mut Vec<String>) {
    let form = if setting.output == OutputForm::Json { "json" } else { "stream-json" };
    pair(argv, "-o", form);
    option(argv, "-m", setting.model.as_deref());
    option(argv, "--approval-mode", setting.permission_mode.as_deref());
    tools(argv, "--allowed-tools", &setting.allowed_tools);
    pair(argv, "-p", GEMINI_LAST_WORD);
}

fn tools(argv: &mut Vec<String>, name: &str, tools: &[String]) {
    if !tools.is_empty() {
        argv.push(name.to_owned());
        argv.extend(tools.iter().cloned());
    }
}

fn option(argv: &mut Vec<String>, name: &str, value: Option<&str>) {
    if let Some(value) = value {
        pair(argv, name, value);
    }
}

fn pair(argv: &mut Vec<String>, name: &str, value: &str) {
    argv.extend([name.to_owned(), value.to_owned()]);
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::{super::testing::setting, *};

    fn full(program: Program) -> CommandSetting {
        CommandSetting {
            model: Some("large".into()),
            permission_mode: Some("plan".into()),
            allowed_tools: vec!["Read".into(), "Bash(git log:*)".into()],
            max_budget_usd: Some(0.5),
            max_turns: Some(7),
            ..setting(program)
        }
    }

    #[track_caller]
    fn check(setting: &CommandSetting, expected: &Expect) {
        let schema = OutputSchema { path: "/s.json".into(), text: "{}".into() };
        let schema = (setting.program != Program::Gemini).then_some(&schema);
        expected.assert_eq(&argv(setting, "/bin/x", schema).join(" "));
    }

    #[test]
    fn each_program_gets_the_settings_in_its_own_words() {
        check(
            &full(Program::Claude),
            &expect![
                "/bin/x -p --output-format stream-json --verbose --model large --permission-mode plan --max-turns 7 --max-budget-usd 0.5 --json-schema {} --allowedTools Read Bash(git log:*)"
            ],
        );
        check(
            &full(Program::Codex),
            &expect![
                "/bin/x exec --json --ephemeral --skip-git-repo-check -m large -s plan --output-schema /s.json -"
            ],
        );
        check(
            &full(Program::Gemini),
            &expect![
                "/bin/x -o stream-json -m large --approval-mode plan --allowed-tools Read Bash(git log:*) -p Do the task that is described above."
            ],
        );
        let json = CommandSetting { output: OutputForm::Json, ..setting(Program::Claude) };
        check(&json, &expect!["/bin/x -p --output-format json --json-schema {}"]);
    }

    #[test]
    fn own_arguments_go_before_those_of_the_conventions() {
        let argv = vec!["npx".into(), "-y".into(), "gemini".into()];
        let own = CommandSetting { argv, ..setting(Program::Gemini) };
        check(
            &own,
            &expect!["/bin/x -y gemini -o stream-json -p Do the task that is described above."],
        );
        let argv = vec!["tool".into(), "--fast".into()];
        let own = CommandSetting { argv, ..setting(Program::Custom) };
        check(&own, &expect!["/bin/x --fast"]);
    }

    #[test]
    fn a_prompt_that_is_an_argument_has_to_fit() {
        let mut argv = vec!["x".to_owned()];
        assert_eq!(place_prompt(PromptBy::Stdin, "# p".into(), &mut argv).unwrap(), "# p");
        assert_eq!(place_prompt(PromptBy::Argument, "# p".into(), &mut argv).unwrap(), "");
        assert_eq!(argv, ["x", "# p"]);
        let long = "p".repeat(ARGUMENT_BYTES_MAX);
        let failure = place_prompt(PromptBy::Argument, long, &mut argv).unwrap_err();
        assert_eq!(failure.code, FailureCode::AgentError);
    }
}
