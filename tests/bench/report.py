"""The page `docs/benchmarks/hook.md` from the figures. Core."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from bench.plan import AGAIN, ALWAYS, ARMS, HOOK, SETTLE

Figures = Mapping[str, Any]
_MS = 1000
_REMEASURED = 256
_QUIET = 0.5  # load average of the minute before
_BUSY = """**The machine was busy when this began: take these figures as coarse.**

"""
_COSTS = (
    "µs that the hook adds",
    "the same in an ordinary round",
    "by wall time",
    "rounds",
    "page writes a step",
    "FLOPs a step",
    "against always measured",
)


def page(results: Figures) -> str:
    """Return the whole page, Markdown."""
    parts = [_head(results["machine"]), _targets(results["targets"])]
    if results["programs"]:
        parts += [_programs(results["programs"]), _replay(results["replay"])]
    if results["pieces"]:
        parts.append(_pieces(results["pieces"]))
    if results["single"]:
        parts.append(_single(results["single"]))
    return "\n".join(parts)


def _head(machine: Figures) -> str:
    facts = "\n".join(f"| {k.replace('_', ' ')} | {v} |" for k, v in machine.items())
    return f"""# What the hook costs

Written by `make bench-hook`; the same figures with more digits are in `hook.json`.

Every arm is a process of its own, since the hook cannot be taken off one that runs.
All of them are pinned to one core and take turns, a block of steps each, in an order
drawn anew for every round; the driver waits on another core. A figure compares the
blocks of one round with each other, by the CPU time of the process over all threads.
It comes from the totals over all rounds, so what happens rarely (a window measured
again, a file of facts) is in it. In brackets: its 95 % interval, by a bootstrap that
draws sessions (new processes) first and rounds within them second.

The second process without a hook is the control: its figure should be zero, and shows
what cannot be told from zero here. The first {SETTLE} steps are not timed: the hook
measures in them what it replays later. Long-lived objects are hidden from the garbage
collector (`gc.freeze`) in every arm.

{_BUSY if machine["load_at_start"] > _QUIET else ""}| where it ran | |
| --- | --- |
{facts}
"""


def _targets(targets: Sequence[Figures]) -> str:
    rows = "\n".join(
        f"| {t['figure']} | {_most(t)} | {_figure(t)} | {_loud(t['verdict'])} |"
        for t in targets
    )
    return f"""## Targets

Met: the whole interval keeps the bound. Not met: all of it breaks the bound. Not
resolved: the bound lies within. A thousandth of a 170 ms step is below what timing
resolves; with thin tensors the hook meets the same modules, parameters and operators,
so what it adds there, in microseconds, is what it adds to the long step (but for caches
that the long step leaves colder).

| what | at most | measured | |
| --- | --- | --- | --- |
{rows}
"""


def _programs(programs: Mapping[str, Figures]) -> str:
    arms = [
        arm for arm in ARMS[1:] if any(arm.name in p["arms"] for p in programs.values())
    ]
    heading = " | ".join(arm.title for arm in arms)
    rows = "\n".join(
        f"| {p['title']} | {p['bare_us'] / _MS:.2f} | "
        + " | ".join(_percent(p["arms"].get(arm.name)) for arm in arms)
        + " |"
        for p in programs.values()
    )
    costs = "\n".join(_cost(p) for p in programs.values() if HOOK.name in p["arms"])
    return f"""## Programs

CPU time of a step, added to it.

| program | ms without | {heading} |
| --- | --- |{" --- |" * len(arms)}
{rows}

Starting and stopping torch.profiler around a block is not timed, only the steps in it.

| program | {" | ".join(_COSTS)} |
| --- |{" --- |" * len(_COSTS)}
{costs}

