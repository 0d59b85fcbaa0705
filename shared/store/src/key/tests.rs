use domain::tier::Subject;

use super::*;

fn ids() -> (TenantId, RunId, AgentId) {
    (
        TenantId::parse("acme").unwrap(),
        RunId::parse("run_0123456789abcdef0123456789abcdef").unwrap(),
        AgentId::parse("clerk").unwrap(),
    )
}

fn limit(name: &str, seconds: u32) -> Window {
    Window {
        name: name.to_owned(),
        requests: 10,
        seconds,
        by: Subject::Tenant,
    }
}

#[test]
fn layouts_never_change() {
    let (tenant, run, agent) = ids();
    let partition = "T#acme#R#run_0123456789abcdef0123456789abcdef";
    let of = |key: Key| format!("{} {}", key.pk(), key.sk());
    assert_eq!(
        of(Key::commit(&tenant, &run, 7)),
        format!("{partition} C#000000000007")
    );
    assert_eq!(of(Key::head(&tenant, &run)), format!("{partition} HEAD"));
    assert_eq!(of(Key::lease(&tenant, &run)), format!("{partition} LEASE"));
    assert_eq!(
        of(Key::snapshot(&tenant, &run, 1_234)),
        format!("{partition} S#000000001234")
    );
    assert_eq!(
        of(Key::agent_version(&tenant, &agent, 12)),
        "T#acme#A#clerk V#000012"
    );
    assert_eq!(of(Key::agent(&tenant, &agent)), "T#acme#A#clerk HEAD");
    assert_eq!(
        of(Key::api_key(&KeyId::parse("4f9a").unwrap())),
        "K#4f9a KEY"
    );
    let minute = limit("permin", 60);
    assert_eq!(
        of(Key::limit(&tenant, &minute, None).unwrap()),
        "T#acme#L#permin WINDOW#60"
    );
    assert_eq!(
        of(Key::limit(&tenant, &minute, Some("4f9a")).unwrap()),
        "T#acme#L#permin#4f9a WINDOW#60"
    );
    assert_eq!(of(Key::tenant(&tenant, 0)), "T#acme TENANT");
    assert_eq!(of(Key::bridge("skein-acme")), "BRIDGES skein-acme");
    assert_eq!(
        of(Key::ledger(&tenant, &Node::Tenant)),
        "T#acme#B#tenant LEDGER"
    );
    let project = Node::try_from("project:web".to_owned()).unwrap();
    assert_eq!(
        of(Key::ledger(&tenant, &project)),
        "T#acme#B#project:web LEDGER"
    );
    assert_eq!(
        of(Key::waiting(&tenant, At(1_700_000_000_123), &run)),
        "T#acme#WAITING 1700000000123#run_0123456789abcdef0123456789abcdef"
    );
    assert_eq!(
        of(Key::call(&tenant, &run, &FrameId::root(), 3)),
        "T#acme#R#run_0123456789abcdef0123456789abcdef HOLD#0#00003"
    );
    assert_eq!(
        of(Key::counted(&tenant, &run)),
        "T#acme#R#run_0123456789abcdef0123456789abcdef USAGE"
    );
    let hour = usage_partition(&tenant, Interval::Hour, 24_286);
    assert_eq!(of(Key::tally(&tenant, "f00d")), "T#acme#TALLIES f00d");
    assert_eq!(
        of(Key::usage(hour, At(1_700_000_000_000), "-#-#a#m")),
        "T#acme#U#hour#24286 1700000000000#-#-#a#m"
    );
    assert_eq!(of(Key::audit(&tenant, 7)), "T#acme#AUDIT E#000000000007");
    assert_eq!(of(Key::audit_tip(&tenant)), "T#acme#AUDIT TIP");
    assert_eq!(
        of(Key::checkpoint(&tenant, 7)),
        "T#acme#AUDIT CHECK#000000000007"
    );
    let due = trail_sort(At(1_700_000_000_123), &tenant);
    assert_eq!(due, "1700000000123#acme");
    let parsed = parse_trail_sort(&due);
    assert_eq!(parsed, Some((tenant.clone(), At(1_700_000_000_123))));
    assert_eq!(
        archived(&tenant, At(1_700_000_000_123), 7),
        "tenants/acme/audit/2023/11/000000000007.jsonl"
    );
    let key = KeyId::parse("4f9a").unwrap();
    assert_eq!(
        of(Key::refused(&tenant, &key, "not_found", 28_333_333)),
        "T#acme#REFUSED 4f9a#not_found#28333333"
    );
    assert_eq!(of(Key::sweep(0)), "SWEEP SWEEP");
    let partition = run_partition(&tenant, &run);
    let parsed = parse_run_partition(&partition);
    assert_eq!(parsed, Some((tenant.clone(), 0, run.clone())));
    let later = in_epoch(&partition, 1);
    assert_eq!(
        later,
        "T#acme#@000001#R#run_0123456789abcdef0123456789abcdef"
    );
    assert_eq!(in_epoch(&later, 9), later, "it is of an epoch already");
    let parsed = parse_run_partition(&later);
    assert_eq!(parsed, Some((tenant.clone(), 1, run.clone())));
    assert_eq!(parse_run_partition("T#acme#A#clerk"), None);
    assert_eq!(key_list(&tenant), "T#acme#KEYS");
    assert_eq!(run_list(&tenant, Status::Parked, 3), "T#acme#RUNS#parked#3");
    assert_eq!(
        run_list_sort(At(1_700_000_000_123), &run),
        "1700000000123#run_0123456789abcdef0123456789abcdef"
    );
    assert_eq!(agent_list(&tenant), "T#acme#AGENTS");
    assert_eq!(watch(&run, 0), "WATCH#1");
    assert_eq!(
        watch_sort(At(1_700_000_000_123), &tenant, &run),
        "1700000000123#acme#run_0123456789abcdef0123456789abcdef"
    );
    assert_eq!(
        blob(&tenant, &run, "ab12"),
        "tenants/acme/runs/run_0123456789abcdef0123456789abcdef/ab12"
    );
}

