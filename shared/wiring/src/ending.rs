//! What a function does before its process ends.
//!
//! Lambda tells a process that it ends, by SIGTERM, only where an extension is registered: so the process registers one,
//! which does nothing, within itself. 500 ms later it is killed
//! (<https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtime-environment.html#runtimes-lifecycle-shutdown>).

use std::env;
use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::signal::unix::{SignalKind, signal};

/// What the extension is called; others of the same function are called otherwise.
const NAME: &str = "skein-ending";
/// Longest that a process takes to end on Lambda: less than it is given.
const LONGEST: Duration = Duration::from_millis(400);
/// The same where there are no extensions: the local cloud gives it two seconds.
const LONGEST_ELSEWHERE: Duration = Duration::from_millis(1_800);
/// Longest answer of the Extensions API that is read.
const MOST_BYTES: usize = 16 * 1_024;

/// Has `last` run when this process is told to end, for 400 ms at most (1.8 s outside Lambda), and ends it then. To be called before the Runtime
/// API is asked for the first event. Where nobody can be asked to be told, the process ends without it.
pub async fn before_the_end<F>(last: F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let mut longest = LONGEST_ELSEWHERE;
    if let Ok(address) = env::var("AWS_LAMBDA_RUNTIME_API") {
        match register(&address).await {
            Ok(Some(identifier)) => {
                longest = LONGEST;
                tokio::spawn(wait(address, identifier));
            }
            Ok(None) => tracing::debug!("no extension can be registered here"),
            Err(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "an extension was not registered: nobody says when this process ends"
                );
            }
        }
    }
    let mut told = match signal(SignalKind::terminate()) {
        Ok(told) => told,
        Err(error) => {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "SIGTERM cannot be heeded"
            );
            return;
        }
    };
    tokio::spawn(async move {
        if told.recv().await.is_some() {
            let _in_time = tokio::time::timeout(longest, last).await;
            std::process::exit(0);
        }
    });
}

/// Registers an extension that hears of nothing. None where there are no extensions.
///
/// Source: <https://docs.aws.amazon.com/lambda/latest/dg/runtimes-extensions-api.html>.
async fn register(address: &str) -> io::Result<Option<String>> {
    const BODY: &str = r#"{"events":[]}"#;
    let request = format!(
        "POST /2020-01-01/extension/register HTTP/1.1\r\nhost: {address}\r\nlambda-extension-name: {NAME}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{BODY}",
        BODY.len()
    );
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    let most = u64::try_from(MOST_BYTES).unwrap_or(u64::MAX);
    stream.take(most).read_to_end(&mut answer).await?;
    Ok(identifier(&String::from_utf8_lossy(&answer)))
}

/// The identifier that an extension was given.
fn identifier(answer: &str) -> Option<String> {
    let mut lines = answer.lines();
    let is_done = lines.next()?.split(' ').nth(1) == Some("200");
    let mut headers = lines
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.split_once(':'));
    let is_it = |(name, _): &(&str, &str)| name.eq_ignore_ascii_case("lambda-extension-identifier");
    let (_, value) = headers.find(is_it).filter(|_| is_done)?;
    Some(value.trim().to_owned())
}

/// Asks for the next of the events that never come: the extension is ready, which Lambda waits for.
async fn wait(address: String, identifier: String) -> io::Result<()> {
    let request = format!(
        "GET /2020-01-01/extension/event/next HTTP/1.1\r\nhost: {address}\r\nlambda-extension-identifier: {identifier}\r\n\r\n"
    );
    let mut stream = TcpStream::connect(&address).await?;
    stream.write_all(request.as_bytes()).await?;
    let mut nothing = [0; 64];
    while stream.read(&mut nothing).await? > 0 {}
    Ok(())
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    /// Answers one request and says what it was.
    async fn answer(listener: &TcpListener, answer: &str) -> String {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = vec![0; MOST_BYTES];
        let read = stream.read(&mut request).await.unwrap();
        stream.write_all(answer.as_bytes()).await.unwrap();
        String::from_utf8_lossy(&request[..read]).into_owned()
    }

    #[tokio::test]
    async fn an_extension_is_registered_and_asks_for_its_next_event() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let accepted =
            "HTTP/1.1 200 OK\r\nLambda-Extension-Identifier: 7a\r\ncontent-length: 2\r\n\r\n{}";
        let (registered, asked) = tokio::join!(register(&address), answer(&listener, accepted));
        assert_eq!(registered.unwrap().as_deref(), Some("7a"));
        assert!(
            asked.starts_with("POST /2020-01-01/extension/register "),
            "{asked}"
        );
        assert!(asked.contains("lambda-extension-name: skein-ending\r\n"));
        assert!(asked.ends_with("{\"events\":[]}"));
        let waits = wait(address.clone(), "7a".to_owned());
        let (waited, asked) = tokio::join!(waits, answer(&listener, ""));
        assert!(waited.is_ok(), "the API went away");
        assert!(
            asked.contains("lambda-extension-identifier: 7a\r\n"),
            "{asked}"
        );
        let refused = "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n";
        let (registered, _) = tokio::join!(register(&address), answer(&listener, refused));
        assert_eq!(registered.unwrap(), None, "there are no extensions");
    }
}
