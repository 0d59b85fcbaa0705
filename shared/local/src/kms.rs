//! Signatures: KMS's JSON protocol over one key of this machine, ECDSA over P-256, made once and kept in a file.
//!
//! Served are `Sign` of a raw message with `ECDSA_SHA_256`, and `GetPublicKey`; everything else is refused.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, StatusCode};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};
use serde::Deserialize;
use serde_json::{Value, json};

/// The key's name.
pub const KEY: &str = "alias/skein-audit";

/// The file that holds the private key inside the folder of the local cloud: PKCS #8.
const FILE: &str = "signing-key.der";
/// KMS's limit for a message.
const MAX_MESSAGE_BYTES: usize = 4_096;
/// What stands before the point of a P-256 key in its `SubjectPublicKeyInfo` (RFC 5480): the two object identifiers, and the
/// head of the bit string.
const SPKI_HEAD: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/// Why the key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read or written.
    #[error("the file {} of the signing key cannot be used", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the file system said.
        source: std::io::Error,
    },
    /// The file holds no such key.
    #[error(
        "the signing key in {} is damaged; remove it to sign with another one",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
    },
    /// The machine gives no random bytes.
    #[error("no signing key can be made on this machine")]
    Random,
}

/// A key that signs; all clones are the same one.
#[derive(Clone)]
pub struct Key {
    pair: Arc<EcdsaKeyPair>,
    random: SystemRandom,
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Key").finish_non_exhaustive()
    }
}

/// What KMS refuses.
struct Refusal(&'static str, String);

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Asked {
    key_id: String,
    message: Option<String>,
    message_type: Option<String>,
    signing_algorithm: Option<String>,
}

impl Key {
    /// The key in this folder, which is made if it is missing; without a folder a new one that is not kept.
    ///
    /// # Errors
    /// When the file cannot be used, or holds something else.
    pub fn open(folder: Option<&Path>) -> Result<Self, Error> {
        let random = SystemRandom::new();
        let file = folder.map(|folder| folder.join(FILE));
        let unusable = |source| Error::File {
            path: file.clone().unwrap_or_default(),
            source,
        };
        let kept = match &file {
            Some(file) if file.exists() => Some(std::fs::read(file).map_err(unusable)?),
            _ => None,
        };
        let der = match kept {
            Some(der) => der,
            None => {
                let made = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random);
                let der = made.map_err(|_| Error::Random)?.as_ref().to_vec();
                if let Some(folder) = folder {
                    keep(folder, &der).map_err(unusable)?;
                }
                der
            }
        };
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &der, &random);
        let pair = pair.map_err(|_| Error::Damaged {
            path: file.clone().unwrap_or_default(),
        })?;
        Ok(Self {
            pair: Arc::new(pair),
            random,
        })
    }

    /// The HTTP interface, for [`connector`](crate::wire::connector) or [`serve`](crate::wire::serve()).
    pub fn router(&self) -> Router {
        Router::new()
            .route("/", post(answer))
            .with_state(self.clone())
    }

    fn do_as_asked(&self, operation: &str, body: &[u8]) -> Result<Value, Refusal> {
        let asked: Asked = serde_json::from_slice(body)
            .map_err(|error| Refusal("SerializationException", error.to_string()))?;
        if asked.key_id != KEY {
            let message = format!("Key '{}' does not exist", asked.key_id);
            return Err(Refusal("NotFoundException", message));
        }
        match operation {
            "GetPublicKey" => Ok(json!({
                "KeyId": KEY,
                "PublicKey": STANDARD.encode(self.spki()),
                "KeySpec": "ECC_NIST_P256",
                "KeyUsage": "SIGN_VERIFY",
                "SigningAlgorithms": ["ECDSA_SHA_256"],
            })),
            "Sign" => self.sign(&asked),
            other => {
                let message = format!("The local KMS has no operation {other:?}");
                Err(Refusal("UnknownOperationException", message))
            }
        }
    }

    fn sign(&self, asked: &Asked) -> Result<Value, Refusal> {
        let is = |told: &Option<String>, wanted: &str| told.as_deref() == Some(wanted);
        let invalid = |what: &str| Refusal("ValidationException", what.to_owned());
        if !is(&asked.signing_algorithm, "ECDSA_SHA_256") {
            return Err(invalid("The key signs with ECDSA_SHA_256 alone"));
        }
        // Raw is what KMS takes a message for that is not said to be a digest.
        if asked
            .message_type
            .as_deref()
            .is_some_and(|kind| kind != "RAW")
        {
            return Err(invalid("The local KMS signs raw messages alone"));
        }
        let message = asked.message.as_deref().unwrap_or_default();
        let message = STANDARD
            .decode(message)
            .map_err(|_| invalid("The message is not Base64"))?;
        if !(1..=MAX_MESSAGE_BYTES).contains(&message.len()) {
            return Err(invalid("A message has 1 to 4096 bytes"));
        }
        let signature = self.pair.sign(&self.random, &message);
        let signature =
            signature.map_err(|_| Refusal("KMSInternalException", "No random bytes".to_owned()))?;
        Ok(json!({
            "KeyId": KEY,
            "Signature": STANDARD.encode(signature),
            "SigningAlgorithm": "ECDSA_SHA_256",
        }))
    }

    fn spki(&self) -> Vec<u8> {
        [&SPKI_HEAD[..], self.pair.public_key().as_ref()].concat()
    }
}

