//! Runs the programs of recipes' steps: a text in, a text out.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::time::Instant;

use super::{
    decode::exited,
    directory::find,
    process::{Ended, Limits, Run, Variables},
    settings::CommandHost,
};
use crate::{
    agents::call::{Ending, Ran, Traced, error_of},
    model::{Failure, FailureCode, UpstreamCall, text},
    ports::{AttemptCall, Heartbeat},
};

/// The longest text that a step takes from a program, in bytes: what a template may make, too.
const TEXT_BYTES_MAX: usize = 8 << 20;

/// How programs are run for steps of recipes.
#[derive(Clone, Debug)]
pub struct CommandRunner {
    /// What all programs share.
    pub host: CommandHost,
    /// Where they run unless the recipe says.
    pub dir: PathBuf,
    /// The variables that a program gets: those of these names, and a few that all get.
    pub passed_on: fn(&[String]) -> Vec<(String, OsString)>,
}

/// A program as a recipe names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::agents) struct StepCommand {
    /// The program and its arguments, as they are.
    pub(in crate::agents) argv: Vec<String>,
    /// Names of variables that it gets besides the usual ones.
    pub(in crate::agents) env: Vec<String>,
    pub(in crate::agents) dir: Option<PathBuf>,
    /// How long it may take, if that is less than the attempt has.
    pub(in crate::agents) timeout: Option<Duration>,
}

/// The output so far, and what is told while it grows.
struct Output<'a> {
    bytes: Vec<u8>,
    is_too_long: bool,
    limits: &'a Limits,
    heartbeat: &'a Heartbeat,
}

impl CommandRunner {
    /// Looks for the program; an error says which one is not to be found, and where.
    pub(in crate::agents) fn look(&self, command: &StepCommand) -> Result<(), String> {
        self.find(command).map(|_| ())
    }

    /// What a run depends on besides what the recipe says: which program it is, and where it runs.
    pub(in crate::agents) fn describe(&self, command: &StepCommand) -> String {
        let found = self.find(command).map_or_else(|_| String::new(), |it| it.0);
        format!("{found}\n{}", self.dir_of(command).display())
    }

    fn dir_of<'a>(&'a self, command: &'a StepCommand) -> &'a Path {
        command.dir.as_ref().unwrap_or(&self.dir)
    }

    fn find(&self, command: &StepCommand) -> Result<(String, Variables), String> {
        let variables = Variables((self.passed_on)(&command.env));
        let program = find(command.program(), &variables).map_err(|place| {
            let place = text::cut(&place, 200);
            format!("the program {}, which is not installed: {place}", command.program())
        })?;
        Ok((program.to_string_lossy().into_owned(), variables))
    }

    /// Runs the program with `input` on its standard input; answers its standard output as it is.
    /// The run is noted like a call.
    pub(in crate::agents) async fn run(
        &self,
        command: &StepCommand,
        input: String,
        call: &AttemptCall,
        until: Instant,
    ) -> Result<String, Failure> {
        let traced = Traced::new(call);
        let ran = Ran {
            upstream: UpstreamCall::COMMAND,
            tool: command.name(),
            at: self.host.clock.now(),
            span_id: traced.span_id,
            request_bytes: input.len() as u64,
        };
        let (result, response_bytes) =
            self.run_unnoted(command, input, (call, &traced), until).await;
        let (at, error) = (self.host.clock.now(), error_of(&result));
        ran.end(&call.calls, Ending { at, error, response_bytes, usage: None });
        result
    }

