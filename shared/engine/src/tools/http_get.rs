//! Fetching a public page.

use std::sync::Arc;
use std::time::Duration;

use reqwest::header::LOCATION;
use reqwest::redirect::Policy;
use reqwest::{Client, Response, Url};
use serde_json::json;

use super::Config;
use super::egress::{self, Refused, Resolver};

/// Most bytes of a page that are read.
const MAX_BYTES: usize = 512 * 1024;
/// Most redirects that are followed, each checked like the first URL.
const MAX_REDIRECTS: u32 = 3;

pub(super) fn client(config: Config) -> Client {
    Client::builder()
        .dns_resolver(Arc::new(Resolver(config)))
        .redirect(Policy::none())
        .no_proxy()
        .tcp_nodelay(true)
        .connect_timeout(Duration::from_secs(2))
        .user_agent(concat!("skein/", env!("CARGO_PKG_VERSION")))
        .build()
        .expect("the client's settings are constants that fit together")
}

pub(super) async fn fetch(client: &Client, config: Config, url: &str) -> Result<String, String> {
    let mut url = egress::check(url, config).map_err(|refused| refused.to_string())?;
    for _ in 0..=MAX_REDIRECTS {
        let response = client
            .get(url.clone())
            .send()
            .await
            .map_err(|error| explain(&error))?;
        match redirect(&url, &response) {
            Some(next) => {
                url = egress::check(&next, config).map_err(|refused| refused.to_string())?;
            }
            None => return read(response).await,
        }
    }
    Err(format!("too_many_redirects: more than {MAX_REDIRECTS}"))
}

fn redirect(from: &Url, response: &Response) -> Option<String> {
    if !response.status().is_redirection() {
        return None;
    }
    let location = response.headers().get(LOCATION)?.to_str().ok()?;
    from.join(location).ok().map(String::from)
}

async fn read(mut response: Response) -> Result<String, String> {
    let status = response.status().as_u16();
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| explain(&error))? {
        if body.len() + chunk.len() > MAX_BYTES {
            return Err(format!(
                "result_too_large: the page has more than {MAX_BYTES} bytes"
            ));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(json!({"status": status, "body": String::from_utf8_lossy(&body)}).to_string())
}

/// What happened, in words for the model: a refused address as such, otherwise the innermost cause.
fn explain(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
        if let Some(refused) = cause.downcast_ref::<Refused>() {
            return refused.to_string();
        }
    }
    if error.is_timeout() {
        "timeout: the server did not answer in time".to_owned()
    } else {
        format!("http_failed: {cause}")
    }
}
