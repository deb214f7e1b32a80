"""Hold what a report says, before any word or colour is chosen."""

from dataclasses import dataclass, field
from fractions import Fraction

from flopguard_operator.flops import percent
from flopguard_operator.forecast.outlook import Reach, Total
from flopguard_operator.ledger.accounts import Account
from flopguard_operator.ledger.entries import AttemptOpened, DecisionRecorded, RunRef
from flopguard_operator.ledger.weights import WayBack
from flopguard_operator.marks import Mark
from flopguard_operator.policy.evaluation import PolicyVerdict
from flopguard_operator.policy.rules import Governing
from flopguard_operator.policy.rulesets import RuleSet
from flopguard_operator.policy.terms import Terms, Totals
from flopguard_operator.policy.verdict import Verdict
from flopguard_operator.report.energy import NO_ENERGY, Energy
from flopguard_operator.report.opinion import Opinion
from flopguard_operator.report.timeline import Moment
from flopguard_operator.report.usage import NO_USAGE, Usage


@dataclass(frozen=True)
class CheckFact:
    """One check of the ledger: its name, "ok", "mismatch" or "incomplete", and why."""

    name: str
    outcome: str
    sentence: str


@dataclass(frozen=True)
class LedgerFacts:
    """Which ledger the report was made from, and whether it verifies."""

    size: int
    """Number of entries."""
    root: str
    """Root hash of the tree, as in the signed head."""
    key: str
    """Public key that the head is signed with."""
    outcome: str
    """"ok", "mismatch", "incomplete"; the worst of the checks."""
    checks: tuple[CheckFact, ...] = ()


@dataclass(frozen=True)
class AttemptFacts:
    """One stream of a run: one pod, what started it and what it counted."""

    opened: AttemptOpened
    at: str
    mark: Mark
    gap: int = 0
    """FLOPs that its silence is charged."""

    @property
    def upper(self) -> int:
        """FLOPs that it may have executed."""
        return self.mark.upper + self.gap


@dataclass(frozen=True)
class DecisionFacts:
    """A person's decision, when it was entered, and whether it has ended."""

    at: str
    event: DecisionRecorded
    expired: bool


@dataclass(frozen=True)
class Point:
    """A total right after one entry, in FLOPs."""

    at: str
    measured: int
    upper: int


@dataclass(frozen=True)
class SubjectFacts:
    """What the ledger says of one run, or of one program."""

    account: Account
    totals: Totals
    opinion: Opinion
    """What policies say of the totals."""
    timeline: tuple[Moment, ...]
    points: tuple[Point, ...]
    last_at: str
    """Time of its last entry: the report knows nothing later."""
    coverage: tuple[int, int] = (0, 0)
    """Device-milliseconds of its streams: proven, and allocated."""
    usage: Usage = NO_USAGE
    """For how long, and on what, it ran."""
    energy: Energy = NO_ENERGY
    """What its devices drew, as far as it was measured."""
    reaches: tuple[Reach, ...] = ()
    """When lines will be reached, the nearest first; empty once it is over or held."""
    expected: Total | None = None
    """Of a program: what its runs that are planned or go on will have cost."""
    met_at: str = ""
    """When the threshold that governs was crossed first, RFC 3339; "" for never."""
    decisions: tuple[DecisionFacts, ...] = ()
    program: Account | None = None
    """The program itself, or that which a run belongs to."""

    @property
    def name(self) -> str:
        """Its name; that of a run with its namespace."""
        ref = self.account.ref
        return f"{ref.namespace}/{ref.name}" if ref.namespace else ref.name

    @property
    def terms(self) -> Terms | None:
        """What it is judged by."""
        return self.opinion.terms

    @property
    def threshold(self) -> Governing | None:
        """The threshold; None where it cannot be judged."""
        return self.opinion.threshold

    @property
    def budget(self) -> int | Fraction | None:
        """FLOPs, exact; None where there is none."""
        return self.opinion.budget

    @property
    def verdicts(self) -> tuple[Verdict, ...]:
        """The lines that are reached."""
        return self.opinion.verdicts

    @property
    def problem(self) -> str:
        """Why it cannot be judged; empty where it can."""
        return self.opinion.problem

    @property
    def policies(self) -> tuple[PolicyVerdict, ...]:
        """The verdict of each rule set; that which governs is the first."""
        return self.opinion.policies

    @property
    def laws(self) -> tuple[RuleSet, ...]:
        """The rule sets of these verdicts, in their order."""
        return self.opinion.laws


@dataclass(frozen=True)
class RunFacts(SubjectFacts):
    """What the ledger says of one run."""

    attempts: tuple[AttemptFacts, ...] = ()
    rollbacks: tuple[WayBack, ...] = ()
    """The last saved weights below each line; empty before one is near."""

    @property
    def run(self) -> RunRef:
        """Which FineTuneRun this is."""
        return self.account.ref


@dataclass(frozen=True)
class ProgramFacts(SubjectFacts):
    """What the ledger says of one program, over all of its runs."""

    runs: tuple[RunFacts, ...] = ()
    """By the time of their last entry."""


@dataclass(frozen=True)
class ReportFacts:
    """Everything a report is written from."""

    runs: tuple[RunFacts, ...]
    ledger: LedgerFacts
    programs: tuple[ProgramFacts, ...] = field(default=())


def share(flops: int, limit: int | Fraction | None) -> str:
    """Return `flops` in percent of `limit`, with unit; a dash where there is none."""
    return f"{percent(flops, limit)} %" if limit else "-"