#[test]
fn the_sort_keys_of_a_run_stand_in_the_order_that_reads_rely_on() {
    let (tenant, run, _) = ids();
    let keys = [
        Key::commit(&tenant, &run, 1),
        Key::commit(&tenant, &run, 999_999_999_999),
        Key::head(&tenant, &run),
        Key::call(&tenant, &run, &FrameId::root(), 0),
        Key::lease(&tenant, &run),
        Key::snapshot(&tenant, &run, 100),
        Key::counted(&tenant, &run),
    ];
    assert!(keys.windows(2).all(|pair| pair[0].sk() < pair[1].sk()));
}

#[test]
fn shards_are_stable_and_even() {
    let mut counts = [0_u32; 4];
    for n in 0..4_000_u32 {
        let mut bytes = [0; 16];
        bytes[..4].copy_from_slice(&n.to_be_bytes());
        counts[usize::from(shard(&RunId::from_bytes(bytes), 4))] += 1;
    }
    assert!(
        counts.iter().all(|count| (800..1_200).contains(count)),
        "{counts:?}"
    );
    assert_eq!(shard(&ids().1, 1), 0);
}

#[test]
fn every_partition_of_a_tenant_is_its_own_but_what_it_is_found_by() {
    let (acme, run, agent) = ids();
    let window = limit("permin", 60);
    let key = KeyId::parse("4f9a").unwrap();
    for own in [
        Key::head(&acme, &run).pk(),
        Key::agent(&acme, &agent).pk(),
        Key::limit(&acme, &window, None).unwrap().pk(),
        Key::ledger(&acme, &Node::Tenant).pk(),
        Key::waiting(&acme, At(1), &run).pk(),
        Key::audit_tip(&acme).pk(),
        Key::refused(&acme, &key, "not_found", 1).pk(),
        &usage_partition(&acme, Interval::Day, 0),
        &run_list(&acme, Status::Queued, 0),
        &agent_list(&acme),
    ] {
        assert_eq!(owner(own), Owner::Tenant("acme"), "{own}");
    }
    for stack in [
        Key::tenant(&acme, 0).pk(),
        Key::api_key(&key).pk(),
        &key_list(&acme),
        Key::closing(&acme).pk(),
        Key::sweep(0).pk(),
        Key::ping().pk(),
        Key::bridge("skein-acme").pk(),
        TENANTS,
        CLOSINGS,
    ] {
        assert_eq!(owner(stack), Owner::Stack, "{stack}");
    }
    for shared in [TRAILS, &watch(&run, 0)] {
        assert_eq!(owner(shared), Owner::Table, "{shared}");
    }
}

#[test]
fn the_place_before_excludes_itself_and_nothing_else() {
    let place = "1700000000123#run_0123456789abcdef0123456789abcdea";
    assert!(before(place).as_str() < place);
    assert!(before(place).as_str() > "1700000000123#run_0123456789abcdef0123456789abcde9");
    assert!(before(&place.replace("dea", "de0")) > place.replace("dea", "dd") + "f");
}

#[test]
fn a_place_in_the_watch_index_is_read_back() {
    let (tenant, run, _) = ids();
    let text = watch_sort(At(5), &tenant, &run);
    assert_eq!(parse_watch_sort(&text), Some((tenant, run, At(5))));
    assert_eq!(parse_watch_sort("5#acme"), None);
}

#[test]
fn an_epoch_stands_in_the_keys_of_a_tenant_and_in_no_others() {
    let acme = TenantId::parse("acme").unwrap();
    for (pk, there) in [
        ("T#acme#B#tenant", "T#acme#@000008#B#tenant"),
        ("T#acme#RUNS#queued#0", "T#acme#@000008#RUNS#queued#0"),
        ("T#acme#KEYS", "T#acme#KEYS"),
        ("T#acme", "T#acme"),
        ("K#1", "K#1"),
        ("WATCH#1", "WATCH#1"),
    ] {
        assert_eq!(in_epoch(pk, 8), there);
        assert_eq!(in_epoch(pk, 0), pk, "who never moved has the keys of ever");
        assert_eq!(owner(&in_epoch(pk, 8)), owner(pk));
    }
    assert_eq!(Key::tenant(&acme, 8).sk(), "TENANT@000008");
    assert_eq!(Key::sweep(1).sk(), "SWEEP@000001");
    assert_eq!(watch_partition(2, 1), "WATCH#2@000001");
    assert_eq!(trails(1), "TRAILS@000001");
    assert_eq!(owner("WATCH#2@000001"), Owner::Table);
    assert_eq!(owner("TRAILS@000001"), Owner::Table);
}
