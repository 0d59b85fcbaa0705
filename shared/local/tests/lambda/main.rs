//! The local Lambda with real function processes: this test binary runs itself again as the function.

#![expect(clippy::unwrap_used, reason = "a test fails where its surroundings do")]

mod classic;
mod front;
mod function;
mod invoke;
mod queue;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use serde_json::Value;
use skein_local::lambda::{Config, FunctionConfig, InvokeError, Lambda, LineSink, Mode};
use tokio::{
    io::AsyncReadExt as _,
    net::{TcpListener, TcpStream},
    process::Command,
    sync::mpsc,
};

/// Longer than anything here takes; a test that waits in vain fails instead of hanging.
const PATIENCE: Duration = Duration::from_secs(30);

/// Slots of the functions in concurrent mode.
const SLOTS: usize = 4;

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future)
        .await
        .expect("it happens in time")
}

fn function(name: &str, mode: Mode, timeout: Duration) -> FunctionConfig {
    FunctionConfig {
        name: name.to_owned(),
        memory_mb: 256,
        timeout,
        mode,
        env: BTreeMap::from([(function::VARIABLE.to_owned(), name.to_owned())]),
    }
}

fn start_with(functions: Vec<FunctionConfig>, lines: LineSink) -> Lambda {
    let binary = std::env::current_exe().unwrap();
    Lambda::start(Config {
        region: "eu-central-1".to_owned(),
        functions,
        launcher: Arc::new(move |_| {
            let mut command = Command::new(&binary);
            command.args([function::TEST, "--exact", "--nocapture"]);
            command
        }),
        lines,
    })
}

/// One function in concurrent mode.
fn start(name: &str) -> Lambda {
    let mode = Mode::Concurrent { slots: SLOTS };
    start_with(vec![function(name, mode, PATIENCE)], Arc::new(|_, _| {}))
}

async fn invoke(lambda: &Lambda, function: &str, event: Value) -> Result<Value, InvokeError> {
    let payload = Bytes::from(event.to_string());
    let reply = within(lambda.invoke(function, payload)).await?;
    Ok(serde_json::from_slice(&within(reply.bytes()).await?).unwrap())
}

/// A place where functions stop until the test lets them pass.
struct Gate(TcpListener);

impl Gate {
    async fn new() -> Self {
        Self(TcpListener::bind(("127.0.0.1", 0)).await.unwrap())
    }

    fn address(&self) -> String {
        self.0.local_addr().unwrap().to_string()
    }

    /// Waits until a function stands at the gate; dropping what it returns lets the function pass.
    async fn reached(&self) -> TcpStream {
        within(self.0.accept()).await.unwrap().0
    }
}

/// What a function does at a [`Gate`].
async fn pass(address: &str) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let _ = stream.read_to_end(&mut Vec::new()).await;
}

/// A sink, and what it was given.
fn lines() -> (LineSink, mpsc::UnboundedReceiver<(String, String)>) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let sink = move |function: &str, line: &str| {
        let _ = sender.send((function.to_owned(), line.to_owned()));
    };
    (Arc::new(sink), receiver)
}
