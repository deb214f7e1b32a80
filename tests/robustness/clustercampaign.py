"""Every fault of a real cluster, on one cluster that all of them share.

It comes up with the first fault, and ends with this process. What fails on it may have
left it broken: the next fault gets a new one.
"""

import contextlib
import os
import traceback
from collections.abc import Iterator

from cluster import lifecycle
from robustness import clusterfaults, nodefaults, podfaults
from robustness.clusterfaults import Fault, Stage
from robustness.rows import Row

FAULTS: tuple[Fault, ...] = (
    *clusterfaults.FAULTS,
    *podfaults.FAULTS,
    *nodefaults.FAULTS,
)
TRIALS = 20

_open = contextlib.ExitStack()
_stages: list[Stage] = []  # one, while a cluster is up


def name(fault: Fault) -> str:
    """Return the name of a fault's campaign."""
    return f"cluster-{fault.strike.__name__.replace('_', '-')}"


def rows(fault: Fault, seeds: range) -> Iterator[Row]:
    """Strike once for each seed, though chance is not ours here; yield the row.

    Raises:
        AssertionError: What was to come did not come in time, the ledger does not
            verify, or there is no cluster to be had.
    """
    try:
        if not _stages:
            cluster = lifecycle.borrowed(f"robustness-{os.getpid()}", "node")
            _stages.append(Stage.of(_open.enter_context(cluster)))
        row = clusterfaults.run(_stages[0], fault, len(seeds))
    except BaseException as error:
        close()
        if not isinstance(error, Exception):
            raise
        # Nobody watches for an hour: the next fault is tried, whatever this one did.
        traceback.print_exc()
        raise AssertionError(str(error) or repr(error)) from error
    yield row


def close() -> None:
    """Take the cluster down, if there is one."""
    _stages.clear()
    _open.close()
