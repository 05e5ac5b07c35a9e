//! A client of the legacy HTTP+SSE transport, in some lines: one stream of events, many posts.

use std::time::Duration;

/// The longest that any answer may take.
const ANSWER_MAX: Duration = Duration::from_secs(20);

/// The stream that `GET /sse` opens.
pub(crate) struct EventStream {
    response: reqwest::Response,
    /// Bytes: a chunk may end within a character.
    heard: Vec<u8>,
    /// Where messages are posted, as the server says it.
    pub(crate) endpoint: String,
}

impl EventStream {
    /// Opens the stream and hears where to post.
    pub(crate) async fn open(client: &reqwest::Client, url: String) -> Self {
        let response = client.get(url).send().await.unwrap();
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        let mut stream = Self { response, heard: Vec::new(), endpoint: String::new() };
        let (event, data) = stream.event().await.unwrap();
        assert_eq!(event, "endpoint");
        stream.endpoint = data;
        stream
    }

    /// The next event's name and data; comments come with neither. None when the stream has ended.
    pub(crate) async fn event(&mut self) -> Option<(String, String)> {
        tokio::time::timeout(ANSWER_MAX, self.event_whenever()).await.unwrap()
    }

    /// The same, however long it takes.
    pub(crate) async fn event_whenever(&mut self) -> Option<(String, String)> {
        loop {
            if let Some(end) = self.heard.windows(2).position(|it| it == b"\n\n") {
                let block: Vec<u8> = self.heard.drain(..end + 2).collect();
                let block = String::from_utf8(block).unwrap();
                let field = |name: &str| {
                    let line = block.lines().find_map(|it| it.strip_prefix(name));
                    line.unwrap_or_default().to_owned()
                };
                return Some((field("event: "), field("data: ")));
            }
            let chunk = self.response.chunk().await.unwrap()?;
            self.heard.extend_from_slice(&chunk);
        }
    }
}
