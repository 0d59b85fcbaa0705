//! `skein agents`.

use std::io::Read;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, anyhow};
use reqwest::Method;
use serde_json::Value;

use crate::args::Agents;
use crate::client::Client;
use crate::output::{self, Failure};

pub(crate) async fn agents(client: &Client, command: Agents) -> Result<ExitCode, Failure> {
    match command {
        Agents::Apply { file, id } => apply(client, &file, id).await?,
        Agents::Ls { json } => {
            let page = client.get("/v1/agents?limit=100").await?;
            if json {
                output::line(&page.to_string());
            } else {
                let rows: Vec<Vec<String>> = page["items"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .map(row)
                    .collect();
                output::table(&["AGENT", "VERSION", "MODEL", "DESCRIPTION"], &rows);
            }
        }
        Agents::Show { agent, version } => {
            let path = match version {
                Some(version) => format!("/v1/agents/{agent}/versions/{version}"),
                None => format!("/v1/agents/{agent}"),
            };
            output::line(&output::readable(&client.get(&path).await?));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn row(agent: &Value) -> Vec<String> {
    let text = |name: &str| agent[name].as_str().unwrap_or_default().to_owned();
    vec![
        text("id"),
        agent["latest_version"].to_string(),
        text("model"),
        text("description"),
    ]
}

async fn apply(client: &Client, file: &Path, id: Option<String>) -> Result<(), Failure> {
    let from_stdin = file == Path::new("-");
    let source = if from_stdin {
        "standard input".to_owned()
    } else {
        file.display().to_string()
    };
    let text = if from_stdin {
        let mut text = String::new();
        std::io::stdin()
            .read_to_string(&mut text)
            .with_context(|| format!("reading {source}"))?;
        text
    } else {
        std::fs::read_to_string(file).with_context(|| format!("reading {source}"))?
    };
    let mut definition: Value =
        serde_json::from_str(&text).with_context(|| format!("{source} is not JSON"))?;
    let written = definition
        .as_object_mut()
        .and_then(|members| members.remove("id"));
    let stem = file
        .file_stem()
        .and_then(|stem| stem.to_str())
        .filter(|_| !from_stdin);
    let id = id
        .or_else(|| written.and_then(|id| id.as_str().map(str::to_owned)))
        .or_else(|| stem.map(str::to_owned))
        .ok_or_else(|| anyhow!("give the agent a name with --id"))?;
    let request = client
        .request(Method::POST, &format!("/v1/agents/{id}"))
        .json(&definition);
    let stored = client.json(request).await?;
    output::line(&format!("{id} version {}", stored["version"]));
    Ok(())
}
