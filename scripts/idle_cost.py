"""What a stack costs a month while nothing runs, from its resolved template (resolved_template.py).

    idle_cost.py TEMPLATE

Prices are those of us-east-1 in November 2026, in dollars, free tiers aside. What is counted: what is paid by the month or hour, and what
runs by itself: a tick a minute, the gauges that it writes, and empty polls of the queues.
"""

import json
import sys
from pathlib import Path

HOURS = 730
MINUTES = HOURS * 60
GIB_SECOND = 0.0000133334
WARM_GIB_SECOND = 0.0000033334
# Seconds that a tick takes when nothing is due: generous, it takes a few requests.
TICK_SECONDS = 0.25
# Lambda polls each queue with five at once, 20 seconds each.
POLLS = 5 * MINUTES * 3
CACHE_HOUR = {"0.5": 0.02, "1.6": 0.038, "6.1": 0.2, "13.5": 0.25, "28.4": 0.5, "58.2": 1.0, "118": 1.9, "237": 3.8}
# Gauges that the tick writes, `functions/janitor/src/lib.rs`.
GAUGES = 6


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


def items(template):
    """What is paid for, why, and dollars a month."""
    functions = list(of_type(template, "AWS::Lambda::Function"))
    gib = int(functions[0]["MemorySize"]) / 1024
    ticks = MINUTES * (0.0000002 + TICK_SECONDS * gib * GIB_SECOND)
    yield "the janitor's ticks", "one a minute", ticks
    yield "gauges", f"{GAUGES} metrics, a request a minute", GAUGES * 0.30 + MINUTES * 0.00001
    # Of the table's stream Lambda's reads are free.
    sources = of_type(template, "AWS::Lambda::EventSourceMapping")
    queues = sum("StartingPosition" not in source for source in sources)
    yield "empty polls", f"of {queues} queues", queues * POLLS * 0.0000004
    alarms = sum(alarm_metrics(template))
    yield "alarms", f"{count(template, 'AWS::CloudWatch::Alarm')} on {alarms} metrics", alarms * 0.10
    yield "dashboard", "", count(template, "AWS::CloudWatch::Dashboard") * 3.0
    yield "KMS keys", "", count(template, "AWS::KMS::Key") * 1.0
    yield "secret", "", count(template, "AWS::SecretsManager::Secret") * 0.40
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


def main(source):
    template = json.loads(Path(source).read_text(encoding="utf-8"))
    print("| What | How much | Dollars a month |\n|---|---|---|")
    total = 0.0
    for what, how_much, dollars in items(template):
        total += dollars
        if dollars:
            print(f"| {what} | {how_much} | {dollars:.2f} |")
    print(f"| in all | | {total:.2f} |")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
