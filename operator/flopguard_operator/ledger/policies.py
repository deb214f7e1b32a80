"""Remember the rule sets that a ledger notes, and find the one that judges a run. Pure.

A run is judged by the text that its newest terms refer to, whatever is noted later, and
whatever ships with the version that replays the ledger.
"""

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from flopguard_operator.ledger.entries import (
    Entry,
    Event,
    PolicyNoted,
    ProgramSet,
    TermsSet,
)
from flopguard_operator.policy.canonical import digest, from_json, to_json
from flopguard_operator.policy.checks import evaluate
from flopguard_operator.policy.evaluation import (
    PolicyVerdict,
    is_over,
    side_by_side,
)
from flopguard_operator.policy.rules import (
    built_in,
    counted,
    governing,
    in_force_on,
)
from flopguard_operator.policy.rulesets import PolicyError, RuleSet
from flopguard_operator.policy.terms import NOTHING_DECIDED, Decided, Totals
from flopguard_operator.policy.verdict import Verdict

MOST_OTHERS = 16  # policies beside the one that governs
EXCEEDED, NOT_EXCEEDED, UNJUDGED = "Exceeded", "NotExceeded", "NotJudged"


Judgeable = TermsSet | ProgramSet


@dataclass
class Noted:
    """The rule sets that a ledger has noted so far, by digest."""

    by_digest: dict[str, RuleSet] = field(default_factory=dict)

    def take(self, event: PolicyNoted) -> str:
        """Take one more in; return what is wrong with it, "" for nothing."""
        if digest(event.text) != event.digest:
            return "the rule set is another than its digest says"
        try:
            found = from_json(event.text)
        except PolicyError as error:
            return f"not a rule set: {error}"
        if (found.name, found.version) != (event.name, event.version):
            return "the rule set has another name or version than its text"
        self.by_digest[event.digest] = found
        return ""

    def of(self, terms: Judgeable) -> RuleSet:
        """Return the rule set that terms refer to.

        Raises:
            PolicyError: it was never noted, or has another name than the terms say.
        """
        name = terms.terms.policy
        if not terms.policy_digest:
            return built_in(name)
        found = self.by_digest.get(terms.policy_digest)
        if found is None:
            message = f'the rule set of policy "{name[:80]}" was never noted'
            raise PolicyError(message)
        if found.name != name:
            message = f'the noted rule set is "{found.name}", not "{name[:80]}"'
            raise PolicyError(message)
        return found

    def missing(
        self, events: Iterable[Event], known: Iterable["Law"]
    ) -> Iterator[PolicyNoted]:
        """Yield the notes that have to stand before events."""
        wanted = {
            e.policy_digest for e in events if isinstance(e, TermsSet | ProgramSet)
        }
        wanted -= self.by_digest.keys()
        for law in known:
            if law.note.digest in wanted:
                wanted.remove(law.note.digest)
                yield law.note


def noted_in(entries: Iterable[Entry]) -> Noted:
    """Return the rule sets that entries note; what is wrong with one is not said."""
    noted = Noted()
    for entry in entries:
        if isinstance(entry.event, PolicyNoted):
            noted.take(entry.event)
    return noted


def in_use(entries: Iterable[Entry], noted: Noted) -> dict[str, RuleSet]:
    """Return the rule sets that runs and programs are judged by, by name.

    Of several texts of one name the one that was used last. What was never noted is
    left out.
    """
    found: dict[str, RuleSet] = {}
    for entry in entries:
        if isinstance(entry.event, TermsSet | ProgramSet):
            with contextlib.suppress(PolicyError):
                found[entry.event.terms.policy] = noted.of(entry.event)
    return found


@dataclass(frozen=True)
class Law:
    """A rule set with the entry that notes it."""

    rules: RuleSet
    note: PolicyNoted


def law(rules: RuleSet) -> Law:
    """Return a rule set with the entry that notes it."""
    text = to_json(rules)
    return Law(rules, PolicyNoted(rules.name, rules.version, digest(text), text))


def others(known: Mapping[str, Law], governing: str) -> tuple[RuleSet, ...]:
    """Return the rule sets that a status shows beside that which governs."""
    found = (one.rules for name, one in known.items() if name != governing)
    return tuple(found)[:MOST_OTHERS]


