"""A program's story for the tests of reports: two runs, an import, decisions, duties.

It crosses the threshold of a base model with systemic risk. Times are a quarter of an
hour apart.
"""

from dataclasses import replace

from flopguard_operator.ledger.entries import (
    AttemptOpened,
    Crossing,
    DecisionRecorded,
    Entry,
    Event,
    GapCharged,
    HoldReleased,
    HoldSet,
    Imported,
    ProgramAdjusted,
    ProgramSet,
    RunRef,
    Settlement,
    TermsSet,
)
from flopguard_operator.policy.rules import governing
from flopguard_operator.policy.terms import (
    DEFAULT_POLICY,
    Approach,
    BaseModel,
    Budget,
    Terms,
)
from flopguard_operator.rulebooks import shipped_laws
from unit.story import RUN, opened, settled, terms_set

DAY = "2026-11-22"
LAW = shipped_laws()[DEFAULT_POLICY]
PROGRAM = RunRef("5d1f6f0e-0000-4000-8000-0000000000aa", "", "support-bot")
SECOND = RunRef("5d1f6f0e-0000-4000-8000-000000000002", "ml", "support-dpo")
BASE = BaseModel("example/base-405b", 38 * 10**24, "model card", systemic_risk=True)
TERMS = Terms(
    base=BASE,
    budget=Budget(max_flops=5 * 10**24),
    approach=Approach(hold_at_percent=90),
)
LIMIT = governing(BASE, LAW.rules, DAY)
DEVICES = "64 x NVIDIA H100 80GB HBM3"
IMPORT = Imported(
    run=PROGRAM,
    name="2025-pilot",
    method="GpuHours",
    low=10**23,
    flops=2 * 10**23,
    high=3 * 10**23,
    period="2025-03-01/2025-03-04",
    evidence="ab" * 32,
    decision="",
    reason="a pilot before there was a meter",
    by="eva@example.org",
)


def program_set() -> ProgramSet:
    """Return the entry with which the program begins."""
    return ProgramSet(
        run=PROGRAM,
        generation=1,
        terms=TERMS,
        limit=str(LIMIT.limit),
        rule=LIMIT.rule,
        citation=LIMIT.citation,
        compliance="eva@example.org",
        model="max@example.org",
        product="",
        rollback_plan="back to checkpoint-3",
        require_owners=False,
        policy_digest=LAW.note.digest,
        day=DAY,
    )


def joined(run: RunRef) -> TermsSet:
    """Return the entry with which a run of the program begins."""
    return replace(
        terms_set(replace(TERMS, budget=None), run=run),
        limit=str(LIMIT.limit),
        rule=LIMIT.rule,
        citation=LIMIT.citation,
        policy_digest=LAW.note.digest,
        day=DAY,
    )


def pod(stream: str, name: str, run: RunRef) -> AttemptOpened:
    """Return the entry of a pod with accelerators."""
    return replace(opened(stream, name, "Started", run=run), devices=DEVICES)


def mark(stream: str, flops: int, run: RunRef) -> Settlement:
    """Return a mark of a run, of which all is proven."""
    return replace(settled(stream, flops, flops), run=run)


def decided(name: str, kind: str, to_flops: int = 0, target: str = "") -> Event:
    """Return a decision of the program's owner."""
    return DecisionRecorded(
        run=PROGRAM,
        decision=f"uid-{name}",
        name=name,
        kind=kind,
        to_flops=to_flops,
        target=target,
        reason="Counsel agrees.",
        evidence=f"https://example.org/{name}",
        expires="",
        decided_by="eva@example.org",
    )


def events() -> list[Event]:
    """Return what happened, in order."""
    second = [mark("s2", n * 3 * 10**23, SECOND) for n in range(1, 9)]
    told = "used 3.6e24 of 3.3e24 FLOPs"
    gap = GapCharged(
        SECOND, "s2", "dpo-1", "Grown", "Silent", 2 * 10**22, 1, DEVICES, 120_000
    )
    moved = ProgramAdjusted(
        PROGRAM, RUN.uid, "Excluded", {"forward": 10**22}, 10**22, 0, "uid-out"
    )
    return [
        LAW.note,
        program_set(),
        joined(RUN),
        pod("s1", "sft-1", RUN),
        IMPORT,
        mark("s1", 4 * 10**23, RUN),
        mark("s1", 9 * 10**23, RUN),
        joined(SECOND),
        pod("s2", "dpo-1", SECOND),
        *second,
        Crossing(
            PROGRAM,
            "Warn",
            "ThresholdExceeded",
            100,
            str(LIMIT.limit),
            33 * 10**23,
            36 * 10**23,
            told,
        ),
        HoldSet(SECOND, "batch/v1/Job/dpo", "u", "ProgramThresholdApproached", False),  # noqa: FBT003 - its order is the ledger's
        decided("proceed", "Proceed", 42 * 10**23),
        decided("annex-xi", "Fulfil", target="technical-documentation"),
        HoldReleased(SECOND, "u", "a decision to proceed"),
        gap,
        moved,
    ]


def program_story() -> tuple[Entry, ...]:
    """Return the entries of the program and its runs."""
    return tuple(
        Entry(n, f"{DAY}T{n // 4:02d}:{n % 4 * 15:02d}:00.000Z", event)
        for n, event in enumerate(events())
    )
