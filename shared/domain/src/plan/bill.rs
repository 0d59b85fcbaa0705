//! From a load to amounts, and from amounts to money.

use std::num::Saturating;

use serde::Serialize;

use super::stored::{Content, stored};
use super::{
    Asked, BEAT_MS, CPU_MB, Error, LEG_MS, LOOK_MS, Load, MONTH_S, Measured, Prices, REQUEST_MS,
    TOKEN_BYTES,
};

/// Amounts on their way; what does not fit stays the most there is, and is no plan in the end.
type Amount = Saturating<u128>;

/// Thousandths in one.
const MILLI: u64 = 1_000;
/// Minutes in a month.
const MINUTES: u64 = MONTH_S / 60;
/// Bytes that a read unit holds.
const READ_UNIT: u64 = 4_096;
/// Days that a payload in the bucket is kept (template: `PayloadRetentionDays`), and logs of `prod` are.
const PAYLOAD_DAYS: u64 = 800;
const LOG_DAYS: u64 = 90;
/// Seconds that the relay waits for company, and for which one sweep is asked.
const RELAY_S: u64 = 5;
const SWEEP_S: u64 = 2;
/// Runs that end that the relay takes at once.
const RELAY_BATCH: u64 = 100;
/// How often in a minute a process looks up again what it believes of a key: every 30 s (`api`).
const ANEW_A_MINUTE: u64 = 2;
/// Series of metrics that there are once something runs: cold starts of eight functions, how long drives and runs took at two.
const SERIES: u64 = 12;
/// Empty polls a minute: Lambda polls each queue with five at once, 20 s each.
const POLLS_A_MINUTE: u64 = 15;
/// X-Ray records one trace a second of what begins at one place, and of all further ones this part (its default rule,
/// <https://docs.aws.amazon.com/lambda/latest/dg/services-xray.html>).
const TRACED_PERCENT: u64 = 5;

/// Who bills it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Service {
    /// Functions.
    Lambda,
    /// The REST API.
    ApiGateway,
    /// The table.
    DynamoDb,
    /// Queues.
    Sqs,
    /// The bucket.
    S3,
    /// Logs, metrics, alarms.
    CloudWatch,
    /// Traces.
    XRay,
    /// Secrets.
    SecretsManager,
    /// Keys.
    Kms,
}

impl Service {
    /// As AWS calls it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Lambda => "Lambda",
            Self::ApiGateway => "API Gateway",
            Self::DynamoDb => "DynamoDB",
            Self::Sqs => "SQS",
            Self::S3 => "S3",
            Self::CloudWatch => "CloudWatch",
            Self::XRay => "X-Ray",
            Self::SecretsManager => "Secrets Manager",
            Self::Kms => "KMS",
        }
    }
}

/// One line of the bill.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Line {
    /// Who bills it.
    pub service: Service,
    /// What is counted.
    pub what: &'static str,
    /// Whether it is paid while nothing runs.
    pub is_idle: bool,
    /// How much of it, in thousandths, rounded up.
    pub milli_amount: u64,
    /// What one costs, in pico-USD.
    pub pico_usd: u64,
    /// What that comes to, in micro-USD, rounded up.
    pub micro_usd: u64,
}

/// What a load takes, and what it costs a month.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// What was asked.
    pub load: Load,
    /// Runs a minute on average, in thousandths.
    pub milli_runs_a_minute: u64,
    /// The same at the peak.
    pub milli_runs_a_minute_at_peak: u64,
    /// How long a run is driven, in milliseconds.
    pub drive_ms: u64,
    /// Runs under way at the peak (Little's law).
    pub runs_at_once: u64,
    /// Processes that drive them, at the peak.
    pub drivers_at_once: u64,
    /// Processes that answer requests, at the peak.
    pub answering_at_once: u64,
    /// Table units a second at the peak.
    pub write_units_a_second: u64,
    /// The same of reads.
    pub read_units_a_second: u64,
    /// Memory of functions over time that a run takes, in megabyte-milliseconds.
    pub mb_ms_a_run: u64,
    /// The bill of the platform.
    pub lines: Vec<Line>,
    /// Its sum, in micro-USD.
    pub platform_micro_usd: u64,
    /// The part that is paid while nothing runs.
    pub idle_micro_usd: u64,
    /// What the model costs beside, in micro-USD.
    pub model_micro_usd: u64,
}

