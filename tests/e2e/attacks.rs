//! Each attack that the program promises to stand, played against the running program.

use std::{fs, net::SocketAddr, os::unix::fs::symlink, path::Path, process::Stdio, time::Duration};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpStream,
    sync::watch,
    task::JoinSet,
    time::timeout,
};

use crate::{
    client::http,
    raw::{NEW, Raw},
    space::{Ended, Program, TestSpace, document, within},
    standin::StandIn,
};

/// The longest that a client which sends nothing more may stay, and something for a busy machine.
const SLOW_MAX: Duration = Duration::from_mins(1);
/// How many of them there are at once.
const SLOW: usize = 200;

/// What a page of somebody else makes a browser send to each route, by its first line.
const ROUTES: [&str; 7] = [
    "POST /mcp HTTP/1.1",
    "GET /mcp HTTP/1.1",
    "DELETE /mcp HTTP/1.1",
    "GET /sse HTTP/1.1",
    "POST /messages?session_id=1 HTTP/1.1",
    "GET /health HTTP/1.1",
    "GET /metrics HTTP/1.1",
];

/// Sends a head and, if it announces a body, nothing of that; answers the status.
async fn status_of(address: SocketAddr, head: &str) -> u16 {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    while !answer.contains(&b'\n') {
        assert_ne!(stream.read_buf(&mut answer).await.unwrap(), 0, "closed after {head}");
    }
    let answer = String::from_utf8_lossy(&answer);
    answer.split(' ').nth(1).unwrap().parse().unwrap()
}

fn address_of(url: &str) -> SocketAddr {
    url.strip_prefix("http://").unwrap().parse().unwrap()
}

#[tokio::test]
async fn e2e_a_foreign_page_reaches_no_route_and_its_body_is_not_waited_for() {
    let space = TestSpace::offline();
    let (_program, url) = space.serve_http().await;
    let address = address_of(&url);
    let local = format!("host: {address}\r\n");
    let of_pages = [
        "host: evil.example\r\ncontent-type: application/json\r\n".to_owned(),
        format!("host: evil.example:{}\r\ncontent-type: application/json\r\n", address.port()),
        format!("{local}origin: https://evil.example\r\ncontent-type: application/json\r\n"),
        format!("{local}origin: null\r\ncontent-type: application/json\r\n"),
        format!("{local}origin: http://localhost.evil.example\r\n"),
    ];
    for route in ROUTES {
        for headers in &of_pages {
            let head = format!("{route}\r\n{headers}content-length: 100\r\n\r\n");
            let status = within(status_of(address, &head)).await;
            assert!((400..500).contains(&status), "{status} after {head}");
        }
    }
    // What a form can send without asking first.
    for kind in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"] {
        for route in ["POST /mcp HTTP/1.1", "POST /messages?session_id=1 HTTP/1.1"] {
            let head =
                format!("{route}\r\n{local}content-type: {kind}\r\ncontent-length: 9\r\n\r\n");
            assert_eq!(within(status_of(address, &head)).await, 415, "{head}");
        }
    }
}

#[tokio::test]
async fn e2e_slow_clients_keep_nobody_waiting_and_are_cut_off() {
    let space = TestSpace::offline();
    let (_program, url) = space.serve_http().await;
    let address = address_of(&url);
    let mut slow = JoinSet::new();
    for number in 0..SLOW {
        let body = "content-type: application/json\r\ncontent-length: 100\r\n\r\n{";
        let rest = if number % 2 == 0 { body } else { "accept: application/js" };
        let bytes = format!("POST /mcp HTTP/1.1\r\nhost: {address}\r\n{rest}");
        let mut stream = within(TcpStream::connect(address)).await.unwrap();
        within(stream.write_all(bytes.as_bytes())).await.unwrap();
        slow.spawn(async move {
            let mut answer = Vec::new();
            // Cut off with a word or without.
            stream.read_to_end(&mut answer).await.ok();
        });
    }
    let health = within(http().get(format!("{url}/health")).send()).await.unwrap();
    assert_eq!(health.status(), 200);
    assert!(slow.try_join_next().is_none(), "they were served already");
    timeout(SLOW_MAX, slow.join_all()).await.expect("somebody is still there");
}

