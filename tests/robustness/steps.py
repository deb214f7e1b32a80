"""The steps of `stateful`: what can happen to pods, nodes, the operator, the run."""

from collections.abc import Callable
from typing import Any

from flopguard_operator import prometheus, sidecars
from robustness.machine import BUDGET, NODES, Machine
from standins import fleet, objects
from standins.faults import AFTER, BEFORE, FULL, UNSURE
from standins.fleet import when


def step(m: Machine) -> str:
    """Let one thing happen, and return its name."""
    names, weights = zip(*((n, w) for n, (w, _) in STEPS.items()), strict=True)
    (name,) = m.rng.choices(names, weights)
    m.now += m.rng.choice((1, 40, 900, 5_000, 14_000))
    STEPS[name][1](m)
    return str(name)


def crash_before(m: Machine) -> None:
    """Die before a commit."""
    m.look(fault=BEFORE)


def crash_after(m: Machine) -> None:
    """Die after a commit, before anything was made of it."""
    m.look(fault=AFTER)


def full_disk(m: Machine) -> None:
    """Fail at a commit, whether it took place or not, and go on."""
    m.look(fault=m.rng.choice((FULL, UNSURE)))


def silence(m: Machine) -> None:
    """Hear nobody for a while."""
    for _ in range(m.rng.randint(1, 4)):
        m.now += m.rng.choice((9_000, 15_000, 50_000))
        m.look(heard=False)


def new_pod(m: Machine) -> None:
    """Start an attempt, while there are not too many."""
    if len(m.alive()) < 3 and len(m.lost) < len(NODES):
        m.start_pod()


def restart_process(m: Machine) -> None:
    """Kill the processes of a pod; it may start new ones."""
    pod = m.pick()
    if pod is not None:
        pod.computing.kill(m.now)
        if m.rng.random() < 0.8:
            fleet.start(pod, m.now, m.rng)


def end_pod(m: Machine) -> None:
    """End a pod: with its final record, with an older one, or with none."""
    pod = m.pick()
    if pod is None or pod.node in m.unready:
        return
    way = m.rng.choice(("final", "final", "early", "stale", "none"))
    early = m.now - m.rng.randint(1, 9_000)
    spoke = early if way in ("early", "stale") else None
    pod.end(m.now, spoke=spoke, final=way != "stale", words=way != "none")
    m.see(pod)
    if m.rng.random() < 0.5:
        m.see(pod, "DELETED")


def force_delete(m: Machine) -> None:
    """Delete the object; the containers go on for their grace period at most."""
    pod = m.pick()
    if pod is None:
        return
    m.see(pod, "DELETED")
    pod.deleting = m.now
    if pod.node not in m.unready:
        pod.computing.kill(m.now + m.rng.randint(0, 30_000))
        pod.ended, pod.speaks = m.now, False


def lose_node(m: Machine) -> None:
    """Cut a node off: its pods go on, and nobody hears them."""
    m.unready.add(m.rng.choice(NODES))


def node_back(m: Machine) -> None:
    """Connect the nodes again; deleted pods on them are stopped within a minute."""
    for pod in m.alive():
        if pod.node in m.unready and pod.deleting is not None:
            pod.computing.kill(m.now)
            pod.ended, pod.speaks = m.now, False
    m.unready &= m.lost


def delete_node(m: Machine) -> None:
    """Delete a node: whoever does it has switched it off.

    What its devices were is known by then, or `MeteringIncomplete` says that not.
    """
    name = m.rng.choice(NODES)
    here = {p.uid for p in m.pods.values() if p.started and p.node == name}
    accounts = m.durable.accounts.values()
    known = {a.stream for one in accounts for a in one.attempts}
    known |= {uid for one in accounts for uid in one.gaps}
    if len(m.lost) == len(NODES) - 1 or name in m.lost or here - known:
        return
    m.lost.add(name)
    m.unready.add(name)
    for pod in m.alive():
        if pod.node == name:
            pod.computing.kill(m.now)
            pod.ended, pod.speaks = m.now, False


def toggle_sidecar(m: Machine) -> None:
    """Let a sidecar fall silent, or speak again."""
    pod = m.pick()
    if pod is not None:
        pod.speaks = not pod.speaks


def remove_pages(m: Machine) -> None:
    """Remove the pages of a pod that stops there, so that its marks fall."""
    pod = m.pick()
    if pod is not None and pod.uid in m.answering():
        pod.computing.kill(m.now)
        m.now += 1_000  # the sidecar has read the last of them
        m.look()
        pod.removed |= set(range(len(pod.computing.processes)))
        m.now += 1_000
        m.look()


