//! A place of its own for each test: workspace, state directory, home, and the program in them.

use std::{
    fs,
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    pin::Pin,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    process::{Child, ChildStderr, ChildStdin, ChildStdout, Command},
    sync::watch,
    time::timeout,
};

use crate::standin::StandIn;

/// The longest that anything in these tests may take.
const ANYTHING_MAX: Duration = Duration::from_secs(30);
/// Where the program looks for an Archon unless told otherwise.
const ARCHON_PORT: u16 = 8051;

/// Fails a test that would hang.
pub(crate) fn within<F: Future>(future: F) -> Pin<Box<impl Future<Output = F::Output>>> {
    Box::pin(async { timeout(ANYTHING_MAX, future).await.expect("this took longer than 30 s") })
}

/// Directories that end with the test.
#[derive(Debug)]
pub(crate) struct TestSpace {
    /// Canonical, for documents name absolute paths.
    root: PathBuf,
    archon_url: Option<String>,
    _dir: TempDir,
}

/// What a program that has ended leaves behind.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// A program that runs; it is killed when this is dropped.
#[derive(Debug)]
pub(crate) struct Program {
    child: Child,
    heard: watch::Receiver<Heard>,
}

/// What came on standard error so far.
#[derive(Debug, Default)]
struct Heard {
    text: String,
    has_ended: bool,
}

impl TestSpace {
    /// A space in which a stand-in is the Archon.
    pub(crate) fn with(standin: &StandIn) -> Self {
        let space = Self::new(Some(standin.url.clone()));
        let config = "agents: {gate: {tool: gate}, failing: {tool: failing}, big: {tool: big}, \
                      costly: {tool: costly}}\n";
        fs::write(space.config_file(), config).unwrap();
        space
    }

    /// A space in which the embedded Archon serves.
    pub(crate) fn embedded() -> Self {
        let local = |host: [u8; 4]| SocketAddr::from((host, ARCHON_PORT));
        let here = TcpStream::connect_timeout(&local([127, 0, 0, 1]), Duration::from_secs(1));
        assert!(
            here.is_err(),
            "something listens on port {ARCHON_PORT} of this machine, where the program would \
             take it for an Archon: stop it, then run this test again"
        );
        let space = Self::new(None);
        fs::write(space.config_file(), "").unwrap();
        space
    }

    /// A space for commands that reach no Archon.
    pub(crate) fn offline() -> Self {
        let space = Self::new(Some("http://127.0.0.1:9/mcp".to_owned()));
        fs::write(space.config_file(), "").unwrap();
        space
    }

    fn new(archon_url: Option<String>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        for name in ["home", "project"] {
            fs::create_dir(root.join(name)).unwrap();
        }
        Self { root, archon_url, _dir: dir }
    }

    pub(crate) fn workspace(&self) -> PathBuf {
        self.root.join("project")
    }

    /// An absolute path in the workspace, as documents name it.
    pub(crate) fn path(&self, name: &str) -> String {
        self.workspace().join(name).to_str().unwrap().to_owned()
    }

    /// Brings the repository's examples into the workspace.
    pub(crate) fn copy_examples(&self) {
        copy_tree(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/examples")), &self.workspace());
    }

    /// The program with arguments, in the workspace, with an environment of its own.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_parallel-dispatch"));
        command.args(args).args(["--config", self.config_file().to_str().unwrap()]);
        command.current_dir(self.workspace()).env_clear().envs(self.environment());
        command.kill_on_drop(true).stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// What [`Self::command`] runs in, for those who start the program themselves.
    pub(crate) fn environment(&self) -> Vec<(&'static str, String)> {
        let path = |name: &str| self.root.join(name).to_str().unwrap().to_owned();
        let mut environment = vec![
            ("PATH", "/usr/bin:/bin".to_owned()),
            ("HOME", path("home")),
            ("PARALLEL_DISPATCH_STATE_DIR", path("state")),
        ];
        environment.extend(self.archon_url.clone().map(|it| ("ARCHON_MCP_URL", it)));
        environment
    }

    /// Runs the program to its end, with `input` on its standard input.
    pub(crate) async fn run(&self, args: &[&str], input: &str) -> Ended {
        let mut command = self.command(args);
        let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let written = async move {
            // A program that refuses its arguments reads nothing.
            stdin.write_all(input.as_bytes()).await.ok();
        };
        let (output, ()) = within(async { tokio::join!(child.wait_with_output(), written) }).await;
        let output = output.unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Ended {
            code: output.status.code(),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
        }
    }

    /// Starts the program, with pipes to its standard streams.
    pub(crate) fn start(&self, args: &[&str]) -> Program {
        Program::new(self.command(args).stdin(Stdio::piped()).spawn().unwrap())
    }

    /// The same, and it crashes where `wish` says; nowhere if that is empty.
    pub(crate) fn start_armed(&self, args: &[&str], wish: &str) -> Program {
        let mut command = self.command(args);
        if !wish.is_empty() {
            command.env("PARALLEL_DISPATCH_FAILPOINT", wish);
        }
        Program::new(command.stdin(Stdio::piped()).spawn().unwrap())
    }

    /// Starts a server on a free port; answers where it is as well.
    pub(crate) async fn serve_http(&self) -> (Program, String) {
        let mut program = self.start(&["serve", "--http", "127.0.0.1:0"]);
        let line = program.line_with("serving /mcp").await;
        let address = line.split("address=").nth(1).unwrap().trim();
        let address: SocketAddr = address.parse().unwrap();
        (program, format!("http://{address}"))
    }

    pub(crate) fn config_file(&self) -> PathBuf {
        self.root.join("config.yaml")
    }
}

impl Ended {
    /// Standard output, which must be one JSON value and nothing else.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error} in {self:?}"))
    }
}

