//! Checks of the repository itself: who imports whom, purity, sizes, and words that may not stay.
//!
//! Each check names every offence with its place, so one run shows all there is to mend.

#![cfg(test)]

use std::{fs, path::Path};

/// The rooms from the ground up, each with the rooms that it may import besides itself.
const ROOMS: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("plan", &["model"]),
    ("scheduler", &["model", "plan"]),
    ("ports", &["model", "scheduler"]),
    ("confine", &["model"]),
    ("runtime", &["model", "plan", "scheduler", "ports", "confine"]),
    ("upstream", &["model", "ports"]),
    ("agents", &["model", "ports", "upstream", "confine"]),
    ("sources", &["model", "ports", "upstream", "confine"]),
    ("stores", &["model", "ports"]),
    ("traces", &["model", "ports"]),
    ("archon", &["model", "confine"]),
    ("mcp", &["model", "plan", "runtime"]),
    ("transport", &["model"]),
    ("web", &["model", "runtime"]),
    ("cli", &["model", "plan", "runtime", "config"]),
    ("config", &["model"]),
    ("telemetry", &["model", "ports", "config"]),
    ("app", &[]),
];

/// What puts the house together imports whatever it needs.
const ROOTS: [&str; 3] = ["app", "main", "lib"];

/// Rooms that decide and never do: no IO, no clock, no threads, no async, no logs.
const PURE: [&str; 3] = ["model", "plan", "scheduler"];
const IMPURE_WORDS: [&str; 7] =
    ["tokio", "tracing", "Instant", "SystemTime", "async fn", "println!", "eprintln!"];
const IMPURE_STD: [&str; 7] = ["fs", "net", "io", "thread", "process", "env", "os"];

const PRODUCTION_LINES_MAX: usize = 500;
const COLUMNS_MAX: usize = 100;

/// Words of an unfinished thought, put together here so that this file has none.
const UNFINISHED: [&str; 3] = [concat!("FIX", "ME"), concat!("TO", "DO"), concat!("XX", "X")];
/// Places that belong to one machine, and hosts that only a registry's client should know.
const FOREIGN: [&str; 8] = [
    concat!("/wo", "rk/"),
    concat!(".lib", "rary"),
    concat!("far", "m-"),
    concat!("index.", "crates.io"),
    concat!("static.", "crates.io"),
    concat!("files.", "pythonhosted.org"),
    concat!("registry.", "npmjs.org"),
    concat!("proxy.", "golang.org"),
];
/// Directories that hold nothing of the project's own, and files that programs write.
const SKIPPED: [&str; 9] = [
    "target",
    ".git",
    "generated",
    "traces",
    "node_modules",
    "Cargo.lock",
    "mutants.out",
    "corpus",
    "artifacts",
];

/// One Rust file of the crate.
struct Source {
    /// The folder or file under `src` that it belongs to.
    room: String,
    /// From the repository's root, with slashes.
    path: String,
    text: String,
    /// Whether the whole file is for tests.
    is_test: bool,
}

#[test]
fn rooms_import_only_what_their_row_allows() {
    report(&sources(), |source| {
        let row = ROOMS.iter().find(|it| it.0 == source.room);
        let Some((_, allowed)) = row.filter(|it| !ROOTS.contains(&it.0)) else {
            return Vec::new();
        };
        let is_room = |it: &str| ROOMS.iter().any(|row| row.0 == it);
        imports(source)
            .into_iter()
            .filter(|(_, it)| is_room(it) && *it != source.room && !allowed.contains(&it.as_str()))
            .map(|(line, it)| format!("{line}: `{}` may not import `{it}`", source.room))
            .collect()
    });
}

#[test]
fn the_page_shows_the_same_rooms() {
    let page = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let table = page.split_once("\n| room |").unwrap().1.split("\n\n").next().unwrap();
    let shown = table.lines().skip(2).map(|it| {
        let mut cells = it.trim_start_matches("| ").split(" | ");
        format!("{} | {}", cells.next().unwrap().trim_matches('`'), cells.next().unwrap())
    });
    let row = |(room, allowed): &(&str, &[&str])| match (ROOTS.contains(room), allowed.len()) {
        (true, _) => format!("{room} | everything"),
        (false, 0) => format!("{room} | nothing"),
        (false, _) => format!("{room} | `{}`", allowed.join("`, `")),
    };
    let known: Vec<String> = ROOMS.iter().map(row).collect();
    assert_eq!(shown.collect::<Vec<_>>(), known);
}

#[test]
fn every_row_has_a_room() {
    let is_there = |room: &str| {
        let place = root().join("src").join(room);
        place.is_dir() || place.with_extension("rs").is_file()
    };
    let empty: Vec<_> = ROOMS.iter().map(|it| it.0).filter(|it| !is_there(it)).collect();
    assert_eq!(empty, [""; 0]);
}

#[test]
fn every_room_has_a_row() {
    report(&sources(), |source| {
        let is_known = ROOTS.contains(&source.room.as_str())
            || ROOMS.iter().any(|row| row.0 == source.room.as_str());
        if is_known { Vec::new() } else { vec![format!("1: `{}` has no row", source.room)] }
    });
}

