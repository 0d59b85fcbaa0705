//! The shape of the table: the names that the template, the local cloud and this crate agree on.

use aws_sdk_dynamodb::error::ProvideErrorMetadata;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, GlobalSecondaryIndex, KeySchemaElement, KeyType, Projection,
    ProjectionType, ScalarAttributeType, StreamSpecification, StreamViewType, TableDescription,
    TableStatus, TimeToLiveSpecification, TimeToLiveStatus,
};

use crate::{Error, Store};

/// The key attributes of the table: partition, sort.
pub const KEY: (&str, &str) = ("pk", "sk");
/// The index behind lists: name, partition, sort. It projects [`LIST_INCLUDES`].
pub const LIST: (&str, &str, &str) = ("list", "list_pk", "list_sk");
/// The one attribute that the index behind lists holds besides keys.
pub const LIST_INCLUDES: &str = "head";
/// The index of runs to look at: name, partition, sort. It projects keys only.
pub const WATCH: (&str, &str, &str) = ("watch", "watch_pk", "watch_sk");
/// The attribute that says when an item may be deleted, in seconds since the Unix epoch.
pub const TTL: &str = "ttl";

impl Store {
    /// Makes the table and the bucket where they are missing: for the local cloud and for tests. On AWS the template
    /// makes them.
    ///
    /// # Errors
    /// Those of the table and the bucket.
    pub async fn provision(&self) -> Result<(), Error> {
        self.provision_table(&self.inner.table).await?;
        self.access.bucket.create().await
    }

    /// Makes a table where it is missing: for the local cloud and for tests. On AWS `bridge.yaml` makes those that tenants
    /// have for themselves.
    ///
    /// # Errors
    /// Those of the table.
    pub async fn provision_table(&self, table: &str) -> Result<(), Error> {
        let streams = StreamSpecification::builder()
            .stream_enabled(true)
            .stream_view_type(StreamViewType::NewAndOldImages)
            .build()
            .expect("it says whether it is enabled");
        let texts = [KEY.0, KEY.1, LIST.1, LIST.2, WATCH.1, WATCH.2];
        let request = self
            .access
            .table
            .create_table()
            .table_name(table)
            .billing_mode(BillingMode::PayPerRequest)
            .stream_specification(streams)
            .set_attribute_definitions(Some(texts.map(definition).into()))
            .set_key_schema(Some(keys(KEY.0, KEY.1)))
            .global_secondary_indexes(index(
                LIST,
                Projection::builder()
                    .projection_type(ProjectionType::Include)
                    .non_key_attributes(LIST_INCLUDES)
                    .build(),
            ))
            .global_secondary_indexes(index(
                WATCH,
                Projection::builder()
                    .projection_type(ProjectionType::KeysOnly)
                    .build(),
            ));
        match Box::pin(request.send()).await {
            Err(error) if error.code() == Some("ResourceInUseException") => Ok(()),
            Err(error) => Err(Error::of_sdk("CreateTable", error)),
            Ok(_) => {
                let ttl = TimeToLiveSpecification::builder()
                    .attribute_name(TTL)
                    .enabled(true)
                    .build()
                    .expect("both fields are set");
                let request = self
                    .access
                    .table
                    .update_time_to_live()
                    .table_name(table)
                    .time_to_live_specification(ttl);
                let answer = Box::pin(request.send()).await;
                answer.map_err(|error| Error::of_sdk("UpdateTimeToLive", error))?;
                Ok(())
            }
        }
    }

