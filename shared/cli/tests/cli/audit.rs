//! `skein audit`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use domain::audit::{Change, Checkpoint, Entry, Tip};
use domain::id::TenantId;
use domain::time::At;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::place::{Outcome, Place};

#[tokio::test]
async fn an_export_is_whole_until_somebody_touches_it() {
    let place = Place::new();
    let dev = place.dev(&["--memory"]).await;
    let created = place.skein(&["tenants", "create", "acme"]).await;
    assert_eq!(created.answer(), "acme free active");
    place.skein(&["keys", "issue", "acme"]).await.answer();
    place.skein(&["tenants", "suspend", "acme"]).await.answer();
    let listed = place.skein(&["audit", "ls", "--tenant", "acme"]).await;
    assert_eq!(listed.out.lines().count(), 1 + 3, "{listed:?}");
    assert!(listed.out.contains("tenant.created"), "{listed:?}");
    let exported = place.skein(&["audit", "export", "--tenant", "acme"]).await;
    let lines: Vec<&str> = exported.answer().lines().collect();
    assert_eq!(lines.len(), 3, "{exported:?}");
    drop(dev);

    let verify = ["audit", "verify", "-"];
    let whole = place.skein_reading(&exported.out, &verify).await;
    assert!(
        whole.answer().starts_with("entries 1 to 3 are whole"),
        "{whole:?}"
    );
    let changed = exported.out.replace("suspended", "active");
    let broken = place.skein_reading(&changed, &verify).await;
    assert_eq!(broken.code, Some(1), "{broken:?}");
    assert!(
        broken.err.contains("broken at line 3: entry 3"),
        "{broken:?}"
    );
    let left_out = [lines[0], lines[2]].join("\n");
    let broken = place.skein_reading(&left_out, &verify).await;
    assert!(
        broken.err.contains("broken at line 2: entry 3"),
        "{broken:?}"
    );
    let nonsense = place.skein_reading("nonsense", &verify).await;
    assert!(
        nonsense
            .err
            .contains("broken at line 1: is neither an entry nor a checkpoint"),
        "{nonsense:?}"
    );
    let nothing = place.skein_reading("", &verify).await;
    assert_eq!(
        (nothing.code, nothing.err.trim()),
        (Some(1), "there is no entry")
    );
}

/// A key like those of KMS.
struct Key(EcdsaKeyPair);

impl Key {
    fn new() -> Self {
        let (random, algorithm) = (SystemRandom::new(), &ECDSA_P256_SHA256_ASN1_SIGNING);
        let key = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
        Self(EcdsaKeyPair::from_pkcs8(algorithm, key.as_ref(), &random).unwrap())
    }

    /// `SubjectPublicKeyInfo` of a P-256 key (RFC 5480).
    fn public(&self) -> Vec<u8> {
        let head = "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgA=";
        let mut key = STANDARD.decode(head).unwrap();
        key.extend(self.0.public_key().as_ref());
        key
    }