#[test]
fn pure_rooms_do_no_io_and_read_no_clock() {
    report(&sources(), |source| {
        if !PURE.contains(&source.room.as_str()) || source.is_test {
            return Vec::new();
        }
        let code = source.code();
        let words = IMPURE_WORDS.iter().flat_map(|word| {
            find_words(&code, word).into_iter().map(move |line| (line, (*word).to_owned()))
        });
        let modules = paths_after(&code, "std::").into_iter();
        let modules = modules.filter(|(_, it)| IMPURE_STD.contains(&it.as_str()));
        words
            .chain(modules)
            .map(|(line, it)| format!("{line}: `{it}` in the pure room `{}`", source.room))
            .collect()
    });
}

#[test]
fn only_the_settings_read_the_environment() {
    report(&sources(), |source| {
        if source.room == "config" || source.is_test {
            return Vec::new();
        }
        let lines = find_words(&source.code(), "env::var").into_iter();
        let lines = lines.chain(find_words(&source.code(), "env::var_os"));
        lines.map(|it| format!("{it}: ask `config` for it")).collect()
    });
}

#[test]
fn every_rust_file_opens_with_its_purpose() {
    report(&rust_files(), |source| {
        if source.text.starts_with("//! ") { Vec::new() } else { vec!["1: no `//! ` line".into()] }
    });
}

#[test]
fn files_stay_small_and_narrow() {
    report(&rust_files(), |source| {
        let mut offences = Vec::new();
        let n_lines = source.production().lines().count();
        if n_lines > PRODUCTION_LINES_MAX {
            offences.push(format!("1: {n_lines} lines, at most {PRODUCTION_LINES_MAX}"));
        }
        // What a test expects stands as it is shown, however wide.
        let lines = source.production().lines().enumerate().filter(|_| !source.is_test);
        for (at, line) in lines.filter(|it| it.1.chars().count() > COLUMNS_MAX) {
            offences.push(format!("{}: {} columns", at + 1, line.chars().count()));
        }
        offences
    });
}

#[test]
fn nothing_unfinished_and_nothing_of_one_machine_is_in_the_repository() {
    let mut files = Vec::new();
    collect(root(), &|_| true, &mut files);
    report(&files, |file| {
        let mut offences = Vec::new();
        for (at, line) in file.text.lines().enumerate() {
            for word in UNFINISHED.iter().filter(|it| !find_words(line, it).is_empty()) {
                offences.push(format!("{}: `{word}`: finish it first", at + 1));
            }
            for word in FOREIGN.iter().filter(|it| line.contains(**it)) {
                offences.push(format!("{}: `{word}` is of one machine only", at + 1));
            }
        }
        offences
    });
}

#[test]
fn imports_are_found_however_they_are_written() {
    let source = |path: &str, text: &str| Source::new(path, text.to_owned());
    let text = "use crate::{\n    model::{A, plan::B},\n    ports,\n};\n// crate::web\n\
                fn f() { crate::mcp::g(); mycrate::cli::h(); }\n\
                #[cfg(test)]\nmod tests { use crate::app; }\n";
    let named = |it: &[(usize, String)]| {
        it.iter().map(|(line, it)| format!("{line} {it}")).collect::<Vec<_>>().join(", ")
    };
    let found = imports(&source("src/agents/x.rs", text));
    assert_eq!(named(&found), "2 model, 3 ports, 6 mcp");
    let text = "use super::super::web;\nuse super::{a, b};\n";
    assert_eq!(named(&imports(&source("src/plan/x.rs", text))), "1 web");
    assert_eq!(named(&imports(&source("src/plan/mod.rs", text))), "2 a, 2 b");
    assert_eq!(named(&imports(&source("src/plan/deep/x.rs", text))), "");
}

impl Source {
    fn new(path: &str, text: String) -> Self {
        let inner = path.strip_prefix("src/").unwrap_or(path);
        let room = inner.split('/').next().unwrap().trim_end_matches(".rs").to_owned();
        Self { room, path: path.to_owned(), text, is_test: false }
    }

    /// The paths, without their ends, of the modules that it declares for tests alone.
    fn test_modules(&self) -> Vec<String> {
        let (folder, name) = self.path.rsplit_once('/').unwrap();
        let own = name.trim_end_matches(".rs");
        let is_top = matches!(own, "mod" | "lib" | "main");
        let folder = if is_top { folder.to_owned() } else { format!("{folder}/{own}") };
        let declared = self.text.split("#[cfg(test)]").skip(1).filter_map(|it| {
            let line = it.trim_start().lines().next()?;
            line.strip_suffix(';')?.split_once("mod ").map(|it| it.1)
        });
        declared.map(|it| format!("{folder}/{it}")).collect()
    }

    /// The text up to the tests at its end.
    fn production(&self) -> &str {
        let end = self.text.find("\n#[cfg(test)]\nmod tests {");
        &self.text[..end.unwrap_or(self.text.len())]
    }

