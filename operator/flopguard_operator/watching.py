"""Compare pods with streams: what is known of each at one instant, for `gaps`. Pure.

Every pod of a run is looked at, metered or not, and every stream that the ledger knows
and no pod stands for any more. What a pod was given says what its silence costs; the
state of its node says whether its containers can still run.
"""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from flopguard_operator import allocation, peaks
from flopguard_operator.allocation import Allocation, Node
from flopguard_operator.gaps import Patience, Stream
from flopguard_operator.hearing import Hearing, Place
from flopguard_operator.ledger.accounts import Account
from flopguard_operator.ledger.machines import PROCESSOR, Machine, counted
from flopguard_operator.marks import Mark
from flopguard_operator.observed import Pod
from flopguard_operator.peaks import Peak, UnknownDeviceError

# A kubelet that is ready has stopped the containers of a pod that the API server no
# longer has, within its grace period; a node stays "ready" for a minute at most after
# it was cut off (kube-controller-manager, --node-monitor-grace-period).
NODE_SECONDS = 60


@dataclass(frozen=True)
class Sight:
    """What one cycle knows, beside the run itself. Times are milliseconds."""

    now: int
    wall: str  # RFC 3339
    patience: Patience
    nodes: Mapping[str, Node] = field(default_factory=dict)
    machines: Mapping[str, Machine] = field(default_factory=dict)  # by stream
    told: Mapping[str, str] = field(default_factory=dict)  # stream → last entry's time
    charge_cpu: bool = False  # whether pods without accelerators are charged too


@dataclass(frozen=True)
class Given:
    """What a pod was given to compute with, in words."""

    devices: str = ""  # "8 x NVIDIA-H100-NVL", "" without accelerators
    node: str = ""


@dataclass(frozen=True)
class Subject:
    """One stream to look at, with its pod if there still is one."""

    stream: str
    place: Place
    pod: Pod | None = None


@dataclass(frozen=True)
class Watched:
    """The streams of a run as of now, and what is the matter with them."""

    streams: tuple[Stream, ...] = ()
    unmetered: tuple[str, ...] = ()  # names of pods in which nothing counts
    unknown: tuple[str, ...] = ()  # sentences about devices without a peak
    regressed: tuple[str, ...] = ()  # names of pods whose marks fell


def subjects(
    pods: Mapping[str, Pod], account: Account, hearing: Hearing
) -> list[Subject]:
    """Return what to look at: pods of the run, then streams that have none any more."""
    run = account.ref.uid
    found = [_of_pod(pod, hearing, run) for pod in pods.values()]
    opened = {each.stream: None for each in account.attempts}
    remembered = dict.fromkeys(hearing.of_run(run))
    for stream in {**opened, **account.gaps, **remembered}:
        if stream in pods:
            continue
        place = hearing.places.get(stream) or _recorded(account, stream)
        hearing.places[stream] = replace(place, gone=True)
        found.append(Subject(stream, hearing.places[stream]))
    return found


def _of_pod(pod: Pod, hearing: Hearing, run: str) -> Subject:
    place = Place(pod.name, allocation.of_pod(pod.raw), pod.gone, run)
    hearing.places[pod.uid] = place
    return Subject(pod.uid, place, pod)


def _recorded(account: Account, stream: str) -> Place:
    """Return where a stream ran, as the ledger says: all that a restart leaves."""
    gap = account.gaps.get(stream)
    attempt = next((a for a in account.attempts if a.stream == stream), None)
    devices = (attempt.devices if attempt else "") or (gap.devices if gap else "")
    node = (attempt.node if attempt else "") or (gap.node if gap else "")
    asked = Allocation(node=node, accelerators=counted(devices)[0])
    pod = (attempt.pod if attempt else "") or (gap.pod if gap else "")
    return Place(pod, asked, gone=True, run=account.ref.uid)


def nodes_needed(
    found: list[Subject],
    account: Account,
    hearing: Hearing,
    sight: Sight,
) -> set[str]:
    """Return the names of the nodes to ask about: new ones, and those of the silent."""
    needed = set()
    for one in found:
        charged = one.place.allocation.has_accelerators or one.stream in account.gaps
        if not (charged or sight.charge_cpu) or one.stream in account.closed:
            continue
        heard = hearing.proven.get(one.stream, sight.now)
        silent = sight.now - heard >= sight.patience.silence
        name = one.place.allocation.node
        if name and (silent or one.place.gone or name not in sight.nodes):
            needed.add(name)
    return needed


def watched(
    found: list[Subject],
    account: Account,
    marks: Mapping[str, Mark],
    hearing: Hearing,
    sight: Sight,
) -> Watched:
    """Return the streams of a run as of now.

    Args:
        found: the run's `subjects`.
        account: the fold of the run's entries.
        marks: the high-water marks of its streams.
        hearing: when each was heard; what is new about their ends is taken in.
        sight: what this cycle knows.
    """
    streams, unknown = [], {}
    for one in found:
        stream = _stream(one, account, marks, hearing, sight)
        known = one.pod is not None or one.stream in account.gaps
        if not known and (stream is None or stream.over):
            hearing.forget(one.stream)
        if stream is None:
            continue
        try:
            peak = _peak(one, account, sight)
        except UnknownDeviceError as error:
            peak = None
            if not (stream.final or one.stream in account.closed):
                unknown[one.stream] = f"pod {one.place.pod}: {error}"
        if peak is not None:
            stream = replace(stream, peak=peak.flops_per_second, devices=peak.devices)
        streams.append(stream)
    return Watched(
        streams=tuple(streams),
        unmetered=tuple(_unmetered(streams, found, sight)),
        unknown=tuple(unknown.values()),
        regressed=tuple(s.pod for s in streams if s.regressed is not None),
    )


