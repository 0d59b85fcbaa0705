use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use axum::body::{Body, to_bytes};
use axum::extract::Request as Asked;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::*;
use crate::s3::Payloads;
use crate::table::Table;
use crate::table::tests::create_table;
use crate::wire::tests::dynamodb;

const ROLE: &str = "arn:aws:iam::000000000000:role/tenant";
const OWN: &str = "T#${aws:PrincipalTag/TenantId}#*";

/// Access key and token of a principal.
#[derive(Clone, Default)]
struct Key(String, String);

struct World {
    iam: Iam,
    seconds: Arc<AtomicU64>,
    table: Router,
    objects: Router,
}

impl World {
    async fn new() -> Self {
        let seconds = Arc::new(AtomicU64::new(1_700_000_000));
        let told = seconds.clone();
        let iam = Iam::with_clock(Arc::new(move || {
            UNIX_EPOCH + Duration::from_secs(told.load(Ordering::Relaxed))
        }));
        let every = [
            "dynamodb:BatchGetItem",
            "dynamodb:BatchWriteItem",
            "dynamodb:ConditionCheckItem",
            "dynamodb:DeleteItem",
            "dynamodb:GetItem",
            "dynamodb:PutItem",
            "dynamodb:Query",
            "dynamodb:UpdateItem",
        ];
        let tables = ["table/skein", "table/skein/index/gsi1"];
        let objects = ["payloads/tenants/${aws:PrincipalTag/TenantId}/*"];
        let actions = ["s3:GetObject", "s3:PutObject"];
        let statements = [
            Statement::new(&every, &tables).leading(&[OWN]),
            Statement::new(&actions, &objects),
        ];
        iam.role(ROLE, Policy::new(statements));
        let table = Table::open(None).unwrap();
        create_table(&dynamodb(table.router())).await;
        let payloads = Payloads::open(None).unwrap();
        payloads.create_bucket("payloads").unwrap();
        Self {
            table: table.guarded_router(&iam),
            objects: iam.guard_objects(payloads.router()),
            iam,
            seconds,
        }
    }

    /// Status and body of an answer to what this principal asks of STS.
    async fn assume(&self, form: &str, key: &Key) -> (u16, String) {
        let request = signed("POST", "/", key);
        let request = request.body(Body::from(form.to_owned())).unwrap();
        send(self.iam.router(), request).await
    }

    async fn session(&self, tenant: &str) -> Key {
        let (status, answer) = self.assume(&form(tenant), &Key::default()).await;
        assert_eq!(status, 200, "{answer}");
        let field = |name: &str| {
            let (_, rest) = answer.split_once(&format!("<{name}>")).unwrap();
            rest.split_once('<').unwrap().0.to_owned()
        };
        Key(field("AccessKeyId"), field("SessionToken"))
    }

    /// The code of the answer to an operation of the table; none when it went well.
    async fn table(&self, key: &Key, operation: &str, body: Value) -> Option<String> {
        let target = format!("DynamoDB_20120810.{operation}");
        let request = signed("POST", "/", key).header("x-amz-target", target);
        let request = request.body(Body::from(body.to_string())).unwrap();
        let (status, answer) = send(self.table.clone(), request).await;
        if status == 200 {
            return None;
        }
        assert_eq!(status, 400, "{answer}");
        let answer: Value = serde_json::from_str(&answer).unwrap();
        let kind = answer["__type"].as_str().unwrap();
        Some(kind.rsplit_once('#').unwrap().1.to_owned())
    }

    async fn object(&self, key: &Key, method: &str, path: &str) -> u16 {
        let request = signed(method, path, key).header("content-length", 0);
        let request = request.body(Body::empty()).unwrap();
        send(self.objects.clone(), request).await.0
    }
}

fn form(tenant: &str) -> String {
    format!(
        "Action=AssumeRole&Version=2011-06-15&RoleArn=arn%3Aaws%3Aiam%3A%3A000000000000%3Arole%2Ftenant\
         &RoleSessionName=skein-a&DurationSeconds=900&Tags.member.1.Key=TenantId&Tags.member.1.Value={tenant}"
    )
}

fn signed(method: &str, path: &str, Key(key, token): &Key) -> http::request::Builder {
    let key = if key.is_empty() { "local" } else { key };
    let credential = format!("AWS4-HMAC-SHA256 Credential={key}/20260101/us-east-1/x/aws4_request");
    Asked::builder()
        .method(method)
        .uri(path)
        .header("host", "cloud.local")
        .header("authorization", credential)
        .header("x-amz-security-token", token)
}

async fn send(router: Router, request: Asked) -> (u16, String) {
    let answer = router.oneshot(request).await.unwrap();
    let status = answer.status().as_u16();
    let text = to_bytes(answer.into_body(), usize::MAX).await.unwrap();
    (status, String::from_utf8_lossy(&text).into_owned())
}

