//! The shape of the table: the names that the template, the local cloud and this crate agree on.

use aws_sdk_dynamodb::error::ProvideErrorMetadata;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, GlobalSecondaryIndex, KeySchemaElement, KeyType, Projection,
    ProjectionType, ScalarAttributeType, TimeToLiveSpecification,
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
        let table = &self.inner.config.table;
        let texts = [KEY.0, KEY.1, LIST.1, LIST.2, WATCH.1, WATCH.2];
        let request = self
            .access
            .table
            .create_table()
            .table_name(table)
            .billing_mode(BillingMode::PayPerRequest)
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
                Box::pin(request.send())
                    .await
                    .map_err(|error| Error::of_sdk("UpdateTimeToLive", error))?;
            }
            Err(error) if error.code() == Some("ResourceInUseException") => {}
            Err(error) => return Err(Error::of_sdk("CreateTable", error)),
        }
        self.access.bucket.create().await
    }
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
