//! One agent that is a program: an attempt is one run of it.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use futures::future::BoxFuture;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tokio::{sync::OnceCell, time::Instant};
use uuid::Uuid;

use super::{
    arguments::{OutputSchema, argv, place_prompt},
    decode::{Decode, Event, Reply, decoder},
    memory::MemoryGate,
    proc::mebibytes,
    process::{Ended, Limits, Run, Variables},
    prompt::prompt,
    settings::{CommandHost, CommandSetting},
    worktree::{Home, Worktree},
};
use crate::{
    agents::call::Traced,
    model::{AgentEvent, AgentName, Failure, FailureCode, Millis, SpanId, Timestamp, UpstreamCall},
    ports::{AgentBackend, AttemptCall, EventLog, UpstreamWish},
};

/// What stands in traces where an upstream's name would.
const UPSTREAM: &str = "command";

/// An agent whose program was found.
#[derive(Debug)]
pub(super) struct CommandAgent {
    parts: Parts,
    lane: String,
    binding: String,
}

/// What such an agent is made of.
#[derive(Debug)]
pub(super) struct Parts {
    /// The program's own path.
    pub(super) path: String,
    pub(super) schema: Option<OutputSchema>,
    pub(super) setting: CommandSetting,
    pub(super) host: CommandHost,
    pub(super) memory: Arc<MemoryGate>,
    /// Where worktrees go, once one is needed.
    pub(super) worktrees: Arc<OnceCell<Home>>,
}

/// Notes what a program shows, as far as there is room for it.
struct Notes<'a> {
    agent: &'a CommandAgent,
    call: &'a AttemptCall,
    n_events: usize,
}

impl CommandAgent {
    pub(super) fn new(agent: &AgentName, parts: Parts) -> Self {
        let lane = format!("{}/{agent}", parts.setting.program.name());
        let mut binding = format!("{lane}\n{}", hex(parts.described()));
        if parts.setting.worktree {
            // What it starts from is not in its input, so no result is as good as another.
            binding.push_str(&Uuid::new_v4().to_string());
        }
        Self { parts, lane, binding }
    }

    async fn attempt(&self, call: AttemptCall) -> Result<Value, Failure> {
        let limits =
            Limits { cancelled: call.cancelled.clone(), deadline: Instant::now() + call.timeout };
        let setting = &self.parts.setting;
        let mut argv = argv(setting, &self.parts.path, self.parts.schema.as_ref());
        let input = place_prompt(setting.prompt, prompt(&call)?, &mut argv)?;
        let needed = mebibytes(setting.memory_mb);
        let room = tokio::select! {
            biased;
            room = self.parts.memory.enter(needed, || call.heartbeat.beat()) => room,
            failure = limits.over() => return Err(no_room(failure, setting.memory_mb)),
        };
        let worktree = tokio::select! {
            biased;
            worktree = self.worktree(&call) => worktree?,
            failure = limits.over() => return Err(failure),
        };
        let dir = worktree.as_ref().map_or(setting.dir.as_path(), Worktree::dir).to_owned();
        let traced = Traced::new(&call);
        let run = Run {
            guard: &self.parts.host.guard,
            argv,
            writable: setting.confine.then(|| self.writable(&dir)),
            dir,
            variables: self.variables(&call, &traced),
            input,
        };
        let noted = (&call, traced.span_id);
        let result = self.run_program(run, noted, &limits, |it| room.occupy(it)).await;
        let Some(worktree) = worktree else { return result };
        let result = match result {
            Ok(output) => tokio::select! {
                biased;
                output = worktree.with_changes(output) => output,
                failure = limits.over() => Err(failure),
            },
            Err(failure) => Err(failure),
        };
        worktree.remove().await;
        result
    }

    /// Where a confined program may write: where it runs, temporary files, devices, the objects of
    /// the repository that its worktree belongs to, and what the settings name.
    fn writable(&self, dir: &Path) -> Vec<PathBuf> {
        let setting = &self.parts.setting;
        let temporary = setting.variables.0.iter().find(|it| it.0 == "TMPDIR");
        let temporary = temporary.map_or_else(|| "/tmp".into(), |it| PathBuf::from(&it.1));
        let mut writable = vec![dir.to_owned(), temporary, "/dev".into()];
        if setting.worktree {
            writable.push(setting.dir.join(".git"));
        }
        writable.extend(setting.writable.iter().cloned());
        writable
    }