#[tokio::test]
async fn e2e_a_flood_of_sessions_is_busy_and_others_are_served() {
    let space = TestSpace::offline();
    fs::write(space.config_file(), "server: {sessions_max: 10}\n").unwrap();
    let (_program, url) = space.serve_http().await;
    let client = http();
    let post = |message: Value| {
        let request = client.post(format!("{url}/mcp"));
        let request = request.header("accept", "application/json, text/event-stream");
        request.header("content-type", "application/json").body(message.to_string())
    };
    let mut statuses = Vec::new();
    for _ in 0..40 {
        let answer = within(post(hello()).send()).await.unwrap();
        if answer.status() == 503 {
            assert!(answer.headers().contains_key("retry-after"));
        }
        statuses.push(answer.status().as_u16());
    }
    assert_eq!(statuses.iter().filter(|it| **it == 200).count(), 10, "{statuses:?}");
    assert_eq!(statuses.iter().filter(|it| **it == 503).count(), 30, "{statuses:?}");
    let modern = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": { "_meta": {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
        "io.modelcontextprotocol/clientInfo": { "name": "test", "version": "1" },
    }}});
    let request = post(modern).header("mcp-protocol-version", "2026-07-28");
    let answer = within(request.header("mcp-method", "tools/list").send()).await.unwrap();
    assert_eq!(answer.status(), 200);
}

fn hello() -> Value {
    json!({ "jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": { "name": "test", "version": "1" },
    }})
}

/// An upstream whose `coder` fails with a key in its words, some of them meant for a terminal.
const LEAKY: &str = r#"
answer() { printf '{"jsonrpc":"2.0","id":%s,"result":%s}\n' "$id" "$1"; }
while IFS= read -r line; do
  id=${line#*\"id\":}; id=${id%%,*}
  case $line in
    *'"method":"initialize"'*) answer '{"protocolVersion":"2025-06-18","capabilities":{"tools":{}},"serverInfo":{"name":"sh","version":"1"}}' ;;
    *'"method":"tools/list"'*) answer '{"tools":[{"name":"coder","inputSchema":{"type":"object"}}]}' ;;
    *'"method":"tools/call"'*)
      answer '{"isError":true,"content":[{"type":"text","text":"no \u001b[2J\nERROR forged \u202ebidi Authorization: Bearer abcdefghijklmnop0123456789 api_key=sk-ant-api03-abcdefghijklmnopqrstuvwxyz and '"$KEY"'"}]}' ;;
  esac
done
"#;

/// Runs a task that fails in the words of [`LEAKY`], with a log of everything.
async fn leaky_run() -> (TestSpace, Ended) {
    use std::os::unix::fs::PermissionsExt as _;
    let space = TestSpace::offline();
    let (script, key) = (space.path("server.sh"), space.path("key"));
    fs::write(&script, LEAKY).unwrap();
    fs::write(&key, "token=file-s3cret-value\n").unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    let config = format!(
        "agents: {{coder: {{upstream: child}}}}
logging: {{level: trace, destination: '{}'}}
upstreams:
  child: {{command: sh, args: ['{script}'], env: {{KEY: '${{file:{key}}}'}}, protocol: legacy}}
",
        space.path("all.log")
    );
    fs::write(space.config_file(), config).unwrap();
    let mut command = space.command(&["run", "-"]);
    for name in ["CLAUDE_CODE_MESSAGING_TOKEN", "ANTHROPIC_API_KEY", "GITHUB_TOKEN"] {
        command.env(name, "env-s3cret-value");
    }
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    let asked = document(&space, &[("one", "coder", &[])]).to_string();
    let mut stdin = child.stdin.take().unwrap();
    within(stdin.write_all(asked.as_bytes())).await.unwrap();
    drop(stdin);
    let output = within(child.wait_with_output()).await.unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let code = output.status.code();
    (space, Ended { code, stdout: text(output.stdout), stderr: text(output.stderr) })
}

