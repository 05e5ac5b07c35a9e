//! Shows on standard error how a dispatch goes: bars on a terminal, plain lines elsewhere.

use std::{
    convert::Infallible,
    io::{self, IsTerminal as _},
    time::Duration,
};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::output::{say, word};
use crate::{
    model::{DispatchId, DispatchResult},
    runtime::{DispatcherHandle, Progress},
};

/// How many running tasks have a line of their own on a terminal.
const LINES_MAX: usize = 3;

/// Shows progress for as long as it is polled.
pub(super) async fn progress(handle: &DispatcherHandle, dispatch: DispatchId) -> Infallible {
    if let Some(mut progress) = handle.follow(dispatch).await {
        let first = progress.borrow_and_update().clone();
        let mut view = View::new(&first);
        view.show(&first);
        while progress.changed().await.is_ok() {
            let now = progress.borrow_and_update().clone();
            view.show(&now);
        }
    }
    std::future::pending().await
}

/// One line that says how it ended.
pub(super) fn summary(result: &DispatchResult) -> io::Result<String> {
    let it = &result.summary;
    let reused = match it.reused {
        0 => String::new(),
        n => format!(" ({n} reused)"),
    };
    Ok(format!(
        "{}: {} of {} successful{reused}, {} failed, {} skipped, {} cancelled in {} ms (one after \
         the other {} ms, speed-up {})",
        word(&result.status)?,
        it.successful,
        it.total_tasks,
        it.failed,
        it.skipped,
        it.cancelled,
        it.total_time_ms,
        it.sequential_time_ms,
        it.speedup,
    ))
}

enum View {
    Bars { total: ProgressBar, running: Vec<ProgressBar> },
    Lines { last: String },
}

impl View {
    fn new(first: &Progress) -> Self {
        if !io::stderr().is_terminal() {
            return Self::Lines { last: String::new() };
        }
        let bars = MultiProgress::new();
        let total = bars.add(ProgressBar::new(first.n_tasks as u64));
        if let Ok(style) =
            ProgressStyle::with_template("{bar:30} {pos}/{len} tasks {elapsed} {msg}")
        {
            total.set_style(style);
        }
        let line = |_| {
            let line = bars.add(ProgressBar::new_spinner());
            line.enable_steady_tick(Duration::from_millis(120));
            line
        };
        Self::Bars { total, running: (0..LINES_MAX).map(line).collect() }
    }

    fn show(&mut self, progress: &Progress) {
        match self {
            Self::Lines { last } => {
                let line = progress.describe();
                if *last != line {
                    say(&line);
                    *last = line;
                }
            }
            Self::Bars { total, running } => {
                total.set_position(progress.n_ended as u64);
                if progress.n_unsuccessful > 0 {
                    total.set_message(format!("{} without success", progress.n_unsuccessful));
                }
                for (at, line) in running.iter().enumerate() {
                    let name = progress.running.get(at).map(ToString::to_string);
                    line.set_message(name.unwrap_or_default());
                }
            }
        }
    }
}

impl Drop for View {
    fn drop(&mut self) {
        if let Self::Bars { total, running } = self {
            running.iter().for_each(ProgressBar::finish_and_clear);
            total.finish_and_clear();
        }
    }
}
