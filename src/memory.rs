//! The memory that this process may still use, and checks of sizes before they are allocated.
//!
//! The limit is what this process may use, not what the machine has: that of its control group or
//! of any above it, and those of `ulimit`. A system that overcommits would grant a size
//! beyond that, and end the process later.

use crate::{Error, Result};
use std::fmt::Display;

/// Size in bytes below which nothing is checked: a check would cost more than it tells.
const SMALL: u64 = 32 << 20;

/// Bytes that this process may use beside those that it uses; `u64::MAX` where the system does not
/// say.
pub fn available() -> u64 {
    #[cfg(target_os = "linux")]
    let found = linux::available(std::path::Path::new("/")).min(linux::by_limits());
    #[cfg(not(target_os = "linux"))]
    let found = u64::MAX;
    found
}

/// Holds the bytes that `what` asks for against what there is; `None` is a size beyond all numbers.
///
/// # Errors
/// [`Error::Memory`] if there is not so much.
pub fn check_available(what: impl Display, asked: Option<u64>) -> Result<()> {
    match asked {
        Some(asked) if asked <= SMALL => Ok(()),
        _ => check_against(what, asked.unwrap_or(u64::MAX), available()),
    }
}

fn check_against(what: impl Display, asked: u64, available: u64) -> Result<()> {
    if asked <= available && asked < u64::MAX {
        return Ok(());
    }
    Err(Error::Memory {
        what: what.to_string(),
        asked,
        available,
    })
}

/// Returns the product of sizes in bytes; `None` where it is beyond all numbers.
pub fn product(sizes: &[usize]) -> Option<u64> {
    sizes
        .iter()
        .try_fold(1u64, |n, by| n.checked_mul(*by as u64))
}

#[cfg(target_os = "linux")]
mod linux {
    use std::path::Path;

    /// Returns a number after `name` in a file of such lines, as it stands there.
    fn entry(text: &str, name: &str) -> Option<u64> {
        let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
        rest.split_ascii_whitespace().next()?.parse().ok()
    }

    /// Returns the bytes that the machine, and the control groups of the process, leave. `root` is
    /// the folder of `/proc` and `/sys`.
    pub(super) fn available(root: &Path) -> u64 {
        let read = |path: &str| std::fs::read_to_string(root.join(path)).unwrap_or_default();
        let about = read("proc/meminfo");
        let kib = |name: &str| entry(&about, name).map(|kib| kib.saturating_mul(1024));
        let free =
            kib("MemAvailable:").map(|free| free.saturating_add(kib("SwapFree:").unwrap_or(0)));
        let groups = read("proc/self/cgroup");
        let mut least = free.unwrap_or(u64::MAX);
        for line in groups.lines() {
            // `0::/path` in version 2, `5:cpu,memory:/path` in version 1.
            let mut parts = line.splitn(3, ':').skip(1);
            let (Some(kinds), Some(path)) = (parts.next(), parts.next()) else {
                continue;
            };
            let (base, files) = match kinds {
                "" => (
                    "sys/fs/cgroup",
                    ["memory.max", "memory.current", "inactive_file "],
                ),
                _ if kinds.split(',').any(|kind| kind == "memory") => {
                    let own = [
                        "memory.limit_in_bytes",
                        "memory.usage_in_bytes",
                        "total_inactive_file ",
                    ];
                    ("sys/fs/cgroup/memory", own)
                }
                _ => continue,
            };
            // A group is bound by those above it. Of a container's groups only the topmost may be
            // there, under its own root.
            for group in Path::new(path.trim_start_matches('/')).ancestors() {
                least = least.min(left(&root.join(base).join(group), files));
            }
        }
        least
    }

    /// Returns the bytes that the limit of a control group leaves; files that were read and may be
    /// forgotten do not count as used.
    fn left(group: &Path, [limit, used, idle]: [&str; 3]) -> u64 {
        let read = |name: &str| std::fs::read_to_string(group.join(name)).unwrap_or_default();
        // `max` is no limit.
        let Ok(limit) = read(limit).trim().parse::<u64>() else {
            return u64::MAX;
        };
        let used = read(used).trim().parse::<u64>().unwrap_or(0);
        let idle = entry(&read("memory.stat"), idle).unwrap_or(0);
        limit.saturating_sub(used.saturating_sub(idle))
    }

