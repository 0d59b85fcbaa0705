//! `skein operators`, `skein tenants`, `skein keys`, `skein budgets`, `skein tiers`: what an operator does.

use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use api::auth::OPERATOR_SCOPES;
use domain::time::At;
use reqwest::Method;
use serde_json::{Map, Value, json};

use crate::args::{BudgetLimits, Budgets, Keys, Operators, Tenants};
use crate::client::Client;
use crate::operate;
use crate::output::{self, Failure};

pub(crate) const TENANTS: &str = "/v1/admin/tenants";

pub(crate) async fn tenants(client: &Client, command: Tenants) -> Result<ExitCode, Failure> {
    match command {
        Tenants::Create {
            id,
            name,
            tier,
            isolation,
            table,
            endpoint,
        } => {
            let name = name.unwrap_or_else(|| id.clone());
            let mut whither = Map::from_iter([("mode".to_owned(), json!(isolation.as_str()))]);
            whither.extend(table.map(|table| ("table".to_owned(), json!(table))));
            whither.extend(endpoint.map(|endpoint| ("endpoint".to_owned(), json!(endpoint))));
            let body = json!({"id": id, "name": name, "tier": tier, "isolation": whither});
            let request = client.request(Method::POST, TENANTS).json(&body);
            show(&client.json(request).await?);
        }
        Tenants::Ls { json } => {
            let page = client.get(&format!("{TENANTS}?limit=100")).await?;
            list(
                &page,
                json,
                &["TENANT", "TIER", "STANDING", "ISOLATION", "NAME"],
                |tenant| {
                    let of = |name| text(tenant, name);
                    let isolation = text(&tenant["isolation"], "mode");
                    vec![of("id"), of("tier"), of("standing"), isolation, of("name")]
                },
            );
        }
        Tenants::Show { id } => {
            let tenant = client.get(&format!("{TENANTS}/{id}")).await?;
            output::line(&output::readable(&tenant));
        }
        Tenants::Set {
            id,
            name,
            tier,
            overrides,
        } => {
            let mut body = Map::new();
            body.extend(name.map(|name| ("name".to_owned(), json!(name))));
            body.extend(tier.map(|tier| ("tier".to_owned(), json!(tier))));
            body.extend(overrides.map(|overrides| ("overrides".to_owned(), overrides)));
            let path = format!("{TENANTS}/{id}");
            let request = client.request(Method::PATCH, &path).json(&body);
            show(&client.json(request).await?);
        }
        Tenants::Top(asked) => return operate::top(client, asked).await,
        Tenants::Flag { id, flag, switch } => {
            operate::flag(client, &id, flag.zip(switch)).await?;
        }
        Tenants::Suspend { id } => stand(client, &id, "suspend").await?,
        Tenants::Resume { id } => stand(client, &id, "resume").await?,
        Tenants::Close { id, yes, detach } => {
            return crate::closing::close(client, &id, yes, !detach).await;
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn stand(client: &Client, id: &str, what: &str) -> Result<(), Failure> {
    let request = client.request(Method::POST, &format!("{TENANTS}/{id}/{what}"));
    show(&client.json(request).await?);
    Ok(())
}

fn show(tenant: &Value) {
    let of = |name: &str| text(tenant, name);
    output::line(&format!("{} {} {}", of("id"), of("tier"), of("standing")));
}

/// Asks the table alone, with the credentials of the environment: as long as nobody has a key, the API lets nobody in.
pub(crate) async fn operators(command: Operators) -> Result<ExitCode, Failure> {
    let Operators::Issue {
        table,
        label,
        scopes,
    } = command;
    let scopes: Vec<_> = match scopes.as_slice() {
        [] => OPERATOR_SCOPES.to_vec(),
        asked => asked.iter().map(String::as_str).collect(),
    };
    let store = wiring::table(&table);
    let key = dev::issue_operator_key(&store, &label, &scopes, now()).await?;
    issued(&json!({"key": key}));
    Ok(ExitCode::SUCCESS)
}

/// This machine's time.
pub(crate) fn now() -> At {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    At(u64::try_from(since.unwrap_or_default().as_millis()).unwrap_or(u64::MAX))
}

pub(crate) async fn keys(client: &Client, command: Keys) -> Result<ExitCode, Failure> {
    match command {
        Keys::Issue {
            tenant,
            label,
            project,
            scopes,
            expires_at,
        } => {
            let mut body = Map::from_iter([("label".to_owned(), json!(label))]);
            body.extend(project.map(|project| ("project".to_owned(), json!(project))));
            body.extend(expires_at.map(|at| ("expires_at".to_owned(), json!(at))));
            if !scopes.is_empty() {
                body.insert("scopes".to_owned(), json!(scopes));
            }
            let path = format!("{TENANTS}/{tenant}/keys");
            let request = client.request(Method::POST, &path).json(&body);
            issued(&client.json(request).await?);
        }
        Keys::Ls { tenant, json } => {
            let path = format!("{TENANTS}/{tenant}/keys?limit=100");
            let page = client.get(&path).await?;
            let headings = ["KEY", "LABEL", "PROJECT", "EXPIRES", "REVOKED"];
            list(&page, json, &headings, |key| {
                let names = ["id", "label", "project", "expires_at", "revoked_at"];
                names.map(|name| text(key, name)).into()
            });
        }
        Keys::Rotate {
            tenant,
            key,
            grace_seconds,
        } => {
            let path = format!("{TENANTS}/{tenant}/keys/{key}/rotate");
            let body = json!({"grace_seconds": grace_seconds});
            let request = client.request(Method::POST, &path).json(&body);
            issued(&client.json(request).await?);
        }
        Keys::Sync { tenant } => {
            let path = format!("{TENANTS}/{tenant}/keys/sync");
            let synced = client.json(client.request(Method::POST, &path)).await?;
            let of = |name| synced[name].to_string();
            let (settled, pending) = (of("settled"), of("pending"));
            let removed = of("removed");
            output::line(&format!(
                "{settled} settled, {pending} pending, {removed} removed"
            ));
        }
        Keys::Revoke { tenant, key } => {
            let path = format!("{TENANTS}/{tenant}/keys/{key}");
            client.send(client.request(Method::DELETE, &path)).await?;
            output::line(&format!("{key} is revoked; it ceases to hold within 30 s"));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The key alone on standard output, so that it can be piped.
fn issued(key: &Value) {
    output::note("keep this key: it is not shown again");
    output::line(&text(key, "key"));
}

pub(crate) async fn tiers(client: &Client, as_json: bool) -> Result<ExitCode, Failure> {
    let page = client.get("/v1/admin/tiers").await?;
    let headings = ["TIER", "REQUESTS", "RUNS AT ONCE", "IN LINE", "KEPT DAYS"];
    list(&page, as_json, &headings, |tier| {
        let limits = &tier["limits"];
        let windows = limits["windows"].as_array().into_iter().flatten();
        let windows =
            windows.map(|window| format!("{}/{} s", window["requests"], window["seconds"]));
        vec![
            text(tier, "name"),
            windows.collect::<Vec<_>>().join(", "),
            limits["concurrent_runs"].to_string(),
            limits["waiting_runs"].to_string(),
            limits["retention_days"].to_string(),
        ]
    });
    Ok(ExitCode::SUCCESS)
}

pub(crate) async fn budgets(client: &Client, command: Budgets) -> Result<ExitCode, Failure> {
    let (page, as_json) = match command {
        Budgets::Show { tenant, json } => {
            let path = format!("{TENANTS}/{tenant}/budgets");
            (client.get(&path).await?, json)
        }
        Budgets::Set {
            tenant,
            node,
            limits,
        } => {
            let path = format!("{TENANTS}/{tenant}/budgets/{node}");
            let body = json!({"budgets": limits.to_json()});
            let request = client.request(Method::PUT, &path).json(&body);
            (client.json(request).await?, false)
        }
    };
    if as_json {
        output::line(&page.to_string());
        return Ok(ExitCode::SUCCESS);
    }
    let mut rows = Vec::new();
    for account in page["items"].as_array().into_iter().flatten() {
        rows.extend(account_rows(account));
    }
    let headings = ["NODE", "PERIOD", "LIMIT", "LEFT", "RESERVED", "BEGINS ANEW"];
    output::table(&headings, &rows);
    Ok(ExitCode::SUCCESS)
}

fn account_rows(account: &Value) -> Vec<Vec<String>> {
    let node = text(account, "node");
    let budgets = account["budgets"].as_array().into_iter().flatten();
    let mut rows: Vec<Vec<String>> = budgets
        .map(|budget| {
            let unit = text(budget, "unit");
            vec![
                node.clone(),
                text(budget, "period"),
                amount(&budget["limit"], &unit),
                amount(&budget["left"], &unit),
                amount(&account["held"][&unit], &unit),
                text(budget, "renews_at"),
            ]
        })
        .collect();
    if rows.is_empty() {
        let held = amount(&account["held"]["micro_usd"], "micro_usd");
        let none = "none".to_owned();
        rows.push(vec![
            node,
            String::new(),
            none,
            String::new(),
            held,
            String::new(),
        ]);
    }
    rows
}

/// An amount as a person reads it.
fn amount(value: &Value, unit: &str) -> String {
    match value.as_i64() {
        Some(left) if left < 0 => format!("-{}", amount(&json!(left.unsigned_abs()), unit)),
        _ if unit == "micro_usd" => output::dollars(value),
        _ => format!("{value} tokens"),
    }
}

impl BudgetLimits {
    fn to_json(&self) -> Value {
        let of = |period: &str, unit: &str, limit: Option<u64>| {
            limit.map(|limit| json!({"period": period, "unit": unit, "limit": limit}))
        };
        let budgets = [
            of("day", "micro_usd", self.usd_a_day),
            of("month", "micro_usd", self.usd_a_month),
            of("total", "micro_usd", self.usd_in_all),
            of("day", "tokens", self.tokens_a_day),
            of("month", "tokens", self.tokens_a_month),
            of("total", "tokens", self.tokens_in_all),
        ];
        budgets.into_iter().flatten().collect()
    }
}

/// Dollars with at most six decimals, as micro-USD.
pub(crate) fn micro_usd(text: &str) -> Result<u64, String> {
    let wrong = || "must be dollars with at most six decimals, like 12.50".to_owned();
    let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
    let is_digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit()) && !text.is_empty();
    if !is_digits(whole) || !is_digits(part) || part.len() > 6 {
        return Err(wrong());
    }
    let whole: u64 = whole.parse().map_err(|_| wrong())?;
    let part: u64 = format!("{part:0<6}").parse().map_err(|_| wrong())?;
    let micro = whole
        .checked_mul(1_000_000)
        .and_then(|micro| micro.checked_add(part));
    micro.ok_or_else(wrong)
}

pub(crate) fn text(value: &Value, name: &str) -> String {
    value[name].as_str().unwrap_or_default().to_owned()
}

pub(crate) fn list(
    page: &Value,
    as_json: bool,
    headings: &[&str],
    row: impl Fn(&Value) -> Vec<String>,
) {
    if as_json {
        output::line(&page.to_string());
        return;
    }
    let items = page["items"].as_array().into_iter().flatten();
    output::table(headings, &items.map(row).collect::<Vec<_>>());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dollars_are_read_to_the_micro_dollar() {
        for (text, expected) in [
            ("0.45", Some(450_000)),
            ("12", Some(12_000_000)),
            ("0.000001", Some(1)),
            ("1.5", Some(1_500_000)),
            ("0.0000001", None),
            ("", None),
            (".5", None),
            ("5.", None),
            ("-1", None),
            ("1e3", None),
            ("99999999999999999999", None),
        ] {
            assert_eq!(micro_usd(text).ok(), expected, "{text}");
        }
    }

    #[test]
    fn amounts_below_nothing_keep_their_sign() {
        assert_eq!(amount(&json!(-450_000), "micro_usd"), "-$0.450000");
        assert_eq!(amount(&json!(7), "tokens"), "7 tokens");
    }
}
