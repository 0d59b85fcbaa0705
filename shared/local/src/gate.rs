//! API Gateway's keys and usage plans: the requests that make them, and what they let through.
//!
//! Plans are made by whoever starts the cloud, as a template makes them; served are `CreateApiKey`, `GetApiKeys`,
//! `DeleteApiKey`, `GetUsagePlans`, `CreateUsagePlanKey` and `DeleteUsagePlanKey`, each answer on one page. All plans are of
//! one API, so a key is on one plan at most. Keys outlive a restart; what was counted does not.

mod plan;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::path::{Path as FilePath, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Json;
use axum::Router;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use http::StatusCode;
use plan::Use;
pub use plan::{Plan, Refusal};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

/// The file that holds the keys inside the folder of the local cloud.
const FILE: &str = "gate-keys.json";
/// Fewest and most characters of a key's value.
const VALUE: std::ops::RangeInclusive<usize> = 20..=128;

/// Why the keys cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("the file {} of the gate keys cannot be used", path.display())]
pub struct Error {
    /// The file.
    path: PathBuf,
    /// What the file system, or the reader of JSON, said.
    source: std::io::Error,
}

/// A key, by its id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Key {
    name: String,
    value: String,
    enabled: bool,
    /// The id of the plan that it is on.
    plan: Option<String>,
}

/// The gate of a local cloud. Clones share everything.
#[derive(Clone, Debug, Default)]
pub struct Gate(Arc<Mutex<Kept>>);

#[derive(Debug, Default)]
struct Kept {
    keys: BTreeMap<String, Key>,
    plans: BTreeMap<String, Plan>,
    used: HashMap<String, Use>,
    file: Option<PathBuf>,
}

/// What API Gateway refuses: status, code, message.
struct Refused(StatusCode, &'static str, String);

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let Self(status, code, message) = self;
        let head = [("x-amzn-errortype", code)];
        (status, head, Json(json!({"message": message}))).into_response()
    }
}

fn missing(what: &str) -> Refused {
    let message = format!("Invalid {what} identifier specified");
    Refused(StatusCode::NOT_FOUND, "NotFoundException", message)
}

fn conflict(message: &str) -> Refused {
    Refused(
        StatusCode::CONFLICT,
        "ConflictException",
        message.to_owned(),
    )
}

impl Gate {
    /// The gate with the keys of this folder; without a folder none, and none is kept.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn open(folder: Option<&FilePath>) -> Result<Self, Error> {
        let mut kept = Kept::default();
        if let Some(folder) = folder {
            let path = folder.join(FILE);
            match std::fs::read(&path) {
                Ok(bytes) => {
                    let read = serde_json::from_slice(&bytes).map_err(std::io::Error::other);
                    kept.keys = read.map_err(|source| Error {
                        path: path.clone(),
                        source,
                    })?;
                }
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(source) => return Err(Error { path, source }),
            }
            kept.file = Some(path);
        }
        Ok(Self(Arc::new(Mutex::new(kept))))
    }

    /// Makes a plan of this name, which is its id as well.
    pub fn add_plan(&self, name: &str, plan: Plan) {
        self.lock().plans.insert(name.to_owned(), plan);
    }

    /// Makes a key on a plan, as a template does, unless there is one of this value.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn add_key(&self, name: &str, value: &str, plan: &str) -> Result<(), Error> {
        let mut kept = self.lock();
        if kept.keys.values().any(|key| key.value == value) {
            return Ok(());
        }
        let key = Key {
            name: name.to_owned(),
            value: value.to_owned(),
            enabled: true,
            plan: Some(plan.to_owned()),
        };
        kept.keys.insert(new_id(), key);
        kept.keep()
    }

    /// Lets a request pass that an authorizer says is to count for the key of this value: the key's id.
    ///
    /// # Errors
    /// When there is no such key on a plan, or its plan lets no more through.
    pub fn admit(&self, value: &str) -> Result<String, Refusal> {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        self.admit_at(value, since.unwrap_or_default())
    }

    fn admit_at(&self, value: &str, now: Duration) -> Result<String, Refusal> {
        let mut kept = self.lock();
        let Kept {
            keys, plans, used, ..
        } = &mut *kept;
        let found = keys
            .iter()
            .find(|(_, key)| key.value == value && key.enabled);
        let (id, key) = found.ok_or(Refusal::Forbidden)?;
        let plan = key.plan.as_ref().and_then(|plan| plans.get(plan));
        let plan = plan.ok_or(Refusal::Forbidden)?;
        let used = used
            .entry(id.clone())
            .or_insert_with(|| Use::new(plan, now));
        used.count(plan, now)?;
        Ok(id.clone())
    }

    /// The names of the keys with the plan that each is on.
    #[must_use]
    pub fn keys(&self) -> Vec<(String, Option<String>)> {
        let kept = self.lock();
        let keys = kept.keys.values();
        keys.map(|key| (key.name.clone(), key.plan.clone()))
            .collect()
    }

    /// The HTTP interface, for [`connector`](crate::wire::connector) or [`serve`](crate::wire::serve()).
    pub fn router(&self) -> Router {
        Router::new()
            .route("/apikeys", post(create_key).get(list_keys))
            .route("/apikeys/{key}", delete(delete_key))
            .route("/usageplans", get(list_plans))
            .route("/usageplans/{plan}/keys", post(join))
            .route("/usageplans/{plan}/keys/{key}", delete(leave))
            .with_state(self.clone())
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    /// Writes the keys under another name first: a file that is there is whole.
    fn keep(&self) -> Result<(), Error> {
        let Some(path) = &self.file else {
            return Ok(());
        };
        let written = serde_json::to_vec(&self.keys).map_err(std::io::Error::other);
        let new = path.with_extension("new");
        let kept = written
            .and_then(|json| std::fs::write(&new, json))
            .and_then(|()| std::fs::rename(&new, path));
        kept.map_err(|source| Error {
            path: path.clone(),
            source,
        })
    }

    fn kept(&self) -> Result<(), Refused> {
        self.keep().map_err(|error| {
            let message = error.to_string();
            Refused(
                StatusCode::INTERNAL_SERVER_ERROR,
                "InternalFailure",
                message,
            )
        })
    }
}

