//! House rules.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use cargo_metadata::{DependencyKind, MetadataCommand};

const ADAPTERS: [&str; 4] = ["store", "gateway", "queue", "telemetry"];
const FUNCTIONS: [&str; 8] = [
    "api",
    "admin",
    "authorizer",
    "stream",
    "orchestrator",
    "worker",
    "janitor",
    "relay",
];
/// Crates that put a process together, and those that are no part of what runs on AWS.
const WIRING: [&str; 2] = ["aws", "wiring"];
const FREE: [&str; 6] = ["bench", "skein", "cli", "local", "dev", "tests"];

/// Which crate may name an SDK, besides wiring and what does not run on AWS.
const SDKS: [(&str, &str); 7] = [
    ("aws-sdk-dynamodb", "store"),
    ("aws-sdk-sqs", "queue"),
    ("aws-sdk-scheduler", "queue"),
    ("aws-sdk-bedrockruntime", "gateway"),
    ("aws-sdk-cloudwatch", "telemetry"),
    ("aws-sdk-kms", "signer"),
    ("aws-sdk-apigateway", "gate"),
];

/// Variables that functions read and the template does not set: switches for development.
const DEVELOPMENT: [&str; 3] = ["SKEIN_ALLOW_LOOPBACK", "SKEIN_LOG", "SKEIN_LOG_FORMAT"];

/// Most lines of a source file.
const MAX_LINES: usize = 500;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_owned()
}

/// Every crate of the workspace with what it depends on, development and build aside, by short names.
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let metadata = MetadataCommand::new()
        .manifest_path(root().join("Cargo.toml"))
        .no_deps()
        .exec()
        .unwrap();
    metadata
        .packages
        .iter()
        .map(|package| {
            let normal = package
                .dependencies
                .iter()
                .filter(|dependency| dependency.kind == DependencyKind::Normal)
                .map(|dependency| short(&dependency.name));
            (short(&package.name), normal.collect())
        })
        .collect()
}

fn short(package: &str) -> String {
    package.strip_prefix("skein-").unwrap_or(package).to_owned()
}

/// What a crate may name of the workspace; none for one that may name anything.
fn allowed(name: &str) -> Option<Vec<&'static str>> {
    let below_engine = [&["domain"][..], &ADAPTERS].concat();
    let below_functions = [&["engine"][..], &below_engine].concat();
    match name {
        "domain" | "aws" | "signer" | "load" => Some(Vec::new()),
        "gate" => Some(vec!["domain"]),
        adapter if ADAPTERS.contains(&adapter) => Some(vec!["domain"]),
        "engine" => Some(below_engine),
        "wiring" => Some([&["aws", "signer", "gate"][..], &below_functions].concat()),
        // It alone signs: no other function should grow by a client of KMS.
        "janitor" => Some([&["signer"][..], &WIRING, &below_functions].concat()),
        // Their routes are routes of the same API.
        "stream" | "authorizer" => Some([&["api"][..], &WIRING, &below_functions].concat()),
        // It alone changes keys of API Gateway.
        "admin" => Some([&["api", "gate"][..], &WIRING, &below_functions].concat()),
        function if FUNCTIONS.contains(&function) => Some([&WIRING[..], &below_functions].concat()),
        free if FREE.contains(&free) => None,
        other => panic!("the crate `{other}` has no place in the order of crates yet"),
    }
}

#[test]
fn crates_name_only_what_stands_below_them() {
    let crates = dependencies();
    for (name, named) in &crates {
        let Some(allowed) = allowed(name) else {
            continue;
        };
        for other in named.iter().filter(|other| crates.contains_key(*other)) {
            assert!(
                allowed.contains(&other.as_str()),
                "`{name}` may not name `{other}`"
            );
        }
    }
}

#[test]
fn the_domain_names_no_runtime_and_no_cloud() {
    let crates = dependencies();
    for named in &crates["domain"] {
        for forbidden in ["aws", "tokio", "tracing", "lambda", "reqwest", "hyper"] {
            assert!(
                !named.starts_with(forbidden),
                "`domain` may not name `{named}`"
            );
        }
    }
}

#[test]
fn an_sdk_is_named_by_its_crate_alone() {
    for (name, named) in dependencies() {
        let is_free = |list: &[&str]| list.contains(&name.as_str());
        if is_free(&WIRING) || is_free(&FREE) {
            continue;
        }
        for sdk in named.iter().filter(|named| named.starts_with("aws-sdk-")) {
            let owner = SDKS.iter().find(|(known, _)| known == sdk);
            assert_eq!(
                owner.map(|(_, owner)| *owner),
                Some(name.as_str()),
                "`{name}` may not name `{sdk}`"
            );
        }
    }
}

