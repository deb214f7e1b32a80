"""Write the generated files: crds/ and the chart's copy of them (`make crds`)."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import yaml

from flopguard_operator.api.resources import RESOURCES, crd

HEADER = (
    "# Generated from operator/flopguard_operator/api by `make crds`: do not edit.\n"
)


def files() -> dict[str, str]:
    """Return the content of every generated file, by its path in the repository."""
    texts = {
        resource.plural: yaml.safe_dump(crd(resource), sort_keys=False, width=100)
        for resource in RESOURCES
    }
    made = {f"crds/{name}.yaml": HEADER + text for name, text in texts.items()}
    made["charts/flopguard/templates/crds.yaml"] = (
        HEADER
        + "{{- if .Values.crds.install }}\n"
        + "---\n".join(texts.values())
        + "{{- end }}\n"
    )
    return made


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
