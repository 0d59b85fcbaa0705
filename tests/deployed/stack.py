"""The template deployed to ministack, an emulator of AWS by others, with the functions' own binaries; and its clients.

    MINISTACK_URL        where ministack answers
    SKEIN_BINARIES       folder of the functions' binaries and of `skein`
    BEDROCK_URL          what answers as Amazon Bedrock: the local cloud's models
"""

import io
import json
import os
import re
import secrets
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))
os.environ.setdefault("AWS_DEFAULT_REGION", "us-east-1")

import boto3  # noqa: E402
import sam_template  # noqa: E402
import sam_transform  # noqa: E402

URL = os.environ["MINISTACK_URL"]
BINARIES = ROOT / os.environ["SKEIN_BINARIES"]
BEDROCK_URL = os.environ["BEDROCK_URL"]

# What ministack cannot make, with the reason; everything else of the template is deployed as it is.
LEFT_OUT = {
    "AWS::CodeDeploy::Application": "no CodeDeploy: aliases move at once",
    "AWS::CodeDeploy::DeploymentGroup": "no CodeDeploy",
    "AWS::Logs::QueryDefinition": "no saved queries",
}
# Streamed answers do not pass its REST API, so requests to these routes invoke their function as the gateway would.
STREAMED = re.compile(r"POST /v1/runs|GET /v1/runs/[^/]+/events(\?.*)?")
# Between two looks at something that will happen.
EVERY_S = 0.2
PATIENCE_S = 60


def client(service):
    """A client of one of ministack's services."""
    return boto3.client(
        service,
        endpoint_url=URL,
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
    )


def until(look, what):
    """What `look` returns, once it returns something."""
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        if found := look():
            return found
        time.sleep(EVERY_S)
    raise TimeoutError(f"{what} did not happen within {PATIENCE_S} s")


class Answer:
    """Of an HTTP request."""

    def __init__(self, status, headers, body):
        self.status = status
        self.headers = {name.lower(): value for name, value in headers.items()}
        self.body = body

    def json(self):
        """The body."""
        return json.loads(self.body)


class Stack:
    """A deployed stack."""

    def __init__(self, name="skein-dev"):
        self.name = name
        self.lambdas = client("lambda")
        self.queues = client("sqs")
        self.objects = client("s3")
        self.outputs = self._deploy(name)
        self.names = {f["FunctionName"].split("-")[2]: f["FunctionName"] for f in self._functions(name)}
        self.root = self._root()
        self.operator = self._operator()

    def _deploy(self, name):
        template = sam_transform.transform(sam_template.read(ROOT / "template.yaml"))
        self.objects.create_bucket(Bucket="artifacts")
        kept = {}
        for logical, resource in template["Resources"].items():
            kind, properties = resource["Type"], resource.get("Properties", {})
            if kind in LEFT_OUT or (kind == "AWS::CloudWatch::Alarm" and "Metrics" in properties):
                continue  # Alarms over several metrics: ministack has none.
            resource.pop("UpdatePolicy", None)
            if kind == "AWS::Lambda::Function":
                properties["Code"] = self._upload(logical.lower())
                variables = properties["Environment"]["Variables"]
                variables["AWS_ENDPOINT_URL_BEDROCK_RUNTIME"] = BEDROCK_URL
            kept[logical] = resource
        template["Resources"] = kept
        self.objects.put_object(Bucket="artifacts", Key="template.json", Body=json.dumps(template).encode())
        stacks = client("cloudformation")
        stacks.create_stack(
            StackName=name,
            TemplateURL=f"{URL}/artifacts/template.json",
            Parameters=[{"ParameterKey": "Architecture", "ParameterValue": "x86_64"}],
            Capabilities=["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"],
            DisableRollback=True,
        )

        def settled():
            stack = stacks.describe_stacks(StackName=name)["Stacks"][0]
            return None if stack["StackStatus"].endswith("IN_PROGRESS") else stack

        stack = until(settled, "the deployment")
        if stack["StackStatus"] != "CREATE_COMPLETE":
            events = stacks.describe_stack_events(StackName=name)["StackEvents"]
            failed = [e.get("ResourceStatusReason") for e in events if e["ResourceStatus"].endswith("FAILED")]
            raise RuntimeError(f"the stack is {stack['StackStatus']}: {failed}")
        return {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}

    def _upload(self, binary):
        archive = io.BytesIO()
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as file:
            entry = zipfile.ZipInfo("bootstrap")
            entry.external_attr = 0o755 << 16
            file.writestr(entry, (BINARIES / binary).read_bytes())
        self.objects.put_object(Bucket="artifacts", Key=f"{binary}.zip", Body=archive.getvalue())
        return {"S3Bucket": "artifacts", "S3Key": f"{binary}.zip"}

    def _functions(self, name):
        pages = self.lambdas.get_paginator("list_functions").paginate()
        return [f for page in pages for f in page["Functions"] if f["FunctionName"].startswith(f"{name}-")]

    def _root(self):
        api = self.outputs["Url"].removeprefix("https://").split(".")[0]
        return f"{URL}/restapis/{api}/dev/_user_request_"

    def _operator(self):
        """The first operator's key, made as README's "Deploy" says."""
        environment = os.environ | {
            "AWS_ENDPOINT_URL": URL,
            "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
        }
        command = [BINARIES / "skein", "operators", "issue", "--table", self.outputs["Table"]]
        made = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
        return Client(self, made.stdout.strip())

    def invoke(self, function, event):
        """What a function answers to an event."""
        answer = self.lambdas.invoke(FunctionName=self.names[function], Payload=json.dumps(event))
        payload = answer["Payload"].read()
        if "FunctionError" in answer:
            raise RuntimeError(f"{function}: {payload.decode()}")
        return json.loads(payload)

    def tenant(self, tier="business"):
        """A client of a new tenant's."""
        name = f"t{secrets.token_hex(6)}"
        created = self.operator.post("/v1/admin/tenants", {"id": name, "name": name, "tier": tier})
        assert created.status == 201, created.body
        issued = self.operator.post(f"/v1/admin/tenants/{name}/keys", {"label": "test"})
        assert issued.status == 201, issued.body
        return Client(self, issued.json()["key"], name)