#[tokio::test]
async fn e2e_no_secret_is_at_rest_or_in_a_log() {
    let (space, ended) = leaky_run().await;
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let mut texts = vec![("stdout".into(), ended.stdout), ("stderr".into(), ended.stderr)];
    collect(space.workspace().parent().unwrap(), &mut texts);
    assert!(texts.iter().any(|it| it.0.ends_with("store.db")), "no store among {}", texts.len());
    assert!(texts.iter().any(|it| it.0.ends_with("all.log") && !it.1.is_empty()));
    for secret in ["s3cret", "abcdefghijklmnop"] {
        for (name, text) in &texts {
            let is_mine = ["key", "server.sh"].iter().any(|it| Path::new(name).ends_with(it));
            assert!(is_mine || !text.contains(secret), "{secret} is in {name}");
        }
    }
}

/// All files below a directory, as text.
fn collect(dir: &Path, texts: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_symlink() {
            continue;
        }
        if path.is_dir() {
            collect(&path, texts);
        } else {
            let text = String::from_utf8_lossy(&fs::read(&path).unwrap()).into_owned();
            texts.push((path.to_str().unwrap().to_owned(), text));
        }
    }
}

#[tokio::test]
async fn e2e_text_of_strangers_moves_no_cursor_and_forges_no_line() {
    let (space, ended) = leaky_run().await;
    let id = ended.json()["dispatch_id"].as_str().unwrap().to_owned();
    let log = fs::read_to_string(space.path("all.log")).unwrap();
    let mut shown = vec![ended.stderr, ended.stdout, log];
    for words in [&["result", &id][..], &["trace", &id], &["trace", &id, "one"], &["list"]] {
        let told = space.run(words, "").await;
        assert_eq!(told.code.map(|it| it < 2), Some(true), "{told:?}");
        shown.extend([told.stdout, told.stderr]);
    }
    let evil = document(&space, &[("\u{202e}a\nERROR forged\u{1b}[2J", "coder", &[])]);
    let refused = space.run(&["run", "-"], &evil.to_string()).await;
    assert_eq!(refused.code, Some(2));
    shown.extend([refused.stdout, refused.stderr]);
    let mut raw = Raw::open(&space, NEW, json!({})).await;
    let unknown = raw.ask("a\u{202e}b\u{1b}[2J", json!({})).await;
    assert_eq!(unknown["error"]["code"], -32_601, "{unknown}");
    shown.push(unknown["error"]["message"].as_str().unwrap().to_owned());
    raw.kill().await;
    for text in shown {
        let strange = |it: char| (it.is_control() && it != '\n') || it == '\u{202e}';
        assert!(!text.contains(strange), "{text:?}");
        assert!(!text.lines().any(|it| it.trim_start().starts_with("ERROR forged")), "{text}");
    }
}

#[tokio::test]
async fn e2e_no_path_leads_out_of_the_workspace() {
    let space = TestSpace::embedded();
    let outside = space.workspace().parent().unwrap().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("there.py"), "precious").unwrap();
    symlink(&outside, space.path("door")).unwrap();
    let paths = [
        space.path("door/new.py"),
        space.path("door/there.py"),
        space.path("../outside/there.py"),
        outside.join("there.py").to_str().unwrap().to_owned(),
        "/proc/self/cwd/../outside/there.py".to_owned(),
        format!("{}x/there.py", space.workspace().display()),
    ];
    for path in paths {
        let mut asked = document(&space, &[("one", "coder", &[])]);
        asked["tasks"][0]["input_data"]["output_path"] = json!(path);
        let ended = space.run(&["run", "-"], &asked.to_string()).await;
        assert_ne!(ended.code, Some(0), "{path}: {ended:?}");
        let mut asked = document(&space, &[("one", "coder", &[])]);
        asked["config"] = json!({ "trace_dir": path });
        // Refused, or without traces.
        space.run(&["run", "-"], &asked.to_string()).await;
    }
    let names: Vec<_> = fs::read_dir(&outside).unwrap().map(|it| it.unwrap().file_name()).collect();
    assert_eq!(names, ["there.py"]);
    assert_eq!(fs::read_to_string(outside.join("there.py")).unwrap(), "precious");
}