impl Plan {
    /// What the platform bills for one service, in micro-USD.
    #[must_use]
    pub fn of(&self, service: Service) -> u64 {
        let lines = self.lines.iter().filter(|line| line.service == service);
        lines.map(|line| line.micro_usd).sum()
    }
}

fn big(number: u64) -> Amount {
    Saturating(number.into())
}

/// A part, rounded up.
fn part(amount: Amount, of: u64) -> Amount {
    Saturating(amount.0.div_ceil(u128::from(of.max(1))))
}

fn small(amount: Amount) -> Result<u64, Error> {
    u64::try_from(amount.0).map_err(|_| Error::TooMuch)
}

/// What is asked of the table beside what a run asks: of one kind, so often.
#[derive(Clone, Copy, Default)]
struct Table {
    write_units: Amount,
    half_read_units: Amount,
}

impl Table {
    fn add(&mut self, asked: Asked, times: Amount) {
        self.write_units += big(asked.write_units) * times;
        self.half_read_units += big(asked.half_read_units) * times;
    }
}

struct Bill<'a> {
    prices: &'a Prices,
    lines: Vec<Line>,
}

impl Bill<'_> {
    /// Adds a line, unless it is nothing.
    fn put(
        &mut self,
        (service, what, is_idle): (Service, &'static str, bool),
        milli_amount: Amount,
        pico_usd: u64,
    ) -> Result<(), Error> {
        if milli_amount.0 == 0 {
            return Ok(());
        }
        let pico = part(milli_amount * big(pico_usd), MILLI);
        self.lines.push(Line {
            service,
            what,
            is_idle,
            milli_amount: small(milli_amount)?,
            pico_usd,
            micro_usd: small(part(pico, 1_000_000))?,
        });
        Ok(())
    }

    fn sum(&self, counts: impl Fn(&Line) -> bool) -> Result<u64, Error> {
        let lines = self.lines.iter().filter(|line| counts(line));
        let sum = lines.map(|line| u128::from(line.micro_usd)).sum();
        small(Saturating(sum))
    }

    fn idle(&mut self, load: &Load, measured: &Measured) -> Result<(), Error> {
        use Service::{CloudWatch, DynamoDb, Kms, Lambda, SecretsManager, Sqs, XRay};
        let Prices { units, stack, .. } = *self.prices;
        let idle = &measured.idle;
        let whole = |number: u64| big(number) * big(MILLI);
        let ticks = whole(MINUTES);
        let tick = big(MINUTES) * big(idle.tick_ms) * big(load.memory_mb);
        let reads = ticks * big(measured.units.sweep.half_read_units);
        self.put(
            (Lambda, "the janitor's ticks", true),
            ticks,
            units.invocation,
        )?;
        self.put(
            (Lambda, "GB-seconds of ticks", true),
            part(tick, 1_024),
            units.gb_second,
        )?;
        self.put(
            (DynamoDb, "read units of ticks", true),
            part(reads, 2),
            units.table_read_unit,
        )?;
        self.put(
            (Sqs, "empty polls", true),
            whole(idle.queues * POLLS_A_MINUTE * MINUTES),
            stack.empty_poll,
        )?;
        self.put(
            (CloudWatch, "metrics that alarms watch", true),
            whole(idle.alarm_metrics),
            stack.alarm_month,
        )?;
        self.put(
            (CloudWatch, "dashboards", true),
            whole(idle.dashboards),
            stack.dashboard_month,
        )?;
        self.put(
            (CloudWatch, "gauges", true),
            whole(idle.gauges),
            stack.metric_month,
        )?;
        self.put(
            (CloudWatch, "requests that write gauges", true),
            ticks,
            stack.metric_request,
        )?;
        self.put((XRay, "traces of ticks", true), ticks, stack.trace)?;
        self.put(
            (SecretsManager, "secrets", true),
            whole(idle.secrets),
            stack.secret_month,
        )?;
        self.put((Kms, "keys", true), whole(idle.keys), stack.key_month)
    }
}

/// Little's law: how many are there at once, of what comes `milli_a_minute` and stays so long.
fn at_once(milli_a_minute: u64, stays_ms: u64) -> Amount {
    part(big(milli_a_minute) * big(stays_ms), 60_000 * MILLI)
}

