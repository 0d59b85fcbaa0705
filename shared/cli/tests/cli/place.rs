//! A folder that commands are typed in, and the `skein dev` that runs there.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reqwest::Method;
use rustix::process::{Pid, Signal};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStderr, ChildStdout, Command};

/// Longer than anything here takes on a busy machine; a test that waits in vain fails instead of hanging.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks at a condition.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Waits for something that will happen.
pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future)
        .await
        .expect("it happens in time")
}

/// Looks again and again until there is something to see.
pub(crate) async fn eventually<T>(mut look: impl AsyncFnMut() -> Option<T>) -> T {
    within(async {
        loop {
            if let Some(seen) = look().await {
                return seen;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    })
    .await
}

/// A folder to type commands in. It is empty at first and goes with the test.
pub(crate) struct Place(TempDir);

/// How a command ended and what it wrote.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Outcome {
    /// What a command that went well wrote to standard output, without the last line's end.
    #[track_caller]
    pub(crate) fn answer(&self) -> &str {
        assert_eq!(self.code, Some(0), "{self:?}");
        self.out.trim_end_matches('\n')
    }

    /// The same as JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(self.answer()).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// What a command that ended with this exit code wrote to standard error.
    #[track_caller]
    pub(crate) fn error(&self, code: i32) -> &str {
        assert_eq!(self.code, Some(code), "{self:?}");
        &self.err
    }
}

impl Place {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// Writes a file, and the folder it stands in.
    pub(crate) fn write(&self, name: &str, text: &str) {
        let file = self.path().join(name);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, text).unwrap();
    }

    /// The command, with nothing of the surroundings that could change what it does.
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_skein"));
        command
            .args(arguments)
            .current_dir(self.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        for (name, _) in std::env::vars_os() {
            let name = name.to_string_lossy();
            if name.starts_with("SKEIN_") || name.starts_with("AWS_") {
                command.env_remove(&*name);
            }
        }
        command
    }

    /// Types a command and waits for its end.
    pub(crate) async fn skein(&self, arguments: &[&str]) -> Outcome {
        self.skein_reading("", arguments).await
    }

    /// Types a command that reads this from standard input, and waits for its end.
    pub(crate) async fn skein_reading(&self, input: &str, arguments: &[&str]) -> Outcome {
        let mut command = self.command(arguments);
        let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        // A command that does not read is no failure.
        let _unread = stdin.write_all(input.as_bytes()).await;
        drop(stdin);
        let output = within(child.wait_with_output()).await.unwrap();
        Outcome {
            code: output.status.code(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Starts a platform with these arguments and waits until it says that it is up.
    pub(crate) async fn dev(&self, arguments: &[&str]) -> Dev {
        let mut all = vec!["dev", "--port", "0", "--json"];
        all.extend(arguments);
        let mut dev = self.start(&all);
        let line = dev.line().await;
        let ready: Value =
            serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"));
        let text = |name: &str| ready[name].as_str().unwrap().to_owned();
        (dev.url, dev.key) = (text("url"), text("api_key"));
        dev
    }

    /// Starts a platform with exactly these arguments and waits for nothing.
    pub(crate) fn start(&self, arguments: &[&str]) -> Dev {
        let mut child = self.command(arguments).spawn().unwrap();
        Dev {
            out: BufReader::new(child.stdout.take().unwrap()),
            err: Kept::of(child.stderr.take().unwrap()),
            child,
            url: String::new(),
            key: String::new(),
        }
    }
}

/// What a process writes to standard error, for the message of a failing assertion.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<String>>);

impl Kept {
    fn of(stderr: ChildStderr) -> Self {
        let kept = Self::default();
        let writer = kept.clone();
        tokio::spawn(async move {
            let mut lines = BufReader::new(stderr).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                let mut text = writer.0.lock().unwrap_or_else(PoisonError::into_inner);
                text.push_str(&line);
                text.push('\n');
            }
        });
        kept
    }

    fn text(&self) -> String {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// A running `skein dev`. It is killed when this is dropped, and its functions end with it.
pub(crate) struct Dev {
    child: Child,
    out: BufReader<ChildStdout>,
    err: Kept,
    /// Base URL of the API.
    pub(crate) url: String,
    /// The demo tenant's key.
    pub(crate) key: String,
}

impl Dev {
    /// The next line of its standard output.
    pub(crate) async fn line(&mut self) -> String {
        let mut line = String::new();
        within(self.out.read_line(&mut line)).await.unwrap();
        assert!(!line.is_empty(), "it ended early\n{}", self.err.text());
        line
    }

    /// Standard output up to a line that starts so.
    pub(crate) async fn lines_until(&mut self, last: &str) -> String {
        let mut text = String::new();
        loop {
            let line = self.line().await;
            text.push_str(&line);
            if line.starts_with(last) {
                return text;
            }
        }
    }

    /// Cuts its Regions off from each other.
    pub(crate) async fn cut(&self) {
        self.kill(Signal::USR1);
        let is_cut = async || self.err.text().contains("are cut off").then_some(());
        eventually(is_cut).await;
    }

    fn kill(&self, signal: Signal) {
        let own = i32::try_from(self.child.id().unwrap()).unwrap();
        rustix::process::kill_process(Pid::from_raw(own).unwrap(), signal).unwrap();
    }

    /// Sends a signal, waits for the end, and answers with how it ended and what else it wrote to standard output.
    pub(crate) async fn end(mut self, signal: Signal) -> (ExitStatus, String) {
        self.kill(signal);
        let rest = within(rest(&mut self.out)).await;
        (within(self.child.wait()).await.unwrap(), rest)
    }

    /// Stops it as a person does, and expects that to go well.
    pub(crate) async fn stop(self) {
        let err = self.err.clone();
        let (status, _) = self.end(Signal::INT).await;
        assert_eq!(status.code(), Some(0), "{}", err.text());
    }

    /// The process ids of its functions.
    pub(crate) async fn functions(&self) -> Vec<u32> {
        let own = self.child.id().unwrap();
        let all = processes().await;
        let of_this = all.into_iter().filter(|(_, parent)| *parent == own);
        of_this.map(|(process, _)| process).collect()
    }

    /// A request to the API with the demo tenant's key.
    pub(crate) fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        client()
            .request(method, format!("{}{path}", self.url))
            .bearer_auth(&self.key)
    }

    /// Creates a run without waiting for it; answers with its id.
    pub(crate) async fn create(&self, agent: &str, input: &str) -> String {
        let body = serde_json::json!({"agent": agent, "input": input});
        let request = self.request(Method::POST, "/v1/runs").json(&body);
        let answer = within(request.send()).await.unwrap();
        assert!(answer.status().is_success(), "{answer:?}");
        let run: Value = answer.json().await.unwrap();
        run["id"].as_str().unwrap().to_owned()
    }

    /// Waits until a run has this status; answers with the run.
    pub(crate) async fn has_status(&self, run: &str, status: &str) -> Value {
        eventually(async || {
            let request = self.request(Method::GET, &format!("/v1/runs/{run}"));
            let found: Value = request.send().await.unwrap().json().await.unwrap();
            let over = found["ended_at"].is_string();
            assert!(!over || found["status"] == status, "{found}");
            (found["status"] == status).then_some(found)
        })
        .await
    }
}

async fn rest(out: &mut (impl AsyncRead + Unpin)) -> String {
    let mut text = String::new();
    out.read_to_string(&mut text).await.unwrap();
    text
}

/// A client that talks to this machine alone.
pub(crate) fn client() -> reqwest::Client {
    aws::install_crypto();
    reqwest::Client::builder()
        .tcp_nodelay(true)
        .no_proxy()
        .build()
        .unwrap()
}

/// Every living process and its parent.
async fn processes() -> BTreeMap<u32, u32> {
    let listed = Command::new("ps")
        .args(["-A", "-o", "pid=", "-o", "ppid=", "-o", "stat="])
        .output()
        .await
        .expect("`ps` is installed");
    let listed = String::from_utf8(listed.stdout).unwrap();
    let living = listed.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        let (process, parent) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        (!words.next()?.starts_with('Z')).then_some((process, parent))
    });
    living.collect()
}

/// Waits until none of these processes lives.
pub(crate) async fn gone(processes_of_dev: &[u32]) {
    eventually(async || {
        let living = processes().await;
        let left = processes_of_dev
            .iter()
            .any(|process| living.contains_key(process));
        (!left).then_some(())
    })
    .await;
}
