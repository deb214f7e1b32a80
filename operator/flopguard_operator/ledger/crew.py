"""Read and hash the settlements of a long ledger in other processes; replay them here.

What comes back is what `verify.digested` makes in this process, in the same order, but
for stretches of settlements that were summed up (`stretches`).
"""

import multiprocessing
import os
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from multiprocessing.pool import AsyncResult, Pool

from flopguard_operator.ledger import stretches, tree
from flopguard_operator.ledger.errors import LedgerError
from flopguard_operator.ledger.export import Leaf, Part
from flopguard_operator.ledger.stretches import Stretch
from flopguard_operator.ledger.verify import (
    Digest,
    Digested,
    Stretched,
    digest_of,
    digested,
)

LEAST_BYTES = 16 * 1024 * 1024  # of a file for which starting processes pays
_BATCH = 16_384  # leaves that are sent together
_LEAST_BATCH = 512
_MOST_PROCESSES = 8

_Result = AsyncResult[tuple[bytes, Stretch | None]]


@contextmanager
def digesting(size: int) -> Iterator[Digest]:
    """Give how to digest a ledger of so many bytes: here, or in other processes."""
    cores = min(len(os.sched_getaffinity(0)), _MOST_PROCESSES)
    if size < LEAST_BYTES or cores == 1:
        yield digested
        return
    with multiprocessing.get_context("fork").Pool(cores) as pool:
        yield _Crew(pool, 2 * cores).digest


class _Crew:
    """Processes that read batches of settlements while this one replays earlier ones.

    Args:
        pool: the processes.
        ahead: batches that may be under way, so in memory, at a time.
    """

    def __init__(self, pool: Pool, ahead: int) -> None:
        self._pool, self._ahead = pool, ahead
        self._pending: deque[bytes | tuple[list[bytes], _Result]] = deque()
        self._sent = 0
        self._batch: list[bytes] = []

    def digest(self, parts: Iterable[Part]) -> Iterator[Part | Digested | Stretched]:
        """See `verify.digested`. What is wrong with a part is raised in its place."""
        remaining, wrong = iter(parts), None
        while wrong is None:
            try:
                part = next(remaining, None)
            except LedgerError as error:
                part, wrong = None, error
            if isinstance(part, Leaf):
                yield from self._leaf(part.data)
                continue
            self._send()
            yield from self._received(0)
            if part is not None:
                yield part
            elif wrong is None:
                return
        raise wrong

    def _leaf(self, data: bytes) -> Iterator[Digested | Stretched]:
        if stretches.is_settlement(data):
            self._batch.append(data)
            if len(self._batch) < _BATCH:
                return
            self._send()
        else:
            self._send()
            self._pending.append(data)
        yield from self._received(self._ahead)

    def _send(self) -> None:
        batch, self._batch = self._batch, []
        if len(batch) < _LEAST_BATCH:
            self._pending.extend(batch)
            return
        self._pending.append((batch, self._pool.apply_async(_work, (batch,))))
        self._sent += 1

    def _received(self, ahead: int) -> Iterator[Digested | Stretched]:
        """Yield what is there, until no more batches than these are under way."""
        while self._pending and (
            self._sent > ahead or isinstance(self._pending[0], bytes) or not ahead
        ):
            item = self._pending.popleft()
            if isinstance(item, bytes):
                yield digest_of(item)
                continue
            self._sent -= 1
            batch, result = item
            hashes, stretch = result.get()
            if stretch is None:
                yield from map(digest_of, batch)
            else:
                yield Stretched(batch, hashes, stretch)


def _work(batch: list[bytes]) -> tuple[bytes, Stretch | None]:
    """Return the hashes of leaves, one after the other, and what they say together."""
    hashes = b"".join(tree.leaf_hash(data) for data in batch)
    return hashes, stretches.summed_up(batch)
