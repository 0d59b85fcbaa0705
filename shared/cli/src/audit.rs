//! `skein audit`: who changed what, and whether the trail is whole.

mod signature;

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use domain::audit::{Checkpoint, Entry, Verifier};
use serde::Deserialize;
use serde_json::{Value, json};

use self::signature::Signatures;
use crate::args::{Audit, Server};
use crate::client::Client;
use crate::output::{self, Failure};

/// Entries read at once.
const PAGE: u32 = 1_000;

pub(crate) async fn audit(server: &Server, command: Audit) -> Result<ExitCode, Failure> {
    match command {
        Audit::Ls { tenant, after } => {
            let mut rows = Vec::new();
            let source = Source::of(server, tenant)?;
            source
                .read("", after, |entry| {
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
        Audit::Export { tenant } => export(server, tenant).await,
        Audit::Verify { file, public_keys } => {
            let mut signatures = Signatures::default();
            for key in &public_keys {
                signatures.accept(key)?;
            }
            verify(&file, signatures)
        }
    }
}

/// Where a trail is read.
struct Source {
    client: Client,
    path: String,
}

impl Source {
    fn of(server: &Server, tenant: Option<String>) -> Result<Self, Failure> {
        let (client, path) = match tenant {
            Some(tenant) => (
                server.operator()?,
                format!("/v1/admin/tenants/{tenant}/audit"),
            ),
            None => (server.client()?, "/v1/audit".to_owned()),
        };
        Ok(Self { client, path })
    }

    /// Hands everything of a list after a number to `take`, in order.
    async fn read(
        &self,
        list: &str,
        mut after: u64,
        mut take: impl FnMut(Value),
    ) -> Result<(), Failure> {
        loop {
            let path = format!("{}{list}?after={after}&limit={PAGE}", self.path);
            let mut page = self.client.get(&path).await?;
            if let Value::Array(items) = page["items"].take() {
                items.into_iter().for_each(&mut take);
            }
            let next = page["next_cursor"].as_str();
            match next.and_then(|next| next.parse().ok()) {
                Some(next) => after = next,
                None => return Ok(()),
            }
        }
    }
}

/// Prints every entry, and each checkpoint behind the last entry that it covers.
async fn export(server: &Server, tenant: Option<String>) -> Result<ExitCode, Failure> {
    let source = Source::of(server, tenant)?;
    // Before the entries, all of which are there then.
    let mut checkpoints = VecDeque::new();
    source
        .read("/checkpoints", 0, |checkpoint| {
            checkpoints.push_back(checkpoint);
        })
        .await?;
    source
        .read("", 0, |entry| {
            output::line(&entry.to_string());
            while checkpoints
                .front()
                .is_some_and(|checkpoint| checkpoint["to"] == entry["number"])
            {
                let checkpoint = checkpoints.pop_front();
                output::line(&json!({ "checkpoint": checkpoint }).to_string());
            }
        })
        .await?;
    Ok(ExitCode::SUCCESS)
}

/// A line of an export.
#[derive(Deserialize)]
#[serde(untagged)]
enum Line {
    Checkpoint { checkpoint: Box<Checkpoint> },
    Entry(Box<Entry>),
}

/// Follows the chain in a file and its checkpoints, and says where it breaks.
fn verify(file: &Path, mut signatures: Signatures) -> Result<ExitCode, Failure> {
    let source: Box<dyn Read> = if file == Path::new("-") {
        Box::new(std::io::stdin())
    } else {
        let opened = std::fs::File::open(file);
        Box::new(opened.with_context(|| format!("opening {}", file.display()))?)
    };
    let mut verifier = Verifier::default();
    for (number, line) in (1..).zip(BufReader::new(source).lines()) {
        let line = line.context("reading the export")?;
        let found = match serde_json::from_str(&line) {
            Ok(Line::Entry(entry)) => verifier.take(&entry).map_err(|error| error.to_string()),
            Ok(Line::Checkpoint { checkpoint }) => {
                let fits = verifier.check(&checkpoint);
                fits.map_err(|error| error.to_string()).and_then(|()| {
                    let signed = signatures.check(&checkpoint);
                    signed.map_err(|what| {
                        format!("the checkpoint up to entry {} {what}", checkpoint.to)
                    })
                })
            }
            Err(_) => Err("is neither an entry nor a checkpoint".to_owned()),
        };
        if let Err(what) = found {
            output::note(&format!("broken at line {number}: {what}"));
            return Ok(ExitCode::FAILURE);
        }
    }
    let (first, tip) = (verifier.first(), verifier.tip());
    if first == 0 {
        output::note("there is no entry");
        return Ok(ExitCode::FAILURE);
    }
    output::line(&format!(
        "entries {first} to {} are whole; the last has the hash {}",
        tip.number, tip.hash
    ));
    match verifier.covered() {
        Some(covered) => {
            let keys: Vec<_> = signatures.seen.into_iter().collect();
            output::line(&format!(
                "up to entry {covered} they are signed by the key {}",
                keys.join(" and ")
            ));
        }
        None => output::note("no checkpoint signs them"),
    }
    Ok(ExitCode::SUCCESS)
}
