"""What a stack costs a month while nothing runs, from its resolved template (resolved_template.py).

    idle_cost.py TEMPLATE [--counts]

Prices are those of us-east-1: of what every stack has, in `shared/gateway/prices.toml` with source and day; of what is on by parameter, of
November 2026, below. Free tiers aside. What is counted: what is paid by the month or hour, and what runs by itself: a tick a minute, what
it asks and writes, and empty polls of the queues. `--counts` prints how much of it a small stack has instead, for `skein plan`:
`shared/cli/src/plan/idle.json`.
"""

import json
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
HOURS = 730
MINUTES = HOURS * 60
WARM_GIB_SECOND = 0.0000033334
# Milliseconds that a tick takes when nothing is due: generous, it takes a few requests.
TICK_MS = 250
# Lambda polls each queue with five at once, 20 seconds each.
POLLS = 5 * MINUTES * 3
CACHE_HOUR = {"0.5": 0.02, "1.6": 0.038, "6.1": 0.2, "13.5": 0.25, "28.4": 0.5, "58.2": 1.0, "118": 1.9, "237": 3.8}
# Gauges that the tick writes, `functions/janitor/src/lib.rs`.
GAUGES = 6


def prices():
    """Dollars for one of each unit in us-east-1."""
    table = tomllib.loads((ROOT / "shared/gateway/prices.toml").read_text(encoding="utf-8"))
    return {one["unit"]: one["pico_usd"] / 1e12 for one in table["unit"] if one["region"] == "us-east-1"}


def tick_reads():
    """Read units of a tick, as a test measures them."""
    units = json.loads((ROOT / "shared/cli/src/plan/units.json").read_text(encoding="utf-8"))
    return units["sweep"]["half_read_units"] / 2


def of_type(template, kind):
    """Properties of every resource of a type."""
    for resource in template["Resources"].values():
        if resource["Type"] == kind:
            yield resource.get("Properties", {})


def count(template, kind):
    """How many resources of a type there are."""
    return sum(1 for _ in of_type(template, kind))


def alarm_metrics(template):
    """Metrics that alarms watch, each of which is paid for."""
    for alarm in of_type(template, "AWS::CloudWatch::Alarm"):
        yield max(1, sum("MetricStat" in metric for metric in alarm.get("Metrics", [])))


def counts(template):
    """How much there is of what every stack has."""
    # Of the table's stream Lambda's reads are free.
    sources = of_type(template, "AWS::Lambda::EventSourceMapping")
    return {
        "alarm_metrics": sum(alarm_metrics(template)),
        "dashboards": count(template, "AWS::CloudWatch::Dashboard"),
        "secrets": count(template, "AWS::SecretsManager::Secret"),
        "keys": count(template, "AWS::KMS::Key"),
        "queues": sum("StartingPosition" not in source for source in sources),
        "gauges": GAUGES,
        "tick_ms": TICK_MS,
    }


def items(template):
    """What is paid for, why, and dollars a month."""
    price = prices()
    has = counts(template)
    functions = list(of_type(template, "AWS::Lambda::Function"))
    gib = int(functions[0]["MemorySize"]) / 1024
    ticks = MINUTES * (price["invocation"] + TICK_MS / 1000 * gib * price["gb_second_arm64"] + price["trace"])
    yield "the janitor's ticks", "one a minute, traced", ticks + MINUTES * tick_reads() * price["table_read_unit"]
    gauges = GAUGES * price["metric_month"] + MINUTES * price["metric_request"]
    yield "gauges", f"{GAUGES} metrics, a request a minute", gauges
    yield "empty polls", f"of {has['queues']} queues", has["queues"] * POLLS * price["empty_poll"]
    alarms = count(template, "AWS::CloudWatch::Alarm")
    yield "alarms", f"{alarms} on {has['alarm_metrics']} metrics", has["alarm_metrics"] * price["alarm_month"]
    yield "dashboard", "", has["dashboards"] * price["dashboard_month"]
    yield "KMS keys", "", has["keys"] * price["key_month"]
    yield "secret", "", has["secrets"] * price["secret_month"]
    warm = sum(
        int(alias["ProvisionedConcurrencyConfig"]["ProvisionedConcurrentExecutions"])
        for alias in of_type(template, "AWS::Lambda::Alias")
        if "ProvisionedConcurrencyConfig" in alias
    )
    yield "provisioned processes", str(warm), warm * gib * HOURS * 3600 * WARM_GIB_SECOND
    pollers = sum(
        int(source.get("ProvisionedPollerConfig", {}).get("MinimumPollers", 0))
        for source in of_type(template, "AWS::Lambda::EventSourceMapping")
    )
    yield "provisioned pollers", str(pollers), pollers * HOURS * 0.00925
    caches = [stage["CacheClusterSize"] for stage in of_type(template, "AWS::ApiGateway::Stage") if "CacheClusterSize" in stage]
    yield "cache of the API", "", sum(HOURS * CACHE_HOUR[size] for size in caches)
    rules = sum(len(acl["Rules"]) for acl in of_type(template, "AWS::WAFv2::WebACL"))
    yield "firewall", f"{rules} rules", count(template, "AWS::WAFv2::WebACL") * 5.0 + rules * 1.0
    # Over TLS, of what is not AWS's own to Route 53.
    yield "health check", "", count(template, "AWS::Route53::HealthCheck") * (0.75 + 2.0)


def main(source, counts_alone):
    template = json.loads(Path(source).read_text(encoding="utf-8"))
    if counts_alone:
        print(json.dumps(counts(template), indent=2))
        return
    print("| What | How much | Dollars a month |\n|---|---|---|")
    total = 0.0
    for what, how_much, dollars in items(template):
        total += dollars
        if dollars:
            print(f"| {what} | {how_much} | {dollars:.2f} |")
    print(f"| in all | | {total:.2f} |")


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3) or sys.argv[2:] not in ([], ["--counts"]):
        sys.exit(__doc__)
    main(sys.argv[1], counts_alone=len(sys.argv) == 3)
