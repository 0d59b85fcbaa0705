//! `skein dlq`, `skein maintenance`, `skein runs stuck`, `skein tenants top` and `flag`: what whoever runs the platform asks.

use std::process::ExitCode;

use domain::flag::Flag;
use reqwest::Method;
use serde_json::{Value, json};

use crate::args::{Dlq, Maintenance, Stuck, Switch, Top};
use crate::client::Client;
use crate::operator::{TENANTS, list, text};
use crate::output::{self, Failure};

const DLQ: &str = "/v1/admin/dlq";
const MAINTENANCE: &str = "/v1/admin/maintenance";
/// Dead letters that one request sends back: a few seconds' work.
const AT_ONCE: u32 = 200;

pub(crate) async fn dlq(client: &Client, command: Dlq) -> Result<ExitCode, Failure> {
    match command {
        Dlq::Ls { json } => {
            let page = client.get(DLQ).await?;
            let headings = ["QUEUE", "WAITING", "IN FLIGHT", "OLDEST SENT"];
            list(&page, json, &headings, |dead| {
                vec![
                    text(dead, "queue"),
                    dead["waiting"].to_string(),
                    dead["in_flight"].to_string(),
                    text(dead, "oldest_sent_at"),
                ]
            });
        }
        Dlq::Show { queue, limit, json } => {
            let page = client.get(&format!("{DLQ}/{queue}?limit={limit}")).await?;
            let headings = ["MESSAGE", "SENT", "BYTES", "KIND", "TENANT", "RUN OR TOOL"];
            list(&page, json, &headings, |letter| {
                let of = |name| text(letter, name);
                let (kind, what) = match letter["malformed"].as_str() {
                    Some(why) => ("malformed".to_owned(), why.to_owned()),
                    None => (of("kind"), [of("run"), of("tool")].join(" ")),
                };
                let bytes = letter["bytes"].to_string();
                let what = what.trim_end().to_owned();
                vec![of("id"), of("sent_at"), bytes, kind, of("tenant"), what]
            });
        }
        Dlq::Redrive {
            queue,
            messages,
            all,
            limit,
        } => return redrive(client, &queue, &messages, all, limit).await,
    }
    Ok(ExitCode::SUCCESS)
}

