use local::table::Copies;

use super::*;

const REGIONS: &str = "us-east-1=https://us.example,eu-west-1=https://eu.example";

/// Two Regions that share a table.
async fn pair() -> (World, World, Copies) {
    let (mut one, mut other) = (Table::open(None).unwrap(), Table::open(None).unwrap());
    let copies = Copies::between(&mut one, &mut other);
    let regions = |own| Regions::parse(REGIONS, own).unwrap();
    let us = world_in(one, regions("us-east-1")).await;
    let eu = world_in(other, regions("eu-west-1")).await;
    (us, eu, copies)
}

#[tokio::test]
async fn another_region_reads_and_says_who_writes() {
    let (us, eu, copies) = pair().await;
    let key = us.tenant("acme").await;
    let body = json!({"agent": "echo", "input": "hello"});
    let run = us.post(&key, "/v1/runs", &body).await;
    assert_eq!(run.status, StatusCode::ACCEPTED, "{run:?}");
    let run = run.json()["id"].as_str().unwrap().to_owned();
    copies.arrive(false);

    for path in [
        "/v1/runs",
        "/v1/agents/echo",
        "/v1/usage",
        &format!("/v1/runs/{run}"),
    ] {
        let read = eu.get(&key, path).await;
        assert_eq!(read.status, StatusCode::OK, "{path}: {read:?}");
    }
    let agent = json!({"model": "local.echo", "system": "other"});
    for (path, body) in [
        ("/v1/runs", &body),
        ("/v1/agents/echo", &agent),
        (&*format!("/v1/runs/{run}/cancel"), &json!({})),
    ] {
        let refused = eu.post(&key, path, body).await;
        assert_eq!(
            refused.status,
            StatusCode::MISDIRECTED_REQUEST,
            "{path}: {refused:?}"
        );
        assert_eq!(refused.code(), "home_elsewhere");
        let detail = refused.json()["detail"].as_str().unwrap().to_owned();
        assert!(
            detail.contains("https://us.example") && detail.contains("us-east-1"),
            "{detail}"
        );
    }
}

#[tokio::test]
async fn an_operator_fails_a_tenant_over_and_it_works_on_there() {
    let (us, eu, copies) = pair().await;
    let key = us.tenant("acme").await;
    let operator = us.key(auth::OPERATOR, auth::OPERATOR_SCOPES).await;
    let body = json!({"agent": "echo", "input": "hello"});
    us.post(&key, "/v1/runs", &body).await;
    copies.arrive(false);
    let path = "/v1/admin/regions/failover";
    let ask = |from: &str, to: &str| json!({"from": from, "to": to, "tenant": "acme"});
    for (world, from, to) in [
        (&eu, "us-east-1", "us-east-1"),
        (&eu, "eu-west-1", "eu-west-1"),
        (&eu, "us-east-1", "mars-1"),
        (&us, "us-east-1", "eu-west-1"),
    ] {
        let refused = world.post(&operator, path, &ask(from, to)).await;
        assert_eq!(
            refused.code(),
            "invalid_body",
            "{from} to {to}: {refused:?}"
        );
    }

    let moved = eu
        .post(&operator, path, &ask("us-east-1", "eu-west-1"))
        .await;
    assert_eq!(moved.status, StatusCode::OK, "{moved:?}");
    let moved = moved.json();
    assert_eq!(moved["is_complete"], true);
    assert_eq!(
        moved["tenants"],
        json!([{"tenant": "acme", "epoch": 1, "runs": 1}])
    );
    let tenant = eu.get(&operator, "/v1/admin/tenants/acme").await.json();
    assert_eq!(tenant["home"], json!({"region": "eu-west-1", "epoch": 1}));
    let created = eu.post(&key, "/v1/runs", &body).await;
    assert_eq!(created.status, StatusCode::ACCEPTED, "{created:?}");
    let agent = json!({"model": "local.echo", "system": "other"});
    let stored = eu.post(&key, "/v1/agents/echo", &agent).await;
    assert_eq!(stored.json()["version"], 2, "{stored:?}");

    copies.arrive(true);
    let refused = us
        .post(&operator, "/v1/admin/tenants/acme/suspend", &json!({}))
        .await;
    assert_eq!(refused.code(), "home_elsewhere", "{refused:?}");
    let listed = us.get(&operator, "/v1/admin/tenants").await.json();
    let homes = listed["items"].as_array().unwrap().iter();
    let homes: Vec<_> = homes.filter(|it| it["id"] == "acme").collect();
    assert_eq!(homes.len(), 1, "{homes:?}");
    assert_eq!(homes[0]["home"]["epoch"], 1);
    let again = eu
        .post(&operator, path, &ask("us-east-1", "eu-west-1"))
        .await
        .json();
    assert_eq!(again["tenants"][0]["runs"], 0);
    let all = json!({"from": "us-east-1", "to": "eu-west-1"});
    let all = eu.post(&operator, path, &all).await.json();
    assert_eq!(all["tenants"][0]["tenant"], auth::OPERATOR, "{all}");
}

#[tokio::test]
async fn a_tenant_is_onboarded_in_the_region_that_is_to_write_for_it() {
    let (us, eu, copies) = pair().await;
    let operator = us.key(auth::OPERATOR, auth::OPERATOR_SCOPES).await;
    copies.arrive(false);
    let path = "/v1/admin/tenants";
    let new = |home: &str| json!({"id": "globex", "name": "Globex", "tier": "free", "home": home});
    let refused = us.post(&operator, path, &new("eu-west-1")).await;
    assert_eq!(refused.code(), "home_elsewhere", "{refused:?}");
    let refused = us.post(&operator, path, &new("mars-1")).await;
    assert_eq!(refused.code(), "invalid_body");
    let created = eu.post(&operator, path, &new("eu-west-1")).await;
    assert_eq!(created.status, StatusCode::CREATED, "{created:?}");
    let again = eu.post(&operator, path, &new("eu-west-1")).await;
    assert_eq!(again.status, StatusCode::OK, "{again:?}");
    copies.arrive(false);
    let taken = us
        .post(
            &operator,
            path,
            &json!({"id": "globex", "name": "Other", "tier": "free"}),
        )
        .await;
    assert_eq!(taken.code(), "tenant_exists", "{taken:?}");
    let budget = json!({"budgets": [{"period": "day", "unit": "tokens", "limit": 5}]});
    let put = |world: &World| {
        let path = "/v1/admin/tenants/globex/budgets/tenant".to_owned();
        let (router, operator, budget) =
            (world.router.clone(), operator.clone(), budget.to_string());
        async move {
            let request = Request::put(path).header("authorization", format!("Bearer {operator}"));
            let request = request.header("content-type", "application/json");
            let request = request.body(Body::from(budget)).unwrap();
            router.oneshot(request).await.unwrap().status()
        }
    };
    assert_eq!(put(&us).await, StatusCode::MISDIRECTED_REQUEST);
    assert_eq!(put(&eu).await, StatusCode::OK);
}
