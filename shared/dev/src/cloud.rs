//! The stand-ins together, with the resources that the template makes on AWS.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use aws_config::retry::RetryConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use axum::Router;
use domain::region::Regions;
use domain::tenant::Isolation as Home;
use engine::tools::{self, Tools};
use engine::{Clock, Engine, Platform};
use gateway::{Gateway, Prices};
use local::bedrock::{self, Bridge, Models};
use local::cloudwatch::Metrics;
use local::gate::Gate;
use local::iam::Iam;
use local::kms;
use local::s3::Payloads;
use local::scheduler::Schedules;
use local::sqs::{self, Queues};
use local::table::{Changes, Table};
use local::wire::{self, Faults, Meter};
use queue::{Beat, Queue};
use signer::Signer;
use store::{Archive, Store, TenantRole};

use crate::{access, plans};

/// The queues, as the template names them; each has a dead-letter queue of the same name with `-dlq` behind it.
pub const QUEUES: [&str; 5] = [
    "runs-interactive",
    "runs-standard",
    "runs-batch",
    "tasks",
    "sweeps",
];
/// The table's name.
pub(crate) const TABLE: &str = "skein";
/// The bucket's name.
pub(crate) const BUCKET: &str = "skein-payloads";
/// The name of the bucket that audit trails are archived in.
pub const AUDIT_BUCKET: &str = "skein-audit";
/// The Region that everything believes to be in, unless it is told another.
const REGION: &str = "us-east-1";
/// Megabytes of a function, as in the template: what an engine without one counts with.
const MEMORY_MB: u64 = 256;
/// What cursors are signed with here. On AWS it is a generated secret.
pub(crate) const CURSOR_SECRET: &str = "a-secret-for-this-machine-alone-not-for-the-cloud";

/// How often a message is delivered before it goes to its dead-letter queue (template: `maxReceiveCount`).
const MAX_RECEIVES: u32 = 10;
/// How long a queue hides a delivered message, in seconds, until the first heartbeat says otherwise: at least as long as the
/// function that it feeds may run, as AWS demands (template: `VisibilityTimeout`; S1-08).
fn visibility_s(queue: &str) -> u32 {
    match queue {
        "tasks" => 900,
        "sweeps" => 60,
        _ => 300,
    }
}

/// The first wait before a retry without sockets: nothing there needs time to recover.
const FIRST_BACKOFF: Duration = Duration::from_millis(5);

/// How tenants' work is kept apart (template: `TenantIsolation`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Isolation {
    /// By our own code alone: each function does all of its work as itself.
    #[default]
    Pool,
    /// By IAM as well: a tenant's work is done with credentials that reach what is that tenant's.
    Session,
}

/// How the stand-ins are to be.
#[derive(Clone, Debug, Default)]
pub struct CloudConfig {
    /// An OpenAI-compatible server for models whose id does not start with `local.`.
    pub bridge: Option<Bridge>,
    /// How tenants' work is kept apart.
    pub isolation: Isolation,
    /// Tables that tenants may have for themselves, by name (template: `bridge.yaml`, once for each).
    pub tenant_tables: Vec<String>,
    /// Whether an authorizer and usage plans stand before the functions (template: `UsagePlans`).
    pub usage_plans: bool,
    /// The Regions that share the table, if there are several (template: `Regions`).
    pub regions: Regions,
}

/// The stand-ins of every AWS service that the platform uses. A clone shares all of them.
#[derive(Clone)]
pub struct Cloud {
    /// The table.
    pub table: Table,
    /// What the table's stream tells: runs that ended.
    pub changes: Changes,
    /// The queues.
    pub queues: Queues,
    /// The one-shot timers.
    pub schedules: Schedules,
    /// The gauges.
    pub metrics: Metrics,
    /// The large payloads.
    pub payloads: Payloads,
    /// The key that signs checkpoints of audit trails.
    pub key: kms::Key,
    /// API Gateway's keys and usage plans.
    pub gate: Gate,
    /// The models.
    pub models: Models,
    /// Counts every request that reaches a stand-in.
    pub meter: Meter,
    /// Makes requests fail, on demand.
    pub faults: Faults,
    /// Who may do what at the table and the bucket, and who issues credentials.
    pub iam: Iam,
    /// How tenants' work is kept apart.
    pub isolation: Isolation,
    /// What API Gateway's keys and plans are called, if they stand before the functions.
    pub plans: Option<gate::Names>,
    /// The Regions that share the table, and which of them this is.
    pub regions: Regions,
    /// The access key that clients here sign with.
    access_key: String,
}

