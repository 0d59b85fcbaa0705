//! `skein deploy check`: what a deployment of this build would change for clients, and whether there is room for it.

use std::collections::BTreeSet;
use std::process::ExitCode;

use serde_json::Value;
use tokio::process::Command;

use crate::args::{Deploy, Server, Size};
use crate::doctor::{Checks, explain};
use crate::output::Failure;

/// Concurrent executions that AWS keeps from being reserved in any account.
const UNRESERVED: u64 = 100;

pub(crate) async fn deploy(server: &Server, command: Deploy) -> Result<ExitCode, Failure> {
    let Deploy::Check { size, models } = command;
    let mut checks = Checks::default();
    let client = server.client().or_else(|_| server.operator())?;
    match client.get("/openapi.json").await {
        Ok(there) => {
            let here = serde_json::from_str(api::OPENAPI).unwrap_or_default();
            let drift = drift(&there, &here);
            for route in &drift.gone {
                let text = format!("{route} is there and no longer in this build");
                checks.note("routes", Err(text));
            }
            for (routes, what) in [(&drift.added, "adds"), (&drift.changed, "changes")] {
                if !routes.is_empty() {
                    let routes: Vec<_> = routes.iter().map(String::as_str).collect();
                    checks.note(
                        "routes",
                        Ok(format!("this build {what} {}", routes.join(", "))),
                    );
                }
            }
            if drift == Drift::default() {
                checks.note("routes", Ok("as in this build".to_owned()));
            }
        }
        Err(failure) => checks.note("routes", Err(explain(&failure))),
    }
    let ready = client.get("/health/ready").await;
    let ready = ready.map(|_| "what is deployed now is well".to_owned());
    checks.note("ready", ready.map_err(|failure| explain(&failure)));
    checks.note("concurrency", concurrency(size).await);
    for model in &models {
        checks.note("model", access(model).await);
    }
    Ok(checks.exit_code())
}

/// How the routes of two documents differ.
#[derive(Debug, Default, PartialEq, Eq)]
struct Drift {
    gone: BTreeSet<String>,
    added: BTreeSet<String>,
    changed: BTreeSet<String>,
}

/// What becomes of the routes that are `there` when what is `here` takes their place.
fn drift(there: &Value, here: &Value) -> Drift {
    let routes = |document: &Value| -> BTreeSet<(String, String)> {
        let paths = document["paths"].as_object().into_iter().flatten();
        let methods = paths.flat_map(|(path, item)| {
            let methods = item.as_object().into_iter().flatten();
            methods.map(|(method, _)| (path.clone(), method.clone()))
        });
        methods.collect()
    };
    let name = |(path, method): &(String, String)| format!("{} {path}", method.to_uppercase());
    let (old, new) = (routes(there), routes(here));
    let is_changed = |(path, method): &&(String, String)| {
        there["paths"][path][method] != here["paths"][path][method]
    };
    Drift {
        gone: old.difference(&new).map(name).collect(),
        added: new.difference(&old).map(name).collect(),
        changed: old
            .intersection(&new)
            .filter(is_changed)
            .map(name)
            .collect(),
    }
}

/// Whether the account lets as much run at once as the template reserves for this size, and AWS keeps beside.
async fn concurrency(size: Size) -> Result<String, String> {
    let said = aws(&["lambda", "get-account-settings"]).await?;
    let limit = said["AccountLimit"]["ConcurrentExecutions"].as_u64();
    let limit = limit.ok_or("AWS tells no limit")?;
    let needed = size.concurrency() + UNRESERVED;
    let text = format!("the account may run {limit} at once; {needed} are needed");
    if limit >= needed {
        Ok(text)
    } else {
        Err(format!("{text}. Ask Service Quotas for more"))
    }
}

/// Whether the account may call a model.
async fn access(model: &str) -> Result<String, String> {
    let asked = [
        "bedrock",
        "get-foundation-model-availability",
        "--model-id",
        model,
    ];
    let said = aws(&asked).await?;
    let of = |name: &str| said[name].as_str().unwrap_or("unknown").to_owned();
    let (may, there) = (of("authorizationStatus"), of("regionAvailability"));
    if may == "AUTHORIZED" && there == "AVAILABLE" {
        Ok(format!("{model} may be called"))
    } else {
        Err(format!("{model}: {may}, {there} in this Region"))
    }
}

/// Asks the AWS CLI, which has credentials and Region from wherever it takes them.
async fn aws(arguments: &[&str]) -> Result<Value, String> {
    let asked = Command::new("aws")
        .args(arguments)
        .args(["--output", "json"])
        .output()
        .await;
    let output =
        asked.map_err(|error| format!("not checked: the AWS CLI cannot be started ({error})"))?;
    if output.status.success() {
        return serde_json::from_slice(&output.stdout).map_err(|error| error.to_string());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("not checked: {}", said.trim()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn routes_that_come_go_or_change_are_told_apart() {
        let there = json!({"paths": {
            "/a": {"get": {"summary": "A"}, "post": {}},
            "/b": {"get": {}},
        }});
        let here = json!({"paths": {
            "/a": {"get": {"summary": "Another"}, "post": {}},
            "/c": {"put": {}},
        }});
        let of = |route: &str| BTreeSet::from([route.to_owned()]);
        let expected = Drift {
            gone: of("GET /b"),
            added: of("PUT /c"),
            changed: of("GET /a"),
        };
        assert_eq!(drift(&there, &here), expected);
        assert_eq!(drift(&here, &here), Drift::default());
    }

    #[test]
    fn a_size_needs_what_the_template_reserves_for_it() {
        let template = include_str!("../../../template.yaml");
        for size in [Size::Small, Size::Mid, Size::Enterprise] {
            let name = format!("    {size:?}: {{").to_lowercase();
            let row = template.split(&name).nth(1).unwrap();
            let row = row.split('}').next().unwrap();
            let of = |name: &str| -> u64 {
                let value = row.split(&format!("{name}: ")).nth(1).unwrap();
                value.split([',', ' ']).next().unwrap().parse().unwrap()
            };
            let janitor = 5;
            let all = of("Drivers") + of("Tasks") + of("Api") + janitor;
            assert_eq!(size.concurrency(), all, "{name}");
        }
    }
}
