//! `skein dev`.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use dev::{Cloud, CloudConfig, Folder, Keys, Launch, Platform};
use local::bedrock::Bridge;
use serde_json::json;
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::signal::unix::{SignalKind, signal};

use crate::args::{self, Dev};
use crate::client::{ENDPOINT_FILE, Endpoint};
use crate::output::{self, Failure};

pub(crate) async fn dev(args: Dev) -> Result<ExitCode, Failure> {
    aws::install_crypto();
    let folder = if args.memory {
        None
    } else {
        Some(Folder::open(&args.state)?)
    };
    let path = folder.as_ref().map(Folder::path);
    let bridge = std::env::var("SKEIN_MODEL_URL").ok().map(|url| Bridge {
        url,
        key: std::env::var("SKEIN_MODEL_KEY").ok(),
    });
    let cloud = Cloud::open(
        path,
        CloudConfig {
            bridge: bridge.clone(),
            isolation: match args.isolation {
                args::Isolation::Pool => dev::Isolation::Pool,
                args::Isolation::Session => dev::Isolation::Session,
            },
            tenant_tables: args.tenant_table.clone(),
            usage_plans: args.usage_plans,
        },
    )
    .await
    .context("opening the state folder")?;
    let engine = cloud.engine(None);
    let keys = Keys::seed(&engine.store, path, engine.now()).await?;
    let platform = Platform::start(cloud, launch(&args)?).await?;
    let endpoint = Endpoint {
        url: platform.url.clone(),
        api_key: keys.api_key,
        operator_key: keys.operator_key,
        pid: Some(std::process::id()),
    };
    // Listened for before anybody is told that it is up: a signal that came in between would kill it.
    let mut interrupt = signal(SignalKind::interrupt()).context("listening for Ctrl-C")?;
    let mut terminate = signal(SignalKind::terminate()).context("listening for signals")?;
    let neighbour = Endpoint::read();
    announce(&endpoint)?;
    if args.json {
        let mut ready = serde_json::to_value(&endpoint).map_err(anyhow::Error::from)?;
        ready["environment"] = json!(platform.environment);
        output::line(&ready.to_string());
    } else {
        banner(&endpoint, &args, bridge.as_ref());
    }
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    if !args.json {
        output::note("\nstopping; runs in flight go on at the next start");
    }
    platform.stop().await;
    withdraw(&endpoint, neighbour).await;
    Ok(ExitCode::SUCCESS)
}

/// Tells the other commands in this folder how to reach the platform.
fn announce(endpoint: &Endpoint) -> anyhow::Result<()> {
    let file = Path::new(ENDPOINT_FILE);
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder)
            .with_context(|| format!("creating {}", folder.display()))?;
    }
    std::fs::write(file, serde_json::to_string_pretty(endpoint)?)
        .with_context(|| format!("writing {}", file.display()))
}

/// Takes the announcement back, unless another platform of this folder has put its own there. The one that was announced
/// before is announced again if it still runs.
async fn withdraw(endpoint: &Endpoint, neighbour: Option<Endpoint>) {
    if Endpoint::read().is_none_or(|announced| announced.url != endpoint.url) {
        return;
    }
    if let Some(neighbour) = neighbour.filter(|neighbour| neighbour.url != endpoint.url)
        && listens(&neighbour).await
        && announce(&neighbour).is_ok()
    {
        return;
    }
    let _gone_already = std::fs::remove_file(ENDPOINT_FILE);
}

/// Whether somebody listens where this platform was.
async fn listens(endpoint: &Endpoint) -> bool {
    let address = endpoint.url.trim_start_matches("http://");
    TcpStream::connect(address).await.is_ok()
}

fn launch(args: &Dev) -> anyhow::Result<Launch> {
    let program = std::env::current_exe().context("finding this program")?;
    let mut environment = BTreeMap::new();
    environment.insert("SKEIN_LOG_FORMAT".to_owned(), "text".to_owned());
    if args.allow_loopback {
        environment.insert("SKEIN_ALLOW_LOOPBACK".to_owned(), "true".to_owned());
    }
    Ok(Launch {
        launcher: Arc::new(move |name| {
            let mut command = Command::new(&program);
            command.args(["function", name]);
            command
        }),
        lines: Arc::new(|function, line| output::note(&format!("{function:<12} {line}"))),
        classic: args.classic,
        port: args.port,
        environment,
    })
}

fn banner(endpoint: &Endpoint, args: &Dev, bridge: Option<&Bridge>) {
    let Endpoint {
        url,
        api_key,
        operator_key,
        pid: _,
    } = endpoint;
    let state = if args.memory {
        "in memory".to_owned()
    } else {
        args.state.display().to_string()
    };
    let models = bridge.map_or(
        "local.* (set SKEIN_MODEL_URL for an OpenAI-compatible server)".to_owned(),
        |bridge| format!("local.*, all others through {}", bridge.url),
    );
    output::line(&format!(
        "\
Skein is up.

  API            {url}
  OpenAPI        {url}/openapi.json
  demo key       {api_key}
  operator key   {operator_key}
  state          {state}
  models         {models}

Watch an agent think, call a tool and answer:

  curl -N {url}/v1/runs \\
    -H 'Authorization: Bearer {api_key}' \\
    -H 'Content-Type: application/json' \\
    -d '{{\"agent\": \"calculator\", \"input\": \"What is 17 * 23 + 4?\", \"stream\": true}}'

Then try, in another terminal in this folder:

  cargo run -q -- run researcher 'research geese' --follow
  cargo run -q -- run extractor 'Ada Lovelace, ada@example.com'
  cargo run -q -- agents ls
  cargo run -q -- runs ls

Ctrl-C stops it."
    ));
    if args.allow_loopback {
        output::note("warning: http_get may reach this machine (--allow-loopback)");
    }
}