def mark_on_its_way(m: Machine) -> None:
    """Take a mark now that arrives later, perhaps twice, perhaps after others."""
    pod = m.pick()
    if pod is not None and pod.injected and pod.node not in m.unready:
        mark = sidecars.parse_mark(pod.marks(m.now), pod.uid)
        assert mark is not None
        m.late.append((pod.uid, mark.mark, m.now))


def scrape(m: Machine) -> None:
    """The same by Prometheus, which rounds."""
    pod = m.pick()
    if pod is None or not pod.injected or pod.node in m.unready:
        return
    done, begun = fleet.rounded(pod.counted(m.now))
    own = {"pod_uid": pod.uid, "namespace": "ml", "pod": pod.name}
    values = {**done, "begun": begun, "pages": 1.0}
    series: list[dict[str, Any]] = [
        {"metric": {**own, "category": name}, "value": [0, repr(value)]}
        for name, value in values.items()
    ]
    another = {**own, "pod": "another", "category": "forward"}
    forged: dict[str, Any] = {"metric": another, "value": [0, "1e30"]}
    seen = {pod.uid: m.cache.pods[pod.uid]} if pod.uid in m.cache.pods else {}
    for uid, mark in prometheus.marks([*series, forged], seen).items():
        m.late.append((uid, mark, m.now))


def clock_jump(m: Machine) -> None:
    """Move the clock of a pod by a year: it is in its facts, and nowhere else."""
    pod = m.pick()
    if pod is None:
        return
    raw = pod.marks(m.now) | {"time": when(m.now + 10**10)}
    told, mark = sidecars.parse_mark(raw, pod.uid), pod.marks(m.now)
    plain = sidecars.parse_mark(mark, pod.uid)
    assert told == plain


def raise_budget(m: Machine) -> None:
    """Give the run more to spend, or take some of it away."""
    m.budget = m.rng.choice((BUDGET, 3 * m.budget, 10 * m.budget))
    _revise(m, budget=m.terms())


def _revise(m: Machine, **spec: Any) -> None:
    for raw in list(m.cache.runs.values()):
        changed = dict(raw)
        changed["spec"] = {**raw["spec"], **spec}
        metadata = dict(raw["metadata"])
        metadata["generation"] += 1
        m.see_run({**changed, "metadata": metadata})


def move_run(m: Machine) -> None:
    """Move the run to another program, or out of one."""
    names = ["one", "other"]
    for name in names:
        m.cache.see_program("ADDED", objects.program(name, name))
    _revise(m, program=m.rng.choice([*names, None]))


def recreate_run(m: Machine) -> None:
    """Delete the run and make one of the same name, with pods of its own."""
    if not _all_closed(m):
        return
    m.runs += 1
    for uid in list(m.cache.runs):
        m.cache.see_run("DELETED", {"metadata": {"uid": uid}})
    for pod in m.pods.values():
        m.see(pod, "DELETED")
    raw = objects.run(uid=f"run-{m.runs}", budget=m.terms())
    raw["metadata"]["creationTimestamp"] = when(m.now)
    m.see_run(raw)
    m.cache.pods.clear()


def _all_closed(m: Machine) -> bool:
    """End all pods, and say whether the operator knows of no open stream then."""
    for pod in m.alive():
        pod.end(m.now, spoke=None, final=True, words=True)
        if pod.uid in m.cache.pods:
            m.see(pod)
    for _ in range(2):
        m.now += 100_000
        m.look()
    return all(
        attempt.stream in account.closed or _is_final(m, attempt.stream)
        for account in m.books.accounts.values()
        for attempt in account.attempts
    )


def _is_final(m: Machine, uid: str) -> bool:
    mark = m.books.of_run(m.books.owner[uid]).get(uid)
    return mark is not None and mark.final


STEPS: dict[str, tuple[int, Callable[[Machine], None]]] = {
    "the operator looks": (20, Machine.look),
    "nobody answers": (4, silence),
    "a pod starts": (5, new_pod),
    "processes are killed, and start anew": (5, restart_process),
    "a pod ends": (5, end_pod),
    "a pod is deleted by force": (2, force_delete),
    "a node is cut off": (2, lose_node),
    "a node is back": (4, node_back),
    "a node is deleted": (1, delete_node),
    "a sidecar falls silent, or speaks again": (4, toggle_sidecar),
    "pages are removed": (1, remove_pages),
    "a mark is late, twice, out of order": (6, mark_on_its_way),
    "a mark comes by Prometheus, and a forged one": (6, scrape),
    "a pod's clock jumps": (1, clock_jump),
    "the operator starts anew": (3, Machine.restart),
    "the operator dies before a commit": (3, crash_before),
    "the operator dies after a commit": (3, crash_after),
    "a commit fails, or seems to": (3, full_disk),
    "the budget changes": (2, raise_budget),
    "the run moves to another program": (1, move_run),
    "the run is made anew": (1, recreate_run),
}
"""How often, in parts, and what."""
