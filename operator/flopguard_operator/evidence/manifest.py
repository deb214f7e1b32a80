"""Compose a pack's manifest: what it is about, what was spent, what is in it.

The shape is that of an in-toto Statement (in-toto.io/Statement/v1): subjects with their
digests, and a predicate. A verifier composes it again from what it found.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from flopguard_operator.evidence.archive import PackError
from flopguard_operator.evidence.layout import NOT_IN_LEDGER
from flopguard_operator.ledger.accounts import Account, totals
from flopguard_operator.ledger.export import dumped
from flopguard_operator.ledger.note import Head
from flopguard_operator.naming import GROUP

STATEMENT = "https://in-toto.io/Statement/v1"
PREDICATE = f"https://{GROUP}/evidence/v1"


@dataclass(frozen=True)
class About:
    """What a pack is about: a program, or single runs."""

    kind: str  # program | runs
    name: str  # of the program; of the runs, as they were asked for


@dataclass(frozen=True)
class Statement:
    """What a manifest says besides the digests."""

    about: About
    version: str  # of flopguard, which made the pack
    head: Head
    vkey: str
    entries: int
    accounts: tuple[Account, ...]


@dataclass(frozen=True)
class Told:
    """What a manifest says, read but not verified."""

    about: About
    version: str
    digests: Mapping[str, str]  # file → SHA-256, hexadecimal


def compose(said: Statement, digests: Mapping[str, str]) -> bytes:
    """Return the manifest of a pack with these files."""
    runs = sorted(said.accounts, key=lambda account: account.ref.uid)
    return dumped(
        {
            "_type": STATEMENT,
            "predicateType": PREDICATE,
            "subject": [
                {"name": name, "digest": {"sha256": digest}}
                for name, digest in sorted(digests.items())
            ],
            "predicate": {
                "about": {"kind": said.about.kind, "name": said.about.name},
                "entries": said.entries,
                "flopguard": said.version,
                "head": {
                    "origin": said.head.origin,
                    "size": said.head.size,
                    "root": said.head.root_base64,
                },
                "notInLedger": sorted(set(digests) & set(NOT_IN_LEDGER)),
                "runs": [_run(account) for account in runs],
                "totals": _sums(runs),
                "vkey": said.vkey,
            },
        }
    )


def parse(data: bytes) -> Told:
    """Return what a manifest says of itself and of the files.

    Raises:
        PackError: it has another shape.
    """
    try:
        document = json.loads(data)
        predicate, subjects = document["predicate"], document["subject"]
        about = About(predicate["about"]["kind"], predicate["about"]["name"])
        version = predicate["flopguard"]
        digests = {each["name"]: each["digest"]["sha256"] for each in subjects}
    except (ValueError, RecursionError, KeyError, TypeError, LookupError) as error:
        message = "the manifest has not the shape of one"
        raise PackError(message) from error
    texts = (about.kind, about.name, version, *digests, *digests.values())
    if not all(isinstance(text, str) for text in texts):
        message = "the manifest holds something else where texts belong"
        raise PackError(message)
    return Told(about, version, digests)


def _run(account: Account) -> dict[str, Any]:
    spent = totals(account)
    return {
        "uid": account.ref.uid,
        "namespace": account.ref.namespace,
        "name": account.ref.name,
        "entries": account.entries,
        "flops": {
            "measured": str(spent.measured),
            "upper": str(spent.upper),
            "gaps": str(spent.gaps),
            "byCategory": {name: str(each) for name, each in spent.done.items()},
        },
        "held": account.hold is not None,
        "terms": _terms(account),
    }


def _terms(account: Account) -> dict[str, Any] | None:
    """Return what a run is judged by; None before it was judged."""
    known = account.terms_set
    if known is None:
        return None
    budget = known.terms.budget
    flops = budget.max_flops if budget else None
    return {
        "program": known.program,
        "workload": known.workload,
        "policy": known.terms.policy,
        "limit": known.limit,
        "rule": known.rule,
        "citation": known.citation,
        "budget": None if flops is None else str(flops),
        "budgetPercentOfThreshold": budget.percent_of_threshold if budget else None,
    }


def _sums(runs: Iterable[Account]) -> dict[str, str]:
    spent = [totals(account) for account in runs]
    return {
        "measured": str(sum(each.measured for each in spent)),
        "upper": str(sum(each.upper for each in spent)),
    }
