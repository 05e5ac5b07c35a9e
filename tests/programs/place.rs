//! A directory with a stub in it, and the agent that the stub is.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{BufRead as _, BufReader, Read as _},
    os::unix::fs::PermissionsExt as _,
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use futures::future::BoxFuture;
use parallel_dispatch::{
    agents::command::{CommandHost, CommandSetting, Commands, GuardProgram, Program, Variables},
    model::{AgentEvent, AgentName, Attempt, DispatchId, Failure, Millis, TaskId, UpstreamCall},
    ports::{AgentBackend, AttemptCall, Clock, EventLog, Heartbeat},
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// The longest that anything in these tests may take.
const ANYTHING_MAX: Duration = Duration::from_secs(30);

/// Fails a test that would hang.
pub(crate) async fn within<F: Future>(future: F) -> F::Output {
    timeout(ANYTHING_MAX, Box::pin(future)).await.expect("this took longer than 30 s")
}

/// A directory, and the agent `writer` in it.
pub(crate) struct Place {
    pub(crate) dir: TempDir,
    pub(crate) setting: CommandSetting,
}

/// What an attempt leaves behind.
pub(crate) struct Done {
    pub(crate) result: Result<Value, Failure>,
    pub(crate) calls: Vec<UpstreamCall>,
    pub(crate) events: Vec<AgentEvent>,
}

/// What is heard from the stub and all that it starts.
pub(crate) struct Life {
    up: oneshot::Receiver<String>,
    gone: oneshot::Receiver<()>,
}

#[derive(Debug)]
struct StillClock;

impl Clock for StillClock {
    fn now(&self) -> Millis {
        Millis(1_000)
    }

    fn sleep_until(&self, _: Millis) -> BoxFuture<'static, ()> {
        Box::pin(std::future::pending())
    }
}

/// How many files programs may have open.
pub(crate) const OPEN_FILES: u64 = 77;

impl Place {
    /// A stub that is the text of a shell script; `$LIFE` names the pipe.
    pub(crate) fn shell(program: Program, script: &str) -> Self {
        Self::new(program, &format!("#!/bin/sh\nLIFE=\"$(dirname \"$0\")/life\"\n{script}"))
    }

    /// A stub that is the text of a Python script; `LIFE` names the pipe.
    pub(crate) fn python(program: Program, script: &str) -> Self {
        let head = "#!/usr/bin/env python3\nimport json, os, signal, subprocess, sys\n\
                    LIFE = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'life')\n";
        Self::new(program, &format!("{head}{script}"))
    }

    fn new(program: Program, stub: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("stub");
        fs::write(&path, stub).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        let passed_on = std::env::vars_os().filter(|it| it.0 == "PATH" || it.0 == "HOME");
        let name = |it: std::ffi::OsString| it.into_string().unwrap();
        let variables = Variables(passed_on.map(|it| (name(it.0), it.1)).collect());
        let setting = CommandSetting {
            argv: vec![path.to_str().unwrap().to_owned()],
            variables,
            memory_mb: 1,
            ..CommandSetting::new(program, dir.path().to_owned())
        };
        Self { dir, setting }
    }

    /// The agents of this place.
    pub(crate) fn commands(&self) -> Commands {
        let host = CommandHost {
            guard: GuardProgram {
                program: PathBuf::from(env!("CARGO_BIN_EXE_parallel-dispatch")),
                arguments: vec!["agent-guard".to_owned()],
                open_files: Some(OPEN_FILES),
            },
            state_dir: self.dir.path().join("state"),
            clock: Arc::new(StillClock),
        };
        Commands::new(host, BTreeMap::from([(AgentName::new("writer"), self.setting.clone())]))
    }

    /// The agent.
    pub(crate) fn agent(&self) -> Arc<dyn AgentBackend> {
        self.commands().bind(&AgentName::new("writer")).unwrap().unwrap().backend
    }

    /// One attempt, from its start to its end.
    pub(crate) async fn attempt(&self, input: Value) -> Done {
        self.attempt_with(input, |_| ()).await
    }

    /// The same, of a call that was changed.
    pub(crate) async fn attempt_with(
        &self,
        input: Value,
        change: impl FnOnce(&mut AttemptCall),
    ) -> Done {
        let (mut call, mut log, mut shown) = call(input);
        change(&mut call);
        let result = within(self.agent().run(call)).await;
        let calls = std::iter::from_fn(|| log.try_recv().ok()).collect();
        let events = std::iter::from_fn(|| shown.try_recv().ok()).collect();
        Done { result, calls, events }
    }

    /// Makes the pipe and listens at it.
    pub(crate) fn life(&self) -> Life {
        let path = self.dir.path().join("life");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &path,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RWXU,
            0,
        )
        .unwrap();
        let (say_up, up) = oneshot::channel();
        let (say_gone, gone) = oneshot::channel();
        std::thread::spawn(move || {
            let mut pipe = BufReader::new(File::open(path).unwrap());
            let mut line = String::new();
            pipe.read_line(&mut line).unwrap();
            say_up.send(line.trim().to_owned()).ok();
            pipe.read_to_end(&mut Vec::new()).unwrap();
            say_gone.send(()).ok();
        });
        Life { up, gone }
    }
}

impl Life {
    /// Waits for the stub's first line.
    pub(crate) async fn up(&mut self) -> String {
        within(&mut self.up).await.unwrap()
    }

    /// Waits until nothing of it is left.
    pub(crate) async fn gone(self) {
        within(self.gone).await.unwrap();
    }
}

/// An attempt, and where its calls and events come out.
pub(crate) fn call(
    input: Value,
) -> (AttemptCall, mpsc::UnboundedReceiver<UpstreamCall>, mpsc::Receiver<AgentEvent>) {
    let (calls, log) = mpsc::unbounded_channel();
    let (events, shown) = EventLog::kept();
    let Value::Object(input) = input else { panic!("an input is an object") };
    let call = AttemptCall {
        dispatch_id: DispatchId::new(Uuid::nil()),
        task_id: TaskId::new("t-1"),
        attempt: Attempt(1),
        agent: AgentName::new("writer"),
        description: "write it".into(),
        input,
        upstream: Vec::new(),
        timeout: ANYTHING_MAX,
        cancelled: CancellationToken::new(),
        calls,
        heartbeat: Heartbeat::default(),
        events,
        trace: None,
    };
    (call, log, shown)
}

/// No input.
pub(crate) fn nothing() -> Value {
    json!({})
}
