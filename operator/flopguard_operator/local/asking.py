"""Turn what a person asked of `flopguard run` into terms and a view to settle. Pure.

To the core a program on this machine is one run, and each start of a command is one of
its streams: the settling, the policy and the ledger are those of the cluster.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from flopguard_operator.flops import FlopsError, parse
from flopguard_operator.ledger.accounts import Account
from flopguard_operator.ledger.entries import Crossing, Event
from flopguard_operator.ledger.policies import Law, Noted
from flopguard_operator.ledger.standing import OF_MACHINE
from flopguard_operator.models.basis import look_up
from flopguard_operator.models.catalogue import Catalogue
from flopguard_operator.observed import Pod
from flopguard_operator.policy.rules import governing
from flopguard_operator.policy.rulesets import PolicyError
from flopguard_operator.policy.terms import Approach, BaseModel, Budget, Terms
from flopguard_operator.settling import RunView
from flopguard_operator.watching import Given

NAMESPACE = "local"
UNKNOWN = "unknown"
_GIVEN = "command line"

# The policy speaks of a manifest's fields; here those are options.
_WORDS = (
    ("Raise spec.budget.maxFlops above", "Start again with --max-flops above"),
    ("raise spec.threshold.holdAtPercent to", "start again with --hold-at-percent"),
    (", or set spec.threshold.onApproach to Annotate", ""),
    ("The run is suspended", "The command is stopped"),
    ("Lower spec.budget, or check spec.baseModel.", "Lower --max-flops, or check"),
    ("(flopguard decide)", "(that takes a cluster: bring the program into one)"),
)


@dataclass(frozen=True)
class Wishes:
    """What the options say; None leaves what an earlier start said."""

    max_flops: int | None = None
    warn_at: tuple[int, ...] | None = None  # percent of the budget
    hold_at: int | None = None  # percent of the threshold
    policy: str | None = None
    base: str | None = None
    base_flops: str | None = None  # a figure, or "unknown"
    base_source: str | None = None
    systemic: bool | None = None


@dataclass(frozen=True)
class Start:
    """One start of a command: a stream."""

    uid: str
    name: str
    node: str
    over: bool = False  # no process of it is left


@dataclass(frozen=True)
class Judging:
    """What a program is judged by, beside its own terms."""

    law: Law
    noted: Noted  # the ledger's rule sets
    today: str  # ISO 8601


def terms(wishes: Wishes, before: Terms | None, catalogue: Catalogue) -> Terms:
    """Return what a program is judged by from this start on.

    A base model without a figure is looked up in the catalogue, once.

    Raises:
        PolicyError: the wishes contradict themselves or earlier starts.
    """
    known = before or Terms()
    return Terms(
        policy=known.policy if wishes.policy is None else wishes.policy,
        base=_base(wishes, known.base, catalogue),
        budget=_budget(wishes, known.budget),
        approach=_approach(wishes, known.approach),
    )


def _base(wishes: Wishes, known: BaseModel, catalogue: Catalogue) -> BaseModel:
    if wishes.base and known.name and wishes.base != known.name:
        message = (
            f'this program adapts "{known.name}", not "{wishes.base}": give another'
            " base model a --program of its own"
        )
        raise PolicyError(message)
    base = known
    if wishes.base and not known.name:
        base = look_up(wishes.base, catalogue, systemic_risk=known.systemic_risk)
    if wishes.systemic is not None:
        base = replace(base, systemic_risk=wishes.systemic)
    if wishes.base_flops is not None:
        base = BaseModel(base.name, None, "", base.systemic_risk)
        if wishes.base_flops != UNKNOWN:
            flops = _figure("--base-flops", wishes.base_flops)
            base = replace(base, pretraining_flops=flops, source=_GIVEN)
    if wishes.base_source is not None:
        base = replace(base, source=wishes.base_source)
    return base


def _figure(option: str, text: str) -> int:
    try:
        flops = parse(text)
    except FlopsError as error:
        message = f"{option}: {error}"
        raise PolicyError(message) from error
    if not flops:
        message = f"{option} has to be above 0"
        raise PolicyError(message)
    return flops


def _budget(wishes: Wishes, known: Budget | None) -> Budget | None:
    if known is None and wishes.max_flops is None:
        if wishes.warn_at is not None:
            message = "--warn-at needs a budget to warn of: give --max-flops as well"
            raise PolicyError(message)
        return None
    budget = known or Budget()
    if wishes.max_flops is not None:
        budget = replace(budget, max_flops=wishes.max_flops)
    if wishes.warn_at is not None:
        budget = replace(budget, warn_at_percent=tuple(sorted(set(wishes.warn_at))))
    return budget


def _approach(wishes: Wishes, known: Approach) -> Approach:
    if wishes.hold_at is None:
        return known
    return replace(known, hold_at_percent=wishes.hold_at)


def view(
    account: Account,
    wanted: Terms,
    by: Judging,
    starts: Iterable[Start] = (),
    held_milliseconds: int = 0,
) -> RunView:
    """Return a program as the settling core sees a run.

    Args:
        account: of the program, as the ledger tells it.
        wanted: what it is judged by from now on.
        by: the rule set that its terms name, and the day.
        starts: those that are not settled for good, oldest first.
        held_milliseconds: since its hold was set.

    Raises:
        PolicyError: no rule fits the base model.
    """
    known = account.terms_set
    generation = known.generation if known else 1
    if known is not None and known.terms != wanted:
        generation += 1
    listed = tuple(starts)
    return RunView(
        ref=account.ref,
        generation=generation,
        program=account.ref.name,
        workload=f"{OF_MACHINE}{account.ref.name}",
        terms=wanted,
        governing=governing(wanted.base, by.law.rules, by.today),
        jobs=(),
        pods=tuple(_pod(account, start) for start in listed),
        pods_gone=all(start.over for start in listed),
        held_milliseconds=held_milliseconds,
        given={start.uid: Given(node=start.node) for start in listed},
        law=by.law,
        noted=by.noted,
        today=by.today,
    )


def _pod(account: Account, start: Start) -> Pod:
    """Return a start as the core sees a pod."""
    return Pod(
        uid=start.uid,
        namespace=NAMESPACE,
        name=start.name,
        run_label="",
        job_name="",
        job_uid=account.ref.uid,
        ip="",
        created="",
        injected=True,
        ended=start.over,
        last_words="",
        not_injected="",
        raw={},
    )


def in_options(text: str) -> str:
    """Return a sentence of the policy in the words of the command line."""
    for ours, theirs in _WORDS:
        text = text.replace(ours, theirs)
    return text


def told(events: Iterable[Event]) -> tuple[Event, ...]:
    """Return events as the ledger of a machine says them."""
    return tuple(
        replace(event, message=in_options(event.message))
        if isinstance(event, Crossing)
        else event
        for event in events
    )


def find(accounts: Mapping[str, Account], program: str) -> Account | None:
    """Return the account of a program of this machine; None for a new one."""
    for account in accounts.values():
        if (account.ref.namespace, account.ref.name) == (NAMESPACE, program):
            return account
    return None