/// An id as API Gateway makes them: ten lower-case letters and digits.
fn new_id() -> String {
    Uuid::new_v4().simple().to_string()[..10].to_owned()
}

#[derive(Deserialize)]
struct NewKey {
    name: Option<String>,
    value: Option<String>,
    #[serde(default)]
    enabled: bool,
}

async fn create_key(
    State(gate): State<Gate>,
    Json(asked): Json<NewKey>,
) -> Result<(StatusCode, Json<Value>), Refused> {
    let value = asked
        .value
        .unwrap_or_else(|| Uuid::new_v4().simple().to_string());
    let is_value = value.bytes().all(|b| b.is_ascii_alphanumeric());
    if !VALUE.contains(&value.len()) || !is_value {
        let message = "API Key value should be 20 to 128 letters and digits".to_owned();
        let code = "BadRequestException";
        return Err(Refused(StatusCode::BAD_REQUEST, code, message));
    }
    let mut kept = gate.lock();
    if kept.keys.values().any(|key| key.value == value) {
        return Err(conflict("API Key already exists"));
    }
    let id = new_id();
    let key = Key {
        name: asked.name.unwrap_or_default(),
        value,
        enabled: asked.enabled,
        plan: None,
    };
    let shown = shown(&id, &key);
    kept.keys.insert(id, key);
    kept.kept()?;
    Ok((StatusCode::CREATED, Json(shown)))
}

fn shown(id: &str, key: &Key) -> Value {
    json!({"id": id, "name": key.name, "enabled": key.enabled})
}

#[derive(Deserialize)]
struct Asked {
    name: Option<String>,
    #[serde(rename = "keyId")]
    key: Option<String>,
}

async fn list_keys(State(gate): State<Gate>, Query(asked): Query<Asked>) -> Json<Value> {
    let kept = gate.lock();
    let begins = asked.name.unwrap_or_default();
    let found = kept.keys.iter();
    let found = found.filter(|(_, key)| key.name.starts_with(&begins));
    let found: Vec<_> = found.map(|(id, key)| shown(id, key)).collect();
    Json(json!({"item": found}))
}

async fn delete_key(
    State(gate): State<Gate>,
    Path(id): Path<String>,
) -> Result<StatusCode, Refused> {
    let mut kept = gate.lock();
    kept.keys.remove(&id).ok_or_else(|| missing("API Key"))?;
    kept.used.remove(&id);
    kept.kept()?;
    Ok(StatusCode::ACCEPTED)
}

async fn list_plans(State(gate): State<Gate>, Query(asked): Query<Asked>) -> Json<Value> {
    let kept = gate.lock();
    let has = |name: &String| match &asked.key {
        None => true,
        Some(id) => kept.keys.get(id).and_then(|key| key.plan.as_ref()) == Some(name),
    };
    let found = kept.plans.keys().filter(|name| has(name));
    let found: Vec<_> = found
        .map(|name| json!({"id": name, "name": name}))
        .collect();
    Json(json!({"item": found}))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Joining {
    key_id: String,
}

async fn join(
    State(gate): State<Gate>,
    Path(plan): Path<String>,
    Json(asked): Json<Joining>,
) -> Result<(StatusCode, Json<Value>), Refused> {
    let mut kept = gate.lock();
    if !kept.plans.contains_key(&plan) {
        return Err(missing("Usage Plan"));
    }
    let key = kept.keys.get_mut(&asked.key_id);
    let key = key.ok_or_else(|| missing("API Key"))?;
    if key.plan.is_some() {
        return Err(conflict(
            "The API key is on a usage plan of this stage already",
        ));
    }
    key.plan = Some(plan);
    let shown = json!({"id": asked.key_id, "name": key.name, "type": "API_KEY"});
    kept.kept()?;
    Ok((StatusCode::CREATED, Json(shown)))
}

async fn leave(
    State(gate): State<Gate>,
    Path((plan, id)): Path<(String, String)>,
) -> Result<StatusCode, Refused> {
    let mut kept = gate.lock();
    let key = kept.keys.get_mut(&id);
    let on = key.filter(|key| key.plan.as_ref() == Some(&plan));
    on.ok_or_else(|| missing("Usage Plan Key"))?.plan = None;
    kept.used.remove(&id);
    kept.kept()?;
    Ok(StatusCode::ACCEPTED)
}