impl Program {
    /// Watches over a program with pipes to its output streams.
    pub(crate) fn new(mut child: Child) -> Self {
        let (say, heard) = watch::channel(Heard::default());
        let stderr = child.stderr.take().unwrap();
        tokio::spawn(listen(stderr, say));
        Self { child, heard }
    }

    /// A program to whose standard error nobody listens as long as the pipe is only held.
    pub(crate) fn unheard(mut child: Child) -> (Self, ChildStderr) {
        let stderr = child.stderr.take().unwrap();
        (Self { child, heard: watch::channel(Heard::default()).1 }, stderr)
    }

    /// The streams that carry the protocol.
    pub(crate) fn streams(&mut self) -> (ChildStdout, ChildStdin) {
        (self.child.stdout.take().unwrap(), self.child.stdin.take().unwrap())
    }

    /// The first line on standard error that has `part`, as soon as it is there.
    pub(crate) async fn line_with(&mut self, part: &str) -> String {
        let find =
            |heard: &Heard| heard.text.lines().find(|it| it.contains(part)).map(str::to_owned);
        let heard = within(self.heard.wait_for(|it| find(it).is_some() || it.has_ended)).await;
        let heard = heard.unwrap();
        find(&heard).unwrap_or_else(|| panic!("it never said {part:?}, but:\n{}", heard.text))
    }

    /// What the system says in the line `field` of its memory, in KiB.
    #[cfg(target_os = "linux")]
    pub(crate) fn resident_kib(&self, field: &str) -> u64 {
        let id = self.child.id().unwrap();
        let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap();
        let line = status.lines().find(|it| it.starts_with(field)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id().unwrap()).unwrap();
        kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
    }

    /// Ends it at once, as a crash of the machine would.
    pub(crate) async fn kill(mut self) {
        within(self.child.kill()).await.unwrap();
    }

    /// Waits for its end, at most `longest`.
    pub(crate) async fn ended(&mut self, longest: Duration) -> ExitStatus {
        let ended = timeout(longest, self.child.wait()).await;
        ended.unwrap_or_else(|_| panic!("it still runs:\n{}", self.heard.borrow().text)).unwrap()
    }

    /// Waits for its end and answers all that it said.
    pub(crate) async fn output(mut self) -> Ended {
        let mut stdout = String::new();
        let mut pipe = self.child.stdout.take().unwrap();
        within(pipe.read_to_string(&mut stdout)).await.unwrap();
        let status = self.ended(ANYTHING_MAX).await;
        let heard = within(self.heard.wait_for(|it| it.has_ended)).await.unwrap();
        Ended { code: status.code(), stdout, stderr: heard.text.clone() }
    }
}

async fn listen(stderr: impl AsyncRead + Unpin, say: watch::Sender<Heard>) {
    let mut lines = BufReader::new(stderr).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        say.send_modify(|it| {
            it.text.push_str(&line);
            it.text.push('\n');
        });
    }
    say.send_modify(|it| it.has_ended = true);
}

/// A document of one task for each row: id, agent, and the ids that it depends on.
pub(crate) fn document(space: &TestSpace, rows: &[(&str, &str, &[&str])]) -> Value {
    let task = |&(id, agent, dependencies): &(&str, &str, &[&str])| {
        let input = match agent {
            "coder" => json!({
                "contract_description": "Effect node that stores users",
                "node_type": "Effect",
                "output_path": space.path(&format!("generated/{id}.py")),
            }),
            "debug" => json!({ "problem_description": "it fails" }),
            _ => json!({}),
        };
        json!({
            "task_id": id,
            "agent": agent,
            "description": format!("do {id}"),
            "input_data": input,
            "dependencies": dependencies,
        })
    };
    json!({ "tasks": rows.iter().map(task).collect::<Vec<_>>() })
}

/// What `select` finds in each task of a result, by id.
pub(crate) fn by_task(result: &Value, field: &str) -> Vec<(String, Value)> {
    let tasks = result["results"].as_array().unwrap();
    tasks.iter().map(|it| (it["task_id"].as_str().unwrap().into(), it[field].clone())).collect()
}

fn copy_tree(from: &Path, into: &Path) {
    let to = into.join(from.file_name().unwrap());
    fs::create_dir(&to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            copy_tree(&path, &to);
        } else {
            fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
        }
    }
}