def _stream(
    one: Subject,
    account: Account,
    marks: Mapping[str, Mark],
    hearing: Hearing,
    sight: Sight,
) -> Stream | None:
    """Return a stream but for its peak; None for one that has not started."""
    uid, place = one.stream, one.place
    mark = marks.get(uid, Mark(uid))
    node = sight.nodes.get(place.allocation.node)
    if not _placed(one, account, hearing, sight):
        return None
    over = _end(one, node, hearing, sight.now)
    settled = account.streams.get(uid, Mark(uid))
    return Stream(
        stream=uid,
        pod=place.pod,
        node=place.allocation.node,
        devices="",
        peak=0,
        now=sight.now,
        proven=min(hearing.proven[uid], sight.now),
        heard=uid in hearing.heard,
        metered=counts(mark),
        node_lost=node is not None and not node.ready,
        gone=place.gone,
        regressed=hearing.regressed.get(uid),
        ended=hearing.ended.get(uid),
        over=over,
        final=mark.final,
        gain=max(0, mark.upper - settled.upper),
    )


def counts(mark: Mark | None) -> bool:
    """Say whether the hook counts: it wrote a page, or FLOPs are known."""
    return mark is not None and (mark.pages > 0 or mark.upper > 0)


def _placed(one: Subject, account: Account, hearing: Hearing, sight: Sight) -> bool:
    """See to it that the stream has a time from which on it is not proven."""
    uid = one.stream
    if uid in hearing.proven:
        return True
    if rebuild(uid, account, hearing, sight):
        return True
    if one.pod is None or not allocation.has_started(one.pod.raw):
        return False
    ago = allocation.seconds_since(one.place.allocation.started, sight.wall) + 1
    hearing.start(uid, sight.now - ago * 1000)
    return True


def rebuild(stream: str, account: Account, hearing: Hearing, sight: Sight) -> bool:
    """Let the ledger stand in for what was heard before a restart, if it knows."""
    if stream in hearing.proven or stream not in sight.told:
        return stream in hearing.proven
    ago = allocation.seconds_since(sight.told[stream], sight.wall) + 1
    gap, slack = account.gaps.get(stream), sight.patience.grace
    hearing.rebuild(stream, sight.now - ago * 1000, gap, slack)
    return True


def _end(one: Subject, node: Node | None, hearing: Hearing, now: int) -> bool:
    """Take in whether the containers are dead; say if no final record will come."""
    pod, place = one.pod, one.place
    lost = node is not None and node.proves_dead
    if pod is not None and not pod.gone:
        hearing.end(one.stream, now, dead=pod.over or pod.ended or lost)
        return pod.over or lost
    patience = (NODE_SECONDS + place.allocation.grace_seconds) * 1000
    ready = node is not None and node.exists and node.ready
    reaped = hearing.reap(one.stream, now, ready=ready) >= patience
    ended = pod is not None and (pod.over or pod.ended)
    if ended or lost or reaped:
        hearing.end(one.stream, now, dead=True)
    return one.stream in hearing.ended


def _peak(one: Subject, account: Account, sight: Sight) -> Peak | None:
    """Return what a stream's devices can compute; None where it is not charged.

    What was charged before is known from there, whatever became of pod and node.

    Raises:
        UnknownDeviceError: the device, or how many there are, is not known.
    """
    gap = account.gaps.get(one.stream)
    if gap is None or not gap.flops:
        return _looked_up(one, account, sight)
    if one.pod is not None:
        with contextlib.suppress(UnknownDeviceError):
            return _looked_up(one, account, sight)
    return Peak(gap.peak, gap.devices)


def _looked_up(one: Subject, account: Account, sight: Sight) -> Peak | None:
    """Return the peak by what pod, node and processes say; raise as `_peak`."""
    asked = one.place.allocation
    machine = sight.machines.get(one.stream, Machine())
    if asked.has_accelerators:
        node = sight.nodes.get(asked.node, Node(asked.node))
        name = node.product or _opened(one.stream, account)
        count = asked.accelerators or len(machine.gpus)
        name = name or next(iter(machine.gpus), "") or asked.resource
        return peaks.of_devices(name, max(1, count))
    if not sight.charge_cpu:
        return None
    cores = asked.cores or machine.cores
    return peaks.of_cpu(cores, machine.vector, machine.mhz_max)


def _opened(stream: str, account: Account) -> str:
    """Return the name of a stream's devices as the ledger has it."""
    for attempt in account.attempts:
        if attempt.stream == stream:
            return counted(attempt.devices)[1]
    return ""


def given(
    one: Allocation, nodes: Mapping[str, Node], *, charge_cpu: bool = False
) -> Given:
    """Return what a pod was given, in words; processors where they are charged."""
    product = nodes[one.node].product if one.node in nodes else ""
    text = f"{one.accelerators} x {product or one.resource}"[:200]
    cores = f"{one.cores} x {PROCESSOR}" if charge_cpu else ""
    return Given(text if one.accelerators else cores, one.node)


def _unmetered(
    streams: list[Stream], found: list[Subject], sight: Sight
) -> Iterator[str]:
    """Yield the names of the pods that run and in which nothing counts for too long."""
    running = {one.stream for one in found if one.pod is not None and not one.pod.gone}
    for stream in streams:
        waited = stream.now - stream.proven >= sight.patience.grace
        silent = not stream.heard and waited
        if stream.stream in running and stream.ended is None and silent:
            yield stream.pod
