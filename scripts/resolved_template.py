"""A CloudFormation template as it is with given parameters: without conditions, mappings and what a condition leaves out.

    resolved_template.py TEMPLATE OUTPUT [NAME=VALUE ...]

TEMPLATE is the output of sam_transform.py. Parameters that are not given have their defaults. What only a deployment knows
(names and attributes of resources, the account, the Region) stays as it is. Rules that are broken end the program.
"""

import json
import sys
from pathlib import Path


class Resolver:
    """Evaluates a template with parameters."""

    def __init__(self, template, given):
        unknown = set(given) - set(template["Parameters"])
        if unknown:
            raise ValueError(f"the template has no parameter {', '.join(sorted(unknown))}")
        self.template = template
        self.parameters = {name: str(one.get("Default", "")) for name, one in template["Parameters"].items()} | given
        for name, value in self.parameters.items():
            allowed = template["Parameters"][name].get("AllowedValues")
            if allowed and value not in map(str, allowed):
                raise ValueError(f"{name} may not be {value!r}")

    def holds(self, condition):
        """Whether a condition, by name or as it is written, holds."""
        if isinstance(condition, str):
            return self.holds(self.template["Conditions"][condition])
        ((kind, operands),) = condition.items()
        match kind:
            case "Condition":
                return self.holds(operands)
            case "Fn::Equals":
                first, second = map(self.value, operands)
                return str(first) == str(second)
            case "Fn::Not":
                return not self.holds(operands[0])
            case "Fn::And":
                return all(map(self.holds, operands))
            case "Fn::Or":
                return any(map(self.holds, operands))
        raise ValueError(f"{kind} is no condition")

    def value(self, node):
        """A value without what depends on parameters."""
        if isinstance(node, list):
            return [self.value(item) for item in node if not self.is_nothing(item)]
        if not isinstance(node, dict):
            return node
        match list(node.items()):
            case [("Fn::If", [condition, yes, no])]:
                return self.value(yes if self.holds(condition) else no)
            case [("Fn::FindInMap", [mapping, first, second])]:
                return self.template["Mappings"][mapping][self.value(first)][self.value(second)]
            case [("Ref", name)] if name in self.parameters:
                return self.parameters[name]
        return {key: self.value(item) for key, item in node.items() if not self.is_nothing(item)}

    def is_nothing(self, node):
        """Whether a value leaves out what it stands for."""
        match node:
            case {"Ref": "AWS::NoValue"}:
                return True
            case {"Fn::If": [condition, yes, no]}:
                return self.is_nothing(yes if self.holds(condition) else no)
        return False

    def broken_rules(self):
        """What the template's own rules say against these parameters."""
        for rule in self.template.get("Rules", {}).values():
            if self.holds(rule.get("RuleCondition", {"Fn::Equals": ["", ""]})):
                for assertion in rule["Assertions"]:
                    if not self.holds(assertion["Assert"]):
                        yield assertion["AssertDescription"]

    def resolved(self):
        """The template without parameters, conditions and mappings."""
        broken = list(self.broken_rules())
        if broken:
            raise ValueError(" ".join(broken))
        output = {"AWSTemplateFormatVersion": self.template["AWSTemplateFormatVersion"]}
        for part in ("Resources", "Outputs"):
            output[part] = {
                name: {key: self.value(item) for key, item in one.items() if key != "Condition"}
                for name, one in self.template[part].items()
                if "Condition" not in one or self.holds(one["Condition"])
            }
        return output


def main(source, target, *given):
    template = json.loads(Path(source).read_text(encoding="utf-8"))
    try:
        output = Resolver(template, dict(one.split("=", 1) for one in given)).resolved()
    except ValueError as error:
        sys.exit(str(error))
    Path(target).write_text(json.dumps(output, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
