//! `skein audit`: who changed what, and whether the trail is whole.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use domain::audit::{Entry, Verifier};
use serde_json::Value;

use crate::args::{Audit, Server};
use crate::client::Client;
use crate::output::{self, Failure};

/// Entries read at once.
const PAGE: u32 = 1_000;

pub(crate) async fn audit(server: &Server, command: Audit) -> Result<ExitCode, Failure> {
    match command {
        Audit::Ls { tenant, after } => {
            let mut rows = Vec::new();
            read(server, tenant, after, |entry| {
                let text = |name: &str| entry[name].as_str().unwrap_or_default().to_owned();
                let at = entry["at"].as_u64().unwrap_or_default();
                rows.push(vec![
                    entry["number"].to_string(),
                    domain::time::At(at).to_string(),
                    text("by"),
                    text("action"),
                    text("subject"),
                ]);
            })
            .await?;
            output::table(&["ENTRY", "AT", "BY", "ACTION", "SUBJECT"], &rows);
            Ok(ExitCode::SUCCESS)
        }
        Audit::Export { tenant } => {
            read(server, tenant, 0, |entry| output::line(&entry.to_string())).await?;
            Ok(ExitCode::SUCCESS)
        }
        Audit::Verify { file } => verify(&file),
    }
}

/// Hands every entry after a number to `take`, in order.
async fn read(
    server: &Server,
    tenant: Option<String>,
    mut after: u64,
    mut take: impl FnMut(&Value),
) -> Result<(), Failure> {
    let (client, path): (Client, String) = match tenant {
        Some(tenant) => (
            server.operator()?,
            format!("/v1/admin/tenants/{tenant}/audit"),
        ),
        None => (server.client()?, "/v1/audit".to_owned()),
    };
    loop {
        let page = client
            .get(&format!("{path}?after={after}&limit={PAGE}"))
            .await?;
        for entry in page["items"].as_array().into_iter().flatten() {
            take(entry);
        }
        match page["next_cursor"]
            .as_str()
            .and_then(|next| next.parse().ok())
        {
            Some(next) => after = next,
            None => return Ok(()),
        }
    }
}

/// Follows the chain in a file, and says where it breaks.
fn verify(file: &Path) -> Result<ExitCode, Failure> {
    let source: Box<dyn Read> = if file == Path::new("-") {
        Box::new(std::io::stdin())
    } else {
        let opened = std::fs::File::open(file);
        Box::new(opened.with_context(|| format!("opening {}", file.display()))?)
    };
    let mut verifier = Verifier::default();
    let mut first = None;
    for (number, line) in (1..).zip(BufReader::new(source).lines()) {
        let line = line.context("reading the export")?;
        let entry: Entry = match serde_json::from_str(&line) {
            Ok(entry) => entry,
            Err(error) => return Ok(broken(number, &format!("is no entry: {error}"))),
        };
        if let Err(error) = verifier.take(&entry) {
            return Ok(broken(number, &error.to_string()));
        }
        first.get_or_insert(entry.number);
    }
    let tip = verifier.tip();
    let Some(first) = first else {
        output::note("there is no entry");
        return Ok(ExitCode::FAILURE);
    };
    output::line(&format!(
        "entries {first} to {} are whole; the last has the hash {}",
        tip.number, tip.hash
    ));
    Ok(ExitCode::SUCCESS)
}

fn broken(line: u64, what: &str) -> ExitCode {
    output::note(&format!("broken at line {line}: {what}"));
    ExitCode::FAILURE
}
