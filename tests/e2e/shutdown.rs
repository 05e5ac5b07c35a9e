//! How a server ends when it is told to, and how its work goes on afterwards.

use std::time::Duration;

use parallel_dispatch::model::DispatchId;
use rmcp::model::ProtocolVersion;
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    process::ChildStdin,
    task::JoinHandle,
};

use crate::{
    client::Face,
    space::{Program, TestSpace, document, within},
    standin::StandIn,
};

/// The longest that a server may take after a signal, and after its input has ended.
const SIGNAL_MAX: Duration = Duration::from_secs(10);
const INPUT_END_MAX: Duration = Duration::from_secs(5);

/// Whether the client waits for its dispatch when the end comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Caller {
    Waits,
    CameBack,
}

/// A server on standard streams in which a task runs.
struct Talk {
    program: Program,
    stdin: ChildStdin,
    /// All that it says until its end.
    said: JoinHandle<String>,
}

async fn stdio(space: &TestSpace, standin: &StandIn, caller: Caller) -> Talk {
    let mut program = space.start(&["serve"]);
    let (mut stdout, mut stdin) = program.streams();
    let said = tokio::spawn(async move {
        let mut said = String::new();
        stdout.read_to_string(&mut said).await.unwrap();
        said
    });
    let mut arguments = document(space, &rows());
    arguments["wait"] = json!(caller == Caller::Waits);
    let messages = [
        json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {
            "protocolVersion": "2025-11-25",
            "capabilities": {},
            "clientInfo": {"name": "test", "version": "1"},
        }}),
        json!({"jsonrpc": "2.0", "method": "notifications/initialized"}),
        json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {
            "name": "dispatch", "arguments": arguments,
        }}),
    ];
    for message in messages {
        stdin.write_all(format!("{message}\n").as_bytes()).await.unwrap();
    }
    standin.at_gate(1).await;
    Talk { program, stdin, said }
}

fn rows() -> [(&'static str, &'static str, &'static [&'static str]); 3] {
    [("done", "coder", &[]), ("held", "gate", &["done"]), ("after", "coder", &["held"])]
}

/// The next start finishes what the last one was about.
async fn check_that_it_goes_on(space: &TestSpace, standin: &StandIn) {
    let key = standin.calls_of("held")[0].key.clone();
    let id: DispatchId = key.split('/').next().unwrap().parse().unwrap();
    assert_eq!(space.run(&["result", &id.to_string()], "").await.json()["status"], "running");
    let client = Face::Http.open(space, &ProtocolVersion::V_2025_11_25).await;
    standin.at_gate(2).await;
    standin.release(2);
    let wait = json!({ "dispatch_id": id, "wait_ms": 20_000 });
    let result: Value = client.ask("get_result", wait).await;
    assert_eq!(result["status"], "success", "{result}");
    let keys: Vec<_> = standin.calls_of("held").into_iter().map(|it| it.key).collect();
    assert_eq!(keys, [key.clone(), key]);
    assert_eq!((standin.calls_of("done").len(), standin.calls_of("after").len()), (1, 1));
}

#[tokio::test]
async fn e2e_signals_end_a_stdio_server() {
    for signal in [Signal::INT, Signal::TERM] {
        for caller in [Caller::CameBack, Caller::Waits] {
            let standin = StandIn::start().await;
            let space = TestSpace::with(&standin);
            let mut talk = stdio(&space, &standin, caller).await;
            talk.program.signal(signal);
            let ended = talk.program.ended(SIGNAL_MAX).await;
            assert_eq!(ended.code(), Some(0), "{signal:?} {caller:?}");
            drop(talk.stdin);
            let said = within(talk.said).await.unwrap();
            assert!(said.contains(r#""status":"running""#), "{caller:?} hears the id: {said}");
            check_that_it_goes_on(&space, &standin).await;
        }
    }
}

#[tokio::test]
async fn e2e_the_end_of_input_ends_a_stdio_server() {
    for caller in [Caller::CameBack, Caller::Waits] {
        let standin = StandIn::start().await;
        let space = TestSpace::with(&standin);
        let mut talk = stdio(&space, &standin, caller).await;
        drop(talk.stdin);
        assert_eq!(talk.program.ended(INPUT_END_MAX).await.code(), Some(0), "{caller:?}");
        let said = within(talk.said).await.unwrap();
        assert!(said.contains(r#""status":"running""#), "{caller:?} hears the id: {said}");
        check_that_it_goes_on(&space, &standin).await;
    }
}

#[tokio::test]
async fn e2e_signals_end_an_http_server() {
    for signal in [Signal::INT, Signal::TERM] {
        let standin = StandIn::start().await;
        let space = TestSpace::with(&standin);
        let client = Face::Http.open(&space, &ProtocolVersion::V_2025_11_25).await;
        let _waiting = client.begin("dispatch", document(&space, &rows())).await;
        standin.at_gate(1).await;
        let mut program = client.into_program();
        program.signal(signal);
        assert_eq!(program.ended(SIGNAL_MAX).await.code(), Some(0), "{signal:?}");
        check_that_it_goes_on(&space, &standin).await;
    }
}

#[tokio::test]
async fn e2e_an_idle_server_ends_at_once() {
    let standin = StandIn::start().await;
    let space = TestSpace::with(&standin);
    let ended = space.run(&["serve"], "").await;
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(0), ""), "{ended:?}");
    let (mut program, _) = within(space.serve_http()).await;
    program.signal(Signal::INT);
    assert_eq!(program.ended(SIGNAL_MAX).await.code(), Some(0));
}

#[tokio::test]
async fn e2e_a_server_whose_place_is_taken_takes_up_no_work() {
    let space = TestSpace::offline();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let ended = space.run(&["serve", "--http", &address], "").await;
    assert_eq!(ended.code, Some(2), "{ended:?}");
    assert!(ended.stderr.contains(&address), "{ended:?}");
    let state = space.environment().into_iter().find(|it| it.0.ends_with("STATE_DIR")).unwrap().1;
    assert!(!std::path::Path::new(&state).exists(), "the store was opened");
}
