"""A copy of the template for `sam local`: built binaries in place of a build, and settings for a cloud on this machine.

    local_template.py TEMPLATE BOOTSTRAPS OUTPUT [NAME=VALUE ...]

BOOTSTRAPS holds a folder per function, named like its binary, with the file `bootstrap` in it. Each NAME=VALUE is set in
every function's environment (`sam local invoke --env-vars` drops what the template does not declare). Values that
only a deployment knows, names of resources among them, become the logical id, as the SAM CLI would make them, and
the secret becomes text that is no secret. Needs the Python environment of the SAM CLI.
"""

import json
import sys
from pathlib import Path

import sam_template


def localise(template, bootstraps, settings):
    """Points every function at its bootstrap and adds the settings."""
    shared = template["Globals"]["Function"]
    shared.pop("CodeUri", None)
    for name, function in sam_template.functions(template).items():
        folder = bootstraps / function.pop("Metadata")["BuildProperties"]["Binary"]
        if not (folder / "bootstrap").is_file():
            sys.exit(f"{name}: {folder / 'bootstrap'} is missing")
        function["Properties"]["CodeUri"] = str(folder)
    scopes = [shared, *(function["Properties"] for function in sam_template.functions(template).values())]
    for scope in scopes:
        variables = scope.get("Environment", {}).get("Variables", {})
        for key, value in variables.items():
            if "{{resolve:" in json.dumps(value):
                variables[key] = "local-and-no-secret-0123456789abcdef"
            # What a function has of its own stands before what all have.
            variables[key] = settings.get(key, variables[key])
    shared["Environment"]["Variables"].update(settings)
    return template


def main(source, bootstraps, target, *settings):
    template = localise(
        sam_template.read(source),
        Path(bootstraps).resolve(),
        dict(setting.split("=", 1) for setting in settings),
    )
    Path(target).write_text(json.dumps(template, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    if len(sys.argv) < 4:
        sys.exit(__doc__)
    main(*sys.argv[1:])