    fn id(&self) -> String {
        let digest = Sha256::digest(self.public());
        digest.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn sign(&self, entries: &[Entry], from: u64, to: u64) -> Checkpoint {
        let last = entries.iter().find(|entry| entry.number == to).unwrap();
        let mut checkpoint = Checkpoint {
            tenant: last.tenant.clone(),
            from,
            to,
            hash: last.hash.clone(),
            object: format!("tenants/acme/audit/2026/11/{from:012}.jsonl"),
            sha256: "ab".repeat(32),
            at: At(1_795_785_114_000),
            key_id: self.id(),
            public_key: STANDARD.encode(self.public()),
            signature: String::new(),
        };
        let statement = checkpoint.statement();
        let signature = self.0.sign(&SystemRandom::new(), statement.as_bytes());
        checkpoint.signature = STANDARD.encode(signature.unwrap());
        checkpoint
    }
}

fn trail(length: u64) -> Vec<Entry> {
    let mut tip = Tip::default();
    let entries = (0..length).map(|n| {
        let change = Change {
            at: At(1_795_785_114_000 + n),
            by: "operator:4f9a".to_owned(),
            action: "tenant.changed".to_owned(),
            subject: "tenant".to_owned(),
            state: json!({"tier": "free", "revision": n}),
        };
        let entry = Entry::after(&tip, TenantId::parse("acme").unwrap(), change);
        tip = entry.tip();
        entry
    });
    entries.collect()
}

/// An export: entries, and each checkpoint behind its last one.
fn export(entries: &[Entry], checkpoints: &[Value]) -> String {
    let mut lines = Vec::new();
    for entry in entries {
        lines.push(serde_json::to_string(entry).unwrap());
        for checkpoint in checkpoints {
            if checkpoint["place"] == entry.number {
                let mut checkpoint = checkpoint.clone();
                checkpoint.as_object_mut().unwrap().remove("place");
                lines.push(json!({ "checkpoint": checkpoint }).to_string());
            }
        }
    }
    lines.join("\n")
}

fn placed(checkpoint: &Checkpoint) -> Value {
    let mut value = serde_json::to_value(checkpoint).unwrap();
    value["place"] = json!(checkpoint.to);
    value
}

async fn verify(place: &Place, export: &str, keys: &[&str]) -> Outcome {
    let mut arguments = vec!["audit", "verify", "-"];
    for key in keys {
        arguments.extend(["--public-key", key]);
    }
    place.skein_reading(export, &arguments).await
}

#[tokio::test]
async fn checkpoints_are_verified_by_a_public_key_and_nothing_else() {
    let place = Place::new();
    let (key, other, entries) = (Key::new(), Key::new(), trail(4));
    let public = STANDARD.encode(key.public());
    let pem = format!("-----BEGIN PUBLIC KEY-----\n{public}\n-----END PUBLIC KEY-----\n");
    place.write("key.pem", &pem);
    place.write("other.txt", &STANDARD.encode(other.public()));
    place.write("none.txt", "nothing");
    let checkpoints = [(1, 2), (3, 3)].map(|(from, to)| placed(&key.sign(&entries, from, to)));
    let whole = export(&entries, &checkpoints);
    let signed = format!("up to entry 3 they are signed by the key {}", key.id());
    for keys in [&[][..], &["key.pem"], &["other.txt", "key.pem"]] {
        let told = verify(&place, &whole, keys).await;
        let lines: Vec<_> = told.answer().lines().collect();
        assert!(lines[0].starts_with("entries 1 to 4 are whole"), "{told:?}");
        assert_eq!(lines[1], signed);
    }
    let stranger = verify(&place, &whole, &["other.txt"]).await;
    let other_key = "broken at line 3: the checkpoint up to entry 2 is signed by another key";
    assert!(stranger.error(1).contains(other_key), "{stranger:?}");
    let none = verify(&place, &whole, &["none.txt"]).await;
    assert!(none.error(1).contains("holds no key of P-256"), "{none:?}");
    let unsigned = verify(&place, &export(&entries, &[]), &[]).await;
    assert!(unsigned.err.contains("no checkpoint signs them"));
    assert_eq!(unsigned.code, Some(0));
}

#[tokio::test]
async fn whatever_is_changed_in_a_checkpoint_is_named() {
    let place = Place::new();
    let (key, other, entries) = (Key::new(), Key::new(), trail(4));
    let first = placed(&key.sign(&entries, 1, 2));
    let second = placed(&key.sign(&entries, 3, 4));
    let of_other = other.sign(&entries, 1, 2);
    let changes = [
        ("tenant", json!("evil"), "2 is of another tenant"),
        ("from", json!(2), "2 does not begin where"),
        ("to", json!(1), "1 does not stand behind that entry"),
        ("hash", json!("00"), "2 was made of another entry 2"),
        (
            "object",
            json!("elsewhere"),
            "2 does not say what was signed",
        ),
        ("sha256", json!("00"), "2 does not say what was signed"),
        ("at", json!(1), "2 does not say what was signed"),
        ("key_id", json!("00"), "2 names another key than it has"),
        (
            "public_key",
            json!(of_other.public_key),
            "2 names another key",
        ),
        ("public_key", json!("?"), "2 has no public key"),
        (
            "signature",
            json!(of_other.signature),
            "2 does not say what was",
        ),
        ("signature", json!("?"), "2 has no signature"),
    ];
    for (field, value, what) in changes {
        let mut changed = first.clone();
        changed[field] = value;
        let told = verify(&place, &export(&entries, &[changed, second.clone()]), &[]).await;
        let expected = format!("broken at line 3: the checkpoint up to entry {what}");
        assert!(told.error(1).contains(&expected), "{field}: {told:?}");
    }
    let left_out = verify(&place, &export(&entries, &[second]), &[]).await;
    let gap = "broken at line 5: the checkpoint up to entry 4 does not begin where";
    assert!(left_out.error(1).contains(gap), "{left_out:?}");
    // Who forges an entry and everything behind it cannot forge the signature.
    let mut forged = trail(1);
    let mut change = forged[0].change.clone();
    change.by = "nobody".to_owned();
    forged.push(Entry::after(
        &forged[0].tip(),
        forged[0].tenant.clone(),
        change,
    ));
    let told = verify(&place, &export(&forged, &[first]), &[]).await;
    let another = "the checkpoint up to entry 2 was made of another entry 2";
    assert!(told.error(1).contains(another), "{told:?}");
}

/// Serves lists in two pages each, as the API does, until the test ends.
async fn serve(entries: Vec<Value>, checkpoints: Vec<Value>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 4_096];
            let bytes = stream.read(&mut request).await.unwrap();
            let request = String::from_utf8_lossy(&request[..bytes]).into_owned();
            let (list, number) = if request.contains("/v1/audit/checkpoints?") {
                (&checkpoints, "to")
            } else {
                (&entries, "number")
            };
            let after: u64 = request
                .split("after=")
                .nth(1)
                .and_then(|rest| rest.split('&').next())
                .and_then(|after| after.parse().ok())
                .unwrap();
            let rest = list
                .iter()
                .filter(|item| item[number].as_u64() > Some(after));
            let page: Vec<_> = rest.clone().take(2).collect();
            let next = match page.last() {
                Some(last) if rest.count() > 2 => last[number].to_string(),
                _ => String::new(),
            };
            let body = json!({"items": page, "next_cursor": next}).to_string();
            let answer = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                body.len()
            );
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    url
}

#[tokio::test]
async fn an_export_holds_each_checkpoint_behind_the_last_entry_that_it_covers() {
    let place = Place::new();
    let (key, entries) = (Key::new(), trail(5));
    let stretches = [(1, 1), (2, 3), (4, 4)];
    let checkpoints = stretches.map(|(from, to)| key.sign(&entries, from, to));
    let placed = checkpoints.each_ref().map(placed);
    let values = |json: Value| json.as_array().unwrap().clone();
    let url = serve(
        values(serde_json::to_value(&entries).unwrap()),
        values(serde_json::to_value(&checkpoints).unwrap()),
    )
    .await;
    let server = ["--url", &url, "--key", "k"];
    let command = [&["audit", "export"][..], &server].concat();
    let exported = place.skein(&command).await;
    let lines = exported.answer().lines().map(|line| {
        let value: Value = serde_json::from_str(line).unwrap();
        value
    });
    let expected = export(&entries, &placed);
    let expected = expected.lines().map(|line| {
        let value: Value = serde_json::from_str(line).unwrap();
        value
    });
    assert!(lines.eq(expected), "{exported:?}");
    let verified = verify(&place, &exported.out, &[]).await;
    assert!(verified.answer().contains("up to entry 4"), "{verified:?}");
}
