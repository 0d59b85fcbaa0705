//! Who may do what at the table and the bucket, as the template says. A test compares the two.

use local::iam::{Iam, Policy, Statement};

use crate::cloud::{AUDIT_BUCKET, BUCKET, TABLE};

/// An access key that may do everything: of whoever prepares and looks, never of a function.
pub(crate) const ANYBODY: &str = "local";
/// The role that tenants' work is done in.
pub(crate) const TENANT_ROLE: &str = "arn:aws:iam::000000000000:role/skein-tenant";

/// What begins every partition of a tenant, and of no other: the separator keeps `ab` from `abc`.
const OWN: &str = "T#${aws:PrincipalTag/TenantId}#*";
/// The partition of a tenant's own record, which ends without a separator.
const RECORD: &str = "T#${aws:PrincipalTag/TenantId}";
/// A tenant's objects.
const OBJECTS: &str = "tenants/${aws:PrincipalTag/TenantId}/*";
/// API keys, which are read to know whose they are.
const API_KEYS: &str = "K#*";
/// What is read to see whether there is maintenance.
const MAINTENANCE: &str = "MAINTENANCE";
/// What is read to see whether the table answers.
const PING: &str = "PING";

/// The access key that a function signs with.
pub(crate) fn key_of(function: &str) -> String {
    format!("local-{function}")
}

/// Makes the tenants' role, and lets each function do as itself what the template lets it do, which is what is no one tenant's
/// alone.
pub(crate) fn arrange(iam: &Iam) {
    let table = format!("table/{TABLE}");
    // The tables that tenants have for themselves, with their indexes: in policies `*` stands for slashes too.
    let own = format!("{table}-*");
    let list = format!("{table}/index/list");
    let watch = format!("{table}/index/watch");
    let objects = format!("{BUCKET}/{OBJECTS}");
    let items = [
        "dynamodb:ConditionCheckItem",
        "dynamodb:DeleteItem",
        "dynamodb:GetItem",
        "dynamodb:PutItem",
        "dynamodb:Query",
        "dynamodb:UpdateItem",
    ];
    let record = [
        "dynamodb:ConditionCheckItem",
        "dynamodb:GetItem",
        "dynamodb:Query",
    ];
    iam.role(
        TENANT_ROLE,
        Policy::new([
            Statement::new(&items, &[&table, &own]).leading(&[OWN]),
            Statement::new(&["dynamodb:Query"], &[&list]).leading(&[OWN]),
            Statement::new(&record, &[&table]).leading(&[RECORD]),
            Statement::new(&["s3:GetObject", "s3:PutObject"], &[&objects]),
        ]),
    );
    let keys = Statement::new(&["dynamodb:GetItem", "dynamodb:UpdateItem"], &[&table]);
    let keys = keys.leading(&[API_KEYS]);
    iam.restrict(&key_of("authorizer"), Policy::new([keys.clone()]));
    let maintenance = Statement::new(&["dynamodb:GetItem"], &[&table]);
    let maintenance = maintenance.leading(&[MAINTENANCE]);
    let stream = [keys.clone(), maintenance.clone()];
    iam.restrict(&key_of("stream"), Policy::new(stream));
    let ready = [
        Statement::new(&["dynamodb:GetItem"], &[&table]).leading(&[PING]),
        Statement::new(&["s3:ListBucket"], &[BUCKET]),
    ];
    iam.restrict(
        &key_of("api"),
        Policy::new([keys, maintenance].into_iter().chain(ready)),
    );
    for function in ["orchestrator", "worker"] {
        iam.restrict(&key_of(function), Policy::default());
    }
    let any_object = format!("{BUCKET}/tenants/*");
    let describe = ["dynamodb:DescribeTable", "dynamodb:DescribeTimeToLive"];
    let admin = [
        Statement::new(&items, &[&table, &own]),
        Statement::new(&["dynamodb:Query"], &[&list, &watch]),
        Statement::new(&describe, &[&own]),
        Statement::new(&["s3:GetObject"], &[&any_object]),
    ];
    iam.restrict(&key_of("admin"), Policy::new(admin));
    let archive = format!("{AUDIT_BUCKET}/tenants/*");
    let exports = format!("{BUCKET}/exports/*");
    let janitor = [
        Statement::new(&items, &[&table, &own]),
        Statement::new(&["dynamodb:Scan"], &[&table, &own]),
        Statement::new(&["dynamodb:Query"], &[&list, &watch]),
        Statement::new(&["s3:ListBucket"], &[BUCKET]),
        Statement::new(&["s3:DeleteObject", "s3:GetObject"], &[&any_object]),
        Statement::new(&["s3:GetObject", "s3:PutObject"], &[&exports]),
        Statement::new(&["s3:PutObject"], &[&archive]),
    ];
    iam.restrict(&key_of("janitor"), Policy::new(janitor));
    let counts = [
        "dynamodb:GetItem",
        "dynamodb:PutItem",
        "dynamodb:Query",
        "dynamodb:UpdateItem",
    ];
    let relay = [Statement::new(&counts, &[&table, &own])];
    iam.restrict(&key_of("relay"), Policy::new(relay));
}