impl Cloud {
    /// Opens the stand-ins on a folder, or in memory, and makes what is missing: table, bucket, queues.
    ///
    /// # Errors
    /// When a file of the folder is damaged or cannot be used; the text names it.
    pub async fn open(folder: Option<&Path>, config: CloudConfig) -> anyhow::Result<Self> {
        let queues = Queues::open(folder.map(|folder| folder.join("queues")).as_deref())?;
        let mut table = Table::open(folder)?;
        // As far as the template's filter lets the stream tell.
        let changes = table.tell(folder, "ended_at")?;
        let cloud = Self {
            table,
            changes,
            schedules: Schedules::open(
                folder.map(|folder| folder.join("timers")).as_deref(),
                queues.clone(),
            )?,
            queues,
            metrics: Metrics::default(),
            payloads: Payloads::open(folder.map(|folder| folder.join("payloads")).as_deref())?,
            key: kms::Key::open(folder)?,
            gate: Gate::open(folder)?,
            models: Models::new(bedrock::Config {
                bridge: config.bridge,
            }),
            meter: Meter::new(),
            faults: Faults::none(),
            iam: Iam::default(),
            isolation: config.isolation,
            plans: config.usage_plans.then(plans::names).flatten(),
            regions: config.regions,
            access_key: access::ANYBODY.to_owned(),
        };
        if cloud.isolation == Isolation::Session {
            access::arrange(&cloud.iam);
        }
        if let Some(names) = &cloud.plans {
            plans::arrange(&cloud.gate, names)?;
        }
        for name in QUEUES {
            let dead = format!("{name}-dlq");
            cloud.queues.create(&dead, &BTreeMap::new())?;
            let redrive = serde_json::json!({"deadLetterTargetArn": sqs::arn(&dead), "maxReceiveCount": MAX_RECEIVES});
            let attributes = BTreeMap::from([
                (
                    "VisibilityTimeout".to_owned(),
                    visibility_s(name).to_string(),
                ),
                ("RedrivePolicy".to_owned(), redrive.to_string()),
            ]);
            cloud.queues.create(name, &attributes)?;
        }
        // Whoever had a message in flight is gone: this folder is ours alone.
        cloud.queues.release_in_flight()?;
        cloud
            .store()
            .provision()
            .await
            .context("making the table and the bucket")?;
        for table in &config.tenant_tables {
            let named = Home::Bridge {
                table: table.clone(),
            };
            named
                .check(TABLE)
                .map_err(|error| anyhow::anyhow!("the table `{table}` {}", error.detail))?;
            cloud
                .store()
                .provision_table(table)
                .await
                .with_context(|| format!("making the table `{table}`"))?;
        }
        cloud
            .archive()
            .provision()
            .await
            .context("making the bucket of audit trails")?;
        Ok(cloud)
    }

    /// The same stand-ins, asked with a function's own credentials instead of with those that may do everything. Without
    /// [`Isolation::Session`] there is no difference.
    #[must_use]
    pub fn as_function(&self, name: &str) -> Self {
        Self {
            access_key: access::key_of(name),
            ..self.clone()
        }
    }

    /// The stand-ins as HTTP services, by the name in `AWS_ENDPOINT_URL_<name>`.
    pub fn services(&self) -> [(&'static str, Router); 9] {
        let plain = [
            ("DYNAMODB", self.table.guarded_router(&self.iam)),
            ("SQS", self.queues.router()),
            ("S3", self.iam.guard_objects(self.payloads.router())),
            ("STS", self.iam.router()),
            ("KMS", self.key.router()),
            ("API_GATEWAY", self.gate.router()),
            ("BEDROCK_RUNTIME", self.models.router()),
            ("SCHEDULER", self.schedules.router()),
            ("CLOUDWATCH", self.metrics.router()),
        ];
        plain.map(|(name, router)| (name, self.meter.wrap(self.faults.wrap(router))))
    }

    fn sdk(&self, name: &str) -> SdkConfig {
        let router = self
            .services()
            .into_iter()
            .find_map(|(service, router)| (service == name).then_some(router));
        SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(self.region().to_owned()))
            .endpoint_url("http://cloud.local")
            .credentials_provider(SharedCredentialsProvider::new(Credentials::new(
                &self.access_key,
                "local",
                None,
                None,
                "local",
            )))
            .http_client(wire::connector(router.unwrap_or_default()))
            .retry_config(RetryConfig::standard().with_initial_backoff(FIRST_BACKOFF))
            .stalled_stream_protection(
                aws_config::stalled_stream_protection::StalledStreamProtectionConfig::disabled(),
            )
            .build()
    }

    /// The Region that this is.
    pub(crate) fn region(&self) -> &str {
        self.regions.own().map_or(REGION, |own| &own.name)
    }

    /// A store over the stand-ins, without sockets.
    #[must_use]
    pub fn store(&self) -> Store {
        let table = aws_sdk_dynamodb::Client::new(&self.sdk("DYNAMODB"));
        let mut config = store::Config::new(TABLE, BUCKET, CURSOR_SECRET);
        config.regions = self.regions.clone();
        if self.isolation == Isolation::Session {
            config.tenant_role = Some(TenantRole {
                aws: self.sdk("STS"),
                arn: access::TENANT_ROLE.to_owned(),
            });
        }
        Store::new(table, &self.sdk("S3"), config)
    }