One window in {_REMEASURED} is measured again. What that alone costs on average is the
always measuring hook's figure divided by {_REMEASURED}: {_remeasured(programs)}.
"""


def _replay(sessions: Sequence[Figures | None]) -> str:
    """Say how many windows were replayed: without that the figures mean little."""
    told = [
        f"{s.get('state')}: {s.get('measured')} windows measured, {s.get('replayed')} "
        f"replayed, drift {s.get('drift') or 'none'}"
        for s in sessions
        if s
    ]
    return f"Replay at the end of each session: {'; '.join(told) or 'not told'}.\n"


def _cost(program: Figures) -> str:
    hook, counted = program["arms"][HOOK.name], program["counted"]
    own = counted.get(HOOK.name, {"flops": "none", "writes": 0})
    equal = {True: "equal", False: "**different**", None: ""}[counted.get("equal")]
    errors = f" (flags: {', '.join(program['errors'])})" * bool(program["errors"])
    cells = (
        program["title"],
        _interval(hook["us"], 1),
        f"{hook['us']['median']:+.1f}",
        _interval(hook["percent_wall"], 2) + " %",
        str(hook["percent"]["rounds"]),
        f"{own['writes']:.1f}",
        own["flops"] + errors,
        equal,
    )
    return "| " + " | ".join(cells) + " |"


def _remeasured(programs: Mapping[str, Figures]) -> str:
    told = [
        f"{p['arms'][ALWAYS.name]['percent']['value'] / _REMEASURED:+.2f} % ({name})"
        for name, p in programs.items()
        if ALWAYS.name in p["arms"]
    ]
    return ", ".join(told) or "not measured"


def _pieces(pieces: Mapping[str, Figures]) -> str:
    rows = "\n".join(_piece(p) for p in pieces.values())
    return f"""## Pieces

CPU time of one call, page writes included.

| piece | µs without | added by the hook | page writes | always measuring | control |
| --- | --- | --- | --- | --- | --- |
{rows}
"""


def _piece(piece: Figures) -> str:
    arms, counted = piece["arms"], piece["counted"].get(HOOK.name, {"writes": 0})
    names = (HOOK.name, ALWAYS.name, AGAIN.name)
    hook, always, again = (
        _interval(arms[n]["us"], 2) if n in arms else "" for n in names
    )
    return (
        f"| {piece['title']} | {piece['bare_us']:.2f} | {hook} | "
        f"{counted['writes']:.2f} | {always} | {again} |"
    )


def _single(single: Figures) -> str:
    start, memory = single["start_ms"], single["memory_bytes"]
    rows = (
        ("one page write", _interval(single["write_us"], 2) + " µs"),
        ("start of Python", _interval(start["python_with_"], 1) + " ms"),
        (
            "the same, beside standard modules that torch imports anyway",
            _interval(start["shared_with_"], 1) + " ms",
        ),
        (
            "attaching to a torch that is imported",
            _interval(single["attach_ms"], 1) + " ms",
        ),
        (
            "start and `import torch`, as a whole",
            _interval(start["torch_with_"], 1) + " ms",
        ),
        (
            "the same where Python cannot cache the hook's byte code",
            _interval(start["torch_uncached"], 1) + " ms",
        ),
        (
            "memory after attaching, code included",
            f"{memory['attached'] / 1e3:,.0f} kB",
        ),
        (
            "after a fifth of the steps on varying shapes",
            f"{memory['fifth'] / 1e3:,.0f} kB",
        ),
        ("after all of them", f"{memory['end'] / 1e3:,.0f} kB"),
        (
            "modules that only a process with the hook has loaded",
            _names(single["imported"]),
        ),
    )
    table = "\n".join(f"| {name} | {value} |" for name, value in rows)
    return f"""## Start, memory, imports

| | |
| --- | --- |
{table}
"""


def _names(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _percent(of: Figures | None) -> str:
    return _interval(of["percent"], 2) + " %" if of else ""


def _interval(of: Figures, digits: int) -> str:
    value, low, high = (f"{of[k]:+.{digits}f}" for k in ("value", "low", "high"))
    return f"{value} [{low}, {high}]"


def _figure(target: Figures) -> str:
    if "low" not in target:
        return str(target["value"])
    if target["low"] == target["high"]:
        return f"{target['value']:.2f} {_unit(target)}"
    return f"{_interval(target, 2)} {_unit(target)}"


def _most(target: Figures) -> str:
    return f"{target['most']:g} {_unit(target)}".strip()


def _unit(target: Figures) -> str:
    return str(target["unit"]).replace("us", "µs")


def _loud(verdict: str) -> str:
    return verdict if verdict == "met" else f"**{verdict}**"
