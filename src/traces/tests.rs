//! Trace files as others find them.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::Path,
};

use tempfile::TempDir;
use uuid::Uuid;

use super::TraceFileWriter;
use crate::{
    model::{DispatchId, Millis, TaskId, Timestamp},
    ports::{RemovedTraces, TraceFile, TraceFiles as _, TraceTarget, TraceWriteError},
};

struct Space {
    root: TempDir,
    writer: TraceFileWriter,
}

impl Space {
    fn new() -> Self {
        let root = TempDir::new().unwrap();
        let writer = TraceFileWriter::new([root.path().join("root")]);
        Self { root, writer }
    }

    fn target(&self, number: u128) -> TraceTarget {
        TraceTarget {
            dir: self.root.path().join("root/traces"),
            dispatch: DispatchId::new(Uuid::from_u128(number)),
            created_at: Timestamp(Millis(1_795_232_640_123)),
        }
    }

    async fn write(&self, number: u128, task: &str, json: &str) -> Result<(), TraceWriteError> {
        let file = TraceFile::Task { task_id: TaskId::new(task), json: json.to_owned() };
        self.put(self.target(number), file).await
    }

    async fn put(&self, target: TraceTarget, file: TraceFile) -> Result<(), TraceWriteError> {
        self.writer.write(target, Box::new(|| vec![file])).await
    }
}

fn index() -> TraceFile {
    TraceFile::Index("{}".to_owned())
}

fn mode(path: &Path) -> u32 {
    path.symlink_metadata().unwrap().permissions().mode() & 0o777
}

/// All names in a directory, sorted.
fn names(dir: &Path) -> Vec<String> {
    let name = |it: std::io::Result<fs::DirEntry>| it.unwrap().file_name().into_string().unwrap();
    let mut names: Vec<_> = dir.read_dir().unwrap().map(name).collect();
    names.sort();
    names
}

#[tokio::test]
async fn a_task_file_is_private_and_linked_from_above() {
    let space = Space::new();
    space.write(1, "a", "{\"n\":1}").await.unwrap();
    let target = space.target(1);
    let file = target.task_path(&TaskId::new("a"));
    assert_eq!(fs::read_to_string(&file).unwrap(), "{\"n\":1}");
    let modes = [mode(&file), mode(file.parent().unwrap()), mode(&target.dir)];
    assert_eq!(modes, [0o600, 0o700, 0o700]);
    let link = fs::read_link(target.dir.join("a.json")).unwrap();
    assert_eq!(link, Path::new("00000000-0000-0000-0000-000000000001/a.json"));
    assert_eq!(names(file.parent().unwrap()), ["a.json"]);
}

#[tokio::test]
async fn the_link_leads_to_the_newest() {
    let space = Space::new();
    for number in [1, 2] {
        space.write(number, "a", &number.to_string()).await.unwrap();
    }
    space.write(2, "a", "2 again").await.unwrap();
    let dir = space.target(1).dir;
    assert_eq!(fs::read_to_string(dir.join("a.json")).unwrap(), "2 again");
    assert_eq!(fs::read_to_string(space.target(1).task_path(&TaskId::new("a"))).unwrap(), "1");
    let folders = ["00000000-0000-0000-0000-000000000001", "00000000-0000-0000-0000-000000000002"];
    assert_eq!(names(&dir), [folders[0], folders[1], "a.json"]);
}

#[tokio::test]
async fn many_tasks_are_lines_of_one_file() {
    let space = Space::new();
    let lines = vec!["{\"n\":1}".to_owned(), "{\"n\":2}".to_owned()];
    space.put(space.target(1), TraceFile::Lines(lines)).await.unwrap();
    let path = space.target(1).lines_path();
    assert_eq!(fs::read_to_string(&path).unwrap(), "{\"n\":1}\n{\"n\":2}\n");
    assert_eq!((mode(&path), names(&space.target(1).dir).len()), (0o600, 1));
}

#[tokio::test]
async fn the_index_is_named_by_time_and_id() {
    let space = Space::new();
    space.put(space.target(255), index()).await.unwrap();
    let dir = space.target(255).dir;
    assert_eq!(names(&dir), ["dispatch-20261121T034400123Z-00000000.json"]);
    assert_eq!(mode(&space.target(255).index_path()), 0o600);
}