pub(super) fn plan(load: &Load, prices: &Prices, measured: &Measured) -> Result<Plan, Error> {
    use Service::{ApiGateway, CloudWatch, DynamoDb, Lambda, S3, Sqs, XRay};
    let Prices { units, stack, .. } = *prices;
    let Measured {
        units: ask, timed, ..
    } = measured;
    let (runs, together) = (big(load.runs), load.together);
    let polls = runs * big(load.polls);
    let whole = |amount: Amount| amount * big(MILLI);

    // How long, and so how many at once.
    let cpu_ms = |us: u64| (us * CPU_MB.max(load.memory_mb)).div_ceil(load.memory_mb * 1_000);
    let requests_ms = |asked: Asked| REQUEST_MS * (asked.table_requests + asked.messages);
    let drive_ms = load.steps * load.model_ms
        + requests_ms(ask.run + ask.step * load.steps)
        + cpu_ms(timed.run_us + load.steps * timed.step_us);
    let create_ms = requests_ms(ask.create + ask.create_anew).max(1);
    let poll_ms = requests_ms(ask.poll + ask.poll_anew) + cpu_ms(timed.poll_us).max(1);
    let peak = load.milli_runs_a_minute_at_peak();
    let runs_at_once = at_once(peak, drive_ms);
    let drivers = part(runs_at_once, together);
    let creating = at_once(peak, create_ms);
    let polling = at_once(peak.saturating_mul(load.polls), poll_ms);

    // How often what happens beside.
    let beats = drive_ms / BEAT_MS;
    let looks = drive_ms / LOOK_MS;
    let hand_overs = drive_ms / LEG_MS;
    let deliveries = part(runs * big(1 + hand_overs), together);
    let sweep_slots = big(MONTH_S / SWEEP_S);
    let askers = drivers + creating + big(1);
    let sweep_messages = (runs * big(ask.sweeps_of_a_run + looks)).min(sweep_slots * askers);
    let sweeps = sweep_messages.min(sweep_slots);
    let batches = runs.min(big(MONTH_S / RELAY_S) + part(runs, RELAY_BATCH));
    let counted = runs.min(big(MONTH_S / RELAY_S) * big(load.tenants));
    let told = |requests: Amount, processes: Amount| {
        requests.min(big(MINUTES) * big(load.tenants) * processes)
    };
    let anew = |requests, processes: Amount| told(requests, processes * big(ANEW_A_MINUTE));

    let content = Content::of(load, ask);
    let answer_bytes = load.output_tokens * TOKEN_BYTES + load.payload_bytes;
    let stored_bytes = ask.bytes.run + (load.steps - 1) * ask.bytes.step + content.item_bytes;

    let mut table = Table::default();
    table.add(ask.create + ask.run + ask.step * load.steps, runs);
    table.add(ask.beat * beats + ask.look * looks + ask.count, runs);
    table.add(ask.create_anew, anew(runs, creating));
    table.add(ask.poll, polls);
    table.add(ask.poll_anew, anew(polls, polling));
    table.add(ask.count_batch, counted);
    table.add(ask.tally, told(runs, creating) + told(polls, polling));
    table.add(ask.sweep, sweeps);
    // Of several that ask at the same time one is heeded; the others' write is refused, and paid for.
    table.write_units += sweep_messages - sweeps;
    table.write_units += runs * big(content.write_units);
    let read_base = ask.bytes.head + ask.bytes.end;
    let read_more = match stored(ask.bytes.step, answer_bytes).payload_bytes {
        0 => (read_base + answer_bytes).div_ceil(READ_UNIT) - read_base.div_ceil(READ_UNIT),
        _ => 0,
    };
    table.half_read_units += polls * big(2 * read_more);
    // Who takes a run over reads its log.
    let log_units = stored_bytes.div_ceil(READ_UNIT);
    table.half_read_units += runs * big(hand_overs) * big(2 * log_units);

    let mut bill = Bill {
        prices,
        lines: Vec::new(),
    };
    bill.idle(load, measured)?;

    // Megabyte-milliseconds: of waiting with the whole memory, and of work, which costs as much with less memory for longer.
    let waiting_ms = part(runs * big(load.steps * load.model_ms), together)
        + part(
            runs * big(requests_ms(ask.run + ask.step * load.steps)),
            together,
        )
        + runs * big(create_ms)
        + polls * big(requests_ms(ask.poll + ask.poll_anew))
        + batches * big(requests_ms(ask.count_batch))
        + runs * big(requests_ms(ask.count))
        + sweep_messages * big(requests_ms(ask.sweep));
    let work_us =
        runs * big(timed.run_us + load.steps * timed.step_us) + polls * big(timed.poll_us);
    let mb_ms =
        waiting_ms * big(load.memory_mb) + part(work_us * big(CPU_MB.max(load.memory_mb)), 1_000);
    let invocations = deliveries + runs + polls + batches + sweep_messages;
    let gb_seconds = part(mb_ms, 1_024);
    bill.put((Lambda, "GB-seconds", false), gb_seconds, units.gb_second)?;
    bill.put(
        (Lambda, "invocations", false),
        whole(invocations),
        units.invocation,
    )?;
    bill.put(
        (ApiGateway, "requests", false),
        whole(runs + polls),
        stack.api_request,
    )?;
    bill.put(
        (DynamoDb, "write units", false),
        whole(table.write_units),
        units.table_write_unit,
    )?;
    bill.put(
        (DynamoDb, "read units", false),
        part(whole(table.half_read_units), 2),
        units.table_read_unit,
    )?;
    // Thousandths of GB-months: what comes in a month stays for so many days.
    let kept = |bytes: Amount, days: u64| part(runs * bytes * big(days) * big(24), 730 * 1_000_000);
    let table_gb = kept(big(stored_bytes), load.kept_days);
    bill.put(
        (DynamoDb, "GB-months", false),
        table_gb,
        stack.table_gb_month,
    )?;
    bill.put(
        (DynamoDb, "GB-months of backups", false),
        table_gb,
        stack.table_backup_gb_month,
    )?;
    // Of each delivery: received, deleted, held at once and at every beat.
    let held = deliveries * big(3) + part(runs * big(beats), together);
    let sent = runs * big(ask.create.messages + ask.run.messages + hand_overs);
    bill.put(
        (Sqs, "requests", false),
        whole(sent + held + sweep_messages * big(3)),
        units.queue_request,
    )?;
    let payloads = runs * big(content.payloads);
    bill.put((S3, "writes", false), whole(payloads), units.payload_write)?;
    let payload_reads = match stored(ask.bytes.step, answer_bytes).payload_bytes {
        0 => big(0),
        _ => polls,
    } + payloads * big(hand_overs);
    bill.put(
        (S3, "reads", false),
        whole(payload_reads),
        units.payload_read,
    )?;
    bill.put(
        (S3, "GB-months", false),
        kept(big(content.payload_bytes), PAYLOAD_DAYS),
        stack.payload_gb_month,
    )?;
    let log_mb = part(runs * big(timed.log_bytes), 1_000_000);
    bill.put((CloudWatch, "GB of logs", false), log_mb, stack.log_gb)?;
    bill.put(
        (CloudWatch, "GB-months of logs", false),
        kept(big(timed.log_bytes), LOG_DAYS),
        stack.log_gb_month,
    )?;
    let series = if load.runs > 0 { SERIES } else { 0 };
    bill.put(
        (CloudWatch, "metrics of runs", false),
        whole(big(series)),
        stack.metric_month,
    )?;
    let traced = [runs + polls, deliveries, batches, sweep_messages].map(|begun| {
        let a_second = begun.min(big(MONTH_S));
        whole(a_second) + part(whole(begun - a_second) * big(TRACED_PERCENT), 100)
    });
    let traced = traced.into_iter().sum();
    bill.put((XRay, "traces", false), traced, stack.trace)?;

    let model = prices.model;
    let tokens =
        big(load.input_tokens) * big(model.input) + big(load.output_tokens) * big(model.output);
    let a_second = |units: Amount| {
        // The month's units, were every minute as the busiest one.
        let busiest = part(units * big(peak), load.milli_runs_a_minute());
        small(part(busiest, MONTH_S))
    };
    Ok(Plan {
        load: *load,
        milli_runs_a_minute: load.milli_runs_a_minute(),
        milli_runs_a_minute_at_peak: peak,
        drive_ms,
        runs_at_once: small(runs_at_once)?,
        drivers_at_once: small(drivers)?,
        answering_at_once: small(creating + polling)?,
        write_units_a_second: a_second(table.write_units)?,
        read_units_a_second: a_second(part(table.half_read_units, 2))?,
        mb_ms_a_run: small(part(mb_ms, load.runs))?,
        platform_micro_usd: bill.sum(|_| true)?,
        idle_micro_usd: bill.sum(|line| line.is_idle)?,
        lines: bill.lines,
        model_micro_usd: small(part(runs * big(load.steps) * tokens, 1_000_000))?,
    })
}