    /// A worktree for this attempt, where the settings want one.
    async fn worktree(&self, call: &AttemptCall) -> Result<Option<Worktree>, Failure> {
        let Parts { setting, host, worktrees, .. } = &self.parts;
        if !setting.worktree {
            return Ok(None);
        }
        let open = async || Home::open(&host.state_dir.join("worktrees"));
        let home = worktrees.get_or_try_init(open).await.map_err(|it| {
            Failure::new(FailureCode::AgentError, format!("failed to make worktrees: {it}"))
        })?;
        let made = Worktree::make(home, &setting.dir, &setting.variables, &call.upstream);
        made.await.map(Some)
    }

    /// Runs the program and reads what it wrote; the run is noted like a call.
    async fn run_program(
        &self,
        run: Run<'_>,
        (call, span_id): (&AttemptCall, Option<SpanId>),
        limits: &Limits,
        at_start: impl FnOnce(u32),
    ) -> Result<Value, Failure> {
        let setting = &self.parts.setting;
        let (at, request_bytes) = (self.now(), run.input.len() as u64);
        let mut decoder = decoder(setting.program, setting.output, self.parts.schema.is_some());
        let mut notes = Notes { agent: self, call, n_events: 0 };
        let ended = run.run(limits, at_start, |it| notes.line(it, &mut *decoder)).await;
        notes.finish();
        let ended_bytes = ended.as_ref().map_or(0, |it| it.stdout_bytes);
        let Reply { result, usage } = reply(ended, decoder);
        let record = UpstreamCall {
            upstream: UPSTREAM.to_owned(),
            tool: setting.program.name().to_owned(),
            at: Timestamp(at),
            duration_ms: self.now().since(at).0,
            ok: result.is_ok(),
            error: result.as_ref().err().map(|it| it.message.to_string()),
            code: result.as_ref().err().map(|it| it.code),
            span_id,
            request_bytes,
            response_bytes: ended_bytes,
            usage,
        };
        if call.calls.send(record).is_err() {
            tracing::trace!(agent = self.lane, "nobody notes the run");
        }
        result
    }

    /// The variables of the settings, and where the program belongs.
    fn variables(&self, call: &AttemptCall, traced: &Traced) -> Variables {
        let mut variables = self.parts.setting.variables.0.clone();
        variables.extend(traced.variables());
        variables.extend(self.parts.host.belonging(call));
        Variables(variables)
    }

    fn now(&self) -> Millis {
        self.parts.host.clock.now()
    }
}

/// What a run means, however it ended. What was used until it was stopped is lost.
fn reply(ended: Result<Ended, Failure>, decoder: Box<dyn Decode>) -> Reply {
    match ended {
        Ok(ended) => decoder.finish(&ended),
        Err(failure) => Reply { result: Err(failure), usage: None },
    }
}

/// Says what was waited for, if the time is over.
fn no_room(failure: Failure, memory_mb: u64) -> Failure {
    if failure.code != FailureCode::Timeout {
        return failure;
    }
    let message = format!("no other program left it {memory_mb} MiB of memory in time");
    Failure::new(FailureCode::Timeout, message)
}

impl Parts {
    /// All that decides on what comes of an input, but for the program itself.
    fn described(&self) -> [u8; 32] {
        let mut setting = self.setting.clone();
        // How much memory it gets changes nothing about the result, and values stay secret.
        setting.memory_mb = 0;
        let argv = argv(&setting, &self.path, self.schema.as_ref());
        Sha256::digest(format!("{argv:?}\n{setting:?}").as_bytes()).into()
    }
}

