"""Define the three kinds: names, scopes, columns, rules that look at the whole object.

Scopes, names and group can never be changed once somebody has applied them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pydantic.config import JsonDict

from flopguard_operator import naming
from flopguard_operator.api.decision import DecisionSpec, DecisionStatus
from flopguard_operator.api.fields import CEL, ApiModel, rule
from flopguard_operator.api.finetunerun import RunSpec
from flopguard_operator.api.program import ProgramSpec, ProgramStatus
from flopguard_operator.api.runstatus import RunStatus
from flopguard_operator.api.schema import structural

_COUNTED = (
    "has(self.status) && has(self.status.flops) && "
    "((has(self.status.flops.measured) && self.status.flops.measured != '0') || "
    "(has(self.status.flops.upper) && self.status.flops.upper != '0'))"
)
_SHORT_NAME = rule(
    "size(self.metadata.name) <= 63",
    "the name goes into a label, so it may have at most 63 characters",
)


@dataclass(frozen=True)
class Column:
    """One column of `kubectl get`; those of priority 1 are shown by `-o wide` only."""

    name: str
    path: str
    priority: int = 0
    type: str = "string"


@dataclass(frozen=True)
class Resource:
    """Everything about one kind that is not in its spec and status."""

    kind: str
    plural: str
    short: str
    scope: str  # Namespaced | Cluster
    spec: type[ApiModel]
    status: type[ApiModel]
    description: str
    rules: Sequence[JsonDict] = ()
    columns: Sequence[Column] = ()


_AGE = Column("Age", ".metadata.creationTimestamp", type="date")

RUN = Resource(
    kind=naming.RUN_KIND,
    plural=naming.RUN_PLURAL,
    short="ftr",
    scope="Namespaced",
    spec=RunSpec,
    status=RunStatus,
    description="One logical fine-tuning run over all of its attempts: what it may "
    "spend in FLOPs, and what it spent.",
    rules=(
        _SHORT_NAME,
        rule(
            "!has(self.status) || !has(self.status.holds) "
            "|| size(self.status.holds) == 0 "
            "|| self.spec.workload == oldSelf.spec.workload",
            "workload cannot be changed while the run holds it; lift the hold first "
            "(status.holds says how)",
            fieldPath=".spec.workload",
        ),
        rule(
            f"!({_COUNTED}) || !has(oldSelf.spec.baseModel) || "
            "(has(self.spec.baseModel) "
            "&& self.spec.baseModel.name == oldSelf.spec.baseModel.name)",
            "baseModel.name cannot be changed once FLOPs are counted; its figures can. "
            "Make a new FineTuneRun for another base model",
            fieldPath=".spec.baseModel",
        ),
    ),
    columns=(
        Column("Model", ".status.model"),
        Column("Used", ".status.usedDisplay"),
        Column("Limit", ".status.limitDisplay"),
        Column("%", ".status.percentDisplay"),
        Column("ETA", ".status.eta"),
        Column("State", ".status.state"),
        Column("Workload", ".spec.workload.name", priority=1),
        Column("Program", ".spec.program", priority=1),
        Column("Upper", ".status.flops.upper", priority=1),
        Column("Overshoot", ".status.overshoot", priority=1),
        Column("Coverage", ".status.coverage", priority=1),
        _AGE,
    ),
)

PROGRAM = Resource(
    kind=naming.PROGRAM_KIND,
    plural=naming.PROGRAM_PLURAL,
    short="ftp",
    scope="Cluster",
    spec=ProgramSpec,
    status=ProgramStatus,
    description="Everything that is done to one base model: its runs share base model, "
    "policy and budget, across jobs, months and namespaces.",
    rules=(_SHORT_NAME,),
    columns=(
        Column("Model", ".spec.baseModel.name"),
        Column("Used", ".status.usedDisplay"),
        Column("Limit", ".status.limitDisplay"),
        Column("%", ".status.percentOfThreshold"),
        Column("State", ".status.state"),
        _AGE,
    ),
)

DECISION = Resource(
    kind=naming.DECISION_KIND,
    plural=naming.DECISION_PLURAL,
    short="ftd",
    scope="Cluster",
    spec=DecisionSpec,
    status=DecisionStatus,
    description="A person's recorded decision on a program or run; never edited.",
    rules=(_SHORT_NAME,),
    columns=(
        Column("Decision", ".spec.decision"),
        Column("Subject", ".spec.subject.name"),
        Column("By", ".spec.decidedBy"),
        Column("Expires", ".spec.expires"),
        Column("Reason", ".spec.reason", priority=1),
        _AGE,
    ),
)

RESOURCES = (RUN, PROGRAM, DECISION)


def crd(resource: Resource) -> dict[str, Any]:
    """Return the CustomResourceDefinition of one kind."""
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{resource.plural}.{naming.GROUP}"},
        "spec": {
            "group": naming.GROUP,
            "scope": resource.scope,
            "names": {
                "kind": resource.kind,
                "listKind": f"{resource.kind}List",
                "plural": resource.plural,
                "singular": resource.kind.lower(),
                "shortNames": [resource.short],
                "categories": ["finetune"],
            },
            "versions": [
                {
                    "name": naming.VERSION,
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}},
                    "additionalPrinterColumns": [_column(c) for c in resource.columns],
                    "schema": {"openAPIV3Schema": _root(resource)},
                }
            ],
        },
    }


def _root(resource: Resource) -> dict[str, Any]:
    """Return the schema of the whole object."""
    return {
        "type": "object",
        "description": resource.description,
        "required": ["spec"],
        CEL: list(resource.rules),
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object"},
            "spec": structural(resource.spec),
            "status": structural(resource.status, defaults=False),
        },
    }


def _column(column: Column) -> dict[str, Any]:
    """Return one printer column."""
    shown = {"name": column.name, "type": column.type, "jsonPath": column.path}
    return shown | ({"priority": column.priority} if column.priority else {})
