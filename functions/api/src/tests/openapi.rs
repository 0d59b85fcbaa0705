use std::collections::{BTreeMap, BTreeSet};

use expect_test::expect_file;
use serde_json::Value;
use utoipa::OpenApi as _;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};

use crate::{
    OPENAPI, admin, agents, audit, create, events, health, routes, runs, schema, stream_token,
    usage,
};

#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "Skein",
        description = "Durable runs of AI agents. Errors are problem details (RFC 9457); every answer carries `X-Request-Id`."
    ),
    paths(
        create::create,
        runs::list,
        runs::read,
        runs::steps,
        runs::receipt,
        runs::cancel,
        stream_token::create,
        events::read,
        agents::list,
        agents::store_version,
        agents::read,
        agents::archive,
        agents::versions,
        agents::read_version,
        admin::budgets::own,
        usage::own,
        audit::own,
        audit::own_checkpoints,
        admin::tenants::tiers,
        admin::top::list,
        admin::stuck::list,
        admin::dlq::list,
        admin::dlq::show,
        admin::dlq::redrive,
        admin::maintenance::read,
        admin::maintenance::begin,
        admin::maintenance::end,
        admin::slo::read,
        admin::regions::fail_over,
        admin::tenants::create,
        admin::tenants::list,
        admin::tenants::read,
        admin::tenants::patch,
        admin::tenants::suspend,
        admin::tenants::resume,
        admin::closing::close,
        admin::keys::create,
        admin::keys::list,
        admin::keys::read,
        admin::keys::revoke,
        admin::keys::rotate,
        admin::gate::sync,
        admin::budgets::list,
        admin::budgets::set,
        usage::of_tenant,
        audit::of_tenant,
        audit::checkpoints_of_tenant,
        health::live,
        health::ready,
        routes::document,
    ),
    components(schemas(schema::Event, schema::Problem))
)]
struct Document;

#[test]
fn the_document_is_what_the_handlers_say() {
    let mut document = Document::openapi();
    let key = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .bearer_format("skn_<tier>_<id>_<secret>")
        .description(Some("An API key; also taken in the header `X-Api-Key`."))
        .build();
    let components = document.components.get_or_insert_default();
    components.add_security_scheme("key", SecurityScheme::Http(key));
    let token = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .bearer_format("skt_<sealed>")
        .description(Some(
            "A stream token; also taken in the query parameter `access_token`.",
        ))
        .build();
    components.add_security_scheme("stream_token", SecurityScheme::Http(token));
    let json = document.to_pretty_json().unwrap() + "\n";
    expect_file!["../../openapi.json"].assert_eq(&json);
}

/// The methods that each path has in `routes.rs`, whichever function answers them.
fn mounted() -> BTreeMap<String, BTreeSet<&'static str>> {
    let mut mounted: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    for route in include_str!("../routes.rs").split(".route(").skip(1) {
        let path = route.split('"').nth(1).unwrap();
        let methods = ["delete", "get", "patch", "post", "put"];
        let has = |method: &&str| route.contains(&format!("{method}("));
        let known = mounted.entry(path.to_owned()).or_default();
        known.extend(methods.into_iter().filter(has));
    }
    mounted
}

#[test]
fn every_route_stands_in_the_document_and_the_other_way_round() {
    let document: Value = serde_json::from_str(OPENAPI).unwrap();
    let documented = document["paths"].as_object().unwrap().iter();
    let documented: BTreeMap<String, BTreeSet<&str>> = documented
        .map(|(path, methods)| {
            let methods = methods.as_object().unwrap().keys();
            (path.clone(), methods.map(String::as_str).collect())
        })
        .collect();
    assert_eq!(mounted(), documented);
}
