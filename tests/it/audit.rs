//! The audit trail, as operators and tenants see it.

use domain::audit::{Entry, Verifier};
use serde_json::{Value, json};

use crate::client::Client;
use crate::platform::shared;

fn verified(page: &Value) -> Vec<Entry> {
    let entries: Vec<Entry> = serde_json::from_value(page["items"].clone()).unwrap();
    let mut verifier = Verifier::default();
    for entry in &entries {
        verifier.take(entry).unwrap();
    }
    entries
}

#[tokio::test]
async fn every_change_stands_in_the_trail_with_who_made_it() {
    let running = shared();
    let operator = running.operator();
    let tenants = "/v1/admin/tenants";
    let body = json!({"id": "audited", "name": "Audited", "tier": "free"});
    operator.post(tenants, &body).await.expect(201);
    let path = format!("{tenants}/audited");
    let issued = operator
        .post(&format!("{path}/keys"), &json!({"label": "first"}))
        .await
        .expect(201);
    let (id, secret) = (
        issued["id"].as_str().unwrap(),
        issued["key"].as_str().unwrap(),
    );
    let client = Client::new(&running.platform.url, secret);
    client.agent(&json!({"model": "local.echo"})).await;
    for standing in ["suspend", "suspend", "resume"] {
        operator
            .post(&format!("{path}/{standing}"), &json!({}))
            .await
            .expect(200);
    }
    // Neither changes anything.
    operator
        .post(&format!("{path}/keys"), &json!({"label": ""}))
        .await
        .problem(422, "invalid_body");
    client
        .post("/v1/agents/none", &json!({"model": ""}))
        .await
        .problem(422, "invalid_body");

    let own = client.get("/v1/audit").await.expect(200);
    let entries = verified(&own);
    let acts: Vec<&str> = entries.iter().map(|entry| &*entry.change.action).collect();
    assert_eq!(
        acts,
        [
            "tenant.created",
            "key.stored",
            "agent.stored",
            "tenant.changed",
            "tenant.changed"
        ]
    );
    let key = format!("key:{id}");
    assert_eq!(
        (&*entries[1].change.subject, &*entries[2].change.by),
        (&*key, &*key)
    );
    let by_operator = |entry: &Entry| entry.change.by.starts_with("operator:");
    assert!(by_operator(&entries[0]) && by_operator(&entries[3]));
    assert!(!own.to_string().contains(&secret[secret.len() - 40..]));

    let all = operator.get(&format!("{path}/audit")).await.expect(200);
    assert_eq!(all, own);
    let page = client.get("/v1/audit?after=1&limit=2").await.expect(200);
    assert_eq!(
        (verified(&page).len(), &page["next_cursor"]),
        (2, &json!("3"))
    );
    let other = running.tenant("stranger").await;
    let others = verified(&other.get("/v1/audit").await.expect(200));
    assert!(
        others
            .iter()
            .all(|entry| entry.tenant.as_str() == "stranger")
    );
    client
        .get("/v1/audit?limit=0")
        .await
        .problem(400, "invalid_parameter");
    let missing = operator.get(&format!("{tenants}/nobody/audit")).await;
    missing.problem(404, "not_found");
}
