"""The inventory on a real API server: what its controllers make of a Job is listed."""

import json
import time
from typing import Any

import pytest
from click.testing import CliRunner

from cluster.kubectl import Kubectl
from contract.runs import Run
from flopguard_operator.cli import main

pytestmark = pytest.mark.apiserver

SECONDS = 30.0


def listed(namespace: Kubectl) -> list[dict[str, Any]]:
    """Return what the inventory says of a namespace."""
    command = ["inventory", "--json", "--kubeconfig", str(namespace.kubeconfig)]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 0, result.output
    rows = json.loads(result.output)["workloads"]
    return [row for row in rows if row["namespace"] == namespace.namespace]


def test_a_job_with_accelerators_is_listed_with_its_run(namespace: Kubectl) -> None:
    """By the client, page by page, with the pods that the Job controller makes."""
    container = {
        "name": "main",
        "image": "example.invalid/none",
        "resources": {"limits": {"nvidia.com/gpu": "4"}},
    }
    Run(namespace).make({"baseModel": {"name": "tiiuae/falcon-180B"}})
    namespace.apply(
        {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {"name": "train"},
            "spec": {
                "parallelism": 2,
                "completions": 2,
                "template": {
                    "spec": {"restartPolicy": "Never", "containers": [container]}
                },
            },
        }
    )
    deadline = time.monotonic() + SECONDS
    while not (rows := listed(namespace)) or rows[0]["pods"] < 2:
        assert time.monotonic() < deadline, f"{SECONDS} s without two pods: {rows}"
        time.sleep(0.5)
    (row,) = rows

    assert (row["kind"], row["name"], row["run"]) == ("Job", "train", "sft")
    assert (row["accelerators"], row["resource"]) == (8, "nvidia.com/gpu")
    assert (row["figure"], row["metered"]) == ("disclosed", "no")
