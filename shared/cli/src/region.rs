//! `skein region`.

use std::process::ExitCode;

use reqwest::Method;
use serde_json::{Map, json};

use crate::args::Region;
use crate::client::Client;
use crate::output::{self, Failure};

/// Requests in one failover: each works for some 18 s, so that is an hour.
const MOST_REQUESTS: usize = 200;

pub(crate) async fn region(client: &Client, command: Region) -> Result<ExitCode, Failure> {
    let Region::Failover { from, to, tenant } = command;
    let mut body = Map::from_iter([
        ("from".to_owned(), json!(from)),
        ("to".to_owned(), json!(to)),
    ]);
    body.extend(tenant.map(|tenant| ("tenant".to_owned(), json!(tenant))));
    let mut any = false;
    for _ in 0..MOST_REQUESTS {
        let request = client.request(Method::POST, "/v1/admin/regions/failover");
        let answer = client.json(request.json(&body)).await?;
        for moved in answer["tenants"].as_array().into_iter().flatten() {
            let of = |name: &str| moved[name].as_u64().unwrap_or_default();
            let name = moved["tenant"].as_str().unwrap_or_default();
            output::line(&format!(
                "{name} is at home in {to} (epoch {}), {} runs taken over",
                of("epoch"),
                of("runs"),
            ));
            any = true;
        }
        if answer["is_complete"] == json!(true) {
            if !any {
                output::note(&format!("no tenant was at home in {from}"));
            }
            return Ok(ExitCode::SUCCESS);
        }
    }
    Err(anyhow::anyhow!("it is not complete yet; run the same command again").into())
}