/// Every file below `folder` that `wanted` wants, without what is built or hidden.
fn files(folder: &Path, wanted: &dyn Fn(&Path) -> bool, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            if name != "target" && (!name.starts_with('.') || name == ".ci") {
                files(&path, wanted, found);
            }
        } else if wanted(&path) {
            found.push(path);
        }
    }
}

fn sources() -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    for folder in ["functions", "shared", "tests"] {
        files(
            &root().join(folder),
            &|path| path.extension().is_some_and(|e| e == "rs"),
            &mut found,
        );
    }
    read(found)
}

fn read(paths: Vec<PathBuf>) -> Vec<(PathBuf, String)> {
    paths
        .into_iter()
        .map(|path| {
            let text = fs::read_to_string(&path).unwrap();
            (path, text)
        })
        .collect()
}

#[test]
fn no_source_file_is_long() {
    for (path, text) in sources() {
        let lines = text.lines().count();
        assert!(lines <= MAX_LINES, "{} has {lines} lines", path.display());
    }
}

/// The second ring holds for what asks with a tenant's credentials, which `As` has.
#[test]
fn a_handler_of_a_tenants_route_has_no_api_but_that_tenants() {
    let handlers = root().join("functions/api/src");
    let mut seen = 0;
    for (path, text) in sources() {
        if !path.starts_with(&handlers) {
            continue;
        }
        for handler in text.split("async fn ").skip(1) {
            let signature = handler.split(") -> ").next().unwrap_or_default();
            if signature.contains(": As<") || signature.contains(": Follower") {
                seen += 1;
                assert!(!signature.contains("State("), "{}", path.display());
            }
        }
    }
    assert!(seen > 10, "the search finds {seen} handlers");
}

#[test]
fn every_sample_event_is_used() {
    let mut readers = sources();
    let is_document = |path: &Path| {
        let parent = path.parent().and_then(Path::file_name);
        path.extension().is_some_and(|e| e == "md") || parent.is_some_and(|parent| parent == ".ci")
    };
    let mut documents = Vec::new();
    files(&root(), &is_document, &mut documents);
    readers.extend(read(documents));
    for event in fs::read_dir(root().join("events")).unwrap() {
        let name = event.unwrap().file_name().to_string_lossy().into_owned();
        assert!(
            readers.iter().any(|(_, text)| text.contains(&name)),
            "no test and no document names events/{name}"
        );
    }
}

/// Method and path of every route of the OpenAPI document.
fn routes() -> Vec<(String, String)> {
    let document: serde_json::Value = serde_json::from_str(api::OPENAPI).unwrap();
    let paths = document["paths"].as_object().unwrap();
    paths
        .iter()
        .flat_map(|(path, item)| {
            let methods = item.as_object().unwrap().keys();
            methods
                .filter(|key| ["get", "post", "put", "patch", "delete"].contains(&key.as_str()))
                .map(|method| (method.to_uppercase(), path.clone()))
        })
        .collect()
}

#[test]
fn every_route_stands_in_the_table_of_the_readme() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let rows: Vec<&str> = readme
        .lines()
        .filter(|line| line.starts_with('|'))
        .collect();
    for (method, path) in routes() {
        let route = format!("`{method} {path}`");
        assert!(
            rows.iter().any(|row| row.contains(&route)),
            "no row of README.md holds {route}"
        );
    }
}

/// The texts `"SKEIN_..."` in a source, without its tests.
fn variables(text: &str) -> impl Iterator<Item = &str> {
    let text = text
        .split("#[cfg(test)]\nmod tests {")
        .next()
        .unwrap_or(text);
    text.match_indices("\"SKEIN_").filter_map(|(at, _)| {
        let rest = &text[at + 1..];
        let name = &rest[..rest.find('"')?];
        name.bytes()
            .all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_')
            .then_some(name)
    })
}

#[test]
fn every_variable_that_functions_read_is_set_by_the_template() {
    let template = fs::read_to_string(root().join("template.yaml")).unwrap();
    let on_aws = |path: &Path| {
        let inside = path.strip_prefix(root()).unwrap();
        let mut parts = inside.iter().map(|part| part.to_string_lossy());
        let (folder, name) = (parts.next().unwrap(), parts.next().unwrap());
        folder != "tests" && !FREE.contains(&name.as_ref())
    };
    let mut seen = BTreeSet::new();
    for (path, text) in sources().into_iter().filter(|(path, _)| on_aws(path)) {
        for name in variables(&text) {
            seen.insert(name.to_owned());
            assert!(
                DEVELOPMENT.contains(&name) || template.contains(&format!("{name}:")),
                "{} reads {name}, which template.yaml does not set",
                path.display()
            );
        }
    }
    assert!(
        seen.contains("SKEIN_TABLE"),
        "the search finds nothing: {seen:?}"
    );
}
