"""What the template's users share: reading it as SAM does, with every intrinsic function as plain data."""

from pathlib import Path

from samtranslator.yaml_helper import yaml_parse

FUNCTION = "AWS::Serverless::Function"


def read(path):
    """The template as a dictionary."""
    return yaml_parse(Path(path).read_text(encoding="utf-8"))


def functions(template):
    """Logical id and resource of every function."""
    return {
        name: resource
        for name, resource in template["Resources"].items()
        if resource["Type"] == FUNCTION
    }
