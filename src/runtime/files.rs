//! Digests of the files that tasks name and leave; files in workspaces only, and of bounded size.

use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use crate::{
    confine::{ConfineError, Workspaces},
    ports::Digest,
};

/// The fields of an input that name files to look at.
const NAMING_FIELDS: [&str; 2] = ["context_files", "affected_files"];
/// The field of an input or an output that names a file that was written.
const WRITTEN_FIELD: &str = "output_path";
/// The most bytes of all files of one task together.
const BYTES_MAX: u64 = 64 << 20;
/// The most files of one task.
const FILES_MAX: usize = 1_000;

/// The files that an input names; `None` if it is not to be seen which they are.
pub(super) fn named(input: &Map<String, Value>) -> Option<Vec<String>> {
    let mut files = Vec::new();
    for field in NAMING_FIELDS {
        match input.get(field) {
            None | Some(Value::Null) => (),
            Some(Value::Array(items)) => {
                for it in items {
                    files.push(it.as_str()?.to_owned());
                }
            }
            Some(_) => return None,
        }
    }
    (files.len() <= FILES_MAX).then_some(files)
}

/// The file that an input says is to be written.
pub(super) fn to_be_written(input: &Map<String, Value>) -> Option<String> {
    input.get(WRITTEN_FIELD)?.as_str().map(str::to_owned)
}

/// The files that a task left: the one that its input says, and the one that its output says, where
/// that is another one.
pub(super) fn written(to_be_written: Option<&str>, output: &str) -> Vec<String> {
    #[derive(serde::Deserialize)]
    struct Output {
        output_path: Option<Value>,
    }
    let output = serde_json::from_str(output).ok().and_then(|it: Output| it.output_path);
    let said = output.as_ref().and_then(Value::as_str).filter(|it| Some(*it) != to_be_written);
    to_be_written.into_iter().chain(said).map(str::to_owned).collect()
}

/// The digests of files; `None` if one cannot be read, or they are too large. Blocks.
pub(super) fn digests(workspaces: &Workspaces, files: &[String]) -> Option<Vec<Digest>> {
    let mut bytes_left = BYTES_MAX;
    files.iter().map(|it| digest(workspaces, it, &mut bytes_left).ok()).collect()
}

/// Like [`digests`], but a file that is not there is no reason to give up.
pub(super) fn evidence(workspaces: &Workspaces, files: &[String]) -> Option<Vec<Digest>> {
    let mut bytes_left = BYTES_MAX;
    let digest = |file: &String| match digest(workspaces, file, &mut bytes_left) {
        Err(ConfineError::NotFound { .. }) => Some(Digest::ABSENT),
        found => found.ok(),
    };
    files.iter().map(digest).collect()
}

/// The digest of each file, whatever the others are; `None` of one that cannot be read. Blocks.
pub(super) fn each(workspaces: &Workspaces, files: &[String]) -> Vec<Option<Digest>> {
    let each = |it: &String| evidence(workspaces, std::slice::from_ref(it))?.pop();
    files.iter().map(each).collect()
}

fn digest(
    workspaces: &Workspaces,
    file: &str,
    bytes_left: &mut u64,
) -> Result<Digest, ConfineError> {
    let mut hasher = Sha256::new();
    let n_bytes = workspaces.feed(file, *bytes_left, |piece| hasher.update(piece))?;
    *bytes_left = bytes_left.saturating_sub(n_bytes);
    Ok(Digest(hasher.finalize().into()))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use serde_json::json;
    use tempfile::TempDir;

    use super::*;

    fn named_by(input: &Value) -> Option<Vec<String>> {
        named(input.as_object().unwrap())
    }

    #[test]
    fn an_input_names_files_in_its_lists() {
        let input = json!({"context_files": ["/a"], "affected_files": ["/b", "/c"], "x": ["/d"]});
        assert_eq!(named_by(&input).unwrap(), ["/a", "/b", "/c"]);
        assert_eq!(named_by(&json!({"context_files": null})), Some(Vec::new()));
        assert_eq!(named_by(&json!({"context_files": "/a"})), None);
        assert_eq!(named_by(&json!({"affected_files": ["/a", 1]})), None);
        let many = vec!["/a"; FILES_MAX + 1];
        assert_eq!(named_by(&json!({ "context_files": many })), None);
    }

    #[test]
    fn a_task_leaves_what_its_input_and_its_output_say() {
        let input = json!({"output_path": "/a"});
        let to_be_written = to_be_written(input.as_object().unwrap());
        let written = |output: &str| written(to_be_written.as_deref(), output);
        assert_eq!(written(r#"{"output_path": "/b", "x": 1}"#), ["/a", "/b"]);
        assert_eq!(written(r#"{"output_path": "/a"}"#), ["/a"]);
        for other in ["{}", "[1]", "null", r#"{"output_path": 7}"#, r#"{"output_path": null}"#] {
            assert_eq!(written(other), ["/a"], "{other}");
        }
        assert_eq!(super::written(None, "{}"), [""; 0]);
    }

    #[test]
    fn digests_follow_the_text_of_files_that_may_be_read() {
        let space = TempDir::new().unwrap();
        let workspaces = Workspaces::new([space.path().to_owned()]).unwrap();
        let path = |name: &str| space.path().join(name).to_str().unwrap().to_owned();
        fs::write(path("a"), "text").unwrap();
        fs::write(path("b"), "x".repeat(200_000)).unwrap();
        let read = |files: &[String]| digests(&workspaces, files);
        let both = [path("a"), path("b")];
        let wanted = [super::super::work::digest_of("text")];
        assert_eq!(read(&both[..1]).unwrap(), wanted);
        let before = read(&both).unwrap();
        fs::write(path("b"), "y".repeat(200_000)).unwrap();
        let after = read(&both).unwrap();
        assert!(before[0] == after[0] && before[1] != after[1]);
        for file in [path("missing"), path(""), "/etc/hostname".to_owned(), "a".to_owned()] {
            assert_eq!(read(std::slice::from_ref(&file)), None, "{file}");
        }
        assert_eq!(evidence(&workspaces, &[path("missing")]).unwrap(), [Digest::ABSENT]);
        assert_eq!(evidence(&workspaces, &both).unwrap(), after);
        assert_eq!(evidence(&workspaces, &["/etc/hostname".to_owned()]), None);
    }

    #[test]
    fn files_that_are_too_large_together_are_not_read() {
        let space = TempDir::new().unwrap();
        let workspaces = Workspaces::new([space.path().to_owned()]).unwrap();
        let path = space.path().join("file");
        fs::write(&path, "0123456789").unwrap();
        let file = path.to_str().unwrap();
        let mut bytes_left = 19;
        assert!(digest(&workspaces, file, &mut bytes_left).is_ok());
        let error = digest(&workspaces, file, &mut bytes_left).unwrap_err();
        assert!(matches!(error, ConfineError::TooLarge { bytes_max: 9, .. }), "{error}");
        bytes_left = 10;
        assert!(digest(&workspaces, file, &mut bytes_left).is_ok());
        assert_eq!(bytes_left, 0);
    }
}
