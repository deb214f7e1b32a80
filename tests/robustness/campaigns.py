"""What `make robustness` runs: each campaign, its seeds, and what they prove.

A campaign yields rows; one that finds something raises with the seed in its message.
What runs on a seed runs the same on the next machine: only threads and processes of the
operating system are left to chance, in the layers `process` and `cluster`.
"""

import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import partial
from typing import NamedTuple

from robustness import (
    clustercampaign,
    kills,
    modelcheck,
    powercuts,
    simulation,
    stateful,
    tampering,
)
from robustness.rows import Row, merge

Rows = Callable[[range], Iterator[Row]]


class Campaign(NamedTuple):
    """One campaign.

    Attributes:
        name: As the command line takes it.
        layer: One of `rows.LAYERS`.
        seeds: How many in a whole run.
        chunk: Seeds that one process does at a time.
        rows: Runs seeds.
        claim: What it shows, in a sentence.
        is_control: Whether it must lose FLOPs, or it would show nothing.
        group: Of campaigns that are one line of the page; they share what they run on,
            so all of it is done in this process.
    """

    name: str
    layer: str
    seeds: int
    chunk: int
    rows: Rows
    claim: str
    is_control: bool = False
    group: str = ""


def _models(seeds: range) -> Iterator[Row]:
    """Search the models of the protocol; each seed is one of them."""
    for index in seeds:
        found = list(modelcheck.check(modelcheck.WHOLE[index : index + 1]))
        wrong = [one for one in found if not one.is_right]
        if wrong:
            message = f"model {index}: {wrong[0]}"
            raise AssertionError(message)
        yield from modelcheck.rows(found)


def _normal(seeds: range) -> Iterator[Row]:
    yield from powercuts.power_cuts(seeds, "NORMAL")


ALL = (
    Campaign(
        "models",
        "model",
        len(modelcheck.WHOLE),
        1,
        _models,
        "in every state within the bounds all invariants hold, and every planted bug is"
        " found",
    ),
    Campaign(
        "stateful",
        "core",
        1_000,
        25,
        stateful.seeds,
        "after every random step the invariants hold, on the real accounting, ledger"
        " and policy code (100 steps a seed)",
    ),
    Campaign(
        "simulation",
        "simulation",
        10_000,
        50,
        simulation.seeds,
        "whatever fails around the operator, in the end nothing is lost or twice, and"
        " status, holds and ledger agree (trials: the seeds in which a fault struck)",
    ),
    Campaign(
        "power-cuts",
        "disk",
        66_667,
        500,
        powercuts.power_cuts,
        "what a commit acknowledged is there after the power failed (3 cuts a seed)",
    ),
    Campaign(
        "power-cuts-control",
        "disk",
        2_000,
        500,
        _normal,
        "the same disk loses commits of SQLite with synchronous=NORMAL",
        is_control=True,
    ),
    Campaign(
        "io-errors",
        "disk",
        6_000,
        500,
        powercuts.io_errors,
        "nothing is acknowledged that a failing disk did not take (3 errors a seed)",
    ),
    Campaign(
        "kill-processes",
        "process",
        2_000,
        100,
        kills.pages,
        "a page says what was done and what was begun, whenever its process is killed",
    ),
    Campaign(
        "kill-sidecars",
        "process",
        200,
        20,
        kills.sidecars,
        "the final record is whole, whenever the sidecar is killed",
    ),
    Campaign(
        "tampering",
        "tampering",
        13_500,
        250,
        tampering.packs,
        "every forged evidence pack fails a check (one a seed)",
    ),
    *(
        Campaign(
            clustercampaign.name(fault),
            "cluster",
            clustercampaign.TRIALS,
            clustercampaign.TRIALS,
            partial(clustercampaign.rows, fault),
            "whatever fails on a real cluster, in the end nothing is lost or twice, and"
            " the whole ledger verifies",
            group="cluster",
        )
        for fault in clustercampaign.FAULTS
    ),
)


def named(names: str) -> list[Campaign]:
    """Return the campaigns of these names or groups, with commas between; "": all.

    Raises:
        ValueError: One of them is not there; says which there are.
    """
    known = {name for one in ALL for name in (one.name, one.group) if name}
    wanted = set(names.split(",")) if names else known
    if wanted - known:
        unknown = ", ".join(sorted(wanted - known))
        message = f"no campaign {unknown}; there are: {', '.join(sorted(known))}"
        raise ValueError(message)
    return [one for one in ALL if wanted & {one.name, one.group}]


def run(
    campaign: Campaign, seeds: int, jobs: int, told: Callable[[int], None]
) -> list[Row]:
    """Run a campaign's first seeds in processes; return one row per fault.

    Args:
        campaign: Which.
        seeds: How many.
        jobs: Processes at a time.
        told: Called with the number of seeds that are done.

    Raises:
        AssertionError: A trial showed what must not be; its seed is in the message.
    """
    if campaign.group:
        return merge(campaign.rows(range(seeds)))
    chunks = [
        range(first, min(first + campaign.chunk, seeds))
        for first in range(0, seeds, campaign.chunk)
    ]
    found: dict[int, list[Row]] = {}
    done = 0
    with ProcessPoolExecutor(jobs) as pool:
        waiting = {pool.submit(_chunk, campaign.name, c): c for c in chunks}
        try:
            for future in as_completed(waiting):
                chunk = waiting[future]
                found[chunk.start] = future.result()
                done += len(chunk)
                told(done)
        except AssertionError:  # a person waits for the seed, not for all others
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return merge(row for first in sorted(found) for row in found[first])


def _chunk(name: str, seeds: range) -> list[Row]:
    # A statement that is thrown away on a dead disk complains where nobody can hear it.
    sys.unraisablehook = lambda _: None
    campaign = next(one for one in ALL if one.name == name)
    return merge(campaign.rows(seeds))
