"""SAM to CloudFormation on this machine, without AWS and without credentials.

    sam_transform.py TEMPLATE OUTPUT

`sam validate --lint` checks the template as it is written and lets wrong settings through that only the transform
refuses, those of event sources among them. This runs the transform itself; its output is what CloudFormation would
get, so cfn-lint and tests of the policies read that. Needs the Python environment of the SAM CLI.
"""

import copy
import json
import logging
import os
import sys
from pathlib import Path

os.environ.setdefault("AWS_DEFAULT_REGION", "us-east-1")

import boto3  # noqa: E402
from samtranslator.model.exceptions import InvalidDocumentException  # noqa: E402
from samtranslator.parser.parser import Parser  # noqa: E402
from samtranslator.translator.translator import Translator  # noqa: E402

import sam_template  # noqa: E402

logging.getLogger("samtranslator").setLevel(logging.ERROR)

# The transform passes any other value through, and CodeDeploy refuses it at deployment only.
DEPLOYMENT_PREFERENCES = {"AllAtOnce"} | {
    f"{kind}{step}"
    for kind, steps in {
        "Canary10Percent": ("5Minutes", "10Minutes", "15Minutes", "30Minutes"),
        "Linear10PercentEvery": ("1Minute", "2Minutes", "3Minutes", "10Minutes"),
    }.items()
    for step in steps
}


def types_of(preference):
    """The types that a preference may have: one, or those of a condition."""
    if isinstance(preference, dict) and "Fn::If" in preference:
        return [kind for choice in preference["Fn::If"][1:] for kind in types_of(choice)]
    return [preference]


def wrong_deployment_preferences(template):
    """Functions whose deployment preference CodeDeploy does not know, with what they ask for."""
    globals_ = template.get("Globals", {}).get("Function", {}).get("DeploymentPreference", {})
    for name, function in sam_template.functions(template).items():
        preference = globals_ | function["Properties"].get("DeploymentPreference", {})
        for kind in types_of(preference.get("Type")):
            if kind is not None and kind not in DEPLOYMENT_PREFERENCES:
                yield f"{name}: unknown DeploymentPreference.Type {kind!r}"


def transform(template):
    """The CloudFormation template that SAM makes of this one."""
    # Local code has no address yet; the transform wants one. `sam package` would put it here.
    template.get("Globals", {}).get("Function", {}).pop("CodeUri", None)
    for function in sam_template.functions(template).values():
        function["Properties"]["CodeUri"] = "s3://bucket/key"
    session = boto3.session.Session(region_name=os.environ["AWS_DEFAULT_REGION"])
    return Translator({}, Parser(), None, session).translate(template, {})


def wrong_routes(template):
    """Routes of which an API's own definition says otherwise than the functions' events, apart from who stands before them."""
    for api, resource in template["Resources"].items():
        if resource["Type"] != "AWS::Serverless::Api" or "DefinitionBody" not in resource["Properties"]:
            continue
        by_events = copy.deepcopy(template)
        del by_events["Resources"][api]["Properties"]["DefinitionBody"]
        wanted, said = (
            transform(copy.deepcopy(one))["Resources"][api]["Properties"]["Body"]["paths"] for one in (by_events, template)
        )
        wanted = json.loads(json.dumps(wanted).replace("arn:aws:", "arn:${AWS::Partition}:"))
        routes = {(path, method) for paths in (wanted, said) for path in paths for method in paths[path]}
        for path, method in sorted(routes):
            operation = said.get(path, {}).get(method, {})
            operation = {name: value for name, value in operation.items() if name != "security"}
            if operation != wanted.get(path, {}).get(method):
                yield f"{api}: {method} {path} is not as the functions' events say"


def main(source, target):
    template = sam_template.read(source)
    problems = [*wrong_deployment_preferences(template), *wrong_routes(template)]
    if not problems:
        try:
            output = transform(template)
        except InvalidDocumentException as error:
            problems = [cause.message for cause in error.causes]
    if problems:
        print("\n".join(problems), file=sys.stderr)
        return 1
    Path(target).write_text(json.dumps(output, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    sys.exit(main(sys.argv[1], sys.argv[2]))
