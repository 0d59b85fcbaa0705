//! A client of the HTTP API that takes answers as they come.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use reqwest::header::HeaderMap;
use reqwest::{Method, RequestBuilder, Response};
use serde_json::{Value, json};

use crate::platform::within;

pub(crate) struct Client {
    http: reqwest::Client,
    url: String,
    key: String,
}

/// An answer, read to its end.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error} in {self:?}"))
    }

    /// The JSON of an answer that must have this status.
    #[track_caller]
    pub(crate) fn expect(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{self:?}");
        if self.text.is_empty() {
            Value::Null
        } else {
            self.json()
        }
    }

    /// The problem in an answer that must have this status and code.
    #[track_caller]
    pub(crate) fn problem(&self, status: u16, code: &str) -> Value {
        let problem = self.expect(status);
        assert_eq!(self.header("content-type"), "application/problem+json");
        assert_eq!(problem["code"], code, "{problem}");
        assert_eq!(problem["status"], status, "{problem}");
        assert_eq!(
            problem["instance"],
            self.header("x-request-id"),
            "{problem}"
        );
        assert!(
            problem["type"].as_str().unwrap().ends_with(code),
            "{problem}"
        );
        problem
    }
}

/// One server-sent event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sent {
    pub(crate) id: String,
    pub(crate) event: String,
    pub(crate) data: String,
}

impl Sent {
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.data).unwrap()
    }
}

/// Server-sent events as they come.
pub(crate) struct Stream {
    pub(crate) head: Answer,
    response: Response,
    buffer: Vec<u8>,
}

impl Stream {
    /// The next event, comments left out; none at the end.
    pub(crate) async fn next(&mut self) -> Option<Sent> {
        loop {
            while let Some(end) = self.buffer.windows(2).position(|pair| pair == b"\n\n") {
                let block: Vec<u8> = self.buffer.drain(..end + 2).collect();
                if let Some(sent) = read(&String::from_utf8(block).unwrap()) {
                    return Some(sent);
                }
            }
            let chunk = within(self.response.chunk()).await.unwrap()?;
            self.buffer.extend_from_slice(&chunk);
        }
    }

    /// Reads on until an event of this name, and answers with all events read.
    pub(crate) async fn until(&mut self, event: &str) -> Vec<Sent> {
        let mut all = Vec::new();
        while let Some(sent) = self.next().await {
            let found = sent.event == event;
            all.push(sent);
            if found {
                return all;
            }
        }
        panic!("the stream ended without `{event}`: {all:#?}");
    }

    /// Reads to the end.
    pub(crate) async fn rest(&mut self) -> Vec<Sent> {
        let mut all = Vec::new();
        while let Some(sent) = self.next().await {
            all.push(sent);
        }
        all
    }
}

fn read(block: &str) -> Option<Sent> {
    let mut sent = Sent::default();
    for line in block.lines() {
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "id" => value.clone_into(&mut sent.id),
            "event" => value.clone_into(&mut sent.event),
            "data" => sent.data.push_str(value),
            _ => {}
        }
    }
    (!sent.data.is_empty() || !sent.event.is_empty()).then_some(sent)
}

impl Client {
    pub(crate) fn new(url: &str, key: &str) -> Self {
        aws::install_crypto();
        let http = reqwest::Client::builder()
            .tcp_nodelay(true)
            .no_proxy()
            .build()
            .unwrap();
        Self {
            http,
            url: url.to_owned(),
            key: key.to_owned(),
        }
    }