/// Writes the key under another name first: a file that is there is whole.
fn keep(folder: &Path, der: &[u8]) -> std::io::Result<()> {
    std::fs::create_dir_all(folder)?;
    let new = folder.join(format!("{FILE}.new"));
    let _left_by_a_crash = std::fs::remove_file(&new);
    let mut file = OpenOptions::new();
    let mut file = file.write(true).create_new(true).mode(0o600).open(&new)?;
    file.write_all(der)?;
    std::fs::rename(new, folder.join(FILE))
}

async fn answer(State(key): State<Key>, headers: HeaderMap, body: Bytes) -> Response {
    let target = headers
        .get("x-amz-target")
        .and_then(|target| target.to_str().ok())
        .unwrap_or_default();
    let operation = target.strip_prefix("TrentService.").unwrap_or(target);
    let (status, body) = match key.do_as_asked(operation, &body) {
        Ok(answer) => (StatusCode::OK, answer),
        Err(Refusal(code, message)) => {
            let status = if code == "KMSInternalException" {
                StatusCode::INTERNAL_SERVER_ERROR
            } else {
                StatusCode::BAD_REQUEST
            };
            (status, json!({"__type": code, "message": message}))
        }
    };
    let json = [(CONTENT_TYPE, "application/x-amz-json-1.1")];
    (status, json, body.to_string()).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn public_key(key: &Key) -> Value {
        let asked = json!({"KeyId": KEY}).to_string();
        let answer = key.do_as_asked("GetPublicKey", asked.as_bytes());
        let Ok(answer) = answer else {
            panic!("the key is there");
        };
        answer["PublicKey"].clone()
    }

    #[test]
    fn a_key_is_made_once_and_kept() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("state");
        let first = public_key(&Key::open(Some(&inner)).unwrap());
        assert_eq!(public_key(&Key::open(Some(&inner)).unwrap()), first);
        assert_ne!(public_key(&Key::open(None).unwrap()), first);
        std::fs::write(inner.join(FILE), "nonsense").unwrap();
        let damaged = Key::open(Some(&inner));
        assert!(matches!(damaged, Err(Error::Damaged { .. })), "{damaged:?}");
    }

    #[test]
    fn what_is_not_served_is_refused() {
        let key = Key::open(None).unwrap();
        let refusal = |operation: &str, asked: Value| match key
            .do_as_asked(operation, asked.to_string().as_bytes())
        {
            Ok(answer) => panic!("{answer}"),
            Err(Refusal(code, _)) => code,
        };
        let sign = |algorithm: &str, kind: &str, message: &str| {
            refusal(
                "Sign",
                json!({"KeyId": KEY, "SigningAlgorithm": algorithm, "MessageType": kind, "Message": message}),
            )
        };
        assert_eq!(
            refusal("Decrypt", json!({"KeyId": KEY})),
            "UnknownOperationException"
        );
        assert_eq!(
            refusal("Sign", json!({"KeyId": "other"})),
            "NotFoundException"
        );
        assert_eq!(refusal("Sign", json!([])), "SerializationException");
        assert_eq!(
            sign("RSASSA_PSS_SHA_256", "RAW", "eA=="),
            "ValidationException"
        );
        assert_eq!(
            sign("ECDSA_SHA_256", "DIGEST", "eA=="),
            "ValidationException"
        );
        assert_eq!(sign("ECDSA_SHA_256", "RAW", "?"), "ValidationException");
        assert_eq!(sign("ECDSA_SHA_256", "RAW", ""), "ValidationException");
    }
}
