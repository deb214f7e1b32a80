"""From what was timed to the figures that are told, and their verdicts. Core."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from bench.crew import Measured
from bench.intervals import Estimate, Pair, difference, mean, overhead
from bench.plan import (
    ALWAYS,
    ARMS,
    BARE,
    FORBIDDEN,
    HOOK,
    TARGETS,
    Workload,
    judge,
)

Found = Sequence[Mapping[str, Measured]]  # of each session: workload → rounds
_NS_PER_MS = 10**6
_THIN, _WHOLE = "thin", "medium"


def evaluate(
    loads: Iterable[Workload], found: Found, single: Mapping[str, Any]
) -> dict[str, Any]:
    """Return all figures, ready for JSON.

    Args:
        loads: What was run.
        found: Rounds, by session.
        single: What `bench.single.measure` returned; may be empty.
    """
    timed = {
        load.name: _of_load(load, [s[load.name] for s in found if load.name in s])
        for load in loads
    }
    alone = _of_single(single) if single else {}
    return {
        "programs": {n: t for n, t in timed.items() if not t["calls"]},
        "pieces": {n: t for n, t in timed.items() if t["calls"]},
        "single": alone,
        "replay": [list(s.values())[-1].replay.get(HOOK.name) for s in found if s],
        "targets": list(_verdicts(timed, alone)),
    }


def _of_load(load: Workload, sessions: Sequence[Measured]) -> dict[str, Any]:
    units = load.steps * max(load.calls, 1)
    bare = [b[BARE.name]["cpu"] for m in sessions for b in m.rounds]
    arms: dict[str, Any] = {}
    for arm in ARMS[1:]:
        pairs = {c: _pairs(sessions, arm.name, c) for c in ("cpu", "wall")}
        if any(pairs["cpu"]):
            arms[arm.name] = {
                "percent": overhead(pairs["cpu"])._asdict(),
                "percent_wall": overhead(pairs["wall"])._asdict(),
                "us": difference(pairs["cpu"], units)._asdict(),
            }
    return {
        "title": load.title,
        "calls": load.calls,
        "sessions": len(sessions),
        "bare_us": sum(bare) / len(bare) / units / 1000,
        "arms": arms,
        "counted": _counted(sessions, max(load.calls, 1)),
        "errors": sorted({e for m in sessions for es in m.errors.values() for e in es}),
    }


def _pairs(sessions: Sequence[Measured], arm: str, clock: str) -> list[list[Pair]]:
    return [
        [(b[BARE.name][clock], b[arm][clock]) for b in m.rounds if arm in b]
        for m in sessions
    ]


def _counted(sessions: Sequence[Measured], calls: int) -> dict[str, Any]:
    """Return FLOPs and page writes per step or call; FLOPs as decimal strings."""
    told: dict[str, Any] = {}
    for arm in (HOOK.name, ALWAYS.name):
        counts = [m.counted[arm] for m in sessions if arm in m.counted]
        if not counts:
            continue
        steps = sum(c["steps"] for c in counts) * calls
        flops, rest = divmod(sum(c["flops"] for c in counts), steps)
        writes = sum(c["writes"] for c in counts) / steps
        told[arm] = {"flops": f"{flops}{' and a rest' * bool(rest)}", "writes": writes}
    if len(told) > 1:
        told["equal"] = len({arm["flops"] for arm in told.values()}) == 1
    return told


def _of_single(single: Mapping[str, Any]) -> dict[str, Any]:
    names = ("with_", "uncached")
    start = {
        f"{what}_{name}": mean(_less_each(single[f"{what}_ms"], name))._asdict()
        for what in ("python", "shared", "torch")
        for name in names
    }
    without, with_ = (set(single["modules"][k]) for k in ("without", "with"))
    return {
        "start_ms": start,
        "attach_ms": mean([ns / _NS_PER_MS for ns in single["attach_ns"]])._asdict(),
        "write_us": mean([ns / 1000 for ns in single["write_ns"]])._asdict(),
        "imported": sorted(with_ - without),
        "forbidden": sorted(set(FORBIDDEN) & (with_ - without)),
        "memory_bytes": dict(
            zip(("attached", "fifth", "end"), single["memory_bytes"], strict=True)
        ),
    }


def _less_each(starts: Mapping[str, Sequence[float]], name: str) -> list[float]:
    return [a - b for a, b in zip(starts[name], starts["without"], strict=True)]


def _verdicts(
    timed: Mapping[str, Any], alone: Mapping[str, Any]
) -> Iterable[dict[str, Any]]:
    for name, figure in _judged(timed, alone):
        target = TARGETS[name]
        yield {
            "figure": target.sentence,
            "unit": target.unit,
            "most": target.most,
            **figure._asdict(),
            "verdict": judge(figure.low, figure.high, target.most),
        }
    if alone:
        yield {
            "figure": "imports of " + " or ".join(FORBIDDEN),
            "unit": "",
            "most": 0,
            "value": len(alone["forbidden"]),
            "verdict": "not met" if alone["forbidden"] else "met",
        }


def _judged(
    timed: Mapping[str, Any], alone: Mapping[str, Any]
) -> Iterable[tuple[str, Estimate]]:
    """Yield each figure that has a target, in the unit of the target."""
    for name in ("tiny", _WHOLE):
        if name in timed:
            yield name, Estimate(**timed[name]["arms"][HOOK.name]["percent"])
    if _THIN in timed and _WHOLE in timed:
        # The hook sees the same modules and operators in both; only arithmetic differs.
        per_us = 100 / timed[_WHOLE]["bare_us"]
        yield _THIN, _scaled(timed[_THIN]["arms"][HOOK.name]["us"], per_us)
    if not alone:
        return
    for name in ("backward", "step-1"):
        if name in timed:
            writes = timed[name]["counted"].get(HOOK.name, {"writes": 0})["writes"]
            beside = writes * alone["write_us"]["value"]
            yield name, _less(timed[name]["arms"][HOOK.name]["us"], beside)
    yield "start", _sum(alone["start_ms"]["shared_with_"], alone["attach_ms"])
    memory = alone["memory_bytes"]["end"] / 10**6
    yield "memory", Estimate(memory, memory, memory, memory, 1)


def _scaled(of: Mapping[str, Any], by: float) -> Estimate:
    return _changed(of, lambda _, end: end * by)


def _less(of: Mapping[str, Any], by: float) -> Estimate:
    return _changed(of, lambda _, end: end - by)


def _sum(one: Mapping[str, Any], other: Mapping[str, Any]) -> Estimate:
    """Add two figures that were measured apart; the interval is on the safe side."""
    return _changed(one, lambda key, end: end + other[key])


def _changed(of: Mapping[str, Any], change: Callable[[str, float], float]) -> Estimate:
    ends = {k: change(k, of[k]) for k in ("value", "low", "high", "median")}
    return Estimate(**ends, rounds=of["rounds"])
