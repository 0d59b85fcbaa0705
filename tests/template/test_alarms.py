"""Alarms, the pages that they name, and the metrics that they stand on."""

import json
import re
import shlex
import unittest

import botocore.session
import deployment
from botocore import xform_name
from deployment import EVERYTHING, ROOT, resolved, resources

RUNBOOKS = ROOT / "docs/runbooks"
NAMED = re.compile(r"Runbook: docs/runbooks/([a-z-]+)\.md$")
HEADINGS = ["## What it means", "## Look", "## Act"]
# What AWS counts by itself (its documentation, November 2026), with the dimensions that tell one from another.
OF_AWS = {
    "AWS/ApiGateway": ({"4XXError", "5XXError", "Count"}, [{"ApiName", "Stage"}]),
    "AWS/DynamoDB": (
        {
            "ConsumedReadCapacityUnits",
            "ConsumedWriteCapacityUnits",
            "ReadThrottleEvents",
            "ReplicationLatency",
            "WriteThrottleEvents",
        },
        [{"TableName"}, {"TableName", "ReceivingRegion"}],
    ),
    "AWS/Lambda": (
        {"ConcurrentExecutions", "Duration", "Errors", "Invocations", "IteratorAge", "Throttles"},
        [set(), {"FunctionName"}, {"FunctionName", "Resource"}],
    ),
    "AWS/SQS": ({"ApproximateAgeOfOldestMessage", "ApproximateNumberOfMessagesVisible"}, [{"QueueName"}]),
    "AWS/WAFV2": ({"BlockedRequests"}, [{"Region", "Rule", "WebACL"}]),
}
OURS = {"Fn::Sub": "Skein/${AWS::StackName}"}
# `aws` commands that are no operation of a service.
CUSTOM = {("logs", "tail"), ("s3", "cp"), ("s3", "ls")}
# What each `aws` command takes beside its operation's own.
GLOBAL = {"--query", "--output", "--region"}


def alarms():
    return resources(resolved(**EVERYTHING), "AWS::CloudWatch::Alarm")


def filters():
    """What metric filters make of lines of the log, by the metric's name."""
    found = {}
    for one in resources(resolved(**EVERYTHING), "AWS::Logs::MetricFilter").values():
        (made,) = one["MetricTransformations"]
        found.setdefault(made["MetricName"], []).append((one["FilterPattern"], made))
    return found


def watched(alarm):
    """Namespace, name and dimensions of each metric of an alarm."""
    if "MetricName" in alarm:
        metrics = [alarm]
    else:
        metrics = [one["MetricStat"]["Metric"] for one in alarm["Metrics"] if "MetricStat" in one]
    for metric in metrics:
        yield metric["Namespace"], metric["MetricName"], {one["Name"]: one["Value"] for one in metric.get("Dimensions", [])}


def description(alarm):
    words = alarm["AlarmDescription"]
    return words["Fn::Sub"] if isinstance(words, dict) else words


def emitted():
    """Metrics that functions emit: those of units of work, and the janitor's gauges."""
    code = deployment.rust()
    direct = re.findall(r'\.put\(\s*"(\w+)",\s*Unit::', code)
    listed = re.findall(r'\("(\w+)", (?:Unit::\w+|Lane::\w+|delayed|failed)\b', code)
    return set(direct) | set(listed)


