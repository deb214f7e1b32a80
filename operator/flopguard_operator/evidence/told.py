"""Tell people and programs what a verification found."""

import json
from typing import Any

from flopguard_operator.ledger.findings import INCOMPLETE, MISMATCH, OK, Report

PACK_OUTCOMES = {
    OK: "The pack verifies.",
    MISMATCH: "The pack does NOT verify: something in it does not hold.",
    INCOMPLETE: "The pack could not be verified as a whole.",
}


def as_json(checked: Report) -> dict[str, Any]:
    """Return a report as it is printed for programs."""
    return {
        "schema": 1,
        "outcome": checked.outcome,
        "size": checked.size,
        "root": checked.root,
        "vkey": checked.vkey,
        "checks": [
            {"name": check.name, "outcome": check.outcome, "sentence": check.message}
            for check in checked.checks
        ],
    }


def as_lines(checked: Report) -> list[str]:
    """Return a report as lines of printable ASCII, whatever the pack holds."""
    lines = [
        f"{check.outcome:<10}  {check.name:<13}  {check.message}"
        for check in checked.checks
    ]
    lines += [f"{checked.size} entries, root hash {checked.root}"]
    lines += [PACK_OUTCOMES[checked.outcome]]
    return [ascii(line)[1:-1].replace("\\'", "'") for line in lines]


def dumped(checked: Report) -> str:
    """Return the report as JSON text."""
    return json.dumps(as_json(checked), indent=2)
