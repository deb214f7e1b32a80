"""How the operator opens its ledger: never an older one than the cluster has seen."""

import base64
from pathlib import Path
from typing import Any

import pytest

from flopguard_operator import taking
from flopguard_operator.anchors import ConfigMapAnchor, StatusAnchor, known_heads
from flopguard_operator.cluster import ClusterError
from flopguard_operator.ledger import keys, note
from flopguard_operator.ledger.entries import HoldReleased, RunRef
from flopguard_operator.ledger.errors import LedgerError, LedgerUnavailableError
from flopguard_operator.ledger.store import SqliteStore
from flopguard_operator.settings import Settings
from standins import objects

KEY = keys.from_raw("flopguard.dev/test/ledger", b"k" * 32)
AN_EVENT = HoldReleased(RunRef("run-1", "ml", "sft"), "job-1", "TermsChanged")


class StandInRuns:
    """The calls of `Cluster` that opening makes."""

    def __init__(self, *runs: objects.Raw, away: bool = False) -> None:
        self.runs = list(runs)
        self.away = away
        self.config_map: Any = None

    def all_runs(self) -> list[objects.Raw]:
        """Return the runs, or fail as a server that is away."""
        if self.away:
            raise ClusterError(0, "no answer from the API server")
        return self.runs

    def read_config_map(self, _namespace: str, _name: str) -> Any:
        """Return the ConfigMap of the head, if there is one."""
        return self.config_map

    def write_config_map(self, _namespace: str, config_map: Any) -> bool:
        """Keep it, unless it was read before somebody else wrote."""
        before = self.config_map or {"metadata": {}}
        version = before["metadata"].get("resourceVersion")
        if config_map["metadata"].get("resourceVersion") != version:
            return False
        metadata = {**config_map["metadata"], "resourceVersion": f"{version}+"}
        self.config_map = {**config_map, "metadata": metadata}
        return True


def showing(size: object, root: object) -> objects.Raw:
    """Return a run whose status shows a head."""
    return {**objects.run(), "status": {"ledger": {"size": size, "rootHash": root}}}


def opened(folder: Path, cluster: Any) -> SqliteStore:
    """Open the ledger of a folder."""
    settings = Settings(ledger=folder / "data" / "ledger.db")
    anchors = (StatusAnchor(cluster), ConfigMapAnchor(cluster, "flopguard"))
    return taking.open_ledger(settings, taking.Keys(KEY), anchors)


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
    with pytest.raises(LedgerUnavailableError, match="cannot be reached"):
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

    cluster: Any = StandInRuns(showing(size, root), showing(1, 7))

    assert known_heads([StatusAnchor(cluster)]) == []


def test_every_head_is_known() -> None:
    """A recovery gives up one of them, not all that are smaller."""
    one, two = (base64.b64encode(bytes([n]) * 32).decode() for n in (1, 2))
    runs = [showing(9, one), showing(10, two), showing(2, one)]

    cluster: Any = StandInRuns(*runs)
    found = known_heads([StatusAnchor(cluster)])

    assert [(head.size, head.root) for head in found] == [
        (9, b"\1" * 32),
        (10, b"\2" * 32),
        (2, b"\1" * 32),
    ]


def test_a_head_in_the_config_map_is_known(tmp_path: Path) -> None:
    """It is written after commits, and asked for at the start."""
    cluster: Any = StandInRuns()
    anchor = ConfigMapAnchor(cluster, "flopguard")
    store = opened(tmp_path, cluster)
    head = store.commit([AN_EVENT], [], "2026-11-22T00:20:00.000Z")
    store.close()
    anchor.publish(head, store.vkey)
    opened(tmp_path, cluster).close()
    (tmp_path / "data").rename(tmp_path / "lost")

    with pytest.raises(LedgerError, match="in ConfigMap flopguard/flopguard-ledger"):
        opened(tmp_path, cluster)


def test_the_config_map_keeps_the_larger_head() -> None:
    """Whoever comes late, or lost entries, does not hide what was there."""
    cluster: Any = StandInRuns()
    anchor = ConfigMapAnchor(cluster, "flopguard")
    for size in (7, 9, 8):
        anchor.publish(note.Head(KEY.name, size, bytes([size]) * 32), "vkey")

    assert [(h.size, h.root) for h in anchor.known()] == [(9, b"\x09" * 32)]


@pytest.mark.parametrize(
    "data",
    [
        pytest.param({"size": "x", "rootHash": "YQ=="}, id="no number"),
        pytest.param({"size": "1" * 30, "rootHash": "YQ=="}, id="too large a number"),
        pytest.param({"size": "1", "rootHash": "%"}, id="no base64"),
        pytest.param({"size": "1"}, id="no root"),
    ],
)
def test_a_config_map_that_holds_no_head_is_named(data: dict[str, str]) -> None:
    """Only the operator writes it: it is not passed over."""
    cluster: Any = StandInRuns()
    cluster.config_map = {"metadata": {}, "data": data}

    with pytest.raises(LedgerError, match="restore it"):
        list(ConfigMapAnchor(cluster, "flopguard").known())


def test_taking_over_claims_and_rotates_once(tmp_path: Path) -> None:
    """The successor in the Secret follows at once, and signs from then on."""
    settings = Settings(ledger=tmp_path / "ledger.db")
    following = keys.from_raw(KEY.name, b"n" * 32)
    for signing, kinds in (
        (taking.Keys(KEY), ["EpochOpened"]),
        (taking.Keys(KEY, following), ["EpochOpened", "KeyRotated"]),
        (taking.Keys(KEY, following), ["EpochOpened"]),
        (taking.Keys(following), ["EpochOpened"]),
    ):
        store = taking.take_over(settings, signing, (), "pod/uid")
        told = [type(entry.event).__name__ for entry in store.load().entries]
        store.close()

        assert told[-len(kinds) :] == kinds
    assert told.count("KeyRotated") == 1
    assert told.count("EpochOpened") == 4