    async fn run_unnoted(
        &self,
        command: &StepCommand,
        input: String,
        (call, traced): (&AttemptCall, &Traced),
        until: Instant,
    ) -> (Result<String, Failure>, u64) {
        let (program, mut variables) = match self.find(command) {
            Ok(found) => found,
            Err(said) => {
                let message = text::escape(&format!("it runs {said}"));
                return (Err(Failure::new(FailureCode::AgentError, message)), 0);
            }
        };
        variables.0.extend(self.host.belonging(call));
        variables.0.extend(traced.variables());
        let own = command.timeout.map_or(until, |it| until.min(Instant::now() + it));
        let limits = Limits { cancelled: call.cancelled.child_token(), deadline: own };
        let run = Run {
            guard: &self.host.guard,
            argv: std::iter::once(program).chain(command.argv.iter().skip(1).cloned()).collect(),
            writable: None,
            dir: self.dir_of(command).to_owned(),
            variables,
            input,
        };
        let mut output = Output::new(&limits, &call.heartbeat);
        let ended = run.run(&limits, |_| (), |line| output.line(line)).await;
        let n_bytes = ended.as_ref().map_or(0, |it| it.stdout_bytes);
        (output.text(ended), n_bytes)
    }
}

impl StepCommand {
    fn program(&self) -> &str {
        self.argv.first().map_or("", String::as_str)
    }

    /// The program without the place where it stands.
    fn name(&self) -> String {
        let name = Path::new(self.program()).file_name();
        name.map_or_else(String::new, |it| it.to_string_lossy().into_owned())
    }
}

impl<'a> Output<'a> {
    fn new(limits: &'a Limits, heartbeat: &'a Heartbeat) -> Self {
        Self { bytes: Vec::new(), is_too_long: false, limits, heartbeat }
    }

    fn line(&mut self, line: &[u8]) {
        self.heartbeat.beat();
        if self.bytes.len() + line.len() >= TEXT_BYTES_MAX {
            self.is_too_long = true;
            // Who writes for ever need not be listened to.
            self.limits.cancelled.cancel();
            return;
        }
        self.bytes.extend_from_slice(line);
        self.bytes.push(b'\n');
    }

    fn text(mut self, ended: Result<Ended, Failure>) -> Result<String, Failure> {
        if self.is_too_long {
            let message = format!("the program wrote more than {} MiB", TEXT_BYTES_MAX >> 20);
            return Err(Failure::new(FailureCode::UpstreamLimit, message));
        }
        let ended = ended?;
        if ended.code != 0 {
            return Err(exited(&ended));
        }
        // The last line had no end.
        if self.bytes.len() as u64 > ended.stdout_bytes {
            self.bytes.pop();
        }
        Ok(String::from_utf8_lossy(&self.bytes).into_owned())
    }
}

#[cfg(test)]
mod tests {
    use tokio_util::sync::CancellationToken;

    use super::*;

    fn read(written: &str, code: i32) -> Result<String, String> {
        let limits = Limits { cancelled: CancellationToken::new(), deadline: Instant::now() };
        let heartbeat = Heartbeat::default();
        let mut output = Output::new(&limits, &heartbeat);
        written.lines().for_each(|it| output.line(it.as_bytes()));
        let (stderr, stdout_bytes) = ("it broke\n".to_owned(), written.len() as u64);
        let text = output.text(Ok(Ended { code, stderr, stdout_bytes }));
        assert_eq!(limits.cancelled.is_cancelled(), written.len() >= TEXT_BYTES_MAX);
        text.map_err(|it| format!("{}: {}", it.code.as_str(), it.message))
    }

    #[test]
    fn the_output_is_the_text_as_it_is() {
        for text in ["", "\n", "a", "a\n", "  a\n\n b\n\n"] {
            assert_eq!(read(text, 0).as_deref(), Ok(text));
        }
        let failure = "agent_error: the program ended with exit code 3: it broke";
        assert_eq!(read("a", 3).unwrap_err(), failure);
    }

    #[test]
    fn who_writes_too_much_is_stopped() {
        let much = "x\n".repeat(TEXT_BYTES_MAX / 2 + 1);
        let failure = "upstream_limit: the program wrote more than 8 MiB";
        assert_eq!(read(&much, 0).unwrap_err(), failure);
    }
}
