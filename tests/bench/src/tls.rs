//! The first call over TLS: handshake and request by the SDK configuration that functions use, in a process of its own.
//!
//! Production trusts Amazon's authorities alone, and nobody here has a certificate of theirs. So the same client is built with
//! another root: the one in `tls/`, whose key is gone, over an intermediate and an RSA-2048 leaf, as AWS endpoints have them.
//! The leaf's key is public and good for nothing but this.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::Arc;

use anyhow::{Context, bail};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::machine;
use crate::report::{Report, Target};

const ROOT: &[u8] = include_bytes!("../tls/root.pem");
const CHAIN: &[u8] = include_bytes!("../tls/chain.pem");
const KEY: &[u8] = include_bytes!("../tls/leaf-key.pem");

/// Processes; the median counts.
const CALLS: usize = 15;

pub(crate) fn measure(report: &mut Report) -> anyhow::Result<()> {
    const PART: &str = "start";
    report.tell("first call over TLS");
    let program = std::env::current_exe().context("finding this program")?;
    let listener = TcpListener::bind(("127.0.0.1", 0)).context("binding a TLS server")?;
    let address = listener.local_addr()?;
    let config = server_config()?;
    let mut calls = Vec::with_capacity(CALLS);
    for _ in 0..CALLS {
        let child = Command::new(&program)
            .arg("--call")
            .arg(address.to_string())
            .env("AWS_REGION", "us-east-1")
            .env("AWS_ACCESS_KEY_ID", "bench")
            .env("AWS_SECRET_ACCESS_KEY", "bench")
            .env("AWS_ENDPOINT_URL", format!("https://{address}"))
            .stdout(std::process::Stdio::piped())
            .spawn()
            .context("starting a child process")?;
        let (stream, _) = listener.accept()?;
        serve(stream, &config)?;
        let output = child.wait_with_output()?;
        let ms: f64 = String::from_utf8_lossy(&output.stdout)
            .trim()
            .parse()
            .context("the child process told no time")?;
        calls.push(ms);
    }
    calls.sort_unstable_by(f64::total_cmp);
    report.put(
        PART,
        "CPU of the first call over TLS",
        calls[CALLS / 2],
        "ms",
        Target::Below(4.0),
    );
    Ok(())
}

fn server_config() -> anyhow::Result<Arc<ServerConfig>> {
    let chain = CertificateDer::pem_slice_iter(CHAIN).collect::<Result<Vec<_>, _>>()?;
    let key = PrivateKeyDer::from_pem_slice(KEY)?;
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    Ok(Arc::new(config))
}

/// Answers one request as the table does, until the client closes.
fn serve(stream: TcpStream, config: &Arc<ServerConfig>) -> anyhow::Result<()> {
    stream.set_nodelay(true)?;
    let connection = ServerConnection::new(config.clone())?;
    let mut stream = BufReader::new(StreamOwned::new(connection, stream));
    let mut length = 0;
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line)? == 0 {
            bail!("the client closed before it asked");
        }
        let line = line.trim_end().to_ascii_lowercase();
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse()?;
        }
        if line.is_empty() {
            break;
        }
    }
    stream.read_exact(&mut vec![0; length])?;
    let answer = "HTTP/1.1 200 OK\r\ncontent-type: application/x-amz-json-1.0\r\nx-amz-crc32: 2745614147\r\n\
                  content-length: 2\r\n\r\n{}";
    stream.get_mut().write_all(answer.as_bytes())?;
    // The client ends without a farewell.
    let _ = stream.read_to_end(&mut Vec::new());
    Ok(())
}

/// The child process: one call to the server at this address, and what it cost in milliseconds of CPU.
#[tokio::main(flavor = "current_thread")]
pub(crate) async fn call(address: SocketAddr) -> anyhow::Result<()> {
    let config = aws::config()
        .to_builder()
        .http_client(aws::http_client(ROOT))
        .build();
    let table = aws_sdk_dynamodb::Client::new(&config);
    let pid = std::process::id();
    let before = machine::exact_cpu(pid)?;
    let request = table
        .get_item()
        .table_name("skein")
        .key("pk", aws_sdk_dynamodb::types::AttributeValue::S("a".into()));
    Box::pin(request.send())
        .await
        .with_context(|| format!("calling {address}"))?;
    let spent = machine::exact_cpu(pid)? - before;
    writeln!(std::io::stdout(), "{}", machine::ms(spent))?;
    Ok(())
}
