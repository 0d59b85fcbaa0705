//! What the kernel says of this machine and of its processes (`proc(5)`).

use std::fmt;
use std::fs;
use std::io::ErrorKind;
use std::time::Duration;

use anyhow::Context;
use serde::Serialize;

/// Length of a clock tick in `/proc/<pid>/stat`: `USER_HZ` is 100 on every architecture that Linux runs functions on.
const TICK: Duration = Duration::from_millis(10);

/// The machine that figures are true of.
#[derive(Debug, Serialize)]
pub(crate) struct Description {
    pub(crate) processor: String,
    cores: usize,
    kernel: String,
}

impl Description {
    pub(crate) fn read() -> Self {
        let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let processor = cpus
            .lines()
            .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
            .map_or("unknown processor", |(_, name)| name);
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        Self {
            processor: processor.to_owned(),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            kernel: kernel.trim().to_owned(),
        }
    }
}

impl fmt::Display for Description {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            processor,
            cores,
            kernel,
        } = self;
        write!(
            f,
            "{processor}, {cores} cores, Linux {kernel}, {}",
            std::env::consts::ARCH
        )
    }
}

/// CPU time of a process, in user and kernel mode, all its threads included, dead ones too; true to a tick of 10 ms.
pub(crate) fn cpu(pid: u32) -> anyhow::Result<Duration> {
    let path = format!("/proc/{pid}/stat");
    let stat = fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
    ticks(&stat)
        .map(|ticks| TICK * ticks)
        .with_context(|| format!("{path} is not as it should be"))
}

/// User and system time: fields 14 and 15. The second field, the name, may hold anything, and ends with the last bracket.
fn ticks(stat: &str) -> Option<u32> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11);
    let user: u32 = fields.next()?.parse().ok()?;
    let system: u32 = fields.next()?.parse().ok()?;
    user.checked_add(system)
}

/// CPU time that was used on all cores since the machine started, by whomever, the hypervisor's share included.
pub(crate) fn all_cpu() -> anyhow::Result<Duration> {
    let stat = fs::read_to_string("/proc/stat").context("reading /proc/stat")?;
    busy(&stat)
        .map(|ticks| Duration::from_millis(10 * ticks))
        .context("/proc/stat is not as it should be")
}

/// Ticks of all cores but for idle (fourth) and waiting (fifth); guests are counted as users already.
fn busy(stat: &str) -> Option<u64> {
    let (_, rest) = stat.lines().next()?.split_once("cpu ")?;
    let fields: Vec<u64> = rest
        .split_whitespace()
        .map(|field| field.parse().ok())
        .collect::<Option<_>>()?;
    Some(fields.get(..3)?.iter().sum::<u64>() + fields.get(5..8)?.iter().sum::<u64>())
}

/// CPU time of a process's living threads, true to the nanosecond: for what is shorter than a tick.
pub(crate) fn exact_cpu(pid: u32) -> anyhow::Result<Duration> {
    let folder = format!("/proc/{pid}/task");
    let mut sum = Duration::ZERO;
    for thread in fs::read_dir(&folder).with_context(|| format!("reading {folder}"))? {
        let path = thread?.path().join("schedstat");
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            // A thread that ended since it was listed: not found, or no such process (ESRCH, 3).
            Err(error)
                if error.kind() == ErrorKind::NotFound || error.raw_os_error() == Some(3) =>
            {
                continue;
            }
            Err(error) => {
                return Err(error).with_context(|| format!("reading {}", path.display()));
            }
        };
        let ns = text.split(' ').next().and_then(|ns| ns.parse().ok());
        sum += Duration::from_nanos(ns.with_context(|| format!("{} is empty", path.display()))?);
    }
    Ok(sum)
}

/// Resident memory of a process in bytes.
pub(crate) fn resident_bytes(pid: u32) -> anyhow::Result<u64> {
    let path = format!("/proc/{pid}/status");
    let status = fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
    let kib: Option<u64> = status.lines().find_map(|line| {
        let size = line.strip_prefix("VmRSS:")?.trim();
        size.strip_suffix(" kB")?.parse().ok()
    });
    Ok(kib.with_context(|| format!("{path} tells no size"))? * 1_024)
}

/// In milliseconds.
pub(crate) fn ms(span: Duration) -> f64 {
    span.as_secs_f64() * 1_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_found_behind_any_name() {
        let stat = "71 (a) S (b) S 1 71 71 0 -1 4194560 9 0 0 0 12 30 0 0 20 0 1 0 5 6 7";
        assert_eq!(ticks(stat), Some(42));
        assert_eq!(ticks("71 (a"), None);
    }

    #[test]
    fn idle_time_is_no_cpu_time() {
        assert_eq!(busy("cpu  1 2 4 1000 500 8 16 32 0 0\ncpu0 1"), Some(63));
        assert_eq!(busy("cpu  1"), None);
    }

    #[test]
    fn this_process_has_used_time_and_memory() {
        let pid = std::process::id();
        assert!(exact_cpu(pid).unwrap() > Duration::ZERO);
        assert!(cpu(pid).is_ok());
        assert!(resident_bytes(pid).unwrap() > 100_000);
    }
}
