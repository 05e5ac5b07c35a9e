//! What leads out of a workspace, and what does not.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
};

use expect_test::{Expect, expect};
use rustix::{fs::Mode, process::umask};
use tempfile::TempDir;

use super::{ConfineError, Entry, EntryKind, Workspaces};

const BYTES_MAX: u64 = 100;

/// A workspace `ws` with a file, beside things that nobody may reach.
struct Ground {
    dir: TempDir,
    workspaces: Workspaces,
}

impl Ground {
    fn new() -> Self {
        let dir = TempDir::new().unwrap();
        fs::create_dir_all(dir.path().join("ws/src")).unwrap();
        fs::create_dir(dir.path().join("ws-evil")).unwrap();
        fs::write(dir.path().join("ws/src/a.py"), "a = 1\n").unwrap();
        fs::write(dir.path().join("secret"), "secret").unwrap();
        fs::write(dir.path().join("ws-evil/secret"), "secret").unwrap();
        let workspaces = Workspaces::new([dir.path().join("ws")]).unwrap();
        Self { dir, workspaces }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn read(&self, name: &str) -> Result<String, ConfineError> {
        self.workspaces.read_text(self.path(name), BYTES_MAX)
    }
}

/// What every operation says of a path, with the ground's own name left out.
#[track_caller]
fn check(ground: &Ground, path: &str, expected: &Expect) {
    let absolute = path.replace('$', &ground.dir.path().to_string_lossy());
    let say = |it: Result<String, ConfineError>| match it {
        Ok(it) => it,
        Err(error) => error.to_string().replace(&*ground.dir.path().to_string_lossy(), "$"),
    };
    let allowed = ground.workspaces.allows(&absolute).map(|()| "allowed".to_owned());
    let read = ground.workspaces.read_text(&absolute, BYTES_MAX);
    let written = ground.workspaces.write_atomically(&absolute, b"x").map(|()| "written".into());
    expected.assert_eq(&format!("{}\n{}\n{}", say(allowed), say(read), say(written)));
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn a_file_beneath_a_root_is_read_and_written() {
    let ground = Ground::new();
    check(
        &ground,
        "$/ws/src/a.py",
        &expect![[r"
            allowed
            a = 1

            written"]],
    );
    check(
        &ground,
        "$/ws/./src//a.py",
        &expect![[r"
            allowed
            x
            written"]],
    );
    check(
        &ground,
        "$/ws/new/deep/b.py",
        &expect![[r"
            allowed
            $/ws/new/deep/b.py: no such file or directory
            written"]],
    );
    assert_eq!(ground.read("ws/new/deep/b.py").unwrap(), "x");
    assert_eq!(fs::read_dir(ground.path("ws/new/deep")).unwrap().count(), 1, "no leftovers");
}

#[test]
fn a_path_that_leads_out_by_its_text_is_refused() {
    let ground = Ground::new();
    for path in ["$/ws/../secret", "$/ws/src/../src/a.py", "$/ws-evil/secret", "/etc/passwd"] {
        let absolute = path.replace('$', &ground.dir.path().to_string_lossy());
        let refused = ground.workspaces.allows(&absolute).unwrap_err();
        assert!(matches!(refused, ConfineError::NotAllowed { .. }), "{path}");
        let refused = ground.workspaces.read(&absolute, BYTES_MAX).unwrap_err();
        assert!(matches!(refused, ConfineError::NotAllowed { .. }), "{path}");
        let refused = ground.workspaces.write_atomically(&absolute, b"x").unwrap_err();
        assert!(matches!(refused, ConfineError::NotAllowed { .. }), "{path}");
    }
    check(
        &ground,
        "src/a.py",
        &expect![[r"
            src/a.py: the path must be absolute
            src/a.py: the path must be absolute
            src/a.py: the path must be absolute"]],
    );
    check(
        &ground,
        "",
        &expect![[r"
            : the path must be absolute
            : the path must be absolute
            : the path must be absolute"]],
    );
    check(
        &ground,
        "$/ws/a\0b\u{1b}",
        &expect![[r"
            $/ws/a\u{0}b\u{1b}: the path is not inside a workspace
            $/ws/a\u{0}b\u{1b}: the path is not inside a workspace
            $/ws/a\u{0}b\u{1b}: the path is not inside a workspace"]],
    );
}

#[test]
fn a_link_that_leads_out_is_not_followed() {
    let ground = Ground::new();
    symlink("../secret", ground.path("ws/file")).unwrap();
    symlink(ground.path("secret"), ground.path("ws/absolute")).unwrap();
    symlink("../ws-evil", ground.path("ws/dir")).unwrap();
    for name in ["ws/file", "ws/absolute", "ws/dir/secret"] {
        let refused = ground.read(name).unwrap_err();
        assert!(matches!(refused, ConfineError::NotAllowed { .. }), "{name}: {refused}");
        assert!(!ground.workspaces.is_file(ground.path(name)), "{name}");
        assert!(ground.workspaces.canonicalize(ground.path(name)).is_err(), "{name}");
    }
    let refused = ground.workspaces.write_atomically(ground.path("ws/dir/new"), b"x").unwrap_err();
    assert!(matches!(refused, ConfineError::NotAllowed { .. }), "{refused}");
    let refused = ground.workspaces.create_private_dir(ground.path("ws/dir/new")).unwrap_err();
    assert!(matches!(refused, ConfineError::NotAllowed { .. }), "{refused}");
    assert!(ground.workspaces.list(ground.path("ws/dir"), 10).is_err());
    assert_eq!(fs::read_dir(ground.path("ws-evil")).unwrap().count(), 1);
}

#[test]
fn writing_over_a_link_replaces_the_link() {
    let ground = Ground::new();
    symlink("../secret", ground.path("ws/file")).unwrap();
    ground.workspaces.write_atomically(ground.path("ws/file"), b"mine").unwrap();
    assert_eq!(fs::read_to_string(ground.path("secret")).unwrap(), "secret");
    assert_eq!(ground.read("ws/file").unwrap(), "mine");
}

#[test]
fn a_link_inside_the_workspace_is_followed() {
    let ground = Ground::new();
    symlink("src", ground.path("ws/code")).unwrap();
    assert_eq!(ground.read("ws/code/a.py").unwrap(), "a = 1\n");
    ground.workspaces.write_atomically(ground.path("ws/code/b.py"), b"b").unwrap();
    assert_eq!(ground.read("ws/src/b.py").unwrap(), "b");
}

#[test]
fn a_root_may_be_named_by_its_link_and_by_its_place() {
    let ground = Ground::new();
    symlink("ws", ground.path("link")).unwrap();
    let workspaces = Workspaces::new([ground.path("link")]).unwrap();
    for name in ["link/src/a.py", "ws/src/a.py"] {
        assert_eq!(workspaces.read(ground.path(name), BYTES_MAX).unwrap(), b"a = 1\n");
    }
    let real = ground.path("ws").canonicalize().unwrap();
    assert_eq!(workspaces.root_of(ground.path("link/x")).unwrap(), real);
    assert_eq!(
        workspaces.canonicalize(ground.path("link/src")).unwrap(),
        real.join("src"),
        "links are followed"
    );
}

#[test]
fn the_root_itself_is_a_directory() {
    let ground = Ground::new();
    check(
        &ground,
        "$/ws",
        &expect![[r"
            allowed
            $/ws: not a regular file
            $/ws: not a regular file"]],
    );
    ground.workspaces.create_private_dir(ground.path("ws")).unwrap();
}

#[test]
fn what_is_no_regular_file_is_refused_at_once() {
    let ground = Ground::new();
    let pipe = ground.path("ws/pipe");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &pipe,
        rustix::fs::FileType::Fifo,
        Mode::from_raw_mode(0o600),
        0,
    )
    .unwrap();
    assert!(matches!(ground.read("ws/pipe").unwrap_err(), ConfineError::NotAFile { .. }));
    assert!(matches!(ground.read("ws/src").unwrap_err(), ConfineError::NotAFile { .. }));
    let devices = Workspaces::new([PathBuf::from("/dev")]).unwrap();
    let refused = devices.read("/dev/zero", BYTES_MAX).unwrap_err();
    assert!(matches!(refused, ConfineError::NotAFile { .. }));
}

#[test]
fn a_file_is_read_up_to_its_limit() {
    let ground = Ground::new();
    fs::write(ground.path("ws/fits"), [b'x'; 100]).unwrap();
    fs::write(ground.path("ws/long"), [b'x'; 101]).unwrap();
    assert_eq!(ground.read("ws/fits").unwrap().len(), 100);
    let refused = ground.read("ws/long").unwrap_err();
    assert!(matches!(refused, ConfineError::TooLarge { bytes_max: 100, .. }), "{refused}");
    fs::write(ground.path("ws/latin"), b"gr\xfc\xdfe").unwrap();
    assert_eq!(ground.read("ws/latin").unwrap(), "gr\u{fffd}\u{fffd}e");
}

#[test]
fn names_are_listed_in_order() {
    let ground = Ground::new();
    symlink("src", ground.path("ws/link")).unwrap();
    fs::write(ground.path("ws/z"), "").unwrap();
    let entry = |name: &str, kind| Entry { name: name.into(), kind };
    assert_eq!(
        ground.workspaces.list(ground.path("ws"), 2).unwrap(),
        [entry("link", EntryKind::Link), entry("src", EntryKind::Dir)]
    );
    assert_eq!(
        ground.workspaces.list(ground.path("ws/src"), 9).unwrap(),
        [entry("a.py", EntryKind::File)]
    );
}

#[test]
fn private_files_are_private_under_any_umask() {
    let ground = Ground::new();
    let before = umask(Mode::empty());
    for (mask, public_file, public_dir) in [(0o000, 0o644, 0o755), (0o077, 0o600, 0o700)] {
        umask(Mode::from_raw_mode(mask));
        let name = |it: &str| ground.path(&format!("ws/{mask}-{it}"));
        ground.workspaces.write_private_atomically(name("p/q/file"), b"x").unwrap();
        ground.workspaces.create_private_dir(name("d/e")).unwrap();
        ground.workspaces.write_atomically(name("public/file"), b"x").unwrap();
        for dir in ["p", "p/q", "d", "d/e"] {
            assert_eq!(mode(&name(dir)), 0o700, "{dir} under {mask:o}");
        }
        assert_eq!(mode(&name("p/q/file")), 0o600, "under {mask:o}");
        assert_eq!(mode(&name("public/file")), public_file, "under {mask:o}");
        assert_eq!(mode(&name("public")), public_dir, "under {mask:o}");
    }
    umask(before);
}

#[test]
fn a_missing_root_is_made_when_something_is_written() {
    let ground = Ground::new();
    let workspaces = Workspaces::new([ground.path("later/state")]).unwrap();
    assert!(matches!(
        workspaces.read(ground.path("later/state/x"), BYTES_MAX).unwrap_err(),
        ConfineError::NotFound { .. }
    ));
    workspaces.write_private_atomically(ground.path("later/state/x"), b"x").unwrap();
    assert_eq!(mode(&ground.path("later/state")), 0o700);
}

#[test]
fn a_link_is_replaced_at_once_and_goes_down_only() {
    let ground = Ground::new();
    let link = ground.path("ws/newest.json");
    ground.workspaces.replace_link(&link, "src/old.json").unwrap();
    ground.workspaces.replace_link(&link, "src/a.py").unwrap();
    assert_eq!(fs::read_link(&link).unwrap(), Path::new("src/a.py"));
    for target in ["../secret", "/etc/passwd", "src/../../secret", ""] {
        assert!(ground.workspaces.replace_link(&link, target).is_err(), "{target}");
    }
    assert_eq!(fs::read_link(&link).unwrap(), Path::new("src/a.py"));
}

#[test]
fn a_write_over_a_directory_fails_and_leaves_nothing() {
    let ground = Ground::new();
    assert!(ground.workspaces.write_atomically(ground.path("ws/src"), b"x").is_err());
    assert_eq!(fs::read_dir(ground.path("ws")).unwrap().count(), 1);
}

#[test]
fn a_relative_root_is_refused() {
    assert!(Workspaces::new([PathBuf::from("ws")]).is_err());
    assert!(Workspaces::new([PathBuf::from("/a/../b")]).is_err());
}

#[test]
fn a_file_is_handed_on_in_pieces_up_to_its_limit() {
    let ground = Ground::new();
    let text = "abc".repeat(100_000);
    fs::write(ground.path("ws/large"), &text).unwrap();
    let feed = |name: &str, bytes_max| {
        let (mut fed, mut n_pieces) = (Vec::new(), 0);
        let fed_all = ground.workspaces.feed(ground.path(name), bytes_max, |piece| {
            fed.extend_from_slice(piece);
            n_pieces += 1;
        });
        fed_all.map(|it| (it, fed, n_pieces))
    };
    let (n_bytes, fed, n_pieces) = feed("ws/large", 300_000).unwrap();
    assert_eq!((n_bytes, fed == text.as_bytes()), (300_000, true));
    assert!(n_pieces > 1);
    assert!(matches!(feed("ws/large", 299_999), Err(ConfineError::TooLarge { .. })));
    assert_eq!(feed("ws/src/a.py", 6).unwrap().1, b"a = 1\n");
    assert!(matches!(feed("ws/src", 6), Err(ConfineError::NotAFile { .. })));
    assert!(matches!(feed("secret", 6), Err(ConfineError::NotAllowed { .. })));
    assert!(matches!(feed("ws/missing", 6), Err(ConfineError::NotFound { .. })));
}
