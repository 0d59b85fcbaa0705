//! Usage: what ended runs used, counted once for each whatever is told twice; its rows, to which requests are added too.

use std::collections::{BTreeMap, HashSet};

use domain::id::{AgentId, KeyId, ProjectId, RunId, TenantId};
use domain::run::Head;
use domain::service::{Service, Spread};
use domain::time::At;
use domain::usage::{Interval, Row, Subject, Usage};

use crate::item::{Item, Read, keyed, number};
use crate::key::{self, Key};
use crate::table::{ABSENT, Outcome, Range, Sort, Write, pause};
use crate::{Error, Store};

/// Most items of one transaction (limit of the table).
const MOST_WRITES: usize = 100;
/// Attempts at one transaction: others count for the same tenant at the same time, and runs that are counted already are
/// found by trying.
const ATTEMPTS: u32 = 16;
/// What stands for what is not told.
const NONE: &str = "-";
/// How long it is known that a run was counted, in seconds: much longer than a stream repeats itself (a day).
const KEPT_S: u64 = 30 * 24 * 3_600;

/// A run that ended, and for what it counts.
#[derive(Clone, Debug, PartialEq)]
pub struct Ended {
    /// The run.
    pub run: RunId,
    /// When it ended.
    pub at: At,
    /// For whom and what it ran.
    pub subject: Subject,
    /// What it used.
    pub usage: Usage,
    /// What service it got.
    pub service: Service,
}

impl Ended {
    /// The run of this head, whose agent names `model`; none while it goes on.
    #[must_use]
    pub fn of(head: &Head, model: Option<String>) -> Option<Self> {
        let at = head.ended_at.filter(|_| head.status.is_terminal())?;
        Some(Self {
            run: head.run.clone(),
            at,
            subject: Subject::of(head, model),
            usage: Usage::of(head.status, &head.totals),
            service: Service::of(head)?,
        })
    }
}

/// Reads what the table's stream tells of an item: the tenant, the epoch of its home and the head of a run, if it is one.
///
/// # Errors
/// [`Error::Corrupt`] when the item is a run's head and cannot be read.
pub fn head_in_stream(
    pk: &str,
    sk: &str,
    head: Option<&str>,
) -> Result<Option<(TenantId, u64, Head)>, Error> {
    let Some((tenant, epoch, _)) = key::parse_run_partition(pk).filter(|_| sk == key::HEAD) else {
        return Ok(None);
    };
    let parsed = head.map(serde_json::from_str).transpose();
    let head = parsed.map_err(|error| Error::Corrupt {
        key: format!("{pk} {sk}"),
        what: "head",
        source: Some(error.into()),
    })?;
    Ok(head.map(|head| (tenant, epoch, head)))
}

impl Store {
    /// Counts runs of a tenant that ended; those that were counted before, and those that stand here twice, count for
    /// nothing. In transactions of up to a hundred items, each of which counts its runs and notes that it did, or does
    /// neither. Answers with how many runs were new.
    ///
    /// # Errors
    /// Those of the table; the same call may be repeated.
    pub async fn count_usage(&self, tenant: &TenantId, ended: &[Ended]) -> Result<usize, Error> {
        let mut seen = HashSet::new();
        let mut left: Vec<&Ended> = ended.iter().filter(|it| seen.insert(&it.run)).collect();
        let mut counted = 0;
        while !left.is_empty() {
            let fitting = fitting(&left);
            let rest = left.split_off(fitting);
            counted += Box::pin(self.count_some(tenant, left)).await?;
            left = rest;
        }
        Ok(counted)
    }

    async fn count_some(&self, tenant: &TenantId, mut runs: Vec<&Ended>) -> Result<usize, Error> {
        for attempt in 0..ATTEMPTS {
            if runs.is_empty() {
                return Ok(0);
            }
            let mut writes: Vec<Write> = runs.iter().map(|it| counted(tenant, it)).collect();
            writes.extend(rows(&runs).into_iter().map(|(row, (usage, service))| {
                let (interval, start, subject) = row;
                // A report of service is by the hour at the finest, and longer stretches are sums.
                let service = (interval == Interval::Hour).then(|| of_service(service));
                let fields = of_usage(usage).into_iter();
                let fields = fields.chain(service.into_iter().flatten());
                add(tenant, interval, start, subject, fields)
            }));
            match self.transact(writes).await? {
                Outcome::Done => return Ok(runs.len()),
                Outcome::Conflict => pause(attempt).await,
                Outcome::Refused(refusals) => {
                    let mut known = refusals.iter().map(|refusal| refusal.failed);
                    runs.retain(|_| !known.next().unwrap_or_default());
                }
            }
        }
        Err(Error::conflict("TransactWriteItems"))
    }

