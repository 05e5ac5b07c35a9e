//! The root: the only place that names concrete adapters and puts the rooms together.

mod access;
mod clock;
mod descriptors;
mod doctor;
mod monitoring;
mod programs;
mod recipes;
mod renewal;
mod secret;
mod serve;
mod service;
mod signals;
mod upstreams;
mod workers;

use std::{collections::BTreeMap, num::NonZero, process::ExitCode, time::Duration};

use anyhow::Context as _;
use clap::Parser as _;
use tokio_util::sync::CancellationToken;

use self::service::Service;
use crate::{
    agents::command::guard,
    cli::{self, Arguments, Command, Exit, RunArguments, SettingsArguments, commands},
    config::{Environment, Flags, Loaded, Role, Settings},
    mcp,
    model::{ControlAction, View},
    ports::Failpoint,
    runtime::Recover,
    telemetry,
};

/// How long a wait may be asked for on the command line, in seconds: a year.
const WAIT_SECONDS_MAX: u64 = 31_536_000;

/// Runs the program: reads the command line and does what it says.
pub fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version are no errors, and are shown on standard output.
            if error.use_stderr() {
                cli::report_usage(&error.render());
            } else {
                let _closed = error.print();
            }
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    if let Command::AgentGuard = arguments.command {
        return guard();
    }
    match execute(arguments) {
        Ok(exit) => ExitCode::from(exit.code()),
        // Whoever read the output has seen enough.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            cli::report_error(&chain(&error));
            ExitCode::from(Exit::Refused.code())
        }
    }
}

/// The error and its causes, but for those whose text the one before has already.
fn chain(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !text.contains(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
    }
    text
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let error = error.downcast_ref::<std::io::Error>();
    error.is_some_and(|it| it.kind() == std::io::ErrorKind::BrokenPipe)
}

fn execute(arguments: Arguments) -> anyhow::Result<Exit> {
    let Arguments { command, settings } = arguments;
    if let Command::Schema { write } = &command {
        return Ok(commands::schema(&schemas(), write.as_deref())?);
    }
    let environment = Environment::capture().context("failed to look at the environment")?;
    arm_failpoint()?;
    let flags = flags(&command, settings);
    let loaded = Settings::load(&environment, &flags);
    if let Command::Doctor = command {
        let runtime = tokio_runtime()?;
        let checks = runtime.block_on(doctor::examine(&environment, loaded));
        return Ok(commands::doctor(&checks)?);
    }
    let loaded = loaded?;
    if let Command::Config { explain } = command {
        let of_role = |role| Settings::load(&environment, &Flags { role, ..flags.clone() });
        let (serve, run) = (of_role(Role::Serve)?, of_role(Role::Run)?);
        return Ok(commands::config(&loaded, &[("serve", serve), ("run", run)], explain)?);
    }
    let _log = telemetry::init(&loaded.settings.logging)?;
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    let runtime = tokio_runtime()?;
    let exit = runtime.block_on(Box::pin(command_with_service(command, loaded)));
    // Threads that still read standard input must not hold the process up.
    runtime.shutdown_timeout(Duration::from_millis(500));
    exit
}

async fn command_with_service(command: Command, loaded: Loaded) -> anyhow::Result<Exit> {
    let settings = loaded.settings;
    if let Command::Serve(arguments) = command {
        return serve::serve(arguments, settings).await;
    }
    let shutdown = CancellationToken::new();
    let workspace = settings.workspace().clone();
    let bytes_max = settings.limits.run_document_bytes_max;
    let retention = service::retention(&settings);
    let drives_work = matches!(command, Command::Run(_) | Command::Retry(_));
    let recover = if drives_work { Recover::Later } else { Recover::Never };
    let service = Service::start(&settings, Role::Run, recover, shutdown.clone())?;
    let handle = &service.handle;
    let place = (workspace.as_path(), bytes_max);
    let exit = match command {
        Command::Run(RunArguments { document, .. }) => {
            commands::run(handle, &document, place, signals::interrupted).await
        }
        Command::Plan { document, format } => {
            commands::plan(handle, &document, format, place).await
        }
        Command::List { limit, json } => commands::list(handle, limit, json).await,
        Command::Result { id, wait, summary, markdown } => {
            let view = match (summary, markdown) {
                (_, true) => View::Markdown,
                (true, false) => View::Summary,
                (false, false) => View::Full,
            };
            let wait = Duration::from_secs(wait.min(WAIT_SECONDS_MAX));
            commands::result(handle, id, wait, view).await
        }
        Command::Trace { id, task, kinds } => {
            commands::trace(handle, id, task.as_deref(), &kinds).await
        }
        Command::Cancel { ids, reason } => commands::cancel(handle, ids, reason).await,
        Command::Approve(arguments) => commands::approve(handle, arguments).await,
        Command::Pause(arguments) => commands::pause(handle, ControlAction::Pause, arguments).await,
        Command::Resume(arguments) => {
            commands::pause(handle, ControlAction::Resume, arguments).await
        }
        Command::Workers(arguments) => commands::workers(handle, arguments).await,
        Command::Budget(arguments) => commands::budget(handle, arguments).await,
        Command::Steer(arguments) => commands::steer(handle, arguments, place).await,
        Command::Retry(ids) => commands::retry(handle, ids, signals::interrupted()).await,
        Command::Prune(arguments) => commands::prune(handle, arguments, retention).await,
        Command::Serve(_)
        | Command::Schema { .. }
        | Command::Config { .. }
        | Command::Doctor
        | Command::AgentGuard => Ok(Exit::Success),
    };
    shutdown.cancel();
    service.stop().await;
    Ok(exit?)
}

/// Ends the process later, at the place that a test named; no release looks for one.
fn arm_failpoint() -> anyhow::Result<()> {
    let Some(wish) = Environment::failpoint() else { return Ok(()) };
    anyhow::ensure!(Failpoint::arm(&wish), "there is no failpoint {wish:?}");
    Ok(())
}

fn flags(command: &Command, settings: SettingsArguments) -> Flags {
    let SettingsArguments { state_dir, trace_dir, workspace: workspaces, config } = settings;
    let base = Flags { state_dir, trace_dir, workspaces, config, ..Flags::default() };
    match command {
        Command::Serve(_) => Flags { role: Role::Serve, ..base },
        Command::Run(it) => Flags {
            role: Role::Run,
            max_workers: it.max_workers,
            timeout_seconds: it.timeout_seconds,
            enable_context: it.enable_context.then_some(true),
            ..base
        },
        Command::Plan { .. }
        | Command::List { .. }
        | Command::Result { .. }
        | Command::Trace { .. }
        | Command::Cancel { .. }
        | Command::Approve(_)
        | Command::Pause(_)
        | Command::Resume(_)
        | Command::Workers(_)
        | Command::Budget(_)
        | Command::Steer(_)
        | Command::Retry(_)
        | Command::Prune(_)
        | Command::Schema { .. }
        | Command::Config { .. }
        | Command::Doctor
        | Command::AgentGuard => base,
    }
}

fn schemas() -> BTreeMap<String, serde_json::Value> {
    let pairs = mcp::schemas().into_iter().flat_map(|it| {
        [(format!("{}.input", it.name), it.input), (format!("{}.output", it.name), it.output)]
    });
    pairs.collect()
}

/// Half of the machine is left to the agents, and to the threads of the store: an answer that needs
/// no second thread of the runtime is there sooner than one that is handed from one to the other.
fn tokio_runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    let n_cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(n_cores.div_ceil(2))
        .enable_all()
        .build()
        .context("failed to start the async runtime")
}
