//! `skein tenants close`.

use std::io::BufRead as _;
use std::process::ExitCode;
use std::time::Duration;

use reqwest::Method;
use serde_json::Value;

use crate::client::Client;
use crate::operator::{TENANTS, text};
use crate::output::{self, Failure};

/// How often it is asked how far a closing is.
const EVERY: Duration = Duration::from_secs(2);

/// Asks for a tenant to be closed, and with `follow` tells how that goes on until it is closed.
pub(crate) async fn close(
    client: &Client,
    id: &str,
    is_sure: bool,
    follow: bool,
) -> Result<ExitCode, Failure> {
    if !is_sure {
        output::note(&format!(
            "Everything of {id} is exported, then deleted for ever. Type its id to go on:"
        ));
        let mut typed = String::new();
        let read = std::io::stdin().lock().read_line(&mut typed);
        read.map_err(anyhow::Error::from)?;
        if typed.trim() != id {
            output::note("nothing was done");
            return Ok(ExitCode::FAILURE);
        }
    }
    let path = format!("{TENANTS}/{id}");
    let request = client.request(Method::POST, &format!("{path}/close"));
    let mut closing = client.json(request).await?;
    let mut told = progress(&closing);
    output::line(&told);
    if !follow {
        return Ok(ExitCode::SUCCESS);
    }
    if closing["phase"] != "closed" {
        output::note("it goes on without this command; `skein tenants show` tells how far it is");
    }
    while closing["phase"] != "closed" {
        tokio::time::sleep(EVERY).await;
        let mut tenant = client.get(&path).await?;
        closing = tenant["closing"].take();
        if closing.is_null() {
            output::note("it was taken back");
            return Ok(ExitCode::FAILURE);
        }
        let now = progress(&closing);
        if now != told {
            output::line(&now);
            told = now;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Where a closing stands, in a line.
fn progress(closing: &Value) -> String {
    let phase = text(closing, "phase");
    let counts = |what: &str| {
        let of = |unit: &str| closing[what][unit].as_u64().unwrap_or_default();
        format!("{what} {} items, {} objects", of("items"), of("objects"))
    };
    let mut line = format!("{phase}  {}  {}", counts("exported"), counts("deleted"));
    match phase.as_str() {
        "waiting" => line.push_str(&format!("  until {}", text(closing, "proof_from"))),
        "closed" => line.push_str(&format!(
            "  {} sha256 {}",
            text(closing, "manifest"),
            text(closing, "manifest_sha256")
        )),
        _ => {}
    }
    line
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_line_tells_what_is_done_and_what_is_waited_for() {
        let mut closing = json!({
            "phase": "waiting",
            "exported": {"items": 14, "objects": 1},
            "deleted": {"items": 13, "objects": 1},
            "proof_from": "2026-11-27T16:16:00.000Z",
            "manifest": "exports/acme/1/manifest-ab.json",
            "manifest_sha256": "ab",
        });
        assert_eq!(
            progress(&closing),
            "waiting  exported 14 items, 1 objects  deleted 13 items, 1 objects  \
             until 2026-11-27T16:16:00.000Z"
        );
        closing["phase"] = json!("closed");
        assert!(progress(&closing).ends_with("exports/acme/1/manifest-ab.json sha256 ab"));
    }
}