    /// Returns the bytes that the limits on this process's addresses and data leave.
    pub(super) fn by_limits() -> u64 {
        let about = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let used = |name: &str| entry(&about, name).unwrap_or(0).saturating_mul(1024);
        let left = |resource, used: u64| {
            let mut limit = libc::rlimit {
                rlim_cur: 0,
                rlim_max: 0,
            };
            // SAFETY: the call writes to `limit`, which outlives it.
            let known = unsafe { libc::getrlimit(resource, &mut limit) } == 0
                && limit.rlim_cur != libc::RLIM_INFINITY;
            #[allow(
                clippy::unnecessary_cast,
                reason = "the limit has 32 bits on some systems"
            )]
            if known {
                (limit.rlim_cur as u64).saturating_sub(used)
            } else {
                u64::MAX
            }
        };
        left(libc::RLIMIT_AS, used("VmSize:")).min(left(libc::RLIMIT_DATA, used("VmData:")))
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        fn system(files: &[(&str, &str)]) -> u64 {
            let root = tempfile::tempdir().unwrap();
            for (name, text) in files {
                let path = root.path().join(name);
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::write(path, text).unwrap();
            }
            available(root.path())
        }

        const MACHINE: (&str, &str) = (
            "proc/meminfo",
            "MemTotal: 9000000 kB\nMemAvailable:    8000 kB\nSwapFree:   1000 kB\n",
        );

        #[test]
        fn the_machine_bounds_where_nothing_else_does() {
            assert_eq!(system(&[]), u64::MAX);
            assert_eq!(system(&[MACHINE]), 9000 << 10);
            let unlimited = [
                MACHINE,
                ("proc/self/cgroup", "0::/a\n"),
                ("sys/fs/cgroup/a/memory.max", "max\n"),
            ];
            assert_eq!(system(&unlimited), 9000 << 10);
        }

        #[test]
        fn groups_of_version_2_bound_up_to_the_root() {
            let own = [
                MACHINE,
                ("proc/self/cgroup", "0::/slice/a b.scope\n"),
                ("sys/fs/cgroup/slice/a b.scope/memory.max", "5000000\n"),
                ("sys/fs/cgroup/slice/a b.scope/memory.current", "2000000\n"),
                (
                    "sys/fs/cgroup/slice/a b.scope/memory.stat",
                    "anon 7\ninactive_file 500000\nactive_file 9\n",
                ),
            ];
            assert_eq!(system(&own), 3_500_000);
            let above = [
                ("sys/fs/cgroup/slice/memory.max", "3000000"),
                ("sys/fs/cgroup/slice/memory.current", "2999999"),
            ];
            assert_eq!(system(&[&own[..], &above].concat()), 1);
            // In a container, the group is the root that is seen.
            let inside = [
                MACHINE,
                ("proc/self/cgroup", "0::/\n"),
                ("sys/fs/cgroup/memory.max", "4096\n"),
            ];
            assert_eq!(system(&inside), 4096);
        }

        #[test]
        fn groups_of_version_1_bound_too() {
            let files = [
                MACHINE,
                (
                    "proc/self/cgroup",
                    "12:cpu,cpuacct:/x\n5:memory:/docker/0123\n1:name=systemd:/x\n",
                ),
                ("sys/fs/cgroup/memory/memory.limit_in_bytes", "6000000"),
                ("sys/fs/cgroup/memory/memory.usage_in_bytes", "7000000"),
                (
                    "sys/fs/cgroup/memory/memory.stat",
                    "cache 1\ntotal_inactive_file 2000000\n",
                ),
            ];
            assert_eq!(system(&files), 1_000_000);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_says_who_asked_for_how_much() {
        check_against("a set", 100, 100).unwrap();
        let error = check_against("a set", 3 << 30, 1 << 30)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("a set") && error.contains("3072 MiB") && error.contains("1024 MiB"),
            "{error}"
        );
        let error = check_available("texts", product(&[usize::MAX, 3]))
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("texts") && error.contains("beyond"),
            "{error}"
        );
        check_available("little", Some(1)).unwrap();
    }
}
