use aws_lambda_events::event::apigw::ApiGatewayProxyRequest;
use http::Request;

use super::*;

fn event(request: Request<&[u8]>) -> ApiGatewayProxyRequest {
    let (parts, body) = request.into_parts();
    let api_keys = BTreeMap::from([("secret".to_owned(), "key1".to_owned())]);
    let json = build(&Incoming {
        parts: &parts,
        body,
        id: Uuid::nil(),
        source_ip: IpAddr::from([192, 0, 2, 7]),
        trace_id: "Root=1-00000000-000000000000000000000000",
        stage: "local",
        api_keys: &api_keys,
        resource: "/v1/runs/{run}",
        path_parameters: &[("run", "a%20b")],
        passed: None,
    });
    serde_json::from_slice(&json).unwrap()
}

#[test]
fn event_has_the_shape_of_api_gateway() {
    let request = Request::post("/v1/runs/a%20b?tag=x&tag=y+z&q=%7B%22")
        .header("host", "localhost:9000")
        .header("user-agent", "test")
        .header("accept", "text/html")
        .header("accept", "text/plain")
        .header("x-api-key", "secret")
        .header("x-forwarded-for", "198.51.100.1")
        .body(b"{\"a\":1}".as_slice())
        .unwrap();
    let event = event(request);
    assert_eq!(event.resource.as_deref(), Some("/v1/runs/{run}"));
    assert_eq!(event.path.as_deref(), Some("/v1/runs/a%20b"));
    assert_eq!(event.http_method, "POST");
    assert_eq!(event.headers["accept"], "text/plain");
    let accepted: Vec<_> = event.multi_value_headers.get_all("accept").iter().collect();
    assert_eq!(accepted, ["text/html", "text/plain"]);
    let forwarded_for = "198.51.100.1, 192.0.2.7";
    assert_eq!(event.headers["x-forwarded-for"], forwarded_for);
    assert_eq!(event.headers["x-forwarded-port"], "9000");
    assert_eq!(event.headers["x-forwarded-proto"], "http");
    assert_eq!(event.query_string_parameters.first("tag"), Some("y z"));
    assert_eq!(event.query_string_parameters.first("q"), Some("{\""));
    let tags = event.multi_value_query_string_parameters.all("tag");
    assert_eq!(tags, Some(vec!["x", "y z"]));
    assert_eq!(event.path_parameters["run"], "a b");
    assert_eq!(event.body.as_deref(), Some("{\"a\":1}"));
    assert!(!event.is_base64_encoded);
    let context = event.request_context;
    assert_eq!(context.stage.as_deref(), Some("local"));
    assert_eq!(context.path.as_deref(), Some("/local/v1/runs/a%20b"));
    assert_eq!(context.resource_path.as_deref(), Some("/v1/runs/{run}"));
    assert_eq!(context.protocol.as_deref(), Some("HTTP/1.1"));
    assert_eq!(context.request_id, Some(Uuid::nil().to_string()));
    assert!(context.request_time_epoch > 1_700_000_000_000);
    let identity = context.identity;
    assert_eq!(identity.source_ip.as_deref(), Some("192.0.2.7"));
    assert_eq!(identity.api_key.as_deref(), Some("secret"));
    assert_eq!(identity.api_key_id.as_deref(), Some("key1"));
    assert_eq!(identity.user_agent.as_deref(), Some("test"));
}

#[test]
fn body_that_is_no_text_is_base64() {
    let event = event(Request::put("/").body([0xff, 0x00].as_slice()).unwrap());
    assert!(event.is_base64_encoded);
    assert_eq!(event.body.as_deref(), Some("/wA="));
}

#[test]
fn nothing_given_is_null() {
    let event = event(Request::get("/").body([].as_slice()).unwrap());
    assert_eq!(event.body, None);
    assert!(event.query_string_parameters.is_empty());
    assert!(event.multi_value_query_string_parameters.is_empty());
    assert_eq!(event.request_context.identity.api_key_id, None);
}

#[test]
fn unknown_api_key_has_no_id() {
    let request = Request::get("/").header("x-api-key", "guess");
    let identity = event(request.body([].as_slice()).unwrap())
        .request_context
        .identity;
    assert_eq!(identity.api_key.as_deref(), Some("guess"));
    assert_eq!(identity.api_key_id, None);
}

#[test]
fn broken_escapes_stay_as_they_are() {
    assert_eq!(decode("100%", true), "100%");
    assert_eq!(decode("%zz%4", true), "%zz%4");
    assert_eq!(decode("a+b", false), "a+b");
    assert_eq!(decode("%C3%A4", false), "ä");
}

#[test]
fn request_time_is_in_common_log_format() {
    let text = request_time(Duration::from_secs(1_428_582_896));
    assert_eq!(text, "09/Apr/2015:12:34:56 +0000");
}
