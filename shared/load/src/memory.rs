//! Resident memory of the functions' processes, where they are on this machine (`proc(5)`).

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

/// What functions held at one instant.
#[derive(Clone, Debug, PartialEq)]
pub struct Resident {
    /// When, counted from the beginning of the load.
    pub at: Duration,
    /// Bytes of a process of each function, by its name: the mean where there are several.
    pub bytes: BTreeMap<String, u64>,
}

/// Looks at the processes that this one, a `skein dev`, has started as functions. None where there are none, or the kernel
/// does not tell.
pub(crate) fn look(parent: u32, at: Duration) -> Option<Resident> {
    let mut found: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    for entry in fs::read_dir("/proc").ok()?.flatten() {
        let path = entry.path();
        let read = |name: &str| fs::read_to_string(path.join(name)).ok();
        // A process may end between two reads.
        let Some((name, bytes)) = read("status")
            .and_then(|status| resident(&status, parent))
            .zip(read("cmdline"))
            .and_then(|(bytes, line)| Some((function(&line)?, bytes)))
        else {
            continue;
        };
        let (sum, count) = found.entry(name).or_default();
        *sum += bytes;
        *count += 1;
    }
    let bytes: BTreeMap<String, u64> = found
        .into_iter()
        .map(|(name, (sum, count))| (name, sum / count))
        .collect();
    (!bytes.is_empty()).then_some(Resident { at, bytes })
}

/// Resident bytes of a process, by its `status`, if it is a child of this one.
fn resident(status: &str, parent: u32) -> Option<u64> {
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse::<u64>().ok()
    };
    (field("PPid:")? == u64::from(parent)).then_some(())?;
    Some(field("VmRSS:")? * 1_024)
}

/// The function that a process is, by its command line: `skein function <name>`.
fn function(line: &str) -> Option<String> {
    let mut words = line.split('\0').skip(1);
    (words.next()? == "function").then_some(())?;
    words.next().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_function_is_a_child_that_was_started_as_one() {
        let status = "Name:\tskein\nPPid:\t71\nVmRSS:\t    9000 kB\n";
        assert_eq!(resident(status, 71), Some(9_216_000));
        assert_eq!(resident(status, 7), None);
        assert_eq!(resident("Name:\tkworker\nPPid:\t71\n", 71), None);
        assert_eq!(
            function("target/skein\0function\0api\0").as_deref(),
            Some("api")
        );
        assert_eq!(function("target/skein\0dev\0"), None);
    }

    #[test]
    fn a_process_without_functions_tells_nothing() {
        assert_eq!(look(std::process::id(), Duration::ZERO), None);
    }
}
