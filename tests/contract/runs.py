"""A FineTuneRun on the real API server, with a spec and a status of a test's choice."""

import json
from dataclasses import dataclass
from typing import Any

from cluster.kubectl import Kubectl

NAME = "sft"
WORKLOAD = {"apiVersion": "batch/v1", "kind": "Job", "name": "train"}
HOLD = {
    "workload": "batch/v1/Job/train",
    "reason": "BudgetExceeded",
    "since": "2026-11-22T00:00:00Z",
    "message": "the budget is spent.",
}
HELD = {"holds": [HOLD]}


@dataclass(frozen=True)
class Run:
    """The run `sft` of one namespace."""

    kubectl: Kubectl

    def make(self, spec: dict[str, Any], status: dict[str, Any] | None = None) -> None:
        """Apply it, for Job train, and write its status as the operator does."""
        self.kubectl.apply(
            {
                "apiVersion": "flopguard.dev/v1alpha1",
                "kind": "FineTuneRun",
                "metadata": {"name": NAME},
                "spec": {"workload": WORKLOAD, **spec},
            }
        )
        if status is not None:
            self._patch({"status": status}, "--subresource=status")

    def change(self, spec: dict[str, Any]) -> str:
        """Change fields of its spec, as `kubectl edit` does."""
        return self._patch({"spec": spec})

    def change_object(self, patch: dict[str, Any]) -> str:
        """Change anything, without naming a subresource."""
        return self._patch(patch)

    def _patch(self, patch: dict[str, Any], *options: str) -> str:
        how = ("--type=merge", "-p", json.dumps(patch), *options)
        return self.kubectl.run("patch", "ftr", NAME, *how)
