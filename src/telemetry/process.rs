//! What the system says of this process; nothing where it does not say it so.

use std::fs;

/// Bytes of memory that it has.
pub(super) fn resident_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|it| it.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1_024)
}

/// How many files and sockets it has open.
pub(super) fn open_files() -> Option<u64> {
    // One of them is the directory that is being read.
    let n_open = fs::read_dir("/proc/self/fd").ok()?.count().saturating_sub(1);
    u64::try_from(n_open).ok()
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_process_has_memory_and_files() {
        assert!(resident_bytes().unwrap() > 1 << 20);
        assert!(open_files().unwrap() >= 3);
    }
}
