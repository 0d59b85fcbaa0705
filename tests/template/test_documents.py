"""README and samconfig.toml say of parameters what the template says."""

import re
import tomllib
import unittest

import deployment
import idle_cost
from deployment import ROOT, resolved


class Documents(unittest.TestCase):
    def test_the_readme_has_a_row_for_every_parameter_with_its_default(self):
        rows = dict(re.findall(r"^\| `(\w+)` \| ([^|]*?) \|", deployment.text("README.md"), re.MULTILINE))
        for name, parameter in deployment.source()["Parameters"].items():
            self.assertIn(name, rows)
            default = str(parameter["Default"])
            self.assertEqual(rows[name], f"`{default}`" if default else "none", name)

    def test_the_readme_says_what_a_small_stack_costs_while_nothing_runs(self):
        total = sum(dollars for _, _, dollars in idle_cost.items(resolved()))
        self.assertIn(f"A small stack costs ${total:.2f} a month while nothing runs", deployment.text("README.md"))

    def test_every_environment_of_samconfig_can_be_deployed(self):
        config = tomllib.loads(deployment.text("samconfig.toml"))
        environments = {name: one for name, one in config.items() if isinstance(one, dict) and "deploy" in one}
        bridge = environments.pop("bridge")["deploy"]["parameters"]
        self.assertEqual(set(environments), {"dev", "staging", "prod", "prod-eu"})
        names = set()
        for name, environment in environments.items():
            deploy = environment["deploy"]["parameters"]
            given = dict(word.split("=", 1) for word in deploy["parameter_overrides"].split())
            self.assertGreater(len(resolved(**given)["Resources"]), 100, name)
            stack, region = environment["global"]["parameters"]["stack_name"], deploy["region"]
            # The budget finds what a stack costs by this tag.
            self.assertIn(f"stack={stack}", deploy["tags"].split(), name)
            self.assertNotIn((stack, region), names)
            names.add((stack, region))
            self.assertTrue(environment["build"]["parameters"]["cached"], name)
        self.assertEqual(environments["prod"]["deploy"]["parameters"]["confirm_changeset"], True)
        self.assertEqual((bridge["template_file"], bridge["confirm_changeset"]), ("bridge.yaml", True))

    def test_a_table_of_a_tenants_own_takes_from_a_stack_what_that_exports(self):
        exported = {output["Export"]["Name"]["Fn::Sub"] for output in deployment.source()["Outputs"].values() if "Export" in output}
        imported = set(re.findall(r'ImportValue: !Sub "\$\{Platform\}(-\w+)"', deployment.text("bridge.yaml")))
        self.assertEqual({f"${{AWS::StackName}}{name}" for name in imported}, exported)
        for page in re.findall(r"Runbook: (\S+\.md)", deployment.text("bridge.yaml")):
            self.assertTrue((ROOT / page).exists(), page)
        for command in (deployment.text("samconfig.toml"), deployment.text("README.md")):
            self.assertIn('--parameter-overrides "Platform=skein-dev Name=acme"', command)

    def test_pages_are_listed_where_somebody_looks_for_them(self):
        listed = deployment.text("docs/runbooks/README.md")
        for page in sorted((ROOT / "docs/runbooks").glob("*.md")):
            if page.stem != "README":
                self.assertIn(f"({page.name})", listed)


if __name__ == "__main__":
    unittest.main()