    /// Looks whether a table is such as the store needs one. Two requests.
    ///
    /// # Errors
    /// [`Error::Unfit`] with all that is wrong with it; those of the table.
    pub(crate) async fn examine(&self, table: &str) -> Result<(), Error> {
        const DESCRIBE: &str = "DescribeTable";
        let request = self.access.table.describe_table().table_name(table);
        let answer = match Box::pin(request.send()).await {
            Ok(answer) => answer,
            Err(error) if error.code() == Some("ResourceNotFoundException") => {
                return Err(Error::Unfit("does not exist".to_owned()));
            }
            Err(error) => return Err(Error::of_sdk(DESCRIBE, error)),
        };
        let description = answer.table.ok_or_else(|| Error::Unavailable {
            operation: DESCRIBE,
            source: "the answer describes nothing".into(),
        })?;
        let mut wrong = wrong_with(&description);
        let request = self.access.table.describe_time_to_live().table_name(table);
        let answer = Box::pin(request.send()).await;
        let answer = answer.map_err(|error| Error::of_sdk("DescribeTimeToLive", error))?;
        let expires = answer.time_to_live_description.is_some_and(|expiry| {
            let is_on = |status: &TimeToLiveStatus| {
                matches!(
                    status,
                    TimeToLiveStatus::Enabled | TimeToLiveStatus::Enabling
                )
            };
            expiry.time_to_live_status.as_ref().is_some_and(is_on)
                && expiry.attribute_name.as_deref() == Some(TTL)
        });
        if !expires {
            wrong.push(format!("items do not expire by `{TTL}`"));
        }
        if wrong.is_empty() {
            Ok(())
        } else {
            Err(Error::Unfit(format!("does not fit: {}", wrong.join("; "))))
        }
    }
}

/// What a table lacks to be one of ours.
fn wrong_with(table: &TableDescription) -> Vec<String> {
    let mut wrong = Vec::new();
    if table.table_status() != Some(&TableStatus::Active) {
        wrong.push("it is not active yet".to_owned());
    }
    let are_texts = |(partition, sort): (&str, &str)| {
        [partition, sort].iter().all(|name| {
            table.attribute_definitions().iter().any(|known| {
                known.attribute_name() == *name && *known.attribute_type() == ScalarAttributeType::S
            })
        })
    };
    if table.key_schema() != keys(KEY.0, KEY.1) || !are_texts(KEY) {
        wrong.push(format!(
            "its keys are not the texts `{}` and `{}`",
            KEY.0, KEY.1
        ));
    }
    for (index, shown) in [(LIST, Some(LIST_INCLUDES)), (WATCH, None)] {
        let (name, partition, sort) = index;
        let fits = table.global_secondary_indexes().iter().any(|index| {
            let shows = index.projection().is_some_and(|projection| {
                let names = projection.non_key_attributes();
                shown.is_none_or(|shown| {
                    projection.projection_type() == Some(&ProjectionType::All)
                        || names.iter().any(|name| name == shown)
                })
            });
            index.index_name() == Some(name)
                && index.key_schema() == keys(partition, sort)
                && are_texts((partition, sort))
                && shows
        });
        if !fits {
            let with = shown.map_or(String::new(), |shown| format!(" with `{shown}`"));
            wrong.push(format!(
                "it has no index `{name}` of the texts `{partition}` and `{sort}`{with}"
            ));
        }
    }
    let tells = table.stream_specification().is_some_and(|stream| {
        let view = stream.stream_view_type();
        stream.stream_enabled()
            && matches!(
                view,
                Some(StreamViewType::NewAndOldImages | StreamViewType::NewImage)
            )
    });
    if !tells {
        wrong.push("it has no stream with new images".to_owned());
    }
    wrong
}

fn definition(name: &str) -> AttributeDefinition {
    AttributeDefinition::builder()
        .attribute_name(name)
        .attribute_type(ScalarAttributeType::S)
        .build()
        .expect("both fields are set")
}

fn keys(partition: &str, sort: &str) -> Vec<KeySchemaElement> {
    [(partition, KeyType::Hash), (sort, KeyType::Range)]
        .into_iter()
        .map(|(name, kind)| {
            KeySchemaElement::builder()
                .attribute_name(name)
                .key_type(kind)
                .build()
                .expect("both fields are set")
        })
        .collect()
}

fn index(
    (name, partition, sort): (&str, &str, &str),
    projection: Projection,
) -> GlobalSecondaryIndex {
    GlobalSecondaryIndex::builder()
        .index_name(name)
        .set_key_schema(Some(keys(partition, sort)))
        .projection(projection)
        .build()
        .expect("name and keys are set")
}