def with_law(noted: Noted, found: Law) -> Noted:
    """Return the noted rule sets with one more, which is noted in the same commit."""
    return Noted({**noted.by_digest, found.note.digest: found.rules})


def day_for(before: Judgeable | None, found: Law, today: str) -> str:
    """Return the day for which a run is judged: a new one only where it matters.

    Args:
        before: the run's terms so far.
        found: what it is judged by now.
        today: ISO 8601.
    """
    if before is None or before.policy_digest != found.note.digest:
        return today
    same = in_force_on(found.rules, before.day) == in_force_on(found.rules, today)
    return before.day if same else today


def judged(
    terms: Judgeable,
    totals: Totals,
    noted: Noted,
    decided: Decided = NOTHING_DECIDED,
) -> tuple[Verdict, ...]:
    """Return the verdicts on a run or program by the rule set and day of its terms.

    Raises:
        PolicyError: the terms cannot be judged by.
    """
    return evaluate(terms.terms, totals, noted.of(terms), terms.day, decided)


def laws(
    terms: Judgeable, noted: Noted, beside: Iterable[RuleSet]
) -> tuple[RuleSet, ...]:
    """Return the rule set of some terms, then the others that stand beside it.

    Raises:
        PolicyError: it was never noted, or has another name than the terms say.
    """
    rules = noted.of(terms)
    return (rules, *(each for each in beside if each.name != rules.name))


def verdicts(
    terms: Judgeable, totals: Totals, noted: Noted, beside: Iterable[RuleSet] = ()
) -> tuple[PolicyVerdict, ...]:
    """Return the verdicts of all rule sets, that of the one that governs first.

    Raises:
        PolicyError: as `laws`, or the terms cannot be judged by one of them.
    """
    found = laws(terms, noted, beside)
    return side_by_side(found, terms.terms.base, totals, terms.day)


def is_change(before: TermsSet, now: TermsSet) -> bool:
    """Say whether policy, base model or the limit by them are others than before."""
    return _law(before) != _law(now)


def _law(terms: TermsSet) -> tuple[object, ...]:
    told = terms.terms
    return told.policy, told.base, terms.policy_digest, terms.limit, terms.rule


def plain(terms: TermsSet) -> TermsSet:
    """Return terms without what they show of those before."""
    return replace(
        terms, limit_before="", rule_before="", verdict_before="", verdict=""
    )


def showing_change(
    before: TermsSet | None, now: TermsSet, totals: Totals, noted: Noted
) -> TermsSet:
    """Return new terms with the old and the new verdict, where the law is another.

    Args:
        before: the terms so far; None for the first.
        now: the new ones.
        totals: of the run at this place.
        noted: with the rule sets of both.
    """
    if before is None or not is_change(before, now):
        return now
    return replace(
        now,
        limit_before=before.limit,
        rule_before=before.rule,
        verdict_before=verdict_of(before, totals, noted),
        verdict=verdict_of(now, totals, noted),
    )


def verdict_of(terms: TermsSet, totals: Totals, noted: Noted) -> str:
    """Return whether the threshold of terms is crossed by totals, in a word."""
    base, day = terms.terms.base, terms.day
    try:
        rules = noted.of(terms)
        count = counted(base, totals, rules, day)
        limit = governing(base, rules, day).limit
    except PolicyError:
        return UNJUDGED
    return EXCEEDED if is_over(count, limit, strict=rules.strict) else NOT_EXCEEDED


def problems(
    before: TermsSet | None, now: TermsSet, totals: Totals, noted: Noted
) -> Iterator[str]:
    """Yield what is wrong with new terms; nothing if they cannot be judged by."""
    yield from threshold_problems(now, noted)
    if now != plain(now) or now.policy_digest:  # the first ledgers did not show it
        told = showing_change(before, plain(now), totals, noted)
        if now != told:
            shown = f"{told.verdict_before} before, {told.verdict} now"
            yield f"the verdicts that the change shows should be: {shown}"


def threshold_problems(now: Judgeable, noted: Noted) -> Iterator[str]:
    """Yield if the limit in terms is not the policy's; nothing if none can be told."""
    try:
        threshold = governing(now.terms.base, noted.of(now), now.day)
    except PolicyError:
        return  # said once, where the run is judged
    if (now.limit, now.rule) != (str(threshold.limit), threshold.rule):
        right = f"{threshold.limit} by {threshold.rule}"
        yield f"the policy sets another threshold: {right}"
