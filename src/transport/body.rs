//! Bodies of answers that hold something until they were sent, or end at a time.

use std::{
    mem,
    pin::Pin,
    task::{Context, Poll},
};

use axum::body::Body;
use futures::future::{BoxFuture, FutureExt as _};
use http_body_util::BodyExt as _;
use hyper::body::{Body as HttpBody, Bytes, Frame, SizeHint};
use tokio_util::task::TaskTracker;

/// A body that keeps something until it was sent or dropped.
pub(super) struct Holding<T> {
    body: Body,
    _held: T,
}

/// A stream that ends when it has to, whatever it would still say.
pub(super) struct Ending {
    body: Body,
    end: BoxFuture<'static, ()>,
    /// Where the rest of the body is read to its end, if whoever writes it must not be stopped.
    calls: Option<TaskTracker>,
    has_ended: bool,
}

impl<T: Send + Unpin + 'static> Holding<T> {
    /// The same body, with `held`.
    pub(super) fn body(body: Body, held: T) -> Body {
        Body::new(Self { body, _held: held })
    }
}

impl<T: Unpin> HttpBody for Holding<T> {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Ending {
    /// The same body, but for what it says after `end`. That is heard in `calls`, if there are any,
    /// since a call is given up when nobody hears its answer.
    pub(super) fn body(
        body: Body,
        end: impl Future<Output = ()> + Send + 'static,
        calls: Option<TaskTracker>,
    ) -> Body {
        Body::new(Self { body, end: end.boxed(), calls, has_ended: false })
    }
}

impl HttpBody for Ending {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if self.has_ended || self.end.as_mut().poll(context).is_ready() {
            self.has_ended = true;
            let rest = mem::take(&mut self.body);
            if let Some(calls) = self.calls.take() {
                calls.spawn(hear(rest));
            }
            return Poll::Ready(None);
        }
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

async fn hear(mut body: Body) {
    while let Some(Ok(_)) = body.frame().await {}
}

#[cfg(test)]
mod tests {
    use std::{convert::Infallible, time::Duration};

    use futures::{StreamExt as _, stream};
    use tokio::{
        sync::mpsc,
        time::{self, Instant},
    };
    use tokio_stream::wrappers::ReceiverStream;

    use super::*;

    const ALMOST: Duration = Duration::from_secs(99);
    const END: Duration = Duration::from_secs(100);

    /// A stream that says what is sent.
    fn body() -> (mpsc::Sender<&'static str>, Body) {
        let (say, said) = mpsc::channel(1);
        let said = ReceiverStream::new(said).map(|it| Ok::<_, Infallible>(Bytes::from(it)));
        (say, Body::from_stream(said))
    }

    async fn next(body: &mut Body) -> Option<Bytes> {
        body.frame().await.map(|it| it.unwrap().into_data().unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_says_all_until_its_time_and_nothing_after_it() {
        let (say, said) = body();
        let mut ending = Ending::body(said, time::sleep(END), None);
        say.send("a").await.unwrap();
        time::advance(ALMOST).await;
        assert_eq!(next(&mut ending).await.unwrap(), "a");
        let started = Instant::now();
        assert_eq!(next(&mut ending).await, None, "the time comes while it is waited for");
        assert!(started.elapsed() >= Duration::from_secs(1));
        assert!(say.send("b").await.is_err(), "whoever speaks learns that nobody hears");
        assert_eq!(next(&mut ending).await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_call_says_after_that_is_heard_to_its_end() {
        let (say, said) = body();
        let calls = TaskTracker::new();
        let mut ending = Ending::body(said, time::sleep(END), Some(calls.clone()));
        time::advance(END).await;
        assert_eq!(next(&mut ending).await, None);
        drop(ending);
        for word in ["a", "b", "c"] {
            say.send(word).await.unwrap();
        }
        drop(say);
        calls.close();
        calls.wait().await;
    }

    #[tokio::test]
    async fn what_is_held_is_let_go_with_the_body() {
        let (held, watched) =
            (std::sync::Arc::new(()), stream::empty::<Result<Bytes, Infallible>>());
        let body = Holding::body(Body::from_stream(watched), std::sync::Arc::clone(&held));
        assert_eq!(std::sync::Arc::strong_count(&held), 2);
        body.collect().await.unwrap();
        assert_eq!(std::sync::Arc::strong_count(&held), 1);
    }
}