#[tokio::test]
async fn e2e_no_command_and_no_address_comes_from_a_document() {
    let standin = StandIn::start().await;
    let space = TestSpace::with(&standin);
    let marker = space.path("was-run");
    let words = format!("$(touch {marker}); `touch {marker}`; touch {marker} #");
    let mut asked = document(&space, &[("one", "coder", &[])]);
    asked["tasks"][0]["description"] = json!(words);
    asked["tasks"][0]["input_data"]["contract_description"] = json!(words);
    let ended = space.run(&["run", "-"], &asked.to_string()).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(standin.calls_of("one")[0].arguments["contract_description"], words);
    assert!(!Path::new(&marker).exists());
    let fields = [("url", "http://127.0.0.1:9/mcp"), ("command", "touch"), ("upstream", "archon")];
    for (name, value) in fields {
        let mut asked = document(&space, &[("one", "coder", &[])]);
        asked["tasks"][0][name] = json!(value);
        let ended = space.run(&["run", "-"], &asked.to_string()).await;
        assert_eq!(ended.code, Some(2), "{name}: {ended:?}");
        assert!(ended.stderr.contains("unknown_field"), "{ended:?}");
    }
    assert_eq!(standin.calls().len(), 1);
}

#[tokio::test]
async fn e2e_nobody_waits_for_a_body_that_has_no_use() {
    let space = TestSpace::offline();
    let (_program, url) = space.serve_http().await;
    let address = address_of(&url);
    for (route, status) in [("GET /health", 200), ("GET /metrics", 200), ("DELETE /mcp", 400)] {
        let head =
            format!("{route} HTTP/1.1\r\nhost: {address}\r\ncontent-length: 4000000\r\n\r\n");
        assert_eq!(within(status_of(address, &head)).await, status, "{head}");
    }
}

#[tokio::test]
async fn e2e_who_does_not_read_the_log_holds_nobody_up() {
    // Each dispatch leaves lines of a few hundred bytes, and a pipe has room for 64 KiB.
    const DISPATCHES: usize = 400;
    let standin = StandIn::start().await;
    let space = TestSpace::with(&standin);
    let child = space.command(&["serve"]).stdin(Stdio::piped()).spawn().unwrap();
    let (program, _unread) = Program::unheard(child);
    let mut raw = Raw::over(program, NEW, json!({})).await;
    for batch in 0..DISPATCHES / 20 {
        let mut asked = Vec::new();
        for number in 0..20 {
            let mut arguments = document(&space, &[("a", "coder", &[])]);
            arguments["idempotency_key"] = json!(format!("{batch} {number}"));
            let call = json!({ "name": "dispatch", "arguments": arguments });
            asked.push(raw.begin("tools/call", call).await);
        }
        for id in asked {
            let answer = raw.answer_to(id).await;
            assert!(answer["result"]["structuredContent"]["dispatch_id"].is_string(), "{answer}");
        }
    }
    raw.kill().await;
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn e2e_answers_that_nobody_reads_take_little_memory_and_none_is_lost() {
    // Some 100 kB each.
    const ANSWERS: usize = 800;
    const RESIDENT_MAX_KIB: u64 = 150 << 10;
    let space = TestSpace::offline();
    let mut program = space.start(&["serve"]);
    let (out, mut to) = program.streams();
    let hello = json!({ "jsonrpc": "2.0", "id": "hello", "method": "initialize", "params": {
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": { "name": "attacker", "version": "1" },
    }});
    let params = json!({ "_meta": { "padding": "x".repeat(1_000) } });
    let ask = |id| json!({ "jsonrpc": "2.0", "id": id, "method": "tools/list", "params": params });
    let flood = std::iter::once(hello).chain((0..ANSWERS).map(ask));
    let flood: Vec<_> = flood.map(|it| format!("{it}\n")).collect();
    let (say, mut told) = watch::channel(0);
    let flooding = tokio::spawn(async move {
        for (number, line) in flood.iter().enumerate() {
            to.write_all(line.as_bytes()).await.unwrap();
            say.send_replace(number);
        }
        to
    });
    // It is heard no more once nothing was taken for a second.
    while timeout(Duration::from_secs(1), told.changed()).await.is_ok() {
        assert!(!flooding.is_finished(), "it is heard although it does not read");
    }
    let mut lines = BufReader::new(out).lines();
    for _ in 0..=ANSWERS {
        let answer = within(lines.next_line()).await.unwrap().unwrap();
        assert!(answer.contains("\"result\":"), "{answer}");
    }
    let peak = program.resident_kib("VmHWM");
    assert!(peak < RESIDENT_MAX_KIB, "{peak} KiB");
    program.kill().await;
}
