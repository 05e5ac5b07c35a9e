//! Raw lines over the stdio transport.

use std::sync::Arc;

use parallel_dispatch::transport::{MESSAGE_BYTES_MAX, TransportError, serve_lines};
use serde_json::{Value, json};
use tokio::{
    io::{
        AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, DuplexStream,
        ReadHalf, WriteHalf,
    },
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

use crate::{
    raw::{assert_refused, batch, call, cancel, initialize, initialized, modern, within, wrong},
    toy::{Strings, Toy},
};

struct Talk {
    reader: BufReader<ReadHalf<DuplexStream>>,
    writer: WriteHalf<DuplexStream>,
    strings: Arc<Strings>,
    shutdown: CancellationToken,
    serving: JoinHandle<Result<(), TransportError>>,
}

impl Talk {
    fn start() -> Self {
        let (theirs, ours) = tokio::io::duplex(64 * 1024);
        let (reader, writer) = tokio::io::split(ours);
        let (strings, shutdown) = (Arc::<Strings>::default(), CancellationToken::new());
        let toy = Toy(Arc::clone(&strings));
        let serving = tokio::spawn(serve_lines(toy, reader, writer, shutdown.clone()));
        let (reader, writer) = tokio::io::split(theirs);
        Self { reader: BufReader::new(reader), writer, strings, shutdown, serving }
    }

    async fn open() -> Self {
        Self::open_as("2025-11-25").await
    }

    async fn open_as(version: &str) -> Self {
        let mut talk = Self::start();
        talk.say(&initialize(version)).await;
        assert_eq!(talk.hear().await["result"]["protocolVersion"], version);
        talk.say(&initialized()).await;
        talk
    }

    async fn say(&mut self, message: &Value) {
        self.write(&format!("{message}\n")).await;
    }

    async fn write(&mut self, text: &str) {
        within(self.writer.write_all(text.as_bytes())).await.unwrap();
    }

    async fn hear(&mut self) -> Value {
        let mut line = String::new();
        within(self.reader.read_line(&mut line)).await.unwrap();
        serde_json::from_str(&line).unwrap()
    }

    /// What is said until the server ends, after it ended well.
    async fn hear_out(mut self) -> String {
        let mut rest = String::new();
        within(self.reader.read_to_string(&mut rest)).await.unwrap();
        within(self.serving).await.unwrap().unwrap();
        rest
    }
}

#[tokio::test]
async fn wrong_lines_are_answered_and_the_connection_lives_on() {
    for mut talk in [Talk::start(), Talk::open().await] {
        for (line, id, code, message) in wrong() {
            talk.write(&format!("{line}\r\n")).await;
            assert_refused(&talk.hear().await, &id, code, message);
        }
        talk.say(&json!({"jsonrpc": "2.0", "id": 9, "method": "ping"})).await;
        assert_eq!(talk.hear().await, json!({"jsonrpc": "2.0", "id": 9, "result": {}}));
    }
}

#[tokio::test]
async fn each_message_of_a_batch_is_answered() {
    let mut talk = Talk::open_as("2025-03-26").await;
    talk.say(&batch(true)).await;
    let mut answers = [talk.hear().await, talk.hear().await, talk.hear().await];
    answers.sort_by_key(|it| it["id"].as_i64());
    assert_eq!(answers[0]["result"]["content"][0]["text"], "hello");
    assert_eq!(answers[1], json!({"jsonrpc": "2.0", "id": 2, "result": {}}));
    assert_refused(&answers[2], &json!(3), -32600, "invalid_type: method must be a string");
    talk.say(&json!([])).await;
    assert_refused(&talk.hear().await, &Value::Null, -32600, "out_of_range: a batch has 1 to 64");
    talk.say(&json!([initialize("2025-03-26")])).await;
    assert_refused(&talk.hear().await, &json!(0), -32600, "invalid_enum: initialize must not");
    talk.say(&call(4, "echo")).await;
    assert_eq!(talk.hear().await["id"], 4);
}

#[tokio::test]
async fn an_unknown_method_is_not_found() {
    let mut talk = Talk::open().await;
    talk.say(&json!({"jsonrpc": "2.0", "id": 9, "method": "no/such"})).await;
    assert_eq!(talk.hear().await["error"]["code"], -32601);
}

#[tokio::test]
async fn a_line_over_the_cap_is_answered_with_its_id() {
    let mut talk = Talk::open().await;
    let long = "x".repeat(MESSAGE_BYTES_MAX);
    talk.write(&format!(r#"{{"params":{{"a":"{long}"}},"method":"ping","id":3}}"#)).await;
    talk.write("\n").await;
    assert_refused(&talk.hear().await, &json!(3), -32600, "request_too_large: ");
    talk.say(&call(4, "echo")).await;
    assert_eq!(talk.hear().await["result"]["content"][0]["text"], "hello");
}

#[tokio::test]
async fn faulty_notifications_and_blank_lines_are_not_answered() {
    let mut talk = Talk::open().await;
    talk.write("\n\r\n{\"jsonrpc\":\"2.0\",\"method\":\"x\",\"params\":{\"a\":1,\"a\":2}}\n").await;
    talk.write("{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"a\":1,\"a\":2}}\n").await;
    talk.say(&call(4, "echo")).await;
    assert_eq!(talk.hear().await["id"], 4);
}

#[tokio::test]
async fn a_client_may_give_up_on_discovery_and_initialize() {
    let mut talk = Talk::start();
    talk.say(&modern(json!({"jsonrpc": "2.0", "id": 0, "method": "server/discover"}))).await;
    assert_eq!(talk.hear().await["id"], 0);
    talk.say(&cancel(0)).await;
    talk.say(&json!({"jsonrpc": "2.0", "id": 8, "result": {}})).await;
    talk.say(&initialize("2025-06-18")).await;
    assert_eq!(talk.hear().await["result"]["protocolVersion"], "2025-06-18");
    talk.say(&call(1, "echo")).await;
    assert_eq!(talk.hear().await["id"], 1);
}

#[tokio::test]
async fn cancelling_reaches_the_handler_in_both_eras() {
    for is_modern in [true, false] {
        let mut talk = if is_modern { Talk::start() } else { Talk::open().await };
        let slow = call(5, "slow");
        talk.say(&if is_modern { modern(slow) } else { slow }).await;
        within(talk.strings.started.notified()).await;
        talk.say(&cancel(5)).await;
        within(talk.strings.cancelled.notified()).await;
        let next = call(6, "echo");
        talk.say(&if is_modern { modern(next) } else { next }).await;
        assert_eq!(talk.hear().await["id"], 6, "a cancelled call is not answered");
    }
}

#[tokio::test]
async fn progress_goes_before_its_result() {
    let mut talk = Talk::open().await;
    let mut slow = call(5, "slow");
    slow["params"]["_meta"] = json!({"progressToken": "t"});
    talk.say(&slow).await;
    assert_eq!(talk.hear().await["params"]["progressToken"], "t");
    talk.strings.release.notify_one();
    assert_eq!(talk.hear().await["result"]["content"][0]["text"], "released");
}

#[tokio::test]
async fn input_may_end_without_a_line_feed_and_is_still_answered() {
    let mut talk = Talk::open().await;
    talk.write(&call(4, "echo").to_string()).await;
    within(talk.writer.shutdown()).await.unwrap();
    assert!(talk.hear_out().await.contains("hello"));
}

#[tokio::test]
async fn input_that_ends_at_once_is_no_error() {
    let mut talk = Talk::start();
    within(talk.writer.shutdown()).await.unwrap();
    assert_eq!(talk.hear_out().await, "");
}

#[tokio::test(start_paused = true)]
async fn a_call_that_waits_is_cancelled_some_seconds_after_input_ended() {
    let mut talk = Talk::open().await;
    talk.say(&call(5, "slow")).await;
    within(talk.strings.started.notified()).await;
    talk.writer.shutdown().await.unwrap();
    let strings = Arc::clone(&talk.strings);
    talk.hear_out().await;
    within(strings.cancelled.notified()).await;
}

#[tokio::test(start_paused = true)]
async fn shutdown_ends_a_session_in_which_a_call_waits() {
    let mut talk = Talk::open().await;
    talk.say(&call(5, "slow")).await;
    within(talk.strings.started.notified()).await;
    talk.shutdown.cancel();
    let strings = Arc::clone(&talk.strings);
    talk.hear_out().await;
    within(strings.cancelled.notified()).await;
}

#[tokio::test]
async fn shutdown_lets_a_running_call_end() {
    let mut talk = Talk::open().await;
    talk.say(&call(5, "slow")).await;
    within(talk.strings.started.notified()).await;
    talk.shutdown.cancel();
    talk.strings.release.notify_one();
    assert!(talk.hear_out().await.contains("released"));
}

#[tokio::test]
async fn shutdown_before_the_session_is_no_error() {
    let talk = Talk::start();
    talk.shutdown.cancel();
    assert_eq!(talk.hear_out().await, "");
}
