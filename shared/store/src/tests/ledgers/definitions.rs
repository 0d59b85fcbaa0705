//! Runs are of the versions that are the latest.

use super::*;

#[tokio::test]
async fn a_run_of_an_agent_that_changed_since_it_was_read_is_not_created() {
    let World { store, .. } = world().await;
    let acme = onboarded(&store, &[]).await;
    let clerk = AgentId::parse("clerk").unwrap();
    let latest = || async {
        let latest = store.latest_agent(&acme.id, &clerk, NOW).await.unwrap();
        latest.map(|latest| (latest.version.version, latest.definitions))
    };
    let put = |system: &str| {
        let agent = serde_json::from_value(json!({"model": "local.echo", "system": system}));
        let (store, acme, clerk) = (&store, &acme.id, &clerk);
        async move {
            let agent = agent.unwrap();
            store.put_agent(acme, clerk, &agent, NOW).await.unwrap()
        }
    };
    let begin = |n, definitions| {
        let (store, acme) = (&store, &acme);
        async move {
            begin_if(store, acme, n, 1, (10, 10), NOW, definitions)
                .await
                .1
        }
    };
    assert_eq!(latest().await, None);
    put("one").await;
    assert_eq!(latest().await, Some((1, 1)), "absence is not remembered");
    put("two").await;
    assert_eq!(latest().await, Some((1, 1)), "as if another process had");
    assert_eq!(begin(1, Some(1)).await, Creation::Redefined);
    store.forget_agent(&acme.id, &clerk);
    assert_eq!(latest().await, Some((2, 2)));
    assert_eq!(begin(1, Some(2)).await, Creation::New);

    store.archive_agent(&acme.id, &clerk, NOW).await.unwrap();
    assert_eq!(begin(2, Some(2)).await, Creation::Redefined);
    assert_eq!(begin(2, Some(0)).await, Creation::Redefined);
    assert_eq!(begin(2, None).await, Creation::New, "who read nothing");
}
