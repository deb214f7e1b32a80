"""Name the files of a pack, and derive those that repeat what the entries say.

A derived file is made of the entries alone, so a verifier makes it again and compares
digests: what a person reads in it is what the signed tree holds.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from flopguard_operator.ledger.entries import (
    AttemptOpened,
    Crossing,
    DecisionExpired,
    DecisionRecorded,
    DocumentNoted,
    EnergyNoted,
    Entry,
    FactChanged,
    FactsNoted,
    ForecastNoted,
    GapCharged,
    HoldProven,
    HoldReleased,
    HoldSet,
    Imported,
    KeyRotated,
    LedgerRecovered,
    PolicyNoted,
    ProgramAdjusted,
    ProgramSet,
    RetentionSet,
    TermsSet,
    WeightsSaved,
)
from flopguard_operator.ledger.export import dumped
from flopguard_operator.policy.canonical import to_json
from flopguard_operator.policy.rules import BUILT_IN

MANIFEST = "manifest.json"
VERIFY = "VERIFY.md"
VERIFIER = "verify.pyz"
AUDIT = "audit/audit.jsonl"
LEAVES = "ledger/leaves.jsonl"
PROOFS = "ledger/proofs.txt"
HEAD = "ledger/head.txt"
VKEY = "ledger/vkey.txt"
HEADS = "ledger/heads.jsonl"
CENSUS = "ledger/runs.txt"
POLICY = "policies.json"
BASES = "base-models.jsonl"

# Derived: each holds the entries of some kinds, as their exact bytes, a line each.
KINDS: Mapping[str, tuple[type, ...]] = MappingProxyType(
    {
        "decisions.jsonl": (
            *(RetentionSet, LedgerRecovered, KeyRotated),
            *(DecisionRecorded, DecisionExpired, ProgramAdjusted, Imported),
        ),
        "facts.jsonl": (
            *(AttemptOpened, FactsNoted, FactChanged, WeightsSaved, EnergyNoted),
        ),
        "gaps.jsonl": (GapCharged,),
        "history.jsonl": (DocumentNoted,),
        "terms.jsonl": (PolicyNoted, TermsSet, ProgramSet),
        "verdicts.jsonl": (
            *(Crossing, HoldSet, HoldProven, HoldReleased, ForecastNoted),
        ),
    }
)
DERIVED = (BASES, *KINDS)
ALWAYS = (VERIFY, LEAVES, PROOFS, HEAD, VKEY, HEADS, POLICY, VERIFIER, *DERIVED)
NOT_IN_LEDGER = (AUDIT, VERIFY, VERIFIER)
"""What no entry speaks of: only the manifest says what these files held."""

_DOCUMENT = re.compile(r"documents/([0-9a-f]{64})\.json", re.ASCII)


def document(digest: str) -> str:
    """Return the name of the file that holds a document."""
    return f"documents/{digest}.json"


def digest_of(name: str) -> str:
    """Return the digest that a document is named after; "" if it is no document."""
    found = _DOCUMENT.fullmatch(name)
    return found[1] if found else ""


def is_known(name: str) -> bool:
    """Tell whether a pack may hold a file of this name."""
    optional = (MANIFEST, AUDIT, CENSUS)
    return name in ALWAYS or name in optional or digest_of(name) != ""


@dataclass
class Derived:
    """Makes the derived files line by line, and the digests of what it made."""

    _hashes: dict[str, Any] = field(
        default_factory=lambda: {name: hashlib.sha256() for name in DERIVED}
    )
    _bases: dict[str, bytes] = field(default_factory=dict)  # run UID → its last line

    def take(self, entry: Entry, data: bytes) -> Iterator[tuple[str, bytes]]:
        """Yield (file, line) for each line that an entry adds; `data` is its leaf."""
        lines = [
            (name, data + b"\n")
            for name, kinds in KINDS.items()
            if isinstance(entry.event, kinds)
        ]
        if isinstance(entry.event, TermsSet):
            lines += self._base(entry.event)
        for name, line in lines:
            self._hashes[name].update(line)
            yield name, line

    def _base(self, event: TermsSet) -> Iterator[tuple[str, bytes]]:
        """Yield what is newly known of the base model, and who says so."""
        base = event.terms.base
        flops, low, high = base.pretraining_flops, base.estimate_low, base.estimate_high
        known: dict[str, Any] = {
            "run": event.run.uid,
            "model": base.name,
            "pretrainingFlops": None if flops is None else str(flops),
            "source": base.source,
            "systemicRisk": base.systemic_risk,
        }
        if low is not None:
            known["estimate"] = {
                "low": str(low),
                "high": None if high is None else str(high),
                "method": base.method,
            }
        line = dumped(known)
        if self._bases.get(event.run.uid) != line:
            self._bases[event.run.uid] = line
            yield BASES, line

    def digests(self) -> dict[str, str]:
        """Return SHA-256 of each derived file, hexadecimal."""
        return {name: found.hexdigest() for name, found in self._hashes.items()}


def policies() -> bytes:
    """Return the rule sets that verdicts are replayed with if the ledger notes none."""
    rules = {name: json.loads(to_json(each)) for name, each in BUILT_IN.items()}
    return dumped({"policies": rules})
