//! The subscriber that the process logs through.

use std::{
    fs::{File, OpenOptions},
    io,
    path::{Path, PathBuf},
};

use tracing::{Subscriber, level_filters::LevelFilter};
use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::{
    filter::Targets,
    fmt::{self, MakeWriter},
    layer::{Layer as _, SubscriberExt as _},
    registry::Registry,
    util::SubscriberInitExt as _,
};

use super::writer::{Destination, Escape, Escaped};
use crate::config::{Level, LogFormat, Logging};

/// Why there is no log, or nothing else is told.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The file cannot be opened for appending.
    #[error("failed to open the log file {}: {error}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// The process logs through something else already.
    #[error("failed to start logging: it was started before")]
    Started,
    /// Spans cannot be told.
    #[error("failed to set up telemetry.otlp: {0}")]
    Collector(String),
    /// The collector does not take any.
    #[error("the collector at {place} takes no spans: {reason}")]
    Refused {
        /// Its address, without what may be secret in it.
        place: String,
        /// Why.
        reason: String,
    },
}

/// How many lines wait for whoever reads the log; what comes when there are so many is dropped.
const WAITING_LINES_MAX: usize = 4_096;

/// Starts logging for the whole process; to be called once.
///
/// Nobody waits for a line to be written. What still waits is written when the answer is dropped,
/// as far as it is read within a second.
pub fn init(logging: &Logging) -> Result<WorkerGuard, TelemetryError> {
    let destination = open(&logging.destination)?;
    let is_open_to_others = destination.is_open_to_others();
    let (writer, written) = NonBlockingBuilder::default()
        .buffered_lines_limit(WAITING_LINES_MAX)
        .lossy(true)
        .thread_name("log")
        .finish(destination);
    subscriber(logging, writer).try_init().map_err(|_| TelemetryError::Started)?;
    if is_open_to_others {
        tracing::warn!("the log file can be read by others; chmod 600 makes it yours alone");
    }
    Ok(written)
}

/// Whether the log can be written where the settings say; a file that is missing is made.
pub fn check(logging: &Logging) -> Result<(), TelemetryError> {
    open(&logging.destination).map(drop)
}

/// The subscriber over any writer, so that tests can read what it writes.
pub(super) fn subscriber<W>(logging: &Logging, writer: W) -> impl Subscriber + Send + Sync + use<W>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    // A formatter that could not write would say so on standard error, and panic if that is gone.
    let layer = fmt::layer().log_internal_errors(false);
    let layer = match logging.format {
        LogFormat::Text => layer.with_writer(Escaped::new(writer, Escape::Text)).boxed(),
        LogFormat::Json => {
            let layer = layer.json().flatten_event(true).with_span_list(false);
            layer.with_writer(Escaped::new(writer, Escape::Json)).boxed()
        }
    };
    Registry::default().with(layer.with_filter(targets(logging.level)))
}

/// Our own entries from `level` up. Libraries log payloads, and headers with secrets in them, so
/// they are heard from `warn` up only.
fn targets(level: Level) -> Targets {
    let level = match level {
        Level::Off => LevelFilter::OFF,
        Level::Error => LevelFilter::ERROR,
        Level::Warn => LevelFilter::WARN,
        Level::Info => LevelFilter::INFO,
        Level::Debug => LevelFilter::DEBUG,
        Level::Trace => LevelFilter::TRACE,
    };
    // What rmcp calls fatal, such as a refused connection, is an ordinary outcome here and is
    // reported where it is handled.
    let rmcp = if level > LevelFilter::INFO { LevelFilter::WARN } else { LevelFilter::OFF };
    Targets::new()
        .with_target(env!("CARGO_CRATE_NAME"), level)
        .with_target("rmcp", rmcp)
        .with_default(level.min(LevelFilter::WARN))
}

fn open(destination: &Path) -> Result<Destination, TelemetryError> {
    if destination == Path::new("stderr") {
        return Ok(Destination::Stderr);
    }
    let file = open_private(destination)
        .map_err(|error| TelemetryError::Open { path: destination.to_owned(), error })?;
    Ok(Destination::File(file))
}

/// Opens a file for appending; one that is made here is its owner's alone. A named pipe that nobody
/// reads is an error, and does not hold the start up.
fn open_private(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.append(true).create(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(0o600);
        options.custom_flags(rustix::fs::OFlags::NONBLOCK.bits().cast_signed());
    }
    options.open(path)
}

#[cfg(test)]
mod tests {
    use std::{fs, io::Write, sync::mpsc};

    use expect_test::{Expect, expect};
    use tracing::{debug, info, warn};

    use super::*;

    /// Sends each write to the test.
    struct Sender(mpsc::Sender<String>);

