"""Write the generated files (`make crds`): CRDs, docs, and the rule sets as JSON."""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from flopguard_operator.api import rulesets
from flopguard_operator.api.reference import markdown
from flopguard_operator.api.resources import RESOURCES, crd
from flopguard_operator.api.rulesetfile import RuleSetFile
from flopguard_operator.policy.canonical import to_json

HEADER = (
    "# Generated from operator/flopguard_operator/api by `make crds`: do not edit.\n"
)
CHART_COPY = "charts/flopguard/templates/crds.yaml"
REFERENCE = "docs/api.md"
POLICY_SCHEMA = "docs/policies.schema.json"
POLICIES = "operator/flopguard_operator/policy/shipped"
_JSON_SCHEMA = "https://json-schema.org/draft/2020-12/schema"


def files() -> dict[str, str]:
    """Return the content of every generated file, by its path in the repository."""
    made = {f"crds/{r.plural}.yaml": HEADER + _dump(crd(r)) for r in RESOURCES}
    kept = "---\n".join(_dump(_kept(crd(r))) for r in RESOURCES)
    chart = f"{HEADER}{{{{- if .Values.crds.install }}}}\n{kept}{{{{- end }}}}\n"
    return {
        **made,
        CHART_COPY: chart,
        REFERENCE: markdown(RESOURCES),
        POLICY_SCHEMA: _policy_schema(),
        **{
            f"{POLICIES}/{name}.json": f"{to_json(rules)}\n"
            for name, rules in rulesets.sources().items()
        },
    }


def _policy_schema() -> str:
    """Return the JSON Schema of a rule set in YAML."""
    schema = RuleSetFile.model_json_schema(by_alias=True)
    return json.dumps({"$schema": _JSON_SCHEMA, **schema}, indent=2) + "\n"


def _dump(manifest: Mapping[str, Any]) -> str:
    return yaml.safe_dump(manifest, sort_keys=False, width=100)


def _kept(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Return the CRD with the mark that keeps it, and all runs, at `helm uninstall`."""
    notes = {"annotations": {"helm.sh/resource-policy": "keep"}}
    return {**manifest, "metadata": {**manifest["metadata"], **notes}}


def stale(root: Path) -> list[str]:
    """Return the generated files below `root` that are not what `files` says."""
    return [
        name
        for name, text in files().items()
        if not (root / name).is_file() or (root / name).read_text() != text
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the generated files, or with --check say which are stale (exit code 1)."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("root", type=Path, help="the repository's root")
    parser.add_argument("--check", action="store_true", help="write nothing")
    options = parser.parse_args(arguments)
    old = stale(options.root)
    if options.check:
        for name in old:
            sys.stderr.write(f"{name} is stale; run: make crds\n")
        return 1 if old else 0
    made = files()
    for name in old:
        path = options.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(made[name])
        sys.stdout.write(f"wrote {name}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