    /// Usage of a tenant from one instant to before another, in stretches of `interval`; eventually consistent. As many
    /// pages of 1 MB as there are. A row of one stretch and subject may come several times, once from each Region or time
    /// that counted some of it.
    ///
    /// # Errors
    /// Those of the table.
    pub async fn usage(
        &self,
        tenant: &TenantId,
        interval: Interval,
        from: At,
        to: At,
    ) -> Result<Vec<Row>, Error> {
        self.usage_items(tenant, interval, from, to, row).await
    }

    /// What service a tenant's runs and requests got in each hour from one instant to before another, with what they used;
    /// an hour may stand there several times, once for each subject. Otherwise as [`Store::usage`].
    ///
    /// # Errors
    /// Those of the table.
    pub async fn service(
        &self,
        tenant: &TenantId,
        from: At,
        to: At,
    ) -> Result<Vec<(Row, Service)>, Error> {
        let read = |item: &Item| Ok((row(item)?, service(item)));
        self.usage_items(tenant, Interval::Hour, from, to, read)
            .await
    }

    async fn usage_items<T>(
        &self,
        tenant: &TenantId,
        interval: Interval,
        from: At,
        to: At,
        read: impl Fn(&Item) -> Result<T, Error>,
    ) -> Result<Vec<T>, Error> {
        let mut rows = Vec::new();
        if from >= to {
            return Ok(rows);
        }
        for store in self.in_epochs_and_regions(tenant).await? {
            let there = store.usage_there(tenant, interval, from, to, &read);
            rows.extend(Box::pin(there).await?);
        }
        Ok(rows)
    }

    async fn usage_there<T>(
        &self,
        tenant: &TenantId,
        interval: Interval,
        from: At,
        to: At,
        read: &impl Fn(&Item) -> Result<T, Error>,
    ) -> Result<Vec<T>, Error> {
        let mut rows = Vec::new();
        let last = key::usage_period(interval, At(to.0 - 1));
        for period in key::usage_period(interval, from)..=last {
            let range = Range {
                index: None,
                pk: key::usage_partition(tenant, interval, period),
                sort: Sort::Between(format!("{:013}", from.0), format!("{:013}~", to.0 - 1)),
                forward: true,
                limit: None,
                consistent: false,
            };
            let mut start = None;
            loop {
                let page = self.query(&range, start).await?;
                for item in &page.items {
                    rows.push(read(item)?);
                }
                start = page.next;
                if start.is_none() {
                    break;
                }
            }
        }
        Ok(rows)
    }
}

type RowKey<'a> = (Interval, At, &'a Subject);

/// What runs add to each row.
fn rows<'a>(runs: &[&'a Ended]) -> BTreeMap<RowKey<'a>, (Usage, Service)> {
    let mut rows = BTreeMap::<RowKey<'a>, (Usage, Service)>::new();
    for ended in runs {
        for interval in Interval::ALL {
            let row = (interval, interval.start(ended.at), &ended.subject);
            let (usage, service) = rows.entry(row).or_default();
            *usage = usage.plus(ended.usage);
            *service = service.plus(ended.service);
        }
    }
    rows
}

/// How many of the runs, from the first on, fit one transaction.
fn fitting(runs: &[&Ended]) -> usize {
    let mut rows = HashSet::new();
    let mut writes = 0;
    let fits = runs.iter().take_while(|ended| {
        let news = Interval::ALL
            .into_iter()
            .filter(|interval| rows.insert((*interval, interval.start(ended.at), &ended.subject)));
        writes += 1 + news.count();
        writes <= MOST_WRITES
    });
    fits.count().max(1)
}

/// The note that a run was counted.
fn counted(tenant: &TenantId, ended: &Ended) -> Write {
    let mut item = keyed(Key::counted(tenant, &ended.run), 1);
    let gone_s = ended.at.0 / 1_000 + KEPT_S;
    item.insert("ttl".to_owned(), number(gone_s));
    Write::new(item, Some(ABSENT))
}