class Client:
    """Somebody with a key."""

    def __init__(self, stack, key, tenant=None):
        self.stack = stack
        self.key = key
        self.tenant = tenant

    def get(self, path):
        """GET."""
        return self._ask("GET", path, None, {})

    def post(self, path, body, **headers):
        """POST of JSON."""
        return self._ask("POST", path, json.dumps(body), headers)

    def put(self, path, body):
        """PUT of JSON."""
        return self._ask("PUT", path, json.dumps(body), {})

    def _ask(self, method, path, body, headers):
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        headers["Authorization"] = f"Bearer {self.key}"
        if body is not None:
            headers["Content-Type"] = "application/json"
        if STREAMED.fullmatch(f"{method} {path}"):
            return self._invoke(method, path, body, headers)
        data = None if body is None else body.encode()
        request = urllib.request.Request(self.stack.root + path, data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
                return Answer(answer.status, dict(answer.headers), answer.read().decode())
        except urllib.error.HTTPError as error:
            return Answer(error.code, dict(error.headers), error.read().decode())

    def _invoke(self, method, path, body, headers):
        event = json.loads((ROOT / "events/stream-create-run.json").read_text(encoding="utf-8"))
        path, _, query = path.partition("?")
        event["httpMethod"], event["path"], event["body"] = method, path, body
        event["multiValueQueryStringParameters"] = urllib.parse.parse_qs(query)
        event["headers"] = headers
        event["multiValueHeaders"] = {name: [value] for name, value in headers.items()}
        # A streamed answer: JSON of status and headers, eight zero bytes, the body.
        prelude, body = self.stack.invoke("Stream", event).split("\0" * 8, 1)
        prelude = json.loads(prelude)
        return Answer(prelude["statusCode"], prelude["headers"], body)

    def agent(self, name, **definition):
        """Stores an agent."""
        stored = self.post(f"/v1/agents/{name}", definition)
        assert stored.status in (200, 201), stored.body
        return name

    def run(self, agent, text, **headers):
        """The id of a new run."""
        created = self.post("/v1/runs", {"agent": agent, "input": text}, **headers)
        assert created.status == 202, created.body
        return created.json()["id"]

    def ended(self, run):
        """The run, once it ended."""

        def look():
            now = self.get(f"/v1/runs/{run}").json()
            return now if now["status"] in ("succeeded", "failed", "cancelled", "expired") else None

        return until(look, f"the end of {run}")
