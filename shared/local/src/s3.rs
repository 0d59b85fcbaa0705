//! Payloads: the object store over `s3s`, path-style, in a folder. Any credentials are accepted
//! and no signature is checked, presigned URLs included; checksums are.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_LENGTH, HeaderValue};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderName, StatusCode, Uri};
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s_fs::FileSystem;
use tempfile::TempDir;
use thiserror::Error;

mod chunked;
#[cfg(test)]
pub(crate) mod tests;

const CONTENT_SHA256: HeaderName = HeaderName::from_static("x-amz-content-sha256");
const DECODED_LENGTH: HeaderName = HeaderName::from_static("x-amz-decoded-content-length");
const TRAILER: HeaderName = HeaderName::from_static("x-amz-trailer");

/// Why the object store cannot be used.
#[derive(Debug, Error)]
pub enum Error {
    /// The folder cannot be made or read.
    #[error("the folder {} for payloads cannot be used", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the file system said.
        source: std::io::Error,
    },
    /// The folder's contents are not an object store's.
    #[error("the folder {} for payloads cannot be opened as an object store", path.display())]
    Store {
        /// The folder.
        path: PathBuf,
        /// What the object store said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// An open object store; all clones share it.
#[derive(Clone)]
pub struct Payloads {
    service: S3Service,
    root: Arc<Root>,
}

/// Where the objects are; a temporary folder goes with the last clone or router.
enum Root {
    Kept(PathBuf),
    Temporary(TempDir),
}

impl Root {
    fn path(&self) -> &Path {
        match self {
            Self::Kept(path) => path,
            Self::Temporary(folder) => folder.path(),
        }
    }
}

impl std::fmt::Debug for Payloads {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Payloads")
            .field("root", &self.root.path())
            .finish_non_exhaustive()
    }
}

impl Payloads {
    /// Opens the buckets in `folder`, which is made if it is missing; without a folder they are
    /// kept in a temporary one that is removed with the last clone and router.
    ///
    /// # Errors
    /// When the folder cannot be made or opened.
    pub fn open(folder: Option<&Path>) -> Result<Self, Error> {
        let root = match folder {
            Some(path) => {
                std::fs::create_dir_all(path).map_err(|source| unusable(path, source))?;
                Root::Kept(path.to_owned())
            }
            None => Root::Temporary(
                tempfile::tempdir().map_err(|source| unusable(&std::env::temp_dir(), source))?,
            ),
        };
        let files = FileSystem::new(root.path()).map_err(|error| Error::Store {
            path: root.path().to_owned(),
            source: format!("{error:?}").into(),
        })?;
        Ok(Self {
            service: S3ServiceBuilder::new(files).build(),
            root: Arc::new(root),
        })
    }

    /// Makes a bucket, if it is not there yet.
    ///
    /// # Errors
    /// When its folder cannot be made.
    pub fn create_bucket(&self, name: &str) -> Result<(), Error> {
        let path = self.root.path().join(name);
        std::fs::create_dir_all(&path).map_err(|source| unusable(&path, source))
    }

    /// The HTTP interface, for [`connector`](crate::wire::connector) or
    /// [`serve`](crate::wire::serve()).
    pub fn router(&self) -> Router {
        Router::new().fallback(answer).with_state(self.clone())
    }
}

fn unusable(path: &Path, source: std::io::Error) -> Error {
    Error::Folder {
        path: path.to_owned(),
        source,
    }
}

async fn answer(State(payloads): State<Payloads>, request: Request) -> Response {
    let (mut parts, body) = request.into_parts();
    parts.headers.remove(AUTHORIZATION);
    parts.uri = without_signature(&parts.uri);
    let body = if is_chunked(&parts) {
        match unchunk(&mut parts, body).await {
            Ok(body) => s3s::Body::from(body),
            Err(error) => return (StatusCode::BAD_REQUEST, error).into_response(),
        }
    } else {
        s3s::Body::http_body_unsync(body)
    };
    let request = http::Request::from_parts(parts, body);
    match payloads.service.call(request).await {
        Ok(response) => response.map(Body::new),
        Err(error) => {
            tracing::warn!(?error, "the object store failed");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// The target without the parameters of a presigned URL.
fn without_signature(uri: &Uri) -> Uri {
    const PREFIX: &str = "x-amz-";
    let is_signature = |pair: &&str| {
        let name = pair.split('=').next().unwrap_or_default();
        name.get(..PREFIX.len())
            .is_some_and(|head| head.eq_ignore_ascii_case(PREFIX))
    };
    let Some(query) = uri.query() else {
        return uri.clone();
    };
    if !query.split('&').any(|pair| is_signature(&pair)) {
        return uri.clone();
    }
    let kept: Vec<&str> = query
        .split('&')
        .filter(|pair| !is_signature(pair))
        .collect();
    let target = format!("{}?{}", uri.path(), kept.join("&"));
    PathAndQuery::try_from(target.trim_end_matches('?')).map_or_else(|_| uri.clone(), Uri::from)
}

fn is_chunked(parts: &Parts) -> bool {
    parts
        .headers
        .get(CONTENT_SHA256)
        .is_some_and(|sha| sha.as_bytes().starts_with(b"STREAMING-"))
}

/// Reads a body in the encoding `aws-chunked`, which `s3s` decodes for signed requests alone, and
/// moves its trailing checksum into the headers, where `s3s` checks it.
async fn unchunk(parts: &mut Parts, body: Body) -> Result<Bytes, String> {
    let encoded = axum::body::to_bytes(body, usize::MAX)
        .await
        .map_err(|error| error.to_string())?;
    let decoded = chunked::decode(&encoded)?;
    for (name, value) in decoded.trailers {
        if name.as_str().starts_with("x-amz-checksum-") {
            parts.headers.insert(name, value);
        }
    }
    for name in [CONTENT_SHA256, DECODED_LENGTH, TRAILER] {
        parts.headers.remove(name);
    }
    let encoding = parts.headers.get(CONTENT_ENCODING);
    if encoding.is_some_and(|encoding| encoding == "aws-chunked") {
        parts.headers.remove(CONTENT_ENCODING);
    }
    parts
        .headers
        .insert(CONTENT_LENGTH, HeaderValue::from(decoded.body.len()));
    Ok(decoded.body)
}
