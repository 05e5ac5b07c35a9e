//! Collects every fault and every warning of a document, and keeps the first of them.

use std::fmt;

use crate::model::{ErrorCode, Fault, Refusal, json::Path, text};

/// How many warnings are kept; more are counted only.
const WARNINGS_MAX: usize = 20;

/// The faults found so far.
#[derive(Debug, Default)]
pub(super) struct Faults {
    /// Each with the place of its task, so that later passes can be sorted in.
    kept: Vec<(usize, Fault)>,
    kept_in_pass: usize,
    count: usize,
    place: usize,
}

/// The warnings found so far.
#[derive(Debug, Default)]
pub(super) struct Warnings {
    kept: Vec<String>,
    count: usize,
}

/// Where a value stands, and what it belongs to: all that a fault needs to be described.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'p> {
    pub(super) path: Path<'p>,
    pub(super) subject: Subject<'p>,
}

/// What a value belongs to, as messages begin with it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Subject<'p> {
    /// The document or the arguments as a whole.
    Document,
    /// A task by its id.
    Task(&'p str),
    /// A task without a usable id, by its position.
    TaskAt(usize),
}

impl Faults {
    /// Says where in the document the following faults are: 0 for the whole, `1 + n` for task `n`.
    pub(super) fn at(&mut self, place: usize) {
        self.place = place;
    }

    /// Starts another pass over the document; its faults are sorted in between the earlier ones.
    pub(super) fn start_pass(&mut self) {
        self.kept_in_pass = 0;
    }

    /// Counts a fault, and describes it if it is one of those that are kept.
    pub(super) fn add(&mut self, describe: impl FnOnce() -> Fault) {
        self.count += 1;
        if self.kept_in_pass < Refusal::FAULTS_MAX {
            self.kept_in_pass += 1;
            self.kept.push((self.place, describe()));
        }
    }

    /// Counts faults that are alike and not described.
    pub(super) fn add_undescribed(&mut self, more: usize) {
        self.count += more;
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// Refuses if there is any fault.
    pub(super) fn finish(mut self) -> Result<(), Refusal> {
        self.kept.sort_by_key(|it| it.0);
        let faults = self.kept.into_iter().map(|it| it.1).collect();
        Refusal::from_faults(faults, self.count).map_or(Ok(()), Err)
    }
}

impl Warnings {
    /// Counts a warning, and words it if it is one of those that are kept.
    pub(super) fn add(&mut self, word: impl FnOnce() -> String) {
        self.count += 1;
        if self.kept.len() < WARNINGS_MAX {
            self.kept.push(text::escape(&text::cut(&word(), 400)));
        }
    }

    /// The warnings, the last one saying how many more there are.
    pub(super) fn finish(mut self) -> Vec<String> {
        if self.count > self.kept.len() {
            self.kept.push(format!("{} more warnings", self.count - self.kept.len()));
        }
        self.kept
    }
}

impl<'p> Place<'p> {
    /// The whole document.
    pub(super) const ROOT: Place<'static> = Place { path: Path::Root, subject: Subject::Document };

    /// A field of what stands here.
    pub(super) fn key(&'p self, key: &'p str) -> Self {
        Self { path: Path::Key(&self.path, key), subject: self.subject }
    }

    /// An item of what stands here.
    pub(super) fn index(&'p self, at: usize) -> Self {
        Self { path: Path::Index(&self.path, at), subject: self.subject }
    }

    /// What a field here belongs to, in words.
    pub(super) fn owner(&self) -> String {
        match self.subject {
            Subject::Document => Field(self.path).to_string(),
            Subject::Task(_) | Subject::TaskAt(_) => self.subject.to_string(),
        }
    }

    /// Describes a fault here; the message is the subject, the field, and `what`.
    pub(super) fn fault(&self, code: ErrorCode, what: fmt::Arguments<'_>, hint: &str) -> Fault {
        let message = match self.subject {
            Subject::Document => format!("{} {what}", Field(self.path)),
            Subject::Task(_) | Subject::TaskAt(_) => {
                format!("{}: {} {what}", self.subject, Field(self.path))
            }
        };
        Fault::new(code, self.path.to_string(), &message, hint)
    }

    /// Describes a fault here in its own words.
    pub(super) fn say(&self, code: ErrorCode, message: &str, hint: &str) -> Fault {
        Fault::new(code, self.path.to_string(), message, hint)
    }
}

impl fmt::Display for Subject<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Document => f.write_str("the document"),
            Self::Task(id) => write!(f, "task {}", quote(id)),
            Self::TaskAt(at) => write!(f, "task number {}", at + 1),
        }
    }
}

/// The last step of a path, in words.
struct Field<'p>(Path<'p>);

impl fmt::Display for Field<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Path::Root => f.write_str("the document"),
            Path::Key(_, key) => f.write_str(&quote(key)),
            Path::Index(parent, at) => write!(f, "item {} of {}", at + 1, Field(*parent)),
        }
    }
}

/// A stranger's word in quotes, cut where it is long.
pub(super) fn quote(word: &str) -> String {
    format!("{:?}", text::cut(word, 80))
}

/// `"a", "b" or "c"`.
pub(super) fn list_words(words: &[&str]) -> String {
    match words {
        [] => "nothing".to_owned(),
        [only] => format!("{only:?}"),
        [front @ .., last] => {
            let front: Vec<_> = front.iter().map(|it| format!("{it:?}")).collect();
            format!("{} or {last:?}", front.join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(message: &str) -> Fault {
        Place::ROOT.say(ErrorCode::EmptyValue, message, "")
    }

    #[test]
    fn each_pass_describes_as_many_faults_as_are_kept_and_is_sorted_in() {
        let mut faults = Faults::default();
        let mut n_described = 0;
        faults.at(2);
        for _ in 0..Refusal::FAULTS_MAX + 5 {
            faults.add(|| {
                n_described += 1;
                fault("late")
            });
        }
        assert_eq!(n_described, Refusal::FAULTS_MAX);
        faults.start_pass();
        faults.at(1);
        faults.add(|| fault("early"));
        faults.add_undescribed(4);
        assert_eq!(faults.count(), Refusal::FAULTS_MAX + 5 + 1 + 4);
        let refusal = faults.finish().unwrap_err();
        assert_eq!(refusal.faults()[0].message, "early");
        assert_eq!(refusal.faults()[1].message, "late");
    }

    #[test]
    fn warnings_beyond_the_limit_are_counted() {
        let warnings = |n: usize| {
            let mut warnings = Warnings::default();
            (0..n).for_each(|it| warnings.add(|| it.to_string()));
            warnings.finish()
        };
        assert_eq!(warnings(WARNINGS_MAX).len(), WARNINGS_MAX);
        let more = warnings(WARNINGS_MAX + 3);
        assert_eq!(
            (more.len(), more[WARNINGS_MAX].as_str()),
            (WARNINGS_MAX + 1, "3 more warnings")
        );
    }
}
