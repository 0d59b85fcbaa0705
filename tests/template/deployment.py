"""The template as deployments see it: transformed, and resolved for sets of parameters."""

import copy
import functools
import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))
os.environ.setdefault("AWS_DEFAULT_REGION", "us-east-1")

import sam_template  # noqa: E402
import sam_transform  # noqa: E402
from resolved_template import Resolver  # noqa: E402

# Everything that parameters can add.
EVERYTHING = {
    "Stage": "prod",
    "Size": "enterprise",
    "TenantIsolation": "session",
    "UsagePlans": "on",
    "BusyFrom": "cron(45 7 ? * MON-FRI *)",
    "BusyUntil": "cron(0 18 ? * MON-FRI *)",
    "InteractivePollers": "20",
    "DomainName": "api.example.com",
    "CertificateArn": "arn:aws:acm:us-east-1:123456789012:certificate/x",
    "HostedZoneId": "Z123",
    "Firewall": "on",
    "CacheSize": "0.5",
    "OwnKey": "on",
    "ReplicaRegion": "eu-west-1",
    "ReplicaKeyArn": "arn:aws:kms:eu-west-1:123456789012:key/x",
    "PayloadReplicaBucketArn": "arn:aws:s3:::copies",
    "AlarmEmail": "ops@example.com",
    "MonthlyBudgetUsd": "500",
}


def text(path):
    """A file of the repository."""
    return (ROOT / path).read_text(encoding="utf-8")


@functools.cache
def source():
    """The template as it is written."""
    return sam_template.read(ROOT / "template.yaml")


@functools.cache
def transformed():
    """What CloudFormation gets."""
    return sam_transform.transform(copy.deepcopy(source()))


def resolved(**parameters):
    """What is made with these parameters, the others as they come."""
    return Resolver(transformed(), parameters).resolved()


def resources(template, kind):
    """Logical id and properties of every resource of a type."""
    return {
        name: resource.get("Properties", {})
        for name, resource in template["Resources"].items()
        if resource["Type"] == kind
    }


def rust():
    """Every source of the functions and what they are made of, joined."""
    folders = ("functions", "shared")
    return "\n".join(
        path.read_text(encoding="utf-8") for folder in folders for path in sorted((ROOT / folder).rglob("*.rs"))
    )
