//! The agents of the settings that are programs.

use std::{path::PathBuf, sync::Arc, time::Duration};

use super::descriptors;
use crate::{
    agents::command::{
        CheckCommands, CheckSetting, CommandHost, CommandRunner, CommandSetting, Commands,
        GuardProgram, OutputForm, Program, PromptBy, Variables,
    },
    config::{
        CheckSettings, CommandOutput, CommandProgram, CommandPrompt, CommandSettings, Environment,
        Settings,
    },
    model::AgentName,
    ports::Clock,
};

/// The checks of the settings.
pub(super) fn checks(settings: &Settings) -> CheckCommands {
    let setting = |(name, it): (&String, &CheckSettings)| {
        let setting = CheckSetting {
            argv: it.argv.clone(),
            dir: it.working_directory.clone().unwrap_or_else(|| settings.workspace().clone()),
            timeout: it.timeout_seconds.map(Duration::from_secs_f64),
            variables: Variables(Environment::passed_on(&it.env)),
        };
        (name.clone(), setting)
    };
    CheckCommands::new(guard(), settings.checks.iter().map(setting).collect())
}

/// What makes this program a guard.
const GUARD: &str = "agent-guard";

/// The agents that are programs; they are looked for when they are first asked for.
pub(super) fn commands(settings: &Settings, clock: &Arc<dyn Clock>) -> Commands {
    let named = settings.agents.iter().filter_map(|(name, it)| Some((name, it.command.as_ref()?)));
    let setting = |(name, it): (&String, &CommandSettings)| {
        (AgentName::new(name), to_setting(it, settings.workspace().clone()))
    };
    Commands::new(host(settings, clock), named.map(setting).collect())
}

/// What runs the programs of recipes.
pub(super) fn runner(settings: &Settings, clock: &Arc<dyn Clock>) -> CommandRunner {
    let dir = settings.workspace().clone();
    CommandRunner { host: host(settings, clock), dir, passed_on: Environment::passed_on }
}

fn host(settings: &Settings, clock: &Arc<dyn Clock>) -> CommandHost {
    let clock = Arc::clone(clock);
    CommandHost { guard: guard(), state_dir: settings.state_dir.clone(), clock }
}

fn guard() -> GuardProgram {
    let (program, arguments) = (own_program(), vec![GUARD.to_owned()]);
    GuardProgram { program, arguments, open_files: descriptors::of_programs() }
}

fn to_setting(it: &CommandSettings, workspace: PathBuf) -> CommandSetting {
    let program = match it.program {
        CommandProgram::Claude => Program::Claude,
        CommandProgram::Codex => Program::Codex,
        CommandProgram::Gemini => Program::Gemini,
        CommandProgram::Custom => Program::Custom,
    };
    let output = match it.output {
        Some(CommandOutput::Json) => OutputForm::Json,
        Some(CommandOutput::Text) => OutputForm::Text,
        None if program == Program::Custom => OutputForm::Text,
        Some(CommandOutput::StreamJson) | None => OutputForm::StreamJson,
    };
    let prompt = match it.prompt {
        Some(CommandPrompt::Argument) => PromptBy::Argument,
        Some(CommandPrompt::Stdin) | None => PromptBy::Stdin,
    };
    CommandSetting {
        program,
        argv: it.argv.clone(),
        output,
        prompt,
        output_schema: it.output_schema.clone(),
        model: it.model.clone(),
        permission_mode: it.permission_mode.clone(),
        allowed_tools: it.allowed_tools.clone(),
        max_budget_usd: it.max_budget_usd,
        max_turns: it.max_turns,
        variables: Variables(Environment::passed_on(&it.env)),
        dir: it.working_directory.clone().unwrap_or(workspace),
        memory_mb: it.memory_mb,
        confine: it.confine,
        writable: it.writable.clone(),
        worktree: it.worktree,
    }
}

/// This program's own file. On Linux by a name that still leads to it when another version was put
/// in its place.
fn own_program() -> PathBuf {
    let by_system = PathBuf::from("/proc/self/exe");
    if by_system.exists() {
        return by_system;
    }
    std::env::current_exe().unwrap_or_else(|_| PathBuf::from(env!("CARGO_PKG_NAME")))
}