/// The attributes of a row.
pub(crate) fn of_usage(usage: Usage) -> [(&'static str, u64); 10] {
    [
        ("runs_ended", usage.runs),
        ("runs_failed", usage.failed_runs),
        ("steps_made", usage.steps),
        ("tools_called", usage.tool_calls),
        ("tokens_in", usage.input_tokens),
        ("tokens_out", usage.output_tokens),
        ("cost_micro_usd", usage.cost_micro_usd),
        ("requests_made", usage.requests),
        ("requests_refused", usage.refused_requests),
        ("requests_failed", usage.failed_requests),
    ]
}

/// How many runs waited, and lived, up to each bound.
const WAITED: [&str; 12] = [
    "waited_0",
    "waited_1",
    "waited_2",
    "waited_3",
    "waited_4",
    "waited_5",
    "waited_6",
    "waited_7",
    "waited_8",
    "waited_9",
    "waited_10",
    "waited_11",
];
const LIVED: [&str; 12] = [
    "lived_0", "lived_1", "lived_2", "lived_3", "lived_4", "lived_5", "lived_6", "lived_7",
    "lived_8", "lived_9", "lived_10", "lived_11",
];

/// Further attributes of a row of an hour.
fn of_service(service: Service) -> impl Iterator<Item = (&'static str, u64)> {
    let ends = [
        ("ended_succeeded", service.succeeded),
        ("ended_failed", service.failed),
        ("ended_cancelled", service.cancelled),
        ("ended_expired", service.expired),
    ];
    let waits = WAITED.into_iter().zip(service.waits.0);
    ends.into_iter()
        .chain(waits)
        .chain(LIVED.into_iter().zip(service.lives.0))
}

/// Adds to a row what is not nothing of these, of which there must be something.
pub(crate) fn add(
    tenant: &TenantId,
    interval: Interval,
    start: At,
    subject: &Subject,
    fields: impl IntoIterator<Item = (&'static str, u64)>,
) -> Write {
    let period = key::usage_period(interval, start);
    let pk = key::usage_partition(tenant, interval, period);
    let fields: Vec<_> = fields
        .into_iter()
        .filter(|(_, more)| *more > 0)
        .map(|(name, more)| (name, format!(":{name}"), more))
        .collect();
    let added: Vec<_> = fields
        .iter()
        .map(|(name, value, _)| format!("{name} {value}"))
        .collect();
    let mut expression = format!("ADD {}", added.join(", "));
    let gone_s = interval
        .kept_ms()
        .map(|ms| (start.0.saturating_add(ms)) / 1_000);
    if gone_s.is_some() {
        expression.push_str(" SET #ttl = :ttl");
    }
    let key = Key::usage(pk, start, &place(subject));
    let write = fields.into_iter().fold(
        Write::update_always(key, expression),
        |write, (_, value, more)| write.with(value, number(more)),
    );
    match gone_s {
        Some(gone_s) => write.named("#ttl", "ttl").with(":ttl", number(gone_s)),
        None => write,
    }
}

/// A subject as part of a key; the model stands last, since it alone may hold any character.
fn place(subject: &Subject) -> String {
    let project = subject.project.as_ref().map_or(NONE, ProjectId::as_str);
    let key = subject.key.as_ref().map_or(NONE, KeyId::as_str);
    let agent = subject.agent.as_ref().map_or(NONE, AgentId::as_str);
    let model = subject.model.as_deref().unwrap_or(NONE);
    format!("{project}#{key}#{agent}#{model}")
}

fn row(item: &Item) -> Result<Row, Error> {
    let mut parts = item.sort().splitn(5, '#');
    let start = parts.next().and_then(|digits| digits.parse().ok());
    let mut part = || parts.next().filter(|text| *text != NONE);
    let subject = Subject {
        project: part().and_then(|text| ProjectId::parse(text).ok()),
        key: part().and_then(|text| KeyId::parse(text).ok()),
        agent: part().and_then(|text| AgentId::parse(text).ok()),
        model: part().map(str::to_owned),
    };
    let count = |name| item.find_number(name).unwrap_or_default();
    Ok(Row {
        start: At(start.ok_or_else(|| item.corrupt("sk"))?),
        subject,
        usage: Usage {
            runs: count("runs_ended"),
            failed_runs: count("runs_failed"),
            steps: count("steps_made"),
            tool_calls: count("tools_called"),
            input_tokens: count("tokens_in"),
            output_tokens: count("tokens_out"),
            cost_micro_usd: count("cost_micro_usd"),
            requests: count("requests_made"),
            refused_requests: count("requests_refused"),
            failed_requests: count("requests_failed"),
        },
    })
}

fn service(item: &Item) -> Service {
    let count = |name| item.find_number(name).unwrap_or_default();
    Service {
        succeeded: count("ended_succeeded"),
        failed: count("ended_failed"),
        cancelled: count("ended_cancelled"),
        expired: count("ended_expired"),
        waits: Spread(WAITED.map(count)),
        lives: Spread(LIVED.map(count)),
    }
}
