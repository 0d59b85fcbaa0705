//! The HTTP API, as any client sees it.

use std::path::Path;

use anyhow::Context;
use futures_util::{Stream, StreamExt, stream};
use reqwest::{Method, RequestBuilder, Response};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::args::Server;
use crate::output::Failure;

/// Where a running `skein dev` says how it can be reached, in its state folder.
pub(crate) const ENDPOINT_FILE: &str = ".skein/endpoint.json";

/// How a running `skein dev` can be reached.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Endpoint {
    pub(crate) url: String,
    pub(crate) api_key: String,
    pub(crate) operator_key: String,
    /// Its process: the functions are children of that.
    pub(crate) pid: Option<u32>,
}

impl Endpoint {
    /// The platform that was announced last in this folder, if any.
    pub(crate) fn read() -> Option<Self> {
        let text = std::fs::read_to_string(Path::new(ENDPOINT_FILE)).ok()?;
        serde_json::from_str(&text).ok()
    }
}

pub(crate) struct Client {
    http: reqwest::Client,
    url: String,
    key: String,
}

/// One server-sent event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sent {
    pub(crate) id: String,
    pub(crate) event: String,
    pub(crate) data: String,
}

impl Client {
    /// A client of a tenant, or of the operator.
    pub(crate) fn new(server: &Server, operator: bool) -> Result<Self, Failure> {
        let found = Endpoint::read();
        let url = server
            .url
            .clone()
            .or_else(|| found.as_ref().map(|found| found.url.clone()));
        let key = if operator {
            let known = found.map(|found| found.operator_key);
            server.operator_key.clone().or(known)
        } else {
            server.key.clone().or(found.map(|found| found.api_key))
        };
        let (Some(url), Some(key)) = (url, key) else {
            let hint = "no platform is known: start one with `skein dev` in this folder, or give --url and --key (--operator-key for what operators do)";
            return Err(Failure::Unreachable(hint.to_owned()));
        };
        aws::install_crypto();
        let http = reqwest::Client::builder()
            .tcp_nodelay(true)
            .no_proxy()
            .build()
            .context("building the HTTP client")?;
        Ok(Self {
            http,
            url: url.trim_end_matches('/').to_owned(),
            key,
        })
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// The same for a load.
    pub(crate) fn load_api(&self) -> load::Api {
        load::Api::new(self.http.clone(), &self.url, &self.key)
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http
            .request(method, format!("{}{path}", self.url))
            .bearer_auth(&self.key)
    }

    /// Sends a request; a problem that comes back is a [`Failure`].
    pub(crate) async fn send(&self, request: RequestBuilder) -> Result<Response, Failure> {
        let response = request.send().await.map_err(|error| {
            Failure::Unreachable(format!("{} cannot be reached: {error}", self.url))
        })?;
        if response.status().is_client_error() || response.status().is_server_error() {
            let status = response.status();
            let text = response.text().await.unwrap_or_default();
            let problem = serde_json::from_str(&text)
                .unwrap_or_else(|_| serde_json::json!({"title": status.to_string(), "status": status.as_u16(), "detail": text}));
            return Err(Failure::Problem(problem));
        }
        Ok(response)
    }

    pub(crate) async fn json(&self, request: RequestBuilder) -> Result<Value, Failure> {
        let response = self.send(request).await?;
        Ok(response.json().await.context("reading the answer")?)
    }

    pub(crate) async fn get(&self, path: &str) -> Result<Value, Failure> {
        self.json(self.request(Method::GET, path)).await
    }
}

/// The events of a `text/event-stream`, comments left out.
pub(crate) fn events(response: Response) -> impl Stream<Item = Result<Sent, Failure>> + Unpin {
    let chunks = Box::pin(response.bytes_stream());
    Box::pin(stream::unfold(
        (chunks, Vec::new()),
        |(mut chunks, mut buffer)| async move {
            loop {
                if let Some(sent) = take(&mut buffer) {
                    return Some((Ok(sent), (chunks, buffer)));
                }
                match chunks.next().await? {
                    Ok(chunk) => buffer.extend_from_slice(&chunk),
                    Err(error) => {
                        return Some((
                            Err(Failure::Unreachable(format!("the stream broke: {error}"))),
                            (chunks, Vec::new()),
                        ));
                    }
                }
            }
        },
    ))
}

/// Takes the first whole event out of the buffer.
fn take(buffer: &mut Vec<u8>) -> Option<Sent> {
    loop {
        let end = buffer.windows(2).position(|pair| pair == b"\n\n")?;
        let block: Vec<u8> = buffer.drain(..end + 2).collect();
        let mut sent = Sent::default();
        for line in String::from_utf8_lossy(&block).lines() {
            let (field, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "id" => value.clone_into(&mut sent.id),
                "event" => value.clone_into(&mut sent.event),
                "data" => {
                    if !sent.data.is_empty() {
                        sent.data.push('\n');
                    }
                    sent.data.push_str(value);
                }
                _ => {}
            }
        }
        if !sent.data.is_empty() || !sent.event.is_empty() {
            return Some(sent);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_taken_whole_and_comments_left_out() {
        let mut buffer =
            b": hello\n\nid: 3\nevent: delta\ndata: {\"a\":\ndata: 1}\n\nid: 4\nev".to_vec();
        let sent = take(&mut buffer).unwrap();
        assert_eq!(
            (sent.id.as_str(), sent.event.as_str(), sent.data.as_str()),
            ("3", "delta", "{\"a\":\n1}")
        );
        assert_eq!(take(&mut buffer), None);
        assert_eq!(buffer, b"id: 4\nev");
    }
}
