//! What the system says about processes and memory; says nothing where there is no `/proc`.

use std::{collections::BTreeMap, fs, path::Path};

use rustix::process::Pid;

const MIB: u64 = 1 << 20;

/// The children of this process.
pub(super) fn children() -> Vec<Pid> {
    let me = rustix::process::getpid();
    let of_me = |(_, parent): &(i32, i32)| *parent == me.as_raw_pid();
    parents().into_iter().filter(of_me).filter_map(|it| Pid::from_raw(it.0)).collect()
}

/// The memory that could be given out now without swapping, in bytes: the machine's, or that of
/// the group of processes where that has less.
pub(super) fn memory_available() -> Option<u64> {
    let machine = field_kib(&fs::read_to_string("/proc/meminfo").ok()?, "MemAvailable:")?;
    Some(group_available().map_or(machine, |it| it.min(machine)))
}

/// What a limit on this group of processes leaves; what it keeps of files can be dropped.
fn group_available() -> Option<u64> {
    let read = |name: &str| fs::read_to_string(Path::new("/sys/fs/cgroup").join(name)).ok();
    let number = |name: &str| read(name)?.trim().parse::<u64>().ok();
    let cached = field(&read("memory.stat")?, "inactive_file ").unwrap_or(0);
    let used = number("memory.current")?.saturating_sub(cached);
    Some(number("memory.max")?.saturating_sub(used))
}

/// The memory that each of the processes has together with its descendants, in bytes.
pub(super) fn memory_of_trees(roots: &[u32]) -> Vec<u64> {
    let parents: BTreeMap<i32, i32> = parents().into_iter().collect();
    let mut used = vec![0; roots.len()];
    for pid in parents.keys() {
        let Some(at) = root_of(*pid, &parents, roots) else { continue };
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        used[at] += field_kib(&status, "VmRSS:").unwrap_or(0);
    }
    used
}

/// Which of `roots` a process descends from.
fn root_of(pid: i32, parents: &BTreeMap<i32, i32>, roots: &[u32]) -> Option<usize> {
    let mut at = pid;
    // Numbers are given anew, so what was read bit by bit could lead in a circle.
    for _ in 0..64 {
        if let Some(place) = roots.iter().position(|it| i32::try_from(*it) == Ok(at)) {
            return Some(place);
        }
        at = *parents.get(&at)?;
    }
    None
}

/// Every process with its parent.
fn parents() -> Vec<(i32, i32)> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let pid = |it: fs::DirEntry| it.file_name().to_str()?.parse::<i32>().ok();
    let pids = entries.flatten().filter_map(pid);
    pids.filter_map(|it| Some((it, parent_of(&stat(it)?)?))).collect()
}

fn stat(pid: i32) -> Option<String> {
    let bytes = fs::read(format!("/proc/{pid}/stat")).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// The parent in a line of `stat`; the name in it may hold blanks and parentheses.
fn parent_of(stat: &str) -> Option<i32> {
    stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(1)?.parse().ok()
}

fn field_kib(text: &str, name: &str) -> Option<u64> {
    Some(field(text, name)?.saturating_mul(1 << 10))
}

fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|it| it.strip_prefix(name))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

/// So many mebibytes in bytes.
pub(super) fn mebibytes(n: u64) -> u64 {
    n.saturating_mul(MIB)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_hold_anything() {
        assert_eq!(parent_of("7 (a) b) (c) S 42 7 7 0"), Some(42));
        assert_eq!(parent_of("7 (sh) Z"), None);
        assert_eq!(parent_of(""), None);
    }

    #[test]
    fn this_process_has_memory_and_a_parent() {
        let me = std::process::id();
        assert!(memory_available().unwrap() > 0);
        assert!(memory_of_trees(&[me, u32::MAX])[0] > mebibytes(1));
        let parent = rustix::process::getppid().unwrap().as_raw_pid();
        assert!(parents().contains(&(i32::try_from(me).unwrap(), parent)));
    }

    #[test]
    fn who_descends_from_whom_ends_even_in_a_circle() {
        let parents = BTreeMap::from([(4, 3), (3, 2), (2, 1), (8, 9), (9, 8)]);
        assert_eq!(root_of(4, &parents, &[7, 2]), Some(1));
        assert_eq!(root_of(8, &parents, &[7, 2]), None);
        assert_eq!(root_of(1, &parents, &[7, 2]), None);
    }
}