#[tokio::test]
async fn a_link_in_place_of_the_dispatch_directory_is_not_followed() {
    let space = Space::new();
    let target = space.target(1);
    let inside = space.root.path().join("root/elsewhere");
    for elsewhere in [space.root.path().join("outside"), inside] {
        fs::create_dir_all(&elsewhere).unwrap();
        fs::create_dir_all(&target.dir).unwrap();
        let link = target.dir.join(target.dispatch.to_string());
        symlink(&elsewhere, &link).unwrap();
        let refused = space.write(1, "a", "{}").await.unwrap_err();
        assert!(refused.reason.contains("symbolic link"), "{refused}");
        assert_eq!(names(&elsewhere), [""; 0]);
        fs::remove_file(link).unwrap();
    }
}

#[tokio::test]
async fn a_link_in_place_of_a_file_is_replaced_and_not_followed() {
    let space = Space::new();
    let target = space.target(1);
    let file = target.task_path(&TaskId::new("a"));
    let theirs = space.root.path().join("theirs");
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(&theirs, "theirs").unwrap();
    symlink(&theirs, &file).unwrap();
    space.write(1, "a", "ours").await.unwrap();
    assert_eq!(fs::read_to_string(&theirs).unwrap(), "theirs");
    assert!(file.symlink_metadata().unwrap().is_file());
}

#[tokio::test]
async fn what_others_put_beside_the_traces_stays() {
    let space = Space::new();
    let dir = space.target(1).dir;
    fs::create_dir_all(dir.join("directory.json")).unwrap();
    fs::write(dir.join("package.json"), "theirs").unwrap();
    symlink("package.json", dir.join("link.json")).unwrap();
    for task in ["directory", "package", "link"] {
        let refused = space.write(1, task, "ours").await.unwrap_err();
        assert!(refused.reason.contains("in the way"), "{refused}");
        let file = space.target(1).task_path(&TaskId::new(task));
        assert_eq!(fs::read_to_string(file).unwrap(), "ours");
    }
    assert_eq!(fs::read_to_string(dir.join("package.json")).unwrap(), "theirs");
    assert_eq!(fs::read_link(dir.join("link.json")).unwrap(), Path::new("package.json"));
}

#[tokio::test]
async fn a_directory_in_place_of_a_file_is_an_error_that_names_the_path() {
    let space = Space::new();
    let path = space.target(1).task_path(&TaskId::new("a"));
    fs::create_dir_all(&path).unwrap();
    let refused = space.write(1, "a", "{}").await.unwrap_err();
    let start = format!("failed to write trace file {}: ", path.display());
    assert!(refused.to_string().starts_with(&start), "{refused}");
    assert_eq!(names(path.parent().unwrap()), ["a.json"]);
}

#[tokio::test]
async fn nothing_is_written_outside_the_roots() {
    let space = Space::new();
    let outside = space.root.path().join("outside");
    for dir in ["outside", "root/../outside", "rooted"] {
        let dir = space.root.path().join(dir);
        let target = TraceTarget { dir, ..space.target(1) };
        let refused = space.put(target, index()).await.unwrap_err();
        assert!(refused.reason.contains("outside of every trace root"), "{refused}");
    }
    fs::create_dir_all(space.root.path().join("root")).unwrap();
    fs::create_dir(&outside).unwrap();
    symlink("../outside", space.root.path().join("root/traces")).unwrap();
    space.put(space.target(1), index()).await.unwrap_err();
    assert_eq!(names(&outside), [""; 0]);
}

#[tokio::test]
async fn a_task_id_is_never_taken_for_a_path() {
    let space = Space::new();
    for task in ["../a", "a/b", "/a", ".."] {
        let written = space.write(1, task, "{}").await;
        assert_eq!(written.is_err(), task != "..", "{task}: {written:?}");
    }
    assert_eq!(names(space.root.path()), ["root"]);
    let dir = space.target(1).dir;
    assert_eq!(names(&dir), ["...json", "00000000-0000-0000-0000-000000000001"]);
}

#[tokio::test]
async fn many_writes_at_once_all_end() {
    let space = Space::new();
    let mut writes = tokio::task::JoinSet::new();
    for number in 0..40 {
        let task_id = TaskId::new(&format!("task-{}", number % 8));
        let file = TraceFile::Task { task_id, json: "{}".to_owned() };
        writes.spawn(space.writer.write(space.target(number), Box::new(|| vec![file])));
    }
    for written in writes.join_all().await {
        assert_eq!(written, Ok(()));
    }
    assert_eq!(names(&space.target(0).dir).len(), 48);
}