    /// The production text with comment lines made empty, so that line numbers stay.
    fn code(&self) -> String {
        let blank = |it| if str::trim_start(it).starts_with("//") { "" } else { it };
        self.production().lines().map(blank).collect::<Vec<_>>().join("\n")
    }

    /// How many `super` lead from this file's module to the crate.
    fn depth(&self) -> usize {
        let inner = self.path.strip_prefix("src/").unwrap_or(&self.path);
        inner.split('/').filter(|it| *it != "mod.rs").count()
    }
}

/// The names below the crate that production code refers to, with their lines.
fn imports(source: &Source) -> Vec<(usize, String)> {
    if source.is_test {
        return Vec::new();
    }
    let code = source.code();
    let up = "super::".repeat(source.depth());
    let mut found = paths_after(&code, "crate::");
    found.extend(paths_after(&code, &up).into_iter().filter(|it| it.1 != "super"));
    found
}

/// The first names of the paths that begin with `prefix`, braces looked into.
fn paths_after(code: &str, prefix: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices(prefix) {
        let before = &code[..at];
        if before.ends_with(|it: char| is_word(it) || it == ':') {
            continue;
        }
        let start = at + prefix.len();
        for (offset, name) in first_names(&code[start..]) {
            found.push((line_of(code, start + offset), name));
        }
    }
    found
}

/// The first name of each path in a use tree, with its offset.
fn first_names(tree: &str) -> Vec<(usize, String)> {
    let name_at = |at: usize| {
        let name: String = tree[at..].chars().take_while(|it| is_word(*it)).collect();
        (at, name)
    };
    if !tree.starts_with('{') {
        return vec![name_at(0)];
    }
    let (mut names, mut depth, mut is_start) = (Vec::new(), 0_usize, false);
    for (at, it) in tree.char_indices() {
        match it {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            break;
        }
        if depth == 1 && matches!(it, '{' | ',') {
            is_start = true;
        } else if is_start && is_word(it) {
            names.push(name_at(at));
            is_start = false;
        }
    }
    names
}

/// The lines on which `word` stands by itself.
fn find_words(text: &str, word: &str) -> Vec<usize> {
    let is_alone =
        |at: usize| !text[..at].ends_with(is_word) && !text[at + word.len()..].starts_with(is_word);
    text.match_indices(word).filter(|it| is_alone(it.0)).map(|it| line_of(text, it.0)).collect()
}

fn is_word(it: char) -> bool {
    it.is_alphanumeric() || it == '_'
}

fn line_of(text: &str, at: usize) -> usize {
    text[..at].matches('\n').count() + 1
}

fn sources() -> Vec<Source> {
    let mut files = Vec::new();
    collect(&root().join("src"), &is_rust, &mut files);
    mark_tests(&mut files);
    files
}

fn rust_files() -> Vec<Source> {
    let mut files = Vec::new();
    for folder in ["src", "tests", "benches"] {
        collect(&root().join(folder), &is_rust, &mut files);
    }
    mark_tests(&mut files);
    files
}

/// Marks the files whose modules are declared for tests alone, and all below them.
fn mark_tests(files: &mut [Source]) {
    let modules: Vec<String> = files.iter().flat_map(Source::test_modules).collect();
    for file in files {
        let is_in = |module: &String| {
            let rest = file.path.strip_prefix(module.as_str());
            rest.is_some_and(|it| it == ".rs" || it.starts_with('/'))
        };
        file.is_test = file.path.starts_with("tests/") || modules.iter().any(is_in);
    }
}

fn is_rust(name: &str) -> bool {
    Path::new(name).extension().is_some_and(|it| it == "rs")
}

/// The text files below `dir` whose names `is_wanted`, in order; none if there is no such place.
fn collect(dir: &Path, is_wanted: &dyn Fn(&str) -> bool, files: &mut Vec<Source>) {
    let Ok(entries) = fs::read_dir(dir) else {
        return;
    };
    let mut paths: Vec<_> = entries.map(|it| it.unwrap().path()).collect();
    paths.sort();
    for path in paths {
        let name = path.file_name().unwrap().to_str().unwrap();
        if SKIPPED.contains(&name) || path.is_symlink() {
            continue;
        }
        if path.is_dir() {
            collect(&path, is_wanted, files);
        } else if let (true, Ok(text)) = (is_wanted(name), fs::read_to_string(&path)) {
            let shown = path.strip_prefix(root()).unwrap().to_str().unwrap().replace('\\', "/");
            files.push(Source::new(&shown, text));
        }
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Fails with every offence that `check` finds, a line each: `path:line: what`.
fn report(files: &[Source], check: impl Fn(&Source) -> Vec<String>) {
    assert!(!files.is_empty(), "there is nothing to check");
    let offences = files.iter().flat_map(|file| {
        check(file).into_iter().map(move |offence| format!("{}:{offence}", file.path))
    });
    let offences: Vec<String> = offences.collect();
    assert!(offences.is_empty(), "\n{}\n", offences.join("\n"));
}