    /// The same for a load.
    pub(crate) fn load_api(&self) -> load::Api {
        load::Api::new(self.http.clone(), &self.url, &self.key)
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.url));
        if self.key.is_empty() {
            request
        } else {
            request.bearer_auth(&self.key)
        }
    }

    pub(crate) async fn send(&self, request: RequestBuilder) -> Answer {
        let response = within(request.send()).await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let text = within(response.text()).await.unwrap();
        Answer {
            status,
            headers,
            text,
        }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(self.request(Method::GET, path)).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.send(self.request(Method::DELETE, path)).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send(self.request(Method::POST, path).json(body)).await
    }

    /// Posts a body as it is.
    pub(crate) async fn post_text(&self, path: &str, body: impl Into<String>) -> Answer {
        let request = self
            .request(Method::POST, path)
            .header("content-type", "application/json");
        self.send(request.body(body.into())).await
    }

    /// Posts with further headers.
    pub(crate) async fn post_with(
        &self,
        path: &str,
        headers: &[(&str, &str)],
        body: &Value,
    ) -> Answer {
        let request = self.request(Method::POST, path).json(body);
        let request = headers.iter().fold(request, |request, (name, value)| {
            request.header(*name, *value)
        });
        self.send(request).await
    }

    /// Stores an agent under an id of its own and answers with that id.
    pub(crate) async fn agent(&self, definition: &Value) -> String {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let id = format!("agent-{}", NEXT.fetch_add(1, Ordering::Relaxed));
        self.post(&format!("/v1/agents/{id}"), definition)
            .await
            .expect(201);
        id
    }

    /// Creates a run that the queue carries.
    pub(crate) async fn create(&self, agent: &str, input: &str) -> String {
        self.create_of(&json!({"agent": agent, "input": input}))
            .await
    }

    pub(crate) async fn create_of(&self, body: &Value) -> String {
        let run = self.post("/v1/runs", body).await.expect(202);
        run["id"].as_str().unwrap().to_owned()
    }

    /// Creates a run, follows it to its end and reads it.
    pub(crate) async fn run(&self, agent: &str, input: &str) -> Value {
        let run = self.create(agent, input).await;
        self.ended(&run).await
    }

    /// Follows a run to its end and reads it.
    pub(crate) async fn ended(&self, run: &str) -> Value {
        self.follow(run, 0).await.until("end").await;
        self.read(run).await
    }

    pub(crate) async fn read(&self, run: &str) -> Value {
        self.get(&format!("/v1/runs/{run}")).await.expect(200)
    }

    /// Every event of a run so far, page by page.
    pub(crate) async fn events(&self, run: &str) -> Vec<Value> {
        let (mut all, mut after) = (Vec::new(), 0);
        loop {
            let page = self
                .get(&format!("/v1/runs/{run}/events?after={after}"))
                .await
                .expect(200);
            let items = page["items"].as_array().unwrap();
            all.extend(items.iter().cloned());
            after = page["next_after"].as_u64().unwrap();
            if items.is_empty() || page["ended"] == true {
                return all;
            }
        }
    }

    /// Every item of a list, page by page, with the number of pages.
    pub(crate) async fn list(&self, path: &str, query: &[(&str, &str)]) -> (Vec<Value>, usize) {
        let (mut all, mut pages) = (Vec::new(), 0);
        let mut query: BTreeMap<&str, String> = query
            .iter()
            .map(|(name, value)| (*name, (*value).to_owned()))
            .collect();
        loop {
            let pairs: Vec<String> = query
                .iter()
                .map(|(name, value)| format!("{name}={value}"))
                .collect();
            let page = self
                .get(&format!("{path}?{}", pairs.join("&")))
                .await
                .expect(200);
            pages += 1;
            all.extend(page["items"].as_array().unwrap().iter().cloned());
            match page["next_cursor"].as_str() {
                None | Some("") => return (all, pages),
                Some(next) => query.insert("cursor", next.to_owned()),
            };
        }
    }

    /// Follows a run from an event on.
    pub(crate) async fn follow(&self, run: &str, after: u64) -> Stream {
        let path = format!("/v1/runs/{run}/events?after={after}");
        self.stream(
            self.request(Method::GET, &path)
                .header("accept", "text/event-stream"),
        )
        .await
    }

    pub(crate) async fn stream(&self, request: RequestBuilder) -> Stream {
        let response = within(request.send()).await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        assert_eq!(status, 200, "{headers:?}");
        let head = Answer {
            status,
            headers,
            text: String::new(),
        };
        Stream {
            head,
            response,
            buffer: Vec::new(),
        }
    }
}

/// The types of events, in order.
pub(crate) fn types(events: &[Value]) -> Vec<&str> {
    events
        .iter()
        .map(|event| event["type"].as_str().unwrap())
        .collect()
}
