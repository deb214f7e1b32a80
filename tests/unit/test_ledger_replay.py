"""The operator and the verifier agree: whatever `plan` writes, the replay accepts."""

import io
from dataclasses import dataclass, field, replace
from fractions import Fraction

from hypothesis import given, settings
from hypothesis import strategies as st

from flopguard_operator.ledger.accounts import Account, apply, totals
from flopguard_operator.ledger.entries import Event, HoldSet
from flopguard_operator.ledger.export import lines_of
from flopguard_operator.ledger.keys import check_signature
from flopguard_operator.ledger.policies import Noted, law
from flopguard_operator.ledger.verify import verify_lines
from flopguard_operator.marks import Mark, merge
from flopguard_operator.observed import Job, Pod
from flopguard_operator.policy.rules import governing
from flopguard_operator.policy.rulesets import Line, Rule, RuleSet
from flopguard_operator.policy.terms import (
    DEFAULT_POLICY,
    Approach,
    BaseModel,
    Budget,
    Terms,
)
from flopguard_operator.rulebooks import shipped_laws
from flopguard_operator.settling import RunView, plan
from vectors.ledger_story import KEY, A, entries, exported
from vectors.ledger_story import Commit as Written

PODS = ("pod-1", "pod-2", "pod-3")


@dataclass(frozen=True)
class Cycle:
    """What one cycle of the operator meets."""

    stream: str
    flops: int  # what the pod has done more since its last mark
    in_flight: int
    final: bool
    budget: int | None
    percent_of_threshold: int | None
    on_breach: str
    pretraining: int | None
    job_uid: str
    pods_gone: bool
    release_because: str
    settle_due: bool
    policy: str = ""  # "" for the built-in one, as in the first ledgers
    recompute: int = 0
    estimate: int | None = None
    systemic: bool = False
    today: str = "2026-11-22"


COMING = RuleSet(
    name="coming",
    version="1",
    title="Another limit from 2027 on",
    rules=(
        Rule("later", "all", "c", "e", limit=Fraction(10), effective="2027-01-01"),
        Rule("now", "all", "c", "e", limit=Fraction(10**22), until="2027-01-01"),
    ),
    counts={"all": ("forward",)},
    lines=(
        Line(
            name="line",
            subject="modification",
            limit=Fraction(10**21),
            basis="all",
            citation="c",
            explanation="e",
            warn_at_percent=(50,),
            effective="2027-02-01",
        ),
    ),
)
LAWS = {**shipped_laws(), "coming": law(COMING)}
cycles = st.builds(
    Cycle,
    stream=st.sampled_from(PODS),
    flops=st.integers(0, 5 * 10**22),
    in_flight=st.integers(0, 10**21),
    final=st.booleans(),
    budget=st.none() | st.integers(1, 10**23),
    percent_of_threshold=st.none() | st.integers(1, 150),
    on_breach=st.sampled_from(["Suspend", "Suspend", "Annotate"]),
    pretraining=st.none() | st.integers(1, 10**24),
    job_uid=st.sampled_from(["job-1", "job-1", "job-2"]),
    pods_gone=st.booleans(),
    release_because=st.sampled_from(["", "", "", "NamespaceTerminating"]),
    settle_due=st.booleans(),
    policy=st.sampled_from(["", *LAWS]),
    recompute=st.integers(0, 5 * 10**22),
    estimate=st.none() | st.integers(1, 10**24),
    systemic=st.booleans(),
    today=st.sampled_from(["2026-11-22", "2027-01-01", "2027-02-01"]),
)


@dataclass
class Run:
    """A run through its cycles, as the operator keeps it in memory."""

    account: Account = field(default_factory=lambda: Account(A))
    marks: dict[str, Mark] = field(default_factory=dict)
    commits: list[Written] = field(default_factory=list)
    seen: list[str] = field(default_factory=list)
    noted: Noted = field(default_factory=Noted)

    def cycle(self, met: Cycle) -> None:
        """Take a mark, plan, and commit what is planned."""
        before = self.marks.get(met.stream, Mark(met.stream))
        forward = before.done.get("forward", 0) + met.flops
        again = before.done.get("recompute", 0) + met.recompute
        done = {"forward": forward, "recompute": again}
        mark = Mark(met.stream, done, forward + again + met.in_flight)
        self.marks[met.stream] = merge(before, replace(mark, final=met.final))
        if met.stream not in self.seen:
            self.seen.append(met.stream)
        seen = replace(view(met, self.seen), noted=self.noted)
        planned = plan(seen, self.account, self.marks, settle_due=met.settle_due)
        for event in planned.events:
            self.account = apply(self.account, event)
        notes = tuple(self.noted.missing(planned.events, LAWS.values()))
        for note in notes:
            assert self.noted.take(note) == ""
        if planned.events:
            events = (*notes, *planned.events)
            self.commits.append(Written(len(self.commits), events))


def view(met: Cycle, streams: list[str]) -> RunView:
    """Return the run as the operator would observe it in this cycle."""
    base = BaseModel(
        "example/base",
        met.pretraining,
        "model card",
        met.systemic,
        met.estimate,
        method="derived_6ND" if met.estimate else "",
    )
    by = LAWS.get(met.policy)
    policy = met.policy or DEFAULT_POLICY
    budget = Budget(met.budget, met.percent_of_threshold, on_breach=met.on_breach)
    spent = met.budget is None and met.percent_of_threshold is None
    job = Job(
        uid=met.job_uid,
        namespace="ml",
        name="support-sft",
        suspended=met.pods_gone,
        finished="",
        active=1,
        run_label="",
        state="",
        reason="",
    )
    return RunView(
        ref=A,
        generation=1,
        program="",
        workload="batch/v1/Job/support-sft",
        terms=Terms(policy, base, None if spent else budget, Approach()),
        governing=governing(base, by.rules if by else policy, met.today),
        law=by,
        today=met.today,
        jobs=(job,),
        pods=tuple(pod(stream, met.job_uid) for stream in streams),
        release_because=met.release_because,
        pods_gone=met.pods_gone,
        held_milliseconds=7,
    )


def pod(stream: str, job_uid: str) -> Pod:
    """Return a pod that has ended, so that later ones continue it."""
    return Pod(
        uid=stream,
        namespace="ml",
        name=stream,
        run_label="support-sft",
        job_name="support-sft",
        job_uid=job_uid,
        ip="",
        created="",
        injected=True,
        ended=True,
        last_words="",
        not_injected="",
        raw={},
    )


@settings(max_examples=150, deadline=None)
@given(st.lists(cycles, max_size=12))
def test_what_the_operator_writes_the_verifier_accepts(met: list[Cycle]) -> None:
    """Warnings, holds, proofs and releases in any order replay without a finding."""
    run = Run()
    for each in met:
        run.cycle(each)
    data = exported(entries(run.commits))
    report = verify_lines(lines_of(io.BytesIO(data)), check_signature)

    assert [check for check in report.checks if check.outcome != "ok"] == []
    assert report.vkey == KEY.verifier.text


def test_the_walk_above_reaches_a_hold() -> None:
    """The cycles of the property can hold a run, or it would prove little."""
    run = Run()
    run.cycle(
        Cycle(
            stream="pod-1",
            flops=9,
            in_flight=1,
            final=False,
            budget=9,
            percent_of_threshold=None,
            on_breach="Suspend",
            pretraining=None,
            job_uid="job-1",
            pods_gone=False,
            release_because="",
            settle_due=False,
        )
    )
    events: list[Event] = [event for each in run.commits for event in each.events]

    assert any(isinstance(event, HoldSet) for event in events)
    assert totals(run.account).upper == 10
