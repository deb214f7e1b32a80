"""How the operator opens its ledger: never an older one than the cluster has seen."""

import base64
from pathlib import Path
from typing import Any

import pytest

from flopguard_operator import operating
from flopguard_operator.cluster import ClusterError
from flopguard_operator.ledger import keys
from flopguard_operator.ledger.entries import HoldReleased, RunRef
from flopguard_operator.ledger.errors import LedgerError, LedgerUnavailableError
from flopguard_operator.ledger.store import SqliteStore
from flopguard_operator.settings import Settings
from standins import objects

KEY = keys.from_raw("flopguard.dev/test/ledger", b"k" * 32)
AN_EVENT = HoldReleased(RunRef("run-1", "ml", "sft"), "job-1", "TermsChanged")


class StandInRuns:
    """The one call of `Cluster` that opening asks for."""

    def __init__(self, *runs: objects.Raw, away: bool = False) -> None:
        self.runs = list(runs)
        self.away = away

    def all_runs(self) -> list[objects.Raw]:
        """Return the runs, or fail as a server that is away."""
        if self.away:
            raise ClusterError(0, "no answer from the API server")
        return self.runs


def showing(size: object, root: object) -> objects.Raw:
    """Return a run whose status shows a head."""
    return {**objects.run(), "status": {"ledger": {"size": size, "rootHash": root}}}


def opened(folder: Path, cluster: Any) -> SqliteStore:
    """Open the ledger of a folder."""
    settings = Settings(ledger=folder / "data" / "ledger.db")
    return operating.open_ledger(settings, KEY, cluster)


def test_a_new_ledger_is_made_with_its_folder(tmp_path: Path) -> None:
    """Nothing is known yet: an empty ledger is what there is."""
    store = opened(tmp_path, StandInRuns(objects.run()))

    assert store.head.size == 0
    store.close()


def test_a_ledger_older_than_a_runs_status_is_refused(tmp_path: Path) -> None:
    """The status of any run in the cluster is the witness, whatever a cache holds."""
    store = opened(tmp_path, StandInRuns())
    head = store.commit([AN_EVENT], [], "2026-11-22T00:20:00.000Z")
    store.close()
    opened(tmp_path, StandInRuns(showing(1, head.root_base64))).close()
    (tmp_path / "data").rename(tmp_path / "lost")

    with pytest.raises(LedgerError, match="a head of 1 leaves is known"):
        opened(tmp_path, StandInRuns(showing(1, head.root_base64)))


def test_without_the_api_server_no_ledger_is_opened(tmp_path: Path) -> None:
    """What is known cannot be asked for: that passes, and nothing is made meanwhile."""
    with pytest.raises(LedgerUnavailableError, match="cannot be read"):
        opened(tmp_path, StandInRuns(away=True))

    assert not (tmp_path / "data").exists()


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    """A file stands in its place."""
    (tmp_path / "data").write_text("in the way")

    with pytest.raises(LedgerUnavailableError, match="the folder of"):
        opened(tmp_path, StandInRuns())


@pytest.mark.parametrize(
    "root",
    [
        pytest.param("%%%", id="not of the alphabet"),
        pytest.param("YQ=", id="too short"),
        pytest.param("\u00e9", id="not ASCII"),
    ],
)
def test_a_head_that_is_no_base64_is_named(tmp_path: Path, root: str) -> None:
    """It is an error of the ledger, with the run that shows it."""
    with pytest.raises(LedgerError, match="FineTuneRun ml/sft is not base64"):
        opened(tmp_path, StandInRuns(showing(1, root)))


@pytest.mark.parametrize(
    "size",
    [
        pytest.param(True, id="true is no number of leaves"),
        pytest.param("1", id="nor is a text"),
        pytest.param(None, id="nor is nothing"),
    ],
)
def test_what_is_no_head_is_not_known(size: object) -> None:
    """A status that the operator has not written yet shows none."""
    root = base64.b64encode(b"r" * 32).decode()

    assert operating.newest_known([showing(size, root), showing(1, 7)]) is None


def test_the_newest_head_is_known() -> None:
    """Of several, the one over the most leaves."""
    one, two = (base64.b64encode(bytes([n]) * 32).decode() for n in (1, 2))
    runs = [showing(9, one), showing(10, two), showing(2, one)]

    assert operating.newest_known(runs) == (10, b"\2" * 32)