fn s(text: &str) -> Value {
    json!({ "S": text })
}

/// Every operation that names a partition, for this one and beside it one of its own.
fn operations(pk: &str) -> Vec<(&'static str, Value)> {
    let key = json!({"pk": s(pk), "sk": s("X")});
    let own = json!({"pk": s("T#ab#R#own"), "sk": s("X")});
    let item = json!({"pk": s(pk), "sk": s("X"), "gsi1pk": s(pk), "gsi1sk": s("X")});
    let on = |more: Value| {
        let mut body = json!({"TableName": "skein"});
        body.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        body
    };
    let queries = [
        json!({"KeyConditionExpression": "pk = :pk AND begins_with(sk, :x)"}),
        json!({"KeyConditionExpression": "sk <= :x AND #p=:pk", "ExpressionAttributeNames": {"#p": "pk"}}),
        json!({"KeyConditionExpression": "(pk = :pk) AND (sk BETWEEN :x AND :x)"}),
    ];
    let mut all = vec![
        ("PutItem", on(json!({"Item": item}))),
        ("GetItem", on(json!({"Key": key}))),
        (
            "UpdateItem",
            on(json!({"Key": key, "UpdateExpression": "SET a = :a",
            "ExpressionAttributeValues": {":a": s("1")}})),
        ),
        (
            "Query",
            on(
                json!({"IndexName": "gsi1", "KeyConditionExpression": "gsi1pk = :pk",
            "ExpressionAttributeValues": {":pk": s(pk)}}),
            ),
        ),
        (
            "TransactGetItems",
            json!({"TransactItems": [
            {"Get": on(json!({"Key": own}))}, {"Get": on(json!({"Key": key}))}]}),
        ),
        (
            "BatchGetItem",
            json!({"RequestItems": {"skein": {"Keys": [own, key]}}}),
        ),
        (
            "BatchWriteItem",
            json!({"RequestItems": {"skein": [
            {"PutRequest": {"Item": own}}, {"DeleteRequest": {"Key": key}}]}}),
        ),
        ("DeleteItem", on(json!({"Key": key}))),
    ];
    for mut query in queries {
        query["ExpressionAttributeValues"] = json!({":pk": s(pk), ":x": s("X")});
        all.push(("Query", on(query)));
    }
    for write in [
        json!({"Put": on(json!({"Item": item}))}),
        json!({"Update": on(json!({"Key": key, "UpdateExpression": "REMOVE a"}))}),
        json!({"ConditionCheck": on(json!({"Key": key, "ConditionExpression": "attribute_exists(pk)"}))}),
        json!({"Delete": on(json!({"Key": key}))}),
    ] {
        let body = json!({"TransactItems": [{"Put": on(json!({"Item": own}))}, write]});
        all.push(("TransactWriteItems", body));
    }
    all
}

#[tokio::test]
async fn every_operation_is_allowed_for_ones_own_partitions_and_refused_for_others() {
    let world = World::new().await;
    let key = world.session("ab").await;
    for (operation, body) in operations("T#ab#R#1") {
        let code = world.table(&key, operation, body.clone()).await;
        assert_eq!(code, None, "{operation} {body}");
    }
    for foreign in [
        "T#abc#R#1",
        "T#a#R#1",
        "T#ab",
        "K#1",
        "WATCH#0",
        "TENANTS",
        "",
    ] {
        for (operation, body) in operations(foreign) {
            let code = world.table(&key, operation, body.clone()).await;
            assert_eq!(
                code.as_deref(),
                Some("AccessDeniedException"),
                "{operation} {body}"
            );
        }
    }
    for (operation, body) in [
        ("Scan", json!({"TableName": "skein"})),
        (
            "ExecuteStatement",
            json!({"Statement": "SELECT * FROM skein WHERE pk = 'T#ab#R#1'"}),
        ),
        ("DescribeTable", json!({"TableName": "skein"})),
        ("DeleteTable", json!({"TableName": "skein"})),
        (
            "Query",
            json!({"TableName": "skein", "KeyConditionExpression": "pk >= :pk",
            "ExpressionAttributeValues": {":pk": s("T#ab#")}}),
        ),
        (
            "GetItem",
            json!({"TableName": "other", "Key": {"pk": s("T#ab#R#1"), "sk": s("X")}}),
        ),
        ("GetItem", json!([])),
    ] {
        let code = world.table(&key, operation, body.clone()).await;
        assert_eq!(
            code.as_deref(),
            Some("AccessDeniedException"),
            "{operation} {body}"
        );
    }
    let anybody = Key::default();
    assert_eq!(
        world
            .table(&anybody, "Scan", json!({"TableName": "skein"}))
            .await,
        None
    );
}

