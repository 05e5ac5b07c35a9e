//! The text format of Prometheus, version 0.0.4, and what its numbers are kept in.
//!
//! Counting is one or two atomic additions; nothing is looked up, nothing locked.

use std::{
    fmt::{Display, Write as _},
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

/// A number that only grows.
#[derive(Debug, Default)]
pub(super) struct Counter(AtomicU64);

/// A number that is what it is.
#[derive(Debug, Default)]
pub(super) struct Gauge(AtomicU64);

/// How many spans of time were in which class.
#[derive(Debug)]
pub(super) struct Histogram {
    /// The ends of the classes, in seconds, each included in its class.
    ends: &'static [f64],
    /// How many were in each; the last is for what is longer than every end.
    classes: Box<[AtomicU64]>,
    sum_micros: AtomicU64,
}

/// The page that a scraper gets, as it grows.
#[derive(Debug, Default)]
pub(super) struct Page(String);

/// Labels of one sample, each a name and a value.
pub(super) type Labels<'a> = &'a [(&'a str, &'a str)];

impl Counter {
    pub(super) fn add(&self, n: u64) {
        self.0.fetch_add(n, Relaxed);
    }

    pub(super) fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

impl Gauge {
    pub(super) fn set(&self, value: u64) {
        self.0.store(value, Relaxed);
    }

    pub(super) fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

impl Histogram {
    pub(super) fn new(ends: &'static [f64]) -> Self {
        let classes = (0..=ends.len()).map(|_| AtomicU64::new(0)).collect();
        Self { ends, classes, sum_micros: AtomicU64::new(0) }
    }

    pub(super) fn observe(&self, took: Duration) {
        let class = self.ends.partition_point(|it| *it < took.as_secs_f64());
        self.classes[class].fetch_add(1, Relaxed);
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.sum_micros.fetch_add(micros, Relaxed);
    }
}

impl Page {
    /// Begins a family of samples: `counter`, `gauge` or `histogram`.
    pub(super) fn family(&mut self, name: &str, kind: &str, help: &str) {
        self.line(format_args!("# HELP {name} {help}"));
        self.line(format_args!("# TYPE {name} {kind}"));
    }

    pub(super) fn sample(&mut self, name: &str, labels: Labels<'_>, value: impl Display) {
        self.0.push_str(name);
        for (at, (label, text)) in labels.iter().enumerate() {
            self.0.push(if at == 0 { '{' } else { ',' });
            self.0.push_str(label);
            self.0.push_str("=\"");
            for it in text.chars() {
                match it {
                    '\\' => self.0.push_str("\\\\"),
                    '"' => self.0.push_str("\\\""),
                    '\n' => self.0.push_str("\\n"),
                    it => self.0.push(it),
                }
            }
            self.0.push('"');
        }
        if !labels.is_empty() {
            self.0.push('}');
        }
        self.line(format_args!(" {value}"));
    }

    /// The samples of a histogram, which has one label or none.
    pub(super) fn histogram(
        &mut self,
        name: &str,
        label: Option<(&str, &str)>,
        histogram: &Histogram,
    ) {
        let bucket = format!("{name}_bucket");
        let ends = histogram.ends.iter().map(ToString::to_string).chain(["+Inf".to_owned()]);
        let mut n_so_far = 0;
        for (end, class) in ends.zip(&histogram.classes) {
            n_so_far += class.load(Relaxed);
            let labels: Vec<_> = label.into_iter().chain([("le", end.as_str())]).collect();
            self.sample(&bucket, &labels, n_so_far);
        }
        let labels = label.as_slice();
        let sum = Duration::from_micros(histogram.sum_micros.load(Relaxed)).as_secs_f64();
        self.sample(&format!("{name}_sum"), labels, sum);
        self.sample(&format!("{name}_count"), labels, n_so_far);
    }

    pub(super) fn text(self) -> String {
        self.0
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        // Writing to a text cannot fail.
        let _written = writeln!(self.0, "{line}");
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    #[test]
    fn a_page_has_families_and_samples() {
        let histogram = Histogram::new(&[0.5, 1.0]);
        for millis in [100, 500, 501, 9_000] {
            histogram.observe(Duration::from_millis(millis));
        }
        let mut page = Page::default();
        page.family("a_total", "counter", "Some.");
        page.sample("a_total", &[("b", "c\"\\\n}"), ("d", "é")], 7);
        page.sample("e", &[], 0.5);
        page.histogram("h", Some(("b", "c")), &histogram);
        expect![[r#"
            # HELP a_total Some.
            # TYPE a_total counter
            a_total{b="c\"\\\n}",d="é"} 7
            e 0.5
            h_bucket{b="c",le="0.5"} 2
            h_bucket{b="c",le="1"} 3
            h_bucket{b="c",le="+Inf"} 4
            h_sum{b="c"} 10.101
            h_count{b="c"} 4
        "#]]
        .assert_eq(&page.text());
    }
}