class Alarms(unittest.TestCase):
    def test_every_alarm_wakes_somebody_and_names_a_page_that_is_there(self):
        for name, alarm in alarms().items():
            self.assertEqual(alarm["AlarmActions"], [{"Ref": "AlarmTopic"}], name)
            named = NAMED.search(description(alarm))
            self.assertTrue(named, f"{name} names no runbook")
            self.assertTrue((RUNBOOKS / f"{named[1]}.md").is_file(), f"{name}: there is no page {named[1]}")

    def test_every_page_belongs_to_an_alarm_or_says_that_there_is_none_and_what_to_do(self):
        named = {NAMED.search(description(alarm))[1] for alarm in alarms().values()}
        for page in sorted(RUNBOOKS.glob("*.md")):
            if page.stem == "README":
                continue
            text = page.read_text(encoding="utf-8")
            self.assertEqual(page.stem in named, "\nNo alarm: " not in text, page.name)
            self.assertEqual([line for line in text.splitlines() if line.startswith("## ")], HEADINGS, page.name)
            for name, alarm in alarms().items():
                if NAMED.search(description(alarm))[1] == page.stem:
                    self.assertIn(f"`{name}`", text, f"{page.name} does not name its alarm {name}")

    def test_alarms_stand_on_metrics_that_are_emitted(self):
        ours, made = emitted(), filters()
        services = {name.lower() for name in resources(resolved(), "AWS::Lambda::Function")}
        for name, alarm in alarms().items():
            for namespace, metric, dimensions in watched(alarm):
                if namespace == OURS:
                    if dimensions:
                        self.assertIn(metric, ours, name)
                        self.assertEqual(set(dimensions), {"service"}, name)
                        self.assertIn(dimensions["service"], services, name)
                    else:
                        self.assertIn(metric, made, name)
                else:
                    known, sets = OF_AWS[namespace]
                    self.assertIn(metric, known, name)
                    self.assertIn(set(dimensions), sets, name)

    def test_the_gateways_metrics_are_looked_up_by_the_name_that_the_api_has(self):
        (api,) = resources(resolved(), "AWS::ApiGateway::RestApi").values()
        name = api.get("Name", api["Body"]["info"]["title"])
        of_gateway = [
            dimensions for alarm in alarms().values() for space, _, dimensions in watched(alarm) if space == "AWS/ApiGateway"
        ]
        self.assertGreater(len(of_gateway), 2)
        for dimensions in of_gateway:
            self.assertEqual(dimensions["ApiName"], name)

    def test_metric_filters_look_for_what_functions_log(self):
        code = deployment.rust()
        for metric, found in filters().items():
            for pattern, made in found:
                self.assertEqual(made["MetricNamespace"], OURS)
                message = re.fullmatch(r'{ \$\.message = "(.+)" }', pattern)
                if message:
                    line = re.search(rf'tracing::\w+!\(((?:(?!tracing::).)*?)"{re.escape(message[1])}"', code, re.DOTALL)
                    self.assertTrue(line, f"{metric}: nobody logs {message[1]!r}")
                    fields = line[1]
                else:
                    self.assertEqual(pattern, '{ $.outcome = "ended" }')
                    fields = deployment.text("shared/engine/src/report.rs")
                    self.assertIn('=> "ended"', fields)
                if made["MetricValue"].startswith("$."):
                    self.assertIn(made["MetricValue"][2:], fields, metric)

    def test_every_dead_letter_queue_has_an_alarm(self):
        queues = resources(resolved(), "AWS::SQS::Queue")
        dead = {queue["RedrivePolicy"]["deadLetterTargetArn"]["Fn::GetAtt"][0] for queue in queues.values() if "RedrivePolicy" in queue}
        self.assertEqual(dead | {name.removesuffix("Dead") for name in dead}, set(queues))
        watching = {
            dimensions["QueueName"]["Fn::GetAtt"][0]
            for alarm in alarms().values()
            for namespace, metric, dimensions in watched(alarm)
            if namespace == "AWS/SQS"
        }
        self.assertLessEqual(set(queues) - {"Sweeps"}, watching)

    def test_the_dashboard_shows_metrics_that_are_emitted(self):
        (dashboard,) = resources(resolved(), "AWS::CloudWatch::Dashboard").values()
        body = json.loads(dashboard["DashboardBody"]["Fn::Sub"])
        ours = emitted() | set(filters())
        self.assertEqual(len(body["widgets"]), 12)
        for widget in body["widgets"]:
            for namespace, metric, *_ in widget["properties"]["metrics"]:
                known = ours if namespace == OURS["Fn::Sub"] else OF_AWS[namespace][0]
                self.assertIn(metric, known, widget["properties"]["title"])

    def test_saved_queries_look_for_what_functions_log(self):
        code = deployment.rust()
        queries = resources(resolved(), "AWS::Logs::QueryDefinition")
        self.assertEqual(len(queries), 6)
        for name, query in queries.items():
            for message in re.findall(r'message = "(.+?)"', query["QueryString"]):
                self.assertIn(f'"{message}"', code, name)
            for field in re.findall(r"`([\w.]+)`", query["QueryString"]):
                self.assertIn(field, code, name)


class Runbooks(unittest.TestCase):
    def commands(self, program):
        """Commands of a program in the pages, as they stand in their blocks, and where."""
        for page in sorted(RUNBOOKS.glob("*.md")):
            for block in re.findall(r"```console\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
                for line in block.replace("\\\n", " ").splitlines():
                    words = shlex.split(line.removeprefix("$ "), comments=True)
                    if words and words[0] == program:
                        yield page.name, words[1:]

    def test_every_aws_command_is_one_that_aws_has(self):
        session = botocore.session.get_session()
        services = {"budgets", "ce", "cloudwatch", "codedeploy", "dynamodb", "kms", "lambda", "logs", "service-quotas", "sqs", "wafv2"}
        operations = {}
        checked = 0
        for page, (service, operation, *words) in self.commands("aws"):
            checked += 1
            if (service, operation) in CUSTOM:
                continue
            self.assertIn(service, services, page)
            if service not in operations:
                model = session.get_service_model(service)
                operations[service] = {xform_name(name, "-"): model.operation_model(name) for name in model.operation_names}
            self.assertIn(operation, operations[service], f"{page}: aws {service}")
            shape = operations[service][operation].input_shape
            members = shape.members if shape else {}
            options = {f"--{xform_name(name, '-')}" for name in members} | GLOBAL
            given = [word for word in words if word.startswith("--")]
            for option in given:
                self.assertIn(option, options, f"{page}: aws {service} {operation}")
            for name in shape.required_members if shape else []:
                self.assertIn(f"--{xform_name(name, '-')}", given, f"{page}: aws {service} {operation}")
        self.assertGreater(checked, 20)

    def test_only_programs_that_somebody_checks_are_called(self):
        for page in sorted(RUNBOOKS.glob("*.md")):
            for block in re.findall(r"```console\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
                for line in block.replace("\\\n", " ").splitlines():
                    words = shlex.split(line.removeprefix("$ "), comments=True)
                    self.assertIn(words[0] if words else "aws", {"aws", "skein"}, page.name)


if __name__ == "__main__":
    unittest.main()