    impl Write for Sender {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.send(String::from_utf8(bytes.to_vec()).unwrap()).unwrap();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logging(level: Level, format: LogFormat) -> Logging {
        Logging { level, format, ..Logging::default() }
    }

    fn entries(logging: &Logging, act: impl FnOnce()) -> Vec<String> {
        let (sender, receiver) = mpsc::channel();
        let subscriber = subscriber(logging, move || Sender(sender.clone()));
        tracing::subscriber::with_default(subscriber, act);
        receiver.try_iter().collect()
    }

    /// What is written after the time of each entry.
    fn check(logging: &Logging, act: impl FnOnce(), expect: &Expect) {
        let entries = entries(logging, act);
        let shown = entries.iter().map(|it| it.split_once("Z ").map_or(it.as_str(), |it| it.1));
        expect.assert_eq(&shown.map(str::trim_start).collect::<String>());
    }

    #[test]
    fn entries_below_the_level_are_not_written_and_libraries_only_warn() {
        let act = || {
            debug!("fine");
            info!(n_tasks = 3, "dispatch accepted");
            info!(target: "hyper", "header: secret");
            warn!(target: "hyper", "closed");
        };
        check(
            &logging(Level::Info, LogFormat::Text),
            act,
            &expect![[r"
                INFO parallel_dispatch::telemetry::init::tests: dispatch accepted n_tasks=3
                WARN hyper: closed
            "]],
        );
        check(
            &logging(Level::Trace, LogFormat::Text),
            act,
            &expect![[r"
                DEBUG parallel_dispatch::telemetry::init::tests: fine
                INFO parallel_dispatch::telemetry::init::tests: dispatch accepted n_tasks=3
                WARN hyper: closed
            "]],
        );
        check(&logging(Level::Error, LogFormat::Text), act, &expect![[""]]);
        check(&logging(Level::Off, LogFormat::Text), act, &expect![[""]]);
    }

    #[test]
    fn text_of_strangers_stays_on_its_line() {
        let evil = "a\n2026-01-01T00:00:00Z ERROR forged\u{1b}[31m\u{202e}b\u{200b}";
        let act = || info!(shown = %evil, quoted = ?evil, "{evil}");
        check(
            &logging(Level::Info, LogFormat::Text),
            act,
            &expect![[r#"
                INFO parallel_dispatch::telemetry::init::tests: a\u{a}2026-01-01T00:00:00Z ERROR forged\x1b[31m\u{202e}b\u{200b} shown=a\u{a}2026-01-01T00:00:00Z ERROR forged\u{1b}[31m\u{202e}b\u{200b} quoted="a\n2026-01-01T00:00:00Z ERROR forged\u{1b}[31m\u{202e}b\u{200b}"
            "#]],
        );
    }

    #[test]
    fn json_entries_are_one_line_and_read_back_whole() {
        let evil = "a\n\u{1b}[31m\u{202e}b\u{e0001}\u{7f}";
        let entries =
            entries(&logging(Level::Info, LogFormat::Json), || info!(evil, n_tasks = 1, "m"));
        let [entry] = entries.as_slice() else { panic!("{entries:?}") };
        assert!(entry.ends_with("}\n") && entry.lines().count() == 1, "{entry}");
        assert!(entry.is_ascii() && !entry.trim_end().contains(char::is_control), "{entry}");
        let read: serde_json::Value = serde_json::from_str(entry).unwrap();
        assert_eq!((&read["evil"], &read["n_tasks"]), (&evil.into(), &1.into()));
    }

    #[test]
    fn a_reader_that_went_away_ends_nothing() {
        struct Gone;
        impl Write for Gone {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
        }
        let subscriber = subscriber(&logging(Level::Info, LogFormat::Text), || Gone);
        tracing::subscriber::with_default(subscriber, || info!("into the void"));
    }

    #[test]
    fn a_file_is_appended_to_and_private() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("app.log");
        for word in ["first", "second"] {
            let path = path.clone();
            let subscriber = subscriber(&Logging::default(), move || open(&path).unwrap());
            tracing::subscriber::with_default(subscriber, || info!("{word}"));
        }
        let text = fs::read_to_string(&path).unwrap();
        let last = |it: &str| it.rsplit(' ').next().map(str::to_owned);
        assert_eq!(text.lines().filter_map(last).collect::<Vec<_>>(), ["first", "second"]);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        }
    }

    #[test]
    fn a_file_that_cannot_be_opened_is_named() {
        let error = open(Path::new("/nowhere/app.log")).unwrap_err();
        expect![
            "failed to open the log file /nowhere/app.log: No such file or directory (os error 2)"
        ]
        .assert_eq(&error.to_string());
    }
}
