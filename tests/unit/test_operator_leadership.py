"""Who leads when several operators want to, one hangs, or nobody answers."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

import pytest

from flopguard_operator.cluster import ClusterError
from flopguard_operator.leadership import Leadership

Lease = dict[str, Any]


@dataclass
class StandInLeases:
    """One Lease with the API server's compare and swap."""

    lease: Lease | None = None
    away: bool = False
    version: int = 0
    writes: int = 0
    meanwhile: list[Lease] = field(default_factory=list)

    def read_lease(self, _namespace: str, _name: str) -> Lease | None:
        """Return the Lease, or fail as a server that is away."""
        if self.away:
            raise ClusterError(0, "no answer from the API server")
        return self.lease

    def write_lease(self, _namespace: str, lease: Lease) -> bool:
        """Keep it, unless somebody else wrote since it was read."""
        if self.away:
            raise ClusterError(0, "no answer from the API server")
        if self.meanwhile:
            self._keep(self.meanwhile.pop())
        present = self.lease["metadata"]["resourceVersion"] if self.lease else None
        if lease["metadata"].get("resourceVersion") != present:
            return False
        self._keep(lease)
        return True

    def _keep(self, lease: Lease) -> None:
        self.version, self.writes = self.version + 1, self.writes + 1
        metadata = {**lease["metadata"], "resourceVersion": str(self.version)}
        self.lease = {**lease, "metadata": metadata}


class Clock:
    """A monotonic clock that a test sets."""

    now = 100.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


@pytest.fixture
def clock() -> Clock:
    """Return the clock of a test."""
    return Clock()


def operator(leases: Any, name: str, clock: Clock) -> Leadership:
    """Return an operator that wants to lead."""
    return Leadership(leases, "flopguard", "lease", name, 15.0, clock)


def tries(one: Leadership) -> bool:
    """Let an operator try once."""
    return asyncio.run(one._try())  # noqa: SLF001 - one step of the loops


def test_the_first_one_leads_and_the_second_stands_by(clock: Clock) -> None:
    """As long as the first one renews, whatever the clocks say."""
    leases = StandInLeases()
    a, b = operator(leases, "a", clock), operator(leases, "b", clock)

    assert not a.leads()
    assert tries(a)
    assert a.leads()
    for _ in range(20):
        assert not tries(b)
        clock.now += 10
        assert tries(a)
        assert (a.leads(), b.leads()) == (True, False)
    assert leases.lease is not None
    assert leases.lease["spec"]["leaseTransitions"] == 0


def test_a_silent_leader_is_followed_after_its_time(clock: Clock) -> None:
    """It has itself ceased to lead by then, and finds the other when it is back."""
    leases = StandInLeases()
    a, b = operator(leases, "a", clock), operator(leases, "b", clock)
    tries(a)
    tries(b)
    clock.now += 14
    assert not tries(b)
    clock.now += 1.5
    assert not a.leads()
    assert tries(b)
    assert b.leads()
    assert not tries(a)
    assert not a.leads()
    assert leases.lease is not None
    assert leases.lease["spec"]["leaseTransitions"] == 1


def test_the_age_of_a_record_counts_from_when_it_was_seen(clock: Clock) -> None:
    """Its own times are of a clock that may be a year ahead."""
    spec = {"holderIdentity": "x", "renewTime": "2019-01-01T00:00:00.000000Z"}
    lease = {"metadata": {"resourceVersion": "1"}, "spec": spec}
    leases = StandInLeases(lease)
    b = operator(leases, "b", clock)

    assert not tries(b)
    clock.now += 16
    assert tries(b)


def test_the_same_holder_need_not_wait(clock: Clock) -> None:
    """A container that was started anew in its pod."""
    leases = StandInLeases()
    tries(operator(leases, "pod/uid", clock))

    assert tries(operator(leases, "pod/uid", clock))


def test_of_two_at_once_one_wins(clock: Clock) -> None:
    """The API server compares and swaps."""
    leases = StandInLeases()
    a = operator(leases, "a", clock)
    leases.meanwhile = [{"metadata": {}, "spec": {"holderIdentity": "b"}}]

    assert not tries(a)
    assert not a.leads()


def test_without_an_answer_it_leads_until_its_time_is_over(clock: Clock) -> None:
    """Others may have the Lease then; once it is renewed, it leads again."""
    leases = StandInLeases()
    a = operator(leases, "a", clock)
    tries(a)
    leases.away = True
    clock.now += 10
    assert not tries(a)
    assert a.leads()
    clock.now += 10
    assert not a.leads()
    leases.away = False
    assert tries(a)
    assert a.leads()


def test_a_lease_that_was_given_up_is_free_at_once(clock: Clock) -> None:
    """A rollout does not wait."""
    leases = StandInLeases()
    a, b = operator(leases, "a", clock), operator(leases, "b", clock)
    tries(a)
    tries(b)
    asyncio.run(a.release())

    assert not a.leads()
    assert tries(b)


def test_keeping_ends_when_another_leads(clock: Clock) -> None:
    """And only then, or when it is told to stop."""
    leases = StandInLeases()
    a = Leadership(leases, "flopguard", "lease", "a", 0.03, clock)  # type: ignore[arg-type] # the stand-in

    async def keep() -> None:
        stop = asyncio.Event()
        assert await a.acquire(stop)
        keeping = asyncio.create_task(a.keep(stop))
        while leases.writes < 3:  # noqa: ASYNC110 - written by a thread
            await asyncio.sleep(0.001)
        assert not keeping.done()
        leases._keep({"metadata": {}, "spec": {"holderIdentity": "b"}})  # noqa: SLF001 - by another
        await asyncio.wait_for(keeping, 10)
        assert not a.leads()

    asyncio.run(keep())


def test_waiting_ends_when_it_is_told_to(clock: Clock) -> None:
    """A standby that is stopped leaves no Lease behind."""
    lease = {"metadata": {"resourceVersion": "1"}, "spec": {"holderIdentity": "x"}}
    leases = StandInLeases(lease)
    b = operator(leases, "b", clock)

    async def wait() -> bool:
        stop = asyncio.Event()
        waiting = asyncio.create_task(b.acquire(stop))
        await asyncio.sleep(0.01)
        stop.set()
        return await asyncio.wait_for(waiting, 10)

    assert asyncio.run(wait()) is False
    assert leases.writes == 0


def test_without_a_lease_it_always_leads(clock: Clock) -> None:
    """`--lease-seconds 0`, on a laptop."""
    a = Leadership(StandInLeases(away=True), "n", "l", "a", 0, clock)  # type: ignore[arg-type] # the stand-in

    assert a.leads()
    assert asyncio.run(a.acquire(asyncio.Event()))