impl Notes<'_> {
    fn line(&mut self, line: &[u8], decoder: &mut dyn Decode) {
        self.call.heartbeat.beat();
        let Some(event) = decoder.line(line) else { return };
        self.n_events += 1;
        // The last place is for saying how many there were more.
        if self.n_events < EventLog::EVENTS_MAX {
            self.note(event);
        }
    }

    fn finish(&self) {
        let n_more = self.n_events.saturating_sub(EventLog::EVENTS_MAX - 1);
        if n_more > 0 {
            let text = format!("{n_more} more events");
            self.note(Event { kind: "omitted".to_owned(), text });
        }
    }

    fn note(&self, Event { kind, text }: Event) {
        let at = Timestamp(self.agent.now());
        self.call.events.note(AgentEvent { at, kind, text });
    }
}

impl AgentBackend for CommandAgent {
    fn run(&self, call: AttemptCall) -> BoxFuture<'_, Result<Value, Failure>> {
        Box::pin(self.attempt(call))
    }

    fn lane(&self) -> &str {
        &self.lane
    }

    fn upstream_wish(&self) -> UpstreamWish {
        if self.parts.setting.worktree { UpstreamWish::All } else { UpstreamWish::Direct }
    }

    fn binding(&self) -> String {
        self.binding.clone()
    }
}

fn hex(bytes: [u8; 32]) -> String {
    let (high, low) = bytes.split_at(16);
    let number = |half: &[u8]| half.iter().fold(0_u128, |sum, it| (sum << 8) | u128::from(*it));
    format!("{:032x}{:032x}", number(high), number(low))
}

#[cfg(test)]
mod tests {
    use super::{
        super::{
            GuardProgram, Program,
            memory::{Memory, SystemMemory},
            testing::{call, setting},
        },
        *,
    };
    use crate::upstream::testing::StillClock;

    fn agent(change: impl FnOnce(&mut Parts)) -> CommandAgent {
        let host = CommandHost {
            guard: GuardProgram {
                program: PathBuf::from("/nowhere"),
                arguments: Vec::new(),
                open_files: None,
            },
            state_dir: "/state".into(),
            clock: Arc::new(StillClock::default()),
        };
        let memory = MemoryGate::new(Box::new(SystemMemory));
        let setting = setting(Program::Claude);
        let mut parts = Parts {
            path: "/bin/claude".into(),
            schema: None,
            setting,
            host,
            memory,
            worktrees: Arc::default(),
        };
        change(&mut parts);
        CommandAgent::new(&AgentName::new("writer"), parts)
    }

    #[test]
    fn the_binding_is_another_one_with_other_settings() {
        let usual = agent(|_| ()).binding();
        assert_eq!(usual, agent(|it| it.setting.memory_mb = 7).binding());
        for other in [
            agent(|it| it.path = "/usr/bin/claude".into()),
            agent(|it| it.setting.model = Some("small".into())),
            agent(|it| it.setting.dir = "/elsewhere".into()),
            agent(|it| it.setting.worktree = true),
            agent(|it| it.setting.argv = vec!["claude".into(), "--fast".into()]),
        ] {
            assert_ne!(usual, other.binding());
        }
        assert_eq!(agent(|_| ()).lane(), "claude/writer");
    }

    #[tokio::test]
    async fn a_guard_that_cannot_be_started_fails_the_attempt() {
        let failure = agent(|_| ()).run(call(&serde_json::json!({}))).await.unwrap_err();
        assert!(failure.message.starts_with("failed to start a guard"), "{}", failure.message);
    }

    /// There is none.
    struct NoMemory;

    impl Memory for NoMemory {
        fn available(&self) -> Option<u64> {
            Some(0)
        }

        fn used_by(&self, processes: &[u32]) -> Vec<u64> {
            vec![0; processes.len()]
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_for_memory_can_be_given_up_and_has_a_deadline() {
        let agent = agent(|it| it.memory = MemoryGate::new(Box::new(NoMemory)));
        let _other = agent.parts.memory.enter(1, || ()).await;
        let failure = agent.run(call(&serde_json::json!({}))).await.unwrap_err();
        assert_eq!(failure.code, FailureCode::Timeout);
        assert_eq!(&*failure.message, "no other program left it 250 MiB of memory in time");
        let call = call(&serde_json::json!({}));
        call.cancelled.cancel();
        assert_eq!(agent.run(call).await.unwrap_err().code, FailureCode::Cancelled);
    }
}
