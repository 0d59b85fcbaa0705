//! The binaries, as they are deployed before compression.

use std::path::Path;

use anyhow::Context;

use crate::FUNCTIONS;
use crate::report::{Report, Target};

pub(crate) fn measure(binaries: &Path, report: &mut Report) -> anyhow::Result<()> {
    for name in FUNCTIONS {
        let path = binaries.join(name);
        let file = path
            .metadata()
            .with_context(|| format!("reading {}", path.display()))?;
        report.put(
            "size",
            format!("binary `{name}`"),
            file.len() as f64 / 1e6,
            "MB",
            Target::Below(9.0),
        );
    }
    Ok(())
}
