"""Hold what a process said of itself to what it said before. Pure."""

import hashlib
from collections.abc import Iterator

from flopguard_operator.ledger.accounts import Account
from flopguard_operator.ledger.entries import EnergyNoted, FactsNoted, WeightsSaved


def wrong_facts(event: FactsNoted, account: Account) -> Iterator[str]:
    """Yield what is wrong with noted facts, given the run's account before them."""
    if not event.facts:
        if event.digest not in account.digests:
            yield "the facts that it refers to were never noted"
        return
    digest = hashlib.sha256(event.facts.encode()).hexdigest()
    if event.whole and digest != event.digest:
        yield "the facts are others than their digest says"


def wrong_energy(event: EnergyNoted, account: Account) -> Iterator[str]:
    """Hold energy to what was noted before of the same life of the sidecar."""
    if event.since > event.until:
        yield "it ends before it begins"
    before = account.energies.get((event.stream, event.since))
    if before is None:
        return
    if event.millijoules < before.millijoules or event.until < before.until:
        yield "less was drawn than was noted before"
    if before.final:
        yield "it was final already"


def wrong_saves(event: WeightsSaved, account: Account) -> Iterator[str]:
    """Hold saved weights to what they cost: their own process's part at least.

    The total of the run is settled later than weights are noted, so it says nothing.
    """
    before = [s for s in account.saves if s.process == event.process]
    if event.flops > event.upper:
        yield "the process alone has spent more than the run"
    if before and before[-1].flops > event.flops:
        yield "weights that cost more were noted before"
