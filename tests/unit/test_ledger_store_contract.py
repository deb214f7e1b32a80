"""The store in an SQLite file keeps the contract of all stores."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flopguard_operator.ledger.keys import SigningKey
from flopguard_operator.ledger.store import SqliteStore
from unit.store_contract import Place, StoreContract
from vectors.ledger_story import KEY


class TestSqliteStore(StoreContract):
    """A ledger in a file of its own folder."""

    @pytest.fixture
    def place(self, tmp_path: Path) -> Iterator[Place]:
        """Return a path where no file is yet."""

        def opener(key: SigningKey = KEY, **more: Any) -> SqliteStore:
            return SqliteStore(tmp_path / "ledger.db", key, **more)

        place = Place(opener)
        yield place
        place.close()


class TestSqliteStoreByItsTail(StoreContract):
    """The same, as large ledgers are opened: only the tail is hashed."""

    @pytest.fixture
    def place(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
        """Return a path where no file is yet; every other head has its frontier."""
        monkeypatch.setattr("flopguard_operator.ledger.upkeep.EVERY_LEAVES", 2)

        def opener(key: SigningKey = KEY, **more: Any) -> SqliteStore:
            return SqliteStore(tmp_path / "ledger.db", key, whole_up_to=0, **more)

        place = Place(opener)
        yield place
        place.close()