/// Goes on until nothing is left or nothing moves, if all of them are to go.
async fn redrive(
    client: &Client,
    queue: &str,
    messages: &[String],
    all: bool,
    limit: Option<u32>,
) -> Result<ExitCode, Failure> {
    let body = match limit {
        _ if all => json!({ "limit": AT_ONCE }),
        Some(limit) => json!({ "limit": limit }),
        None => json!({ "messages": messages }),
    };
    let mut moved = 0;
    let (failed, left) = loop {
        let path = format!("{DLQ}/{queue}/redrive");
        let request = client.request(Method::POST, &path).json(&body);
        let answer = client.json(request).await?;
        let count = |name: &str| answer[name].as_u64().unwrap_or_default();
        moved += count("moved");
        if !all || count("moved") == 0 || count("left") == 0 {
            // Those that were refused stay, and are refused again each time.
            break (count("failed"), count("left"));
        }
        output::note(&format!("{moved} moved, {} left", count("left")));
    };
    output::line(&format!("{moved} moved, {failed} failed, {left} left"));
    let missing = messages.len() as u64 > moved + failed;
    if missing {
        output::note("some of these messages were not found; `skein dlq show` names what is there");
    }
    Ok(if failed > 0 || missing {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

pub(crate) async fn maintenance(
    client: &Client,
    command: Maintenance,
) -> Result<ExitCode, Failure> {
    let said = match command {
        Maintenance::On {
            message,
            retry_after,
        } => {
            let body = json!({"message": message, "retry_after_seconds": retry_after});
            let request = client.request(Method::PUT, MAINTENANCE).json(&body);
            let said = client.json(request).await?;
            output::note("it holds everywhere within 60 s");
            said
        }
        Maintenance::Off => {
            let said = client.json(client.request(Method::DELETE, MAINTENANCE));
            let said = said.await?;
            output::note("it holds everywhere within 60 s");
            said
        }
        Maintenance::Status { json } => {
            let said = client.get(MAINTENANCE).await?;
            if json {
                output::line(&said.to_string());
                return Ok(ExitCode::SUCCESS);
            }
            said
        }
    };
    output::line(&if said["on"] == true {
        let of = |name| text(&said, name);
        let (since, by) = (of("since"), of("by"));
        let retry = &said["retry_after_seconds"];
        let message = of("message");
        format!("on since {since} by {by}, ask again after {retry} s: {message}")
    } else {
        "off".to_owned()
    });
    Ok(ExitCode::SUCCESS)
}

pub(crate) async fn stuck(client: &Client, asked: Stuck) -> Result<ExitCode, Failure> {
    let (older_than, limit) = (asked.older_than, asked.limit);
    let path = format!("/v1/admin/runs/stuck?older_than={older_than}&limit={limit}");
    let found = client.get(&path).await?;
    if asked.json {
        output::line(&found.to_string());
        return Ok(ExitCode::SUCCESS);
    }
    let headings = [
        "TENANT", "RUN", "STATUS", "REASON", "FOR", "AGENT", "LANE", "DEADLINE",
    ];
    let runs = found["items"].as_array().map_or(0, Vec::len);
    if runs > 0 {
        list(&found, false, &headings, |run| {
            let of = |name| text(run, name);
            let age = span(run["age_seconds"].as_u64().unwrap_or_default());
            let (tenant, id, status) = (of("tenant"), of("run"), of("status"));
            let (reason, agent, lane) = (of("reason"), of("agent"), of("lane"));
            vec![
                tenant,
                id,
                status,
                reason,
                age,
                agent,
                lane,
                of("deadline_at"),
            ]
        });
    }
    let reasons = found["reasons"].as_object().into_iter().flatten();
    let all: u64 = reasons.filter_map(|(_, count)| count.as_u64()).sum();
    output::note(&format!(
        "{all} stuck, of {} unended runs that were looked at",
        found["looked_at"]
    ));
    if found["is_whole"] != true {
        output::note("there are more: these are those that are due first");
    }
    Ok(ExitCode::SUCCESS)
}

/// Seconds as a person reads them.
fn span(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / 86_400),
    }
}

pub(crate) async fn top(client: &Client, asked: Top) -> Result<ExitCode, Failure> {
    let mut query = vec![
        ("by", asked.by),
        ("interval", asked.interval),
        ("limit", asked.limit.to_string()),
    ];
    query.extend(asked.from.map(|from| ("from", from)));
    query.extend(asked.to.map(|to| ("to", to)));
    let query = url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs(query)
        .finish();
    let found = client.get(&format!("/v1/admin/usage?{query}")).await?;
    if asked.json {
        output::line(&found.to_string());
        return Ok(ExitCode::SUCCESS);
    }
    let row = |tenant: String, usage: &Value| {
        let of = |name: &str| usage[name].to_string();
        let tokens = ["input_tokens", "output_tokens"].map(|name| usage[name].as_u64());
        let tokens: u64 = tokens.into_iter().flatten().sum();
        vec![
            tenant,
            output::dollars(&usage["cost_micro_usd"]),
            of("runs"),
            of("failed_runs"),
            tokens.to_string(),
            of("requests"),
            of("refused_requests"),
        ]
    };
    let items = found["items"].as_array().into_iter().flatten();
    let mut rows: Vec<_> = items.map(|item| row(text(item, "tenant"), item)).collect();
    rows.push(row("total".to_owned(), &found["total"]));
    let headings = [
        "TENANT", "COST", "RUNS", "FAILED", "TOKENS", "REQUESTS", "REFUSED",
    ];
    output::table(&headings, &rows);
    output::note(&format!(
        "from {} to {}; tenants read: {}, requests to the table: {}, read units: {}",
        text(&found, "from"),
        text(&found, "to"),
        found["tenants"],
        found["reads"],
        found["read_units"],
    ));
    for tenant in found["unread"].as_array().into_iter().flatten() {
        let tenant = tenant.as_str().unwrap_or_default();
        output::note(&format!("the usage of {tenant} cannot be read"));
    }
    if found["is_whole"] != true {
        output::note("there are more tenants than are read at most");
    }
    Ok(ExitCode::SUCCESS)
}

/// Switches a flag of a tenant if it is told how, and shows how its flags stand.
pub(crate) async fn flag(
    client: &Client,
    tenant: &str,
    switched: Option<(String, Switch)>,
) -> Result<(), Failure> {
    let path = format!("{TENANTS}/{tenant}");
    let tenant = match switched {
        Some((flag, switch)) => {
            let body = json!({"flags": {flag: switch.to_json()}});
            let request = client.request(Method::PATCH, &path).json(&body);
            client.json(request).await?
        }
        None => client.get(&path).await?,
    };
    let flags = tenant["flags"].as_object().into_iter().flatten();
    let word = |on: bool| if on { "on" } else { "off" }.to_owned();
    let rows: Vec<_> = flags
        .map(|(name, on)| {
            let on = word(on.as_bool().unwrap_or_default());
            let known = Flag::parse(name);
            let default = known.map_or(String::new(), |flag| word(flag.default_on()));
            let means = known.map_or("", Flag::off_means).to_owned();
            vec![name.clone(), on, default, means]
        })
        .collect();
    output::table(&["FLAG", "IS", "DEFAULT", "WHILE IT IS OFF"], &rows);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_has_the_unit_that_a_person_would_use() {
        let spans = [0, 119, 120, 7_199, 7_200, 172_799, 172_800].map(span);
        let expected = ["0 s", "119 s", "2 min", "119 min", "2 h", "47 h", "2 d"];
        assert_eq!(spans, expected);
    }
}
