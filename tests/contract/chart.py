"""The chart through the real helm: rendered, installed, upgraded."""

import subprocess
from pathlib import Path
from typing import Any

import yaml

from cluster import tools

CHART = Path(__file__).resolve().parents[2] / "charts" / "flopguard"
HELM_SECONDS = 120.0


class HelmError(Exception):
    """helm refused; the message is what the user reads."""


def helm(*arguments: str, kubeconfig: Path | None = None) -> str:
    """Run helm to its end and return its standard output."""
    tools.ensure(["helm"])
    options = [f"--kubeconfig={kubeconfig}"] if kubeconfig else []
    done = subprocess.run(
        [str(tools.path_of("helm")), *arguments, *options],
        capture_output=True,
        text=True,
        check=False,
        timeout=HELM_SECONDS,
    )
    if done.returncode != 0:
        raise HelmError(done.stderr)
    return done.stdout


def render(*settings: str, namespace: str = "flopguard") -> list[dict[str, Any]]:
    """Return the chart's objects; a setting reads like "webhook.replicas=1"."""
    chosen = [f"--set={setting}" for setting in settings]
    text = helm("template", "flopguard", str(CHART), "-n", namespace, *chosen)
    return [document for document in yaml.safe_load_all(text) if document]


def one(objects: list[dict[str, Any]], kind: str, name: str) -> dict[str, Any]:
    """Return the one object of this kind and name."""
    found = [o for o in objects if (o["kind"], o["metadata"]["name"]) == (kind, name)]
    assert len(found) == 1, f"{kind} {name}: {len(found)} in the chart"
    return found[0]