#[tokio::test]
async fn a_restricted_key_does_what_its_policy_says_and_others_do_everything() {
    let world = World::new().await;
    let keys = Statement::new(&["dynamodb:GetItem"], &["table/skein"]).leading(&["K#*"]);
    world.iam.restrict("local-stream", Policy::new([keys]));
    let key = Key("local-stream".to_owned(), String::new());
    let of = |pk: &str| json!({"TableName": "skein", "Key": {"pk": s(pk), "sk": s("KEY")}});
    assert_eq!(world.table(&key, "GetItem", of("K#1")).await, None);
    let denied = Some("AccessDeniedException".to_owned());
    assert_eq!(world.table(&key, "GetItem", of("T#ab#R#1")).await, denied);
    assert_eq!(
        world.object(&key, "GET", "/payloads/tenants/ab/x").await,
        403
    );
    assert_eq!(world.iam.refused(), 2);
}

#[tokio::test]
async fn credentials_that_are_over_or_unknown_are_refused() {
    let world = World::new().await;
    let key = world.session("ab").await;
    let get = json!({"TableName": "skein", "Key": {"pk": s("T#ab#R#1"), "sk": s("X")}});
    let asked = async |key: Key| world.table(&key, "GetItem", get.clone()).await;
    assert_eq!(asked(key.clone()).await, None);
    let forged = Key(key.0.clone(), "another token".to_owned());
    let unknown = Some("UnrecognizedClientException".to_owned());
    assert_eq!(asked(forged.clone()).await, unknown);
    let made_up = Key("ASIA0000000000000000".to_owned(), key.1.clone());
    assert_eq!(asked(made_up).await, unknown);
    assert_eq!(
        world.object(&forged, "GET", "/payloads/tenants/ab/x").await,
        403
    );
    world.seconds.fetch_add(900, Ordering::Relaxed);
    assert_eq!(
        asked(key.clone()).await,
        Some("ExpiredTokenException".to_owned())
    );
    assert_eq!(
        world.object(&key, "GET", "/payloads/tenants/ab/x").await,
        400
    );
}

#[tokio::test]
async fn objects_are_reached_below_ones_own_prefix_alone() {
    let world = World::new().await;
    let key = world.session("ab").await;
    let own = "/payloads/tenants/ab/runs/1/x";
    assert_eq!(
        world
            .object(&key, "PUT", &format!("{own}?x-id=PutObject"))
            .await,
        200
    );
    assert_eq!(
        world
            .object(&key, "GET", &format!("{own}?x-id=GetObject"))
            .await,
        200
    );
    for (method, path) in [
        ("GET", "/payloads/tenants/abc/x"),
        ("PUT", "/payloads/tenants/abc/x"),
        ("GET", "/payloads/tenants/ab"),
        ("GET", "/payloads/tenants/ab/../abc/x"),
        ("GET", "/payloads/tenants/ab/%2e%2e/abc/x"),
        ("DELETE", own),
        ("GET", "/payloads/tenants/ab/x?acl"),
        ("GET", "/payloads"),
        ("GET", "/payloads?list-type=2&prefix=tenants/ab/"),
        ("PUT", "/another"),
        ("GET", "/"),
    ] {
        assert_eq!(
            world.object(&key, method, path).await,
            403,
            "{method} {path}"
        );
    }
    let copy = signed("PUT", own, &key).header("x-amz-copy-source", "/payloads/tenants/abc/x");
    let copy = copy.body(Body::empty()).unwrap();
    assert_eq!(send(world.objects.clone(), copy).await.0, 403);
}

#[tokio::test]
async fn a_session_needs_a_known_role_and_one_tenant() {
    let world = World::new().await;
    let good = form("ab");
    for (from, to, status) in [
        ("Tags.member.1.Key=TenantId", "Tags.member.1.Key=Other", 403),
        ("Tags.member.1.Value=ab", "Tags.member.1.Value=", 403),
        (
            "Tags.member.1.Value=ab",
            "Tags.member.1.Value=ab&Tags.member.2.Key=B&Tags.member.2.Value=b",
            403,
        ),
        ("role%2Ftenant", "role%2Fother", 403),
        ("DurationSeconds=900", "DurationSeconds=3601", 400),
        ("RoleSessionName=skein-a", "RoleSessionName=a b", 400),
        ("AssumeRole&", "GetFederationToken&", 400),
    ] {
        assert!(good.contains(from));
        let (got, answer) = world.assume(&good.replace(from, to), &Key::default()).await;
        assert_eq!(got, status, "{to}: {answer}");
        assert!(answer.contains("<Code>"), "{answer}");
    }
    let session = world.session("ab").await;
    assert_eq!(world.assume(&form("abc"), &session).await.0, 403);
    assert_eq!(world.iam.issued(), 1);
}
