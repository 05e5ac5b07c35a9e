//! Clients that cost next to nothing: JSON by line or by HTTP/1.1, without a runtime.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{Shutdown, TcpStream},
    process::{Child, ChildStdin, ChildStdout},
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use super::Failed;

/// How long a server may take to listen.
const START_MAX: Duration = Duration::from_secs(20);

/// A process that ends with its owner.
pub(super) struct Running(pub(super) Child);

/// A session on standard input and output.
pub(super) struct Stdio {
    running: Running,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

/// One connection that is kept.
pub(super) struct Http {
    host: String,
    stream: BufReader<TcpStream>,
}

/// Says one request of the revision without sessions, and hears its answer.
pub(super) trait Wire {
    /// The result.
    fn ask(&mut self, method: &str, params: Value) -> Result<Value, Failed>;

    /// What a tool answered.
    fn call(&mut self, tool: &str, arguments: &Value) -> Result<Value, Failed> {
        let answer = self.ask("tools/call", json!({ "name": tool, "arguments": arguments }))?;
        if answer["isError"] == true {
            return Err(format!("{tool} refused: {answer}").into());
        }
        Ok(answer)
    }

    /// How long a call of a tool takes.
    fn time(&mut self, tool: &str, arguments: &Value) -> Result<Duration, Failed> {
        let started = Instant::now();
        self.call(tool, arguments)?;
        Ok(started.elapsed())
    }
}

impl Running {
    /// The resident memory, in bytes.
    pub(super) fn resident(&self) -> Result<u64, Failed> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0.id()))?;
        let line = status.lines().find(|it| it.starts_with("VmRSS:")).ok_or("no VmRSS")?;
        let kib: u64 = line.split_whitespace().nth(1).ok_or("no figure")?.parse()?;
        Ok(kib * 1_024)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _reaped = self.0.wait();
    }
}

impl Stdio {
    pub(super) fn new(mut child: Child) -> Result<Self, Failed> {
        let stdin = child.stdin.take().ok_or("no stdin")?;
        let stdout = BufReader::new(child.stdout.take().ok_or("no stdout")?);
        Ok(Self { running: Running(child), stdin, stdout })
    }

    pub(super) fn running(&self) -> &Running {
        &self.running
    }
}

impl Wire for Stdio {
    fn ask(&mut self, method: &str, params: Value) -> Result<Value, Failed> {
        self.stdin.write_all(format!("{}\n", request(method, params)).as_bytes())?;
        loop {
            let mut line = String::new();
            if self.stdout.read_line(&mut line)? == 0 {
                return Err("the server closed its output".into());
            }
            let answer: Value = serde_json::from_str(&line)?;
            if answer["id"] == 1 {
                return result(answer);
            }
        }
    }
}

impl Http {
    pub(super) fn connect(host: &str) -> Result<Self, Failed> {
        let stream = TcpStream::connect(host)?;
        stream.set_nodelay(true)?;
        Ok(Self { host: host.to_owned(), stream: BufReader::new(stream) })
    }

    /// Where it is connected to.
    pub(super) fn host(&self) -> &str {
        &self.host
    }

    /// Connects to a server that is about to listen.
    pub(super) fn patiently(host: &str) -> Result<Self, Failed> {
        let started = Instant::now();
        loop {
            match Self::connect(host) {
                Err(error) if started.elapsed() > START_MAX => return Err(error),
                Err(_) => thread::sleep(Duration::from_millis(20)),
                Ok(http) => return Ok(http),
            }
        }
    }

    /// Sends a request with a body, if there is one, and hears the head of the answer: its lines,
    /// in lower case.
    pub(super) fn exchange(&mut self, head: &str, body: &str) -> Result<Vec<String>, Failed> {
        let length = if body.is_empty() {
            String::new()
        } else {
            format!("content-type: application/json\r\ncontent-length: {}\r\n", body.len())
        };
        let host = &self.host;
        let request = format!("{head}host: {host}\r\n{length}\r\n{body}");
        self.stream.get_mut().write_all(request.as_bytes())?;
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            if self.stream.read_line(&mut line)? == 0 {
                return Err("the server closed the connection".into());
            }
            match line.trim_end() {
                "" => return Ok(lines),
                line => lines.push(line.to_ascii_lowercase()),
            }
        }
    }

    /// The whole body that follows a head.
    pub(super) fn body(&mut self, head: &[String]) -> Result<Vec<u8>, Failed> {
        let length = head.iter().find_map(|it| it.strip_prefix("content-length: "));
        let length: usize = length.ok_or("an answer without a length")?.parse()?;
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body)?;
        Ok(body)
    }

    /// Leaves without a word.
    pub(super) fn leave(self) -> Result<(), Failed> {
        Ok(self.stream.get_ref().shutdown(Shutdown::Both)?)
    }
}

impl Wire for Http {
    fn ask(&mut self, method: &str, params: Value) -> Result<Value, Failed> {
        let name = params["name"].as_str().unwrap_or_default().to_owned();
        let head = format!(
            "POST /mcp HTTP/1.1\r\naccept: application/json, text/event-stream\r\n\
             mcp-protocol-version: 2026-07-28\r\nmcp-method: {method}\r\nmcp-name: {name}\r\n"
        );
        let head = self.exchange(&head, &request(method, params).to_string())?;
        let body = self.body(&head)?;
        result(serde_json::from_slice(&body)?)
    }
}

fn request(method: &str, mut params: Value) -> Value {
    params["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
        "io.modelcontextprotocol/clientInfo": { "name": "bench", "version": "1" },
    });
    json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params })
}

fn result(mut answer: Value) -> Result<Value, Failed> {
    if answer["result"].is_null() {
        return Err(format!("no result: {answer}").into());
    }
    Ok(answer["result"].take())
}
