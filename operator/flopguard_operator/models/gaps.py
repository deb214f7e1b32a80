"""Say what a disclosure is worth where a base model's figure is not known. Pure.

For procurement. Of every program (and run without one) in a ledger whose base model's
pre-training FLOPs nobody disclosed: what governs now, what is spent, and what would
govern if the provider disclosed a given figure.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from flopguard_operator.flops import LARGEST
from flopguard_operator.ledger.accounts import Account, totals
from flopguard_operator.models.basis import look_up
from flopguard_operator.models.catalogue import Catalogue
from flopguard_operator.policy.rules import counted, governing
from flopguard_operator.policy.rulesets import PolicyError, RuleSet
from flopguard_operator.policy.terms import BaseModel, Totals

Limit = int | Fraction
DECADES = (10**23, 10**24, 10**25)
"""The figures that are tried where nothing at all is known of a base model."""


@dataclass(frozen=True)
class Policies:
    """Which rule sets are asked, and for which day."""

    rule_sets: tuple[RuleSet, ...]
    day: str = ""
    """ISO 8601; "" for any."""


@dataclass(frozen=True)
class Ruling:
    """What one policy makes of a base model and a count."""

    limit: Limit
    """FLOPs, exact."""
    counted: int
    """FLOPs of the modification on the policy's own basis, their upper bound."""

    @property
    def room(self) -> Limit:
        """What is left below the limit, in FLOPs; negative above it."""
        return self.limit - self.counted


@dataclass(frozen=True)
class Prospect:
    """What one policy says now, and what it would say after a disclosure."""

    policy: str
    now: Ruling
    after: Mapping[int, Ruling]
    """By the figure that is disclosed, in FLOPs."""
    helps_from: int | None
    """The least disclosed figure that raises the limit; None if no figure does."""


@dataclass(frozen=True)
class Gap:
    """A program, or a run without one, whose base figure is not disclosed."""

    program: str
    """ "" for a run that belongs to no program."""
    runs: tuple[str, ...]  # "namespace/name"
    base: BaseModel
    policy: str
    """The one that governs it."""
    totals: Totals
    prospects: tuple[Prospect, ...]

    @property
    def title(self) -> str:
        """The program's name, or the run's."""
        return self.program or self.runs[0]


def find(
    accounts: Iterable[Account],
    catalogue: Catalogue,
    policies: Policies,
    disclosures: Sequence[int] = (),
) -> list[Gap]:
    """Return the gaps of a ledger, by program, the most used first.

    Args:
        accounts: the fold of the ledger.
        catalogue: where the bases of old entries are looked up, as they are now.
        policies: which to ask, and for which day.
        disclosures: figures to try, in FLOPs; chosen for each base when empty.
    """
    groups: dict[tuple[str, str, str], list[Account]] = {}
    for account in accounts:
        if account.terms_set is not None:
            program = account.terms_set.program
            alone = "" if program else account.ref.uid
            group = (program, alone, account.terms_set.terms.base.name)
            groups.setdefault(group, []).append(account)
    found = []
    for members in groups.values():
        base = _base(members[-1], catalogue)
        if base.pretraining_flops is None:
            found.append(_gap(members, base, policies, disclosures))
    return sorted(found, key=lambda gap: (-gap.totals.upper, gap.title))


def least(raises: Callable[[int], bool]) -> int | None:
    """Return the least figure for which `raises` holds; it holds above it as well.

    None if it holds for none up to the largest figure there is.
    """
    if not raises(LARGEST):
        return None
    low, high = 0, LARGEST  # it holds for high, and 0 is no figure
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if raises(middle) else (middle, high)
    return high


def _base(account: Account, catalogue: Catalogue) -> BaseModel:
    """Return the base that a run is judged by, as the catalogue knows it now."""
    known = account.terms_set.terms.base if account.terms_set else BaseModel()
    if known.pretraining_flops is not None or catalogue.find(known.name) is None:
        return known
    return look_up(known.name, catalogue, systemic_risk=known.systemic_risk)


def _gap(
    members: Sequence[Account],
    base: BaseModel,
    policies: Policies,
    disclosures: Sequence[int],
) -> Gap:
    newest = members[-1].terms_set
    total = _sum(members)
    return Gap(
        program=newest.program if newest else "",
        runs=tuple(sorted(f"{a.ref.namespace}/{a.ref.name}" for a in members)),
        base=base,
        policy=newest.terms.policy if newest else "",
        totals=total,
        prospects=tuple(prospects(base, total, policies, disclosures)),
    )


def prospects(
    base: BaseModel, total: Totals, policies: Policies, disclosures: Sequence[int] = ()
) -> Iterator[Prospect]:
    """Yield what each policy would say of a base after each disclosure.

    A policy that has no rule for the base has nothing to say.
    """
    figures = tuple(disclosures) or _figures(base)
    for rules in policies.rule_sets:
        now = ruling(base, total, rules, policies.day)
        if now is None:
            continue
        tried = {
            figure: ruling(disclosed(base, figure), total, rules, policies.day)
            for figure in figures
        }
        yield Prospect(
            policy=rules.name,
            now=now,
            after={figure: after for figure, after in tried.items() if after},
            helps_from=least(_raises(base, rules, policies.day, now.limit)),
        )


def ruling(
    base: BaseModel, total: Totals, rules: RuleSet, day: str = ""
) -> Ruling | None:
    """Return what a policy makes of a base and a count; None without a rule for it."""
    try:
        limit = governing(base, rules, day).limit
        return Ruling(limit, counted(base, total, rules, day))
    except PolicyError:
        return None


def disclosed(base: BaseModel, figure: int) -> BaseModel:
    """Return the base as it would be if its provider disclosed a figure."""
    return replace(
        base,
        pretraining_flops=figure,
        estimate_low=None,
        estimate_high=None,
        method="reported",
    )


def _raises(
    base: BaseModel, rules: RuleSet, day: str, limit: Limit
) -> Callable[[int], bool]:
    def raises(figure: int) -> bool:
        after = ruling(disclosed(base, figure), Totals(), rules, day)
        return after is not None and after.limit > limit

    return raises


def _figures(base: BaseModel) -> tuple[int, ...]:
    """Return the figures to try: the estimates, or decades where there are none."""
    estimates = (base.estimate_low, base.estimate_high)
    known = {figure for figure in estimates if figure is not None}
    return tuple(sorted(known)) or DECADES


def _sum(members: Iterable[Account]) -> Totals:
    counted = [totals(account) for account in members]
    done: dict[str, int] = {}
    for total in counted:
        for category, flops in total.done.items():
            done[category] = done.get(category, 0) + flops
    # The upper bound of a sum is the sum of the upper bounds, stream by stream.
    begun = sum(max(total.begun, total.measured) for total in counted)
    return Totals(done, begun, sum(total.gaps for total in counted))