    /// The archive of audit trails, without sockets.
    #[must_use]
    pub fn archive(&self) -> Archive {
        Archive::new(&self.sdk("S3"), AUDIT_BUCKET)
    }

    /// What signs the checkpoints of audit trails, without sockets.
    #[must_use]
    pub fn signer(&self) -> Signer {
        Signer::new(aws_sdk_kms::Client::new(&self.sdk("KMS")), kms::KEY)
    }

    /// API Gateway's keys as `admin` asks for them, without sockets; none where no usage plans stand before the functions.
    #[must_use]
    pub fn gate_keys(&self) -> Option<gate::Gate> {
        let client = aws_sdk_apigateway::Client::new(&self.sdk("API_GATEWAY"));
        let names = self.plans.clone()?;
        Some(gate::Gate::new(client, names))
    }

    /// The queues as functions see them, without sockets.
    #[must_use]
    pub fn queue(&self) -> Queue {
        let [interactive, standard, batch, tasks, sweeps] = QUEUES.map(sqs::url);
        let config = queue::Config {
            interactive_url: interactive,
            standard_url: standard,
            batch_url: batch,
            tasks_url: tasks,
            sweeps_url: sweeps,
            timers: Some(queue::Timers {
                group: "skein".to_owned(),
                role_arn: "arn:aws:iam::000000000000:role/skein".to_owned(),
            }),
            beat: Beat::default(),
        };
        let scheduler = aws_sdk_scheduler::Client::new(&self.sdk("SCHEDULER"));
        Queue::new(
            aws_sdk_sqs::Client::new(&self.sdk("SQS")),
            Some(scheduler),
            config,
        )
    }

    /// An engine over the stand-ins, without sockets, on the clock given or the system's.
    #[must_use]
    pub fn engine(&self, clock: Option<Clock>) -> Engine {
        let prices = Prices::builtin();
        let platform = Platform {
            prices: prices.units(self.region(), std::env::consts::ARCH),
            memory_mb: MEMORY_MB,
        };
        let gateway = Gateway::new(
            aws_sdk_bedrockruntime::Client::new(&self.sdk("BEDROCK_RUNTIME")),
            prices,
        );
        let tools = Tools::new(tools::Config {
            allow_loopback: true,
        });
        let engine = match clock {
            Some(clock) => Engine::with_clock(self.store(), self.queue(), gateway, tools, clock),
            None => Engine::new(self.store(), self.queue(), gateway, tools),
        };
        engine.on(platform)
    }

    /// What a function's environment says of this cloud, given where each service listens.
    pub(crate) fn environment(
        &self,
        endpoints: &BTreeMap<&'static str, String>,
    ) -> BTreeMap<String, String> {
        let [interactive, standard, batch, tasks, sweeps] = QUEUES.map(sqs::url);
        let mut environment: BTreeMap<String, String> = [
            ("AWS_ACCESS_KEY_ID", self.access_key.clone()),
            ("AWS_SECRET_ACCESS_KEY", "local".to_owned()),
            ("AWS_REGION", self.region().to_owned()),
            ("AWS_DEFAULT_REGION", self.region().to_owned()),
            ("SKEIN_REGIONS", self.regions.to_string()),
            ("AWS_EC2_METADATA_DISABLED", "true".to_owned()),
            ("AWS_LAMBDA_HTTP_IGNORE_STAGE_IN_PATH", "true".to_owned()),
            ("SKEIN_TABLE", TABLE.to_owned()),
            ("SKEIN_BUCKET", BUCKET.to_owned()),
            ("SKEIN_QUEUE_INTERACTIVE", interactive),
            ("SKEIN_QUEUE_STANDARD", standard),
            ("SKEIN_QUEUE_BATCH", batch),
            ("SKEIN_QUEUE_TASKS", tasks),
            ("SKEIN_QUEUE_SWEEPS", sweeps),
            ("SKEIN_CURSOR_SECRET", CURSOR_SECRET.to_owned()),
            ("SKEIN_AUDIT_BUCKET", AUDIT_BUCKET.to_owned()),
            ("SKEIN_AUDIT_KEY", kms::KEY.to_owned()),
            ("SKEIN_SCHEDULER_GROUP", "skein".to_owned()),
            (
                "SKEIN_SCHEDULER_ROLE_ARN",
                "arn:aws:iam::000000000000:role/skein".to_owned(),
            ),
            ("SKEIN_STAGE", "dev".to_owned()),
            (
                "SKEIN_GATE",
                self.plans
                    .as_ref()
                    .map_or(String::new(), |_| plans::NAME.to_owned()),
            ),
            ("SKEIN_GATE_POOLED", plans::POOLED.to_owned()),
            (
                "SKEIN_TENANT_ROLE_ARN",
                match self.isolation {
                    Isolation::Pool => String::new(),
                    Isolation::Session => access::TENANT_ROLE.to_owned(),
                },
            ),
        ]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect();
        for (name, url) in endpoints {
            environment.insert(format!("AWS_ENDPOINT_URL_{name}"), url.clone());
        }
        environment
    }
}