#[tokio::test]
async fn one_file_that_cannot_be_written_does_not_keep_the_others_away() {
    let space = Space::new();
    let task = |it: &str| TraceFile::Task { task_id: TaskId::new(it), json: "{}".to_owned() };
    let files = vec![task("a/b"), task("c"), index()];
    let refused = space.writer.write(space.target(1), Box::new(|| files)).await.unwrap_err();
    assert!(refused.path.ends_with("a/b.json"), "{refused}");
    let index = "dispatch-20261121T034400123Z-00000000.json";
    let folder = "00000000-0000-0000-0000-000000000001";
    assert_eq!(names(&space.target(1).dir), [folder, "c.json", index]);
}

/// The test of modes once more, in a process that would let everybody in, or nobody.
#[test]
fn e2e_modes_do_not_depend_on_the_umask() {
    let test = "traces::tests::a_task_file_is_private_and_linked_from_above";
    for umask in ["000", "277"] {
        let script = format!("umask {umask}; exec \"$0\" --exact {test}");
        let mut shell = std::process::Command::new("sh");
        let ended =
            shell.args(["-c", &script]).arg(std::env::current_exe().unwrap()).output().unwrap();
        let said = String::from_utf8_lossy(&ended.stdout);
        assert!(ended.status.success() && said.contains("1 passed"), "umask {umask}: {said}");
    }
}

#[tokio::test]
async fn what_was_written_is_removed_and_nothing_else() {
    let space = Space::new();
    for number in [1, 2] {
        for task in ["a", "b"] {
            space.write(number, task, "{}").await.unwrap();
        }
    }
    let (target, at) = (space.target(1), Timestamp(Millis(1_795_232_640_124)));
    let other = TraceTarget { created_at: at, ..space.target(2) };
    for it in [&target, &other] {
        let index = Box::new(|| vec![TraceFile::Index("{}".to_owned())]);
        space.writer.write(it.clone(), index).await.unwrap();
    }
    let lines = Box::new(|| vec![TraceFile::Lines(vec!["{}".to_owned()])]);
    space.writer.write(target.clone(), lines).await.unwrap();
    let folder = target.dir.join(target.dispatch.to_string());
    fs::write(folder.join("notes.txt"), "mine").unwrap();
    fs::create_dir(folder.join("more.json")).unwrap();
    // The links lead to the newest files, which are those of the other dispatch.
    let removed = space.writer.remove(target.clone()).await;
    assert_eq!(removed, RemovedTraces { n_files: 4, left: None });
    assert_eq!(names(&folder), ["more.json", "notes.txt"]);
    let index = other.index_path();
    let kept = ["a.json", "b.json", index.file_name().unwrap().to_str().unwrap()];
    assert!(kept.iter().all(|it| names(&other.dir).iter().any(|there| there == it)));
    let removed = space.writer.remove(other.clone()).await;
    assert_eq!(removed, RemovedTraces { n_files: 5, left: None });
    assert_eq!(names(&other.dir), [target.dispatch.to_string()]);
    assert_eq!(space.writer.remove(other).await, RemovedTraces::default());
}

#[tokio::test]
async fn nothing_is_removed_behind_a_link_or_outside_the_roots() {
    let space = Space::new();
    let elsewhere = space.root.path().join("elsewhere");
    let writer = TraceFileWriter::new([elsewhere.clone()]);
    let theirs = TraceTarget { dir: elsewhere.clone(), ..space.target(1) };
    let task = || vec![TraceFile::Task { task_id: TaskId::new("a"), json: "{}".to_owned() }];
    writer.write(theirs.clone(), Box::new(task)).await.unwrap();
    let file = theirs.task_path(&TaskId::new("a"));
    assert!(space.writer.remove(theirs.clone()).await.left.is_some());
    let target = space.target(1);
    fs::create_dir_all(&target.dir).unwrap();
    let folder = target.dispatch.to_string();
    symlink(elsewhere.join(&folder), target.dir.join(&folder)).unwrap();
    assert_eq!(space.writer.remove(target.clone()).await, RemovedTraces::default());
    fs::remove_dir_all(&target.dir).unwrap();
    symlink(&elsewhere, &target.dir).unwrap();
    assert!(space.writer.remove(target).await.left.is_some());
    assert!(file.exists());
}
