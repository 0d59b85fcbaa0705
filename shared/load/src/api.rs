//! The requests of a load, and what became of each.

use std::time::Duration;

use jiff::Timestamp;
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use crate::error::Error;

/// A request that is not answered by then has failed: as long as API Gateway waits for a function, and a second.
const PATIENCE: Duration = Duration::from_secs(30);

/// The API of a platform, for one tenant.
#[derive(Clone, Debug)]
pub struct Api {
    http: reqwest::Client,
    url: String,
    key: String,
}

/// Why a request failed, in a word: the code of the problem that came back, `http_502`, `timeout`, `unreachable`, `broken`.
pub(crate) type Word = String;

impl Api {
    /// The API at `url`, asked with a tenant's key.
    #[must_use]
    pub fn new(http: reqwest::Client, url: &str, key: &str) -> Self {
        Self {
            http,
            url: url.trim_end_matches('/').to_owned(),
            key: key.to_owned(),
        }
    }

    /// Where it is.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http
            .request(method, format!("{}{path}", self.url))
            .bearer_auth(&self.key)
            .timeout(PATIENCE)
    }

    /// Asks for something that has to be there before a load.
    pub(crate) async fn expect(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, Error> {
        let mut request = self.request(method, path).header("Prefer", "wait=20");
        if let Some(body) = body {
            request = request.json(body);
        }
        let unreachable = |source| Error::Unreachable {
            url: self.url.clone(),
            source,
        };
        let response = request.send().await.map_err(unreachable)?;
        let status = response.status();
        let text = response.text().await.map_err(unreachable)?;
        let value: Option<Value> = serde_json::from_str(&text).ok();
        match value {
            Some(value) if status.is_success() => Ok(value),
            Some(problem) if problem.is_object() => Err(Error::Refused(problem)),
            _ => Err(Error::Refused(
                json!({"title": status.to_string(), "status": status.as_u16(), "detail": text}),
            )),
        }
    }

    pub(crate) async fn get(&self, path: &str) -> Result<Value, Word> {
        Self::answer(self.request(Method::GET, path)).await
    }

    pub(crate) async fn create(&self, body: &Value) -> Result<Value, Word> {
        Self::answer(self.request(Method::POST, "/v1/runs").json(body)).await
    }

    /// Reads the whole answer: a client that stops before would not measure it.
    async fn answer(request: RequestBuilder) -> Result<Value, Word> {
        let word = |error: reqwest::Error| {
            if error.is_timeout() {
                "timeout"
            } else if error.is_connect() {
                "unreachable"
            } else {
                "broken"
            }
            .to_owned()
        };
        let response = request.send().await.map_err(word)?;
        let status = response.status();
        let body = response.bytes().await.map_err(word)?;
        let value: Option<Value> = serde_json::from_slice(&body).ok();
        if status.is_success() {
            return value.ok_or_else(|| "broken".to_owned());
        }
        let code = value.and_then(|problem| Some(problem["code"].as_str()?.to_owned()));
        Err(code.unwrap_or_else(|| format!("http_{}", status.as_u16())))
    }
}

/// An instant of an answer, in milliseconds of Unix time.
pub(crate) fn instant(value: &Value) -> Option<i64> {
    let instant: Timestamp = value.as_str()?.parse().ok()?;
    Some(instant.as_millisecond())
}

/// The same as text.
pub(crate) fn rfc3339(ms: i64) -> String {
    Timestamp::from_millisecond(ms).map_or_else(|_| String::new(), |instant| instant.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_are_true_to_the_millisecond() {
        let text = "2026-11-27T22:10:05.678Z";
        let ms = instant(&text.into());
        assert_eq!(ms.map(rfc3339).as_deref(), Some(text));
        assert_eq!(instant(&Value::Null), None);
    }
}
