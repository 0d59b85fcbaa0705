//! `skein dev`.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use dev::{Cloud, CloudConfig, Folder, Keys, Launch, Platform};
use domain::region::Regions;
use local::bedrock::Bridge;
use local::table::Copies;
use serde_json::{Value, json};
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
    let places = places(&args)?;
    let mut clouds = Vec::new();
    for (regions, _) in &places {
        let config = CloudConfig {
            bridge: bridge.clone(),
            isolation: match args.isolation {
                args::Isolation::Pool => dev::Isolation::Pool,
                args::Isolation::Session => dev::Isolation::Session,
            },
            tenant_tables: args.tenant_table.clone(),
            usage_plans: args.usage_plans,
            regions: regions.clone(),
        };
        let own = regions.own().filter(|_| !clouds.is_empty());
        let path = match (path, own) {
            (Some(path), Some(own)) => Some(path.join(&own.name)),
            (path, _) => path.map(Path::to_owned),
        };
        let cloud = Cloud::open(path.as_deref(), config).await;
        clouds.push(cloud.context("opening the state folder")?);
    }
    let copies = match clouds.as_mut_slice() {
        [first, second] => {
            // Payloads are copied by the bucket itself, here at once.
            second.payloads = first.payloads.clone();
            Some(Copies::between(&mut first.table, &mut second.table))
        }
        _ => None,
    };
    let engine = clouds[0].engine(None);
    let keys = Keys::seed(&engine.store, path, engine.now()).await?;
    if let Some(copies) = copies.clone() {
        copies.arrive(false);
        tokio::spawn(copies.run(args.lag, std::future::pending()));
    }
    let mut platforms = Vec::new();
    for (cloud, (_, port)) in clouds.into_iter().zip(&places) {
        platforms.push(Platform::start(cloud, launch(&args, *port)?).await?);
    }
    let platform = &platforms[0];
    let endpoint = Endpoint {
        url: platform.url.clone(),
        api_key: keys.api_key,
        operator_key: keys.operator_key,
        pid: Some(std::process::id()),
    };
    // Listened for before anybody is told that it is up: a signal that came in between would kill it.
    let mut interrupt = signal(SignalKind::interrupt()).context("listening for Ctrl-C")?;
    let mut terminate = signal(SignalKind::terminate()).context("listening for signals")?;
    let mut switch = signal(SignalKind::user_defined1()).context("listening for signals")?;
    let neighbour = Endpoint::read();
    announce(&endpoint)?;
    if args.json {
        let mut ready = serde_json::to_value(&endpoint).map_err(anyhow::Error::from)?;
        ready["environment"] = json!(platform.environment);
        if copies.is_some() {
            ready["regions"] = platforms.iter().map(region).collect();
        }
        output::line(&ready.to_string());
    } else {
        banner(&endpoint, &args, bridge.as_ref());
        if copies.is_some() {
            show_regions(&platforms, args.lag);
        }
    }
    let mut is_cut = false;
    loop {
        tokio::select! {
            _ = interrupt.recv() => break,
            _ = terminate.recv() => break,
            _ = switch.recv(), if copies.is_some() => {
                is_cut = !is_cut;
                if let Some(copies) = &copies {
                    copies.cut(is_cut);
                }
                let how = if is_cut { "are cut off from" } else { "hear of" };
                output::note(&format!("the Regions {how} each other"));
            }
        }
    }
    if !args.json {
        output::note("\nstopping; runs in flight go on at the next start");
    }
    for platform in &platforms {
        platform.stop().await;
    }
    if let Some(copies) = copies {
        copies.cut(false);
        copies.arrive(false);
    }
    withdraw(&endpoint, neighbour).await;
    Ok(ExitCode::SUCCESS)
}

/// The Regions as each of them sees them, and the port of its API.
fn places(args: &Dev) -> anyhow::Result<Vec<(Regions, u16)>> {
    if args.regions.is_empty() {
        return Ok(vec![(Regions::default(), args.port)]);
    }
    if args.regions.len() != 2 {
        anyhow::bail!("--regions must name two Regions, such as us-east-1,eu-west-1");
    }
    let mut named = Vec::new();
    for (place, name) in (0..).zip(&args.regions) {
        // Each has to know beforehand where the others will answer.
        let port = match args.port {
            0 => TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?
                .local_addr()?
                .port(),
            first => first + place,
        };
        named.push((name, port));
    }
    let list = named.iter();
    let list: Vec<_> = list
        .map(|(name, port)| format!("{name}=http://{}:{port}", Ipv4Addr::LOCALHOST))
        .collect();
    let list = list.join(",");
    let places = named.into_iter().map(|(name, port)| {
        let regions = Regions::parse(&list, name);
        Ok((
            regions.map_err(|error| anyhow::anyhow!("--regions {error}"))?,
            port,
        ))
    });
    places.collect()
}

/// A Region as `--json` tells of it.
fn region(platform: &Platform) -> Value {
    let own = platform.cloud.regions.own();
    json!({"region": own.map(|own| &own.name), "url": platform.url})
}

fn show_regions(platforms: &[Platform], lag: Duration) {
    let name = |platform: &Platform| {
        let own = platform.cloud.regions.own();
        own.map(|own| own.name.clone()).unwrap_or_default()
    };
    let (first, second) = (&platforms[0], &platforms[1]);
    output::line(&format!(
        "
Two Regions share a table; what one writes the other sees {lag:?} later:

  {:<14} {}   the demo tenant's home
  {:<14} {}

Lose the first, and go on in the second:

  kill -USR1 {}        cuts them off from each other; once more joins them
  cargo run -q -- --url {} region failover --from {} --to {}",
        name(first),
        first.url,
        name(second),
        second.url,
        std::process::id(),
        second.url,
        name(first),
        name(second),
    ));
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

fn launch(args: &Dev, port: u16) -> anyhow::Result<Launch> {
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
        port,
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
