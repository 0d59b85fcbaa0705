//! Warnings of budgets.

use domain::budget::Warning;

use super::*;

#[tokio::test]
async fn a_warning_is_given_by_one_and_anew_when_the_limit_is_another() {
    let World { store, .. } = world().await;
    let tenant = onboarded(&store, &[(Node::Tenant, vec![usd(1_000)])]).await;
    let warning = Warning {
        node: Node::Tenant,
        budget: usd(1_000),
        period: Period::Day.number(NOW),
        percent: 80,
        spent: 812,
    };
    let warn = |warning: Warning| {
        let (store, tenant) = (store.clone(), tenant.clone());
        async move { store.warn(&tenant, &warning, NOW).await.unwrap() }
    };
    let both = tokio::join!(warn(warning.clone()), warn(warning.clone()));
    assert!(both.0 != both.1, "one of two at once: {both:?}");
    let lower = Warning {
        percent: 50,
        ..warning.clone()
    };
    assert!(!warn(lower.clone()).await, "that is passed");
    let over = Warning {
        period: warning.period - 1,
        percent: 100,
        ..warning.clone()
    };
    assert!(!warn(over).await, "that day is over");
    let known = ledger(&store, &tenant).await;
    assert_eq!(known.warned_of(&usd(1_000)), Some(80));
    let trail = store.audit(&tenant.id, 0, 100).await.unwrap();
    let told: Vec<_> = trail.items.iter().map(|entry| &entry.change).collect();
    let told = told
        .iter()
        .filter(|change| change.action == "budget.warned");
    let told: Vec<_> = told.collect();
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].subject, "budget:tenant");
    assert_eq!(told[0].state["spent"], 812);

    let mut raised = tenant.clone();
    raised.budgets = [(Node::Tenant, vec![usd(2_000)])].into();
    raised.revision += 1;
    store.put_tenant(&raised, Some(&tenant)).await.unwrap();
    assert_eq!(ledger(&store, &raised).await.warned_of(&usd(2_000)), None);
    assert!(!warn(lower.clone()).await, "of a limit that is over");
    let again = store.warn(&raised, &lower, NOW).await.unwrap();
    assert!(again, "half of the new limit is told again");
}
